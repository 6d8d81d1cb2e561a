//! Sinks: a writer in each subtask, and a committer that makes output visible with a checkpoint.
//!
//! What a writer writes between two checkpoints stays invisible until `prepare_commit` has turned
//! it into committables, the checkpoint that holds them is complete, and the committer has
//! committed them. Committing the same committable twice must be harmless: after a failure the
//! committables of the last complete checkpoint are committed again.

use std::sync::Arc;

use crate::changelog::{ChangelogBatch, ChangelogMode};
use crate::clock::Clock;
use crate::error::Result;
use crate::metrics::OperatorMetrics;

/// A table's output, planned for one statement.
pub trait TableSink: Send + Sync {
    /// The changelog that the sink takes when `offered` is what the query can give.
    ///
    /// # Errors
    /// A user error when it cannot take such rows.
    fn changelog_mode(&self, offered: ChangelogMode) -> Result<ChangelogMode>;

    /// Whether what is written is the changelog itself, in which every change is seen, and not the
    /// table that it describes.
    fn keeps_changes(&self) -> bool {
        false
    }

    /// The parallelism the sink asks for; `None` is its input's.
    fn parallelism(&self) -> Option<usize> {
        None
    }

    /// The columns whose values keep rows together in one writer, where that matters.
    fn partition_columns(&self) -> Vec<usize> {
        Vec::new()
    }

    fn describe(&self) -> String {
        String::new()
    }

    fn create_writer(&self, context: WriterContext) -> Result<Box<dyn SinkWriter>>;

    /// The job stops: a writer that waits for someone gives up. Called from another thread.
    fn cancel(&self) {}

    /// `None` when writing is all there is.
    fn create_committer(&self) -> Result<Option<Box<dyn Committer>>> {
        Ok(None)
    }

    /// Takes back what checkpoints have made visible that can no longer be read: the job goes on
    /// from an older one, and will write it again. Gives `false` when that cannot be done; asked
    /// only of sinks with a committer. Doing it twice does no harm.
    ///
    /// # Errors
    /// Output that should be taken back, and is not.
    fn retract(&self, _rollback: &Rollback) -> Result<bool> {
        Ok(false)
    }
}

/// What tells the output that comes after a checkpoint from the output before.
#[derive(Debug, Clone, Default)]
pub struct Rollback {
    /// The states of the writers at the checkpoint; empty of those that had ended.
    pub writers: Vec<Vec<u8>>,
    /// The ids ([`WriterContext::attempt_id`]) of the attempts that have begun after the one that
    /// took the checkpoint.
    pub later_attempts: Vec<String>,
}

/// What a writer may use.
#[derive(Debug, Clone)]
pub struct WriterContext {
    pub subtask: usize,
    pub parallelism: usize,
    /// Distinguishes attempts and jobs in the names of pending output.
    pub attempt_id: String,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<OperatorMetrics>,
    /// The bytes of [`SinkWriter::snapshot`] of one or more writers; empty for a fresh start.
    pub restored: Vec<Vec<u8>>,
}

/// Pending output that a committer can make visible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committable {
    pub bytes: Vec<u8>,
}

/// Writes rows in one subtask; driven by one thread.
pub trait SinkWriter: Send {
    fn write(&mut self, batch: &ChangelogBatch) -> Result<()>;

    /// Event time has reached this, in ms.
    fn watermark(&mut self, _watermark: i64) -> Result<()> {
        Ok(())
    }

    /// When [`SinkWriter::on_timer`] wants to be called, in processing-time ms.
    fn next_timer_ms(&self) -> Option<i64> {
        None
    }

    fn on_timer(&mut self, _now_ms: i64) -> Result<()> {
        Ok(())
    }

    /// Closes what belongs to this checkpoint; `is_final` at the end of input, when nothing may be
    /// kept open.
    fn prepare_commit(&mut self, is_final: bool) -> Result<Vec<Committable>>;

    /// The writer's own state after `prepare_commit`.
    fn snapshot(&mut self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    /// The job failed or was cancelled: removes pending output where that is safe.
    fn abort(&mut self) {}
}

/// Makes committables visible; runs once for a job.
pub trait Committer: Send {
    fn commit(&mut self, committables: Vec<Committable>) -> Result<()>;
}
