//! Writes rows as messages in one subtask.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType as ArrowType, TimeUnit};
use flott_core::changelog::{ChangelogBatch, RowKind};
use flott_core::format::Encoder;
use flott_core::hash::StableHashMap;
use flott_core::sink::{Committable, SinkWriter, WriterContext};
use flott_core::{Error, Result};
use rdkafka::message::{Header, OwnedHeaders};

use super::pool::{PooledProducer, TransactionPool};
use super::producer::{Records, TopicProducer};
use super::rotation::Rotation;
use super::sink::{Guarantee, Partitioner, SinkPlan};

/// How long the encoders are waited for before it is looked whether the job goes on.
const PREPARE_WAIT: Duration = Duration::from_millis(50);

/// After so long messages that were not delivered at once are looked at again, in ms.
const PUSH_AGAIN_MS: i64 = 20;

/// Where messages go.
enum Target {
    Plain(TopicProducer),
    /// One transaction after the other; `None` until there is something to write.
    Transactions {
        pool: Arc<TransactionPool>,
        open: Option<PooledProducer>,
    },
}

/// The last change of a key, which waits to be written.
struct Change {
    value: Option<Vec<u8>>,
    timestamp_ms: Option<i64>,
    headers: Option<OwnedHeaders>,
}

/// Writes the rows of one subtask.
pub(super) struct KafkaWriter {
    plan: Arc<SinkPlan>,
    context: WriterContext,
    value_encoder: Box<dyn Encoder>,
    key_encoder: Option<Box<dyn Encoder>>,
    target: Target,
    records: Records,
    /// Whether the encoders have what they need.
    is_prepared: bool,
    is_cancelled: Arc<AtomicBool>,
    /// The partition of a fixed partitioner, once it is known.
    partition: Option<i32>,
    rotation: Rotation,
    gathered: StableHashMap<Vec<u8>, Change>,
    /// When gathered changes are due, in ms.
    flush_at_ms: Option<i64>,
    /// When messages that wait for others are sent without them, in ms.
    push_at_ms: Option<i64>,
    /// Whether there were more messages since it was last looked.
    has_sent: bool,
}

impl KafkaWriter {
    pub fn new(
        plan: Arc<SinkPlan>,
        context: WriterContext,
        pool: Option<Arc<TransactionPool>>,
        is_cancelled: Arc<AtomicBool>,
    ) -> Result<Self> {
        let (mut value_encoder, mut key_encoder) = plan.create_encoders()?;
        // What their first row needs is got meanwhile.
        for encoder in key_encoder.iter_mut().chain([&mut value_encoder]) {
            encoder.prepare(Duration::ZERO)?;
        }
        let target = match pool {
            Some(pool) => {
                pool.begin_writer(context.subtask, context.parallelism)?;
                Target::Transactions { pool, open: None }
            }
            None => {
                let cancelled = is_cancelled.clone();
                Target::Plain(TopicProducer::new(&plan.config, &plan.topic, cancelled)?)
            }
        };
        Ok(Self {
            plan,
            rotation: Rotation::new(context.subtask),
            context,
            value_encoder,
            key_encoder,
            target,
            records: Records::default(),
            is_prepared: false,
            is_cancelled,
            partition: None,
            gathered: StableHashMap::default(),
            flush_at_ms: None,
            push_at_ms: None,
            has_sent: false,
        })
    }

    /// Waits until the encoders have what their first row needs.
    fn prepare(&mut self) -> Result<()> {
        for encoder in self.key_encoder.iter_mut().chain([&mut self.value_encoder]) {
            while !encoder.prepare(PREPARE_WAIT)? {
                if self.is_cancelled.load(Ordering::SeqCst) {
                    return Err(Error::user("CANCELLED", "the job was cancelled"));
                }
            }
        }
        self.is_prepared = true;
        Ok(())
    }

