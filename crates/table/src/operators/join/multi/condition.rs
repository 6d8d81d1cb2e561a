//! What a join of a chain asks for besides the key.

use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion_physical_expr_common::physical_expr::PhysicalExpr;
use flott_core::Result;

use super::MultiJoinInput;
use super::input::Input;
use super::tuples::{Candidates, Tuples, columns_of};
use crate::operators::evaluate::{batch_of, evaluate_matches, over_own_columns};

/// A condition over the columns that it needs.
pub(super) struct Condition {
    expr: Arc<dyn PhysicalExpr>,
    schema: SchemaRef,
    /// Inputs with the positions that are read of each, ascending.
    columns: Vec<(usize, Vec<usize>)>,
}

impl Condition {
    /// Of an expression over the columns of all inputs, one behind the other.
    ///
    /// # Errors
    /// An internal error when the expression cannot be rewritten.
    pub fn new(expr: &Arc<dyn PhysicalExpr>, inputs: &[MultiJoinInput]) -> Result<Self> {
        let (used, expr) = over_own_columns(expr)?;
        let (mut columns, mut fields): (Vec<(usize, Vec<usize>)>, Vec<FieldRef>) =
            Default::default();
        let mut start = 0;
        for (number, input) in inputs.iter().enumerate() {
            let width = input.schema.fields().len();
            let own = used
                .iter()
                .filter(|&&c| (start..start + width).contains(&c));
            let own: Vec<usize> = own.map(|c| c - start).collect();
            fields.extend(own.iter().map(|&c| input.schema.fields()[c].clone()));
            if !own.is_empty() {
                columns.push((number, own));
            }
            start += width;
        }
        Ok(Self {
            expr,
            schema: Arc::new(Schema::new(fields)),
            columns,
        })
    }

    /// Which of the candidates fulfil it.
    pub fn matches(
        &self,
        inputs: &[Input],
        tuples: &Tuples,
        candidates: &Candidates,
    ) -> Result<BooleanArray> {
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for (input, positions) in &self.columns {
            let store = inputs[*input].store();
            columns.extend(match tuples.slots.get(*input) {
                Some(slots) => {
                    let slots = candidates.rows.iter().map(|&row| slots[row as usize]);
                    columns_of(store, &slots.collect::<Vec<_>>(), positions)?
                }
                None => store.columns(&candidates.slots, positions)?,
            });
        }
        let rows = batch_of(self.schema.clone(), columns, candidates.rows.len())?;
        evaluate_matches(self.expr.as_ref(), &rows)
    }
}
