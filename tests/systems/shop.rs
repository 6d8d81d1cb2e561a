//! The shop example with Kafka, as its README runs it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use libtest_mimic::Failed;

use crate::clients::Record;
use crate::flott::{Script, expect, rows};
use crate::waiting::wait_for;
use crate::{Case, Kafka};

pub const CASES: &[Case] = &[("the_shop_runs_with_kafka", the_shop_runs)];

fn shop() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop")
}

/// Orders and revenue (in cents) by category.
type Sales = BTreeMap<String, (i64, i64)>;

fn cents(amount: &str) -> i64 {
    (amount.parse::<f64>().unwrap_or(f64::NAN) * 100.0).round() as i64
}

/// The same sums over the file itself.
fn expected() -> Result<Sales, String> {
    let data = shop().join("data/events.jsonl");
    let sql = format!(
        "CREATE TABLE events (event_type STRING, category STRING, price DECIMAL(10, 2), quantity INT) \
         WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'json', \
         'json.ignore-parse-errors' = 'true');\n\
         SET 'execution.runtime-mode' = 'batch';\n\
         SELECT category, COUNT(*), SUM(price * quantity) FROM events \
         WHERE event_type = 'purchase' GROUP BY category;",
        data.display()
    );
    let pairs = rows(&sql)?.into_iter().filter_map(|row| {
        let fields: Vec<&str> = row.split('|').collect();
        let [category, orders, revenue] = fields.as_slice() else {
            return None;
        };
        Some((category.to_string(), (orders.parse().ok()?, cents(revenue))))
    });
    Ok(pairs.collect())
}

/// The last message of each category.
fn found(kafka: &Kafka) -> Sales {
    let of = |record: Record| {
        let value: serde_json::Value = serde_json::from_str(&record.value?).ok()?;
        let revenue = cents(&value["revenue"].to_string());
        Some((record.key?, (value["orders"].as_i64()?, revenue)))
    };
    let records = kafka.clients.consume("sales_by_category").into_iter();
    records.filter_map(of).collect()
}

fn the_shop_runs(kafka: &Kafka) -> Result<(), Failed> {
    for topic in ["events", "sales_per_minute", "sales_by_category"] {
        kafka.clients.create_topic(topic, 1);
    }
    let events = std::fs::read_to_string(shop().join("data/events.jsonl"))?;
    let records: Vec<Record> = events.lines().map(|l| Record::value(0, l)).collect();
    kafka.clients.produce("events", &records);
    let sql = std::fs::read_to_string(shop().join("kafka.sql"))?;
    let script = Script::new(&sql.replace("localhost:9092", &kafka.address));
    let mut running = script.start(&["-p", "2"]);
    let expected = expected()?;
    let is_complete = wait_for(Duration::from_secs(90), || {
        let is_there =
            || found(kafka) == expected && !kafka.clients.consume("sales_per_minute").is_empty();
        !running.is_running() || is_there()
    });
    expect(found(kafka), expected).map_err(|e| format!("{e}\n{}", script.errors()))?;
    expect(is_complete && running.interrupt(), true).map_err(|_| script.errors())?;
    Ok(())
}
