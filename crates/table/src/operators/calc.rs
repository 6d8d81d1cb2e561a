//! Filter and projection.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion_physical_expr_common::physical_expr::PhysicalExpr;
use flott_core::Result;
use flott_core::operator::{Operator, OperatorFactory};

/// Filters rows, then computes the output's columns; row kinds travel along.
///
/// The steps see different columns: `predicate` and `shared` the input's, `projection` the input's
/// and then one for each of `shared`.
#[derive(Debug, Clone)]
pub struct CalcConfig {
    /// Rows for which this BOOLEAN is not true are left out.
    pub predicate: Option<Arc<dyn PhysicalExpr>>,
    /// Common sub-expressions of the projection: evaluated once a batch, after the filter, and
    /// appended to the input's columns.
    pub shared: Vec<Arc<dyn PhysicalExpr>>,
    /// An expression for each output column; `None` passes the input's columns on.
    pub projection: Option<Vec<Arc<dyn PhysicalExpr>>>,
    /// The output's columns.
    pub schema: SchemaRef,
}

impl OperatorFactory for CalcConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Err(flott_core::Error::internal("operator not available"))
    }
}
