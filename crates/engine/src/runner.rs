//! Runs a job over its attempts: after a failure, the next attempt starts from the last complete
//! checkpoint, when the restart strategy says so.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use flott_core::clock::Clock;
use flott_core::graph::JobGraph;
use flott_core::hash::mix_bytes;
use flott_core::options::Options;
use flott_core::{Error, Result};
use flott_state::storage::checkpoints::FinishedJob;
use flott_state::storage::state_file::is_unreadable;
use flott_state::storage::{CheckpointStore, Manifest, StoragePlace, read_savepoint};

use crate::adopt::adopt_uids;
use crate::checkpoint::{Checkpoint, CheckpointStorage, SavepointTicket};
use crate::config::{DurabilityConfig, OnDamage};
use crate::execute::{execute, execute_planned};
use crate::job::{JobHandle, JobOutcome, JobReport};
use crate::options::JobOptions;
use crate::restart::Restarts;
use crate::simulation::SimulationPlan;

/// Events that wait to be read, at most.
const MAX_EVENTS: usize = 1000;
/// A wait for a clock that does not move by itself looks at it again after this time.
const CLOCK_LOOK: Duration = Duration::from_secs(1);

/// A job that is over waits for what is still being stored, at most this long.
const STORING_TIME: Duration = Duration::from_secs(5);

/// A job and how it is to survive failures.
#[derive(Clone)]
pub struct JobSettings {
    /// The folder of its checkpoints: a job of the same id goes on where the last one was. `None`
    /// for a job that begins anew with every process.
    pub job_id: Option<String>,
    /// The statements that the job was made of, for its manifests.
    pub statements: Vec<String>,
    /// How each attempt is run; checkpoints, storage, restore and attempt id are filled in.
    pub options: JobOptions,
    pub durability: DurabilityConfig,
    /// The job's configuration: credentials for storage.
    pub config: Options,
    /// Where checkpoints are kept, rather than what `durability` says.
    pub place: Option<StoragePlace>,
}

/// What happened to a job besides rows.
#[derive(Debug, Clone)]
pub enum JobEvent {
    /// An attempt starts from this checkpoint, which is so old.
    Resumed { checkpoint_id: u64, age_ms: i64 },
    /// The job starts from this savepoint.
    Restored { path: String },
    /// A checkpoint cannot be read: an older one is taken.
    Skipped { checkpoint_id: u64, error: Error },
    /// An attempt failed; the next begins after this delay.
    Restarting { error: Error, delay: Duration },
}

#[derive(Default)]
struct State {
    handle: Option<JobHandle>,
    result: Option<Result<JobReport>>,
    is_cancelled: bool,
    num_restarts: u64,
    events: VecDeque<JobEvent>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    clock: Arc<dyn Clock>,
}

/// A job that runs, over all its attempts. Dropping it does not stop the job.
#[derive(Clone)]
pub struct RunningJob {
    shared: Arc<Shared>,
}

/// When the job of these settings has finished already, in an earlier process.
///
/// # Errors
/// The store's.
pub fn finished_job(settings: &JobSettings) -> Result<Option<FinishedJob>> {
    let (Some(job_id), Some(place)) = (&settings.job_id, open_place(settings)?) else {
        return Ok(None);
    };
    CheckpointStore::new(&place, job_id).finished()
}

/// Deletes everything that a job of these settings has stored, so that it begins anew.
///
/// # Errors
/// The store's.
pub fn forget_job(settings: &JobSettings) -> Result<()> {
    match (&settings.job_id, open_place(settings)?) {
        (Some(job_id), Some(place)) => CheckpointStore::new(&place, job_id).remove_all(),
        _ => Ok(()),
    }
}

fn open_place(settings: &JobSettings) -> Result<Option<StoragePlace>> {
    if let Some(place) = &settings.place {
        return Ok(Some(place.clone()));
    }
    match &settings.durability.dir {
        Some(dir) => StoragePlace::open(dir, &settings.config).map(Some),
        None => Ok(None),
    }
}

