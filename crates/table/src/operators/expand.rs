//! Every row several times, for grouping sets.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion_physical_expr_common::physical_expr::PhysicalExpr;
use flott_core::Result;
use flott_core::operator::{Operator, OperatorFactory};

/// Sends each row once for each of several projections (grouping sets: columns outside the set are
/// NULL literals, and a literal tells the sets apart).
#[derive(Debug, Clone)]
pub struct ExpandConfig {
    /// All give the columns of `schema`.
    pub projections: Vec<Vec<Arc<dyn PhysicalExpr>>>,
    pub schema: SchemaRef,
}

impl OperatorFactory for ExpandConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Err(flott_core::Error::internal("operator not available"))
    }
}
