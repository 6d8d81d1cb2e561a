//! From a manifest to a checkpoint that a job can start from.

use std::collections::BTreeSet;

use flott_core::graph::{JobGraph, StateAggregate, StateColumn};
use flott_core::sink::Committable;
use flott_core::source::Split;
use flott_core::{Error, Result};
use flott_state::chain::OperatorChain;
use flott_state::storage::manifest::OperatorManifest;
use flott_state::storage::{Manifest, StoragePlace};

use super::{Checkpoint, OperatorCheckpoint, SubtaskCheckpoint};

impl Checkpoint {
    /// The checkpoint that a manifest describes; state is read when operators take it back.
    /// `place` is what the manifest's paths are relative to.
    pub fn load(manifest: &Manifest, place: &StoragePlace) -> Self {
        let operators = manifest.operators.iter().map(|operator| {
            let loaded = load_operator(operator, place, manifest.max_parallelism);
            (operator.uid.clone(), loaded)
        });
        Self {
            id: manifest.checkpoint_id,
            operators: operators.collect(),
        }
    }

    /// Refuses a job that lacks operators whose state the checkpoint holds.
    ///
    /// # Errors
    /// A user error that names them.
    pub fn check_claimed(&self, graph: &JobGraph, manifest: &Manifest) -> Result<()> {
        let uids: BTreeSet<&str> = graph.nodes.iter().map(|n| n.uid.as_str()).collect();
        let unclaimed = manifest
            .operators
            .iter()
            .filter(|o| o.has_state() && !uids.contains(o.uid.as_str()));
        let names: Vec<&str> = unclaimed.map(|o| o.name.as_str()).collect();
        if names.is_empty() {
            return Ok(());
        }
        Err(Error::user(
            "UNCLAIMED_STATE",
            format!(
                "checkpoint {} holds state of operators that the job does not have: {}; the statements have changed; start from the former statements, or SET 'execution.state-recovery.ignore-unclaimed-state' = 'true' to drop that state",
                self.id,
                names.join(", ")
            ),
        ))
    }
}

fn load_operator(
    operator: &OperatorManifest,
    place: &StoragePlace,
    max_parallelism: usize,
) -> OperatorCheckpoint {
    let parallelism = operator.subtasks.len();
    let chain = OperatorChain::load(&operator.tables, place, parallelism, max_parallelism);
    let subtasks = operator.subtasks.iter().zip(chain.snapshots());
    let subtasks = subtasks.map(|(subtask, state)| SubtaskCheckpoint {
        state,
        splits: subtask
            .splits
            .iter()
            .map(|split| Split {
                id: split.id.clone(),
                bytes: split.bytes.0.to_vec(),
            })
            .collect(),
        writer: subtask.writer.0.to_vec(),
        committables: subtask
            .committables
            .iter()
            .map(|c| Committable {
                bytes: c.0.to_vec(),
            })
            .collect(),
        watermark: subtask.watermark,
        is_finished: subtask.is_finished,
    });
    let columns = operator.columns.iter().map(|column| StateColumn {
        name: column.name.clone(),
        data_type: column.data_type.clone(),
        meaning: u64::from_str_radix(&column.meaning, 16).unwrap_or(0),
        aggregate: column.aggregate.as_ref().map(|call| StateAggregate {
            function: call.function.clone(),
            arguments: call.arguments.clone(),
            is_distinct: call.is_distinct,
            is_retracting: call.is_retracting,
        }),
    });
    OperatorCheckpoint {
        columns: columns.collect(),
        enumerator: operator.enumerator.as_ref().map(|e| e.0.to_vec()),
        subtasks: subtasks.collect(),
        chain: Some(chain),
    }
}