/// Starts a job; its first attempt has begun when this returns.
///
/// # Errors
/// What the first attempt reports before it runs: a graph or options that cannot be run, a store
/// that cannot be used, state that no operator claims.
pub fn run_job(graph: JobGraph, settings: JobSettings) -> Result<RunningJob> {
    start(graph, settings, None)
}

/// As [`run_job`], each attempt simulated by the plan. The job's clock, sources, sinks and storage
/// are to be deterministic too, and the delays of its restarts 0.
///
/// # Errors
/// As [`run_job`].
pub fn simulate_job(
    graph: JobGraph,
    settings: JobSettings,
    plan: Arc<dyn SimulationPlan>,
) -> Result<RunningJob> {
    start(graph, settings, Some(plan))
}

fn start(
    graph: JobGraph,
    settings: JobSettings,
    simulation: Option<Arc<dyn SimulationPlan>>,
) -> Result<RunningJob> {
    let has_checkpoints =
        settings.durability.checkpoints.interval.is_some() || settings.job_id.is_some();
    let place = match open_place(&settings)? {
        Some(place) => Some(place),
        None => has_checkpoints.then(StoragePlace::in_memory),
    };
    let clock = settings.options.clock.clone();
    let now = clock.now_nanos();
    let seed = mix_bytes(
        now as u64 ^ u64::from(std::process::id()),
        graph.name.as_bytes(),
    );
    let job_id = settings
        .job_id
        .clone()
        .unwrap_or_else(|| format!("{now:016x}{seed:016x}"));
    let store = place.map(|place| CheckpointStore::new(&place, &job_id));
    let shared = Arc::new(Shared {
        state: Mutex::default(),
        changed: Condvar::new(),
        clock,
    });
    let mut runner = Runner {
        restarts: Restarts::new(settings.durability.restart.clone(), seed),
        graph,
        settings,
        store,
        job_id,
        unique: format!("{:x}", seed >> 32),
        num_attempts: 0,
        rejected: BTreeSet::new(),
        restored: None,
        simulation,
        shared: shared.clone(),
    };
    let handle = runner.start_attempt()?;
    let job = RunningJob { shared };
    std::thread::Builder::new()
        .name("flott-runner".into())
        .spawn(move || runner.supervise(handle))
        .map_err(|e| Error::external("THREAD", format!("a thread cannot be started: {e}")))?;
    Ok(job)
}

/// What an attempt started from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Restored {
    Checkpoint(u64),
    Savepoint,
}

struct Runner {
    graph: JobGraph,
    settings: JobSettings,
    store: Option<CheckpointStore>,
    job_id: String,
    /// In the names of pending output: attempt numbers may repeat in another folder.
    unique: String,
    num_attempts: u64,
    restarts: Restarts,
    /// Checkpoints that turned out to be unreadable.
    rejected: BTreeSet<u64>,
    restored: Option<Restored>,
    simulation: Option<Arc<dyn SimulationPlan>>,
    shared: Arc<Shared>,
}

