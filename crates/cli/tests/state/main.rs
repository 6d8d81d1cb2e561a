//! The real binary: jobs asked with SQL, and state taken over by statements that have changed.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

/// Rows of a job that ends.
const NUM_ROWS: i64 = 40_000;

struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A script over numbers that come slowly: `g (id, k, v)`, v always 1.
    fn script(&self, name: &str, settings: &str, v_type: &str, sink: &str, query: &str) {
        let sql = format!(
            "SET 'execution.checkpointing.interval' = '50 ms';
SET 'execution.checkpointing.savepoint-dir' = 'sp';
{settings}
CREATE TABLE g (id BIGINT, k INT, v {v_type}) WITH ('connector' = 'datagen', 'rows-per-second' = '6000',
  'fields.k.min' = '0', 'fields.k.max' = '9', 'fields.v.min' = '1', 'fields.v.max' = '1',
  'fields.id.kind' = 'sequence', 'fields.id.start' = '1', 'fields.id.end' = '{NUM_ROWS}');
CREATE TABLE o ({sink}) WITH ('connector' = 'print');
INSERT INTO o {query};
"
        );
        fs::write(self.path(name), sql).unwrap();
    }

    fn flott(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flott"));
        command.current_dir(self.folder.path());
        command.args(args).stdin(Stdio::null());
        command
    }

    /// Standard output of a command that goes well.
    fn out(&self, args: &[&str]) -> String {
        let output = self.flott(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The lines of a statement's result, without their head.
    fn sql(&self, statement: &str) -> Vec<String> {
        let args = [
            "sql",
            "--state-dir",
            "state",
            "--format",
            "csv",
            "-e",
            statement,
        ];
        let out = self.out(&args);
        out.lines().skip(1).map(str::to_string).collect()
    }

    fn sql_error(&self, statement: &str) -> String {
        let args = ["sql", "--state-dir", "state", "-e", statement];
        let output = self.flott(&args).output().unwrap();
        assert!(!output.status.success(), "{statement}: {}", text(&output));
        text(&output)
    }

    fn number(&self, statement: &str) -> i64 {
        let lines = self.sql(statement);
        lines
            .first()
            .and_then(|l| l.parse().ok())
            .unwrap_or_else(|| panic!("{lines:?}"))
    }

    /// Runs a script as `shop` until it has a checkpoint with rows.
    fn start(&self, script: &str) -> Child {
        let args = [
            "run",
            "-p",
            "2",
            "--name",
            "shop",
            "--state-dir",
            "state",
            script,
        ];
        let mut command = self.flott(&args);
        // Nobody reads what it prints: it must not wait for that.
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped());
        let child = child.spawn().unwrap();
        let (_never, wait) = channel::<()>();
        for _ in 0..500 {
            let args = [
                "sql",
                "--state-dir",
                "state",
                "-e",
                "SELECT 1 FROM STATE OF shop LIMIT 1",
            ];
            let output = self.flott(&args).output().unwrap();
            if output.status.success() && String::from_utf8_lossy(&output.stdout).contains('1') {
                return child;
            }
            let _ = wait.recv_timeout(Duration::from_millis(20));
        }
        panic!("no state: {}", text(&child.wait_with_output().unwrap()));
    }

    /// Starts a script and stops it while it reads.
    fn start_and_stop(&self, script: &str) {
        let child = self.start(script);
        self.sql("STOP JOB 'shop'");
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
    }

    /// Runs a script to its end; the last row of each key that it prints.
    fn finish(&self, script: &str) -> Vec<Vec<i64>> {
        let args = [
            "run",
            "-p",
            "2",
            "--name",
            "shop",
            "--state-dir",
            "state",
            script,
        ];
        let out = self.out(&args);
        let mut rows = std::collections::BTreeMap::new();
        for line in out.lines() {
            let row = line.split_once('[').and_then(|(kind, row)| {
                let adds = kind.ends_with("+I") || kind.ends_with("+U");
                adds.then(|| row.trim_end_matches(']'))
            });
            if let Some(row) = row {
                let row: Vec<i64> = row.split(", ").map(|n| n.parse().unwrap()).collect();
                rows.insert(row[0], row);
            }
        }
        rows.into_values().collect()
    }

    fn check(&self, script: &str) -> (Option<i32>, String) {
        let args = [
            "restore",
            "--check",
            script,
            "--name",
            "shop",
            "--state-dir",
            "state",
        ];
        let output = self.flott(&args).output().unwrap();
        (output.status.code(), text(&output))
    }
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

const COUNTS: &str = "SELECT k, COUNT(*) AS n, SUM(v) AS s FROM g GROUP BY k";
const COUNTS_SINK: &str = "k INT, n BIGINT, s INT";

#[test]
fn jobs_are_asked_and_stopped_with_sql() {
    let folder = Folder::new();
    folder.script("job.sql", "", "INT", COUNTS_SINK, COUNTS);
    assert!(folder.sql_error("SHOW JOBS").contains("STATE_NOT_FOUND"));
    let child = folder.start("job.sql");
    let jobs = folder.sql("SHOW JOBS");
    assert_eq!(jobs.len(), 1);
    assert!(jobs[0].starts_with("shop,insert-into_"), "{jobs:?}");
    assert!(jobs[0].contains(",RUNNING,2"), "{jobs:?}");
    assert_eq!(folder.sql("DESC JOB 'shop'").len(), 1);
    let counted = "SELECT SUM(`COUNT(*)`) FROM STATE OF 'shop' OPERATOR 'GroupAggregate'";
    let while_running = folder.number(counted);
    assert!((1..NUM_ROWS).contains(&while_running), "{while_running}");
    let savepoint = folder.sql("STOP JOB 'shop' WITH SAVEPOINT");
    assert!(savepoint[0].contains("sp/savepoint-shop"), "{savepoint:?}");
    assert!(child.wait_with_output().unwrap().status.success());
    assert!(folder.sql("SHOW JOBS")[0].contains(",STOPPED,"));
    // The state of a stopped job, and of the savepoint at its folder.
    let stopped = folder.number(counted);
    assert!(stopped >= while_running);
    let saved = format!("SELECT SUM(`SUM(v)`) FROM STATE OF '{}'", savepoint[0]);
    assert_eq!(folder.number(&saved), stopped);
    let query = "SELECT k, `COUNT(*)` AS n FROM STATE OF shop WHERE k < 3 ORDER BY k DESC";
    let rows = folder.sql(query);
    let keys: Vec<&str> = rows.iter().filter_map(|r| r.split(',').next()).collect();
    assert_eq!(keys, ["2", "1", "0"]);
    assert!(
        folder
            .sql_error("STOP JOB 'shop'")
            .contains("no process runs the job")
    );
    assert!(
        folder
            .sql_error("STOP JOB 'other'")
            .contains("there are shop")
    );
    assert!(
        folder
            .sql_error("SELECT * FROM STATE OF other")
            .contains("there are shop")
    );
    let unknown = folder.sql_error("SELECT * FROM STATE OF shop OPERATOR 'Join'");
    assert!(unknown.contains("there are GroupAggregate"), "{unknown}");
    let args = [
        "sql",
        "--state-dir",
        "state",
        "-e",
        "SELECT * FROM STATE OF shop",
    ];
    let told = text(&folder.flott(&args).output().unwrap());
    assert!(told.contains("state of shop as of checkpoint"), "{told}");
}

#[test]
fn an_aggregate_more_and_a_wider_type_keep_the_counts() {
    let folder = Folder::new();
    folder.script("v1.sql", "", "INT", COUNTS_SINK, COUNTS);
    folder.start_and_stop("v1.sql");
    let before = folder.number("SELECT SUM(`COUNT(*)`) FROM STATE OF shop");
    let query = "SELECT k, COUNT(*) AS n, SUM(v) AS s, COUNT(id) AS c FROM g GROUP BY k";
    let sink = "k INT, n BIGINT, s BIGINT, c BIGINT";
    let ttl = "SET 'table.exec.state.ttl' = '1 h';";
    folder.script("v2.sql", ttl, "BIGINT", sink, query);
    let (code, told) = folder.check("v2.sql");
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("SUM(v) BIGINT was INT"), "{told}");
    assert!(
        told.contains("COUNT(id) BIGINT is new: it has seen no rows yet"),
        "{told}"
    );
    assert!(told.contains("the TTL is 60 min now"), "{told}");
    assert!(told.contains("1 migrated"), "{told}");
    let rows = folder.finish("v2.sql");
    assert_eq!(rows.len(), 10);
    let sum = |column: usize| rows.iter().map(|row| row[column]).sum::<i64>();
    assert_eq!(
        (sum(1), sum(2), sum(3)),
        (NUM_ROWS, NUM_ROWS, NUM_ROWS - before)
    );
    assert!(rows.iter().all(|row| row[1] == row[2]));
}

