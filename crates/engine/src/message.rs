//! What travels between hosts: one Timely container over batches and in-band control.

use std::io::Write;
use std::sync::Arc;

use timely::Accountable;
use timely::bytes::arc::Bytes;
use timely::dataflow::channels::ContainerBytes;

use flott_core::changelog::ChangelogBatch;

use crate::flow::Ticket;

/// What a message says. Everything but a batch goes to all subtasks of the receiver.
#[derive(Debug, Clone, Default)]
pub enum Payload {
    #[default]
    Empty,
    Batch(ChangelogBatch),
    /// Event time in the sending subtask has reached this, in ms.
    Watermark(i64),
    /// The sending subtask has nothing now and does not hold back watermarks until its next batch.
    Idle,
    /// The sending subtask sends nothing more.
    End,
}

/// A payload with the subtask that sent it.
///
/// Timely counts records to know when a channel is empty, and an exchange must keep the sum. Every
/// message therefore weighs as much as there are workers: parted among any number of targets, each
/// part still weighs at least one.
#[derive(Debug, Clone, Default)]
pub struct Message {
    pub payload: Payload,
    pub sender: usize,
    pub weight: i64,
    /// Holds the message's bytes in the in-flight budget until the last part is dropped.
    pub ticket: Option<Arc<Ticket>>,
}

impl Accountable for Message {
    fn record_count(&self) -> i64 {
        self.weight
    }
}

/// Asked for by Timely's exchange; the in-process allocator moves messages and never calls it.
impl ContainerBytes for Message {
    fn from_bytes(_: Bytes) -> Self {
        unreachable!("messages do not leave the process")
    }

    fn length_in_bytes(&self) -> usize {
        unreachable!("messages do not leave the process")
    }

    fn into_bytes<W: Write>(&self, _: &mut W) {
        unreachable!("messages do not leave the process")
    }
}
