//! An open-addressed index of groups that is asked for a whole batch of keys at once.
//!
//! Linear probing over slots that hold the key's word beside the group number: a key that lies in
//! its home slot, as most do, costs one cache line. [`ProbeIndex::match_homes`] looks at the home
//! slots of all rows in a loop without unpredictable branches, so that the processor has many
//! cache misses under way at once; only the rows left over are searched one by one.

/// The group number of a row that is not found (yet), and of an empty slot.
pub(crate) const NO_GROUP: u32 = u32::MAX;
const LEAST_SLOTS: usize = 16;

/// A key's word (the value itself, or the key's hash) with the group's scope and number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    pub word: u64,
    pub scope: u32,
    pub group: u32,
}

const EMPTY: Slot = Slot {
    word: 0,
    scope: 0,
    group: NO_GROUP,
};

/// Slots by hash.
#[derive(Debug, Default)]
pub(crate) struct ProbeIndex {
    /// None or a power of two, at most five of eight in use.
    slots: Vec<Slot>,
    len: usize,
}

impl ProbeIndex {
    /// The group in each row's home slot, [`NO_GROUP`] where that is not the row's. `groups` is
    /// cleared first.
    pub fn match_homes(
        &self,
        rows: impl ExactSizeIterator<Item = (u64, u64, u32)>,
        groups: &mut Vec<u32>,
    ) {
        groups.clear();
        if self.slots.is_empty() {
            groups.resize(rows.len(), NO_GROUP);
            return;
        }
        let mask = self.slots.len() - 1;
        groups.extend(rows.map(|(hash, word, scope)| {
            let slot = &self.slots[hash as usize & mask];
            let is_it = (slot.word == word) & (slot.scope == scope);
            // An empty slot may look like a match; its group is NO_GROUP.
            slot.group | u32::from(is_it).wrapping_sub(1)
        }));
    }

    /// The group of the slot with this word and scope that satisfies `is_it`.
    #[inline]
    pub fn find(
        &self,
        hash: u64,
        word: u64,
        scope: u32,
        is_it: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = hash as usize & mask;
        loop {
            let slot = &self.slots[at];
            if slot.group == NO_GROUP {
                return None;
            }
            if slot.word == word && slot.scope == scope && is_it(slot.group) {
                return Some(slot.group);
            }
            at = (at + 1) & mask;
        }
    }

    /// Adds a slot that is not there; `hash_of` tells the hash of any slot's group.
    pub fn insert(&mut self, hash: u64, slot: Slot, hash_of: impl Fn(u32) -> u64) {
        if (self.len + 1) * 8 > self.slots.len() * 5 {
            self.grow(hash_of);
        }
        self.place(hash, slot);
        self.len += 1;
    }

    fn place(&mut self, hash: u64, slot: Slot) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at].group != NO_GROUP {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
    }

    #[cold]
    fn grow(&mut self, hash_of: impl Fn(u32) -> u64) {
        let num_slots = (self.slots.len() * 2).max(LEAST_SLOTS);
        let old = std::mem::replace(&mut self.slots, vec![EMPTY; num_slots]);
        for slot in old.into_iter().filter(|s| s.group != NO_GROUP) {
            self.place(hash_of(slot.group), slot);
        }
    }

    /// Removes the slot of a group; whether it was there. The slots behind move up, so that no
    /// gap hides them.
    pub fn remove(&mut self, hash: u64, group: u32, hash_of: impl Fn(u32) -> u64) -> bool {
        let Some(mask) = self.slots.len().checked_sub(1) else {
            return false;
        };
        let mut gap = hash as usize & mask;
        while self.slots[gap].group != group {
            if self.slots[gap].group == NO_GROUP {
                return false;
            }
            gap = (gap + 1) & mask;
        }
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            let slot = self.slots[at];
            if slot.group == NO_GROUP {
                break;
            }
            let home = hash_of(slot.group) as usize & mask;
            let from_home = at.wrapping_sub(home) & mask;
            let from_gap = at.wrapping_sub(gap) & mask;
            if from_home >= from_gap {
                self.slots[gap] = slot;
                gap = at;
            }
        }
        self.slots[gap] = EMPTY;
        self.len -= 1;
        true
    }

    /// Empties the index and keeps its room.
    pub fn clear(&mut self) {
        if self.len > 0 {
            self.slots.fill(EMPTY);
            self.len = 0;
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn size_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
    }
}

#[cfg(test)]
mod tests {
    use flott_core::hash::{StableHashMap, mix};

    use super::*;

    /// Few distinct hashes, so that chains are long and wrap around.
    fn hash_of(group: u32) -> u64 {
        mix(1, u64::from(group % 7)) | 13
    }

    #[test]
    fn it_finds_what_a_map_finds() {
        let mut index = ProbeIndex::default();
        let mut map = StableHashMap::<u32, ()>::default();
        for step in 0..2_000u64 {
            let group = (mix(2, step) % 60) as u32;
            let hash = hash_of(group);
            let word = u64::from(group);
            let found = index.find(hash, word, 0, |_| true);
            assert_eq!(found.is_some(), map.contains_key(&group), "step {step}");
            if map.remove(&group).is_some() {
                assert!(index.remove(hash, group, hash_of));
            } else {
                let slot = Slot {
                    word,
                    scope: 0,
                    group,
                };
                index.insert(hash, slot, hash_of);
                map.insert(group, ());
            }
            assert_eq!(index.len(), map.len());
        }
        let rows = (0..60u32).map(|g| (hash_of(g), u64::from(g), 0));
        let mut groups = Vec::new();
        index.match_homes(rows.collect::<Vec<_>>().into_iter(), &mut groups);
        for (group, found) in groups.into_iter().enumerate() {
            let group = group as u32;
            assert!(found == NO_GROUP || found == group && map.contains_key(&group));
        }
    }
}
