//! Subqueries in expressions, turned into joins.
//!
//! A correlated predicate inside the subquery is pulled up until it can be the join's condition:
//! projections carry the columns that it reads, and aggregates group by the columns that it
//! equates. What cannot be pulled is refused. See "Unnesting Arbitrary Queries" (Neumann, Kemper)
//! for the general case.

use std::sync::Arc;

use datafusion_common::ScalarValue;
use flott_core::schema::Schema;
use flott_core::types::LogicalType;
use flott_core::{Error, Result};

use super::Binder;
use super::mark::mark;
use crate::expr::{Expr, ExprKind, Subquery, SubqueryKind};
use crate::plan::{Aggregate, AggregateCall, JoinKind, JoinMode, Plan, Rank, Sort, SortKey};

/// A filter whose predicate may hold subqueries.
pub(crate) fn filter(input: Arc<Plan>, predicate: Expr, binder: &Binder<'_>) -> Result<Arc<Plan>> {
    let width = input.schema().len();
    let mut plan = input;
    let mut rest = Vec::new();
    for conjunct in predicate.conjuncts() {
        match into_subquery(conjunct) {
            Ok((subquery, is_negated)) if is_correlated_not_in(&subquery, is_negated) => {
                // Only the compared values are null-aware, not those of the correlation.
                let value = boolean_subquery(subquery);
                rest.push(if is_negated { value.negate() } else { value });
            }
            Ok((subquery, is_negated)) => plan = semi_join(plan, subquery, is_negated, binder)?,
            Err(other) => rest.push(other),
        }
    }
    let (plan, rest) = inline(plan, rest, binder)?;
    let filtered = Plan::filter(plan, Expr::and(rest));
    Ok(Plan::project_columns(
        filtered,
        &(0..width).collect::<Vec<_>>(),
    ))
}

/// The subquery that a conjunct consists of, and whether NOT stands before it.
fn into_subquery(expr: Expr) -> Result<(Subquery, bool), Expr> {
    let is_test = |s: &Subquery| !matches!(s.kind, SubqueryKind::Scalar);
    match expr.kind {
        ExprKind::Subquery(subquery) if is_test(&subquery) => Ok((*subquery, false)),
        ExprKind::Not(inner) => match inner.kind {
            ExprKind::Subquery(subquery) if is_test(&subquery) => Ok((*subquery, true)),
            kind => Err(Expr {
                kind: ExprKind::Not(Box::new(Expr {
                    kind,
                    data_type: inner.data_type,
                })),
                data_type: expr.data_type,
            }),
        },
        kind => Err(Expr {
            kind,
            data_type: expr.data_type,
        }),
    }
}

/// Whether this is a NOT IN whose query is correlated by equality, so that [`mark`] can bind it.
fn is_correlated_not_in(subquery: &Subquery, is_negated: bool) -> bool {
    let SubqueryKind::In { exprs, negated } = &subquery.kind else {
        return false;
    };
    let is_marked = || match pull_up(&subquery.plan) {
        Ok(pulled) => exprs.len() == 1 && pulled.equalities().is_some(),
        Err(_) => false,
    };
    *negated != is_negated && subquery.plan.has_outer_columns(1) && is_marked()
}

fn boolean_subquery(subquery: Subquery) -> Expr {
    Expr {
        kind: ExprKind::Subquery(Box::new(subquery)),
        data_type: LogicalType::Boolean.nullable(),
    }
}

/// EXISTS and IN as semi and anti joins.
fn semi_join(
    plan: Arc<Plan>,
    subquery: Subquery,
    is_negated: bool,
    binder: &Binder<'_>,
) -> Result<Arc<Plan>> {
    let width = plan.schema().len();
    let pulled = pull_up(&subquery.plan)?;
    let (kind, mut conditions) = match subquery.kind {
        SubqueryKind::In { exprs, negated } => {
            let right = pulled.plan.schema().columns().iter();
            let right = right.zip(&exprs).any(|(c, _)| c.data_type.nullable);
            let may_be_null = right || exprs.iter().any(|e| e.data_type.nullable);
            let conditions = in_conditions(exprs, &pulled.plan, width, binder)?;
            let kind = match (negated != is_negated, may_be_null) {
                (true, true) => JoinKind::NullAwareAnti,
                (true, false) => JoinKind::Anti,
                (false, _) => JoinKind::Semi,
            };
            (kind, conditions)
        }
        SubqueryKind::Exists { negated } => match negated != is_negated {
            true => (JoinKind::Anti, vec![]),
            false => (JoinKind::Semi, vec![]),
        },
        SubqueryKind::Scalar => return Err(Error::internal("a scalar subquery as a condition")),
    };
    conditions.extend(pulled.conditions(width));
    let mut plan = plan;
    // Casts of the left's values in the condition stay there; the planner computes key columns.
    let condition = Expr::and(conditions);
    if condition.has_subquery() {
        return Err(unsupported("a subquery in a value compared by IN"));
    }
    plan = Plan::join(plan, pulled.plan, kind, condition, JoinMode::Regular);
    Ok(plan)
}

