//! Which rows the next snapshot has to tell of.
//!
//! Rows that came since the last snapshot are known by where they lie ([`super::store`]); here are
//! those told before that have changed, and those that are gone.

use flott_state::rows::Identity;

/// Told rows that have changed, and the rows that are gone.
///
/// It costs a byte for each slot once a row has been changed, four for each changed row, and eight
/// for each row told that is gone: never more than the rows of the last snapshot.
#[derive(Default)]
pub(super) struct RowChanges {
    /// By slot: whether it is among the touched.
    marks: Vec<bool>,
    touched: Vec<u32>,
    removed: Vec<Identity>,
    /// The next snapshot says everything.
    pub is_whole: bool,
}

impl RowChanges {
    /// What belongs to a told row has changed.
    #[inline]
    pub fn touch(&mut self, slot: u32) {
        let at = slot as usize;
        if at >= self.marks.len() {
            self.marks.resize(at + 1, false);
        }
        if !std::mem::replace(&mut self.marks[at], true) {
            self.touched.push(slot);
        }
    }

    /// A told row is gone, and its slot may be given out again.
    #[inline]
    pub fn remove(&mut self, slot: u32, identity: Identity) {
        if let Some(mark) = self.marks.get_mut(slot as usize) {
            *mark = false;
        }
        if !self.is_whole {
            self.removed.push(identity);
        }
    }

    /// The slots of told rows that have changed.
    pub fn changed(&mut self) -> Vec<u32> {
        let marks = &mut self.marks;
        // A slot that was given up and touched again is there twice.
        let is_first = |slot: &u32| std::mem::replace(&mut marks[*slot as usize], false);
        let touched = std::mem::take(&mut self.touched);
        touched.into_iter().filter(is_first).collect()
    }

    /// All has been told: changes count from here. Gives the rows that were gone.
    pub fn told(&mut self) -> Vec<Identity> {
        self.changed();
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
        let removed = self.removed.capacity() * size_of::<Identity>();
        self.marks.capacity() + self.touched.capacity() * 4 + removed
    }
}
