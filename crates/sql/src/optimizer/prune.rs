//! Only the columns and nested fields that are read are read.
//!
//! What is needed of a node is a set of paths: a column, or a field inside a row column. Each node
//! answers with a node that has at least those, and where each path is now; a path that could not
//! be split stays under its column.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flott_core::schema::{Column, Schema};
use flott_core::source::FieldPath;
use flott_core::types::{DataType, LogicalType};

use crate::expr::{Expr, ExprKind};
use crate::plan::{
    Aggregate, Join, JoinKind, JoinMode, Match, Over, OverCall, Plan, Project, Rank, Scan, SortKey,
    Unnest, WindowKind, WindowTime, WindowTvf,
};

type Path = Vec<usize>;

/// The paths that are needed; one that is covered by a shorter one adds nothing.
#[derive(Debug, Clone, Default)]
struct Needs(BTreeSet<Path>);

impl Needs {
    fn of_columns(columns: impl IntoIterator<Item = usize>) -> Self {
        Self(columns.into_iter().map(|c| vec![c]).collect())
    }

    fn add_expr(&mut self, expr: &Expr) {
        match path_of(expr) {
            Some(path) => {
                self.0.insert(path);
            }
            None => expr.children().into_iter().for_each(|c| self.add_expr(c)),
        }
    }

    fn add_columns(&mut self, columns: impl IntoIterator<Item = usize>) {
        self.0.extend(columns.into_iter().map(|c| vec![c]));
    }

    /// Without the paths that others cover.
    fn minimal(&self) -> BTreeSet<Path> {
        let is_covered = |path: &Path| (1..path.len()).any(|n| self.0.contains(&path[..n]));
        self.0.iter().filter(|p| !is_covered(p)).cloned().collect()
    }

    fn columns(&self) -> BTreeSet<usize> {
        self.0.iter().map(|p| p[0]).collect()
    }
}

/// A column, or a field inside a column.
fn path_of(expr: &Expr) -> Option<Path> {
    match &expr.kind {
        ExprKind::Column(column) => Some(vec![*column]),
        ExprKind::Field { expr, index } => {
            let mut path = path_of(expr)?;
            path.push(*index);
            Some(path)
        }
        _ => None,
    }
}

/// A pruned node and where the paths of the old one are.
struct Pruned {
    plan: Arc<Plan>,
    positions: BTreeMap<Path, usize>,
}

impl Pruned {
    /// Columns kept whole, in the order of `kept`.
    fn columns(plan: Arc<Plan>, kept: impl IntoIterator<Item = usize>) -> Self {
        let positions = kept.into_iter().enumerate();
        Self {
            plan,
            positions: positions.map(|(new, old)| (vec![old], new)).collect(),
        }
    }

    fn unchanged(plan: Arc<Plan>) -> Self {
        let width = plan.schema().len();
        Self::columns(plan, 0..width)
    }

    fn column(&self, old: usize) -> usize {
        self.positions.get(&vec![old]).copied().unwrap_or(old)
    }

    fn all(&self, old: &[usize]) -> Vec<usize> {
        old.iter().map(|c| self.column(*c)).collect()
    }

    fn order(&self, keys: &[SortKey]) -> Vec<SortKey> {
        let moved = keys.iter().map(|k| SortKey {
            column: self.column(k.column),
            ..*k
        });
        moved.collect()
    }

    /// An expression over the old node as one over the new one.
    fn expr(&self, mut expr: Expr) -> Expr {
        expr.transform_down(&mut |e| {
            let Some(path) = path_of(e) else {
                return false;
            };
            if let Some(position) = self.positions.get(&path) {
                e.kind = ExprKind::Column(*position);
                return true;
            }
            false
        });
        expr
    }
}

/// Prunes a plan whose columns are all needed.
pub fn apply(plan: &Arc<Plan>) -> Arc<Plan> {
    let all: Vec<usize> = (0..plan.schema().len()).collect();
    exact(plan, &all)
}

/// Exactly these columns of the node, in this order.
fn exact(plan: &Arc<Plan>, columns: &[usize]) -> Arc<Plan> {
    let pruned = prune(plan, &Needs::of_columns(columns.iter().copied()));
    let positions = pruned.all(columns);
    let names: Vec<&str> = columns
        .iter()
        .map(|c| plan.schema().column(*c).name.as_str())
        .collect();
    let projected = Plan::project_columns(pruned.plan.clone(), &positions);
    let is_named = projected
        .schema()
        .columns()
        .iter()
        .zip(&names)
        .all(|(c, n)| c.name == *n);
    if is_named {
        return projected;
    }
    let exprs = positions
        .iter()
        .map(|c| pruned.plan.column_expr(*c))
        .collect();
    let names = names.into_iter().map(str::to_string).collect();
    Plan::project(pruned.plan, exprs, names)
}

