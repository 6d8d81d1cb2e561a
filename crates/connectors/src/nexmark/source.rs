//! Reads generated events: blocks of event numbers are dealt out in turn to the subtasks, so that
//! event time advances evenly in all of them.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use flott_core::changelog::ChangelogBatch;
use flott_core::schema::Schema;
use flott_core::source::{
    FieldPath, FieldPredicate, PredicateValue, ReaderContext, SourcePoll, SourceReader, Split,
    SplitEnumerator, SplitPoll, TableSource,
};
use flott_core::{Error, Result};

use super::columns::Events;
use super::generator::{EventType, Generator};

/// The generator planned for one query.
pub struct NexmarkSource {
    generator: Generator,
    fields: Vec<FieldPath>,
    schema: Schema,
    /// The event types that the query needs, where it said so.
    types: Option<Vec<EventType>>,
    applied: Vec<usize>,
}

impl NexmarkSource {
    /// `schema` holds one column for each of `fields`.
    pub fn new(
        generator: Generator,
        fields: Vec<FieldPath>,
        schema: Schema,
        predicates: &[FieldPredicate],
    ) -> Self {
        let (mut types, mut applied) = (None::<Vec<EventType>>, Vec::new());
        for (index, predicate) in predicates.iter().enumerate() {
            if predicate.field == FieldPath::column(0) {
                let wanted = event_types(&predicate.values);
                types = Some(types.map_or(wanted.clone(), |mut types| {
                    types.retain(|t| wanted.contains(t));
                    types
                }));
                applied.push(index);
            }
        }
        Self {
            generator,
            fields,
            schema,
            types,
            applied,
        }
    }
}

fn event_types(values: &[PredicateValue]) -> Vec<EventType> {
    let all = [EventType::Person, EventType::Auction, EventType::Bid];
    let is_wanted = |t: &EventType| values.contains(&PredicateValue::Integer(*t as i64));
    all.into_iter().filter(is_wanted).collect()
}

impl TableSource for NexmarkSource {
    fn schema(&self) -> Schema {
        self.schema.clone()
    }

    fn is_bounded(&self) -> bool {
        self.generator.config.num_events.is_some()
    }

    fn applied_predicates(&self) -> Vec<usize> {
        self.applied.clone()
    }

    fn describe(&self) -> String {
        self.types
            .as_ref()
            .map(|types| format!("event_type in {types:?}"))
            .unwrap_or_default()
    }

    fn create_enumerator(
        &self,
        parallelism: usize,
        restored: Option<&[u8]>,
    ) -> Result<Box<dyn SplitEnumerator>> {
        match restored {
            Some(bytes) => Ok(Box::new(Enumerator::restore(bytes)?)),
            None => Ok(Box::new(Enumerator {
                next: 0,
                of: parallelism as u64,
                block: block_at(self.generator.config.rate_limit),
            })),
        }
    }

    fn create_reader(&self, context: ReaderContext) -> Result<Box<dyn SourceReader>> {
        let mut lanes = Vec::new();
        for split in &context.restored {
            lanes.push(Lane::decode(split)?);
        }
        // A restored reader goes on at its rate, as if it had begun with the first event.
        let done = lanes.iter().map(|lane| lane.position).min().unwrap_or(0);
        let rate = self.generator.config.rate_limit.unwrap_or(u64::MAX).max(1);
        let begun_ms = (u128::from(done) * 1000 / u128::from(rate)) as i64;
        Ok(Box::new(Reader {
            generator: self.generator.clone(),
            fields: self.fields.clone(),
            schema: self.schema.to_arrow(),
            types: self.types.clone(),
            started_ms: context.clock.now_ms() - begun_ms,
            lanes,
            context,
        }))
    }
}

/// The most events in a block.
const MAX_BLOCK: u64 = 8192;

/// Events per block: with a rate, as many as come in a millisecond, so that no subtask waits long
/// for its turn and holds the watermark back.
fn block_at(rate: Option<u64>) -> u64 {
    rate.map_or(MAX_BLOCK, |rate| (rate / 1000).clamp(1, MAX_BLOCK))
}

/// One in `of` of all blocks: those of number `index + k·of`; `position` is the next event.
#[derive(Debug, Clone, PartialEq)]
struct Lane {
    index: u64,
    of: u64,
    position: u64,
    /// Events per block.
    block: u64,
}

impl Lane {
    fn new(index: u64, of: u64, block: u64) -> Self {
        Self {
            index,
            of,
            position: index * block,
            block,
        }
    }

    fn encode(&self) -> Split {
        let bytes = [self.index, self.of, self.position, self.block]
            .into_iter()
            .flat_map(|n| n.to_le_bytes());
        Split {
            id: format!("lane-{}-of-{}", self.index, self.of),
            bytes: bytes.collect(),
        }
    }

    fn decode(split: &Split) -> Result<Self> {
        let numbers = numbers(&split.bytes);
        let [index, of, position, block] = numbers.as_slice() else {
            return Err(Error::internal(format!(
                "nexmark split of {} bytes",
                split.bytes.len()
            )));
        };
        Ok(Self {
            index: *index,
            of: *of,
            position: *position,
            block: (*block).max(1),
        })
    }

