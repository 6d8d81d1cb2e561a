//! Taking back state that a job with other columns has kept: a query that has changed keeps its
//! state where that is possible without a lie.
//!
//! | change | what happens |
//! |---|---|
//! | a type is wider | the values are cast |
//! | a column more in rows that are never taken back | NULL in old rows |
//! | a call more over rows that are never taken back | it has seen no rows yet: `COUNT` is 0, `SUM` NULL |
//! | a call more over rows, or DISTINCT values, that are kept | it is made of them |
//! | a column or call less | it is left out |
//! | anything else | refused: `STATE_SCHEMA` |

mod parts;
mod turn;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::DataType;
use flott_core::graph::{JobGraph, Node, NodeKind, StateColumn};
use flott_core::operator::{
    StateContent, StateLayout, StateSnapshot, StateTable, StoredRows, TableLayout,
};
use flott_core::{Error, Result};

use crate::checkpoint::OperatorCheckpoint;
use turn::{MigratedRows, Origin, TableMigration};

/// What becomes of an operator's state when it is taken back.
#[derive(Debug, Clone, Default)]
pub struct StateFit {
    /// What changes, for people; empty when the state fits as it is.
    pub changes: Vec<String>,
    /// By the table's former name.
    tables: Arc<BTreeMap<String, Fate>>,
}

/// What becomes of a table.
#[derive(Debug, Clone)]
enum Fate {
    /// It is turned, and has this name now.
    Kept(String, Arc<TableMigration>),
    Dropped,
}

impl StateFit {
    pub fn is_migrated(&self) -> bool {
        !self.tables.is_empty()
    }

    /// The state in the operator's own columns; rows are turned when they are read.
    ///
    /// # Errors
    /// A defect: tables of changes.
    pub(crate) fn apply(&self, snapshot: StateSnapshot) -> Result<StateSnapshot> {
        let mut tables = Vec::with_capacity(snapshot.tables.len());
        for table in snapshot.tables {
            match self.tables.get(&table.name) {
                None => tables.push(table),
                Some(Fate::Dropped) => {}
                Some(Fate::Kept(name, migration)) => {
                    let rows = MigratedRows::new(table.rows()?.clone(), migration.clone());
                    let rows: Arc<dyn StoredRows> = Arc::new(rows);
                    tables.push(StateTable {
                        name: name.clone(),
                        content: StateContent::Full(rows.into()),
                        ..table
                    });
                }
            }
        }
        Ok(StateSnapshot { tables })
    }
}

/// What becomes of the state of an operator's former self; state that is empty fits always.
///
/// # Errors
/// A user error `STATE_SCHEMA` that names the column, its old and its new type, and what to do.
pub fn check_state(
    graph: &JobGraph,
    node: &Node,
    checkpoint: &OperatorCheckpoint,
) -> Result<StateFit> {
    let former = &checkpoint.columns;
    let is_empty = checkpoint.subtasks.iter().all(|s| s.state.is_empty());
    let is_same =
        |(a, b): (&StateColumn, &StateColumn)| a.meaning == b.meaning && a.data_type == b.data_type;
    let fits = former.len() == node.state.len() && former.iter().zip(&node.state).all(is_same);
    if is_empty || fits {
        return Ok(StateFit::default());
    }
    let NodeKind::Operator(factory) = &node.kind else {
        return Err(Error::internal(format!("{} keeps columns", node.name)));
    };
    let Some(layout) = factory.state_layout()? else {
        let why = format!("{} cannot take over state of other columns", node.name);
        return Err(refusal(
            node,
            &format!("{}; {why}", differences(former, &node.state)),
        ));
    };
    let mut changes = Vec::new();
    let (mut tables, mut left_out) = (BTreeMap::new(), BTreeSet::new());
    let is_part = |t: &&TableLayout| matches!(t, TableLayout::Rows { .. });
    let num_parts = layout.tables.iter().filter(is_part).count();
    for (input, table) in layout.tables.iter().enumerate() {
        let prefix = match table {
            TableLayout::Rows { table, .. } if num_parts > 1 => format!("{table}."),
            _ => String::new(),
        };
        let (old, new) = (part(former, &prefix), part(&node.state, &prefix));
        let pairs = Pairs::of(node, &former[old], &node.state[new])?;
        if !matches!(table, TableLayout::Keys { .. }) {
            let told = pairs.changes(&layout).into_iter();
            changes.extend(
                told.filter(|change| !changes.contains(change))
                    .collect::<Vec<_>>(),
            );
        }
        pairs.check_changed(node, &layout)?;
        pairs.check_new(node, &layout)?;
        if let TableLayout::Rows { .. } = table {
            check_nullable(graph, node, input, &pairs)?;
        }
        tables.extend(fates(node, table, &pairs)?);
        if let TableLayout::OfCall { prefix, .. } = table {
            // What was kept for calls that are gone must not be taken for that of others.
            let former = former.iter().filter(|c| c.aggregate.is_some()).count();
            for number in 0..former {
                left_out.insert(format!("{prefix}{number}"));
            }
        }
    }
    for table in left_out {
        tables.entry(table).or_insert(Fate::Dropped);
    }
    if changes.is_empty() {
        changes.push("its columns are in another order".into());
    }
    Ok(StateFit {
        changes,
        tables: Arc::new(tables),
    })
}