/// The needed columns whole, each once and no others, in their old order: for inputs of operators
/// that keep or send their rows. One column is kept even when none is needed.
fn narrow(plan: &Arc<Plan>, columns: BTreeSet<usize>) -> Pruned {
    let mut kept: Vec<usize> = columns.into_iter().collect();
    if kept.is_empty() && !plan.schema().is_empty() {
        kept.push(0);
    }
    let narrowed = exact(plan, &kept);
    Pruned::columns(narrowed, kept)
}

fn prune(plan: &Arc<Plan>, needs: &Needs) -> Pruned {
    match plan.as_ref() {
        Plan::Scan(n) => prune_scan(n, needs),
        Plan::Values(n) => {
            let kept: Vec<usize> = match needs.columns() {
                columns if columns.is_empty() => (0..n.schema.len().min(1)).collect(),
                columns => columns.into_iter().collect(),
            };
            let pick = |row: &Vec<Expr>| kept.iter().map(|c| row[*c].clone()).collect();
            let rows = n.rows.iter().map(pick).collect();
            Pruned::columns(Plan::values(rows, n.schema.project(&kept)), kept)
        }
        Plan::Project(n) => prune_project(n, needs),
        Plan::Filter(n) => {
            let mut below = needs.clone();
            below.add_expr(&n.predicate);
            let input = prune(&n.input, &below);
            let predicate = input.expr(n.predicate.clone());
            Pruned {
                plan: Plan::filter(input.plan, predicate),
                positions: input.positions,
            }
        }
        Plan::Watermark(n) => {
            let mut below = needs.clone();
            below.add_columns([n.column]);
            below.add_expr(&n.expr);
            let input = prune(&n.input, &below);
            let expr = input.expr(n.expr.clone());
            let column = input.column(n.column);
            Pruned {
                plan: Plan::watermark(input.plan, column, expr),
                positions: input.positions,
            }
        }
        Plan::WindowTvf(n) => prune_tvf(n, needs),
        Plan::Aggregate(n) => prune_aggregate(n, needs),
        Plan::Join(n) => prune_join(n, needs),
        Plan::Over(n) => prune_over(n, needs),
        Plan::Rank(n) => prune_rank(n, needs),
        Plan::Sort(n) => {
            let mut columns = needs.columns();
            columns.extend(n.keys.iter().map(|k| k.column));
            let input = narrow(&n.input, columns);
            let mut node = n.clone();
            node.keys = input.order(&n.keys);
            node.input = input.plan;
            Pruned {
                plan: Arc::new(Plan::Sort(node)),
                positions: input.positions,
            }
        }
        Plan::Union(n) => {
            let mut kept: Vec<usize> = needs.columns().into_iter().collect();
            if kept.is_empty() && !n.schema.is_empty() {
                kept.push(0);
            }
            let inputs = n.inputs.iter().map(|i| exact(i, &kept)).collect();
            let mut node = n.clone();
            node.inputs = inputs;
            node.schema = n.schema.project(&kept);
            Pruned::columns(Arc::new(Plan::Union(node)), kept)
        }
        Plan::Unnest(n) => prune_unnest(n, needs),
        // The binder has put a projection below it to what it reads.
        Plan::Match(n) => {
            let all = (0..n.input.schema().len()).collect();
            let input = narrow(&n.input, all).plan;
            Pruned::unchanged(Arc::new(Plan::Match(Match { input, ..n.clone() })))
        }
    }
}

/// The column of a path into a schema: its type is nullable where a row around it is.
fn column_at(schema: &Schema, path: &Path) -> Option<Column> {
    let root = schema.column(path[0]);
    let mut name = root.name.clone();
    let mut data_type: DataType = root.data_type.clone();
    for index in &path[1..] {
        let LogicalType::Row(fields) = &data_type.logical else {
            return None;
        };
        let field = fields.get(*index)?.clone();
        name = format!("{name}.{}", field.name);
        let nullable = data_type.nullable || field.data_type.nullable;
        data_type = field.data_type.with_nullable(nullable);
    }
    let time = root.time.filter(|_| path.len() == 1);
    Some(Column::new(name, data_type).with_time(time))
}

