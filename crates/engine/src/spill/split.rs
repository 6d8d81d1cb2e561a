//! Rows and tables by key group.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::UInt16Type;

use flott_core::operator::{StateContent, StateRows, StateTable};
use flott_core::{Error, Result};

use super::files::{SpillFolder, TableWriter};

/// Which partition has each key group.
#[derive(Debug, Clone, Default)]
pub(super) struct Owners {
    /// The first key group.
    first: usize,
    /// By key group from the first on.
    partitions: Vec<u32>,
    count: usize,
}

impl Owners {
    /// For partitions of these key groups, which follow one another.
    pub fn new(groups: impl Iterator<Item = Range<usize>>) -> Self {
        let mut owners = Self::default();
        for groups in groups {
            if owners.count == 0 {
                owners.first = groups.start;
            }
            owners
                .partitions
                .extend(groups.map(|_| owners.count as u32));
            owners.count += 1;
        }
        owners
    }

    /// The partition of a key group.
    ///
    /// # Errors
    /// A defect: a key group of another subtask.
    pub fn of(&self, group: usize) -> Result<usize> {
        let at = group.wrapping_sub(self.first);
        let partition = self.partitions.get(at).map(|&p| p as usize);
        partition.ok_or_else(|| {
            let message = format!("key group {group} belongs to another subtask");
            Error::internal(message)
        })
    }

    /// The rows in order of their partitions, and each partition's part of that order.
    ///
    /// # Errors
    /// A defect: a key group of another subtask.
    pub fn sort(&self, groups: &[u16]) -> Result<(UInt32Array, Vec<(usize, Range<usize>)>)> {
        let mut ends = vec![0usize; self.count + 1];
        for &group in groups {
            ends[self.of(usize::from(group))? + 1] += 1;
        }
        for at in 0..self.count {
            ends[at + 1] += ends[at];
        }
        let parts = (0..self.count).map(|at| (at, ends[at]..ends[at + 1]));
        let parts = parts.filter(|(_, rows)| !rows.is_empty()).collect();
        let mut order = vec![0u32; groups.len()];
        for (row, &group) in groups.iter().enumerate() {
            let end = &mut ends[self.of(usize::from(group))?];
            order[*end] = row as u32;
            *end += 1;
        }
        Ok((order.into(), parts))
    }
}

/// The key groups of rows of a keyed table: the first column.
///
/// # Errors
/// A defect: it is another column.
pub(super) fn key_groups(batch: &RecordBatch) -> Result<&[u16]> {
    let groups = batch.columns().first();
    let groups = groups.and_then(|c| c.as_primitive_opt::<UInt16Type>());
    let groups = groups.ok_or_else(|| Error::internal("state rows without key groups"))?;
    Ok(groups.values())
}

/// All rows of a table that is whole, or of everything as new.
pub(super) fn all_rows(table: &StateTable) -> &StateRows {
    match &table.content {
        StateContent::Full(rows) => rows,
        StateContent::Delta { upserts, .. } => upserts,
    }
}

/// Writes the rows of a keyed table into files, by partition.
///
/// # Errors
/// Rows that cannot be read, and a disk that is full or refuses.
pub(super) fn split_table(
    folder: &Arc<SpillFolder>,
    owners: &Owners,
    rows: &StateRows,
) -> Result<Vec<StateRows>> {
    /// A `take` of more rows at once would need as much memory again.
    const PIECE_ROWS: usize = 1 << 18;
    let mut writers: Vec<TableWriter> = Vec::new();
    writers.resize_with(owners.count, TableWriter::default);
    let mut files = vec![StateRows::default(); owners.count];
    for batch in rows.read() {
        let batch = batch?;
        for start in (0..batch.num_rows()).step_by(PIECE_ROWS) {
            let piece = batch.slice(start, PIECE_ROWS.min(batch.num_rows() - start));
            let (order, parts) = owners.sort(key_groups(&piece)?)?;
            let sorted = take_record_batch(&piece, &order)?;
            for (at, rows) in parts {
                let part = sorted.slice(rows.start, rows.len());
                writers[at].write(folder, &part, &mut files[at])?;
            }
        }
    }
    for (writer, files) in writers.iter_mut().zip(&mut files) {
        writer.finish(files)?;
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_order_of_their_partitions_and_keep_their_own() {
        let owners = Owners::new([10..12, 12..20].into_iter());
        let (order, parts) = owners.sort(&[19, 10, 12, 11, 10]).unwrap();
        assert_eq!(order.values().as_ref(), [1, 3, 4, 0, 2]);
        assert_eq!(parts, [(0, 0..3), (1, 3..5)]);
        assert!(owners.sort(&[9]).is_err());
        assert!(owners.sort(&[20]).is_err());
    }
}
