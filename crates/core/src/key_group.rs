//! Key groups: the unit in which keyed state is divided, stored and rescaled.

use std::ops::Range;

/// The number of key groups when `pipeline.max-parallelism` is not set.
pub const DEFAULT_MAX_PARALLELISM: usize = 128;

/// The key group of a key's hash.
#[inline]
pub fn key_group_of(hash: u64, max_parallelism: usize) -> usize {
    // The high half: hash tables inside a subtask use the low bits.
    (((hash >> 32) * max_parallelism as u64) >> 32) as usize
}

/// The subtask that owns a key group.
#[inline]
pub fn subtask_of(key_group: usize, parallelism: usize, max_parallelism: usize) -> usize {
    key_group * parallelism / max_parallelism
}

/// The key groups that a subtask owns.
pub fn key_groups_of(subtask: usize, parallelism: usize, max_parallelism: usize) -> Range<usize> {
    let start = (subtask * max_parallelism).div_ceil(parallelism);
    let end = ((subtask + 1) * max_parallelism).div_ceil(parallelism);
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_group_has_the_owner_whose_range_holds_it() {
        for parallelism in 1..=128 {
            for group in 0..128 {
                let owner = subtask_of(group, parallelism, 128);
                assert!(key_groups_of(owner, parallelism, 128).contains(&group));
            }
        }
    }
}
