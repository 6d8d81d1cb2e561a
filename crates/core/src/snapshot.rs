//! What an operator hands over at a checkpoint: named tables, whole or as changes.
//!
//! Whoever keeps snapshots keeps the *chain*: the last whole rows of a table and the changes since
//! (`flott_state::chain`). An operator that is restored sees whole rows only.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use crate::error::{Error, Result};

/// The state of one subtask at a checkpoint.
///
/// Every table of the operator that has rows is in each of its snapshots, changed or not: a table
/// that is left out is empty.
#[derive(Debug, Clone, Default)]
pub struct StateSnapshot {
    pub tables: Vec<StateTable>,
}

/// One named piece of state as rows: self-describing through its Arrow schema.
#[derive(Debug, Clone)]
pub struct StateTable {
    /// Unique inside the operator: `groups`, `left`, `timers` …
    pub name: String,
    pub scope: StateScope,
    pub content: StateContent,
}

/// How a state table is divided when the parallelism changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateScope {
    /// The first column is the row's key group (`UInt16`); a subtask gets the rows of its groups.
    Keyed,
    /// The rows are dealt out among the subtasks.
    Split,
    /// Every subtask gets all rows of all subtasks.
    Union,
}

/// The rows of a table, or how they have changed.
#[derive(Debug, Clone)]
pub enum StateContent {
    /// All rows; they replace what earlier snapshots held.
    Full(StateRows),
    /// What has changed since the same instance's last snapshot, or its restore, or its beginning.
    /// Only for [`StateScope::Keyed`].
    Delta {
        /// The first so many columns (the key group is one of them) identify a row; 0 when no key
        /// is in `deletes` and all upserts are new rows.
        key_columns: usize,
        /// Key groups of which everything said before is gone; that applies first.
        replaced_groups: Vec<Range<usize>>,
        /// New and changed rows, each key once.
        upserts: StateRows,
        /// The keys of removed rows: only the key columns. They apply before the upserts; a key
        /// that was never there may be among them.
        deletes: StateRows,
    },
}

/// Rows as batches of one schema, some of which may still lie elsewhere.
#[derive(Debug, Clone, Default)]
pub struct StateRows {
    parts: Vec<StatePart>,
}

/// One part of [`StateRows`].
#[derive(Debug, Clone)]
pub enum StatePart {
    Batch(RecordBatch),
    /// Read when it is needed.
    Stored(Arc<dyn StoredRows>),
}

/// An iterator over batches.
pub type RowsReader<'a> = Box<dyn Iterator<Item = Result<RecordBatch>> + Send + 'a>;

/// An iterator over batches that may be packed.
pub type PackedReader<'a> = Box<dyn Iterator<Item = Result<StateBatch>> + Send + 'a>;

/// Rows of a table: in columns, or packed, each in one piece as its operator keeps it
/// (`flott_state::rows`). Either way the first columns are those that say which row it is.
#[derive(Debug, Clone)]
pub struct StateBatch {
    /// Of packed rows the columns before the row's own, then its bytes (`BinaryView`).
    pub rows: RecordBatch,
    /// Of packed rows: the table's columns.
    pub packed: Option<SchemaRef>,
}

impl From<RecordBatch> for StateBatch {
    fn from(rows: RecordBatch) -> Self {
        Self { rows, packed: None }
    }
}

/// Rows that are read from where they lie, as often as asked. They do not change.
pub trait StoredRows: fmt::Debug + Send + Sync {
    /// How many rows there are, or somewhat more than there are.
    fn num_rows(&self) -> usize;

    /// About how many bytes they have.
    fn size_bytes(&self) -> usize;

    /// The rows; those of other key groups than `key_groups` may be left out.
    ///
    /// # Errors
    /// They cannot be opened; the reader's items say that they cannot be read.
    fn read(&self, key_groups: Option<&Range<usize>>) -> Result<RowsReader<'_>>;

    /// As [`StoredRows::read`]; rows that are packed come as they are.
    ///
    /// # Errors
    /// As [`StoredRows::read`].
    fn read_packed(&self, key_groups: Option<&Range<usize>>) -> Result<PackedReader<'_>> {
        let batches = self.read(key_groups)?;
        Ok(Box::new(batches.map(|batch| batch.map(StateBatch::from))))
    }

    /// They will be read next: who has them far away may begin to fetch them.
    fn prepare(&self, _key_groups: Option<&Range<usize>>) {}

    /// Whether nothing was said of these rows in earlier snapshots, except of such that are gone or
    /// replaced: who reads a chain need not remember them.
    fn are_new(&self) -> bool {
        false
    }

    /// Whether each row is known by a number of its own, so that hardly any is said twice.
    fn numbers_rows(&self) -> bool {
        false
    }

    /// Whether memory of the operator is held on to until these are dropped: who keeps them for
    /// long should keep a copy.
    fn pins_memory(&self) -> bool {
        false
    }

    /// For a keeper that knows its own kind of rows, such as files that need no copy.
    fn as_any(&self) -> &dyn std::any::Any;
}

