//! Queries: WITH, set operations, VALUES, ORDER BY, LIMIT.

use std::sync::Arc;

use flott_core::schema::{Column, Schema};
use flott_core::types::DataType;
use flott_core::{Error, Result};
use sqlparser::ast::{
    self, LimitClause, OrderByExpr, OrderByKind, Query, SetExpr, SetOperator, SetQuantifier,
    Spanned, TableAlias, Values, With,
};

use super::call::order_options;
use super::from::aliased;
use super::refuse::{illegal_null, is_bare_null};
use super::scalar::{Clause, unsupported};
use super::scope::{Scope, located};
use super::select::{Body, ordinal};
use super::{Binder, Cte, coerce, literal, set};
use crate::plan::{Plan, Sort, SortKey};

impl Binder<'_> {
    /// A query as a statement: its ORDER BY counts.
    pub(crate) fn outer_query(&mut self, query: &Query) -> Result<Arc<Plan>> {
        self.query(query, true)
    }

    /// A query inside another: an ORDER BY without LIMIT has no meaning there, as in Flink.
    pub(crate) fn inner_query(&mut self, query: &Query) -> Result<Arc<Plan>> {
        self.query(query, false)
    }

    fn query(&mut self, query: &Query, keeps_order: bool) -> Result<Arc<Plan>> {
        refuse_unsupported(query)?;
        let num_ctes = self.ctes.len();
        if let Some(with) = &query.with {
            self.with(with)?;
        }
        let bound = self.query_body(query, keeps_order);
        self.ctes.truncate(num_ctes);
        bound
    }

    fn query_body(&mut self, query: &Query, keeps_order: bool) -> Result<Arc<Plan>> {
        let order_by: &[OrderByExpr] = match query.order_by.as_ref().map(|o| &o.kind) {
            Some(OrderByKind::Expressions(exprs)) => exprs,
            Some(OrderByKind::All(_)) => return Err(unsupported(&"ORDER BY ALL")),
            None => &[],
        };
        let (offset, fetch) = self.limits(query)?;
        let is_limited = offset > 0 || fetch.is_some();
        let body = match query.body.as_ref() {
            SetExpr::Select(select) => self.select(select, order_by)?,
            other => {
                let plan = self.set_expr(other)?;
                let order = self.order_over(order_by, &plan)?;
                let visible = plan.schema().len();
                Body {
                    plan,
                    order,
                    visible,
                }
            }
        };
        let mut plan = body.plan;
        if is_limited || (keeps_order && !body.order.is_empty()) {
            plan = Arc::new(Plan::Sort(Sort {
                input: plan,
                keys: body.order,
                offset,
                fetch,
            }));
        }
        let visible: Vec<usize> = (0..body.visible).collect();
        Ok(Plan::project_columns(plan, &visible))
    }

    fn with(&mut self, with: &With) -> Result<()> {
        if with.recursive {
            return Err(unsupported(&"WITH RECURSIVE"));
        }
        for cte in &with.cte_tables {
            let outer = std::mem::take(&mut self.outer);
            let plan = self.inner_query(&cte.query);
            self.outer = outer;
            let plan = renamed(plan?, &cte.alias)?;
            self.ctes.push(Cte {
                name: cte.alias.name.value.clone(),
                plan,
            });
        }
        Ok(())
    }

    /// A query's body without ORDER BY and LIMIT.
    fn set_expr(&mut self, body: &SetExpr) -> Result<Arc<Plan>> {
        match body {
            SetExpr::Select(select) => Ok(self.select(select, &[])?.plan),
            SetExpr::Query(query) => self.query(query, false),
            SetExpr::Values(values) => self.values(values),
            SetExpr::SetOperation {
                left,
                op,
                set_quantifier,
                right,
            } => self.set_operation(left, *op, *set_quantifier, right),
            SetExpr::Table(table) => {
                let name = [&table.schema_name, &table.table_name];
                let parts: Vec<ast::Ident> =
                    name.into_iter().flatten().map(ast::Ident::new).collect();
                let name = ast::ObjectName::from(parts);
                self.table(&name, &[])
            }
            other => Err(unsupported(other)),
        }
    }

    fn set_operation(
        &mut self,
        left: &SetExpr,
        op: SetOperator,
        quantifier: SetQuantifier,
        right: &SetExpr,
    ) -> Result<Arc<Plan>> {
        let is_all = match quantifier {
            SetQuantifier::All => true,
            SetQuantifier::Distinct | SetQuantifier::None => false,
            other => return Err(unsupported(&other)),
        };
        let span = right.span();
        let left = self.set_expr(left)?;
        let right = self.set_expr(right)?;
        let (left, right) = self
            .unify_columns(left, right, op)
            .map_err(|e| located(e, span))?;
        match op {
            SetOperator::Union => {
                let union = flat_union(left, right);
                Ok(if is_all { union } else { Plan::distinct(union) })
            }
            SetOperator::Intersect => set::intersect(left, right, is_all, self),
            SetOperator::Except | SetOperator::Minus => set::except(left, right, is_all, self),
        }
    }

    /// Casts both sides of a set operation to their columns' common types.
    fn unify_columns(
        &mut self,
        left: Arc<Plan>,
        right: Arc<Plan>,
        op: SetOperator,
    ) -> Result<(Arc<Plan>, Arc<Plan>)> {
        let (num_left, num_right) = (left.schema().len(), right.schema().len());
        if num_left != num_right {
            let message = format!("column count mismatch in {op}: {num_left} and {num_right}");
            return Err(Error::user("COLUMN_COUNT", message));
        }
        let pairs = left.schema().columns().iter().zip(right.schema().columns());
        let types = pairs
            .map(|(l, r)| {
                let pair = [l.data_type.clone(), r.data_type.clone()];
                let what = format!("column '{}' of {op}", l.name);
                coerce::common_type(&pair, &what)
            })
            .collect::<Result<Vec<_>>>()?;
        Ok((
            self.cast_columns(left, &types)?,
            self.cast_columns(right, &types)?,
        ))
    }

    fn cast_columns(&self, plan: Arc<Plan>, types: &[DataType]) -> Result<Arc<Plan>> {
        let columns = plan.schema().columns();
        let is_equal = |(c, t): (&Column, &DataType)| c.data_type.logical == t.logical;
        if columns.iter().zip(types).all(is_equal) {
            return Ok(plan);
        }
        let exprs = types
            .iter()
            .enumerate()
            .map(|(i, t)| coerce::cast(plan.column_expr(i), t, false, self.ctx.expr))
            .collect::<Result<Vec<_>>>()?;
        let names = columns.iter().map(|c| c.name.clone()).collect();
        Ok(Plan::project(plan, exprs, names))
    }

    /// VALUES: the columns have the rows' common types.
    pub(crate) fn values(&mut self, values: &Values) -> Result<Arc<Plan>> {
        let scope = Scope::default();
        let mut rows = Vec::new();
        for row in &values.rows {
            let span = row.first().map(|e| e.span());
            let exprs = self.exprs(row.iter(), &mut Clause::new(&scope, "VALUES"))?;
            if let Some(i) = exprs.iter().position(is_bare_null) {
                return Err(located(illegal_null(), row[i].span()));
            }
            if rows
                .first()
                .is_some_and(|r: &Vec<_>| r.len() != exprs.len())
            {
                let message = "the rows of VALUES must have the same number of columns";
                let error = Error::user("COLUMN_COUNT", message);
                return Err(span.map_or(error.clone(), |s| located(error, s)));
            }
            rows.push(exprs);
        }
        let width = rows.first().map_or(0, Vec::len);
        let mut columns = Vec::new();
        for i in 0..width {
            let types: Vec<DataType> = rows.iter().map(|r| r[i].data_type.clone()).collect();
            let common = coerce::common_type(&types, "VALUES")?;
            for row in &mut rows {
                row[i] = coerce::cast(row[i].clone(), &common, false, self.ctx.expr)?;
            }
            columns.push(Column::new(format!("EXPR${i}"), common));
        }
        if rows.iter().flatten().any(|e| e.has_subquery()) {
            return Err(unsupported(&"a subquery in VALUES"));
        }
        Ok(Plan::values(rows, Schema::new(columns)))
    }

    /// ORDER BY over a set operation: names and ordinals of its columns, and expressions of them.
    fn order_over(&mut self, order_by: &[OrderByExpr], plan: &Arc<Plan>) -> Result<Vec<SortKey>> {
        let scope = Scope::of_plan(plan, &[]);
        order_by
            .iter()
            .map(|order| {
                let (descending, nulls_first) = order_options(order);
                let position = match &order.expr {
                    ast::Expr::Value(v) => ordinal(&v.value, plan.schema().len())?,
                    _ => None,
                };
                let column = match position {
                    Some(position) => Some(position),
                    None => self
                        .expr(&order.expr, &mut Clause::new(&scope, "ORDER BY"))?
                        .as_column(),
                };
                let column = column.ok_or_else(|| {
                    let message = "after a set operation, ORDER BY takes column names and ordinals";
                    located(Error::user("INVALID_ORDER_BY", message), order.expr.span())
                })?;
                Ok(SortKey {
                    column,
                    descending,
                    nulls_first,
                })
            })
            .collect()
    }

    fn limits(&mut self, query: &Query) -> Result<(u64, Option<u64>)> {
        let (mut limit, mut offset) = (None, None);
        match &query.limit_clause {
            Some(LimitClause::LimitOffset {
                limit: l,
                offset: o,
                ..
            }) => {
                limit = l.as_ref();
                offset = o.as_ref().map(|o| &o.value);
            }
            Some(LimitClause::OffsetCommaLimit {
                offset: o,
                limit: l,
            }) => {
                limit = Some(l);
                offset = Some(o);
            }
            None => {}
        }
        let mut fetch = limit.map(|l| self.count(l, "LIMIT")).transpose()?;
        if let Some(clause) = &query.fetch {
            if clause.with_ties || clause.percent {
                return Err(unsupported(clause));
            }
            fetch = match &clause.quantity {
                Some(quantity) => Some(self.count(quantity, "FETCH")?),
                None => Some(1),
            };
        }
        let offset = offset.map(|o| self.count(o, "OFFSET")).transpose()?;
        Ok((offset.unwrap_or(0), fetch))
    }

    fn count(&mut self, ast: &ast::Expr, name: &'static str) -> Result<u64> {
        let scope = Scope::default();
        let expr = self.expr(ast, &mut Clause::new(&scope, name))?;
        let count = literal::integer(&expr).and_then(|n| u64::try_from(n).ok());
        count.ok_or_else(|| {
            let message = format!("{name} takes an integer that is not negative, not '{ast}'");
            located(Error::user("INVALID_LIMIT", message), ast.span())
        })
    }
}

fn refuse_unsupported(query: &Query) -> Result<()> {
    if !query.locks.is_empty() || query.for_clause.is_some() {
        return Err(unsupported(&"FOR UPDATE"));
    }
    match query.pipe_operators.first() {
        Some(operator) => Err(unsupported(operator)),
        None => Ok(()),
    }
}

/// A plan with the columns' names of an alias: `WITH t (a, b) AS …`.
fn renamed(plan: Arc<Plan>, alias: &TableAlias) -> Result<Arc<Plan>> {
    if alias.columns.is_empty() {
        return Ok(plan);
    }
    let scope = aliased(&plan, Some(alias))?;
    let exprs = scope.columns.iter().map(|c| c.expr.clone()).collect();
    let names = scope.columns.into_iter().map(|c| c.name).collect();
    Ok(Plan::project(plan, exprs, names))
}

/// UNION ALL; one of unions is one node.
fn flat_union(left: Arc<Plan>, right: Arc<Plan>) -> Arc<Plan> {
    let mut inputs = Vec::new();
    for side in [left, right] {
        match side.as_ref() {
            Plan::Union(union) => inputs.extend(union.inputs.iter().cloned()),
            _ => inputs.push(side),
        }
    }
    Plan::union(inputs)
}
