//! DISTINCT around any aggregate: only the first row of a value counts, and its last removal.
//!
//! Calls over the same arguments share one set of values, whatever their filters are: a value is
//! looked up once for all of them.

mod set;
mod values;

use flott_core::types::DataType;

use super::AggregateCallConfig;

pub(crate) use set::DistinctSet;
pub(crate) use values::{DistinctValues, MAX_FILTERS, Marks};

/// Calls that share a set of values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SharedSet {
    /// Positions of the arguments.
    pub args: Vec<usize>,
    pub arguments: Vec<DataType>,
    /// Positions of the filters; `None` lets every row pass.
    pub filters: Vec<Option<usize>>,
    pub members: Vec<SetMember>,
}

/// A call that counts the values of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SetMember {
    /// Its position among the calls.
    pub call: usize,
    /// The position of its filter in [`SharedSet::filters`].
    pub filter: usize,
}

impl SharedSet {
    /// The sets of these calls, in the order of the first of each.
    pub fn all(calls: &[AggregateCallConfig]) -> Vec<Self> {
        let mut sets: Vec<Self> = Vec::new();
        let distinct = calls.iter().enumerate().filter(|(_, c)| c.is_distinct());
        for (position, call) in distinct {
            // Where order matters, it must be that in which values came to the call itself.
            let is_shared = !call.function.is_order_sensitive;
            let known = sets.iter_mut().find(|s| is_shared && s.takes(call, calls));
            match known {
                Some(set) => set.join(position, call.filter),
                None => sets.push(Self {
                    args: call.args.clone(),
                    arguments: call.types.arguments.clone(),
                    filters: vec![call.filter],
                    members: vec![SetMember {
                        call: position,
                        filter: 0,
                    }],
                }),
            }
        }
        sets
    }

    fn takes(&self, call: &AggregateCallConfig, calls: &[AggregateCallConfig]) -> bool {
        let has_room = self.filters.contains(&call.filter) || self.filters.len() < MAX_FILTERS;
        let mut members = self.members.iter();
        let is_shared = members.all(|m| !calls[m.call].function.is_order_sensitive);
        let is_same = self.args == call.args && self.arguments == call.types.arguments;
        has_room && is_shared && is_same
    }

    fn join(&mut self, call: usize, filter: Option<usize>) {
        let known = self.filters.iter().position(|f| *f == filter);
        let filter = known.unwrap_or_else(|| {
            self.filters.push(filter);
            self.filters.len() - 1
        });
        self.members.push(SetMember { call, filter });
    }
}
