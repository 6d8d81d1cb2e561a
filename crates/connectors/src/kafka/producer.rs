//! A producer for one topic: many messages a call, errors of delivery kept until someone asks.

use std::ffi::{CStr, CString, c_void};
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use flott_core::clock::Stopwatch;
use flott_core::{Error, Result};
use parking_lot::Mutex;
use rdkafka::bindings as rd;
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::types::RDKafkaRespErr;

use super::properties::kafka_error;

/// How long a client waits, in ms, for its thread to see that everything is to be sent, and for
/// the delivery where that is quick.
const PUSH_MS: i32 = 2;
/// How often it is looked whether a full queue has room, or full requests have left.
const LOOK: Duration = Duration::from_millis(5);
/// How often it is looked at a full queue before it is pushed.
const LOOKS_BEFORE_PUSH: usize = 20;
/// Messages of which librdkafka makes a request at once, without waiting for more
/// (`batch.num.messages`).
const FULL_REQUEST: usize = 10_000;
/// Messages handed to librdkafka at once.
const MESSAGES_AT_ONCE: usize = 1024;
/// librdkafka's number for: as the partitioner says.
const ANY_PARTITION: i32 = -1;
/// How long the end of a transaction may take.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(60);
/// How long it may take when the job has failed already.
const ABORT_TIMEOUT: Duration = Duration::from_secs(10);

/// The messages of a batch: bytes end to end, and where each one ends.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub keys: Vec<u8>,
    /// Empty when messages have no keys.
    pub key_ends: Vec<usize>,
    pub values: Vec<u8>,
    pub value_ends: Vec<usize>,
    /// Messages without a value; empty when there are none.
    pub is_tombstone: Vec<bool>,
    /// By message; empty when the producer gives the time.
    pub timestamps_ms: Vec<Option<i64>>,
    /// By message; empty when there are none.
    pub headers: Vec<OwnedHeaders>,
}

impl Records {
    pub fn clear(&mut self) {
        self.keys.clear();
        self.key_ends.clear();
        self.values.clear();
        self.value_ends.clear();
        self.is_tombstone.clear();
        self.timestamps_ms.clear();
        self.headers.clear();
    }

    pub fn len(&self) -> usize {
        self.value_ends.len()
    }

    pub fn key(&self, index: usize) -> Option<&[u8]> {
        let end = *self.key_ends.get(index)?;
        let start = if index == 0 {
            0
        } else {
            self.key_ends[index - 1]
        };
        Some(&self.keys[start..end])
    }

    pub fn value(&self, index: usize) -> Option<&[u8]> {
        if self.is_tombstone.get(index) == Some(&true) {
            return None;
        }
        let end = *self.value_ends.get(index)?;
        let start = if index == 0 {
            0
        } else {
            self.value_ends[index - 1]
        };
        Some(&self.values[start..end])
    }

    fn is_plain(&self) -> bool {
        self.timestamps_ms.is_empty() && self.headers.is_empty()
    }
}

/// Keeps the first message that could not be delivered.
#[derive(Clone, Default)]
struct Reports(Arc<Mutex<Option<Error>>>);

impl ClientContext for Reports {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, "Kafka: {reason}");
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            let what = format!("topic '{}': a message is not delivered", message.topic());
            self.0
                .lock()
                .get_or_insert_with(|| kafka_error(what, error));
        }
    }
}

/// Produces to one topic, in transactions if it has a transactional id.
pub(super) struct TopicProducer {
    // Declared first: the topic is released before its client.
    topic_handle: TopicHandle,
    client: BaseProducer<Reports>,
    topic: String,
    reports: Reports,
    is_cancelled: Arc<AtomicBool>,
}

/// librdkafka's handle of a topic.
struct TopicHandle(*mut rd::rd_kafka_topic_t);

// SAFETY: librdkafka's handles may be used from any thread, at the same time.
unsafe impl Send for TopicHandle {}
// SAFETY: as above.
unsafe impl Sync for TopicHandle {}

impl Drop for TopicHandle {
    fn drop(&mut self) {
        // SAFETY: made by `rd_kafka_topic_new`, released once, before its client.
        unsafe { rd::rd_kafka_topic_destroy(self.0) };
    }
}

impl TopicProducer {
    /// # Errors
    /// A user error for a configuration that librdkafka refuses.
    pub fn new(config: &ClientConfig, topic: &str, is_cancelled: Arc<AtomicBool>) -> Result<Self> {
        let reports = Reports::default();
        let refused = |e: KafkaError| {
            let message = format!("Kafka's client cannot be made: {e}");
            Error::user("INVALID_OPTION", message)
        };
        let client: BaseProducer<Reports> = config
            .create_with_context(reports.clone())
            .map_err(refused)?;
        let name = CString::new(topic)
            .map_err(|_| Error::user("INVALID_OPTION", "option 'topic' has a zero byte"))?;
        // SAFETY: the client is alive; the name is copied; the topic has the default configuration.
        let topic_handle = unsafe {
            rd::rd_kafka_topic_new(client.client().native_ptr(), name.as_ptr(), null_mut())
        };
        if topic_handle.is_null() {
            let message = format!("'{topic}' is no name of a topic");
            return Err(Error::user("INVALID_OPTION", message));
        }
        Ok(Self {
            topic_handle: TopicHandle(topic_handle),
            client,
            topic: topic.to_string(),
            reports,
            is_cancelled,
        })
    }

