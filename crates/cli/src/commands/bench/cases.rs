//! The jobs that are measured.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// A job to measure.
pub struct Case {
    pub name: &'static str,
    /// Rows of a run unless the user says otherwise.
    pub rows: u64,
    /// The script for so many rows; may write input into the folder.
    pub script: fn(u64, &Path) -> anyhow::Result<String>,
    /// The size of the input that the script wrote.
    pub input_bytes: fn(&Path) -> Option<u64>,
}

/// Every case.
pub const CASES: &[Case] = &[
    Case {
        name: "window",
        rows: 100_000_000,
        script: window,
        input_bytes: |_| None,
    },
    Case {
        name: "json",
        rows: 5_000_000,
        script: json,
        input_bytes: json_bytes,
    },
];

/// Keys in 0..100,000, 10,000 rows of each in event time per second of windows.
fn window(rows: u64, _: &Path) -> anyhow::Result<String> {
    Ok(format!(
        "CREATE TABLE numbers (
           k BIGINT, v BIGINT, n BIGINT,
           ts AS TO_TIMESTAMP_LTZ(n, 3),
           WATERMARK FOR ts AS ts
         ) WITH (
           'connector' = 'datagen', 'rows-per-second' = '1000000000000',
           'fields.k.min' = '0', 'fields.k.max' = '99999',
           'fields.n.kind' = 'sequence', 'fields.n.start' = '0', 'fields.n.end' = '{last}'
         );
         CREATE TABLE sink (k BIGINT, s TIMESTAMP_LTZ(3), c BIGINT, total BIGINT)
         WITH ('connector' = 'blackhole');
         INSERT INTO sink
         SELECT k, window_start, COUNT(*), SUM(v)
         FROM TABLE(TUMBLE(TABLE numbers, DESCRIPTOR(ts), INTERVAL '1000' SECOND(4)))
         GROUP BY k, window_start, window_end;",
        last = rows.max(1) - 1
    ))
}

const JSON_INPUT: &str = "events.jsonl";

fn json(rows: u64, folder: &Path) -> anyhow::Result<String> {
    write_events(rows, &folder.join(JSON_INPUT))?;
    let folder = folder.display();
    let columns =
        "id BIGINT, ts TIMESTAMP(3), user_id STRING, action STRING, amount DOUBLE, note STRING";
    Ok(format!(
        "CREATE TABLE events ({columns})
         WITH ('connector' = 'filesystem', 'path' = '{folder}/{JSON_INPUT}', 'format' = 'json');
         CREATE TABLE kept ({columns})
         WITH ('connector' = 'filesystem', 'path' = '{folder}/kept', 'format' = 'json');
         INSERT INTO kept SELECT * FROM events WHERE action = 'purchase';"
    ))
}

/// Events of about 180 bytes, one in ten a purchase.
fn write_events(rows: u64, path: &Path) -> anyhow::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    for n in 0..rows {
        let random = flott_core::hash::mix(1, n);
        let action =
            ["view", "view", "click", "scroll", "purchase"][(random % 10).min(4) as usize % 5];
        let action = if random.is_multiple_of(10) {
            "purchase"
        } else if action == "purchase" {
            "view"
        } else {
            action
        };
        writeln!(
            file,
            "{{\"id\":{n},\"ts\":\"2024-06-01 12:{:02}:{:02}.{:03}\",\"user_id\":\"user-{}\",\"action\":\"{action}\",\"amount\":{}.{:02},\"note\":\"{:064x}\"}}",
            n / 60_000 % 60,
            n / 1000 % 60,
            n % 1000,
            random % 50_000,
            random % 900,
            random % 100,
            random
        )?;
    }
    file.flush()?;
    Ok(())
}

fn json_bytes(folder: &Path) -> Option<u64> {
    std::fs::metadata(folder.join(JSON_INPUT))
        .ok()
        .map(|m| m.len())
}
