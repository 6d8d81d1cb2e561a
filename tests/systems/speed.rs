//! How fast messages go through: Kafka to Kafka, JSON of about 200 bytes, one subtask, one broker on
//! the same machine. Nothing is asserted; the figures are printed. Part of the tests only with
//! `FLOTT_SPEED` set to the number of messages:
//!
//! `FLOTT_SPEED=5000000 cargo test --release --workspace --test systems speed/`

use std::time::Duration;

use flott_core::clock::Stopwatch;
use libtest_mimic::Failed;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::flott::{expect, rows_with};
use crate::{Case, Kafka};

/// The cases, if they are wanted.
pub fn cases() -> Vec<Case> {
    match num_messages() {
        0 => Vec::new(),
        _ => vec![("speed/pass_through", pass_through)],
    }
}

fn num_messages() -> u64 {
    let text = std::env::var("FLOTT_SPEED").unwrap_or_default();
    text.parse().unwrap_or(0)
}

/// About 200 bytes.
fn message(n: u64) -> String {
    format!(
        "{{\"id\":{n},\"user_name\":\"user-{:06}\",\"item\":\"item-{:06}\",\"price\":{}.{:02},\
         \"quantity\":{},\"city\":\"Stockholm\",\"ordered\":\"2026-01-01 {:02}:{:02}:{:02}.123\",\
         \"note\":\"leave it with the neighbour, please\"}}",
        n * 7919 % 100_000,
        n * 31 % 1_000_000,
        n % 1000,
        n % 100,
        n % 9 + 1,
        n / 3600 % 24,
        n / 60 % 60,
        n % 60
    )
}

fn fill(address: &str, topic: &str, count: u64) -> Result<(), Failed> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", address)
        .set("queue.buffering.max.messages", "1000000")
        .set("linger.ms", "20");
    let producer: BaseProducer = config.create()?;
    for n in 0..count {
        let text = message(n);
        let mut record = BaseRecord::<(), str>::to(topic).payload(&text);
        while let Err((_, back)) = producer.send(record) {
            producer.poll(Duration::from_millis(10));
            record = back;
        }
    }
    producer.flush(Duration::from_secs(120))?;
    Ok(())
}

/// What a job takes, in seconds: on the clock, and of processors.
struct Cost {
    clock: f64,
    processors: f64,
}

/// Seconds of processors that the processes have taken that this one has started and that have
/// ended; 0 where the system does not say.
fn of_ended_processes() -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let of_children = behind_name.split_whitespace().skip(13).take(2);
    let ticks: f64 = of_children.filter_map(|t| t.parse::<f64>().ok()).sum();
    ticks / TICKS_PER_SECOND
}

/// What a job costs from the first to the last message of `from`.
fn cost(kafka: &Kafka, from: &str, to: &str, sink: &str) -> Result<Cost, Failed> {
    kafka.clients.create_topic(to, 1);
    let columns = "id BIGINT, user_name STRING, item STRING, price DECIMAL(10, 2), quantity INT, \
                   city STRING, ordered TIMESTAMP(3), note STRING";
    let connect = format!(
        "'connector' = 'kafka', 'properties.bootstrap.servers' = '{}', 'format' = 'json'",
        kafka.address
    );
    let sql = format!(
        "SET 'execution.checkpointing.interval' = '1 s';\n\
         CREATE TABLE a ({columns}) WITH ({connect}, 'topic' = '{from}', \
         'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset');\n\
         CREATE TABLE b ({columns}) WITH ({connect}, 'topic' = '{to}'{sink});\n\
         INSERT INTO b SELECT * FROM a;"
    );
    let state = tempfile::tempdir()?;
    let folder = state.path().display().to_string();
    let (since, before) = (Stopwatch::start(), of_ended_processes());
    rows_with(
        &sql,
        &["-p", "1", "--name", "speed", "--state-dir", &folder],
    )?;
    Ok(Cost {
        clock: since.elapsed().as_secs_f64(),
        processors: of_ended_processes() - before,
    })
}

fn pass_through(kafka: &Kafka) -> Result<(), Failed> {
    let count = num_messages();
    for topic in ["speed-none", "speed-in"] {
        kafka.clients.create_topic(topic, 1);
    }
    fill(&kafka.address, "speed-in", count)?;
    let kinds = [
        ("at-least-once", ""),
        (
            "exactly-once",
            ", 'sink.delivery-guarantee' = 'exactly-once', \
             'sink.transactional-id-prefix' = 'speed'",
        ),
    ];
    for (name, sink) in kinds {
        // What a job costs whether there are messages or not.
        let start = cost(kafka, "speed-none", &format!("speed-none-{name}"), sink)?;
        let whole = cost(kafka, "speed-in", &format!("speed-{name}"), sink)?;
        let thousands = |seconds: f64| count as f64 / seconds.max(0.001) / 1e3;
        let (clock, processors) = (
            whole.clock - start.clock,
            whole.processors - start.processors,
        );
        eprintln!(
            "{name}: {count} messages of {} bytes in {clock:.2} s: {:.0} thousand a second; \
             {:.0} thousand in a second of processor time",
            message(0).len(),
            thousands(clock),
            thousands(processors)
        );
    }
    let written = kafka.clients.consume("speed-exactly-once").len() as u64;
    expect(written, count)?;
    Ok(())
}
