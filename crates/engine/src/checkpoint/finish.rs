//! The end of an attempt whose input has ended: the last checkpoint, and the last commit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use flott_core::Result;

use super::collect::Cut;
use super::coordinator::{Coordinator, no_storage};
use super::stats::{CheckpointKind, CheckpointStats, CheckpointStatus};
use super::store::{StoreTarget, Stored};
use super::{OperatorCheckpoint, SavepointRequest};

impl Coordinator<'_> {
    /// All subtasks have ended: stores the last checkpoint, then commits.
    ///
    /// # Errors
    /// The store's and the committers'.
    pub fn finish(mut self) -> Result<()> {
        self.store_delayed()?;
        while self.pending.is_some() && !self.job.is_stopped() {
            let stored = self.job.checkpoints.collected().stored.take();
            match stored {
                Some(result) => self.on_stored(result)?,
                None => {
                    self.job.checkpoints.wait(self.idle_time());
                    self.check_timeout()?;
                    if self.pending.as_ref().is_some_and(|p| p.is_aborted) {
                        self.pending = None;
                    }
                }
            }
        }
        if self.job.is_stopped() {
            return Ok(());
        }
        let mut requests = Vec::new();
        if let Some(mut cut) = self.job.checkpoints.take_cut() {
            requests.extend(cut.savepoint.take());
            self.take_in(&mut cut)?;
            let id = self.job.checkpoints.id_of(cut.epoch);
            let now_ms = self.job.options.clock.now_ms();
            let status = CheckpointStatus::Failed("all input had ended".into());
            self.job
                .checkpoints
                .collected()
                .history
                .end(id, now_ms, status);
        }
        requests.extend(self.job.checkpoints.collected().requests.drain(..));
        self.store_final(requests)?;
        self.commit()
    }

    fn store_final(&mut self, requests: Vec<SavepointRequest>) -> Result<()> {
        let now_ms = self.job.options.clock.now_ms();
        let epoch = self.job.checkpoints.target_epoch();
        let id = self.job.checkpoints.id_of(epoch);
        let mut cut = Cut {
            epoch,
            trigger_time_ms: now_ms,
            savepoint: None,
            is_aborted: false,
            subtasks: BTreeMap::new(),
            enumerators: BTreeMap::new(),
        };
        for (&node, enumerator) in &self.job.enumerators {
            cut.enumerators
                .insert(node, enumerator.begin_epoch(epoch + 1)?);
        }
        let operators = self.take_in(&mut cut)?;
        if self.job.options.storage.is_none() {
            requests
                .into_iter()
                .for_each(|r| r.answer(Err(no_storage())));
            return Ok(());
        }
        // From here on a restart may commit what the writers have prepared.
        self.job.release_writers();
        let stats = CheckpointStats::begun(id, CheckpointKind::Final, now_ms);
        self.job.checkpoints.collected().history.begin(stats);
        let stored = self.store_now(id, now_ms, &operators, StoreTarget::Checkpoint)?;
        self.note_complete(id, &stored);
        for request in requests {
            let savepoint = match &request.folder {
                Some(folder) => {
                    let target = StoreTarget::Savepoint(folder.clone());
                    self.store_now(id, now_ms, &operators, target)
                }
                None => Ok(stored.clone()),
            };
            request.answer(savepoint.map(|s| s.path.unwrap_or_default()));
        }
        Ok(())
    }

    /// Stores a final checkpoint or savepoint on this thread.
    fn store_now(
        &mut self,
        id: u64,
        now_ms: i64,
        operators: &[OperatorCheckpoint],
        target: StoreTarget,
    ) -> Result<Stored> {
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let Some(mut task) = self.task(id, now_ms, operators, target, is_cancelled) else {
            return Err(no_storage());
        };
        task.manifest.is_final = true;
        let result = task.run();
        self.chains = result.chains;
        result.outcome
    }
}
