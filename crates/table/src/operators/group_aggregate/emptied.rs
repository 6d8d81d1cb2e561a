//! Groups that lose their last row in the middle of a batch.
//!
//! Flink forgets a group there, and begins it anew with the next row; and it ignores a row that is
//! taken back from a group without rows. Of a changelog that is one, nothing of that is seen in
//! exact results: what is left of a group without rows is nothing. It is seen where a source says
//! things that contradict each other, such as a row deleted twice, and in sums of approximate
//! numbers, of which the error would be left.

use arrow::array::BooleanArray;
use arrow::buffer::BooleanBuffer;

/// Which rows of a batch count, when groups begin anew within it.
pub(super) struct Remaining {
    /// The rows that count.
    pub rows: BooleanArray,
    /// The groups whose state is forgotten before.
    pub emptied: Vec<u32>,
}

/// Follows the numbers of rows of groups through a batch. Its room is kept between batches.
#[derive(Default)]
pub(super) struct RowCounts {
    /// By group: how many rows it has at the row at hand.
    counts: Vec<i64>,
    /// By group: one more than the row that was its last; 0 if there was none.
    emptied_at: Vec<u32>,
}

impl RowCounts {
    /// `row_groups` and `adds` are of the batch's rows, `groups` has each of the groups once, and
    /// `count` tells how many rows they had before. `None` when all rows count.
    pub fn follow(
        &mut self,
        row_groups: &[u32],
        adds: &BooleanArray,
        groups: &[u32],
        count: impl Fn(u32) -> i64,
    ) -> Option<Remaining> {
        let bound = groups.iter().max().map_or(0, |&g| g as usize + 1);
        if self.counts.len() < bound {
            self.counts.resize(bound, 0);
            self.emptied_at.resize(bound, 0);
        }
        for &group in groups {
            self.counts[group as usize] = count(group).max(0);
            self.emptied_at[group as usize] = 0;
        }
        let mut ignored = Vec::new();
        let rows = row_groups.iter().zip(adds.values()).enumerate();
        for (row, (&group, is_added)) in rows {
            let count = &mut self.counts[group as usize];
            match (*count, is_added) {
                (_, true) => *count += 1,
                (0, false) => ignored.push(row),
                (1, false) => {
                    *count = 0;
                    self.emptied_at[group as usize] = row as u32 + 1;
                }
                (_, false) => *count -= 1,
            }
        }
        let emptied = groups.iter().copied();
        let emptied: Vec<u32> = emptied
            .filter(|&g| self.emptied_at[g as usize] > 0)
            .collect();
        if emptied.is_empty() && ignored.is_empty() {
            return None;
        }
        let mut ignored = ignored.into_iter().peekable();
        let rows = BooleanBuffer::collect_bool(row_groups.len(), |row| {
            let is_ignored = ignored.next_if_eq(&row).is_some();
            !is_ignored && row as u32 >= self.emptied_at[row_groups[row] as usize]
        });
        let rows = BooleanArray::new(rows, None);
        Some(Remaining { rows, emptied })
    }

    pub fn size_bytes(&self) -> usize {
        self.counts.capacity() * size_of::<i64>() + self.emptied_at.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(rows: &[(u32, bool)], before: &[i64]) -> Option<(Vec<bool>, Vec<u32>)> {
        let row_groups: Vec<u32> = rows.iter().map(|r| r.0).collect();
        let adds: BooleanArray = rows.iter().map(|r| Some(r.1)).collect();
        let groups: Vec<u32> = (0..before.len() as u32).collect();
        let count = |group: u32| before[group as usize];
        let remaining = RowCounts::default().follow(&row_groups, &adds, &groups, count)?;
        let rows = remaining.rows.values().iter().collect();
        Some((rows, remaining.emptied))
    }

    #[test]
    fn rows_before_the_last_time_a_group_was_empty_do_not_count() {
        let rows = [(0, false), (1, false), (0, true), (0, false), (0, true)];
        let found = follow(&rows, &[1, 2]);
        assert_eq!(
            found,
            Some((vec![false, true, false, false, true], vec![0]))
        );
    }

    #[test]
    fn what_is_taken_from_an_empty_group_does_not_count() {
        let rows = [(0, false), (0, true), (1, true), (1, false), (1, false)];
        let found = follow(&rows, &[0, 0]);
        assert_eq!(
            found,
            Some((vec![false, true, false, false, false], vec![1]))
        );
    }

    #[test]
    fn groups_that_keep_rows_are_left_alone() {
        assert_eq!(follow(&[(0, false), (0, true), (0, false)], &[2]), None);
    }
}
