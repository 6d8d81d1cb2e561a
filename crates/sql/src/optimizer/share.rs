//! Equal parts of plans become one node.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::rewrite_up;
use crate::plan::Plan;

/// Shares equal subplans of all plans; parts with volatile expressions stay apart.
pub fn apply(plans: &[Arc<Plan>]) -> Vec<Arc<Plan>> {
    let mut known: BTreeMap<String, Arc<Plan>> = BTreeMap::new();
    let shared = plans.iter().map(|plan| {
        let shared = rewrite_up(plan, &mut |node| {
            if !node.exprs().iter().all(|e| e.is_deterministic()) {
                return Ok(node);
            }
            Ok(known.entry(node.key()).or_insert(node).clone())
        });
        shared.unwrap_or_else(|_| plan.clone())
    });
    shared.collect()
}
