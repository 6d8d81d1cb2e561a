//! Sends what a chain has put into its outbox.

use std::sync::Arc;

use timely::container::NoopBuilder;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;

use crate::chain::Chain;
use crate::flow::FlowControl;
use crate::message::{Message, Payload};
use crate::partition::size_bytes;

/// The output of a host.
pub struct Sender {
    pub output: OutputBuilder<u64, NoopBuilder<Message>>,
    pub subtask: usize,
    /// The number of workers: see [`Message::weight`].
    pub weight: i64,
    pub flow: Arc<FlowControl>,
}

impl Sender {
    /// Sends the chain's outbox at the capability's epoch.
    pub fn flush(&mut self, capability: &Capability<u64>, chain: &mut Chain) {
        let Some(outbox) = chain.outbox() else {
            return;
        };
        let mut output = self.output.activate();
        let mut session = output.session_with_builder(capability);
        for payload in outbox.drain(..) {
            let ticket = match &payload {
                Payload::Batch(batch) => Some(self.flow.ticket(size_bytes(batch))),
                _ => None,
            };
            session.give_container(&mut Message {
                payload,
                sender: self.subtask,
                weight: self.weight,
                ticket,
            });
        }
    }
}
