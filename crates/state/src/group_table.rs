//! Keys to dense group numbers: the index of state that is held in columns.
//!
//! A key of one column of at most 64 bits is a word beside its hash slot; any other key is a row
//! of bytes in the table's own arena. Numbers of removed groups are given out again.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::kernels::arity::unary;
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::row::{RowConverter, SortField};
use flott_core::Result;
use flott_core::hash::{hash_columns, mix};
use flott_core::key_group::key_group_of;
use hashbrown::HashTable;

use crate::words::{array_of, fits_word, words_of};

/// Keys and their group numbers.
///
/// Every key may belong to a *scope*, another table's group: a set of values by group is a table
/// whose scopes are the groups.
pub struct GroupTable {
    key_types: Vec<DataType>,
    index: HashTable<Slot>,
    keys: Keys,
    /// The hash of each group's key, without its scope.
    hashes: Vec<u64>,
    /// Of each group: [`UNSCOPED`] when it has none.
    scopes: Vec<u32>,
    is_scoped: bool,
    /// Group numbers not in use.
    free: Vec<u32>,
    created: Vec<u32>,
    scratch: Scratch,
}

/// A word key, or the hash of a row key, with the group's scope and number.
#[derive(Clone, Copy)]
struct Slot {
    word: u64,
    scope: u32,
    group: u32,
}

const UNSCOPED: u32 = u32::MAX;
/// The scope of a NULL word.
const NULL_SCOPE: u32 = u32::MAX - 1;

#[derive(Default)]
struct Scratch {
    hashes: Vec<u64>,
    words: Vec<u64>,
}

enum Keys {
    /// Values of one column; the scope of the slot marks NULL.
    Words {
        words: Vec<u64>,
        nulls: Vec<bool>,
    },
    Rows(RowKeys),
}

/// Keys as bytes in an arena.
struct RowKeys {
    converter: RowConverter,
    bytes: Vec<u8>,
    /// Start and length in `bytes` of each group's key.
    places: Vec<(usize, u32)>,
    /// Bytes of removed keys.
    garbage: usize,
}

impl RowKeys {
    #[inline]
    fn get(&self, group: u32) -> &[u8] {
        let (start, length) = self.places[group as usize];
        &self.bytes[start..start + length as usize]
    }

    fn set(&mut self, group: u32, key: &[u8]) {
        let place = (self.bytes.len(), key.len() as u32);
        self.bytes.extend_from_slice(key);
        match self.places.get_mut(group as usize) {
            Some(old) => *old = place,
            None => self.places.push(place),
        }
    }

    /// Forgets a key; when most bytes are of removed keys the rest is moved together.
    fn remove(&mut self, group: u32) {
        let place = &mut self.places[group as usize];
        self.garbage += place.1 as usize;
        *place = (0, 0);
        if self.garbage < 1 << 16 || self.garbage * 2 < self.bytes.len() {
            return;
        }
        let mut bytes = Vec::with_capacity(self.bytes.len() - self.garbage);
        for (start, length) in &mut self.places {
            let key = &self.bytes[*start..*start + *length as usize];
            *start = bytes.len();
            bytes.extend_from_slice(key);
        }
        self.bytes = bytes;
        self.garbage = 0;
    }
}

impl GroupTable {
    /// A table of keys of these types.
    ///
    /// # Errors
    /// A type that cannot be a key.
    pub fn new(key_types: &[DataType]) -> Result<Self> {
        let keys = match key_types {
            [only] if fits_word(only) => Keys::Words {
                words: Vec::new(),
                nulls: Vec::new(),
            },
            types => Keys::Rows(RowKeys {
                converter: RowConverter::new(types.iter().cloned().map(SortField::new).collect())?,
                bytes: Vec::new(),
                places: Vec::new(),
                garbage: 0,
            }),
        };
        Ok(Self {
            key_types: key_types.to_vec(),
            index: HashTable::new(),
            keys,
            hashes: Vec::new(),
            scopes: Vec::new(),
            is_scoped: false,
            free: Vec::new(),
            created: Vec::new(),
            scratch: Scratch::default(),
        })
    }

    /// Puts the group number of each row's key into `groups`, which is cleared first; unknown keys
    /// get new numbers, told by [`GroupTable::created`].
    ///
    /// # Errors
    /// A type that cannot be a key.
    pub fn assign(
        &mut self,
        keys: &[ArrayRef],
        num_rows: usize,
        groups: &mut Vec<u32>,
    ) -> Result<()> {
        self.assign_rows(keys, num_rows, None, groups)
    }

