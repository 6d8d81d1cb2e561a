//! What a job's configuration says about checkpoints and restarts.

use std::time::Duration;

use flott_core::options::{OptionDef, OptionType, Options};
use flott_core::{Error, Result};

use crate::restart::RestartStrategy;
use OptionType::{Boolean, Double, Duration as Time, Enum, Integer, MemorySize, String as Text};

const INTERVAL: OptionDef = OptionDef::new(
    "execution.checkpointing.interval",
    Time,
    "time between checkpoints; without it there are none",
);
const MODE: OptionDef = OptionDef::new(
    "execution.checkpointing.mode",
    Enum(&["EXACTLY_ONCE", "AT_LEAST_ONCE"]),
    "accepted; a restore always gives every row once",
)
.default("EXACTLY_ONCE");
const TIMEOUT: OptionDef = OptionDef::new(
    "execution.checkpointing.timeout",
    Time,
    "when a checkpoint is given up",
)
.default("10 min");
const MIN_PAUSE: OptionDef = OptionDef::new(
    "execution.checkpointing.min-pause",
    Time,
    "least time between the end of a checkpoint and the next",
)
.default("0 ms");
const MAX_CONCURRENT: OptionDef = OptionDef::new(
    "execution.checkpointing.max-concurrent-checkpoints",
    Integer,
    "accepted; there is one at a time",
)
.default("1");
const TOLERABLE_FAILURES: OptionDef = OptionDef::new(
    "execution.checkpointing.tolerable-failed-checkpoints",
    Integer,
    "so many checkpoints may fail in a row before the job does",
)
.default("0");
const NUM_RETAINED: OptionDef = OptionDef::new(
    "execution.checkpointing.num-retained",
    Integer,
    "complete checkpoints that are kept",
)
.default("1");
const RETENTION: OptionDef = OptionDef::new(
    "execution.checkpointing.externalized-checkpoint-retention",
    Enum(&[
        "NO_EXTERNALIZED_CHECKPOINTS",
        "DELETE_ON_CANCELLATION",
        "RETAIN_ON_CANCELLATION",
    ]),
    "whether checkpoints are kept when the job is cancelled",
)
.default("NO_EXTERNALIZED_CHECKPOINTS");
const STORAGE: OptionDef = OptionDef::new(
    "execution.checkpointing.storage",
    Enum(&["jobmanager", "filesystem"]),
    "in memory, or in a folder; the default goes by the folder",
);
const DIR: OptionDef = OptionDef::new(
    "execution.checkpointing.dir",
    Text,
    "the folder for checkpoints: file:///… or s3://…",
);
const SAVEPOINT_DIR: OptionDef = OptionDef::new(
    "execution.checkpointing.savepoint-dir",
    Text,
    "the folder for savepoints",
);
const AFTER_TASKS_FINISH: OptionDef = OptionDef::new(
    "execution.checkpointing.checkpoints-after-tasks-finish",
    Boolean,
    "whether there are checkpoints once some of the input has ended",
)
.default("true");
const INLINE: OptionDef = OptionDef::new(
    "execution.checkpointing.data-inline-threshold",
    MemorySize,
    "state of at most so many bytes is kept in the manifest",
)
.default("20 kb");
const RECOVERY_PATH: OptionDef = OptionDef::new(
    "execution.state-recovery.path",
    Text,
    "the savepoint or checkpoint that the job starts from",
);
const IGNORE_UNCLAIMED: OptionDef = OptionDef::new(
    "execution.state-recovery.ignore-unclaimed-state",
    Boolean,
    "whether state that no operator of the job claims may be dropped",
)
.default("false");
const DAMAGED: OptionDef = OptionDef::new(
    "execution.state-recovery.damaged-checkpoint",
    Enum(&["RETRACT", "REPEAT", "FAIL"]),
    "when the newest checkpoint cannot be read: go on from the one before and take back what was committed since (a job whose sinks cannot do that is refused), go on and have it twice, or fail",
)
.default("RETRACT");
const CLAIM_MODE: OptionDef = OptionDef::new(
    "execution.state-recovery.claim-mode",
    Enum(&["NO_CLAIM", "CLAIM"]),
    "accepted; the savepoint stays its owner's",
)
.default("NO_CLAIM");
pub(crate) const RESTART_TYPE: OptionDef = OptionDef::new(
    "restart-strategy.type",
    Text,
    "what happens after a failure: none, fixed-delay, failure-rate or exponential-delay",
);
pub(crate) const FIXED_ATTEMPTS: OptionDef = OptionDef::new(
    "restart-strategy.fixed-delay.attempts",
    Integer,
    "restarts before the job fails",
)
.default("1");
pub(crate) const FIXED_DELAY: OptionDef = OptionDef::new(
    "restart-strategy.fixed-delay.delay",
    Time,
    "time before a restart",
)
.default("1 s");
pub(crate) const RATE_DELAY: OptionDef = OptionDef::new(
    "restart-strategy.failure-rate.delay",
    Time,
    "time before a restart",
)
.default("1 s");
pub(crate) const RATE_INTERVAL: OptionDef = OptionDef::new(
    "restart-strategy.failure-rate.failure-rate-interval",
    Time,
    "the time in which failures are counted",
)
.default("1 min");
pub(crate) const RATE_FAILURES: OptionDef = OptionDef::new(
    "restart-strategy.failure-rate.max-failures-per-interval",
    Integer,
    "failures in that time before the job fails",
)
.default("1");
pub(crate) const BACKOFF_INITIAL: OptionDef = OptionDef::new(
    "restart-strategy.exponential-delay.initial-backoff",
    Time,
    "time before the first restart",
)
.default("1 s");
pub(crate) const BACKOFF_MAX: OptionDef = OptionDef::new(
    "restart-strategy.exponential-delay.max-backoff",
    Time,
    "the most time before a restart",
)
.default("1 min");
pub(crate) const BACKOFF_MULTIPLIER: OptionDef = OptionDef::new(
    "restart-strategy.exponential-delay.backoff-multiplier",
    Double,
    "the factor from one restart to the next",
)
.default("1.5");
pub(crate) const BACKOFF_RESET: OptionDef = OptionDef::new(
    "restart-strategy.exponential-delay.reset-backoff-threshold",
    Time,
    "so long without a failure, and the delay is the first again",
)
.default("1 h");
pub(crate) const BACKOFF_JITTER: OptionDef = OptionDef::new(
    "restart-strategy.exponential-delay.jitter-factor",
    Double,
    "how far the delay varies, as a part of it",
)
.default("0.1");
pub(crate) const BACKOFF_ATTEMPTS: OptionDef = OptionDef::new(
    "restart-strategy.exponential-delay.attempts-before-reset-backoff",
    Integer,
    "restarts before the job fails",
)
.default("2147483647");

