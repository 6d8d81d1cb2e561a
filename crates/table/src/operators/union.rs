//! UNION ALL, and the removal of `-U` rows.

use arrow::datatypes::SchemaRef;
use flott_core::Result;
use flott_core::operator::{Operator, OperatorFactory};

/// Passes on the rows of all its inputs under one schema.
#[derive(Debug, Clone)]
pub struct UnionConfig {
    /// The output's columns; inputs have the same types and perhaps other names.
    pub schema: SchemaRef,
}

impl OperatorFactory for UnionConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Err(flott_core::Error::internal("operator not available"))
    }
}

/// Leaves out `-U` rows, for consumers that know the key.
#[derive(Debug, Clone, Default)]
pub struct DropUpdateBeforeConfig;

impl OperatorFactory for DropUpdateBeforeConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Err(flott_core::Error::internal("operator not available"))
    }
}
