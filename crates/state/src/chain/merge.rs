//! Reading the layers of a chain as one.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Int64Type, UInt16Type};
use flott_core::operator::{PackedReader, RowsReader, StateBatch};
use flott_core::{Error, Result};

use super::ROW_ID;
use crate::GroupTable;
use crate::key_groups::rows_of;

/// One step of the way from the newest layer to the oldest.
pub(super) enum Stage<'a> {
    /// Whether older layers say nothing of them: their keys need not be remembered.
    Rows(PackedReader<'a>, bool),
    Deleted(RowsReader<'a>),
    Replaced(&'a [Range<usize>]),
}

/// Reads layers from the newest to the oldest.
pub(super) struct Merge<'a> {
    pub stages: VecDeque<Stage<'a>>,
    pub key_columns: usize,
    /// By key group: wanted, and not replaced by a newer layer.
    pub is_open: Vec<bool>,
    pub is_alone: bool,
    /// The keys met so far.
    pub seen: Option<GroupTable>,
    pub groups: Vec<u32>,
}

impl Merge<'_> {
    /// The rows whose keys are new; `remembers` them.
    fn unseen(&mut self, batch: &RecordBatch, remembers: bool) -> Result<RecordBatch> {
        let is_open = &self.is_open;
        let batch = rows_of(batch, |g| is_open.get(g).copied().unwrap_or(false))?;
        if batch.num_rows() == 0 || self.key_columns == 0 || self.is_alone {
            return Ok(batch);
        }
        let keys = key_columns(&batch, self.key_columns)?;
        let seen = match &mut self.seen {
            Some(seen) => seen,
            None if !remembers => return Ok(batch),
            None => {
                let types: Vec<DataType> = keys.iter().map(|k| k.data_type().clone()).collect();
                self.seen.insert(GroupTable::new(&types)?)
            }
        };
        let groups = &mut self.groups;
        let is_new: BooleanArray = if remembers {
            let mut next_new = seen.capacity() as u32;
            seen.assign(&keys, batch.num_rows(), groups)?;
            let is_new = groups.iter().map(|&group| {
                let is_new = group == next_new;
                next_new += u32::from(is_new);
                is_new
            });
            is_new.map(Some).collect()
        } else {
            seen.find(&keys, batch.num_rows(), groups)?;
            let is_new = groups.iter().map(|&group| group == GroupTable::UNKNOWN);
            is_new.map(Some).collect()
        };
        if is_new.true_count() == batch.num_rows() {
            return Ok(batch);
        }
        Ok(filter_record_batch(&batch, &is_new)?)
    }

    /// The next batch, which may be empty; `None` when this stage has no more.
    fn step(&mut self, stage: &mut Stage<'_>) -> Result<Option<StateBatch>> {
        match stage {
            Stage::Rows(rows, are_new) => match rows.next() {
                None => Ok(None),
                Some(batch) => {
                    let batch = batch?;
                    Ok(Some(StateBatch {
                        rows: self.unseen(&batch.rows, !*are_new)?,
                        packed: batch.packed,
                    }))
                }
            },
            Stage::Deleted(keys) => match keys.next() {
                None => Ok(None),
                Some(batch) => {
                    let keys = self.unseen(&batch?, true)?;
                    Ok(Some(keys.slice(0, 0).into()))
                }
            },
            Stage::Replaced(replaced) => {
                for group in replaced.iter().cloned().flatten() {
                    if let Some(is_open) = self.is_open.get_mut(group) {
                        *is_open = false;
                    }
                }
                Ok(None)
            }
        }
    }
}

impl Iterator for Merge<'_> {
    type Item = Result<StateBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(mut stage) = self.stages.pop_front() {
            match self.step(&mut stage) {
                Ok(None) => {}
                Ok(Some(batch)) => {
                    self.stages.push_front(stage);
                    if batch.rows.num_rows() > 0 {
                        return Some(Ok(batch));
                    }
                }
                Err(error) => {
                    self.stages.clear();
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

/// The first columns, as types that keys can have.
fn key_columns(batch: &RecordBatch, num: usize) -> Result<Vec<ArrayRef>> {
    if let Some(rows) = row_words(batch, num) {
        return Ok(vec![rows]);
    }
    let Some(columns) = batch.columns().get(..num) else {
        return Err(Error::internal(format!(
            "state rows with {} columns, {num} of which should be their key",
            batch.num_columns()
        )));
    };
    let columns = columns.iter().map(|column| match column.data_type() {
        DataType::UInt16 => Ok(cast(column, &DataType::Int32)?),
        _ => Ok(column.clone()),
    });
    columns.collect()
}

/// Key group and [`ROW_ID`] in one word, which is found much faster than two columns.
fn row_words(batch: &RecordBatch, num: usize) -> Option<ArrayRef> {
    if num != 2 || batch.schema_ref().field(1).name() != ROW_ID {
        return None;
    }
    let groups = batch.column(0).as_primitive_opt::<UInt16Type>()?;
    let ids = batch.column(1).as_primitive_opt::<Int64Type>()?;
    let words = groups.values().iter().zip(ids.values());
    let words = words.map(|(&group, &id)| i64::from(group) << 48 | id);
    Some(Arc::new(Int64Array::from_iter_values(words)))
}
