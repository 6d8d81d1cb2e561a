//! The values that an aggregate with DISTINCT has seen, with what each counts for every filter.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use flott_core::Result;
use flott_core::types::DataType;
use flott_state::GroupTable;

/// Filters that share the look-ups of one set: a bit for each in a byte.
pub(crate) const MAX_FILTERS: usize = 8;

/// Rows that count for a set, and for which of its filters.
pub(crate) struct Marks {
    /// Positions in the batch; `None` is every row.
    pub rows: Option<Vec<u32>>,
    /// Of each of these rows, bit *f* for filter *f*.
    pub masks: Vec<u8>,
}

impl Marks {
    /// Rows without NULL among the arguments that pass at least one filter; a filter of `None`
    /// lets every row pass.
    pub fn of(arguments: &[ArrayRef], filters: &[Option<&BooleanArray>], num_rows: usize) -> Self {
        let unfiltered = filters.iter().enumerate();
        let unfiltered = unfiltered.filter(|(_, filter)| filter.is_none());
        let unfiltered = unfiltered.fold(0, |mask, (f, _)| mask | 1 << f);
        let mut masks = vec![unfiltered; num_rows];
        for (f, filter) in filters.iter().enumerate() {
            if let Some(filter) = filter {
                let passing = passing(filter);
                passing.set_indices().for_each(|row| masks[row] |= 1 << f);
            }
        }
        let nulls = arguments.iter().fold(None, |nulls, argument| {
            NullBuffer::union(nulls.as_ref(), argument.logical_nulls().as_ref())
        });
        if let Some(nulls) = nulls.filter(|n| n.null_count() > 0) {
            let is_null = !nulls.inner();
            is_null.set_indices().for_each(|row| masks[row] = 0);
        }
        Self::marked(masks)
    }

    /// The rows whose mask is not 0.
    pub fn marked(mut masks: Vec<u8>) -> Self {
        if masks.iter().all(|&mask| mask != 0) {
            return Self { rows: None, masks };
        }
        let rows = masks.iter().enumerate().filter(|(_, mask)| **mask != 0);
        let rows = rows.map(|(row, _)| row as u32).collect();
        masks.retain(|&mask| mask != 0);
        Self {
            rows: Some(rows),
            masks,
        }
    }

    /// Where a marked row is in the batch.
    #[inline]
    pub fn row(&self, marked: usize) -> u32 {
        self.rows
            .as_ref()
            .map_or(marked as u32, |rows| rows[marked])
    }
}

fn passing(filter: &BooleanArray) -> BooleanBuffer {
    match filter.nulls() {
        Some(nulls) => filter.values() & nulls.inner(),
        None => filter.values().clone(),
    }
}

/// Values by group, and the filters for which each is there.
pub(crate) struct DistinctValues {
    /// (group, value) to the value's number.
    table: GroupTable,
    entries: Entries,
    /// The number of values of each group.
    num_values: Vec<u32>,
    /// The value of each row counted last.
    numbers: Vec<u32>,
    /// Values that the rows counted last have left without any count.
    gone: Vec<u32>,
}

/// What each value counts, by its number.
enum Entries {
    /// Nothing is ever removed: bit *f* is set when the value is there for filter *f*.
    Bits(Vec<u8>),
    /// How often it is there, for each filter.
    Counts {
        counts: Vec<i64>,
        num_filters: usize,
    },
}

/// A row that makes its value appear or disappear for some filters.
#[derive(Clone, Copy)]
pub(crate) struct Change {
    /// Its position among the rows that are counted.
    pub row: u32,
    pub added: u8,
    pub removed: u8,
}

impl DistinctValues {
    /// Values of these types, for so many filters (at most [`MAX_FILTERS`]); `retractable` when
    /// rows will also be removed.
    ///
    /// # Errors
    /// A type whose values cannot be compared.
    pub fn new(arguments: &[DataType], num_filters: usize, retractable: bool) -> Result<Self> {
        let arrow_types: Vec<_> = arguments.iter().map(DataType::to_arrow).collect();
        let entries = match retractable {
            false => Entries::Bits(Vec::new()),
            true => Entries::Counts {
                counts: Vec::new(),
                num_filters,
            },
        };
        Ok(Self {
            table: GroupTable::new(&arrow_types)?,
            entries,
            num_values: Vec::new(),
            numbers: Vec::new(),
            gone: Vec::new(),
        })
    }

