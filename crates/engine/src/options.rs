//! How a job is run.

use std::sync::Arc;

use flott_core::clock::{Clock, SystemClock};
use flott_core::key_group::DEFAULT_MAX_PARALLELISM;

use crate::checkpoint::{Checkpoint, CheckpointListener, CheckpointStorage};
use crate::config::CheckpointConfig;
use crate::spill::SpillConfig;

/// How a job is run; [`JobOptions::default`] fits a small job in this process.
#[derive(Clone)]
pub struct JobOptions {
    /// The number of workers, each a thread that runs one subtask of every operator.
    pub parallelism: usize,
    /// The number of key groups; at least the parallelism.
    pub max_parallelism: usize,
    /// Where processing time comes from.
    pub clock: Arc<dyn Clock>,
    /// The number of rows that sources put into a batch.
    pub batch_size: usize,
    /// Sources wait while batches of this many bytes are under way between operators.
    pub in_flight_bytes: usize,
    /// Check what every operator sends: schema, watermarks, order.
    pub invariant_checks: bool,
    /// Distinguishes attempts and jobs in the names of pending output.
    pub attempt_id: String,
    /// When checkpoints are taken.
    pub checkpoints: CheckpointConfig,
    /// Where they are stored; `None`: they are only given to the listener.
    pub storage: Option<Arc<CheckpointStorage>>,
    /// Is given every complete checkpoint.
    pub checkpoint_listener: Option<Arc<dyn CheckpointListener>>,
    /// Checkpoints are numbered from the next number on, or from that of `restore`.
    pub last_checkpoint_id: u64,
    /// Start from this checkpoint.
    pub restore: Option<Arc<Checkpoint>>,
    /// Checkpoints after `restore` were complete and cannot be read: sinks take their output back
    /// that was made visible since. The ids of the attempts since.
    pub retract_attempts: Option<Vec<String>>,
    /// How much memory state may take; `None`: what the job's configuration says.
    pub spill: Option<SpillConfig>,
}

impl Default for JobOptions {
    fn default() -> Self {
        Self {
            parallelism: 1,
            max_parallelism: DEFAULT_MAX_PARALLELISM,
            clock: Arc::new(SystemClock),
            batch_size: 8192,
            in_flight_bytes: 32 << 20,
            invariant_checks: false,
            attempt_id: "attempt-0".into(),
            checkpoints: CheckpointConfig::default(),
            storage: None,
            checkpoint_listener: None,
            last_checkpoint_id: 0,
            restore: None,
            retract_attempts: None,
            spill: None,
        }
    }
}
