//! Walking and rewriting expressions.

use std::collections::BTreeSet;

use super::{Expr, ExprKind, SubqueryKind};

impl Expr {
    /// The direct operands; of a subquery, the values compared with it.
    pub fn children(&self) -> Vec<&Expr> {
        match &self.kind {
            ExprKind::Column(_) | ExprKind::OuterColumn { .. } | ExprKind::Literal(_) => vec![],
            ExprKind::Call { args, .. } => args.iter().collect(),
            ExprKind::And(parts) | ExprKind::Or(parts) => parts.iter().collect(),
            ExprKind::Not(e)
            | ExprKind::IsNull(e)
            | ExprKind::IsNotNull(e)
            | ExprKind::Cast { expr: e, .. }
            | ExprKind::InList { expr: e, .. }
            | ExprKind::Field { expr: e, .. } => vec![e],
            ExprKind::Case {
                branches,
                otherwise,
            } => branches
                .iter()
                .flat_map(|(w, t)| [w, t])
                .chain([otherwise.as_ref()])
                .collect(),
            ExprKind::Subquery(subquery) => match &subquery.kind {
                SubqueryKind::In { exprs, .. } => exprs.iter().collect(),
                _ => vec![],
            },
        }
    }

    /// As [`Expr::children`], to change them.
    pub fn children_mut(&mut self) -> Vec<&mut Expr> {
        match &mut self.kind {
            ExprKind::Column(_) | ExprKind::OuterColumn { .. } | ExprKind::Literal(_) => vec![],
            ExprKind::Call { args, .. } => args.iter_mut().collect(),
            ExprKind::And(parts) | ExprKind::Or(parts) => parts.iter_mut().collect(),
            ExprKind::Not(e)
            | ExprKind::IsNull(e)
            | ExprKind::IsNotNull(e)
            | ExprKind::Cast { expr: e, .. }
            | ExprKind::InList { expr: e, .. }
            | ExprKind::Field { expr: e, .. } => vec![e],
            ExprKind::Case {
                branches,
                otherwise,
            } => branches
                .iter_mut()
                .flat_map(|(w, t)| [w, t])
                .chain([otherwise.as_mut()])
                .collect(),
            ExprKind::Subquery(subquery) => match &mut subquery.kind {
                SubqueryKind::In { exprs, .. } => exprs.iter_mut().collect(),
                _ => vec![],
            },
        }
    }

    /// Calls `f` for this expression and all below, outermost first.
    pub fn visit(&self, f: &mut dyn FnMut(&Expr)) {
        f(self);
        for child in self.children() {
            child.visit(f);
        }
    }

    /// Whether `test` holds for this expression or one below.
    pub fn any(&self, test: &dyn Fn(&Expr) -> bool) -> bool {
        test(self) || self.children().into_iter().any(|c| c.any(test))
    }

    /// Rewrites outermost first; `f` returns whether it replaced the expression, whose operands
    /// are then left alone.
    pub fn transform_down(&mut self, f: &mut dyn FnMut(&mut Expr) -> bool) {
        if !f(self) {
            for child in self.children_mut() {
                child.transform_down(f);
            }
        }
    }

    /// Rewrites innermost first.
    pub fn transform_up(&mut self, f: &mut dyn FnMut(&mut Expr)) {
        for child in self.children_mut() {
            child.transform_up(f);
        }
        f(self);
    }

    /// The input's columns that are read.
    pub fn columns(&self) -> BTreeSet<usize> {
        let mut columns = BTreeSet::new();
        self.visit(&mut |e| columns.extend(e.as_column()));
        columns
    }

    /// Moves every column reference.
    pub fn remap_columns(mut self, position: &dyn Fn(usize) -> usize) -> Self {
        self.transform_down(&mut |e| {
            if let ExprKind::Column(index) = &mut e.kind {
                *index = position(*index);
            }
            false
        });
        self
    }

    /// Puts `exprs[i]` in place of column `i`.
    pub fn substitute_columns(mut self, exprs: &[Expr]) -> Self {
        self.transform_down(&mut |e| match e.as_column() {
            Some(index) if index < exprs.len() => {
                *e = exprs[index].clone();
                true
            }
            _ => false,
        });
        self
    }

    /// Whether there is a subquery in it.
    pub fn has_subquery(&self) -> bool {
        self.any(&|e| matches!(e.kind, ExprKind::Subquery(_)))
    }
}
