//! Which columns the parts of a split aggregation send each other.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array};
use arrow::datatypes::DataType as ArrowType;
use flott_core::Result;
use flott_core::hash::hash_columns;
use flott_core::schema::{Column, Schema};
use flott_core::types::{DataType, LogicalType};

use super::{SplitAggregate, SplitRows};
use crate::aggregates::SharedSet;
use crate::operators::aggregate_table::PartialColumns;
use crate::operators::group_aggregate::FinalInputs;

/// The number of a set stands above the bits of its filters.
const SET_SHIFT: u32 = 8;

/// The calls of a split aggregation by what is done with them.
pub(super) struct SplitLayout {
    /// Positions of the calls without DISTINCT.
    pub plain: Vec<usize>,
    pub sets: Vec<SharedSet>,
    /// Of each set, where its arguments are among the columns of values.
    pub places: Vec<Vec<usize>>,
    pub value_types: Vec<DataType>,
}

impl SplitLayout {
    pub fn new(split: &SplitAggregate) -> Self {
        let calls = split.calls.iter().enumerate();
        let plain = calls.filter(|(_, c)| !c.is_distinct());
        let mut layout = Self {
            plain: plain.map(|(position, _)| position).collect(),
            sets: SharedSet::all(&split.calls),
            places: Vec::new(),
            value_types: Vec::new(),
        };
        for set in &layout.sets {
            let mut places: Vec<usize> = Vec::new();
            for argument in &set.arguments {
                let argument = argument.with_nullable(true);
                let columns = layout.value_types.iter().enumerate();
                let mut free = columns.filter(|(c, t)| **t == argument && !places.contains(c));
                let place = free.next().map(|(c, _)| c);
                places.push(place.unwrap_or(layout.value_types.len()));
                if place.is_none() {
                    layout.value_types.push(argument);
                }
            }
            layout.places.push(places);
        }
        layout
    }

    pub fn spread_schema(&self, split: &SplitAggregate) -> Schema {
        let number = |name: &str| Column::new(name, LogicalType::Int.not_null());
        let values = self.value_types.iter().enumerate();
        let values = values.map(|(i, t)| Column::new(format!("$value{i}"), t.clone()));
        let keys = key_columns(split);
        keys.chain([number("$bucket"), number("$filters")])
            .chain(values)
            .collect()
    }

    pub fn partial_schema(&self, split: &SplitAggregate, takes: SplitRows) -> Result<Schema> {
        let mut columns: Vec<Column> = key_columns(split).collect();
        for call in self.sent_calls(takes) {
            let accumulator = split.calls[call].plain_accumulator(split.input_is_retracting)?;
            let types = accumulator.state_types().into_iter().enumerate();
            columns.extend(types.map(|(i, t)| Column::new(format!("$agg{call}_{i}"), t)));
        }
        for count in self.sent_counts(takes) {
            let count = format!("$count{count}");
            columns.push(Column::new(count, LogicalType::BigInt.not_null()));
        }
        Ok(Schema::new(columns))
    }

    pub fn final_inputs(&self, split: &SplitAggregate, takes: SplitRows) -> FinalInputs {
        let partial = PartialColumns {
            calls: self.sent_calls(takes),
            counts: self.sent_counts(takes),
        };
        let local = PartialColumns {
            calls: self.plain.clone(),
            counts: vec![0],
        };
        let is_required = |(_, set): &(usize, &SharedSet)| {
            let is_filtered = !set.filters.contains(&None);
            let mut args = set.args.iter().map(|&c| &split.input.column(c).data_type);
            !is_filtered && args.all(|argument| !argument.nullable)
        };
        let required = self.sets.iter().enumerate().filter(is_required);
        FinalInputs {
            inputs: match takes {
                SplitRows::Whole => vec![partial],
                SplitRows::Spread => vec![local, partial],
            },
            num_counts: 1 + self.sets.len(),
            required: std::iter::once(0)
                .chain(required.map(|(set, _)| set + 1))
                .collect(),
        }
    }

    /// The calls whose states a partial aggregate sends, in order.
    fn sent_calls(&self, takes: SplitRows) -> Vec<usize> {
        let plain = match takes {
            SplitRows::Whole => self.plain.clone(),
            SplitRows::Spread => Vec::new(),
        };
        let members = self.sets.iter().flat_map(|set| &set.members);
        plain.into_iter().chain(members.map(|m| m.call)).collect()
    }

    /// The numbers of rows that a partial aggregate sends: of all rows, and by set.
    fn sent_counts(&self, takes: SplitRows) -> Vec<usize> {
        let first = usize::from(takes == SplitRows::Spread);
        (first..=self.sets.len()).collect()
    }
}

fn key_columns(split: &SplitAggregate) -> impl Iterator<Item = Column> + '_ {
    let keys = split.key_columns.iter();
    keys.map(|&c| split.input.column(c).clone().with_time(None))
}

/// The set and the filters of a value in one number.
pub(super) fn pack(set: usize, mask: u8) -> i32 {
    (set << SET_SHIFT) as i32 | i32::from(mask)
}

/// The filters of the values of a set; 0 for those of others.
pub(super) fn masks_of(set: usize, packed: &[i32]) -> Vec<u8> {
    let mask = |packed: &i32| match *packed >> SET_SHIFT == set as i32 {
        true => *packed as u8,
        false => 0,
    };
    packed.iter().map(mask).collect()
}

/// The bucket of each row's value.
pub(super) fn buckets(
    arguments: &[ArrayRef],
    num_rows: usize,
    num_buckets: usize,
) -> Result<ArrayRef> {
    let mut hashes = Vec::new();
    hash_columns(arguments, num_rows, &mut hashes)?;
    let bucket = |hash: &u64| (hash % num_buckets.max(1) as u64) as i32;
    let buckets = hashes.iter().map(bucket);
    Ok(Arc::new(Int32Array::from_iter_values(buckets)))
}

/// The Arrow types of the keys.
pub(super) fn key_types(split: &SplitAggregate) -> Vec<ArrowType> {
    let keys = split.key_columns.iter();
    keys.map(|&c| split.input.column(c).data_type.to_arrow())
        .collect()
}
