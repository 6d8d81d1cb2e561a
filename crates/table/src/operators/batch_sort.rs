//! Sorting the whole of an input when it ends: runs of as many rows as fit into memory, in files,
//! merged in the end (Knuth, The Art of Computer Programming 3, 5.4).

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, UInt32Array};
use arrow::compute::{concat_batches, interleave_record_batch, take_record_batch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow::row::Rows;
use flott_core::changelog::ChangelogBatch;
use flott_core::operator::{
    Operator, OperatorContext, OperatorFactory, OperatorHost, Output, RowsReader, StateRows,
    StateScope, StateSnapshot, StateTable,
};
use flott_core::{Error, Result};

use super::evaluate::batch_of;
use super::sort_key::{SortKey, SortKeyEncoder};

/// Rows of a batch that is sent.
const PIECE_ROWS: usize = 8_192;
/// Rows of a batch in a run: of each run that is merged one batch is in memory.
const RUN_PIECE_ROWS: usize = 1_024;
/// So many runs of a level are merged into one of the next.
const MAX_RUNS: usize = 64;
/// Rows behind a limit are dropped when there are so many at least.
const LEAST_ROWS_DROPPED: usize = 1 << 16;

/// Sorts the whole of an insert-only input when it ends, equal rows in order of arrival; runs in one
/// subtask. What does not fit into memory goes to files.
#[derive(Debug, Clone)]
pub struct BatchSortConfig {
    pub order: Vec<SortKey>,
    pub offset: u64,
    /// `None` is all.
    pub limit: Option<u64>,
    pub schema: SchemaRef,
}

impl OperatorFactory for BatchSortConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let offset = count(self.offset);
        Ok(Box::new(BatchSort {
            encoder: SortKeyEncoder::new(&self.schema, &self.order)?,
            offset,
            end: self
                .limit
                .map_or(usize::MAX, |l| offset.saturating_add(count(l))),
            schema: self.schema.clone(),
            batches: Vec::new(),
            num_rows: 0,
            num_bytes: 0,
            runs: Vec::new(),
            host: OperatorHost::default(),
        }))
    }
}

struct BatchSort {
    encoder: SortKeyEncoder,
    /// The first row of the result, and the first behind it.
    offset: usize,
    end: usize,
    schema: SchemaRef,
    /// What is in memory.
    batches: Vec<RecordBatch>,
    num_rows: usize,
    num_bytes: usize,
    /// Sorted rows in files, by level: those of a higher level came earlier.
    runs: Vec<Vec<StateRows>>,
    host: OperatorHost,
}

impl BatchSort {
    fn add(&mut self, rows: &RecordBatch) -> Result<()> {
        let columns = rows.columns().iter().map(own).collect();
        let rows = batch_of(self.schema.clone(), columns, rows.num_rows())?;
        self.num_rows += rows.num_rows();
        self.num_bytes += rows.get_array_memory_size();
        self.batches.push(rows);
        if self.num_rows > self.end.saturating_mul(2).max(LEAST_ROWS_DROPPED) {
            let rows = self.take_sorted()?;
            // The rows that are left hold on to the texts of the others.
            return self.add(&rows);
        }
        match self.host.may_keep(self.num_bytes) {
            true => Ok(()),
            false => self.end_run(),
        }
    }

    /// The rows in memory in order, without those behind the limit.
    fn take_sorted(&mut self) -> Result<RecordBatch> {
        let batches = std::mem::take(&mut self.batches);
        (self.num_rows, self.num_bytes) = (0, 0);
        let rows = concat_batches(&self.schema, &batches)?;
        drop(batches);
        let mut positions: Vec<u32> = (0..rows.num_rows() as u32).collect();
        if let Some(keys) = self.encoder.encode(&rows)? {
            positions.sort_by(|&a, &b| keys.row(a as usize).cmp(&keys.row(b as usize)));
        }
        positions.truncate(self.end);
        Ok(take_record_batch(&rows, &UInt32Array::from(positions))?)
    }

    /// Writes the rows in memory as a run.
    fn end_run(&mut self) -> Result<()> {
        let rows = self.take_sorted()?;
        let run = self.write(Box::new(pieces(rows, RUN_PIECE_ROWS).map(Ok)))?;
        self.push_run(0, run)?;
        self.host.may_keep(0);
        Ok(())
    }

