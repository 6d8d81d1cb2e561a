//! The rows of a batch by slice.

use arrow::array::{Array, AsArray, BooleanArray, Int64Array, UInt32Array};
use arrow::compute::{take, take_record_batch};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use flott_core::{Error, Result};

use super::slicing::{Slice, Slicing};
use crate::operators::evaluate::milliseconds;

/// Consecutive rows of one slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub slice: Slice,
    pub start: usize,
    pub length: usize,
}

/// Cuts a batch into runs, by its rows' times in ms.
///
/// # Errors
/// A time that is NULL.
pub(super) fn runs_of_times(times: &Int64Array, slicing: Slicing) -> Result<Vec<Run>> {
    if times.null_count() > 0 {
        let message = "the rowtime of a row is NULL; filter such rows out before the window";
        return Err(Error::user("ROWTIME", message));
    }
    let mut runs: Vec<Run> = Vec::new();
    let mut current = Slice { start: 0, end: 0 };
    for (row, &time) in times.values().iter().enumerate() {
        if time >= current.start && time < current.end {
            continue;
        }
        close(&mut runs, row);
        current = slicing.slice_of(time);
        runs.push(open(current, row));
    }
    close(&mut runs, times.len());
    Ok(runs)
}

/// Cuts a batch into runs, by its rows' windows or slices in ms.
pub(super) fn runs_of_bounds(starts: &dyn Array, ends: &dyn Array) -> Result<Vec<Run>> {
    let (starts, ends) = (bounds(starts)?, bounds(ends)?);
    let mut runs: Vec<Run> = Vec::new();
    for (row, (&start, &end)) in starts.values().iter().zip(ends.values()).enumerate() {
        let slice = Slice { start, end };
        if runs.last().is_some_and(|r| r.slice == slice) {
            continue;
        }
        close(&mut runs, row);
        runs.push(open(slice, row));
    }
    close(&mut runs, starts.len());
    Ok(runs)
}

fn bounds(array: &dyn Array) -> Result<Int64Array> {
    if array.null_count() > 0 {
        let message = "the window of a row is NULL; filter such rows out before the aggregation";
        return Err(Error::user("ROWTIME", message));
    }
    match array.as_primitive_opt::<Int64Type>() {
        Some(array) => Ok(array.clone()),
        None => milliseconds(array),
    }
}

fn open(slice: Slice, start: usize) -> Run {
    Run {
        slice,
        start,
        length: 0,
    }
}

fn close(runs: &mut [Run], end: usize) {
    if let Some(run) = runs.last_mut() {
        run.length = end - run.start;
    }
}

/// Calls `f` with the rows of each slice: parts of the batch when each slice is one run, else the
/// slice's rows together, in order.
pub(super) fn for_each_slice(
    rows: &RecordBatch,
    adds: Option<&BooleanArray>,
    mut runs: Vec<Run>,
    mut f: impl FnMut(Slice, &RecordBatch, Option<&BooleanArray>) -> Result<()>,
) -> Result<()> {
    runs.sort_by_key(|r| (r.slice, r.start));
    for runs in runs.chunk_by(|a, b| a.slice == b.slice) {
        let slice = runs[0].slice;
        if let [run] = runs {
            let part = rows.slice(run.start, run.length);
            let part_adds = adds.map(|a| a.slice(run.start, run.length));
            f(slice, &part, part_adds.as_ref())?;
            continue;
        }
        let indices = runs.iter().flat_map(|r| r.start..r.start + r.length);
        let indices = UInt32Array::from_iter_values(indices.map(|i| i as u32));
        let part = take_record_batch(rows, &indices)?;
        let part_adds = match adds {
            Some(adds) => Some(take(adds, &indices, None)?.as_boolean().clone()),
            None => None,
        };
        f(slice, &part, part_adds.as_ref())?;
    }
    Ok(())
}
