//! Bound expressions to DataFusion physical expressions.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion_expr::Operator;
use datafusion_physical_expr::expressions::{
    BinaryExpr, CaseExpr, Column, IsNotNullExpr, IsNullExpr, Literal, NotExpr, in_list, lit,
};
use datafusion_physical_expr_common::physical_expr::PhysicalExpr;
use flott_core::{Error, Result};

use super::kernel_expr::{FieldExpr, KernelExpr, expression_error};
use crate::expr::{Expr, ExprKind};

/// Compiles expressions over batches of one schema.
pub struct Compiler {
    schema: SchemaRef,
}

impl Compiler {
    pub fn new(schema: SchemaRef) -> Self {
        Self { schema }
    }

    /// The physical expression of `expr`.
    ///
    /// # Errors
    /// An internal error for what the optimizer should have removed: outer columns, subqueries.
    pub fn compile(&self, expr: &Expr) -> Result<Arc<dyn PhysicalExpr>> {
        Ok(match &expr.kind {
            ExprKind::Column(index) => self.column(*index)?,
            ExprKind::Literal(value) => Arc::new(Literal::new(value.clone())),
            ExprKind::Call {
                function,
                bound,
                args,
            } => Arc::new(KernelExpr::new(
                function.name,
                bound.kernel.clone(),
                self.compile_all(args)?,
                bound.return_type.to_arrow(),
            )),
            ExprKind::Cast {
                expr: inner,
                kernel,
                is_try,
            } => Arc::new(KernelExpr::new(
                format!(
                    "{} {}",
                    if *is_try { "TRY_CAST" } else { "CAST" },
                    expr.data_type
                ),
                kernel.clone(),
                vec![self.compile(inner)?],
                expr.data_type.to_arrow(),
            )),
            ExprKind::And(parts) => self.fold(parts, Operator::And)?,
            ExprKind::Or(parts) => self.fold(parts, Operator::Or)?,
            ExprKind::Not(inner) => Arc::new(NotExpr::new(self.compile(inner)?)),
            ExprKind::IsNull(inner) => Arc::new(IsNullExpr::new(self.compile(inner)?)),
            ExprKind::IsNotNull(inner) => Arc::new(IsNotNullExpr::new(self.compile(inner)?)),
            ExprKind::Case {
                branches,
                otherwise,
            } => self.case(branches, otherwise)?,
            ExprKind::InList {
                expr: inner,
                list,
                negated,
            } => {
                let list = list.iter().map(|v| lit(v.clone())).collect();
                in_list(self.compile(inner)?, list, negated, &self.schema)
                    .map_err(expression_error)?
            }
            ExprKind::Field { expr: row, index } => Arc::new(FieldExpr::new(
                self.compile(row)?,
                *index,
                expr.data_type.to_arrow(),
            )),
            ExprKind::OuterColumn { .. } | ExprKind::Subquery(_) => {
                return Err(Error::user(
                    "UNSUPPORTED_SUBQUERY",
                    "this form of correlated subquery is not supported; write it as a join",
                ));
            }
        })
    }

    pub fn compile_all(&self, exprs: &[Expr]) -> Result<Vec<Arc<dyn PhysicalExpr>>> {
        exprs.iter().map(|e| self.compile(e)).collect()
    }

    fn column(&self, index: usize) -> Result<Arc<dyn PhysicalExpr>> {
        let field = self.schema.fields().get(index).ok_or_else(|| {
            Error::internal(format!(
                "column {index} of {} columns",
                self.schema.fields().len()
            ))
        })?;
        Ok(Arc::new(Column::new(field.name(), index)))
    }

    fn fold(&self, parts: &[Expr], operator: Operator) -> Result<Arc<dyn PhysicalExpr>> {
        let mut compiled = self.compile_all(parts)?.into_iter();
        let first = compiled
            .next()
            .unwrap_or_else(|| lit(operator == Operator::And));
        Ok(compiled.fold(first, |left, right| {
            Arc::new(BinaryExpr::new(left, operator, right))
        }))
    }

    fn case(&self, branches: &[(Expr, Expr)], otherwise: &Expr) -> Result<Arc<dyn PhysicalExpr>> {
        let branches = branches
            .iter()
            .map(|(when, then)| Ok((self.compile(when)?, self.compile(then)?)))
            .collect::<Result<Vec<_>>>()?;
        let otherwise = self.compile(otherwise)?;
        let case = CaseExpr::try_new(None, branches, Some(otherwise)).map_err(expression_error)?;
        Ok(Arc::new(case))
    }
}
