//! Dead letters: what cannot be read goes to a topic of its own, once, whatever happens meanwhile.

use std::time::Duration;

use libtest_mimic::Failed;

use crate::clients::Record;
use crate::flott::{Script, expect, rows};
use crate::waiting::{pause, wait_for};
use crate::{Case, Kafka};

pub const CASES: &[Case] = &[
    ("letters/of_every_format", of_every_format),
    ("letters/come_once_through_kills", come_once_through_kills),
];

fn connect(kafka: &Kafka, topic: &str) -> String {
    format!(
        "'connector' = 'kafka', 'properties.bootstrap.servers' = '{}', 'topic' = '{topic}'",
        kafka.address
    )
}

const BOUNDED: &str =
    "'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset'";

/// A format with a message that it cannot read, and one that it can behind it.
struct Spoilt {
    options: &'static str,
    columns: &'static str,
    bad: &'static str,
    /// Holds 5; `None` where reading needs a registry.
    good: Option<&'static str>,
}

const fn spoilt(options: &'static str, bad: &'static str, good: Option<&'static str>) -> Spoilt {
    Spoilt {
        options,
        columns: "n INT, m INT",
        bad,
        good,
    }
}

const FORMATS: &[Spoilt] = &[
    spoilt("'format' = 'json'", "nonsense", Some("{\"n\":5,\"m\":6}")),
    spoilt(
        "'format' = 'csv', 'csv.field-delimiter' = ';'",
        "x;y",
        Some("5;6"),
    ),
    spoilt(
        "'format' = 'avro'",
        "\u{1}\u{2}no record",
        Some("\u{2}\u{a}\u{2}\u{c}"),
    ),
    spoilt(
        "'format' = 'avro-confluent', 'avro-confluent.url' = 'http://localhost:9'",
        "no magic byte",
        None,
    ),
    spoilt(
        "'format' = 'debezium-avro-confluent', 'debezium-avro-confluent.url' = 'http://localhost:9'",
        "no magic byte",
        None,
    ),
    spoilt(
        "'format' = 'debezium-json'",
        "{\"after\":{\"n\":5}}",
        Some("{\"before\":null,\"after\":{\"n\":5,\"m\":6},\"op\":\"c\"}"),
    ),
    spoilt(
        "'format' = 'canal-json'",
        "{\"type\":\"INSERT\",\"data\":7}",
        Some("{\"data\":[{\"n\":\"5\",\"m\":\"6\"}],\"type\":\"INSERT\"}"),
    ),
    spoilt(
        "'format' = 'maxwell-json'",
        "{\"type\":\"strange\",\"data\":{\"n\":5}}",
        Some("{\"data\":{\"n\":5,\"m\":6},\"type\":\"insert\"}"),
    ),
    spoilt(
        "'format' = 'ogg-json'",
        "{\"op_type\":\"X\",\"after\":{\"n\":5}}",
        Some("{\"after\":{\"n\":5,\"m\":6},\"op_type\":\"I\"}"),
    ),
    spoilt(
        "'format' = 'protobuf', 'protobuf.message-class-name' = 't.Numbers', \
         'protobuf.descriptor-file' = '${DESCRIPTORS}'",
        "\u{a}\u{7f}cut off",
        Some("\u{8}\u{5}\u{10}\u{6}"),
    ),
    Spoilt {
        options: "'format' = 'raw'",
        columns: "n INT",
        bad: "not four bytes",
        good: Some("\u{0}\u{0}\u{0}\u{5}"),
    },
];

/// A Protobuf field of a number and its bytes.
fn nested(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2, content.len() as u8];
    out.extend_from_slice(content);
    out
}

/// What `protoc` makes of `package t; message Numbers { int32 n = 1; int32 m = 2; }`.
pub fn descriptors() -> Vec<u8> {
    let field = |name: &str, number: u8| {
        // An optional int32.
        let rest = [3 << 3, number, 4 << 3, 1, 5 << 3, 5];
        nested(2, &[&nested(1, name.as_bytes())[..], &rest].concat())
    };
    let message = [nested(1, b"Numbers"), field("n", 1), field("m", 2)].concat();
    let file = [
        nested(1, b"t.proto"),
        nested(2, b"t"),
        nested(4, &message),
        nested(12, b"proto3"),
    ];
    nested(1, &file.concat())
}

