//! A [`FileInput`] as the libraries of file formats want it.

use std::io::{BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::buffer::Buffer;
use bytes::Bytes;
use flott_core::format::FileInput;
use flott_core::{Error, Result};

/// So much is read where a library does not say how much it wants.
const PIECE_BYTES: usize = 64 << 10;

/// A buffer that [`Bytes`] can own.
struct Owned(Buffer);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

/// The `length` bytes at `start`.
pub(crate) fn read_bytes(input: &dyn FileInput, start: u64, length: usize) -> Result<Bytes> {
    let buffer = input.read_range(start, length)?;
    Ok(Bytes::from_owner(Owned(buffer)))
}

/// Reads on from a place of a file.
pub(crate) struct InputRead {
    input: Arc<dyn FileInput>,
    next: u64,
}

impl InputRead {
    /// A reader that asks for a good piece at a time.
    pub fn buffered(input: Arc<dyn FileInput>, start: u64) -> BufReader<Self> {
        BufReader::with_capacity(PIECE_BYTES, Self { input, next: start })
    }
}

impl Read for InputRead {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let left = self.input.size_bytes().saturating_sub(self.next);
        let size = out.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if size == 0 {
            return Ok(0);
        }
        let buffer = self.input.read_range(self.next, size);
        out[..size].copy_from_slice(&buffer.map_err(std::io::Error::other)?);
        self.next += size as u64;
        Ok(size)
    }
}

/// Runs a library on bytes that may be damaged: where it panics, the file is to blame.
///
/// # Errors
/// What `run` gives, or a user error in place of a panic.
pub(crate) fn guarded<T>(format: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        let message = format!("not a file of format '{format}', or a damaged one");
        Err(Error::user("MALFORMED_FILE", message))
    })
}
