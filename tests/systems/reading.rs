//! The source: where it begins and ends, what a message says beside its value, keys, discovery.

use std::collections::BTreeMap;
use std::time::Duration;

use libtest_mimic::Failed;

use crate::clients::Record;
use crate::flott::{Script, expect, rows, rows_with};
use crate::waiting::{pause, wait_for};
use crate::{Case, Kafka};

pub const CASES: &[Case] = &[
    ("startup_modes", startup_modes),
    ("bounded_modes", bounded_modes),
    ("metadata_columns", metadata_columns),
    ("keys", keys),
    ("lists_and_patterns", lists_and_patterns),
    ("new_partitions_are_found", new_partitions_are_found),
    ("null_and_malformed_values", null_and_malformed_values),
    ("committed_offsets", committed_offsets),
    ("a_missing_topic_is_named", a_missing_topic_is_named),
];

/// Two partitions with the numbers 0 to 4 and 10 to 14, a second apart.
fn numbers(kafka: &Kafka, topic: &str) {
    kafka.clients.create_topic(topic, 2);
    let record = |partition: i32, n: i32| Record {
        timestamp_ms: 1_700_000_000_000 + i64::from(n % 10) * 1_000,
        ..Record::value(partition, format!("{{\"n\":{n}}}"))
    };
    let all = (0..5)
        .map(|n| record(0, n))
        .chain((10..15).map(|n| record(1, n)));
    kafka.clients.produce(topic, &all.collect::<Vec<_>>());
}

fn table(kafka: &Kafka, columns: &str, options: &str) -> String {
    format!(
        "CREATE TABLE t ({columns}) WITH ('connector' = 'kafka', \
         'properties.bootstrap.servers' = '{}', {options});\n",
        kafka.address
    )
}

fn read_numbers(kafka: &Kafka, options: &str) -> Result<String, String> {
    let sql = table(kafka, "n INT", &format!("'format' = 'json', {options}"));
    let mut numbers: Vec<i64> = rows(&format!("{sql}SELECT n FROM t;"))?
        .iter()
        .filter_map(|r| r.parse().ok())
        .collect();
    numbers.sort_unstable();
    let texts: Vec<String> = numbers.iter().map(i64::to_string).collect();
    Ok(texts.join(" "))
}

fn startup_modes(kafka: &Kafka) -> Result<(), Failed> {
    numbers(kafka, "startup");
    kafka.clients.commit("startup-group", "startup", 0, 3);
    let cases = [
        (
            "'scan.startup.mode' = 'earliest-offset'",
            "0 1 2 3 4 10 11 12 13 14",
        ),
        ("'scan.startup.mode' = 'latest-offset'", ""),
        (
            "'properties.group.id' = 'startup-group', 'properties.auto.offset.reset' = 'latest'",
            "3 4",
        ),
        (
            "'properties.group.id' = 'startup-group', 'properties.auto.offset.reset' = 'earliest'",
            "3 4 10 11 12 13 14",
        ),
        (
            "'scan.startup.mode' = 'timestamp', 'scan.startup.timestamp-millis' = '1700000003000'",
            "3 4 13 14",
        ),
        (
            "'scan.startup.mode' = 'specific-offsets', \
             'scan.startup.specific-offsets' = 'partition:0,offset:4;partition:1,offset:1'",
            "4 11 12 13 14",
        ),
    ];
    for (options, expected) in cases {
        let options =
            format!("'topic' = 'startup', 'scan.bounded.mode' = 'latest-offset', {options}");
        expect(read_numbers(kafka, &options)?, expected.to_string())
            .map_err(|e| format!("{options}: {e}"))?;
    }
    let options = "'topic' = 'startup', 'scan.bounded.mode' = 'latest-offset', \
                   'properties.group.id' = 'startup-group'";
    match read_numbers(kafka, options) {
        Err(error) if error.contains("auto.offset.reset") => Ok(()),
        other => Err(format!("a group without offset: {other:?}").into()),
    }
}

fn bounded_modes(kafka: &Kafka) -> Result<(), Failed> {
    numbers(kafka, "bounded");
    for partition in [0, 1] {
        kafka
            .clients
            .commit("bounded-group", "bounded", partition, 2);
    }
    let cases = [
        (
            "'scan.bounded.mode' = 'latest-offset'",
            "0 1 2 3 4 10 11 12 13 14",
        ),
        (
            "'scan.bounded.mode' = 'group-offsets', 'properties.group.id' = 'bounded-group'",
            "0 1 10 11",
        ),
        (
            "'scan.bounded.mode' = 'timestamp', 'scan.bounded.timestamp-millis' = '1700000003000'",
            "0 1 2 10 11 12",
        ),
        (
            "'scan.bounded.mode' = 'specific-offsets', \
             'scan.bounded.specific-offsets' = 'partition:0,offset:1;partition:1,offset:3'",
            "0 10 11 12",
        ),
    ];
    for (options, expected) in cases {
        let options =
            format!("'topic' = 'bounded', 'scan.startup.mode' = 'earliest-offset', {options}");
        expect(read_numbers(kafka, &options)?, expected.to_string())
            .map_err(|e| format!("{options}: {e}"))?;
    }
    Ok(())
}

