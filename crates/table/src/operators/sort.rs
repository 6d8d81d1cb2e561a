//! Sorting: by event time as it passes, and whole at the end of input.

use arrow::datatypes::SchemaRef;
use flott_core::Result;
use flott_core::operator::{Operator, OperatorFactory};

use super::sort_key::SortKey;

/// Streaming `ORDER BY rowtime [, more]`: rows are sent in order as the watermark passes them. Late
/// rows are dropped. Runs in one subtask.
#[derive(Debug, Clone)]
pub struct SortConfig {
    /// The rowtime column; it is ordered ascending.
    pub rowtime_column: usize,
    /// The keys after the time.
    pub order: Vec<SortKey>,
    pub schema: SchemaRef,
}

impl OperatorFactory for SortConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Err(flott_core::Error::internal("operator not available"))
    }
}

/// Sorts the whole of an insert-only input when it ends; runs in one subtask.
#[derive(Debug, Clone)]
pub struct BatchSortConfig {
    pub order: Vec<SortKey>,
    pub offset: u64,
    /// `None` is all.
    pub limit: Option<u64>,
    pub schema: SchemaRef,
}

impl OperatorFactory for BatchSortConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Err(flott_core::Error::internal("operator not available"))
    }
}
