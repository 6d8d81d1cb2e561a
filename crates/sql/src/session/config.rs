//! The session's configuration: the keys that SET knows.

use chrono_tz::Tz;
use flott_core::error::nearest;
use flott_core::options::{OptionDef, OptionType, Options};
use flott_core::{Error, Result};

use super::accepted;
use OptionType::{Boolean, Double, Duration, Enum, Integer, MemorySize, String as Text};

pub const RUNTIME_MODE: OptionDef = OptionDef::new(
    "execution.runtime-mode",
    Enum(&["STREAMING", "BATCH", "AUTOMATIC"]),
    "whether results are kept up to date (streaming) or given once at the end (batch)",
)
.default("STREAMING");

pub const LOCAL_TIME_ZONE: OptionDef = OptionDef::new(
    "table.local-time-zone",
    Text,
    "the time zone in which points in time (TIMESTAMP_LTZ) are shown and read",
)
.default("UTC");

pub const DEFAULT_PARALLELISM: OptionDef = OptionDef::new(
    "parallelism.default",
    Integer,
    "subtasks of each operator; without it, the number of processors",
);

pub const TABLE_PARALLELISM: OptionDef = OptionDef::new(
    "table.exec.resource.default-parallelism",
    Integer,
    "subtasks of each operator of SQL jobs; -1 leaves it to parallelism.default",
)
.default("-1");

pub const MAX_PARALLELISM: OptionDef = OptionDef::new(
    "pipeline.max-parallelism",
    Integer,
    "the number of key groups, and the most subtasks that state can be divided among; state keeps the number that it began with",
)
.default("128");