    /// As [`GroupTable::assign`], of keys inside a scope for each row.
    ///
    /// # Errors
    /// A type that cannot be a key.
    pub fn assign_scoped(
        &mut self,
        keys: &[ArrayRef],
        scopes: &[u32],
        groups: &mut Vec<u32>,
    ) -> Result<()> {
        self.is_scoped = true;
        self.assign_rows(keys, scopes.len(), Some(scopes), groups)
    }

    fn assign_rows(
        &mut self,
        keys: &[ArrayRef],
        num_rows: usize,
        scopes: Option<&[u32]>,
        groups: &mut Vec<u32>,
    ) -> Result<()> {
        groups.clear();
        groups.reserve(num_rows);
        self.created.clear();
        let mut scratch = std::mem::take(&mut self.scratch);
        hash_columns(keys, num_rows, &mut scratch.hashes)?;
        if let (Keys::Words { .. }, [key]) = (&self.keys, keys) {
            words_of(key, &mut scratch.words)?;
            self.assign_words(&scratch, key, scopes, groups);
        } else {
            self.assign_bytes(&scratch, keys, scopes, groups)?;
        }
        self.scratch = scratch;
        Ok(())
    }

    fn assign_words(
        &mut self,
        scratch: &Scratch,
        key: &ArrayRef,
        scopes: Option<&[u32]>,
        groups: &mut Vec<u32>,
    ) {
        let nulls = key.nulls().filter(|n| n.null_count() > 0);
        if scopes.is_none() && nulls.is_none() {
            for (&word, &hash) in scratch.words.iter().zip(&scratch.hashes) {
                groups.push(self.word_group(word, UNSCOPED, hash));
            }
            return;
        }
        for row in 0..scratch.words.len() {
            let scope = scopes.map_or(UNSCOPED, |s| s[row]);
            let hash = scratch.hashes[row];
            groups.push(match nulls.is_some_and(|n| n.is_null(row)) {
                // A scope's NULL keeps the scope in the word's place.
                true => self.word_group(scope.into(), NULL_SCOPE, hash),
                false => self.word_group(scratch.words[row], scope, hash),
            });
        }
    }

    #[inline]
    fn word_group(&mut self, word: u64, scope: u32, key_hash: u64) -> u32 {
        let hash = scoped(key_hash, scope);
        let found = self
            .index
            .find(hash, |s| s.word == word && s.scope == scope);
        match found {
            Some(slot) => slot.group,
            None => self.insert_word(word, scope, key_hash),
        }
    }

    #[cold]
    fn insert_word(&mut self, word: u64, scope: u32, key_hash: u64) -> u32 {
        let group = self.create(key_hash, scope);
        if let Keys::Words { words, nulls } = &mut self.keys {
            let at = group as usize;
            words.resize(words.len().max(at + 1), 0);
            nulls.resize(nulls.len().max(at + 1), false);
            words[at] = word;
            nulls[at] = scope == NULL_SCOPE;
        }
        self.insert_slot(word, scope, group);
        group
    }

    fn assign_bytes(
        &mut self,
        scratch: &Scratch,
        keys: &[ArrayRef],
        scopes: Option<&[u32]>,
        groups: &mut Vec<u32>,
    ) -> Result<()> {
        let keys: Vec<ArrayRef> = keys.iter().map(normalized).collect();
        let rows = match &self.keys {
            Keys::Rows(store) if !keys.is_empty() => Some(store.converter.convert_columns(&keys)?),
            _ => None,
        };
        for (row, &key_hash) in scratch.hashes.iter().enumerate() {
            let scope = scopes.map_or(UNSCOPED, |s| s[row]);
            let bytes = rows.as_ref().map_or(&[][..], |r| r.row(row).data());
            groups.push(self.bytes_group(bytes, scope, key_hash));
        }
        Ok(())
    }

    #[inline]
    fn bytes_group(&mut self, bytes: &[u8], scope: u32, key_hash: u64) -> u32 {
        let hash = scoped(key_hash, scope);
        let Keys::Rows(rows) = &mut self.keys else {
            return 0;
        };
        let is_it = |s: &Slot| s.word == key_hash && s.scope == scope && rows.get(s.group) == bytes;
        if let Some(slot) = self.index.find(hash, is_it) {
            return slot.group;
        }
        let group = self.create(key_hash, scope);
        if let Keys::Rows(rows) = &mut self.keys {
            rows.set(group, bytes);
        }
        self.insert_slot(key_hash, scope, group);
        group
    }