    /// The messages of a batch, into `self.records`.
    fn encode(&mut self, batch: &ChangelogBatch) -> Result<()> {
        let records = &mut self.records;
        records.clear();
        let layout = &self.plan.layout;
        let mut values = batch.project(&layout.value.columns)?;
        if layout.is_upsert {
            // A deletion has no value; what its row would be is not written.
            values = ChangelogBatch::insert_only(values.rows().clone());
        }
        self.value_encoder.encode_messages(
            &values,
            &mut records.values,
            &mut records.value_ends,
        )?;
        if let (Some(encoder), Some(key)) = (&mut self.key_encoder, &layout.key) {
            let keys = batch.project(&key.columns)?;
            let keys = ChangelogBatch::insert_only(keys.rows().clone());
            encoder.encode_messages(&keys, &mut records.keys, &mut records.key_ends)?;
        }
        let num_rows = batch.num_rows();
        let has_keys = layout.key.is_some();
        if records.value_ends.len() != num_rows || (has_keys && records.key_ends.len() != num_rows)
        {
            return Err(Error::internal("a format does not write one message a row"));
        }
        if layout.is_upsert && !batch.is_insert_only() {
            let is_deletion =
                |row| matches!(batch.kind(row), RowKind::Delete | RowKind::UpdateBefore);
            records.is_tombstone = (0..num_rows).map(is_deletion).collect();
        }
        if let Some(column) = self.plan.timestamp {
            records.timestamps_ms = timestamps(batch.column(column))?;
        }
        if let Some(column) = self.plan.headers {
            records.headers = (0..num_rows)
                .map(|row| headers(batch.column(column), row))
                .collect();
        }
        Ok(())
    }

    fn send(&mut self) -> Result<()> {
        if self.records.len() == 0 {
            return Ok(());
        }
        let producer = match &mut self.target {
            Target::Plain(producer) => &*producer,
            Target::Transactions { pool, open } => {
                let open = match open {
                    Some(open) => open,
                    None => open.insert(pool.take(self.context.subtask)?),
                };
                open.producer.as_ref()
            }
        };
        if self.plan.partitioner == Partitioner::Fixed && self.partition.is_none() {
            let count = producer.num_partitions()?;
            self.partition = Some((self.context.subtask % count) as i32);
        }
        let num_bytes = self.records.values.len() + self.records.keys.len();
        self.context.metrics.num_bytes_out.add(num_bytes as u64);
        let partition = match self.plan.partitioner {
            Partitioner::InTurn => self.rotation.next(producer, num_bytes),
            Partitioner::ByKey | Partitioner::Fixed => self.partition,
        };
        producer.send(&self.records, partition)?;
        if let Some(after_ms) = self.plan.push_after_ms {
            self.has_sent = true;
            if self.push_at_ms.is_none() {
                self.push_at_ms = Some(self.context.clock.now_ms().saturating_add(after_ms));
            }
        }
        Ok(())
    }

    /// Has messages sent that wait for others.
    fn push(&mut self, now_ms: i64) -> Result<()> {
        self.push_at_ms = None;
        let producer = match &self.target {
            Target::Plain(producer) => producer,
            Target::Transactions { open: None, .. } => return Ok(()),
            Target::Transactions { open: Some(o), .. } => o.producer.as_ref(),
        };
        let is_waiting = producer.push(std::mem::take(&mut self.has_sent))?;
        self.push_at_ms = is_waiting.then(|| now_ms.saturating_add(PUSH_AGAIN_MS));
        Ok(())
    }

    /// Keeps the last change of each key.
    fn gather(&mut self) {
        for index in 0..self.records.len() {
            let key = self.records.key(index).unwrap_or_default().to_vec();
            let change = Change {
                value: self.records.value(index).map(<[u8]>::to_vec),
                timestamp_ms: self.records.timestamps_ms.get(index).copied().flatten(),
                headers: self.records.headers.get(index).cloned(),
            };
            self.gathered.insert(key, change);
        }
    }

