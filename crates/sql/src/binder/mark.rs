//! EXISTS and IN as values: subqueries inside larger expressions, with SQL's three truth values.

use std::sync::Arc;

use datafusion_common::ScalarValue;
use flott_core::Result;
use flott_core::types::LogicalType;

use super::Binder;
use super::subquery::{pull_up, unsupported};
use crate::expr::Expr;
use crate::plan::{AggregateCall, JoinKind, JoinMode, Plan, Sort};

/// EXISTS or IN as a BOOLEAN column: the left is joined with the distinct compared values. An IN
/// of one value that finds no match is NULL where a NULL might be equal.
pub(super) fn mark(
    plan: Arc<Plan>,
    query: &Arc<Plan>,
    exprs: Vec<Expr>,
    negated: bool,
    binder: &Binder<'_>,
) -> Result<(Arc<Plan>, Expr)> {
    let width = plan.schema().len();
    let pulled = pull_up(query)?;
    let mut compared: Vec<usize> = (0..exprs.len()).collect();
    let equalities = pulled.equalities().ok_or_else(|| {
        unsupported("EXISTS or IN inside an expression, correlated by more than equality,")
    })?;
    compared.extend(equalities.iter().map(|(inner, _)| *inner));
    let keys = Plan::distinct(Plan::project_columns(pulled.plan.clone(), &compared));
    let marked = Plan::append(keys, vec![Expr::boolean(true)], "$mark");
    let marked = match compared.is_empty() {
        false => marked,
        // Uncorrelated EXISTS: one row if there is any.
        true => Arc::new(Plan::Sort(Sort {
            input: marked,
            keys: vec![],
            offset: 0,
            fetch: Some(1),
        })),
    };
    let tested = exprs.first().cloned();
    let is_single = exprs.len() == 1;
    let outer = equalities.iter().map(|(_, outer)| outer.clone());
    let lefts = exprs.into_iter().chain(outer).enumerate();
    let conditions = lefts
        .map(|(i, left)| {
            let right = marked.column_expr(i).remap_columns(&|c| c + width);
            binder.call("=", vec![left, right])
        })
        .collect::<Result<Vec<_>>>()?;
    let mut joined = Plan::join(
        plan,
        marked,
        JoinKind::Left,
        Expr::and(conditions),
        JoinMode::Regular,
    );
    let mut found = joined.column_expr(joined.schema().len() - 1).is_not_null();
    if let Some(tested) = tested.filter(|_| is_single) {
        let is_inner_nullable = pulled.plan.schema().column(0).data_type.nullable;
        if is_inner_nullable || tested.data_type.nullable {
            let unknown;
            (joined, unknown) = unknown_match(joined, &tested, &pulled.plan, &equalities, binder)?;
            let null = Expr::null(&LogicalType::Boolean.nullable())?;
            let branches = vec![(found, Expr::boolean(true)), (unknown, null)];
            found = Expr::case(branches, Expr::boolean(false));
            found.data_type.nullable = true;
        }
    }
    Ok((joined, if negated { found.negate() } else { found }))
}

/// Whether an IN that has found no match is unknown: the tested value is NULL and there is
/// something to compare with, or one of the compared values is NULL. The counts of both are joined.
fn unknown_match(
    plan: Arc<Plan>,
    tested: &Expr,
    query: &Arc<Plan>,
    equalities: &[(usize, Expr)],
    binder: &Binder<'_>,
) -> Result<(Arc<Plan>, Expr)> {
    let width = plan.schema().len();
    let keys: Vec<usize> = equalities.iter().map(|(inner, _)| *inner).collect();
    let num_keys = keys.len();
    let calls = vec![count(None)?, count(Some(query))?];
    let counts = Plan::aggregate(query.clone(), keys, None, vec![], calls, None);
    let conditions = equalities.iter().enumerate().map(|(i, (_, outer))| {
        let inner = counts.column_expr(i).remap_columns(&|c| c + width);
        binder.call("=", vec![outer.clone(), inner])
    });
    let conditions = conditions.collect::<Result<Vec<_>>>()?;
    let condition = match conditions.is_empty() {
        true => Expr::boolean(true),
        false => Expr::and(conditions),
    };
    let joined = Plan::join(plan, counts, JoinKind::Left, condition, JoinMode::Regular);
    let all = joined.column_expr(width + num_keys);
    let not_null = joined.column_expr(width + num_keys + 1);
    let zero = Expr::literal(ScalarValue::Int64(Some(0)), LogicalType::BigInt.not_null());
    let is_any = binder.call(">", vec![all.clone(), zero])?;
    let has_null = binder.call(">", vec![all, not_null])?;
    let tests_null = Expr::and(vec![tested.clone().is_null(), is_any]);
    Ok((joined, Expr::or(vec![tests_null, has_null])))
}

/// COUNT(*), or COUNT of a query's first column.
pub(super) fn count(query: Option<&Arc<Plan>>) -> Result<AggregateCall> {
    let argument = query.map(|q| q.schema().column(0).data_type.with_nullable(true));
    AggregateCall::of("COUNT", argument.map(|a| (0, a)).into_iter().collect())
}
