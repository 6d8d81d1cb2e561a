//! `/*+ LOOKUP('table' = 't', …) */` behind SELECT: to the lookup joins that it names.

use std::sync::Arc;

use flott_core::{Error, Result};

use crate::parser::Hint;
use crate::plan::{Join, JoinMode, Plan, Scan};

/// The plan of FROM with what LOOKUP hints say at the tables that are looked up. A hint is for the
/// tables of its name; with an alias, for the only table that is looked up.
///
/// # Errors
/// A user error for a hint without a table, or with one that is not looked up.
pub(super) fn apply(plan: Arc<Plan>, hints: &[Hint]) -> Result<Arc<Plan>> {
    let mut lookups = hints.iter().filter(|h| h.name == "LOOKUP");
    lookups.try_fold(plan, |plan, hint| apply_lookup(&plan, hint))
}

fn apply_lookup(plan: &Arc<Plan>, hint: &Hint) -> Result<Arc<Plan>> {
    let table = hint.pairs.iter().find(|(key, _)| key == "table");
    let Some((_, table)) = table else {
        let message = "the hint LOOKUP needs 'table' = '…', the table that is looked up";
        return Err(Error::user("INVALID_HINT", message));
    };
    let mut names = Vec::new();
    lookups_of(plan, &mut names);
    let is_named = names.contains(table);
    if !is_named && names.len() != 1 {
        let message = format!(
            "the hint LOOKUP names the table '{table}', but looked up are ({})",
            names.join(", ")
        );
        return Err(Error::user("INVALID_HINT", message));
    }
    Ok(mark(
        plan,
        &|scan| !is_named || scan.path.name == *table,
        hint,
    ))
}

fn lookups_of(plan: &Plan, names: &mut Vec<String>) {
    if let Plan::Join(Join {
        mode: JoinMode::Lookup,
        right,
        ..
    }) = plan
        && let Some(scan) = scan_of(right)
    {
        names.push(scan.path.name.clone());
    }
    let inputs = plan.inputs().into_iter();
    inputs.for_each(|input| lookups_of(input, names));
}

fn scan_of(plan: &Plan) -> Option<&Scan> {
    match plan {
        Plan::Scan(scan) => Some(scan),
        _ => match plan.inputs().as_slice() {
            [input] => scan_of(input),
            _ => None,
        },
    }
}

fn mark(plan: &Arc<Plan>, is_meant: &dyn Fn(&Scan) -> bool, hint: &Hint) -> Arc<Plan> {
    let plan = plan.map_inputs(&mut |input| mark(input, is_meant, hint));
    let Plan::Join(join) = plan.as_ref() else {
        return plan;
    };
    let is_lookup = matches!(join.mode, JoinMode::Lookup);
    if !is_lookup || !scan_of(&join.right).is_some_and(is_meant) {
        return plan;
    }
    Arc::new(Plan::Join(Join {
        right: hinted(&join.right, hint),
        ..join.clone()
    }))
}

fn hinted(plan: &Arc<Plan>, hint: &Hint) -> Arc<Plan> {
    match plan.as_ref() {
        Plan::Scan(scan) => Arc::new(Plan::Scan(Scan {
            lookup_hint: hint.pairs.clone(),
            ..scan.clone()
        })),
        _ => plan.map_inputs(&mut |input| hinted(input, hint)),
    }
}
