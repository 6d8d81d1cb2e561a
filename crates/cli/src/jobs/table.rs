//! A table of an operator's state as a table of SQL.
//!
//! | what the operator keeps | columns |
//! |---|---|
//! | whole rows (joins, top-n, deduplication) | the rows' |
//! | partial states of calls by key | the keys, and the calls' results so far; of windows also their bounds |
//! | anything else | as it is stored |

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringViewArray};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType as ArrowType, Int64Type, TimeUnit, UInt16Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use flott_core::operator::{RowsReader, StatePart, StateRows};
use flott_core::schema::{Column, Schema};
use flott_core::types::{DataType, LogicalType};
use flott_core::{Error, Result};
use flott_engine::Checkpoint;
use flott_sql::parser::parse_data_type;
use flott_sql::session::jobs::StateOf;
use flott_state::storage::manifest::{ColumnManifest, OperatorManifest, Scope, TableManifest};
use flott_table::aggregates::{self, AggregateCallConfig, AggregateTypes};
use flott_table::operators::results_of_states;

use crate::commands::state::is_called;
use crate::snapshots::Found;

/// Where a column's values come from in a batch of state.
enum Cell {
    /// This column.
    Stored(usize),
    /// This column, ms of wall-clock time.
    Bound(usize),
    /// This column, as text.
    Text(usize),
    /// The result of a call.
    Result(Box<CallStates>),
}

/// Where a call's partial states are.
struct CallStates {
    columns: Range<usize>,
    /// The calls that share them.
    calls: Vec<Call>,
    /// Which of them.
    wanted: usize,
}

/// A call of an aggregate function.
#[derive(Clone)]
struct Call {
    config: AggregateCallConfig,
    is_retracting: bool,
}

/// A table of state.
pub struct StateTable {
    schema: Schema,
    cells: Vec<Cell>,
    rows: StateRows,
    /// The number of key groups; 1 for a table that has none.
    num_groups: usize,
}

/// Bytes of a table that are read at once, about.
const MAX_READ_BYTES: usize = 64 << 20;

impl StateTable {
    /// The table that is meant.
    ///
    /// # Errors
    /// A user error that names what there is when nothing or more than one thing is meant; the
    /// store's.
    pub fn of(found: &Found, state: &StateOf) -> Result<Self> {
        let operator = operator(found, state)?;
        let table = table(operator, state)?;
        let rows = match table {
            Some(table) => stored_rows(found, operator, table)?,
            None => StateRows::default(),
        };
        let name = table.map(|t| t.name.as_str());
        let first = rows.read().next().transpose()?;
        let columns = match &first {
            Some(batch) => columns_of(operator, name, batch)?,
            None => empty_columns(operator, name)?,
        };
        let (names, cells): (Vec<Column>, Vec<Cell>) = columns.into_iter().unzip();
        Ok(Self {
            schema: with_own_names(names),
            cells,
            rows,
            num_groups: match table.is_some_and(|t| t.scope == Scope::Keyed) {
                true => found.manifest.max_parallelism.max(1),
                false => 1,
            },
        })
    }

    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The stored batches: a large table is read a range of key groups at a time.
    pub fn read(&self) -> RowsReader<'static> {
        let num_groups = self.num_groups;
        let parts = self.rows.parts().to_vec().into_iter();
        let ranges = parts.flat_map(move |part| {
            let size = match &part {
                StatePart::Batch(_) => 0,
                StatePart::Stored(rows) => rows.size_bytes(),
            };
            let num_ranges = (size / MAX_READ_BYTES + 1).min(num_groups);
            let bound = move |n: usize| n * num_groups / num_ranges;
            let rows: StateRows = match part {
                StatePart::Batch(batch) => batch.into(),
                StatePart::Stored(rows) => rows.into(),
            };
            (0..num_ranges).map(move |n| match num_ranges {
                1 => (rows.clone(), None),
                _ => (rows.clone(), Some(bound(n)..bound(n + 1))),
            })
        });
        Box::new(
            ranges.flat_map(|(rows, range)| -> Vec<Result<RecordBatch>> {
                let batches = rows.read_groups(range.clone());
                let batches = batches.map(|batch| match &range {
                    Some(range) => of_groups(&batch?, range),
                    None => batch,
                });
                let has_rows =
                    |b: &Result<RecordBatch>| b.as_ref().map_or(true, |b| b.num_rows() > 0);
                batches.filter(has_rows).collect()
            }),
        )
    }

    /// The table's columns of a stored batch.
    ///
    /// # Errors
    /// State of other columns than the first batch's: a defect.
    pub fn columns(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let columns = self.schema.columns().iter().zip(&self.cells);
        let columns = columns.map(|(column, cell)| {
            let array = value(cell, batch)?;
            Ok(cast(&array, &column.data_type.to_arrow())?)
        });
        columns.collect()
    }
}

