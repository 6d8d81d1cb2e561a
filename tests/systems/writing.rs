//! The sink: keys, partitions, metadata, changes, and Java's clients at the other end.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::Stdio;

use libtest_mimic::Failed;

use crate::clients::Record;
use crate::flott::{expect, rows, rows_with};
use crate::{Case, Kafka};

pub const CASES: &[Case] = &[
    ("keys_and_values_are_written", keys_and_values_are_written),
    ("keys_find_javas_partitions", keys_find_javas_partitions),
    ("fixed_partitioner", fixed_partitioner),
    ("time_and_headers_are_written", time_and_headers_are_written),
    (
        "changes_need_a_format_that_holds_them",
        changes_need_a_format_that_holds_them,
    ),
    (
        "a_message_that_is_too_large_is_named",
        a_message_that_is_too_large_is_named,
    ),
];

fn connect(kafka: &Kafka) -> String {
    format!(
        "'connector' = 'kafka', 'properties.bootstrap.servers' = '{}'",
        kafka.address
    )
}

fn keys_and_values_are_written(kafka: &Kafka) -> Result<(), Failed> {
    kafka.clients.create_topic("written", 1);
    rows(&format!(
        "CREATE TABLE t (id INT, v STRING) WITH ({}, 'topic' = 'written', \
         'key.format' = 'json', 'key.fields' = 'id', 'value.format' = 'json', \
         'value.fields-include' = 'EXCEPT_KEY');\n\
         INSERT INTO t VALUES (1, 'a'), (2, CAST(NULL AS STRING));",
        connect(kafka)
    ))?;
    let mut found: Vec<_> = kafka
        .clients
        .consume("written")
        .into_iter()
        .map(|r| (r.key, r.value))
        .collect();
    found.sort();
    let pair = |k: &str, v: &str| (Some(k.to_string()), Some(v.to_string()));
    expect(
        found,
        vec![
            pair("{\"id\":1}", "{\"v\":\"a\"}"),
            pair("{\"id\":2}", "{\"v\":null}"),
        ],
    )?;
    Ok(())
}

