//! The encoding of splits, committables and snapshots: little-endian numbers and byte strings with
//! their length before them.

use flott_core::{Error, Result};

/// Gathers fields.
#[derive(Debug, Default)]
pub(super) struct Encoding(pub Vec<u8>);

impl Encoding {
    pub fn number(&mut self, value: i64) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub fn text(&mut self, value: &str) -> &mut Self {
        self.number(value.len() as i64);
        self.0.extend_from_slice(value.as_bytes());
        self
    }
}

/// Reads fields in the order in which they were gathered.
#[derive(Debug)]
pub(super) struct Decoding<'a>(pub &'a [u8]);

fn torn() -> Error {
    Error::internal("a snapshot of a Kafka table cannot be read")
}

impl Decoding<'_> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn number(&mut self) -> Result<i64> {
        let (bytes, rest) = self.0.split_first_chunk::<8>().ok_or_else(torn)?;
        self.0 = rest;
        Ok(i64::from_le_bytes(*bytes))
    }

    pub fn text(&mut self) -> Result<String> {
        let length = usize::try_from(self.number()?).map_err(|_| torn())?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or_else(torn)?;
        self.0 = rest;
        String::from_utf8(bytes.to_vec()).map_err(|_| torn())
    }
}
