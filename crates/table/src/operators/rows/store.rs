//! Rows in pages, each reached by a stable number.

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use flott_core::Result;

use super::layout::{Layout, read_u32};
use super::read::read_columns;
use super::write::Values;
use crate::operators::evaluate::batch_of;

/// Pages grow with the store up to this many bytes; a longer row has a page of its own.
const MAX_PAGE_BYTES: usize = 1 << 18;
const MIN_PAGE_BYTES: usize = 1 << 12;
/// Fewer dead rows than this are not worth a cleaning.
const MIN_DEAD_ROWS: usize = 1_024;
/// Where a slot points whose row is not stored yet, or not at all.
const PENDING: u32 = u32::MAX;
const NOWHERE: u32 = u32::MAX - 1;
/// Every stored row begins with its slot.
const SLOT_BYTES: usize = 4;

/// Keeps rows of one schema. A row is reached by its slot, which stays the same wherever the row is
/// moved; rows are copies and never pin an input's buffers.
///
/// Rows lie one after the other in pages, so that reading a row costs few cache misses however many
/// columns it has. Pages without rows go at once, and sparse ones once a third of all rows is dead.
///
/// A batch is worked in three steps: [`RowStore::allocate`] and [`RowStore::release`] as rows come
/// and go, [`RowStore::commit`] to copy what has stayed, and [`RowStore::sweep`] once the released
/// rows have been read for the last time.
pub(crate) struct RowStore {
    schema: SchemaRef,
    layout: Layout,
    pages: Vec<Page>,
    /// The page that rows are written to.
    open: Option<u32>,
    free_pages: Vec<u32>,
    slots: Vec<Location>,
    free: Vec<u32>,
    /// Allocated since the last commit.
    pending: Vec<u32>,
    /// Released since the last sweep.
    released: Vec<u32>,
    num_live: usize,
    num_stored: usize,
    /// The room in all pages.
    page_bytes: usize,
}

#[derive(Clone, Copy)]
struct Location {
    page: u32,
    /// The position in the page; of a pending row its number in the batch.
    at: u32,
}

#[derive(Default)]
struct Page {
    bytes: Vec<u8>,
    num_stored: u32,
    num_live: u32,
}

impl RowStore {
    pub fn new(schema: SchemaRef) -> Self {
        let types = schema.fields().iter().map(|f| f.data_type());
        Self {
            layout: Layout::new(types.collect(), SLOT_BYTES),
            schema,
            pages: Vec::new(),
            open: None,
            free_pages: Vec::new(),
            slots: Vec::new(),
            free: Vec::new(),
            pending: Vec::new(),
            released: Vec::new(),
            num_live: 0,
            num_stored: 0,
            page_bytes: 0,
        }
    }