/// Every key that means something here, or that Flink's scripts often set; others are accepted.
pub const OPTIONS: &[OptionDef] = &[
    RUNTIME_MODE,
    LOCAL_TIME_ZONE,
    DEFAULT_PARALLELISM,
    TABLE_PARALLELISM,
    OptionDef::new(
        "flott.memory",
        MemorySize,
        "memory for the whole process; state beyond its share of it goes to files",
    ),
    OptionDef::new(
        "flott.spill.max-delay",
        Duration,
        "how long rows wait at the most for state that is in a file",
    )
    .default("10 s"),
    OptionDef::new(
        "io.tmp.dirs",
        Text,
        "folders for temporary files, of which the first is used",
    ),
    OptionDef::new("pipeline.name", Text, "the name of the next job"),
    MAX_PARALLELISM,
    OptionDef::new(
        "pipeline.auto-watermark-interval",
        Duration,
        "least time between watermarks",
    )
    .default("200 ms"),
    OptionDef::new(
        "pipeline.object-reuse",
        Boolean,
        "accepted; rows are never copied needlessly",
    )
    .default("false"),
    OptionDef::new(
        "pipeline.operator-chaining.enabled",
        Boolean,
        "whether neighbours run as one",
    )
    .default("true"),
    OptionDef::new(
        "execution.checkpointing.interval",
        Duration,
        "time between checkpoints; without it there are none",
    ),
    OptionDef::new(
        "execution.checkpointing.mode",
        Enum(&["EXACTLY_ONCE", "AT_LEAST_ONCE"]),
        "what a restore promises",
    )
    .default("EXACTLY_ONCE"),
    OptionDef::new(
        "execution.checkpointing.dir",
        Text,
        "where checkpoints are kept",
    ),
    OptionDef::new(
        "execution.checkpointing.savepoint-dir",
        Text,
        "where savepoints are kept",
    ),
    OptionDef::new(
        "execution.checkpointing.timeout",
        Duration,
        "when a checkpoint is given up",
    )
    .default("10 min"),
    OptionDef::new(
        "execution.checkpointing.min-pause",
        Duration,
        "least time between two checkpoints",
    )
    .default("0 ms"),
    OptionDef::new(
        "execution.checkpointing.unaligned.enabled",
        Boolean,
        "accepted; barriers are always aligned",
    )
    .default("false"),
    OptionDef::new(
        "execution.savepoint.path",
        Text,
        "the savepoint that the next job starts from",
    ),
    OptionDef::new(
        "execution.state-recovery.path",
        Text,
        "the savepoint that the next job starts from",
    ),
    OptionDef::new(
        "execution.attached",
        Boolean,
        "accepted; a statement waits for its job",
    )
    .default("true"),
    OptionDef::new(
        "execution.target",
        Text,
        "accepted; jobs run in this process",
    ),
    OptionDef::new(
        "state.backend.type",
        Text,
        "where state is kept: hashmap (in memory while it fits) or disk; rocksdb and forst mean disk",
    )
    .default("hashmap"),
    OptionDef::new(
        "state.backend.rocksdb.localdir",
        Text,
        "the folder for files of state that is not in memory",
    ),
    OptionDef::new("state.checkpoints.dir", Text, "where checkpoints are kept"),
    OptionDef::new("state.savepoints.dir", Text, "where savepoints are kept"),
    OptionDef::new(
        "restart-strategy.type",
        Text,
        "what happens after a failure",
    ),
    OptionDef::new(
        "restart-strategy.*",
        Text,
        "details of the restart strategy",
    ),
    OptionDef::new(
        "table.exec.state.ttl",
        Duration,
        "how long state that is not touched is kept; 0 is for ever",
    )
    .default("0 ms"),
    crate::planner::SOURCE_IDLE_TIMEOUT,
    crate::planner::MINI_BATCH,
    OptionDef::new(
        "table.exec.mini-batch.allow-latency",
        Duration,
        "accepted; batching adds no latency",
    )
    .default("0 ms"),
    OptionDef::new(
        "table.exec.mini-batch.size",
        Integer,
        "accepted; batching adds no latency",
    )
    .default("-1"),
    OptionDef::new(
        "table.exec.sink.not-null-enforcer",
        Enum(&["ERROR", "DROP"]),
        "what happens to NULL in a NOT NULL column",
    )
    .default("ERROR"),
    OptionDef::new(
        "table.exec.sink.type-length-enforcer",
        Enum(&["IGNORE", "TRIM_PAD", "ERROR"]),
        "what happens to texts that are too long",
    )
    .default("IGNORE"),
    OptionDef::new(
        "table.exec.sink.upsert-materialize",
        Enum(&["NONE", "AUTO", "FORCE"]),
        "accepted; order is kept by key",
    )
    .default("AUTO"),
    OptionDef::new(
        "table.exec.sink.keyed-shuffle",
        Enum(&["NONE", "AUTO", "FORCE"]),
        "accepted; order is kept by key",
    )
    .default("AUTO"),
    OptionDef::new(
        "table.exec.source.cdc-events-duplicate",
        Boolean,
        "whether a change may come twice",
    )
    .default("false"),
    OptionDef::new(
        "table.exec.legacy-cast-behaviour",
        Enum(&["ENABLED", "DISABLED"]),
        "whether a failed CAST gives NULL",
    )
    .default("DISABLED"),
    OptionDef::new(
        "table.exec.deduplicate.mini-batch.compact-changes-enabled",
        Boolean,
        "accepted",
    )
    .default("false"),
    OptionDef::new(
        "table.exec.async-lookup.buffer-capacity",
        Integer,
        "lookups under way at a time",
    )
    .default("100"),
    OptionDef::new(
        "table.exec.async-lookup.timeout",
        Duration,
        "when a lookup is given up",
    )
    .default("3 min"),
    OptionDef::new(
        "table.exec.async-lookup.output-mode",
        Enum(&["ORDERED", "ALLOW_UNORDERED"]),
        "order of looked-up rows",
    )
    .default("ORDERED"),
    OptionDef::new(
        "table.exec.window-agg.buffer-size-limit",
        Integer,
        "accepted",
    )
    .default("100000"),
    OptionDef::new("table.exec.rank.topn-cache-size", Integer, "accepted").default("10000"),
    OptionDef::new(
        "table.exec.*",
        Text,
        "other execution settings of Flink's, accepted",
    ),
    OptionDef::new(
        "table.optimizer.agg-phase-strategy",
        Enum(&["AUTO", "ONE_PHASE", "TWO_PHASE"]),
        "whether rows are aggregated before they are exchanged",
    )
    .default("AUTO"),
    OptionDef::new(
        "table.optimizer.distinct-agg.split.enabled",
        Boolean,
        "whether the distinct values of one key are kept by many subtasks; not set: where keys are few",
    ),
    OptionDef::new(
        "table.optimizer.distinct-agg.split.bucket-num",
        Integer,
        "over how many buckets the distinct values of a key are spread",
    )
    .default("1024"),
    OptionDef::new(
        "table.optimizer.multi-join.enabled",
        Boolean,
        "whether joins on one key become one operator that keeps no results in between",
    )
    .default("false"),
    OptionDef::new("table.optimizer.join-reorder-enabled", Boolean, "accepted").default("false"),
    OptionDef::new(
        "table.optimizer.reuse-source-enabled",
        Boolean,
        "accepted; equal parts of a plan are always shared",
    )
    .default("true"),
    OptionDef::new(
        "table.optimizer.reuse-sub-plan-enabled",
        Boolean,
        "accepted; equal parts of a plan are always shared",
    )
    .default("true"),
    OptionDef::new(
        "table.optimizer.*",
        Text,
        "other optimizer settings of Flink's, accepted",
    ),
    OptionDef::new(
        "table.dml-sync",
        Boolean,
        "accepted; INSERT waits for its job",
    )
    .default("false"),
    OptionDef::new("table.sql-dialect", Enum(&["DEFAULT"]), "the SQL dialect").default("DEFAULT"),
    OptionDef::new(
        "table.column-expansion-strategy",
        Text,
        "which columns * stands for",
    )
    .default(""),
    OptionDef::new(
        "table.dynamic-table-options.enabled",
        Boolean,
        "whether OPTIONS hints may be written",
    )
    .default("true"),
    OptionDef::new(
        "table.display.max-column-width",
        Integer,
        "how wide a column is shown",
    )
    .default("30"),
    OptionDef::new("table.*", Text, "other table settings of Flink's, accepted"),
    OptionDef::new(
        "sql-client.execution.result-mode",
        Enum(&["TABLE", "CHANGELOG", "TABLEAU"]),
        "accepted; --format chooses",
    )
    .default("TABLE"),
    OptionDef::new(
        "sql-client.execution.max-table-result.rows",
        Integer,
        "accepted",
    )
    .default("1000000"),
    OptionDef::new(
        "sql-client.*",
        Text,
        "other settings of Flink's client, accepted",
    ),
    OptionDef::new("rest.*", Text, "accepted"),
    OptionDef::new("jobmanager.*", Text, "accepted"),
    OptionDef::new(
        "taskmanager.memory.process.size",
        MemorySize,
        "accepted; see flott.memory",
    ),
    OptionDef::new("taskmanager.*", Text, "accepted"),
    OptionDef::new("metrics.latency.interval", Double, "accepted"),
];

