//! SUM, $SUM0 and AVG. Integers wrap; a DECIMAL that needs more than 38 digits is NULL.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, BooleanArray, Decimal128Array,
    Float32Array, Float64Array, Int64Array, PrimitiveArray,
};
use arrow::datatypes::{
    Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
};
use flott_core::text::number::{divide_half_up, power_of_ten};
use flott_core::types::{DataType, LogicalType, MAX_DECIMAL_PRECISION};
use flott_core::{Error, Result};

use super::bind::{nullable, numeric};
use super::rows::{each_row, resize};
use super::{Accumulator, AggregateFunction, AggregateTypes};

const SUM: AggregateFunction = AggregateFunction {
    name: "SUM",
    aliases: &[],
    doc: "SUM(x) is the sum of the values that are not NULL; NULL when there are none.",
    bind: bind_sum,
    create: |types, _| create(types, Finish::Sum),
    is_mergeable: true,
    ignores_distinct: false,
    is_order_sensitive: false,
    is_additive: true,
};

pub(super) const FUNCTIONS: &[AggregateFunction] = &[
    SUM,
    AggregateFunction {
        name: "$SUM0",
        doc: "$SUM0(x) is SUM(x), but 0 when there are no values; for the planner's use.",
        bind: |args| {
            let mut types = bind_sum(args)?;
            types.result.nullable = false;
            Ok(types)
        },
        create: |types, _| create(types, Finish::SumOrZero),
        ..SUM
    },
    AggregateFunction {
        name: "AVG",
        doc: "AVG(x) is the mean of the values that are not NULL; of integers truncated to an \
              integer of their type.",
        bind: bind_average,
        create: |types, _| create(types, Finish::Average(types.result.logical.clone())),
        ..SUM
    },
];

fn bind_sum(args: &[DataType]) -> Result<AggregateTypes> {
    let argument = numeric(args)?;
    let result = match argument.logical {
        LogicalType::Decimal(_, scale) => LogicalType::Decimal(MAX_DECIMAL_PRECISION, scale),
        ref other => other.clone(),
    };
    Ok(AggregateTypes {
        arguments: vec![argument],
        result: result.nullable(),
    })
}

/// The type of a mean of numbers of this type.
pub(super) fn average_type(argument: &LogicalType) -> LogicalType {
    match argument {
        LogicalType::Decimal(_, scale) => {
            LogicalType::Decimal(MAX_DECIMAL_PRECISION, (*scale).max(6))
        }
        other => other.clone(),
    }
}

/// Integers are summed as BIGINT, approximate numbers as DOUBLE.
fn bind_average(args: &[DataType]) -> Result<AggregateTypes> {
    let argument = numeric(args)?;
    let summed = match &argument.logical {
        LogicalType::Float => LogicalType::Double,
        logical if logical.is_integer() => LogicalType::BigInt,
        logical => logical.clone(),
    };
    Ok(AggregateTypes {
        result: average_type(&argument.logical).nullable(),
        arguments: vec![DataType {
            logical: summed,
            nullable: argument.nullable,
        }],
    })
}

#[derive(Clone)]
enum Finish {
    Sum,
    SumOrZero,
    /// The mean in this type.
    Average(LogicalType),
}

fn create(types: &AggregateTypes, finish: Finish) -> Result<Box<dyn Accumulator>> {
    let argument = &types.arguments[0];
    Ok(match argument.logical {
        LogicalType::TinyInt => Sum::<Int8Type>::boxed(argument, finish),
        LogicalType::SmallInt => Sum::<Int16Type>::boxed(argument, finish),
        LogicalType::Int => Sum::<Int32Type>::boxed(argument, finish),
        LogicalType::BigInt => Sum::<Int64Type>::boxed(argument, finish),
        LogicalType::Float => Sum::<Float32Type>::boxed(argument, finish),
        LogicalType::Double => Sum::<Float64Type>::boxed(argument, finish),
        LogicalType::Decimal(_, scale) => {
            let widest = LogicalType::Decimal(MAX_DECIMAL_PRECISION, scale).nullable();
            Sum::<Decimal128Type>::boxed(&widest, finish)
        }
        _ => return Err(Error::internal(format!("no sum of {argument}"))),
    })
}

/// Sums with the numbers of values in them.
struct Sum<T: ArrowPrimitiveType> {
    cells: Vec<(T::Native, i64)>,
    /// The sums' type.
    summed: DataType,
    finish: Finish,
}

impl<T: ArrowPrimitiveType> Sum<T>
where
    Sum<T>: Mean,
{
    fn boxed(summed: &DataType, finish: Finish) -> Box<dyn Accumulator> {
        Box::new(Self {
            cells: Vec::new(),
            summed: nullable(summed),
            finish,
        })
    }

    fn sums(&self, groups: &[u32], empty: Option<T::Native>) -> ArrayRef {
        let sums = groups.iter().map(|&g| match self.cells[g as usize] {
            (_, 0) => empty,
            (sum, _) => Some(sum),
        });
        let sums: PrimitiveArray<T> = sums.collect();
        Arc::new(sums.with_data_type(self.summed.to_arrow()))
    }
}

