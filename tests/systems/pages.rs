//! The pages about Kafka's tables, and about the formats that need a registry or a file: with the
//! example of each option a row is written and read again.

use std::collections::BTreeMap;

use flott_core::options::OptionDef;
use libtest_mimic::Failed;

use crate::flott::{expect, rows_with};
use crate::letters::descriptors;
use crate::schema_registry::TestRegistry;
use crate::{Case, Kafka};

pub const CASES: &[Case] = &[
    ("options_of_kafka_are_as_shown", |kafka| {
        options_of_tables(kafka, "kafka", KAFKA)
    }),
    ("options_of_upsert_kafka_are_as_shown", |kafka| {
        options_of_tables(kafka, "upsert-kafka", UPSERT_KAFKA)
    }),
    ("options_of_registries_are_as_shown", options_of_registries),
    ("options_of_protobuf_are_as_shown", options_of_protobuf),
];

/// Keys and values; an empty value takes the key away.
type Pairs<'a> = &'a [(&'a str, &'a str)];

const KAFKA: Pairs<'_> = &[
    ("format", "json"),
    ("properties.group.id", "pages"),
    ("scan.startup.mode", "earliest-offset"),
    ("scan.bounded.mode", "latest-offset"),
];

const UPSERT_KAFKA: Pairs<'_> = &[
    ("key.format", "json"),
    ("value.format", "json"),
    ("scan.bounded.mode", "latest-offset"),
];

/// What stands beside an option.
fn companions(key: &str) -> Pairs<'static> {
    match key {
        "topic-pattern" => &[("topic", "")],
        "value.format" => &[("format", "")],
        "key.format" => &[("key.fields", "id")],
        "key.fields" => &[("key.format", "json")],
        "key.fields-prefix" => &[
            ("key.format", "json"),
            ("key.fields", "key_id"),
            ("value.fields-include", "EXCEPT_KEY"),
        ],
        "value.fields-include" => &[("key.format", "json"), ("key.fields", "id")],
        "scan.startup.specific-offsets" => &[("scan.startup.mode", "specific-offsets")],
        "scan.startup.timestamp-millis" => &[("scan.startup.mode", "timestamp")],
        "scan.bounded.specific-offsets" => &[("scan.bounded.mode", "specific-offsets")],
        "scan.bounded.timestamp-millis" => &[("scan.bounded.mode", "timestamp")],
        "scan.watermark.alignment.group" => &[("scan.watermark.alignment.max-drift", "1 min")],
        "scan.watermark.alignment.max-drift" => &[("scan.watermark.alignment.group", "shop")],
        "scan.watermark.alignment.update-interval" => &[
            ("scan.watermark.alignment.group", "shop"),
            ("scan.watermark.alignment.max-drift", "1 min"),
        ],
        "sink.delivery-guarantee" | "sink.semantic" => &[("sink.transactional-id-prefix", "pages")],
        "sink.transactional-id-prefix" => &[("sink.delivery-guarantee", "exactly-once")],
        "sink.buffer-flush.max-rows" => &[("sink.buffer-flush.interval", "1 s")],
        "sink.buffer-flush.interval" => &[("sink.buffer-flush.max-rows", "10")],
        "basic-auth.credentials-source" => &[("basic-auth.user-info", "u:p")],
        "basic-auth.user-info" => &[("basic-auth.credentials-source", "USER_INFO")],
        "bearer-auth.credentials-source" => &[("bearer-auth.token", "secret")],
        "bearer-auth.token" => &[("bearer-auth.credentials-source", "STATIC_TOKEN")],
        _ => &[],
    }
}

/// A table of one test, and the row that goes there and back.
struct Table<'a> {
    columns: &'a str,
    row: &'a str,
    /// What is read again, and its text.
    column: &'a str,
    text: &'a str,
    options: BTreeMap<String, String>,
}

impl Table<'_> {
    fn set(&mut self, prefix: &str, pairs: Pairs<'_>) {
        for (key, value) in pairs {
            let key = format!("{prefix}{key}");
            match value.is_empty() {
                true => drop(self.options.remove(&key)),
                false => drop(self.options.insert(key, value.to_string())),
            }
        }
    }

    fn options(&self) -> String {
        let pairs = self.options.iter();
        let pairs = pairs.map(|(key, value)| format!("'{key}' = '{value}'"));
        pairs.collect::<Vec<_>>().join(", ")
    }

    /// Writes with the options of `self`, or of `writer`, and reads.
    fn round_trip(&self, writer: Option<&Self>, option: &str) -> Result<(), Failed> {
        let Self { columns, row, .. } = self;
        let sql = format!(
            "CREATE TABLE letters (raw BYTES) WITH ('connector' = 'blackhole');\n\
             CREATE TABLE w ({columns}) WITH ({});\nCREATE TABLE r ({columns}) WITH ({});\n\
             INSERT INTO w VALUES ({row});\nSELECT {} FROM r;",
            writer.unwrap_or(self).options(),
            self.options(),
            self.column
        );
        let found = rows_with(&sql, &["-p", "1"]).map_err(|e| format!("{option}: {e}\n{sql}"))?;
        let is_same = expect(found, vec![self.text.to_string()]);
        Ok(is_same.map_err(|e| format!("{option}: {e}\n{sql}"))?)
    }
}

/// A key and a value that the page shows.
fn shown(option: &OptionDef) -> Result<(&'static str, &'static str), Failed> {
    let shown = option.shown();
    shown.ok_or_else(|| format!("the page shows no value of '{}'", option.key).into())
}

