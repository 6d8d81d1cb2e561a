//! Comparisons with any or all rows of a subquery: `x > ANY (SELECT …)`.

use std::sync::Arc;

use flott_core::types::LogicalType;
use flott_core::{Error, Result};
use sqlparser::ast::{self, BinaryOperator as B};

use super::mark::count;
use super::scalar::{Clause, subquery_expr, unsupported};
use super::{Binder, literal};
use crate::expr::{Expr, SubqueryKind};
use crate::plan::{AggregateCall, Plan};

impl Binder<'_> {
    /// `left op ANY (query)` and `left op ALL (query)`, by the query's least or greatest value.
    pub(crate) fn quantified(&mut self, ast: &ast::Expr, clause: &mut Clause<'_>) -> Result<Expr> {
        let (left, op, right, is_any) = match ast {
            ast::Expr::AnyOp {
                left,
                compare_op,
                right,
                ..
            } => (left, compare_op, right, true),
            ast::Expr::AllOp {
                left,
                compare_op,
                right,
            } => (left, compare_op, right, false),
            other => return Err(unsupported(other)),
        };
        let ast::Expr::Subquery(query) = right.as_ref() else {
            return Err(unsupported(ast));
        };
        let (symbol, extreme) = match (op, is_any) {
            (B::Eq, true) => return self.in_subquery(left, query, false, clause),
            (B::NotEq, false) => return self.in_subquery(left, query, true, clause),
            (B::Gt, true) => (">", "MIN"),
            (B::GtEq, true) => (">=", "MIN"),
            (B::Lt, true) => ("<", "MAX"),
            (B::LtEq, true) => ("<=", "MAX"),
            // Above the greatest is above all.
            (B::Gt, false) => (">", "MAX"),
            (B::GtEq, false) => (">=", "MAX"),
            (B::Lt, false) => ("<", "MIN"),
            (B::LtEq, false) => ("<=", "MIN"),
            _ => return Err(unsupported(ast)),
        };
        let left = self.expr(left, clause)?;
        let plan = self.subquery(query, clause)?;
        if plan.schema().len() != 1 {
            let message = "a comparison with ANY takes a subquery of one column";
            return Err(Error::user("SUBQUERY_COLUMNS", message));
        }
        let extreme = self.extreme(&plan, extreme)?;
        let test = self.call(symbol, vec![left, extreme])?;
        if is_any && clause.name == "WHERE" {
            return Ok(test);
        }
        let num_rows = counted(&plan, count(None)?);
        let num_values = counted(&plan, count(Some(&plan))?);
        let zero = literal::number("0", false)?;
        let has_null = self.call("<", vec![num_values, num_rows.clone()])?;
        let is_any_row = self.call(">", vec![num_rows, zero])?;
        let decided = match is_any {
            true => test.clone(),
            false => test.clone().negate(),
        };
        let null = Expr::null(&LogicalType::Boolean.nullable())?;
        let branches = vec![
            (decided, Expr::boolean(is_any)),
            (has_null, null),
            (is_any_row, test),
        ];
        let mut value = Expr::case(branches, Expr::boolean(!is_any));
        value.data_type.nullable = true;
        Ok(value)
    }

    /// The least or greatest value of a query's column, as a scalar subquery.
    fn extreme(&self, plan: &Arc<Plan>, name: &str) -> Result<Expr> {
        let argument = plan.schema().column(0).data_type.with_nullable(true);
        let call = AggregateCall::of(name, vec![(0, argument)])?;
        Ok(counted(plan, call))
    }
}

/// An aggregate over all rows of a query, as a scalar subquery.
fn counted(plan: &Arc<Plan>, call: AggregateCall) -> Expr {
    let data_type = call.types.result.with_nullable(true);
    let plan = Plan::aggregate(plan.clone(), vec![], None, vec![], vec![call], None);
    subquery_expr(SubqueryKind::Scalar, plan, data_type)
}