/// The rows whose key group, the first column, is in this range.
fn of_groups(batch: &RecordBatch, range: &Range<usize>) -> Result<RecordBatch> {
    let groups = batch.columns().first();
    let groups = groups.and_then(|c| c.as_primitive_opt::<UInt16Type>());
    let groups = groups.ok_or_else(|| Error::internal("a keyed table without key groups"))?;
    let is_in = groups.values().iter();
    let is_in: BooleanArray = is_in
        .map(|g| Some(range.contains(&usize::from(*g))))
        .collect();
    Ok(filter_record_batch(batch, &is_in)?)
}

fn value(cell: &Cell, batch: &RecordBatch) -> Result<ArrayRef> {
    let missing = || Error::internal("a table of state with fewer columns than before");
    match cell {
        Cell::Stored(at) => batch.columns().get(*at).cloned().ok_or_else(missing),
        Cell::Bound(at) => {
            let bounds = batch.columns().get(*at).ok_or_else(missing)?;
            let bounds = bounds.as_primitive_opt::<Int64Type>().ok_or_else(missing)?;
            let time = ArrowType::Timestamp(TimeUnit::Millisecond, None);
            Ok(cast(bounds, &time)?)
        }
        Cell::Text(at) => {
            let column = batch.columns().get(*at).ok_or_else(missing)?;
            let options = FormatOptions::default();
            let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
            let texts = (0..column.len())
                .map(|row| (!column.is_null(row)).then(|| formatter.value(row).to_string()));
            Ok(Arc::new(StringViewArray::from_iter(texts)))
        }
        Cell::Result(call) => {
            let states = batch.columns().get(call.columns.clone());
            let is_retracting = call.calls.iter().any(|call| call.is_retracting);
            let calls: Vec<_> = call.calls.iter().map(|call| call.config.clone()).collect();
            results_of_states(
                &calls,
                call.wanted,
                is_retracting,
                states.ok_or_else(missing)?,
            )
        }
    }
}

impl Call {
    fn of(column: &ColumnManifest) -> Result<Option<Self>> {
        let Some(call) = &column.aggregate else {
            return Ok(None);
        };
        let function = aggregates::find(&call.function).ok_or_else(|| {
            let message = format!("there is no aggregate function {}", call.function);
            Error::user("UNKNOWN_FUNCTION", message)
        })?;
        let arguments = call.arguments.iter().map(|text| data_type(text));
        let types = AggregateTypes {
            arguments: arguments.collect::<Result<_>>()?,
            result: data_type(&column.data_type)?,
        };
        Ok(Some(Self {
            config: AggregateCallConfig {
                function,
                args: (0..types.arguments.len()).collect(),
                types,
                distinct: call.is_distinct,
                filter: None,
            },
            is_retracting: call.is_retracting,
        }))
    }

    fn with_filter(&self, number: usize) -> Self {
        let mut call = self.clone();
        call.config.filter = Some(number);
        call
    }
}

/// The columns of a call's partial states, and the calls that share them.
fn states_of(call: usize, calls: &[Call], names: &[String]) -> Option<CallStates> {
    let own = format!("agg{call}_");
    if let Some(first) = names.iter().position(|n| n.starts_with(&own)) {
        let width = names.iter().filter(|n| n.starts_with(&own)).count();
        return Some(CallStates {
            columns: first..first + width,
            calls: vec![calls[call].clone()],
            wanted: 0,
        });
    }
    // `set0.0+2.1_0`: calls 0 and 2 share a set, with the filters 0 and 1.
    let members = |name: &String| -> Option<Vec<(usize, usize)>> {
        let (set, _) = name.strip_prefix("set")?.split_once('_')?;
        let member = |text: &str| {
            let (call, filter) = text.split_once('.')?;
            Some((call.parse().ok()?, filter.parse().ok()?))
        };
        set.split('+').map(member).collect()
    };
    let mut sets = names
        .iter()
        .enumerate()
        .filter_map(|(at, n)| Some((at, members(n)?)));
    let (at, members) = sets.find(|(_, m)| m.iter().any(|(c, _)| *c == call))?;
    let sharing = members.iter();
    let sharing = sharing.map(|(c, f)| Some(calls.get(*c)?.with_filter(*f)));
    Some(CallStates {
        columns: at..at + 1,
        wanted: members.iter().position(|(c, _)| *c == call)?,
        calls: sharing.collect::<Option<_>>()?,
    })
}

fn data_type(text: &str) -> Result<DataType> {
    Ok(parse_data_type(text)?.with_nullable(true))
}

