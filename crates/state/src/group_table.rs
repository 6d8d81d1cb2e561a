//! Keys to dense group numbers: the index of state that is held in columns.
//!
//! A key of one column of at most 64 bits is a word in its slot of the index; any other key is
//! found by its hash and compared with the key columns beside. Numbers of removed groups are given
//! out again.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::kernels::arity::unary;
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use flott_core::Result;
use flott_core::hash::{hash_columns, mix};
use flott_core::key_group::key_group_of;

use crate::key_columns::{KeyColumn, KeyValues, WordColumn};
use crate::probe::{NO_GROUP, ProbeIndex, Slot};
use crate::words::{fits_word, words_of};

/// Keys and their group numbers.
///
/// Every key may belong to a *scope*, another table's group: a set of values by group is a table
/// whose scopes are the groups.
pub struct GroupTable {
    index: ProbeIndex,
    keys: Keys,
    places: Places,
    is_scoped: bool,
    /// Whether unknown keys stay unknown.
    only_finds: bool,
    /// Group numbers not in use.
    free: Vec<u32>,
    created: Vec<u32>,
    scratch: Scratch,
}

const UNSCOPED: u32 = u32::MAX;
/// The scope in the slot of a NULL word, whose own scope is in the word's place.
const NULL_SCOPE: u32 = u32::MAX - 1;

/// What belongs to each group besides its key.
#[derive(Default)]
struct Places {
    /// The hash of the key, without its scope.
    hashes: Vec<u64>,
    /// [`UNSCOPED`] when it has none.
    scopes: Vec<u32>,
}

impl Places {
    #[inline]
    fn hash_of(&self, group: u32) -> u64 {
        scoped(self.hashes[group as usize], self.scopes[group as usize])
    }
}

#[derive(Default)]
struct Scratch {
    hashes: Vec<u64>,
    words: Vec<u64>,
    /// Rows that were not in their home slots.
    missed: Vec<u32>,
}

enum Keys {
    /// Values of one column.
    Words(DataType, WordColumn),
    Columns(Vec<KeyColumn>),
}

impl GroupTable {
    /// What [`GroupTable::find`] gives for a key that is not there.
    pub const UNKNOWN: u32 = NO_GROUP;