fn options_of_tables(kafka: &Kafka, connector: &str, base: Pairs<'_>) -> Result<(), Failed> {
    let all = flott_connectors::all();
    let list = all.iter().find(|c| c.identifier() == connector);
    let list = list.ok_or("no such connector")?.options();
    for (place, option) in list.iter().enumerate() {
        let (key, value) = shown(option)?;
        let topic = format!("page-{connector}-{place}");
        kafka.clients.create_topic(&topic, 1);
        let id = if key == "key.fields-prefix" {
            "key_id"
        } else {
            "id"
        };
        let is_keyed = connector == "upsert-kafka";
        let primary = format!(", PRIMARY KEY ({id}) NOT ENFORCED");
        let mut table = Table {
            columns: &format!(
                "{id} BIGINT, item STRING, at TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL, \
                 WATERMARK FOR at AS at{}",
                if is_keyed { &primary } else { "" }
            ),
            row: "1, 'tea'",
            column: "item",
            text: "tea",
            options: BTreeMap::new(),
        };
        table.set("", &[("connector", connector), ("topic", &topic)]);
        table.set("", &[("properties.bootstrap.servers", &kafka.address)]);
        table.set("", base);
        if key == "topic-pattern" {
            let mut reader = Table {
                options: table.options.clone(),
                ..table
            };
            reader.set("", companions(key));
            reader.set("", &[(key, &format!("page-{connector}-{place}.*"))]);
            reader.round_trip(Some(&table), key)?;
            continue;
        }
        let is_named = |(key, _): &&(&str, &str)| !(is_keyed && *key == "key.fields");
        let beside: Vec<_> = companions(key).iter().filter(is_named).copied().collect();
        table.set("", &beside);
        if !matches!(key, "topic" | "properties.bootstrap.servers") {
            table.set("", &[(key, value)]);
        }
        table.round_trip(None, key)?;
    }
    Ok(())
}

/// The options of a format in a table of messages; `own` gives a test's values in place of shown ones.
fn options_of_format(
    kafka: &Kafka,
    format: &str,
    new_table: impl Fn() -> Table<'static>,
    own: &dyn Fn(&str) -> Option<String>,
) -> Result<(), Failed> {
    let all = flott_formats::all();
    let list = all.iter().find(|f| f.identifier() == format);
    let list = list.ok_or("no such format")?.options();
    let prefix = format!("{format}.");
    for (place, option) in list.iter().enumerate() {
        let (key, value) = shown(option)?;
        let topic = format!("page-{format}-{place}");
        kafka.clients.create_topic(&topic, 1);
        let mut table = new_table();
        table.set("", &[("connector", "kafka"), ("topic", &topic)]);
        table.set("", &[("properties.bootstrap.servers", &kafka.address)]);
        table.set("", KAFKA);
        table.set("", &[("format", format)]);
        for required in list {
            if let Some(value) = own(required.key).filter(|_| required.required) {
                table.set(&prefix, &[(required.key, &value)]);
            }
        }
        table.set(&prefix, companions(key));
        if format.ends_with("confluent") {
            table.set(&prefix, &[("subject", &format!("{topic}-value"))]);
        }
        let value = own(key).unwrap_or_else(|| value.to_string());
        table.set(&prefix, &[(key, &value)]);
        table.round_trip(None, &format!("{prefix}{key}"))?;
    }
    Ok(())
}

fn options_of_registries(kafka: &Kafka) -> Result<(), Failed> {
    let registry = TestRegistry::start();
    let folder = tempfile::tempdir()?;
    let pem = crate::certificates::make(folder.path()).ok();
    let envelope = r#"{"type": "record", "name": "envelope", "fields": [
        {"name": "before", "type": ["null", {"type": "record", "name": "row", "fields": [
            {"name": "id", "type": ["null", "long"]}, {"name": "item", "type": ["null", "string"]}]}]},
        {"name": "after", "type": ["null", "row"]}, {"name": "op", "type": ["null", "string"]}]}"#;
    for format in ["avro-confluent", "debezium-avro-confluent"] {
        let own = |key: &str| {
            let file = |file: &std::path::Path| file.display().to_string();
            match (key, &pem) {
                ("url", _) => Some(registry.url.clone()),
                ("basic-auth.user-info", _) => Some("u:p".to_string()),
                ("schema", _) if format.starts_with("debezium") => Some(envelope.to_string()),
                ("ssl.keystore.location", Some(pem)) => Some(file(&pem.client)),
                ("ssl.truststore.location", Some(pem)) => Some(file(&pem.authority)),
                _ => None,
            }
        };
        options_of_format(kafka, format, orders, &own)?;
    }
    Ok(())
}

fn orders() -> Table<'static> {
    Table {
        columns: "id BIGINT, item STRING",
        row: "1, 'tea'",
        column: "item",
        text: "tea",
        options: BTreeMap::new(),
    }
}

fn options_of_protobuf(kafka: &Kafka) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("numbers.desc");
    std::fs::write(&file, descriptors())?;
    let own = |key: &str| match key {
        "descriptor-file" => Some(file.display().to_string()),
        "message-class-name" => Some("t.Numbers".to_string()),
        _ => None,
    };
    let numbers = || Table {
        columns: "n INT, m INT",
        row: "5, 6",
        column: "m",
        text: "6",
        ..orders()
    };
    options_of_format(kafka, "protobuf", numbers, &own)
}
