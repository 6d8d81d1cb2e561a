//! The partition that messages without a key go to.
//!
//! As with Java's clients a partition gets some messages before it is the next one's turn, so that
//! requests are full. Left to itself librdkafka does the same, but asks two clocks and takes four
//! locks for each message; where the partition is named it does neither.

use std::time::Duration;

use flott_core::clock::Stopwatch;

use super::producer::TopicProducer;

/// A partition has its turn for so many bytes, Java's `batch.size`; a batch of rows stays together.
const TURN_BYTES: usize = 16 << 10;
/// How often it is asked which partitions there are, and for how long.
const ASK_AGAIN: Duration = Duration::from_secs(60);
const ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// Whose turn it is.
pub(super) struct Rotation {
    /// Those that had a leader when it was last asked.
    available: Vec<i32>,
    asked: Option<Stopwatch>,
    place: usize,
    left_bytes: usize,
}

impl Rotation {
    /// Writers begin at partitions of their own.
    pub fn new(subtask: usize) -> Self {
        Self {
            available: Vec::new(),
            asked: None,
            place: subtask,
            left_bytes: TURN_BYTES,
        }
    }

    /// The partition for so many bytes; `None` leaves the choice to the client, because nobody has
    /// said which partitions there are.
    pub fn next(&mut self, producer: &TopicProducer, num_bytes: usize) -> Option<i32> {
        if self.asked.is_none_or(|asked| asked.elapsed() > ASK_AGAIN) {
            // What was known before is better than nothing.
            if let Ok(available) = producer.available_partitions(ASK_TIMEOUT) {
                self.available = available;
            }
            self.asked = Some(Stopwatch::start());
        }
        self.turn(num_bytes)
    }

    fn turn(&mut self, num_bytes: usize) -> Option<i32> {
        if self.left_bytes == 0 {
            self.place = self.place.wrapping_add(1);
            self.left_bytes = TURN_BYTES;
        }
        self.left_bytes = self.left_bytes.saturating_sub(num_bytes);
        let place = self.place.checked_rem(self.available.len())?;
        self.available.get(place).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_has_its_turn() {
        let mut rotation = Rotation::new(1);
        assert_eq!(rotation.turn(1), None);
        rotation.available = vec![0, 2, 5];
        let turns = [10_000, 10_000, 1, 20_000, 16_384, 1].map(|bytes| rotation.turn(bytes));
        assert_eq!(turns, [2, 2, 5, 5, 0, 2].map(Some));
    }
}
