//! Decides when checkpoints are taken, has them stored, and lets the committers commit.
//!
//! A cut goes through these steps: triggered · every subtask has delivered · its changes are in the
//! chains · state files and manifest are written, beside the workers · committed · the readers are
//! told. A cut that is given up keeps its changes and committables for the next one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use flott_core::graph::{NodeId, NodeKind};
use flott_core::sink::{Committable, Committer};
use flott_core::{Error, Result};
use flott_state::chain::OperatorChain;

use super::collect::{Cut, Place};
use super::stats::CheckpointStatus;
use super::store::{StoreResult, StoreTarget, StoreTask, Stored, clean_up, manifest};
use super::{Checkpoint, OperatorCheckpoint, SavepointRequest, SubtaskCheckpoint};
use crate::job::JobState;
use crate::migrate::check_state;

pub(crate) type Committers = BTreeMap<NodeId, Box<dyn Committer>>;

/// A cut that is being stored.
pub(super) struct Pending {
    id: u64,
    epoch: u64,
    trigger_time_ms: i64,
    savepoint: Option<SavepointRequest>,
    operators: Vec<OperatorCheckpoint>,
    pub(super) is_aborted: bool,
    is_cancelled: Arc<AtomicBool>,
}

/// The coordinator of one attempt; lives on the job's own thread.
pub(crate) struct Coordinator<'a> {
    pub(super) job: &'a Arc<JobState>,
    pub(super) committers: Committers,
    pub(super) chains: BTreeMap<NodeId, OperatorChain>,
    /// Prepared, and not in a complete checkpoint yet.
    pub(super) uncommitted: BTreeMap<Place, Vec<Committable>>,
    pub(super) pending: Option<Pending>,
    /// Simulated: state is stored on the calling thread, and somebody else triggers.
    is_simulated: bool,
    /// Simulated: the steps between a complete cut and its being stored.
    pub(crate) store_turns: u64,
    /// Simulated: what is to be stored after so many steps more.
    delayed: Option<(StoreTask, u64)>,
    last_trigger_ms: i64,
    last_end_ms: i64,
    num_failures_in_row: u64,
    num_complete: u64,
}

impl<'a> Coordinator<'a> {
    /// # Errors
    /// A defect in restored state.
    pub fn start(
        job: &'a Arc<JobState>,
        committers: Committers,
        is_simulated: bool,
    ) -> Result<Self> {
        let now_ms = job.options.clock.now_ms();
        let mut coordinator = Self {
            job,
            committers,
            chains: BTreeMap::new(),
            uncommitted: BTreeMap::new(),
            pending: None,
            is_simulated,
            store_turns: 0,
            delayed: None,
            last_trigger_ms: now_ms,
            last_end_ms: now_ms,
            num_failures_in_row: 0,
            num_complete: 0,
        };
        let max_parallelism = job.options.max_parallelism;
        for (id, node) in job.graph.nodes.iter().enumerate() {
            let restored = job.options.restore.as_ref();
            let Some(operator) = restored.and_then(|c| c.operators.get(&node.uid)) else {
                coordinator
                    .chains
                    .insert(id, OperatorChain::new(max_parallelism));
                continue;
            };
            let is_migrated = check_state(&job.graph, node, operator)?.is_migrated();
            let chain = match &operator.chain {
                // What comes next is said whole, in other columns.
                _ if is_migrated => OperatorChain::new(max_parallelism),
                Some(chain) => chain.clone(),
                None => {
                    let mut chain = OperatorChain::new(max_parallelism);
                    let states: Vec<_> =
                        operator.subtasks.iter().map(|s| s.state.clone()).collect();
                    chain.apply(&states)?;
                    chain
                }
            };
            coordinator.chains.insert(id, chain);
            for (subtask, state) in operator.subtasks.iter().enumerate() {
                let committables = state.committables.clone();
                coordinator.uncommitted.insert((id, subtask), committables);
            }
        }
        if !coordinator.awaits_restore() {
            job.checkpoints.restored_committed();
        }
        Ok(coordinator)
    }

