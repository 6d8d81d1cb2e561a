//! Aggregate calls as operators are given them.

use std::fmt;

use flott_core::Result;

use super::{Accumulator, AggregateFunction, AggregateTypes};

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

impl AggregateCallConfig {
    /// Whether equal values have to be found out.
    pub fn is_distinct(&self) -> bool {
        self.distinct && !self.function.ignores_distinct && !self.types.arguments.is_empty()
    }

    /// The call's accumulator, of DISTINCT the one over the distinct values.
    ///
    /// # Errors
    /// Types that [`AggregateFunction::bind`] does not give.
    pub(crate) fn plain_accumulator(&self, retractable: bool) -> Result<Box<dyn Accumulator>> {
        let made = (self.function.create)(&self.types, retractable);
        made.map_err(|e| e.context(self.function.name))
    }
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
