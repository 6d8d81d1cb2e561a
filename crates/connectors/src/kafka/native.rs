//! A consumer over librdkafka's C interface.
//!
//! The safe wrapper hands messages out one by one, and tells neither where a partition ended nor a
//! message's leader epoch; both are needed here, so this module has the project's only foreign
//! calls for Kafka. Invariants: the handle and its queue live as long as [`NativeConsumer`], are
//! internally synchronised, and every message is copied and destroyed before a call returns.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::null_mut;

use flott_core::{Error, Result};
use rdkafka::bindings as rd;
use rdkafka::config::ClientConfig;
use rdkafka::types::{RDKafkaRespErr, RDKafkaType};

use super::batch::{Gathering, MessageHead};
use super::split::TopicPartition;

/// Messages taken from librdkafka's queue at once.
const MESSAGES_AT_ONCE: usize = 1024;

/// A consumer of explicitly assigned partitions.
pub(super) struct NativeConsumer {
    handle: *mut rd::rd_kafka_t,
    queue: *mut rd::rd_kafka_queue_t,
}

// SAFETY: librdkafka's handles and queues may be used from any thread, at the same time.
unsafe impl Send for NativeConsumer {}
// SAFETY: as above.
unsafe impl Sync for NativeConsumer {}

/// What a fetch met besides messages.
pub(super) enum Fetched {
    Messages,
    /// The client has failed, or a partition cannot be read.
    Failed(Error),
}

unsafe extern "C" fn log(
    _: *const rd::rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    text: *const c_char,
) {
    // SAFETY: librdkafka passes terminated strings that live for the call.
    let (facility, text) = unsafe { (CStr::from_ptr(facility), CStr::from_ptr(text)) };
    let (facility, text) = (facility.to_string_lossy(), text.to_string_lossy());
    match level {
        0..=4 => tracing::warn!(%facility, "{text}"),
        5 | 6 => tracing::info!(%facility, "{text}"),
        _ => tracing::debug!(%facility, "{text}"),
    }
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| {
        let shown = text.replace('\0', "\\0");
        Error::user(
            "INVALID_OPTION",
            format!("'{shown}' is no name of a topic: it has a zero byte"),
        )
    })
}

/// A list of partitions with offsets, in librdkafka's memory.
struct PartitionList(*mut rd::rd_kafka_topic_partition_list_t);

impl PartitionList {
    fn new<'a>(
        partitions: impl ExactSizeIterator<Item = (&'a TopicPartition, i64)>,
    ) -> Result<Self> {
        // SAFETY: a plain allocation, freed in `drop`.
        let list =
            Self(unsafe { rd::rd_kafka_topic_partition_list_new(partitions.len() as c_int) });
        for (place, offset) in partitions {
            let topic = c_string(&place.topic)?;
            // SAFETY: the list is alive; the name is copied; the new element is written before
            // the list grows again.
            unsafe {
                let added =
                    rd::rd_kafka_topic_partition_list_add(list.0, topic.as_ptr(), place.partition);
                (*added).offset = offset;
            }
        }
        Ok(list)
    }
}

impl Drop for PartitionList {
    fn drop(&mut self) {
        // SAFETY: made by `new`, destroyed once.
        unsafe { rd::rd_kafka_topic_partition_list_destroy(self.0) };
    }
}

/// The error that librdkafka handed out, which is freed; `Ok` for none.
fn checked(error: *mut rd::rd_kafka_error_t, what: &str) -> Result<()> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: a live error of which we are the owner.
    let text = unsafe {
        let text = CStr::from_ptr(rd::rd_kafka_error_string(error))
            .to_string_lossy()
            .into_owned();
        rd::rd_kafka_error_destroy(error);
        text
    };
    Err(Error::external("KAFKA", format!("{what}: {text}")).retryable())
}

fn succeeded(code: RDKafkaRespErr) -> Result<()> {
    if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Ok(());
    }
    // SAFETY: a constant string for every code.
    let text = unsafe { CStr::from_ptr(rd::rd_kafka_err2str(code)) };
    Err(Error::external("KAFKA", text.to_string_lossy()))
}