#[test]
fn an_aggregate_less_and_another_ttl_keep_the_rest() {
    let folder = Folder::new();
    let ttl = |time: &str| format!("SET 'table.exec.state.ttl' = '{time}';");
    folder.script("v1.sql", &ttl("2 h"), "INT", COUNTS_SINK, COUNTS);
    folder.start_and_stop("v1.sql");
    let query = "SELECT k, SUM(v) AS s FROM g GROUP BY k";
    folder.script("v2.sql", "", "INT", "k INT, s INT", query);
    let (code, told) = folder.check("v2.sql");
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("COUNT(*) BIGINT is left out"), "{told}");
    assert!(told.contains("the TTL of 2 h is gone"), "{told}");
    let rows = folder.finish("v2.sql");
    assert_eq!(rows.iter().map(|row| row[1]).sum::<i64>(), NUM_ROWS);
}

#[test]
fn a_narrower_type_is_refused_before_anything_runs() {
    let folder = Folder::new();
    folder.script("v1.sql", "", "BIGINT", "k INT, n BIGINT, s BIGINT", COUNTS);
    folder.start_and_stop("v1.sql");
    folder.script("v2.sql", "", "INT", COUNTS_SINK, COUNTS);
    let (code, told) = folder.check("v2.sql");
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("STATE_SCHEMA"), "{told}");
    assert!(told.contains("SUM(v) was BIGINT and is INT now"), "{told}");
    let args = ["run", "--name", "shop", "--state-dir", "state", "v2.sql"];
    let output = folder.flott(&args).output().unwrap();
    assert!(!output.status.success());
    assert!(text(&output).contains("SUM(v) was BIGINT and is INT now"));
}

#[test]
fn a_column_more_is_null_in_old_rows() {
    let folder = Folder::new();
    let query = |columns: &str| {
        format!(
            "SELECT {columns} FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY id DESC) AS r FROM g) WHERE r <= 100000"
        )
    };
    folder.script("v1.sql", "", "INT", "k INT, id BIGINT", &query("k, id"));
    folder.start_and_stop("v1.sql");
    let count =
        |rows: &str| folder.number(&format!("SELECT COUNT(*) FROM STATE OF shop WHERE {rows}"));
    let num_old = count("TRUE");
    folder.script(
        "v2.sql",
        "",
        "INT",
        "k INT, id BIGINT, v INT",
        &query("k, id, v"),
    );
    let (code, told) = folder.check("v2.sql");
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("v INT is new: NULL in old rows"), "{told}");
    folder.start_and_stop("v2.sql");
    assert_eq!(count("v IS NULL"), num_old);
    assert!(count("v = 1") > 0);
}
