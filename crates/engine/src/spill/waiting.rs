//! Rows that wait for the state of their partition: the newest in memory, the others in files.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt8Array, UInt16Array};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema, SchemaRef, UInt8Type};
use arrow::record_batch::RecordBatchOptions;

use flott_core::changelog::{ChangelogBatch, RowKind};
use flott_core::operator::{RowsReader, StateRows, StoredRows};
use flott_core::{Error, Result};

use super::files::{FileWriter, SpillFolder, SpillRows, row_bytes, without_slack};
use super::split::{Owners, key_groups};

/// So many small batches in a row are made one.
const MAX_SMALL_BATCHES: usize = 32;
/// A batch of so many rows is not small.
const SMALL_ROWS: usize = 1 << 12;
/// What a batch takes beside its rows, about.
const BATCH_BYTES: usize = 1 << 10;

/// What rows of one entry have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrival {
    pub input: usize,
    /// The watermark before the first of them.
    pub watermark: i64,
    /// Rises with each snapshot: what came later in time.
    pub sequence: i64,
}

/// The rows of one partition that wait, each with its key group and kind before its own columns, in
/// the order in which they came.
#[derive(Default)]
pub(super) struct Waiting {
    entries: VecDeque<Entry>,
    memory_bytes: usize,
    /// Rows have been taken away, or divided, since the last snapshot.
    pub is_changed: bool,
}

struct Entry {
    arrival: Arrival,
    rows: EntryRows,
    /// Whether a snapshot has said that they are there.
    is_told: bool,
}

enum EntryRows {
    Memory {
        batches: VecDeque<RecordBatch>,
        num_small: usize,
    },
    Stored(SpillRows),
}

impl Waiting {
    /// Adds rows in the form of [`waiting_rows`]. Rows of one input go together unless their
    /// watermark or sequence is another; `joins` says that watermarks do not matter.
    pub fn push(&mut self, arrival: Arrival, rows: RecordBatch, joins: bool) -> Result<()> {
        let is_same = |e: &&mut Entry| {
            let a = e.arrival;
            let is_same = (a.input, a.sequence) == (arrival.input, arrival.sequence);
            is_same && !e.is_told && (joins || a.watermark == arrival.watermark)
        };
        // Rows of two inputs have no order among themselves.
        let last = self.entries.iter_mut().rev().take(2).find(is_same);
        self.memory_bytes += row_bytes(&rows) + BATCH_BYTES;
        if let Some(entry) = last
            && let EntryRows::Memory { batches, num_small } = &mut entry.rows
        {
            *num_small = match rows.num_rows() < SMALL_ROWS {
                true => *num_small + 1,
                false => 0,
            };
            batches.push_back(rows);
            if *num_small == MAX_SMALL_BATCHES {
                *num_small = 0;
                let small = batches.split_off(batches.len() - MAX_SMALL_BATCHES);
                batches.push_back(one_batch(small)?);
                self.memory_bytes = self
                    .memory_bytes
                    .saturating_sub(BATCH_BYTES * (MAX_SMALL_BATCHES - 1));
            }
            return Ok(());
        }
        let rows = EntryRows::Memory {
            batches: [rows].into(),
            num_small: 1,
        };
        self.entries.push_back(Entry {
            arrival,
            rows,
            is_told: false,
        });
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Of rows in memory.
    pub fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    pub fn file_bytes(&self) -> usize {
        let entries = self.entries.iter();
        let sizes = entries.map(|e| match &e.rows {
            EntryRows::Stored(rows) => rows.size_bytes(),
            EntryRows::Memory { .. } => 0,
        });
        sizes.sum()
    }

    pub fn num_rows(&self) -> usize {
        let entries = self.entries.iter();
        let counts = entries.map(|e| match &e.rows {
            EntryRows::Stored(rows) => rows.num_rows(),
            EntryRows::Memory { batches, .. } => batches.iter().map(|b| b.num_rows()).sum(),
        });
        counts.sum()
    }

    /// The watermark before the first row.
    pub fn first_watermark(&self) -> Option<i64> {
        self.entries.front().map(|e| e.arrival.watermark)
    }

    /// Takes the first rows away.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub fn take_first(&mut self) -> Result<Option<(Arrival, ChangelogBatch)>> {
        self.is_changed = true;
        while let Some(entry) = self.entries.front_mut() {
            let (batch, is_empty) = match &mut entry.rows {
                EntryRows::Memory { batches, num_small } => {
                    *num_small = 0;
                    (batches.pop_front(), batches.is_empty())
                }
                EntryRows::Stored(rows) => (rows.take_first()?, rows.is_empty()),
            };
            let arrival = entry.arrival;
            if let (Some(batch), EntryRows::Memory { .. }) = (&batch, &entry.rows) {
                let bytes = row_bytes(batch) + BATCH_BYTES;
                self.memory_bytes = self.memory_bytes.saturating_sub(bytes);
            }
            if is_empty {
                self.entries.pop_front();
            }
            if self.entries.is_empty() {
                self.memory_bytes = 0;
            }
            if let Some(batch) = batch {
                return Ok(Some((arrival, arrived_rows(&batch)?)));
            }
        }
        Ok(None)
    }