    /// How many partitions the topic has.
    pub fn num_partitions(&self) -> Result<usize> {
        let metadata = self
            .client
            .client()
            .fetch_metadata(Some(&self.topic), Duration::from_secs(30))
            .map_err(|e| kafka_error(format!("topic '{}'", self.topic), &e))?;
        let topic = metadata.topics().first();
        match topic.map(|t| t.partitions().len()) {
            Some(count) if count > 0 => Ok(count),
            _ => {
                let message = format!("topic '{}' does not exist", self.topic);
                Err(Error::user("TOPIC_NOT_FOUND", message))
            }
        }
    }

    /// The partitions that have a leader.
    ///
    /// # Errors
    /// An external error when no broker answers in time.
    pub fn available_partitions(&self, timeout: Duration) -> Result<Vec<i32>> {
        let client = self.client.client();
        let metadata = client
            .fetch_metadata(Some(&self.topic), timeout)
            .map_err(|e| kafka_error(format!("topic '{}'", self.topic), &e))?;
        let topic = metadata.topics().first();
        let all = topic.map_or(&[][..], |topic| topic.partitions());
        let led = all.iter().filter(|p| p.leader() >= 0);
        Ok(led.map(|p| p.id()).collect())
    }

    /// The error of a message that could not be delivered since the last call.
    fn check(&self) -> Result<()> {
        match self.reports.0.lock().take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Waits for brokers, or for room in librdkafka's queue.
    fn wait(&self, time: Duration) -> Result<()> {
        self.client.poll(time);
        self.check()?;
        match self.is_cancelled.load(Ordering::SeqCst) {
            true => Err(Error::user("CANCELLED", "the job was cancelled")),
            false => Ok(()),
        }
    }

    /// Messages that are not delivered yet.
    fn num_waiting(&self) -> usize {
        usize::try_from(self.client.in_flight_count()).unwrap_or(0)
    }

    /// Asks librdkafka's thread to send what it has, and waits for the delivery; gives whether
    /// everything is delivered.
    fn hurry(&self, wait_ms: i32) -> bool {
        // SAFETY: the client is alive. The wrapper's own call withdraws the request before
        // librdkafka's thread can see it, and sleeps on when everything is delivered.
        let code = unsafe { rd::rd_kafka_flush(self.client.client().native_ptr(), wait_ms) };
        code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
    }

    /// Sends messages that wait for company, unless they are so many that full requests go their
    /// way by themselves and more are coming. Gives whether any message is still waiting.
    ///
    /// # Errors
    /// A message that could not be delivered.
    pub fn push(&self, is_more_coming: bool) -> Result<bool> {
        self.client.poll(Duration::ZERO);
        self.check()?;
        Ok(match self.num_waiting() {
            0 => false,
            num if is_more_coming && num > FULL_REQUEST => true,
            _ => !self.hurry(PUSH_MS),
        })
    }

    /// Hands messages over, in order; waits while librdkafka's queue is full.
    ///
    /// # Errors
    /// A message that the client refuses, or an earlier one that could not be delivered.
    pub fn send(&self, records: &Records, partition: Option<i32>) -> Result<()> {
        self.client.poll(Duration::ZERO);
        self.check()?;
        if !records.is_plain() {
            return (0..records.len()).try_for_each(|i| self.send_one(records, i, partition));
        }
        let mut next = 0;
        while next < records.len() {
            let end = records.len().min(next + MESSAGES_AT_ONCE);
            next = self.send_some(records, next, end, partition)?;
            if next < end {
                self.make_room()?;
            }
        }
        Ok(())
    }

    /// Waits until librdkafka's full queue has shrunk; if it does not, what is in it may be too
    /// little of each partition for full requests.
    fn make_room(&self) -> Result<()> {
        let before = self.num_waiting();
        for _ in 0..LOOKS_BEFORE_PUSH {
            self.wait(LOOK)?;
            if self.num_waiting() < before {
                return Ok(());
            }
        }
        self.hurry(PUSH_MS);
        Ok(())
    }

    /// Hands `start..end` over; gives the first message that found no room, or `end`.
    fn send_some(
        &self,
        records: &Records,
        start: usize,
        end: usize,
        partition: Option<i32>,
    ) -> Result<usize> {
        let pointer = |bytes: Option<&[u8]>| match bytes {
            Some(bytes) => (bytes.as_ptr().cast_mut().cast::<c_void>(), bytes.len()),
            None => (null_mut(), 0),
        };
        let message = |index: usize| {
            let (payload, len) = pointer(records.value(index));
            let (key, key_len) = pointer(records.key(index));
            rd::rd_kafka_message_t {
                err: RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR,
                rkt: null_mut(),
                partition: 0,
                payload,
                len,
                key,
                key_len,
                offset: 0,
                _private: null_mut(),
            }
        };
        let mut messages: Vec<_> = (start..end).map(message).collect();
        // SAFETY: the topic is alive; payloads and keys live in `records` and are copied, as the
        // flag says, before the call returns; nothing is written through their pointers.
        let accepted = unsafe {
            rd::rd_kafka_produce_batch(
                self.topic_handle.0,
                partition.unwrap_or(ANY_PARTITION),
                rd::RD_KAFKA_MSG_F_COPY,
                messages.as_mut_ptr(),
                messages.len() as i32,
            )
        };
        if usize::try_from(accepted) == Ok(messages.len()) {
            return Ok(end);
        }
        let no_error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
        let refused = messages.iter().position(|m| m.err != no_error);
        let Some(refused) = refused else {
            return Ok(end);
        };
        match messages[refused].err {
            // Once the queue is full, all that follows is refused too: the order holds.
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__QUEUE_FULL => Ok(start + refused),
            code => Err(self.refusal(code, messages[refused].len)),
        }
    }

    fn refusal(&self, code: RDKafkaRespErr, size: usize) -> Error {
        // SAFETY: a constant string for every code.
        let text = unsafe { CStr::from_ptr(rd::rd_kafka_err2str(code)) };
        let (topic, text) = (&self.topic, text.to_string_lossy());
        let message = format!("topic '{topic}': a message of {size} bytes is refused: {text}");
        Error::external("KAFKA", message)
    }

    fn send_one(&self, records: &Records, index: usize, partition: Option<i32>) -> Result<()> {
        loop {
            let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&self.topic);
            record.key = records.key(index);
            record.payload = records.value(index);
            record.partition = partition;
            record.timestamp = records.timestamps_ms.get(index).copied().flatten();
            record.headers = records.headers.get(index).cloned();
            match self.client.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    self.make_room()?;
                }
                Err((error, _)) => {
                    let what = format!("topic '{}'", self.topic);
                    return Err(kafka_error(what, &error));
                }
            }
        }
    }

    /// Waits until every message is delivered.
    ///
    /// # Errors
    /// A message that could not be delivered; the job's cancellation.
    pub fn flush(&self) -> Result<()> {
        let mut before = usize::MAX;
        loop {
            let left = self.num_waiting();
            // Full requests leave by themselves. To be hurried makes librdkafka's thread turn in
            // circles while one of them is under way: now and then is enough.
            let is_moving = left > FULL_REQUEST && left < before;
            before = left;
            if !is_moving && self.hurry(PUSH_MS) {
                self.client.poll(Duration::ZERO);
                return self.check();
            }
            self.wait(LOOK)?;
        }
    }

    /// Repeats a step of a transaction as long as librdkafka says that it may succeed.
    fn transact(&self, what: &str, step: impl Fn() -> KafkaResult<()>) -> Result<()> {
        loop {
            match step() {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(error)) if error.is_retriable() => {
                    tracing::warn!(%error, "{what}: again");
                    self.wait(LOOK)?;
                }
                Err(error) => return Err(kafka_error(what, &error)),
            }
        }
    }

    /// Fences former producers of the transactional id, aborts what they left, and begins.
    pub fn init_transactions(&self) -> Result<()> {
        let what = "transactions cannot be begun";
        self.transact(what, || self.client.init_transactions(TRANSACTION_TIMEOUT))
    }

    pub fn begin_transaction(&self) -> Result<()> {
        let what = "a transaction cannot be begun";
        self.transact(what, || self.client.begin_transaction())
    }

    pub fn commit_transaction(&self) -> Result<()> {
        let what = "a transaction cannot be committed";
        self.transact(what, || self.client.commit_transaction(TRANSACTION_TIMEOUT))
    }

    /// What was not delivered yet is not waited for.
    pub fn abort_transaction(&self) -> Result<()> {
        let what = "a transaction cannot be aborted";
        let purge = rdkafka::producer::PurgeConfig::default().queue().inflight();
        self.client.purge(purge);
        // What was thrown away is reported, and the client waits until the reports are taken.
        let since = Stopwatch::start();
        self.client.poll(Duration::ZERO);
        while self.num_waiting() > 0 && since.elapsed() < ABORT_TIMEOUT {
            self.client.poll(Duration::from_millis(1));
        }
        let aborted = self.client.abort_transaction(ABORT_TIMEOUT);
        self.client.poll(Duration::ZERO);
        aborted.map_err(|e| kafka_error(what, &e))
    }
}
