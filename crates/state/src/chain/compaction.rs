//! Which layers of a chain are made one.
//!
//! Merging costs reading and writing all that is merged, so it has to bring something: a table of
//! keys with values is merged when its changes have outgrown what they change, since most of them
//! lie over one another. Numbered rows ([`super::ROW_ID`]) are mostly said once: merging them brings
//! something only when many are gone. Besides, a chain has a bounded number of layers: when it gets
//! too long, neighbours that are small together become one, so that a big old layer is not written
//! again for the sake of small new ones. Big layers of numbered rows are left as they are as long as
//! the manifest does not get too long: one more of them costs a reader nothing.

use std::ops::Range;
use std::sync::Arc;

use flott_core::Result;
use flott_core::operator::{PackedReader, RowsReader, StatePart, StateRows, StoredRows};

use super::{Layer, ROW_ID, TableChain};

/// The most layers of a chain.
const MAX_LAYERS: usize = 64;
/// The most layers of numbered rows.
const MAX_NUMBERED_LAYERS: usize = 1_024;
/// So many neighbours become one when there are more.
const NUM_MERGED: usize = 32;
/// Neighbours of numbered rows that have more bytes are not merged before there are too many.
const MAX_MERGED_BYTES: usize = 128 << 20;

/// Layers as one, merged when they are read.
#[derive(Debug)]
struct Merged(TableChain);

impl StoredRows for Merged {
    fn num_rows(&self) -> usize {
        self.0.num_rows()
    }

    fn size_bytes(&self) -> usize {
        self.0.size_bytes()
    }

    fn read(&self, key_groups: Option<&Range<usize>>) -> Result<RowsReader<'_>> {
        self.0.read(key_groups)
    }

    fn read_packed(&self, key_groups: Option<&Range<usize>>) -> Result<PackedReader<'_>> {
        self.0.read_packed(key_groups)
    }

    fn are_new(&self) -> bool {
        self.0.are_rows_new()
    }

    fn numbers_rows(&self) -> bool {
        self.0.numbers_rows()
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// Rows of several layers, one after the other.
#[derive(Debug)]
struct Joined(StateRows);

impl StoredRows for Joined {
    fn num_rows(&self) -> usize {
        self.0.num_rows()
    }

    fn size_bytes(&self) -> usize {
        self.0.size_bytes()
    }

    fn read(&self, key_groups: Option<&Range<usize>>) -> Result<RowsReader<'_>> {
        Ok(self.0.read_groups(key_groups.cloned()))
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// Whether these rows are layers that are to become one.
pub(super) fn is_merging(rows: &dyn StoredRows) -> bool {
    rows.as_any().is::<Merged>() || rows.as_any().is::<Joined>()
}

impl TableChain {
    /// Makes layers one where that pays; gives whether it did. They are merged when they are read.
    pub fn mark_compaction(&mut self) -> bool {
        let Some(range) = self.to_merge() else {
            return false;
        };
        self.merge(range);
        true
    }

    /// Puts one layer of all layers' rows in their place, merged when it is read.
    pub(crate) fn mark_whole(&mut self) {
        let rows: Arc<dyn StoredRows> = Arc::new(Merged(self.clone()));
        self.replace(rows.into());
    }

    /// The layers that are to become one.
    fn to_merge(&self) -> Option<Range<usize>> {
        let layers = self.layers();
        let (oldest, newer) = layers.split_first()?;
        if newer.is_empty() {
            return None;
        }
        let is_outgrown = match self.numbers_rows() {
            true => {
                let num_rows: usize = layers.iter().map(|l| l.upserts.num_rows()).sum();
                let num_gone: usize = newer.iter().map(|l| l.deletes.num_rows()).sum();
                num_gone > num_rows / 2
            }
            false => newer.iter().map(Layer::size_bytes).sum::<usize>() > oldest.size_bytes(),
        };
        match is_outgrown {
            true => Some(0..layers.len()),
            false if layers.len() > MAX_LAYERS => {
                let (range, size_bytes) = cheapest(layers);
                let is_kept = self.numbers_rows()
                    && layers.len() <= MAX_NUMBERED_LAYERS
                    && size_bytes > MAX_MERGED_BYTES;
                (!is_kept).then_some(range)
            }
            false => None,
        }
    }

    fn merge(&mut self, range: Range<usize>) {
        if range == (0..self.layers.len()) {
            return self.mark_whole();
        }
        let part = self.part(range.clone());
        let mut merged = Layer::default();
        let mut deletes = StateRows::default();
        for layer in &part.layers {
            merged.replaced.extend(layer.replaced.iter().cloned());
            // What is below the oldest layer? Nothing that could be deleted.
            if range.start > 0 {
                deletes.append(layer.deletes.clone());
            }
        }
        if !deletes.is_empty() {
            merged.deletes.push_stored(Arc::new(Joined(deletes)));
        }
        merged.upserts.push_stored(Arc::new(Merged(part)));
        self.layers.splice(range, [merged]);
    }

    /// Whether the keys number rows ([`ROW_ID`]).
    fn numbers_rows(&self) -> bool {
        let mut parts = self.layers().iter().flat_map(|l| l.upserts.parts());
        parts.next().is_some_and(|part| match part {
            StatePart::Batch(batch) => {
                let second = batch.schema_ref().fields().get(1);
                second.is_some_and(|field| field.name() == ROW_ID)
            }
            StatePart::Stored(rows) => rows.numbers_rows(),
        })
    }
}

/// The neighbours that are the smallest together, and their bytes.
fn cheapest(layers: &[Layer]) -> (Range<usize>, usize) {
    let sizes: Vec<usize> = layers.iter().map(Layer::size_bytes).collect();
    let sums = sizes.windows(NUM_MERGED).map(|w| w.iter().sum::<usize>());
    let first = sums.enumerate().min_by_key(|(_, sum)| *sum);
    let (first, size_bytes) = first.unwrap_or((0, 0));
    (first..(first + NUM_MERGED).min(layers.len()), size_bytes)
}
