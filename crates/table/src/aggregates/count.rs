//! COUNT.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::datatypes::Int64Type;
use flott_core::Result;
use flott_core::types::{DataType, LogicalType};

use super::rows::{each_row, resize};
use super::{Accumulator, AggregateFunction, AggregateTypes};

pub(super) const FUNCTIONS: &[AggregateFunction] = &[AggregateFunction {
    name: "COUNT",
    aliases: &[],
    doc: "COUNT(*) is the number of rows, COUNT(x, …) of rows in which no argument is NULL.",
    bind,
    create: |types, _| Ok(Box::new(Count::new(types.arguments.len()))),
    is_mergeable: true,
    ignores_distinct: false,
    is_order_sensitive: false,
    is_additive: true,
}];

fn bind(args: &[DataType]) -> Result<AggregateTypes> {
    Ok(AggregateTypes {
        arguments: args.to_vec(),
        result: LogicalType::BigInt.not_null(),
    })
}

#[derive(Default)]
struct Count {
    num_arguments: usize,
    counts: Vec<i64>,
}

impl Count {
    fn new(num_arguments: usize) -> Self {
        Self {
            num_arguments,
            counts: Vec::new(),
        }
    }

    fn take(&self, groups: &[u32]) -> ArrayRef {
        let counts = groups.iter().map(|&g| self.counts[g as usize]);
        Arc::new(Int64Array::from_iter_values(counts))
    }
}

impl Accumulator for Count {
    fn resize(&mut self, num_groups: usize) {
        resize(&mut self.counts, num_groups);
    }

    fn update(
        &mut self,
        groups: &[u32],
        arguments: &[ArrayRef],
        filter: Option<&BooleanArray>,
        adds: Option<&BooleanArray>,
    ) -> Result<()> {
        let arguments = &arguments[..self.num_arguments];
        let nulls = arguments.iter().fold(None, |nulls, argument| {
            let own = argument.logical_nulls();
            arrow::buffer::NullBuffer::union(nulls.as_ref(), own.as_ref())
        });
        let counts = &mut self.counts;
        each_row(groups, nulls.as_ref(), filter, adds, |_, group, adds| {
            counts[group] += if adds { 1 } else { -1 };
        });
        Ok(())
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        Ok(self.take(groups))
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.take(groups)])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![LogicalType::BigInt.not_null()]
    }

    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let counts = state[0].as_primitive::<Int64Type>().values();
        for (&group, count) in groups.iter().zip(counts) {
            self.counts[group as usize] += count;
        }
        Ok(())
    }

    fn clear(&mut self, groups: &[u32]) {
        groups.iter().for_each(|&g| self.counts[g as usize] = 0);
    }

    fn size_bytes(&self) -> usize {
        self.counts.capacity() * 8
    }
}