/// The columns whose names begin with this: they stand together.
fn part(columns: &[StateColumn], prefix: &str) -> Range<usize> {
    let is_in = |c: &StateColumn| c.name.starts_with(prefix);
    let start = columns.iter().position(is_in).unwrap_or(columns.len());
    let rest = &columns[start..];
    let end = rest.iter().position(|c| !is_in(c)).unwrap_or(rest.len());
    start..start + end
}

/// Columns of today, each with the position of its former self.
struct Pairs<'a> {
    former: &'a [StateColumn],
    now: Vec<(&'a StateColumn, Option<usize>)>,
}

impl<'a> Pairs<'a> {
    fn of(node: &Node, former: &'a [StateColumn], now: &'a [StateColumn]) -> Result<Self> {
        let mut used = vec![false; former.len()];
        let mut pairs = Vec::with_capacity(now.len());
        for column in now {
            let mut candidates = former.iter().enumerate();
            let found = candidates.find(|(i, c)| !used[*i] && c.meaning == column.meaning);
            if let Some((position, old)) = found {
                used[position] = true;
                let is_wider = old.data_type == column.data_type
                    || is_widening(&old.data_type, &column.data_type);
                if !is_wider {
                    let told = format!(
                        "{} was {} and is {} now, which is not a wider type of its kind",
                        column.name, old.data_type, column.data_type
                    );
                    return Err(refusal(node, &told));
                }
            }
            pairs.push((column, found.map(|(position, _)| position)));
        }
        Ok(Self { former, now: pairs })
    }

    /// Refuses a call in the place of another: to begin anew would lose what that has seen.
    fn check_changed(&self, node: &Node, layout: &StateLayout) -> Result<()> {
        let is_kept = |at: usize| self.now.iter().any(|(_, former)| *former == Some(at));
        let former = self.former.iter().enumerate();
        let mut gone = former.filter(|(at, c)| c.aggregate.is_some() && !is_kept(*at));
        let Some((_, old)) = gone.next() else {
            return Ok(());
        };
        let calls = self.now.iter().filter(|(c, _)| c.aggregate.is_some());
        let mut added = calls
            .enumerate()
            .filter(|(_, (_, former))| former.is_none());
        match added.find(|(call, _)| !self.is_made(*call, layout)) {
            Some((_, (new, _))) => Err(refusal(
                node,
                &format!(
                    "{} {} has become {} {}, which is another value",
                    old.name, old.data_type, new.name, new.data_type
                ),
            )),
            None => Ok(()),
        }
    }

    /// Refuses columns and calls that are new where they would have had to see what is gone.
    fn check_new(&self, node: &Node, layout: &StateLayout) -> Result<()> {
        let Some(why) = layout.refuses_new else {
            return Ok(());
        };
        let mut calls = 0;
        for (column, former) in &self.now {
            let call = column.aggregate.is_some().then_some(calls);
            calls += usize::from(call.is_some());
            if former.is_none() && !call.is_some_and(|call| self.is_made(call, layout)) {
                let told = format!("{} {} is new", column.name, column.data_type);
                return Err(refusal(node, &format!("{told}, and {why}")));
            }
        }
        Ok(())
    }

    /// Whether a call that is new is made of what is kept: of rows, or of the DISTINCT values of
    /// another call with its filter.
    fn is_made(&self, call: usize, layout: &StateLayout) -> bool {
        if layout.rebuilds_calls {
            return true;
        }
        let former = self.former_calls();
        let was_there = |c: &usize| former.get(*c).is_some_and(Option::is_some);
        layout.tables.iter().any(|table| {
            let TableLayout::Aggregates { parts, .. } = table else {
                return false;
            };
            let sets = parts.iter().filter(|p| p.num_filters.is_some());
            let mut sharing = sets.filter_map(|part| {
                let (_, filter) = part.calls.iter().find(|(c, _)| *c == call)?;
                let mut others = part.calls.iter().filter(|(_, f)| f == filter);
                Some(others.any(|(other, _)| was_there(other)))
            });
            sharing.next().unwrap_or(false)
        })
    }

