//! A run as a process of its own, measured by the kernel.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use crossbeam_channel::RecvTimeoutError;
use flott_core::clock::{Clock, Stopwatch, SystemClock};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

/// What one run of a case took.
#[derive(Debug, Clone)]
pub struct Measurement {
    pub rows: u64,
    /// Bytes of input, where it came from a file.
    pub bytes: Option<u64>,
    pub wall_s: f64,
    /// User and system time of the whole process.
    pub cpu_s: f64,
    pub peak_bytes: u64,
}

impl Measurement {
    pub fn to_json(&self, case: &str) -> String {
        json!({
            "case": case,
            "rows": self.rows,
            "bytes": self.bytes,
            "wall_s": self.wall_s,
            "cpu_s": self.cpu_s,
            "peak_bytes": self.peak_bytes,
        })
        .to_string()
    }
}

/// A folder that goes with the value.
pub struct ScratchFolder(PathBuf);

impl ScratchFolder {
    pub fn new() -> Result<Self> {
        let name = format!(
            "flott-bench-{}-{}",
            std::process::id(),
            SystemClock.now_nanos()
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs this binary on a script and waits for its end.
pub fn run(script: &str, parallelism: usize, folder: &Path) -> Result<Measurement> {
    let command = flott_run(script, parallelism, folder)?;
    let usage = run_measured(command, folder, None, &Watcher::quiet())?;
    if let Some(failure) = &usage.failure {
        bail!("the run failed: {failure}");
    }
    Ok(Measurement {
        rows: 0,
        bytes: None,
        wall_s: usage.wall_s,
        cpu_s: usage.cpu_s,
        peak_bytes: usage.peak_bytes,
    })
}

/// `flott run` of this binary on a script, which is written into the folder.
pub fn flott_run(script: &str, parallelism: usize, folder: &Path) -> Result<Command> {
    let file = folder.join("job.sql");
    std::fs::write(&file, script).with_context(|| file.display().to_string())?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("run")
        .arg(&file)
        .args(["--parallelism", &parallelism.to_string()]);
    Ok(command)
}

/// What a process took, to its end or to the time-out.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    pub wall_s: f64,
    /// User and system time of the process and of the children that it waited for.
    pub cpu_s: f64,
    /// The largest resident set.
    pub peak_bytes: u64,
    pub is_timed_out: bool,
    /// Why the process failed, when it did so by itself.
    pub failure: Option<String>,
}

/// Shows what is being measured, on a terminal, and hears Ctrl-C.
pub struct Watcher {
    bar: Option<ProgressBar>,
    is_interrupted: Arc<AtomicBool>,
}

impl Watcher {
    /// A line on standard error when that is a terminal; Ctrl-C ends the running process first.
    pub fn install() -> Self {
        use std::io::IsTerminal;
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style);
            }
            bar
        });
        let is_interrupted = Arc::<AtomicBool>::default();
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            let flag = is_interrupted.clone();
            let _ = signal_hook::flag::register_conditional_shutdown(signal, 130, flag.clone());
            let _ = signal_hook::flag::register(signal, flag);
        }
        Self {
            bar,
            is_interrupted,
        }
    }

    /// Shows nothing and leaves Ctrl-C alone.
    pub fn quiet() -> Self {
        Self {
            bar: None,
            is_interrupted: Arc::default(),
        }
    }

    /// What the line says.
    pub fn show(&self, message: String) {
        if let Some(bar) = &self.bar {
            bar.set_message(message);
            bar.tick();
        }
    }

    /// Prints a line that stays, on standard error.
    pub fn note(&self, message: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{message}")),
            None => eprintln!("{message}"),
        }
    }

    /// Takes the line away.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    pub fn is_interrupted(&self) -> bool {
        self.is_interrupted.load(Ordering::SeqCst)
    }

    fn tick(&self) {
        if let Some(bar) = &self.bar {
            bar.tick();
        }
    }
}

/// How often the line moves and time-out and Ctrl-C are looked at.
const TICK: Duration = Duration::from_millis(100);
/// Bytes of standard error that are kept of a failed process.
const FAILURE_BYTES: usize = 600;

