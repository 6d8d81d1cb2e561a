//! ROW_NUMBER and a filter on it become a top-n.

use std::sync::Arc;

use datafusion_common::ScalarValue;

use super::windows::window_columns;
use crate::expr::Expr;
use crate::plan::{Filter, Over, OverCall, Plan, Rank, WindowProperty};

/// A filter of a ROW_NUMBER by a constant upper bound, as a [`Rank`].
pub fn recognise(node: Arc<Plan>) -> Arc<Plan> {
    let Plan::Filter(filter) = node.as_ref() else {
        return node;
    };
    let Plan::Over(over) = filter.input.as_ref() else {
        return node;
    };
    rank(filter, over).unwrap_or(node)
}

fn rank(filter: &Filter, over: &Over) -> Option<Arc<Plan>> {
    if over.order.is_empty() || !matches!(over.calls.as_slice(), [OverCall::RowNumber]) {
        return None;
    }
    let column = over.schema.len() - 1;
    let (mut from, mut to) = (1i64, i64::MAX);
    let mut rest = Vec::new();
    for conjunct in filter.predicate.clone().conjuncts() {
        match bounds(&conjunct, column) {
            Some((low, high)) => {
                from = from.max(low);
                to = to.min(high);
            }
            None => rest.push(conjunct),
        }
    }
    if to == i64::MAX {
        return None;
    }
    if to < from {
        return Some(Plan::values(vec![], over.schema.clone()));
    }
    // A deduplication by time: its rank is 1, whatever the row.
    let is_first_by_time = (from, to) == (1, 1)
        && matches!(over.order.as_slice(), [key] if over.schema.column(key.column).time.is_some());
    let rank = Plan::Rank(Rank {
        input: over.input.clone(),
        partition_keys: over.partition_keys.clone(),
        order: over.order.clone(),
        from: from as u64,
        to: to as u64,
        outputs_rank: !is_first_by_time,
        window: None,
        schema: match is_first_by_time {
            true => over.input.schema().clone(),
            false => over.schema.clone(),
        },
    });
    let mut plan = Arc::new(rank);
    if is_first_by_time {
        let data_type = over.schema.column(column).data_type.clone();
        let one = Expr::literal(ScalarValue::Int64(Some(1)), data_type);
        let exprs = (0..column).map(|i| plan.column_expr(i)).chain([one]);
        let exprs = exprs.collect();
        let names = over.schema.columns().iter().map(|c| c.name.clone());
        plan = Plan::project(plan, exprs, names.collect());
    }
    Some(Plan::filter(plan, Expr::and(rest)))
}

/// The least and greatest rank that a conjunct lets pass.
fn bounds(conjunct: &Expr, column: usize) -> Option<(i64, i64)> {
    let crate::expr::ExprKind::Call { function, args, .. } = &conjunct.kind else {
        return None;
    };
    let [left, right] = args.as_slice() else {
        return None;
    };
    let (name, value) = match (rank_column(left), rank_column(right)) {
        (Some(c), _) if c == column => (function.name, integer(right)?),
        (_, Some(c)) if c == column => (mirrored(function.name), integer(left)?),
        _ => return None,
    };
    match name {
        "<=" => Some((1, value)),
        "<" => Some((1, value - 1)),
        "=" => Some((value.max(1), value)),
        ">=" => Some((value, i64::MAX)),
        ">" => Some((value + 1, i64::MAX)),
        _ => None,
    }
}

fn rank_column(expr: &Expr) -> Option<usize> {
    expr.as_column()
}

fn mirrored(name: &str) -> &str {
    match name {
        "<" => ">",
        "<=" => ">=",
        ">" => "<",
        ">=" => "<=",
        other => other,
    }
}

fn integer(expr: &Expr) -> Option<i64> {
    match expr.as_literal()? {
        ScalarValue::Int32(v) => v.map(i64::from),
        ScalarValue::Int64(v) => *v,
        _ => None,
    }
}

/// A top-n whose partition holds the start and end of a window is emitted once for each window.
pub(crate) fn with_window(node: Arc<Plan>) -> Arc<Plan> {
    let Plan::Rank(rank) = node.as_ref() else {
        return node;
    };
    let windows = window_columns(&rank.input);
    let find = |property: WindowProperty| {
        let is_key = |c: &usize| {
            windows
                .iter()
                .any(|w| w.column == *c && w.property == property)
        };
        rank.partition_keys.iter().copied().find(is_key)
    };
    match (find(WindowProperty::Start), find(WindowProperty::End)) {
        (Some(start), Some(end)) => {
            let mut rank = rank.clone();
            rank.window = Some((start, end));
            Arc::new(Plan::Rank(rank))
        }
        _ => node,
    }
}
