//! Finds partitions, once or again and again, on a thread of its own, and hands them to readers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

use flott_core::clock::Stopwatch;
use flott_core::source::{SplitEnumerator, SplitPoll};
use flott_core::{Error, Result};
use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use regex::Regex;

use super::codec::{Decoding, Encoding};
use super::offsets::OffsetRule;
use super::properties::kafka_error;
use super::split::{KafkaSplit, TopicPartition};

/// How long a broker may take to name the partitions.
const METADATA_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the first discovery is tried, and the pause between two attempts: brokers may just be
/// starting.
const FIRST_PATIENCE: Duration = Duration::from_secs(60);
/// The same for a topic, which may just have been made.
const TOPIC_PATIENCE: Duration = Duration::from_secs(15);
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Errors that a client may have gathered while it was asked one question.
const MOST_COMPLAINTS: usize = 32;
/// How often readers ask for splits, in ms: while nothing is known yet, and later.
const ASK_SOON_MS: i64 = 10;
const ASK_LATER_MS: i64 = 500;

/// Which topics are read.
#[derive(Debug, Clone)]
pub(super) enum Topics {
    List(Vec<String>),
    /// Matches whole names.
    Pattern(Regex),
}

/// What discovery needs to know.
#[derive(Clone)]
pub(super) struct DiscoveryPlan {
    pub topics: Topics,
    pub config: ClientConfig,
    pub startup: OffsetRule,
    pub bounded: Option<OffsetRule>,
    /// How often to look again; `None` looks once.
    pub interval: Option<Duration>,
}

/// What has been found.
#[derive(Default)]
struct Found {
    seen: BTreeSet<TopicPartition>,
    /// Not handed out yet, by reader.
    waiting: BTreeMap<usize, VecDeque<KafkaSplit>>,
    /// Partitions have been found, in this run or before a restore: others are new ones.
    is_discovered: bool,
    /// It has been looked since this run began.
    is_current: bool,
    failure: Option<Error>,
}

/// Hands partitions to the readers that they belong to.
pub(super) struct KafkaEnumerator {
    found: Arc<Mutex<Found>>,
    is_repeated: bool,
    /// Dropped with the enumerator, which ends the thread.
    _stop: Sender<()>,
}

impl KafkaEnumerator {
    pub fn start(plan: DiscoveryPlan, parallelism: usize, restored: Option<&[u8]>) -> Result<Self> {
        let mut found = Found::default();
        if let Some(bytes) = restored {
            found.restore(&mut Decoding(bytes), parallelism)?;
        }
        let is_repeated = plan.interval.is_some() && plan.bounded.is_none();
        let (stop, stopped) = mpsc::channel();
        // What is read to an end is what there was at first.
        let is_over = found.is_discovered && plan.bounded.is_some();
        found.is_current = is_over;
        let found = Arc::new(Mutex::new(found));
        if !is_over {
            let shared = found.clone();
            let body = move || run(&plan, parallelism, &shared, &stopped, is_repeated);
            std::thread::Builder::new()
                .name("kafka-discovery".into())
                .spawn(body)
                .map_err(|e| Error::external("THREAD", format!("no thread can be started: {e}")))?;
        }
        Ok(Self {
            found,
            is_repeated,
            _stop: stop,
        })
    }
}

impl Found {
    fn restore(&mut self, decoding: &mut Decoding<'_>, parallelism: usize) -> Result<()> {
        self.is_discovered = decoding.number()? == 1;
        for _ in 0..decoding.number()? {
            let topic = decoding.text()?;
            let partition = decoding.number()? as i32;
            self.seen.insert(TopicPartition { topic, partition });
        }
        while !decoding.is_empty() {
            self.add(KafkaSplit::decode(decoding)?, parallelism);
        }
        Ok(())
    }

    fn add(&mut self, split: KafkaSplit, parallelism: usize) {
        let owner = split.place.owner(parallelism);
        self.waiting.entry(owner).or_default().push_back(split);
    }
}

impl SplitEnumerator for KafkaEnumerator {
    fn next_split(&mut self, subtask: usize, now_ms: i64) -> Result<SplitPoll> {
        let mut found = self.found.lock();
        if let Some(error) = &found.failure {
            return Err(error.clone());
        }
        let waiting = found.waiting.get_mut(&subtask);
        if let Some(split) = waiting.and_then(VecDeque::pop_front) {
            return Ok(SplitPoll::Split(split.to_split()));
        }
        Ok(match (found.is_current, self.is_repeated) {
            (false, _) => SplitPoll::PendingUntil(now_ms + ASK_SOON_MS),
            (true, true) => SplitPoll::NoneUntil(now_ms + ASK_LATER_MS),
            (true, false) => SplitPoll::End,
        })
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        let found = self.found.lock();
        let mut encoding = Encoding::default();
        encoding
            .number(i64::from(found.is_discovered))
            .number(found.seen.len() as i64);
        for place in &found.seen {
            encoding
                .text(&place.topic)
                .number(i64::from(place.partition));
        }
        for split in found.waiting.values().flatten() {
            split.encode(&mut encoding);
        }
        Ok(encoding.0)
    }
}

