//! A job that goes on after its topic has grown: what it had read is not read again, new partitions
//! are read from their beginning, with another parallelism, and each row is written once.

use std::time::Duration;

use libtest_mimic::Failed;

use crate::clients::Record;
use crate::exactly_once::{tables, values};
use crate::flott::{Running, Script, expect};
use crate::waiting::wait_for;
use crate::{Case, Kafka};

pub const CASES: &[Case] = &[
    (
        "a_topic_grows_between_two_runs",
        a_topic_grows_between_two_runs,
    ),
    (
        "a_topic_grows_that_is_looked_at_once",
        a_topic_grows_that_is_looked_at_once,
    ),
];

fn produce(kafka: &Kafka, topic: &str, partition: i32, numbers: std::ops::Range<i64>) {
    let record = |n: i64| Record::value(partition, format!("{{\"n\":{n}}}"));
    let records: Vec<Record> = numbers.map(record).collect();
    kafka.clients.produce(topic, &records);
}

/// Waits until so many rows are committed.
fn written(kafka: &Kafka, topic: &str, count: usize, running: &mut Running) -> bool {
    wait_for(Duration::from_secs(60), || {
        !running.is_running() || values(kafka, topic).len() >= count
    })
}

fn grow(kafka: &Kafka, name: &str, source: &str) -> Result<(), Failed> {
    let (from, to) = (format!("{name}-in"), format!("{name}-out"));
    kafka.clients.create_topic(&from, 1);
    kafka.clients.create_topic(&to, 2);
    produce(kafka, &from, 0, 0..100);
    let sink = ", 'sink.parallelism' = '2'";
    let sql = tables(kafka, &from, &to, source, sink);
    let script = Script::new(&format!(
        "SET 'execution.checkpointing.interval' = '200 ms';\n{sql}INSERT INTO b SELECT n FROM a;"
    ));
    let state = tempfile::tempdir()?;
    let folder = state.path().display().to_string();
    let arguments = |parallelism| ["-p", parallelism, "--name", "grown", "--state-dir", &folder];
    let mut running = script.start(&arguments("1"));
    expect(written(kafka, &to, 100, &mut running), true).map_err(|_| script.errors())?;
    expect(running.interrupt(), true)?;
    kafka.clients.add_partitions(&from, 3);
    produce(kafka, &from, 0, 100..150);
    produce(kafka, &from, 2, 150..200);
    let mut running = script.start(&arguments("3"));
    expect(written(kafka, &to, 200, &mut running), true).map_err(|_| script.errors())?;
    expect(running.interrupt(), true)?;
    expect(values(kafka, &to), (0..200).collect())?;
    Ok(())
}

fn a_topic_grows_between_two_runs(kafka: &Kafka) -> Result<(), Failed> {
    grow(kafka, "grown", "")
}

/// It is looked at once each time the job starts.
fn a_topic_grows_that_is_looked_at_once(kafka: &Kafka) -> Result<(), Failed> {
    grow(
        kafka,
        "grown-once",
        ", 'scan.topic-partition-discovery.interval' = '0'",
    )
}
