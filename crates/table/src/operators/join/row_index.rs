//! Finds stored rows by the hash of the whole row.

use hashbrown::HashTable;

use super::chains::NONE;

/// Slots by row hash; any number of rows may have the same.
#[derive(Default)]
pub(super) struct RowIndex {
    entries: HashTable<Entry>,
    /// By slot.
    hashes: Vec<u64>,
    /// By slot: another slot of the same hash.
    next: Vec<u32>,
}

struct Entry {
    hash: u64,
    first: u32,
}

impl RowIndex {
    pub fn insert(&mut self, slot: u32, hash: u64) {
        let at = slot as usize;
        if at >= self.hashes.len() {
            self.hashes.resize(at + 1, 0);
            self.next.resize(at + 1, NONE);
        }
        self.hashes[at] = hash;
        match self.entries.find_mut(hash, |e| e.hash == hash) {
            Some(entry) => self.next[at] = std::mem::replace(&mut entry.first, slot),
            None => {
                self.next[at] = NONE;
                let entry = Entry { hash, first: slot };
                self.entries.insert_unique(hash, entry, |e| e.hash);
            }
        }
    }

    /// Takes out one of the slots of this hash.
    pub fn take(&mut self, hash: u64) -> Option<u32> {
        let mut entry = self.entries.find_entry(hash, |e| e.hash == hash).ok()?;
        let slot = entry.get().first;
        match self.next[slot as usize] {
            NONE => {
                entry.remove();
            }
            next => entry.get_mut().first = next,
        }
        Some(slot)
    }

    /// All slots of this hash.
    pub fn slots(&self, hash: u64) -> Vec<u32> {
        let entry = self.entries.find(hash, |e| e.hash == hash);
        let first = entry.map(|e| e.first);
        let next = |&slot: &u32| Some(self.next[slot as usize]).filter(|&n| n != NONE);
        std::iter::successors(first, next).collect()
    }

    /// Takes out this slot.
    pub fn remove(&mut self, slot: u32) {
        let hash = self.hashes[slot as usize];
        let next = self.next[slot as usize];
        let Ok(mut entry) = self.entries.find_entry(hash, |e| e.hash == hash) else {
            return;
        };
        if entry.get().first == slot {
            match next {
                NONE => {
                    entry.remove();
                }
                next => entry.get_mut().first = next,
            }
            return;
        }
        let mut before = entry.get().first;
        while before != NONE && self.next[before as usize] != slot {
            before = self.next[before as usize];
        }
        if before != NONE {
            self.next[before as usize] = next;
        }
    }

    /// Bytes held.
    pub fn size_bytes(&self) -> usize {
        self.entries.allocation_size() + self.hashes.capacity() * 12
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rows_share_an_entry() {
        let mut index = RowIndex::default();
        for slot in 0..5 {
            index.insert(slot, 7 + u64::from(slot) / 4);
        }
        index.remove(1);
        assert_eq!(index.slots(7), [3, 2, 0]);
        assert_eq!(index.take(7), Some(3));
        index.remove(2);
        assert_eq!(index.take(7), Some(0));
        assert_eq!(index.take(7), None);
        assert_eq!(index.take(8), Some(4));
        assert_eq!(index.take(8), None);
    }
}
