//! Scalar expressions: syntax to typed expressions.

use std::sync::Arc;

use flott_core::types::LogicalType;
use flott_core::{Error, Result};
use sqlparser::ast::{
    self, AccessExpr, BinaryOperator, CaseWhen, Ident, Query, Spanned, Subscript, UnaryOperator,
};

use super::collect::Collector;
use super::scope::{self, Scope, located};
use super::{Binder, coerce, literal};
use crate::expr::{Expr, ExprKind, Subquery, SubqueryKind};

/// Where an expression stands, and what it may use.
pub(crate) struct Clause<'s> {
    pub scope: &'s Scope,
    /// For messages: `WHERE`.
    pub name: &'static str,
    /// Set where aggregates or window functions may stand.
    pub collector: Option<&'s mut Collector>,
}

impl<'s> Clause<'s> {
    pub fn new(scope: &'s Scope, name: &'static str) -> Self {
        Self {
            scope,
            name,
            collector: None,
        }
    }
}

/// Functions that are called without parentheses.
const NILADIC: &[&str] = &[
    "CURRENT_DATE",
    "CURRENT_TIME",
    "CURRENT_TIMESTAMP",
    "LOCALTIME",
    "LOCALTIMESTAMP",
    "CURRENT_ROW_TIMESTAMP",
    "CURRENT_DATABASE",
    "CURRENT_CATALOG",
];

