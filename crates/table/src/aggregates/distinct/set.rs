//! A set of values with the aggregates over it.

use arrow::array::{ArrayRef, AsArray, BooleanArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::Int64Type;
use flott_core::types::{DataType, LogicalType};
use flott_core::{Error, Result};

use super::SharedSet;
use super::values::{Change, DistinctValues, Marks};
use crate::aggregates::encoded::{Lists, list_type};
use crate::aggregates::{Accumulator, AggregateCallConfig, bind};

/// Values by group, and the aggregates over those that pass each one's filter.
pub(crate) struct DistinctSet {
    members: Vec<Member>,
    arguments: Vec<DataType>,
    num_filters: usize,
    values: DistinctValues,
}

struct Member {
    inner: Box<dyn Accumulator>,
    filter: usize,
}

impl DistinctSet {
    /// # Errors
    /// Types that a member's function does not take, or whose values cannot be compared.
    pub fn new(
        shared: &SharedSet,
        calls: &[AggregateCallConfig],
        retractable: bool,
    ) -> Result<Self> {
        let member = |member: &super::SetMember| {
            let inner = calls[member.call].plain_accumulator(retractable)?;
            let filter = member.filter;
            Ok(Member { inner, filter })
        };
        let num_filters = shared.filters.len();
        Ok(Self {
            members: shared.members.iter().map(member).collect::<Result<_>>()?,
            arguments: shared.arguments.iter().map(bind::nullable).collect(),
            num_filters,
            values: DistinctValues::new(&shared.arguments, num_filters, retractable)?,
        })
    }

    /// Makes room for groups `0..num_groups`; new ones are empty.
    pub fn resize(&mut self, num_groups: usize) {
        let members = self.members.iter_mut();
        members.for_each(|m| m.inner.resize(num_groups));
    }

    /// Adds and removes rows; `filters` are those of the set, in order.
    pub fn update(
        &mut self,
        groups: &[u32],
        arguments: &[ArrayRef],
        filters: &[Option<&BooleanArray>],
        adds: Option<&BooleanArray>,
    ) -> Result<()> {
        let marks = Marks::of(arguments, filters, groups.len());
        self.update_marked(groups, arguments, &marks, adds)?;
        self.values.forget_gone();
        Ok(())
    }

    /// Adds and removes the marked of these rows. [`DistinctValues::forget_gone`] follows.
    pub fn update_marked(
        &mut self,
        groups: &[u32],
        arguments: &[ArrayRef],
        marks: &Marks,
        adds: Option<&BooleanArray>,
    ) -> Result<()> {
        let weight = |marked: usize, _: usize| match adds {
            Some(adds) if !adds.value(marks.row(marked) as usize) => -1,
            _ => 1,
        };
        let Some(rows) = &marks.rows else {
            return self.count(groups, arguments, &marks.masks, weight);
        };
        let indices = UInt32Array::from(rows.clone());
        let picked = arguments.iter().map(|a| Ok(take(a, &indices, None)?));
        let picked = picked.collect::<Result<Vec<_>>>()?;
        let groups: Vec<u32> = rows.iter().map(|&r| groups[r as usize]).collect();
        self.count(&groups, &picked, &marks.masks, weight)
    }

    fn count(
        &mut self,
        groups: &[u32],
        arguments: &[ArrayRef],
        masks: &[u8],
        weight: impl Fn(usize, usize) -> i64,
    ) -> Result<()> {
        let changes = self.values.count(groups, arguments, masks, weight)?;
        for filter in 0..self.num_filters {
            self.tell_members(filter, groups, arguments, &changes)?;
        }
        Ok(())
    }

    /// Gives the members with this filter the values that appear and disappear for it.
    fn tell_members(
        &mut self,
        filter: usize,
        groups: &[u32],
        arguments: &[ArrayRef],
        changes: &[Change],
    ) -> Result<()> {
        let of_filter = changes.iter();
        let of_filter = of_filter.filter(|c| (c.added | c.removed) >> filter & 1 == 1);
        let (rows, adds): (Vec<u32>, Vec<bool>) = of_filter
            .map(|c| (c.row, c.added >> filter & 1 == 1))
            .unzip();
        if rows.is_empty() {
            return Ok(());
        }
        let groups: Vec<u32> = rows.iter().map(|&r| groups[r as usize]).collect();
        let indices = UInt32Array::from(rows);
        let arguments = arguments.iter().map(|a| Ok(take(a, &indices, None)?));
        let arguments = arguments.collect::<Result<Vec<_>>>()?;
        let adds = BooleanArray::from(adds);
        let adds = adds.has_false().then_some(adds);
        let members = self.members.iter_mut().filter(|m| m.filter == filter);
        for member in members {
            member
                .inner
                .update(&groups, &arguments, None, adds.as_ref())?;
        }
        Ok(())
    }

    /// The results of a member.
    pub fn evaluate(&self, member: usize, groups: &[u32]) -> Result<ArrayRef> {
        self.members[member].inner.evaluate(groups)
    }

    pub fn values(&self) -> &DistinctValues {
        &self.values
    }

    pub fn values_mut(&mut self) -> &mut DistinctValues {
        &mut self.values
    }

    /// The partial states of the members alone, without the values.
    pub fn member_states(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut columns = Vec::new();
        for member in &self.members {
            columns.extend(member.inner.state(groups)?);
        }
        Ok(columns)
    }

    /// Makes the members empty again and keeps the values.
    pub fn clear_members(&mut self, groups: &[u32]) {
        let members = self.members.iter_mut();
        members.for_each(|m| m.inner.clear(groups));
    }

    /// The types of the values and of what each counts for every filter.
    pub fn item_types(&self) -> Vec<DataType> {
        let entry = match self.values.is_retractable() {
            true => LogicalType::BigInt.not_null(),
            false => LogicalType::Boolean.not_null(),
        };
        let entries = std::iter::repeat_n(entry, self.num_filters);
        self.arguments.iter().cloned().chain(entries).collect()
    }

    /// These values and what each counts for every filter, as columns.
    pub fn items(&self, values: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut columns = self.values.columns(values)?;
        let filters = 0..self.num_filters;
        columns.extend(filters.map(|f| self.values.entry_column(values, f)));
        Ok(columns)
    }

    /// The values of these groups as a column of lists: what [`DistinctSet::merge`] takes.
    pub fn state(&self, groups: &[u32]) -> Result<ArrayRef> {
        let (values, offsets) = self.values.of_groups(groups);
        let columns = self.items(&values)?;
        Lists { columns, offsets }.into_state(&self.item_types())
    }

    pub fn state_type(&self) -> DataType {
        list_type(&self.item_types())
    }

    /// Merges values: list `i` into group `groups[i]`.
    pub fn merge(&mut self, groups: &[u32], state: &ArrayRef) -> Result<()> {
        let mut lists = Lists::from_state(state);
        let mut item_groups = lists.item_groups(groups);
        let start = lists.offsets[0] as usize;
        let length = lists.offsets[lists.len()] as usize - start;
        if (start, length) != (0, item_groups.len()) {
            let columns = lists.columns.iter_mut();
            columns.for_each(|c| *c = c.slice(start, length));
            item_groups = item_groups[start..start + length].to_vec();
        }
        self.merge_items(&item_groups, &lists.columns)
    }

    /// Merges columns of [`DistinctSet::items`]: item `i` into group `groups[i]`.
    pub fn merge_items(&mut self, groups: &[u32], items: &[ArrayRef]) -> Result<()> {
        if items.len() != self.arguments.len() + self.num_filters {
            return Err(Error::internal("distinct values with other filters"));
        }
        let (arguments, entries) = items.split_at(self.arguments.len());
        if !self.values.is_retractable() {
            let filters: Vec<_> = entries.iter().map(|e| Some(e.as_boolean())).collect();
            let marks = Marks::of(&[], &filters, groups.len());
            return self.update_marked(groups, arguments, &marks, None);
        }
        let counts: Vec<_> = entries
            .iter()
            .map(|e| e.as_primitive::<Int64Type>())
            .collect();
        let all = vec![u8::MAX >> (8 - self.num_filters); groups.len()];
        self.count(groups, arguments, &all, |row, filter| {
            counts[filter].value(row)
        })?;
        self.values.forget_gone();
        Ok(())
    }

    /// Makes these groups empty again.
    pub fn clear(&mut self, groups: &[u32]) {
        self.values.clear(groups);
        self.clear_members(groups);
    }

    /// Bytes held.
    pub fn size_bytes(&self) -> usize {
        let members = self.members.iter().map(|m| m.inner.size_bytes());
        members.sum::<usize>() + self.values.size_bytes()
    }
}
