//! Neighbouring projections become one.

use std::sync::Arc;

use super::rewrite_up;
use crate::expr::{Expr, ExprKind};
use crate::plan::{Plan, Project};

/// Merges projections, and drops those that change nothing.
pub fn apply(plan: &Arc<Plan>) -> Arc<Plan> {
    rewrite_up(plan, &mut |node| Ok(merge(node))).unwrap_or_else(|_| plan.clone())
}

/// As [`apply`], with filters put below projections that only pick columns, next to the source.
pub fn apply_with_filters(plan: &Arc<Plan>) -> Arc<Plan> {
    let swapped = rewrite_up(plan, &mut |node| Ok(swap(node)));
    apply(&swapped.unwrap_or_else(|_| plan.clone()))
}

fn swap(node: Arc<Plan>) -> Arc<Plan> {
    let Plan::Filter(filter) = node.as_ref() else {
        return node;
    };
    match filter.input.as_ref() {
        Plan::Project(project) if project.exprs.iter().all(is_cheap) => {
            let predicate = filter.predicate.clone();
            let predicate = predicate.substitute_columns(&project.exprs);
            Arc::new(Plan::Project(Project {
                input: Plan::filter(project.input.clone(), predicate),
                ..project.clone()
            }))
        }
        _ => node,
    }
}

fn merge(node: Arc<Plan>) -> Arc<Plan> {
    let Plan::Project(outer) = node.as_ref() else {
        return node;
    };
    if is_identity(outer) {
        return outer.input.clone();
    }
    let Plan::Project(inner) = outer.input.as_ref() else {
        return node;
    };
    if !can_merge(outer, inner) {
        return node;
    }
    let exprs = outer
        .exprs
        .iter()
        .map(|e| e.clone().substitute_columns(&inner.exprs))
        .collect();
    merge(Arc::new(Plan::Project(Project {
        input: inner.input.clone(),
        exprs,
        schema: outer.schema.clone(),
    })))
}

fn is_identity(project: &Project) -> bool {
    let input = project.input.schema();
    let mut columns = project.schema.columns().iter().zip(input.columns());
    project.exprs.len() == input.len()
        && project
            .exprs
            .iter()
            .enumerate()
            .all(|(i, e)| e.as_column() == Some(i))
        && columns.all(|(a, b)| a.name == b.name && a.data_type.logical == b.data_type.logical)
}

/// Nothing that costs something may be computed twice.
fn can_merge(outer: &Project, inner: &Project) -> bool {
    let mut uses = vec![0usize; inner.exprs.len()];
    for expr in &outer.exprs {
        expr.visit(&mut |e| {
            if let Some(column) = e.as_column() {
                uses[column] += 1;
            }
        });
    }
    inner
        .exprs
        .iter()
        .zip(uses)
        .all(|(expr, uses)| uses <= 1 || is_cheap(expr))
}

/// A column, a field of one, or a constant.
pub(crate) fn is_cheap(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Column(_) | ExprKind::Literal(_) => true,
        ExprKind::Field { expr, .. } => is_cheap(expr),
        _ => false,
    }
}