fn in_conditions(
    exprs: Vec<Expr>,
    right: &Arc<Plan>,
    width: usize,
    binder: &Binder<'_>,
) -> Result<Vec<Expr>> {
    exprs
        .into_iter()
        .enumerate()
        .map(|(i, left)| {
            let right = right.column_expr(i).remap_columns(&|c| c + width);
            binder.call("=", vec![left, right])
        })
        .collect()
}

/// Replaces subqueries in expressions over `input` by columns that joins append.
pub(crate) fn inline(
    input: Arc<Plan>,
    exprs: Vec<Expr>,
    binder: &Binder<'_>,
) -> Result<(Arc<Plan>, Vec<Expr>)> {
    if !exprs.iter().any(Expr::has_subquery) {
        return Ok((input, exprs));
    }
    let mut plan = input;
    let mut failure = None;
    let mut exprs = exprs;
    for expr in &mut exprs {
        expr.transform_up(&mut |e| {
            if failure.is_some() {
                return;
            }
            let ExprKind::Subquery(subquery) = &e.kind else {
                return;
            };
            match inline_one(&plan, subquery.as_ref().clone(), binder) {
                Ok((joined, value)) => {
                    plan = joined;
                    *e = value;
                }
                Err(error) => failure = Some(error),
            }
        });
    }
    match failure {
        Some(error) => Err(error),
        None => Ok((plan, exprs)),
    }
}

fn inline_one(
    plan: &Arc<Plan>,
    subquery: Subquery,
    binder: &Binder<'_>,
) -> Result<(Arc<Plan>, Expr)> {
    match subquery.kind {
        SubqueryKind::Scalar => scalar(plan.clone(), &subquery.plan),
        SubqueryKind::Exists { negated } => {
            mark(plan.clone(), &subquery.plan, vec![], negated, binder)
        }
        SubqueryKind::In { exprs, negated } => {
            mark(plan.clone(), &subquery.plan, exprs, negated, binder)
        }
    }
}

/// A scalar subquery: joined by its correlation, or one row for all.
fn scalar(plan: Arc<Plan>, query: &Arc<Plan>) -> Result<(Arc<Plan>, Expr)> {
    let width = plan.schema().len();
    if !query.has_outer_columns(1) {
        let right = single_row(query.clone())?;
        let joined = Plan::join(
            plan,
            right,
            JoinKind::Left,
            Expr::boolean(true),
            JoinMode::Regular,
        );
        let value = joined.column_expr(width);
        return Ok((joined, value));
    }
    // The projection of an aggregate without keys is computed above the join, where a group that
    // is missing counts as empty.
    let (exprs, query) = match query.as_ref() {
        Plan::Project(project) if is_global_aggregate(&project.input) => {
            (Some(project.exprs.clone()), project.input.clone())
        }
        _ => (None, query.clone()),
    };
    let calls = match query.as_ref() {
        Plan::Aggregate(aggregate) if aggregate.keys.is_empty() => aggregate.calls.clone(),
        _ => {
            let message = "a correlated scalar subquery must be an aggregate without GROUP BY, so that it gives one row";
            return Err(Error::user("UNSUPPORTED_SUBQUERY", message));
        }
    };
    let pulled = pull_up(&query)?;
    let conditions = pulled.conditions(width);
    let joined = Plan::join(
        plan,
        pulled.plan,
        JoinKind::Left,
        Expr::and(conditions),
        JoinMode::Regular,
    );
    let values: Vec<Expr> = calls
        .iter()
        .enumerate()
        .map(|(i, call)| empty_as_zero(joined.column_expr(width + i), call))
        .collect();
    let value = match exprs.and_then(|mut e| e.pop()) {
        Some(expr) => expr.substitute_columns(&values),
        None => values
            .into_iter()
            .next()
            .unwrap_or_else(|| Expr::boolean(true)),
    };
    Ok((joined, value))
}

