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

fn of_every_format(kafka: &Kafka) -> Result<(), Failed> {
    kafka.clients.create_topic("spoilt", 1);
    kafka.clients.create_topic("spoilt-errors", 1);
    let bad = |key: &str, value: &str| Record {
        key: Some(key.to_string()),
        ..Record::value(0, value)
    };
    kafka
        .clients
        .produce("spoilt", &[bad("k", "\u{1}\u{2}no record")]);
    let avro = "'format' = 'avro'";
    let formats = [
        "'format' = 'json'",
        "'format' = 'csv', 'csv.field-delimiter' = ';'",
        avro,
        "'format' = 'debezium-json'",
    ];
    for format in formats {
        let sql = format!(
            "CREATE TABLE errors (topic STRING, `partition` INT, `offset` BIGINT, raw_key BYTES, \
             raw BYTES) WITH ({}, 'format' = 'json', {BOUNDED});\n\
             CREATE TABLE t (n INT, m INT) WITH ({}, {format}, {BOUNDED}, \
             'dead-letter.table' = 'errors');\nSELECT n FROM t;",
            connect(kafka, "spoilt-errors"),
            connect(kafka, "spoilt")
        );
        expect(rows(&sql).map_err(|e| format!("{format}: {e}"))?, vec![])?;
        let letters = kafka.clients.consume("spoilt-errors");
        let last = letters.last().and_then(|r| r.value.clone());
        expect(
            last.as_deref(),
            Some(
                "{\"topic\":\"spoilt\",\"partition\":0,\"offset\":0,\"raw_key\":\"aw==\",\
                 \"raw\":\"AQJubyByZWNvcmQ=\"}",
            ),
        )
        .map_err(|e| format!("{format}: {e}"))?;
    }
    expect(kafka.clients.consume("spoilt-errors").len(), formats.len())?;
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
