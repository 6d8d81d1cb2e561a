//! A topic as the target of one statement.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flott_core::changelog::{ChangelogMode, RowKind};
use flott_core::connector::TableContext;
use flott_core::format::EncodeRequest;
use flott_core::options::OptionDef;
use flott_core::sink::{Committer, SinkWriter, TableSink, WriterContext};
use flott_core::types::{DataType, LogicalType};
use flott_core::{Error, Result};
use rdkafka::config::ClientConfig;

use super::metadata::MetadataKey;
use super::options::{
    FLUSH_INTERVAL, FLUSH_MAX_ROWS, GUARANTEE, PARTITIONER, SEMANTIC, SINK_PARALLELISM, TOPIC,
    TRANSACTIONAL_PREFIX,
};
use super::pool::{TransactionCommitter, TransactionPool};
use super::properties::{Role, client_config};
use super::source::parallelism;
use super::table::MessageLayout;
use super::writer::KafkaWriter;

/// What a producer is unless the table says otherwise. Keys find their partitions as in Java;
/// messages keep their order; successful deliveries are not reported one by one.
const PRODUCER_DEFAULTS: &[(&str, &str)] = &[
    ("enable.idempotence", "true"),
    ("partitioner", "murmur2_random"),
    ("queue.buffering.max.messages", "100000"),
    ("queue.buffering.max.kbytes", "65536"),
    ("delivery.report.only.error", "true"),
    ("sticky.partitioning.linger.ms", "10"),
];

/// Properties that say how long messages wait for others that go with them.
const LINGER: &[&str] = &["properties.linger.ms", "properties.queue.buffering.max.ms"];
/// Properties that say where messages without a key go.
const PARTITIONING: &[&str] = &[
    "properties.partitioner",
    "properties.sticky.partitioning.linger.ms",
];
/// Properties that limit how long a message may wait.
const DELIVERY_TIMEOUT: &[&str] = &[
    "properties.message.timeout.ms",
    "properties.delivery.timeout.ms",
];
/// How long messages wait for others, in ms.
const LINGER_MS: i64 = 5;
/// How long librdkafka makes them wait where writers see to it that they do not. An idempotent
/// producer has one request of a partition under way, and when the next messages have waited for
/// long enough its thread asks without a pause whether they may go: most of the processor time of
/// a job, while brokers are busy.
const PUSHED_LINGER_MS: &str = "500";

/// How long a transaction may stay open: as long as brokers allow by default. A job that is down
/// for longer loses what it had prepared.
const TRANSACTION_TIMEOUT_MS: &str = "900000";

/// `sink.delivery-guarantee`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guarantee {
    None,
    AtLeastOnce,
    ExactlyOnce,
}

/// Which partition messages go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Partitioner {
    /// By key; of messages without one the client knows best.
    ByKey,
    /// One after the other: there are no keys.
    InTurn,
    /// Each writer has one.
    Fixed,
}

/// When gathered changes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FlushRule {
    pub max_rows: usize,
    pub interval_ms: i64,
}

/// What a writer needs to know of its table and statement.
pub(super) struct SinkPlan {
    pub topic: String,
    pub layout: MessageLayout,
    pub config: ClientConfig,
    pub guarantee: Guarantee,
    pub partitioner: Partitioner,
    pub flush: Option<FlushRule>,
    /// Columns of a row that are the message's time and headers.
    pub timestamp: Option<usize>,
    pub headers: Option<usize>,
    /// How long messages may wait for others before a writer has them sent, in ms; `None` where
    /// the client sees to that.
    pub push_after_ms: Option<i64>,
}

pub(super) struct KafkaSink {
    plan: Arc<SinkPlan>,
    table: String,
    parallelism: Option<usize>,
    pool: Option<Arc<TransactionPool>>,
    is_cancelled: Arc<AtomicBool>,
}

/// Whether the table says one of these.
fn has(context: &TableContext<'_>, keys: &[&str]) -> bool {
    keys.iter().any(|key| context.options.get(key).is_some())
}

fn invalid(def: &OptionDef, value: &str, wanted: &str) -> Error {
    let message = format!("option '{}' is '{value}'; it takes {wanted}", def.key);
    Error::user("INVALID_OPTION", message)
}

