//! The loop over the rows that an accumulator takes in.

use arrow::array::{Array, BooleanArray};
use arrow::buffer::NullBuffer;

/// Calls `f(row, group, adds)` for each row that is not null in `nulls` and passes the filter.
#[inline]
pub(super) fn each_row(
    groups: &[u32],
    nulls: Option<&NullBuffer>,
    filter: Option<&BooleanArray>,
    adds: Option<&BooleanArray>,
    mut f: impl FnMut(usize, usize, bool),
) {
    let nulls = nulls.filter(|n| n.null_count() > 0);
    if nulls.is_none() && filter.is_none() && adds.is_none() {
        for (row, &group) in groups.iter().enumerate() {
            f(row, group as usize, true);
        }
        return;
    }
    for (row, &group) in groups.iter().enumerate() {
        let is_null = nulls.is_some_and(|n| n.is_null(row));
        let passes = filter.is_none_or(|f| f.is_valid(row) && f.value(row));
        if !is_null && passes {
            f(row, group as usize, adds.is_none_or(|a| a.value(row)));
        }
    }
}

/// Grows or shrinks a column of groups.
pub(super) fn resize<T: Default>(column: &mut Vec<T>, num_groups: usize) {
    column.resize_with(num_groups, T::default);
}