const BOUNDED: &str =
    "'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset'";

fn metadata_columns(kafka: &Kafka) -> Result<(), Failed> {
    kafka.clients.create_topic("metadata", 1);
    let record = Record {
        timestamp_ms: 1_700_000_000_123,
        headers: BTreeMap::from([("h".to_string(), "v".to_string())]),
        ..Record::value(0, "{\"n\":1}")
    };
    kafka.clients.produce("metadata", &[record]);
    let columns = "n INT, tp STRING METADATA FROM 'topic', p BIGINT METADATA FROM 'partition', \
                   `offset` BIGINT METADATA, ts TIMESTAMP_LTZ(3) METADATA FROM 'timestamp', \
                   kind STRING METADATA FROM 'timestamp-type', e INT METADATA FROM 'leader-epoch', \
                   headers MAP<STRING, BYTES> METADATA";
    let options = format!("'topic' = 'metadata', 'format' = 'json', {BOUNDED}");
    let sql = table(kafka, columns, &options);
    let query = "SET 'table.local-time-zone' = 'UTC';\n\
                 SELECT n, tp, p, `offset`, ts, kind, e, CAST(headers['h'] AS STRING) FROM t;";
    let expected = "1|metadata|0|0|2023-11-14 22:13:20.123|CreateTime|0|v";
    expect(rows(&format!("{sql}{query}"))?, vec![expected.to_string()])?;
    expect(
        rows(&format!("{sql}SELECT COUNT(*), MAX(`offset`) FROM t;"))?.len(),
        1,
    )?;
    Ok(())
}

fn keys(kafka: &Kafka) -> Result<(), Failed> {
    kafka.clients.create_topic("keys", 1);
    let record = Record {
        key: Some("{\"id\":7}".into()),
        ..Record::value(0, "{\"id\":8,\"v\":\"a\"}")
    };
    kafka.clients.produce("keys", &[record]);
    let both = "'topic' = 'keys', 'key.format' = 'json', 'value.format' = 'json'";
    let prefixed = table(
        kafka,
        "k_id INT, id INT, v STRING",
        &format!(
            "{both}, 'key.fields' = 'k_id', 'key.fields-prefix' = 'k_', \
             'value.fields-include' = 'EXCEPT_KEY', {BOUNDED}"
        ),
    );
    expect(
        rows(&format!("{prefixed}SELECT * FROM t;"))?,
        vec!["7|8|a".to_string()],
    )?;
    let all = table(
        kafka,
        "id INT, v STRING",
        &format!("{both}, 'key.fields' = 'id', {BOUNDED}"),
    );
    expect(
        rows(&format!("{all}SELECT * FROM t;"))?,
        vec!["8|a".to_string()],
    )?;
    let raw = table(
        kafka,
        "k STRING, id INT, v STRING",
        &format!(
            "'topic' = 'keys', 'key.format' = 'raw', 'key.fields' = 'k', \
             'value.format' = 'json', 'value.json.ignore-parse-errors' = 'true', \
             'value.fields-include' = 'EXCEPT_KEY', {BOUNDED}"
        ),
    );
    expect(
        rows(&format!("{raw}SELECT v, k FROM t;"))?,
        vec!["a|{\"id\":7}".to_string()],
    )?;
    Ok(())
}

fn lists_and_patterns(kafka: &Kafka) -> Result<(), Failed> {
    for (topic, n) in [("many-a", 1), ("many-b", 2), ("other-many-c", 3)] {
        kafka.clients.create_topic(topic, 1);
        kafka
            .clients
            .produce(topic, &[Record::value(0, format!("{{\"n\":{n}}}"))]);
    }
    let read = |topics: &str| read_numbers(kafka, &format!("{topics}, {BOUNDED}"));
    expect(read("'topic' = 'many-a;other-many-c'")?, "1 3".to_string())?;
    expect(read("'topic-pattern' = 'many-.*'")?, "1 2".to_string())?;
    Ok(())
}

