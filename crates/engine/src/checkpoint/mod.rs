//! Checkpoints: a consistent cut through all subtasks, stored beside the running job.
//!
//! | module | what it does |
//! |---|---|
//! | `collect` | what workers and coordinator share: the cut under way |
//! | `coordinator` | triggers, times out, has cuts stored, commits |
//! | `begin` | what is committed, or taken back, before an attempt writes |
//! | `finish` | the last checkpoint, when all input has ended |
//! | [`store`] | writes state files and manifests |
//! | `load` | from a manifest to something to start from |
//! | [`stats`] | when, how long, how big |
//!
//! The checkpoint's epoch is Timely's timestamp. A trigger raises the epoch that sources aim at.
//! Every subtask delivers its state when its input frontier has passed the epoch. A subtask that
//! has ended stands in every later checkpoint as finished, and is restored as that.
//!
//! The protocol, step by step, is in `docs/checkpoints.md`.

mod begin;
pub(crate) mod collect;
pub(crate) mod coordinator;
mod finish;
mod load;
pub mod stats;
pub mod store;

use std::collections::BTreeMap;

use crossbeam_channel::{Receiver, TryRecvError, bounded};

use flott_core::graph::StateColumn;
use flott_core::operator::StateSnapshot;
use flott_core::sink::Committable;
use flott_core::source::Split;
use flott_core::{Error, Result};
use flott_state::chain::OperatorChain;

pub(crate) use collect::{Checkpoints, SnapshotTimes};
pub use stats::{
    CheckpointHistory, CheckpointKind, CheckpointStats, CheckpointStatus, SubtaskStats,
};
use store::StoreTarget;
pub use store::{CheckpointStorage, plan_fingerprint, state_ttl_ms};

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
    /// What the subtasks' state is read from; `None`: it is all there is.
    pub chain: Option<OperatorChain>,
}

/// One subtask in a checkpoint.
#[derive(Debug, Clone, Default)]
pub struct SubtaskCheckpoint {
    /// To restore from, and as a listener gets it: whole tables. As an operator delivers it: whole
    /// tables or changes.
    pub state: StateSnapshot,
    /// A source reader's unfinished splits.
    pub splits: Vec<Split>,
    /// A sink writer's own state.
    pub writer: Vec<u8>,
    /// What is to be committed once the checkpoint is complete.
    pub committables: Vec<Committable>,
    /// The watermark that the subtask had received, in ms.
    pub watermark: i64,
    /// It had ended, and is not to end again.
    pub is_finished: bool,
}

/// Takes complete checkpoints.
pub trait CheckpointListener: Send + Sync {
    /// The checkpoint is complete, and stored where there is storage. Committables are committed
    /// after this has returned.
    ///
    /// # Errors
    /// The job fails.
    fn on_checkpoint(&self, checkpoint: Checkpoint) -> Result<()>;
}

/// Somebody wants a savepoint.
pub(crate) struct SavepointRequest {
    /// It gets a folder of its own below this one. `None` for a job that is to stop: its last
    /// checkpoint is all that is written.
    pub folder: Option<String>,
    /// The job stops with it: sources read nothing after the cut.
    pub stops: bool,
    /// It is taken when all input has ended.
    pub drains: bool,
    pub reply: collect::SavepointReply,
}

impl SavepointRequest {
    /// What is written for it. A job that stops leaves a checkpoint of the same cut: whoever starts
    /// it again by its name finds everything that was committed.
    pub fn target(&self) -> StoreTarget {
        match (&self.folder, self.stops) {
            (None, _) => StoreTarget::Checkpoint,
            (Some(folder), false) => StoreTarget::Savepoint(folder.clone()),
            (Some(folder), true) => StoreTarget::SavepointAndCheckpoint(folder.clone()),
        }
    }

    /// Answers; nobody may wait any more.
    pub fn answer(self, answer: Result<String>) {
        let _ = self.reply.send(answer);
    }
}

/// A savepoint that was asked for.
#[derive(Debug)]
pub struct SavepointTicket {
    reply: Receiver<Result<String>>,
}

impl SavepointTicket {
    pub(crate) fn request(
        folder: Option<&str>,
        stops: bool,
        drains: bool,
    ) -> (SavepointRequest, Self) {
        let (reply, answer) = bounded(1);
        let request = SavepointRequest {
            folder: folder.map(str::to_owned),
            stops,
            drains,
            reply,
        };
        (request, Self { reply: answer })
    }

    /// What [`SavepointTicket::wait`] gives, if it would not wait.
    pub fn try_wait(&self) -> Option<Result<String>> {
        match self.reply.try_recv() {
            Ok(answer) => Some(answer),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(self.wait()),
        }
    }

    /// Waits for the savepoint; gives its path.
    ///
    /// # Errors
    /// Why there is none; the job's end is one reason.
    pub fn wait(&self) -> Result<String> {
        self.reply.recv().unwrap_or_else(|_| {
            let message = "the job ended before the savepoint was complete";
            Err(Error::external("SAVEPOINT_FAILED", message))
        })
    }
}