    fn write(&self, rows: RowsReader<'_>) -> Result<StateRows> {
        let overflow = self.host.overflow.as_ref();
        let overflow = overflow.ok_or_else(|| Error::internal("a sort without files"))?;
        overflow.write(rows)
    }

    /// Adds a run; merges the runs of its level when there are many.
    fn push_run(&mut self, level: usize, run: StateRows) -> Result<()> {
        if self.runs.len() <= level {
            self.runs.resize_with(level + 1, Vec::new);
        }
        self.runs[level].push(run);
        if self.runs[level].len() < MAX_RUNS {
            return Ok(());
        }
        let runs = std::mem::take(&mut self.runs[level]);
        let merge = Merge::new(&runs, &self.encoder, self.end, RUN_PIECE_ROWS)?;
        let merged = self.write(Box::new(merge))?;
        self.push_run(level + 1, merged)
    }

    /// All runs in order of arrival, then the rows in memory.
    fn take_runs(&mut self) -> Result<Vec<StateRows>> {
        let rows = self.take_sorted()?;
        let levels = std::mem::take(&mut self.runs).into_iter().rev();
        let mut runs: Vec<StateRows> = levels.flatten().collect();
        runs.push(pieces(rows, RUN_PIECE_ROWS).collect());
        Ok(runs)
    }
}

impl Operator for BatchSort {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        self.host = context.host.clone();
        Ok(())
    }

    fn process(&mut self, _: usize, batch: ChangelogBatch, _: &mut dyn Output) -> Result<()> {
        self.add(batch.rows())
    }

    fn finish(&mut self, out: &mut dyn Output) -> Result<()> {
        if self.runs.is_empty() {
            let rows = self.take_sorted()?;
            let offset = self.offset.min(rows.num_rows());
            emit_in_pieces(&rows.slice(offset, rows.num_rows() - offset), out)?;
        } else {
            let runs = self.take_runs()?;
            let mut skipped = self.offset;
            for rows in Merge::new(&runs, &self.encoder, self.end, PIECE_ROWS)? {
                let rows = rows?;
                let skip = skipped.min(rows.num_rows());
                skipped -= skip;
                let rows = rows.slice(skip, rows.num_rows() - skip);
                out.emit(ChangelogBatch::insert_only(rows))?;
            }
        }
        self.host.may_keep(0);
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.num_bytes
    }

    fn next_event_time(&self) -> Option<i64> {
        None
    }

    fn snapshot(&mut self) -> Result<StateSnapshot> {
        let mut rows = StateRows::default();
        for run in self.runs.iter().rev().flatten() {
            rows.append(run.clone());
        }
        self.batches.iter().for_each(|b| rows.push(b.clone()));
        Ok(StateSnapshot {
            tables: vec![StateTable::full(ROWS, StateScope::Union, rows)],
        })
    }

    fn restore(&mut self, snapshot: StateSnapshot) -> Result<()> {
        snapshot.table(ROWS).try_for_each(|rows| self.add(&rows?))
    }
}

const ROWS: &str = "waiting";

/// A column without what its buffers hold of other rows.
fn own(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_string_view().gc()),
        DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
        _ => column.clone(),
    }
}

fn pieces(rows: RecordBatch, num_rows: usize) -> impl Iterator<Item = RecordBatch> + Send {
    let starts = (0..rows.num_rows()).step_by(num_rows);
    starts.map(move |start| rows.slice(start, num_rows.min(rows.num_rows() - start)))
}

/// Sends rows in pieces of a batch's usual size.
pub(crate) fn emit_in_pieces(rows: &RecordBatch, out: &mut dyn Output) -> Result<()> {
    let mut pieces = pieces(rows.clone(), PIECE_ROWS);
    pieces.try_for_each(|piece| out.emit(ChangelogBatch::insert_only(piece)))
}

