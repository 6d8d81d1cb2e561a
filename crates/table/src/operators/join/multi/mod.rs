//! Many regular joins on one key in one operator, which keeps the inputs' rows and nothing else:
//! no result of a join in between (Flink's `table.optimizer.multi-join.enabled`).
//!
//! A change of an input is joined with the stored rows of its key in all the others, in the order
//! of the joins. What the chain of binary joins would have found in its state is computed again.

mod condition;
mod input;
mod operator;
#[cfg(test)]
mod tests;
mod tuples;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion_physical_expr_common::physical_expr::PhysicalExpr;
use flott_core::operator::{Operator, OperatorFactory, StateLayout};
use flott_core::{Error, Result};

use super::JoinKind;
use crate::operators::rows::layout_of;

/// A chain of joins on one key; every input is kept and may change. Takes rows by key, and gives
/// `-D` and `+I` rows.
#[derive(Clone)]
pub struct MultiJoinConfig {
    pub inputs: Vec<MultiJoinInput>,
    /// Step *i* joins the rows so far with input *i* + 1.
    pub steps: Vec<MultiJoinStep>,
    /// The output's columns: inputs and positions in them.
    pub output: Vec<(usize, usize)>,
    pub schema: SchemaRef,
}

/// An input of a chain of joins.
#[derive(Clone)]
pub struct MultiJoinInput {
    /// Positions of the common key, of the same types in every input; NULL equals nothing.
    pub key_columns: Vec<usize>,
    pub is_append: bool,
    /// `table.exec.state.ttl`, in ms.
    pub ttl_ms: Option<i64>,
    pub schema: SchemaRef,
}

/// A join of a chain.
#[derive(Clone)]
pub struct MultiJoinStep {
    /// [`JoinKind::Inner`] or [`JoinKind::Left`].
    pub kind: JoinKind,
    /// The condition besides the key, over the columns of all inputs up to this one.
    pub residual: Option<Arc<dyn PhysicalExpr>>,
}

impl OperatorFactory for MultiJoinConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        let is_chain = self.steps.len() + 1 == self.inputs.len();
        let mut kinds = self.steps.iter().map(|s| s.kind);
        if !is_chain || !kinds.all(|k| matches!(k, JoinKind::Inner | JoinKind::Left)) {
            return Err(Error::internal(
                "a chain of other joins than INNER and LEFT",
            ));
        }
        Ok(Box::new(operator::MultiJoin::new(self)?))
    }

    fn state_layout(&self) -> Result<Option<StateLayout>> {
        let inputs = self.inputs.iter().enumerate();
        let tables =
            inputs.map(|(number, input)| (input::table_name(number).into(), &input.schema));
        let is_append = self.inputs.iter().all(|input| input.is_append);
        Ok(Some(StateLayout {
            has_ttl: true,
            ..layout_of(tables, is_append)
        }))
    }
}
