//! Where reading begins and ends: `scan.startup.*` and `scan.bounded.*`.

use std::collections::BTreeMap;
use std::time::Duration;

use flott_core::options::{OptionDef, Options};
use flott_core::{Error, Result};
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use super::discovery::Asker;
use super::options::{
    BOUNDED_MODE, BOUNDED_OFFSETS, BOUNDED_TIMESTAMP, GROUP_ID, STARTUP_MODE, STARTUP_OFFSETS,
    STARTUP_TIMESTAMP,
};
use super::properties::kafka_error;
use super::split::TopicPartition;

/// How long a broker may take to answer a question.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);

/// A place in every partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OffsetRule {
    Earliest,
    Latest,
    /// What the group has committed, and where to begin when that is nothing.
    Group {
        otherwise: Option<bool>,
    },
    /// The first message not older than this, in ms.
    Timestamp(i64),
    Specific(BTreeMap<i32, i64>),
}

fn invalid(key: &str, value: &str, wanted: &str) -> Error {
    let message = format!("option '{key}' is '{value}'; it takes {wanted}");
    Error::user("INVALID_OPTION", message)
}

impl OffsetRule {
    /// Where reading begins.
    pub fn startup(options: &Options) -> Result<Self> {
        let mode = options.text(&STARTUP_MODE).unwrap_or_default();
        let rule = Self::parse(options, mode, &STARTUP_OFFSETS, &STARTUP_TIMESTAMP)?;
        // A group without a name has committed nothing: as in Flink, that is where the reset begins.
        let is_lost = matches!(rule, Self::Group { otherwise: None });
        if is_lost && options.get(GROUP_ID.key).is_none() {
            return Err(Error::user(
                "MISSING_OPTION",
                "'scan.startup.mode' = 'group-offsets' needs 'properties.group.id' or \
                 'properties.auto.offset.reset'; or set 'scan.startup.mode' to 'earliest-offset' \
                 or 'latest-offset'",
            ));
        }
        Ok(rule)
    }

    /// Where reading ends; `None` for never.
    pub fn bounded(options: &Options) -> Result<Option<Self>> {
        let mode = options.text(&BOUNDED_MODE).unwrap_or_default();
        if mode.eq_ignore_ascii_case("unbounded") {
            return Ok(None);
        }
        Self::parse(options, mode, &BOUNDED_OFFSETS, &BOUNDED_TIMESTAMP).map(Some)
    }

    fn parse(
        options: &Options,
        mode: &str,
        offsets: &OptionDef,
        timestamp: &OptionDef,
    ) -> Result<Self> {
        let needed = |def: &OptionDef| {
            let message = format!("mode '{mode}' needs the option '{}' ({})", def.key, def.doc);
            Error::user("MISSING_OPTION", message)
        };
        Ok(match mode.to_ascii_lowercase().as_str() {
            "earliest-offset" => Self::Earliest,
            "latest-offset" => Self::Latest,
            "timestamp" => Self::Timestamp(
                options
                    .integer(timestamp)?
                    .ok_or_else(|| needed(timestamp))?,
            ),
            "specific-offsets" => {
                let text = options.get(offsets.key).ok_or_else(|| needed(offsets))?;
                Self::Specific(specific_offsets(offsets.key, text)?)
            }
            _ => Self::Group {
                otherwise: otherwise(options)?,
            },
        })
    }

    /// What `auto.offset.reset` is unless the table says it: a rule that begins at one end stays
    /// there, the others fail rather than lose messages.
    pub fn reset(&self) -> &'static str {
        match self {
            Self::Earliest | Self::Specific(_) => "earliest",
            Self::Latest => "latest",
            Self::Group { .. } | Self::Timestamp(_) => "error",
        }
    }

    /// The offset of this rule in each partition, asked of the brokers.
    ///
    /// # Errors
    /// A user error when the group has committed nothing and the table does not say what then; an
    /// external one when a broker does not answer.
    pub fn resolve(&self, consumer: &Asker, places: &[TopicPartition]) -> Result<Vec<i64>> {
        match self {
            Self::Earliest => each(places, |p| Ok(watermarks(consumer, p)?.0)),
            Self::Latest => each(places, |p| Ok(watermarks(consumer, p)?.1)),
            Self::Timestamp(time_ms) => by_time(consumer, places, *time_ms),
            Self::Group { otherwise } => by_group(consumer, places, *otherwise),
            Self::Specific(offsets) => {
                let given = |p: &TopicPartition| offsets.get(&p.partition).copied();
                let rest: Vec<_> = places
                    .iter()
                    .filter(|p| given(p).is_none())
                    .cloned()
                    .collect();
                // As in Flink: partitions that are not named go on where the group is.
                let mut of_rest = by_group(consumer, &rest, Some(true))?.into_iter();
                Ok(places
                    .iter()
                    .map(|p| given(p).or_else(|| of_rest.next()).unwrap_or(0))
                    .collect())
            }
        }
    }
}

fn each(
    places: &[TopicPartition],
    of: impl Fn(&TopicPartition) -> Result<i64>,
) -> Result<Vec<i64>> {
    places.iter().map(of).collect()
}

