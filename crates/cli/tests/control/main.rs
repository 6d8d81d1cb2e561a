//! The real binary: jobs that are asked, stopped and looked into from other processes.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use serde_json::Value;

const NUM_ROWS: usize = 9_000;
const COUNTS: &str = "SELECT k, COUNT(*) FROM g GROUP BY k";

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

    /// A script over numbers that come slowly, up to `end`.
    fn script(&self, name: &str, end: usize, sink: &str, query: &str) -> String {
        let sql = format!(
            "SET 'execution.checkpointing.interval' = '50 ms';
CREATE TABLE g (id BIGINT, k INT) WITH ('connector' = 'datagen', 'rows-per-second' = '6000',
  'fields.k.min' = '0', 'fields.k.max' = '9',
  'fields.id.kind' = 'sequence', 'fields.id.start' = '1', 'fields.id.end' = '{end}');
{sink};
INSERT INTO o {query};
"
        );
        fs::write(self.path(name), sql).unwrap();
        name.to_string()
    }

    fn counts(&self, name: &str, query: &str) -> String {
        let sink = "CREATE TABLE o (k INT, n BIGINT, PRIMARY KEY (k) NOT ENFORCED) WITH ('connector' = 'blackhole')";
        self.script(name, 100_000_000, sink, query)
    }

    fn flott(&self, args: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flott"));
        command.current_dir(self.folder.path());
        command.args(args.split(' ')).stdin(Stdio::null());
        command
    }

    fn done(&self, args: &str) -> (Option<i32>, String) {
        let output = self.flott(args).output().unwrap();
        (output.status.code(), text(&output))
    }

    /// Runs a script as `shop` until it has a checkpoint.
    fn start(&self, script: &str) -> Child {
        let mut command = self.flott(&format!("run -p 2 --name shop --state-dir state {script}"));
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = child.spawn().unwrap();
        let (_never, wait) = channel::<()>();
        for _ in 0..500 {
            let job = self.shop();
            if job["running"]["checkpoint"]["id"].is_u64() {
                return child;
            }
            let _ = wait.recv_timeout(Duration::from_millis(20));
        }
        panic!(
            "no checkpoint: {}",
            text(&child.wait_with_output().unwrap())
        );
    }

    /// What `flott jobs` says of the job.
    fn shop(&self) -> Value {
        let args = "jobs --state-dir state --format json";
        let output = self.flott(args).output().unwrap();
        let jobs: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let jobs = jobs.as_array().cloned().unwrap_or_default();
        let shop = jobs.into_iter().find(|j| j["job"] == "shop");
        shop.unwrap_or_default()
    }

    /// The committed lines of the sink, with how often each stands there.
    fn output(&self) -> BTreeMap<String, usize> {
        let mut lines = BTreeMap::new();
        for entry in fs::read_dir(self.path("out")).unwrap().flatten() {
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            for line in fs::read_to_string(entry.path()).unwrap().lines() {
                *lines.entry(line.to_string()).or_default() += 1;
            }
        }
        lines
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

#[test]
fn a_stopped_job_goes_on_without_losing_or_repeating_a_row() {
    for stop in ["--savepoint sp", ""] {
        let folder = Folder::new();
        let sink = "CREATE TABLE o (id BIGINT) WITH ('connector' = 'filesystem', 'path' = 'out', 'format' = 'csv')";
        let script = folder.script("job.sql", NUM_ROWS, sink, "SELECT id FROM g");
        let child = folder.start(&script);
        let stop = format!("stop --name shop --state-dir state {stop}");
        let (code, told) = folder.done(stop.trim_end());
        assert_eq!(code, Some(0), "{told}");
        assert!(told.starts_with("shop has stopped: "), "{told}");
        let run = child.wait_with_output().unwrap();
        assert!(run.status.success(), "{}", text(&run));
        assert!(text(&run).contains("stopped with"), "{}", text(&run));
        assert_eq!(folder.shop()["status"], "stopped");
        assert!(!folder.path("state/shop/control.sock").exists());
        let stopped = folder.output();
        assert!(stopped.len() < NUM_ROWS, "the job was over already");
        let args = format!("run -p 2 --name shop --state-dir state {script}");
        let (code, told) = folder.done(&args);
        assert_eq!(code, Some(0), "{told}");
        assert!(told.contains("resuming shop from checkpoint"), "{told}");
        let expected = (1..=NUM_ROWS).map(|id| (id.to_string(), 1));
        assert_eq!(folder.output(), expected.collect());
        assert_eq!(folder.shop()["status"], "finished");
    }
}

#[test]
fn a_running_job_gives_savepoints_and_can_be_drained() {
    let folder = Folder::new();
    let script = folder.counts("job.sql", COUNTS);
    let (code, told) = folder.done("savepoint --name shop --state-dir state --to sp");
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("NOT_RUNNING"), "{told}");
    fs::create_dir_all(folder.path("state")).unwrap();
    let (code, told) = folder.done("savepoint --all --state-dir state --to sp");
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("no job of state is running"), "{told}");
    let child = folder.start(&script);
    let (code, told) = folder.done("savepoint --name shop --state-dir state");
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("needs a folder: give --to"), "{told}");
    let (code, path) = folder.done("savepoint --name shop --state-dir state --to sp");
    assert_eq!(code, Some(0), "{path}");
    assert!(PathBuf::from(path.trim()).join("_manifest").exists());
    let (code, all) = folder.done("savepoint --all --state-dir state --to sp");
    assert_eq!(code, Some(0), "{all}");
    assert!(
        all.starts_with("shop: ") && all != format!("shop: {path}"),
        "{all}"
    );
    assert_eq!(folder.shop()["status"], "running");
    let (code, told) = folder.done("stop --name shop --state-dir state --drain");
    assert_eq!(code, Some(0), "{told}");
    assert!(child.wait_with_output().unwrap().status.success());
    assert_eq!(folder.shop()["status"], "finished");
    let (code, told) = folder.done("stop --name shop --state-dir state");
    assert_eq!(code, Some(2));
    assert!(told.contains("no process runs the job 'shop'"), "{told}");

    let args = format!("state inspect {} --format json", path.trim());
    let output = folder.flott(&args).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report[0]["kind"], "savepoint");
    assert_eq!(report[0]["parallelism"], 2);
    let operators = report[0]["operators"].as_array().unwrap();
    let tables = operators
        .iter()
        .flat_map(|o| o["tables"].as_array().unwrap());
    let tables: Vec<_> = tables.collect();
    assert_eq!(tables.len(), 1);
    assert_eq!(
        (&tables[0]["num_rows"], &tables[0]["is_exact"]),
        (&10.into(), &true.into())
    );
    let (code, told) = folder.done(&format!(
        "state inspect {} --operator GlobalGroupAggregate --rows 3",
        path.trim()
    ));
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(
        told.lines()
            .skip_while(|l| !l.starts_with("key_group"))
            .count(),
        4,
        "{told}"
    );
    let (code, told) = folder.done("state inspect sp --operator Nobody");
    assert_eq!(code, Some(2));
    assert!(told.contains("there are Source: g"), "{told}");
    let manifest = PathBuf::from(path.trim()).join("_manifest");
    let bytes = fs::read(&manifest).unwrap();
    fs::write(&manifest, &bytes[..bytes.len() / 2]).unwrap();
    let (code, told) = folder.done(&format!("state inspect {}", path.trim()));
    assert_eq!(code, Some(1));
    assert!(
        told.contains("STATE_CORRUPT") && told.contains("cut short"),
        "{told}"
    );
}

