//! Keys to dense numbers.

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use flott_core::Result;
use flott_core::hash::hash_columns;
use flott_core::key_group::key_group_of;
use flott_state::GroupTable;

/// Gives each distinct value of the key columns a number, from 0 and without holes as long as
/// none is removed; numbers of removed keys are used again.
pub(crate) struct Partitions {
    columns: Vec<usize>,
    table: GroupTable,
    /// Where not all columns decide the key group: the hash of those that do, by number.
    prefix: Option<Prefix>,
}

struct Prefix {
    num_columns: usize,
    hashes: Vec<u64>,
    /// Of the rows assigned last.
    row_hashes: Vec<u64>,
}

impl Partitions {
    /// # Errors
    /// A type that cannot be a key.
    pub fn new(schema: &SchemaRef, columns: &[usize]) -> Result<Self> {
        let types = columns.iter().map(|&c| schema.field(c).data_type().clone());
        Ok(Self {
            columns: columns.to_vec(),
            table: GroupTable::new(&types.collect::<Vec<_>>())?,
            prefix: None,
        })
    }

    /// Only the first `num` of the key columns decide the key group: those that the input is
    /// exchanged by.
    pub fn grouped_by(mut self, num: usize) -> Self {
        self.prefix = (num < self.columns.len()).then(|| Prefix {
            num_columns: num,
            hashes: Vec::new(),
            row_hashes: Vec::new(),
        });
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
        let mut numbers = Vec::with_capacity(num_rows);
        self.table.assign(columns, num_rows, &mut numbers)?;
        if let Some(prefix) = &mut self.prefix {
            let row_hashes = &mut prefix.row_hashes;
            hash_columns(&columns[..prefix.num_columns], num_rows, row_hashes)?;
            if !self.table.created().is_empty() {
                prefix.hashes.resize(self.table.capacity(), 0);
                for (&number, &hash) in numbers.iter().zip(row_hashes.iter()) {
                    prefix.hashes[number as usize] = hash;
                }
            }
        }
        Ok(numbers)
    }

    /// Of the rows assigned last: the hash that decides the key group.
    pub fn row_hashes(&self) -> &[u64] {
        match &self.prefix {
            None => self.table.row_hashes(),
            Some(prefix) => &prefix.row_hashes,
        }
    }

    pub fn remove(&mut self, number: u32) {
        self.table.remove(&[number]);
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// One more than the highest number in use.
    pub fn bound(&self) -> usize {
        self.table.capacity()
    }

    /// The numbers in use, in ascending order.
    pub fn all(&self) -> Vec<u32> {
        self.table.groups()
    }

    pub fn key_group(&self, number: u32, max_parallelism: usize) -> u16 {
        match &self.prefix {
            None => self.table.key_group(number, max_parallelism),
            Some(prefix) => key_group_of(prefix.hashes[number as usize], max_parallelism) as u16,
        }
    }

    /// The key columns of these keys.
    pub fn key_columns(&self, numbers: &[u32]) -> Result<Vec<ArrayRef>> {
        self.table.keys(numbers)
    }

    /// Bytes held.
    pub fn size_bytes(&self) -> usize {
        let prefix = self.prefix.as_ref().map_or(0, |p| p.hashes.capacity() * 8);
        self.table.size_bytes() + prefix
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
