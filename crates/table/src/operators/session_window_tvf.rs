//! The SESSION window table-valued function, as rows.

use arrow::datatypes::SchemaRef;
use chrono_tz::Tz;
use flott_core::Result;
use flott_core::operator::{Operator, OperatorFactory};

use super::window_tvf::WindowTime;

/// Appends the bounds of its session to every row: rows are held until the watermark (or
/// processing time) passes the end of their session. Late rows are dropped.
#[derive(Debug, Clone)]
pub struct SessionWindowTvfConfig {
    /// Sessions of a key are this far apart, in ms.
    pub gap_ms: i64,
    /// `PARTITION BY`; the input is exchanged by these columns.
    pub partition_columns: Vec<usize>,
    pub time: WindowTime,
    /// As in [`super::window_tvf::WindowTvfConfig`].
    pub time_zone: Option<Tz>,
    /// The input's columns, then `window_start`, `window_end`, `window_time`.
    pub schema: SchemaRef,
}

impl OperatorFactory for SessionWindowTvfConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Err(flott_core::Error::internal("operator not available"))
    }
}