#[test]
fn a_changed_script_is_told_what_it_keeps() {
    let folder = Folder::new();
    let script = folder.counts("job.sql", COUNTS);
    let child = folder.start(&script);
    let (code, told) = folder.done("stop --name shop --state-dir state --savepoint sp");
    assert_eq!(code, Some(0), "{told}");
    assert!(child.wait_with_output().unwrap().status.success());
    let savepoint = told.trim().rsplit(' ').next().unwrap().to_string();
    let added = "SELECT k, COUNT(*) + SUM(id) FROM g GROUP BY k";
    let filtered = "SELECT k, COUNT(*) FROM g WHERE id > 5 GROUP BY k";
    let renamed = "SELECT x, n FROM (SELECT k AS x, COUNT(*) AS n FROM g GROUP BY k) AS t";
    for (query, code, wanted) in [
        (COUNTS, 0, "2 kept, 0 migrated, 0 new, 0 dropped, 0 refused"),
        (
            renamed,
            0,
            "2 kept, 0 migrated, 0 new, 0 dropped, 0 refused",
        ),
        (added, 0, "1 kept, 1 migrated, 0 new, 0 dropped, 0 refused"),
        (
            filtered,
            1,
            "1 kept, 0 migrated, 1 new, 1 dropped, 0 refused",
        ),
        ("SELECT k, nothing FROM g", 2, "nothing"),
    ] {
        let script = folder.counts("new.sql", query);
        for from in [
            format!("--from {savepoint}"),
            "--name shop --state-dir state".into(),
        ] {
            let args = format!("restore -p 2 --check {script} {from}");
            let (got, told) = folder.done(&args);
            assert_eq!(got, Some(code), "{query}: {told}");
            assert!(told.contains(wanted), "{query}: {told}");
        }
    }
}
