//! Sources: an enumerator that finds splits, and a reader in each subtask that reads them.
//!
//! A split is a piece of input that one reader reads in order: a range of a file, a partition of a
//! topic, a range of a generator. The enumerator runs once for a job, readers once a subtask. A
//! reader's snapshot is the list of its unfinished splits with their positions; restored with it,
//! the reader goes on at the next row. Readers are polled by the worker's thread and never block:
//! one that waits for I/O returns [`SourcePoll::Pending`] and calls its waker later.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, make_array};
use arrow::buffer::NullBuffer;

use crate::changelog::{ChangelogBatch, ChangelogMode};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::metrics::OperatorMetrics;
use crate::schema::{Column, Schema};
use crate::types::LogicalType;
use crate::watermark::SourceWatermarks;

/// A column or a field inside a row column: `[3]` is column 3, `[3, 0]` the first field of the row
/// in column 3.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldPath(pub Vec<usize>);

impl FieldPath {
    pub fn column(index: usize) -> Self {
        Self(vec![index])
    }
}

/// A literal in a predicate that a source may apply itself.
#[derive(Debug, Clone, PartialEq)]
pub enum PredicateValue {
    Boolean(bool),
    Integer(i64),
    Text(String),
}

/// `field = v1 OR field = v2 …`: the form of filter that is offered to sources.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldPredicate {
    pub field: FieldPath,
    pub values: Vec<PredicateValue>,
}

/// What a query needs from a table.
#[derive(Debug, Clone, Default)]
pub struct ScanRequest {
    /// The fields to produce, in this order; paths lead into the table's source schema (physical
    /// columns, then metadata columns).
    pub fields: Vec<FieldPath>,
    /// Rows that fail one of these may be left out; the query filters again what the source says
    /// it did not apply.
    pub predicates: Vec<FieldPredicate>,
    /// No more rows than this are needed.
    pub limit: Option<u64>,
    /// Records that cannot be read are given as [`crate::dead_letter`]s, in a column more, in
    /// place of failing the job. The limit does not hold then.
    pub dead_letters: bool,
}

/// A table's rows, planned for one query.
pub trait TableSource: Send + Sync {
    /// The columns produced: one for each requested field.
    fn schema(&self) -> Schema;

    fn changelog_mode(&self) -> ChangelogMode {
        ChangelogMode::APPEND
    }

    fn is_bounded(&self) -> bool;

    /// Which of the request's predicates hold for every row produced.
    fn applied_predicates(&self) -> Vec<usize> {
        Vec::new()
    }

    /// The parallelism the source asks for; `None` is the job's.
    fn parallelism(&self) -> Option<usize> {
        None
    }

    /// The same source with watermarks that it makes itself, split by split; `None` where rows of
    /// all splits may as well be looked at together.
    fn with_watermarks(&self, _watermarks: SourceWatermarks) -> Option<Arc<dyn TableSource>> {
        None
    }

    /// For EXPLAIN: what is special about this scan.
    fn describe(&self) -> String {
        String::new()
    }

    /// Finds the splits for `parallelism` readers; `restored` is a former snapshot.
    fn create_enumerator(
        &self,
        parallelism: usize,
        restored: Option<&[u8]>,
    ) -> Result<Box<dyn SplitEnumerator>>;

    fn create_reader(&self, context: ReaderContext) -> Result<Box<dyn SourceReader>>;
}

/// A split, or a split with the position reached in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    pub id: String,
    /// The source's own encoding.
    pub bytes: Vec<u8>,
}

/// What an enumerator answers to a reader that wants work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SplitPoll {
    Split(Split),
    /// Nothing now; ask again at this processing time, in ms.
    PendingUntil(i64),
    /// Nothing is known that has not been handed out; there may be more at this processing time,
    /// in ms.
    NoneUntil(i64),
    /// There will never be more.
    End,
}

/// Finds splits and hands them to readers; runs once for a job.
pub trait SplitEnumerator: Send {
    fn next_split(&mut self, subtask: usize, now_ms: i64) -> Result<SplitPoll>;

    /// What [`TableSource::create_enumerator`] needs to go on: the splits not handed out, and what
    /// has been found so far.
    fn snapshot(&self) -> Result<Vec<u8>>;
}

/// Hands out a table's only split, once.
pub struct OneSplit {
    /// `None` once it has been handed out.
    split: Option<Split>,
}