impl Runner {
    fn start_attempt(&mut self) -> Result<JobHandle> {
        self.num_attempts += 1;
        self.restored = None;
        let mut options = self.settings.options.clone();
        options.checkpoints = self.settings.durability.checkpoints.clone();
        options.attempt_id = format!("{}-{}-{}", self.job_id, self.unique, self.num_attempts);
        if let Some(store) = &mut self.store {
            store.begin_attempt(&self.unique)?;
            options.attempt_id = format!("{}-{}-{}", self.job_id, self.unique, store.attempt());
            options.storage = Some(Arc::new(CheckpointStorage {
                store: store.clone(),
                job_name: self.graph.name.clone(),
                statements: self.settings.statements.clone(),
                num_retained: options.checkpoints.num_retained,
                inline_bytes: options.checkpoints.inline_bytes,
                options: self.settings.config.clone(),
            }));
        }
        if let Some((manifest, place)) = self.recover(&mut options)? {
            adopt_uids(&mut self.graph, &manifest);
            let checkpoint = Checkpoint::load(&manifest, &place);
            if !self.settings.durability.ignores_unclaimed_state {
                checkpoint.check_claimed(&self.graph, &manifest)?;
            }
            options.max_parallelism = manifest.max_parallelism;
            options.retract_attempts =
                self.later_attempts(&manifest, options.last_checkpoint_id)?;
            options.restore = Some(Arc::new(checkpoint));
        }
        let graph = self.graph.clone();
        let handle = match &self.simulation {
            None => execute(graph, options)?,
            Some(plan) => execute_planned(graph, options, plan)?,
        };
        let mut state = self.shared.state.lock();
        state.handle = Some(handle.clone());
        if state.is_cancelled {
            handle.cancel();
        }
        Ok(handle)
    }

    /// The newest checkpoint, or the savepoint that the job is to start from.
    fn recover(&mut self, options: &mut JobOptions) -> Result<Option<(Manifest, StoragePlace)>> {
        if let Some(store) = &self.store {
            let recovery = store.latest(&self.rejected)?;
            options.last_checkpoint_id = recovery.last_id;
            for (checkpoint_id, error) in recovery.skipped {
                self.tell(JobEvent::Skipped {
                    checkpoint_id,
                    error,
                });
            }
            if let Some(manifest) = recovery.manifest {
                let now_ms = self.shared.clock.now_ms();
                self.restored = Some(Restored::Checkpoint(manifest.checkpoint_id));
                self.tell(JobEvent::Resumed {
                    checkpoint_id: manifest.checkpoint_id,
                    age_ms: now_ms - manifest.completion_time_ms,
                });
                return Ok(Some((manifest, store.place().clone())));
            }
        }
        let Some(path) = self.settings.durability.recovery_path.clone() else {
            return Ok(None);
        };
        let savepoint = read_savepoint(&path, &self.settings.config)?;
        self.restored = Some(Restored::Savepoint);
        self.tell(JobEvent::Restored { path });
        Ok(Some(savepoint))
    }

    /// When the job goes back over checkpoints that cannot be read: the attempts since, whose output
    /// is to be taken back.
    fn later_attempts(&self, manifest: &Manifest, last_id: u64) -> Result<Option<Vec<String>>> {
        let (Some(Restored::Checkpoint(id)), Some(store)) = (self.restored, &self.store) else {
            return Ok(None);
        };
        if id >= last_id {
            return Ok(None);
        }
        match self.settings.durability.on_damage {
            OnDamage::Repeat => Ok(None),
            OnDamage::Fail => {
                let message = format!(
                    "checkpoint {last_id} cannot be read, and 'execution.state-recovery.damaged-checkpoint' is 'FAIL'; checkpoint {id} can: set 'RETRACT' or 'REPEAT' to go on from it"
                );
                Err(Error::user("DAMAGED_CHECKPOINT", message))
            }
            OnDamage::Retract => {
                let attempts = store.attempts_after(manifest.attempt)?.into_iter();
                let attempts = attempts.filter(|(_, number)| *number != store.attempt());
                let ids = attempts.map(|(run, number)| format!("{}-{run}-{number}", self.job_id));
                Ok(Some(ids.collect()))
            }
        }
    }

    fn tell(&self, event: JobEvent) {
        let mut state = self.shared.state.lock();
        if state.events.len() == MAX_EVENTS {
            state.events.pop_front();
        }
        state.events.push_back(event);
    }

