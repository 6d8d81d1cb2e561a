//! Window table-valued functions whose windows are known from a row's time alone: TUMBLE, HOP and
//! CUMULATE.

use arrow::datatypes::SchemaRef;
use chrono_tz::Tz;
use flott_core::Result;
use flott_core::operator::{Operator, OperatorFactory};

/// Which windows a time belongs to; all lengths in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowTvf {
    Tumble {
        size_ms: i64,
        offset_ms: i64,
    },
    Hop {
        size_ms: i64,
        slide_ms: i64,
        offset_ms: i64,
    },
    Cumulate {
        max_size_ms: i64,
        step_ms: i64,
        offset_ms: i64,
    },
}

/// Where a window's time comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowTime {
    /// The rowtime column of this position, a TIMESTAMP or TIMESTAMP_LTZ.
    Rowtime(usize),
    /// The time at which the row is processed.
    Proctime,
}

/// Appends `window_start`, `window_end` and `window_time` to every row, once for each of the row's
/// windows, the latest first. Late rows are passed on, and rows whose time is NULL left out.
#[derive(Debug, Clone)]
pub struct WindowTvfConfig {
    pub window: WindowTvf,
    pub time: WindowTime,
    /// The time zone in whose wall-clock time windows are aligned and shown: the session's when
    /// the time is a TIMESTAMP_LTZ or processing time; `None` for TIMESTAMP.
    pub time_zone: Option<Tz>,
    /// The input's columns, then the three of the window (TIMESTAMP(3), TIMESTAMP(3), and the
    /// window's time in the type of its last column here).
    pub schema: SchemaRef,
}

impl OperatorFactory for WindowTvfConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Err(flott_core::Error::internal("operator not available"))
    }
}