impl NativeConsumer {
    /// # Errors
    /// A user error for a configuration that librdkafka refuses.
    pub fn new(config: &ClientConfig) -> Result<Self> {
        let native = config
            .create_native_config()
            .map_err(|e| Error::user("INVALID_OPTION", e.to_string()))?;
        let mut why = [0 as c_char; 512];
        // SAFETY: the configuration is copied first, because the new handle owns what it is given
        // only when it is made.
        let (handle, why) = unsafe {
            let config = rd::rd_kafka_conf_dup(native.ptr());
            rd::rd_kafka_conf_set_log_cb(config, Some(log));
            let kind = RDKafkaType::RD_KAFKA_CONSUMER;
            let handle = rd::rd_kafka_new(kind, config, why.as_mut_ptr(), why.len());
            if handle.is_null() {
                rd::rd_kafka_conf_destroy(config);
            }
            (handle, CStr::from_ptr(why.as_ptr()).to_string_lossy())
        };
        if handle.is_null() {
            return Err(Error::user(
                "INVALID_OPTION",
                format!("Kafka's client cannot be made: {why}"),
            ));
        }
        // SAFETY: the handle is alive; one queue then carries messages and errors.
        let queue = unsafe {
            rd::rd_kafka_poll_set_consumer(handle);
            rd::rd_kafka_queue_get_consumer(handle)
        };
        Ok(Self { handle, queue })
    }

    /// Reads these partitions too, from these offsets on.
    pub fn assign<'a>(
        &self,
        partitions: impl ExactSizeIterator<Item = (&'a TopicPartition, i64)>,
    ) -> Result<()> {
        let list = PartitionList::new(partitions)?;
        // SAFETY: handle and list are alive; the list is copied.
        let error = unsafe { rd::rd_kafka_incremental_assign(self.handle, list.0) };
        checked(error, "partitions cannot be assigned")
    }

    /// Reads these partitions no longer.
    pub fn unassign(&self, place: &TopicPartition) -> Result<()> {
        let list = PartitionList::new([(place, 0)].into_iter())?;
        // SAFETY: handle and list are alive; the list is copied.
        let error = unsafe { rd::rd_kafka_incremental_unassign(self.handle, list.0) };
        checked(error, "a partition cannot be given up")
    }

    /// Fetches no more of these partitions for a while; what is fetched already still comes.
    pub fn pause(&self, places: &[TopicPartition]) -> Result<()> {
        let list = PartitionList::new(places.iter().map(|place| (place, 0)))?;
        // SAFETY: handle and list are alive; the list is only read and marked.
        let code = unsafe { rd::rd_kafka_pause_partitions(self.handle, list.0) };
        succeeded(code)
    }

    /// Fetches paused partitions again.
    pub fn resume(&self, places: &[TopicPartition]) -> Result<()> {
        let list = PartitionList::new(places.iter().map(|place| (place, 0)))?;
        // SAFETY: as above.
        let code = unsafe { rd::rd_kafka_resume_partitions(self.handle, list.0) };
        succeeded(code)
    }

    /// Commits offsets for the consumer group, without waiting for the broker's answer.
    pub fn commit<'a>(
        &self,
        offsets: impl ExactSizeIterator<Item = (&'a TopicPartition, i64)>,
    ) -> Result<()> {
        let list = PartitionList::new(offsets)?;
        // SAFETY: handle and list are alive; the list is copied.
        succeeded(unsafe { rd::rd_kafka_commit(self.handle, list.0, 1) })
    }

    /// Waits for a first message, at most `wait_ms`, and takes what is there then, until
    /// `gathering` is full.
    pub fn fetch(&self, gathering: &mut Gathering, wait_ms: u32) -> Fetched {
        // SAFETY: the queue is alive.
        let first = unsafe { rd::rd_kafka_consume_queue(self.queue, wait_ms as c_int) };
        if first.is_null() {
            return Fetched::Messages;
        }
        if let Some(error) = take(first, gathering) {
            return Fetched::Failed(error);
        }
        let mut messages = [null_mut(); MESSAGES_AT_ONCE];
        while !gathering.is_full() {
            // SAFETY: the queue is alive and the array has as many places as said.
            let taken = unsafe {
                rd::rd_kafka_consume_batch_queue(
                    self.queue,
                    0,
                    messages.as_mut_ptr(),
                    messages.len(),
                )
            };
            let taken = usize::try_from(taken).unwrap_or(0);
            let mut failed = None;
            for message in &messages[..taken] {
                failed = take(*message, gathering).or(failed);
            }
            if let Some(error) = failed {
                return Fetched::Failed(error);
            }
            if taken < messages.len() {
                break;
            }
        }
        Fetched::Messages
    }
}

