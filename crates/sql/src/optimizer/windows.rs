//! GROUP BY and joins over window columns become window operators.

use std::sync::Arc;

use flott_core::{Error, Result};

use super::ranks;
use crate::expr::Expr;
use crate::plan::{
    Aggregate, GroupWindow, Join, JoinMode, Plan, WindowKind, WindowProperty, WindowTime, WindowTvf,
};

/// A column that holds a property of the rows' windows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WindowColumn {
    pub column: usize,
    pub property: WindowProperty,
    pub kind: WindowKind,
}

/// The window columns that a plan's rows carry.
pub(crate) fn window_columns(plan: &Plan) -> Vec<WindowColumn> {
    match plan {
        Plan::WindowTvf(tvf) => {
            let width = tvf.input.schema().len();
            let mut all = window_columns(&tvf.input);
            let properties = [
                WindowProperty::Start,
                WindowProperty::End,
                WindowProperty::Rowtime,
            ];
            all.extend(
                properties
                    .into_iter()
                    .enumerate()
                    .map(|(i, property)| WindowColumn {
                        column: width + i,
                        property,
                        kind: tvf.kind.clone(),
                    }),
            );
            all
        }
        Plan::Project(project) => {
            let below = window_columns(&project.input);
            let outputs = project.exprs.iter().enumerate();
            let found = outputs.filter_map(|(i, e)| {
                let source = e.as_column()?;
                let window = below.iter().find(|w| w.column == source)?;
                Some(WindowColumn {
                    column: i,
                    ..window.clone()
                })
            });
            found.collect()
        }
        Plan::Aggregate(aggregate) => of_aggregate(aggregate),
        Plan::Join(join) => of_join(join),
        Plan::Filter(n) => window_columns(&n.input),
        Plan::Sort(n) => window_columns(&n.input),
        Plan::Over(n) => window_columns(&n.input),
        Plan::Rank(n) => window_columns(&n.input),
        Plan::Unnest(n) => window_columns(&n.input),
        Plan::Union(n) => {
            let mut inputs = n.inputs.iter().map(|i| window_columns(i));
            let first = inputs.next().unwrap_or_default();
            let others: Vec<_> = inputs.collect();
            let is_common = |w: &WindowColumn| others.iter().all(|o| o.contains(w));
            first.into_iter().filter(is_common).collect()
        }
        Plan::Scan(_) | Plan::Values(_) | Plan::Watermark(_) | Plan::Match(_) => vec![],
    }
}

fn of_aggregate(aggregate: &Aggregate) -> Vec<WindowColumn> {
    let Some(window) = &aggregate.window else {
        return vec![];
    };
    let below = window_columns(&aggregate.input);
    let keys = aggregate.keys.iter().enumerate().filter_map(|(i, key)| {
        let window = below.iter().find(|w| w.column == *key)?;
        Some(WindowColumn {
            column: i,
            ..window.clone()
        })
    });
    let base = aggregate.schema.len() - window.properties.len();
    let properties = window.properties.iter().enumerate();
    let properties = properties.map(|(i, property)| WindowColumn {
        column: base + i,
        property: *property,
        kind: window.kind.clone(),
    });
    keys.chain(properties).collect()
}

fn of_join(join: &Join) -> Vec<WindowColumn> {
    let left = window_columns(&join.left);
    match join.mode {
        JoinMode::Window { .. } if join.schema.len() > join.left.schema().len() => {
            let width = join.left.schema().len();
            let right = window_columns(&join.right)
                .into_iter()
                .map(|w| WindowColumn {
                    column: w.column + width,
                    ..w
                });
            left.into_iter().chain(right).collect()
        }
        JoinMode::Window { .. } | JoinMode::Temporal { .. } | JoinMode::Lookup => left,
        JoinMode::Regular | JoinMode::Interval { .. } => vec![],
    }
}

/// Makes window operators of an aggregate, a join or a top-n over window columns.
///
/// # Errors
/// For a HOP whose size is no multiple of its slide.
pub fn recognise(node: Arc<Plan>) -> Result<Arc<Plan>> {
    match node.as_ref() {
        Plan::Aggregate(aggregate) if aggregate.window.is_none() => {
            Ok(window_aggregate(aggregate)?.unwrap_or(node))
        }
        Plan::Join(join) if matches!(join.mode, JoinMode::Regular) => {
            Ok(window_join(join).unwrap_or(node))
        }
        Plan::Rank(_) => Ok(ranks::with_window(node)),
        _ => Ok(node),
    }
}

fn find(columns: &[WindowColumn], property: WindowProperty, at: &[usize]) -> Option<WindowColumn> {
    let is_meant = |w: &&WindowColumn| w.property == property && at.contains(&w.column);
    columns.iter().find(is_meant).cloned()
}