impl OneSplit {
    /// `restored` as [`TableSource::create_enumerator`] takes it.
    pub fn new(split: Split, restored: Option<&[u8]>) -> Self {
        let is_given = restored == Some(&[1]);
        Self {
            split: (!is_given).then_some(split),
        }
    }
}

impl SplitEnumerator for OneSplit {
    fn next_split(&mut self, _subtask: usize, _now_ms: i64) -> Result<SplitPoll> {
        Ok(self.split.take().map_or(SplitPoll::End, SplitPoll::Split))
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        Ok(vec![u8::from(self.split.is_none())])
    }
}

/// Hands splits from the job's enumerator to a reader.
pub trait SplitProvider: Send + Sync {
    fn next_split(&self, subtask: usize) -> Result<SplitPoll>;
}

/// Wakes the subtask that polls a reader.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// What a reader may use.
#[derive(Clone)]
pub struct ReaderContext {
    pub subtask: usize,
    pub parallelism: usize,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<OperatorMetrics>,
    pub splits: Arc<dyn SplitProvider>,
    pub waker: Waker,
    /// Unfinished splits of a snapshot, to be read before any new one.
    pub restored: Vec<Split>,
    /// The number of rows that a batch should have.
    pub batch_size: usize,
}

/// What a poll of a reader gives.
#[derive(Debug)]
pub enum SourcePoll {
    Batch(ChangelogBatch),
    /// A watermark that the source itself knows, in ms.
    Watermark(i64),
    /// Nothing now; the waker will be called.
    Pending,
    /// Nothing now; poll again at this processing time, in ms.
    PendingUntil(i64),
    /// The reader has no split, and none is known for it: it has no rows by nature, and holds
    /// watermarks back no more until it has some. Poll again at this processing time, in ms.
    IdleUntil(i64),
    /// All splits are read and there will be no more.
    End,
}

/// Reads splits in one subtask.
pub trait SourceReader: Send {
    /// The next rows, at most about [`ReaderContext::batch_size`]; must not block for long.
    fn poll(&mut self) -> Result<SourcePoll>;

    /// The unfinished splits with the positions after the last row that was returned.
    fn snapshot(&mut self) -> Result<Vec<Split>>;

    /// The checkpoint that held the last snapshot is complete: positions may be committed outside.
    fn checkpoint_complete(&mut self, _checkpoint_id: u64) -> Result<()> {
        Ok(())
    }
}

/// The schema of these fields of a table's source schema: a field inside a row is nullable, since
/// the row may be.
///
/// # Errors
/// An internal error for a path that leads nowhere.
pub fn fields_schema(table: &Schema, fields: &[FieldPath]) -> Result<Schema> {
    fields
        .iter()
        .map(|path| field_column(table, path))
        .collect::<Result<Vec<_>>>()
        .map(Schema::new)
}

fn field_column(table: &Schema, path: &FieldPath) -> Result<Column> {
    let nowhere = || Error::internal(format!("no field {:?} in {table}", path.0));
    let (first, rest) = path.0.split_first().ok_or_else(nowhere)?;
    let mut column = table.columns().get(*first).ok_or_else(nowhere)?.clone();
    for index in rest {
        let LogicalType::Row(fields) = &column.data_type.logical else {
            return Err(nowhere());
        };
        let field = fields.get(*index).ok_or_else(nowhere)?.clone();
        column = Column::new(field.name, field.data_type.with_nullable(true));
    }
    Ok(column)
}

/// The column of a field path in whole columns of a table, for sources that cannot read a part of
/// a row: NULL where a row above it is NULL.
///
/// # Errors
/// An internal error for a path that leads nowhere.
pub fn extract_field(columns: &[ArrayRef], path: &FieldPath) -> Result<ArrayRef> {
    let nowhere = || Error::internal(format!("no field {:?}", path.0));
    let (first, rest) = path.0.split_first().ok_or_else(nowhere)?;
    let mut column = columns.get(*first).ok_or_else(nowhere)?.clone();
    for index in rest {
        let row = column.as_struct_opt().ok_or_else(nowhere)?;
        let field = row.columns().get(*index).ok_or_else(nowhere)?.clone();
        column = match row.nulls().filter(|n| n.null_count() > 0) {
            None => field,
            Some(nulls) => {
                let nulls = NullBuffer::union(Some(nulls), field.nulls());
                make_array(field.to_data().into_builder().nulls(nulls).build()?)
            }
        };
    }
    Ok(column)
}