    /// A table of keys of these types.
    ///
    /// # Errors
    /// A type that cannot be a key.
    pub fn new(key_types: &[DataType]) -> Result<Self> {
        let keys = match key_types {
            [only] if fits_word(only) => Keys::Words(only.clone(), WordColumn::default()),
            types => Keys::Columns(types.iter().map(KeyColumn::new).collect::<Result<_>>()?),
        };
        Ok(Self {
            index: ProbeIndex::default(),
            keys,
            places: Places::default(),
            is_scoped: false,
            only_finds: false,
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

    /// Puts the group number of each row's key into `groups`, which is cleared first;
    /// [`GroupTable::UNKNOWN`] for a key that is not there.
    ///
    /// # Errors
    /// A type that cannot be a key.
    pub fn find(
        &mut self,
        keys: &[ArrayRef],
        num_rows: usize,
        groups: &mut Vec<u32>,
    ) -> Result<()> {
        self.only_finds = true;
        let found = self.assign_rows(keys, num_rows, None, groups);
        self.only_finds = false;
        found
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
        self.created.clear();
        let mut scratch = std::mem::take(&mut self.scratch);
        hash_columns(keys, num_rows, &mut scratch.hashes)?;
        if let (Keys::Words(..), [key]) = (&self.keys, keys) {
            words_of(key, &mut scratch.words)?;
            self.assign_words(&mut scratch, key, scopes, groups);
        } else {
            self.assign_columns(&mut scratch, keys, scopes, groups)?;
        }
        self.scratch = scratch;
        Ok(())
    }

    fn assign_words(
        &mut self,
        scratch: &mut Scratch,
        key: &ArrayRef,
        scopes: Option<&[u32]>,
        groups: &mut Vec<u32>,
    ) {
        let nulls = key.nulls().filter(|n| n.null_count() > 0);
        let scope_of = |row: usize| scopes.map_or(UNSCOPED, |s| s[row]);
        let is_null = |row: usize| nulls.is_some_and(|n| n.is_null(row));
        let Scratch {
            hashes,
            words,
            missed,
        } = scratch;
        let rows = hashes.iter().zip(words.iter());
        if scopes.is_none() && nulls.is_none() {
            let rows = rows.map(|(&hash, &word)| (hash, word, UNSCOPED));
            self.index.match_homes(rows, groups);
        } else {
            let rows = rows.enumerate().map(|(row, (&hash, &word))| {
                let scope = scope_of(row);
                let hash = scoped(hash, scope);
                match is_null(row) {
                    true => (hash, scope.into(), NULL_SCOPE),
                    false => (hash, word, scope),
                }
            });
            self.index.match_homes(rows, groups);
        }
        collect_missed(groups, missed);
        for &row in missed.iter() {
            let at = row as usize;
            let word = (!is_null(at)).then_some(words[at]);
            groups[at] = self.word_group(word, scope_of(at), hashes[at]);
        }
    }

    fn word_group(&mut self, word: Option<u64>, scope: u32, key_hash: u64) -> u32 {
        let hash = scoped(key_hash, scope);
        let (slot_word, slot_scope) = match word {
            Some(word) => (word, scope),
            None => (scope.into(), NULL_SCOPE),
        };
        if let Some(group) = self.index.find(hash, slot_word, slot_scope, |_| true) {
            return group;
        }
        if self.only_finds {
            return NO_GROUP;
        }
        let group = self.create(key_hash, scope);
        if let Keys::Words(_, column) = &mut self.keys {
            column.set(group, word);
        }
        let slot = Slot {
            word: slot_word,
            scope: slot_scope,
            group,
        };
        let places = &self.places;
        self.index.insert(hash, slot, |g| places.hash_of(g));
        group
    }

    fn assign_columns(
        &mut self,
        scratch: &mut Scratch,
        keys: &[ArrayRef],
        scopes: Option<&[u32]>,
        groups: &mut Vec<u32>,
    ) -> Result<()> {
        let keys: Vec<ArrayRef> = keys.iter().map(normalized).collect();
        let Keys::Columns(columns) = &self.keys else {
            return Ok(());
        };
        let values = columns.iter().zip(&keys).map(|(c, key)| c.values(key));
        let values = values.collect::<Result<Vec<_>>>()?;
        let scope_of = |row: usize| scopes.map_or(UNSCOPED, |s| s[row]);
        let Scratch { hashes, missed, .. } = scratch;
        let rows = hashes.iter().enumerate();
        self.index.match_homes(
            rows.map(|(row, &hash)| (scoped(hash, scope_of(row)), hash, scope_of(row))),
            groups,
        );
        for (column, values) in columns.iter().zip(&values) {
            column.keep_equal(values, groups);
        }
        collect_missed(groups, missed);
        for &row in missed.iter() {
            let at = row as usize;
            groups[at] = self.row_group(&values, at, scope_of(at), hashes[at]);
        }
        Ok(())
    }

    fn row_group(
        &mut self,
        values: &[KeyValues<'_>],
        row: usize,
        scope: u32,
        key_hash: u64,
    ) -> u32 {
        let hash = scoped(key_hash, scope);
        let Keys::Columns(columns) = &self.keys else {
            return NO_GROUP;
        };
        let is_it = |group: u32| {
            let mut pairs = columns.iter().zip(values);
            pairs.all(|(column, values)| column.is_equal(group, values, row))
        };
        if let Some(group) = self.index.find(hash, key_hash, scope, is_it) {
            return group;
        }
        if self.only_finds {
            return NO_GROUP;
        }
        let group = self.create(key_hash, scope);
        if let Keys::Columns(columns) = &mut self.keys {
            for (column, values) in columns.iter_mut().zip(values) {
                column.set(group, values, row);
            }
        }
        let slot = Slot {
            word: key_hash,
            scope,
            group,
        };
        let places = &self.places;
        self.index.insert(hash, slot, |g| places.hash_of(g));
        group
    }

    fn create(&mut self, hash: u64, scope: u32) -> u32 {
        let Places { hashes, scopes } = &mut self.places;
        let group = match self.free.pop() {
            Some(group) => {
                hashes[group as usize] = hash;
                scopes[group as usize] = scope;
                group
            }
            None => {
                hashes.push(hash);
                scopes.push(scope);
                (hashes.len() - 1) as u32
            }
        };
        self.created.push(group);
        group
    }

    /// Removes these groups; their numbers may be given out again.
    pub fn remove(&mut self, groups: &[u32]) {
        let places = &self.places;
        for &group in groups {
            let hash = places.hash_of(group);
            if self.index.remove(hash, group, |g| places.hash_of(g)) {
                self.free.push(group);
                if let Keys::Columns(columns) = &mut self.keys {
                    columns.iter_mut().for_each(|c| c.remove(group));
                }
            }
        }
    }

    /// Removes every group, and keeps the room for as many.
    pub fn clear(&mut self) {
        self.index.clear();
        self.places.hashes.clear();
        self.places.scopes.clear();
        self.free.clear();
        self.created.clear();
        match &mut self.keys {
            Keys::Words(_, words) => words.clear(),
            Keys::Columns(columns) => columns.iter_mut().for_each(KeyColumn::clear),
        }
    }

    /// The groups that the last assignment made, in the order of their first rows.
    pub fn created(&self) -> &[u32] {
        &self.created
    }

    /// The hashes of the keys that were assigned last, by row; without their scopes.
    pub fn row_hashes(&self) -> &[u64] {
        &self.scratch.hashes
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One more than the highest group number given out: the length of the columns beside.
    pub fn capacity(&self) -> usize {
        self.places.hashes.len()
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
            Keys::Words(data_type, words) => Ok(vec![words.array(groups, data_type)?]),
            Keys::Columns(columns) => columns.iter().map(|c| c.array(groups)).collect(),
        }
    }

    /// The scope of a group's key, if it has one.
    pub fn scope(&self, group: u32) -> Option<u32> {
        self.is_scoped.then(|| self.places.scopes[group as usize])
    }

    /// The key group of a group's key.
    pub fn key_group(&self, group: u32, max_parallelism: usize) -> u16 {
        key_group_of(self.places.hashes[group as usize], max_parallelism) as u16
    }

    /// Bytes held.
    pub fn size_bytes(&self) -> usize {
        let keys = match &self.keys {
            Keys::Words(_, words) => words.size_bytes(),
            Keys::Columns(columns) => columns.iter().map(KeyColumn::size_bytes).sum(),
        };
        let places = self.places.hashes.capacity() * 8 + self.places.scopes.capacity() * 4;
        keys + self.index.size_bytes() + places
    }
}

/// The rows without a group, collected without a branch for each.
fn collect_missed(groups: &[u32], missed: &mut Vec<u32>) {
    missed.clear();
    missed.resize(groups.len(), 0);
    let mut num_missed = 0;
    for (row, &group) in groups.iter().enumerate() {
        missed[num_missed] = row as u32;
        num_missed += usize::from(group == NO_GROUP);
    }
    missed.truncate(num_missed);
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
        assert_eq!(assign(&mut table, std::slice::from_ref(&keys)), [2, 1, 3]);
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

    #[test]
    fn long_texts_of_removed_groups_leave_the_others_whole() {
        let mut table = GroupTable::new(&[DataType::Utf8View, DataType::Int64]).unwrap();
        let text = |i: u32| format!("a text that is too long for its view: {i:0>60}");
        let keys = |ids: &[u32]| -> Vec<ArrayRef> {
            let texts: StringViewArray = ids.iter().map(|&i| Some(text(i))).collect();
            let numbers = ids.iter().map(|&i| (i % 3 > 0).then_some(i64::from(i)));
            let numbers: Int64Array = numbers.collect();
            vec![Arc::new(texts), Arc::new(numbers)]
        };
        let all: Vec<u32> = (0..3_000).collect();
        assert_eq!(assign(&mut table, &keys(&all)), all);
        let (gone, kept): (Vec<u32>, Vec<u32>) = all.iter().partition(|&&i| i % 5 > 0);
        table.remove(&gone);
        assert_eq!(table.keys(&kept).unwrap(), keys(&kept));
        assert_eq!(assign(&mut table, &keys(&kept)), kept);
        let again = assign(&mut table, &keys(&gone));
        assert_eq!(table.created().len(), gone.len());
        assert_eq!(table.keys(&again).unwrap(), keys(&gone));
    }

    #[test]
    fn decimals_and_lists_are_keys_too() {
        let decimals = arrow::array::Decimal128Array::from(vec![Some(5), None, Some(5), Some(-1)]);
        let decimals: ArrayRef = Arc::new(decimals.with_precision_and_scale(38, 2).unwrap());
        round_trip(vec![decimals.clone()], &[0, 1, 0, 2]);
        let mut lists = arrow::array::ListBuilder::new(arrow::array::Int64Builder::new());
        lists.append_value([Some(1), None]);
        lists.append_null();
        lists.append_value([Some(1), None]);
        lists.append_value([]);
        round_trip(vec![Arc::new(lists.finish()), decimals], &[0, 1, 0, 2]);
    }
}