fn window_aggregate(aggregate: &Aggregate) -> Result<Option<Arc<Plan>>> {
    let columns = window_columns(&aggregate.input);
    let start = find(&columns, WindowProperty::Start, &aggregate.keys);
    let end = find(&columns, WindowProperty::End, &aggregate.keys);
    let (Some(start), Some(end)) = (start, end) else {
        return Ok(None);
    };
    let position = |c: usize| aggregate.keys.iter().position(|k| *k == c);
    let has_both = |set: &Vec<usize>| {
        [start.column, end.column]
            .iter()
            .all(|c| position(*c).is_some_and(|p| set.contains(&p)))
    };
    if let Some(sets) = &aggregate.grouping_sets
        && !sets.iter().all(has_both)
    {
        return Ok(None);
    }
    check_hop(&start.kind)?;
    if let Some(fused) = fuse(aggregate, &columns) {
        return Ok(Some(fused));
    }
    let mut attached = aggregate.clone();
    attached.window = Some(GroupWindow {
        kind: start.kind,
        time: WindowTime::Attached {
            start: start.column,
            end: end.column,
        },
        properties: vec![],
    });
    attached.schema = attached.derive_schema();
    Ok(Some(Arc::new(Plan::Aggregate(attached))))
}

fn check_hop(kind: &WindowKind) -> Result<()> {
    match kind {
        WindowKind::Hop {
            size_ms, slide_ms, ..
        } if size_ms % slide_ms != 0 => {
            let message = format!(
                "HOP table function based aggregate requires size to be an integral multiple of slide, but got size {size_ms} ms and slide {slide_ms} ms"
            );
            Err(Error::user("INVALID_WINDOW", message))
        }
        _ => Ok(()),
    }
}

/// A plan whose window function was taken out.
struct Unwindowed {
    plan: Arc<Plan>,
    /// Where each column is now; window columns are gone.
    positions: Vec<Option<usize>>,
    time: usize,
    tvf: WindowTvf,
    session_keys: Vec<usize>,
}

/// Lets the aggregate assign the windows itself.
fn fuse(aggregate: &Aggregate, columns: &[WindowColumn]) -> Option<Arc<Plan>> {
    let below = remove_tvf(&aggregate.input)?;
    let is_window = |c: usize| below.positions[c].is_none();
    let at = |c: usize| below.positions[c];
    let mut keys = Vec::new();
    let mut key_positions = Vec::new();
    let mut properties = Vec::new();
    for key in &aggregate.keys {
        match at(*key) {
            Some(position) => {
                key_positions.push(Ok(keys.len()));
                keys.push(position);
            }
            None => {
                let property = columns.iter().find(|w| w.column == *key)?.property;
                let property = match (property, below.tvf.is_proctime) {
                    (WindowProperty::Rowtime, true) => WindowProperty::Proctime,
                    (property, _) => property,
                };
                key_positions.push(Err(properties.len()));
                properties.push(property);
            }
        }
    }
    let mut calls = aggregate.calls.clone();
    for call in &mut calls {
        if call.args.iter().chain(&call.filter).any(|c| is_window(*c)) {
            return None;
        }
        call.args = call.args.iter().filter_map(|c| at(*c)).collect();
        call.filter = call.filter.and_then(at);
    }
    let kind = match &below.tvf.kind {
        WindowKind::Session { gap_ms, .. } => {
            let mut grouped = keys.clone();
            let mut partitioned = below.session_keys.clone();
            grouped.sort_unstable();
            partitioned.sort_unstable();
            if grouped != partitioned || aggregate.grouping_sets.is_some() {
                return None;
            }
            WindowKind::Session {
                gap_ms: *gap_ms,
                partition_keys: keys.clone(),
            }
        }
        kind => kind.clone(),
    };
    let to_keys = |list: &Vec<usize>| -> Vec<usize> {
        list.iter().filter_map(|p| key_positions[*p].ok()).collect()
    };
    if aggregate
        .grouping_calls
        .iter()
        .flatten()
        .any(|p| key_positions[*p].is_err())
    {
        return None;
    }
    let sets = aggregate
        .grouping_sets
        .as_ref()
        .map(|sets| sets.iter().map(to_keys).collect());
    let grouping = aggregate.grouping_calls.iter().map(to_keys).collect();
    let (num_keys, num_calls) = (keys.len(), calls.len() + aggregate.grouping_calls.len());
    let window = GroupWindow {
        kind,
        time: match below.tvf.is_proctime {
            true => WindowTime::Proctime,
            false => WindowTime::Rowtime(below.time),
        },
        properties,
    };
    let fused = Plan::aggregate(below.plan, keys, sets, grouping, calls, Some(window));
    let keys = key_positions.iter().map(|p| match p {
        Ok(key) => *key,
        Err(property) => num_keys + num_calls + property,
    });
    let order: Vec<usize> = keys.chain(num_keys..num_keys + num_calls).collect();
    // The types as before: a window's time is never NULL.
    let outputs = order.iter().zip(aggregate.schema.columns());
    let exprs = outputs
        .map(|(c, column)| Expr::column(*c, column.data_type.clone()))
        .collect();
    let names = aggregate.schema.columns().iter().map(|c| c.name.clone());
    let names = names.collect();
    Some(Plan::project(fused, exprs, names))
}