    /// By call, the number of its former self among the former calls.
    fn former_calls(&self) -> Vec<Option<usize>> {
        let number_of = |at: usize| {
            let before = self.former[..at].iter();
            before.filter(|c| c.aggregate.is_some()).count()
        };
        let calls = self.now.iter().filter(|(c, _)| c.aggregate.is_some());
        calls.map(|(_, former)| former.map(number_of)).collect()
    }

    fn changes(&self, layout: &StateLayout) -> Vec<String> {
        let mut calls = 0;
        let mut changes = Vec::new();
        for (column, former) in &self.now {
            let (name, data_type) = (&column.name, &column.data_type);
            let call = calls;
            calls += usize::from(column.aggregate.is_some());
            match former.map(|position| &self.former[position].data_type) {
                Some(old) if old == data_type => {}
                Some(old) => changes.push(format!("{name} {data_type} was {old}")),
                None if column.aggregate.is_some() => {
                    let why = match self.is_made(call, layout) {
                        true if layout.rebuilds_calls => "it is made of the rows that are kept",
                        true => "it is made of the values that are kept",
                        false => "it has seen no rows yet",
                    };
                    changes.push(format!("{name} {data_type} is new: {why}"));
                }
                None => changes.push(format!("{name} {data_type} is new: NULL in old rows")),
            }
        }
        let is_kept = |at: usize| self.now.iter().any(|(_, former)| *former == Some(at));
        let gone = self
            .former
            .iter()
            .enumerate()
            .filter(|(at, _)| !is_kept(*at));
        changes.extend(gone.map(|(_, c)| format!("{} {} is left out", c.name, c.data_type)));
        changes
    }
}

fn check_nullable(graph: &JobGraph, node: &Node, input: usize, pairs: &Pairs<'_>) -> Result<()> {
    let edge = node.inputs.get(input).or(node.inputs.first());
    let Some(schema) = edge
        .and_then(|e| graph.nodes.get(e.from))
        .map(|n| &n.schema)
    else {
        return Ok(());
    };
    for ((column, former), declared) in pairs.now.iter().zip(schema.columns()) {
        if former.is_none() && !declared.data_type.nullable {
            let told = format!(
                "{} {} NOT NULL is new, and old rows have no value for it",
                column.name, column.data_type
            );
            return Err(refusal(node, &told));
        }
    }
    Ok(())
}

/// What becomes of the tables of a layout, by their former names.
fn fates(node: &Node, layout: &TableLayout, pairs: &Pairs<'_>) -> Result<Vec<(String, Fate)>> {
    let kept = |former: String, name: &str, migration| {
        (former, Fate::Kept(name.to_string(), Arc::new(migration)))
    };
    Ok(match layout {
        TableLayout::Rows { table, types } => {
            vec![kept(table.to_string(), table, rows(node, types, pairs)?)]
        }
        TableLayout::Keys { table, types } => {
            let migration = TableMigration::Keys(types.clone());
            vec![kept((*table).into(), table, migration)]
        }
        TableLayout::OfCall {
            prefix,
            call,
            types,
        } => of_call(prefix, *call, types, &pairs.former_calls())
            .map(|(former, name, migration)| kept(former, &name, migration))
            .into_iter()
            .collect(),
        TableLayout::Aggregates {
            table,
            names,
            keys,
            parts,
        } => {
            let calls = pairs.former_calls();
            let parts = parts.iter().cloned();
            let migration = TableMigration::Aggregates {
                names: *names,
                keys: keys.clone(),
                parts: parts
                    .map(|part| parts::PartMigration::new(part, &calls))
                    .collect(),
            };
            vec![kept((*table).into(), table, migration)]
        }
    })
}

fn rows(node: &Node, types: &[DataType], pairs: &Pairs<'_>) -> Result<TableMigration> {
    let is_row = |c: &StateColumn| c.aggregate.is_none();
    let columns: Vec<_> = pairs.now.iter().filter(|(c, _)| is_row(c)).collect();
    if types.len() != columns.len() {
        let message = format!("{}: a state layout of other columns", node.name);
        return Err(Error::internal(message));
    }
    let columns = columns
        .iter()
        .zip(types)
        .map(|((column, former), data_type)| {
            let origin = former.map_or(Origin::New, Origin::Former);
            (column.name.clone(), data_type.clone(), origin)
        });
    Ok(TableMigration::Rows {
        num_former: pairs.former.iter().filter(|c| is_row(c)).count(),
        columns: columns.collect(),
    })
}

