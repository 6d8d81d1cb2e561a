//! Top-n inside windows.

use arrow::datatypes::SchemaRef;
use chrono_tz::Tz;
use flott_core::Result;
use flott_core::operator::{Operator, OperatorFactory};

use super::sort_key::SortKey;

/// Top-n of each window, sent when the watermark closes the window; insert-only. Window
/// deduplication is the same with `from` and `to` 1.
#[derive(Debug, Clone)]
pub struct WindowRankConfig {
    /// The other `PARTITION BY` columns; the input is exchanged by these.
    pub partition_columns: Vec<usize>,
    pub window_start_column: usize,
    pub window_end_column: usize,
    /// The time zone of the window's columns when its time is a TIMESTAMP_LTZ; `None` otherwise.
    pub time_zone: Option<Tz>,
    pub order: Vec<SortKey>,
    /// The first rank in the output, from 1.
    pub from: u64,
    /// The last rank in the output.
    pub to: u64,
    /// Whether the rank, a BIGINT, is appended to the columns.
    pub outputs_rank: bool,
    pub input_schema: SchemaRef,
    /// The input's columns, then perhaps the rank.
    pub schema: SchemaRef,
}

impl OperatorFactory for WindowRankConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Err(flott_core::Error::internal("operator not available"))
    }
}