/// The rows of sorted runs in order, equal ones in the order of the runs.
struct Merge<'a> {
    encoder: &'a SortKeyEncoder,
    inputs: Vec<Input<'a>>,
    /// The inputs that have rows, as a heap: the one whose row comes next is the first.
    heap: Vec<usize>,
    /// The batches at hand, and those whose rows wait to be given.
    batches: Vec<RecordBatch>,
    /// Rows that are still to be given.
    num_left: usize,
    piece_rows: usize,
}

/// A run that is being read.
struct Input<'a> {
    reader: RowsReader<'a>,
    /// Of the batch at hand; `None` where all rows are equal.
    keys: Option<Rows>,
    /// The batch at hand, its rows, and the next one.
    batch: usize,
    num_rows: usize,
    row: usize,
}

impl<'a> Merge<'a> {
    /// # Errors
    /// Rows that cannot be read.
    fn new(
        runs: &'a [StateRows],
        encoder: &'a SortKeyEncoder,
        num_rows: usize,
        piece_rows: usize,
    ) -> Result<Self> {
        let inputs = runs.iter().map(|run| Input {
            reader: run.read(),
            keys: None,
            batch: 0,
            num_rows: 0,
            row: 0,
        });
        let mut merge = Self {
            encoder,
            inputs: inputs.collect(),
            heap: Vec::new(),
            batches: Vec::new(),
            num_left: num_rows,
            piece_rows,
        };
        for input in 0..merge.inputs.len() {
            if merge.load(input)? {
                merge.heap.push(input);
            }
        }
        (0..merge.heap.len() / 2)
            .rev()
            .for_each(|at| merge.sink(at));
        Ok(merge)
    }

    /// Reads an input's next batch; gives whether there is one.
    fn load(&mut self, input: usize) -> Result<bool> {
        let input = &mut self.inputs[input];
        let has_rows = |b: &Result<RecordBatch>| b.as_ref().map_or(true, |b| b.num_rows() > 0);
        let Some(batch) = input.reader.find(has_rows) else {
            return Ok(false);
        };
        let batch = batch?;
        input.keys = self.encoder.encode(&batch)?;
        (input.batch, input.num_rows, input.row) = (self.batches.len(), batch.num_rows(), 0);
        self.batches.push(batch);
        Ok(true)
    }

    /// Whether the next row of one input comes before that of another.
    fn is_before(&self, a: usize, b: usize) -> bool {
        let (left, right) = (&self.inputs[a], &self.inputs[b]);
        match (&left.keys, &right.keys) {
            (Some(x), Some(y)) => (x.row(left.row), a) < (y.row(right.row), b),
            _ => a < b,
        }
    }

    /// Moves what stands at a place of the heap down to where it belongs.
    fn sink(&mut self, mut at: usize) {
        loop {
            let mut first = at;
            for child in [2 * at + 1, 2 * at + 2] {
                if child < self.heap.len() && self.is_before(self.heap[child], self.heap[first]) {
                    first = child;
                }
            }
            if first == at {
                return;
            }
            self.heap.swap(first, at);
            at = first;
        }
    }

    fn piece(&mut self) -> Result<RecordBatch> {
        let num_rows = self.piece_rows.min(self.num_left);
        let mut rows: Vec<(usize, usize)> = Vec::with_capacity(num_rows);
        while rows.len() < num_rows
            && let Some(&first) = self.heap.first()
        {
            let input = &mut self.inputs[first];
            rows.push((input.batch, input.row));
            input.row += 1;
            if input.row == input.num_rows && !self.load(first)? {
                self.heap.swap_remove(0);
            }
            self.sink(0);
        }
        self.num_left -= rows.len();
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        let piece = interleave_record_batch(&batches, &rows)?;
        self.forget();
        Ok(piece)
    }

    /// Lets go of the batches whose rows have all been given.
    fn forget(&mut self) {
        let batches = std::mem::take(&mut self.batches);
        for &input in &self.heap {
            let input = &mut self.inputs[input];
            self.batches.push(batches[input.batch].clone());
            input.batch = self.batches.len() - 1;
        }
    }
}

