//! `flott savepoint`, `flott stop` and `flott jobs`: named jobs that run in other processes.

use std::process::ExitCode;

use clap::Args;
use flott_core::clock::{Clock, SystemClock};
use flott_core::options::Options;
use flott_core::{Error, Result};
use flott_state::storage::{CheckpointStore, StoragePlace};
use serde::Serialize;

use crate::commands::state::{ReportFormat, json_text, print};
use crate::control::{Address, JobStatus, Reply, Request, send};
use crate::diagnostics;
use crate::durable::duration;
use crate::output::aligned;
use crate::snapshots::{StoreArgs, latest, local_path, open, size_text};

/// Where running jobs are found.
#[derive(Debug, Args)]
struct Target {
    /// The state folder (or s3://…) that they were started with.
    #[arg(long, value_name = "DIR")]
    state_dir: String,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Args)]
pub struct SavepointArgs {
    /// The job's name, as `flott jobs` lists it.
    #[arg(long, value_name = "NAME", required_unless_present = "all")]
    name: Option<String>,
    /// Every running job of the state folder.
    #[arg(long, conflicts_with = "name")]
    all: bool,
    #[command(flatten)]
    target: Target,
    /// The savepoint gets a folder of its own below this one; the default is the script's
    /// 'execution.checkpointing.savepoint-dir'.
    #[arg(long, value_name = "FOLDER")]
    to: Option<String>,
}

#[derive(Debug, Args)]
pub struct StopArgs {
    /// The job's name, as `flott jobs` lists it.
    #[arg(long, value_name = "NAME")]
    name: String,
    #[command(flatten)]
    target: Target,
    /// Write a savepoint, too, in a folder of its own below this one.
    #[arg(long, value_name = "FOLDER")]
    savepoint: Option<String>,
    /// End the sources as if their input had ended: windows fire, and the job is finished.
    #[arg(long)]
    drain: bool,
}

#[derive(Debug, Args)]
pub struct JobsArgs {
    /// The state folder.
    #[arg(long, value_name = "DIR")]
    state_dir: String,
    #[arg(long, value_enum, default_value = "table")]
    format: ReportFormat,
    #[command(flatten)]
    store: StoreArgs,
}

/// Runs `flott savepoint`.
pub fn savepoint(args: &SavepointArgs) -> ExitCode {
    let request = || {
        let folder = args.to.as_deref().map(absolute).transpose()?;
        let request = Request::Savepoint { folder };
        match &args.name {
            Some(name) => {
                let path = args.target.send(name, &request)?;
                print(&format!("{path}\n"))?;
                Ok(ExitCode::SUCCESS)
            }
            None => savepoint_all(&args.target, &request),
        }
    };
    diagnostics::exit_of(request())
}

/// A savepoint of each running job; one that fails keeps no other from its own.
fn savepoint_all(target: &Target, request: &Request) -> Result<ExitCode> {
    let options = target.store.options()?;
    let jobs = list_jobs(
        &target.state_dir,
        &open(&target.state_dir, &options)?,
        &options,
    )?;
    let running: Vec<_> = jobs.into_iter().filter(|j| j.running.is_some()).collect();
    if running.is_empty() {
        let message = format!("no job of {} is running", target.state_dir);
        return Err(Error::user("NOT_RUNNING", message));
    }
    let mut exit = ExitCode::SUCCESS;
    for job in running {
        match target.send(&job.job, request) {
            Ok(path) => print(&format!("{}: {path}\n", job.job))?,
            Err(error) => {
                exit = ExitCode::from(diagnostics::EXIT_FAILED);
                eprintln!("error: {error}");
            }
        }
    }
    Ok(exit)
}

/// Runs `flott stop`.
pub fn stop(args: &StopArgs) -> ExitCode {
    let request = || {
        let folder = args.savepoint.as_deref().map(absolute).transpose()?;
        let drain = args.drain;
        let request = Request::Stop {
            savepoint: folder.is_some(),
            folder,
            drain,
        };
        let path = args.target.send(&args.name, &request)?;
        print(&format!("{} has stopped: {path}\n", args.name))
    };
    diagnostics::exit_of(request().map(|()| ExitCode::SUCCESS))
}

/// Runs `flott jobs`.
pub fn jobs(args: &JobsArgs) -> ExitCode {
    let list = || {
        let options = args.store.options()?;
        let place = open(&args.state_dir, &options)?;
        let jobs = list_jobs(&args.state_dir, &place, &options)?;
        let text = match args.format {
            ReportFormat::Table => table(&jobs),
            ReportFormat::Json => json_text(&jobs)?,
        };
        print(&text)
    };
    diagnostics::exit_of(list().map(|()| ExitCode::SUCCESS))
}

