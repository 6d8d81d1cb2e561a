//! Messages as they were fetched: their bytes end to end, and where each one stands.

use std::ops::Range;

use super::split::TopicPartition;

/// A batch is full when it has so many bytes.
const MAX_BYTES: usize = 4 << 20;

/// What a message says of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct MessageHead {
    pub offset: i64,
    pub timestamp_ms: i64,
    /// 0 none, 1 by the producer, 2 by the broker.
    pub timestamp_type: u8,
    /// -1 when it is not known.
    pub leader_epoch: i32,
}

/// A piece of the batch's bytes; absent is not the same as empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    start: u32,
    length: u32,
}

const ABSENT: Piece = Piece {
    start: 0,
    length: u32::MAX,
};

/// A message, or the end of a partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message {
    /// Its place in [`MessageBatch::places`].
    pub place: u32,
    /// The partition has been read up to `head.offset`; there is no message.
    pub is_end: bool,
    pub head: MessageHead,
    key: Piece,
    value: Piece,
    headers: (u32, u32),
}

/// Messages of some partitions, each partition's in order.
#[derive(Debug, Default)]
pub(super) struct MessageBatch {
    pub places: Vec<TopicPartition>,
    pub messages: Vec<Message>,
    bytes: Vec<u8>,
    headers: Vec<(Piece, Piece)>,
}

impl MessageBatch {
    fn piece(&self, piece: Piece) -> Option<&[u8]> {
        (piece != ABSENT).then(|| {
            let start = piece.start as usize;
            &self.bytes[start..start + piece.length as usize]
        })
    }

    pub fn key(&self, message: &Message) -> Option<&[u8]> {
        self.piece(message.key)
    }

    pub fn value(&self, message: &Message) -> Option<&[u8]> {
        self.piece(message.value)
    }

    /// Names and values, in the message's order.
    pub fn headers(&self, message: &Message) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let range: Range<usize> = message.headers.0 as usize..message.headers.1 as usize;
        let pairs = self.headers[range].iter();
        pairs.map(|(name, value)| (self.piece(*name).unwrap_or_default(), self.piece(*value)))
    }

    pub fn num_bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// A batch that is being filled.
#[derive(Debug)]
pub(super) struct Gathering {
    batch: MessageBatch,
    max_messages: usize,
    wants_headers: bool,
    last_place: usize,
}

impl Gathering {
    pub fn new(max_messages: usize, wants_headers: bool) -> Self {
        Self {
            batch: MessageBatch::default(),
            max_messages: max_messages.max(1),
            wants_headers,
            last_place: 0,
        }
    }

    pub fn is_full(&self) -> bool {
        self.batch.messages.len() >= self.max_messages || self.batch.bytes.len() >= MAX_BYTES
    }

    pub fn wants_headers(&self) -> bool {
        self.wants_headers
    }

    /// What has been gathered; `None` when that is nothing.
    pub fn take(&mut self) -> Option<MessageBatch> {
        if self.batch.messages.is_empty() {
            return None;
        }
        let batch = std::mem::take(&mut self.batch);
        self.batch.bytes.reserve(batch.bytes.len());
        self.batch.messages.reserve(batch.messages.len());
        self.last_place = 0;
        Some(batch)
    }

    /// Messages of one partition mostly follow each other.
    fn place(&mut self, topic: &str, partition: i32) -> u32 {
        let places = &self.batch.places;
        let is = |p: &TopicPartition| p.partition == partition && p.topic == topic;
        if !places.get(self.last_place).is_some_and(is) {
            self.last_place = match places.iter().position(is) {
                Some(place) => place,
                None => {
                    let place = TopicPartition::new(topic, partition);
                    self.batch.places.push(place);
                    self.batch.places.len() - 1
                }
            };
        }
        self.last_place as u32
    }

    pub fn push_end(&mut self, topic: &str, partition: i32, offset: i64) {
        let head = MessageHead {
            offset,
            ..MessageHead::default()
        };
        self.begin(topic, partition, head);
        if let Some(message) = self.batch.messages.last_mut() {
            message.is_end = true;
        }
    }

    pub fn begin(&mut self, topic: &str, partition: i32, head: MessageHead) {
        let place = self.place(topic, partition);
        let headers = self.batch.headers.len() as u32;
        self.batch.messages.push(Message {
            place,
            is_end: false,
            head,
            key: ABSENT,
            value: ABSENT,
            headers: (headers, headers),
        });
    }

    fn copy(&mut self, bytes: Option<&[u8]>) -> Piece {
        let Some(bytes) = bytes else { return ABSENT };
        let start = self.batch.bytes.len() as u32;
        self.batch.bytes.extend_from_slice(bytes);
        Piece {
            start,
            length: bytes.len() as u32,
        }
    }

    pub fn push_key(&mut self, key: Option<&[u8]>) {
        let key = self.copy(key);
        if let Some(message) = self.batch.messages.last_mut() {
            message.key = key;
        }
    }

    pub fn push_value(&mut self, value: Option<&[u8]>) {
        let value = self.copy(value);
        if let Some(message) = self.batch.messages.last_mut() {
            message.value = value;
        }
    }

    pub fn push_header(&mut self, name: &[u8], value: Option<&[u8]>) {
        let pair = (self.copy(Some(name)), self.copy(value));
        self.batch.headers.push(pair);
        if let Some(message) = self.batch.messages.last_mut() {
            message.headers.1 += 1;
        }
    }
}
