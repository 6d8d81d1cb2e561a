//! Equality filters are offered to sources.
//!
//! The filter stays where it is; [`super::applied`] drops it when the source says that it applies
//! it. A source that leaves rows out does so before the watermark is assigned, as in Flink.

use std::sync::Arc;

use datafusion_common::ScalarValue;
use flott_core::source::{FieldPath, FieldPredicate, PredicateValue};

use crate::expr::{Expr, ExprKind};
use crate::plan::{Plan, Scan};

/// Puts what filters ask of source fields into the scans below them.
pub fn apply(plan: &Arc<Plan>) -> Arc<Plan> {
    offer(plan, &[])
}

/// `predicates` hold above `plan`, over its columns.
fn offer(plan: &Arc<Plan>, predicates: &[Expr]) -> Arc<Plan> {
    match plan.as_ref() {
        Plan::Filter(filter) => {
            let mut all = filter.predicate.clone().conjuncts();
            all.extend(predicates.iter().cloned());
            plan.map_inputs(&mut |input| offer(input, &all))
        }
        Plan::Project(project) => {
            let below: Vec<Expr> = predicates
                .iter()
                .map(|p| p.clone().substitute_columns(&project.exprs))
                .collect();
            plan.map_inputs(&mut |input| offer(input, &below))
        }
        Plan::Watermark(_) => plan.map_inputs(&mut |input| offer(input, predicates)),
        Plan::Scan(scan) => {
            let found: Vec<FieldPredicate> = predicates
                .iter()
                .filter_map(|p| field_predicate(p, &scan.fields))
                .filter(|p| !scan.predicates.contains(p) && may_leave_out(scan, p))
                .collect();
            if found.is_empty() {
                return plan.clone();
            }
            let mut scan = scan.clone();
            scan.predicates.extend(found);
            Arc::new(Plan::Scan(scan))
        }
        _ => plan.map_inputs(&mut |input| offer(input, &[])),
    }
}

/// Of a changelog that is brought into order by key, a source may leave out whole keys only.
fn may_leave_out(scan: &Scan, predicate: &FieldPredicate) -> bool {
    let is_key = |column: &usize| predicate.field.0 == [*column];
    scan.keeps.is_empty() || scan.keeps.iter().any(is_key)
}

/// `field = v`, `field IN (…)`, or several of them for one field joined by OR.
pub(super) fn field_predicate(predicate: &Expr, fields: &[FieldPath]) -> Option<FieldPredicate> {
    match &predicate.kind {
        ExprKind::Call { args, .. } => {
            predicate.as_call("=")?;
            let [a, b] = args.as_slice() else {
                return None;
            };
            let (field, literal) = match (a.as_literal(), b.as_literal()) {
                (None, Some(value)) => (a, value),
                (Some(value), None) => (b, value),
                _ => return None,
            };
            Some(FieldPredicate {
                field: field_path(field, fields)?,
                values: vec![value(literal)?],
            })
        }
        ExprKind::InList {
            expr,
            list,
            negated: false,
        } => Some(FieldPredicate {
            field: field_path(expr, fields)?,
            values: list.iter().map(value).collect::<Option<_>>()?,
        }),
        ExprKind::Or(parts) => {
            let parts = parts.iter().map(|p| field_predicate(p, fields));
            let parts: Vec<_> = parts.collect::<Option<_>>()?;
            let field = parts.first()?.field.clone();
            if parts.iter().any(|p| p.field != field) {
                return None;
            }
            let values = parts.into_iter().flat_map(|p| p.values).collect();
            Some(FieldPredicate { field, values })
        }
        _ => None,
    }
}

/// The path into the source schema of a scanned column or a field of one.
fn field_path(expr: &Expr, fields: &[FieldPath]) -> Option<FieldPath> {
    match &expr.kind {
        ExprKind::Column(column) => fields.get(*column).cloned(),
        ExprKind::Field { expr, index } => {
            let mut path = field_path(expr, fields)?;
            path.0.push(*index);
            Some(path)
        }
        _ => None,
    }
}

fn value(literal: &ScalarValue) -> Option<PredicateValue> {
    Some(match literal {
        ScalarValue::Boolean(Some(v)) => PredicateValue::Boolean(*v),
        ScalarValue::Int8(Some(v)) => PredicateValue::Integer(i64::from(*v)),
        ScalarValue::Int16(Some(v)) => PredicateValue::Integer(i64::from(*v)),
        ScalarValue::Int32(Some(v)) => PredicateValue::Integer(i64::from(*v)),
        ScalarValue::Int64(Some(v)) => PredicateValue::Integer(*v),
        ScalarValue::Utf8View(Some(v)) => PredicateValue::Text(v.clone()),
        _ => return None,
    })
}
