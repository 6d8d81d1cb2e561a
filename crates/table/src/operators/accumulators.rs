//! The accumulators of an aggregating operator's calls, and the numbers of rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use flott_core::operator::{PartLayout, StateNames, TRAILING_COLUMNS};
use flott_core::types::DataType;
use flott_core::{Error, Result};

use super::aggregate_table::AggregateLayout;
use crate::aggregates::{Accumulator, AggregateCallConfig, DistinctSet, Phase, SharedSet};

/// Which partial states an input of the final part of a split aggregation has, behind the keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartialColumns {
    /// Positions of calls, each with the columns of its accumulator's state.
    pub calls: Vec<usize>,
    /// Which numbers of rows follow, one column each.
    pub counts: Vec<usize>,
}

/// The accumulator of one call, or of the calls that share a set of distinct values.
pub(super) enum Part {
    Call(usize, Box<dyn Accumulator>),
    Set(SharedSet, DistinctSet),
}

impl Part {
    /// The accumulators of these calls, in the order of the first call of each.
    pub fn all(calls: &[AggregateCallConfig], retractable: bool) -> Result<Vec<Self>> {
        let mut parts = Vec::new();
        for (position, call) in calls.iter().enumerate() {
            if !call.is_distinct() {
                parts.push(Self::Call(position, call.plain_accumulator(retractable)?));
            }
        }
        for shared in SharedSet::all(calls) {
            let set = DistinctSet::new(&shared, calls, retractable)?;
            parts.push(Self::Set(shared, set));
        }
        parts.sort_by_key(Self::first_call);
        Ok(parts)
    }

    /// Whether several calls share it.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Set(shared, _) if shared.members.len() > 1)
    }

    /// How a snapshot has it.
    pub fn layout(mut self) -> Result<PartLayout> {
        self.resize(1);
        let empty = self.state(&[0])?;
        Ok(match self {
            Self::Call(call, _) => PartLayout {
                calls: vec![(call, 0)],
                num_filters: None,
                empty,
                is_rebuilt: false,
            },
            Self::Set(shared, _) => PartLayout {
                calls: shared.members.iter().map(|m| (m.call, m.filter)).collect(),
                num_filters: Some(shared.filters.len()),
                empty,
                is_rebuilt: false,
            },
        })
    }

    /// What its columns are called in a snapshot, but for their number: the call, or the calls that
    /// share it, each with the number of its filter.
    fn state_name(&self) -> String {
        match self {
            Self::Set(shared, _) if self.is_shared() => {
                let members = shared.members.iter();
                let members = members.map(|m| format!("{}.{}", m.call, m.filter));
                let members = members.collect::<Vec<_>>().join("+");
                format!("{}{members}", StateNames::AGGREGATES.set)
            }
            part => format!("{}{}", StateNames::AGGREGATES.call, part.first_call()),
        }
    }

    pub fn first_call(&self) -> usize {
        match self {
            Self::Call(call, _) => *call,
            Self::Set(shared, _) => shared.members[0].call,
        }
    }

    pub fn resize(&mut self, num_groups: usize) {
        match self {
            Self::Call(_, accumulator) => accumulator.resize(num_groups),
            Self::Set(_, set) => set.resize(num_groups),
        }
    }

    fn update(
        &mut self,
        calls: &[AggregateCallConfig],
        groups: &[u32],
        rows: &RecordBatch,
        adds: Option<&BooleanArray>,
    ) -> Result<()> {
        let columns = |columns: &[usize]| -> Vec<ArrayRef> {
            columns.iter().map(|&c| rows.column(c).clone()).collect()
        };
        let filter = |filter: Option<usize>| filter.map(|c| rows.column(c).as_boolean());
        match self {
            Self::Call(call, accumulator) => {
                let call = &calls[*call];
                accumulator.update(groups, &columns(&call.args), filter(call.filter), adds)
            }
            Self::Set(shared, set) => {
                let filters: Vec<_> = shared.filters.iter().map(|f| filter(*f)).collect();
                set.update(groups, &columns(&shared.args), &filters, adds)
            }
        }
    }

    pub fn state_types(&self) -> Vec<DataType> {
        match self {
            Self::Call(_, accumulator) => accumulator.state_types(),
            Self::Set(_, set) => vec![set.state_type()],
        }
    }

    pub fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        match self {
            Self::Call(_, accumulator) => accumulator.state(groups),
            Self::Set(_, set) => Ok(vec![set.state(groups)?]),
        }
    }

    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        match self {
            Self::Call(_, accumulator) => accumulator.merge(groups, state),
            Self::Set(_, set) => set.merge(groups, &state[0]),
        }
    }

    fn clear(&mut self, groups: &[u32]) {
        match self {
            Self::Call(_, accumulator) => accumulator.clear(groups),
            Self::Set(_, set) => set.clear(groups),
        }
    }

    fn size_bytes(&self) -> usize {
        match self {
            Self::Call(_, accumulator) => accumulator.size_bytes(),
            Self::Set(_, set) => set.size_bytes(),
        }
    }
}

