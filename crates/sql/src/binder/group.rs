//! GROUP BY: keys, grouping sets, aggregates, and what may stand above them.

use std::collections::BTreeMap;
use std::sync::Arc;

use flott_core::{Error, Result};
use sqlparser::ast::{self, GroupByExpr, GroupByWithModifier};

use super::collect::{Collector, LegacyWindow, OverItem, OverItemCall, Placeholder};
use super::scalar::{Clause, unsupported};
use super::scope::Scope;
use super::{Binder, window};
use crate::expr::{Expr, ExprKind};
use crate::plan::{AggregateCall, GroupWindow, Plan, WindowTime};

/// A bound GROUP BY clause.
#[derive(Default)]
pub(crate) struct GroupBy {
    pub keys: Vec<Expr>,
    /// Lists of positions in `keys`; `None` is the one set of all.
    pub sets: Option<Vec<Vec<usize>>>,
    pub window: Option<LegacyWindow>,
    pub is_present: bool,
}

impl GroupBy {
    fn key(&mut self, expr: Expr) -> usize {
        let text = expr.key();
        let known = self.keys.iter().position(|k| k.key() == text);
        known.unwrap_or_else(|| {
            self.keys.push(expr);
            self.keys.len() - 1
        })
    }

    /// Whether a group without rows gives a row.
    pub fn has_empty_group(&self) -> bool {
        let is_empty_set = |sets: &Vec<Vec<usize>>| sets.iter().any(Vec::is_empty);
        self.window.is_none()
            && (self.keys.is_empty() || self.sets.as_ref().is_some_and(is_empty_set))
    }
}

impl Binder<'_> {
    pub(crate) fn group_by(&mut self, clause: &GroupByExpr, scope: &Scope) -> Result<GroupBy> {
        let (exprs, modifiers) = match clause {
            GroupByExpr::Expressions(exprs, modifiers) => (exprs, modifiers),
            GroupByExpr::All(_) => return Err(unsupported(&"GROUP BY ALL")),
        };
        let mut group = GroupBy {
            is_present: !exprs.is_empty() || !modifiers.is_empty(),
            ..GroupBy::default()
        };
        let mut sets: Vec<Vec<usize>> = vec![vec![]];
        let mut has_sets = false;
        for expr in exprs {
            has_sets |= is_grouping_set(expr);
            let element = self.group_element(expr, scope, &mut group)?;
            sets = cross(&sets, &element);
        }
        for modifier in modifiers {
            has_sets = true;
            sets = match modifier {
                GroupByWithModifier::GroupingSets(expr) => {
                    let element = self.group_element(expr, scope, &mut group)?;
                    cross(&sets, &element)
                }
                GroupByWithModifier::Rollup => rollup(&split(&sets)),
                GroupByWithModifier::Cube => cube(&split(&sets)),
                other => return Err(unsupported(other)),
            };
        }
        let mut distinct: Vec<Vec<usize>> = Vec::new();
        for set in sets {
            if !distinct.contains(&set) {
                distinct.push(set);
            }
        }
        let is_all = distinct.len() == 1 && distinct[0].len() == group.keys.len();
        group.sets = (has_sets && !is_all).then_some(distinct);
        Ok(group)
    }

    /// The sets of one element of GROUP BY.
    fn group_element(
        &mut self,
        element: &ast::Expr,
        scope: &Scope,
        group: &mut GroupBy,
    ) -> Result<Vec<Vec<usize>>> {
        match element {
            ast::Expr::Rollup(parts) => Ok(rollup(&self.group_parts(parts, scope, group)?)),
            ast::Expr::Cube(parts) => Ok(cube(&self.group_parts(parts, scope, group)?)),
            ast::Expr::GroupingSets(sets) => {
                let mut all = Vec::new();
                for set in sets {
                    match set.as_slice() {
                        [one] => all.extend(self.group_element(one, scope, group)?),
                        many => all.push(self.group_keys(many, scope, group)?),
                    }
                }
                Ok(all)
            }
            ast::Expr::Tuple(exprs) => Ok(vec![self.group_keys(exprs, scope, group)?]),
            ast::Expr::Nested(inner) => self.group_element(inner, scope, group),
            ast::Expr::Function(function) if window::is_legacy(function) => {
                if group.window.is_some() {
                    let message = "only one group window may stand in GROUP BY";
                    return Err(Error::user("UNSUPPORTED_WINDOW", message));
                }
                group.window = Some(self.legacy_window(function, scope)?);
                Ok(vec![vec![]])
            }
            expr => Ok(vec![self.group_keys(
                std::slice::from_ref(expr),
                scope,
                group,
            )?]),
        }
    }

    fn group_parts(
        &mut self,
        parts: &[Vec<ast::Expr>],
        scope: &Scope,
        group: &mut GroupBy,
    ) -> Result<Vec<Vec<usize>>> {
        parts
            .iter()
            .map(|part| self.group_keys(part, scope, group))
            .collect()
    }

    fn group_keys(
        &mut self,
        exprs: &[ast::Expr],
        scope: &Scope,
        group: &mut GroupBy,
    ) -> Result<Vec<usize>> {
        let mut clause = Clause::new(scope, "GROUP BY");
        let exprs = self.exprs(exprs, &mut clause)?;
        Ok(exprs.into_iter().map(|e| group.key(e)).collect())
    }
}

