//! A table is read once for a job: scans that differ in their fields or predicates become one.
//!
//! The merged scan produces the union of the fields, each part picks its own again; it leaves out
//! only the rows that no part wants, the parts' own filters stay above it. A scan with a limit is
//! left alone, and so is the right side of a lookup join, which a connector may look rows up in
//! instead of reading it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flott_core::schema::Schema;
use flott_core::source::{FieldPath, FieldPredicate};

use crate::expr::Expr;
use crate::plan::{Join, JoinMode, Plan, Scan};

/// The same table, read with the same options.
type Table = String;

fn table_of(scan: &Scan) -> Option<Table> {
    let options: Vec<_> = scan.options.iter().collect();
    let table = format!("{} {options:?}", scan.path);
    scan.limit.is_none().then_some(table)
}

/// Gives the scans of one table the same predicates: those that rows have to fulfil for one of them.
pub fn predicates(plans: &[Arc<Plan>]) -> Vec<Arc<Plan>> {
    let mut tables: BTreeMap<Table, Vec<FieldPredicate>> = BTreeMap::new();
    for_each_scan(plans, &mut |table, scan| {
        tables
            .entry(table)
            .and_modify(|known| *known = either(known, &scan.predicates))
            .or_insert_with(|| scan.predicates.clone());
    });
    map_scans(plans, &mut |table, scan, plan| {
        let merged = tables.get(&table).unwrap_or(&scan.predicates);
        if *merged == scan.predicates {
            return plan.clone();
        }
        Arc::new(Plan::Scan(Scan {
            predicates: merged.clone(),
            ..scan.clone()
        }))
    })
}

/// What holds for rows that fulfil the one or the other: for fields that both name, the values of
/// both.
fn either(one: &[FieldPredicate], other: &[FieldPredicate]) -> Vec<FieldPredicate> {
    let merged = one.iter().filter_map(|p| {
        let twin = other.iter().find(|o| o.field == p.field)?;
        let mut values = p.values.clone();
        let more = twin.values.iter().filter(|v| !p.values.contains(v));
        values.extend(more.cloned());
        Some(FieldPredicate {
            field: p.field.clone(),
            values,
        })
    });
    merged.collect()
}

/// Makes one scan of the scans of one table whose predicates are the same, with one watermark where
/// they have the same.
pub fn columns(plans: &[Arc<Plan>]) -> Vec<Arc<Plan>> {
    let mut tables: BTreeMap<Table, Vec<Reader<'_>>> = BTreeMap::new();
    for_each_reader(plans, &mut |table, reader| {
        tables.entry(table).or_default().push(reader);
    });
    let merged: BTreeMap<Table, Arc<Plan>> = tables
        .into_iter()
        .filter_map(|(table, readers)| match readers.as_slice() {
            [_] => None,
            readers => Some((table, merge(readers)?)),
        })
        .collect();
    let rewrite = |table: Table, reader: &Reader<'_>| match merged.get(&table) {
        Some(whole) => Some(reader.over(whole)),
        None => reader.alone(),
    };
    plans
        .iter()
        .map(|plan| map_readers(plan, &rewrite))
        .collect()
}

/// A scan with what stands right above it: columns picked, then a watermark.
struct Reader<'a> {
    scan: &'a Scan,
    /// The column of the scan that each column is.
    picks: Vec<usize>,
    watermark: Option<(usize, &'a Expr)>,
    schema: &'a Schema,
}

fn reader_of(plan: &Plan) -> Option<Reader<'_>> {
    match plan {
        Plan::Scan(scan) => Some(Reader {
            scan,
            picks: (0..scan.fields.len()).collect(),
            watermark: None,
            schema: &scan.schema,
        }),
        Plan::Project(project) => {
            let below = reader_of(&project.input).filter(|r| r.watermark.is_none())?;
            let columns = project.exprs.iter().map(Expr::as_column);
            let picks = columns.map(|c| below.picks.get(c?).copied());
            Some(Reader {
                picks: picks.collect::<Option<_>>()?,
                schema: &project.schema,
                ..below
            })
        }
        Plan::Watermark(watermark) => {
            let below = reader_of(&watermark.input).filter(|r| r.watermark.is_none())?;
            Some(Reader {
                watermark: Some((watermark.column, &watermark.expr)),
                schema: &watermark.schema,
                ..below
            })
        }
        _ => None,
    }
}

