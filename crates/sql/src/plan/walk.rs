//! Schemas, inputs and expressions of plan nodes, and their replacement.

use std::sync::Arc;

use flott_core::schema::Schema;

use super::{Plan, WindowKind};
use crate::expr::{Expr, ExprKind};

impl Plan {
    /// The columns that the node produces.
    pub fn schema(&self) -> &Schema {
        match self {
            Self::Scan(n) => &n.schema,
            Self::Values(n) => &n.schema,
            Self::Project(n) => &n.schema,
            Self::Filter(n) => n.input.schema(),
            Self::Watermark(n) => &n.schema,
            Self::WindowTvf(n) => &n.schema,
            Self::Aggregate(n) => &n.schema,
            Self::Join(n) => &n.schema,
            Self::Over(n) => &n.schema,
            Self::Rank(n) => &n.schema,
            Self::Sort(n) => n.input.schema(),
            Self::Union(n) => &n.schema,
            Self::Unnest(n) => &n.schema,
            Self::Match(n) => &n.schema,
        }
    }

    /// The direct inputs.
    pub fn inputs(&self) -> Vec<&Arc<Plan>> {
        match self {
            Self::Scan(_) | Self::Values(_) => vec![],
            Self::Project(n) => vec![&n.input],
            Self::Filter(n) => vec![&n.input],
            Self::Watermark(n) => vec![&n.input],
            Self::WindowTvf(n) => vec![&n.input],
            Self::Aggregate(n) => vec![&n.input],
            Self::Join(n) => vec![&n.left, &n.right],
            Self::Over(n) => vec![&n.input],
            Self::Rank(n) => vec![&n.input],
            Self::Sort(n) => vec![&n.input],
            Self::Union(n) => n.inputs.iter().collect(),
            Self::Unnest(n) => vec![&n.input],
            Self::Match(n) => vec![&n.input],
        }
    }

    /// Whether there are SESSION windows here or below.
    pub fn has_sessions(&self) -> bool {
        let kind = match self {
            Self::WindowTvf(n) => Some(&n.kind),
            Self::Aggregate(n) => n.window.as_ref().map(|w| &w.kind),
            _ => None,
        };
        let is_session = |kind: &WindowKind| matches!(kind, WindowKind::Session { .. });
        kind.is_some_and(is_session) || self.inputs().iter().any(|input| input.has_sessions())
    }

    /// Whether an expression here or below asks for the watermark.
    pub fn asks_for_watermark(&self) -> bool {
        let calls = |e: &Expr| matches!(&e.kind, ExprKind::Call { function, .. } if function.name == "CURRENT_WATERMARK");
        self.exprs().into_iter().any(|expr| expr.any(&calls))
            || self.inputs().iter().any(|input| input.asks_for_watermark())
    }

    /// As [`Plan::inputs`], to change them.
    pub fn inputs_mut(&mut self) -> Vec<&mut Arc<Plan>> {
        match self {
            Self::Scan(_) | Self::Values(_) => vec![],
            Self::Project(n) => vec![&mut n.input],
            Self::Filter(n) => vec![&mut n.input],
            Self::Watermark(n) => vec![&mut n.input],
            Self::WindowTvf(n) => vec![&mut n.input],
            Self::Aggregate(n) => vec![&mut n.input],
            Self::Join(n) => vec![&mut n.left, &mut n.right],
            Self::Over(n) => vec![&mut n.input],
            Self::Rank(n) => vec![&mut n.input],
            Self::Sort(n) => vec![&mut n.input],
            Self::Union(n) => n.inputs.iter_mut().collect(),
            Self::Unnest(n) => vec![&mut n.input],
            Self::Match(n) => vec![&mut n.input],
        }
    }

    /// The node with its inputs rewritten; the same one when no input changed.
    pub fn map_inputs(
        self: &Arc<Self>,
        rewrite: &mut dyn FnMut(&Arc<Plan>) -> Arc<Plan>,
    ) -> Arc<Plan> {
        let rewritten: Vec<_> = self.inputs().into_iter().map(rewrite).collect();
        let is_same = self
            .inputs()
            .into_iter()
            .zip(&rewritten)
            .all(|(old, new)| Arc::ptr_eq(old, new));
        if is_same {
            return self.clone();
        }
        let mut node = self.as_ref().clone();
        for (input, new) in node.inputs_mut().into_iter().zip(rewritten) {
            *input = new;
        }
        Arc::new(node)
    }

    /// The node's own expressions.
    pub fn exprs(&self) -> Vec<&Expr> {
        match self {
            Self::Values(n) => n.rows.iter().flatten().collect(),
            Self::Project(n) => n.exprs.iter().collect(),
            Self::Filter(n) => vec![&n.predicate],
            Self::Watermark(n) => vec![&n.expr],
            Self::Join(n) => vec![&n.condition],
            Self::Match(n) => n.exprs(),
            _ => vec![],
        }
    }

    /// As [`Plan::exprs`], to change them.
    pub fn exprs_mut(&mut self) -> Vec<&mut Expr> {
        match self {
            Self::Values(n) => n.rows.iter_mut().flatten().collect(),
            Self::Project(n) => n.exprs.iter_mut().collect(),
            Self::Filter(n) => vec![&mut n.predicate],
            Self::Watermark(n) => vec![&mut n.expr],
            Self::Join(n) => vec![&mut n.condition],
            Self::Match(n) => n.exprs_mut(),
            _ => vec![],
        }
    }

    /// Whether an expression here or below refers to a column of the query `depth` levels out.
    pub fn has_outer_columns(&self, depth: usize) -> bool {
        let own = self.exprs().into_iter().any(|e| {
            e.any(&|e| match &e.kind {
                ExprKind::OuterColumn { depth: d, .. } => *d == depth,
                ExprKind::Subquery(s) => s.plan.has_outer_columns(depth + 1),
                _ => false,
            })
        });
        own || self
            .inputs()
            .into_iter()
            .any(|i| i.has_outer_columns(depth))
    }

    /// Rewrites each reference to a column of the query `depth` levels out, here and below.
    pub fn map_outer_columns(
        self: &Arc<Self>,
        depth: usize,
        f: &mut dyn FnMut(&mut Expr),
    ) -> Arc<Plan> {
        if !self.has_outer_columns(depth) {
            return self.clone();
        }
        let mut node = self.as_ref().clone();
        for input in node.inputs_mut() {
            *input = input.map_outer_columns(depth, f);
        }
        for expr in node.exprs_mut() {
            expr.map_outer_columns(depth, f);
        }
        Arc::new(node)
    }
}

impl Expr {
    /// As [`Plan::map_outer_columns`], for the expression and the subqueries in it; at depth 0,
    /// subqueries alone are entered, which see this expression's input as depth 1.
    pub fn map_outer_columns(&mut self, depth: usize, f: &mut dyn FnMut(&mut Expr)) {
        self.transform_up(&mut |e| match &mut e.kind {
            ExprKind::OuterColumn { depth: d, .. } if *d == depth => f(e),
            ExprKind::Subquery(s) => s.plan = s.plan.map_outer_columns(depth + 1, f),
            _ => {}
        });
    }
}
