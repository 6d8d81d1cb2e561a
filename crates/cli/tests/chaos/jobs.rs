//! The jobs that are killed: files in, files out.

/// A job's name, its output tables (columns, format) `o`, `o2` …, and its statements.
pub struct JobKind {
    pub name: &'static str,
    pub outputs: &'static [(&'static str, &'static str)],
    /// `{input}` stands for the folder of the input.
    pub statements: &'static str,
}

pub const JOBS: &[JobKind] = &[
    JobKind {
        name: "filter",
        outputs: &[("id BIGINT, k INT, v BIGINT", "csv")],
        statements: "INSERT INTO o SELECT id, k, v FROM r WHERE MOD(v, 3) <> 0;",
    },
    JobKind {
        name: "aggregation",
        outputs: &[("k INT, n BIGINT, s BIGINT, m BIGINT", "debezium-json")],
        statements: "INSERT INTO o SELECT k, COUNT(*), SUM(v), MAX(v) FROM r GROUP BY k;",
    },
    JobKind {
        name: "tumbling_window",
        outputs: &[("w TIMESTAMP(3), k INT, n BIGINT, s BIGINT", "csv")],
        statements: "INSERT INTO o SELECT window_end, k, COUNT(*), SUM(v)
  FROM TABLE(TUMBLE(TABLE r, DESCRIPTOR(ts), INTERVAL '10' MINUTE))
  GROUP BY window_start, window_end, k;",
    },
    JobKind {
        name: "regular_join",
        outputs: &[("id BIGINT, v BIGINT, name STRING", "debezium-json")],
        statements: "INSERT INTO o SELECT r.id, r.v, s.name FROM r LEFT JOIN s ON r.id = s.id;",
    },
    JobKind {
        name: "interval_join",
        outputs: &[("id BIGINT, v BIGINT, name STRING", "csv")],
        statements: "INSERT INTO o SELECT r.id, r.v, s.name FROM r JOIN s
  ON r.id = s.id AND s.ts BETWEEN r.ts AND r.ts + INTERVAL '10' SECOND;",
    },
    JobKind {
        name: "top_n",
        outputs: &[("k INT, v BIGINT", "debezium-json")],
        statements: "INSERT INTO o SELECT k, v FROM
  (SELECT k, v, ROW_NUMBER() OVER (PARTITION BY k ORDER BY v DESC) AS rn FROM r) WHERE rn <= 3;",
    },
    JobKind {
        name: "deduplicate",
        outputs: &[("k INT, v BIGINT, id BIGINT", "debezium-json")],
        // Rows of the same key lie an hour apart: the last one is the same in every order.
        statements: "INSERT INTO o SELECT k, v, id FROM
  (SELECT k, v, id, ROW_NUMBER() OVER (PARTITION BY MOD(v, 5000) ORDER BY ts DESC) AS rn FROM r)
  WHERE rn = 1;",
    },
    JobKind {
        name: "statement_set",
        outputs: &[
            ("id BIGINT, v BIGINT", "csv"),
            ("k INT, n BIGINT", "debezium-json"),
        ],
        statements: "EXECUTE STATEMENT SET BEGIN
INSERT INTO o SELECT id, v FROM r WHERE MOD(v, 2) = 0;
INSERT INTO o2 SELECT k, COUNT(*) FROM r GROUP BY k;
END;",
    },
    JobKind {
        name: "two_inserts",
        outputs: &[("id BIGINT, v BIGINT", "csv"), ("id BIGINT, k INT", "csv")],
        statements: "INSERT INTO o SELECT id, v FROM r WHERE MOD(v, 2) = 0;
INSERT INTO o2 SELECT id, k FROM r WHERE k < 250;",
    },
    JobKind {
        name: "compaction",
        outputs: &[("id BIGINT, k INT, v BIGINT", "csv")],
        statements: "INSERT INTO o /*+ OPTIONS('auto-compaction' = 'true',
  'compaction.file-size' = '100 kb', 'compaction.parallelism' = '2') */
  SELECT id, k, v FROM r WHERE MOD(v, 3) <> 0;",
    },
    JobKind {
        name: "dead_letters",
        outputs: &[
            ("id BIGINT, v BIGINT", "csv"),
            ("`line` BIGINT, `offset` BIGINT, raw BYTES", "json"),
        ],
        // Three quarters of the keys are no TINYINT.
        statements: "CREATE TABLE small (id BIGINT, k TINYINT, v BIGINT, ts TIMESTAMP(3))
  WITH ('connector' = 'filesystem', 'path' = '{input}/r', 'format' = 'csv',
  'dead-letter.table' = 'o2');
INSERT INTO o SELECT id, v + k FROM small;",
    },
];

/// The script of a job: its options, its tables, its statements.
pub fn script(job: &JobKind, input: &str, output: &str, options: &str) -> String {
    let mut sql = format!(
        "{options}
CREATE TABLE r (id BIGINT, k INT, v BIGINT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '60' SECOND)
  WITH ('connector' = 'filesystem', 'path' = '{input}/r', 'format' = 'csv');
CREATE TABLE s (id BIGINT, name STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '60' SECOND)
  WITH ('connector' = 'filesystem', 'path' = '{input}/s', 'format' = 'csv');
"
    );
    for (table, (columns, format)) in ["o", "o2"].iter().zip(job.outputs) {
        sql.push_str(&format!(
            "CREATE TABLE {table} ({columns})
  WITH ('connector' = 'filesystem', 'path' = '{output}/{table}', 'format' = '{format}');\n"
        ));
    }
    sql + &job.statements.replace("{input}", input) + "\n"
}