/// Where a call's results come from.
#[derive(Clone, Copy, Default)]
struct Place {
    part: usize,
    /// Its position among the members of a set.
    member: usize,
}

/// The accumulators of an operator's calls, and the numbers of rows.
pub(crate) struct Accumulators {
    layout: Arc<AggregateLayout>,
    parts: Vec<Part>,
    /// By call.
    places: Vec<Place>,
    /// So many for each group as the layout has counts.
    row_counts: Vec<i64>,
}

impl Accumulators {
    pub fn new(layout: &Arc<AggregateLayout>) -> Result<Self> {
        let parts = Part::all(&layout.calls, layout.counts_rows)?;
        let mut places = vec![Place::default(); layout.calls.len()];
        for (part, made) in parts.iter().enumerate() {
            match made {
                Part::Call(call, _) => places[*call] = Place { part, member: 0 },
                Part::Set(shared, _) => {
                    for (member, set_member) in shared.members.iter().enumerate() {
                        places[set_member.call] = Place { part, member };
                    }
                }
            }
        }
        Ok(Self {
            parts,
            places,
            layout: layout.clone(),
            row_counts: Vec::new(),
        })
    }

    pub fn resize(&mut self, num_groups: usize) {
        self.parts.iter_mut().for_each(|p| p.resize(num_groups));
        let num_counts = self.layout.num_counts;
        self.row_counts.resize(num_groups * num_counts, 0);
    }

    /// Takes in picked rows; `adds` tells which are added and which removed. In the global phase
    /// rows are partial states.
    pub fn take_in(
        &mut self,
        groups: &[u32],
        rows: &RecordBatch,
        adds: Option<&BooleanArray>,
    ) -> Result<()> {
        if self.layout.phase == Phase::Global {
            return self.merge(groups, &rows.columns()[self.layout.num_keys()..]);
        }
        for part in &mut self.parts {
            part.update(&self.layout.calls, groups, rows, adds)?;
        }
        if self.layout.counts_rows {
            for (row, &group) in groups.iter().enumerate() {
                let is_added = adds.is_none_or(|a| a.value(row));
                self.row_counts[group as usize] += if is_added { 1 } else { -1 };
            }
        }
        Ok(())
    }

    /// Merges columns of [`Accumulators::states`].
    pub fn merge(&mut self, groups: &[u32], states: &[ArrayRef]) -> Result<()> {
        let mut rest = states;
        for part in 0..self.parts.len() {
            rest = self.merge_part(part, groups, rest)?;
        }
        for count in 0..self.layout.num_counts {
            rest = self.merge_count(count, groups, rest)?;
        }
        Ok(())
    }

    /// Merges the partial states of some calls and counts only.
    pub fn merge_some(
        &mut self,
        groups: &[u32],
        states: &[ArrayRef],
        columns: &PartialColumns,
    ) -> Result<()> {
        let mut rest = states;
        for &call in &columns.calls {
            rest = self.merge_part(self.places[call].part, groups, rest)?;
        }
        for &count in &columns.counts {
            rest = self.merge_count(count, groups, rest)?;
        }
        Ok(())
    }

