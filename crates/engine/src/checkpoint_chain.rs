//! Checkpoints kept in memory: from what the subtasks said has changed to what can be restored.

use std::collections::BTreeMap;

use flott_core::Result;
use flott_core::operator::StateSnapshot;
use flott_state::chain::OperatorChain;

use crate::checkpoint::Checkpoint;

/// The chains of a job's operators, for a listener that keeps whole checkpoints in memory.
#[derive(Debug, Clone)]
pub struct CheckpointChain {
    max_parallelism: usize,
    /// By the operator's uid.
    operators: BTreeMap<String, OperatorChain>,
}

impl CheckpointChain {
    pub fn new(max_parallelism: usize) -> Self {
        Self {
            max_parallelism,
            operators: BTreeMap::new(),
        }
    }

    /// Takes in the next checkpoint, or the whole one that the job starts from, and gives it back
    /// with the whole state of every operator.
    ///
    /// # Errors
    /// A defect in an operator's changes.
    pub fn complete(&mut self, mut checkpoint: Checkpoint) -> Result<Checkpoint> {
        let there = &checkpoint.operators;
        self.operators.retain(|uid, _| there.contains_key(uid));
        for (uid, operator) in &mut checkpoint.operators {
            let chain = self.operators.entry(uid.clone());
            let chain = chain.or_insert_with(|| OperatorChain::new(self.max_parallelism));
            let subtasks = operator.subtasks.iter_mut();
            let said: Vec<StateSnapshot> = subtasks.map(|s| std::mem::take(&mut s.state)).collect();
            chain.apply(&said).map_err(|e| e.context(uid))?;
            chain.compact()?;
            for (subtask, state) in operator.subtasks.iter_mut().zip(chain.snapshots()) {
                subtask.state = state;
            }
        }
        Ok(checkpoint)
    }
}
