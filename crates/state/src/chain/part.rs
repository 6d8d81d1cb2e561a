//! A part of the rows: those of some key groups.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use flott_core::operator::{PackedReader, RowsReader, StateBatch, StateRows, StoredRows};
use flott_core::{Error, Result};
use flott_storage::io;

use crate::key_groups::packed_of_groups;
use crate::rows::unpack;

/// Rows of at least so many bytes are read ahead.
pub(super) const READ_AHEAD_BYTES: usize = 4 << 20;
/// So many batches ahead.
const NUM_AHEAD: usize = 16;

/// Only the rows of some key groups of others. Many rows are read ahead, on a thread beside: who
/// restores them works meanwhile.
#[derive(Debug, Clone)]
pub struct KeyGroupRows {
    rows: Arc<dyn StoredRows>,
    groups: Range<usize>,
}

impl KeyGroupRows {
    pub fn new(rows: Arc<dyn StoredRows>, groups: Range<usize>) -> Self {
        Self { rows, groups }
    }

    /// These rows as a table's.
    pub fn rows(self) -> StateRows {
        let rows: Arc<dyn StoredRows> = Arc::new(self);
        rows.into()
    }

    /// The batches of these key groups, each turned on the thread that reads.
    fn open<T: Send + 'static>(
        &self,
        key_groups: Option<&Range<usize>>,
        turn: fn(StateBatch) -> Result<T>,
    ) -> Result<Box<dyn Iterator<Item = Result<T>> + Send + '_>> {
        let groups = match key_groups {
            Some(wanted) => wanted.start.max(self.groups.start)..wanted.end.min(self.groups.end),
            None => self.groups.clone(),
        };
        if groups.is_empty() {
            // Chains of chains, as after many restores, would be read in vain many times over.
            return Ok(Box::new(std::iter::empty()));
        }
        if self.size_bytes() < READ_AHEAD_BYTES {
            let rows = self.rows.read_packed(Some(&groups))?;
            return Ok(Box::new(
                rows.map(move |batch| turn(packed_of_groups(batch?, &groups)?)),
            ));
        }
        let rows = self.rows.clone();
        let ahead = io::read_ahead(NUM_AHEAD, move |take| {
            match rows.read_packed(Some(&groups)) {
                Ok(batches) => {
                    let mut batches = batches.map(|b| turn(packed_of_groups(b?, &groups)?));
                    if !batches.all(|batch| take(Some(batch))) {
                        return;
                    }
                }
                Err(error) => drop(take(Some(Err(error)))),
            }
            take(None);
        })?;
        Ok(Box::new(Ahead(Some(ahead))))
    }
}

impl StoredRows for KeyGroupRows {
    fn num_rows(&self) -> usize {
        self.rows.num_rows()
    }

    fn size_bytes(&self) -> usize {
        self.rows.size_bytes()
    }

    fn read(&self, key_groups: Option<&Range<usize>>) -> Result<RowsReader<'_>> {
        self.open(key_groups, unpack)
    }

    fn read_packed(&self, key_groups: Option<&Range<usize>>) -> Result<PackedReader<'_>> {
        self.open(key_groups, Ok)
    }

    fn are_new(&self) -> bool {
        self.rows.are_new()
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// Batches that are read ahead; `None` is their end.
struct Ahead<T>(Option<Receiver<Option<Result<T>>>>);

impl<T> Iterator for Ahead<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.0.as_ref()?.recv() {
            Ok(Some(batch)) => Some(batch),
            Ok(None) => {
                self.0 = None;
                None
            }
            // The thread is gone without having said that it is done.
            Err(_) => {
                self.0 = None;
                Some(Err(Error::internal("state was not read to its end")))
            }
        }
    }
}
