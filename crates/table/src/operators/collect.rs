//! Small batches and what operators send, as text, for the tests of operators.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int32Array, StringViewArray, TimestampMillisecondArray};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use flott_core::Result;
use flott_core::changelog::{ChangelogBatch, RowKind};
use flott_core::clock::ManualClock;
use flott_core::operator::{Operator, OperatorContext, Output, StateSnapshot};

pub(crate) fn ints<const N: usize>(values: [i32; N]) -> ArrayRef {
    Arc::new(Int32Array::from(values.to_vec()))
}

pub(crate) fn texts<const N: usize>(values: [&str; N]) -> ArrayRef {
    Arc::new(StringViewArray::from(values.to_vec()))
}

pub(crate) fn times<const N: usize>(values: [i64; N]) -> ArrayRef {
    Arc::new(TimestampMillisecondArray::from(values.to_vec()))
}

/// A schema of these names and the types of these arrays.
pub(crate) fn names(names: &[&str], arrays: &[ArrayRef]) -> SchemaRef {
    let fields = names.iter().zip(arrays);
    let fields = fields.map(|(n, a)| Field::new(*n, a.data_type().clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// A batch of named columns; `kinds` is empty for insert-only, else as in `+I -D`.
pub(crate) fn batch(kinds: &str, columns: Vec<(&str, ArrayRef)>) -> ChangelogBatch {
    let (column_names, arrays): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    let rows = RecordBatch::try_new(names(&column_names, &arrays), arrays).unwrap();
    let bytes = kinds.split_whitespace();
    let bytes: Vec<u8> = bytes
        .map(|k| RowKind::from_symbol(k).unwrap() as u8)
        .collect();
    ChangelogBatch::new(rows, (!bytes.is_empty()).then(|| bytes.into()))
}

/// What an operator has sent.
#[derive(Default)]
pub(crate) struct Collected {
    pub batches: Vec<ChangelogBatch>,
    /// Rows as `+I 1 a` and watermarks as `~ 1000`, in order.
    pub lines: Vec<String>,
}

impl Collected {
    pub fn take(&mut self) -> Vec<String> {
        self.batches.clear();
        std::mem::take(&mut self.lines)
    }
}

impl Output for Collected {
    fn emit(&mut self, batch: ChangelogBatch) -> Result<()> {
        let options = FormatOptions::new().with_null("null");
        let columns = batch.rows().columns().iter();
        let columns: Vec<_> = columns
            .map(|c| ArrayFormatter::try_new(c, &options).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            let values = columns.iter().map(|c| format!(" {}", c.value(row)));
            let line = format!("{}{}", batch.kind(row), values.collect::<String>());
            self.lines.push(line.replace("1970-01-01T00:", ""));
        }
        drop(columns);
        self.batches.push(batch);
        Ok(())
    }

    fn watermark(&mut self, watermark: i64) -> Result<()> {
        self.lines.push(format!("~ {watermark}"));
        Ok(())
    }
}

/// One subtask of `parallelism`, at 0 ms of processing time.
pub(crate) fn context(subtask: usize, parallelism: usize) -> OperatorContext {
    OperatorContext {
        host: flott_core::operator::OperatorHost::default(),
        subtask,
        parallelism,
        max_parallelism: 128,
        clock: ManualClock::at_ms(0),
        metrics: Arc::default(),
        config: Arc::default(),
    }
}

/// Snapshots an operator and goes on with a fresh one that has been restored from it.
pub(crate) fn reopen(
    factory: &dyn flott_core::operator::OperatorFactory,
    operator: &mut Box<dyn Operator>,
) {
    let snapshot: StateSnapshot = operator.snapshot().unwrap();
    let mut chain = flott_state::chain::OperatorChain::new(128);
    chain.apply(&[snapshot]).unwrap();
    let snapshot = chain.snapshots().remove(0);
    let mut fresh = factory.create().unwrap();
    fresh.open(&context(0, 1)).unwrap();
    fresh.restore(snapshot).unwrap();
    *operator = fresh;
}