    /// Merges a part's columns, which are the first; gives the rest.
    fn merge_part<'a>(
        &mut self,
        part: usize,
        groups: &[u32],
        states: &'a [ArrayRef],
    ) -> Result<&'a [ArrayRef]> {
        let part = &mut self.parts[part];
        let Some((columns, rest)) = states.split_at_checked(part.state_types().len()) else {
            let message = "partial states have other columns than their aggregates";
            return Err(Error::internal(message));
        };
        part.merge(groups, columns)?;
        Ok(rest)
    }

    /// Adds numbers of rows, which are the first column; gives the rest.
    fn merge_count<'a>(
        &mut self,
        count: usize,
        groups: &[u32],
        states: &'a [ArrayRef],
    ) -> Result<&'a [ArrayRef]> {
        let Some((counts, rest)) = states.split_first() else {
            return Err(Error::internal("a state without row counts"));
        };
        let num_counts = self.layout.num_counts;
        let counts = counts.as_primitive::<Int64Type>().values();
        for (&group, rows) in groups.iter().zip(counts) {
            self.row_counts[group as usize * num_counts + count] += rows;
        }
        Ok(rest)
    }

    /// The partial states of these groups, with their numbers of rows if they are counted.
    pub fn states(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut columns = Vec::new();
        for part in &self.parts {
            columns.extend(part.state(groups)?);
        }
        let num_counts = self.layout.num_counts;
        for count in 0..num_counts {
            let rows = |&g: &u32| self.row_counts[g as usize * num_counts + count];
            let rows = groups.iter().map(rows);
            columns.push(Arc::new(Int64Array::from_iter_values(rows)));
        }
        Ok(columns)
    }

    /// What the columns of [`Accumulators::states`] are called in a snapshot.
    pub fn state_names(&self) -> Vec<String> {
        let names = self.parts.iter().flat_map(|part| {
            let name = part.state_name();
            (0..part.state_types().len()).map(move |at| format!("{name}_{at}"))
        });
        let counts = (0..self.layout.num_counts).map(|count| match count {
            0 => TRAILING_COLUMNS[0].to_string(),
            more => format!("{}{more}", TRAILING_COLUMNS[0]),
        });
        names.chain(counts).collect()
    }

    pub fn results(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let result = |place: &Place| match &self.parts[place.part] {
            Part::Call(_, accumulator) => accumulator.evaluate(groups),
            Part::Set(_, set) => set.evaluate(place.member, groups),
        };
        self.places.iter().map(result).collect()
    }

    pub fn clear(&mut self, groups: &[u32]) {
        self.parts.iter_mut().for_each(|p| p.clear(groups));
        let num_counts = self.layout.num_counts;
        for &group in groups.iter().filter(|_| num_counts > 0) {
            let at = group as usize * num_counts;
            self.row_counts[at..at + num_counts].fill(0);
        }
    }

    /// How many rows a group has; 0 where they are not counted.
    pub fn num_rows(&self, group: u32) -> i64 {
        let at = group as usize * self.layout.num_counts;
        self.row_counts.get(at).copied().unwrap_or(0)
    }

    /// Whether the group has rows; without removals every group has.
    #[inline]
    pub fn has_rows(&self, group: u32) -> bool {
        let layout = &self.layout;
        let at = group as usize * layout.num_counts;
        let mut required = layout.required_counts.iter();
        required.all(|&count| self.row_counts[at + count] > 0)
    }

    /// Whether nothing is left of the group.
    pub fn is_gone(&self, group: u32) -> bool {
        match self.layout.num_counts {
            0 => false,
            1 => !self.has_rows(group),
            num_counts => {
                let at = group as usize * num_counts;
                let counts = &self.row_counts[at..at + num_counts];
                counts.iter().all(|&rows| rows == 0)
            }
        }
    }

    pub fn size_bytes(&self) -> usize {
        let parts: usize = self.parts.iter().map(Part::size_bytes).sum();
        parts + self.row_counts.capacity() * 8
    }
}

/// The results of the `wanted` one of these calls, over the partial states of a snapshot that are
/// its own or that it shares with the others: they are DISTINCT over one argument, and their filters
/// are numbered in the order of the calls.
///
/// # Errors
/// States of other columns.
pub fn results_of_states(
    calls: &[AggregateCallConfig],
    wanted: usize,
    retractable: bool,
    states: &[ArrayRef],
) -> Result<ArrayRef> {
    let num_rows = states.first().map_or(0, |column| column.len());
    let groups: Vec<u32> = (0..num_rows as u32).collect();
    let mut parts = Part::all(calls, retractable)?;
    let [part] = parts.as_mut_slice() else {
        return Err(Error::internal("calls that do not share their values"));
    };
    part.resize(num_rows);
    part.merge(&groups, states)?;
    match part {
        Part::Call(_, accumulator) => accumulator.evaluate(&groups),
        Part::Set(_, set) => set.evaluate(wanted, &groups),
    }
}