    /// Does what is to be done now.
    ///
    /// # Errors
    /// What fails the job: a committer's error, too many failed checkpoints.
    pub fn step(&mut self) -> Result<()> {
        self.commit_restored()?;
        match self.delayed.take() {
            Some((task, 0)) => self.store_here(task)?,
            Some((task, turns)) => self.delayed = Some((task, turns - 1)),
            None => {}
        }
        let stored = self.job.checkpoints.collected().stored.take();
        if let Some(result) = stored {
            self.on_stored(result)?;
        }
        if self.pending.is_none()
            && let Some(cut) = self.job.checkpoints.take_cut()
        {
            self.on_cut(cut)?;
        }
        self.check_timeout()?;
        self.trigger_when_due()
    }

    /// How long nothing needs to be done unless something happens; `None` is for ever.
    pub fn idle_time(&self) -> Option<Duration> {
        let timeout_ms = self.job.options.checkpoints.timeout.as_millis() as i64;
        let begun = self.begun_ms();
        let next_ms = match begun {
            Some(begun) => begun.saturating_add(timeout_ms).saturating_add(1),
            // The workers say when their state is back.
            None if !self.job.checkpoints.is_restored_committed() => return None,
            None => self.next_trigger_ms()?,
        };
        let wait_ms = next_ms - self.job.options.clock.now_ms();
        Some(Duration::from_millis(wait_ms.clamp(0, 60_000) as u64))
    }

    /// When the cut that is under way began, unless it was given up.
    fn begun_ms(&self) -> Option<i64> {
        let storing = self.pending.as_ref().filter(|p| !p.is_aborted);
        let collected = self.job.checkpoints.collected();
        let cut = collected.cut.as_ref().filter(|c| !c.is_aborted);
        storing
            .map(|p| p.trigger_time_ms)
            .or(cut.map(|c| c.trigger_time_ms))
    }

    fn next_trigger_ms(&self) -> Option<i64> {
        let config = &self.job.options.checkpoints;
        let interval_ms = config.interval?.as_millis() as i64;
        let after_pause = self.last_end_ms + config.min_pause.as_millis() as i64;
        (!self.is_simulated).then_some((self.last_trigger_ms + interval_ms).max(after_pause))
    }

    fn trigger_when_due(&mut self) -> Result<()> {
        let is_ready = self.job.checkpoints.is_restored_committed();
        if self.pending.is_some() || self.job.is_draining() || !is_ready {
            return Ok(());
        }
        let request = {
            let mut collected = self.job.checkpoints.collected();
            if collected.cut.is_some() {
                return Ok(());
            }
            let first = collected.requests.iter().position(|r| !r.drains);
            first.and_then(|first| collected.requests.remove(first))
        };
        let now_ms = self.job.options.clock.now_ms();
        let is_due = self.next_trigger_ms().is_some_and(|at| at <= now_ms);
        let is_wanted = self.job.options.checkpoints.after_tasks_finish || !self.has_ended_source();
        if request.is_some() || (is_due && is_wanted) {
            if request.is_none() {
                self.last_trigger_ms = now_ms;
            }
            self.job.checkpoints.trigger(self.job, request)?;
        }
        Ok(())
    }

    fn has_ended_source(&self) -> bool {
        let collected = self.job.checkpoints.collected();
        let nodes = &self.job.graph.nodes;
        let mut ended = collected.ended.keys();
        ended.any(|(node, _)| matches!(nodes[*node].kind, NodeKind::Source(_)))
    }

    /// Gives up a cut that takes too long.
    pub(super) fn check_timeout(&mut self) -> Result<()> {
        let timeout = self.job.options.checkpoints.timeout;
        let Some(begun) = self.begun_ms() else {
            return Ok(());
        };
        if self.job.options.clock.now_ms() - begun <= timeout.as_millis() as i64 {
            return Ok(());
        }
        if let Some(pending) = &mut self.pending {
            pending.is_aborted = true;
            pending.is_cancelled.store(true, Ordering::SeqCst);
            let (id, savepoint) = (pending.id, pending.savepoint.take());
            let error = timed_out(id, timeout, "its state is still being written");
            return self.fail(id, savepoint, error);
        }
        let (id, savepoint, waits_for) = {
            let mut collected = self.job.checkpoints.collected();
            let waits_for = self.missing(&collected.cut, &collected.ended);
            let Some(cut) = &mut collected.cut else {
                return Ok(());
            };
            cut.is_aborted = true;
            let id = self.job.checkpoints.id_of(cut.epoch);
            (id, cut.savepoint.take(), waits_for)
        };
        let what = format!("the barrier has not passed {waits_for}");
        self.fail(id, savepoint, timed_out(id, timeout, &what))
    }