/// Keys that the engine reads and checks when a job starts.
const JOB_KEYS: &[&str] = &[
    "execution.checkpointing.checkpoints-after-tasks-finish",
    "execution.checkpointing.data-inline-threshold",
    "execution.checkpointing.externalized-checkpoint-retention",
    "execution.checkpointing.num-retained",
    "execution.checkpointing.storage",
    "execution.checkpointing.tolerable-failed-checkpoints",
    "execution.state-recovery.claim-mode",
    "execution.state-recovery.damaged-checkpoint",
    "execution.state-recovery.ignore-unclaimed-state",
    "state.checkpoint-storage",
    "state.checkpoints.num-retained",
];

/// Refuses a value that its key cannot take.
///
/// # Errors
/// A user error that says what the key takes.
pub fn check(key: &str, value: &str) -> Result<()> {
    let Some(def) = all().find(|d| d.covers(key)) else {
        return Ok(());
    };
    let one: Options = [(key.to_string(), value.to_string())].into_iter().collect();
    // Read under the key itself: a pattern's definition covers it.
    let exact = def.key == key;
    match def.option_type {
        Boolean if exact => one.boolean(def).map(|_| ()),
        Integer if exact => one.integer(def).map(|_| ()),
        Duration if exact => one.duration(def).map(|_| ()),
        MemorySize if exact => one.memory_size(def).map(|_| ()),
        Enum(words) if !words.iter().any(|w| w.eq_ignore_ascii_case(value)) => {
            let message = format!(
                "option '{key}' is '{value}'; it takes one of {}",
                words.join(", ")
            );
            Err(Error::user("INVALID_OPTION", message))
        }
        _ if key == LOCAL_TIME_ZONE.key => time_zone(value).map(|_| ()),
        _ => Ok(()),
    }
}

