//! When a partition is complete, and how that is marked.

use flott_core::options::Options;
use flott_core::time::{MAX_WATERMARK, MIN_WATERMARK};
use flott_core::{Error, Result};

use super::options;

/// What completes a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Trigger {
    /// The processing time at which it was begun, and the delay.
    ProcessTime,
    /// The watermark has passed the time that its values name, and the delay.
    PartitionTime { pattern: Option<String> },
}

/// The options `sink.partition-commit.*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PartitionCommitPolicy {
    trigger: Trigger,
    delay_ms: i64,
    /// The name of the file that marks a complete partition.
    pub success_file: String,
}

impl PartitionCommitPolicy {
    /// `None` when partitions are not marked.
    pub fn new(table: &Options) -> Result<Option<Self>> {
        let Some(kinds) = table.get(options::COMMIT_POLICY.key) else {
            return Ok(None);
        };
        if let Some(other) = kinds
            .split(',')
            .map(str::trim)
            .find(|k| *k != "success-file")
        {
            let message = format!(
                "option '{}' names '{other}'; there is: success-file",
                options::COMMIT_POLICY.key
            );
            return Err(Error::user("INVALID_OPTION", message));
        }
        let zone = table.text(&options::WATERMARK_ZONE).unwrap_or("UTC");
        if zone != "UTC" {
            let message = format!(
                "option '{}' is '{zone}'; only UTC is supported so far",
                options::WATERMARK_ZONE.key
            );
            return Err(Error::user("INVALID_OPTION", message));
        }
        let is_partition_time = table
            .text(&options::COMMIT_TRIGGER)
            .is_some_and(|t| t.eq_ignore_ascii_case("partition-time"));
        let pattern = table.get(options::TIMESTAMP_PATTERN.key).map(String::from);
        let delay = table.duration(&options::COMMIT_DELAY)?.unwrap_or_default();
        let success_file = table.text(&options::SUCCESS_FILE).unwrap_or("_SUCCESS");
        Ok(Some(Self {
            trigger: match is_partition_time {
                true => Trigger::PartitionTime { pattern },
                false => Trigger::ProcessTime,
            },
            delay_ms: delay.as_millis() as i64,
            success_file: success_file.to_string(),
        }))
    }

    /// The time to wait for, in ms: of the watermark or of the clock.
    ///
    /// # Errors
    /// A user error when a partition's values name no time.
    pub fn due_ms(&self, keys: &[String], values: &[Option<String>], now_ms: i64) -> Result<i64> {
        let begun = match &self.trigger {
            Trigger::ProcessTime => now_ms,
            Trigger::PartitionTime { pattern } => partition_time(pattern.as_deref(), keys, values)?,
        };
        Ok(begun.saturating_add(self.delay_ms))
    }

    /// Whether a partition of this due time is complete.
    pub fn is_due(&self, due_ms: i64, now_ms: i64, watermark: i64) -> bool {
        match self.trigger {
            Trigger::ProcessTime => now_ms >= due_ms,
            Trigger::PartitionTime { .. } => {
                watermark == MAX_WATERMARK || (watermark != MIN_WATERMARK && watermark > due_ms)
            }
        }
    }
}

/// The time that partition values name, in ms.
fn partition_time(
    pattern: Option<&str>,
    keys: &[String],
    values: &[Option<String>],
) -> Result<i64> {
    let value = |index: usize| values.get(index).and_then(|v| v.as_deref()).unwrap_or("");
    let text = match pattern {
        None => value(0).to_string(),
        Some(pattern) => {
            // Longer names first: `$day` must not be taken for `$d` and `ay`.
            let mut order: Vec<usize> = (0..keys.len()).collect();
            order.sort_by_key(|&i| std::cmp::Reverse(keys[i].len()));
            order.iter().fold(pattern.to_string(), |text, &i| {
                text.replace(&format!("${}", keys[i]), value(i))
            })
        }
    };
    let with_time = match text.trim() {
        date if date.len() <= 10 => format!("{date} 00:00:00"),
        full => full.to_string(),
    };
    flott_formats::parse_sql_timestamp_ms(&with_time).ok_or_else(|| {
        let message = format!(
            "'{text}' is no time of a partition; set '{}' so that it gives 'yyyy-MM-dd HH:mm:ss'",
            options::TIMESTAMP_PATTERN.key
        );
        Error::user("PARTITION_TIME", message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_values_name_a_time() {
        let keys = ["dt".to_string(), "d".to_string()];
        let values = [Some("2024-03-01".to_string()), Some("10".to_string())];
        let time = |pattern| partition_time(pattern, &keys, &values).unwrap();
        assert_eq!(time(None), 1_709_251_200_000);
        assert_eq!(time(Some("$dt $d:00:00")), 1_709_287_200_000);
        assert!(partition_time(Some("$d"), &keys, &values).is_err());
    }
}
