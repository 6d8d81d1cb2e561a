//! When a partition is complete, and how that is marked.

use flott_core::options::{OptionDef, Options};
use flott_core::text::parse_timestamp;
use flott_core::text::pattern::{Dialect, Pattern};
use flott_core::text::zone::ZoneCursor;
use flott_core::time::{MAX_WATERMARK, MIN_WATERMARK};
use flott_core::{Error, Result};

use super::options;

/// How a partition's time is found.
#[derive(Debug, Clone)]
struct TimeExtractor {
    /// Puts the partition's values together; without it the first value is the time.
    pattern: Option<String>,
    /// Reads what has been put together; without it `yyyy-MM-dd[ HH:mm:ss]` is read.
    formatter: Option<Pattern>,
    /// Whose clock shows that time.
    zone: ZoneCursor,
}

/// What completes a partition.
#[derive(Debug, Clone)]
enum Trigger {
    /// The processing time at which it was begun, and the delay.
    ProcessTime,
    /// The watermark has passed the time that its values name, and the delay.
    PartitionTime(TimeExtractor),
}

/// The options `sink.partition-commit.*` and `partition.time-extractor.*`.
#[derive(Debug, Clone)]
pub(super) struct PartitionCommitPolicy {
    trigger: Trigger,
    delay_ms: i64,
    /// The name of the file that marks a complete partition.
    pub success_file: String,
}

/// Refuses what asks for code or services of Flink's own.
fn check_supported(table: &Options) -> Result<()> {
    let refuse = |def: &OptionDef, value: &str, reason: &str| {
        let message = format!("option '{}' is '{value}'; {reason}", def.key);
        Err(Error::user("UNSUPPORTED_OPTION", message))
    };
    for def in [
        &options::COMMIT_POLICY_CLASS,
        &options::COMMIT_POLICY_PARAMETERS,
        &options::EXTRACTOR_CLASS,
    ] {
        if let Some(class) = table.get(def.key) {
            return refuse(def, class, "classes of Java cannot be run here");
        }
    }
    let extractor = table.text(&options::EXTRACTOR_KIND).unwrap_or("default");
    if !extractor.eq_ignore_ascii_case("default") {
        let reason = "there is only 'default'; put the time together with \
                      'partition.time-extractor.timestamp-pattern'";
        return refuse(&options::EXTRACTOR_KIND, extractor, reason);
    }
    let kinds = table.get(options::COMMIT_POLICY.key).unwrap_or_default();
    for kind in kinds.split(',').map(str::trim) {
        let reason = match kind.to_ascii_lowercase().as_str() {
            "" | "success-file" => continue,
            "metastore" => "'metastore' is for tables of Hive; there is: success-file",
            "custom" => "'custom' names a class of Java; there is: success-file",
            _ => "there is: success-file",
        };
        return refuse(&options::COMMIT_POLICY, kind, reason);
    }
    Ok(())
}

impl TimeExtractor {
    fn new(table: &Options) -> Result<Self> {
        let zone = table.text(&options::WATERMARK_ZONE).unwrap_or("UTC");
        let unknown = || {
            let key = options::WATERMARK_ZONE.key;
            let message =
                format!("option '{key}' is '{zone}'; it takes a time zone such as 'Europe/Berlin'");
            Error::user("INVALID_OPTION", message)
        };
        let formatter = table.get(options::TIMESTAMP_FORMATTER.key);
        let formatter = formatter.map(|text| Pattern::compile(text, Dialect::Strict));
        let context = || format!("option '{}'", options::TIMESTAMP_FORMATTER.key);
        Ok(Self {
            pattern: table.get(options::TIMESTAMP_PATTERN.key).map(String::from),
            formatter: formatter.transpose().map_err(|e| e.context(context()))?,
            zone: ZoneCursor::named(zone).ok_or_else(unknown)?,
        })
    }

    /// The time that partition values name, in ms since 1970 in UTC.
    fn time_ms(&self, keys: &[String], values: &[Option<String>]) -> Result<i64> {
        let value = |index: usize| values.get(index).and_then(|v| v.as_deref()).unwrap_or("");
        let text = match &self.pattern {
            None => value(0).to_string(),
            Some(pattern) => {
                // Longer names first: `$day` must not be taken for `$d` and `ay`.
                let mut order: Vec<usize> = (0..keys.len()).collect();
                order.sort_by_key(|&i| std::cmp::Reverse(keys[i].len()));
                order.iter().fold(pattern.clone(), |text, &i| {
                    text.replace(&format!("${}", keys[i]), value(i))
                })
            }
        };
        let shown = match &self.formatter {
            None => parse_timestamp(text.trim(), 3),
            Some(formatter) => formatter
                .parse(&text)
                .map(|(seconds, nanos)| seconds * 1000 + i64::from(nanos / 1_000_000)),
        };
        let shown = shown.ok_or_else(|| {
            let message = format!(
                "'{text}' is no time of a partition; set '{}' so that it gives \
                 'yyyy-MM-dd HH:mm:ss', or '{}' to how it is written",
                options::TIMESTAMP_PATTERN.key,
                options::TIMESTAMP_FORMATTER.key
            );
            Error::user("PARTITION_TIME", message)
        })?;
        Ok(self.zone.clone().to_utc(shown, 1000))
    }
}

