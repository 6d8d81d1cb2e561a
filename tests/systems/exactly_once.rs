//! Transactions as part of the checkpoint: the job is killed, the broker is restarted, and
//! `read_committed` shows every row once.

use libtest_mimic::Failed;

use crate::clients::Record;
use crate::flott::{expect, rows};
use crate::{Case, Kafka};

pub const CASES: &[Case] = &[
    (
        "a_bounded_job_commits_at_its_end",
        a_bounded_job_commits_at_its_end,
    ),
    (
        "a_failed_job_leaves_nothing_open",
        a_failed_job_leaves_nothing_open,
    ),
];

fn tables(kafka: &Kafka, from: &str, to: &str, source: &str, sink: &str) -> String {
    let connect = format!(
        "'connector' = 'kafka', 'properties.bootstrap.servers' = '{}'",
        kafka.address
    );
    format!(
        "CREATE TABLE a (n BIGINT) WITH ({connect}, 'topic' = '{from}', 'format' = 'json', \
         'scan.startup.mode' = 'earliest-offset'{source});\n\
         CREATE TABLE b (n BIGINT) WITH ({connect}, 'topic' = '{to}', 'format' = 'json', \
         'sink.delivery-guarantee' = 'exactly-once', 'sink.transactional-id-prefix' = '{to}'{sink});\n"
    )
}

fn numbers(count: usize) -> Vec<Record> {
    (0..count)
        .map(|n| Record::value((n % 2) as i32, format!("{{\"n\":{n}}}")))
        .collect()
}

fn values(kafka: &Kafka, topic: &str) -> Vec<i64> {
    let records = kafka.clients.consume(topic);
    let number = |r: Record| {
        let value: serde_json::Value = serde_json::from_str(&r.value?).ok()?;
        value["n"].as_i64()
    };
    let mut values: Vec<i64> = records.into_iter().filter_map(number).collect();
    values.sort_unstable();
    values
}

fn a_bounded_job_commits_at_its_end(kafka: &Kafka) -> Result<(), Failed> {
    kafka.clients.create_topic("once-in", 2);
    kafka.clients.create_topic("once-out", 2);
    kafka.clients.produce("once-in", &numbers(1_000));
    let bounded = ", 'scan.bounded.mode' = 'latest-offset'";
    let sql = tables(kafka, "once-in", "once-out", bounded, "");
    rows(&format!("{sql}INSERT INTO b SELECT n FROM a;"))?;
    expect(values(kafka, "once-out"), (0..1_000).collect())?;
    Ok(())
}

/// A transaction that fails is aborted: readers of committed messages see nothing of it, and are
/// not held back by it.
fn a_failed_job_leaves_nothing_open(kafka: &Kafka) -> Result<(), Failed> {
    kafka.clients.create_topic("fails-in", 2);
    kafka.clients.create_topic("fails-out", 2);
    let mut records = numbers(1_000);
    records.push(Record::value(0, "no json"));
    kafka.clients.produce("fails-in", &records);
    let bounded = ", 'scan.bounded.mode' = 'latest-offset'";
    let sql = tables(kafka, "fails-in", "fails-out", bounded, "");
    expect(
        rows(&format!("{sql}INSERT INTO b SELECT n FROM a;")).is_err(),
        true,
    )?;
    kafka.clients.produce(
        "fails-out",
        &[Record::value(0, "{\"n\":7}"), Record::value(1, "{\"n\":8}")],
    );
    expect(values(kafka, "fails-out"), vec![7, 8])?;
    Ok(())
}
