//! The first or last row of each key.

use arrow::datatypes::SchemaRef;
use flott_core::Result;
use flott_core::operator::{Operator, OperatorFactory};

/// Which row of a key is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    First,
    Last,
}

/// `ROW_NUMBER() OVER (PARTITION BY … ORDER BY time) = 1` over append-only input.
///
/// In order of a rowtime, a later or equal time replaces the last row, and an earlier one the
/// first; in order of arrival the first row stays for ever (insert-only output).
#[derive(Debug, Clone)]
pub struct DeduplicateConfig {
    /// The input is exchanged by these columns.
    pub partition_columns: Vec<usize>,
    pub keep: Keep,
    /// The rowtime column; `None` is processing time, the order of arrival.
    pub rowtime_column: Option<usize>,
    /// Whether updates come with `-U`.
    pub emits_update_before: bool,
    pub schema: SchemaRef,
}

impl OperatorFactory for DeduplicateConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Err(flott_core::Error::internal("operator not available"))
    }
}

/// Makes a full regular changelog by primary key of an upsert changelog, or of one with duplicates:
/// `+I` for a new key, `-U`/`+U` for a change, `-D` with the whole row. What changes nothing is
/// left out.
#[derive(Debug, Clone)]
pub struct ChangelogNormalizeConfig {
    /// The primary key; the input is exchanged by these columns.
    pub key_columns: Vec<usize>,
    /// Whether updates come with `-U`.
    pub emits_update_before: bool,
    pub schema: SchemaRef,
}

impl OperatorFactory for ChangelogNormalizeConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Err(flott_core::Error::internal("operator not available"))
    }
}