    /// The first operator that has not delivered.
    fn missing(&self, cut: &Option<Cut>, ended: &BTreeMap<Place, SubtaskCheckpoint>) -> String {
        let nodes = self.job.graph.nodes.iter().enumerate();
        let is_missing = |place: &Place| {
            let has_delivered = cut.as_ref().is_some_and(|c| c.subtasks.contains_key(place));
            !has_delivered && !ended.contains_key(place)
        };
        for (id, node) in nodes {
            let parallelism = self.job.metrics[id].len();
            let subtask = (0..parallelism).find(|&s| is_missing(&(id, s)));
            if let Some(subtask) = subtask {
                return format!("{} (subtask {}/{parallelism})", node.name, subtask + 1);
            }
        }
        "an operator".into()
    }

    /// Takes a complete cut into the chains and, unless it was given up, begins to store it.
    fn on_cut(&mut self, mut cut: Cut) -> Result<()> {
        let operators = self.take_in(&mut cut)?;
        if cut.is_aborted || self.job.is_stopped() {
            return Ok(());
        }
        let id = self.job.checkpoints.id_of(cut.epoch);
        let target = match &cut.savepoint {
            Some(request) => request.target(),
            None => StoreTarget::Checkpoint,
        };
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let task = self.task(
            id,
            cut.trigger_time_ms,
            &operators,
            target,
            is_cancelled.clone(),
        );
        self.pending = Some(Pending {
            id,
            epoch: cut.epoch,
            trigger_time_ms: cut.trigger_time_ms,
            savepoint: cut.savepoint,
            operators,
            is_aborted: false,
            is_cancelled,
        });
        match task {
            None => self.store_nowhere(),
            Some(task) if self.is_simulated && self.store_turns == 0 => self.store_here(task),
            Some(task) if self.is_simulated => {
                self.job.checkpoints.collected().is_storing = true;
                self.delayed = Some((task, self.store_turns));
                Ok(())
            }
            Some(task) => self.store_beside(task),
        }
    }

    /// Stores what a simulation has put off.
    pub(super) fn store_delayed(&mut self) -> Result<()> {
        match self.delayed.take() {
            Some((task, _)) => self.store_here(task),
            None => Ok(()),
        }
    }

    fn store_here(&mut self, task: StoreTask) -> Result<()> {
        let (storage, is_first) = (task.storage.clone(), self.num_complete == 0);
        let result = task.run();
        let is_complete = result.outcome.is_ok();
        self.on_stored(result)?;
        if is_complete {
            clean_up(&storage, is_first);
        }
        Ok(())
    }

    /// The job stops: what is being stored is not completed, if that is still possible.
    pub fn give_up(&self) {
        if let Some(pending) = &self.pending {
            pending.is_cancelled.store(true, Ordering::SeqCst);
        }
    }

    fn store_nowhere(&mut self) -> Result<()> {
        let mut chains = std::mem::take(&mut self.chains);
        for chain in chains.values_mut() {
            chain.compact()?;
        }
        let is_savepoint = self.pending.as_ref().is_some_and(|p| p.savepoint.is_some());
        let outcome = match is_savepoint {
            true => Err(no_storage()),
            false => Ok(Stored::default()),
        };
        self.on_stored(StoreResult {
            chains,
            outcome,
            async_ns: 0,
        })
    }

    fn store_beside(&mut self, task: StoreTask) -> Result<()> {
        self.job.checkpoints.collected().is_storing = true;
        let (job, is_first) = (self.job.clone(), self.num_complete == 0);
        let body = move || {
            let storage = task.storage.clone();
            let is_checkpoint = !matches!(task.target, StoreTarget::Savepoint(_));
            let result = task.run();
            let is_complete = result.outcome.is_ok();
            job.checkpoints.stored(result);
            if is_complete && is_checkpoint {
                clean_up(&storage, is_first);
            }
            job.checkpoints.storing_ends();
        };
        self.job.checkpoints.storing_begins();
        let thread = std::thread::Builder::new().name("flott-checkpoint".into());
        let started = thread.spawn(body);
        started.map(drop).map_err(|e| {
            self.job.checkpoints.storing_ends();
            Error::external("THREAD", format!("a thread cannot be started: {e}"))
        })
    }

