//! Which subtask gets which rows: the pure part of an exchange.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatchOptions;

use flott_core::Result;
use flott_core::changelog::ChangelogBatch;
use flott_core::graph::Exchange;
use flott_core::hash::hash_columns;
use flott_core::key_group::{key_group_of, subtask_of};

/// A view column may pin this much whatever it uses, in bytes.
const PIN_SLACK_BYTES: usize = 64 << 10;
/// Beyond the slack, a part may pin this many times what it uses before it is copied: the parts of
/// one batch share its buffers, and strings that their receiver copies anyhow are copied once.
const PIN_FACTOR: usize = 16;

/// Divides batches among the subtasks of the next operator.
pub struct Partitioner {
    exchange: Exchange,
    num_targets: usize,
    /// The owner of each key group.
    owners: Vec<u32>,
    hashes: Vec<u64>,
    next_target: usize,
}

impl Partitioner {
    /// `sender` is the sending subtask: round robin starts at another target in each.
    pub fn new(
        exchange: Exchange,
        num_targets: usize,
        max_parallelism: usize,
        sender: usize,
    ) -> Self {
        let owner = |group| subtask_of(group, num_targets, max_parallelism) as u32;
        Self {
            exchange,
            num_targets,
            owners: (0..max_parallelism).map(owner).collect(),
            hashes: Vec::new(),
            next_target: sender % num_targets.max(1),
        }
    }

    /// Hands each target's rows to `deliver`, in order; a batch with one target is not copied.
    ///
    /// # Errors
    /// A key of a type that cannot be a key.
    pub fn split(
        &mut self,
        batch: ChangelogBatch,
        mut deliver: impl FnMut(usize, ChangelogBatch),
    ) -> Result<()> {
        if self.num_targets == 1 {
            deliver(0, batch);
            return Ok(());
        }
        match &self.exchange {
            Exchange::Hash(columns) => {
                let columns = columns.clone();
                return self.split_by_hash(&columns, batch, deliver);
            }
            Exchange::Single => deliver(0, batch),
            Exchange::Broadcast => {
                for target in 1..self.num_targets {
                    deliver(target, batch.clone());
                }
                deliver(0, batch);
            }
            Exchange::Forward | Exchange::Rebalance => {
                deliver(self.next_target, batch);
                self.next_target = (self.next_target + 1) % self.num_targets;
            }
        }
        Ok(())
    }

    fn split_by_hash(
        &mut self,
        columns: &[usize],
        batch: ChangelogBatch,
        mut deliver: impl FnMut(usize, ChangelogBatch),
    ) -> Result<()> {
        let keys: Vec<ArrayRef> = columns.iter().map(|&c| batch.column(c).clone()).collect();
        hash_columns(&keys, batch.num_rows(), &mut self.hashes)?;
        let mut counts = vec![0usize; self.num_targets];
        for hash in &mut self.hashes {
            let target = self.owners[key_group_of(*hash, self.owners.len())];
            counts[target as usize] += 1;
            *hash = u64::from(target);
        }
        if let Some(target) = counts.iter().position(|&n| n == batch.num_rows()) {
            deliver(target, batch);
            return Ok(());
        }
        let mut indices: Vec<Vec<u32>> = counts.into_iter().map(Vec::with_capacity).collect();
        for (row, target) in self.hashes.iter().enumerate() {
            indices[*target as usize].push(row as u32);
        }
        for (target, rows) in indices.into_iter().enumerate() {
            if !rows.is_empty() {
                deliver(target, compact(batch.take(&UInt32Array::from(rows))?)?);
            }
        }
        Ok(())
    }
}

/// Copies the bytes of view columns that would keep much more memory alive than they use.
fn compact(batch: ChangelogBatch) -> Result<ChangelogBatch> {
    if !batch.rows().columns().iter().any(pins_too_much) {
        return Ok(batch);
    }
    let (rows, kinds) = batch.into_parts();
    let columns = rows.columns().iter().map(|column| {
        if !pins_too_much(column) {
            return column.clone();
        }
        match column.data_type() {
            DataType::Utf8View => std::sync::Arc::new(column.as_string_view().gc()) as ArrayRef,
            _ => std::sync::Arc::new(column.as_binary_view().gc()),
        }
    });
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let rows = RecordBatch::try_new_with_options(rows.schema(), columns.collect(), &options)?;
    Ok(ChangelogBatch::new(rows, kinds))
}

fn pins_too_much(column: &ArrayRef) -> bool {
    let (pinned, used): (usize, &dyn Fn() -> usize) = match column.data_type() {
        DataType::Utf8View => {
            let array = column.as_string_view();
            let buffers = array.data_buffers();
            (buffers.iter().map(|b| b.capacity()).sum(), &|| {
                array.total_buffer_bytes_used()
            })
        }
        DataType::BinaryView => {
            let array = column.as_binary_view();
            let buffers = array.data_buffers();
            (buffers.iter().map(|b| b.capacity()).sum(), &|| {
                array.total_buffer_bytes_used()
            })
        }
        _ => return false,
    };
    pinned > PIN_SLACK_BYTES && pinned > PIN_FACTOR * used() + PIN_SLACK_BYTES
}

