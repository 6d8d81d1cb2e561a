//! Collects what the subtasks deliver at the cuts of an attempt.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::Sender;
use parking_lot::{Condvar, Mutex, MutexGuard};

use flott_core::Result;
use flott_core::clock::Stopwatch;
use flott_core::graph::NodeId;

use super::stats::{CheckpointHistory, CheckpointKind, CheckpointStats, SubtaskStats};
use super::store::StoreResult;
use super::{SavepointRequest, SubtaskCheckpoint};
use crate::job::JobState;

pub(crate) type Place = (NodeId, usize);

/// What the border of an epoch cost a subtask, in nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct SnapshotTimes {
    pub alignment_ns: u64,
    pub sync_ns: u64,
}

/// One cut, from its trigger until every subtask has delivered.
pub(crate) struct Cut {
    pub epoch: u64,
    pub trigger_time_ms: i64,
    pub savepoint: Option<SavepointRequest>,
    /// It was given up; what is delivered belongs to the next.
    pub is_aborted: bool,
    pub subtasks: BTreeMap<Place, SubtaskCheckpoint>,
    pub enumerators: BTreeMap<NodeId, Vec<u8>>,
}

#[derive(Default)]
pub(crate) struct Collected {
    /// The cut under way; the next begins when all have delivered.
    pub cut: Option<Cut>,
    /// A complete cut is being stored.
    pub is_storing: bool,
    pub stored: Option<StoreResult>,
    /// Threads that store a cut, or clean up behind it.
    num_storing: usize,
    pub ended: BTreeMap<Place, SubtaskCheckpoint>,
    pub requests: VecDeque<SavepointRequest>,
    pub history: CheckpointHistory,
    pub num_workers_done: usize,
    /// Workers whose operators have all of their state back.
    pub num_workers_restored: usize,
    /// What the checkpoint that the job starts from had prepared is committed.
    pub is_restored_committed: bool,
    /// Something has happened that the coordinator wants to know.
    is_changed: bool,
}

/// What the workers and the coordinator share.
pub struct Checkpoints {
    num_subtasks: usize,
    first_id: u64,
    /// The epoch that sources are to be in.
    target_epoch: AtomicU64,
    /// Epochs below this are complete.
    num_complete: AtomicU64,
    /// Sources that have reached this epoch read no more.
    stop_epoch: AtomicU64,
    collected: Mutex<Collected>,
    changed: Condvar,
}