    /// Moves what the subtasks delivered into the chains; gives the rest, in the graph's order, with
    /// everything that is not committed yet.
    pub(super) fn take_in(&mut self, cut: &mut Cut) -> Result<Vec<OperatorCheckpoint>> {
        let mut operators = Vec::with_capacity(self.job.graph.nodes.len());
        for node in 0..self.job.graph.nodes.len() {
            let places = (0..self.job.metrics[node].len()).map(|subtask| (node, subtask));
            let mut subtasks: Vec<SubtaskCheckpoint> = {
                let mut collected = self.job.checkpoints.collected();
                let taken = places
                    .clone()
                    .map(|place| match cut.subtasks.remove(&place) {
                        Some(delivered) => delivered,
                        None => collected
                            .ended
                            .get_mut(&place)
                            .map(take_ended)
                            .unwrap_or_default(),
                    });
                taken.collect()
            };
            for (place, subtask) in places.zip(&mut subtasks) {
                let uncommitted = self.uncommitted.entry(place).or_default();
                uncommitted.append(&mut subtask.committables);
                subtask.committables.clone_from(uncommitted);
            }
            self.apply(node, &mut subtasks)?;
            operators.push(OperatorCheckpoint {
                columns: self.job.graph.nodes[node].state.clone(),
                enumerator: cut.enumerators.remove(&node),
                subtasks,
                chain: None,
            });
        }
        Ok(operators)
    }

    fn apply(&mut self, node: NodeId, subtasks: &mut [SubtaskCheckpoint]) -> Result<()> {
        let states: Vec<_> = subtasks
            .iter_mut()
            .map(|s| std::mem::take(&mut s.state))
            .collect();
        let max_parallelism = self.job.options.max_parallelism;
        let chain = self.chains.entry(node);
        let chain = chain.or_insert_with(|| OperatorChain::new(max_parallelism));
        if subtasks.iter().all(|s| s.is_finished) {
            *chain = OperatorChain::new(max_parallelism);
        }
        let name = &self.job.graph.nodes[node].name;
        chain.apply(&states).map_err(|e| e.context(name))
    }

    pub(super) fn task(
        &self,
        id: u64,
        trigger_time_ms: i64,
        operators: &[OperatorCheckpoint],
        target: StoreTarget,
        is_cancelled: Arc<AtomicBool>,
    ) -> Option<StoreTask> {
        let options = &self.job.options;
        let storage = options.storage.clone()?;
        let parallelism = (options.parallelism, options.max_parallelism);
        let mut manifest = manifest(&storage, &self.job.graph, operators, parallelism);
        manifest.checkpoint_id = id;
        manifest.trigger_time_ms = trigger_time_ms;
        let clock = options.clock.clone();
        Some(StoreTask {
            storage,
            manifest,
            chains: self.chains.clone(),
            target,
            is_cancelled,
            now_ms: Box::new(move || clock.now_ms()),
        })
    }

    pub(super) fn on_stored(&mut self, result: StoreResult) -> Result<()> {
        self.job.checkpoints.collected().is_storing = false;
        self.chains = result.chains;
        let Some(pending) = self.pending.take() else {
            return Ok(());
        };
        let mut collected = self.job.checkpoints.collected();
        collected
            .history
            .update(pending.id, |s| s.async_ns = result.async_ns);
        drop(collected);
        if pending.is_aborted || self.job.is_stopped() {
            return Ok(());
        }
        match result.outcome {
            Ok(stored) => self.complete(pending, stored),
            Err(error) => self.fail(pending.id, pending.savepoint, error),
        }
    }

    fn complete(&mut self, pending: Pending, stored: Stored) -> Result<()> {
        self.note_complete(pending.id, &stored);
        match pending.savepoint {
            // Its committables are committed with the next checkpoint: a savepoint is no promise
            // that the job goes on from here.
            Some(request) if !request.stops => {
                request.answer(Ok(stored.path.unwrap_or_default()));
                return Ok(());
            }
            Some(request) => {
                let committed = self.commit();
                if let Err(error) = &committed {
                    request.answer(Err(error.clone()));
                    return committed;
                }
                let path = stored.path.unwrap_or_default();
                self.job.stop(path.clone());
                request.answer(Ok(path));
                return Ok(());
            }
            None => {}
        }
        self.num_complete += 1;
        self.num_failures_in_row = 0;
        if let Some(listener) = self.job.options.checkpoint_listener.clone() {
            listener.on_checkpoint(self.checkpoint(pending.id, pending.operators))?;
        }
        self.commit()?;
        self.job.checkpoints.mark_complete(pending.epoch);
        self.job.signal();
        Ok(())
    }

