//! Keys to dense numbers.

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use flott_core::Result;
use flott_core::hash::hash_columns;
use flott_core::key_group::key_group_of;
use hashbrown::HashTable;

/// Gives each distinct value of the key columns a number, from 0 and without holes as long as
/// none is removed; numbers of removed keys are used again.
pub(crate) struct Partitions {
    columns: Vec<usize>,
    /// `None` without key columns: all rows are one key.
    converter: Option<RowConverter>,
    numbers: HashTable<u32>,
    keys: Vec<Key>,
    free: Vec<u32>,
    hashes: Vec<u64>,
    /// So many of the columns decide the key group.
    num_group_columns: usize,
    group_hashes: Vec<u64>,
}

#[derive(Default)]
struct Key {
    hash: u64,
    group_hash: u64,
    bytes: Box<[u8]>,
}

impl Partitions {
    /// # Errors
    /// A type that cannot be a key.
    pub fn new(schema: &SchemaRef, columns: &[usize]) -> Result<Self> {
        let field = |&c: &usize| SortField::new(schema.field(c).data_type().clone());
        let converter = if columns.is_empty() {
            None
        } else {
            Some(RowConverter::new(columns.iter().map(field).collect())?)
        };
        Ok(Self {
            columns: columns.to_vec(),
            converter,
            numbers: HashTable::new(),
            keys: Vec::new(),
            free: Vec::new(),
            hashes: Vec::new(),
            num_group_columns: columns.len(),
            group_hashes: Vec::new(),
        })
    }

    /// Only the first `num` of the key columns decide the key group: those that the input is
    /// exchanged by.
    pub fn grouped_by(mut self, num: usize) -> Self {
        self.num_group_columns = num;
        self
    }

    /// The number of each row's key; new keys get one.
    pub fn assign(&mut self, rows: &RecordBatch) -> Result<Vec<u32>> {
        let columns = self.columns.iter();
        let columns: Vec<ArrayRef> = columns.map(|&c| rows.column(c).clone()).collect();
        self.assign_columns(&columns, rows.num_rows())
    }

    /// As [`Partitions::assign`], for key columns alone.
    pub fn assign_columns(&mut self, columns: &[ArrayRef], num_rows: usize) -> Result<Vec<u32>> {
        let mut hashes = std::mem::take(&mut self.hashes);
        hash_columns(columns, num_rows, &mut hashes)?;
        let mut group_hashes = std::mem::take(&mut self.group_hashes);
        let is_prefix = self.num_group_columns < columns.len();
        if is_prefix {
            let prefix = &columns[..self.num_group_columns];
            hash_columns(prefix, num_rows, &mut group_hashes)?;
        }
        let keys = match &self.converter {
            Some(converter) => Some(converter.convert_columns(columns)?),
            None => None,
        };
        let bytes = |row: usize| keys.as_ref().map_or(&[][..], |k| k.row(row).data());
        let groups = if is_prefix { &group_hashes } else { &hashes };
        let number = |row: usize| self.number_of(hashes[row], groups[row], bytes(row));
        let numbers = (0..num_rows).map(number).collect();
        self.hashes = hashes;
        self.group_hashes = group_hashes;
        Ok(numbers)
    }

    fn number_of(&mut self, hash: u64, group_hash: u64, bytes: &[u8]) -> u32 {
        let keys = &self.keys;
        let is_equal = |&n: &u32| {
            let key = &keys[n as usize];
            key.hash == hash && *key.bytes == *bytes
        };
        if let Some(&number) = self.numbers.find(hash, is_equal) {
            return number;
        }
        let key = Key {
            hash,
            group_hash,
            bytes: bytes.into(),
        };
        let number = match self.free.pop() {
            Some(number) => {
                self.keys[number as usize] = key;
                number
            }
            None => {
                self.keys.push(key);
                (self.keys.len() - 1) as u32
            }
        };
        let keys = &self.keys;
        self.numbers
            .insert_unique(hash, number, |&n| keys[n as usize].hash);
        number
    }

    pub fn remove(&mut self, number: u32) {
        let hash = self.keys[number as usize].hash;
        if let Ok(entry) = self.numbers.find_entry(hash, |&n| n == number) {
            entry.remove();
            self.keys[number as usize] = Key::default();
            self.free.push(number);
        }
    }

    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// One more than the highest number in use.
    pub fn bound(&self) -> usize {
        self.keys.len()
    }

    /// The numbers in use, in ascending order.
    pub fn all(&self) -> Vec<u32> {
        let mut all: Vec<u32> = self.numbers.iter().copied().collect();
        all.sort_unstable();
        all
    }

    pub fn key_group(&self, number: u32, max_parallelism: usize) -> u16 {
        key_group_of(self.keys[number as usize].group_hash, max_parallelism) as u16
    }

    /// The key columns of these keys.
    pub fn key_columns(&self, numbers: &[u32]) -> Result<Vec<ArrayRef>> {
        let Some(converter) = &self.converter else {
            return Ok(Vec::new());
        };
        let parser = converter.parser();
        let keys = numbers.iter();
        let keys = keys.map(|&n| parser.parse(&self.keys[n as usize].bytes));
        Ok(converter.convert_rows(keys)?)
    }

    /// Bytes held.
    pub fn size_bytes(&self) -> usize {
        let bytes: usize = self.keys.iter().map(|k| k.bytes.len()).sum();
        bytes + self.keys.len() * (size_of::<Key>() + 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::collect::{batch, ints, texts};

    #[test]
    fn equal_keys_share_a_number_and_removed_ones_are_used_again() {
        let input = batch(
            "",
            vec![("a", ints([1, 2, 1])), ("b", texts(["x", "x", "x"]))],
        );
        let mut partitions = Partitions::new(&input.schema(), &[0, 1]).unwrap();
        assert_eq!(partitions.assign(input.rows()).unwrap(), [0, 1, 0]);
        partitions.remove(0);
        assert_eq!(partitions.assign(input.rows()).unwrap(), [0, 1, 0]);
        assert_eq!(partitions.len(), 2);
        let keys = partitions.key_columns(&[1]).unwrap();
        assert_eq!(&keys[0], &ints([2]));
    }

    #[test]
    fn without_key_columns_all_rows_are_one_key() {
        let input = batch("", vec![("a", ints([1, 2]))]);
        let mut partitions = Partitions::new(&input.schema(), &[]).unwrap();
        assert_eq!(partitions.assign(input.rows()).unwrap(), [0, 0]);
    }
}