    /// The columns of the rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// A slot for this row of the batch at hand.
    pub fn allocate(&mut self, row: usize) -> u32 {
        let location = Location {
            page: PENDING,
            at: row as u32,
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
        if location.page == PENDING {
            location.page = NOWHERE;
        }
        self.released.push(slot);
    }

    /// The positions in the batch at hand of the rows of these slots; `None` when one of them is
    /// stored already.
    pub fn pending_rows(&self, slots: &[u32]) -> Option<Vec<u32>> {
        let row = |&slot: &u32| {
            let Location { page, at } = self.slots[slot as usize];
            (page == PENDING).then_some(at)
        };
        slots.iter().map(row).collect()
    }

    /// Copies the allocated rows that have not been released out of their batch.
    ///
    /// # Errors
    /// An internal error for a type that cannot be kept.
    pub fn commit(&mut self, rows: &RecordBatch) -> Result<()> {
        let mut pending = std::mem::take(&mut self.pending);
        pending.retain(|&slot| self.slots[slot as usize].page == PENDING);
        let picks = pending.iter().map(|&s| self.slots[s as usize].at);
        let picks: Vec<u32> = picks.collect();
        let values = Values::new(&self.layout, rows.columns(), &picks)?;
        for (index, column) in self.layout.columns.iter_mut().enumerate() {
            column.has_nulls |= values.has_nulls(index);
        }
        self.write(&values, &pending);
        pending.clear();
        self.pending = pending;
        Ok(())
    }

    fn write(&mut self, values: &Values<'_>, slots: &[u32]) {
        let lengths = values.lengths(&self.layout);
        let mut starts = Vec::new();
        let mut first = 0;
        while first < slots.len() {
            let number = self.page_with_room(lengths[first] as usize);
            let page = &mut self.pages[number as usize];
            let mut end = page.bytes.len();
            starts.clear();
            for &length in &lengths[first..] {
                if end + length as usize > page.bytes.capacity() {
                    break;
                }
                starts.push(end as u32);
                end += length as usize;
            }
            page.bytes.resize(end, 0);
            let rows = first..first + starts.len();
            values.write(&self.layout, rows.clone(), &starts, &mut page.bytes);
            for (&slot, &at) in slots[rows.clone()].iter().zip(&starts) {
                let start = at as usize;
                page.bytes[start..start + SLOT_BYTES].copy_from_slice(&slot.to_ne_bytes());
                self.slots[slot as usize] = Location { page: number, at };
            }
            page.num_stored += starts.len() as u32;
            page.num_live += starts.len() as u32;
            first = rows.end;
        }
        self.num_live += slots.len();
        self.num_stored += slots.len();
    }

    /// The open page if it has room for so many bytes, or a new one.
    fn page_with_room(&mut self, num_bytes: usize) -> u32 {
        if let Some(open) = self.open {
            let bytes = &self.pages[open as usize].bytes;
            if bytes.len() + num_bytes <= bytes.capacity() {
                return open;
            }
            self.open = None;
            self.drop_if_empty(open);
        }
        let capacity = (self.page_bytes / 4).next_power_of_two();
        let capacity = capacity
            .clamp(MIN_PAGE_BYTES, MAX_PAGE_BYTES)
            .max(num_bytes);
        let page = Page {
            bytes: Vec::with_capacity(capacity),
            ..Page::default()
        };
        self.page_bytes += page.bytes.capacity();
        let number = match self.free_pages.pop() {
            Some(number) => {
                self.pages[number as usize] = page;
                number
            }
            None => {
                self.pages.push(page);
                (self.pages.len() - 1) as u32
            }
        };
        self.open = Some(number);
        number
    }

    fn drop_if_empty(&mut self, number: u32) {
        let page = &mut self.pages[number as usize];
        if page.num_live > 0 || self.open == Some(number) {
            return;
        }
        self.num_stored -= page.num_stored as usize;
        self.page_bytes -= page.bytes.capacity();
        *page = Page::default();
        self.free_pages.push(number);
    }

    /// Forgets the released rows.
    pub fn sweep(&mut self) -> Result<()> {
        let mut released = std::mem::take(&mut self.released);
        for &slot in &released {
            let page = std::mem::replace(&mut self.slots[slot as usize].page, NOWHERE);
            self.free.push(slot);
            if page == NOWHERE {
                continue;
            }
            self.num_live -= 1;
            self.pages[page as usize].num_live -= 1;
            self.drop_if_empty(page);
        }
        released.clear();
        self.released = released;
        let num_dead = self.num_stored - self.num_live;
        if num_dead > self.num_live / 2 + MIN_DEAD_ROWS {
            self.clean();
        }
        Ok(())
    }

    /// Moves the rows of sparse pages together.
    fn clean(&mut self) {
        self.open = None;
        for number in 0..self.pages.len() as u32 {
            let page = &self.pages[number as usize];
            let is_sparse = page.num_live < page.num_stored - page.num_stored / 8;
            if is_sparse && self.open != Some(number) {
                self.evacuate(number);
            }
        }
    }

    fn evacuate(&mut self, number: u32) {
        let page = &mut self.pages[number as usize];
        let bytes = std::mem::take(&mut page.bytes);
        self.num_stored -= std::mem::take(&mut page.num_stored) as usize;
        page.num_live = 0;
        let mut at = 0;
        while at < bytes.len() {
            let length = self.layout.length(&bytes[at..]);
            let slot = read_u32(&bytes, at);
            let location = self.slots[slot];
            if (location.page, location.at as usize) == (number, at) {
                self.place(slot, &bytes[at..at + length]);
            }
            at += length;
        }
        self.page_bytes -= bytes.capacity();
        self.free_pages.push(number);
    }

    /// Writes a stored row to the open page.
    fn place(&mut self, slot: usize, row: &[u8]) {
        let number = self.page_with_room(row.len());
        let page = &mut self.pages[number as usize];
        self.slots[slot] = Location {
            page: number,
            at: page.bytes.len() as u32,
        };
        page.bytes.extend_from_slice(row);
        page.num_stored += 1;
        page.num_live += 1;
        self.num_stored += 1;
    }

    /// The rows of these slots, in this order.
    pub fn rows(&self, slots: &[u32]) -> Result<RecordBatch> {
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        batch_of(self.schema.clone(), self.columns(slots, &all)?, slots.len())
    }

    /// These columns of the rows of these slots.
    pub fn columns(&self, slots: &[u32], columns: &[usize]) -> Result<Vec<ArrayRef>> {
        read_columns(&self.layout, columns, slots.len(), |i| {
            let Location { page, at } = self.slots[slots[i] as usize];
            &self.pages[page as usize].bytes[at as usize..]
        })
    }

    /// Bytes held.
    pub fn size_bytes(&self) -> usize {
        self.page_bytes + self.slots.capacity() * size_of::<Location>()
    }
}
