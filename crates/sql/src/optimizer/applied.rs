//! Filters that a source applies are gone above it, and so is what only they needed.

use std::sync::Arc;

use datafusion_common::ScalarValue;
use flott_core::Result;
use flott_core::source::{FieldPath, FieldPredicate};

use super::scans::field_predicate;
use super::sources::Sources;
use crate::expr::{Expr, ExprKind};
use crate::plan::{Plan, Project, Scan, Watermark};

/// What holds for all rows of a node above one scan.
struct Known {
    /// What the source applies.
    predicates: Vec<FieldPredicate>,
    /// The scan's fields.
    fields: Vec<FieldPath>,
    /// The node's columns over those of the scan.
    columns: Vec<Expr>,
}

/// Drops filters that the sources apply, and works out what follows from them.
///
/// # Errors
/// What making a source reports.
pub fn apply(plan: &Arc<Plan>, sources: &dyn Sources) -> Result<Arc<Plan>> {
    Ok(strip(plan, sources)?.0)
}

fn strip(plan: &Arc<Plan>, sources: &dyn Sources) -> Result<(Arc<Plan>, Option<Known>)> {
    Ok(match plan.as_ref() {
        Plan::Scan(scan) => (plan.clone(), known_of(scan, sources)?),
        Plan::Filter(filter) => {
            let (input, known) = strip(&filter.input, sources)?;
            let Some(known) = known else {
                return Ok((Plan::filter(input, filter.predicate.clone()), None));
            };
            let conjuncts = filter.predicate.clone().conjuncts();
            let rest = conjuncts.into_iter().filter(|c| !known.implies(c));
            let rest = rest.map(|c| known.simplify(c));
            (Plan::filter(input, Expr::and(rest)), Some(known))
        }
        Plan::Project(project) => {
            let (input, known) = strip(&project.input, sources)?;
            let exprs = project.exprs.iter().cloned();
            let exprs: Vec<Expr> = match &known {
                Some(known) => exprs.map(|e| known.simplify(e)).collect(),
                None => exprs.collect(),
            };
            let known = known.map(|known| known.project(&exprs));
            let schema = project.schema.clone();
            let node = Project {
                input,
                exprs,
                schema,
            };
            (Arc::new(Plan::Project(node)), known)
        }
        Plan::Watermark(watermark) => {
            let (input, known) = strip(&watermark.input, sources)?;
            let expr = watermark.expr.clone();
            let node = Watermark {
                input,
                expr: match &known {
                    Some(known) => known.simplify(expr),
                    None => expr,
                },
                ..watermark.clone()
            };
            (Arc::new(Plan::Watermark(node)), known)
        }
        _ => {
            let inputs = plan.inputs().into_iter();
            let inputs = inputs.map(|input| Ok(strip(input, sources)?.0));
            let mut inputs = inputs.collect::<Result<Vec<_>>>()?.into_iter();
            let node = plan.map_inputs(&mut |old| inputs.next().unwrap_or_else(|| old.clone()));
            (node, None)
        }
    })
}

fn known_of(scan: &Scan, sources: &dyn Sources) -> Result<Option<Known>> {
    if scan.predicates.is_empty() {
        return Ok(None);
    }
    let applied = sources.facts(scan)?.applied;
    let predicates = applied.iter().filter_map(|i| scan.predicates.get(*i));
    let columns = scan.schema.columns().iter().enumerate();
    Ok(Some(Known {
        predicates: predicates.cloned().collect(),
        fields: scan.fields.clone(),
        columns: columns
            .map(|(i, c)| Expr::column(i, c.data_type.clone()))
            .collect(),
    }))
}

impl Known {
    fn project(self, exprs: &[Expr]) -> Self {
        let columns = exprs.iter();
        let columns = columns.map(|e| e.clone().substitute_columns(&self.columns));
        Self {
            columns: columns.collect(),
            ..self
        }
    }

    fn predicate_of(&self, expr: &Expr) -> Option<FieldPredicate> {
        let over_scan = expr.clone().substitute_columns(&self.columns);
        field_predicate(&over_scan, &self.fields)
    }

    /// Whether every row fulfils the predicate.
    fn implies(&self, predicate: &Expr) -> bool {
        let asked = self.predicate_of(predicate);
        asked.is_some_and(|asked| self.predicates.iter().any(|p| is_within(p, &asked)))
    }

    /// Whether no row fulfils the predicate.
    fn excludes(&self, predicate: &Expr) -> bool {
        let asked = self.predicate_of(predicate);
        asked.is_some_and(|asked| {
            let is_other = |p: &FieldPredicate| {
                p.field == asked.field && !p.values.iter().any(|v| asked.values.contains(v))
            };
            self.predicates.iter().any(is_other)
        })
    }

    /// The expression with comparisons that are known decided, and CASE without the branches that
    /// are never taken.
    fn simplify(&self, mut expr: Expr) -> Expr {
        if self.predicates.is_empty() {
            return expr;
        }
        expr.transform_up(&mut |e| {
            if matches!(e.kind, ExprKind::Call { .. } | ExprKind::InList { .. }) {
                let known = match (self.implies(e), self.excludes(e)) {
                    (true, _) => true,
                    (_, true) => false,
                    _ => return,
                };
                e.kind = ExprKind::Literal(ScalarValue::Boolean(Some(known)));
            } else {
                simplify_case(e);
            }
        });
        expr
    }
}

fn is_within(known: &FieldPredicate, asked: &FieldPredicate) -> bool {
    known.field == asked.field && known.values.iter().all(|v| asked.values.contains(v))
}

fn simplify_case(expr: &mut Expr) {
    let ExprKind::Case {
        branches,
        otherwise,
    } = &mut expr.kind
    else {
        return;
    };
    let is_never = |when: &Expr| when.as_literal() == Some(&ScalarValue::Boolean(Some(false)));
    branches.retain(|(when, _)| !is_never(when));
    let always = branches.iter().position(|(when, _)| when.is_true());
    if let Some(always) = always {
        let (_, value) = branches.swap_remove(always);
        branches.truncate(always);
        **otherwise = value;
    }
    if branches.is_empty() {
        let value = otherwise.as_ref().clone();
        if value.data_type.logical == expr.data_type.logical {
            expr.kind = value.kind;
        } else {
            // The values' types differ in their Arrow type only where a cast is missing: leave it.
            branches.push((Expr::and([]), value));
        }
    }
}
