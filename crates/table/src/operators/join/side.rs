//! One side of a regular join: its rows by key, and what it takes to find them again.

use std::collections::VecDeque;

use arrow::array::{ArrayRef, Int64Array, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use flott_core::Result;
use flott_core::hash::hash_columns;
use flott_core::operator::{StateBatch, StateTable};
use flott_state::rows::unpack;

use super::chains::{Chains, NONE};
use super::changes::equal_rows;
use super::keys::SideName;
use super::row_index::RowIndex;
use crate::operators::rows::{Extra, ExtraValue, PackedRestored, RestoredRows, RowStore};

/// What a side has to know about its rows.
pub(super) struct SideNeeds {
    /// Rows may be taken back.
    pub is_retracting: bool,
    /// Rows are sent by themselves, depending on their matches.
    pub counts_matches: bool,
    /// How long rows are kept, in ms.
    pub ttl_ms: Option<i64>,
}

/// The age of a row that was stored without a TTL.
const NO_TIME: i64 = i64::MIN;

/// The rows of one side.
pub(super) struct Side {
    name: SideName,
    schema: SchemaRef,
    pub store: RowStore,
    pub chains: Chains,
    /// Rows of `NOT IN` whose key is NULL, all in group 0.
    pub without_key: Chains,
    index: Option<RowIndex>,
    /// By slot.
    pub matches: Option<Vec<u32>>,
    expiry: Option<Expiry>,
}

/// When rows came, in order of time.
struct Expiry {
    ttl_ms: i64,
    /// By slot.
    created_ms: Vec<i64>,
    /// A slot may have been given up since, and even given out again.
    queue: VecDeque<(i64, u32)>,
}

/// A row to be kept.
pub(super) struct NewRow {
    /// Its position in the batch at hand.
    pub row: u32,
    /// [`NONE`] when its key is NULL.
    pub group: u32,
    /// The hash of the whole row, where rows may be taken back.
    pub hash: Option<u64>,
    pub num_matches: u32,
    pub created_ms: i64,
}

impl Side {
    pub fn new(name: SideName, schema: SchemaRef, needs: &SideNeeds) -> Self {
        Self {
            name,
            store: RowStore::new(schema.clone()),
            schema,
            chains: Chains::default(),
            without_key: Chains::default(),
            index: needs.is_retracting.then(RowIndex::default),
            matches: needs.counts_matches.then(Vec::new),
            expiry: needs.ttl_ms.map(|ttl_ms| Expiry {
                ttl_ms,
                created_ms: Vec::new(),
                queue: VecDeque::new(),
            }),
        }
    }

    pub fn has_ttl(&self) -> bool {
        self.expiry.is_some()
    }

    pub fn is_retracting(&self) -> bool {
        self.index.is_some()
    }

    /// Keeps a row; it is copied by the next commit of the store.
    #[inline]
    pub fn insert(&mut self, new: &NewRow) {
        let slot = self.store.allocate(new.row as usize);
        let at = slot as usize;
        match new.group {
            NONE => self.without_key.push(0, slot),
            group => self.chains.push(group, slot),
        }
        if let (Some(index), Some(hash)) = (&mut self.index, new.hash) {
            index.insert(slot, hash);
        }
        if let Some(matches) = &mut self.matches {
            matches.resize(matches.len().max(at + 1), 0);
            matches[at] = new.num_matches;
        }
        if let Some(expiry) = &mut self.expiry {
            let created = &mut expiry.created_ms;
            created.resize(created.len().max(at + 1), 0);
            created[at] = new.created_ms;
            expiry.queue.push_back((new.created_ms, slot));
        }
    }

    /// The slots of stored rows that equal these rows of a batch, each found only once.
    pub fn take_equal(
        &mut self,
        rows: &RecordBatch,
        positions: &[u32],
        hashes: &[u64],
    ) -> Result<Vec<Option<u32>>> {
        let Some(index) = &mut self.index else {
            return Ok(vec![None; positions.len()]);
        };
        let hash = |&row: &u32| hashes[row as usize];
        let mut found: Vec<_> = positions.iter().map(|r| index.take(hash(r))).collect();
        let pairs = positions.iter().zip(&found);
        let (wanted, slots): (Vec<u32>, Vec<u32>) = pairs
            .filter_map(|(&row, slot)| Some((row, (*slot)?)))
            .unzip();
        let num_pairs = slots.len();
        let wanted = take_record_batch(rows, &UInt32Array::from(wanted))?;
        let stored = self.store.rows(&slots)?;
        let equal = equal_rows(wanted.columns(), stored.columns(), num_pairs)?;
        if equal.has_false() {
            let found_ones = found.iter_mut().enumerate().filter(|(_, f)| f.is_some());
            let mut others = Vec::new();
            for ((position, slot), is_equal) in found_ones.zip(equal.values()) {
                if let (false, Some(other)) = (is_equal, slot.take()) {
                    index.insert(other, hash(&positions[position]));
                    others.push(position);
                }
            }
            for position in others {
                let row = positions[position];
                found[position] = self.search(rows, row, hash(&row))?;
            }
        }
        Ok(found)
    }

    /// Looks through all rows of a hash for one that is equal: two rows may share a hash.
    fn search(&mut self, rows: &RecordBatch, row: u32, hash: u64) -> Result<Option<u32>> {
        let Some(index) = &mut self.index else {
            return Ok(None);
        };
        let slots = index.slots(hash);
        let stored = self.store.rows(&slots)?;
        let wanted = UInt32Array::from(vec![row; slots.len()]);
        let wanted = take_record_batch(rows, &wanted)?;
        let equal = equal_rows(wanted.columns(), stored.columns(), slots.len())?;
        let found = equal.values().iter().position(|e| e).map(|p| slots[p]);
        if let Some(slot) = found {
            index.remove(slot);
        }
        Ok(found)
    }

    /// Gives a row up whose slot is out of the index already; gives its group.
    pub fn release(&mut self, slot: u32) -> u32 {
        self.store.release(slot);
        if self.without_key.holds(slot) {
            self.without_key.remove(slot);
            return NONE;
        }
        self.chains.remove(slot)
    }

    /// Gives a row up; gives its group.
    pub fn remove(&mut self, slot: u32) -> u32 {
        if let Some(index) = &mut self.index {
            index.remove(slot);
        }
        self.release(slot)
    }

    /// Gives up the rows that have outlived the TTL; puts their groups into `groups`.
    pub fn expire(&mut self, now_ms: i64, groups: &mut Vec<u32>) {
        while let Some(slot) = self.pop_expired(now_ms) {
            groups.push(self.remove(slot));
        }
    }

    fn pop_expired(&mut self, now_ms: i64) -> Option<u32> {
        let expiry = self.expiry.as_mut()?;
        while let Some(&(created_ms, slot)) = expiry.queue.front()
            && created_ms.saturating_add(expiry.ttl_ms) <= now_ms
        {
            expiry.queue.pop_front();
            let is_kept = self.chains.holds(slot) || self.without_key.holds(slot);
            if is_kept && expiry.created_ms[slot as usize] == created_ms {
                return Some(slot);
            }
        }
        None
    }

    /// When the next row expires, in ms.
    pub fn next_expiry_ms(&self) -> Option<i64> {
        let expiry = self.expiry.as_ref()?;
        let (created_ms, _) = expiry.queue.front()?;
        Some(created_ms.saturating_add(expiry.ttl_ms))
    }

    /// The rows that have changed, with their matches and their age.
    pub fn snapshot(&mut self) -> StateTable {
        let of_slot;
        let num_matches = match &self.matches {
            None => ExtraValue::Same(0),
            Some(matches) => {
                of_slot = |slot: usize| i64::from(matches[slot]);
                ExtraValue::Of(&of_slot)
            }
        };
        let age;
        let created_ms = match &self.expiry {
            None => ExtraValue::Same(NO_TIME),
            Some(expiry) => {
                age = |slot: usize| expiry.created_ms[slot];
                ExtraValue::Of(&age)
            }
        };
        let extra: [Extra<'_>; 2] = [("num_matches", num_matches), ("created_ms", created_ms)];
        self.store.snapshot(self.name.table(), &extra)
    }

    /// Takes rows back whose groups `assign` gives, of their key columns, which are at `keys`.
    pub fn restore(
        &mut self,
        batch: StateBatch,
        keys: &[usize],
        now_ms: i64,
        assign: impl FnOnce(Vec<ArrayRef>, usize) -> Result<Vec<u32>>,
    ) -> Result<()> {
        if self.index.is_none()
            && let Some(packed) = PackedRestored::<2>::of(&batch, &self.schema)?
        {
            let groups = assign(packed.columns(keys)?, packed.num_rows())?;
            self.take_back(&groups, &[], packed.extra, now_ms);
            self.store.commit_packed(&packed);
            return Ok(());
        }
        let restored = RestoredRows::<2>::new(&unpack(batch)?, &self.schema)?;
        let ([matches, created], rows) = (&restored.extra, &restored.rows);
        let columns = keys.iter().map(|&c| rows.column(c).clone());
        let groups = assign(columns.collect(), rows.num_rows())?;
        let mut hashes = Vec::new();
        if self.index.is_some() {
            hash_columns(rows.columns(), rows.num_rows(), &mut hashes)?;
        }
        self.take_back(&groups, &hashes, [matches, created], now_ms);
        self.store.commit_restored(&restored)
    }

    /// Keeps rows of these groups, with their matches and their age.
    fn take_back(
        &mut self,
        groups: &[u32],
        hashes: &[u64],
        [matches, created]: [&Int64Array; 2],
        now_ms: i64,
    ) {
        for (row, &group) in groups.iter().enumerate() {
            self.insert(&NewRow {
                row: row as u32,
                group,
                hash: hashes.get(row).copied(),
                num_matches: matches.value(row).max(0) as u32,
                // Without a TTL before, rows begin to age now.
                created_ms: match created.value(row) {
                    NO_TIME => now_ms,
                    created_ms => created_ms,
                },
            });
        }
    }

    /// All rows are back: puts them into order of time.
    pub fn restored(&mut self) {
        self.store.told();
        if let Some(expiry) = &mut self.expiry {
            expiry.queue.make_contiguous().sort_unstable();
        }
    }

    /// Bytes held.
    pub fn size_bytes(&self) -> usize {
        let index = self.index.as_ref().map_or(0, RowIndex::size_bytes);
        let matches = self.matches.as_ref().map_or(0, |m| m.capacity() * 4);
        let expiry = self.expiry.as_ref();
        let expiry = expiry.map_or(0, |e| e.created_ms.capacity() * 8 + e.queue.capacity() * 16);
        let lists = self.chains.size_bytes() + self.without_key.size_bytes();
        self.store.size_bytes() + lists + index + matches + expiry
    }
}