/// The Java console producer and this sink put a key into the same partition, and the Java console
/// consumer reads what was written.
fn keys_find_javas_partitions(kafka: &Kafka) -> Result<(), Failed> {
    kafka.clients.create_topic("java", 8);
    let keys: Vec<String> = (0..40).map(|n| format!("key-{n}")).collect();
    let broker = kafka.broker.lock().map_err(|e| e.to_string())?;
    let mut producer = broker
        .java(&[
            "org.apache.kafka.tools.ConsoleProducer",
            "--bootstrap-server",
            &kafka.address,
        ])
        .args(["--topic", "java", "--property", "parse.key=true"])
        .args(["--property", "key.separator=="])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let lines: String = keys.iter().map(|k| format!("{k}=java\n")).collect();
    producer
        .stdin
        .take()
        .ok_or("no input")?
        .write_all(lines.as_bytes())?;
    expect(producer.wait()?.success(), true)?;
    let values: Vec<String> = keys.iter().map(|k| format!("('{k}', 'flott')")).collect();
    rows(&format!(
        "CREATE TABLE t (k STRING, v STRING) WITH ({}, 'topic' = 'java', 'key.format' = 'raw', \
         'key.fields' = 'k', 'value.format' = 'raw', 'value.fields-include' = 'EXCEPT_KEY');\n\
         INSERT INTO t VALUES {};",
        connect(kafka),
        values.join(", ")
    ))?;
    let mut places: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
    for record in kafka.clients.consume("java") {
        places
            .entry(record.key.unwrap_or_default())
            .or_default()
            .insert(record.partition);
    }
    expect(places.len(), keys.len())?;
    let torn: Vec<_> = places.iter().filter(|(_, p)| p.len() > 1).collect();
    expect(torn, vec![])?;
    let output = broker
        .java(&[
            "org.apache.kafka.tools.consumer.ConsoleConsumer",
            "--bootstrap-server",
            &kafka.address,
        ])
        .args([
            "--topic",
            "java",
            "--from-beginning",
            "--max-messages",
            "80",
            "--timeout-ms",
            "60000",
        ])
        .stderr(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    expect(text.lines().filter(|l| *l == "flott").count(), keys.len())?;
    expect(text.lines().filter(|l| *l == "java").count(), keys.len())?;
    Ok(())
}

fn fixed_partitioner(kafka: &Kafka) -> Result<(), Failed> {
    kafka.clients.create_topic("fixed", 3);
    rows_with(
        &format!(
            "CREATE TABLE t (n INT) WITH ({}, 'topic' = 'fixed', 'format' = 'json', \
             'sink.partitioner' = 'fixed', 'sink.parallelism' = '1');\n\
             INSERT INTO t VALUES (1), (2), (3), (4), (5), (6);",
            connect(kafka)
        ),
        &["-p", "2"],
    )?;
    let records = kafka.clients.consume("fixed");
    expect(records.len(), 6)?;
    expect(records.iter().all(|r| r.partition == 0), true)?;
    Ok(())
}

fn time_and_headers_are_written(kafka: &Kafka) -> Result<(), Failed> {
    kafka.clients.create_topic("dressed", 1);
    rows(&format!(
        "SET 'table.local-time-zone' = 'UTC';\n\
         CREATE TABLE t (n INT, ts TIMESTAMP_LTZ(3) METADATA FROM 'timestamp', \
         headers MAP<STRING, BYTES> METADATA) WITH ({}, 'topic' = 'dressed', 'format' = 'json');\n\
         INSERT INTO t VALUES (1, TO_TIMESTAMP_LTZ(1700000000123, 3), MAP['h', CAST('v' AS BYTES)]);",
        connect(kafka)
    ))?;
    let records = kafka.clients.consume("dressed");
    expect(
        records,
        vec![Record {
            timestamp_ms: 1_700_000_000_123,
            headers: BTreeMap::from([("h".to_string(), "v".to_string())]),
            ..Record::value(0, "{\"n\":1}")
        }],
    )?;
    Ok(())
}

fn changes_need_a_format_that_holds_them(kafka: &Kafka) -> Result<(), Failed> {
    kafka.clients.create_topic("changes", 1);
    let insert = |format: &str| {
        rows(&format!(
            "CREATE TABLE t (k INT, c BIGINT) WITH ({}, 'topic' = 'changes', 'format' = '{format}');\n\
             INSERT INTO t SELECT k, COUNT(*) FROM (VALUES (1), (1), (2)) AS v(k) GROUP BY k;",
            connect(kafka)
        ))
    };
    match insert("json") {
        Err(error) if error.contains("upsert-kafka") => {}
        other => return Err(format!("{other:?}").into()),
    }
    insert("debezium-json")?;
    let read = rows(&format!(
        "CREATE TABLE t (k INT, c BIGINT) WITH ({}, 'topic' = 'changes', 'format' = 'debezium-json', \
         'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset');\n\
         SET 'execution.runtime-mode' = 'batch';\n\
         SELECT SUM(c) FROM t;",
        connect(kafka)
    ));
    // Batch mode refuses changes in Flink too; as a stream their sum is what was counted.
    if let Ok(rows) = read {
        expect(rows, vec!["3".to_string()])?;
    }
    Ok(())
}

fn a_message_that_is_too_large_is_named(kafka: &Kafka) -> Result<(), Failed> {
    kafka.clients.create_topic("large", 1);
    let result = rows(&format!(
        "CREATE TABLE t (v STRING) WITH ({}, 'topic' = 'large', 'format' = 'raw', \
         'properties.max.request.size' = '2000');\n\
         INSERT INTO t VALUES (REPEAT('x', 5000));",
        connect(kafka)
    ));
    match result {
        Err(error) if error.contains("topic 'large'") && error.contains("5000 bytes") => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}
