//! Rows in columns, each reached by a stable number.

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, MapArray, StructArray, UInt32Array, new_empty_array,
};
use arrow::compute::{interleave, take};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use flott_core::Result;
use std::sync::Arc;

use crate::operators::evaluate::batch_of;

/// Segments are merged up to this many rows.
const SEGMENT_ROWS: usize = 8_192;
/// Where a slot points whose row is not stored yet, or not at all.
const PENDING: u32 = u32::MAX;
const NOWHERE: u32 = u32::MAX - 1;

/// Keeps rows of one schema. A row is reached by its slot, which stays the same while segments are
/// merged behind it; a segment holds copies and never pins an input's buffers.
///
/// A batch is worked in three steps: [`RowStore::allocate`] and [`RowStore::release`] as rows come
/// and go, [`RowStore::commit`] to copy what has stayed, and [`RowStore::sweep`] once the released
/// rows have been read for the last time.
pub(crate) struct RowStore {
    schema: SchemaRef,
    segments: Vec<Segment>,
    slots: Vec<Location>,
    free: Vec<u32>,
    /// Allocated since the last commit.
    pending: Vec<u32>,
    /// Released since the last sweep.
    released: Vec<u32>,
    num_live: usize,
    num_stored: usize,
}

#[derive(Clone, Copy)]
struct Location {
    segment: u32,
    row: u32,
}

struct Segment {
    columns: Vec<ArrayRef>,
    /// The slot of each row; a slot that points elsewhere has left its row dead.
    owners: Vec<u32>,
}

impl RowStore {
    pub fn new(schema: SchemaRef) -> Self {
        Self {
            schema,
            segments: Vec::new(),
            slots: Vec::new(),
            free: Vec::new(),
            pending: Vec::new(),
            released: Vec::new(),
            num_live: 0,
            num_stored: 0,
        }
    }

    /// The columns of the rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// A slot for this row of the batch at hand.
    pub fn allocate(&mut self, row: usize) -> u32 {
        let location = Location {
            segment: PENDING,
            row: row as u32,
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = location;
                slot
            }
            None => {
                self.slots.push(location);
                (self.slots.len() - 1) as u32
            }
        };
        self.pending.push(slot);
        slot
    }

    /// Gives a slot up; its row can be read until the next sweep if it was stored.
    pub fn release(&mut self, slot: u32) {
        let location = &mut self.slots[slot as usize];
        if location.segment == PENDING {
            location.segment = NOWHERE;
        }
        self.released.push(slot);
    }

    /// Copies the allocated rows that have not been released out of their batch.
    pub fn commit(&mut self, rows: &RecordBatch) -> Result<()> {
        let mut pending = std::mem::take(&mut self.pending);
        pending.retain(|&slot| self.slots[slot as usize].segment == PENDING);
        if pending.is_empty() {
            return Ok(());
        }
        let positions = pending.iter().map(|&s| self.slots[s as usize].row);
        let positions = UInt32Array::from(positions.collect::<Vec<_>>());
        let columns = rows.columns().iter();
        let columns = columns
            .map(|c| compact(&take(c, &positions, None)?))
            .collect::<Result<Vec<_>>>()?;
        self.num_live += pending.len();
        self.push(columns, pending);
        while let [.., before, last] = self.segments.as_slice() {
            let (before, last) = (before.owners.len(), last.owners.len());
            if before > 2 * last || before + last > SEGMENT_ROWS {
                break;
            }
            self.rebuild(self.segments.len() - 2)?;
        }
        Ok(())
    }

    /// Forgets the released rows.
    pub fn sweep(&mut self) -> Result<()> {
        for slot in std::mem::take(&mut self.released) {
            let location = &mut self.slots[slot as usize];
            self.num_live -= usize::from(location.segment != NOWHERE);
            location.segment = NOWHERE;
            self.free.push(slot);
        }
        if self.num_stored > 2 * self.num_live + SEGMENT_ROWS / 8 {
            self.rebuild(0)?;
        }
        Ok(())
    }

    /// The rows of these slots, in this order.
    pub fn rows(&self, slots: &[u32]) -> Result<RecordBatch> {
        let columns = self.gather(slots)?;
        batch_of(self.schema.clone(), columns, slots.len())
    }

    fn gather(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        self.gather_columns(slots, 0..self.schema.fields().len())
    }

    /// These columns of the rows of these slots.
    pub fn columns(&self, slots: &[u32], columns: &[usize]) -> Result<Vec<ArrayRef>> {
        self.gather_columns(slots, columns.iter().copied())
    }

    fn gather_columns(
        &self,
        slots: &[u32],
        columns: impl Iterator<Item = usize>,
    ) -> Result<Vec<ArrayRef>> {
        let mut used: Vec<u32> = Vec::new();
        let mut position_of = vec![u32::MAX; self.segments.len()];
        let mut positions = Vec::with_capacity(slots.len());
        for &slot in slots {
            let Location { segment, row } = self.slots[slot as usize];
            let position = &mut position_of[segment as usize];
            if *position == u32::MAX {
                *position = used.len() as u32;
                used.push(segment);
            }
            positions.push((*position as usize, row as usize));
        }
        let column = |index: usize| -> Result<ArrayRef> {
            if positions.is_empty() {
                return Ok(new_empty_array(self.schema.field(index).data_type()));
            }
            let arrays: Vec<&dyn Array> = used
                .iter()
                .map(|&s| self.segments[s as usize].columns[index].as_ref())
                .collect();
            Ok(interleave(&arrays, &positions)?)
        };
        columns.map(column).collect()
    }

    fn push(&mut self, columns: Vec<ArrayRef>, owners: Vec<u32>) {
        let segment = self.segments.len() as u32;
        for (row, &slot) in owners.iter().enumerate() {
            self.slots[slot as usize] = Location {
                segment,
                row: row as u32,
            };
        }
        self.num_stored += owners.len();
        self.segments.push(Segment { columns, owners });
    }

    /// Writes the live rows of the segments from `first` on anew.
    fn rebuild(&mut self, first: usize) -> Result<()> {
        let mut live = Vec::new();
        for (index, segment) in self.segments.iter().enumerate().skip(first) {
            let owners = segment.owners.iter().enumerate();
            live.extend(owners.filter_map(|(row, &slot)| {
                let location = self.slots[slot as usize];
                let is_here = location.segment == index as u32 && location.row == row as u32;
                is_here.then_some(slot)
            }));
        }
        let mut rebuilt = Vec::new();
        for slots in live.chunks(SEGMENT_ROWS) {
            let columns = self.gather(slots)?;
            let columns = columns.iter().map(compact).collect::<Result<Vec<_>>>()?;
            rebuilt.push((columns, slots.to_vec()));
        }
        for segment in self.segments.drain(first..) {
            self.num_stored -= segment.owners.len();
        }
        for (columns, owners) in rebuilt {
            self.push(columns, owners);
        }
        Ok(())
    }

    /// Bytes held.
    pub fn size_bytes(&self) -> usize {
        let columns = self.segments.iter().flat_map(|s| &s.columns);
        let columns: usize = columns.map(|c| c.get_array_memory_size()).sum();
        columns + self.num_stored * 4 + self.slots.len() * size_of::<Location>()
    }
}