    /// Counts rows without NULL: `masks` tells for which filters, `weight(row, filter)` by how
    /// much. Gives the rows that change anything for a filter. [`DistinctValues::forget_gone`]
    /// follows.
    pub fn count(
        &mut self,
        groups: &[u32],
        arguments: &[ArrayRef],
        masks: &[u8],
        weight: impl Fn(usize, usize) -> i64,
    ) -> Result<Vec<Change>> {
        self.table
            .assign_scoped(arguments, groups, &mut self.numbers)?;
        self.note_created();
        let capacity = self.table.capacity();
        let numbers = &self.numbers;
        Ok(match &mut self.entries {
            Entries::Bits(bits) => {
                bits.resize(capacity, 0);
                count_bits(bits, numbers, masks)
            }
            Entries::Counts {
                counts,
                num_filters,
            } => {
                counts.resize(capacity * *num_filters, 0);
                count_weights(
                    counts,
                    *num_filters,
                    (numbers, masks),
                    weight,
                    &mut self.gone,
                )
            }
        })
    }

    fn note_created(&mut self) {
        for &value in self.table.created() {
            let group = self.table.scope(value).unwrap_or(0) as usize;
            let length = self.num_values.len().max(group + 1);
            self.num_values.resize(length, 0);
            self.num_values[group] += 1;
        }
    }

    /// The value of each row counted last.
    pub fn numbers(&self) -> &[u32] {
        &self.numbers
    }

    /// Values that the rows counted last have left without any count.
    pub fn gone(&self) -> &[u32] {
        &self.gone
    }

    /// Removes the values without any count.
    pub fn forget_gone(&mut self) {
        if self.gone.is_empty() {
            return;
        }
        let gone = std::mem::take(&mut self.gone);
        for group in gone.iter().filter_map(|&v| self.table.scope(v)) {
            self.num_values[group as usize] -= 1;
        }
        self.table.remove(&gone);
    }

    /// The number of values of a group.
    pub fn num_values(&self, group: u32) -> usize {
        let count = self.num_values.get(group as usize);
        count.map_or(0, |&count| count as usize)
    }

    /// The number of values of all groups.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Every value.
    pub fn all(&self) -> Vec<u32> {
        self.table.groups()
    }

    /// One more than the highest number of a value.
    pub fn capacity(&self) -> usize {
        self.table.capacity()
    }

    /// The groups of values.
    pub fn groups_of(&self, values: &[u32]) -> Vec<u32> {
        let groups = values.iter();
        groups.map(|&v| self.table.scope(v).unwrap_or(0)).collect()
    }

    /// The columns of values.
    pub fn columns(&self, values: &[u32]) -> Result<Vec<ArrayRef>> {
        self.table.keys(values)
    }

    /// Of each value whether it is there for a filter, or how often.
    pub fn entry_column(&self, values: &[u32], filter: usize) -> ArrayRef {
        match &self.entries {
            Entries::Bits(bits) => {
                let is_there = |v: u32| bits[v as usize] >> filter & 1 == 1;
                let is_there = BooleanBuffer::collect_bool(values.len(), |i| is_there(values[i]));
                Arc::new(BooleanArray::new(is_there, None))
            }
            Entries::Counts {
                counts,
                num_filters,
            } => {
                let count = |v: &u32| counts[*v as usize * num_filters + filter];
                Arc::new(Int64Array::from_iter_values(values.iter().map(count)))
            }
        }
    }

    pub fn is_retractable(&self) -> bool {
        matches!(self.entries, Entries::Counts { .. })
    }

