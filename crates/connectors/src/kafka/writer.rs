//! Writes rows as messages in one subtask.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

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
use super::sink::{Guarantee, Partitioner, SinkPlan};

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
    /// The partition of a fixed partitioner, once it is known.
    partition: Option<i32>,
    gathered: StableHashMap<Vec<u8>, Change>,
    /// When gathered changes are due, in ms.
    flush_at_ms: Option<i64>,
}

impl KafkaWriter {
    pub fn new(
        plan: Arc<SinkPlan>,
        context: WriterContext,
        pool: Option<Arc<TransactionPool>>,
        is_cancelled: Arc<AtomicBool>,
    ) -> Result<Self> {
        let (value_encoder, key_encoder) = plan.create_encoders()?;
        let target = match pool {
            Some(pool) => {
                pool.begin_writer(context.subtask, context.parallelism)?;
                Target::Transactions { pool, open: None }
            }
            None => Target::Plain(TopicProducer::new(&plan.config, &plan.topic, is_cancelled)?),
        };
        Ok(Self {
            plan,
            context,
            value_encoder,
            key_encoder,
            target,
            records: Records::default(),
            partition: None,
            gathered: StableHashMap::default(),
            flush_at_ms: None,
        })
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
        producer.send(&self.records, self.partition)
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
        self.flush_at_ms
    }

    fn on_timer(&mut self, now_ms: i64) -> Result<()> {
        match self.flush_at_ms.is_some_and(|due_ms| due_ms <= now_ms) {
            true => self.flush_gathered(),
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
            Target::Transactions { pool, open } => match open.take() {
                None => Ok(Vec::new()),
                Some(producer) => {
                    let committable = pool.prepare(self.context.subtask, producer)?;
                    Ok(committable.into_iter().collect())
                }
            },
        }
    }

    /// What belongs to a checkpoint already is left to be committed.
    fn abort(&mut self) {
        if let Target::Transactions { open, .. } = &mut self.target
            && let Some(open) = open.take()
            && let Err(error) = open.producer.abort_transaction()
        {
            tracing::warn!(%error, id = open.id, "a transaction stays open until it times out");
        }
    }
}
