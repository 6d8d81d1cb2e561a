//! Streams of an ORC file: chunks, each compressed by itself or not at all.

use std::io::Read;

use arrow::buffer::Buffer;
use flott_core::{Error, Result};

use super::damaged;

/// Java's default.
const DEFAULT_BLOCK_BYTES: u64 = 256 << 10;
/// The lengths of chunks have 23 bits.
const MAX_BLOCK_BYTES: u64 = 1 << 23;
/// A chunk's header: its length, and whether it is stored as it is.
const HEADER_BYTES: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    None,
    Zlib,
    Snappy,
    Lz4,
    Zstd,
}

impl Codec {
    /// # Errors
    /// A user error for a codec that is not known.
    pub fn from_number(number: u64) -> Result<Self> {
        Ok(match number {
            0 => Self::None,
            1 => Self::Zlib,
            2 => Self::Snappy,
            4 => Self::Lz4,
            5 => Self::Zstd,
            other => {
                let name = if other == 3 {
                    "LZO"
                } else {
                    "an unknown codec"
                };
                let message = format!(
                    "the ORC file is compressed with {name} ({other}); write it with NONE, ZLIB, SNAPPY, LZ4 or ZSTD"
                );
                return Err(Error::user("UNKNOWN_CODEC", message));
            }
        })
    }
}

/// How large a chunk may be once it is decompressed, as the file says.
///
/// # Errors
/// A user error for a size that cannot be.
pub(super) fn block_size(given: Option<u64>) -> Result<usize> {
    match given.unwrap_or(DEFAULT_BLOCK_BYTES) {
        size if size <= MAX_BLOCK_BYTES => Ok(size as usize),
        size => Err(damaged(format!("its chunks are of {size} bytes"))),
    }
}

/// How the streams of a file are compressed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Compression {
    pub codec: Codec,
    /// No chunk is larger than this once it is decompressed.
    pub block_size: usize,
}

impl Compression {
    /// All of a small stream.
    pub fn whole(self, bytes: Buffer) -> Result<Vec<u8>> {
        let mut stream = Stream::new(bytes, self);
        let mut out = Vec::new();
        while stream.next_chunk()? {
            out.extend_from_slice(stream.rest());
            stream.at = stream.chunk.len();
        }
        Ok(out)
    }

    fn decompress(self, bytes: &[u8]) -> Result<Vec<u8>> {
        let limit = self.block_size;
        let mut out = Vec::new();
        match self.codec {
            Codec::None => out.extend_from_slice(bytes),
            Codec::Zlib => {
                read_all(flate2::read::DeflateDecoder::new(bytes), limit, &mut out)?;
            }
            Codec::Zstd => {
                let decoder = zstd::stream::read::Decoder::new(bytes).map_err(damaged)?;
                read_all(decoder, limit, &mut out)?;
            }
            Codec::Snappy => {
                let size = snap::raw::decompress_len(bytes).map_err(damaged)?;
                if size > limit {
                    return Err(too_large());
                }
                out = snap::raw::Decoder::new()
                    .decompress_vec(bytes)
                    .map_err(damaged)?;
            }
            Codec::Lz4 => lz4_block(bytes, limit, &mut out)?,
        }
        Ok(out)
    }
}

fn too_large() -> Error {
    damaged("a chunk is larger than the file says")
}

fn read_all(input: impl Read, limit: usize, out: &mut Vec<u8>) -> Result<()> {
    let size = input.take(limit as u64 + 1).read_to_end(out);
    match size.map_err(damaged)? > limit {
        true => Err(too_large()),
        false => Ok(()),
    }
}