/// Every key that is read here.
pub const OPTIONS: &[OptionDef] = &[
    INTERVAL,
    MODE,
    TIMEOUT,
    MIN_PAUSE,
    MAX_CONCURRENT,
    TOLERABLE_FAILURES,
    NUM_RETAINED,
    RETENTION,
    STORAGE,
    DIR,
    SAVEPOINT_DIR,
    AFTER_TASKS_FINISH,
    INLINE,
    RECOVERY_PATH,
    IGNORE_UNCLAIMED,
    DAMAGED,
    CLAIM_MODE,
    RESTART_TYPE,
    FIXED_ATTEMPTS,
    FIXED_DELAY,
    RATE_DELAY,
    RATE_INTERVAL,
    RATE_FAILURES,
    BACKOFF_INITIAL,
    BACKOFF_MAX,
    BACKOFF_MULTIPLIER,
    BACKOFF_RESET,
    BACKOFF_JITTER,
    BACKOFF_ATTEMPTS,
];

/// The keys of Flink 1 for those of today.
const OLD_KEYS: &[(&str, &str)] = &[
    ("state.checkpoints.dir", "execution.checkpointing.dir"),
    (
        "state.savepoints.dir",
        "execution.checkpointing.savepoint-dir",
    ),
    (
        "state.checkpoints.num-retained",
        "execution.checkpointing.num-retained",
    ),
    (
        "state.checkpoint-storage",
        "execution.checkpointing.storage",
    ),
    (
        "state.storage.fs.memory-threshold",
        "execution.checkpointing.data-inline-threshold",
    ),
    (
        "execution.checkpointing.externalized-checkpoint-retention-mode",
        "execution.checkpointing.externalized-checkpoint-retention",
    ),
    ("execution.savepoint.path", "execution.state-recovery.path"),
    (
        "execution.savepoint.ignore-unclaimed-state",
        "execution.state-recovery.ignore-unclaimed-state",
    ),
    ("restart-strategy", "restart-strategy.type"),
];

