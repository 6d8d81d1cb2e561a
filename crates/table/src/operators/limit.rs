//! LIMIT without an order.

use arrow::datatypes::SchemaRef;
use flott_core::Result;
use flott_core::operator::{Operator, OperatorFactory};

use super::rank::InputMode;

/// `LIMIT … OFFSET …` without an order: the first rows that come; runs in one subtask. Where rows
/// are taken back, later ones take their place.
#[derive(Debug, Clone)]
pub struct LimitConfig {
    pub offset: u64,
    /// `None` is no end.
    pub limit: Option<u64>,
    pub input: InputMode,
    pub emits_update_before: bool,
    pub schema: SchemaRef,
}

impl OperatorFactory for LimitConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Err(flott_core::Error::internal("operator not available"))
    }
}