impl StateRows {
    pub fn push(&mut self, batch: RecordBatch) {
        if batch.num_rows() > 0 {
            self.parts.push(StatePart::Batch(batch));
        }
    }

    pub fn push_stored(&mut self, rows: Arc<dyn StoredRows>) {
        self.parts.push(StatePart::Stored(rows));
    }

    pub fn append(&mut self, other: Self) {
        self.parts.extend(other.parts);
    }

    pub fn parts(&self) -> &[StatePart] {
        &self.parts
    }

    /// How many rows there are, or somewhat more than there are.
    pub fn num_rows(&self) -> usize {
        let parts = self.parts.iter();
        let num_rows = parts.map(|part| match part {
            StatePart::Batch(batch) => batch.num_rows(),
            StatePart::Stored(rows) => rows.num_rows(),
        });
        num_rows.sum()
    }

    /// About how many bytes they have.
    pub fn size_bytes(&self) -> usize {
        let parts = self.parts.iter();
        let sizes = parts.map(|part| match part {
            StatePart::Batch(batch) => batch.get_array_memory_size(),
            StatePart::Stored(rows) => rows.size_bytes(),
        });
        sizes.sum()
    }

    pub fn is_empty(&self) -> bool {
        self.num_rows() == 0
    }

    /// Puts a copy in the place of rows that pin an operator's memory.
    ///
    /// # Errors
    /// Rows that cannot be read.
    pub fn unpin(&mut self) -> Result<()> {
        for part in std::mem::take(&mut self.parts) {
            match part {
                StatePart::Stored(rows) if rows.pins_memory() => {
                    for batch in rows.read(None)? {
                        self.push(batch?);
                    }
                }
                part => self.parts.push(part),
            }
        }
        Ok(())
    }

    /// The rows, batch by batch.
    pub fn read(&self) -> RowsReader<'_> {
        self.read_groups(None)
    }

    /// The rows; those of other key groups than `key_groups` may be left out.
    pub fn read_groups(&self, key_groups: Option<Range<usize>>) -> RowsReader<'_> {
        let parts = self.parts.iter();
        Box::new(parts.flat_map(move |part| -> RowsReader<'_> {
            match part {
                StatePart::Batch(batch) => Box::new(std::iter::once(Ok(batch.clone()))),
                StatePart::Stored(rows) => match rows.read(key_groups.as_ref()) {
                    Ok(reader) => reader,
                    Err(error) => Box::new(std::iter::once(Err(error))),
                },
            }
        }))
    }
}

impl StateRows {
    /// As [`StateRows::read_groups`]; rows that are packed come as they are.
    pub fn read_packed_groups(&self, key_groups: Option<Range<usize>>) -> PackedReader<'_> {
        let parts = self.parts.iter();
        Box::new(parts.flat_map(move |part| part.read_packed(key_groups.as_ref())))
    }
}

impl StatePart {
    /// The rows, which may be packed; those of other key groups may be left out.
    pub fn read_packed(&self, key_groups: Option<&Range<usize>>) -> PackedReader<'_> {
        match self {
            Self::Batch(batch) => Box::new(std::iter::once(Ok(batch.clone().into()))),
            Self::Stored(rows) => match rows.read_packed(key_groups) {
                Ok(reader) => reader,
                Err(error) => Box::new(std::iter::once(Err(error))),
            },
        }
    }

    /// Whether all of its rows are new; see [`StoredRows::are_new`].
    pub fn is_new(&self) -> bool {
        match self {
            Self::Batch(_) => false,
            Self::Stored(rows) => rows.are_new(),
        }
    }
}

impl StoredRows for StateRows {
    fn num_rows(&self) -> usize {
        self.num_rows()
    }

    fn size_bytes(&self) -> usize {
        self.size_bytes()
    }