    fn create(&mut self, hash: u64, scope: u32) -> u32 {
        let group = match self.free.pop() {
            Some(group) => {
                self.hashes[group as usize] = hash;
                self.scopes[group as usize] = scope;
                group
            }
            None => {
                self.hashes.push(hash);
                self.scopes.push(scope);
                (self.hashes.len() - 1) as u32
            }
        };
        self.created.push(group);
        group
    }

    fn insert_slot(&mut self, word: u64, scope: u32, group: u32) {
        let hashes = &self.hashes;
        let hash = scoped(hashes[group as usize], scope);
        let slot = Slot { word, scope, group };
        self.index
            .insert_unique(hash, slot, |s| scoped(hashes[s.group as usize], s.scope));
    }

    /// Removes these groups; their numbers may be given out again.
    pub fn remove(&mut self, groups: &[u32]) {
        for &group in groups {
            let at = group as usize;
            let hash = scoped(self.hashes[at], self.scopes[at]);
            if let Ok(entry) = self.index.find_entry(hash, |s| s.group == group) {
                entry.remove();
                self.free.push(group);
                if let Keys::Rows(rows) = &mut self.keys {
                    rows.remove(group);
                }
            }
        }
    }

    /// Removes every group, and keeps the room for as many.
    pub fn clear(&mut self) {
        self.index.clear();
        self.hashes.clear();
        self.scopes.clear();
        self.free.clear();
        self.created.clear();
        match &mut self.keys {
            Keys::Words { words, nulls } => {
                words.clear();
                nulls.clear();
            }
            Keys::Rows(rows) => {
                rows.bytes.clear();
                rows.places.clear();
                rows.garbage = 0;
            }
        }
    }

    /// The groups that the last assignment made, in the order of their first rows.
    pub fn created(&self) -> &[u32] {
        &self.created
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// One more than the highest group number given out: the length of the columns beside.
    pub fn capacity(&self) -> usize {
        self.hashes.len()
    }

    /// Every group in use, in ascending order.
    pub fn groups(&self) -> Vec<u32> {
        let all = 0..self.capacity() as u32;
        if self.free.is_empty() {
            return all.collect();
        }
        let mut is_free = vec![false; self.capacity()];
        for &group in &self.free {
            is_free[group as usize] = true;
        }
        all.filter(|&g| !is_free[g as usize]).collect()
    }

    /// The key columns of these groups.
    ///
    /// # Errors
    /// An internal error when a key cannot be decoded.
    pub fn keys(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        match &self.keys {
            Keys::Words { words, nulls } => {
                let values = groups.iter().map(|&g| g as usize);
                let values = values.map(|g| (!nulls[g]).then_some(words[g]));
                Ok(vec![array_of(values, &self.key_types[0])?])
            }
            Keys::Rows(_) if self.key_types.is_empty() => Ok(Vec::new()),
            Keys::Rows(rows) => {
                let parser = rows.converter.parser();
                let rows_of = groups.iter().map(|&g| parser.parse(rows.get(g)));
                Ok(rows.converter.convert_rows(rows_of)?)
            }
        }
    }

    /// The scope of a group's key, if it has one.
    pub fn scope(&self, group: u32) -> Option<u32> {
        let scope = match (&self.keys, self.scopes[group as usize]) {
            (Keys::Words { words, .. }, NULL_SCOPE) => words[group as usize] as u32,
            (_, scope) => scope,
        };
        self.is_scoped.then_some(scope)
    }

    /// The key group of a group's key.
    pub fn key_group(&self, group: u32, max_parallelism: usize) -> u16 {
        key_group_of(self.hashes[group as usize], max_parallelism) as u16
    }

    /// Bytes held.
    pub fn size_bytes(&self) -> usize {
        let keys = match &self.keys {
            Keys::Words { words, nulls } => words.capacity() * 8 + nulls.capacity(),
            Keys::Rows(rows) => rows.bytes.capacity() + rows.places.capacity() * 16,
        };
        keys + self.index.allocation_size()
            + self.hashes.capacity() * 8
            + self.scopes.capacity() * 4
    }
}

#[inline]
fn scoped(hash: u64, scope: u32) -> u64 {
    if scope == UNSCOPED {
        hash
    } else {
        mix(hash, scope.into())
    }
}

/// Equal floats in equal bytes.
fn normalized(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float32 => {
            let zero = |v: f32| {
                if v == 0.0 {
                    0.0
                } else if v.is_nan() {
                    f32::NAN
                } else {
                    v
                }
            };
            std::sync::Arc::new(unary::<_, _, Float32Type>(
                column.as_primitive::<Float32Type>(),
                zero,
            ))
        }
        DataType::Float64 => {
            let zero = |v: f64| {
                if v == 0.0 {
                    0.0
                } else if v.is_nan() {
                    f64::NAN
                } else {
                    v
                }
            };
            std::sync::Arc::new(unary::<_, _, Float64Type>(
                column.as_primitive::<Float64Type>(),
                zero,
            ))
        }
        _ => column.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int64Array, StringViewArray, TimestampMillisecondArray};