impl Reader<'_> {
    fn path(&self, column: usize) -> &FieldPath {
        &self.scan.fields[self.picks[column]]
    }

    /// The watermark's column and expression over those of a scan of these fields.
    fn watermark_over(&self, fields: &[FieldPath]) -> Option<(usize, Expr)> {
        let (column, expr) = self.watermark?;
        let position = |c: usize| fields.iter().position(|f| f == self.path(c));
        if !expr.columns().into_iter().all(|c| position(c).is_some()) {
            return None;
        }
        let moved = expr.clone().remap_columns(&|c| position(c).unwrap_or(c));
        Some((position(column)?, moved))
    }

    /// The scan with the picked columns in their order.
    fn alone(&self) -> Option<Arc<Plan>> {
        let fields: Vec<FieldPath> = (0..self.picks.len())
            .map(|c| self.path(c).clone())
            .collect();
        let is_kept = |key: &usize| fields.contains(&FieldPath::column(*key));
        let distinct: BTreeSet<&FieldPath> = fields.iter().collect();
        if distinct.len() < fields.len() || !self.scan.keeps.iter().all(is_kept) {
            return None;
        }
        let untimed = self
            .schema
            .columns()
            .iter()
            .map(|c| c.clone().with_time(None));
        let scan = Arc::new(Plan::Scan(Scan {
            schema: untimed.collect(),
            fields,
            ..self.scan.clone()
        }));
        Some(match self.watermark {
            Some((column, expr)) => Plan::watermark(scan, column, expr.clone()),
            None => scan,
        })
    }

    /// The same rows and columns out of a merged scan, which may have the watermark already.
    fn over(&self, whole: &Arc<Plan>) -> Arc<Plan> {
        let (fields, has_watermark) = match whole.as_ref() {
            Plan::Watermark(watermark) => match watermark.input.as_ref() {
                Plan::Scan(scan) => (&scan.fields, true),
                _ => return whole.clone(),
            },
            Plan::Scan(scan) => (&scan.fields, false),
            _ => return whole.clone(),
        };
        let exprs = (0..self.picks.len()).map(|column| expr_of(self.path(column), fields, whole));
        let exprs: Vec<Expr> = exprs.collect();
        let names = self.schema.columns().iter().map(|c| c.name.clone());
        let picked = Plan::project(whole.clone(), exprs, names.collect());
        match self.watermark {
            Some((column, expr)) if !has_watermark => Plan::watermark(picked, column, expr.clone()),
            _ => picked,
        }
    }
}

/// A field out of the fields that a plan produces: itself, or inside one of them.
fn expr_of(path: &FieldPath, fields: &[FieldPath], plan: &Arc<Plan>) -> Expr {
    let is_prefix = |field: &FieldPath| path.0.starts_with(&field.0);
    // The merged scan produces every path of its parts.
    let position = fields.iter().position(is_prefix).unwrap_or_default();
    let rest = &path.0[fields[position].0.len()..];
    let column = plan.column_expr(position);
    rest.iter().fold(column, |row, index| row.field(*index))
}

