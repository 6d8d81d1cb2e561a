//! The lookup join with a table that is read whole first: rows of the left wait until it is there.

use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use flott_core::Result;
use flott_core::changelog::{ChangelogBatch, RowKind};
use flott_core::operator::{
    Operator, OperatorContext, Output, StateScope, StateSnapshot, StateTable,
};
use flott_core::time::MIN_WATERMARK;

use super::LookupJoinConfig;
use super::batch_join::BatchJoin;
use super::keys::{KeyColumns, SideName};
use crate::operators::evaluate::batch_of;
use crate::operators::rows::{keyed_table, split_keyed};

pub(super) struct LookupJoin {
    keys: KeyColumns,
    join: BatchJoin,
    schemas: [SchemaRef; 2],
    /// The right's rows.
    table: Vec<RecordBatch>,
    /// Whether the right has ended and the join's index is built.
    is_ready: bool,
    /// Rows of the left that came before.
    waiting: Vec<ChangelogBatch>,
    /// The last watermark, held back while rows wait.
    watermark: i64,
    context: Option<OperatorContext>,
}

impl LookupJoin {
    pub fn new(config: &LookupJoinConfig) -> Result<Self> {
        let inputs = &config.inputs;
        Ok(Self {
            keys: KeyColumns::new(inputs)?,
            join: BatchJoin::new(inputs)?,
            schemas: [inputs.left_schema.clone(), inputs.right_schema.clone()],
            table: Vec::new(),
            is_ready: false,
            waiting: Vec::new(),
            watermark: MIN_WATERMARK,
            context: None,
        })
    }

    fn build(&mut self) -> Result<()> {
        let table = concat_batches(&self.schemas[1], &self.table)?;
        self.table = vec![table.clone()];
        self.is_ready = true;
        self.join.build(table)
    }

    /// The right is there: what waits goes on.
    fn release(&mut self, out: &mut dyn Output) -> Result<()> {
        if !self.is_ready {
            self.build()?;
        }
        for batch in std::mem::take(&mut self.waiting) {
            self.join.probe_batch(&batch, out)?;
        }
        if self.watermark > MIN_WATERMARK {
            out.watermark(self.watermark)?;
        }
        Ok(())
    }

    fn table_of(
        &self,
        side: SideName,
        rows: &RecordBatch,
        extra: Vec<(&str, Vec<i64>)>,
    ) -> Result<StateTable> {
        let max_parallelism = self.context.as_ref().map_or(1, |c| c.max_parallelism);
        let key_groups = self.keys.key_groups(side, rows, max_parallelism)?;
        keyed_table(side.table(), key_groups, extra, rows.clone())
    }
}

/// Whether the right has ended.
const HAS_ENDED: &str = "right_has_ended";

impl Operator for LookupJoin {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        self.context = Some(context.clone());
        Ok(())
    }

    fn process(&mut self, input: usize, batch: ChangelogBatch, out: &mut dyn Output) -> Result<()> {
        match SideName::of_input(input) {
            SideName::Right if self.is_ready => {
                // The source is read again after a restore with another plan of splits.
                self.table.push(batch.rows().clone());
                self.build()
            }
            SideName::Right => {
                self.table.push(batch.rows().clone());
                Ok(())
            }
            SideName::Left if self.is_ready => self.join.probe_batch(&batch, out),
            SideName::Left => {
                self.waiting.push(batch);
                Ok(())
            }
        }
    }

    fn input_ended(&mut self, input: usize, out: &mut dyn Output) -> Result<()> {
        match SideName::of_input(input) {
            SideName::Left => Ok(()),
            SideName::Right => self.release(out),
        }
    }

    fn watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<()> {
        self.watermark = watermark;
        match self.is_ready {
            // Goes through what a restore may have left waiting, too.
            true => self.release(out),
            false => Ok(()),
        }
    }

    fn finish(&mut self, out: &mut dyn Output) -> Result<()> {
        self.release(out)
    }

    fn snapshot(&mut self) -> Result<StateSnapshot> {
        let waiting = self.waiting.iter();
        let left = concat_batches(&self.schemas[0], waiting.clone().map(ChangelogBatch::rows))?;
        let kinds = waiting.flat_map(|b| (0..b.num_rows()).map(|row| b.kind(row) as i64));
        let right = concat_batches(&self.schemas[1], &self.table)?;
        let flag = Arc::new(BooleanArray::from(vec![self.is_ready]));
        let fields = vec![Field::new(HAS_ENDED, DataType::Boolean, true)];
        let flags = batch_of(Arc::new(Schema::new(fields)), vec![flag], 1)?;
        let flags = StateTable::full(HAS_ENDED, StateScope::Union, flags);
        Ok(StateSnapshot {
            tables: vec![
                self.table_of(SideName::Left, &left, vec![("kind", kinds.collect())])?,
                self.table_of(SideName::Right, &right, Vec::new())?,
                flags,
            ],
        })
    }

    fn restore(&mut self, snapshot: StateSnapshot) -> Result<()> {
        for batch in snapshot.table(SideName::Left.table()) {
            let batch = &batch?;
            let ([kinds], rows) = split_keyed::<1>(batch, &self.schemas[0])?;
            let kinds: Vec<u8> = kinds.values().iter().map(|&k| k as u8).collect();
            let is_insert_only = kinds.iter().all(|&k| k == RowKind::Insert as u8);
            let kinds = (!is_insert_only).then(|| kinds.into());
            self.waiting.push(ChangelogBatch::new(rows, kinds));
        }
        for batch in snapshot.table(SideName::Right.table()) {
            let batch = &batch?;
            let ([], rows) = split_keyed::<0>(batch, &self.schemas[1])?;
            self.table.push(rows);
        }
        for flags in snapshot.table(HAS_ENDED) {
            if !self.is_ready && flags?.columns().iter().any(has_true) {
                self.build()?;
            }
        }
        Ok(())
    }
}

fn has_true(column: &arrow::array::ArrayRef) -> bool {
    use arrow::array::AsArray;
    column.as_boolean_opt().is_some_and(BooleanArray::has_true)
}
