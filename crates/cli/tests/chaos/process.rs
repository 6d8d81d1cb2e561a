//! One job in a folder of its own: started, killed, looked at.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use flott_core::clock::Stopwatch;
use serde_json::Value;

use crate::jobs::{JobKind, script};

/// Checkpoints that a job keeps.
pub const NUM_RETAINED: usize = 3;
/// A run that takes longer has hung.
const TIME_LIMIT: Duration = Duration::from_secs(180);

/// How often each row is in an output table.
pub type Rows = BTreeMap<String, i64>;

/// A job's folder: script, state, output and what it has said.
pub struct Place {
    folder: tempfile::TempDir,
}

/// How a run ended by itself.
pub struct Ended {
    pub is_success: bool,
    pub said: String,
}

impl Place {
    /// `options`: statements before the tables.
    pub fn new(job: &JobKind, input: &Path, options: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("out");
        let (input, output) = (input.display().to_string(), output.display().to_string());
        let sql = script(job, &input, &output, options);
        fs::write(folder.path().join("job.sql"), sql).unwrap();
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs without durability to the end: the reference.
    pub fn run_plainly(&self) -> Result<Rows, String> {
        let mut command = self.command("");
        command.arg("run").arg(self.path("job.sql"));
        let ended = self.wait(command.spawn().map_err(|e| e.to_string())?, None)?;
        match ended {
            Some(ended) if ended.is_success => self.rows(),
            Some(ended) => Err(format!("the uninterrupted run failed: {}", ended.said)),
            None => Err("the uninterrupted run has no end".to_string()),
        }
    }

    /// The command of a durable run; `limit` stands before it in a shell.
    pub fn start(&self, parallelism: u64, limit: &str) -> Result<Child, String> {
        let mut command = self.command(limit);
        command.args(["run", "--name", "job", "-p", &parallelism.to_string()]);
        command.arg("--state-dir").arg(self.path("state"));
        command.arg(self.path("job.sql"));
        command.spawn().map_err(|e| e.to_string())
    }

    fn command(&self, limit: &str) -> Command {
        let binary = env!("CARGO_BIN_EXE_flott");
        let mut command = match limit {
            "" => Command::new(binary),
            _ => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("{limit}; exec \"$0\" \"$@\""), binary]);
                shell
            }
        };
        let said = File::create(self.path("said")).unwrap();
        command
            .stdin(Stdio::null())
            .stdout(said.try_clone().unwrap())
            .stderr(said);
        command
    }

    /// Waits for the end, at most until `kill_at`: then the process is killed (SIGKILL: nothing
    /// can be tidied up), and `None` is given.
    pub fn wait(
        &self,
        mut child: Child,
        kill_at: Option<Duration>,
    ) -> Result<Option<Ended>, String> {
        let watch = Stopwatch::start();
        self.wait_until(&mut child, |_| {
            kill_at.is_some_and(|at| watch.elapsed() >= at)
        })
    }

    /// As [`Place::wait`], until this is so.
    pub fn wait_until(
        &self,
        child: &mut Child,
        is_time: impl Fn(&Self) -> bool,
    ) -> Result<Option<Ended>, String> {
        let watch = Stopwatch::start();
        let (_never, pause) = channel::<()>();
        loop {
            if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
                return Ok(Some(Ended {
                    is_success: status.success(),
                    said: self.said(),
                }));
            }
            let has_hung = watch.elapsed() > TIME_LIMIT;
            if has_hung || is_time(self) {
                child.kill().map_err(|e| e.to_string())?;
                child.wait().map_err(|e| e.to_string())?;
                return match has_hung {
                    true => Err(format!("the run hung; it said: {}", self.said())),
                    false => Ok(None),
                };
            }
            let _ = pause.recv_timeout(Duration::from_millis(1));
        }
    }

    fn said(&self) -> String {
        let bytes = fs::read(self.path("said")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The ids of the complete checkpoints of a job, the oldest first.
    pub fn checkpoints(&self, name: &str) -> Vec<u64> {
        let folders = entries(&self.path("state").join(name));
        let complete = folders.into_iter().filter(|f| f.join("_manifest").exists());
        let ids = complete.filter_map(|f| {
            let name = f.file_name()?.to_str()?;
            name.strip_prefix("chk-")?.parse().ok()
        });
        let mut ids: Vec<u64> = ids.collect();
        ids.sort_unstable();
        ids
    }

    pub fn newest_checkpoint(&self) -> u64 {
        self.checkpoints("job").last().copied().unwrap_or(0)
    }

    /// The committed rows of all output tables, by how often each is there.
    ///
    /// # Errors
    /// What no committed file may be: cut off in a line, or not a file of this job.
    pub fn rows(&self) -> Result<Rows, String> {
        let mut rows = Rows::new();
        for table in entries(&self.path("out")) {
            let table_name = table.file_name().unwrap_or_default().to_string_lossy();
            for file in entries(&table) {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                if name.starts_with('.') {
                    continue;
                }
                let text = fs::read_to_string(&file).map_err(|e| e.to_string())?;
                if !(name.starts_with("part-") || name.starts_with("compacted-part-"))
                    || !(text.is_empty() || text.ends_with('\n'))
                {
                    return Err(format!("'{}' is no whole file", file.display()));
                }
                for line in text.lines() {
                    add_line(&mut rows, &table_name, line)?;
                }
            }
        }
        // Changes cancel out, whatever the order of the files.
        rows.retain(|_, count| *count != 0);
        Ok(rows)
    }

    /// What a finished job, or one that was killed so often, has left in its state folder beyond
    /// what it may.
    pub fn check_state(&self, is_finished: bool, num_killed: u64) -> Result<(), String> {
        for job in entries(&self.path("state")) {
            let name = job.file_name().unwrap_or_default().to_string_lossy();
            let checkpoints = self.checkpoints(&name);
            // Each time it is killed between a manifest and the clean-up it has one more.
            let num_more = if is_finished { 0 } else { num_killed };
            let limit = NUM_RETAINED as u64 + num_more;
            if checkpoints.len() as u64 > limit {
                return Err(format!("job {name} keeps the checkpoints {checkpoints:?}"));
            }
            if is_finished && !job.join("_finished").exists() {
                return Err(format!("job {name} is not marked as finished"));
            }
            if is_finished {
                check_whole(&job)?;
            }
            let manifests = checkpoints.iter().map(|id| {
                let manifest = fs::read(job.join(format!("chk-{id}/_manifest")));
                String::from_utf8_lossy(&manifest.unwrap_or_default()).into_owned()
            });
            let manifests: Vec<String> = manifests.collect();
            for file in entries(&job.join("shared")) {
                let file = file
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                if is_finished && !manifests.iter().any(|m| m.contains(&file)) {
                    let said = self.said();
                    let message = format!("job {name}: no manifest names shared/{file}");
                    return Err(format!("{message}, kept are {checkpoints:?}; {said}"));
                }
            }
        }
        Ok(())
    }
}

/// Nothing that was half written is left in a job's folder: temporary files, folders of checkpoints
/// without a manifest.
fn check_whole(job: &Path) -> Result<(), String> {
    let name = |path: &Path| {
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    for entry in entries(job) {
        let names: Vec<String> = entries(&entry).iter().map(|e| name(e)).collect();
        let is_checkpoint = name(&entry).starts_with("chk-");
        let is_left = is_checkpoint && names != ["_manifest"];
        let mut all = names.iter().cloned().chain([name(&entry)]);
        if is_left || all.any(|n| n.contains('#') || n.starts_with('.')) {
            return Err(format!("{} holds {names:?}", entry.display()));
        }
    }
    Ok(())
}

fn add_line(rows: &mut Rows, table: &str, line: &str) -> Result<(), String> {
    if !line.starts_with('{') {
        *rows.entry(format!("{table}: {line}")).or_default() += 1;
        return Ok(());
    }
    let change: Value = serde_json::from_str(line).map_err(|e| format!("{line}: {e}"))?;
    for (side, count) in [("before", -1), ("after", 1)] {
        if !change[side].is_null() {
            *rows
                .entry(format!("{table}: {}", change[side]))
                .or_default() += count;
        }
    }
    Ok(())
}

/// A folder's entries in order; none when there is no folder.
pub fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|e| e.path()).collect();
    paths.sort();
    paths
}

/// The first differences of two outputs, `None` when they are the same.
pub fn difference(expected: &Rows, actual: &Rows) -> Option<String> {
    let count = |rows: &Rows, row: &str| rows.get(row).copied().unwrap_or(0);
    let rows = expected.keys().chain(actual.keys());
    let wrong: std::collections::BTreeSet<&String> = rows
        .filter(|row| count(expected, row) != count(actual, row))
        .collect();
    let first: Vec<String> = wrong
        .iter()
        .take(5)
        .map(|row| {
            let (expected, actual) = (count(expected, row), count(actual, row));
            format!("{row}: {expected} times expected, {actual} times there")
        })
        .collect();
    (!wrong.is_empty()).then(|| format!("{} rows differ\n{}", wrong.len(), first.join("\n")))
}
