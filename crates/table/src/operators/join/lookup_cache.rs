//! The rows of keys that were looked up lately.

use std::collections::BTreeMap;

use arrow::record_batch::RecordBatch;
use flott_core::hash::StableHashMap;

/// What is kept, and for how long.
#[derive(Debug, Clone, Default)]
pub struct LookupCacheConfig {
    /// `lookup.partial-cache.max-rows`: rows kept at most; keys without rows count as one.
    pub max_rows: usize,
    /// `lookup.partial-cache.expire-after-write`, in ms.
    pub expire_after_write_ms: Option<i64>,
    /// `lookup.partial-cache.expire-after-access`, in ms.
    pub expire_after_access_ms: Option<i64>,
    /// `lookup.partial-cache.cache-missing-key`: whether it is kept that a key has no rows.
    pub caches_missing_keys: bool,
}

struct Cached {
    /// `None` when the key has no rows.
    rows: Option<RecordBatch>,
    written_ms: i64,
    accessed_ms: i64,
    /// The place in the order of use.
    turn: u64,
}

/// Keys, as bytes, with their rows; the one not used for longest goes first.
pub(super) struct LookupCache {
    config: LookupCacheConfig,
    entries: StableHashMap<Box<[u8]>, Cached>,
    by_use: BTreeMap<u64, Box<[u8]>>,
    next_turn: u64,
    num_rows: usize,
}

fn weight(rows: Option<&RecordBatch>) -> usize {
    rows.map_or(1, |rows| rows.num_rows().max(1))
}

impl LookupCache {
    pub fn new(config: LookupCacheConfig) -> Self {
        Self {
            config,
            entries: StableHashMap::default(),
            by_use: BTreeMap::new(),
            next_turn: 0,
            num_rows: 0,
        }
    }

    /// The rows of a key; `Some(None)` when it is known that there are none.
    pub fn get(&mut self, key: &[u8], now_ms: i64) -> Option<Option<RecordBatch>> {
        let config = &self.config;
        let entry = self.entries.get_mut(key)?;
        let is_older = |since: i64, limit: Option<i64>| {
            limit.is_some_and(|limit| since.saturating_add(limit) <= now_ms)
        };
        let is_expired = is_older(entry.written_ms, config.expire_after_write_ms)
            || is_older(entry.accessed_ms, config.expire_after_access_ms);
        if is_expired {
            self.remove(key);
            return None;
        }
        entry.accessed_ms = now_ms;
        let turn = std::mem::replace(&mut entry.turn, self.next_turn);
        if let Some(key) = self.by_use.remove(&turn) {
            self.by_use.insert(self.next_turn, key);
        }
        self.next_turn += 1;
        Some(entry.rows.clone())
    }

    pub fn put(&mut self, key: &[u8], rows: Option<RecordBatch>, now_ms: i64) {
        let is_wanted = rows.is_some() || self.config.caches_missing_keys;
        self.remove(key);
        if !is_wanted || weight(rows.as_ref()) > self.config.max_rows {
            return;
        }
        self.num_rows += weight(rows.as_ref());
        let turn = self.next_turn;
        self.next_turn += 1;
        self.by_use.insert(turn, key.into());
        let entry = Cached {
            rows,
            written_ms: now_ms,
            accessed_ms: now_ms,
            turn,
        };
        self.entries.insert(key.into(), entry);
        while self.num_rows > self.config.max_rows {
            let Some((_, oldest)) = self.by_use.pop_first() else {
                break;
            };
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some(entry) = self.entries.remove(key) {
            self.num_rows -= weight(entry.rows.as_ref());
            self.by_use.remove(&entry.turn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::collect::{batch, ints};

    fn rows<const N: usize>(values: [i32; N]) -> Option<RecordBatch> {
        Some(batch("", vec![("a", ints(values))]).rows().clone())
    }

    fn count(cache: &mut LookupCache, key: &[u8], now_ms: i64) -> Option<usize> {
        let found = cache.get(key, now_ms)?;
        Some(found.map_or(0, |rows| rows.num_rows()))
    }

    #[test]
    fn the_key_not_used_for_longest_goes_first() {
        let mut cache = LookupCache::new(LookupCacheConfig {
            max_rows: 3,
            ..LookupCacheConfig::default()
        });
        cache.put(b"a", rows([1]), 0);
        cache.put(b"b", rows([2, 3]), 0);
        assert_eq!(count(&mut cache, b"a", 1), Some(1));
        cache.put(b"c", rows([4]), 2);
        assert_eq!(count(&mut cache, b"b", 3), None);
        assert_eq!(count(&mut cache, b"a", 3), Some(1));
        assert_eq!(count(&mut cache, b"c", 3), Some(1));
        // More rows than may be kept, and a key without rows.
        cache.put(b"d", rows([1, 2, 3, 4]), 4);
        cache.put(b"e", None, 4);
        assert_eq!(count(&mut cache, b"d", 4), None);
        assert_eq!(count(&mut cache, b"e", 4), None);
        assert_eq!(count(&mut cache, b"a", 4), Some(1));
    }

    #[test]
    fn rows_expire_after_they_were_written_or_used() {
        let mut cache = LookupCache::new(LookupCacheConfig {
            max_rows: 10,
            expire_after_write_ms: Some(100),
            expire_after_access_ms: Some(30),
            caches_missing_keys: true,
        });
        cache.put(b"a", rows([1]), 0);
        cache.put(b"b", None, 0);
        for now_ms in [20, 40, 60, 80, 99] {
            assert_eq!(count(&mut cache, b"a", now_ms), Some(1));
        }
        assert_eq!(count(&mut cache, b"a", 100), None);
        assert_eq!(count(&mut cache, b"b", 29), Some(0));
        assert_eq!(count(&mut cache, b"b", 59), None);
        assert_eq!(cache.num_rows, 0);
    }
}
