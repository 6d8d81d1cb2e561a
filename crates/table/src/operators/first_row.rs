//! The first row of each key in order of a rowtime: insert-only output.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::Array;
use arrow::datatypes::{Schema, SchemaRef};
use flott_core::Result;
use flott_core::changelog::ChangelogBatch;
use flott_core::operator::{
    Operator, OperatorContext, Output, StateRows, StateScope, StateSnapshot, StateTable,
};

use super::evaluate::{batch_of, milliseconds};
use super::rows::{Partitions, RestoredRows, RowStore, keyed_rows, split_keyed};

pub(super) const WAITING: &str = "waiting";
pub(super) const SENT: &str = "sent";

/// What is known of a key.
#[derive(Debug, Clone, Copy, Default)]
enum Known {
    #[default]
    Nothing,
    /// Its first row so far, which waits for the watermark.
    Waiting {
        slot: u32,
        time_ms: i64,
    },
    Sent,
}

/// Holds the first row of each key until the watermark passes it; of equal times the first to
/// come. Late rows, and rows of keys that have had their row, are dropped.
pub(super) struct FirstRowByTime {
    rowtime_column: usize,
    key_columns: Vec<usize>,
    schema: SchemaRef,
    partitions: Partitions,
    store: RowStore,
    known: Vec<Known>,
    /// The times and numbers of the keys whose rows wait.
    waiting: BTreeSet<(i64, u32)>,
    /// The keys that have had their row since the last snapshot; `None`: the next says everything.
    newly_sent: Option<Vec<u32>>,
    watermark: i64,
    context: Option<OperatorContext>,
}

impl FirstRowByTime {
    pub fn new(rowtime_column: usize, key_columns: &[usize], schema: &SchemaRef) -> Result<Self> {
        Ok(Self {
            rowtime_column,
            key_columns: key_columns.to_vec(),
            schema: schema.clone(),
            partitions: Partitions::new(schema, key_columns)?,
            store: RowStore::new(schema.clone()),
            known: Vec::new(),
            waiting: BTreeSet::new(),
            newly_sent: Some(Vec::new()),
            watermark: i64::MIN,
            context: None,
        })
    }

    fn key_schema(&self) -> SchemaRef {
        let fields = self
            .key_columns
            .iter()
            .map(|&c| self.schema.field(c).clone());
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// The keys that have had their row: those of the time since the last snapshot, if it knows.
    fn sent_table(&mut self) -> Result<StateTable> {
        let max_parallelism = self.context.as_ref().map_or(1, |c| c.max_parallelism);
        let newly_sent = self.newly_sent.replace(Vec::new());
        let is_whole = newly_sent.is_none();
        let sent = newly_sent.unwrap_or_else(|| {
            let mut all = self.partitions.all();
            all.retain(|&n| matches!(self.known[n as usize], Known::Sent));
            all
        });
        let groups = sent.iter();
        let groups = groups.map(|&n| self.partitions.key_group(n, max_parallelism));
        let keys = self.partitions.key_columns(&sent)?;
        let keys = batch_of(self.key_schema(), keys, sent.len())?;
        let rows = keyed_rows(groups.collect(), Vec::new(), keys)?;
        Ok(match is_whole {
            true => StateTable::full(SENT, StateScope::Keyed, rows),
            false => {
                let key_columns = 1 + self.key_columns.len();
                StateTable::delta(SENT, key_columns, rows, StateRows::default())
            }
        })
    }

    /// Takes rows in, which are not copied yet; gives the number of late ones.
    fn take(&mut self, rows: &arrow::record_batch::RecordBatch) -> Result<u64> {
        let numbers = self.partitions.assign(rows)?;
        self.known.resize(self.partitions.bound(), Known::default());
        let times = milliseconds(rows.column(self.rowtime_column))?;
        let mut num_late = 0;
        for (row, &number) in numbers.iter().enumerate() {
            let time_ms = match times.is_valid(row) {
                true => times.value(row),
                false => i64::MIN,
            };
            if time_ms <= self.watermark {
                num_late += 1;
                continue;
            }
            match self.known[number as usize] {
                Known::Sent => continue,
                Known::Waiting { time_ms: first, .. } if first <= time_ms => continue,
                Known::Waiting { slot, time_ms } => {
                    self.store.release(slot);
                    self.waiting.remove(&(time_ms, number));
                }
                Known::Nothing => {}
            }
            let slot = self.store.allocate(row);
            self.known[number as usize] = Known::Waiting { slot, time_ms };
            self.waiting.insert((time_ms, number));
        }
        // Keys that have had late rows only, which may stand there more than once.
        let mut unused = numbers;
        unused.retain(|&number| matches!(self.known[number as usize], Known::Nothing));
        unused.sort_unstable();
        unused.dedup();
        unused.into_iter().for_each(|n| self.partitions.remove(n));
        Ok(num_late)
    }
}

impl Operator for FirstRowByTime {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        self.context = Some(context.clone());
        self.store.set_max_parallelism(context.max_parallelism);
        Ok(())
    }

