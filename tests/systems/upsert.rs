//! `upsert-kafka`: the latest row of each key.

use std::time::Duration;

use libtest_mimic::Failed;

use crate::clients::Record;
use crate::flott::{Script, expect, rows};
use crate::waiting::wait_for;
use crate::{Case, Kafka};

pub const CASES: &[Case] = &[
    ("an_aggregation_is_upserted", an_aggregation_is_upserted),
    ("tombstones_delete", tombstones_delete),
    ("changes_are_gathered", changes_are_gathered),
];

fn upsert(kafka: &Kafka, topic: &str, more: &str) -> String {
    format!(
        "CREATE TABLE u (k STRING, c BIGINT, PRIMARY KEY (k) NOT ENFORCED) WITH (\
         'connector' = 'upsert-kafka', 'properties.bootstrap.servers' = '{}', \
         'topic' = '{topic}', 'key.format' = 'json', 'value.format' = 'json'{more});\n",
        kafka.address
    )
}

fn an_aggregation_is_upserted(kafka: &Kafka) -> Result<(), Failed> {
    kafka.clients.create_topic("words", 2);
    kafka.clients.create_topic("counts", 2);
    let words: Vec<Record> = ["a", "b", "a", "c", "a", "b"]
        .iter()
        .enumerate()
        .map(|(i, w)| Record::value((i % 2) as i32, format!("{{\"w\":\"{w}\"}}")))
        .collect();
    kafka.clients.produce("words", &words);
    let sql = format!(
        "CREATE TABLE words (w STRING) WITH ('connector' = 'kafka', 'topic' = 'words', \
         'properties.bootstrap.servers' = '{}', 'format' = 'json', \
         'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset');\n{}",
        kafka.address,
        upsert(kafka, "counts", "")
    );
    rows(&format!(
        "{sql}INSERT INTO u SELECT w, COUNT(*) FROM words GROUP BY w;"
    ))?;
    let mut last = std::collections::BTreeMap::new();
    for record in kafka.clients.consume("counts") {
        last.insert(
            record.key.unwrap_or_default(),
            record.value.unwrap_or_default(),
        );
    }
    let expected = [("a", 3), ("b", 2), ("c", 1)].map(|(k, c)| {
        (
            format!("{{\"k\":\"{k}\"}}"),
            format!("{{\"k\":\"{k}\",\"c\":{c}}}"),
        )
    });
    expect(last.into_iter().collect::<Vec<_>>(), expected.to_vec())?;
    Ok(())
}

/// What a topic of changes is once all of it is read.
fn tombstones_delete(kafka: &Kafka) -> Result<(), Failed> {
    kafka.clients.create_topic("latest", 1);
    let record = |k: &str, value: Option<i64>| Record {
        key: Some(format!("{{\"k\":\"{k}\"}}")),
        value: value.map(|c| format!("{{\"k\":\"{k}\",\"c\":{c}}}")),
        ..Record::default()
    };
    let changes = [
        record("a", Some(1)),
        record("b", Some(2)),
        record("a", Some(5)),
        record("c", Some(9)),
        record("b", None),
        record("never", None),
    ];
    kafka.clients.produce("latest", &changes);
    kafka.clients.create_topic("latest-sums", 1);
    let source = upsert(kafka, "latest", ", 'scan.bounded.mode' = 'latest-offset'");
    let sums = format!(
        "CREATE TABLE s (one INT, total BIGINT, n BIGINT, PRIMARY KEY (one) NOT ENFORCED) WITH (\
         'connector' = 'upsert-kafka', 'properties.bootstrap.servers' = '{}', \
         'topic' = 'latest-sums', 'key.format' = 'json', 'value.format' = 'json');\n",
        kafka.address
    );
    rows(&format!(
        "{source}{sums}INSERT INTO s SELECT one, SUM(c), COUNT(*) \
         FROM (SELECT 1 AS one, c FROM u) GROUP BY one;"
    ))?;
    let last = kafka
        .clients
        .consume("latest-sums")
        .pop()
        .and_then(|r| r.value);
    expect(last, Some("{\"one\":1,\"total\":14,\"n\":2}".to_string()))?;
    Ok(())
}

fn changes_are_gathered(kafka: &Kafka) -> Result<(), Failed> {
    kafka.clients.create_topic("gathered", 1);
    let sql = format!(
        "CREATE TABLE g (n BIGINT) WITH ('connector' = 'datagen', 'rows-per-second' = '200', \
         'fields.n.kind' = 'sequence', 'fields.n.start' = '1', 'fields.n.end' = '100000');\n{}\
         INSERT INTO u SELECT CAST(MOD(n, 2) AS STRING), COUNT(*) FROM g GROUP BY MOD(n, 2);",
        upsert(
            kafka,
            "gathered",
            ", 'sink.buffer-flush.max-rows' = '1000', 'sink.buffer-flush.interval' = '1 s'"
        )
    );
    let script = Script::new(&sql);
    let mut running = script.start(&["-p", "1"]);
    let came = wait_for(Duration::from_secs(60), || {
        !running.is_running() || kafka.clients.consume("gathered").len() >= 4
    });
    let written = kafka.clients.consume("gathered");
    expect(came && running.is_running(), true).map_err(|_| script.errors())?;
    // Two keys a second; without gathering it would be two for every batch of the generator.
    expect(written.len() < 20, true)?;
    Ok(())
}