fn is_grouping_set(expr: &ast::Expr) -> bool {
    matches!(
        expr,
        ast::Expr::Rollup(_) | ast::Expr::Cube(_) | ast::Expr::GroupingSets(_)
    )
}

/// Every set of the left with every set of the right.
fn cross(left: &[Vec<usize>], right: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut sets = Vec::new();
    for l in left {
        for r in right {
            sets.push(union(l, r));
        }
    }
    sets
}

fn union(left: &[usize], right: &[usize]) -> Vec<usize> {
    let mut set = left.to_vec();
    set.extend(right.iter().copied().filter(|k| !left.contains(k)));
    set
}

fn split(sets: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let first = sets.first().cloned().unwrap_or_default();
    first.into_iter().map(|k| vec![k]).collect()
}

fn rollup(parts: &[Vec<usize>]) -> Vec<Vec<usize>> {
    (0..=parts.len())
        .rev()
        .map(|n| {
            parts[..n]
                .iter()
                .fold(vec![], |set, part| union(&set, part))
        })
        .collect()
}

fn cube(parts: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let Some((first, rest)) = parts.split_first() else {
        return vec![vec![]];
    };
    let without = cube(rest);
    let with = without.iter().map(|set| union(first, set));
    with.chain(without.iter().cloned()).collect()
}

/// The projection below an aggregate: each expression once.
#[derive(Default)]
struct Inputs {
    exprs: Vec<Expr>,
    positions: BTreeMap<String, usize>,
}

impl Inputs {
    fn add(&mut self, expr: &Expr) -> usize {
        let next = self.exprs.len();
        let position = *self.positions.entry(expr.key()).or_insert(next);
        if position == next {
            self.exprs.push(expr.clone());
        }
        position
    }

    fn names(&self, input: &Plan) -> Vec<String> {
        let name = |(i, e): (usize, &Expr)| match e.as_column() {
            Some(column) => input.schema().column(column).name.clone(),
            None => format!("$f{i}"),
        };
        self.exprs.iter().enumerate().map(name).collect()
    }
}

/// A plan with its aggregate, and the way from expressions over its input to ones over it.
pub(crate) struct Aggregated {
    pub plan: Arc<Plan>,
    /// Key texts to positions.
    keys: BTreeMap<String, usize>,
    num_keys: usize,
    num_calls: usize,
    num_groupings: usize,
    /// For messages.
    names: Vec<String>,
}

/// Puts the aggregate that the collector asks for on `input`.
pub(crate) fn aggregate(
    input: Arc<Plan>,
    group: &GroupBy,
    collector: &Collector,
) -> Result<Aggregated> {
    let mut inputs = Inputs::default();
    let keys: Vec<usize> = group.keys.iter().map(|k| inputs.add(k)).collect();
    let calls: Vec<AggregateCall> = collector
        .aggregates
        .iter()
        .map(|item| AggregateCall {
            function: item.function,
            types: item.types.clone(),
            args: item.args.iter().map(|a| inputs.add(a)).collect(),
            distinct: item.distinct,
            filter: item.filter.as_ref().map(|f| inputs.add(f)),
        })
        .collect();
    let window = group.window.as_ref().map(|w| GroupWindow {
        kind: w.kind.clone(),
        time: match w.is_proctime {
            true => WindowTime::Proctime,
            false => WindowTime::Rowtime(inputs.add(&w.time)),
        },
        properties: collector.properties.clone(),
    });
    let grouping_calls = grouping_calls(group, collector)?;
    let names = inputs.names(&input);
    let scope_names = input.schema().columns().iter().map(|c| c.name.clone());
    let scope_names = scope_names.collect();
    let projected = match inputs.exprs.is_empty() {
        true => input,
        false => Plan::project(input, inputs.exprs, names),
    };
    let num_keys = keys.len();
    let sets = group.sets.clone();
    let positions = group.keys.iter().enumerate();
    Ok(Aggregated {
        keys: positions.map(|(i, k)| (k.key(), i)).collect(),
        num_keys,
        num_calls: calls.len(),
        num_groupings: grouping_calls.len(),
        plan: Plan::aggregate(projected, keys, sets, grouping_calls, calls, window),
        names: scope_names,
    })
}

