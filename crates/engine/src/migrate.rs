//! Taking back state that a job with other columns has kept: a query that has changed keeps its
//! state where that is possible without a lie.
//!
//! | change | what happens |
//! |---|---|
//! | a type is wider | the values are cast |
//! | a column more in rows that are never taken back | NULL in old rows |
//! | a call more over rows that are never taken back | it has seen no rows yet: `COUNT` is 0, `SUM` NULL |
//! | a column or call less | it is left out |
//! | anything else | refused: `STATE_SCHEMA` |

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array, new_null_array};
use arrow::compute::{CastOptions, cast_with_options, take};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use flott_core::graph::{JobGraph, Node, NodeKind, StateColumn};
use flott_core::operator::{
    RowsReader, StateContent, StateRows, StateSnapshot, StateTable, StoredRows, TRAILING_COLUMNS,
    TableLayout,
};
use flott_core::{Error, Result};

use crate::checkpoint::OperatorCheckpoint;

/// What becomes of an operator's state when it is taken back.
#[derive(Debug, Clone, Default)]
pub struct StateFit {
    /// What changes, for people; empty when the state fits as it is.
    pub changes: Vec<String>,
    tables: Arc<BTreeMap<String, TableMigration>>,
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
        let tables = snapshot.tables.into_iter().map(|table| {
            if !self.tables.contains_key(&table.name) {
                return Ok(table);
            }
            let rows = MigratedRows {
                rows: table.rows()?.clone(),
                table: table.name.clone(),
                tables: self.tables.clone(),
            };
            let rows: Arc<dyn StoredRows> = Arc::new(rows);
            Ok(StateTable {
                content: StateContent::Full(rows.into()),
                ..table
            })
        });
        Ok(StateSnapshot {
            tables: tables.collect::<Result<_>>()?,
        })
    }
}

/// Where a column of today comes from.
#[derive(Debug, Clone)]
enum Origin {
    /// A former column of the same part of the table, counted from the first.
    Former(usize),
    New,
}

/// How a table's batches are turned.
#[derive(Debug, Clone)]
enum TableMigration {
    /// The last `num_former` columns are the rows.
    Rows {
        num_former: usize,
        columns: Vec<(String, DataType, Origin)>,
    },
    Keys(Vec<DataType>),
    Aggregates {
        keys: Vec<DataType>,
        calls: Vec<(Vec<ArrayRef>, Origin)>,
    },
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
    let mut tables = BTreeMap::new();
    let is_part = |t: &&TableLayout| matches!(t, TableLayout::Rows { .. });
    let num_parts = layout.tables.iter().filter(is_part).count();
    for (input, table) in layout.tables.iter().enumerate() {
        let (name, prefix) = match table {
            TableLayout::Rows { table, .. } if num_parts > 1 => (*table, format!("{table}.")),
            TableLayout::Rows { table, .. }
            | TableLayout::Keys { table, .. }
            | TableLayout::Aggregates { table, .. } => (*table, String::new()),
        };
        let (old, new) = (part(former, &prefix), part(&node.state, &prefix));
        let pairs = Pairs::of(node, &former[old.clone()], &node.state[new.clone()])?;
        if !matches!(table, TableLayout::Keys { .. }) {
            changes.extend(pairs.changes());
        }
        let added = pairs.added();
        if let (Some(why), Some(column)) = (layout.refuses_new, added.first()) {
            let told = format!("{} {} is new", column.name, column.data_type);
            return Err(refusal(node, &format!("{told}, and {why}")));
        }
        if let TableLayout::Rows { .. } = table {
            check_nullable(graph, node, input, &pairs)?;
        }
        tables.insert(name.to_string(), migration(node, table, &pairs, old.len())?);
    }
    if changes.is_empty() {
        changes = Pairs::of(node, former, &node.state)?.changes();
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
        let gone = former.iter().zip(&used).filter(|(_, used)| !**used);
        for (old, _) in gone {
            refuse_changed_call(node, old, &pairs)?;
        }
        Ok(Self { former, now: pairs })
    }

