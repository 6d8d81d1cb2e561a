//! Flink's keys of checkpoints and state that need nothing here: their values are checked, and who
//! sets one to something that has no effect is told why.

use flott_core::options::OptionDef;
use flott_core::options::OptionType::{
    self, Boolean, Duration, Integer, MemorySize, String as Text,
};

const fn key(key: &'static str, option_type: OptionType, doc: &'static str) -> OptionDef {
    OptionDef::new(key, option_type, doc)
}

/// The keys.
pub const OPTIONS: &[OptionDef] = &[
    key(
        "execution.checkpointing.max-concurrent-checkpoints",
        Integer,
        "accepted; there is one at a time",
    ),
    key(
        "execution.checkpointing.incremental",
        Boolean,
        "accepted; checkpoints are always incremental",
    ),
    key(
        "execution.checkpointing.snapshot-compression",
        Boolean,
        "accepted; state files are always compressed",
    ),
    key(
        "execution.checkpointing.aligned-checkpoint-timeout",
        Duration,
        "accepted; barriers are always aligned",
    ),
    key(
        "execution.checkpointing.unaligned.forced",
        Boolean,
        "accepted; barriers are always aligned",
    ),
    key(
        "execution.checkpointing.unaligned.interruptible-timers.enabled",
        Boolean,
        "accepted; barriers are always aligned",
    ),
    key(
        "execution.checkpointing.unaligned.max-subtasks-per-channel-state-file",
        Integer,
        "accepted; barriers are always aligned",
    ),
    key(
        "execution.checkpointing.interval-during-backlog",
        Duration,
        "accepted; sources have no backlog of their own",
    ),
    key(
        "execution.checkpointing.create-subdir",
        Boolean,
        "accepted; a job always has a folder of its own",
    ),
    key(
        "execution.checkpointing.cleaner.parallel-mode",
        Boolean,
        "accepted; old files are always deleted together",
    ),
    key(
        "execution.checkpointing.file-merging.enabled",
        Boolean,
        "accepted; small layers of state are always merged",
    ),
    key(
        "execution.checkpointing.file-merging.max-file-size",
        MemorySize,
        "accepted; small layers of state are always merged",
    ),
    key(
        "execution.checkpointing.file-merging.*",
        Text,
        "accepted; small layers of state are always merged",
    ),
    key(
        "execution.checkpointing.local-backup.enabled",
        Boolean,
        "accepted; state is read from its folder",
    ),
    key(
        "execution.checkpointing.local-backup.dirs",
        Text,
        "accepted; state is read from its folder",
    ),
    key(
        "execution.checkpointing.write-buffer-size",
        MemorySize,
        "accepted; state files are written at once",
    ),
    key(
        "state.backend.incremental",
        Boolean,
        "accepted; checkpoints are always incremental",
    ),
    key(
        "state.backend.local-recovery",
        Boolean,
        "accepted; state is read from its folder",
    ),
    key(
        "state.changelog.enabled",
        Boolean,
        "accepted; checkpoints always hold changes",
    ),
    key(
        "state.backend.rocksdb.*",
        Text,
        "accepted; there is no RocksDB",
    ),
    key("state.backend.forst.*", Text, "accepted; there is no ForSt"),
    key(
        "state.backend.changelog.*",
        Text,
        "accepted; checkpoints always hold changes",
    ),
    key(
        "state.changelog.*",
        Text,
        "accepted; checkpoints always hold changes",
    ),
    key(
        "state.latency-track.*",
        Text,
        "accepted; there is no such metric",
    ),
    key(
        "state.size-track.*",
        Text,
        "accepted; there is no such metric",
    ),
    key(
        "state.storage.fs.*",
        Text,
        "accepted; see data-inline-threshold",
    ),
];

/// What is said of a value that asks for what there is not; empty where nothing is lost.
pub fn note(key: &str, value: &str) -> &'static str {
    let is_true = value.trim().eq_ignore_ascii_case("true");
    match key {
        "execution.checkpointing.unaligned.enabled"
        | "execution.checkpointing.unaligned.forced"
        | "execution.checkpointing.unaligned"
            if is_true =>
        {
            "note: checkpoints are aligned here; rows under way are few, so that barriers pass quickly"
        }
        "execution.checkpointing.max-concurrent-checkpoints" if value.trim() != "1" => {
            "note: there is one checkpoint at a time here"
        }
        "execution.checkpointing.interval-during-backlog" => {
            "note: 'execution.checkpointing.interval' holds all the time here"
        }
        "execution.checkpointing.local-backup.enabled" | "state.backend.local-recovery"
            if is_true =>
        {
            "note: state is read from 'execution.checkpointing.dir' here, not from local copies"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::super::config;
    use super::*;

    #[test]
    fn values_are_checked_and_what_has_no_effect_is_said() {
        for def in OPTIONS
            .iter()
            .filter(|d| matches!(d.option_type, Boolean | Integer))
        {
            assert_eq!(
                config::check(def.key, "x").unwrap_err().code(),
                "INVALID_OPTION"
            );
            assert_eq!(config::near_miss(def.key), None);
        }
        config::check("execution.checkpointing.incremental", "true").unwrap();
        assert_eq!(note("execution.checkpointing.incremental", "true"), "");
        assert!(note("execution.checkpointing.unaligned.enabled", "true").contains("aligned"));
        assert_eq!(
            note("execution.checkpointing.max-concurrent-checkpoints", "1"),
            ""
        );
        assert!(note("execution.checkpointing.max-concurrent-checkpoints", "2").contains("one"));
    }
}
