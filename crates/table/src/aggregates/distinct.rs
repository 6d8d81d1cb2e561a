//! DISTINCT around any aggregate: only the first row of a value counts, and its last removal.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::compute::take;
use arrow::datatypes::Int64Type;
use flott_core::Result;
use flott_core::types::{DataType, LogicalType};
use flott_state::GroupTable;

use super::encoded::{Lists, list_type};
use super::rows::each_row;
use super::{Accumulator, AggregateTypes};

/// Values by group with how often each is there, and the aggregate over the distinct ones.
pub(super) struct Distinct {
    inner: Box<dyn Accumulator>,
    arguments: Vec<DataType>,
    /// (group, value) to the position in `counts`.
    values: GroupTable,
    counts: Vec<i64>,
    /// The number of values of each group.
    num_values: Vec<u32>,
}

/// Rows that make a value appear or disappear.
#[derive(Default)]
struct Changes {
    rows: Vec<u32>,
    groups: Vec<u32>,
    adds: Vec<bool>,
}

impl Distinct {
    pub fn new(types: &AggregateTypes, inner: Box<dyn Accumulator>) -> Result<Self> {
        let arrow_types: Vec<_> = types.arguments.iter().map(DataType::to_arrow).collect();
        Ok(Self {
            inner,
            arguments: types.arguments.iter().map(super::bind::nullable).collect(),
            values: GroupTable::new(&arrow_types)?,
            counts: Vec::new(),
            num_values: Vec::new(),
        })
    }

    /// Changes the counts of values; `weight` tells by how much for each row.
    fn count(
        &mut self,
        groups: &[u32],
        arguments: &[ArrayRef],
        filter: Option<&BooleanArray>,
        weight: impl Fn(usize) -> i64,
    ) -> Result<Changes> {
        let nulls = arguments.iter().fold(None, |nulls, argument| {
            NullBuffer::union(nulls.as_ref(), argument.logical_nulls().as_ref())
        });
        let mut rows = Vec::with_capacity(groups.len());
        each_row(groups, nulls.as_ref(), filter, None, |row, _, _| {
            rows.push(row as u32);
        });
        if rows.len() == groups.len() {
            return self.count_rows(groups, arguments, rows, weight);
        }
        let indices = UInt32Array::from(rows.clone());
        let picked = arguments.iter().map(|a| Ok(take(a, &indices, None)?));
        let picked = picked.collect::<Result<Vec<_>>>()?;
        let picked_groups: Vec<u32> = rows.iter().map(|&r| groups[r as usize]).collect();
        self.count_rows(&picked_groups, &picked, rows, weight)
    }

    fn count_rows(
        &mut self,
        groups: &[u32],
        arguments: &[ArrayRef],
        rows: Vec<u32>,
        weight: impl Fn(usize) -> i64,
    ) -> Result<Changes> {
        let mut values = Vec::new();
        self.values.assign_scoped(arguments, groups, &mut values)?;
        self.counts.resize(self.values.capacity(), 0);
        self.note_created();
        let mut changes = Changes::default();
        let mut gone = Vec::new();
        for ((&value, &group), row) in values.iter().zip(groups).zip(rows) {
            let count = &mut self.counts[value as usize];
            let was_there = *count > 0;
            *count += weight(row as usize);
            if *count == 0 {
                gone.push(value);
            }
            if was_there != (*count > 0) {
                changes.rows.push(row);
                changes.groups.push(group);
                changes.adds.push(!was_there);
            }
        }
        gone.retain(|&v| self.counts[v as usize] == 0);
        gone.sort_unstable();
        gone.dedup();
        for group in gone.iter().filter_map(|&v| self.values.scope(v)) {
            self.num_values[group as usize] -= 1;
        }
        self.values.remove(&gone);
        Ok(changes)
    }

    fn note_created(&mut self) {
        for &value in self.values.created() {
            let group = self.values.scope(value).unwrap_or(0) as usize;
            let length = self.num_values.len().max(group + 1);
            self.num_values.resize(length, 0);
            self.num_values[group] += 1;
        }
    }

    /// The number of values of a group.
    fn num_values(&self, group: u32) -> usize {
        let count = self.num_values.get(group as usize);
        count.map_or(0, |&count| count as usize)
    }

    /// Forgets the values of groups that have some, each named once.
    fn clear_values(&mut self, groups: &[u32]) {
        let num_values: usize = groups.iter().map(|&g| self.num_values(g)).sum();
        if num_values == self.values.len() {
            self.values.clear();
            self.counts.clear();
        } else {
            let (values, _) = self.values_of(groups);
            values.iter().for_each(|&v| self.counts[v as usize] = 0);
            self.values.remove(&values);
        }
        groups.iter().for_each(|&g| self.num_values[g as usize] = 0);
    }

