//! Reads generated events, block by block.
//!
//! At a rate, the blocks are dealt out in turn to the subtasks, so that event time advances evenly
//! in all of them. Without one, a subtask takes the next block when it is done with its last: a
//! subtask that has more to do behind the source reads less, and all end together.

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

impl NexmarkSource {
    /// How many events there are for one that the query needs.
    fn events_per_row(&self) -> u64 {
        let config = &self.generator.config;
        let share = |t: &EventType| match t {
            EventType::Person => config.persons,
            EventType::Auction => config.auctions,
            EventType::Bid => config.bids,
        };
        let types = self.types.as_ref();
        types.map_or(1, |types| {
            let wanted: u64 = types.iter().map(share).sum();
            (config.round() / wanted.max(1)).max(1)
        })
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
        let num_events = self.generator.config.num_events;
        if let Some(bytes) = restored {
            return Ok(Box::new(Enumerator::restore(bytes, num_events)?));
        }
        let rate = self.generator.config.rate_limit;
        Ok(Box::new(Enumerator {
            next: 0,
            of: rate.map_or(ONE_BLOCK, |_| parallelism as u64),
            block: match rate {
                None => (MAX_BLOCK * self.events_per_row()).min(MAX_SPARSE_BLOCK),
                Some(rate) => block_at(rate),
            },
            num_events,
        }))
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
            events_per_row: self.events_per_row(),
            started_ms: context.clock.now_ms() - begun_ms,
            lanes,
            context,
        }))
    }
}

/// The most events in a block, when all are needed.
const MAX_BLOCK: u64 = 1 << 13;
/// The most events in a block of which only few are needed.
const MAX_SPARSE_BLOCK: u64 = 1 << 16;
/// The [`Lane::of`] of a lane that is a single block.
const ONE_BLOCK: u64 = 0;

/// Events per block at a rate: as many as come in a millisecond, so that no subtask waits long for
/// its turn and holds the watermark back.
fn block_at(rate: u64) -> u64 {
    (rate / 1000).clamp(1, MAX_BLOCK)
}

/// One in `of` of all blocks, those of number `index + k·of`, or the block `index` alone;
/// `position` is the next event.
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
        self.position = match self.of {
            _ if taken.end < end => taken.end,
            // Past every end.
            ONE_BLOCK => u64::MAX,
            of => end + (of - 1) * self.block,
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
    /// The number of the next lane.
    next: u64,
    of: u64,
    block: u64,
    num_events: Option<u64>,
}

impl Enumerator {
    fn restore(bytes: &[u8], num_events: Option<u64>) -> Result<Self> {
        match numbers(bytes).as_slice() {
            [next, of, block] => Ok(Self {
                next: *next,
                of: *of,
                block: *block,
                num_events,
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
        let is_end = match self.of {
            ONE_BLOCK => self.next * self.block >= self.num_events.unwrap_or(u64::MAX),
            of => self.next == of,
        };
        if is_end {
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
    events_per_row: u64,
    lanes: Vec<Lane>,
    started_ms: i64,
    context: ReaderContext,
}

impl Reader {
    /// The lane that is furthest behind. A lane is asked for when there is none; what the
    /// enumerator says instead of one is the error.
    fn next_lane(&mut self) -> Result<std::result::Result<usize, SourcePoll>> {
        let end = self.generator.config.num_events.unwrap_or(u64::MAX);
        loop {
            self.lanes.retain(|lane| lane.position < end);
            let lanes = 0..self.lanes.len();
            if let Some(lane) = lanes.min_by_key(|i| self.lanes[*i].position) {
                return Ok(Ok(lane));
            }
            match self.context.splits.next_split(self.context.subtask)? {
                SplitPoll::Split(split) => self.lanes.push(Lane::decode(&split)?),
                SplitPoll::PendingUntil(time) => return Ok(Err(SourcePoll::PendingUntil(time))),
                SplitPoll::NoneUntil(time) => return Ok(Err(SourcePoll::IdleUntil(time))),
                SplitPoll::End => return Ok(Err(SourcePoll::End)),
            }
        }
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
        let lane = match self.next_lane()? {
            Ok(lane) => lane,
            Err(poll) => return Ok(poll),
        };
        let position = self.lanes[lane].position;
        let allowed = match self.allowed(position) {
            Ok(allowed) => allowed,
            Err(due_ms) => return Ok(SourcePoll::PendingUntil(due_ms)),
        };
        let left = self.generator.config.num_events.unwrap_or(u64::MAX) - position;
        let most = (self.context.batch_size as u64).saturating_mul(self.events_per_row);
        let limit = allowed.min(left).min(most);
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
        for (rate, block) in [(u64::MAX, 8192), (100_000, 100), (10, 1)] {
            assert_eq!(block_at(rate), block);
            let mut lanes: Vec<Lane> = (0..3).map(|i| Lane::new(i, 3, block)).collect();
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

    #[test]
    fn without_a_rate_blocks_are_handed_out_until_the_events_end() {
        let mut enumerator = Enumerator {
            next: 0,
            of: ONE_BLOCK,
            block: 1000,
            num_events: Some(4500),
        };
        let mut all = Vec::new();
        for block in 0..5 {
            // As after a failure, with every second block.
            if block % 2 == 1 {
                let bytes = enumerator.snapshot().unwrap();
                enumerator = Enumerator::restore(&bytes, enumerator.num_events).unwrap();
            }
            let SplitPoll::Split(split) = enumerator.next_split(0, 0).unwrap() else {
                panic!("no block {block}");
            };
            let mut lane = Lane::decode(&split).unwrap();
            while lane.position < 4500 {
                let limit = (4500 - lane.position).min(300);
                all.extend(lane.take(limit));
                lane = Lane::decode(&lane.encode()).unwrap();
            }
        }
        assert!(all.into_iter().eq(0..4500));
        assert_eq!(enumerator.next_split(0, 0).unwrap(), SplitPoll::End);
    }
}