impl KafkaSink {
    /// # Errors
    /// A user error that names the option or column that is wrong.
    pub fn new(context: &TableContext<'_>, layout: MessageLayout, connector: &str) -> Result<Self> {
        let topic = context.options.get(TOPIC.key).unwrap_or_default().trim();
        if topic.is_empty() || topic.contains(';') {
            return Err(invalid(&TOPIC, topic, "the name of one topic for a sink"));
        }
        let guarantee = guarantee(context)?;
        let prefix = context.options.get(TRANSACTIONAL_PREFIX.key);
        let mut defaults = PRODUCER_DEFAULTS.to_vec();
        if guarantee == Guarantee::ExactlyOnce {
            defaults.push(("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS));
        }
        let acks = context.options.get("properties.acks").unwrap_or("all");
        let is_idempotent = context.options.get("properties.enable.idempotence");
        if !matches!(acks, "all" | "-1") && is_idempotent.is_none() {
            defaults.push(("enable.idempotence", "false"));
        }
        let has_linger = has(context, LINGER);
        let is_pushed = !has_linger && !has(context, DELIVERY_TIMEOUT);
        match is_pushed {
            true => defaults.push(("linger.ms", PUSHED_LINGER_MS)),
            false if has_linger => {}
            false => defaults.push(("linger.ms", "5")),
        }
        let config = client_config(context.options, Role::Producer, &defaults)?;
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let pool = match (guarantee, prefix) {
            (Guarantee::ExactlyOnce, Some(prefix)) => {
                let (prefix, topic) = (prefix.to_string(), topic.to_string());
                let cancelled = is_cancelled.clone();
                let pool = TransactionPool::new(prefix, topic, config.clone(), cancelled)?;
                Some(Arc::new(pool))
            }
            (Guarantee::ExactlyOnce, None) => {
                let message = format!(
                    "'{}' = 'exactly-once' needs the option '{}' ({})",
                    GUARANTEE.key, TRANSACTIONAL_PREFIX.key, TRANSACTIONAL_PREFIX.doc
                );
                return Err(Error::user("MISSING_OPTION", message));
            }
            _ => None,
        };
        let (timestamp, headers) = metadata(context, connector)?;
        let plan = SinkPlan {
            topic: topic.to_string(),
            partitioner: partitioner(context, &layout)?,
            flush: flush_rule(context)?,
            layout,
            config,
            guarantee,
            timestamp,
            headers,
            push_after_ms: is_pushed.then_some(LINGER_MS),
        };
        // Wrong options of the formats are refused before the job starts.
        plan.create_encoders()?;
        Ok(Self {
            plan: Arc::new(plan),
            table: context.path.to_string(),
            parallelism: parallelism(context, &SINK_PARALLELISM)?,
            pool,
            is_cancelled,
        })
    }
}

impl SinkPlan {
    /// The value's encoder, and the key's.
    pub fn create_encoders(
        &self,
    ) -> Result<(
        Box<dyn flott_core::format::Encoder>,
        Option<Box<dyn flott_core::format::Encoder>>,
    )> {
        let encoder = |part: &super::table::Part| {
            part.format.create_encoder(&EncodeRequest {
                schema: part.schema.clone(),
                options: part.options.clone(),
            })
        };
        let key = self.layout.key.as_ref().map(encoder).transpose()?;
        Ok((encoder(&self.layout.value)?, key))
    }
}

fn guarantee(context: &TableContext<'_>) -> Result<Guarantee> {
    let options = context.options;
    let text = options
        .get(GUARANTEE.key)
        .or(options.get(SEMANTIC.key))
        .or(GUARANTEE.default);
    match text.unwrap_or_default().to_ascii_lowercase().as_str() {
        "none" => Ok(Guarantee::None),
        "exactly-once" => Ok(Guarantee::ExactlyOnce),
        "at-least-once" => Ok(Guarantee::AtLeastOnce),
        other => Err(invalid(
            &GUARANTEE,
            other,
            "none, at-least-once or exactly-once",
        )),
    }
}

fn partitioner(context: &TableContext<'_>, layout: &MessageLayout) -> Result<Partitioner> {
    let text = context.options.text(&PARTITIONER).unwrap_or_default();
    match text.to_ascii_lowercase().as_str() {
        "fixed" => Ok(Partitioner::Fixed),
        "round-robin" if layout.key.is_some() => Err(Error::user(
            "INVALID_OPTION",
            "'sink.partitioner' = 'round-robin' is for messages without a key; \
             leave out 'key.fields' or the partitioner",
        )),
        _ if layout.key.is_none() && !has(context, PARTITIONING) => Ok(Partitioner::InTurn),
        _ => Ok(Partitioner::ByKey),
    }
}

fn flush_rule(context: &TableContext<'_>) -> Result<Option<FlushRule>> {
    let max_rows = context.options.integer(&FLUSH_MAX_ROWS)?.unwrap_or(0);
    let interval = context
        .options
        .duration(&FLUSH_INTERVAL)?
        .unwrap_or_default();
    let interval_ms = interval.as_millis() as i64;
    match (max_rows > 0, interval_ms > 0) {
        (false, false) => Ok(None),
        (true, true) => Ok(Some(FlushRule {
            max_rows: max_rows as usize,
            interval_ms,
        })),
        _ => Err(Error::user(
            "INVALID_OPTION",
            "'sink.buffer-flush.max-rows' and 'sink.buffer-flush.interval' must be set to be \
             greater than zero together",
        )),
    }
}

/// The places of the metadata columns `timestamp` and `headers` in a row to be written.
fn metadata(context: &TableContext<'_>, connector: &str) -> Result<(Option<usize>, Option<usize>)> {
    let schema = context.table.sink_schema();
    let num_physical = context.table.physical_schema().len();
    let (mut timestamp, mut headers) = (None, None);
    for (place, column) in schema.columns().iter().enumerate().skip(num_physical) {
        match MetadataKey::new(&column.name, &column.data_type, connector)? {
            MetadataKey::Timestamp if is_time(&column.data_type) => timestamp = Some(place),
            MetadataKey::Headers => headers = Some(place),
            _ => {
                let message = format!(
                    "metadata column '{}' cannot be written; declare it VIRTUAL",
                    column.name
                );
                return Err(Error::user("UNSUPPORTED_METADATA", message));
            }
        }
    }
    Ok((timestamp, headers))
}

fn is_time(data_type: &DataType) -> bool {
    use LogicalType::{Timestamp, TimestampLtz};
    matches!(data_type.logical, Timestamp(_) | TimestampLtz(_))
}

impl TableSink for KafkaSink {
    fn keeps_changes(&self) -> bool {
        !self.plan.layout.is_upsert
    }

    fn changelog_mode(&self, offered: ChangelogMode) -> Result<ChangelogMode> {
        if self.plan.layout.is_upsert {
            return Ok(ChangelogMode {
                update_before: false,
                ..offered
            });
        }
        let value = &self.plan.layout.value;
        let taken = value.format.encoded_mode();
        let refused = RowKind::ALL
            .into_iter()
            .find(|kind| offered.contains(*kind) && !taken.contains(*kind));
        let what = match refused {
            None => return Ok(offered),
            Some(RowKind::Delete) => "delete",
            Some(_) => "update",
        };
        let format = value.format.identifier();
        Err(Error::user(
            "UNSUPPORTED_CHANGELOG",
            format!(
                "table {} with format '{format}' cannot take {what} changes, which the query \
                 produces ({offered}); use connector 'upsert-kafka', or a format that encodes \
                 changes, such as 'debezium-json'",
                self.table
            ),
        ))
    }

    fn parallelism(&self) -> Option<usize> {
        self.parallelism
    }

    /// Changes of one key are written by one writer, in order.
    fn partition_columns(&self) -> Vec<usize> {
        match (self.plan.layout.is_upsert, &self.plan.layout.key) {
            (true, Some(key)) => key.columns.clone(),
            _ => Vec::new(),
        }
    }

    fn describe(&self) -> String {
        format!("topic={}, {}", self.plan.topic, self.plan.layout.describe())
    }

    fn create_writer(&self, context: WriterContext) -> Result<Box<dyn SinkWriter>> {
        let cancelled = self.is_cancelled.clone();
        let writer = KafkaWriter::new(self.plan.clone(), context, self.pool.clone(), cancelled)?;
        Ok(Box::new(writer))
    }

    fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::SeqCst);
    }

    /// Made once for each attempt, before its writers.
    fn create_committer(&self) -> Result<Option<Box<dyn Committer>>> {
        self.is_cancelled.store(false, Ordering::SeqCst);
        Ok(self.pool.clone().map(|pool| {
            pool.begin_attempt();
            let committer: Box<dyn Committer> = Box::new(TransactionCommitter { pool });
            committer
        }))
    }
}