/// Copies what strings and bytes point to, so that the buffers they came in can go.
fn compact(array: &ArrayRef) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        DataType::Utf8View => Arc::new(array.as_string_view().gc()),
        DataType::BinaryView => Arc::new(array.as_binary_view().gc()),
        DataType::Struct(_) => {
            let (fields, columns, nulls) = array.as_struct().clone().into_parts();
            let columns = columns.iter().map(compact).collect::<Result<Vec<_>>>()?;
            let length = array.len();
            Arc::new(StructArray::try_new_with_length(
                fields, columns, nulls, length,
            )?)
        }
        DataType::List(_) => {
            let (field, offsets, values, nulls) = array.as_list::<i32>().clone().into_parts();
            Arc::new(ListArray::try_new(
                field,
                offsets,
                compact(&values)?,
                nulls,
            )?)
        }
        DataType::Map(..) => {
            let (field, offsets, entries, nulls, ordered) = array.as_map().clone().into_parts();
            let entries = compact(&(Arc::new(entries) as ArrayRef))?;
            let entries = entries.as_struct().clone();
            Arc::new(MapArray::try_new(field, offsets, entries, nulls, ordered)?)
        }
        _ => array.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::collect::{batch, ints, names, texts};
    use std::collections::BTreeMap;

    fn values(store: &RowStore, slots: &[u32]) -> Vec<i32> {
        let rows = store.rows(slots).unwrap();
        let column = rows.column(0);
        let column = column.as_primitive::<arrow::datatypes::Int32Type>();
        column.values().to_vec()
    }

    #[test]
    fn slots_keep_their_rows_while_segments_are_merged_and_rewritten() {
        let schema = names(&["a", "b"], &[ints([]), texts([])]);
        let mut store = RowStore::new(schema);
        let mut expected = BTreeMap::new();
        for i in 0..20_000 {
            let long = format!("a text that does not fit a view: {i}");
            let input = batch("", vec![("a", ints([i])), ("b", texts([&long]))]);
            let slot = store.allocate(0);
            if i % 5 == 0 {
                store.release(slot);
            }
            store.commit(input.rows()).unwrap();
            if i % 5 != 0 {
                expected.insert(slot, i);
            }
            if i % 3 == 0
                && let Some((slot, _)) = expected.pop_first()
            {
                store.release(slot);
            }
            store.sweep().unwrap();
        }
        let (slots, wanted): (Vec<_>, Vec<_>) = expected.into_iter().unzip();
        assert_eq!(values(&store, &slots), wanted);
        assert_eq!(store.num_live, slots.len());
        assert!(store.num_stored <= 2 * store.num_live + SEGMENT_ROWS / 8);
        assert!(store.segments.len() < 40);
    }

    #[test]
    fn released_rows_can_be_read_until_swept() {
        let mut store = RowStore::new(names(&["a"], &[ints([])]));
        let slot = store.allocate(1);
        let input = batch("", vec![("a", ints([7, 8]))]);
        store.commit(input.rows()).unwrap();
        store.release(slot);
        let other = store.allocate(0);
        store.commit(input.rows()).unwrap();
        assert_eq!(values(&store, &[slot, other]), [8, 7]);
        store.sweep().unwrap();
        assert_eq!(store.allocate(0), slot);
    }
}
