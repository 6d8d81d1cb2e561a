//! Comparisons with any or all rows of a subquery: `x > ANY (SELECT …)`.

use flott_core::{Error, Result};
use flott_table::aggregates;
use sqlparser::ast::{self, BinaryOperator as B};

use super::Binder;
use super::scalar::{Clause, subquery_expr, unsupported};
use crate::expr::{Expr, SubqueryKind};
use crate::plan::{AggregateCall, Plan};

impl Binder<'_> {
    /// `left op ANY (query)`, and `left <> ALL (query)`.
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
            _ => return Err(unsupported(ast)),
        };
        let left = self.expr(left, clause)?;
        let plan = self.subquery(query, clause)?;
        if plan.schema().len() != 1 {
            let message = "a comparison with ANY takes a subquery of one column";
            return Err(Error::user("SUBQUERY_COLUMNS", message));
        }
        // Above the least is above any.
        let function = aggregates::find(extreme).ok_or_else(|| Error::internal("no MIN, MAX"))?;
        let argument = plan.schema().column(0).data_type.with_nullable(true);
        let types = (function.bind)(&[argument])?;
        let data_type = types.result.with_nullable(true);
        let call = AggregateCall {
            function,
            types,
            args: vec![0],
            distinct: false,
            filter: None,
        };
        let plan = Plan::aggregate(plan, vec![], None, vec![], vec![call], None);
        let value = subquery_expr(SubqueryKind::Scalar, plan, data_type);
        self.call(symbol, vec![left, value])
    }
}
