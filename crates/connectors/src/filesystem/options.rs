//! The options of `filesystem`.

use flott_core::dead_letter::DEAD_LETTER_TABLE;
use flott_core::options::{OptionDef, OptionType};

pub(super) const PATH: OptionDef = OptionDef::new(
    "path",
    OptionType::String,
    "a file, a folder or a pattern such as 'in/*.csv'",
)
.example("visits");
pub(super) const FORMAT: OptionDef =
    OptionDef::new("format", OptionType::String, "how the files are written").example("csv");
pub(super) const LEGACY_PATH: OptionDef = OptionDef::new(
    "connector.path",
    OptionType::String,
    "the old name of 'path'",
)
.example("visits");
pub(super) const LEGACY_FORMAT: OptionDef = OptionDef::new(
    "format.type",
    OptionType::String,
    "the old name of 'format'",
)
.example("csv");
const LEGACY_CONNECTOR: OptionDef = OptionDef::new(
    "connector.type",
    OptionType::String,
    "the old name of 'connector'",
)
.example("filesystem");
pub(super) const MONITOR_INTERVAL: OptionDef = OptionDef::new(
    "source.monitor-interval",
    OptionType::Duration,
    "look for new files this often, for ever; without it what is there is read once",
);
pub(super) const PATH_PATTERN: OptionDef = OptionDef::new(
    "source.path.regex-pattern",
    OptionType::String,
    "read only files whose whole path matches this regular expression",
)
.example(".*/dt=[^/]*/.*");
const REPORT_STATISTICS: OptionDef = OptionDef::new(
    "source.report-statistics",
    OptionType::Enum(&["ALL", "NONE"]),
    "taken for Flink's sake: plans do not depend on the sizes of files",
)
.default("ALL");
pub(super) const DEFAULT_NAME: OptionDef = OptionDef::new(
    "partition.default-name",
    OptionType::String,
    "the folder value that stands for NULL or an empty string",
)
.example("none")
.default("__DEFAULT_PARTITION__");
pub(super) const FILE_SIZE: OptionDef = OptionDef::new(
    "sink.rolling-policy.file-size",
    OptionType::MemorySize,
    "begin another file when one is this large",
)
.default("128MB");
pub(super) const ROLLOVER_INTERVAL: OptionDef = OptionDef::new(
    "sink.rolling-policy.rollover-interval",
    OptionType::Duration,
    "begin another file when one has been open this long",
)
.default("30 min");
pub(super) const CHECK_INTERVAL: OptionDef = OptionDef::new(
    "sink.rolling-policy.check-interval",
    OptionType::Duration,
    "how often the age of open files is looked at",
)
.default("1 min");
pub(super) const AUTO_COMPACTION: OptionDef = OptionDef::new(
    "auto-compaction",
    OptionType::Boolean,
    "put the small files of a checkpoint together before they become visible",
)
.default("false");
pub(super) const COMPACTION_SIZE: OptionDef = OptionDef::new(
    "compaction.file-size",
    OptionType::MemorySize,
    "how large compacted files become; without it, as large as others",
);
pub(super) const COMPACTION_PARALLELISM: OptionDef = OptionDef::new(
    "compaction.parallelism",
    OptionType::Integer,
    "how many files are compacted at the same time; without it, one",
);
pub(super) const COMMIT_TRIGGER: OptionDef = OptionDef::new(
    "sink.partition-commit.trigger",
    OptionType::Enum(&["process-time", "partition-time"]),
    "when a partition is complete: so long after it was begun, or when the watermark has passed its time",
)
.default("process-time");
pub(super) const COMMIT_DELAY: OptionDef = OptionDef::new(
    "sink.partition-commit.delay",
    OptionType::Duration,
    "how much later than its time a partition is complete",
)
.default("0 s");
pub(super) const WATERMARK_ZONE: OptionDef = OptionDef::new(
    "sink.partition-commit.watermark-time-zone",
    OptionType::String,
    "the time zone whose clock shows the times of partitions",
)
.example("Europe/Berlin")
.default("UTC");
pub(super) const COMMIT_POLICY: OptionDef = OptionDef::new(
    "sink.partition-commit.policy.kind",
    OptionType::String,
    "what marks a complete partition: success-file",
)
.example("success-file");
pub(super) const COMMIT_POLICY_CLASS: OptionDef = OptionDef::new(
    "sink.partition-commit.policy.class",
    OptionType::String,
    "refused: classes of Java cannot be run",
)
.example("com.example.Policy");
pub(super) const COMMIT_POLICY_PARAMETERS: OptionDef = OptionDef::new(
    "sink.partition-commit.policy.class.parameters",
    OptionType::String,
    "refused, as the class is",
)
.example("a;b");
pub(super) const SUCCESS_FILE: OptionDef = OptionDef::new(
    "sink.partition-commit.success-file.name",
    OptionType::String,
    "the name of the file that marks a complete partition",
)
.example("_DONE")
.default("_SUCCESS");
pub(super) const EXTRACTOR_KIND: OptionDef = OptionDef::new(
    "partition.time-extractor.kind",
    OptionType::Enum(&["default", "custom"]),
    "how a partition's time is found; 'custom' is refused, for classes of Java cannot be run",
)
.example("default")
.default("default");
pub(super) const EXTRACTOR_CLASS: OptionDef = OptionDef::new(
    "partition.time-extractor.class",
    OptionType::String,
    "refused: classes of Java cannot be run",
)
.example("com.example.Extractor");
pub(super) const TIMESTAMP_PATTERN: OptionDef = OptionDef::new(
    "partition.time-extractor.timestamp-pattern",
    OptionType::String,
    "a partition's time from its values, such as '$dt $hour:00:00'",
)
.example("$dt 00:00:00");
pub(super) const TIMESTAMP_FORMATTER: OptionDef = OptionDef::new(
    "partition.time-extractor.timestamp-formatter",
    OptionType::String,
    "how that time is written, such as 'yyyyMMddHH'; without it 'yyyy-MM-dd HH:mm:ss', or a date alone",
).example("yyyy-MM-dd");
const SHUFFLE: OptionDef = OptionDef::new(
    "sink.shuffle-by-partition.enable",
    OptionType::Boolean,
    "bring the rows of a partition together in one writer",
)
.default("false");
pub(super) const SHUFFLE_BY_PARTITION: OptionDef = SHUFFLE;
pub(super) const PARALLELISM: OptionDef = OptionDef::new(
    "sink.parallelism",
    OptionType::Integer,
    "how many writers there are",
);

/// Every option of the connector but those of formats.
pub(super) const OPTIONS: &[OptionDef] = &[
    PATH,
    FORMAT,
    LEGACY_PATH,
    LEGACY_FORMAT,
    LEGACY_CONNECTOR,
    MONITOR_INTERVAL,
    PATH_PATTERN,
    DEAD_LETTER_TABLE,
    REPORT_STATISTICS,
    DEFAULT_NAME,
    FILE_SIZE,
    ROLLOVER_INTERVAL,
    CHECK_INTERVAL,
    AUTO_COMPACTION,
    COMPACTION_SIZE,
    COMPACTION_PARALLELISM,
    COMMIT_TRIGGER,
    COMMIT_DELAY,
    WATERMARK_ZONE,
    COMMIT_POLICY,
    COMMIT_POLICY_CLASS,
    COMMIT_POLICY_PARAMETERS,
    SUCCESS_FILE,
    EXTRACTOR_KIND,
    EXTRACTOR_CLASS,
    TIMESTAMP_PATTERN,
    TIMESTAMP_FORMATTER,
    SHUFFLE,
    PARALLELISM,
];
