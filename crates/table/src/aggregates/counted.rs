//! Aggregates that keep each distinct value of a group with how often it is there, in order: MIN
//! and MAX where rows are removed, COLLECT, PERCENTILE.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::datatypes::Int64Type;
use flott_core::Result;
use flott_core::types::{DataType, LogicalType};

use super::encoded::{Encoder, Lists, list_type};
use super::rows::{each_row, resize};
use super::{Accumulator, AggregateTypes};

/// The result of what the groups hold: the values that are there at least once.
pub(super) enum Finish {
    Least,
    Greatest,
    /// Of lists of the values in the order in which they came and, in the last column, BIGINT
    /// counts.
    Arrived(fn(&Lists, &AggregateTypes) -> Result<ArrayRef>),
    /// The same in ascending order.
    Ascending(fn(&Lists, &AggregateTypes) -> Result<ArrayRef>),
}

/// How often a value is there, and its number in the order of arrival.
struct Entry {
    count: i64,
    number: u64,
}

/// What a value takes in its map, besides its bytes.
const ENTRY_BYTES: usize = 40;

/// Values with counts, by group. Counts below 0 are kept for the values to come.
pub(super) struct Counted {
    encoder: Encoder,
    types: AggregateTypes,
    groups: Vec<BTreeMap<Box<[u8]>, Entry>>,
    /// Numbers the values in the order in which they came.
    next_number: u64,
    /// Of all values.
    size_bytes: usize,
    finish: Finish,
}

impl Counted {
    pub fn boxed(types: &AggregateTypes, finish: Finish) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Self {
            encoder: Encoder::new(&types.arguments)?,
            types: types.clone(),
            groups: Vec::new(),
            next_number: 0,
            size_bytes: 0,
            finish,
        }))
    }

    fn count(&mut self, group: usize, value: &[u8], change: i64) {
        let values = &mut self.groups[group];
        match values.get_mut(value) {
            Some(entry) if entry.count + change == 0 => {
                values.remove(value);
                self.size_bytes -= value.len() + ENTRY_BYTES;
            }
            Some(entry) => entry.count += change,
            None if change != 0 => {
                let number = self.next_number;
                self.next_number += 1;
                let count = change;
                values.insert(value.into(), Entry { count, number });
                self.size_bytes += value.len() + ENTRY_BYTES;
            }
            None => {}
        }
    }

    fn lists(&self, groups: &[u32], is_shown: impl Fn(i64) -> bool) -> Result<Lists> {
        let mut offsets = vec![0];
        let (mut values, mut counts) = (Vec::new(), Vec::new());
        for &group in groups {
            let mut shown: Vec<_> = self.groups[group as usize]
                .iter()
                .filter(|(_, entry)| is_shown(entry.count))
                .collect();
            if !matches!(self.finish, Finish::Ascending(_)) {
                shown.sort_by_key(|(_, entry)| entry.number);
            }
            for (value, entry) in shown {
                values.push(value.as_ref());
                counts.push(entry.count);
            }
            offsets.push(values.len() as i32);
        }
        let mut columns = self.encoder.decode(values.into_iter())?;
        columns.push(Arc::new(Int64Array::from(counts)));
        Ok(Lists { columns, offsets })
    }

    fn item_types(&self) -> Vec<DataType> {
        let count = LogicalType::BigInt.not_null();
        let types = self.encoder.types().iter().cloned();
        types.chain([count]).collect()
    }
}

impl Accumulator for Counted {
    fn resize(&mut self, num_groups: usize) {
        resize(&mut self.groups, num_groups);
    }

    fn update(
        &mut self,
        groups: &[u32],
        arguments: &[ArrayRef],
        filter: Option<&BooleanArray>,
        adds: Option<&BooleanArray>,
    ) -> Result<()> {
        let rows = self.encoder.encode(arguments)?;
        let nulls = arguments[0].logical_nulls();
        each_row(groups, nulls.as_ref(), filter, adds, |row, group, adds| {
            let change = if adds { 1 } else { -1 };
            self.count(group, rows.row(row).data(), change);
        });
        Ok(())
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        fn present<'a>((value, entry): (&'a Box<[u8]>, &Entry)) -> Option<&'a [u8]> {
            (entry.count > 0).then_some(value.as_ref())
        }
        let values = groups.iter().map(|&g| &self.groups[g as usize]);
        match &self.finish {
            Finish::Least => {
                let least = values.map(|v| v.iter().find_map(present));
                self.encoder.decode_or_null(least)
            }
            Finish::Greatest => {
                let greatest = values.map(|v| v.iter().rev().find_map(present));
                self.encoder.decode_or_null(greatest)
            }
            Finish::Arrived(finish) | Finish::Ascending(finish) => {
                finish(&self.lists(groups, |c| c > 0)?, &self.types)
            }
        }
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let lists = self.lists(groups, |_| true)?;
        Ok(vec![lists.into_state(&self.item_types())?])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![list_type(&self.item_types())]
    }

    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let mut lists = Lists::from_state(&state[0]);
        let item_groups = lists.item_groups(groups);
        let Some(counts) = lists.columns.pop() else {
            return Ok(());
        };
        let counts = counts.as_primitive::<Int64Type>().values();
        let rows = self.encoder.encode(&lists.columns)?;
        let items = lists.offsets[0] as usize..lists.offsets[lists.len()] as usize;
        for item in items {
            let group = item_groups[item] as usize;
            self.count(group, rows.row(item).data(), counts[item]);
        }
        Ok(())
    }

    fn clear(&mut self, groups: &[u32]) {
        for &group in groups {
            let values = std::mem::take(&mut self.groups[group as usize]);
            let sizes = values.keys().map(|v| v.len() + ENTRY_BYTES);
            self.size_bytes -= sizes.sum::<usize>();
        }
    }

    fn size_bytes(&self) -> usize {
        self.size_bytes + self.groups.capacity() * size_of::<BTreeMap<Box<[u8]>, Entry>>()
    }
}
