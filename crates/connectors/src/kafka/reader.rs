//! Reads partitions in one subtask: a thread fetches messages, the worker's thread decodes them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

use flott_core::changelog::ChangelogBatch;
use flott_core::source::{ReaderContext, SourcePoll, SourceReader, Split, SplitPoll, Waker};
use flott_core::watermark::{SourceWatermarks, SplitWatermarks, highest};
use flott_core::{Error, Result};
use rdkafka::config::ClientConfig;

use super::batch::{Gathering, Message, MessageBatch};
use super::decode::{DecodePlan, MessageDecoder, MessageLookahead};
use super::native::{Fetched, NativeConsumer};
use super::split::{KafkaSplit, TopicPartition};

/// Batches that wait between the fetching thread and the worker.
const QUEUED_BATCHES: usize = 4;
/// How long the fetching thread waits for a message before it looks whether it is still wanted.
const FETCH_WAIT_MS: u32 = 100;

/// What a reader needs to know of its table and query.
#[derive(Clone)]
pub(super) struct ReadPlan {
    pub config: ClientConfig,
    pub decode: Arc<DecodePlan>,
    /// Whether offsets are committed for a group with each checkpoint.
    pub commits: bool,
    pub limit: Option<u64>,
    /// Made here, partition by partition, where the table has them.
    pub watermarks: Option<SourceWatermarks>,
}

type Fetches = Result<MessageBatch>;

/// Reads the partitions of one subtask.
pub(super) struct KafkaReader {
    plan: Arc<ReadPlan>,
    context: ReaderContext,
    decoder: MessageDecoder,
    consumer: Arc<NativeConsumer>,
    fetches: Receiver<Fetches>,
    is_dropped: Arc<AtomicBool>,
    active: BTreeMap<TopicPartition, KafkaSplit>,
    /// Read to their end, with the offsets behind it, until these are committed.
    finished: Vec<(TopicPartition, i64)>,
    /// Positions of the last snapshot.
    snapshot: Vec<(TopicPartition, i64)>,
    /// When to ask for splits again, in ms; `None` when there will be no more.
    ask_at_ms: Option<i64>,
    /// It has been looked which partitions there are: without one, none is for this reader.
    knows_all: bool,
    num_rows: u64,
    is_ended: bool,
    watermarks: Option<SplitWatermarks<TopicPartition>>,
}

impl KafkaReader {
    pub fn new(plan: Arc<ReadPlan>, context: ReaderContext) -> Result<Self> {
        let consumer = Arc::new(NativeConsumer::new(&plan.config)?);
        let (sender, fetches) = sync_channel(QUEUED_BATCHES);
        let is_dropped = Arc::new(AtomicBool::new(false));
        let gathering = Gathering::new(context.batch_size, plan.decode.wants_headers());
        let mut decoder = MessageDecoder::new(plan.decode.clone(), context.batch_size)?;
        if plan.watermarks.is_some() {
            decoder.keep_places();
        }
        let thread = Fetcher {
            consumer: consumer.clone(),
            gathering,
            lookahead: decoder.lookahead(),
            sender,
            waker: context.waker.clone(),
            is_dropped: is_dropped.clone(),
        };
        std::thread::Builder::new()
            .name(format!("kafka-fetch-{}", context.subtask))
            .spawn(move || thread.run())
            .map_err(|e| Error::external("THREAD", format!("no thread can be started: {e}")))?;
        let restored = context.restored.iter().map(KafkaSplit::from_split);
        let restored = restored.collect::<Result<Vec<_>>>()?;
        let mut reader = Self {
            decoder,
            watermarks: plan.watermarks.clone().map(SplitWatermarks::new),
            plan,
            consumer,
            fetches,
            is_dropped,
            active: BTreeMap::new(),
            finished: Vec::new(),
            snapshot: Vec::new(),
            ask_at_ms: Some(i64::MIN),
            knows_all: false,
            num_rows: 0,
            is_ended: false,
            context,
        };
        reader.begin(restored)?;
        Ok(reader)
    }

    fn begin(&mut self, splits: Vec<KafkaSplit>) -> Result<()> {
        let new: Vec<KafkaSplit> = splits.into_iter().filter(|s| !s.is_done()).collect();
        if new.is_empty() {
            return Ok(());
        }
        let places = new.iter().map(|s| (&s.place, s.next_offset));
        self.consumer.assign(places)?;
        let now_ms = self.context.clock.now_ms();
        if let Some(watermarks) = &mut self.watermarks {
            for split in &new {
                watermarks.add(split.place.clone(), now_ms);
            }
        }
        self.active
            .extend(new.into_iter().map(|s| (s.place.clone(), s)));
        Ok(())
    }

