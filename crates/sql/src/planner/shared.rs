//! Common sub-expressions of a projection: found here, computed once a batch.

use std::collections::BTreeMap;

use crate::expr::{Expr, ExprKind};

#[derive(Default)]
struct Uses {
    total: usize,
    /// Uses that every row computes: not behind a CASE or the second operand of AND and OR.
    always: usize,
}

/// Takes repeated sub-expressions out of `exprs`, which then refer to them as columns from
/// `num_columns` on, and gives them in that order. Only what some expression computes for every row
/// is taken, so that no error appears that was guarded before.
pub fn extract_shared(exprs: &mut [Expr], num_columns: usize) -> Vec<Expr> {
    let mut uses = BTreeMap::new();
    exprs.iter().for_each(|e| count(e, true, &mut uses));
    uses.retain(|_, u: &mut Uses| u.total > 1 && u.always > 0);
    if uses.is_empty() {
        return Vec::new();
    }
    let mut shared: Vec<Expr> = Vec::new();
    let mut positions: BTreeMap<String, usize> = BTreeMap::new();
    for expr in exprs {
        expr.transform_down(&mut |e| {
            if is_leaf(e) {
                return false;
            }
            let key = e.key();
            if !uses.contains_key(&key) {
                return false;
            }
            let position = *positions.entry(key).or_insert_with(|| {
                shared.push(e.clone());
                shared.len() - 1
            });
            *e = Expr::column(num_columns + position, e.data_type.clone());
            true
        });
    }
    shared
}

fn is_leaf(expr: &Expr) -> bool {
    matches!(expr.kind, ExprKind::Column(_) | ExprKind::Literal(_)) || !expr.is_deterministic()
}

fn count(expr: &Expr, is_always: bool, uses: &mut BTreeMap<String, Uses>) {
    if !is_leaf(expr) {
        let entry = uses.entry(expr.key()).or_default();
        entry.total += 1;
        entry.always += usize::from(is_always);
    }
    let is_guarding = matches!(
        expr.kind,
        ExprKind::Case { .. } | ExprKind::And(_) | ExprKind::Or(_)
    );
    for (index, child) in expr.children().into_iter().enumerate() {
        count(child, is_always && !(is_guarding && index > 0), uses);
    }
}
