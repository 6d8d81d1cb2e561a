//! Rows of keyed tables by their key group, the first column.

use std::ops::Range;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::UInt16Type;
use flott_core::operator::StateBatch;
use flott_core::{Error, Result};

/// The rows of these key groups.
///
/// # Errors
/// A defect: rows that do not begin with a key group.
pub fn rows_of_groups(batch: &RecordBatch, groups: &Range<usize>) -> Result<RecordBatch> {
    rows_of(batch, |group| groups.contains(&group))
}

/// As [`rows_of_groups`], also of packed rows.
pub(crate) fn packed_of_groups(batch: StateBatch, groups: &Range<usize>) -> Result<StateBatch> {
    Ok(StateBatch {
        rows: rows_of_groups(&batch.rows, groups)?,
        packed: batch.packed,
    })
}

/// The rows of the key groups that `is_wanted` says.
pub(crate) fn rows_of(
    batch: &RecordBatch,
    is_wanted: impl Fn(usize) -> bool,
) -> Result<RecordBatch> {
    let column = batch.columns().first();
    let Some(groups) = column.and_then(|c| c.as_primitive_opt::<UInt16Type>()) else {
        return Err(Error::internal(format!(
            "keyed state with the columns {} does not begin with a key group (UInt16)",
            batch.schema()
        )));
    };
    let groups = groups.values();
    let wanted = |row: usize| is_wanted(usize::from(groups[row]));
    let mask = BooleanArray::from(BooleanBuffer::collect_bool(batch.num_rows(), wanted));
    if mask.true_count() == batch.num_rows() {
        return Ok(batch.clone());
    }
    Ok(filter_record_batch(batch, &mask)?)
}