impl Drop for NativeConsumer {
    fn drop(&mut self) {
        // SAFETY: both are alive, and nobody else holds them.
        unsafe {
            rd::rd_kafka_queue_destroy(self.queue);
            rd::rd_kafka_consumer_close(self.handle);
            rd::rd_kafka_destroy(self.handle);
        }
    }
}

/// Copies a message into `gathering` and destroys it; gives the error that it stands for.
fn take(message: *mut rd::rd_kafka_message_t, gathering: &mut Gathering) -> Option<Error> {
    // SAFETY: librdkafka hands out a live message of which we are the owner.
    unsafe {
        let error = copy(&*message, gathering);
        rd::rd_kafka_message_destroy(message);
        error
    }
}

/// # Safety
/// The message is alive.
unsafe fn copy(message: &rd::rd_kafka_message_t, gathering: &mut Gathering) -> Option<Error> {
    // SAFETY: topic names, payloads, keys and headers live as long as the message.
    unsafe {
        let topic = match message.rkt.is_null() {
            true => "",
            false => CStr::from_ptr(rd::rd_kafka_topic_name(message.rkt))
                .to_str()
                .unwrap_or_default(),
        };
        match message.err {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF => {
                gathering.push_end(topic, message.partition, message.offset);
                return None;
            }
            other => return failure(message, other, topic),
        }
        let mut kind = rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        let timestamp_ms = rd::rd_kafka_message_timestamp(message, &mut kind);
        let head = MessageHead {
            offset: message.offset,
            timestamp_ms,
            timestamp_type: kind as u8,
            leader_epoch: rd::rd_kafka_message_leader_epoch(message),
        };
        gathering.begin(topic, message.partition, head);
        gathering.push_key(bytes(message.key, message.key_len));
        gathering.push_value(bytes(message.payload, message.len));
        if gathering.wants_headers() {
            copy_headers(message, gathering);
        }
    }
    None
}

/// # Safety
/// `length` bytes stand at `start`, unless it is null.
unsafe fn bytes<'a>(start: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: as the caller says.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast(), length) })
}

/// # Safety
/// The message is alive.
unsafe fn copy_headers(message: &rd::rd_kafka_message_t, gathering: &mut Gathering) {
    let mut headers = null_mut();
    // SAFETY: the headers belong to the message and live as long.
    unsafe {
        let code = rd::rd_kafka_message_headers(message, &mut headers);
        if code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return;
        }
        for index in 0.. {
            let (mut name, mut value, mut size) = (std::ptr::null(), std::ptr::null(), 0);
            let code =
                rd::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut size);
            if code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                return;
            }
            gathering.push_header(CStr::from_ptr(name).to_bytes(), bytes(value, size));
        }
    }
}

/// What librdkafka overcomes by itself is logged; the rest fails the job.
///
/// # Safety
/// The message is alive.
unsafe fn failure(
    message: &rd::rd_kafka_message_t,
    code: RDKafkaRespErr,
    topic: &str,
) -> Option<Error> {
    use RDKafkaRespErr::*;
    // SAFETY: the text belongs to the message.
    let text = unsafe { CStr::from_ptr(rd::rd_kafka_message_errstr(message)) };
    let text = text.to_string_lossy();
    let (partition, offset) = (message.partition, message.offset);
    match code {
        RD_KAFKA_RESP_ERR__TRANSPORT
        | RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN
        | RD_KAFKA_RESP_ERR__RESOLVE
        | RD_KAFKA_RESP_ERR__TIMED_OUT
        | RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE
        | RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION => {
            tracing::warn!("Kafka: {text}");
            None
        }
        RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET => Some(Error::user(
            "OFFSET_OUT_OF_RANGE",
            format!(
                "topic '{topic}' partition {partition}: offset {offset} is not there any more \
                 ({text}); set 'properties.auto.offset.reset' to go on elsewhere"
            ),
        )),
        _ => {
            let place = match topic {
                "" => String::new(),
                _ => format!("topic '{topic}' partition {partition}: "),
            };
            Some(Error::external("KAFKA", format!("{place}{text}")).retryable())
        }
    }
}