impl Binder<'_> {
    /// Binds an expression; errors tell where it stands.
    pub(crate) fn expr(&mut self, ast: &ast::Expr, clause: &mut Clause<'_>) -> Result<Expr> {
        self.expr_here(ast, clause)
            .map_err(|e| located(e, ast.span()))
    }

    /// Binds expressions.
    pub(crate) fn exprs<'e>(
        &mut self,
        asts: impl IntoIterator<Item = &'e ast::Expr>,
        clause: &mut Clause<'_>,
    ) -> Result<Vec<Expr>> {
        asts.into_iter().map(|a| self.expr(a, clause)).collect()
    }

    pub(crate) fn call(&self, name: &str, args: Vec<Expr>) -> Result<Expr> {
        coerce::call(name, args, self.ctx.expr)
    }

    fn expr_here(&mut self, ast: &ast::Expr, clause: &mut Clause<'_>) -> Result<Expr> {
        use ast::Expr as E;
        match ast {
            E::Identifier(name) => self.identifier(std::slice::from_ref(name), clause),
            E::CompoundIdentifier(parts) => self.identifier(parts, clause),
            E::CompoundFieldAccess { root, access_chain } => {
                self.access(root, access_chain, clause)
            }
            E::Nested(inner) => self.expr(inner, clause),
            E::Value(value) => literal::bind(&value.value),
            E::TypedString(typed) => self.typed_string(typed),
            E::Interval(interval) => self.interval(interval, clause),
            E::UnaryOp { op, expr } => self.unary(*op, expr, clause),
            E::BinaryOp { left, op, right } => self.binary(left, op, right, clause),
            E::Case {
                operand,
                conditions,
                else_result,
                ..
            } => self.case(
                operand.as_deref(),
                conditions,
                else_result.as_deref(),
                clause,
            ),
            E::Function(function) => self.function(function, clause),
            E::Subquery(query) => self.scalar_subquery(query, clause),
            E::Exists { subquery, negated } => self.exists(subquery, *negated, clause),
            E::InSubquery {
                expr,
                subquery,
                negated,
            } => self.in_subquery(expr, subquery, *negated, clause),
            E::AnyOp { .. } | E::AllOp { .. } => self.quantified(ast, clause),
            E::InList {
                expr,
                list,
                negated,
            } => self.in_list(expr, list, *negated, clause),
            E::Between {
                expr,
                negated,
                low,
                high,
            } => self.between(expr, low, high, *negated, clause),
            E::Tuple(values) => {
                let args = self.exprs(values, clause)?;
                self.call("ROW", args)
            }
            E::Array(array) => {
                let args = self.exprs(&array.elem, clause)?;
                self.call("ARRAY", args)
            }
            _ => self.predicate(ast, clause),
        }
    }

    /// `IS …` tests; anything else is a special form.
    fn predicate(&mut self, ast: &ast::Expr, clause: &mut Clause<'_>) -> Result<Expr> {
        use ast::Expr as E;
        match ast {
            E::IsNull(e) => Ok(self.expr(e, clause)?.is_null()),
            E::IsNotNull(e) => Ok(self.expr(e, clause)?.is_not_null()),
            E::IsTrue(e) => self.truth(e, true, false, clause),
            E::IsNotTrue(e) => self.truth(e, true, true, clause),
            E::IsFalse(e) => self.truth(e, false, false, clause),
            E::IsNotFalse(e) => self.truth(e, false, true, clause),
            E::IsUnknown(e) => Ok(self.boolean(e, "IS UNKNOWN", clause)?.is_null()),
            E::IsNotUnknown(e) => Ok(self.boolean(e, "IS UNKNOWN", clause)?.is_not_null()),
            E::IsDistinctFrom(a, b) => self.distinct_from(a, b, true, clause),
            E::IsNotDistinctFrom(a, b) => self.distinct_from(a, b, false, clause),
            _ => self.special(ast, clause),
        }
    }

    /// A column, a nested field, an outer query's column, or a function without parentheses.
    fn identifier(&mut self, parts: &[Ident], clause: &mut Clause<'_>) -> Result<Expr> {
        if let Some(found) = self.parameter(parts)? {
            return Ok(found);
        }
        if let Some(found) = clause.scope.resolve(parts)? {
            return Ok(found);
        }
        for (i, scope) in self.outer.iter().rev().enumerate() {
            if let Some(mut found) = scope.resolve(parts)? {
                to_outer(&mut found, i + 1);
                return Ok(found);
            }
        }
        if let [name] = parts
            && name.quote_style.is_none()
            && NILADIC.contains(&name.value.to_ascii_uppercase().as_str())
        {
            return self.call(&name.value, vec![]);
        }
        Err(clause.scope.unknown(parts))
    }

    fn access(
        &mut self,
        root: &ast::Expr,
        chain: &[AccessExpr],
        clause: &mut Clause<'_>,
    ) -> Result<Expr> {
        let mut expr = self.expr(root, clause)?;
        for access in chain {
            expr = match access {
                AccessExpr::Dot(ast::Expr::Identifier(name)) => {
                    scope::field(expr, &name.value).map_err(|e| located(e, name.span))?
                }
                AccessExpr::Subscript(Subscript::Index { index }) => {
                    let index = self.expr(index, clause)?;
                    self.item(expr, index)?
                }
                other => return Err(unsupported(other)),
            };
        }
        Ok(expr)
    }

    /// `array[i]`, `map[key]`, `row[i]`.
    fn item(&self, container: Expr, index: Expr) -> Result<Expr> {
        let LogicalType::Row(fields) = &container.data_type.logical else {
            return self.call("ITEM", vec![container, index]);
        };
        match literal::integer(&index) {
            Some(i) if i >= 1 && i as usize <= fields.len() => {
                Ok(scope::field_at(container, i as usize - 1))
            }
            _ => Err(Error::user(
                "UNKNOWN_FIELD",
                format!(
                    "a row's field is read by a constant from 1 to {}",
                    fields.len()
                ),
            )),
        }
    }

    fn typed_string(&mut self, typed: &ast::TypedString) -> Result<Expr> {
        let text =
            literal::interval_text(&typed.value.value).ok_or_else(|| unsupported(&typed.value))?;
        literal::typed(
            &crate::parser::data_type_of(&typed.data_type)?.logical,
            &text,
        )?
        .ok_or_else(|| {
            Error::user(
                "UNSUPPORTED_LITERAL",
                format!("there are no {} literals; use CAST", typed.data_type),
            )
        })
    }

    fn interval(&mut self, interval: &ast::Interval, clause: &mut Clause<'_>) -> Result<Expr> {
        let (value, sign) = match interval.value.as_ref() {
            ast::Expr::UnaryOp {
                op: UnaryOperator::Minus,
                expr,
            } => (expr.as_ref(), "-"),
            value => (value, ""),
        };
        if let ast::Expr::Value(value) = value
            && let Some(text) = literal::interval_text(&value.value)
        {
            return literal::interval(interval, &format!("{sign}{text}"));
        }
        let count = self.expr(&interval.value, clause)?;
        let one = literal::interval(interval, "1")?;
        self.call("*", vec![one, count])
    }

    fn unary(
        &mut self,
        op: UnaryOperator,
        operand: &ast::Expr,
        clause: &mut Clause<'_>,
    ) -> Result<Expr> {
        if let (UnaryOperator::Minus, ast::Expr::Value(value)) = (op, operand)
            && let ast::Value::Number(text, _) = &value.value
        {
            return literal::number(text, true);
        }
        match op {
            UnaryOperator::Not => Ok(self.boolean(operand, "NOT", clause)?.negate()),
            UnaryOperator::Plus => self.expr(operand, clause),
            UnaryOperator::Minus => {
                let operand = self.expr(operand, clause)?;
                self.call("-", vec![operand])
            }
            other => Err(unsupported(&other)),
        }
    }

    fn binary(
        &mut self,
        left: &ast::Expr,
        op: &BinaryOperator,
        right: &ast::Expr,
        clause: &mut Clause<'_>,
    ) -> Result<Expr> {
        use BinaryOperator as B;
        match op {
            B::And => {
                let left = self.boolean(left, "AND", clause)?;
                let right = self.boolean(right, "AND", clause)?;
                return Ok(Expr::and([left, right]));
            }
            B::Or => {
                let left = self.boolean(left, "OR", clause)?;
                let right = self.boolean(right, "OR", clause)?;
                return Ok(Expr::or([left, right]));
            }
            B::Overlaps => return self.overlaps(left, right, clause),
            _ => {}
        }
        let symbol = match op {
            B::Plus => "+",
            B::Minus => "-",
            B::Multiply => "*",
            B::Divide => "/",
            B::Modulo => "%",
            B::StringConcat => "||",
            B::Eq => "=",
            B::NotEq => "<>",
            B::Lt => "<",
            B::LtEq => "<=",
            B::Gt => ">",
            B::GtEq => ">=",
            other => return Err(unsupported(other)),
        };
        let left = self.expr(left, clause)?;
        let right = self.expr(right, clause)?;
        self.compare_or_call(symbol, left, right)
    }

    /// A call of an operator; two rows are compared field by field.
    pub(crate) fn compare_or_call(&self, symbol: &str, left: Expr, right: Expr) -> Result<Expr> {
        self.call(symbol, vec![left, right])
    }

    /// An operand that must be BOOLEAN.
    fn boolean(
        &mut self,
        ast: &ast::Expr,
        operator: &str,
        clause: &mut Clause<'_>,
    ) -> Result<Expr> {
        let expr = self.expr(ast, clause)?;
        match expr.data_type.logical {
            LogicalType::Boolean => Ok(expr),
            LogicalType::Null => Expr::null(&LogicalType::Boolean.nullable()),
            ref other => {
                let message = format!("cannot apply '{operator}' to a {other}; it takes BOOLEAN");
                Err(located(Error::user("TYPE_MISMATCH", message), ast.span()))
            }
        }
    }

    /// `IS [NOT] TRUE` and `IS [NOT] FALSE`, which are never NULL.
    fn truth(
        &mut self,
        ast: &ast::Expr,
        wanted: bool,
        negated: bool,
        clause: &mut Clause<'_>,
    ) -> Result<Expr> {
        let expr = self.boolean(ast, "IS TRUE", clause)?;
        let test = if wanted { expr } else { expr.negate() };
        Ok(Expr::case(
            vec![(test, Expr::boolean(!negated))],
            Expr::boolean(negated),
        ))
    }

    fn distinct_from(
        &mut self,
        left: &ast::Expr,
        right: &ast::Expr,
        is_distinct: bool,
        clause: &mut Clause<'_>,
    ) -> Result<Expr> {
        let left = self.expr(left, clause)?;
        let right = self.expr(right, clause)?;
        let equal = self.call("=", vec![left.clone(), right.clone()])?;
        let both_null = Expr::and([left.clone().is_null(), right.clone().is_null()]);
        let any_null = Expr::or([left.is_null(), right.is_null()]);
        let mut equal = match is_distinct {
            true => equal.negate(),
            false => equal,
        };
        // Reached only when neither is NULL.
        equal.data_type = LogicalType::Boolean.not_null();
        Ok(Expr::case(
            vec![
                (both_null, Expr::boolean(!is_distinct)),
                (any_null, Expr::boolean(is_distinct)),
            ],
            equal,
        ))
    }

    fn case(
        &mut self,
        operand: Option<&ast::Expr>,
        conditions: &[CaseWhen],
        else_result: Option<&ast::Expr>,
        clause: &mut Clause<'_>,
    ) -> Result<Expr> {
        let operand = operand.map(|o| self.expr(o, clause)).transpose()?;
        let mut whens = Vec::new();
        let mut results = Vec::new();
        for when in conditions {
            let condition = match &operand {
                Some(operand) => {
                    let value = self.expr(&when.condition, clause)?;
                    self.call("=", vec![operand.clone(), value])?
                }
                None => self.boolean(&when.condition, "CASE WHEN", clause)?,
            };
            whens.push(condition);
            results.push(self.expr(&when.result, clause)?);
        }
        results.push(match else_result {
            Some(e) => self.expr(e, clause)?,
            None => Expr::null(&LogicalType::Null.nullable())?,
        });
        let (mut results, common) = coerce::unify(results, "CASE's results", self.ctx.expr)?;
        let otherwise = match results.pop() {
            Some(otherwise) => otherwise,
            None => Expr::null(&common)?,
        };
        Ok(Expr::case(
            whens.into_iter().zip(results).collect(),
            otherwise,
        ))
    }

    fn between(
        &mut self,
        value: &ast::Expr,
        low: &ast::Expr,
        high: &ast::Expr,
        negated: bool,
        clause: &mut Clause<'_>,
    ) -> Result<Expr> {
        let value = self.expr(value, clause)?;
        let low = self.expr(low, clause)?;
        let high = self.expr(high, clause)?;
        if negated {
            let below = self.call("<", vec![value.clone(), low])?;
            let above = self.call(">", vec![value, high])?;
            return Ok(Expr::or([below, above]));
        }
        let above = self.call(">=", vec![value.clone(), low])?;
        let below = self.call("<=", vec![value, high])?;
        Ok(Expr::and([above, below]))
    }

    fn in_list(
        &mut self,
        value: &ast::Expr,
        list: &[ast::Expr],
        negated: bool,
        clause: &mut Clause<'_>,
    ) -> Result<Expr> {
        let value = self.expr(value, clause)?;
        let list = self.exprs(list, clause)?;
        let all_constant = list.iter().all(|e| e.as_literal().is_some());
        if all_constant && !value.data_type.logical.is_nested() {
            return self.constant_in_list(value, list, negated);
        }
        let tests = list
            .into_iter()
            .map(|item| self.compare_or_call("=", value.clone(), item))
            .collect::<Result<Vec<_>>>()?;
        let any = Expr::or(tests);
        Ok(if negated { any.negate() } else { any })
    }

    fn constant_in_list(&mut self, value: Expr, list: Vec<Expr>, negated: bool) -> Result<Expr> {
        let mut all = vec![value];
        all.extend(list);
        let types: Vec<_> = all.iter().map(|e| e.data_type.clone()).collect();
        let common = match crate::functions::coercion::comparison_type(&types) {
            Some(common) => common,
            None => coerce::common_type(&types, "IN")?,
        };
        let mut all = all
            .into_iter()
            .map(|e| coerce::cast(e, &common, false, self.ctx.expr))
            .collect::<Result<Vec<_>>>()?;
        let value = all.remove(0);
        let values: Vec<_> = all.iter().filter_map(|e| e.as_literal().cloned()).collect();
        if values.len() < all.len() {
            // A cast of a constant that fails is left to fail when it runs.
            let tests = all
                .into_iter()
                .map(|item| self.call("=", vec![value.clone(), item]))
                .collect::<Result<Vec<_>>>()?;
            let any = Expr::or(tests);
            return Ok(if negated { any.negate() } else { any });
        }
        let nullable = value.data_type.nullable || values.iter().any(|v| v.is_null());
        Ok(Expr {
            kind: ExprKind::InList {
                expr: Box::new(value),
                list: values,
                negated,
            },
            data_type: LogicalType::Boolean.nullable().with_nullable(nullable),
        })
    }

    /// Binds a query inside an expression, which sees this clause's columns.
    pub(crate) fn subquery(
        &mut self,
        query: &Query,
        clause: &mut Clause<'_>,
    ) -> Result<Arc<crate::plan::Plan>> {
        self.outer.push(clause.scope.clone());
        let bound = self.inner_query(query);
        self.outer.pop();
        bound
    }

    fn scalar_subquery(&mut self, query: &Query, clause: &mut Clause<'_>) -> Result<Expr> {
        let plan = self.subquery(query, clause)?;
        if plan.schema().len() != 1 {
            let message = format!(
                "a scalar subquery gives one column, this one gives {}",
                plan.schema().len()
            );
            return Err(Error::user("SUBQUERY_COLUMNS", message));
        }
        let data_type = plan.schema().column(0).data_type.with_nullable(true);
        Ok(subquery_expr(SubqueryKind::Scalar, plan, data_type))
    }

    fn exists(&mut self, query: &Query, negated: bool, clause: &mut Clause<'_>) -> Result<Expr> {
        let plan = self.subquery(query, clause)?;
        let data_type = LogicalType::Boolean.not_null();
        Ok(subquery_expr(
            SubqueryKind::Exists { negated },
            plan,
            data_type,
        ))
    }

    pub(crate) fn in_subquery(
        &mut self,
        value: &ast::Expr,
        query: &Query,
        negated: bool,
        clause: &mut Clause<'_>,
    ) -> Result<Expr> {
        let exprs = match value {
            ast::Expr::Tuple(values) => self.exprs(values, clause)?,
            ast::Expr::Function(f) if f.name.to_string().eq_ignore_ascii_case("ROW") => {
                let args = self.function_args(f, clause)?;
                args.into_iter().collect()
            }
            value => vec![self.expr(value, clause)?],
        };
        let plan = self.subquery(query, clause)?;
        if plan.schema().len() != exprs.len() {
            let message = format!(
                "IN compares {} values with {} columns of the subquery",
                exprs.len(),
                plan.schema().len()
            );
            return Err(Error::user("SUBQUERY_COLUMNS", message));
        }
        // The types must compare; the casts are made when the join's condition is.
        for (i, expr) in exprs.iter().enumerate() {
            self.call("=", vec![expr.clone(), plan.column_expr(i)])?;
        }
        let nullable = exprs.iter().any(|e| e.data_type.nullable)
            || plan.schema().columns().iter().any(|c| c.data_type.nullable);
        let data_type = LogicalType::Boolean.nullable().with_nullable(nullable);
        Ok(subquery_expr(
            SubqueryKind::In { exprs, negated },
            plan,
            data_type,
        ))
    }
}

pub(crate) fn subquery_expr(
    kind: SubqueryKind,
    plan: Arc<crate::plan::Plan>,
    data_type: flott_core::types::DataType,
) -> Expr {
    Expr {
        kind: ExprKind::Subquery(Box::new(Subquery { kind, plan })),
        data_type,
    }
}

/// Turns the columns of an expression into those of an enclosing query.
fn to_outer(expr: &mut Expr, depth: usize) {
    expr.transform_down(&mut |e| {
        if let ExprKind::Column(index) = e.kind {
            e.kind = ExprKind::OuterColumn { depth, index };
        }
        false
    });
}

/// The error for syntax that has no meaning here.
pub(crate) fn unsupported(syntax: &dyn std::fmt::Display) -> Error {
    Error::user("UNSUPPORTED_SYNTAX", format!("'{syntax}' is not supported"))
}
