//! What a batch changes in its table, after rows that come and go inside it have cancelled out.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef, BooleanArray, make_comparator};
use arrow::compute::and;
use arrow::compute::kernels::cmp::not_distinct;
use arrow::record_batch::RecordBatch;
use flott_core::Result;
use flott_core::changelog::{ChangelogBatch, adds};
use flott_core::hash::hash_columns;
use hashbrown::HashTable;

use super::chains::NONE;

/// Positions in a batch of the rows that go and of those that come, in order.
#[derive(Default)]
pub(super) struct Changes {
    pub removed: Vec<u32>,
    pub added: Vec<u32>,
    /// The hash of each row of the batch; empty for batches of an append-only input.
    pub hashes: Vec<u64>,
}

impl Changes {
    /// `is_append`: no row will ever be taken back, and no hash is needed to find it.
    pub fn of(batch: &ChangelogBatch, is_append: bool) -> Result<Self> {
        let num_rows = batch.num_rows();
        let mut changes = Self::default();
        if !is_append {
            hash_columns(batch.rows().columns(), num_rows, &mut changes.hashes)?;
        }
        match batch.kinds() {
            Some(kinds) if !is_append && kinds.iter().any(|&k| !adds(k)) => {
                let remaining = cancel(batch.rows(), kinds, &changes.hashes)?;
                let (added, removed) = remaining.partition(|&row| adds(kinds[row as usize]));
                (changes.added, changes.removed) = (added, removed);
            }
            _ => changes.added = (0..num_rows as u32).collect(),
        }
        Ok(changes)
    }
}

/// The rows of one hash that are not cancelled yet.
struct Open {
    hash: u64,
    last: u32,
}

/// The rows that are left when each removal has taken back an equal addition and the reverse.
fn cancel(
    rows: &RecordBatch,
    kinds: &[u8],
    hashes: &[u64],
) -> Result<impl Iterator<Item = u32> + use<>> {
    let comparators = rows.columns().iter();
    let comparators = comparators.map(|c| make_comparator(c, c, Default::default()));
    let comparators = comparators.collect::<Result<Vec<_>, _>>()?;
    let is_equal = |a: u32, b: u32| {
        let order = |compare: &arrow::array::DynComparator| compare(a as usize, b as usize);
        comparators.iter().all(|c| order(c) == Ordering::Equal)
    };
    let mut open: HashTable<Open> = HashTable::new();
    let mut previous = vec![NONE; hashes.len()];
    let mut is_left = vec![true; hashes.len()];
    for (row, &hash) in hashes.iter().enumerate() {
        let entry = open.find_mut(hash, |o| o.hash == hash);
        let row = row as u32;
        match entry {
            None => {
                open.insert_unique(hash, Open { hash, last: row }, |o| o.hash);
            }
            Some(entry) if entry.last != NONE => {
                let last = entry.last;
                let is_opposite = adds(kinds[last as usize]) != adds(kinds[row as usize]);
                if is_opposite && is_equal(last, row) {
                    (is_left[last as usize], is_left[row as usize]) = (false, false);
                    entry.last = previous[last as usize];
                } else {
                    previous[row as usize] = last;
                    entry.last = row;
                }
            }
            Some(entry) => entry.last = row,
        }
    }
    let all = 0..hashes.len() as u32;
    Ok(all.filter(move |&row| is_left[row as usize]))
}

/// Which rows of these columns are equal, NULL being equal to NULL.
pub(super) fn equal_rows(
    left: &[ArrayRef],
    right: &[ArrayRef],
    num_rows: usize,
) -> Result<BooleanArray> {
    let mut equal = BooleanArray::from(vec![true; num_rows]);
    for (left, right) in left.iter().zip(right) {
        let column = if left.data_type().is_nested() {
            let compare = make_comparator(left, right, Default::default())?;
            let rows = 0..num_rows;
            rows.map(|row| Some(compare(row, row) == Ordering::Equal))
                .collect()
        } else {
            not_distinct(left, right)?
        };
        equal = and(&equal, &column)?;
    }
    Ok(equal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::collect::{batch, ints, texts};

    #[test]
    fn rows_that_come_and_go_inside_a_batch_cancel_out() {
        let input = batch(
            "+I -U +U -D -D -D +I +I",
            vec![
                ("a", ints([1, 1, 2, 3, 1, 4, 3, 4])),
                ("b", texts(["x", "x", "x", "x", "x", "x", "y", "x"])),
            ],
        );
        let changes = Changes::of(&input, false).unwrap();
        assert_eq!(changes.removed, [3, 4]);
        assert_eq!(changes.added, [2, 6]);
        let changes = Changes::of(&input.slice(0, 1), true).unwrap();
        assert_eq!(changes.added, [0]);
        assert!(changes.hashes.is_empty());
    }
}
