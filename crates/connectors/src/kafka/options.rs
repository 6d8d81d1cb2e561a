//! The options of `kafka` and `upsert-kafka`.

use flott_core::dead_letter::DEAD_LETTER_TABLE;
use flott_core::options::{OptionDef, OptionType};
use flott_core::watermark;

pub(super) const TOPIC: OptionDef = OptionDef::new(
    "topic",
    OptionType::String,
    "the topic to read or write; a source takes a list such as 'orders;returns'",
)
.example("orders");
pub(super) const TOPIC_PATTERN: OptionDef = OptionDef::new(
    "topic-pattern",
    OptionType::String,
    "read every topic whose whole name matches this regular expression, instead of 'topic'",
)
.example("orders-.*");
pub(super) const BOOTSTRAP_SERVERS: OptionDef = OptionDef::new(
    "properties.bootstrap.servers",
    OptionType::String,
    "brokers to begin with, such as 'kafka1:9092,kafka2:9092'",
)
.example("localhost:9092")
.required();
pub(super) const GROUP_ID: OptionDef = OptionDef::new(
    "properties.group.id",
    OptionType::String,
    "the consumer group that offsets are committed for with each checkpoint; without it none are",
)
.example("shop");
const PROPERTIES: OptionDef = OptionDef::new(
    "properties.*",
    OptionType::String,
    "any property of Kafka's clients, by the Java client's name or librdkafka's: SASL, TLS, sizes, time-outs",
)
.example_of("properties.client.id", "shop");
pub(super) const FORMAT: OptionDef = OptionDef::new(
    "format",
    OptionType::String,
    "how the messages' values are written; its options begin with its name, such as 'json.'",
)
.example("json");
pub(super) const KEY_FORMAT: OptionDef = OptionDef::new(
    "key.format",
    OptionType::String,
    "how the messages' keys are written; its options begin with 'key.' and its name, such as 'key.json.'",
)
.example("json");
pub(super) const VALUE_FORMAT: OptionDef = OptionDef::new(
    "value.format",
    OptionType::String,
    "the same as 'format'; its options begin with 'value.' and its name, such as 'value.json.'",
)
.example("json");
pub(super) const KEY_FIELDS: OptionDef = OptionDef::new(
    "key.fields",
    OptionType::String,
    "the columns that make the key, such as 'user_id;item_id'",
)
.example("id");
pub(super) const KEY_FIELDS_PREFIX: OptionDef = OptionDef::new(
    "key.fields-prefix",
    OptionType::String,
    "what the names of the key's columns begin with in the table, but not in the key itself; needs 'value.fields-include' = 'EXCEPT_KEY'",
)
.example("key_")
.default("");
pub(super) const VALUE_FIELDS_INCLUDE: OptionDef = OptionDef::new(
    "value.fields-include",
    OptionType::Enum(&["ALL", "EXCEPT_KEY"]),
    "whether the key's columns stand in the value too",
)
.default("ALL");
pub(super) const STARTUP_MODE: OptionDef = OptionDef::new(
    "scan.startup.mode",
    OptionType::Enum(&[
        "earliest-offset",
        "latest-offset",
        "group-offsets",
        "timestamp",
        "specific-offsets",
    ]),
    "where reading begins when there is no checkpoint to go on from",
)
.example("earliest-offset")
.default("group-offsets");
pub(super) const STARTUP_OFFSETS: OptionDef = OptionDef::new(
    "scan.startup.specific-offsets",
    OptionType::String,
    "the offset of each partition to begin with, such as 'partition:0,offset:42;partition:1,offset:300'",
)
.example("partition:0,offset:0");
pub(super) const STARTUP_TIMESTAMP: OptionDef = OptionDef::new(
    "scan.startup.timestamp-millis",
    OptionType::Integer,
    "begin with the first message that is not older than this, in milliseconds since 1970-01-01 UTC",
)
.example("1700000000000");
pub(super) const BOUNDED_MODE: OptionDef = OptionDef::new(
    "scan.bounded.mode",
    OptionType::Enum(&[
        "unbounded",
        "latest-offset",
        "group-offsets",
        "timestamp",
        "specific-offsets",
    ]),
    "where reading ends",
)
.example("latest-offset")
.default("unbounded");
pub(super) const BOUNDED_OFFSETS: OptionDef = OptionDef::new(
    "scan.bounded.specific-offsets",
    OptionType::String,
    "the first offset of each partition that is not read any more, such as 'partition:0,offset:100'",
)
.example("partition:0,offset:1");
pub(super) const BOUNDED_TIMESTAMP: OptionDef = OptionDef::new(
    "scan.bounded.timestamp-millis",
    OptionType::Integer,
    "end before the first message that is not older than this, in milliseconds since 1970-01-01 UTC",
)
.example("4102444800000");
pub(super) const DISCOVERY_INTERVAL: OptionDef = OptionDef::new(
    "scan.topic-partition-discovery.interval",
    OptionType::Duration,
    "how often to look for new topics and partitions; '0' looks once",
)
.default("5 min");
pub(super) const SCAN_PARALLELISM: OptionDef = OptionDef::new(
    "scan.parallelism",
    OptionType::Integer,
    "how many readers there are",
);
pub(super) const PARTITIONER: OptionDef = OptionDef::new(
    "sink.partitioner",
    OptionType::Enum(&["default", "fixed", "round-robin"]),
    "which partition a message goes to: by its key as Kafka's clients do, one for each writer, or one after the other",
)
.default("default");
pub(super) const SEMANTIC: OptionDef = OptionDef::new(
    "sink.semantic",
    OptionType::Enum(&["exactly-once", "at-least-once", "none"]),
    "the old name of 'sink.delivery-guarantee'",
)
.example("exactly-once");
pub(super) const GUARANTEE: OptionDef = OptionDef::new(
    "sink.delivery-guarantee",
    OptionType::Enum(&["exactly-once", "at-least-once", "none"]),
    "what holds after a failure: every message once (transactions that are part of the checkpoint), at least once, or nothing",
)
.example("exactly-once")
.default("at-least-once");
pub(super) const TRANSACTIONAL_PREFIX: OptionDef = OptionDef::new(
    "sink.transactional-id-prefix",
    OptionType::String,
    "what the names of transactions begin with: one for each job that writes to the cluster, the same after a restart; needed for exactly-once",
)
.example("shop");
pub(super) const SINK_PARALLELISM: OptionDef = OptionDef::new(
    "sink.parallelism",
    OptionType::Integer,
    "how many writers there are",
);
pub(super) const FLUSH_MAX_ROWS: OptionDef = OptionDef::new(
    "sink.buffer-flush.max-rows",
    OptionType::Integer,
    "gather changes and write the last one of each key when there are so many keys; 0 writes at once; needs 'sink.buffer-flush.interval' too",
)
.example("1000")
.default("0");
pub(super) const FLUSH_INTERVAL: OptionDef = OptionDef::new(
    "sink.buffer-flush.interval",
    OptionType::Duration,
    "gather changes and write the last one of each key this often; 0 writes at once; needs 'sink.buffer-flush.max-rows' too",
)
.default("0");