fn new_partitions_are_found(kafka: &Kafka) -> Result<(), Failed> {
    kafka.clients.create_topic("growing", 1);
    kafka.clients.create_topic("growing-out", 1);
    let connect = format!(
        "'connector' = 'kafka', 'properties.bootstrap.servers' = '{}'",
        kafka.address
    );
    let script = Script::new(&format!(
        "CREATE TABLE a (n INT) WITH ({connect}, 'topic' = 'growing', 'format' = 'json', \
         'scan.startup.mode' = 'latest-offset', 'scan.topic-partition-discovery.interval' = '200 ms', \
         'properties.topic.metadata.refresh.interval.ms' = '200');\n\
         CREATE TABLE b (n INT) WITH ({connect}, 'topic' = 'growing-out', 'format' = 'json', \
         'sink.delivery-guarantee' = 'none');\n\
         INSERT INTO b SELECT n FROM a;"
    ));
    let mut running = script.start(&["-p", "2"]);
    let produce = |partition: i32, n: i32| {
        let record = Record::value(partition, format!("{{\"n\":{n}}}"));
        kafka.clients.produce("growing", &[record]);
    };
    let written = |n: i32| {
        let records = kafka.clients.consume("growing-out").into_iter();
        let text = format!("{{\"n\":{n}}}");
        records.filter(|r| r.value.as_ref() == Some(&text)).count()
    };
    // The job has begun at the end of the one partition when what comes later gets through.
    let has_begun = wait_for(Duration::from_secs(60), || {
        produce(0, 1);
        !running.is_running() || written(1) > 0
    });
    expect(has_begun && running.is_running(), true).map_err(|_| script.errors())?;
    kafka.clients.add_partitions("growing", 3);
    pause(Duration::from_millis(300));
    produce(2, 5);
    let found = wait_for(Duration::from_secs(60), || {
        !running.is_running() || written(5) > 0
    });
    expect(found && running.is_running(), true).map_err(|_| script.errors())?;
    expect(written(5), 1)?;
    Ok(())
}

fn null_and_malformed_values(kafka: &Kafka) -> Result<(), Failed> {
    kafka.clients.create_topic("faulty", 1);
    let null = Record {
        value: None,
        ..Record::default()
    };
    let good = |n: i32| Record::value(0, format!("{{\"n\":{n}}}"));
    kafka.clients.produce(
        "faulty",
        &[good(1), null, good(2), Record::value(0, "{\"n\":")],
    );
    let skip = "'topic' = 'faulty', 'json.ignore-parse-errors' = 'true'";
    expect(
        read_numbers(kafka, &format!("{skip}, {BOUNDED}"))?,
        "1 2".to_string(),
    )?;
    let raw = table(
        kafka,
        "v STRING",
        &format!("'topic' = 'faulty', 'format' = 'raw', {BOUNDED}"),
    );
    let expected = ["NULL", "{\"n\":", "{\"n\":1}", "{\"n\":2}"];
    expect(
        rows(&format!("{raw}SELECT v FROM t;"))?,
        expected.map(String::from).to_vec(),
    )?;
    match read_numbers(kafka, &format!("'topic' = 'faulty', {BOUNDED}")) {
        Err(error) if error.contains("topic 'faulty' partition 0 offset 3") => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

fn committed_offsets(kafka: &Kafka) -> Result<(), Failed> {
    kafka.clients.create_topic("positions", 1);
    kafka.clients.create_topic("positions-out", 1);
    let records: Vec<Record> = (0..3)
        .map(|n| Record::value(0, format!("{{\"n\":{n}}}")))
        .collect();
    kafka.clients.produce("positions", &records);
    let connect = format!(
        "'connector' = 'kafka', 'properties.bootstrap.servers' = '{}', 'format' = 'json'",
        kafka.address
    );
    let sql = format!(
        "CREATE TABLE a (n INT) WITH ({connect}, 'topic' = 'positions', \
         'scan.startup.mode' = 'earliest-offset', 'properties.group.id' = 'positions-group');\n\
         CREATE TABLE b (n INT) WITH ({connect}, 'topic' = 'positions-out');\n\
         SET 'execution.checkpointing.interval' = '200 ms';\n\
         INSERT INTO b SELECT n FROM a;"
    );
    let script = Script::new(&sql);
    let mut running = script.start(&["-p", "1"]);
    let is_committed = wait_for(Duration::from_secs(60), || {
        !running.is_running()
            || kafka.clients.committed("positions-group", "positions", 0) == Some(3)
    });
    match is_committed && running.is_running() {
        true => Ok(()),
        false => Err(format!("offset 3 is not committed: {}", script.errors()).into()),
    }
}

fn a_missing_topic_is_named(kafka: &Kafka) -> Result<(), Failed> {
    let sql = table(
        kafka,
        "n INT",
        &format!("'topic' = 'nowhere', 'format' = 'json', {BOUNDED}"),
    );
    match rows_with(&format!("{sql}SELECT n FROM t;"), &["-p", "1"]) {
        Err(error) if error.contains("topic 'nowhere' does not exist") => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}