impl Checkpoints {
    /// `last_id` is the id of the newest checkpoint that there is, whether or not it can be read.
    pub fn new(num_subtasks: usize, restored_id: Option<u64>, last_id: u64) -> Self {
        let history = CheckpointHistory {
            restored_id,
            ..CheckpointHistory::default()
        };
        Self {
            num_subtasks,
            first_id: restored_id.unwrap_or(0).max(last_id) + 1,
            target_epoch: AtomicU64::new(0),
            num_complete: AtomicU64::new(0),
            stop_epoch: AtomicU64::new(u64::MAX),
            collected: Mutex::new(Collected {
                history,
                ..Collected::default()
            }),
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

    /// Whether a source in this epoch reads no more: the job stops with a savepoint.
    pub fn is_stopped_at(&self, epoch: u64) -> bool {
        epoch >= self.stop_epoch.load(Ordering::SeqCst)
    }

    pub fn id_of(&self, epoch: u64) -> u64 {
        self.first_id + epoch
    }

    pub(crate) fn collected(&self) -> MutexGuard<'_, Collected> {
        self.collected.lock()
    }

    fn change(&self, change: impl FnOnce(&mut Collected)) {
        let mut collected = self.collected.lock();
        change(&mut collected);
        collected.is_changed = true;
        self.changed.notify_all();
    }

    /// A subtask's state at the end of `epoch`.
    pub fn deliver(
        &self,
        job: &JobState,
        epoch: u64,
        place: Place,
        subtask: SubtaskCheckpoint,
        times: SnapshotTimes,
    ) {
        let now_ms = job.options.clock.now_ms();
        let node = &job.graph.nodes[place.0];
        self.change(|collected| {
            let Some(cut) = collected.cut.as_mut().filter(|c| c.epoch == epoch) else {
                return;
            };
            let stats = SubtaskStats {
                uid: node.uid.clone(),
                name: node.name.clone(),
                subtask: place.1,
                acknowledged_after_ms: now_ms - cut.trigger_time_ms,
                alignment_ns: times.alignment_ns,
                sync_ns: times.sync_ns,
                size_bytes: subtask.state.size_bytes() as u64,
            };
            cut.subtasks.insert(place, subtask);
            let id = self.first_id + epoch;
            collected.history.update(id, |s| s.subtasks.push(stats));
        });
    }

    /// A subtask has ended for good.
    pub fn end(&self, place: Place, mut subtask: SubtaskCheckpoint) {
        subtask.is_finished = true;
        self.change(|collected| drop(collected.ended.insert(place, subtask)));
    }

    /// The operators of a worker have all of their state back.
    pub fn worker_restored(&self) {
        self.change(|collected| collected.num_workers_restored += 1);
    }

    /// Writers may begin: what was prepared before is committed.
    pub fn restored_committed(&self) {
        self.change(|collected| collected.is_restored_committed = true);
    }

    pub fn is_restored_committed(&self) -> bool {
        self.collected.lock().is_restored_committed
    }

    /// Waits until [`Checkpoints::is_restored_committed`], or the job has stopped.
    pub fn wait_for_restored(&self, job: &JobState) {
        let mut collected = self.collected.lock();
        while !(collected.is_restored_committed || job.is_stopped()) {
            self.changed.wait(&mut collected);
        }
    }

    pub fn worker_done(&self) {
        self.change(|collected| collected.num_workers_done += 1);
    }

    pub(crate) fn stored(&self, result: StoreResult) {
        self.change(|collected| collected.stored = Some(result));
    }

    pub(crate) fn request(&self, request: SavepointRequest) {
        self.change(|collected| collected.requests.push_back(request));
    }

    /// The coordinator is to look at its clock.
    pub fn wake(&self) {
        self.change(|_| {});
    }

    pub fn num_workers_done(&self) -> usize {
        self.collected.lock().num_workers_done
    }

    /// The cut under way, if every subtask has delivered or has ended.
    pub(crate) fn take_cut(&self) -> Option<Cut> {
        let mut collected = self.collected.lock();
        let cut = collected.cut.as_ref()?;
        let ended = collected.ended.keys();
        let only_ended = ended.filter(|place| !cut.subtasks.contains_key(*place));
        let is_complete = cut.subtasks.len() + only_ended.count() == self.num_subtasks;
        is_complete.then(|| collected.cut.take()).flatten()
    }

    pub(crate) fn mark_complete(&self, epoch: u64) {
        self.num_complete.fetch_max(epoch + 1, Ordering::SeqCst);
    }

    /// A stop with savepoint has failed: sources read on.
    pub(crate) fn resume(&self) {
        self.stop_epoch.store(u64::MAX, Ordering::SeqCst);
    }

    /// The job is over: nobody gets a savepoint any more.
    pub(crate) fn close(&self) {
        self.change(|collected| {
            collected.requests.clear();
            collected.cut = None;
        });
    }

    /// A thread that stores a cut begins.
    pub(crate) fn storing_begins(&self) {
        self.collected().num_storing += 1;
    }

    /// A thread that stores a cut has stored it and cleaned up.
    pub(crate) fn storing_ends(&self) {
        self.change(|collected| collected.num_storing = collected.num_storing.saturating_sub(1));
    }

    /// Waits until nothing is being stored, at most this long. Only behind the job's end.
    pub(crate) fn wait_until_stored(&self, timeout: Duration) {
        let watch = Stopwatch::start();
        let mut collected = self.collected.lock();
        while collected.num_storing > 0 && watch.elapsed() < timeout {
            let left = timeout.saturating_sub(watch.elapsed());
            self.changed.wait_for(&mut collected, left);
        }
    }

    /// Waits for something new, at most this long.
    pub fn wait(&self, timeout: Option<Duration>) {
        let mut collected = self.collected.lock();
        if !collected.is_changed {
            match timeout {
                Some(timeout) => drop(self.changed.wait_for(&mut collected, timeout)),
                None => self.changed.wait(&mut collected),
            }
        }
        collected.is_changed = false;
    }

    /// Begins the cut that ends the present epoch, unless another one is under way; gives its id.
    /// The enumerators' states are taken here; until every reader has crossed into the new epoch no
    /// split is handed out, so that a split stands either in an enumerator's state or in a reader's.
    ///
    /// # Errors
    /// What a split enumerator reports.
    pub(crate) fn trigger(
        &self,
        job: &JobState,
        savepoint: Option<SavepointRequest>,
    ) -> Result<Option<u64>> {
        let mut collected = self.collected.lock();
        let is_busy = collected.cut.is_some() || collected.is_storing;
        if is_busy || !collected.is_restored_committed || job.is_stopped() {
            if let Some(request) = savepoint {
                collected.requests.push_front(request);
            }
            return Ok(None);
        }
        let epoch = self.target_epoch();
        let mut enumerators = BTreeMap::new();
        for (&node, enumerator) in &job.enumerators {
            enumerators.insert(node, enumerator.begin_epoch(epoch + 1)?);
        }
        if savepoint.as_ref().is_some_and(|s| s.stops) {
            self.stop_epoch.store(epoch + 1, Ordering::SeqCst);
        }
        let trigger_time_ms = job.options.clock.now_ms();
        let id = self.id_of(epoch);
        let kind = match savepoint {
            Some(_) => CheckpointKind::Savepoint,
            None => CheckpointKind::Checkpoint,
        };
        let stats = CheckpointStats::begun(id, kind, trigger_time_ms);
        collected.history.begin(stats);
        collected.cut = Some(Cut {
            epoch,
            trigger_time_ms,
            savepoint,
            is_aborted: false,
            subtasks: BTreeMap::new(),
            enumerators,
        });
        self.target_epoch.store(epoch + 1, Ordering::SeqCst);
        drop(collected);
        job.signal();
        Ok(Some(id))
    }
}

/// Answers a request for a savepoint.
pub(crate) type SavepointReply = Sender<Result<String>>;