fn prune_scan(scan: &Scan, needs: &Needs) -> Pruned {
    let mut paths = needs.minimal();
    if paths.is_empty() && !scan.schema.is_empty() {
        paths.insert(vec![0]);
    }
    let mut node = scan.clone();
    node.fields.clear();
    let mut columns = Vec::new();
    let mut positions = BTreeMap::new();
    for path in paths {
        let Some(column) = column_at(&scan.schema, &path) else {
            continue;
        };
        let mut field = scan.fields[path[0]].0.clone();
        field.extend_from_slice(&path[1..]);
        positions.insert(path, columns.len());
        node.fields.push(FieldPath(field));
        columns.push(column);
    }
    for key in &scan.keeps {
        let path = FieldPath::column(*key);
        if node.fields.contains(&path) {
            continue;
        }
        if let Some(position) = scan.fields.iter().position(|f| *f == path) {
            node.fields.push(path);
            columns.push(scan.schema.column(position).clone());
        }
    }
    node.schema = Schema::new(columns);
    Pruned {
        plan: Arc::new(Plan::Scan(node)),
        positions,
    }
}

fn prune_project(project: &Project, needs: &Needs) -> Pruned {
    let mut below = Needs::default();
    let mut kept: Vec<(Path, Expr)> = Vec::new();
    let mut wanted = needs.minimal();
    if wanted.is_empty() && !project.exprs.is_empty() {
        wanted.insert(vec![cheapest(&project.exprs)]);
    }
    let mut whole = BTreeSet::new();
    for path in wanted {
        let expr = &project.exprs[path[0]];
        let mut inner = expr.clone();
        let is_path = path_of(expr).is_some();
        if is_path {
            for index in &path[1..] {
                inner = inner.field(*index);
            }
            kept.push((path, inner));
        } else if whole.insert(path[0]) {
            kept.push((vec![path[0]], inner));
        }
    }
    for (_, expr) in &kept {
        below.add_expr(expr);
    }
    let input = match project.input.schema().is_empty() {
        true => Pruned::unchanged(project.input.clone()),
        false => prune(&project.input, &below),
    };
    let mut names = Vec::new();
    let mut exprs = Vec::new();
    let mut positions = BTreeMap::new();
    for (path, expr) in kept {
        let column = column_at(&project.schema, &path);
        names.push(column.map_or_else(String::new, |c| c.name));
        exprs.push(input.expr(expr));
        positions.insert(path, positions.len());
    }
    Pruned {
        plan: Plan::project(input.plan, exprs, names),
        positions,
    }
}

/// What to keep where only the number of rows counts.
fn cheapest(exprs: &[Expr]) -> usize {
    let is_constant = |e: &Expr| e.as_literal().is_some();
    let is_plain = |e: &Expr| super::projects::is_cheap(e) && !e.data_type.logical.is_nested();
    exprs
        .iter()
        .position(is_constant)
        .or_else(|| exprs.iter().position(is_plain))
        .unwrap_or(0)
}

fn prune_tvf(tvf: &WindowTvf, needs: &Needs) -> Pruned {
    let width = tvf.input.schema().len();
    let mut columns: BTreeSet<usize> = needs.columns().into_iter().filter(|c| *c < width).collect();
    columns.insert(tvf.time_column);
    if let WindowKind::Session { partition_keys, .. } = &tvf.kind {
        columns.extend(partition_keys);
    }
    let input = narrow(&tvf.input, columns);
    let kind = match &tvf.kind {
        WindowKind::Session {
            gap_ms,
            partition_keys,
        } => WindowKind::Session {
            gap_ms: *gap_ms,
            partition_keys: input.all(partition_keys),
        },
        kind => kind.clone(),
    };
    let time_column = input.column(tvf.time_column);
    let new_width = input.plan.schema().len();
    let mut positions = input.positions;
    positions.extend((0..3).map(|i| (vec![width + i], new_width + i)));
    Pruned {
        plan: Plan::window_tvf(input.plan, kind, time_column, tvf.is_proctime),
        positions,
    }
}

