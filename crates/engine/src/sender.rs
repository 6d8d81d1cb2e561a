//! Sends what a chain has put into its outbox.

use std::sync::Arc;

use arrow::compute::concat_batches;
use timely::container::NoopBuilder;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;

use flott_core::changelog::{ChangelogBatch, RowKind};

use crate::chain::Chain;
use crate::flow::FlowControl;
use crate::message::{Message, Payload};
use crate::partition::size_bytes;

/// Rows that are worth sending at once: small batches of one turn go together up to this.
pub const ROWS_PER_SEND: usize = 1 << 13;
/// A batch of this many rows is sent as it is: copying it would cost more than it saves behind.
const LEAST_ROWS_ALONE: usize = 1 << 10;

/// The output of a host.
pub struct Sender {
    pub output: OutputBuilder<u64, NoopBuilder<Message>>,
    pub subtask: usize,
    /// The number of workers: see [`Message::weight`].
    pub weight: i64,
    pub flow: Arc<FlowControl>,
}

impl Sender {
    /// Sends the chain's outbox at the capability's epoch; small batches that follow each other
    /// become one.
    pub fn flush(&mut self, capability: &Capability<u64>, chain: &mut Chain) {
        let Some(outbox) = chain.outbox() else {
            return;
        };
        let mut output = self.output.activate();
        let mut session = output.session_with_builder(capability);
        let (flow, sender, weight) = (&self.flow, self.subtask, self.weight);
        gather(outbox.drain(), |payload| {
            let ticket = match &payload {
                Payload::Batch(batch) => Some(flow.ticket(size_bytes(batch))),
                _ => None,
            };
            session.give_container(&mut Message {
                payload,
                sender,
                weight,
                ticket,
            });
        });
    }
}

/// Passes payloads on in their order, with small batches that follow each other put together.
fn gather(payloads: impl Iterator<Item = Payload>, mut send: impl FnMut(Payload)) {
    let mut small = Vec::new();
    let mut num_rows = 0;
    for payload in payloads {
        match payload {
            Payload::Batch(batch) if batch.num_rows() < LEAST_ROWS_ALONE => {
                num_rows += batch.num_rows();
                small.push(batch);
                if num_rows >= ROWS_PER_SEND {
                    num_rows = 0;
                    send_together(&mut small, &mut send);
                }
            }
            payload => {
                num_rows = 0;
                send_together(&mut small, &mut send);
                send(payload);
            }
        }
    }
    send_together(&mut small, &mut send);
}

fn send_together(batches: &mut Vec<ChangelogBatch>, send: &mut impl FnMut(Payload)) {
    if batches.len() > 1
        && let Some(whole) = concatenated(batches)
    {
        batches.clear();
        send(Payload::Batch(whole));
    }
    for batch in batches.drain(..) {
        send(Payload::Batch(batch));
    }
}

/// The batches as one; `None` when they do not fit together.
fn concatenated(batches: &[ChangelogBatch]) -> Option<ChangelogBatch> {
    let schema = batches.first()?.schema();
    let rows = concat_batches(&schema, batches.iter().map(ChangelogBatch::rows)).ok()?;
    let has_kinds = batches.iter().any(|b| b.kinds().is_some());
    let kinds = has_kinds.then(|| {
        let mut kinds = Vec::with_capacity(rows.num_rows());
        for batch in batches {
            match batch.kinds() {
                Some(own) => kinds.extend_from_slice(own),
                None => kinds.resize(kinds.len() + batch.num_rows(), RowKind::Insert as u8),
            }
        }
        kinds.into()
    });
    Some(ChangelogBatch::new(rows, kinds))
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
    use arrow::datatypes::Int64Type;

    use super::*;

    fn batch(rows: std::ops::Range<i64>, kinds: Option<u8>) -> Payload {
        let kinds = kinds.map(|kind| vec![kind; rows.clone().count()].into());
        let column: ArrayRef = Arc::new(rows.collect::<Int64Array>());
        let rows = RecordBatch::try_from_iter([("n", column)]).unwrap();
        Payload::Batch(ChangelogBatch::new(rows, kinds))
    }

    /// Each payload sent: rows with their kinds, or the watermark.
    fn sent(payloads: Vec<Payload>) -> Vec<std::result::Result<Vec<(i64, RowKind)>, i64>> {
        let mut sent = Vec::new();
        gather(payloads.into_iter(), |payload| match payload {
            Payload::Batch(batch) => {
                let numbers = batch.column(0).as_primitive::<Int64Type>().values();
                let kinds = (0..batch.num_rows()).map(|row| batch.kind(row));
                sent.push(Ok(numbers.iter().copied().zip(kinds).collect()));
            }
            Payload::Watermark(watermark) => sent.push(Err(watermark)),
            other => panic!("{other:?}"),
        });
        sent
    }

    #[test]
    fn small_batches_become_one_but_not_over_a_watermark() {
        let insert = |n: i64| (n, RowKind::Insert);
        let delete = |n: i64| (n, RowKind::Delete);
        let sent = sent(vec![
            batch(0..2, None),
            batch(2..3, Some(RowKind::Delete as u8)),
            Payload::Watermark(7),
            batch(3..4, None),
            Payload::Watermark(8),
        ]);
        let expected = vec![
            Ok(vec![insert(0), insert(1), delete(2)]),
            Err(7),
            Ok(vec![insert(3)]),
            Err(8),
        ];
        assert_eq!(sent, expected);
    }

    #[test]
    fn large_batches_stay_alone_and_keep_their_place() {
        let large = LEAST_ROWS_ALONE as i64;
        let few = sent(vec![
            batch(0..1, None),
            batch(0..large, None),
            batch(0..1, None),
            batch(0..1, None),
        ]);
        let lengths: Vec<usize> = few.iter().flatten().map(Vec::len).collect();
        assert_eq!(lengths, [1, LEAST_ROWS_ALONE, 2]);
        let many = sent((0..20).map(|_| batch(0..large - 1, None)).collect());
        let lengths: Vec<usize> = many.iter().flatten().map(Vec::len).collect();
        assert_eq!(lengths.iter().sum::<usize>(), 20 * (LEAST_ROWS_ALONE - 1));
        assert_eq!(lengths.len(), 3);
    }
}