    fn supervise(mut self, mut handle: JobHandle) {
        let result = loop {
            let error = match handle.wait() {
                Ok(report) => {
                    // What is still written would be left, or not be cleaned up.
                    handle.state.checkpoints.wait_until_stored(STORING_TIME);
                    break self.end(report);
                }
                Err(error) => error,
            };
            let is_drain_asked = handle.is_drain_asked();
            match self.next_attempt(error) {
                Ok(next) => handle = next,
                Err(result) => {
                    handle.state.checkpoints.wait_until_stored(STORING_TIME);
                    break result;
                }
            }
            if is_drain_asked {
                handle.drain();
            }
        };
        let mut state = self.shared.state.lock();
        state.result = Some(result);
        self.shared.changed.notify_all();
    }

    /// Starts attempts until one runs; gives the job's result when there is to be none.
    fn next_attempt(&mut self, mut error: Error) -> Result<JobHandle, Result<JobReport>> {
        loop {
            // A damaged checkpoint costs no restart: nothing has run, and waiting would not help.
            if !self.rejects_checkpoint(&error) {
                self.wait_for_restart(error).map_err(Err)?;
            }
            match self.start_attempt() {
                Ok(handle) => return Ok(handle),
                Err(next) => error = next,
            }
        }
    }

    /// Whether the checkpoint that the attempt started from turned out to be unreadable.
    fn rejects_checkpoint(&mut self, error: &Error) -> bool {
        let Some(Restored::Checkpoint(checkpoint_id)) = self.restored else {
            return false;
        };
        if !is_unreadable(error) {
            return false;
        }
        self.rejected.insert(checkpoint_id);
        self.tell(JobEvent::Skipped {
            checkpoint_id,
            error: error.clone(),
        });
        true
    }

    /// Waits as the restart strategy says; gives the job's error when it is not to start again.
    fn wait_for_restart(&mut self, error: Error) -> Result<()> {
        if self.is_final(&error) {
            return Err(error);
        }
        let now_ms = self.shared.clock.now_ms();
        let Some(delay) = self.restarts.after_failure(now_ms) else {
            return Err(self.given_up(error));
        };
        tracing::warn!(job = self.graph.name, %error, ?delay, "the job failed and starts again");
        self.tell(JobEvent::Restarting {
            error: error.clone(),
            delay,
        });
        if !self.wait_until(now_ms + delay.as_millis() as i64) {
            return Err(error);
        }
        self.shared.state.lock().num_restarts += 1;
        Ok(())
    }

    /// Whether another attempt cannot help.
    fn is_final(&self, error: &Error) -> bool {
        match error.code() {
            // A former attempt of this very process may have been in the way.
            "FENCED" => {
                let store = self.store.as_ref();
                store.is_some_and(|s| s.check_in_charge().is_err())
            }
            "UNCLAIMED_STATE" | "SAVEPOINT_NOT_FOUND" | "STATE_SCHEMA" | "DAMAGED_CHECKPOINT" => {
                true
            }
            // A savepoint, or none of the checkpoints that are left.
            _ => is_unreadable(error) && !matches!(self.restored, Some(Restored::Checkpoint(_))),
        }
    }

    fn given_up(&self, error: Error) -> Error {
        match self.shared.state.lock().num_restarts {
            0 => error,
            n => error.context(format!("the job failed after {n} restarts")),
        }
    }

    /// Waits until the job's clock shows this time; gives `false` when the job was cancelled.
    fn wait_until(&self, time_ms: i64) -> bool {
        let mut state = self.shared.state.lock();
        while !state.is_cancelled {
            let left_ms = time_ms - self.shared.clock.now_ms();
            if left_ms <= 0 {
                return true;
            }
            let wait = Duration::from_millis(left_ms as u64).min(CLOCK_LOOK);
            self.shared.changed.wait_for(&mut state, wait);
        }
        false
    }