/// What cannot be read is a letter with its bytes, place and reason; what comes behind is read.
fn of_every_format(kafka: &Kafka) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("numbers.desc");
    std::fs::write(&file, descriptors())?;
    for (place, spoilt) in FORMATS.iter().enumerate() {
        let (topic, errors) = (format!("spoilt-{place}"), format!("spoilt-{place}-errors"));
        kafka.clients.create_topic(&topic, 1);
        kafka.clients.create_topic(&errors, 1);
        let keyed = |value: &&str| Record {
            key: Some("k".to_string()),
            ..Record::value(0, *value)
        };
        let messages = [Some(spoilt.bad), spoilt.good];
        let messages: Vec<Record> = messages.iter().flatten().map(keyed).collect();
        kafka.clients.produce(&topic, &messages);
        let options = spoilt
            .options
            .replace("${DESCRIPTORS}", &file.display().to_string());
        let letters = format!(
            "CREATE TABLE errors (topic STRING, `partition` INT, `offset` BIGINT, raw_key BYTES, \
             raw BYTES, reason STRING) WITH ({}, 'format' = 'json', {BOUNDED});\n",
            connect(kafka, &errors)
        );
        let sql = format!(
            "{letters}CREATE TABLE t ({}) WITH ({}, {options}, {BOUNDED}, \
             'dead-letter.table' = 'errors');\nSELECT n FROM t;",
            spoilt.columns,
            connect(kafka, &topic)
        );
        let in_format = |error: String| format!("{options}: {error}");
        let good: Vec<String> = spoilt.good.iter().map(|_| "5".to_string()).collect();
        expect(rows(&sql).map_err(in_format)?, good).map_err(in_format)?;
        let sql = format!(
            "{letters}SELECT topic, `partition`, `offset`, CAST(raw_key AS STRING), \
             CAST(raw AS STRING), \
             CHAR_LENGTH(reason) > 10 FROM errors;"
        );
        let expected = format!("{topic}|0|0|k|{}|TRUE", spoilt.bad);
        expect(rows(&sql).map_err(in_format)?, vec![expected]).map_err(in_format)?;
    }
    Ok(())
}

/// Every seventh message is spoilt; the job is killed again and again.
fn come_once_through_kills(kafka: &Kafka) -> Result<(), Failed> {
    for topic in ["mixed", "mixed-good", "mixed-bad"] {
        kafka.clients.create_topic(topic, 2);
    }
    let once = |name: &str| {
        format!(
            "{}, 'format' = 'json', 'sink.delivery-guarantee' = 'exactly-once', \
             'sink.transactional-id-prefix' = '{name}'",
            connect(kafka, name)
        )
    };
    let script = Script::new(&format!(
        "CREATE TABLE bad (`partition` INT, `offset` BIGINT) WITH ({});\n\
         CREATE TABLE good (n BIGINT) WITH ({});\n\
         CREATE TABLE mixed (n BIGINT) WITH ({}, 'format' = 'json', \
         'scan.startup.mode' = 'earliest-offset', 'dead-letter.table' = 'bad');\n\
         SET 'execution.checkpointing.interval' = '200 ms';\nINSERT INTO good SELECT n FROM mixed;",
        once("mixed-bad"),
        once("mixed-good"),
        connect(kafka, "mixed")
    ));
    let state = tempfile::tempdir()?;
    let folder = state.path().display().to_string();
    let arguments = ["-p", "2", "--name", "letters", "--state-dir", &folder];
    let record = |n: usize| {
        let text = match n % 7 {
            0 => "spoilt".to_string(),
            _ => format!("{{\"n\":{n}}}"),
        };
        Record::value((n % 2) as i32, text)
    };
    let all: Vec<Record> = (0..2_100).map(record).collect();
    for (round, chunk) in all.chunks(700).enumerate() {
        let mut running = script.start(&arguments);
        kafka.clients.produce("mixed", chunk);
        pause(Duration::from_millis(800 + 430 * round as u64));
        expect(running.is_running(), true).map_err(|_| script.errors())?;
        running.kill();
    }
    let mut running = script.start(&arguments);
    let count = |topic: &str| kafka.clients.consume(topic).len();
    let is_complete = wait_for(Duration::from_secs(60), || {
        !running.is_running() || (count("mixed-good") >= 1_800 && count("mixed-bad") >= 300)
    });
    expect(is_complete && running.is_running(), true).map_err(|_| script.errors())?;
    expect(running.interrupt(), true)?;
    expect((count("mixed-good"), count("mixed-bad")), (1_800, 300))?;
    let mut letters: Vec<_> = kafka.clients.consume("mixed-bad");
    letters.sort_by(|a, b| a.value.cmp(&b.value));
    letters.dedup_by(|a, b| a.value == b.value);
    expect(letters.len(), 300)?;
    Ok(())
}
