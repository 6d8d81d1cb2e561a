//! Transactions as part of the checkpoint: the job is killed, the broker is restarted, and
//! `read_committed` shows every row once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libtest_mimic::Failed;

use crate::clients::{Clients, Record};
use crate::flott::{Script, expect, rows};
use crate::waiting::{pause, wait_for};
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
    (
        "kills_and_restarts_change_nothing",
        kills_and_restarts_change_nothing,
    ),
];

pub fn tables(kafka: &Kafka, from: &str, to: &str, source: &str, sink: &str) -> String {
    let connect = format!(
        "'connector' = 'kafka', 'properties.bootstrap.servers' = '{}'",
        kafka.address
    );
    tables_with(&connect, from, to, source, sink)
}

/// The same with options of your own that say where the broker is.
pub fn tables_with(connect: &str, from: &str, to: &str, source: &str, sink: &str) -> String {
    format!(
        "CREATE TABLE a (n BIGINT) WITH ({connect}, 'topic' = '{from}', 'format' = 'json', \
         'scan.startup.mode' = 'earliest-offset'{source});\n\
         CREATE TABLE b (n BIGINT) WITH ({connect}, 'topic' = '{to}', 'format' = 'json', \
         'sink.delivery-guarantee' = 'exactly-once', 'sink.transactional-id-prefix' = '{to}'{sink});\n"
    )
}

pub fn numbers(count: usize) -> Vec<Record> {
    (0..count)
        .map(|n| Record::value((n % 2) as i32, format!("{{\"n\":{n}}}")))
        .collect()
}

pub fn values(kafka: &Kafka, topic: &str) -> Vec<i64> {
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

/// How often the job is killed and the broker restarted: a few times, or with `FLOTT_SOAK` set as
/// often as one has patience for.
fn rounds() -> (usize, usize) {
    match std::env::var_os("FLOTT_SOAK") {
        Some(_) => (50, 10),
        None => (4, 1),
    }
}

/// Produces numbers until it is told to stop; gives how many.
fn produce_numbers(clients: &Clients, topic: &str, is_over: &AtomicBool) -> i64 {
    let mut next = 0;
    while !is_over.load(Ordering::SeqCst) {
        let record = |n: i64| Record::value((n % 2) as i32, format!("{{\"n\":{n}}}"));
        let chunk: Vec<Record> = (next..next + 200).map(record).collect();
        clients.produce(topic, &chunk);
        next += 200;
        pause(Duration::from_millis(50));
    }
    next
}

/// Kafka → aggregation → Kafka: the job is killed (-9) again and again at moments that differ, the
/// broker is restarted; each row comes once, the sums are right, and no transaction stays open.
fn kills_and_restarts_change_nothing(kafka: &Kafka) -> Result<(), Failed> {
    for topic in ["chaos-in", "chaos-out", "chaos-sums"] {
        kafka.clients.create_topic(topic, 2);
    }
    let sql = format!(
        "{}CREATE TABLE sums (k BIGINT, c BIGINT, s BIGINT, PRIMARY KEY (k) NOT ENFORCED) WITH (\
         'connector' = 'upsert-kafka', 'properties.bootstrap.servers' = '{}', \
         'topic' = 'chaos-sums', 'key.format' = 'json', 'value.format' = 'json', \
         'sink.delivery-guarantee' = 'exactly-once', 'sink.transactional-id-prefix' = 'chaos-sums');\n\
         SET 'execution.checkpointing.interval' = '200 ms';\n\
         EXECUTE STATEMENT SET BEGIN\n\
         INSERT INTO b SELECT n FROM a;\n\
         INSERT INTO sums SELECT MOD(n, 7), COUNT(*), SUM(n) FROM a GROUP BY MOD(n, 7);\n\
         END;",
        tables(kafka, "chaos-in", "chaos-out", "", ""),
        kafka.address
    );
    let script = Script::new(&sql);
    let state = tempfile::tempdir()?;
    let folder = state.path().display().to_string();
    let arguments = ["-p", "2", "--name", "chaos", "--state-dir", &folder];
    let is_over = AtomicBool::new(false);
    let clients = Clients::new(&kafka.address);
    let count = std::thread::scope(|scope| -> Result<i64, Failed> {
        let producer = scope.spawn(|| produce_numbers(&clients, "chaos-in", &is_over));
        let survived = survive(kafka, &script, &arguments);
        is_over.store(true, Ordering::SeqCst);
        let count = producer.join().map_err(|_| "the producer failed")?;
        survived.map(|()| count)
    })?;
    let mut running = script.start(&arguments);
    let is_complete = wait_for(Duration::from_secs(120), || {
        let is_there = || {
            values(kafka, "chaos-out").len() as i64 >= count
                && last_sums(kafka) == expected_sums(count)
        };
        !running.is_running() || is_there()
    });
    expect(is_complete && running.is_running(), true).map_err(|_| script.errors())?;
    expect(running.interrupt(), true)?;
    let written = values(kafka, "chaos-out");
    expect(written.len() as i64, count)?;
    expect(written.iter().copied().eq(0..count), true)?;
    expect(last_sums(kafka), expected_sums(count))?;
    open_transactions(kafka)
}

fn survive(kafka: &Kafka, script: &Script, arguments: &[&str]) -> Result<(), Failed> {
    let (kills, restarts) = rounds();
    for round in 0..kills {
        let mut running = script.start(arguments);
        // Moments that differ: before, in the middle of, and after a checkpoint.
        pause(Duration::from_millis(700 + (round as u64 * 373) % 1_000));
        if round % (kills / restarts).max(1) == 1 {
            kafka.broker.lock().map_err(|e| e.to_string())?.restart()?;
            pause(Duration::from_millis(500));
        }
        expect(running.is_running(), true).map_err(|_| script.errors())?;
        running.kill();
    }
    Ok(())
}

fn last_sums(kafka: &Kafka) -> BTreeMap<String, String> {
    let records = kafka.clients.consume("chaos-sums").into_iter();
    let pairs = records.map(|r| (r.key.unwrap_or_default(), r.value.unwrap_or_default()));
    pairs.collect()
}

fn expected_sums(count: i64) -> BTreeMap<String, String> {
    let of = |k: i64| {
        let numbers = (0..count).filter(|n| n % 7 == k);
        let (c, s) = (numbers.clone().count(), numbers.sum::<i64>());
        let value = format!("{{\"k\":{k},\"c\":{c},\"s\":{s}}}");
        (format!("{{\"k\":{k}}}"), value)
    };
    (0..7).map(of).collect()
}

/// Kafka's own tool lists no transaction that is still open.
fn open_transactions(kafka: &Kafka) -> Result<(), Failed> {
    let broker = kafka.broker.lock().map_err(|e| e.to_string())?;
    let output = broker
        .java(&[
            "org.apache.kafka.tools.TransactionsCommand",
            "--bootstrap-server",
            &kafka.address,
        ])
        .arg("list")
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let is_listed = output.status.success() && text.contains("chaos-sums");
    let open: Vec<&str> = text.lines().filter(|l| l.contains("Ongoing")).collect();
    expect((is_listed, open), (true, vec![])).map_err(|e| format!("{e}\n{text}").into())
}
