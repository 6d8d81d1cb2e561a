//! Which rows the next snapshot has to tell of.

use super::identity::Identity;

/// Told by the last snapshot, and the same since.
const TOLD: u8 = 0;
/// Never told of.
const NEW: u8 = 1;
/// Told, but what belongs to the row has changed.
const CHANGED: u8 = 2;

/// A mark for each slot, and the rows that are gone.
///
/// It costs a byte for each slot, and eight for each row told that is gone: never more than the
/// rows of the last snapshot.
#[derive(Default)]
pub(super) struct RowChanges {
    marks: Vec<u8>,
    removed: Vec<Identity>,
    /// The next snapshot says everything.
    pub is_whole: bool,
}

impl RowChanges {
    /// Rows have come into these slots.
    #[inline]
    pub fn add(&mut self, slots: &[u32], num_slots: usize) {
        if self.marks.len() < num_slots {
            self.marks.resize(num_slots, TOLD);
        }
        slots
            .iter()
            .for_each(|&slot| self.marks[slot as usize] = NEW);
    }

    /// What belongs to a stored row has changed.
    #[inline]
    pub fn touch(&mut self, slot: u32) {
        let mark = &mut self.marks[slot as usize];
        *mark = (*mark).max(CHANGED * u8::from(*mark == TOLD));
    }

    /// Whether the next snapshot has to say that this row is gone; forgets the slot if not.
    #[inline]
    pub fn wants_removed(&mut self, slot: u32) -> bool {
        let mark = std::mem::replace(&mut self.marks[slot as usize], TOLD);
        mark != NEW && !self.is_whole
    }

    /// A row that was told of is gone.
    #[inline]
    pub fn remove(&mut self, identity: Identity) {
        self.removed.push(identity);
    }

    /// The slots of rows that are new or have changed, ascending.
    pub fn changed(&self) -> Vec<u32> {
        let mut slots = Vec::new();
        for (at, marks) in self.marks.chunks(64).enumerate() {
            // Most are untouched: look at many at once.
            if marks.iter().fold(0, |any, mark| any | mark) == 0 {
                continue;
            }
            let marked = marks.iter().enumerate().filter(|(_, mark)| **mark != TOLD);
            slots.extend(marked.map(|(i, _)| (at * 64 + i) as u32));
        }
        slots
    }

    /// All has been told: changes count from here. Gives the rows that were gone.
    pub fn told(&mut self) -> Vec<Identity> {
        self.marks.fill(TOLD);
        self.is_whole = false;
        std::mem::take(&mut self.removed)
    }

    /// The next snapshot says everything.
    pub fn restart(&mut self) {
        self.removed = Vec::new();
        self.is_whole = true;
    }

    /// Bytes held.
    pub fn size_bytes(&self) -> usize {
        self.marks.capacity() + self.removed.capacity() * size_of::<Identity>()
    }
}
