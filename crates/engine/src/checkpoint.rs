//! Checkpoints: a consistent cut through all subtasks, held in memory and handed to a listener.
//!
//! The checkpoint's epoch is Timely's timestamp. A trigger raises the epoch that sources aim at and
//! takes the enumerators' states; from then until every reader has crossed into the new epoch, no
//! split is handed out, so that a split stands either in the enumerator's state or in a reader's.
//! Every subtask delivers its state when its input frontier has passed the epoch. A subtask that
//! has ended stands in every later checkpoint with its last state.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex, MutexGuard};

use flott_core::Result;
use flott_core::graph::{NodeId, StateColumn};
use flott_core::operator::StateSnapshot;
use flott_core::sink::Committable;
use flott_core::source::Split;

use crate::job::JobState;

/// Everything a job needs to start again where it was.
#[derive(Debug, Clone, Default)]
pub struct Checkpoint {
    /// Counts from 1 and goes on after a restore.
    pub id: u64,
    /// By the operator's uid.
    pub operators: BTreeMap<String, OperatorCheckpoint>,
}

/// One operator, source or sink in a checkpoint.
#[derive(Debug, Clone, Default)]
pub struct OperatorCheckpoint {
    /// What the state's columns are ([`flott_core::graph::Node::state`]).
    pub columns: Vec<StateColumn>,
    /// The state of a source's enumerator.
    pub enumerator: Option<Vec<u8>>,
    /// In the order of the subtasks.
    pub subtasks: Vec<SubtaskCheckpoint>,
}

/// One subtask in a checkpoint.
#[derive(Debug, Clone, Default)]
pub struct SubtaskCheckpoint {
    /// Given to a listener: what the operator said, whole tables or changes; to restore from:
    /// whole tables (see [`crate::CheckpointChain`]).
    pub state: StateSnapshot,
    /// A source reader's unfinished splits.
    pub splits: Vec<Split>,
    /// A sink writer's own state.
    pub writer: Vec<u8>,
    /// What is to be committed once the checkpoint is complete.
    pub committables: Vec<Committable>,
    /// The watermark that the subtask had received, in ms.
    pub watermark: i64,
}

/// Takes complete checkpoints, to store them.
pub trait CheckpointListener: Send + Sync {
    /// All subtasks have delivered. Committables are committed after this has returned.
    ///
    /// # Errors
    /// The checkpoint could not be stored: the job fails.
    fn on_checkpoint(&self, checkpoint: Checkpoint) -> Result<()>;
}

type Place = (NodeId, usize);

/// The checkpoint under way.
#[derive(Default)]
struct Pending {
    epoch: Option<u64>,
    subtasks: BTreeMap<Place, SubtaskCheckpoint>,
    enumerators: BTreeMap<NodeId, Vec<u8>>,
    ended: BTreeMap<Place, SubtaskCheckpoint>,
    num_workers_done: usize,
}

/// Collects what the subtasks deliver.
pub struct Checkpoints {
    num_subtasks: usize,
    first_id: u64,
    /// The epoch that sources are to be in.
    target_epoch: AtomicU64,
    /// The number of complete checkpoints of this attempt.
    num_complete: AtomicU64,
    pending: Mutex<Pending>,
    changed: Condvar,
}

impl Checkpoints {
    pub fn new(num_subtasks: usize, first_id: u64) -> Self {
        Self {
            num_subtasks,
            first_id,
            target_epoch: AtomicU64::new(0),
            num_complete: AtomicU64::new(0),
            pending: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    pub fn target_epoch(&self) -> u64 {
        self.target_epoch.load(Ordering::SeqCst)
    }

    /// The epochs below this are complete.
    pub fn num_complete(&self) -> u64 {
        self.num_complete.load(Ordering::SeqCst)
    }

    pub fn id_of(&self, epoch: u64) -> u64 {
        self.first_id + epoch
    }

    /// A subtask's state at the end of `epoch`; not kept when nobody waits for it.
    pub fn deliver(&self, epoch: u64, place: Place, subtask: SubtaskCheckpoint) {
        let mut pending = self.pending.lock();
        if pending.epoch == Some(epoch) {
            pending.subtasks.insert(place, subtask);
            self.changed.notify_all();
        }
    }

    /// A subtask has ended for good.
    pub fn end(&self, place: Place, subtask: SubtaskCheckpoint) {
        self.pending.lock().ended.insert(place, subtask);
        self.changed.notify_all();
    }

    pub fn worker_done(&self) {
        self.pending.lock().num_workers_done += 1;
        self.changed.notify_all();
    }

    pub fn num_workers_done(&self) -> usize {
        self.pending.lock().num_workers_done
    }

    fn is_complete(&self, pending: &Pending) -> bool {
        let ended = pending.ended.keys();
        let only_ended = ended.filter(|place| !pending.subtasks.contains_key(*place));
        pending.epoch.is_some() && pending.subtasks.len() + only_ended.count() == self.num_subtasks
    }

    /// The checkpoint under way, if every subtask has delivered.
    pub fn take_complete(&self, job: &JobState) -> Option<Checkpoint> {
        let mut pending = self.pending.lock();
        if !self.is_complete(&pending) {
            return None;
        }
        let epoch = pending.epoch.take()?;
        let mut places = pending.ended.clone();
        places.append(&mut pending.subtasks);
        let mut checkpoint = Checkpoint {
            id: self.id_of(epoch),
            operators: BTreeMap::new(),
        };
        for ((node, _), subtask) in places {
            let uid = job.graph.nodes[node].uid.clone();
            let operator = checkpoint.operators.entry(uid).or_default();
            operator.columns.clone_from(&job.graph.nodes[node].state);
            operator.subtasks.push(subtask);
        }
        for (node, state) in std::mem::take(&mut pending.enumerators) {
            let uid = job.graph.nodes[node].uid.clone();
            checkpoint.operators.entry(uid).or_default().enumerator = Some(state);
        }
        Some(checkpoint)
    }

    pub fn mark_complete(&self) {
        self.num_complete
            .store(self.target_epoch(), Ordering::SeqCst);
    }

    /// Waits for a delivery, the end of a worker, or the time-out; gives whether it ran out.
    pub fn wait(&self, num_workers: usize, timeout: Option<std::time::Duration>) -> bool {
        let mut pending: MutexGuard<'_, Pending> = self.pending.lock();
        if pending.num_workers_done == num_workers || self.is_complete(&pending) {
            return false;
        }
        match timeout {
            Some(timeout) => self.changed.wait_for(&mut pending, timeout).timed_out(),
            None => {
                self.changed.wait(&mut pending);
                false
            }
        }
    }
}

impl JobState {
    /// Begins a checkpoint unless one is under way; gives its id.
    pub(crate) fn trigger_checkpoint(&self) -> Result<Option<u64>> {
        let mut pending = self.checkpoints.pending.lock();
        let epoch = self.checkpoints.target_epoch();
        if pending.epoch.is_some() || self.checkpoints.num_complete() < epoch || self.is_stopped() {
            return Ok(None);
        }
        for (&node, enumerator) in &self.enumerators {
            let state = enumerator.begin_epoch(epoch + 1)?;
            pending.enumerators.insert(node, state);
        }
        pending.epoch = Some(epoch);
        pending.subtasks.clear();
        self.checkpoints
            .target_epoch
            .store(epoch + 1, Ordering::SeqCst);
        drop(pending);
        self.signal();
        Ok(Some(self.checkpoints.id_of(epoch)))
    }
}