    fn process(&mut self, _: usize, batch: ChangelogBatch, _: &mut dyn Output) -> Result<()> {
        let num_late = self.take(batch.rows())?;
        let hashes = self.partitions.row_hashes();
        self.store.commit_keyed(batch.rows(), hashes)?;
        self.store.sweep()?;
        if let Some(context) = &self.context {
            context.metrics.num_late_records_dropped.add(num_late);
            context.metrics.num_keys.set(self.partitions.len() as i64);
        }
        Ok(())
    }

    fn watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<()> {
        self.watermark = watermark;
        let mut slots = Vec::new();
        while let Some(&(time_ms, number)) = self.waiting.first()
            && time_ms <= watermark
        {
            self.waiting.pop_first();
            let known = std::mem::replace(&mut self.known[number as usize], Known::Sent);
            if let Known::Waiting { slot, .. } = known {
                slots.push(slot);
                if let Some(newly_sent) = &mut self.newly_sent {
                    newly_sent.push(number);
                }
            }
        }
        if !slots.is_empty() {
            out.emit(ChangelogBatch::insert_only(self.store.rows(&slots)?))?;
            slots.iter().for_each(|&slot| self.store.release(slot));
            self.store.sweep()?;
        }
        out.watermark(watermark)
    }

    fn state_bytes(&self) -> usize {
        let known = self.known.capacity() * size_of::<Known>() + self.waiting.len() * 24;
        self.store.size_bytes() + self.partitions.size_bytes() + known
    }

    fn next_event_time(&self) -> Option<i64> {
        Some(
            self.waiting
                .first()
                .map_or(i64::MAX, |&(time_ms, _)| time_ms),
        )
    }

    fn snapshot(&mut self) -> Result<StateSnapshot> {
        Ok(StateSnapshot {
            tables: vec![self.store.snapshot(WAITING, &[]), self.sent_table()?],
        })
    }

    fn restore(&mut self, snapshot: StateSnapshot) -> Result<()> {
        for batch in snapshot.table(WAITING) {
            let restored = RestoredRows::<0>::new(&batch?, &self.schema)?;
            self.take(&restored.rows)?;
            self.store.commit_restored(&restored)?;
        }
        self.store.told();
        for batch in snapshot.table(SENT) {
            let batch = &batch?;
            let ([], keys) = split_keyed::<0>(batch, &self.key_schema())?;
            let numbers = self
                .partitions
                .assign_columns(keys.columns(), keys.num_rows())?;
            self.known.resize(self.partitions.bound(), Known::default());
            for number in numbers {
                self.known[number as usize] = Known::Sent;
            }
        }
        Ok(())
    }

    fn restart_snapshots(&mut self) {
        self.store.restart_snapshots();
        self.newly_sent = None;
    }
}