    /// The values of these groups, and where each group's end.
    pub fn of_groups(&self, groups: &[u32]) -> (Vec<u32>, Vec<i32>) {
        let num_groups = groups.iter().map(|&g| g as usize + 1).max().unwrap_or(0);
        let mut place = vec![u32::MAX; num_groups];
        for (i, &group) in groups.iter().enumerate() {
            place[group as usize] = i as u32;
        }
        let mut found: Vec<(u32, u32)> = Vec::new();
        for value in self.table.groups() {
            let group = self.table.scope(value).unwrap_or(0) as usize;
            match place.get(group) {
                Some(&at) if at != u32::MAX => found.push((at, value)),
                _ => {}
            }
        }
        found.sort_by_key(|&(at, _)| at);
        let mut offsets = vec![0; groups.len() + 1];
        for &(at, _) in &found {
            offsets[at as usize + 1] += 1;
        }
        for i in 1..offsets.len() {
            offsets[i] += offsets[i - 1];
        }
        (found.into_iter().map(|(_, value)| value).collect(), offsets)
    }

    /// Forgets the values of these groups, each named once.
    pub fn clear(&mut self, groups: &[u32]) {
        let filled = groups.iter().copied();
        let filled: Vec<u32> = filled.filter(|&g| self.num_values(g) > 0).collect();
        if filled.is_empty() {
            return;
        }
        let num_values: usize = filled.iter().map(|&g| self.num_values(g)).sum();
        if num_values == self.table.len() {
            self.clear_all();
            return;
        }
        let (values, _) = self.of_groups(&filled);
        for &value in &values {
            self.empty(value);
        }
        self.table.remove(&values);
        filled.iter().for_each(|&g| self.num_values[g as usize] = 0);
    }

    /// Forgets all values.
    pub fn clear_all(&mut self) {
        self.table.clear();
        self.num_values.clear();
        match &mut self.entries {
            Entries::Bits(bits) => bits.clear(),
            Entries::Counts { counts, .. } => counts.clear(),
        }
    }

    fn empty(&mut self, value: u32) {
        match &mut self.entries {
            Entries::Bits(bits) => bits[value as usize] = 0,
            Entries::Counts {
                counts,
                num_filters,
            } => {
                let at = value as usize * *num_filters;
                counts[at..at + *num_filters].fill(0);
            }
        }
    }

    /// Bytes held.
    pub fn size_bytes(&self) -> usize {
        let entries = match &self.entries {
            Entries::Bits(bits) => bits.capacity(),
            Entries::Counts { counts, .. } => counts.capacity() * 8,
        };
        let numbers = self.num_values.capacity() + self.numbers.capacity();
        self.table.size_bytes() + entries + numbers * 4
    }
}

/// Sets the bits of values; the rows that set some.
fn count_bits(bits: &mut [u8], numbers: &[u32], masks: &[u8]) -> Vec<Change> {
    let mut changes = Vec::new();
    for (row, (&value, &mask)) in numbers.iter().zip(masks).enumerate() {
        let entry = &mut bits[value as usize];
        let added = mask & !*entry;
        if added != 0 {
            *entry |= added;
            changes.push(Change {
                row: row as u32,
                added,
                removed: 0,
            });
        }
    }
    changes
}

/// Adds weights to the counts of values (`rows` are their numbers and masks); the rows at which
/// counts begin or cease to be positive. `gone` gets the values that are left with no count.
fn count_weights(
    counts: &mut [i64],
    num_filters: usize,
    (numbers, masks): (&[u32], &[u8]),
    weight: impl Fn(usize, usize) -> i64,
    gone: &mut Vec<u32>,
) -> Vec<Change> {
    let mut changes = Vec::new();
    gone.clear();
    for (row, (&value, &mask)) in numbers.iter().zip(masks).enumerate() {
        let at = value as usize * num_filters;
        let counts = &mut counts[at..at + num_filters];
        let (mut added, mut removed) = (0, 0);
        for (filter, count) in counts.iter_mut().enumerate() {
            if mask >> filter & 1 == 0 {
                continue;
            }
            let was_there = *count > 0;
            *count += weight(row, filter);
            match (was_there, *count > 0) {
                (false, true) => added |= 1 << filter,
                (true, false) => removed |= 1 << filter,
                _ => {}
            }
        }
        if counts.iter().all(|&count| count == 0) {
            gone.push(value);
        }
        if added | removed != 0 {
            let row = row as u32;
            changes.push(Change {
                row,
                added,
                removed,
            });
        }
    }
    gone.retain(|&value| {
        let at = value as usize * num_filters;
        counts[at..at + num_filters].iter().all(|&count| count == 0)
    });
    gone.sort_unstable();
    gone.dedup();
    changes
}