fn run(
    plan: &DiscoveryPlan,
    parallelism: usize,
    found: &Mutex<Found>,
    stopped: &mpsc::Receiver<()>,
    is_repeated: bool,
) {
    let consumer: Asker = match plan.config.create_with_context(Complaints::default()) {
        Ok(consumer) => consumer,
        Err(error) => {
            found.lock().failure = Some(kafka_error("a client cannot be made", &error));
            return;
        }
    };
    let since = Stopwatch::start();
    loop {
        let pause = match discover(plan, &consumer, parallelism, found) {
            Ok(()) if is_repeated => plan.interval.unwrap_or(Duration::MAX),
            Ok(()) => return,
            Err(error) => {
                let is_first = !found.lock().is_discovered;
                let error = complaint(&consumer).unwrap_or(error);
                let patience = match error.code() {
                    "TOPIC_NOT_FOUND" => TOPIC_PATIENCE,
                    _ if error.is_retryable() => FIRST_PATIENCE,
                    _ => Duration::ZERO,
                };
                if is_first && since.elapsed() >= patience {
                    found.lock().failure = Some(error);
                    return;
                }
                tracing::warn!(%error, "partitions could not be looked up");
                RETRY_PAUSE
            }
        };
        if stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

/// What asks brokers for partitions and offsets.
pub(super) type Asker = BaseConsumer<Complaints>;

/// Keeps what cannot pass by waiting: a broker that does not know us, or that we do not trust.
#[derive(Default)]
pub(super) struct Complaints(Mutex<Option<Error>>);

impl ClientContext for Complaints {
    fn error(&self, error: KafkaError, reason: &str) {
        let code = match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Authentication) => "KAFKA_AUTHENTICATION",
            Some(RDKafkaErrorCode::SSL) if reason.contains("verify failed") => "KAFKA_TLS",
            _ => {
                tracing::warn!(%error, "Kafka: {reason}");
                return;
            }
        };
        *self.0.lock() = Some(Error::external(code, reason));
    }
}

impl ConsumerContext for Complaints {}

/// The complaint of a client that has just failed to give an answer. It hears of errors when it is
/// polled; messages come to none, since nothing is assigned.
fn complaint(consumer: &Asker) -> Option<Error> {
    for _ in 0..MOST_COMPLAINTS {
        let _ = consumer.poll(Duration::ZERO);
    }
    consumer.context().0.lock().take()
}

fn discover(
    plan: &DiscoveryPlan,
    consumer: &Asker,
    parallelism: usize,
    found: &Mutex<Found>,
) -> Result<()> {
    let all = partitions(&plan.topics, consumer)?;
    let (new, is_first): (Vec<_>, bool) = {
        let found = found.lock();
        let is_new = |p: &TopicPartition| !found.seen.contains(p);
        (
            all.into_iter().filter(is_new).collect(),
            !found.is_discovered,
        )
    };
    // What came into being while the job ran is read from its beginning.
    let startup = if is_first {
        &plan.startup
    } else {
        &OffsetRule::Earliest
    };
    let starts = startup.resolve(consumer, &new)?;
    let ends = match &plan.bounded {
        Some(rule) => rule
            .resolve(consumer, &new)?
            .into_iter()
            .map(Some)
            .collect(),
        None => vec![None; new.len()],
    };
    let mut found = found.lock();
    for ((place, next_offset), end_offset) in new.into_iter().zip(starts).zip(ends) {
        found.seen.insert(place.clone());
        let split = KafkaSplit {
            place,
            next_offset,
            end_offset,
        };
        if !split.is_done() {
            found.add(split, parallelism);
        }
    }
    found.is_discovered = true;
    found.is_current = true;
    Ok(())
}

fn partitions(topics: &Topics, consumer: &Asker) -> Result<Vec<TopicPartition>> {
    let mut all = Vec::new();
    match topics {
        Topics::List(names) => {
            for name in names {
                add_partitions(consumer, Some(name), |_| true, &mut all)?;
            }
        }
        Topics::Pattern(pattern) => {
            let is_match = |name: &str| {
                let whole = pattern.find(name);
                whole.is_some_and(|m| m.start() == 0 && m.end() == name.len())
            };
            add_partitions(consumer, None, is_match, &mut all)?;
        }
    }
    all.sort();
    Ok(all)
}

fn add_partitions(
    consumer: &Asker,
    topic: Option<&str>,
    is_wanted: impl Fn(&str) -> bool,
    all: &mut Vec<TopicPartition>,
) -> Result<()> {
    let metadata = consumer
        .fetch_metadata(topic, METADATA_TIMEOUT)
        .map_err(|e| kafka_error("partitions", &e))?;
    for topic in metadata.topics().iter().filter(|t| is_wanted(t.name())) {
        match topic.error() {
            None => {}
            Some(
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
                | RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID,
            ) => {
                let message = format!("topic '{}' does not exist", topic.name());
                return Err(Error::user("TOPIC_NOT_FOUND", message));
            }
            Some(error) => {
                let message = format!("topic '{}': {error:?}", topic.name());
                return Err(Error::external("KAFKA", message).retryable());
            }
        }
        let partitions = topic.partitions().iter();
        all.extend(partitions.map(|p| TopicPartition::new(topic.name(), p.id())));
    }
    Ok(())
}