fn merge(readers: &[Reader<'_>]) -> Option<Arc<Plan>> {
    let scans = || readers.iter().map(|r| r.scan);
    let first = scans().next()?;
    if scans().any(|s| s.predicates != first.predicates) {
        return None;
    }
    let all: BTreeSet<&FieldPath> = scans().flat_map(|s| &s.fields).collect();
    let is_covered =
        |path: &FieldPath| (1..path.0.len()).any(|n| all.iter().any(|p| p.0 == path.0[..n]));
    let uncovered = all.iter().copied().filter(|path| !is_covered(path));
    let fields: Vec<FieldPath> = uncovered.cloned().collect();
    let column = |path: &FieldPath| {
        let mut columns = scans().flat_map(|s| s.fields.iter().zip(s.schema.columns()));
        let found = columns.find(|(field, _)| *field == path);
        found.map(|(_, column)| column.clone())
    };
    let schema: Vec<_> = fields.iter().map(column).collect::<Option<_>>()?;
    let keeps: BTreeSet<usize> = scans().flat_map(|s| s.keeps.iter().copied()).collect();
    let watermarks = readers.iter().map(|r| r.watermark_over(&fields));
    let watermarks: Option<Vec<_>> = watermarks.collect();
    let scan = Arc::new(Plan::Scan(Scan {
        fields,
        schema: Schema::new(schema),
        keeps: keeps.into_iter().collect(),
        ..first.clone()
    }));
    let mut watermarks = watermarks.unwrap_or_default().into_iter();
    let Some((column, expr)) = watermarks.next() else {
        return Some(scan);
    };
    let key = expr.key();
    let is_one = watermarks.all(|(c, e)| c == column && e.key() == key);
    Some(match is_one {
        true => Plan::watermark(scan, column, expr),
        false => scan,
    })
}

fn for_each_reader<'a>(plans: &'a [Arc<Plan>], see: &mut dyn FnMut(Table, Reader<'a>)) {
    let mut open: Vec<&Arc<Plan>> = plans.iter().rev().collect();
    while let Some(plan) = open.pop() {
        match reader_of(plan).map(|r| (table_of(r.scan), r)) {
            Some((Some(table), reader)) => see(table, reader),
            Some((None, _)) => {}
            None => open.extend(read_inputs(plan).into_iter().rev()),
        }
    }
}

fn map_readers(
    plan: &Arc<Plan>,
    rewrite: &dyn Fn(Table, &Reader<'_>) -> Option<Arc<Plan>>,
) -> Arc<Plan> {
    if let Some(reader) = reader_of(plan) {
        let table = table_of(reader.scan);
        let rewritten = table.and_then(|table| rewrite(table, &reader));
        return rewritten.unwrap_or_else(|| plan.clone());
    }
    map_read_inputs(plan, &mut |input| map_readers(input, rewrite))
}

/// The inputs whose scans are read.
fn read_inputs(plan: &Plan) -> Vec<&Arc<Plan>> {
    match plan {
        Plan::Join(Join {
            mode: JoinMode::Lookup,
            left,
            ..
        }) => vec![left],
        _ => plan.inputs(),
    }
}

fn for_each_scan(plans: &[Arc<Plan>], see: &mut dyn FnMut(Table, &Scan)) {
    let mut open: Vec<&Arc<Plan>> = plans.iter().rev().collect();
    while let Some(plan) = open.pop() {
        if let Plan::Scan(scan) = plan.as_ref()
            && let Some(table) = table_of(scan)
        {
            see(table, scan);
        }
        open.extend(read_inputs(plan).into_iter().rev());
    }
}

type Rewrite<'a> = dyn FnMut(Table, &Scan, &Arc<Plan>) -> Arc<Plan> + 'a;

fn map_scans(plans: &[Arc<Plan>], rewrite: &mut Rewrite<'_>) -> Vec<Arc<Plan>> {
    plans.iter().map(|plan| map_plan(plan, rewrite)).collect()
}

fn map_plan(plan: &Arc<Plan>, rewrite: &mut Rewrite<'_>) -> Arc<Plan> {
    match plan.as_ref() {
        Plan::Scan(scan) => match table_of(scan) {
            Some(table) => rewrite(table, scan, plan),
            None => plan.clone(),
        },
        _ => map_read_inputs(plan, &mut |input| map_plan(input, rewrite)),
    }
}

/// The node with the inputs that are read rewritten.
fn map_read_inputs(
    plan: &Arc<Plan>,
    rewrite: &mut dyn FnMut(&Arc<Plan>) -> Arc<Plan>,
) -> Arc<Plan> {
    let num_read = read_inputs(plan).len();
    let mut position = 0;
    plan.map_inputs(&mut |input| {
        position += 1;
        match position <= num_read {
            true => rewrite(input),
            false => input.clone(),
        }
    })
}