    pub(super) fn note_complete(&mut self, id: u64, stored: &Stored) {
        let now_ms = self.job.options.clock.now_ms();
        self.last_end_ms = now_ms;
        let history = &mut self.job.checkpoints.collected().history;
        history.update(id, |stats| {
            stats.written_bytes = stored.written_bytes;
            stats.state_bytes = stored.state_bytes;
            stats.path.clone_from(&stored.path);
        });
        history.end(id, now_ms, CheckpointStatus::Completed);
    }

    /// The checkpoint as a listener gets it: with the whole state.
    fn checkpoint(&self, id: u64, operators: Vec<OperatorCheckpoint>) -> Checkpoint {
        let nodes = self.job.graph.nodes.iter().enumerate().zip(operators);
        let operators = nodes.map(|((node, n), mut operator)| {
            let chain = self.chains.get(&node).cloned();
            let states = chain
                .as_ref()
                .map(OperatorChain::snapshots)
                .unwrap_or_default();
            for (subtask, state) in operator.subtasks.iter_mut().zip(states) {
                subtask.state = state;
            }
            operator.chain = chain;
            (n.uid.clone(), operator)
        });
        Checkpoint {
            id,
            operators: operators.collect(),
        }
    }

    /// A checkpoint or savepoint has failed. Its changes stay in the chains, its committables wait.
    fn fail(&mut self, id: u64, savepoint: Option<SavepointRequest>, error: Error) -> Result<()> {
        let now_ms = self.job.options.clock.now_ms();
        self.last_end_ms = now_ms;
        let status = CheckpointStatus::Failed(error.to_string());
        self.job
            .checkpoints
            .collected()
            .history
            .end(id, now_ms, status);
        if let Some(request) = savepoint {
            if request.stops {
                self.job.checkpoints.resume();
                self.job.signal();
            }
            request.answer(Err(error));
            return Ok(());
        }
        if error.code() == "FENCED" {
            return Err(error);
        }
        tracing::warn!(checkpoint = id, %error, "a checkpoint failed");
        self.num_failures_in_row += 1;
        let num_tolerable = self.job.options.checkpoints.num_tolerable_failures;
        if self.num_failures_in_row <= num_tolerable {
            return Ok(());
        }
        let message = format!(
            "checkpoint {id} failed, and {num_tolerable} failures in a row are tolerated ('execution.checkpointing.tolerable-failed-checkpoints'): {error}"
        );
        Err(Error::external("CHECKPOINT_FAILED", message).retryable())
    }

    /// Commits everything that is prepared.
    pub(super) fn commit(&mut self) -> Result<()> {
        let mut by_node: BTreeMap<NodeId, Vec<Committable>> = BTreeMap::new();
        for (place, committables) in &self.uncommitted {
            by_node
                .entry(place.0)
                .or_default()
                .extend(committables.iter().cloned());
        }
        for (node, committables) in by_node {
            if committables.is_empty() {
                continue;
            }
            let name = &self.job.graph.nodes[node].name;
            match self.committers.get_mut(&node) {
                Some(committer) => committer
                    .commit(committables)
                    .map_err(|e| e.context(format!("{name}: commit")))?,
                None => {
                    let message = format!("{name} prepared commits but has no committer");
                    return Err(Error::internal(message));
                }
            }
        }
        self.uncommitted.clear();
        Ok(())
    }
}

/// An ended subtask as part of a cut: its committables are given once.
fn take_ended(ended: &mut SubtaskCheckpoint) -> SubtaskCheckpoint {
    let committables = std::mem::take(&mut ended.committables);
    SubtaskCheckpoint {
        committables,
        ..ended.clone()
    }
}

fn timed_out(id: u64, timeout: Duration, what: &str) -> Error {
    let message = format!(
        "checkpoint {id} was given up after {} ms ('execution.checkpointing.timeout'): {what}",
        timeout.as_millis()
    );
    Error::external("CHECKPOINT_TIMEOUT", message).retryable()
}

pub(super) fn no_storage() -> Error {
    Error::user(
        "NO_CHECKPOINT_STORAGE",
        "savepoints need a job with checkpoints; SET 'execution.checkpointing.interval'",
    )
}