fn prune_aggregate(aggregate: &Aggregate, needs: &Needs) -> Pruned {
    let needed = needs.columns();
    let num_keys = aggregate.keys.len();
    let is_needed = |i: &usize| needed.contains(&(num_keys + i));
    let mut calls: Vec<usize> = (0..aggregate.calls.len()).filter(is_needed).collect();
    if calls.is_empty() && num_keys == 0 && !aggregate.calls.is_empty() {
        calls.push(0);
    }
    let mut columns: BTreeSet<usize> = aggregate.keys.iter().copied().collect();
    for call in calls.iter().map(|i| &aggregate.calls[*i]) {
        columns.extend(call.args.iter().chain(&call.filter));
    }
    if let Some(window) = &aggregate.window {
        match &window.time {
            WindowTime::Rowtime(column) => columns.extend([*column]),
            WindowTime::Attached { start, end } => columns.extend([*start, *end]),
            WindowTime::Proctime => {}
        }
        if let WindowKind::Session { partition_keys, .. } = &window.kind
            && !matches!(window.time, WindowTime::Attached { .. })
        {
            columns.extend(partition_keys);
        }
    }
    let input = narrow(&aggregate.input, columns);
    let mut node = aggregate.clone();
    node.keys = input.all(&aggregate.keys);
    node.calls = calls
        .iter()
        .map(|i| {
            let mut call = aggregate.calls[*i].clone();
            call.args = input.all(&call.args);
            call.filter = call.filter.map(|c| input.column(c));
            call
        })
        .collect();
    if let Some(window) = &mut node.window {
        let is_attached = matches!(window.time, WindowTime::Attached { .. });
        match &mut window.time {
            WindowTime::Rowtime(column) => *column = input.column(*column),
            WindowTime::Attached { start, end } => {
                *start = input.column(*start);
                *end = input.column(*end);
            }
            WindowTime::Proctime => {}
        }
        if let WindowKind::Session { partition_keys, .. } = &mut window.kind {
            // Attached windows are there already: their keys are not this input's columns.
            *partition_keys = match is_attached {
                true => vec![],
                false => input.all(partition_keys),
            };
        }
    }
    let old_calls = num_keys + aggregate.calls.len();
    let rest = old_calls..aggregate.schema.len();
    let kept = (0..num_keys)
        .chain(calls.iter().map(|i| num_keys + i))
        .chain(rest);
    let kept: Vec<usize> = kept.collect();
    node.schema = aggregate.schema.project(&kept);
    node.input = input.plan;
    Pruned::columns(Arc::new(Plan::Aggregate(node)), kept)
}

fn prune_join(join: &Join, needs: &Needs) -> Pruned {
    let width = join.left.schema().len();
    let mut columns = needs.columns();
    columns.extend(join.condition.columns());
    match &join.mode {
        JoinMode::Interval {
            left_time,
            right_time,
            ..
        }
        | JoinMode::Temporal {
            left_time,
            right_time,
        } => columns.extend([*left_time, *right_time + width]),
        JoinMode::Window { left, right } => {
            columns.extend([left.0, left.1, right.0 + width, right.1 + width]);
        }
        JoinMode::Regular | JoinMode::Lookup => {}
    }
    let right_columns = columns.iter().filter(|c| **c >= width).map(|c| c - width);
    let right = match join.mode {
        // A lookup's right side is the table itself.
        JoinMode::Lookup => Pruned::unchanged(join.right.clone()),
        _ => narrow(&join.right, right_columns.collect()),
    };
    let left = narrow(
        &join.left,
        columns.into_iter().filter(|c| *c < width).collect(),
    );
    let new_width = left.plan.schema().len();
    let position = |c: usize| match c < width {
        true => left.column(c),
        false => right.column(c - width) + new_width,
    };
    let condition = join.condition.clone().remap_columns(&position);
    let mode = match &join.mode {
        JoinMode::Interval {
            left_time,
            right_time,
            lower_ms,
            upper_ms,
            is_proctime,
        } => JoinMode::Interval {
            left_time: left.column(*left_time),
            right_time: right.column(*right_time),
            lower_ms: *lower_ms,
            upper_ms: *upper_ms,
            is_proctime: *is_proctime,
        },
        JoinMode::Temporal {
            left_time,
            right_time,
        } => JoinMode::Temporal {
            left_time: left.column(*left_time),
            right_time: right.column(*right_time),
        },
        JoinMode::Window { left: l, right: r } => JoinMode::Window {
            left: (left.column(l.0), left.column(l.1)),
            right: (right.column(r.0), right.column(r.1)),
        },
        other => other.clone(),
    };
    let mut positions = left.positions;
    let is_left_only = matches!(
        join.kind,
        JoinKind::Semi | JoinKind::Anti | JoinKind::NullAwareAnti
    );
    if !is_left_only {
        positions.extend(
            right
                .positions
                .into_iter()
                .map(|(path, new)| (vec![path[0] + width], new + new_width)),
        );
    }
    let joined = Plan::join(left.plan, right.plan, join.kind, condition, mode);
    Pruned {
        plan: super::times::derive(joined),
        positions,
    }
}

