//! The program under test, as a process.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A script in a folder of its own.
pub struct Script {
    folder: TempDir,
    file: PathBuf,
}

/// A process that is killed when this is dropped.
pub struct Running(Child);

impl Script {
    pub fn new(sql: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("job.sql");
        std::fs::write(&file, sql).expect("a script");
        Self { folder, file }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flott"));
        command
            .args(["run", "--format", "plain-json"])
            .args(arguments)
            .arg(&self.file)
            .stdin(Stdio::null());
        command
    }

    /// The script's file.
    pub fn path(&self) -> String {
        self.file.display().to_string()
    }

    /// Another command of the program; gives what it says.
    pub fn command_line(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(env!("CARGO_BIN_EXE_flott"))
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .map_err(|e| e.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
        }
    }

    /// Runs to the end.
    pub fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("flott starts")
    }

    pub fn start(&self, arguments: &[&str]) -> Running {
        let log = |name| std::fs::File::create(self.folder.path().join(name)).expect("a file");
        let child = self
            .command(arguments)
            .stdout(log("out"))
            .stderr(log("err"))
            .spawn();
        Running(child.expect("flott starts"))
    }

    pub fn errors(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("err")).unwrap_or_default()
    }
}

impl Running {
    /// kill -9.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// Ctrl-C; gives whether it ended by that within half a minute.
    pub fn interrupt(&mut self) -> bool {
        let id = self.0.id().to_string();
        let _ = Command::new("kill").args(["-INT", &id]).status();
        crate::waiting::wait_for(std::time::Duration::from_secs(30), || !self.is_running())
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a script to its end; gives the rows of its results, as text joined by `|`, sorted.
pub fn rows(sql: &str) -> Result<Vec<String>, String> {
    rows_with(sql, &["-p", "2"])
}

pub fn rows_with(sql: &str, arguments: &[&str]) -> Result<Vec<String>, String> {
    let output = Script::new(sql).output(arguments);
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{text}{errors}"));
    }
    let mut rows = Vec::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).map_err(|e| format!("{line}: {e}"))?;
        let Some(fields) = line["fields"].as_array() else {
            continue;
        };
        let text = |v: &Value| v.as_str().unwrap_or("NULL").to_string();
        rows.push(fields.iter().map(text).collect::<Vec<_>>().join("|"));
    }
    rows.sort();
    Ok(rows)
}

/// Fails a test when two things differ, showing both.
pub fn expect<T: PartialEq + std::fmt::Debug>(actual: T, expected: T) -> Result<(), String> {
    match actual == expected {
        true => Ok(()),
        false => Err(format!("got      {actual:?}\nexpected {expected:?}")),
    }
}