/// The first offset, and the one behind the last.
fn watermarks(consumer: &Asker, place: &TopicPartition) -> Result<(i64, i64)> {
    consumer
        .fetch_watermarks(&place.topic, place.partition, QUESTION_TIMEOUT)
        .map_err(|e| failed(place, &e))
}

fn failed(place: &TopicPartition, error: &KafkaError) -> Error {
    let what = format!(
        "offsets of topic '{}' partition {}",
        place.topic, place.partition
    );
    kafka_error(what, error)
}

fn list(places: &[TopicPartition], offset: Offset) -> Result<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(places.len());
    for place in places {
        list.add_partition_offset(&place.topic, place.partition, offset)
            .map_err(|e| failed(place, &e))?;
    }
    Ok(list)
}

/// The offsets of an answer; `None` where it has none.
fn offsets_of(answer: &TopicPartitionList, places: &[TopicPartition]) -> Result<Vec<Option<i64>>> {
    let of = |place: &TopicPartition| {
        let Some(element) = answer.find_partition(&place.topic, place.partition) else {
            return Ok(None);
        };
        element.error().map_err(|e| failed(place, &e))?;
        Ok(match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        })
    };
    places.iter().map(of).collect()
}

fn by_time(consumer: &Asker, places: &[TopicPartition], time_ms: i64) -> Result<Vec<i64>> {
    let asked = list(places, Offset::Offset(time_ms))?;
    let answer = consumer
        .offsets_for_times(asked, QUESTION_TIMEOUT)
        .map_err(|e| kafka_error("offsets by time", &e))?;
    let found = offsets_of(&answer, places)?;
    let all = places.iter().zip(found);
    // All messages are older: what comes next.
    all.map(|(place, offset)| match offset {
        Some(offset) => Ok(offset),
        None => Ok(watermarks(consumer, place)?.1),
    })
    .collect()
}

fn by_group(
    consumer: &Asker,
    places: &[TopicPartition],
    otherwise: Option<bool>,
) -> Result<Vec<i64>> {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let answer = consumer
        .committed_offsets(list(places, Offset::Invalid)?, QUESTION_TIMEOUT)
        .map_err(|e| kafka_error("committed offsets", &e))?;
    let found = offsets_of(&answer, places)?;
    let all = places.iter().zip(found);
    all.map(|(place, offset)| match (offset, otherwise) {
        (Some(offset), _) => Ok(offset),
        (None, Some(true)) => Ok(watermarks(consumer, place)?.0),
        (None, Some(false)) => Ok(watermarks(consumer, place)?.1),
        (None, None) => Err(Error::user(
            "NO_COMMITTED_OFFSET",
            format!(
                "the group has committed no offset for topic '{}' partition {}; set \
                 'properties.auto.offset.reset' to 'earliest' or 'latest', or 'scan.startup.mode'",
                place.topic, place.partition
            ),
        )),
    })
    .collect()
}

/// Whether to begin at the earliest offset where a group has committed none.
fn otherwise(options: &Options) -> Result<Option<bool>> {
    const KEY: &str = "properties.auto.offset.reset";
    match options.get(KEY).map(str::to_ascii_lowercase).as_deref() {
        None | Some("none") => Ok(None),
        Some("earliest") => Ok(Some(true)),
        Some("latest") => Ok(Some(false)),
        Some(other) => Err(invalid(KEY, other, "earliest, latest or none")),
    }
}

/// `partition:0,offset:42;partition:1,offset:300`
fn specific_offsets(key: &str, text: &str) -> Result<BTreeMap<i32, i64>> {
    let wrong = || {
        let wanted = "pairs such as 'partition:0,offset:42;partition:1,offset:300'";
        invalid(key, text, wanted)
    };
    let pair = |pair: &str| {
        let (partition, offset) = pair.split_once(',')?;
        let partition = partition.trim().strip_prefix("partition:")?;
        let offset = offset.trim().strip_prefix("offset:")?;
        Some((partition.trim().parse().ok()?, offset.trim().parse().ok()?))
    };
    let pairs = text.split(';').filter(|p| !p.trim().is_empty());
    pairs.map(|p| pair(p).ok_or_else(wrong)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Options {
        pairs
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect()
    }

    #[test]
    fn specific_offsets_are_read_as_flink_writes_them() {
        let offsets = specific_offsets("k", "partition:0,offset:42;partition:1,offset:300");
        assert_eq!(offsets.unwrap(), BTreeMap::from([(0, 42), (1, 300)]));
        assert!(specific_offsets("k", "0:42").is_err());
    }

    #[test]
    fn a_mode_names_the_option_that_it_lacks() {
        let error = OffsetRule::startup(&options(&[("scan.startup.mode", "timestamp")]));
        assert!(
            error
                .unwrap_err()
                .message()
                .contains("scan.startup.timestamp-millis")
        );
        let error = OffsetRule::startup(&options(&[]));
        assert!(error.unwrap_err().message().contains("properties.group.id"));
        let reset = [("properties.auto.offset.reset", "latest")];
        let rule = OffsetRule::startup(&options(&reset)).unwrap();
        let otherwise = Some(false);
        assert_eq!(rule, OffsetRule::Group { otherwise });
        assert_eq!(OffsetRule::bounded(&options(&[])).unwrap(), None);
    }
}