fn is_global_aggregate(plan: &Plan) -> bool {
    matches!(plan, Plan::Aggregate(a) if a.keys.is_empty() && a.window.is_none())
}

/// COUNT of a group that the join did not find is 0.
fn empty_as_zero(column: Expr, call: &AggregateCall) -> Expr {
    if call.types.result.nullable || call.types.result.logical != LogicalType::BigInt {
        return column;
    }
    let zero = Expr::literal(ScalarValue::Int64(Some(0)), LogicalType::BigInt.not_null());
    let is_missing = column.clone().is_null();
    Expr {
        data_type: LogicalType::BigInt.not_null(),
        ..Expr::case(vec![(is_missing, zero)], column)
    }
}

/// A plan of at most one row, checked when it runs.
fn single_row(plan: Arc<Plan>) -> Result<Arc<Plan>> {
    let is_single = match plan.as_ref() {
        Plan::Project(project) => is_global_aggregate(&project.input),
        Plan::Values(values) => values.rows.len() <= 1,
        other => is_global_aggregate(other),
    };
    if is_single {
        return Ok(plan);
    }
    let argument = plan.schema().column(0).data_type.with_nullable(true);
    let call = AggregateCall::of("SINGLE_VALUE", vec![(0, argument)])?;
    Ok(Plan::aggregate(
        plan,
        vec![],
        None,
        vec![],
        vec![call],
        None,
    ))
}

/// `LATERAL (query)`: joined by its correlation; the result has the left's columns, then the
/// query's `width` ones.
pub(crate) fn lateral(
    left: Arc<Plan>,
    query: Arc<Plan>,
    kind: JoinKind,
    width: usize,
) -> Result<Arc<Plan>> {
    let left_width = left.schema().len();
    let pulled = pull_up(&query)?;
    let condition = Expr::and(pulled.conditions(left_width));
    let joined = Plan::join(left, pulled.plan, kind, condition, JoinMode::Regular);
    let columns: Vec<usize> = (0..left_width + width).collect();
    Ok(Plan::project_columns(joined, &columns))
}

/// A plan without correlation, and the predicates that were taken out of it: over its columns and,
/// as outer columns of depth 1, the enclosing query's.
pub(super) struct Pulled {
    pub plan: Arc<Plan>,
    predicates: Vec<Expr>,
}

impl Pulled {
    /// The predicates as a join condition: the outer columns first, then this plan's.
    fn conditions(&self, left_width: usize) -> Vec<Expr> {
        let to_join = |p: &Expr| {
            let mut p = p.clone().remap_columns(&|c| c + left_width);
            p.transform_down(&mut |e| {
                if let ExprKind::OuterColumn { depth: 1, index } = e.kind {
                    e.kind = ExprKind::Column(index);
                    return true;
                }
                false
            });
            p
        };
        self.predicates.iter().map(to_join).collect()
    }

    /// The predicates as pairs of one of this plan's columns and an expression over the enclosing
    /// query's; `None` when one is no such equality.
    pub fn equalities(&self) -> Option<Vec<(usize, Expr)>> {
        self.predicates.iter().map(equality).collect()
    }
}

/// `inner column = outer expression` as the column and the expression over the outer's columns.
fn equality(predicate: &Expr) -> Option<(usize, Expr)> {
    let args = predicate.as_call("=")?;
    let (left, right) = (args.first()?, args.get(1)?);
    let is_outer = |e: &Expr| e.columns().is_empty() && has_outer(e);
    let (inner, outer) = match (is_outer(left), is_outer(right)) {
        (true, false) => (right, left),
        (false, true) => (left, right),
        _ => return None,
    };
    let column = inner.as_column()?;
    let mut outer = outer.clone();
    outer.transform_down(&mut |e| {
        if let ExprKind::OuterColumn { depth: 1, index } = e.kind {
            e.kind = ExprKind::Column(index);
        }
        false
    });
    Some((column, outer))
}