    fn ask_for_splits(&mut self) -> Result<()> {
        let now_ms = self.context.clock.now_ms();
        let Some(ask_at_ms) = self.ask_at_ms else {
            return Ok(());
        };
        if now_ms < ask_at_ms {
            return Ok(());
        }
        let mut new = Vec::new();
        loop {
            match self.context.splits.next_split(self.context.subtask)? {
                SplitPoll::Split(split) => new.push(KafkaSplit::from_split(&split)?),
                SplitPoll::PendingUntil(time_ms) => {
                    self.ask_at_ms = Some(time_ms.max(now_ms + 1));
                    break;
                }
                SplitPoll::NoneUntil(time_ms) => {
                    self.knows_all = true;
                    self.ask_at_ms = Some(time_ms.max(now_ms + 1));
                    break;
                }
                SplitPoll::End => {
                    self.ask_at_ms = None;
                    break;
                }
            }
        }
        self.begin(new)
    }

    /// The rows of a fetched batch; positions are behind it afterwards.
    fn decode(&mut self, batch: &MessageBatch) -> Result<Option<SourcePoll>> {
        self.context
            .metrics
            .num_bytes_in
            .add(batch.num_bytes() as u64);
        let mut wanted: Vec<&Message> = Vec::with_capacity(batch.messages.len());
        let mut splits: Vec<Option<KafkaSplit>> = batch
            .places
            .iter()
            .map(|place| self.active.get(place).cloned())
            .collect();
        for message in &batch.messages {
            let Some(split) = &mut splits[message.place as usize] else {
                continue;
            };
            let offset = message.head.offset;
            let is_behind_end = split.end_offset.is_some_and(|end| offset >= end);
            if message.is_end || is_behind_end {
                split.next_offset = split.next_offset.max(offset);
            } else if offset >= split.next_offset {
                split.next_offset = offset + 1;
                wanted.push(message);
            }
        }
        let now_ms = self.context.clock.now_ms();
        let rows = self.decoder.decode(batch, &wanted, now_ms)?;
        let num_letters = self.decoder.num_letters();
        self.context.metrics.num_dead_letters.add(num_letters);
        if let (Some(watermarks), Some(rows)) = (&mut self.watermarks, &rows) {
            observe(watermarks, &self.decoder, batch, &wanted, rows, now_ms)?;
        }
        let skipped = self.decoder.take_skipped();
        self.context.metrics.num_records_in_errors.add(skipped);
        for split in splits.into_iter().flatten() {
            self.move_to(split)?;
        }
        Ok(rows.map(|rows| {
            self.num_rows += rows.num_rows() as u64;
            SourcePoll::Batch(rows)
        }))
    }

    fn move_to(&mut self, split: KafkaSplit) -> Result<()> {
        if !split.is_done() {
            self.active.insert(split.place.clone(), split);
            return Ok(());
        }
        self.active.remove(&split.place);
        if let Some(watermarks) = &mut self.watermarks {
            watermarks.remove(&split.place);
        }
        self.consumer.unassign(&split.place)?;
        let end = split.end_offset.unwrap_or(split.next_offset);
        self.finished.push((split.place, end));
        Ok(())
    }

    /// The watermark that is due; partitions too far ahead of others pause.
    fn watermark(&mut self) -> Result<Option<i64>> {
        let now_ms = self.context.clock.now_ms();
        let Some(watermarks) = &mut self.watermarks else {
            return Ok(None);
        };
        if let Some(alignment) = watermarks.align(now_ms) {
            self.consumer.pause(&alignment.paused)?;
            self.consumer.resume(&alignment.resumed)?;
        }
        Ok(watermarks.due(now_ms))
    }

    /// What to answer when there is nothing to read.
    fn wait(&self) -> SourcePoll {
        let now_ms = self.context.clock.now_ms();
        let checks_at = self.watermarks.as_ref();
        let checks_at = checks_at.and_then(|w| w.next_check_ms(now_ms));
        // Not at once: nothing has changed yet.
        let checks_at = checks_at.map(|at| at.max(now_ms + 1));
        match self.ask_at_ms.into_iter().chain(checks_at).min() {
            Some(time_ms) if self.active.is_empty() && self.knows_all => {
                SourcePoll::IdleUntil(time_ms)
            }
            Some(time_ms) => SourcePoll::PendingUntil(time_ms),
            None => SourcePoll::Pending,
        }
    }