/// Takes the window function out from below projections and filters that only pass its columns on.
fn remove_tvf(plan: &Arc<Plan>) -> Option<Unwindowed> {
    match plan.as_ref() {
        Plan::WindowTvf(tvf) => {
            let width = tvf.input.schema().len();
            let positions = (0..plan.schema().len()).map(|c| (c < width).then_some(c));
            let session_keys = match &tvf.kind {
                WindowKind::Session { partition_keys, .. } => partition_keys.clone(),
                _ => vec![],
            };
            Some(Unwindowed {
                plan: tvf.input.clone(),
                positions: positions.collect(),
                time: tvf.time_column,
                tvf: tvf.clone(),
                session_keys,
            })
        }
        Plan::Filter(filter) => {
            let mut below = remove_tvf(&filter.input)?;
            let is_session = matches!(below.tvf.kind, WindowKind::Session { .. });
            let columns = filter.predicate.columns();
            if is_session || columns.iter().any(|c| below.positions[*c].is_none()) {
                return None;
            }
            let predicate = moved(filter.predicate.clone(), &below.positions);
            below.plan = Plan::filter(below.plan, predicate);
            Some(below)
        }
        Plan::Project(project) => {
            let below = remove_tvf(&project.input)?;
            let mut exprs = Vec::new();
            let mut names = Vec::new();
            let mut positions = Vec::new();
            for (expr, column) in project.exprs.iter().zip(project.schema.columns()) {
                let is_window = |c: usize| below.positions[c].is_none();
                if expr.as_column().is_some_and(is_window) {
                    positions.push(None);
                    continue;
                }
                if expr.columns().iter().any(|c| is_window(*c)) {
                    return None;
                }
                positions.push(Some(exprs.len()));
                exprs.push(moved(expr.clone(), &below.positions));
                names.push(column.name.clone());
            }
            let mut carry = |column: usize| {
                let known = exprs.iter().position(|e| e.as_column() == Some(column));
                known.unwrap_or_else(|| {
                    exprs.push(below.plan.column_expr(column));
                    names.push(below.plan.schema().column(column).name.clone());
                    exprs.len() - 1
                })
            };
            let time = carry(below.time);
            let session_keys = below.session_keys.iter().map(|c| carry(*c)).collect();
            Some(Unwindowed {
                plan: Plan::project(below.plan.clone(), exprs, names),
                positions,
                time,
                tvf: below.tvf,
                session_keys,
            })
        }
        _ => None,
    }
}

fn moved(expr: Expr, positions: &[Option<usize>]) -> Expr {
    expr.remap_columns(&|c| positions.get(c).copied().flatten().unwrap_or(c))
}

/// A join of equal windows.
fn window_join(join: &Join) -> Option<Arc<Plan>> {
    let (left, right) = (window_columns(&join.left), window_columns(&join.right));
    let pairs = join.equalities();
    let pair = |property: WindowProperty| {
        pairs.iter().find(|(l, r)| {
            let l = find(&left, property, &[*l]);
            let r = find(&right, property, &[*r]);
            matches!((l, r), (Some(l), Some(r)) if is_same_window(&l.kind, &r.kind))
        })
    };
    let start = pair(WindowProperty::Start)?;
    let end = pair(WindowProperty::End)?;
    let mode = JoinMode::Window {
        left: (start.0, end.0),
        right: (start.1, end.1),
    };
    let condition = join.condition.clone();
    Some(Plan::join(
        join.left.clone(),
        join.right.clone(),
        join.kind,
        condition,
        mode,
    ))
}

/// Whether windows are of one kind and length; a session's keys are of its own input.
fn is_same_window(left: &WindowKind, right: &WindowKind) -> bool {
    match (left, right) {
        (WindowKind::Session { gap_ms: a, .. }, WindowKind::Session { gap_ms: b, .. }) => a == b,
        (a, b) => a == b,
    }
}