fn has_outer(expr: &Expr) -> bool {
    expr.any(&|e| matches!(e.kind, ExprKind::OuterColumn { depth: 1, .. }))
}

pub(super) fn unsupported(what: &str) -> Error {
    let message = format!("{what} is not supported in a subquery; write it as a join");
    Error::user("UNSUPPORTED_SUBQUERY", message)
}

/// Takes the predicates that refer to the enclosing query out of a plan.
pub(super) fn pull_up(plan: &Arc<Plan>) -> Result<Pulled> {
    if !plan.has_outer_columns(1) {
        return Ok(Pulled {
            plan: plan.clone(),
            predicates: vec![],
        });
    }
    match plan.as_ref() {
        Plan::Filter(node) => {
            let mut pulled = pull_up(&node.input)?;
            let conjuncts = node.predicate.clone().conjuncts();
            let (correlated, own): (Vec<_>, Vec<_>) = conjuncts.into_iter().partition(has_outer);
            pulled.plan = Plan::filter(pulled.plan, Expr::and(own));
            pulled.predicates.extend(correlated);
            Ok(pulled)
        }
        Plan::Project(node) => pull_project(&node.input, &node.exprs, &node.schema),
        Plan::Aggregate(node) => pull_aggregate(node),
        Plan::Sort(node) => pull_sort(node),
        Plan::Join(node) => pull_join(node),
        _ => Err(unsupported(
            "a reference to the enclosing query at this place",
        )),
    }
}

/// Carries the columns that predicates read through a projection.
fn pull_project(input: &Arc<Plan>, exprs: &[Expr], schema: &Schema) -> Result<Pulled> {
    if exprs.iter().any(has_outer) {
        return Err(unsupported("a column of the enclosing query in SELECT"));
    }
    let pulled = pull_up(input)?;
    let mut exprs = exprs.to_vec();
    let mut names: Vec<String> = schema.columns().iter().map(|c| c.name.clone()).collect();
    let mut predicates = Vec::new();
    for predicate in pulled.predicates {
        // An equality's inner side is computed here, so that it can be a key above.
        let predicate = predicate_over(predicate, &pulled.plan, &mut exprs, &mut names);
        predicates.push(predicate);
    }
    Ok(Pulled {
        plan: Plan::project(pulled.plan, exprs, names),
        predicates,
    })
}

fn predicate_over(
    mut predicate: Expr,
    input: &Plan,
    exprs: &mut Vec<Expr>,
    names: &mut Vec<String>,
) -> Expr {
    let mut position = |e: &Expr| {
        let text = e.key();
        let known = exprs.iter().position(|x| x.key() == text);
        known.unwrap_or_else(|| {
            names.push(match e.as_column() {
                Some(c) => input.schema().column(c).name.clone(),
                None => format!("$c{}", exprs.len()),
            });
            exprs.push(e.clone());
            exprs.len() - 1
        })
    };
    predicate.transform_down(&mut |e| {
        // The largest parts that are the subquery's own.
        if has_outer(e) || e.columns().is_empty() {
            return false;
        }
        *e = Expr::column(position(e), e.data_type.clone());
        true
    });
    predicate
}

/// Groups by the columns that are equal to the enclosing query's.
fn pull_aggregate(node: &Aggregate) -> Result<Pulled> {
    if node.grouping_sets.is_some() || node.window.is_some() {
        return Err(unsupported(
            "a correlated aggregate with grouping sets or windows",
        ));
    }
    let below = pull_up(&node.input)?;
    // Inner sides that are expressions become columns first.
    let width = below.plan.schema().len();
    let exprs: Vec<Expr> = (0..width).map(|i| below.plan.column_expr(i)).collect();
    let schema = below.plan.schema().clone();
    let mut all = exprs;
    let mut names: Vec<String> = schema.columns().iter().map(|c| c.name.clone()).collect();
    let predicates: Vec<Expr> = below
        .predicates
        .into_iter()
        .map(|p| predicate_over(p, &below.plan, &mut all, &mut names))
        .collect();
    let input = match all.len() == width {
        true => below.plan,
        false => Plan::project(below.plan, all, names),
    };
    let pulled = Pulled {
        plan: input,
        predicates,
    };
    let equalities = pulled
        .equalities()
        .ok_or_else(|| unsupported("an aggregate correlated by more than equality"))?;
    let num_calls = node.calls.len();
    let mut keys = node.keys.clone();
    for (column, _) in &equalities {
        if !keys.contains(column) {
            keys.push(*column);
        }
    }
    let aggregate = Plan::aggregate(
        pulled.plan.clone(),
        keys.clone(),
        None,
        vec![],
        node.calls.clone(),
        None,
    );
    // The columns as before, then the added keys.
    let num_old = node.keys.len();
    let mut order: Vec<usize> = (0..num_old).collect();
    order.extend(keys.len()..keys.len() + num_calls);
    order.extend(num_old..keys.len());
    let position = |column: usize| {
        let key = keys.iter().position(|k| *k == column).unwrap_or(0);
        order.iter().position(|o| *o == key).unwrap_or(0)
    };
    let predicates = pulled
        .predicates
        .into_iter()
        .map(|p| p.remap_columns(&position))
        .collect();
    Ok(Pulled {
        plan: Plan::project_columns(aggregate, &order),
        predicates,
    })
}

