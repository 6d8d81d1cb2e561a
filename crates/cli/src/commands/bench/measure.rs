//! A run as a process of its own, measured by the kernel.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use flott_core::clock::{Clock, Stopwatch, SystemClock};
use serde_json::json;

/// What one run took.
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
    let file = folder.join("job.sql");
    std::fs::write(&file, script)?;
    let binary = std::env::current_exe()?;
    let watch = Stopwatch::start();
    let child = Command::new(binary)
        .arg("run")
        .arg(&file)
        .args(["--parallelism", &parallelism.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let (status, usage, stderr) = wait_measured(child)?;
    let wall_s = watch.elapsed().as_secs_f64();
    if status != 0 {
        bail!("the run failed with status {status}: {}", stderr.trim());
    }
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    Ok(Measurement {
        rows: 0,
        bytes: None,
        wall_s,
        cpu_s: seconds(usage.ru_utime) + seconds(usage.ru_stime),
        // Linux counts in KiB.
        peak_bytes: usage.ru_maxrss as u64 * 1024,
    })
}

/// Waits for one child with its own resource usage, which the standard library does not give.
fn wait_measured(mut child: std::process::Child) -> Result<(i32, libc::rusage, String)> {
    let mut stderr = String::new();
    if let Some(mut pipe) = child.stderr.take() {
        std::io::Read::read_to_string(&mut pipe, &mut stderr)?;
    }
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: `usage` is valid for writes and the child has not been waited for.
    let pid = unsafe {
        libc::wait4(
            child.id() as libc::pid_t,
            &mut status,
            0,
            usage.as_mut_ptr(),
        )
    };
    if pid < 0 {
        return Err(std::io::Error::last_os_error()).context("waiting for the run");
    }
    // SAFETY: zeroed is a valid rusage, and wait4 has filled it.
    Ok((
        libc::WEXITSTATUS(status),
        unsafe { usage.assume_init() },
        stderr,
    ))
}
