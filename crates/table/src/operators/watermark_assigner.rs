//! Watermarks from rows' times.

use std::sync::Arc;

use datafusion_physical_expr_common::physical_expr::PhysicalExpr;
use flott_core::Result;
use flott_core::operator::{Operator, OperatorFactory};

/// `WATERMARK FOR column AS expression`: passes rows on and sends watermarks.
///
/// A watermark goes out right after any row that advances it by more than `emit_interval_ms`, and
/// what is left after that time of processing time. A batch is split only before a row that could
/// tell the difference.
#[derive(Debug, Clone)]
pub struct WatermarkAssignerConfig {
    /// The position of the rowtime column; a NULL in it is an error.
    pub time_column: usize,
    /// The watermark of a row: a timestamp, or BIGINT milliseconds; NULL is no watermark.
    pub expr: Arc<dyn PhysicalExpr>,
    /// `pipeline.auto-watermark-interval`, in ms; Flink's default is
    /// [`DEFAULT_EMIT_INTERVAL_MS`].
    pub emit_interval_ms: i64,
}

/// `pipeline.auto-watermark-interval` when it is not set.
pub const DEFAULT_EMIT_INTERVAL_MS: i64 = 200;

impl OperatorFactory for WatermarkAssignerConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Err(flott_core::Error::internal("operator not available"))
    }
}