    fn flush_gathered(&mut self) -> Result<()> {
        self.flush_at_ms = None;
        let has_headers = self.plan.headers.is_some();
        let has_times = self.plan.timestamp.is_some();
        let records = &mut self.records;
        records.clear();
        for (key, change) in self.gathered.drain() {
            records.keys.extend_from_slice(&key);
            records.key_ends.push(records.keys.len());
            records
                .values
                .extend_from_slice(change.value.as_deref().unwrap_or_default());
            records.value_ends.push(records.values.len());
            records.is_tombstone.push(change.value.is_none());
            if has_times {
                records.timestamps_ms.push(change.timestamp_ms);
            }
            if has_headers {
                records.headers.push(change.headers.unwrap_or_default());
            }
        }
        self.send()
    }
}

fn timestamps(column: &ArrayRef) -> Result<Vec<Option<i64>>> {
    let millis = ArrowType::Timestamp(TimeUnit::Millisecond, None);
    let column = cast(&cast(column, &millis)?, &ArrowType::Int64)?;
    let times: &Int64Array = column.as_primitive();
    Ok(times.iter().collect())
}

fn headers(column: &ArrayRef, row: usize) -> OwnedHeaders {
    let mut headers = OwnedHeaders::new();
    let Some(map) = column.as_map_opt().filter(|m| m.is_valid(row)) else {
        return headers;
    };
    let entries = map.value(row);
    let names = entries.column(0).as_string_view_opt();
    let values = entries.column(1).as_binary_view_opt();
    let (Some(names), Some(values)) = (names, values) else {
        return headers;
    };
    for index in 0..entries.len() {
        headers = headers.insert(Header {
            key: names.value(index),
            value: values.is_valid(index).then(|| values.value(index)),
        });
    }
    headers
}

impl SinkWriter for KafkaWriter {
    fn write(&mut self, batch: &ChangelogBatch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        if !self.is_prepared {
            self.prepare()?;
        }
        self.encode(batch)?;
        let Some(rule) = self.plan.flush else {
            return self.send();
        };
        self.gather();
        if self.gathered.len() >= rule.max_rows {
            return self.flush_gathered();
        }
        let due_ms = self.context.clock.now_ms().saturating_add(rule.interval_ms);
        self.flush_at_ms.get_or_insert(due_ms);
        Ok(())
    }

    fn next_timer_ms(&self) -> Option<i64> {
        self.flush_at_ms.into_iter().chain(self.push_at_ms).min()
    }

    fn on_timer(&mut self, now_ms: i64) -> Result<()> {
        let is_due = |at_ms: Option<i64>| at_ms.is_some_and(|at_ms| at_ms <= now_ms);
        if is_due(self.flush_at_ms) {
            self.flush_gathered()?;
        }
        match is_due(self.push_at_ms) {
            true => self.push(now_ms),
            false => Ok(()),
        }
    }

    fn prepare_commit(&mut self, is_final: bool) -> Result<Vec<Committable>> {
        if !self.gathered.is_empty() {
            self.flush_gathered()?;
        }
        match &mut self.target {
            Target::Plain(producer) => {
                if is_final || self.plan.guarantee != Guarantee::None {
                    producer.flush()?;
                }
                Ok(Vec::new())
            }
            Target::Transactions { pool, open } => {
                if !is_final {
                    pool.note_checkpoint();
                }
                match open.take() {
                    None => Ok(Vec::new()),
                    Some(producer) => Ok(vec![pool.prepare(self.context.subtask, producer)?]),
                }
            }
        }
    }

    /// What belongs to a checkpoint already is left to be committed.
    fn abort(&mut self) {
        let Target::Transactions { pool, open } = &mut self.target else {
            return;
        };
        if let Some(open) = open.take()
            && let Err(error) = open.producer.abort_transaction()
        {
            tracing::warn!(%error, id = open.id, "a transaction stays open until it times out");
        }
        pool.abort_prepared(self.context.subtask);
    }
}