    use super::*;

    fn assign(table: &mut GroupTable, keys: &[ArrayRef]) -> Vec<u32> {
        let mut groups = Vec::new();
        table.assign(keys, keys[0].len(), &mut groups).unwrap();
        groups
    }

    fn round_trip(keys: Vec<ArrayRef>, expected: &[u32]) {
        let types: Vec<_> = keys.iter().map(|k| k.data_type().clone()).collect();
        let mut table = GroupTable::new(&types).unwrap();
        assert_eq!(assign(&mut table, &keys), expected);
        let decoded = table.keys(expected).unwrap();
        assert_eq!(decoded, keys);
        assert_eq!(assign(&mut table, &decoded), expected);
    }

    #[test]
    fn keys_of_one_and_of_many_columns_come_back() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(5), None, Some(5), Some(0)]));
        let times = TimestampMillisecondArray::from(vec![Some(5), None, Some(5), Some(0)]);
        let times: ArrayRef = Arc::new(times.with_timezone("UTC"));
        let texts: ArrayRef = Arc::new(StringViewArray::from(vec![
            Some("a"),
            None,
            Some("a"),
            Some("a text longer than twelve bytes"),
        ]));
        round_trip(vec![numbers.clone()], &[0, 1, 0, 2]);
        round_trip(vec![times], &[0, 1, 0, 2]);
        round_trip(vec![texts.clone()], &[0, 1, 0, 2]);
        round_trip(vec![numbers, texts], &[0, 1, 0, 2]);
    }

    #[test]
    fn numbers_of_removed_groups_are_used_again() {
        let mut table = GroupTable::new(&[DataType::Utf8View]).unwrap();
        let keys: ArrayRef = Arc::new(StringViewArray::from(vec!["a", "b", "c"]));
        assign(&mut table, &[keys]);
        table.remove(&[1]);
        assert_eq!(table.groups(), [0, 2]);
        let keys: ArrayRef = Arc::new(StringViewArray::from(vec!["c", "d", "b"]));
        assert_eq!(assign(&mut table, &[keys.clone()]), [2, 1, 3]);
        assert_eq!(table.created(), [1, 3]);
        assert_eq!(&table.keys(&[2, 1, 3]).unwrap()[0], &keys);
    }

    #[test]
    fn the_same_value_is_another_key_in_another_scope() {
        let mut table = GroupTable::new(&[DataType::Int64]).unwrap();
        let keys: ArrayRef = Arc::new(Int64Array::from(vec![
            Some(1),
            Some(1),
            None,
            None,
            Some(1),
        ]));
        let mut groups = Vec::new();
        table
            .assign_scoped(&[keys], &[7, 8, 7, 8, 7], &mut groups)
            .unwrap();
        assert_eq!(groups, [0, 1, 2, 3, 0]);
        assert_eq!(table.scope(1), Some(8));
        assert_eq!(table.scope(3), Some(8));
    }

    #[test]
    fn without_key_columns_there_is_one_group() {
        let mut table = GroupTable::new(&[]).unwrap();
        let mut groups = Vec::new();
        table.assign(&[], 3, &mut groups).unwrap();
        assert_eq!(groups, [0, 0, 0]);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn zeros_are_one_key() {
        let texts: ArrayRef = Arc::new(StringViewArray::from(vec!["a", "a"]));
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![0.0, -0.0]));
        let mut table = GroupTable::new(&[DataType::Float64, DataType::Utf8View]).unwrap();
        assert_eq!(assign(&mut table, &[floats, texts]), [0, 0]);
    }
}
