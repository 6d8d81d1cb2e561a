//! Watermarks that nobody looks at are not made.
//!
//! Only where a plan keeps nothing: a watermark also cuts batches, and functions such as LISTAGG
//! over updates can tell batches apart.

use std::sync::Arc;

use crate::plan::Plan;

/// Drops the watermarks of a plan of projections and filters alone.
pub fn apply(plan: &Arc<Plan>) -> Arc<Plan> {
    match is_indifferent(plan) && !plan.asks_for_watermark() {
        true => without(plan),
        false => plan.clone(),
    }
}

fn without(plan: &Arc<Plan>) -> Arc<Plan> {
    match plan.as_ref() {
        Plan::Watermark(watermark) => without(&watermark.input),
        _ => plan.map_inputs(&mut without),
    }
}

/// Whether nothing in the plan keeps rows or waits for event time.
fn is_indifferent(plan: &Plan) -> bool {
    let is_stateless = matches!(
        plan,
        Plan::Scan(_)
            | Plan::Values(_)
            | Plan::Project(_)
            | Plan::Filter(_)
            | Plan::Watermark(_)
            | Plan::Union(_)
            | Plan::Unnest(_)
    );
    is_stateless && plan.inputs().into_iter().all(|input| is_indifferent(input))
}
