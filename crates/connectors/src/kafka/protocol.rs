//! A few requests of Kafka's own protocol.
//!
//! librdkafka can neither say which producer id and epoch a transaction has nor end a transaction
//! that another process began. Both are needed to make transactions part of a checkpoint, so these
//! eight requests are written here: ApiVersions is not asked, every version used has been there
//! since Kafka 3.0.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use flott_core::{Error, Result};

use super::sasl::Credentials;
use super::security::{Security, Wire};

const METADATA: (i16, i16) = (3, 1);
const FIND_COORDINATOR: (i16, i16) = (10, 1);
const SASL_HANDSHAKE: (i16, i16) = (17, 1);
const INIT_PRODUCER_ID: (i16, i16) = (22, 1);
const END_TXN: (i16, i16) = (26, 1);
const SASL_AUTHENTICATE: (i16, i16) = (36, 0);
const DESCRIBE_TRANSACTIONS: (i16, i16) = (65, 0);
const LIST_TRANSACTIONS: (i16, i16) = (66, 0);

/// How long a broker may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// An answer cannot be longer than this.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// What a broker answers when the coordinator is elsewhere, loading, or busy with the transaction.
pub(super) const PASSING_ERRORS: &[i16] = &[
    14, // COORDINATOR_LOAD_IN_PROGRESS
    15, // COORDINATOR_NOT_AVAILABLE
    16, // NOT_COORDINATOR
    51, // CONCURRENT_TRANSACTIONS
];
pub(super) const UNKNOWN_TRANSACTIONAL_ID: i16 = 105;
pub(super) const INVALID_TXN_STATE: i16 = 48;

/// Writes a request's body.
#[derive(Default)]
struct Request(Vec<u8>);

impl Request {
    fn int8(mut self, value: i8) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn int16(mut self, value: i16) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn int32(mut self, value: i32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn int64(mut self, value: i64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn text(self, value: &str) -> Self {
        let mut request = self.int16(value.len() as i16);
        request.0.extend(value.as_bytes());
        request
    }

    /// Of the flexible versions: lengths count from 1, in seven bits a byte.
    fn compact_length(mut self, length: usize) -> Self {
        let mut rest = length as u32 + 1;
        while rest >= 0x80 {
            self.0.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.0.push(rest as u8);
        self
    }

    fn bytes(self, value: &[u8]) -> Self {
        let mut request = self.int32(value.len() as i32);
        request.0.extend(value);
        request
    }

    fn compact_text(self, value: &str) -> Self {
        let mut request = self.compact_length(value.len());
        request.0.extend(value.as_bytes());
        request
    }

    /// No tagged fields.
    fn no_tags(mut self) -> Self {
        self.0.push(0);
        self
    }
}

/// Reads an answer's body.
struct Answer {
    bytes: Vec<u8>,
    at: usize,
}

fn torn() -> Error {
    Error::external("KAFKA", "a broker's answer ends too early").retryable()
}

impl Answer {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let piece = self.bytes.get(self.at..self.at + N).ok_or_else(torn)?;
        self.at += N;
        piece.try_into().map_err(|_| torn())
    }

    fn int16(&mut self) -> Result<i16> {
        self.take().map(i16::from_be_bytes)
    }

    fn int32(&mut self) -> Result<i32> {
        self.take().map(i32::from_be_bytes)
    }

    fn int64(&mut self) -> Result<i64> {
        self.take().map(i64::from_be_bytes)
    }

    fn string(&mut self, length: i64) -> Result<String> {
        let Ok(length) = usize::try_from(length) else {
            return Ok(String::new());
        };
        let end = self.at.checked_add(length).ok_or_else(torn)?;
        let piece = self.bytes.get(self.at..end).ok_or_else(torn)?;
        self.at = end;
        Ok(String::from_utf8_lossy(piece).into_owned())
    }

    fn text(&mut self) -> Result<String> {
        let length = self.int16()?;
        self.string(i64::from(length))
    }

    fn bytes(&mut self) -> Result<Vec<u8>> {
        let length = usize::try_from(self.int32()?).unwrap_or(0);
        let end = self.at.checked_add(length).ok_or_else(torn)?;
        let piece = self.bytes.get(self.at..end).ok_or_else(torn)?;
        self.at = end;
        Ok(piece.to_vec())
    }

    fn varint(&mut self) -> Result<u32> {
        let mut value = 0u32;
        for shift in (0..32).step_by(7) {
            let [byte] = self.take::<1>()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        Ok(value)
    }

    /// `None` stands for null, which is read as nothing.
    fn compact_length(&mut self) -> Result<i64> {
        Ok(i64::from(self.varint()?) - 1)
    }

    fn compact_text(&mut self) -> Result<String> {
        let length = self.compact_length()?;
        self.string(length)
    }

    fn skip_tags(&mut self) -> Result<()> {
        for _ in 0..self.varint()? {
            self.varint()?;
            let size = self.varint()? as usize;
            self.at = self.at.checked_add(size).ok_or_else(torn)?;
        }
        Ok(())
    }
}

/// A transaction as its coordinator describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TransactionDescription {
    pub error: i16,
    pub state: String,
    pub start_ms: i64,
    pub timeout_ms: i32,
    pub producer_id: i64,
    pub producer_epoch: i16,
}

/// A connection to one broker.
pub(super) struct BrokerConnection {
    stream: Wire,
    correlation: i32,
}

/// Connects to the first of a host's addresses that answers.
fn connect(address: &str) -> Result<TcpStream> {
    let failed = |why: &dyn std::fmt::Display| {
        Error::external("KAFKA", format!("broker {address}: {why}")).retryable()
    };
    let addresses = address.to_socket_addrs().map_err(|e| failed(&e))?;
    let mut last = failed(&"no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, ANSWER_TIMEOUT) {
            Ok(stream) => {
                let set = stream
                    .set_nodelay(true)
                    .and_then(|()| stream.set_read_timeout(Some(ANSWER_TIMEOUT)))
                    .and_then(|()| stream.set_write_timeout(Some(ANSWER_TIMEOUT)));
                set.map_err(|e| failed(&e))?;
                return Ok(stream);
            }
            Err(error) => last = failed(&error),
        }
    }
    Err(last)
}

impl BrokerConnection {
    /// # Errors
    /// An external error: retryable when the broker cannot be reached, not when the two do not
    /// trust each other.
    pub fn open(address: &str, security: &Security) -> Result<Self> {
        // In a URL the protocol of a listener may stand before its address.
        let address = address.split_once("://").map_or(address, |(_, a)| a);
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let mut connection = Self {
            stream: security.secure(host, connect(address)?)?,
            correlation: 0,
        };
        if let Some(credentials) = &security.credentials {
            let proven = connection.authenticate(credentials);
            proven.map_err(|e| e.context(format_args!("broker {address}")))?;
        }
        Ok(connection)
    }