    fn read(&self, key_groups: Option<&Range<usize>>) -> Result<RowsReader<'_>> {
        Ok(self.read_groups(key_groups.cloned()))
    }

    fn read_packed(&self, key_groups: Option<&Range<usize>>) -> Result<PackedReader<'_>> {
        Ok(self.read_packed_groups(key_groups.cloned()))
    }

    fn are_new(&self) -> bool {
        self.parts.iter().all(StatePart::is_new)
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl From<RecordBatch> for StateRows {
    fn from(batch: RecordBatch) -> Self {
        let mut rows = Self::default();
        rows.push(batch);
        rows
    }
}

impl From<Vec<RecordBatch>> for StateRows {
    fn from(batches: Vec<RecordBatch>) -> Self {
        batches.into_iter().collect()
    }
}

impl From<Arc<dyn StoredRows>> for StateRows {
    fn from(rows: Arc<dyn StoredRows>) -> Self {
        Self {
            parts: vec![StatePart::Stored(rows)],
        }
    }
}

impl FromIterator<RecordBatch> for StateRows {
    fn from_iter<I: IntoIterator<Item = RecordBatch>>(batches: I) -> Self {
        let mut rows = Self::default();
        batches.into_iter().for_each(|batch| rows.push(batch));
        rows
    }
}

impl StateTable {
    /// All rows of a table.
    pub fn full(name: impl Into<String>, scope: StateScope, rows: impl Into<StateRows>) -> Self {
        Self {
            name: name.into(),
            scope,
            content: StateContent::Full(rows.into()),
        }
    }

    /// The changes of a keyed table; see [`StateContent::Delta`].
    pub fn delta(
        name: impl Into<String>,
        key_columns: usize,
        upserts: impl Into<StateRows>,
        deletes: impl Into<StateRows>,
    ) -> Self {
        Self {
            name: name.into(),
            scope: StateScope::Keyed,
            content: StateContent::Delta {
                key_columns,
                replaced_groups: Vec::new(),
                upserts: upserts.into(),
                deletes: deletes.into(),
            },
        }
    }

    /// Whether there are neither rows nor changes.
    pub fn is_empty(&self) -> bool {
        match &self.content {
            StateContent::Full(rows) => rows.is_empty(),
            StateContent::Delta {
                replaced_groups,
                upserts,
                deletes,
                ..
            } => replaced_groups.is_empty() && upserts.is_empty() && deletes.is_empty(),
        }
    }

    /// About how many bytes the rows or changes have.
    pub fn size_bytes(&self) -> usize {
        match &self.content {
            StateContent::Full(rows) => rows.size_bytes(),
            StateContent::Delta {
                upserts, deletes, ..
            } => upserts.size_bytes() + deletes.size_bytes(),
        }
    }

    /// The rows of a whole table.
    ///
    /// # Errors
    /// An internal error for changes, which say nothing without their chain.
    pub fn rows(&self) -> Result<&StateRows> {
        match &self.content {
            StateContent::Full(rows) => Ok(rows),
            StateContent::Delta { .. } => Err(Error::internal(format!(
                "the state table '{}' is a change, not whole rows; restore from its chain",
                self.name
            ))),
        }
    }
}

impl StateSnapshot {
    pub fn is_empty(&self) -> bool {
        self.tables.iter().all(StateTable::is_empty)
    }

    /// About how many bytes the tables have.
    pub fn size_bytes(&self) -> usize {
        self.tables.iter().map(StateTable::size_bytes).sum()
    }

    /// The batches of the whole table of this name; none when it is not in the snapshot. A table
    /// of changes is an error.
    pub fn table(&self, name: &str) -> RowsReader<'_> {
        let Some(table) = self.tables.iter().find(|t| t.name == name) else {
            return Box::new(std::iter::empty());
        };
        match table.rows() {
            Ok(rows) => Box::new(rows.read().filter(has_rows)),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }
}

impl StateSnapshot {
    /// As [`StateSnapshot::table`]; rows that are packed come as they are.
    pub fn packed_table(&self, name: &str) -> PackedReader<'_> {
        let Some(table) = self.tables.iter().find(|t| t.name == name) else {
            return Box::new(std::iter::empty());
        };
        let has_rows =
            |batch: &Result<StateBatch>| batch.as_ref().map_or(true, |b| b.rows.num_rows() > 0);
        match table.rows() {
            Ok(rows) => Box::new(rows.read_packed_groups(None).filter(has_rows)),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }
}

fn has_rows(batch: &Result<RecordBatch>) -> bool {
    batch.as_ref().map_or(true, |b| b.num_rows() > 0)
}
