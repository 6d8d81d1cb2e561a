//! The exchange as Timely wants it: a distributor over the pure [`Partitioner`].

use std::sync::Arc;

use timely::communication::Push;
use timely::dataflow::channels::Message as Envelope;
use timely::dataflow::channels::pushers::exchange::Distributor;

use flott_core::changelog::ChangelogBatch;

use crate::job::JobState;
use crate::message::{Message, Payload};
use crate::partition::Partitioner;

/// Parts batches among the receiving subtasks and gives control messages to all of them.
pub struct ExchangeDistributor {
    partitioner: Partitioner,
    num_targets: usize,
    job: Arc<JobState>,
    /// The receiver, for messages of errors.
    name: String,
    parts: Vec<(usize, ChangelogBatch)>,
}

impl ExchangeDistributor {
    pub fn new(
        partitioner: Partitioner,
        num_targets: usize,
        job: Arc<JobState>,
        name: String,
    ) -> Self {
        Self {
            partitioner,
            num_targets,
            job,
            name,
            parts: Vec::new(),
        }
    }
}

/// Sends `payload` as one of `remaining` parts that share `weight`.
fn push_part<T: Clone, P: Push<Envelope<T, Message>>>(
    original: &Message,
    payload: Payload,
    weight: i64,
    time: &T,
    pusher: &mut P,
) {
    let mut part = Message {
        payload,
        sender: original.sender,
        weight,
        ticket: original.ticket.clone(),
    };
    Envelope::push_at(&mut part, time.clone(), pusher);
}

impl Distributor<Message> for ExchangeDistributor {
    fn partition<T: Clone, P: Push<Envelope<T, Message>>>(
        &mut self,
        message: &mut Message,
        time: &T,
        pushers: &mut [P],
    ) {
        let message = std::mem::take(message);
        let mut weight = message.weight;
        if let Payload::Batch(batch) = &message.payload {
            let parts = &mut self.parts;
            let split = self
                .partitioner
                .split(batch.clone(), |target, part| parts.push((target, part)));
            if let Err(error) = split {
                let context = format!("rows to {} cannot be parted", self.name);
                self.job.fail(error.context(context));
            }
            let mut remaining = self.parts.len();
            for (target, part) in self.parts.drain(..) {
                remaining -= 1;
                let share = if remaining == 0 { weight } else { 1 };
                weight -= share;
                let payload = Payload::Batch(part);
                push_part(&message, payload, share, time, &mut pushers[target]);
            }
            return;
        }
        for (target, pusher) in pushers.iter_mut().take(self.num_targets).enumerate() {
            let is_last = target + 1 == self.num_targets;
            let share = if is_last { weight } else { 1 };
            weight -= share;
            push_part(&message, message.payload.clone(), share, time, pusher);
        }
    }

    fn flush<T: Clone, P: Push<Envelope<T, Message>>>(&mut self, _: &T, _: &mut [P]) {}
}