/// When checkpoints are taken and what they may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointConfig {
    /// `None`: only when asked.
    pub interval: Option<Duration>,
    pub timeout: Duration,
    pub min_pause: Duration,
    /// Failures in a row beyond this fail the job.
    pub num_tolerable_failures: u64,
    /// Complete checkpoints that are kept.
    pub num_retained: usize,
    /// Whether they are kept when the job is cancelled.
    pub retain_on_cancellation: bool,
    /// Whether there are checkpoints once some of the input has ended.
    pub after_tasks_finish: bool,
    /// Encoded rows of at most so many bytes are kept in the manifest.
    pub inline_bytes: usize,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self {
            interval: None,
            timeout: Duration::from_secs(600),
            min_pause: Duration::ZERO,
            num_tolerable_failures: 0,
            num_retained: 1,
            retain_on_cancellation: false,
            after_tasks_finish: true,
            inline_bytes: 20 << 10,
        }
    }
}

/// What becomes of a job whose newest checkpoint cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDamage {
    /// It goes on from an older one, and sinks take back what was committed since.
    #[default]
    Retract,
    /// It goes on from an older one; output since comes twice.
    Repeat,
    /// It fails.
    Fail,
}

/// Everything that a job's configuration says about its durability.
#[derive(Debug, Clone, PartialEq)]
pub struct DurabilityConfig {
    pub checkpoints: CheckpointConfig,
    /// The folder for checkpoints; `None` keeps them in memory.
    pub dir: Option<String>,
    pub savepoint_dir: Option<String>,
    /// The savepoint or checkpoint to start from.
    pub recovery_path: Option<String>,
    pub ignores_unclaimed_state: bool,
    pub on_damage: OnDamage,
    pub restart: RestartStrategy,
}

impl DurabilityConfig {
    /// Reads a job's configuration.
    ///
    /// # Errors
    /// A user error that names the key and what it takes.
    pub fn from_options(options: &Options) -> Result<Self> {
        let options = &with_todays_keys(options);
        let time = |def: &OptionDef| -> Result<Duration> {
            Ok(options.duration(def)?.unwrap_or_default())
        };
        let interval = options.duration(&INTERVAL)?.filter(|i| !i.is_zero());
        word(options, &MODE)?;
        word(options, &CLAIM_MODE)?;
        let retention = word(options, &RETENTION)?;
        let checkpoints = CheckpointConfig {
            interval,
            timeout: time(&TIMEOUT)?,
            min_pause: time(&MIN_PAUSE)?,
            // Flink's -1 is 0, too.
            num_tolerable_failures: options.integer(&TOLERABLE_FAILURES)?.unwrap_or(0).max(0)
                as u64,
            num_retained: positive(options, &NUM_RETAINED)?,
            retain_on_cancellation: retention.as_deref() == Some("RETAIN_ON_CANCELLATION"),
            after_tasks_finish: options.boolean(&AFTER_TASKS_FINISH)?.unwrap_or(true),
            inline_bytes: options.memory_size(&INLINE)?.unwrap_or(0).min(1 << 20) as usize,
        };
        let on_damage = match word(options, &DAMAGED)?.as_deref() {
            Some("REPEAT") => OnDamage::Repeat,
            Some("FAIL") => OnDamage::Fail,
            _ => OnDamage::Retract,
        };
        let storage = word(options, &STORAGE)?;
        let dir = options.text(&DIR).map(str::to_owned);
        if storage.as_deref() == Some("filesystem") && dir.is_none() {
            return Err(Error::user(
                "MISSING_OPTION",
                "'execution.checkpointing.storage' = 'filesystem' needs 'execution.checkpointing.dir'",
            ));
        }
        Ok(Self {
            restart: RestartStrategy::from_options(options, interval.is_some())?,
            checkpoints,
            dir: dir.filter(|_| storage.as_deref() != Some("jobmanager")),
            savepoint_dir: options.text(&SAVEPOINT_DIR).map(str::to_owned),
            recovery_path: options.text(&RECOVERY_PATH).map(str::to_owned),
            ignores_unclaimed_state: options.boolean(&IGNORE_UNCLAIMED)?.unwrap_or(false),
            on_damage,
        })
    }
}