/// ORDER BY … LIMIT n for each row of the enclosing query is a top-n for each correlated key.
fn pull_sort(node: &Sort) -> Result<Pulled> {
    let pulled = pull_up(&node.input)?;
    let Some(fetch) = node.fetch else {
        return Ok(pulled);
    };
    let equalities = pulled
        .equalities()
        .ok_or_else(|| unsupported("LIMIT correlated by more than equality"))?;
    let partition_keys = equalities.iter().map(|(column, _)| *column).collect();
    let schema = pulled.plan.schema().clone();
    let order: Vec<SortKey> = node.keys.clone();
    Ok(Pulled {
        plan: Arc::new(Plan::Rank(Rank {
            input: pulled.plan,
            partition_keys,
            order,
            from: node.offset + 1,
            to: node.offset + fetch,
            outputs_rank: false,
            window: None,
            schema,
        })),
        predicates: pulled.predicates,
    })
}

fn pull_join(node: &crate::plan::Join) -> Result<Pulled> {
    let is_right_free = !node.right.has_outer_columns(1);
    let is_supported = match node.kind {
        JoinKind::Inner => true,
        JoinKind::Left | JoinKind::Semi | JoinKind::Anti => is_right_free,
        _ => false,
    };
    let conjuncts = node.condition.clone().conjuncts();
    let (correlated, own): (Vec<_>, Vec<_>) = conjuncts.into_iter().partition(has_outer);
    if !is_supported || (!correlated.is_empty() && node.kind != JoinKind::Inner) {
        return Err(unsupported(
            "a reference to the enclosing query in an outer join",
        ));
    }
    let left = pull_up(&node.left)?;
    let right = pull_up(&node.right)?;
    let (old_left, new_left) = (node.left.schema().len(), left.plan.schema().len());
    let old_right = node.right.schema().len();
    let shift = |c: usize| {
        if c < old_left {
            c
        } else {
            c - old_left + new_left
        }
    };
    let condition = Expr::and(own).remap_columns(&shift);
    let joined = Plan::join(
        left.plan,
        right.plan,
        node.kind,
        condition,
        node.mode.clone(),
    );
    // The columns as before, then those that were added for predicates.
    let num_all = joined.schema().len();
    let mut order: Vec<usize> = (0..old_left).collect();
    let is_left_only = matches!(node.kind, JoinKind::Semi | JoinKind::Anti);
    if !is_left_only {
        order.extend(new_left..new_left + old_right);
    }
    let added = (0..num_all)
        .filter(|c| !order.contains(c))
        .collect::<Vec<_>>();
    order.extend(added);
    let position = |c: usize| order.iter().position(|o| *o == c).unwrap_or(c);
    let mut predicates: Vec<Expr> = left
        .predicates
        .into_iter()
        .map(|p| p.remap_columns(&position))
        .collect();
    let right_position = |c: usize| position(c + new_left);
    predicates.extend(
        right
            .predicates
            .into_iter()
            .map(|p| p.remap_columns(&right_position)),
    );
    let own_position = |c: usize| position(shift(c));
    predicates.extend(
        correlated
            .into_iter()
            .map(|p| p.remap_columns(&own_position)),
    );
    Ok(Pulled {
        plan: Plan::project_columns(joined, &order),
        predicates,
    })
}
