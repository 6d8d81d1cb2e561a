//! Rows in pages, each reached by a stable number.

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use flott_core::Result;
use flott_core::key_group::key_group_of;

use flott_state::rows::read::read_columns;
use flott_state::rows::write::Values;
use flott_state::rows::{HEAD_BYTES, Identity, Layout, identity, identity_of, slot_of, write_head};

use super::changes::RowChanges;
use super::restored::{PackedRestored, RestoredRows};
use crate::operators::evaluate::batch_of;

/// Pages grow with the store up to this many bytes; a longer row has a page of its own.
const MAX_PAGE_BYTES: usize = 1 << 18;
const MIN_PAGE_BYTES: usize = 1 << 12;
/// Fewer dead rows than this are not worth a cleaning.
const MIN_DEAD_ROWS: usize = 1_024;
/// Where a slot points whose row is not stored yet, or not at all.
const PENDING: u32 = u32::MAX;
const NOWHERE: u32 = u32::MAX - 1;

/// What the rows of a page are, as far as snapshots are concerned. A page that rows are written to
/// has rows of one kind only from the last snapshot on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// No snapshot has told of them.
    New = 0,
    /// Moved here from other pages, and told before.
    Told = 1,
}

/// Keeps rows of one schema. A row is reached by its slot, which stays the same wherever the row is
/// moved; rows are copies and never pin an input's buffers.
///
/// Rows lie one after the other in pages, so that reading a row costs few cache misses however many
/// columns it has. Pages without rows go at once, and sparse ones once a third of all rows is dead.
///
/// A batch is worked in three steps: [`RowStore::allocate`] and [`RowStore::release`] as rows come
/// and go, [`RowStore::commit`] to copy what has stayed, and [`RowStore::sweep`] once the released
/// rows have been read for the last time.
///
/// What is written to a page is never changed, so that a snapshot shares the pages
/// (`super::snapshot`). Rows are written one after the other, so that what is new is a stretch of a
/// page, and costs the snapshot nothing by row. Every row has an [`Identity`], by which snapshots
/// speak of it.
pub(crate) struct RowStore {
    schema: SchemaRef,
    pub(super) layout: Layout,
    max_parallelism: usize,
    next_id: u64,
    pub(super) changes: RowChanges,
    pub(super) pages: Vec<Page>,
    /// The pages that rows are written to, by [`Kind`].
    open: [Option<u32>; 2],
    /// Pages that may have rows that no snapshot has told of.
    new_pages: Vec<u32>,
    free_pages: Vec<u32>,
    pub(super) slots: Vec<Location>,
    free: Vec<u32>,
    /// Allocated since the last commit.
    pending: Vec<u32>,
    /// Released since the last sweep.
    released: Vec<u32>,
    num_live: usize,
    num_stored: usize,
    /// The bytes of all stored rows.
    num_bytes: usize,
    /// The room in all pages.
    page_bytes: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Location {
    pub page: u32,
    /// The position in the page; of a pending row its number in the batch.
    pub at: u32,
}

impl Location {
    /// Whether there is a stored row.
    #[inline]
    pub fn is_stored(self) -> bool {
        self.page < NOWHERE
    }
}

#[derive(Default)]
pub(super) struct Page {
    /// All the room of the page. Shared with snapshots: what they may still read is not overwritten.
    pub bytes: Arc<[u8]>,
    num_used: u32,
    num_stored: u32,
    num_live: u32,
    /// Rows before this position have been told of.
    told: u32,
    /// So many of the stored.
    num_told: u32,
    /// Where rows behind that position lay that are gone.
    holes: Vec<u32>,
}

/// Where new rows are in a page.
pub(super) struct Stretch {
    pub bytes: Arc<[u8]>,
    pub range: Range<u32>,
    /// Where rows lie that are gone, in no order.
    pub holes: Vec<u32>,
    pub num_rows: usize,
}

impl RowStore {
    pub fn new(schema: SchemaRef) -> Self {
        let types = schema.fields().iter().map(|f| f.data_type());
        Self {
            layout: Layout::new(types.collect(), HEAD_BYTES),
            schema,
            max_parallelism: 1,
            next_id: 0,
            changes: RowChanges::default(),
            pages: Vec::new(),
            open: [None; 2],
            new_pages: Vec::new(),
            free_pages: Vec::new(),
            slots: Vec::new(),
            free: Vec::new(),
            pending: Vec::new(),
            released: Vec::new(),
            num_live: 0,
            num_stored: 0,
            num_bytes: 0,
            page_bytes: 0,
        }
    }

