//! Aggregate calls as operators are given them.

use std::fmt;

use super::{AggregateFunction, AggregateTypes};

/// One aggregate call of an aggregating operator.
#[derive(Clone)]
pub struct AggregateCallConfig {
    pub function: &'static AggregateFunction,
    pub types: AggregateTypes,
    /// Positions in the input, of [`AggregateTypes::arguments`] already. Not used by
    /// [`Phase::Global`].
    pub args: Vec<usize>,
    /// Whether equal argument values count once.
    pub distinct: bool,
    /// The position of a BOOLEAN in the input: only rows where it is true count. Not used by
    /// [`Phase::Global`].
    pub filter: Option<usize>,
}

impl fmt::Debug for AggregateCallConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let distinct = if self.distinct { "DISTINCT " } else { "" };
        write!(f, "{}({distinct}{:?})", self.function.name, self.args)?;
        self.filter.map_or(Ok(()), |c| write!(f, " FILTER ${c}"))
    }
}

/// Which part of an aggregation an operator does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// All of it: rows in, results out.
    Complete,
    /// Before the exchange: rows in, partial states out.
    Local,
    /// After the exchange: partial states in, results out.
    Global,
}