/// What a value means here that says something else in Flink; empty when it means the same.
pub fn meaning(key: &str, value: &str) -> &'static str {
    let value = value.to_ascii_lowercase();
    match key {
        "state.backend.type" | "state.backend" if value.contains("rocksdb") || value == "forst" => {
            "note: there is no RocksDB here; state goes to files as with 'disk'"
        }
        _ => accepted::note(key, value.trim()),
    }
}

/// Every key that is checked.
fn all() -> impl Iterator<Item = &'static OptionDef> + Clone {
    OPTIONS.iter().chain(accepted::OPTIONS)
}

/// The known key that an unknown one is probably meant to be.
pub fn near_miss(key: &str) -> Option<&'static str> {
    let mut accepted = accepted::OPTIONS.iter();
    if accepted.any(|d| d.covers(key)) {
        return None;
    }
    let exact = all().filter(|d| !d.key.ends_with('*'));
    let keys = exact.map(|d| d.key).chain(JOB_KEYS.iter().copied());
    if keys.clone().any(|known| known == key) {
        return None;
    }
    nearest(key, keys)
}

/// A time zone of its name, or of an offset in whole hours (`GMT+08:00`).
///
/// # Errors
/// A user error when there is no such zone.
pub fn time_zone(text: &str) -> Result<Tz> {
    let trimmed = text.trim();
    if trimmed.eq_ignore_ascii_case("default") {
        return Ok(Tz::UTC);
    }
    if let Ok(zone) = trimmed.parse() {
        return Ok(zone);
    }
    offset_zone(trimmed).ok_or_else(|| {
        let message =
            format!("'{text}' is not a time zone; write one such as 'Europe/Berlin' or 'UTC'");
        Error::user("INVALID_TIME_ZONE", message)
    })
}

fn offset_zone(text: &str) -> Option<Tz> {
    let offset = ["GMT", "UTC"].iter().find_map(|p| text.strip_prefix(p));
    let offset = offset.unwrap_or(text);
    let (sign, digits) = match offset.split_at_checked(1)? {
        ("+", digits) => ('-', digits),
        ("-", digits) => ('+', digits),
        _ => return None,
    };
    let hours = digits.strip_suffix(":00").unwrap_or(digits);
    let hours: u8 = hours.parse().ok()?;
    match hours {
        0 => Some(Tz::UTC),
        // The names of these zones have the sign of POSIX, which is the opposite one.
        _ => format!("Etc/GMT{sign}{hours}").parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_checked_by_their_type() {
        assert!(check("execution.runtime-mode", "batch").is_ok());
        assert!(check("execution.runtime-mode", "fast").is_err());
        assert!(check("table.exec.state.ttl", "1 h").is_ok());
        assert!(check("table.exec.state.ttl", "soon").is_err());
        assert!(check("no.such.key", "x").is_ok());
        assert!(check("table.local-time-zone", "Mars/Olympus").is_err());
    }

    #[test]
    fn a_misspelt_key_is_noticed() {
        assert_eq!(
            near_miss("table.exec.state.tll"),
            Some("table.exec.state.ttl")
        );
        assert_eq!(near_miss("table.exec.state.ttl"), None);
        assert_eq!(near_miss("my.own.key"), None);
        let of_jobs = "execution.checkpointing.num-retained";
        assert_eq!(near_miss(of_jobs), None);
        assert_eq!(near_miss(&of_jobs.replace("num", "nun")), Some(of_jobs));
    }

    #[test]
    fn zones_are_names_or_offsets() {
        assert_eq!(
            time_zone("America/Los_Angeles").unwrap().name(),
            "America/Los_Angeles"
        );
        assert_eq!(time_zone("GMT+08:00").unwrap().name(), "Etc/GMT-8");
        assert!(time_zone("nowhere").is_err());
    }

    #[test]
    fn every_key_is_explained() {
        for def in OPTIONS {
            assert!(!def.doc.is_empty(), "{}", def.key);
        }
    }
}