    fn added(&self) -> Vec<&'a StateColumn> {
        let added = self.now.iter().filter(|(_, former)| former.is_none());
        added.map(|(column, _)| *column).collect()
    }

    fn changes(&self) -> Vec<String> {
        let mut changes = Vec::new();
        for (column, former) in &self.now {
            let (name, data_type) = (&column.name, &column.data_type);
            match former.map(|position| &self.former[position].data_type) {
                Some(old) if old == data_type => {}
                Some(old) => changes.push(format!("{name} {data_type} was {old}")),
                None if column.aggregate.is_some() => {
                    changes.push(format!(
                        "{name} {data_type} is new: it has seen no rows yet"
                    ));
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
        if changes.is_empty() {
            changes.push("its columns are in another order".into());
        }
        changes
    }
}

/// A call that has gone while another has come has likely become it: to begin anew in its place
/// would lose what it has seen.
fn refuse_changed_call(
    node: &Node,
    old: &StateColumn,
    now: &[(&StateColumn, Option<usize>)],
) -> Result<()> {
    if old.aggregate.is_none() {
        return Ok(());
    }
    let mut pairs = now.iter();
    let added = pairs.find(|(new, former)| former.is_none() && new.aggregate.is_some());
    match added {
        Some((new, _)) => Err(refusal(
            node,
            &format!(
                "{} {} has become {} {}, which is another value",
                old.name, old.data_type, new.name, new.data_type
            ),
        )),
        None => Ok(()),
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

fn migration(
    node: &Node,
    layout: &TableLayout,
    pairs: &Pairs<'_>,
    num_former: usize,
) -> Result<TableMigration> {
    let defect = || Error::internal(format!("{}: a state layout of other columns", node.name));
    let origin = |former: &Option<usize>| former.map_or(Origin::New, Origin::Former);
    Ok(match layout {
        TableLayout::Rows { types, .. } => {
            if types.len() != pairs.now.len() {
                return Err(defect());
            }
            let columns = pairs.now.iter().zip(types);
            TableMigration::Rows {
                num_former,
                columns: columns
                    .map(|((c, former), t)| (c.name.clone(), t.clone(), origin(former)))
                    .collect(),
            }
        }
        TableLayout::Keys { types, .. } => TableMigration::Keys(types.clone()),
        TableLayout::Aggregates { keys, empty, .. } => {
            if keys.len() + empty.len() != pairs.now.len() {
                return Err(defect());
            }
            let calls = pairs.now[keys.len()..].iter().zip(empty);
            let num_keys = keys.len();
            let of_call = |former: &Option<usize>| match former {
                Some(position) if *position >= num_keys => Ok(Origin::Former(position - num_keys)),
                Some(_) => Err(defect()),
                None => Ok(Origin::New),
            };
            TableMigration::Aggregates {
                keys: keys.clone(),
                calls: calls
                    .map(|((_, former), empty)| Ok((empty.clone(), of_call(former)?)))
                    .collect::<Result<_>>()?,
            }
        }
    })
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

/// Rows that are turned when they are read.
#[derive(Debug)]
struct MigratedRows {
    rows: StateRows,
    table: String,
    tables: Arc<BTreeMap<String, TableMigration>>,
}

impl StoredRows for MigratedRows {
    fn num_rows(&self) -> usize {
        self.rows.num_rows()
    }

    fn size_bytes(&self) -> usize {
        self.rows.size_bytes()
    }

    fn read(&self, key_groups: Option<&Range<usize>>) -> Result<RowsReader<'_>> {
        let Some(migration) = self.tables.get(&self.table) else {
            return Ok(self.rows.read_groups(key_groups.cloned()));
        };
        let batches = self.rows.read_groups(key_groups.cloned());
        Ok(Box::new(batches.map(move |batch| migration.turn(&batch?))))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

type Column = (String, ArrayRef);

impl TableMigration {
    fn turn(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let schema = batch.schema();
        let names = schema.fields().iter().map(|f| f.name().clone());
        let columns: Vec<Column> = names.zip(batch.columns().iter().cloned()).collect();
        let columns = match self {
            Self::Rows {
                num_former,
                columns: now,
            } => turn_rows(columns, *num_former, now, batch.num_rows())?,
            Self::Keys(types) => turn_keys(columns, types)?,
            Self::Aggregates { keys, calls } => {
                turn_aggregates(columns, keys, calls, batch.num_rows())?
            }
        };
        let fields = columns.iter();
        let fields = fields.map(|(name, c)| Field::new(name, c.data_type().clone(), true));
        let schema = Schema::new(fields.collect::<Vec<_>>());
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let columns = columns.into_iter().map(|(_, c)| c).collect();
        Ok(RecordBatch::try_new_with_options(
            Arc::new(schema),
            columns,
            &options,
        )?)
    }
}

fn turn_rows(
    mut columns: Vec<Column>,
    num_former: usize,
    now: &[(String, DataType, Origin)],
    num_rows: usize,
) -> Result<Vec<Column>> {
    let Some(first) = columns.len().checked_sub(num_former) else {
        return Err(Error::internal(
            "a table of state with fewer columns than its rows",
        ));
    };
    let rows = columns.split_off(first);
    for (name, data_type, origin) in now {
        let column = match origin {
            Origin::Former(at) => widened(&rows[*at].1, data_type)?,
            Origin::New => new_null_array(data_type, num_rows),
        };
        columns.push((name.clone(), column));
    }
    Ok(columns)
}

fn turn_keys(mut columns: Vec<Column>, types: &[DataType]) -> Result<Vec<Column>> {
    let first = columns.len().saturating_sub(types.len());
    for ((_, column), data_type) in columns[first..].iter_mut().zip(types) {
        *column = widened(column, data_type)?;
    }
    Ok(columns)
}

fn turn_aggregates(
    columns: Vec<Column>,
    keys: &[DataType],
    calls: &[(Vec<ArrayRef>, Origin)],
    num_rows: usize,
) -> Result<Vec<Column>> {
    let (mut turned, mut trailing) = (Vec::new(), Vec::new());
    let mut former: BTreeMap<usize, Vec<ArrayRef>> = BTreeMap::new();
    for (name, column) in columns {
        let key = name
            .strip_prefix("key")
            .and_then(|n| n.parse::<usize>().ok());
        let call = name.strip_prefix("agg").and_then(|n| n.split_once('_'));
        if let Some(call) = call.and_then(|(call, _)| call.parse().ok()) {
            former.entry(call).or_default().push(column);
        } else if let Some(data_type) = key.and_then(|k| keys.get(k)) {
            turned.push((name, widened(&column, data_type)?));
        } else if TRAILING_COLUMNS.contains(&name.as_str()) {
            trailing.push((name, column));
        } else {
            turned.push((name, column));
        }
    }
    let none = UInt32Array::from(vec![0; num_rows]);
    for (number, (empty, origin)) in calls.iter().enumerate() {
        let states = match origin {
            Origin::Former(call) => {
                let states = former.get(call).map_or(&[][..], Vec::as_slice);
                if states.len() != empty.len() {
                    return Err(Error::user(
                        "STATE_SCHEMA",
                        "the state keeps several DISTINCT calls as one; go back to the former \
                         statement, or start without this state",
                    ));
                }
                let pairs = states.iter().zip(empty);
                pairs
                    .map(|(state, like)| widened(state, like.data_type()))
                    .collect()
            }
            Origin::New => {
                let columns = empty.iter().map(|column| Ok(take(column, &none, None)?));
                columns.collect::<Result<Vec<_>>>()
            }
        };
        for (at, state) in states?.into_iter().enumerate() {
            turned.push((format!("agg{number}_{at}"), state));
        }
    }
    turned.extend(trailing);
    Ok(turned)
}

fn widened(column: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if column.data_type() == to {
        return Ok(column.clone());
    }
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    Ok(cast_with_options(column, to, &options)?)
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int32Array, Int64Array, UInt16Array};
    use arrow::datatypes::Int64Type;

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

    #[test]
    fn partial_states_find_their_calls_and_new_calls_begin_empty() {
        let columns: Vec<Column> = vec![
            ("key_group".into(), Arc::new(UInt16Array::from(vec![1, 2]))),
            ("key0".into(), Arc::new(Int32Array::from(vec![7, 8]))),
            ("agg0_0".into(), Arc::new(Int64Array::from(vec![10, 20]))),
            ("agg1_0".into(), Arc::new(Int64Array::from(vec![30, 40]))),
            ("updated_ms".into(), Arc::new(Int64Array::from(vec![5, 6]))),
        ];
        let zero: ArrayRef = Arc::new(Int64Array::from(vec![0]));
        let calls = [
            (vec![zero.clone()], Origin::Former(1)),
            (vec![zero], Origin::New),
        ];
        let turned = turn_aggregates(columns, &[DataType::Int64], &calls, 2).unwrap();
        let names: Vec<&str> = turned.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["key_group", "key0", "agg0_0", "agg1_0", "updated_ms"]
        );
        let values = |at: usize| turned[at].1.as_primitive::<Int64Type>().values().to_vec();
        assert_eq!(
            (values(1), values(2), values(3)),
            (vec![7, 8], vec![30, 40], vec![0, 0])
        );
    }
}