/// A block of LZ4: literals and copies of what was there before, in turn.
///
/// Source: the LZ4 block format description.
fn lz4_block(bytes: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<()> {
    let cut_off = || damaged("an LZ4 block is cut off");
    let mut rest = bytes;
    while let Some((token, after)) = rest.split_first() {
        rest = after;
        let literals = lz4_length(token >> 4, &mut rest).ok_or_else(cut_off)?;
        let (copied, after) = rest.split_at_checked(literals).ok_or_else(cut_off)?;
        if out.len() + literals > limit {
            return Err(too_large());
        }
        out.extend_from_slice(copied);
        rest = after;
        if rest.is_empty() {
            return Ok(());
        }
        let (back, after) = rest.split_first_chunk::<2>().ok_or_else(cut_off)?;
        rest = after;
        let back = usize::from(u16::from_le_bytes(*back));
        let length = lz4_length(token & 15, &mut rest).ok_or_else(cut_off)? + 4;
        let from = out.len().checked_sub(back).filter(|_| back > 0);
        let from = from.ok_or_else(|| damaged("an LZ4 block copies from before its begin"))?;
        if out.len() + length > limit {
            return Err(too_large());
        }
        // What is copied may be what this copy has just written.
        let (mut from, mut left) = (from, length);
        while left > 0 {
            let size = left.min(out.len() - from);
            out.extend_from_within(from..from + size);
            from += size;
            left -= size;
        }
    }
    Ok(())
}

fn lz4_length(first: u8, rest: &mut &[u8]) -> Option<usize> {
    let mut length = usize::from(first);
    if first == 15 {
        loop {
            let (byte, after) = rest.split_first()?;
            *rest = after;
            length += usize::from(*byte);
            if *byte < 255 {
                break;
            }
        }
    }
    Some(length)
}

/// Reads on in a stream, chunk by chunk.
pub(super) struct Stream {
    compression: Compression,
    /// Chunks that are not decompressed yet.
    packed: Buffer,
    chunk: Buffer,
    at: usize,
}

impl Stream {
    pub fn new(packed: Buffer, compression: Compression) -> Self {
        Self {
            compression,
            packed,
            chunk: Buffer::from_vec(Vec::<u8>::new()),
            at: 0,
        }
    }

    /// A stream without a byte.
    pub fn empty() -> Self {
        let compression = Compression {
            codec: Codec::None,
            block_size: 0,
        };
        Self::new(Buffer::from_vec(Vec::<u8>::new()), compression)
    }

    /// What is left of the chunk in hand.
    #[inline]
    fn rest(&self) -> &[u8] {
        &self.chunk.as_slice()[self.at..]
    }

    /// Takes the next chunk that holds something; false at the end.
    #[cold]
    fn next_chunk(&mut self) -> Result<bool> {
        while !self.packed.is_empty() {
            self.at = 0;
            if self.compression.codec == Codec::None {
                let empty = Buffer::from_vec(Vec::<u8>::new());
                self.chunk = std::mem::replace(&mut self.packed, empty);
                return Ok(true);
            }
            let bytes = self.packed.as_slice();
            let Some(&[a, b, c]) = bytes.first_chunk::<HEADER_BYTES>() else {
                return Err(damaged("a chunk is cut off"));
            };
            let header = u32::from_le_bytes([a, b, c, 0]);
            let length = (header >> 1) as usize;
            if bytes.len() - HEADER_BYTES < length {
                return Err(damaged("a chunk is cut off"));
            }
            let chunk = self.packed.slice_with_length(HEADER_BYTES, length);
            self.packed = self.packed.slice(HEADER_BYTES + length);
            self.chunk = match header & 1 {
                1 => chunk,
                _ => Buffer::from_vec(self.compression.decompress(chunk.as_slice())?),
            };
            if !self.chunk.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    #[cold]
    fn ended(&mut self) -> Result<()> {
        match self.next_chunk()? {
            true => Ok(()),
            false => Err(damaged("a stream ends before its column does")),
        }
    }

    /// # Errors
    /// A user error at the end of the stream.
    #[inline]
    pub fn byte(&mut self) -> Result<u8> {
        if self.at == self.chunk.len() {
            self.ended()?;
        }
        let byte = self.chunk.as_slice()[self.at];
        self.at += 1;
        Ok(byte)
    }

    /// Appends the next `size` bytes.
    ///
    /// # Errors
    /// A user error when there are not so many.
    pub fn read(&mut self, size: usize, out: &mut Vec<u8>) -> Result<()> {
        let mut left = size;
        while left > 0 {
            if self.at == self.chunk.len() {
                self.ended()?;
            }
            let rest = self.rest();
            let piece = left.min(rest.len());
            out.extend_from_slice(&rest[..piece]);
            self.at += piece;
            left -= piece;
        }
        Ok(())
    }

    /// The next `size` bytes without copying them, where they stand in one chunk.
    pub fn shared(&mut self, size: usize) -> Result<Buffer> {
        if self.rest().len() >= size {
            let bytes = self.chunk.slice_with_length(self.at, size);
            self.at += size;
            return Ok(bytes);
        }
        let mut bytes = Vec::new();
        self.read(size, &mut bytes)?;
        Ok(Buffer::from_vec(bytes))
    }

    /// A number in seven bits a byte.
    pub fn varint(&mut self) -> Result<u128> {
        let mut value = 0u128;
        for shift in (0..133).step_by(7) {
            let byte = self.byte()?;
            value |= u128::from(byte & 0x7f).wrapping_shl(shift);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(damaged("a number has no end"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lz4(bytes: &[u8]) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        lz4_block(bytes, 100, &mut out).map(|()| out)
    }

    #[test]
    fn lz4_blocks_are_read_and_refused() {
        assert_eq!(lz4(b"\x30abc").unwrap(), b"abc");
        assert_eq!(lz4(b"\x15a\x01\x00\x10b").unwrap(), b"aaaaaaaaaab");
        assert_eq!(lz4(b"\x20ab\x02\x00\x00").unwrap(), b"ababab");
        for bad in [
            &b"\x30ab"[..],
            b"\x10a\x02\x00",
            b"\x1fa\x01\x00\xff",
            b"\xf0",
            b"\x10a\x00\x00",
        ] {
            assert!(lz4(bad).is_err(), "{bad:?}");
        }
        assert!(lz4(b"\x1fa\x01\x00\x80").is_err());
    }

    #[test]
    fn chunks_are_read_over_their_borders() {
        let compression = Compression {
            codec: Codec::Lz4,
            block_size: 10,
        };
        let packed = b"\x05\x00\x00ab\x01\x00\x00\x06\x00\x00\x20cd".to_vec();
        let mut stream = Stream::new(Buffer::from_vec(packed.clone()), compression);
        assert_eq!(stream.byte().unwrap(), b'a');
        assert_eq!(stream.shared(3).unwrap().as_slice(), b"bcd");
        assert!(stream.byte().is_err());
        let short = Buffer::from_vec(packed[..packed.len() - 1].to_vec());
        assert!(compression.whole(short).is_err());
    }
}
