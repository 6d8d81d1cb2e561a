//! From results before and after a batch to changes.

use arrow::array::{Array, ArrayRef, UInt32Array, make_comparator};
use arrow::compute::kernels::cmp::not_distinct;
use arrow::compute::{SortOptions, interleave, take};
use flott_core::Result;
use flott_core::changelog::{ChangelogBatch, RowKind};

use arrow::datatypes::SchemaRef;

use crate::operators::evaluate::batch_of;

/// A key that a batch touched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Touched {
    /// Its place among the results before the batch; `None` when it was not there.
    pub before: Option<u32>,
    /// Whether it is there after the batch.
    pub is_there: bool,
}

/// How changes are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChangeStyle {
    pub emits_update_before: bool,
    /// Whether a result that has not changed is sent as an update all the same.
    pub emits_unchanged: bool,
}

/// The changes of touched keys: `keys` and `after` have a row for each, `before` for those that
/// were there.
pub(super) fn changes(
    touched: &[Touched],
    keys: &[ArrayRef],
    before: &[ArrayRef],
    after: &[ArrayRef],
    style: ChangeStyle,
    schema: &SchemaRef,
) -> Result<ChangelogBatch> {
    let is_equal = equality(touched, before, after)?;
    let (mut kinds, mut rows, mut sources) = (Vec::new(), Vec::new(), Vec::new());
    let mut push = |kind: RowKind, row: usize, source: (usize, usize)| {
        kinds.push(kind as u8);
        rows.push(row as u32);
        sources.push(source);
    };
    for (row, key) in touched.iter().enumerate() {
        match (key.before, key.is_there) {
            (None, false) => {}
            (None, true) => push(RowKind::Insert, row, (1, row)),
            (Some(old), false) => push(RowKind::Delete, row, (0, old as usize)),
            (Some(old), true) if !is_equal[row] || style.emits_unchanged => {
                if style.emits_update_before {
                    push(RowKind::UpdateBefore, row, (0, old as usize));
                }
                push(RowKind::UpdateAfter, row, (1, row));
            }
            (Some(_), true) => {}
        }
    }
    let rows = UInt32Array::from(rows);
    let mut columns = Vec::with_capacity(keys.len() + after.len());
    for key in keys {
        columns.push(take(key, &rows, None)?);
    }
    for (before, after) in before.iter().zip(after) {
        columns.push(interleave(&[before.as_ref(), after.as_ref()], &sources)?);
    }
    let is_insert_only = kinds.iter().all(|&k| k == RowKind::Insert as u8);
    let batch = batch_of(schema.clone(), columns, rows.len())?;
    Ok(ChangelogBatch::new(
        batch,
        (!is_insert_only).then(|| kinds.into()),
    ))
}

/// Of each touched key whether its result is what it was; true where it was not there.
fn equality(touched: &[Touched], before: &[ArrayRef], after: &[ArrayRef]) -> Result<Vec<bool>> {
    let mut is_equal = vec![true; touched.len()];
    let pairs = touched.iter().enumerate();
    let pairs = pairs.filter_map(|(row, t)| t.before.map(|old| (row as u32, old)));
    let (new_rows, old_rows): (Vec<u32>, Vec<u32>) = pairs.unzip();
    if new_rows.is_empty() {
        return Ok(is_equal);
    }
    let new_indices = UInt32Array::from(new_rows);
    for (before, after) in before.iter().zip(after) {
        if after.data_type().is_nested() {
            let compare = make_comparator(before, after, SortOptions::default())?;
            for (&new, &old) in new_indices.values().iter().zip(&old_rows) {
                is_equal[new as usize] &= compare(old as usize, new as usize).is_eq();
            }
            continue;
        }
        let old = take(before, &UInt32Array::from(old_rows.clone()), None)?;
        let new = take(after, &new_indices, None)?;
        let equal = not_distinct(&old, &new)?;
        for (i, &new) in new_indices.values().iter().enumerate() {
            is_equal[new as usize] &= equal.value(i);
        }
    }
    Ok(is_equal)
}
