//! Aggregates that keep one value of a group while nothing is removed: MIN, MAX, FIRST_VALUE,
//! LAST_VALUE.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray,
};
use flott_core::Result;
use flott_core::types::{DataType, LogicalType};

use super::Accumulator;
use super::encoded::Encoder;
use super::rows::{each_row, resize};

/// Which value stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    Least,
    Greatest,
    First,
    Last,
}

/// An accumulator for values of this type. NULL is not a value.
pub(super) fn create(argument: &DataType, rule: Rule) -> Result<Box<dyn Accumulator>> {
    use arrow::datatypes::*;
    macro_rules! primitive {
        ($type:ty) => {
            Box::new(KeptNumbers::<$type> {
                values: Vec::new(),
                rule,
                data_type: super::bind::nullable(argument),
            })
        };
    }
    Ok(match &argument.logical {
        LogicalType::TinyInt => primitive!(Int8Type),
        LogicalType::SmallInt => primitive!(Int16Type),
        LogicalType::Int => primitive!(Int32Type),
        LogicalType::BigInt => primitive!(Int64Type),
        LogicalType::Float => primitive!(Float32Type),
        LogicalType::Double => primitive!(Float64Type),
        LogicalType::Decimal(..) => primitive!(Decimal128Type),
        LogicalType::Date => primitive!(Date32Type),
        LogicalType::Timestamp(0..=3) | LogicalType::TimestampLtz(0..=3) => {
            primitive!(TimestampMillisecondType)
        }
        _ => Box::new(KeptBytes {
            encoder: Encoder::new(std::slice::from_ref(argument))?,
            values: Vec::new(),
            num_bytes: 0,
            rule,
        }),
    })
}

/// Values of a fixed width.
struct KeptNumbers<T: ArrowPrimitiveType> {
    values: Vec<Option<T::Native>>,
    rule: Rule,
    data_type: DataType,
}

impl<T: ArrowPrimitiveType> KeptNumbers<T> {
    fn take_in(
        &mut self,
        groups: &[u32],
        array: &PrimitiveArray<T>,
        filter: Option<&BooleanArray>,
    ) {
        let (kept, values, rule) = (&mut self.values, array.values(), self.rule);
        each_row(groups, array.nulls(), filter, None, |row, group, _| {
            let value = values[row];
            let kept = &mut kept[group];
            let stays = kept.is_some_and(|kept| match rule {
                Rule::Least => kept.is_le(value),
                Rule::Greatest => kept.is_ge(value),
                Rule::First => true,
                Rule::Last => false,
            });
            if !stays {
                *kept = Some(value);
            }
        });
    }
}

impl<T: ArrowPrimitiveType> Accumulator for KeptNumbers<T> {
    fn resize(&mut self, num_groups: usize) {
        resize(&mut self.values, num_groups);
    }

    fn update(
        &mut self,
        groups: &[u32],
        arguments: &[ArrayRef],
        filter: Option<&BooleanArray>,
        _adds: Option<&BooleanArray>,
    ) -> Result<()> {
        self.take_in(groups, arguments[0].as_primitive::<T>(), filter);
        Ok(())
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        let values = groups.iter().map(|&g| self.values[g as usize]);
        let values: PrimitiveArray<T> = values.collect();
        Ok(Arc::new(values.with_data_type(self.data_type.to_arrow())))
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(groups)?])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![self.data_type.clone()]
    }

    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        self.take_in(groups, state[0].as_primitive::<T>(), None);
        Ok(())
    }

    fn clear(&mut self, groups: &[u32]) {
        groups.iter().for_each(|&g| self.values[g as usize] = None);
    }

    fn size_bytes(&self) -> usize {
        self.values.capacity() * size_of::<Option<T::Native>>()
    }
}

/// Values of any type as bytes; an empty one is none.
struct KeptBytes {
    encoder: Encoder,
    values: Vec<Vec<u8>>,
    /// Of all values.
    num_bytes: usize,
    rule: Rule,
}

impl KeptBytes {
    fn take_in(
        &mut self,
        groups: &[u32],
        column: &ArrayRef,
        filter: Option<&BooleanArray>,
    ) -> Result<()> {
        let rows = self.encoder.encode(std::slice::from_ref(column))?;
        let (kept, rule, nulls) = (&mut self.values, self.rule, column.logical_nulls());
        let num_bytes = &mut self.num_bytes;
        each_row(groups, nulls.as_ref(), filter, None, |row, group, _| {
            let row = rows.row(row);
            let (kept, value) = (&mut kept[group], row.data());
            let stays = !kept.is_empty()
                && match rule {
                    Rule::Least => kept.as_slice() <= value,
                    Rule::Greatest => kept.as_slice() >= value,
                    Rule::First => true,
                    Rule::Last => false,
                };
            if !stays {
                *num_bytes = *num_bytes + value.len() - kept.len();
                kept.clear();
                kept.extend_from_slice(value);
            }
        });
        Ok(())
    }
}

impl Accumulator for KeptBytes {
    fn resize(&mut self, num_groups: usize) {
        resize(&mut self.values, num_groups);
    }

    fn update(
        &mut self,
        groups: &[u32],
        arguments: &[ArrayRef],
        filter: Option<&BooleanArray>,
        _adds: Option<&BooleanArray>,
    ) -> Result<()> {
        self.take_in(groups, &arguments[0], filter)
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        let values = groups.iter().map(|&g| self.values[g as usize].as_slice());
        self.encoder
            .decode_or_null(values.map(|v| (!v.is_empty()).then_some(v)))
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(groups)?])
    }

    fn state_types(&self) -> Vec<DataType> {
        self.encoder.types().to_vec()
    }

    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        self.take_in(groups, &state[0], None)
    }

    fn clear(&mut self, groups: &[u32]) {
        for &group in groups {
            let value = std::mem::take(&mut self.values[group as usize]);
            self.num_bytes -= value.len();
        }
    }

    fn size_bytes(&self) -> usize {
        self.num_bytes + self.values.capacity() * size_of::<Vec<u8>>()
    }
}
