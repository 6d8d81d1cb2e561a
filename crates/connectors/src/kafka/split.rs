//! A split is a partition of a topic with the offset that is read next.

use flott_core::source::Split;
use flott_core::{Error, Result};

use super::codec::{Decoding, Encoding};

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TopicPartition {
    pub topic: String,
    pub partition: i32,
}

/// A partition, where to go on, and where to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KafkaSplit {
    pub place: TopicPartition,
    /// The offset that is read next.
    pub next_offset: i64,
    /// The first offset that is not read any more; `None` reads for ever.
    pub end_offset: Option<i64>,
}

impl TopicPartition {
    pub fn new(topic: impl Into<String>, partition: i32) -> Self {
        Self {
            topic: topic.into(),
            partition,
        }
    }

    /// The reader that a partition belongs to: partitions of one topic go round, and each topic
    /// begins elsewhere.
    pub fn owner(&self, parallelism: usize) -> usize {
        let hash = self
            .topic
            .encode_utf16()
            .fold(0i32, |h, c| h.wrapping_mul(31).wrapping_add(i32::from(c)));
        let start = (hash.wrapping_mul(31) & i32::MAX) as usize;
        (start + self.partition.max(0) as usize) % parallelism.max(1)
    }
}

impl KafkaSplit {
    pub fn is_done(&self) -> bool {
        self.end_offset.is_some_and(|end| self.next_offset >= end)
    }

    pub fn encode(&self, encoding: &mut Encoding) {
        encoding
            .text(&self.place.topic)
            .number(i64::from(self.place.partition))
            .number(self.next_offset)
            .number(self.end_offset.unwrap_or(-1));
    }

    pub fn decode(decoding: &mut Decoding<'_>) -> Result<Self> {
        let topic = decoding.text()?;
        let partition = i32::try_from(decoding.number()?)
            .map_err(|_| Error::internal("a partition's number is out of range"))?;
        Ok(Self {
            place: TopicPartition { topic, partition },
            next_offset: decoding.number()?,
            end_offset: Some(decoding.number()?).filter(|end| *end >= 0),
        })
    }

    pub fn to_split(&self) -> Split {
        let mut encoding = Encoding::default();
        self.encode(&mut encoding);
        Split {
            id: format!("{}-{}", self.place.topic, self.place.partition),
            bytes: encoding.0,
        }
    }

    pub fn from_split(split: &Split) -> Result<Self> {
        Self::decode(&mut Decoding(&split.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_survives_its_encoding() {
        for end_offset in [None, Some(12)] {
            let split = KafkaSplit {
                place: TopicPartition::new("orders", 3),
                next_offset: 7,
                end_offset,
            };
            assert_eq!(KafkaSplit::from_split(&split.to_split()).unwrap(), split);
        }
    }

    #[test]
    fn partitions_of_a_topic_go_round_the_readers() {
        let owner = |p| TopicPartition::new("orders", p).owner(3);
        assert_eq!(owner(3), owner(0));
        let mut owners = [owner(0), owner(1), owner(2)];
        owners.sort_unstable();
        assert_eq!(owners, [0, 1, 2]);
    }
}