    /// Moves the rows in memory into files, one for each input.
    ///
    /// # Errors
    /// A disk that is full or refuses.
    pub fn flush(&mut self, folder: &Arc<SpillFolder>) -> Result<()> {
        let inputs = self.entries.iter().map(|e| e.arrival.input + 1).max();
        for input in 0..inputs.unwrap_or(0) {
            let mut writer: Option<FileWriter> = None;
            let mut written = Vec::new();
            for (at, entry) in self.entries.iter().enumerate() {
                let EntryRows::Memory { batches, .. } = &entry.rows else {
                    continue;
                };
                if entry.arrival.input != input || batches.is_empty() {
                    continue;
                }
                let rows = one_batch(batches.clone())?;
                let writer = match &mut writer {
                    Some(writer) => writer,
                    none => none.insert(FileWriter::create(folder, rows.schema_ref())?),
                };
                writer.write(&rows)?;
                writer.end_part();
                written.push(at);
            }
            let parts = writer.map_or(Ok(Vec::new()), FileWriter::finish)?;
            for (at, part) in written.into_iter().zip(parts) {
                self.entries[at].rows = EntryRows::Stored(part);
            }
        }
        self.memory_bytes = 0;
        Ok(())
    }

    /// Puts rows that came back from a snapshot, in no order, into the order in which they came.
    pub fn sort(&mut self) {
        let key = |e: &Entry| (e.arrival.watermark, e.arrival.sequence);
        self.entries.make_contiguous().sort_by_key(key);
        self.entries.iter_mut().for_each(|e| e.is_told = true);
    }

    /// Divides the rows among partitions.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub fn split(self, owners: &Owners, into: &mut [&mut Waiting]) -> Result<()> {
        for entry in self.entries {
            let mut rows = StateRows::default();
            match entry.rows {
                EntryRows::Memory { batches, .. } => batches.into_iter().for_each(|b| rows.push(b)),
                EntryRows::Stored(stored) => rows.push_stored(Arc::new(stored)),
            }
            for batch in rows.read() {
                let batch = batch?;
                let (order, parts) = owners.sort(key_groups(&batch)?)?;
                let sorted = arrow::compute::take_record_batch(&batch, &order)?;
                for (at, rows) in parts {
                    let part = sorted.slice(rows.start, rows.len());
                    into[at].push(entry.arrival, part, false)?;
                }
            }
        }
        for waiting in into {
            waiting.is_changed = true;
        }
        Ok(())
    }

    /// The rows that a snapshot has to say, by input: all, or those that it has not said yet. They
    /// count as said from now on.
    pub fn tell(&mut self, all: bool) -> Vec<(usize, StateRows)> {
        self.is_changed = false;
        let untold = self.entries.iter_mut().filter(|e| all || !e.is_told);
        let told = untold.map(|entry| {
            entry.is_told = true;
            let mut rows = StateRows::default();
            match &entry.rows {
                EntryRows::Memory { batches, .. } => {
                    batches.iter().for_each(|b| rows.push(b.clone()))
                }
                EntryRows::Stored(stored) => rows.push_stored(Arc::new(stored.clone())),
            }
            let arrival = entry.arrival;
            let rows: Arc<dyn StoredRows> = Arc::new(ToldRows { rows, arrival });
            (arrival.input, rows.into())
        });
        told.collect()
    }
}

/// Rows with their arrival, which the rows that wait do not have in each row.
#[derive(Debug)]
struct ToldRows {
    rows: StateRows,
    arrival: Arrival,
}

impl StoredRows for ToldRows {
    fn num_rows(&self) -> usize {
        self.rows.num_rows()
    }

    fn size_bytes(&self) -> usize {
        self.rows.size_bytes()
    }

