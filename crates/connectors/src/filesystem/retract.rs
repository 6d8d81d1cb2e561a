//! Taking back the files of checkpoints that can no longer be read.
//!
//! A file's name says which attempt, which writer of it, and which file of that writer it is. A
//! checkpoint holds each writer's next number: files of the same writer from that number on, and
//! all files of later attempts, have come after it.

use flott_core::Result;
use flott_core::sink::Rollback;

use super::compaction::COMPACTED;
use super::sink::SinkPlan;
use super::writer::{WriterState, prefix};

/// Removes the visible files that came after the checkpoint.
///
/// # Errors
/// The file system's.
pub(super) fn retract(plan: &SinkPlan, rollback: &Rollback) -> Result<()> {
    let writers = rollback
        .writers
        .iter()
        .map(|bytes| WriterState::decode(bytes));
    let writers = writers.collect::<Result<Vec<_>>>()?;
    let writers: Vec<WriterState> = writers.into_iter().flatten().collect();
    let found = match plan.files.list(&plan.folder) {
        Err(error) if error.code() == "FILE_NOT_FOUND" => return Ok(()),
        found => found?,
    };
    let paths = found.into_iter().map(|file| file.path);
    let later = paths.filter(|path| {
        let name = path.rsplit('/').next().unwrap_or(path);
        is_later(name, &writers, &rollback.later_attempts)
    });
    let later: Vec<String> = later.collect();
    if !later.is_empty() {
        let (num_files, folder) = (later.len(), &plan.folder);
        tracing::warn!(
            num_files,
            folder,
            "files of checkpoints that cannot be read are removed"
        );
    }
    plan.files.remove(&later)
}

/// Whether a file has come after the checkpoint that these writers' states are of.
fn is_later(name: &str, writers: &[WriterState], later_attempts: &[String]) -> bool {
    // A merged file has the name of its first part, and parts of one checkpoint only.
    let name = name.strip_prefix(COMPACTED).unwrap_or(name);
    let numbers = |attempt_id: &str| -> Option<(usize, u64)> {
        let rest = name.strip_prefix(&prefix(attempt_id))?;
        let (subtask, number) = rest.split_once('-')?;
        Some((subtask.parse().ok()?, number.parse().ok()?))
    };
    let is_of_later_attempt = later_attempts.iter().any(|id| numbers(id).is_some());
    let is_later_of_writer = writers.iter().any(|writer| {
        let numbers = numbers(&writer.attempt_id);
        numbers.is_some_and(|(subtask, number)| {
            subtask == writer.subtask && number >= writer.num_files
        })
    });
    is_of_later_attempt || is_later_of_writer
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn files_are_told_by_attempt_writer_and_number() {
        let writer = |attempt_id: &str, subtask, num_files| WriterState {
            attempt_id: attempt_id.into(),
            subtask,
            num_files,
            unmarked: BTreeMap::new(),
        };
        let writers = [writer("shop-a-1", 0, 2), writer("shop-a-1", 1, 0)];
        let attempts = ["shop-b-2".to_string()];
        let is = |name: &str| is_later(name, &writers, &attempts);
        assert!(!is("part-shop-a-1-0-1"));
        assert!(is("part-shop-a-1-0-2"));
        assert!(is("part-shop-a-1-1-0"));
        assert!(is("compacted-part-shop-a-1-1-0"));
        assert!(!is("compacted-part-shop-a-1-0-1"));
        // A writer that had ended has no more files.
        assert!(!is("part-shop-a-1-2-7"));
        assert!(is("part-shop-b-2-5-0"));
        assert!(!is("part-shop-b-22-5-0"));
        assert!(!is("part-other-b-2-5-0"));
        assert!(!is("readme.txt"));
    }
}
