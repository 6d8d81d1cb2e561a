//! The snapshot of a divided operator: what its partitions say, together.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt16Array, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema};

use flott_core::operator::{StateContent, StateRows, StateScope, StateSnapshot, StateTable};
use flott_core::{Error, Result};

use super::files::SpillFolder;
use super::partition::Partition;

/// Tables that are not keyed, by key group: this and their name.
const SIDE: &str = "$side.";
/// Tables of waiting rows: this and the input's number.
const WAITING: &str = "$waiting.";
/// An instance that has to say everything does so in files when it has more than this: not to need
/// the memory twice.
const SAID_IN_FILES_BYTES: usize = 1 << 20;

/// The input of a table of waiting rows; `None` for another table.
///
/// # Errors
/// A defect: a name without a number.
pub(super) fn waiting_input(name: &str) -> Result<Option<usize>> {
    let Some(number) = name.strip_prefix(WAITING) else {
        return Ok(None);
    };
    let number = number.parse().ok();
    let number = number.ok_or_else(|| Error::internal(format!("no table of waiting rows: {name}")));
    number.map(Some)
}

/// What all partitions say of one table.
struct Union {
    key_columns: usize,
    /// By partition: whether it said something.
    has_said: Vec<bool>,
    replaced: Vec<Range<usize>>,
    upserts: StateRows,
    deletes: StateRows,
}

/// The tables that are not keyed of some key groups: those of partitions that have come equally far.
pub(super) struct SideTables {
    pub groups: Range<usize>,
    pub tables: Vec<StateTable>,
}

/// A table that is not keyed says how far an instance has come, such as the last window that it has
/// sent. Partitions come differently far: the table becomes a keyed one, with its rows for each key
/// group.
fn keyed(table: StateTable, groups: &Range<usize>) -> Result<StateTable> {
    if table.scope == StateScope::Keyed {
        return Ok(table);
    }
    let mut rows = StateRows::default();
    for batch in table.rows()?.read() {
        let batch = batch?;
        let num_rows = batch.num_rows();
        let rows_of_group = (0..num_rows as u32).cycle().take(num_rows * groups.len());
        let repeated = take_record_batch(&batch, &UInt32Array::from_iter_values(rows_of_group))?;
        let of_row = groups
            .clone()
            .flat_map(|g| std::iter::repeat_n(g as u16, num_rows));
        let key_groups: ArrayRef = Arc::new(UInt16Array::from_iter_values(of_row));
        let mut columns = vec![key_groups];
        let mut fields = vec![Arc::new(Field::new("$key_group", DataType::UInt16, true))];
        columns.extend(repeated.columns().iter().cloned());
        fields.extend(repeated.schema().fields().iter().cloned());
        rows.push(RecordBatch::try_new(
            Arc::new(Schema::new(fields)),
            columns,
        )?);
    }
    let name = format!("{SIDE}{}", table.name);
    Ok(StateTable::full(name, StateScope::Keyed, rows))
}

/// Takes the tables that are not keyed out of a snapshot of these key groups; gives them for ranges
/// of key groups in which they are the same.
///
/// # Errors
/// Rows that cannot be read.
pub(super) fn side_tables(
    snapshot: &mut StateSnapshot,
    groups: Range<usize>,
) -> Result<Vec<SideTables>> {
    let (mut by_group, mut whole) = (BTreeMap::new(), Vec::new());
    for table in std::mem::take(&mut snapshot.tables) {
        if let Some(name) = table.name.strip_prefix(SIDE) {
            rows_by_group(name, &table, &mut by_group)?;
        } else if table.scope == StateScope::Keyed {
            snapshot.tables.push(table);
        } else {
            whole.push(table);
        }
    }
    let mut sides: Vec<(Range<usize>, Vec<(String, RecordBatch)>)> = Vec::new();
    for group in groups {
        let rows = by_group.remove(&group).unwrap_or_default();
        match sides.last_mut() {
            Some((groups, last)) if *last == rows => groups.end = group + 1,
            _ => sides.push((group..group + 1, rows)),
        }
    }
    let sides = sides.into_iter().map(|(groups, rows)| {
        let rows = rows.into_iter();
        let tables = rows.map(|(name, rows)| StateTable::full(name, StateScope::Union, rows));
        let mut tables: Vec<StateTable> = tables.collect();
        if tables.is_empty() {
            tables.clone_from(&whole);
        }
        SideTables { groups, tables }
    });
    Ok(sides.collect())
}

/// Adds the rows of one table of the form that [`keyed`] makes.
fn rows_by_group(
    name: &str,
    table: &StateTable,
    by_group: &mut BTreeMap<usize, Vec<(String, RecordBatch)>>,
) -> Result<()> {
    for batch in table.rows()?.read() {
        let batch = batch?;
        let groups = super::split::key_groups(&batch)?.to_vec();
        let columns: Vec<usize> = (1..batch.num_columns()).collect();
        let rows = batch.project(&columns)?;
        for (row, group) in groups.into_iter().enumerate() {
            let of_group: &mut Vec<(String, RecordBatch)> =
                by_group.entry(usize::from(group)).or_default();
            let row = rows.slice(row, 1);
            match of_group.last_mut() {
                Some((last, rows)) if last == name => {
                    *rows = concat_batches(rows.schema_ref(), [&*rows, &row])?;
                }
                _ => of_group.push((name.to_owned(), row)),
            }
        }
    }
    Ok(())
}

/// What a host has said so far.
#[derive(Debug, Default)]
pub(super) struct Reported {
    /// The number of key columns in changes of each keyed table, by name; 0 if not known yet.
    key_columns: BTreeMap<String, usize>,
    num_inputs_waited: usize,
}