impl<T: ArrowPrimitiveType> Accumulator for Sum<T>
where
    Sum<T>: Mean,
{
    fn resize(&mut self, num_groups: usize) {
        resize(&mut self.cells, num_groups);
    }

    fn update(
        &mut self,
        groups: &[u32],
        arguments: &[ArrayRef],
        filter: Option<&BooleanArray>,
        adds: Option<&BooleanArray>,
    ) -> Result<()> {
        let array = arguments[0].as_primitive::<T>();
        let values = array.values();
        let cells = &mut self.cells;
        each_row(groups, array.nulls(), filter, adds, |row, group, adds| {
            let (sum, count) = &mut cells[group];
            if adds {
                *sum = sum.add_wrapping(values[row]);
                *count += 1;
            } else {
                *sum = sum.sub_wrapping(values[row]);
                *count -= 1;
            }
        });
        Ok(())
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        match &self.finish {
            Finish::Average(to) => self.means(groups, to),
            Finish::Sum => Ok(self.within_precision(self.sums(groups, None))),
            Finish::SumOrZero => {
                Ok(self.within_precision(self.sums(groups, Some(T::Native::default()))))
            }
        }
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let counts = groups.iter().map(|&g| self.cells[g as usize].1);
        let counts = Int64Array::from_iter_values(counts);
        let zero = Some(T::Native::default());
        let sums = groups
            .iter()
            .map(|&g| Some(self.cells[g as usize].0).or(zero));
        let sums: PrimitiveArray<T> = sums.collect();
        let sums = sums.with_data_type(self.summed.to_arrow());
        Ok(vec![Arc::new(sums), Arc::new(counts)])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![self.summed.clone(), LogicalType::BigInt.not_null()]
    }

    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let sums = state[0].as_primitive::<T>().values();
        let counts = state[1].as_primitive::<Int64Type>().values();
        for ((&group, &partial), partial_count) in groups.iter().zip(sums).zip(counts) {
            let (sum, count) = &mut self.cells[group as usize];
            *sum = sum.add_wrapping(partial);
            *count += partial_count;
        }
        Ok(())
    }

    fn clear(&mut self, groups: &[u32]) {
        for &group in groups {
            self.cells[group as usize] = Default::default();
        }
    }

    fn size_bytes(&self) -> usize {
        self.cells.capacity() * size_of::<(T::Native, i64)>()
    }
}

/// Means of sums, and the range of the sums' type.
trait Mean: Send {
    /// The means of these groups in the type `to`.
    fn means(&self, _groups: &[u32], to: &LogicalType) -> Result<ArrayRef> {
        Err(Error::internal(format!("no mean in {to}")))
    }

    /// Makes NULL what the type cannot hold.
    fn within_precision(&self, sums: ArrayRef) -> ArrayRef {
        sums
    }
}

impl Mean for Sum<Int8Type> {}
impl Mean for Sum<Int16Type> {}
impl Mean for Sum<Int32Type> {}
impl Mean for Sum<Float32Type> {}

impl Mean for Sum<Int64Type> {
    fn means(&self, groups: &[u32], to: &LogicalType) -> Result<ArrayRef> {
        let means = groups.iter().map(|&g| self.cells[g as usize]);
        let means = means.map(|(sum, count)| (count != 0).then(|| sum.wrapping_div(count)));
        let means: Int64Array = means.collect();
        // Between the least and the greatest value: always in range without removals.
        Ok(arrow::compute::cast(&means, &to.to_arrow())?)
    }
}

impl Mean for Sum<Float64Type> {
    fn means(&self, groups: &[u32], to: &LogicalType) -> Result<ArrayRef> {
        let means = groups.iter().map(|&g| self.cells[g as usize]);
        let means = means.map(|(sum, count)| (count != 0).then(|| sum / count as f64));
        Ok(match to {
            LogicalType::Float => {
                Arc::new(means.map(|m| m.map(|m| m as f32)).collect::<Float32Array>())
            }
            _ => Arc::new(means.collect::<Float64Array>()),
        })
    }
}

/// 10^38: what no DECIMAL reaches.
pub(super) fn decimal_limit() -> i128 {
    power_of_ten(u32::from(MAX_DECIMAL_PRECISION))
}

impl Mean for Sum<Decimal128Type> {
    fn means(&self, groups: &[u32], to: &LogicalType) -> Result<ArrayRef> {
        let scale_of = |logical: &LogicalType| match logical {
            LogicalType::Decimal(_, scale) => u32::from(*scale),
            _ => 0,
        };
        let factor = power_of_ten(scale_of(to).saturating_sub(scale_of(&self.summed.logical)));
        let means = groups.iter().map(|&g| match self.cells[g as usize] {
            (_, 0) => None,
            (sum, count) => sum
                .checked_mul(factor)
                .map(|sum| divide_half_up(sum, count.into()))
                .filter(|mean| mean.abs() < decimal_limit()),
        });
        let means: Decimal128Array = means.collect();
        Ok(Arc::new(means.with_data_type(to.to_arrow())))
    }

    fn within_precision(&self, sums: ArrayRef) -> ArrayRef {
        let array = sums.as_primitive::<Decimal128Type>();
        let limit = decimal_limit();
        if array
            .values()
            .iter()
            .all(|v| v.unsigned_abs() < limit.unsigned_abs())
        {
            return sums;
        }
        Arc::new(
            array
                .unary_opt::<_, Decimal128Type>(|v| {
                    (v.unsigned_abs() < limit.unsigned_abs()).then_some(v)
                })
                .with_data_type(self.summed.to_arrow()),
        )
    }
}