    fn authenticate(&mut self, credentials: &Credentials) -> Result<()> {
        let mechanism = credentials.mechanism.name();
        let refused = |why: String| Error::external("KAFKA_AUTHENTICATION", why);
        let body = Request::default().text(mechanism);
        let mut answer = self.ask(SASL_HANDSHAKE, false, body)?;
        if answer.int16()? != 0 {
            let count = answer.int32()?;
            let known = (0..count)
                .map(|_| answer.text())
                .collect::<Result<Vec<_>>>()?;
            let known = known.join(", ");
            return Err(refused(format!(
                "'properties.sasl.mechanism' = '{mechanism}' is not enabled; it takes {known}"
            )));
        }
        credentials.authenticate(|message| {
            let body = Request::default().bytes(message);
            let mut answer = self.ask(SASL_AUTHENTICATE, false, body)?;
            let (code, why) = (answer.int16()?, answer.text()?);
            match code {
                0 => answer.bytes(),
                _ => Err(refused(format!("user '{}': {why}", credentials.user))),
            }
        })
    }

    fn ask(
        &mut self,
        (key, version): (i16, i16),
        is_flexible: bool,
        body: Request,
    ) -> Result<Answer> {
        self.correlation += 1;
        let mut request = Request::default()
            .int16(key)
            .int16(version)
            .int32(self.correlation)
            .text("flott");
        if is_flexible {
            request = request.no_tags();
        }
        request.0.extend(body.0);
        let mut message = (request.0.len() as i32).to_be_bytes().to_vec();
        message.extend(request.0);
        let failed = |e: std::io::Error| {
            Error::external("KAFKA", format!("a broker does not answer: {e}")).retryable()
        };
        let sent = self.stream.write_all(&message);
        sent.and_then(|()| self.stream.flush()).map_err(failed)?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).map_err(failed)?;
        let length = usize::try_from(i32::from_be_bytes(length)).map_err(|_| torn())?;
        if length > MAX_ANSWER_BYTES {
            return Err(Error::external(
                "KAFKA",
                format!("an answer of {length} bytes"),
            ));
        }
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).map_err(failed)?;
        let mut answer = Answer { bytes, at: 0 };
        let correlation = answer.int32()?;
        if correlation != self.correlation {
            return Err(Error::external("KAFKA", "an answer to another question").retryable());
        }
        if is_flexible {
            answer.skip_tags()?;
        }
        Ok(answer)
    }

    /// The addresses of all brokers.
    pub fn brokers(&mut self) -> Result<Vec<String>> {
        let mut answer = self.ask(METADATA, false, Request::default().int32(0))?;
        let count = answer.int32()?;
        let mut brokers = Vec::new();
        for _ in 0..count {
            answer.int32()?;
            let (host, port) = (answer.text()?, answer.int32()?);
            answer.text()?;
            brokers.push(format!("{host}:{port}"));
        }
        Ok(brokers)
    }

    /// The address of the broker that coordinates a transactional id; otherwise the error's code.
    pub fn find_coordinator(&mut self, transactional_id: &str) -> Result<Result<String, i16>> {
        let body = Request::default().text(transactional_id).int8(1);
        let mut answer = self.ask(FIND_COORDINATOR, false, body)?;
        answer.int32()?;
        let code = answer.int16()?;
        answer.text()?;
        answer.int32()?;
        let (host, port) = (answer.text()?, answer.int32()?);
        Ok(match code {
            0 => Ok(format!("{host}:{port}")),
            code => Err(code),
        })
    }

    /// Fences the former producers of a transactional id and aborts what they left open.
    pub fn init_producer_id(&mut self, transactional_id: &str, timeout_ms: i32) -> Result<i16> {
        let body = Request::default().text(transactional_id).int32(timeout_ms);
        let mut answer = self.ask(INIT_PRODUCER_ID, false, body)?;
        answer.int32()?;
        answer.int16()
    }

    /// Commits the transaction of this producer.
    pub fn commit(&mut self, transactional_id: &str, id: i64, epoch: i16) -> Result<i16> {
        let body = Request::default()
            .text(transactional_id)
            .int64(id)
            .int16(epoch)
            .int8(1);
        let mut answer = self.ask(END_TXN, false, body)?;
        answer.int32()?;
        answer.int16()
    }

    pub fn describe(&mut self, transactional_id: &str) -> Result<TransactionDescription> {
        let body = Request::default()
            .compact_length(1)
            .compact_text(transactional_id)
            .no_tags();
        let mut answer = self.ask(DESCRIBE_TRANSACTIONS, true, body)?;
        answer.int32()?;
        if answer.compact_length()? < 1 {
            return Err(torn());
        }
        let error = answer.int16()?;
        answer.compact_text()?;
        Ok(TransactionDescription {
            error,
            state: answer.compact_text()?,
            timeout_ms: answer.int32()?,
            start_ms: answer.int64()?,
            producer_id: answer.int64()?,
            producer_epoch: answer.int16()?,
        })
    }

    /// The transactional ids that this broker coordinates and that have a transaction open.
    pub fn list_open(&mut self) -> Result<Result<Vec<String>, i16>> {
        let body = Request::default()
            .compact_length(1)
            .compact_text("Ongoing")
            .compact_length(0)
            .no_tags();
        let mut answer = self.ask(LIST_TRANSACTIONS, true, body)?;
        answer.int32()?;
        let code = answer.int16()?;
        if code != 0 {
            return Ok(Err(code));
        }
        for _ in 0..answer.compact_length()? {
            answer.compact_text()?;
        }
        let mut ids = Vec::new();
        for _ in 0..answer.compact_length()? {
            ids.push(answer.compact_text()?);
            answer.int64()?;
            answer.compact_text()?;
            answer.skip_tags()?;
        }
        Ok(Ok(ids))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compact_lengths_survive() {
        for length in [0, 1, 126, 127, 128, 20_000] {
            let request = Request::default().compact_length(length);
            let mut answer = Answer {
                bytes: request.0,
                at: 0,
            };
            assert_eq!(answer.compact_length().unwrap(), length as i64);
        }
    }

    #[test]
    fn a_torn_answer_is_an_error() {
        let mut answer = Answer {
            bytes: vec![0, 9, b'a'],
            at: 0,
        };
        assert!(answer.text().is_err());
    }
}