/// An estimate of the memory that a batch in motion holds, in bytes: fixed-width columns by their
/// rows, so that slices of one large array do not count it many times over.
pub fn size_bytes(batch: &ChangelogBatch) -> usize {
    let rows = batch.num_rows();
    let column_size = |column: &ArrayRef| match column.data_type() {
        DataType::Utf8View => view_size(rows, column.as_string_view().data_buffers()),
        DataType::BinaryView => view_size(rows, column.as_binary_view().data_buffers()),
        other => match other.primitive_width() {
            Some(width) => width * rows,
            None if *other == DataType::Boolean => rows / 8,
            None => column.get_array_memory_size(),
        },
    };
    let columns = batch.rows().columns().iter();
    columns.map(column_size).sum::<usize>() + batch.kinds().map_or(0, |k| k.len())
}

fn view_size(rows: usize, buffers: &[arrow::buffer::Buffer]) -> usize {
    16 * rows + buffers.iter().map(|b| b.len()).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringViewArray};

    use super::*;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> ChangelogBatch {
        ChangelogBatch::insert_only(RecordBatch::try_from_iter(columns).unwrap())
    }

    fn split(partitioner: &mut Partitioner, batch: ChangelogBatch) -> Vec<(usize, Vec<i64>)> {
        let mut parts = Vec::new();
        partitioner
            .split(batch, |target, part| {
                let column = part
                    .column(0)
                    .as_primitive::<arrow::datatypes::Int64Type>()
                    .clone();
                parts.push((target, column.values().to_vec()));
            })
            .unwrap();
        parts
    }

    #[test]
    fn every_row_of_a_key_goes_to_the_owner_of_its_key_group_in_order() {
        let keys: Vec<i64> = (0..1000).map(|i| i % 50).collect();
        let rows = batch(vec![("k", Arc::new(Int64Array::from(keys)))]);
        let mut partitioner = Partitioner::new(Exchange::Hash(vec![0]), 4, 128, 0);
        let parts = split(&mut partitioner, rows);
        assert_eq!(parts.iter().map(|(_, p)| p.len()).sum::<usize>(), 1000);
        for key in 0..50 {
            let holders = parts.iter().filter(|(_, p)| p.contains(&key));
            assert_eq!(holders.count(), 1, "key {key}");
        }
    }

    #[test]
    fn a_batch_with_one_key_is_passed_whole() {
        let rows = batch(vec![("k", Arc::new(Int64Array::from(vec![7; 100])))]);
        let before = rows.column(0).to_data().buffers()[0].as_ptr();
        let mut partitioner = Partitioner::new(Exchange::Hash(vec![0]), 4, 128, 0);
        let mut after = Vec::new();
        partitioner
            .split(rows, |_, part| {
                after.push(part.column(0).to_data().buffers()[0].as_ptr())
            })
            .unwrap();
        assert_eq!(after, [before]);
    }

    #[test]
    fn rebalance_deals_batches_and_broadcast_copies_them() {
        let rows = || batch(vec![("k", Arc::new(Int64Array::from(vec![1])))]);
        let mut rebalance = Partitioner::new(Exchange::Rebalance, 3, 128, 2);
        let targets: Vec<_> = (0..4).map(|_| split(&mut rebalance, rows())[0].0).collect();
        assert_eq!(targets, [2, 0, 1, 2]);
        let mut broadcast = Partitioner::new(Exchange::Broadcast, 3, 128, 0);
        assert_eq!(split(&mut broadcast, rows()).len(), 3);
    }

    #[test]
    fn strings_that_pin_a_large_buffer_are_copied_out() {
        let texts: Vec<String> = (0..20_000)
            .map(|i| format!("a text of more than twelve bytes {i}"))
            .collect();
        let keys: Vec<i64> = (0..20_000).map(|i| i64::from(i % 100 != 0)).collect();
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("k", Arc::new(Int64Array::from(keys))),
            ("t", Arc::new(StringViewArray::from_iter_values(&texts))),
        ];
        let mut sizes = Vec::new();
        let mut partitioner = Partitioner::new(Exchange::Hash(vec![0]), 128, 128, 0);
        partitioner
            .split(batch(columns), |_, part| {
                sizes.push((part.num_rows(), size_bytes(&part)));
            })
            .unwrap();
        let small = sizes.iter().find(|(rows, _)| *rows == 200).unwrap();
        assert!(small.1 < 200 * 100, "{small:?}");
    }
}