impl Iterator for Merge<'_> {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.heap.is_empty() || self.num_left == 0 {
            return None;
        }
        let piece = self.piece();
        if piece.is_err() {
            self.heap.clear();
        }
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flott_core::schema::{Column, Schema};
    use flott_core::types::LogicalType;
    use flott_engine::spill::SpillConfig;
    use flott_engine::testing::{Harness, Step, crash_everywhere};
    use proptest::prelude::*;

    fn schema() -> Schema {
        Schema::new(vec![
            Column::new("n", LogicalType::Int.nullable()),
            Column::new("arrival", LogicalType::STRING.nullable()),
        ])
    }

    fn harness(order: Vec<SortKey>, offset: u64, limit: Option<u64>) -> Harness {
        let config = BatchSortConfig {
            order,
            offset,
            limit,
            schema: schema().to_arrow(),
        };
        Harness::new(Arc::new(config)).input(schema())
    }

    /// So many bytes of memory, of which a sort keeps a fifth.
    fn small(harness: Harness, memory_bytes: usize) -> Harness {
        harness.overflowing(SpillConfig {
            memory_bytes,
            max_delay_ms: 0,
            max_partitions: 4,
            folder: std::env::temp_dir(),
        })
    }

    fn sorted(harness: Harness, batches: &[String]) -> Vec<String> {
        let mut open = harness.open().unwrap();
        for batch in batches {
            open.process(0, batch).unwrap();
        }
        open.finish().unwrap();
        let lines = open.drain().into_iter();
        let rows = lines.filter_map(|l| Some(l.strip_prefix("+I | ")?.to_string()));
        rows.collect()
    }

    #[test]
    fn null_is_lowest_and_the_result_is_cut() {
        let lines = |memory: Option<usize>| {
            let harness = harness(vec![SortKey::new(0, false)], 1, Some(2));
            let harness = match memory {
                Some(bytes) => small(harness, bytes),
                None => harness,
            };
            sorted(
                harness,
                &["3 | a\n1 | b".into(), "NULL | c\n1 | d\n2 | e".into()],
            )
        };
        assert_eq!(lines(None), ["1 | b", "1 | d"]);
        assert_eq!(lines(Some(0)), ["1 | b", "1 | d"]);
    }

    #[test]
    fn crashes_change_nothing() {
        let script = [
            Step::process(0, "3 | a\n1 | b"),
            Step::process(0, "2 | c\n1 | d"),
            Step::process(0, "NULL | e\n3 | f"),
            Step::Finish,
        ];
        let harness = harness(vec![SortKey::new(0, true)], 0, None);
        crash_everywhere(&harness, &script, &[1]).unwrap();
        crash_everywhere(&small(harness, 0), &script, &[1]).unwrap();
    }

    proptest! {
        /// Runs in files, some merged before the end, give what a sort in memory gives.
        #[test]
        fn runs_are_merged_in_order(
            batches in proptest::collection::vec(
                proptest::collection::vec(proptest::option::of(-9i32..9), 1..40), 1..150),
            memory in prop_oneof![Just(0usize), Just(1usize << 14), Just(1usize << 17)],
            is_descending in any::<bool>(),
            offset in 0u64..20,
            limit in proptest::option::of(0u64..400),
        ) {
            let mut arrival = 0;
            let mut rows = Vec::new();
            let texts: Vec<String> = batches.iter().map(|batch| {
                let lines = batch.iter().map(|n| {
                    rows.push((*n, arrival));
                    arrival += 1;
                    let n = n.map_or("NULL".to_string(), |n| n.to_string());
                    format!("{n} | some text that is no view, {}", arrival - 1)
                });
                lines.collect::<Vec<_>>().join("\n")
            }).collect();
            rows.sort_by(|a, b| if is_descending { b.0.cmp(&a.0) } else { a.0.cmp(&b.0) });
            let rows = rows.into_iter().skip(offset as usize);
            let expected: Vec<String> = rows.take(limit.map_or(usize::MAX, |l| l as usize))
                .map(|(n, arrival)| {
                    let n = n.map_or("NULL".to_string(), |n| n.to_string());
                    format!("{n} | some text that is no view, {arrival}")
                })
                .collect();
            let order = vec![SortKey::new(0, is_descending)];
            let actual = sorted(small(harness(order, offset, limit), memory), &texts);
            prop_assert_eq!(actual, expected);
        }
    }
}