    fn apply(&mut self, changes: Changes, arguments: &[ArrayRef]) -> Result<()> {
        if changes.rows.is_empty() {
            return Ok(());
        }
        let indices = UInt32Array::from(changes.rows);
        let arguments = arguments.iter().map(|a| Ok(take(a, &indices, None)?));
        let arguments = arguments.collect::<Result<Vec<_>>>()?;
        let adds = BooleanArray::from(changes.adds);
        let adds = (adds.false_count() > 0).then_some(adds);
        self.inner
            .update(&changes.groups, &arguments, None, adds.as_ref())
    }

    fn item_types(&self) -> Vec<DataType> {
        let count = LogicalType::BigInt.not_null();
        self.arguments.iter().cloned().chain([count]).collect()
    }

    /// The values of these groups: their positions and where each group's end.
    fn values_of(&self, groups: &[u32]) -> (Vec<u32>, Vec<i32>) {
        let num_groups = groups.iter().map(|&g| g as usize + 1).max().unwrap_or(0);
        let mut place = vec![u32::MAX; num_groups];
        for (i, &group) in groups.iter().enumerate() {
            place[group as usize] = i as u32;
        }
        let mut found: Vec<(u32, u32)> = Vec::new();
        for value in self.values.groups() {
            let group = self.values.scope(value).unwrap_or(0) as usize;
            match place.get(group) {
                Some(&at) if at != u32::MAX => found.push((at, value)),
                _ => {}
            }
        }
        found.sort_by_key(|&(at, _)| at);
        let mut offsets = vec![0; groups.len() + 1];
        found
            .iter()
            .for_each(|&(at, _)| offsets[at as usize + 1] += 1);
        for i in 1..offsets.len() {
            offsets[i] += offsets[i - 1];
        }
        (found.into_iter().map(|(_, value)| value).collect(), offsets)
    }
}

impl Accumulator for Distinct {
    fn resize(&mut self, num_groups: usize) {
        self.inner.resize(num_groups);
    }

    fn update(
        &mut self,
        groups: &[u32],
        arguments: &[ArrayRef],
        filter: Option<&BooleanArray>,
        adds: Option<&BooleanArray>,
    ) -> Result<()> {
        let weight = |row: usize| match adds {
            Some(adds) if !adds.value(row) => -1,
            _ => 1,
        };
        let changes = self.count(groups, arguments, filter, weight)?;
        self.apply(changes, arguments)
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        self.inner.evaluate(groups)
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let (values, offsets) = self.values_of(groups);
        let mut columns = self.values.keys(&values)?;
        let counts = values.iter().map(|&v| self.counts[v as usize]);
        columns.push(Arc::new(Int64Array::from_iter_values(counts)));
        let lists = Lists { columns, offsets };
        Ok(vec![lists.into_state(&self.item_types())?])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![list_type(&self.item_types())]
    }

    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let mut lists = Lists::from_state(&state[0]);
        let item_groups = lists.item_groups(groups);
        let counts = lists.columns.pop();
        let counts = counts
            .as_ref()
            .map(|c| c.as_primitive::<Int64Type>().values());
        let weight = |row: usize| counts.map_or(0, |c| c[row]);
        let start = lists.offsets[0] as usize;
        let length = lists.offsets[lists.len()] as usize - start;
        if start != 0 || length != item_groups.len() {
            lists
                .columns
                .iter_mut()
                .for_each(|c| *c = c.slice(start, length));
            let changes = self.count(
                &item_groups[start..start + length],
                &lists.columns,
                None,
                |row| weight(row + start),
            )?;
            return self.apply(changes, &lists.columns);
        }
        let changes = self.count(&item_groups, &lists.columns, None, weight)?;
        self.apply(changes, &lists.columns)
    }

    fn clear(&mut self, groups: &[u32]) {
        let filled = groups.iter().copied();
        let filled: Vec<u32> = filled.filter(|&g| self.num_values(g) > 0).collect();
        if !filled.is_empty() {
            self.clear_values(&filled);
        }
        self.inner.clear(groups);
    }

    fn size_bytes(&self) -> usize {
        self.inner.size_bytes()
            + self.values.size_bytes()
            + self.counts.capacity() * 8
            + self.num_values.capacity() * 4
    }
}