fn keeps_tables(operator: &&OperatorManifest) -> bool {
    !operator.tables.is_empty() && !operator.columns.is_empty()
}

/// The operator that is meant.
fn operator<'a>(found: &'a Found, state: &StateOf) -> Result<&'a OperatorManifest> {
    let operators = found.manifest.operators.iter();
    let named: Vec<&OperatorManifest> = match &state.operator {
        Some(wanted) => operators
            .filter(|o| is_called(&o.uid, &o.name, wanted))
            .collect(),
        None => operators.filter(keeps_tables).collect(),
    };
    let (job, wanted) = (&found.manifest.job_id, state.operator.as_deref());
    match (named.as_slice(), wanted) {
        ([one], _) => Ok(one),
        ([], None) => Err(Error::user(
            "NO_STATE",
            format!("no operator of {job} keeps rows in its latest checkpoint"),
        )),
        ([], Some(wanted)) => {
            let all: Vec<_> = found
                .manifest
                .operators
                .iter()
                .filter(keeps_tables)
                .collect();
            let message = format!("{job} has no operator '{wanted}'; {}", listed(&all));
            Err(Error::user("UNKNOWN_OPERATOR", message))
        }
        (several, None) => Err(Error::user(
            "AMBIGUOUS_OPERATOR",
            format!(
                "{job} has several operators with state: write STATE OF … OPERATOR '…'; {}",
                listed(several)
            ),
        )),
        (several, Some(wanted)) => Err(Error::user(
            "AMBIGUOUS_OPERATOR",
            format!(
                "{job} has several operators '{wanted}': write a uid; {}",
                listed(several)
            ),
        )),
    }
}

fn listed(operators: &[&OperatorManifest]) -> String {
    let names = operators
        .iter()
        .map(|o| format!("{} (uid {})", o.name, o.uid));
    match operators {
        [] => "none of its operators keeps rows".into(),
        _ => format!("there are {}", names.collect::<Vec<_>>().join(", ")),
    }
}

/// The table that is meant; `None` when the operator keeps nothing at present.
fn table<'a>(operator: &'a OperatorManifest, state: &StateOf) -> Result<Option<&'a TableManifest>> {
    let tables = &operator.tables;
    if let Some(wanted) = &state.table {
        let found = tables.iter().find(|t| t.name == *wanted);
        // An empty table is in no checkpoint; that of a join is known by its columns.
        let is_known = operator
            .columns
            .iter()
            .any(|c| c.name.starts_with(&format!("{wanted}.")));
        return match found {
            None if !is_known => Err(ambiguous(operator, tables, Some(wanted))),
            found => Ok(found),
        };
    }
    let keyed: Vec<&TableManifest> = tables.iter().filter(|t| t.scope == Scope::Keyed).collect();
    match keyed.as_slice() {
        [one] => Ok(Some(one)),
        [] => Ok(tables.first()),
        _ => Err(ambiguous(operator, tables, None)),
    }
}

fn ambiguous(operator: &OperatorManifest, tables: &[TableManifest], wanted: Option<&str>) -> Error {
    let names: Vec<&str> = tables.iter().map(|t| t.name.as_str()).collect();
    let names = match names.as_slice() {
        [] => "it has none at present".to_string(),
        names => format!("it has {}", names.join(", ")),
    };
    match wanted {
        Some(wanted) => Error::user(
            "UNKNOWN_TABLE",
            format!("{} has no table '{wanted}'; {names}", operator.name),
        ),
        None => Error::user(
            "AMBIGUOUS_TABLE",
            format!(
                "{} has several tables: write STATE OF … OPERATOR '…' TABLE '…'; {names}",
                operator.name
            ),
        ),
    }
}

fn stored_rows(
    found: &Found,
    operator: &OperatorManifest,
    table: &TableManifest,
) -> Result<StateRows> {
    let mut checkpoint = Checkpoint::load(&found.manifest, &found.place);
    let loaded = checkpoint
        .operators
        .remove(&operator.uid)
        .unwrap_or_default();
    let mut rows = StateRows::default();
    for subtask in &loaded.subtasks {
        let tables = subtask.state.tables.iter().filter(|t| t.name == table.name);
        for table in tables {
            rows.append(table.rows()?.clone());
        }
    }
    Ok(rows)
}

type Columns = Vec<(Column, Cell)>;

/// The operator's columns that a table holds, and how they are called there.
fn kept<'a>(
    operator: &'a OperatorManifest,
    table: Option<&str>,
) -> Vec<(&'a ColumnManifest, &'a str)> {
    let prefix = format!("{}.", table.unwrap_or_default());
    let columns = operator.columns.iter();
    let of_side = columns
        .clone()
        .filter_map(|c| Some((c, c.name.strip_prefix(&prefix)?)));
    let of_side: Vec<_> = of_side.collect();
    match of_side.is_empty() {
        true => columns.map(|c| (c, c.name.as_str())).collect(),
        false => of_side,
    }
}

