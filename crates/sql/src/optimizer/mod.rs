//! Better plans: rules in a fixed order, each in a file.
//!
//! | rule | what it does |
//! |---|---|
//! | [`pushdown`] | filters to where their columns come from; WHERE's parts into join conditions |
//! | [`projects`] | neighbouring projections become one |
//! | [`ranks`] | ROW_NUMBER and a filter on it become a top-n |
//! | [`windows`] | GROUP BY and joins over window columns become window operators |
//! | [`intervals`] | joins with time bounds become interval joins |
//! | [`times`] | time attributes are lost where rows lose their order; checks that need them |
//! | [`prune`] | only the columns and nested fields that are read are read |
//! | [`scans`] | equality filters are offered to sources |
//! | [`share`] | equal parts of the plan become one |

mod intervals;
mod projects;
mod prune;
mod pushdown;
mod ranks;
mod scans;
mod share;
mod times;
mod windows;

use std::collections::BTreeMap;
use std::sync::Arc;

use flott_core::Result;

use crate::plan::Plan;

/// Optimizes a bound plan; its columns stay as they are.
///
/// # Errors
/// A user error for what can only be seen on the whole plan: a time attribute that was lost, an
/// order that a stream cannot have.
pub fn optimize(plan: &Arc<Plan>, is_batch: bool) -> Result<Arc<Plan>> {
    let plan = pushdown::apply(plan);
    let plan = projects::apply(&plan);
    let plan = rewrite_up(&plan, &mut |node| Ok(ranks::recognise(node)))?;
    let plan = rewrite_up(&plan, &mut |node| {
        let node = windows::recognise(node)?;
        Ok(intervals::recognise(node))
    })?;
    let plan = rewrite_up(&plan, &mut |node| Ok(times::derive(node)))?;
    times::check(&plan, is_batch)?;
    let plan = projects::apply(&plan);
    let plan = prune::apply(&plan);
    let plan = projects::apply(&plan);
    let plan = scans::apply(&plan);
    Ok(share::apply(&plan))
}

/// Rewrites a plan from its leaves up; shared nodes are rewritten once and stay shared.
pub(crate) fn rewrite_up(
    plan: &Arc<Plan>,
    rule: &mut dyn FnMut(Arc<Plan>) -> Result<Arc<Plan>>,
) -> Result<Arc<Plan>> {
    rewrite_memo(plan, rule, &mut BTreeMap::new())
}

fn rewrite_memo(
    plan: &Arc<Plan>,
    rule: &mut dyn FnMut(Arc<Plan>) -> Result<Arc<Plan>>,
    done: &mut BTreeMap<usize, Arc<Plan>>,
) -> Result<Arc<Plan>> {
    let address = Arc::as_ptr(plan) as usize;
    if let Some(known) = done.get(&address) {
        return Ok(known.clone());
    }
    let mut failure = None;
    let node = plan.map_inputs(&mut |input| match rewrite_memo(input, rule, done) {
        Ok(input) => input,
        Err(error) => {
            failure.get_or_insert(error);
            input.clone()
        }
    });
    if let Some(error) = failure {
        return Err(error);
    }
    let node = rule(node)?;
    done.insert(address, node.clone());
    Ok(node)
}

#[cfg(test)]
mod tests;
