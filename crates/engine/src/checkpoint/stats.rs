//! Statistics of checkpoints: when, how long, how big; for reports and REST.

use std::collections::VecDeque;

/// Checkpoints that are remembered.
const MAX_HISTORY: usize = 100;

/// How far a checkpoint has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckpointStatus {
    InProgress,
    Completed,
    /// Why.
    Failed(String),
}

/// What a checkpoint was taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointKind {
    Checkpoint,
    Savepoint,
    /// All input has ended: the last of its job.
    Final,
}

/// One subtask's part in a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubtaskStats {
    pub uid: String,
    pub name: String,
    pub subtask: usize,
    /// When it delivered its state, in ms after the trigger.
    pub acknowledged_after_ms: i64,
    /// How long it held rows back until all its inputs had reached the barrier, in nanoseconds.
    pub alignment_ns: u64,
    /// How long the worker was held up by taking the snapshot, in nanoseconds.
    pub sync_ns: u64,
    /// About how many bytes it delivered.
    pub size_bytes: u64,
}

/// One checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointStats {
    pub id: u64,
    pub kind: CheckpointKind,
    pub status: CheckpointStatus,
    /// In ms since 1970.
    pub trigger_time_ms: i64,
    /// From the trigger to the end, in ms.
    pub duration_ms: i64,
    /// Encoding and writing, in nanoseconds.
    pub async_ns: u64,
    /// Bytes written by this checkpoint.
    pub written_bytes: u64,
    /// Bytes of all state that it names.
    pub state_bytes: u64,
    /// Where it is.
    pub path: Option<String>,
    pub subtasks: Vec<SubtaskStats>,
}

impl CheckpointStats {
    pub(crate) fn begun(id: u64, kind: CheckpointKind, trigger_time_ms: i64) -> Self {
        Self {
            id,
            kind,
            status: CheckpointStatus::InProgress,
            trigger_time_ms,
            duration_ms: 0,
            async_ns: 0,
            written_bytes: 0,
            state_bytes: 0,
            path: None,
            subtasks: Vec::new(),
        }
    }
}

/// The last checkpoints of an attempt, and counts of all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckpointHistory {
    pub num_triggered: u64,
    pub num_completed: u64,
    pub num_failed: u64,
    /// The checkpoint that the attempt started from.
    pub restored_id: Option<u64>,
    /// The oldest first.
    pub last: VecDeque<CheckpointStats>,
}

impl CheckpointHistory {
    pub(crate) fn begin(&mut self, stats: CheckpointStats) {
        self.num_triggered += 1;
        if self.last.len() == MAX_HISTORY {
            self.last.pop_front();
        }
        self.last.push_back(stats);
    }

    /// Changes the statistics of a checkpoint that is remembered.
    pub(crate) fn update(&mut self, id: u64, change: impl FnOnce(&mut CheckpointStats)) {
        if let Some(stats) = self.last.iter_mut().rev().find(|s| s.id == id) {
            change(stats);
        }
    }

    /// Ends a checkpoint that is in progress.
    pub(crate) fn end(&mut self, id: u64, now_ms: i64, status: CheckpointStatus) {
        match status {
            CheckpointStatus::Completed => self.num_completed += 1,
            CheckpointStatus::Failed(_) => self.num_failed += 1,
            CheckpointStatus::InProgress => {}
        }
        self.update(id, |stats| {
            stats.duration_ms = now_ms - stats.trigger_time_ms;
            stats.status = status;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_is_bounded_and_the_counts_are_not() {
        let mut history = CheckpointHistory::default();
        for id in 0..250 {
            history.begin(CheckpointStats::begun(id, CheckpointKind::Checkpoint, 5));
            history.end(id, 9, CheckpointStatus::Completed);
        }
        assert_eq!(history.num_completed, 250);
        assert_eq!(history.last.len(), MAX_HISTORY);
        assert_eq!(
            history.last.back().map(|s| (s.id, s.duration_ms)),
            Some((249, 4))
        );
    }
}