/// The table of a call's former self, which may have had another number.
fn of_call(
    prefix: &str,
    call: usize,
    types: &[DataType],
    former: &[Option<usize>],
) -> Option<(String, String, TableMigration)> {
    let number = former.get(call).copied().flatten()?;
    let migration = TableMigration::Leading(types.to_vec());
    Some((
        format!("{prefix}{number}"),
        format!("{prefix}{call}"),
        migration,
    ))
}

fn refusal(node: &Node, why: &str) -> Error {
    let message = format!(
        "the state of {} does not fit the query any more: {why}; go back to the former statement, or start without this state",
        node.name
    );
    Error::user("STATE_SCHEMA", message)
}

/// How what an operator keeps now differs from what it kept.
fn differences(former: &[StateColumn], now: &[StateColumn]) -> String {
    let find = |list: &[StateColumn], column: &StateColumn| {
        list.iter().find(|c| c.meaning == column.meaning).cloned()
    };
    let mut parts = Vec::new();
    for column in now {
        match find(former, column) {
            None => parts.push(format!("it keeps {} {} too", column.name, column.data_type)),
            Some(old) if old.data_type != column.data_type => parts.push(format!(
                "{} {} was {}",
                column.name, column.data_type, old.data_type
            )),
            Some(_) => {}
        }
    }
    let missing = former.iter().filter(|c| find(now, c).is_none());
    parts.extend(missing.map(|c| format!("it does not keep {} {} any more", c.name, c.data_type)));
    match parts.is_empty() {
        true => "it keeps its columns in another order".into(),
        false => parts.join("; "),
    }
}

/// Whether every value of the type `from` is the same value of the type `to`.
fn is_widening(from: &str, to: &str) -> bool {
    let rank = |list: &[&str], name: &str| list.iter().position(|n| *n == name);
    for kind in [
        &["TINYINT", "SMALLINT", "INT", "BIGINT"][..],
        &["FLOAT", "DOUBLE"],
    ] {
        if let (Some(from), Some(to)) = (rank(kind, from), rank(kind, to)) {
            return from < to;
        }
    }
    let (from, to) = (Sized::of(from), Sized::of(to));
    let (Some(from), Some(to)) = (from, to) else {
        return false;
    };
    match (from.name, to.name) {
        ("VARCHAR" | "CHAR", "VARCHAR") | ("VARBINARY" | "BINARY", "VARBINARY") => {
            from.size <= to.size
        }
        ("DECIMAL", "DECIMAL") => from.scale == to.scale && from.size <= to.size,
        _ => false,
    }
}

/// `NAME(size, scale)`.
struct Sized<'a> {
    name: &'a str,
    size: u64,
    scale: u64,
}

impl<'a> Sized<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let unlimited = |name| Self {
            name,
            size: u64::MAX,
            scale: 0,
        };
        match text {
            "STRING" => return Some(unlimited("VARCHAR")),
            "BYTES" => return Some(unlimited("VARBINARY")),
            _ => {}
        }
        let (name, rest) = text.split_once('(')?;
        let mut numbers = rest.strip_suffix(')')?.split(',');
        Some(Self {
            name,
            size: numbers.next()?.trim().parse().ok()?,
            scale: match numbers.next() {
                Some(scale) => scale.trim().parse().ok()?,
                None => 0,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_wider_types_of_one_kind_are_wider() {
        let wider = [
            ("INT", "BIGINT"),
            ("TINYINT", "INT"),
            ("FLOAT", "DOUBLE"),
            ("VARCHAR(3)", "STRING"),
            ("CHAR(3)", "VARCHAR(3)"),
            ("VARCHAR(3)", "VARCHAR(9)"),
            ("DECIMAL(10, 2)", "DECIMAL(12, 2)"),
            ("BINARY(3)", "BYTES"),
        ];
        assert!(wider.iter().all(|(from, to)| is_widening(from, to)));
        let not = [
            ("BIGINT", "INT"),
            ("INT", "DOUBLE"),
            ("STRING", "VARCHAR(9)"),
            ("CHAR(3)", "CHAR(9)"),
            ("DECIMAL(10, 2)", "DECIMAL(12, 4)"),
            ("TIMESTAMP(3)", "TIMESTAMP(6)"),
            ("ROW<`a` INT>", "ROW<`a` BIGINT>"),
        ];
        assert!(not.iter().all(|(from, to)| !is_widening(from, to)));
    }
}