    fn read(&self, key_groups: Option<&Range<usize>>) -> Result<RowsReader<'_>> {
        let batches = self.rows.read_groups(key_groups.cloned());
        Ok(Box::new(batches.map(|b| with_arrival(&b?, self.arrival))))
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

const KEY_GROUP: &str = "$key_group";
const KIND: &str = "$kind";
const WATERMARK: &str = "$watermark";
const SEQUENCE: &str = "$sequence";
/// Where the columns of the arrival stand.
const ARRIVAL: Range<usize> = 2..4;

/// These batches as one, which keeps nothing else alive.
fn one_batch(batches: VecDeque<RecordBatch>) -> Result<RecordBatch> {
    let Some(first) = batches.front() else {
        return Err(Error::internal("no rows to put together"));
    };
    if batches.len() == 1 {
        return without_slack(first);
    }
    without_slack(&concat_batches(first.schema_ref(), &batches)?)
}

fn batch_of(fields: Vec<FieldRef>, columns: Vec<ArrayRef>, num_rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(num_rows));
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new_with_options(schema, columns, &options);
    Ok(batch?)
}

/// Rows with their key groups and kinds, to wait.
pub(super) fn waiting_rows(batch: &ChangelogBatch, key_groups: Vec<u16>) -> Result<RecordBatch> {
    let rows = batch.rows();
    let kinds = match batch.kinds() {
        Some(kinds) => UInt8Array::new(kinds.clone(), None),
        None => UInt8Array::from_value(RowKind::Insert as u8, rows.num_rows()),
    };
    let mut columns: Vec<ArrayRef> = vec![Arc::new(UInt16Array::from(key_groups)), Arc::new(kinds)];
    columns.extend(rows.columns().iter().cloned());
    let mut fields = vec![
        Arc::new(Field::new(KEY_GROUP, DataType::UInt16, true)),
        Arc::new(Field::new(KIND, DataType::UInt8, true)),
    ];
    fields.extend(rows.schema().fields().iter().cloned());
    batch_of(fields, columns, rows.num_rows())
}

/// The rows again that [`waiting_rows`] was given.
fn arrived_rows(waiting: &RecordBatch) -> Result<ChangelogBatch> {
    let kinds = waiting.columns().get(1);
    let Some(kinds) = kinds.and_then(|c| c.as_primitive_opt::<UInt8Type>()) else {
        return Err(Error::internal("waiting rows without their kinds"));
    };
    let is_insert_only = kinds.values().iter().all(|&k| k == RowKind::Insert as u8);
    let kinds = (!is_insert_only).then(|| kinds.values().clone());
    let fields = waiting.schema().fields()[2..].to_vec();
    let columns = waiting.columns()[2..].to_vec();
    let rows = batch_of(fields, columns, waiting.num_rows())?;
    Ok(ChangelogBatch::new(rows, kinds))
}

fn with_arrival(waiting: &RecordBatch, arrival: Arrival) -> Result<RecordBatch> {
    let (_, mut columns, num_rows) = waiting.clone().into_parts();
    let mut fields = waiting.schema().fields().to_vec();
    let added = [(WATERMARK, arrival.watermark), (SEQUENCE, arrival.sequence)];
    for (at, (name, value)) in ARRIVAL.zip(added) {
        columns.insert(at, Arc::new(Int64Array::from_value(value, num_rows)));
        fields.insert(at, Arc::new(Field::new(name, DataType::Int64, true)));
    }
    batch_of(fields, columns, num_rows)
}

/// The rows of a snapshot in the form of [`waiting_rows`], by arrival.
pub(super) fn told_rows(input: usize, told: &RecordBatch) -> Result<Vec<(Arrival, RecordBatch)>> {
    let (_, mut columns, num_rows) = told.clone().into_parts();
    let mut fields = told.schema().fields().to_vec();
    let arrivals: Vec<ArrayRef> = columns.drain(ARRIVAL).collect();
    fields.drain(ARRIVAL);
    let rows = batch_of(fields, columns, num_rows)?;
    let [Some(watermarks), Some(sequences)] =
        [&arrivals[0], &arrivals[1]].map(|c| c.as_primitive_opt::<Int64Type>())
    else {
        return Err(Error::internal("waiting rows without their arrival"));
    };
    let arrival = |row: usize| Arrival {
        input,
        watermark: watermarks.value(row),
        sequence: sequences.value(row),
    };
    let mut runs = Vec::new();
    let mut start = 0;
    while start < num_rows {
        let first = arrival(start);
        let rest = start..num_rows;
        let end = rest.clone().find(|&row| arrival(row) != first);
        let end = end.unwrap_or(num_rows);
        runs.push((first, rows.slice(start, end - start)));
        start = end;
    }
    Ok(runs)
}
