//! Streaming top-n.

use arrow::datatypes::SchemaRef;
use flott_core::Result;
use flott_core::operator::{Operator, OperatorFactory};

use super::sort_key::SortKey;

/// The changelog that an operator which keeps rows has to be ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputMode {
    /// Only `+I`.
    Append,
    /// Every change comes with the row it takes away: `-U` or `-D` hold the whole row.
    Retract,
}

/// How rows of a partition are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RankFunction {
    /// Distinct numbers; of equal rows the one that came first has the lower.
    RowNumber,
    /// Equal rows share a number, and the next is skipped.
    Rank,
    /// Equal rows share a number, and none is skipped.
    DenseRank,
}

/// `ROW_NUMBER() OVER (PARTITION BY … ORDER BY …) BETWEEN from AND to` as a changelog.
///
/// With the rank in the output, a change of position is `-U`/`+U` of that position; without it,
/// rows come (`+I`) and go (`-D`). The changes of a batch are consolidated by partition.
#[derive(Debug, Clone)]
pub struct RankConfig {
    pub function: RankFunction,
    /// The input is exchanged by these columns.
    pub partition_columns: Vec<usize>,
    pub order: Vec<SortKey>,
    /// The first rank in the output, from 1.
    pub from: u64,
    /// The last rank in the output.
    pub to: u64,
    /// Whether the rank, a BIGINT, is appended to the columns.
    pub outputs_rank: bool,
    pub input: InputMode,
    /// Whether updates come with `-U`.
    pub emits_update_before: bool,
    pub input_schema: SchemaRef,
    /// The input's columns, then perhaps the rank.
    pub schema: SchemaRef,
}

impl OperatorFactory for RankConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Err(flott_core::Error::internal("operator not available"))
    }
}

/// `ORDER BY … LIMIT … OFFSET …` as an updating top-n; runs in one subtask.
#[derive(Debug, Clone)]
pub struct SortLimitConfig {
    pub order: Vec<SortKey>,
    pub offset: u64,
    /// `None` is no end.
    pub limit: Option<u64>,
    pub input: InputMode,
    pub emits_update_before: bool,
    pub schema: SchemaRef,
}

impl OperatorFactory for SortLimitConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Err(flott_core::Error::internal("operator not available"))
    }
}
