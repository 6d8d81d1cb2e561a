//! Reads an object from a place on, with the next pieces under way.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::mpsc::Receiver;

use bytes::{Buf, Bytes};
use flott_core::{Error, Result};
use object_store::ObjectStoreExt;

use crate::io::start;
use crate::place::StoragePlace;

/// Bytes that are asked for at once.
const PIECE_BYTES: u64 = 4 << 20;
/// Pieces that are on their way at the same time.
const PIECES_AHEAD: usize = 3;

/// A stream over an object. Memory is bounded by a few pieces.
pub struct ObjectReader {
    place: StoragePlace,
    name: String,
    /// Where the next piece to be asked for begins, and where the object ends.
    next: u64,
    end: u64,
    ahead: VecDeque<Receiver<object_store::Result<Bytes>>>,
    piece: Bytes,
}

impl ObjectReader {
    /// Reads `name` of this size from `offset` on.
    ///
    /// # Errors
    /// The I/O runtime cannot be started.
    pub fn new(place: &StoragePlace, name: &str, size_bytes: u64, offset: u64) -> Result<Self> {
        let mut reader = Self {
            place: place.clone(),
            name: name.to_string(),
            next: offset.min(size_bytes),
            end: size_bytes,
            ahead: VecDeque::new(),
            piece: Bytes::new(),
        };
        reader.ask()?;
        Ok(reader)
    }

    fn ask(&mut self) -> Result<()> {
        while self.ahead.len() < PIECES_AHEAD && self.next < self.end {
            let range = self.next..(self.next + PIECE_BYTES).min(self.end);
            self.next = range.end;
            let (store, path) = (self.place.store().clone(), self.place.path(&self.name));
            let get = async move { store.get_range(&path, range).await };
            self.ahead.push_back(start(get)?);
        }
        Ok(())
    }

    fn next_piece(&mut self) -> Result<()> {
        if let Some(piece) = self.ahead.pop_front() {
            let lost = |_| Error::internal("a read ended without a result");
            let piece = piece.recv().map_err(lost)?;
            let full_name = self.place.full_name(&self.name);
            self.piece = piece.map_err(|error| match error {
                object_store::Error::NotFound { .. } => Error::user(
                    "FILE_NOT_FOUND",
                    format!("object '{full_name}' does not exist any more"),
                ),
                error => crate::place::failed(&full_name, &error),
            })?;
        }
        self.ask()
    }
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.piece.is_empty() {
            self.next_piece().map_err(std::io::Error::other)?;
        }
        let length = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_read_from_any_place_on() -> Result<()> {
        let place = StoragePlace::in_memory();
        let bytes: Vec<u8> = (0..30_000_000u32).map(|n| (n / 3) as u8).collect();
        place.put("a", bytes.clone().into())?;
        for offset in [0, 12_345_678, 30_000_000] {
            let mut reader = ObjectReader::new(&place, "a", bytes.len() as u64, offset)?;
            let mut read = Vec::new();
            reader.read_to_end(&mut read).expect("it is there");
            assert!(read == bytes[offset as usize..]);
        }
        Ok(())
    }
}
