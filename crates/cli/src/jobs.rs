//! What statements ask of jobs: `SHOW JOBS`, `DESCRIBE JOB`, `STOP JOB`, and `STATE OF` in queries.
//!
//! Jobs are those of one state folder: that of `--state-dir`, or of
//! `execution.checkpointing.dir`. State is read from the latest complete checkpoint, whether the job
//! runs or not, or from the checkpoint or savepoint whose folder is given in the place of a name.

mod source;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;

use flott_core::clock::{Clock, SystemClock};
use flott_core::options::Options;
use flott_core::schema::Schema;
use flott_core::{Error, Result};
use flott_engine::DurabilityConfig;
use flott_sql::parser::ast::StopJob;
use flott_sql::session::jobs::{JobInfo, Jobs, StateOf};
use parking_lot::Mutex;

use crate::commands::control::{JobReport, list_jobs};
use crate::control::{Address, Reply, Request, send};
use crate::durable::duration;
use crate::snapshots::{Found, find, kind_of, latest, open, time_text};
pub use source::StateConnector;
use table::StateTable;

/// The jobs of a state folder.
pub struct StateFolder {
    /// What the command line says.
    dir: Option<String>,
    /// The snapshots that the statement at hand reads, by job.
    found: Mutex<BTreeMap<String, Arc<Found>>>,
    /// What is to be said of them, once.
    notes: Mutex<Vec<String>>,
}

impl StateFolder {
    pub fn new(dir: Option<String>) -> Arc<Self> {
        Arc::new(Self {
            dir,
            found: Mutex::default(),
            notes: Mutex::default(),
        })
    }

    /// What was read since the last call, in words.
    pub fn take_notes(&self) -> Vec<String> {
        self.found.lock().clear();
        std::mem::take(&mut *self.notes.lock())
    }

    fn dir(&self, config: &Options) -> Result<String> {
        if let Some(dir) = &self.dir {
            return Ok(dir.clone());
        }
        DurabilityConfig::from_options(config)?.dir.ok_or_else(|| {
            let message = "jobs are looked for in a state folder: give --state-dir, or SET 'execution.checkpointing.dir'";
            Error::user("MISSING_OPTION", message)
        })
    }

    /// The snapshot that a job's state is read from; the same one all through a statement.
    fn snapshot(&self, config: &Options, job: &str) -> Result<Arc<Found>> {
        if let Some(found) = self.found.lock().get(job) {
            return Ok(found.clone());
        }
        self.newest(config, job)
    }

    /// As [`StateFolder::snapshot`], looked for again.
    fn newest(&self, config: &Options, job: &str) -> Result<Arc<Found>> {
        let found = match job.contains('/') {
            true => one(job, find(job, config)?)?,
            false => self.latest_of(config, job)?,
        };
        let found = Arc::new(found);
        let age = duration(SystemClock.now_ms() - found.manifest.completion_time_ms);
        let note = format!(
            "state of {} as of {} {}, {} ({age} ago)",
            found.manifest.job_id,
            kind_of(&found.manifest),
            found.manifest.checkpoint_id,
            time_text(found.manifest.completion_time_ms),
        );
        let mut notes = self.notes.lock();
        if !notes.contains(&note) {
            notes.push(note);
        }
        self.found.lock().insert(job.to_string(), found.clone());
        Ok(found)
    }

    fn latest_of(&self, config: &Options, job: &str) -> Result<Found> {
        let dir = self.dir(config)?;
        let root = open(&dir, config)?;
        if let Some(found) = latest(&root, job)? {
            return Ok(found);
        }
        let jobs = list_jobs(&dir, &root, config)?;
        if jobs.iter().any(|j| j.job == job) {
            let message = format!("job '{job}' has no complete checkpoint yet; ask again later");
            return Err(Error::user("NO_CHECKPOINT", message));
        }
        let names: Vec<&str> = jobs.iter().map(|j| j.job.as_str()).collect();
        let known = match names.as_slice() {
            [] => "there are none".to_string(),
            names => format!("there are {}", names.join(", ")),
        };
        let message = format!("there is no job '{job}' in {dir}; {known}");
        Err(Error::user("UNKNOWN_JOB", message))
    }
}

fn one(path: &str, mut found: Vec<Found>) -> Result<Found> {
    match (found.pop(), found.is_empty()) {
        (Some(found), true) => Ok(found),
        _ => {
            let message = format!("'{path}' holds several jobs; name the folder of one checkpoint");
            Err(Error::user("AMBIGUOUS_STATE", message))
        }
    }
}

fn info(job: JobReport) -> JobInfo {
    JobInfo {
        name: job.job_name.unwrap_or_else(|| job.job.clone()),
        status: match job.status {
            "running" => "RUNNING",
            "finished" => "FINISHED",
            "stopped" => "STOPPED",
            _ => "UNKNOWN",
        },
        start_time_ms: job.running.map(|r| r.start_time_ms),
        id: job.job,
    }
}

impl Jobs for StateFolder {
    fn list(&self, config: &Options) -> Result<Vec<JobInfo>> {
        let dir = self.dir(config)?;
        let jobs = list_jobs(&dir, &open(&dir, config)?, config)?;
        Ok(jobs.into_iter().map(info).collect())
    }

    fn stop(&self, config: &Options, stop: &StopJob) -> Result<String> {
        let dir = self.dir(config)?;
        let address = Address::of(&dir, &stop.id, config)?;
        let durability = DurabilityConfig::from_options(config)?;
        let request = Request::Stop {
            folder: durability.savepoint_dir.filter(|_| stop.with_savepoint),
            savepoint: stop.with_savepoint,
            drain: stop.with_drain,
        };
        match send(&address, &stop.id, &request)? {
            Reply::Path(path) => Ok(path),
            Reply::Status(_) => Err(Error::internal("a status in the place of a path")),
        }
    }

    fn state(&self, config: &Options, state: &StateOf) -> Result<Schema> {
        let found = self.snapshot(config, &state.job)?;
        Ok(StateTable::of(&found, state)?.schema().clone())
    }
}