    /// The job is over: what is kept of its checkpoints depends on how it ended. What cannot be
    /// deleted does no harm.
    fn end(&self, report: JobReport) -> Result<JobReport> {
        let Some(store) = &self.store else {
            return Ok(report);
        };
        let is_named = self.settings.job_id.is_some();
        let retains = self.settings.durability.checkpoints.retain_on_cancellation;
        let done = match report.outcome {
            JobOutcome::Finished if is_named => self.note_finished(store),
            JobOutcome::Finished => store.remove_all(),
            JobOutcome::Cancelled | JobOutcome::Stopped if is_named || retains => Ok(()),
            JobOutcome::Cancelled | JobOutcome::Stopped => store.remove_all(),
        };
        if let Err(error) = done {
            tracing::warn!(job = self.graph.name, %error, "checkpoints could not be put in order");
        }
        Ok(report)
    }

    /// Without the note, the job would start from its last checkpoint, commit that again, and end.
    /// It comes last: nothing is tidied up after it.
    fn note_finished(&self, store: &CheckpointStore) -> Result<()> {
        store.check_in_charge()?;
        let last = store.list()?.last().copied();
        let tidied = store.retain(1).and_then(|()| store.collect_all());
        store.mark_finished(&FinishedJob {
            job_name: self.graph.name.clone(),
            checkpoint_id: last.unwrap_or(0),
            time_ms: self.shared.clock.now_ms(),
        })?;
        tidied.map(drop)
    }
}

impl RunningJob {
    /// The attempt that runs, or the last one.
    ///
    /// # Errors
    /// A defect: a job without an attempt.
    pub fn handle(&self) -> Result<JobHandle> {
        let handle = self.shared.state.lock().handle.clone();
        handle.ok_or_else(|| Error::internal("a job without an attempt"))
    }

    /// Stops the job; there are no more attempts.
    pub fn cancel(&self) {
        let mut state = self.shared.state.lock();
        state.is_cancelled = true;
        if let Some(handle) = &state.handle {
            handle.cancel();
        }
        self.shared.changed.notify_all();
    }

    /// The job's clock has moved: for clocks that do not move by themselves.
    pub fn wake(&self) {
        let state = self.shared.state.lock();
        if let Some(handle) = &state.handle {
            handle.wake();
        }
        self.shared.changed.notify_all();
    }

    /// As [`JobHandle::trigger_savepoint`], of the attempt that runs.
    ///
    /// # Errors
    /// A defect: a job without an attempt.
    pub fn trigger_savepoint(&self, folder: &str) -> Result<SavepointTicket> {
        Ok(self.handle()?.trigger_savepoint(folder))
    }

    /// As [`JobHandle::stop_with_savepoint`], of the attempt that runs.
    ///
    /// # Errors
    /// A defect: a job without an attempt.
    pub fn stop_with_savepoint(&self, folder: &str, drains: bool) -> Result<SavepointTicket> {
        Ok(self.handle()?.stop_with_savepoint(folder, drains))
    }

    /// As [`JobHandle::stop_with_checkpoint`], of the attempt that runs.
    ///
    /// # Errors
    /// A defect: a job without an attempt.
    pub fn stop_with_checkpoint(&self, drains: bool) -> Result<SavepointTicket> {
        Ok(self.handle()?.stop_with_checkpoint(drains))
    }

    /// What has happened since the last call, the oldest first.
    pub fn take_events(&self) -> Vec<JobEvent> {
        self.shared.state.lock().events.drain(..).collect()
    }

    /// How often the job was started again.
    pub fn num_restarts(&self) -> u64 {
        self.shared.state.lock().num_restarts
    }

    /// Waits for the end of the job.
    ///
    /// # Errors
    /// The error of the last attempt, when there is to be no other.
    pub fn wait(&self) -> Result<JobReport> {
        let mut state = self.shared.state.lock();
        loop {
            match &state.result {
                Some(result) => return result.clone(),
                None => self.shared.changed.wait(&mut state),
            }
        }
    }

    /// Waits for the end of the job, at most this long; gives whether it has ended.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        let mut state = self.shared.state.lock();
        if state.result.is_none() {
            self.shared.changed.wait_for(&mut state, timeout);
        }
        state.result.is_some()
    }
}