impl Reported {
    /// A keyed table, which is in every snapshot from now on, changed or not.
    pub fn know(&mut self, table: &str) {
        if !self.key_columns.contains_key(table) {
            self.key_columns.insert(table.to_owned(), 0);
        }
    }

    /// Some rows of this input have waited.
    pub fn know_waiting(&mut self, input: usize) {
        self.num_inputs_waited = self.num_inputs_waited.max(input + 1);
    }

    /// What has changed since the last report; everything when `is_all`.
    ///
    /// # Errors
    /// What instances report, and a disk that is full or refuses.
    pub fn report(
        &mut self,
        partitions: &mut [Partition],
        is_all: bool,
        folder: Option<&Arc<SpillFolder>>,
    ) -> Result<StateSnapshot> {
        let count = partitions.len();
        let mut tables: BTreeMap<String, Union> = BTreeMap::new();
        let mut tells_all = Vec::with_capacity(count);
        for (at, partition) in partitions.iter_mut().enumerate() {
            let (said, is_whole) = say(partition, folder)?;
            tells_all.push(is_whole);
            for table in said.tables {
                let table = keyed(table, &partition.groups)?;
                let union = tables
                    .entry(table.name)
                    .or_insert_with(|| Union::new(count));
                union.has_said[at] = true;
                union.add(table.content, partition);
            }
        }
        for name in self.key_columns.keys() {
            if !tables.contains_key(name) {
                tables.insert(name.clone(), Union::new(count));
            }
        }
        let mut snapshot = StateSnapshot::default();
        for (name, mut union) in tables {
            // A table that a partition left out is empty there.
            let left_out = (0..count).filter(|&at| tells_all[at] && !union.has_said[at]);
            let left_out: Vec<_> = left_out.map(|at| partitions[at].groups.clone()).collect();
            union.replaced.extend(left_out);
            let known = self.key_columns.entry(name.clone()).or_default();
            *known = union.key_columns.max(*known);
            snapshot.tables.push(union.table(name, is_all));
        }
        snapshot.tables.extend(self.waiting(partitions, is_all));
        for partition in partitions {
            partition.is_unreported = false;
            partition.reports_all = false;
        }
        Ok(snapshot)
    }

    /// The rows that wait: what has come, and anew where some were taken away.
    fn waiting(&mut self, partitions: &mut [Partition], is_all: bool) -> Vec<StateTable> {
        let count = self.num_inputs_waited;
        let mut inputs = vec![StateRows::default(); count];
        let mut replaced = Vec::new();
        for partition in partitions {
            let is_new = is_all || partition.waiting.is_changed;
            if is_new {
                replaced.push(partition.groups.clone());
            }
            for (input, rows) in partition.waiting.tell(is_new) {
                inputs[input].append(rows);
            }
        }
        let tables = inputs.into_iter().enumerate().map(|(input, rows)| {
            let name = format!("{WAITING}{input}");
            if is_all {
                return StateTable::full(name, StateScope::Keyed, rows);
            }
            StateTable {
                name,
                scope: StateScope::Keyed,
                content: StateContent::Delta {
                    key_columns: 0,
                    replaced_groups: replaced.clone(),
                    upserts: rows,
                    deletes: StateRows::default(),
                },
            }
        });
        tables.collect()
    }
}

/// What a partition says, and whether what it leaves out is empty (rather than unchanged).
fn say(
    partition: &mut Partition,
    folder: Option<&Arc<SpillFolder>>,
) -> Result<(StateSnapshot, bool)> {
    if partition.is_loaded() && partition.reports_all {
        match folder {
            Some(folder) if partition.state_bytes() > SAID_IN_FILES_BYTES => {
                partition.store(folder)?;
            }
            _ => {
                let operator = partition.instance()?;
                operator.restart_snapshots();
                return Ok((operator.snapshot()?, true));
            }
        }
    }
    if partition.is_loaded() && partition.stored.is_none() {
        return Ok((partition.instance()?.snapshot()?, true));
    }
    let Some(stored) = &partition.stored else {
        // Never used, or at its end.
        return Ok((StateSnapshot::default(), partition.is_unreported));
    };
    if partition.is_unreported {
        return Ok((stored.snapshot.clone(), true));
    }
    // Tables that are not keyed are whole in every snapshot.
    let tables = stored.snapshot.tables.iter();
    let tables = tables.filter(|t| t.scope != StateScope::Keyed).cloned();
    let tables = tables.collect();
    Ok((StateSnapshot { tables }, false))
}

impl Union {
    fn new(count: usize) -> Self {
        Self {
            key_columns: 0,
            has_said: vec![false; count],
            replaced: Vec::new(),
            upserts: StateRows::default(),
            deletes: StateRows::default(),
        }
    }

    fn add(&mut self, content: StateContent, partition: &Partition) {
        match content {
            StateContent::Full(rows) => {
                self.replaced.push(partition.groups.clone());
                self.upserts.append(rows);
            }
            StateContent::Delta {
                key_columns,
                replaced_groups,
                upserts,
                deletes,
            } => {
                self.key_columns = self.key_columns.max(key_columns);
                if partition.reports_all {
                    // Everything, as new.
                    self.replaced.push(partition.groups.clone());
                } else {
                    self.replaced.extend(replaced_groups);
                    self.deletes.append(deletes);
                }
                self.upserts.append(upserts);
            }
        }
    }

    fn table(self, name: String, is_all: bool) -> StateTable {
        if is_all {
            return StateTable::full(name, StateScope::Keyed, self.upserts);
        }
        StateTable {
            name,
            scope: StateScope::Keyed,
            content: StateContent::Delta {
                key_columns: self.key_columns,
                replaced_groups: self.replaced,
                upserts: self.upserts,
                deletes: self.deletes,
            },
        }
    }
}
