//! The jobs that are simulated, over small tables whose rows are never late: each split holds
//! later rows than the ones before.

use anyhow::Result;
use flott_core::schema::Schema;
use flott_core::text::datetime::write_timestamp;
use flott_engine::Random;
use flott_engine::testing::{ScriptItem, parse_rows};

/// A script that writes the tables `o` and, some of them, `p`.
pub struct SimulatedJob {
    pub name: &'static str,
    pub insert: &'static str,
    /// The columns of `o`; of `p`.
    pub sinks: [&'static str; 2],
}

const fn job(name: &'static str, sink: &'static str, insert: &'static str) -> SimulatedJob {
    SimulatedJob {
        name,
        insert,
        sinks: [sink, "k INT"],
    }
}

/// The tables that the jobs read: `a` and `b`.
pub const SOURCES: &str = "
CREATE TABLE a (id INT, k INT, v INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH ('connector' = 'sim');
CREATE TABLE b (id INT, k INT, v INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH ('connector' = 'sim');";

/// Every job.
pub const JOBS: &[SimulatedJob] = &[
    job(
        "aggregate",
        "k INT, n BIGINT, s INT, m INT, d BIGINT",
        "INSERT INTO o SELECT k, COUNT(*), SUM(v), MAX(v), COUNT(DISTINCT v) FROM a GROUP BY k",
    ),
    job(
        "tumble",
        "k INT, t TIMESTAMP(3), n BIGINT, s INT",
        "INSERT INTO o SELECT k, window_end, COUNT(*), SUM(v)
         FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY k, window_start, window_end",
    ),
    job(
        "hop",
        "k INT, t TIMESTAMP(3), n BIGINT",
        "INSERT INTO o SELECT k, window_end, COUNT(*)
         FROM TABLE(HOP(TABLE a, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '15' SECOND))
         GROUP BY k, window_start, window_end",
    ),
    job(
        "session",
        "k INT, t TIMESTAMP(3), n BIGINT",
        "INSERT INTO o SELECT k, window_end, COUNT(*)
         FROM TABLE(SESSION(TABLE a PARTITION BY k, DESCRIPTOR(ts), INTERVAL '4' SECOND))
         GROUP BY k, window_start, window_end",
    ),
    job(
        "join",
        "x INT, y INT, k INT",
        "INSERT INTO o SELECT a.id, b.id, a.k FROM a JOIN b ON a.k = b.k AND a.v < b.v",
    ),
    job(
        "left_join",
        "k INT, n BIGINT, m INT",
        "INSERT INTO o SELECT x.k, x.n, y.m FROM (SELECT k, COUNT(*) AS n FROM a GROUP BY k) x
         LEFT JOIN (SELECT k, MAX(v) AS m FROM b WHERE v > 5 GROUP BY k) y ON x.k = y.k",
    ),
    job(
        "interval_join",
        "x INT, y INT",
        "INSERT INTO o SELECT a.id, b.id FROM a JOIN b
         ON a.k = b.k AND b.ts BETWEEN a.ts - INTERVAL '5' SECOND AND a.ts + INTERVAL '3' SECOND",
    ),
    job(
        "top_n",
        "k INT, v INT, id INT",
        "INSERT INTO o SELECT k, v, id FROM
         (SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY v DESC, id) AS r FROM a) WHERE r <= 3",
    ),
    job(
        "top_n_of_counts",
        "k INT, n BIGINT",
        "INSERT INTO o SELECT k, n FROM
         (SELECT *, ROW_NUMBER() OVER (ORDER BY n DESC, k) AS r FROM (SELECT k, SUM(v) AS n FROM
           (SELECT k, CAST(v AS BIGINT) AS v FROM a) GROUP BY k)) WHERE r <= 3",
    ),
    job(
        "deduplicate_first",
        "k INT, id INT",
        "INSERT INTO o SELECT k, id FROM
         (SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts ASC) AS r FROM a) WHERE r = 1",
    ),
    job(
        "deduplicate_last",
        "k INT, id INT",
        "INSERT INTO o SELECT k, id FROM
         (SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts DESC) AS r FROM a) WHERE r = 1",
    ),
    job(
        "over",
        "id INT, s INT",
        "INSERT INTO o SELECT id, SUM(v) OVER (PARTITION BY k ORDER BY ts
         ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) FROM a",
    ),
    job(
        "union",
        "id INT, k INT",
        "INSERT INTO o SELECT id, k FROM a WHERE v > 3 UNION ALL SELECT id + 1000, k FROM b",
    ),
    SimulatedJob {
        name: "two_sinks",
        insert: "EXECUTE STATEMENT SET BEGIN
         INSERT INTO o SELECT k, COUNT(*) FROM a GROUP BY k;
         INSERT INTO p SELECT k FROM a WHERE v > 4;
         END",
        sinks: ["k INT, n BIGINT", "k INT"],
    },
];

impl SimulatedJob {
    /// All statements.
    pub fn script(&self) -> String {
        let [o, p] = self.sinks;
        let sinks = format!(
            "CREATE TABLE o ({o}) WITH ('connector' = 'sim');\nCREATE TABLE p ({p}) WITH ('connector' = 'sim');"
        );
        format!("{SOURCES}\n{sinks}\n{};", self.insert)
    }
}

const NUM_SPLITS: u64 = 4;
const ROWS_PER_SPLIT: u64 = 12;
const NUM_KEYS: u64 = 5;

/// The splits of a table: batches of a few rows, with times that grow.
///
/// # Errors
/// A table of other columns than [`SOURCES`] has.
pub fn splits(table: &str, schema: &Schema, data_seed: u64) -> Result<Vec<Vec<ScriptItem>>> {
    let table_seed = table.bytes().fold(data_seed, |s, b| s * 31 + u64::from(b));
    let mut random = Random::new(table_seed);
    let mut time_ms = 0;
    let mut id = 0;
    let mut splits = Vec::new();
    for _ in 0..NUM_SPLITS {
        let mut items = Vec::new();
        let mut left = ROWS_PER_SPLIT;
        while left > 0 {
            let num_rows = (1 + random.draw() % 4).min(left);
            left -= num_rows;
            let rows = (0..num_rows).map(|_| {
                id += 1;
                time_ms += 1 + (random.draw() % 2_000) as i64;
                let (k, v) = (random.draw() % NUM_KEYS, random.draw() % 12);
                let mut time = String::new();
                write_timestamp(time_ms, 3, &mut time);
                format!("+I | {id} | {k} | {v} | {time}")
            });
            let rows = rows.collect::<Vec<_>>().join("\n");
            let batch = parse_rows(schema, &rows).map_err(|e| anyhow::anyhow!("{e}"))?;
            items.push(ScriptItem::Batch(batch));
        }
        splits.push(items);
    }
    Ok(splits)
}
