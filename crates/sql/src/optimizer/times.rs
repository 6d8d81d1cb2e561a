//! Time attributes: where they are lost, and the checks that need them.

use std::sync::Arc;

use flott_core::schema::{Column, Schema};
use flott_core::{Error, Result};

use crate::plan::{JoinMode, Over, Plan, Sort, WindowTime, join_schema, time_of};

/// The node with the time marks that follow from its inputs'.
pub fn derive(node: Arc<Plan>) -> Arc<Plan> {
    let mut plan = node.as_ref().clone();
    let marked = |schema: &Schema, time: &dyn Fn(usize) -> Option<_>| -> Schema {
        let columns = schema.columns().iter().enumerate();
        columns.map(|(i, c)| c.clone().with_time(time(i))).collect()
    };
    let from_input = |schema: &Schema, input: &Plan| {
        let width = input.schema().len();
        marked(schema, &|i| match i < width {
            true => input.schema().column(i).time,
            false => schema.column(i).time,
        })
    };
    match &mut plan {
        Plan::Project(n) => {
            n.schema = marked(&n.schema, &|i| time_of(&n.exprs[i], n.input.schema()));
        }
        Plan::WindowTvf(n) => n.schema = from_input(&n.schema, &n.input),
        Plan::Over(n) => n.schema = from_input(&n.schema, &n.input),
        Plan::Rank(n) => n.schema = from_input(&n.schema, &n.input),
        Plan::Unnest(n) => n.schema = from_input(&n.schema, &n.input),
        Plan::Union(n) => {
            n.schema = marked(&n.schema, &|i| {
                let mut times = n.inputs.iter().map(|p| p.schema().column(i).time);
                let first = times.next().flatten();
                first.filter(|t| times.all(|o| o == Some(*t)))
            });
        }
        Plan::Join(n) => {
            let schema = join_schema(&n.left, &n.right, n.kind, &n.mode);
            let keeps = !matches!(n.mode, JoinMode::Regular) || schema == *n.left.schema();
            n.schema = match keeps {
                true => schema,
                // A regular join gives old rows at any time.
                false => schema
                    .columns()
                    .iter()
                    .map(|c| Column::new(&c.name, c.data_type.clone()))
                    .collect(),
            };
        }
        Plan::Aggregate(n) => n.schema = n.derive_schema(),
        Plan::Scan(_)
        | Plan::Values(_)
        | Plan::Filter(_)
        | Plan::Sort(_)
        | Plan::Watermark(_)
        | Plan::Match(_) => return node,
    }
    Arc::new(plan)
}

/// Refuses what needs a time attribute that is not there.
pub fn check(plan: &Arc<Plan>, is_batch: bool) -> Result<()> {
    for input in plan.inputs() {
        check(input, is_batch)?;
    }
    if is_batch {
        return Ok(());
    }
    match plan.as_ref() {
        Plan::WindowTvf(n) => time_column(n.input.schema(), n.time_column, "a window function"),
        Plan::Aggregate(n) => match n.window.as_ref().map(|w| &w.time) {
            Some(WindowTime::Rowtime(column)) => {
                time_column(n.input.schema(), *column, "a group window")
            }
            _ => Ok(()),
        },
        Plan::Match(n) => match n.order.first() {
            Some(key) => time_column(n.input.schema(), key.column, "MATCH_RECOGNIZE"),
            None => Ok(()),
        },
        Plan::Over(n) => check_over(n),
        Plan::Sort(n) => check_sort(n),
        Plan::Join(n) => match n.mode {
            JoinMode::Temporal { left_time, .. } => {
                time_column(n.left.schema(), left_time, "a temporal join")
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

fn time_column(schema: &Schema, column: usize, what: &str) -> Result<()> {
    let column = schema.column(column);
    if column.time.is_some() {
        return Ok(());
    }
    let message = format!(
        "{what} needs a time attribute, but '{}' is no longer one: a regular join, an aggregate or a cast below makes it an ordinary timestamp",
        column.name
    );
    Err(Error::user("NOT_A_TIME_ATTRIBUTE", message))
}

fn check_over(over: &Over) -> Result<()> {
    let Some(first) = over.order.first() else {
        let message = "an OVER window in streaming mode needs ORDER BY a time attribute";
        return Err(Error::user("UNSUPPORTED_OVER", message));
    };
    if over.order.len() > 1 {
        let message = "an OVER window in streaming mode can only be ordered by a single column";
        return Err(Error::user("UNSUPPORTED_OVER", message));
    }
    if first.descending {
        let message = "an OVER window can only be ordered in ascending mode; for the last rows, filter a ROW_NUMBER by <= n";
        return Err(Error::user("UNSUPPORTED_OVER", message));
    }
    Ok(())
}

fn check_sort(sort: &Sort) -> Result<()> {
    if sort.fetch.is_some() || sort.keys.is_empty() {
        return Ok(());
    }
    let first = sort.keys[0];
    let column = sort.input.schema().column(first.column);
    if column.time.is_some() && !first.descending {
        return Ok(());
    }
    let message = format!(
        "sort on '{}', which is not an ascending time attribute, is not supported on a stream; add LIMIT, or order by a time attribute first",
        column.name
    );
    Err(Error::user("UNSUPPORTED_SORT", message))
}