    fn is_done(&self) -> bool {
        let is_limited = self.plan.limit.is_some_and(|limit| self.num_rows >= limit);
        is_limited || (self.active.is_empty() && self.ask_at_ms.is_none())
    }
}

/// Tells each partition's watermarks of its rows in a decoded batch; dead letters have none.
fn observe(
    watermarks: &mut SplitWatermarks<TopicPartition>,
    decoder: &MessageDecoder,
    batch: &MessageBatch,
    wanted: &[&Message],
    rows: &ChangelogBatch,
    now_ms: i64,
) -> Result<()> {
    let num_rows = rows.num_rows() - decoder.num_letters() as usize;
    let of_rows = watermarks.of_rows(&rows.slice(0, num_rows))?;
    let mut reached: Vec<Option<i64>> = vec![None; batch.places.len()];
    match reached.as_mut_slice() {
        [only] => *only = highest(&of_rows, 0..num_rows),
        several => {
            let places = decoder.places(wanted, num_rows)?;
            for (row, place) in places.into_iter().enumerate() {
                let own = highest(&of_rows, row..row + 1);
                let reached = &mut several[place as usize];
                *reached = own.max(*reached);
            }
        }
    }
    let mut has_messages = vec![false; batch.places.len()];
    for message in wanted {
        has_messages[message.place as usize] = true;
    }
    for (place, partition) in batch.places.iter().enumerate() {
        if has_messages[place] {
            watermarks.observe(partition, reached[place], now_ms);
        }
    }
    Ok(())
}

impl SourceReader for KafkaReader {
    fn poll(&mut self) -> Result<SourcePoll> {
        self.ask_for_splits()?;
        if self.is_ended || self.is_done() {
            self.is_ended = true;
            return Ok(SourcePoll::End);
        }
        if let Some(watermark) = self.watermark()? {
            return Ok(SourcePoll::Watermark(watermark));
        }
        match self.fetches.try_recv() {
            Ok(batch) => {
                let now_ms = self.context.clock.now_ms();
                let rows = self.decode(&batch?)?;
                Ok(rows.unwrap_or(SourcePoll::PendingUntil(now_ms)))
            }
            Err(TryRecvError::Empty) => Ok(self.wait()),
            Err(TryRecvError::Disconnected) => Err(Error::internal(
                "the thread that fetches messages has ended",
            )),
        }
    }

    fn snapshot(&mut self) -> Result<Vec<Split>> {
        let splits = self.active.values();
        let positions = splits.clone().map(|s| (s.place.clone(), s.next_offset));
        self.snapshot = positions.chain(self.finished.drain(..)).collect();
        Ok(splits.map(KafkaSplit::to_split).collect())
    }

    /// Others see how far the group is; nothing depends on it here, so a failure is only logged.
    fn checkpoint_complete(&mut self, checkpoint_id: u64) -> Result<()> {
        let positions = std::mem::take(&mut self.snapshot);
        if !self.plan.commits || positions.is_empty() {
            return Ok(());
        }
        let offsets = positions.iter().map(|(place, offset)| (place, *offset));
        if let Err(error) = self.consumer.commit(offsets) {
            tracing::warn!(checkpoint_id, %error, "offsets could not be committed");
        }
        Ok(())
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        self.is_dropped.store(true, Ordering::SeqCst);
    }
}

/// The thread that fetches.
struct Fetcher {
    consumer: Arc<NativeConsumer>,
    gathering: Gathering,
    lookahead: MessageLookahead,
    sender: SyncSender<Fetches>,
    waker: Waker,
    is_dropped: Arc<AtomicBool>,
}

impl Fetcher {
    fn run(mut self) {
        let dropped = self.is_dropped.clone();
        let is_wanted = || !dropped.load(Ordering::SeqCst);
        while is_wanted() {
            let fetched = self.consumer.fetch(&mut self.gathering, FETCH_WAIT_MS);
            let batch = self.gathering.take();
            if let Some(batch) = &batch {
                self.lookahead.look(batch, &is_wanted);
            }
            let batch = batch.map(Ok);
            let failure = match fetched {
                Fetched::Messages => None,
                Fetched::Failed(error) => Some(Err(error)),
            };
            // A reader that is gone wants nothing more.
            for item in batch.into_iter().chain(failure) {
                if self.sender.send(item).is_err() {
                    return;
                }
                (self.waker)();
            }
        }
    }
}
