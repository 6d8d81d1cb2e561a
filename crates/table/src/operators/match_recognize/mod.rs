//! MATCH_RECOGNIZE: patterns over the rows of a key in order of time.

mod heap;
mod matcher;
mod operator;
mod pattern;
mod state;
mod view;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion_physical_expr_common::physical_expr::PhysicalExpr;
use flott_core::Result;
use flott_core::operator::{Operator, OperatorFactory};

use super::sort_key::SortKey;

pub use pattern::{MAX_VARIABLES, PatternElement};
pub use view::{RowPlace, View, ViewColumn};

/// By what rows are ordered first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchTime {
    /// By this column: rows are held until the watermark passes them, and late ones dropped.
    Rowtime(usize),
    /// By this column, once all rows are there.
    Whole(usize),
    /// By arrival.
    Proctime,
}

/// Where matching goes on behind a match; variables are positions in the pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    PastLastRow,
    /// At the row after the match's first.
    ToNextRow,
    ToFirst(usize),
    ToLast(usize),
}

/// When a row may be mapped to a variable: where both parts are true.
#[derive(Debug, Clone, Default)]
pub struct MatchCondition {
    /// Over the input's columns alone: evaluated once for every row, batch by batch.
    pub of_row: Option<Arc<dyn PhysicalExpr>>,
    /// One expression over what has been matched so far and the row, as if that were mapped to the
    /// variable: evaluated for every run that could take the row.
    pub of_run: Option<View>,
}

/// Finds a pattern in the rows of each key and sends one row for each match, when the last row of
/// it is known. Input is append-only, output too.
///
/// A match is sent once no run that began before it can become one, as it might be skipped.
#[derive(Debug, Clone)]
pub struct MatchConfig {
    /// The input is exchanged by these columns.
    pub partition_columns: Vec<usize>,
    pub time: MatchTime,
    /// The order among rows of equal time.
    pub order: Vec<SortKey>,
    pub pattern: Vec<PatternElement>,
    /// By position in the pattern.
    pub conditions: Vec<MatchCondition>,
    pub skip: Skip,
    /// A match is shorter than this, from its first row to its last.
    pub within_ms: Option<i64>,
    /// The output's columns, over complete matches.
    pub measures: View,
    pub input_schema: SchemaRef,
    pub schema: SchemaRef,
}

impl MatchConfig {
    /// Checks the pattern, as making the operator does.
    ///
    /// # Errors
    /// A user error for a pattern that is not supported.
    pub fn check_pattern(pattern: &[PatternElement]) -> Result<()> {
        pattern::Automaton::new(pattern).map(drop)
    }
}

impl OperatorFactory for MatchConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(operator::MatchRecognize::new(self)?))
    }
}

#[cfg(test)]
mod tests;