fn grouping_calls(group: &GroupBy, collector: &Collector) -> Result<Vec<Vec<usize>>> {
    let position = |arg: &Expr| {
        let text = arg.key();
        let found = group.keys.iter().position(|k| k.key() == text);
        found.ok_or_else(|| {
            let message = "an argument of GROUPING must be one of GROUP BY's expressions";
            Error::user("INVALID_GROUPING", message)
        })
    };
    let calls = collector.groupings.iter();
    calls
        .map(|args| args.iter().map(position).collect())
        .collect()
}

impl Aggregated {
    /// An expression over the aggregate's input as one over its result.
    ///
    /// # Errors
    /// When it reads a column that is not grouped.
    pub fn rewrite(&self, mut expr: Expr) -> Result<Expr> {
        let mut ungrouped = None;
        self.rewrite_in_place(&mut expr, &mut ungrouped);
        match ungrouped {
            None => Ok(expr),
            Some(column) => {
                let name = self.names.get(column).map_or("?", String::as_str);
                let message = format!(
                    "expression '{name}' is not being grouped; add it to GROUP BY or aggregate it"
                );
                Err(Error::user("NOT_GROUPED", message))
            }
        }
    }

    fn rewrite_in_place(&self, expr: &mut Expr, ungrouped: &mut Option<usize>) {
        expr.transform_down(&mut |e| {
            if let Some(replaced) = self.replacement(e) {
                *e = replaced;
                return true;
            }
            match &mut e.kind {
                ExprKind::Column(index) if !is_placeholder(*index) => {
                    ungrouped.get_or_insert(*index);
                }
                ExprKind::Subquery(subquery) => {
                    subquery.plan = subquery.plan.map_outer_columns(1, &mut |outer| {
                        self.rewrite_outer(outer, ungrouped);
                    });
                }
                _ => {}
            }
            false
        });
    }

    fn replacement(&self, expr: &Expr) -> Option<Expr> {
        let position = match Placeholder::of(expr) {
            Some(Placeholder::Aggregate(i)) => self.num_keys + i,
            Some(Placeholder::Grouping(i)) => self.num_keys + self.num_calls + i,
            Some(Placeholder::Property(i)) => {
                self.num_keys + self.num_calls + self.num_groupings + i
            }
            Some(Placeholder::Over(_) | Placeholder::Read(_)) => return None,
            None => *self.keys.get(&expr.key())?,
        };
        Some(self.plan.column_expr(position))
    }

    fn rewrite_outer(&self, outer: &mut Expr, ungrouped: &mut Option<usize>) {
        let ExprKind::OuterColumn { index, .. } = &mut outer.kind else {
            return;
        };
        let column = Expr::column(*index, outer.data_type.clone());
        match self.keys.get(&column.key()) {
            Some(position) => *index = *position,
            None => {
                ungrouped.get_or_insert(*index);
            }
        }
    }

    /// A window function over the aggregate's result.
    pub fn rewrite_over(&self, item: OverItem) -> Result<OverItem> {
        map_over(item, &mut |e| self.rewrite(e))
    }
}

fn is_placeholder(position: usize) -> bool {
    let any = flott_core::types::LogicalType::Null.nullable();
    Placeholder::of(&Expr::column(position, any)).is_some()
}

/// Rewrites every expression of a window function call.
pub(crate) fn map_over(
    item: OverItem,
    f: &mut dyn FnMut(Expr) -> Result<Expr>,
) -> Result<OverItem> {
    let mut item = item;
    item.partition = item
        .partition
        .into_iter()
        .map(&mut *f)
        .collect::<Result<_>>()?;
    for key in &mut item.order {
        key.expr = f(key.expr.clone())?;
    }
    match &mut item.call {
        OverItemCall::Aggregate(call) => {
            let args = std::mem::take(&mut call.args);
            call.args = args.into_iter().map(&mut *f).collect::<Result<_>>()?;
        }
        OverItemCall::Lag { arg, default, .. } => {
            *arg = f(arg.clone())?;
            if let Some(default) = default {
                *default = f(default.clone())?;
            }
        }
        _ => {}
    }
    Ok(item)
}