impl Target {
    /// Asks the job; gives the path in its answer.
    fn send(&self, name: &str, request: &Request) -> Result<String> {
        let address = Address::of(&self.state_dir, name, &self.store.options()?)?;
        match send(&address, name, request)? {
            Reply::Path(path) => Ok(path),
            Reply::Status(_) => Err(Error::internal("a status in the place of a path")),
        }
    }
}

/// The folder as the running process finds it, whose own folder may be another.
fn absolute(folder: &str) -> Result<String> {
    match local_path(folder) {
        None => Ok(folder.to_string()),
        Some(path) => {
            let full = std::path::absolute(path).map_err(|e| Error::io(path, &e))?;
            Ok(full.to_string_lossy().into_owned())
        }
    }
}

/// A job of a state folder.
#[derive(Debug, Serialize)]
pub struct JobReport {
    pub job: String,
    /// What it is called in its graph.
    pub job_name: Option<String>,
    /// `running`, `finished` or `stopped`.
    pub status: &'static str,
    pub checkpoint: Option<u64>,
    /// When that was taken, in ms since 1970.
    pub checkpoint_time_ms: Option<i64>,
    /// Bytes of its state.
    pub state_bytes: Option<u64>,
    /// What the running process says.
    pub running: Option<JobStatus>,
    /// What is wrong with its checkpoints.
    pub error: Option<String>,
}

/// The jobs of a state folder, by name.
///
/// # Errors
/// The store's, where it is not one job's checkpoints that cannot be read.
pub fn list_jobs(dir: &str, root: &StoragePlace, options: &Options) -> Result<Vec<JobReport>> {
    let mut jobs = Vec::new();
    for job in CheckpointStore::jobs(root)? {
        let folders = root.child(&job).folders("")?;
        let is_job = |f: &String| f == "attempts" || f.starts_with("chk-");
        if folders.iter().any(is_job) {
            let address = Address::of(dir, &job, options)?;
            jobs.push(report(&address, root, job)?);
        }
    }
    Ok(jobs)
}

fn report(address: &Address, root: &StoragePlace, job: String) -> Result<JobReport> {
    let running = match send(address, &job, &Request::Status) {
        Ok(Reply::Status(status)) => Some(status),
        _ => None,
    };
    let is_finished = CheckpointStore::new(root, &job).finished()?.is_some();
    let status = match (&running, is_finished) {
        (Some(_), _) => "running",
        (None, true) => "finished",
        (None, false) => "stopped",
    };
    let mut report = JobReport {
        job,
        job_name: running.as_ref().map(|r| r.job_name.clone()),
        status,
        checkpoint: None,
        checkpoint_time_ms: None,
        state_bytes: None,
        running,
        error: None,
    };
    let last = report.running.as_ref().and_then(|r| r.checkpoint.clone());
    if let Some(last) = last {
        report.checkpoint = Some(last.id);
        report.checkpoint_time_ms = Some(last.trigger_time_ms + last.duration_ms);
        report.state_bytes = Some(last.state_bytes);
        return Ok(report);
    }
    match latest(root, &report.job) {
        Ok(Some(found)) => {
            report
                .job_name
                .get_or_insert(found.manifest.job_name.clone());
            report.checkpoint = Some(found.manifest.checkpoint_id);
            report.checkpoint_time_ms = Some(found.manifest.completion_time_ms);
            report.state_bytes = Some(found.manifest.state_size_bytes());
        }
        Ok(None) => {}
        Err(error) => report.error = Some(error.to_string()),
    }
    Ok(report)
}

/// The jobs for people.
pub fn table(jobs: &[JobReport]) -> String {
    let now_ms = SystemClock.now_ms();
    let head = [
        "job",
        "status",
        "checkpoint",
        "age",
        "state",
        "rows in",
        "rows out",
        "restarts",
    ];
    let mut rows = vec![head.map(String::from).to_vec()];
    for job in jobs {
        let of_running = |value: fn(&JobStatus) -> u64| {
            let running = job.running.as_ref();
            running.map_or(String::new(), |r| value(r).to_string())
        };
        let mut row = vec![
            job.job.clone(),
            job.status.to_string(),
            job.checkpoint.map_or("none".into(), |id| id.to_string()),
            job.checkpoint_time_ms
                .map_or(String::new(), |time| duration(now_ms - time)),
            job.state_bytes.map_or(String::new(), size_text),
            of_running(|r| r.num_records_in),
            of_running(|r| r.num_records_out),
            of_running(|r| r.num_restarts),
        ];
        if let Some(error) = &job.error {
            row[2] = format!("cannot be read: {error}");
        }
        rows.push(row);
    }
    match jobs {
        [] => "no jobs\n".into(),
        _ => aligned(rows),
    }
}
