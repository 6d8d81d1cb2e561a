//! Filters to where their columns come from.

use std::sync::Arc;

use datafusion_common::ScalarValue;

use crate::expr::{Expr, ExprKind};
use crate::plan::{Aggregate, Filter, Join, JoinKind, JoinMode, Plan, Project, WindowKind};

/// Moves every filter as far down as it may go.
pub fn apply(plan: &Arc<Plan>) -> Arc<Plan> {
    push(plan, vec![])
}

/// `plan` with `predicates` over its columns applied, as far down as they may go.
fn push(plan: &Arc<Plan>, predicates: Vec<Expr>) -> Arc<Plan> {
    if predicates.iter().any(is_never) {
        return Plan::values(vec![], plan.schema().clone());
    }
    match plan.as_ref() {
        Plan::Filter(Filter { input, predicate }) => {
            let mut all = predicate.clone().conjuncts();
            all.extend(predicates);
            push(input, all)
        }
        Plan::Project(project) => through_project(plan, project, predicates),
        Plan::Join(join) => through_join(join, predicates),
        Plan::Aggregate(aggregate) => {
            let (below, above) = split(predicates, |c| is_key(aggregate, c));
            let to_input = |p: Expr| p.remap_columns(&|c| aggregate.keys[c]);
            let below = below.into_iter().map(to_input).collect();
            below_and_above(plan, below, above)
        }
        Plan::WindowTvf(tvf) => {
            let width = tvf.input.schema().len();
            let (below, above) = split(predicates, |c| match &tvf.kind {
                // A session's length depends on every row of its key.
                WindowKind::Session { partition_keys, .. } => partition_keys.contains(&c),
                _ => c < width,
            });
            below_and_above(plan, below, above)
        }
        Plan::Unnest(unnest) => {
            let width = unnest.input.schema().len();
            let (below, above) = split(predicates, |c| c < width);
            below_and_above(plan, below, above)
        }
        Plan::Over(over) => {
            let (below, above) = split(predicates, |c| over.partition_keys.contains(&c));
            below_and_above(plan, below, above)
        }
        Plan::Match(node) => {
            // The keys come first among the columns.
            let num_keys = node.partition_keys.len();
            let (below, above) = split(predicates, |c| c < num_keys);
            let to_input = |p: Expr| p.remap_columns(&|c| node.partition_keys[c]);
            below_and_above(plan, below.into_iter().map(to_input).collect(), above)
        }
        Plan::Sort(sort) if sort.fetch.is_none() && sort.offset == 0 => {
            below_and_above(plan, predicates, vec![])
        }
        Plan::Union(_) => plan.map_inputs(&mut |input| push(input, predicates.clone())),
        _ => below_and_above(plan, vec![], predicates),
    }
}

/// FALSE or NULL: no row passes.
fn is_never(predicate: &Expr) -> bool {
    match predicate.as_literal() {
        Some(ScalarValue::Boolean(value)) => *value != Some(true),
        _ => false,
    }
}

/// Predicates that read only such columns, and the others.
fn split(predicates: Vec<Expr>, is_below: impl Fn(usize) -> bool) -> (Vec<Expr>, Vec<Expr>) {
    predicates.into_iter().partition(|p| {
        let columns = p.columns();
        p.is_deterministic() && !columns.is_empty() && columns.iter().all(|c| is_below(*c))
    })
}

/// The node with `below` pushed into its one input, and `above` on it.
fn below_and_above(plan: &Arc<Plan>, below: Vec<Expr>, above: Vec<Expr>) -> Arc<Plan> {
    let mut below = Some(below);
    let node = plan.map_inputs(&mut |input| push(input, below.take().unwrap_or_default()));
    Plan::filter(node, Expr::and(above))
}

fn is_key(aggregate: &Aggregate, column: usize) -> bool {
    column < aggregate.keys.len() && aggregate.grouping_sets.is_none()
}

fn through_project(plan: &Arc<Plan>, project: &Project, predicates: Vec<Expr>) -> Arc<Plan> {
    let is_movable = |p: &Expr| {
        p.columns()
            .iter()
            .all(|c| project.exprs[*c].is_deterministic())
    };
    let (below, above): (Vec<_>, Vec<_>) = predicates.into_iter().partition(is_movable);
    let below = below
        .into_iter()
        .map(|p| p.substitute_columns(&project.exprs))
        .collect();
    below_and_above(plan, below, above)
}

/// Which parts of a join's condition and of filters above it may go where.
fn through_join(join: &Join, predicates: Vec<Expr>) -> Arc<Plan> {
    let width = join.left.schema().len();
    let is_plain = matches!(join.mode, JoinMode::Regular);
    let kind = match join.kind {
        JoinKind::Left if is_plain && predicates.iter().any(|p| rejects_nulls(p, width)) => {
            JoinKind::Inner
        }
        kind => kind,
    };
    let is_left = |c: usize| c < width;
    let is_right = |c: usize| c >= width;
    let left_above = !matches!(kind, JoinKind::Right | JoinKind::Full);
    let right_above = is_plain && matches!(kind, JoinKind::Inner | JoinKind::Right);
    let (mut left, mut above) = match left_above {
        true => split(predicates, is_left),
        false => (vec![], predicates),
    };
    let mut right = Vec::new();
    if right_above {
        (right, above) = split(above, is_right);
    }
    let mut on = join.condition.clone().conjuncts();
    if kind == JoinKind::Inner && is_plain {
        let (joined, kept): (Vec<_>, Vec<_>) = above
            .into_iter()
            .partition(|p| p.is_deterministic() && !p.has_subquery());
        on.extend(joined);
        above = kept;
    }
    if is_plain && matches!(kind, JoinKind::Inner | JoinKind::Right | JoinKind::Semi) {
        let (own, rest) = split(on, is_left);
        left.extend(own);
        on = rest;
    }
    if is_plain
        && matches!(
            kind,
            JoinKind::Inner | JoinKind::Left | JoinKind::Semi | JoinKind::Anti
        )
    {
        let (own, rest) = split(on, is_right);
        right.extend(own);
        on = rest;
    }
    let right = right
        .into_iter()
        .map(|p| p.remap_columns(&|c| c - width))
        .collect();
    let joined = Plan::join(
        push(&join.left, left),
        push(&join.right, right),
        kind,
        Expr::and(on),
        join.mode.clone(),
    );
    Plan::filter(joined, Expr::and(above))
}

/// Whether no row passes whose columns from `width` on are NULL: a comparison of one of them.
fn rejects_nulls(predicate: &Expr, width: usize) -> bool {
    let reads_right = |e: &Expr| {
        let mut e = e;
        loop {
            match &e.kind {
                ExprKind::Column(c) => return *c >= width,
                ExprKind::Field { expr, .. } | ExprKind::Cast { expr, .. } => e = expr,
                _ => return false,
            }
        }
    };
    match &predicate.kind {
        ExprKind::Call { function, args, .. } => {
            matches!(function.name, "=" | "<>" | "<" | "<=" | ">" | ">=")
                && args.iter().any(reads_right)
        }
        ExprKind::IsNotNull(inner) | ExprKind::InList { expr: inner, .. } => reads_right(inner),
        _ => false,
    }
}
