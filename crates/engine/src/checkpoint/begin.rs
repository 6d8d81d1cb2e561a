//! The beginning of an attempt: what the checkpoint that it starts from had prepared is committed,
//! once all of the checkpoint has been read.

use flott_core::graph::NodeKind;
use flott_core::sink::Rollback;
use flott_core::{Error, Result};

use super::coordinator::Coordinator;

impl Coordinator<'_> {
    /// Whether something is to be committed before writers begin.
    pub(super) fn awaits_restore(&self) -> bool {
        let is_going_back = self.job.options.retract_attempts.is_some();
        is_going_back || self.uncommitted.values().any(|c| !c.is_empty())
    }

    /// Commits what the checkpoint that the job starts from had prepared (twice is harmless) once
    /// all state has been read: a checkpoint that turns out to be damaged must not be committed.
    pub(super) fn commit_restored(&mut self) -> Result<()> {
        let num_restored = self.job.checkpoints.collected().num_workers_restored;
        if self.job.checkpoints.is_restored_committed()
            || num_restored < self.job.options.parallelism
        {
            return Ok(());
        }
        self.retract()?;
        self.commit()?;
        self.job.checkpoints.restored_committed();
        Ok(())
    }

    /// Has the sinks take back what later checkpoints, which cannot be read, have committed.
    fn retract(&self) -> Result<()> {
        let options = &self.job.options;
        let (Some(attempts), Some(checkpoint)) = (&options.retract_attempts, &options.restore)
        else {
            return Ok(());
        };
        for (id, node) in self.job.graph.nodes.iter().enumerate() {
            let NodeKind::Sink(sink) = &node.kind else {
                continue;
            };
            if !self.committers.contains_key(&id) {
                continue;
            }
            let former = checkpoint.operators.get(&node.uid);
            let writers = former.iter().flat_map(|o| &o.subtasks);
            let rollback = Rollback {
                writers: writers.map(|s| s.writer.clone()).collect(),
                later_attempts: attempts.clone(),
            };
            if former.is_none() || !sink.retract(&rollback)? {
                let message = format!(
                    "later checkpoints than {} cannot be read, and what {} has committed since cannot be taken back: it would come a second time; SET 'execution.state-recovery.damaged-checkpoint' = 'REPEAT' to go on all the same",
                    checkpoint.id, node.name
                );
                return Err(Error::user("DAMAGED_CHECKPOINT", message));
            }
        }
        Ok(())
    }
}
