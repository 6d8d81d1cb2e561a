//! The real binary, killed at any moment: its committed output is the uninterrupted run's.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

const NUM_ROWS: usize = 500_000;

/// A folder with input and a script.
struct Job {
    folder: tempfile::TempDir,
}

impl Job {
    /// Rows `key,value,time` in several files, and windowed sums of them.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("in");
        fs::create_dir(&input).unwrap();
        let mut text = String::new();
        for row in 0..NUM_ROWS {
            let seconds = row * 86_000 / NUM_ROWS;
            let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            writeln!(text, "{},{row},2026-01-01 {h:02}:{m:02}:{s:02}", row % 97).unwrap();
        }
        fs::write(input.join("rows.csv"), text).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the script whose output goes to `out`; gives its path.
    fn script(&self, out: &str) -> PathBuf {
        let sql = format!(
            "SET 'execution.checkpointing.interval' = '30 ms';
SET 'pipeline.max-parallelism' = '16';
SET 'restart-strategy.type' = 'none';
CREATE TABLE r (k INT, v BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
  WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'csv');
CREATE TABLE o (w TIMESTAMP(3), k INT, n BIGINT, s BIGINT)
  WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'csv');
INSERT INTO o SELECT window_end, k, COUNT(*), SUM(v)
  FROM TABLE(TUMBLE(TABLE r, DESCRIPTOR(ts), INTERVAL '10' MINUTE))
  GROUP BY window_start, window_end, k;
",
            self.path("in").display(),
            self.path(out).display()
        );
        let script = self.path(&format!("{out}.sql"));
        fs::write(&script, sql).unwrap();
        script
    }

    fn command(&self, script: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flott"));
        command.args(["run", "-p", "2", "--name", "shop", "--state-dir"]);
        command.arg(self.path("state")).arg(script);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// The newest complete checkpoint; 0 without any.
    fn checkpoint(&self) -> u64 {
        let folders = fs::read_dir(self.path("state/shop"))
            .into_iter()
            .flatten()
            .flatten();
        let complete = folders.filter(|f| f.path().join("_manifest").exists());
        let names = complete.map(|f| f.file_name().to_string_lossy().into_owned());
        let ids = names.filter_map(|n| n.strip_prefix("chk-")?.parse().ok());
        ids.max().unwrap_or(0)
    }

    /// The text of the newest complete checkpoint's manifest.
    fn manifest(&self) -> String {
        let file = format!("state/shop/chk-{}/_manifest", self.checkpoint());
        fs::read_to_string(self.path(&file)).unwrap_or_default()
    }

    /// Runs until so many more checkpoints are complete, or the job ends.
    fn run_until_checkpoint(&self, script: &Path, num_more: u64) -> Child {
        let goal = self.checkpoint() + num_more;
        let mut child = self.command(script).spawn().unwrap();
        let (_never, wait) = channel::<()>();
        while self.checkpoint() < goal && child.try_wait().unwrap().is_none() {
            let _ = wait.recv_timeout(Duration::from_millis(2));
        }
        child
    }
}

/// The committed lines of all files in a folder, with how often each stands there.
fn lines(folder: &Path) -> BTreeMap<String, usize> {
    let mut lines = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        for line in fs::read_to_string(entry.path()).unwrap().lines() {
            *lines.entry(line.to_string()).or_default() += 1;
        }
    }
    lines
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

#[test]
fn a_killed_job_goes_on_where_it_was() {
    let job = Job::new();
    let plain = Command::new(env!("CARGO_BIN_EXE_flott"))
        .arg("run")
        .arg(job.script("plain"))
        .output()
        .unwrap();
    assert!(plain.status.success(), "{}", text(&plain));
    let expected = lines(&job.path("plain"));
    assert!(expected.len() > 97 * 100, "{}", expected.len());
    let script = job.script("out");
    let mut num_kills = 0;
    for num_more in [1, 1, 2, 1, 3] {
        let mut child = job.run_until_checkpoint(&script, num_more);
        // The signal is KILL: nothing can be tidied up.
        num_kills += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        let manifest = job.manifest();
        assert!(manifest.contains("\"max_parallelism\": 16"), "{manifest}");
    }
    let done = job.command(&script).output().unwrap();
    assert!(done.status.success(), "{}", text(&done));
    assert_eq!(lines(&job.path("out")), expected);
    assert!(num_kills > 0, "the job was over before it could be killed");
    let told = text(&done);
    let has_said = told.contains("resuming shop from checkpoint") || told.contains("has finished");
    assert!(has_said, "{told}");
    // A finished job says so and does nothing.
    let again = job.command(&script).output().unwrap();
    assert!(
        text(&again).contains("shop has finished already"),
        "{}",
        text(&again)
    );
    assert_eq!(lines(&job.path("out")), expected);
}

#[test]
fn changed_statements_do_not_drop_state_silently() {
    let job = Job::new();
    let script = job.script("out");
    let mut child = job.run_until_checkpoint(&script, 1);
    child.kill().unwrap();
    child.wait().unwrap();
    if job.path("state/shop/_finished").exists() {
        return;
    }
    let sql = fs::read_to_string(&script).unwrap();
    // The same operator with other columns, and another operator.
    for (from, to, code) in [
        ("SUM(v)", "MAX(v)", "STATE_SCHEMA"),
        ("'10' MINUTE", "'20' MINUTE", "UNCLAIMED_STATE"),
    ] {
        fs::write(&script, sql.replace(from, to)).unwrap();
        let refused = job.command(&script).output().unwrap();
        assert!(!refused.status.success());
        assert!(text(&refused).contains(code), "{}", text(&refused));
    }
    let fresh = job.command(&script).arg("--fresh").output().unwrap();
    assert!(fresh.status.success(), "{}", text(&fresh));
}

#[test]
fn an_aggregation_keeps_its_state_when_its_twin_is_removed() {
    let job = Job::new();
    let script = job.script("out");
    let (head, _) = fs::read_to_string(&script)
        .unwrap()
        .split_once("CREATE TABLE o ")
        .map(|(head, rest)| (head.to_string(), rest.to_string()))
        .unwrap();
    let sinks = "CREATE TABLE a (k INT, n BIGINT) WITH ('connector' = 'blackhole');
CREATE TABLE b (k INT, n BIGINT) WITH ('connector' = 'blackhole');";
    let first = "INSERT INTO a SELECT k, COUNT(*) FROM r GROUP BY k;";
    let second = "INSERT INTO b SELECT k, SUM(v) FROM r GROUP BY k;";
    let both = format!("{head}{sinks}\nEXECUTE STATEMENT SET BEGIN {first} {second} END;");
    fs::write(&script, both).unwrap();
    let mut child = job.run_until_checkpoint(&script, 1);
    child.kill().unwrap();
    child.wait().unwrap();
    if job.path("state/shop/_finished").exists() {
        return;
    }
    fs::write(&script, format!("{head}{sinks}\n{second}")).unwrap();
    let checked = Command::new(env!("CARGO_BIN_EXE_flott"))
        .args(["restore", "--check"])
        .arg(&script)
        .args(["--name", "shop", "--state-dir"])
        .arg(job.path("state"))
        .output()
        .unwrap();
    let told = text(&checked);
    let of_aggregates = told.lines().filter(|l| l.contains("GroupAggregate"));
    let fates: Vec<&str> = of_aggregates
        .filter_map(|l| l.split_whitespace().next())
        .collect();
    assert!(fates.contains(&"kept"), "{told}");
    assert!(fates.contains(&"dropped"), "{told}");
    assert!(!fates.contains(&"refused"), "{told}");
}