/// Every option of `kafka` but those of formats.
pub(super) const KAFKA: &[OptionDef] = &[
    TOPIC,
    TOPIC_PATTERN,
    BOOTSTRAP_SERVERS,
    GROUP_ID,
    PROPERTIES,
    FORMAT,
    KEY_FORMAT,
    KEY_FIELDS,
    KEY_FIELDS_PREFIX,
    VALUE_FORMAT,
    VALUE_FIELDS_INCLUDE,
    STARTUP_MODE,
    STARTUP_OFFSETS,
    STARTUP_TIMESTAMP,
    BOUNDED_MODE,
    BOUNDED_OFFSETS,
    BOUNDED_TIMESTAMP,
    DISCOVERY_INTERVAL,
    SCAN_PARALLELISM,
    DEAD_LETTER_TABLE,
    watermark::EMIT_STRATEGY,
    watermark::IDLE_TIMEOUT,
    watermark::ALIGNMENT_GROUP,
    watermark::ALIGNMENT_MAX_DRIFT,
    watermark::ALIGNMENT_UPDATE_INTERVAL,
    PARTITIONER,
    SEMANTIC,
    GUARANTEE,
    TRANSACTIONAL_PREFIX,
    SINK_PARALLELISM,
];

/// Every option of `upsert-kafka` but those of formats.
pub(super) const UPSERT_KAFKA: &[OptionDef] = &[
    TOPIC,
    BOOTSTRAP_SERVERS,
    GROUP_ID,
    PROPERTIES,
    KEY_FORMAT,
    KEY_FIELDS_PREFIX,
    VALUE_FORMAT,
    VALUE_FIELDS_INCLUDE,
    BOUNDED_MODE,
    BOUNDED_OFFSETS,
    BOUNDED_TIMESTAMP,
    DISCOVERY_INTERVAL,
    SCAN_PARALLELISM,
    DEAD_LETTER_TABLE,
    watermark::EMIT_STRATEGY,
    watermark::IDLE_TIMEOUT,
    watermark::ALIGNMENT_GROUP,
    watermark::ALIGNMENT_MAX_DRIFT,
    watermark::ALIGNMENT_UPDATE_INTERVAL,
    SINK_PARALLELISM,
    FLUSH_MAX_ROWS,
    FLUSH_INTERVAL,
    GUARANTEE,
    TRANSACTIONAL_PREFIX,
];
