//! UNNEST: a row for each element of a collection.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion_physical_expr_common::physical_expr::PhysicalExpr;
use flott_core::Result;
use flott_core::operator::{Operator, OperatorFactory};

/// `CROSS JOIN UNNEST(collection)`: each row once for each element, with the element's columns
/// appended.
///
/// An ARRAY of rows gives a column for each field, another ARRAY one column, a MAP a key and a
/// value column, a MULTISET each element as many times as it is in.
#[derive(Debug, Clone)]
pub struct UnnestConfig {
    /// The ARRAY, MAP or MULTISET.
    pub collection: Arc<dyn PhysicalExpr>,
    /// Whether the collection, which Arrow holds as a map, is a MULTISET.
    pub is_multiset: bool,
    /// `LEFT JOIN … ON TRUE`: a row without elements comes once, with NULLs.
    pub is_outer: bool,
    /// `WITH ORDINALITY`: appends the element's position from 1, an INT.
    pub with_ordinality: bool,
    /// Positions of the input's columns to keep; `None` is all.
    pub kept_columns: Option<Vec<usize>>,
    /// The kept columns, the element's, then the ordinality.
    pub schema: SchemaRef,
}

impl OperatorFactory for UnnestConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Err(flott_core::Error::internal("operator not available"))
    }
}