fn empty_columns(operator: &OperatorManifest, table: Option<&str>) -> Result<Columns> {
    let kept = kept(operator, table).into_iter().enumerate();
    let columns = kept.map(|(at, (column, name))| {
        Ok((
            Column::new(name, data_type(&column.data_type)?),
            Cell::Stored(at),
        ))
    });
    columns.collect()
}

fn columns_of(
    operator: &OperatorManifest,
    table: Option<&str>,
    batch: &RecordBatch,
) -> Result<Columns> {
    let names: Vec<String> = {
        let schema = batch.schema();
        schema.fields().iter().map(|f| f.name().clone()).collect()
    };
    let is_aggregate =
        |name: &String| name == "key0" || name == "agg0_0" || name.starts_with("set0.");
    if names.iter().any(is_aggregate) && operator.columns.iter().all(|c| !c.name.is_empty()) {
        return aggregate_columns(operator, &names);
    }
    let kept = kept(operator, table);
    let Some(first) = batch.num_columns().checked_sub(kept.len()) else {
        return stored_columns(&names, batch);
    };
    let mut columns = Vec::with_capacity(kept.len());
    for (at, (column, name)) in kept.into_iter().enumerate() {
        let data_type = data_type(&column.data_type)?;
        if batch.column(first + at).data_type() != &data_type.to_arrow() {
            return stored_columns(&names, batch);
        }
        columns.push((Column::new(name, data_type), Cell::Stored(first + at)));
    }
    Ok(columns)
}

/// Bounds of windows, keys and results of calls.
fn aggregate_columns(operator: &OperatorManifest, names: &[String]) -> Result<Columns> {
    let mut columns = Columns::new();
    let bounds = ["slice_start", "slice_end", "window_start", "window_end"];
    for (at, name) in names.iter().enumerate() {
        if bounds.contains(&name.as_str()) {
            let time = LogicalType::Timestamp(3).nullable();
            columns.push((Column::new(name, time), Cell::Bound(at)));
        }
    }
    let calls = operator.columns.iter().map(Call::of);
    let calls = calls.collect::<Result<Vec<_>>>()?;
    let calls: Vec<Call> = calls.into_iter().flatten().collect();
    let (mut num_keys, mut num_calls) = (0, 0);
    for column in &operator.columns {
        let own = Column::new(&column.name, data_type(&column.data_type)?);
        let cell = match &column.aggregate {
            None => {
                let wanted = format!("key{num_keys}");
                num_keys += 1;
                names.iter().position(|n| *n == wanted).map(Cell::Stored)
            }
            Some(_) => {
                let states = states_of(num_calls, &calls, names);
                num_calls += 1;
                states.map(|states| Cell::Result(Box::new(states)))
            }
        };
        let lacks = || Error::internal(format!("the state lacks {}", column.name));
        columns.push((own, cell.ok_or_else(lacks)?));
    }
    Ok(columns)
}

/// What is stored, as far as SQL has a type for it, else as text.
fn stored_columns(names: &[String], batch: &RecordBatch) -> Result<Columns> {
    let columns = names.iter().zip(batch.columns()).enumerate();
    let columns = columns.map(|(at, (name, array))| {
        let logical = match array.data_type() {
            ArrowType::Boolean => LogicalType::Boolean,
            ArrowType::Int8 => LogicalType::TinyInt,
            ArrowType::Int16 => LogicalType::SmallInt,
            ArrowType::UInt16 | ArrowType::Int32 => LogicalType::Int,
            ArrowType::UInt32 | ArrowType::Int64 => LogicalType::BigInt,
            ArrowType::Float32 => LogicalType::Float,
            ArrowType::Float64 => LogicalType::Double,
            ArrowType::Utf8View => LogicalType::STRING,
            _ => {
                let text = LogicalType::STRING.nullable();
                return (Column::new(name, text), Cell::Text(at));
            }
        };
        (Column::new(name, logical.nullable()), Cell::Stored(at))
    });
    Ok(columns.collect())
}

/// A name that is there already gets a number, as in Flink.
fn with_own_names(columns: Vec<Column>) -> Schema {
    let mut taken = BTreeSet::new();
    let named = columns.into_iter().map(|column| {
        let mut name = column.name.clone();
        let mut number = 0;
        while !taken.insert(name.clone()) {
            name = format!("{}{number}", column.name);
            number += 1;
        }
        Column { name, ..column }
    });
    named.collect()
}