impl PartitionCommitPolicy {
    /// `None` when partitions are not marked.
    ///
    /// # Errors
    /// A user error for a wrong value, or one that only Flink itself can do.
    pub fn new(table: &Options) -> Result<Option<Self>> {
        check_supported(table)?;
        if table.get(options::COMMIT_POLICY.key).is_none() {
            return Ok(None);
        }
        let trigger = table.text(&options::COMMIT_TRIGGER).unwrap_or_default();
        let delay = table.duration(&options::COMMIT_DELAY)?.unwrap_or_default();
        let success_file = table.text(&options::SUCCESS_FILE).unwrap_or("_SUCCESS");
        Ok(Some(Self {
            trigger: match trigger.eq_ignore_ascii_case("partition-time") {
                true => Trigger::PartitionTime(TimeExtractor::new(table)?),
                false => Trigger::ProcessTime,
            },
            delay_ms: delay.as_millis() as i64,
            success_file: success_file.to_string(),
        }))
    }

    /// Whether the watermark decides, which has to be that of all rows then.
    pub fn needs_watermark(&self) -> bool {
        matches!(self.trigger, Trigger::PartitionTime(_))
    }

    /// The time to wait for, in ms: of the watermark or of the clock.
    ///
    /// # Errors
    /// A user error when a partition's values name no time.
    pub fn due_ms(&self, keys: &[String], values: &[Option<String>], now_ms: i64) -> Result<i64> {
        let begun = match &self.trigger {
            Trigger::ProcessTime => now_ms,
            Trigger::PartitionTime(extractor) => extractor.time_ms(keys, values)?,
        };
        Ok(begun.saturating_add(self.delay_ms))
    }

    /// Whether a partition of this due time is complete.
    pub fn is_due(&self, due_ms: i64, now_ms: i64, watermark: i64) -> bool {
        match self.trigger {
            Trigger::ProcessTime => now_ms >= due_ms,
            Trigger::PartitionTime(_) => {
                watermark == MAX_WATERMARK || (watermark != MIN_WATERMARK && watermark > due_ms)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(options: &[(&str, &str)]) -> Result<Option<PartitionCommitPolicy>> {
        let kind = [
            ("sink.partition-commit.policy.kind", "success-file"),
            ("sink.partition-commit.trigger", "partition-time"),
        ];
        let options = kind.iter().chain(options);
        let options = options.map(|(key, value)| (key.to_string(), value.to_string()));
        PartitionCommitPolicy::new(&options.collect())
    }

    fn due(options: &[(&str, &str)], dt: &str, hour: &str) -> Result<i64> {
        let keys = ["dt".to_string(), "d".to_string()];
        let values = [Some(dt.to_string()), Some(hour.to_string())];
        policy(options)?.unwrap().due_ms(&keys, &values, 0)
    }

    const PATTERN: &str = "partition.time-extractor.timestamp-pattern";
    const FORMATTER: &str = "partition.time-extractor.timestamp-formatter";

    #[test]
    fn partition_values_name_a_time() {
        let midnight = 1_709_251_200_000;
        assert_eq!(due(&[], "2024-03-01", "10").unwrap(), midnight);
        let by_hour = (PATTERN, "$dt $d:00:00");
        assert_eq!(
            due(&[by_hour], "2024-03-01", "10").unwrap(),
            midnight + 36_000_000
        );
        assert_eq!(
            due(&[by_hour], "2024-3-1", "1").unwrap(),
            midnight + 3_600_000
        );
        assert!(due(&[(PATTERN, "$d")], "2024-03-01", "x").is_err());
    }

    #[test]
    fn a_formatter_says_how_the_time_is_written() {
        let written = [(PATTERN, "$dt$d"), (FORMATTER, "yyyyMMddHH")];
        assert_eq!(due(&written, "20240301", "10").unwrap(), 1_709_287_200_000);
        let day = [(FORMATTER, "dd.MM.yyyy")];
        assert_eq!(due(&day, "01.03.2024", "").unwrap(), 1_709_251_200_000);
        assert_eq!(
            due(&day, "2024-03-01", "").unwrap_err().code(),
            "PARTITION_TIME"
        );
        assert!(due(&[(FORMATTER, "bogus")], "2024-03-01", "").is_err());
    }

    #[test]
    fn times_are_those_of_the_zone_and_the_delay_comes_on_top() {
        let options = [
            ("sink.partition-commit.watermark-time-zone", "Asia/Shanghai"),
            ("sink.partition-commit.delay", "1 h"),
        ];
        let due = due(&options, "2024-03-01", "").unwrap();
        assert_eq!(due, 1_709_251_200_000 - 8 * 3_600_000 + 3_600_000);
        let policy = policy(&options).unwrap().unwrap();
        assert!(!policy.is_due(due, i64::MAX, MIN_WATERMARK));
        assert!(!policy.is_due(due, i64::MAX, due));
        assert!(policy.is_due(due, 0, due + 1));
        assert!(policy.is_due(due, 0, MAX_WATERMARK));
    }

    #[test]
    fn what_needs_java_is_refused_with_the_reason() {
        for (option, value, reason) in [
            (
                "sink.partition-commit.policy.kind",
                "metastore,success-file",
                "Hive",
            ),
            (
                "sink.partition-commit.policy.kind",
                "custom",
                "class of Java",
            ),
            (
                "sink.partition-commit.policy.class",
                "com.example.P",
                "Java",
            ),
            (
                "sink.partition-commit.policy.class.parameters",
                "a;b",
                "Java",
            ),
            ("partition.time-extractor.kind", "custom", "only 'default'"),
            ("partition.time-extractor.class", "com.example.E", "Java"),
        ] {
            let error = policy(&[(option, value)]).unwrap_err();
            assert_eq!(error.code(), "UNSUPPORTED_OPTION");
            assert!(error.message().contains(reason), "{error}");
            assert!(error.message().contains(option), "{error}");
        }
        let zone = [("sink.partition-commit.watermark-time-zone", "Mars")];
        assert_eq!(policy(&zone).unwrap_err().code(), "INVALID_OPTION");
    }
}
