//! The net rows of a changelog, for batch mode.

use arrow::datatypes::SchemaRef;
use flott_core::Result;
use flott_core::operator::{Operator, OperatorFactory};

use super::sort_key::SortKey;

/// Folds a changelog and sends the rows that are left as `+I` when the input ends, in `order` or,
/// without one, in order of arrival. Rows that are removed must have come in whole, or by key.
#[derive(Debug, Clone)]
pub struct MaterializeConfig {
    /// The upsert key when updates come without `-U` (the input is exchanged by it); `None` is the
    /// whole row.
    pub key_columns: Option<Vec<usize>>,
    pub order: Vec<SortKey>,
    pub offset: u64,
    /// `None` is all.
    pub limit: Option<u64>,
    pub schema: SchemaRef,
}

impl OperatorFactory for MaterializeConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Err(flott_core::Error::internal("operator not available"))
    }
}
