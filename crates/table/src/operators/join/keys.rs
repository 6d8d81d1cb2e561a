//! The equi-join keys of both inputs as one set of groups.

use arrow::array::{Array, ArrayRef};
use arrow::buffer::NullBuffer;
use arrow::record_batch::RecordBatch;
use flott_core::hash::hash_columns;
use flott_core::key_group::key_group_of;
use flott_core::{Error, Result};
use flott_state::GroupTable;

use super::JoinInputs;
use super::chains::NONE;

/// One of the two inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SideName {
    Left = 0,
    Right = 1,
}

impl SideName {
    pub fn of_input(input: usize) -> Self {
        match input {
            0 => Self::Left,
            _ => Self::Right,
        }
    }

    pub fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }

    /// The name of the side's state table.
    pub fn table(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
        }
    }
}

/// Which columns are keys.
#[derive(Clone)]
pub(super) struct KeyColumns {
    columns: [Vec<usize>; 2],
    null_safe: Vec<bool>,
}

impl KeyColumns {
    /// # Errors
    /// An internal error when the keys of the two sides do not fit each other.
    pub fn new(inputs: &JoinInputs) -> Result<Self> {
        let (left, right) = (&inputs.left_keys, &inputs.right_keys);
        let of_left = left.iter().map(|&c| inputs.left_schema.field(c));
        let of_right = right.iter().map(|&c| inputs.right_schema.field(c));
        let fits = of_left
            .zip(of_right)
            .all(|(l, r)| l.data_type() == r.data_type());
        if !fits || left.len() != right.len() || inputs.null_safe.len() != left.len() {
            let message = format!("join keys {left:?} and {right:?} do not fit each other");
            return Err(Error::internal(message));
        }
        Ok(Self {
            columns: [left.clone(), right.clone()],
            null_safe: inputs.null_safe.clone(),
        })
    }

    /// The key columns of rows of a side.
    pub fn of(&self, side: SideName, rows: &RecordBatch) -> Vec<ArrayRef> {
        let columns = self.columns[side as usize].iter();
        columns.map(|&c| rows.column(c).clone()).collect()
    }

    pub fn positions(&self, side: SideName) -> &[usize] {
        &self.columns[side as usize]
    }

    /// Where a key is NULL that does not equal NULL: such rows match nothing.
    pub fn unmatchable(&self, keys: &[ArrayRef]) -> Option<NullBuffer> {
        let keys = keys.iter().zip(&self.null_safe);
        let nulls = keys.filter(|(_, null_safe)| !**null_safe);
        let nulls = nulls.map(|(key, _)| key.logical_nulls());
        nulls
            .fold(None, |all, n| NullBuffer::union(all.as_ref(), n.as_ref()))
            .filter(|n| n.null_count() > 0)
    }

    /// The key group of each row.
    pub fn key_groups(
        &self,
        side: SideName,
        rows: &RecordBatch,
        max_parallelism: usize,
    ) -> Result<Vec<u16>> {
        let mut hashes = Vec::new();
        hash_columns(&self.of(side, rows), rows.num_rows(), &mut hashes)?;
        let groups = hashes.iter();
        Ok(groups
            .map(|&h| key_group_of(h, max_parallelism) as u16)
            .collect())
    }
}

/// Gives the keys of both sides their groups: equal keys, one group.
pub(super) struct KeyGroups {
    pub columns: KeyColumns,
    table: GroupTable,
}

impl KeyGroups {
    /// # Errors
    /// Keys that do not fit each other, or a type that cannot be a key.
    pub fn new(inputs: &JoinInputs) -> Result<Self> {
        let columns = KeyColumns::new(inputs)?;
        let types = inputs.left_keys.iter();
        let types = types.map(|&c| inputs.left_schema.field(c).data_type().clone());
        Ok(Self {
            table: GroupTable::new(&types.collect::<Vec<_>>())?,
            columns,
        })
    }

    /// Puts each row's group into `groups`: [`NONE`] where a NULL key matches nothing.
    pub fn assign(
        &mut self,
        side: SideName,
        rows: &RecordBatch,
        groups: &mut Vec<u32>,
    ) -> Result<()> {
        let keys = self.columns.of(side, rows);
        self.assign_columns(&keys, rows.num_rows(), groups)
    }

    /// As [`KeyGroups::assign`], for the key columns alone.
    pub fn assign_columns(
        &mut self,
        keys: &[ArrayRef],
        num_rows: usize,
        groups: &mut Vec<u32>,
    ) -> Result<()> {
        self.table.assign(keys, num_rows, groups)?;
        if let Some(nulls) = self.columns.unmatchable(keys) {
            for (row, group) in groups.iter_mut().enumerate() {
                if nulls.is_null(row) {
                    *group = NONE;
                }
            }
        }
        Ok(())
    }

    /// Of the rows assigned last: the hash of the key, which decides the key group.
    pub fn row_hashes(&self) -> &[u64] {
        self.table.row_hashes()
    }

    /// Forgets those of these groups, and of the ones that the last assignment has made, that no
    /// row is in.
    pub fn release(&mut self, mut groups: Vec<u32>, is_empty: impl Fn(u32) -> bool) {
        groups.extend(self.table.created());
        groups.retain(|&g| g != NONE && is_empty(g));
        self.table.remove(&groups);
    }

    /// Forgets all groups.
    pub fn clear(&mut self) {
        self.table.clear();
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Bytes held.
    pub fn size_bytes(&self) -> usize {
        self.table.size_bytes()
    }
}