    /// Rows belong to so many key groups; before the first row.
    pub fn set_max_parallelism(&mut self, max_parallelism: usize) {
        self.max_parallelism = max_parallelism;
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

    /// Copies the allocated rows that have not been released out of their batch. For rows whose
    /// state is not divided by key.
    ///
    /// # Errors
    /// An internal error for a type that cannot be kept.
    pub fn commit(&mut self, rows: &RecordBatch) -> Result<()> {
        self.commit_keyed(rows, &[])
    }

    /// As [`RowStore::commit`]; the hash of each row's key says its key group.
    ///
    /// # Errors
    /// An internal error for a type that cannot be kept.
    pub fn commit_keyed(&mut self, rows: &RecordBatch, key_hashes: &[u64]) -> Result<()> {
        let pending = self.take_pending();
        let mut id = self.next_id;
        let (slots, max_parallelism) = (&self.slots, self.max_parallelism);
        let identities = pending.iter().map(|&slot| {
            let row = slots[slot as usize].at as usize;
            let hash = key_hashes.get(row).copied().unwrap_or(0);
            let identity = identity::of(key_group_of(hash, max_parallelism) as u16, id);
            id += 1;
            identity
        });
        let identities: Vec<Identity> = identities.collect();
        self.next_id = id;
        self.copy(rows, pending, &identities)
    }

    /// As [`RowStore::commit`], for rows that come back with their identities.
    ///
    /// # Errors
    /// An internal error for a type that cannot be kept.
    pub fn commit_restored<const N: usize>(&mut self, restored: &RestoredRows<N>) -> Result<()> {
        let pending = self.take_pending();
        let identities = pending.iter().map(|&slot| {
            let row = self.slots[slot as usize].at as usize;
            restored.identity(row)
        });
        let identities: Vec<Identity> = identities.collect();
        let last = identities.iter().map(|&i| identity::id(i)).max();
        self.next_id = self.next_id.max(last.map_or(0, |id| id + 1));
        self.copy(&restored.rows, pending, &identities)
    }

    /// Greater than the id of every row so far; ids rise in order of arrival.
    pub fn next_id(&self) -> u64 {
        self.next_id
    }

    fn take_pending(&mut self) -> Vec<u32> {
        let mut pending = std::mem::take(&mut self.pending);
        pending.retain(|&slot| self.slots[slot as usize].page == PENDING);
        pending
    }

    /// As [`RowStore::commit_restored`], for rows that come back packed.
    pub fn commit_packed<const N: usize>(&mut self, restored: &PackedRestored<'_, N>) {
        let pending = self.take_pending();
        let row = |slot: u32| restored.row(self.slots[slot as usize].at as usize);
        let rows: Vec<&[u8]> = pending.iter().map(|&slot| row(slot)).collect();
        let identities: Vec<Identity> = rows.iter().map(|row| identity_of(row)).collect();
        let last = identities.iter().map(|&i| identity::id(i)).max();
        self.next_id = self.next_id.max(last.map_or(0, |id| id + 1));
        for column in 0..self.layout.columns.len() {
            let (at, mark) = self.layout.null_bit(column);
            let place = &mut self.layout.columns[column];
            place.has_nulls = place.has_nulls || rows.iter().any(|row| row[at] & mark != 0);
        }
        let lengths: Vec<u32> = rows.iter().map(|row| row.len() as u32).collect();
        self.write(&lengths, &pending, &identities, |range, starts, bytes| {
            for (row, &start) in rows[range].iter().zip(starts) {
                bytes[start as usize..][..row.len()].copy_from_slice(row);
            }
        });
        self.reuse_pending(pending);
    }

    fn copy(
        &mut self,
        rows: &RecordBatch,
        pending: Vec<u32>,
        identities: &[Identity],
    ) -> Result<()> {
        let picks = pending.iter().map(|&s| self.slots[s as usize].at);
        let picks: Vec<u32> = picks.collect();
        let values = Values::new(&self.layout, rows.columns(), &picks)?;
        for (index, column) in self.layout.columns.iter_mut().enumerate() {
            column.has_nulls |= values.has_nulls(index);
        }
        let layout = self.layout.clone();
        let lengths = values.lengths(&layout);
        self.write(&lengths, &pending, identities, |rows, starts, bytes| {
            values.write(&layout, rows, starts, bytes);
        });
        self.reuse_pending(pending);
        Ok(())
    }

    fn reuse_pending(&mut self, mut pending: Vec<u32>) {
        pending.clear();
        self.pending = pending;
    }

    /// Stores rows of these lengths; `fill` writes some of them, each from its start on, into a
    /// page, but for their heads.
    fn write(
        &mut self,
        lengths: &[u32],
        slots: &[u32],
        identities: &[Identity],
        mut fill: impl FnMut(Range<usize>, &[u32], &mut [u8]),
    ) {
        let mut starts = Vec::new();
        let mut first = 0;
        while first < slots.len() {
            let number = self.page_with_room(lengths[first] as usize, Kind::New);
            let page = &mut self.pages[number as usize];
            let mut end = page.num_used as usize;
            starts.clear();
            for &length in &lengths[first..] {
                if end + length as usize > page.bytes.len() {
                    break;
                }
                starts.push(end as u32);
                end += length as usize;
            }
            self.num_bytes += end - page.num_used as usize;
            page.num_used = end as u32;
            let rows = first..first + starts.len();
            let bytes = Arc::make_mut(&mut page.bytes);
            fill(rows.clone(), &starts, bytes);
            let heads = slots[rows.clone()].iter().zip(&identities[rows.clone()]);
            for ((&slot, &identity), &at) in heads.zip(&starts) {
                write_head(&mut bytes[at as usize..], slot, identity);
                self.slots[slot as usize] = Location { page: number, at };
            }
            page.num_stored += starts.len() as u32;
            page.num_live += starts.len() as u32;
            first = rows.end;
        }
        self.num_live += slots.len();
        self.num_stored += slots.len();
    }

    /// The open page for rows of this kind if it has room for so many bytes, or a new one.
    fn page_with_room(&mut self, num_bytes: usize, kind: Kind) -> u32 {
        if let Some(open) = self.open[kind as usize] {
            let page = &self.pages[open as usize];
            if page.num_used as usize + num_bytes <= page.bytes.len() {
                return open;
            }
            self.open[kind as usize] = None;
            self.drop_if_empty(open);
        }
        let capacity = (self.page_bytes / 4).next_power_of_two();
        let capacity = capacity
            .clamp(MIN_PAGE_BYTES, MAX_PAGE_BYTES)
            .max(num_bytes);
        let page = Page {
            bytes: zeros(capacity),
            ..Page::default()
        };
        self.page_bytes += page.bytes.len();
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
        self.open[kind as usize] = Some(number);
        if kind == Kind::New {
            self.new_pages.push(number);
            if self.new_pages.len() > 2 * self.pages.len() + 64 {
                // Nobody takes snapshots, and pages come and go.
                self.new_pages.sort_unstable();
                self.new_pages.dedup();
            }
        }
        number
    }

    fn is_open(&self, number: u32) -> bool {
        self.open.contains(&Some(number))
    }

    fn drop_if_empty(&mut self, number: u32) {
        let page = &self.pages[number as usize];
        if page.num_live > 0 || self.is_open(number) {
            return;
        }
        let page = std::mem::take(&mut self.pages[number as usize]);
        self.num_stored -= page.num_stored as usize;
        self.num_bytes -= page.num_used as usize;
        self.page_bytes -= page.bytes.len();
        self.free_pages.push(number);
    }

    /// All rows have been told of: what comes from here on is new. Gives where the new rows were.
    pub(super) fn take_new(&mut self) -> Vec<Stretch> {
        let numbers = std::mem::take(&mut self.new_pages);
        let mut stretches = Vec::with_capacity(numbers.len());
        for number in numbers {
            let page = &mut self.pages[number as usize];
            let stretch = Stretch {
                range: page.told..page.num_used,
                holes: std::mem::take(&mut page.holes),
                num_rows: (page.num_stored - page.num_told) as usize,
                bytes: page.bytes.clone(),
            };
            // A page may have become another one, and be there twice.
            page.told = page.num_used;
            page.num_told = page.num_stored;
            if stretch.holes.len() < stretch.num_rows {
                stretches.push(Stretch {
                    num_rows: stretch.num_rows - stretch.holes.len(),
                    ..stretch
                });
            }
        }
        self.new_pages.extend(self.open[Kind::New as usize]);
        stretches
    }

    /// Forgets the released rows.
    pub fn sweep(&mut self) -> Result<()> {
        let mut released = std::mem::take(&mut self.released);
        for &slot in &released {
            let location = self.slots[slot as usize];
            self.slots[slot as usize].page = NOWHERE;
            self.free.push(slot);
            if !location.is_stored() {
                continue;
            }
            self.num_live -= 1;
            let page = &mut self.pages[location.page as usize];
            page.num_live -= 1;
            match location.at < page.told {
                true => {
                    let identity = identity_of(&page.bytes[location.at as usize..]);
                    self.changes.remove(slot, identity);
                }
                false => page.holes.push(location.at),
            }
            self.drop_if_empty(location.page);
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
        self.open = [None; 2];
        for number in 0..self.pages.len() as u32 {
            let page = &self.pages[number as usize];
            let is_sparse = page.num_live < page.num_stored - page.num_stored / 8;
            if is_sparse && !self.is_open(number) {
                self.evacuate(number);
            }
        }
    }

    fn evacuate(&mut self, number: u32) {
        let page = std::mem::take(&mut self.pages[number as usize]);
        let (bytes, num_used) = (page.bytes, page.num_used as usize);
        self.num_stored -= page.num_stored as usize;
        self.num_bytes -= num_used;
        let mut at = 0;
        while at < num_used {
            let length = self.layout.length(&bytes[at..]);
            let slot = slot_of(&bytes[at..]);
            let location = self.slots[slot];
            if (location.page, location.at as usize) == (number, at) {
                let kind = match at < page.told as usize {
                    true => Kind::Told,
                    false => Kind::New,
                };
                self.place(slot, &bytes[at..at + length], kind);
            }
            at += length;
        }
        self.page_bytes -= bytes.len();
        self.free_pages.push(number);
    }

    /// Writes a stored row to the open page of its kind.
    fn place(&mut self, slot: usize, row: &[u8], kind: Kind) {
        let number = self.page_with_room(row.len(), kind);
        let page = &mut self.pages[number as usize];
        let at = page.num_used as usize;
        self.slots[slot] = Location {
            page: number,
            at: at as u32,
        };
        Arc::make_mut(&mut page.bytes)[at..at + row.len()].copy_from_slice(row);
        page.num_used += row.len() as u32;
        self.num_bytes += row.len();
        page.num_stored += 1;
        page.num_live += 1;
        if kind == Kind::Told {
            page.told = page.num_used;
            page.num_told += 1;
        }
        self.num_stored += 1;
    }

    /// Whether a snapshot has told of the row of this slot.
    #[inline]
    pub(super) fn is_told(&self, slot: u32) -> bool {
        let location = self.slots[slot as usize];
        location.is_stored() && location.at < self.pages[location.page as usize].told
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

    /// About how many bytes so many of the rows have.
    pub(super) fn bytes_of(&self, num_rows: usize) -> usize {
        self.num_bytes / self.num_stored.max(1) * num_rows
    }

    /// Bytes held.
    pub fn size_bytes(&self) -> usize {
        let slots = self.slots.capacity() * size_of::<Location>();
        self.page_bytes + slots + self.changes.size_bytes()
    }
}

/// The bytes of a new page: copied from zeros that lie in the cache, in one pass.
fn zeros(num_bytes: usize) -> Arc<[u8]> {
    static ZEROS: LazyLock<Box<[u8]>> = LazyLock::new(|| vec![0; MAX_PAGE_BYTES].into());
    match ZEROS.get(..num_bytes) {
        Some(zeros) => zeros.into(),
        None => vec![0; num_bytes].into(),
    }
}