/// Runs a command to its end, or to `timeout`; its output goes to files in the folder.
///
/// # Errors
/// When the command cannot be started, or on Ctrl-C. A command that fails is not an error: see
/// [`Usage::failure`].
pub fn run_measured(
    mut command: Command,
    folder: &Path,
    timeout: Option<Duration>,
    watcher: &Watcher,
) -> Result<Usage> {
    let errors = folder.join("stderr.txt");
    let program = command.get_program().to_string_lossy().to_string();
    let watch = Stopwatch::start();
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(&errors)?)
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    let pid = child.id() as libc::pid_t;
    let (sender, ended) = crossbeam_channel::bounded(1);
    std::thread::spawn(move || {
        let _ = sender.send(wait_for(pid));
    });
    let (mut is_killed, mut is_timed_out) = (false, false);
    let (status, usage) = loop {
        match ended.recv_timeout(TICK) {
            Ok(result) => break result?,
            Err(RecvTimeoutError::Disconnected) => bail!("nobody waits for {program}"),
            Err(RecvTimeoutError::Timeout) => watcher.tick(),
        }
        let is_late = timeout.is_some_and(|t| watch.elapsed() > t);
        if !is_killed && (is_late || watcher.is_interrupted()) {
            (is_killed, is_timed_out) = (true, is_late);
            // SAFETY: the process is ours, and nobody has said that it has been waited for.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
    };
    if watcher.is_interrupted() {
        bail!("interrupted");
    }
    Ok(Usage {
        wall_s: watch.elapsed().as_secs_f64(),
        cpu_s: cpu_s(&usage),
        // Linux counts in KiB.
        peak_bytes: usage.ru_maxrss as u64 * 1024,
        is_timed_out,
        failure: (status != 0 && !is_timed_out).then(|| failure_text(status, &errors)),
    })
}

/// User and system time.
fn cpu_s(usage: &libc::rusage) -> f64 {
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// User and system time of this process so far.
pub fn process_cpu_s() -> f64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is valid for writes.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
    // SAFETY: zeroed is a valid rusage, whether or not it has been filled.
    cpu_s(&unsafe { usage.assume_init() })
}

/// Waits for one child with its own resource usage, which the standard library does not give.
fn wait_for(pid: libc::pid_t) -> Result<(i32, libc::rusage)> {
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: `usage` is valid for writes and the child has not been waited for.
    if unsafe { libc::wait4(pid, &mut status, 0, usage.as_mut_ptr()) } < 0 {
        return Err(std::io::Error::last_os_error()).context("waiting for the run");
    }
    // SAFETY: zeroed is a valid rusage, and wait4 has filled it.
    Ok((status, unsafe { usage.assume_init() }))
}

fn failure_text(status: i32, errors: &Path) -> String {
    let how = if libc::WIFSIGNALED(status) {
        format!("signal {}", libc::WTERMSIG(status))
    } else {
        format!("exit code {}", libc::WEXITSTATUS(status))
    };
    let bytes = std::fs::read(errors).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(FAILURE_BYTES)]);
    format!("{how}: {}", text.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, timeout: Option<Duration>) -> Usage {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        run_measured(command, folder.path(), timeout, &Watcher::quiet()).unwrap()
    }

    #[test]
    fn a_run_that_ends_has_its_usage() {
        let usage = shell("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done", None);
        assert_eq!(usage.failure, None);
        assert!(!usage.is_timed_out);
        assert!(usage.cpu_s > 0.0 && usage.wall_s > 0.0 && usage.peak_bytes > 0);
    }

    #[test]
    fn a_failure_says_why() {
        let failure = shell("echo no such thing >&2; exit 3", None).failure;
        assert_eq!(failure.as_deref(), Some("exit code 3: no such thing"));
    }

    #[test]
    fn a_run_that_takes_too_long_is_ended() {
        let usage = shell("exec sleep 600", Some(Duration::from_millis(1)));
        assert!(usage.is_timed_out);
        assert_eq!(usage.failure, None);
    }
}
