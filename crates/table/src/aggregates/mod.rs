//! Aggregate functions: the one list, and the contract of their columnar accumulators.
//!
//! An accumulator holds the values of all groups of one operator in columns, indexed by a dense
//! group number that the operator's group table hands out.

mod bind;
mod call;
mod collect;
mod count;
mod counted;
mod distinct;
mod encoded;
mod json;
mod kept;
mod listed;
mod rows;
mod sum;
mod value;
mod variance;

use arrow::array::{ArrayRef, BooleanArray};
use flott_core::Result;
use flott_core::types::DataType;

pub use call::{AggregateCallConfig, Phase};
pub(crate) use distinct::{DistinctSet, DistinctValues, Marks, SharedSet};

/// Every aggregate function.
pub static LIST: &[&[AggregateFunction]] = &[
    count::FUNCTIONS,
    sum::FUNCTIONS,
    value::FUNCTIONS,
    variance::FUNCTIONS,
    collect::FUNCTIONS,
    json::FUNCTIONS,
];

/// The aggregate function of this name or alias, in any case of letters.
pub fn find(name: &str) -> Option<&'static AggregateFunction> {
    let is_named = |f: &&AggregateFunction| {
        let mut names = std::iter::once(&f.name).chain(f.aliases);
        names.any(|n| n.eq_ignore_ascii_case(name))
    };
    LIST.iter().copied().flatten().find(is_named)
}

/// An aggregate function in the list of aggregate functions.
pub struct AggregateFunction {
    /// SQL name, upper case.
    pub name: &'static str,
    pub aliases: &'static [&'static str],
    pub doc: &'static str,
    /// The types that arguments are cast to, and the result's type, for arguments of these types.
    pub bind: fn(&[DataType]) -> Result<AggregateTypes>,
    /// Makes an accumulator; `retractable` when rows will also be removed.
    pub create: fn(&AggregateTypes, retractable: bool) -> Result<Box<dyn Accumulator>>,
    /// Whether partial accumulators of the same group can be merged (two-phase aggregation,
    /// session windows, panes).
    pub is_mergeable: bool,
    /// Whether DISTINCT makes no difference (MIN, MAX).
    pub ignores_distinct: bool,
    /// Whether the order of rows matters (FIRST_VALUE, LISTAGG): never split in two phases.
    pub is_order_sensitive: bool,
    /// Whether the partial state of removed rows alone takes them away when it is merged, and the
    /// state of no rows changes nothing.
    pub is_additive: bool,
}

/// How an aggregate call is typed.
#[derive(Debug, Clone, PartialEq)]
pub struct AggregateTypes {
    /// What each argument is cast to before it comes in.
    pub arguments: Vec<DataType>,
    pub result: DataType,
}

/// The values of all groups of one aggregate call, in columns.
///
/// `groups[i]` is the group of row `i`; `filter` leaves out rows where it is not true; `adds`
/// tells which rows are added (true) and which removed (false): `None` is all added.
pub trait Accumulator: Send {
    /// Makes room for groups `0..num_groups`; new ones are empty.
    fn resize(&mut self, num_groups: usize);

    /// Adds and removes rows.
    fn update(
        &mut self,
        groups: &[u32],
        arguments: &[ArrayRef],
        filter: Option<&BooleanArray>,
        adds: Option<&BooleanArray>,
    ) -> Result<()>;

    /// The results of these groups.
    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef>;

    /// The partial state of these groups as columns: what [`Accumulator::merge`] takes, what is
    /// sent between the phases, and what goes into a snapshot.
    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>>;

    /// The types of [`Accumulator::state`]'s columns.
    fn state_types(&self) -> Vec<DataType>;

    /// Merges partial states: row `i` into group `groups[i]`.
    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<()>;

    /// Makes these groups empty again, for reuse of their numbers.
    fn clear(&mut self, groups: &[u32]);

    /// Bytes held.
    fn size_bytes(&self) -> usize;
}