/// Old keys renamed, where the new one is not set.
fn with_todays_keys(options: &Options) -> Options {
    let mut renamed = options.clone();
    for (old, new) in OLD_KEYS {
        if let Some(value) = options.get(old)
            && options.get(new).is_none()
        {
            renamed.set(*new, value);
        }
    }
    renamed
}

/// A word of an option's list, as the list writes it.
fn word(options: &Options, def: &OptionDef) -> Result<Option<String>> {
    let Some(text) = options.text(def) else {
        return Ok(None);
    };
    let Enum(words) = def.option_type else {
        return Ok(Some(text.to_string()));
    };
    let known = words.iter().find(|w| w.eq_ignore_ascii_case(text.trim()));
    match known {
        Some(word) => Ok(Some((*word).to_string())),
        None => Err(Error::user(
            "INVALID_OPTION",
            format!(
                "option '{}' is '{text}'; it takes one of {}",
                def.key,
                words.join(", ")
            ),
        )),
    }
}

fn positive(options: &Options, def: &OptionDef) -> Result<usize> {
    match options.integer(def)? {
        Some(n) if n < 1 => Err(Error::user(
            "INVALID_OPTION",
            format!("option '{}' is '{n}'; it takes a positive number", def.key),
        )),
        n => Ok(n.unwrap_or(1) as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Result<DurabilityConfig> {
        let pairs = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string()));
        DurabilityConfig::from_options(&pairs.collect())
    }

    #[test]
    fn without_keys_there_are_no_checkpoints_and_no_restarts() {
        let config = config(&[]).unwrap();
        assert_eq!(config.checkpoints, CheckpointConfig::default());
        assert_eq!(config.restart, RestartStrategy::None);
        assert_eq!(config.dir, None);
    }

    #[test]
    fn old_keys_count_where_the_new_ones_are_not_set() {
        let config = config(&[
            ("state.checkpoints.dir", "file:///old"),
            ("state.savepoints.dir", "file:///sp"),
            ("execution.checkpointing.interval", "5 s"),
            ("execution.checkpointing.num-retained", "3"),
            ("state.checkpoints.num-retained", "7"),
        ])
        .unwrap();
        assert_eq!(config.dir.as_deref(), Some("file:///old"));
        assert_eq!(config.savepoint_dir.as_deref(), Some("file:///sp"));
        assert_eq!(config.checkpoints.interval, Some(Duration::from_secs(5)));
        assert_eq!(config.checkpoints.num_retained, 3);
        assert!(matches!(
            config.restart,
            RestartStrategy::ExponentialDelay { .. }
        ));
    }

    #[test]
    fn wrong_values_are_named() {
        let wrong = [
            ("execution.checkpointing.mode", "TWICE"),
            ("execution.checkpointing.interval", "often"),
            ("execution.checkpointing.num-retained", "0"),
            ("restart-strategy.type", "maybe"),
            ("restart-strategy.exponential-delay.jitter-factor", "much"),
        ];
        for (key, value) in wrong {
            let pairs = [(key, value), ("execution.checkpointing.interval", "1 s")];
            let pairs = if key.ends_with("interval") {
                &pairs[..1]
            } else {
                &pairs[..]
            };
            let error = config(pairs).unwrap_err();
            assert!(error.message().contains(key), "{error}");
            assert!(error.message().contains(value), "{error}");
        }
    }

    #[test]
    fn every_option_is_documented() {
        for option in OPTIONS {
            assert!(!option.doc.is_empty(), "{}", option.key);
        }
    }
}