    /// The next events, at most `limit`, inside one block.
    fn take(&mut self, limit: u64) -> std::ops::Range<u64> {
        let start = self.position;
        let end = (start / self.block + 1) * self.block;
        let taken = start..end.min(start + limit.max(1));
        let is_block_done = taken.end == end;
        self.position = if is_block_done {
            end + (self.of - 1) * self.block
        } else {
            taken.end
        };
        taken
    }
}

fn numbers(bytes: &[u8]) -> Vec<u64> {
    let words = bytes.chunks_exact(8);
    words
        .map(|w| u64::from_le_bytes(w.try_into().unwrap_or_default()))
        .collect()
}

struct Enumerator {
    next: u64,
    of: u64,
    block: u64,
}

impl Enumerator {
    fn restore(bytes: &[u8]) -> Result<Self> {
        match numbers(bytes).as_slice() {
            [next, of, block] => Ok(Self {
                next: *next,
                of: *of,
                block: *block,
            }),
            _ => Err(Error::internal(format!(
                "nexmark enumerator of {} bytes",
                bytes.len()
            ))),
        }
    }
}

impl SplitEnumerator for Enumerator {
    fn next_split(&mut self, _subtask: usize, _now_ms: i64) -> Result<SplitPoll> {
        if self.next == self.of {
            return Ok(SplitPoll::End);
        }
        self.next += 1;
        Ok(SplitPoll::Split(
            Lane::new(self.next - 1, self.of, self.block).encode(),
        ))
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        Ok([self.next, self.of, self.block]
            .iter()
            .flat_map(|n| n.to_le_bytes())
            .collect())
    }
}

struct Reader {
    generator: Generator,
    fields: Vec<FieldPath>,
    schema: SchemaRef,
    types: Option<Vec<EventType>>,
    lanes: Vec<Lane>,
    started_ms: i64,
    context: ReaderContext,
}

impl Reader {
    /// The lane that is furthest behind; a lane is asked for while there is none.
    fn next_lane(&mut self) -> Result<Option<usize>> {
        if self.lanes.is_empty()
            && let SplitPoll::Split(split) = self.context.splits.next_split(self.context.subtask)?
        {
            self.lanes.push(Lane::decode(&split)?);
        }
        let end = self.generator.config.num_events.unwrap_or(u64::MAX);
        self.lanes.retain(|lane| lane.position < end);
        Ok((0..self.lanes.len()).min_by_key(|i| self.lanes[*i].position))
    }

    /// How many events from `position` on the rate allows now, or when it allows the next.
    fn allowed(&self, position: u64) -> std::result::Result<u64, i64> {
        let Some(rate) = self.generator.config.rate_limit else {
            return Ok(u64::MAX);
        };
        let elapsed_ms = (self.context.clock.now_ms() - self.started_ms).max(0) as u64;
        let allowed = (u128::from(elapsed_ms) * u128::from(rate) / 1000) as u64;
        if allowed > position {
            return Ok(allowed - position);
        }
        let due_ms = (u128::from(position + 1) * 1000).div_ceil(u128::from(rate)) as i64;
        Err(self.started_ms + due_ms)
    }

    fn batch(&self, events: std::ops::Range<u64>) -> Result<ChangelogBatch> {
        let numbers: Vec<u64> = match &self.types {
            None => events.collect(),
            Some(types) => events
                .filter(|e| types.contains(&self.generator.event_type(*e)))
                .collect(),
        };
        let events = Events::new(&self.generator, &numbers);
        let columns = self
            .fields
            .iter()
            .zip(self.schema.fields())
            .map(|(path, field)| events.column(path, field.data_type()))
            .collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(numbers.len()));
        let rows = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        Ok(ChangelogBatch::insert_only(rows))
    }
}

impl SourceReader for Reader {
    fn poll(&mut self) -> Result<SourcePoll> {
        let Some(lane) = self.next_lane()? else {
            return Ok(SourcePoll::End);
        };
        let position = self.lanes[lane].position;
        let allowed = match self.allowed(position) {
            Ok(allowed) => allowed,
            Err(due_ms) => return Ok(SourcePoll::PendingUntil(due_ms)),
        };
        let left = self.generator.config.num_events.unwrap_or(u64::MAX) - position;
        let limit = allowed.min(left).min(self.context.batch_size as u64);
        let events = self.lanes[lane].take(limit);
        self.batch(events).map(SourcePoll::Batch)
    }

    fn snapshot(&mut self) -> Result<Vec<Split>> {
        Ok(self.lanes.iter().map(Lane::encode).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_share_all_events_and_take_turns() {
        for (rate, block) in [(None, 8192), (Some(100_000), 100), (Some(10), 1)] {
            assert_eq!(block_at(rate), block);
            let mut lanes: Vec<Lane> = (0..3).map(|i| Lane::new(i, 3, block_at(rate))).collect();
            let mut all = Vec::new();
            for lane in &mut lanes {
                let mut last = None;
                while lane.position < 30_000 {
                    let events = Lane::decode(&lane.encode()).unwrap().take(777);
                    assert_eq!(events, lane.take(777));
                    assert!(last.is_none_or(|last| events.start > last));
                    last = Some(events.end - 1);
                    all.extend(events.filter(|e| *e < 30_000));
                }
            }
            all.sort_unstable();
            assert!(all.iter().copied().eq(0..30_000), "{rate:?}");
        }
    }
}
