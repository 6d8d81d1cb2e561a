//! Which groups of columnar state have changed since the last snapshot.

use arrow::record_batch::RecordBatch;
use flott_core::operator::StateRows;

/// Keys of removed groups that are kept beyond as many as there are groups.
const MAX_REMOVED: usize = 1 << 16;

/// A mark for each group, and the keys of removed ones.
///
/// Off, it costs nothing, and a snapshot has to say everything. It is on from the first snapshot or
/// restore, and goes off by itself when nobody takes snapshots any more and the keys of removed
/// groups become too many.
#[derive(Debug, Default)]
pub struct ChangeTracker {
    is_on: bool,
    /// A byte for each group: quicker to set than a bit, and a thousandth of a group's state.
    marks: Vec<u8>,
    removed: Vec<RecordBatch>,
    num_removed: usize,
}

impl ChangeTracker {
    /// Everything has been said: changes count from here.
    pub fn begin(&mut self) {
        self.stop();
        self.is_on = true;
    }

    /// The next snapshot has to say everything.
    pub fn stop(&mut self) {
        self.is_on = false;
        self.marks.clear();
        self.removed = Vec::new();
        self.num_removed = 0;
    }

    #[inline]
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// These groups have changed; `capacity` is one more than the highest group number.
    #[inline]
    pub fn mark(&mut self, groups: &[u32], capacity: usize) {
        if !self.is_on {
            return;
        }
        if self.marks.len() < capacity {
            self.marks.resize(capacity, 0);
        }
        for &group in groups {
            self.marks[group as usize] = 1;
        }
    }

    /// These groups, whose keys are given, are gone; `num_groups` are left.
    pub fn remove(&mut self, groups: &[u32], keys: RecordBatch, num_groups: usize) {
        for &group in groups {
            if let Some(mark) = self.marks.get_mut(group as usize) {
                *mark = 0;
            }
        }
        self.num_removed += keys.num_rows();
        self.removed.push(keys);
        if self.num_removed > num_groups + MAX_REMOVED {
            self.stop();
        }
    }

    /// The groups that have changed, ascending.
    pub fn changed(&self) -> Vec<u32> {
        let mut groups = Vec::new();
        for (at, marks) in self.marks.chunks(64).enumerate() {
            // Most are untouched: look at many at once.
            if marks.iter().fold(0, |any, mark| any | mark) == 0 {
                continue;
            }
            let marked = marks.iter().enumerate().filter(|(_, mark)| **mark != 0);
            groups.extend(marked.map(|(i, _)| (at * 64 + i) as u32));
        }
        groups
    }

    /// Takes the keys of removed groups.
    pub fn take_removed(&mut self) -> StateRows {
        self.num_removed = 0;
        std::mem::take(&mut self.removed).into()
    }

    /// Bytes held.
    pub fn size_bytes(&self) -> usize {
        self.marks.capacity()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Schema;
    use arrow::record_batch::RecordBatchOptions;

    use super::*;

    fn keys(num: usize) -> RecordBatch {
        let options = RecordBatchOptions::new().with_row_count(Some(num));
        RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap()
    }

    #[test]
    fn marked_groups_are_told_once_and_removed_ones_not() {
        let mut tracker = ChangeTracker::default();
        tracker.mark(&[1], 2);
        assert!(tracker.changed().is_empty());
        tracker.begin();
        tracker.mark(&[5, 200, 5], 201);
        tracker.mark(&[64], 300);
        tracker.remove(&[200], keys(1), 10);
        assert_eq!(tracker.changed(), [5, 64]);
        assert_eq!(tracker.take_removed().num_rows(), 1);
        tracker.begin();
        assert!(tracker.changed().is_empty());
    }

    #[test]
    fn too_many_removed_keys_make_it_stop() {
        let mut tracker = ChangeTracker::default();
        tracker.begin();
        tracker.remove(&[0], keys(MAX_REMOVED), 0);
        assert!(tracker.is_on());
        tracker.remove(&[1], keys(1), 0);
        assert!(!tracker.is_on());
    }
}
