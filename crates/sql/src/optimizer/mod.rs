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
//! | [`watermarks`] | watermarks that nobody looks at are not made |
//! | [`prune`] | only the columns and nested fields that are read are read |
//! | [`scans`] | equality filters are offered to sources |
//! | [`applied`] | filters that sources apply are gone above them |
//! | [`merge`] | a table is read once for a job |
//! | [`share`] | equal parts of the plan become one |

mod applied;
mod intervals;
mod merge;
mod projects;
mod prune;
mod pushdown;
mod ranks;
mod scans;
mod share;
mod sources;
mod times;
mod watermarks;
mod windows;

use std::collections::BTreeMap;
use std::sync::Arc;

use flott_core::Result;

use crate::plan::{Plan, Scan};

pub use sources::{SourceFacts, Sources, UnknownSources};

/// Optimizes a bound plan; its columns stay as they are.
///
/// # Errors
/// As [`optimize_all`].
pub fn optimize(plan: &Arc<Plan>, is_batch: bool, sources: &dyn Sources) -> Result<Arc<Plan>> {
    let plans = optimize_all(&[(plan.clone(), false)], is_batch, sources)?;
    Ok(plans.into_iter().next().unwrap_or_else(|| plan.clone()))
}

/// Optimizes the bound plans of one job together; their columns stay as they are. With each plan
/// comes whether what takes its rows looks at watermarks.
///
/// # Errors
/// A user error for what can only be seen on the whole plan: a time attribute that was lost, an
/// order that a stream cannot have; and what making a source reports.
pub fn optimize_all(
    plans: &[(Arc<Plan>, bool)],
    is_batch: bool,
    sources: &dyn Sources,
) -> Result<Vec<Arc<Plan>>> {
    let offered = plans.iter().map(|(plan, needs_watermark)| {
        let plan = optimize_nodes(plan, is_batch)?;
        let plan = match needs_watermark {
            true => plan,
            false => watermarks::apply(&plan),
        };
        let plan = keep_keys(&plan, sources)?;
        let plan = projects::apply(&prune::apply(&plan));
        Ok(scans::apply(&plan))
    });
    let plans = merge::predicates(&offered.collect::<Result<Vec<_>>>()?);
    let stripped = plans.iter().map(|plan| {
        let plan = applied::apply(plan, sources)?;
        Ok(projects::apply(&prune::apply(&projects::apply(&plan))))
    });
    let plans = merge::columns(&stripped.collect::<Result<Vec<_>>>()?);
    let plans: Vec<_> = plans.iter().map(projects::apply_with_filters).collect();
    Ok(share::apply(&plans))
}

/// The rules that know nodes but not sources.
fn optimize_nodes(plan: &Arc<Plan>, is_batch: bool) -> Result<Arc<Plan>> {
    let plan = pushdown::apply(plan);
    let plan = projects::apply(&plan);
    let plan = rewrite_up(&plan, &mut |node| Ok(ranks::recognise(node)))?;
    let plan = rewrite_up(&plan, &mut |node| {
        let node = windows::recognise(node)?;
        Ok(intervals::recognise(node))
    })?;
    let plan = rewrite_up(&plan, &mut |node| Ok(times::derive(node)))?;
    times::check(&plan, is_batch)?;
    Ok(projects::apply(&plan))
}

/// Marks the primary key of tables whose changelog is brought into order by it.
fn keep_keys(plan: &Arc<Plan>, sources: &dyn Sources) -> Result<Arc<Plan>> {
    rewrite_up(plan, &mut |node| {
        let Plan::Scan(scan) = node.as_ref() else {
            return Ok(node);
        };
        let Some(key) = &scan.table.primary_key else {
            return Ok(node);
        };
        if !sources.facts(scan).unwrap_or_default().needs_key {
            return Ok(node);
        }
        let schema = scan.table.source_schema();
        let keeps = key.columns.iter().filter_map(|c| schema.index_of(c));
        Ok(Arc::new(Plan::Scan(Scan {
            keeps: keeps.collect(),
            ..scan.clone()
        })))
    })
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