fn prune_over(over: &Over, needs: &Needs) -> Pruned {
    let width = over.input.schema().len();
    let needed = needs.columns();
    let mut columns: BTreeSet<usize> = needed.iter().copied().filter(|c| *c < width).collect();
    columns.extend(&over.partition_keys);
    columns.extend(over.order.iter().map(|k| k.column));
    let calls: Vec<usize> = (0..over.calls.len())
        .filter(|i| needed.contains(&(width + i)))
        .collect();
    for i in &calls {
        match &over.calls[*i] {
            OverCall::Aggregate(call) => columns.extend(call.args.iter().chain(&call.filter)),
            OverCall::Lag { arg, default, .. } => {
                columns.extend([Some(*arg), *default].into_iter().flatten())
            }
            _ => {}
        }
    }
    if calls.is_empty() {
        return prune(&over.input, needs);
    }
    let input = narrow(&over.input, columns);
    let mut node = over.clone();
    node.partition_keys = input.all(&over.partition_keys);
    node.order = input.order(&over.order);
    node.calls = calls
        .iter()
        .map(|i| over_call(&over.calls[*i], &input))
        .collect();
    let new_width = input.plan.schema().len();
    let mut positions = input.positions;
    positions.extend(
        calls
            .iter()
            .enumerate()
            .map(|(new, old)| (vec![width + old], new_width + new)),
    );
    node.input = input.plan;
    Pruned {
        plan: Plan::over(node),
        positions,
    }
}

fn over_call(call: &OverCall, input: &Pruned) -> OverCall {
    let mut call = call.clone();
    match &mut call {
        OverCall::Aggregate(aggregate) => {
            aggregate.args = input.all(&aggregate.args);
            aggregate.filter = aggregate.filter.map(|c| input.column(c));
        }
        OverCall::Lag { arg, default, .. } => {
            *arg = input.column(*arg);
            *default = default.map(|c| input.column(c));
        }
        _ => {}
    }
    call
}

fn prune_rank(rank: &Rank, needs: &Needs) -> Pruned {
    let width = rank.input.schema().len();
    let needed = needs.columns();
    let mut columns: BTreeSet<usize> = needed.iter().copied().filter(|c| *c < width).collect();
    columns.extend(&rank.partition_keys);
    columns.extend(rank.order.iter().map(|k| k.column));
    let input = narrow(&rank.input, columns);
    let mut node = rank.clone();
    node.partition_keys = input.all(&rank.partition_keys);
    node.order = input.order(&rank.order);
    node.window = rank.window.map(|(s, e)| (input.column(s), input.column(e)));
    node.outputs_rank = rank.outputs_rank && needed.contains(&width);
    let mut schema = input.plan.schema().clone();
    let mut positions = input.positions;
    if node.outputs_rank {
        positions.insert(vec![width], schema.len());
        schema = schema.join(&rank.schema.project(&[width]));
    }
    node.schema = schema;
    node.input = input.plan;
    Pruned {
        plan: Arc::new(Plan::Rank(node)),
        positions,
    }
}

fn prune_unnest(unnest: &Unnest, needs: &Needs) -> Pruned {
    let width = unnest.input.schema().len();
    let mut columns: BTreeSet<usize> = needs.columns().into_iter().filter(|c| *c < width).collect();
    columns.insert(unnest.column);
    let input = narrow(&unnest.input, columns);
    let added: Vec<usize> = (width..unnest.schema.len()).collect();
    let mut node = unnest.clone();
    node.column = input.column(unnest.column);
    node.schema = input.plan.schema().join(&unnest.schema.project(&added));
    let new_width = input.plan.schema().len();
    let mut positions = input.positions;
    positions.extend(added.iter().map(|c| (vec![*c], c - width + new_width)));
    node.input = input.plan;
    Pruned {
        plan: Arc::new(Plan::Unnest(node)),
        positions,
    }
}
