//! Watermarks of partitions: one that is read later loses no rows, one without rows holds nobody
//! back for ever, and those of a group wait for each other.

use std::time::Duration;

use libtest_mimic::Failed;

use crate::clients::Record;
use crate::flott::{Script, expect, rows_with};
use crate::waiting::wait_for;
use crate::{Case, Kafka};

pub const CASES: &[Case] = &[
    ("watermarks/no_partition_is_late", no_partition_is_late),
    (
        "watermarks/an_idle_partition_is_left_out",
        an_idle_partition_is_left_out,
    ),
    ("watermarks/a_group_waits", a_group_waits),
];

const HOUR_MS: i64 = 3_600_000;
const ROWS: i64 = 3_000;

/// Rows a second apart, of which those in partition 1 are nine hours older.
fn records() -> Vec<Record> {
    let record = |n: i64| {
        let (partition, start_ms) = match n < ROWS {
            true => (0, 10 * HOUR_MS),
            false => (1, HOUR_MS),
        };
        let at_ms = start_ms + n % ROWS * 1_000;
        Record::value(partition, format!("{{\"n\":{n},\"at_ms\":{at_ms}}}"))
    };
    (0..2 * ROWS).map(record).collect()
}

fn table(kafka: &Kafka, topic: &str, more: &str) -> String {
    format!(
        "CREATE TABLE t (n BIGINT, at_ms BIGINT, ts AS TO_TIMESTAMP_LTZ(at_ms, 3), \
         WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) WITH ('connector' = 'kafka', \
         'topic' = '{topic}', 'properties.bootstrap.servers' = '{}', 'format' = 'json', \
         'scan.startup.mode' = 'earliest-offset', 'scan.parallelism' = '1'{more});\n",
        kafka.address
    )
}

const WINDOWS: &str = "SELECT window_start, COUNT(*) AS c FROM TABLE(TUMBLE(TABLE t, \
                       DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end;";

fn counted(rows: &[String]) -> i64 {
    let count = |row: &String| row.rsplit('|').next()?.parse::<i64>().ok();
    rows.iter().filter_map(count).sum()
}

fn no_partition_is_late(kafka: &Kafka) -> Result<(), Failed> {
    kafka.clients.create_topic("apart", 2);
    kafka.clients.produce("apart", &records());
    let bounded = ", 'scan.bounded.mode' = 'latest-offset'";
    let sql = table(kafka, "apart", bounded) + WINDOWS;
    expect(counted(&rows_with(&sql, &["-p", "2"])?), 2 * ROWS)?;
    Ok(())
}

fn an_idle_partition_is_left_out(kafka: &Kafka) -> Result<(), Failed> {
    kafka.clients.create_topic("silent", 2);
    kafka.clients.create_topic("silent-out", 1);
    kafka.clients.produce("silent", &records()[..600]);
    let sink = format!(
        "CREATE TABLE o (s TIMESTAMP_LTZ(3), c BIGINT) WITH ('connector' = 'kafka', \
         'topic' = 'silent-out', 'properties.bootstrap.servers' = '{}', 'format' = 'json');\n",
        kafka.address
    );
    let source = table(
        kafka,
        "silent",
        ", 'scan.watermark.idle-timeout' = '500 ms'",
    );
    let script = Script::new(&format!("{source}{sink}INSERT INTO o {WINDOWS}"));
    let mut running = script.start(&["-p", "1"]);
    // Ten minutes of rows close nine windows.
    let is_there = wait_for(Duration::from_secs(60), || {
        !running.is_running() || kafka.clients.consume("silent-out").len() >= 9
    });
    expect(is_there && running.is_running(), true).map_err(|_| script.errors())?;
    Ok(())
}

/// The partition that is ahead pauses until the other one has been read to its end.
fn a_group_waits(kafka: &Kafka) -> Result<(), Failed> {
    kafka.clients.create_topic("group", 2);
    kafka.clients.produce("group", &records());
    let options = ", 'scan.bounded.mode' = 'latest-offset', \
                   'scan.watermark.alignment.group' = 'g', \
                   'scan.watermark.alignment.max-drift' = '1 min', \
                   'scan.watermark.alignment.update-interval' = '20 ms'";
    let sql = table(kafka, "group", options) + WINDOWS;
    expect(counted(&rows_with(&sql, &["-p", "1"])?), 2 * ROWS)?;
    Ok(())
}
