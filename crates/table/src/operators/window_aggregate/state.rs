//! Slices of windows in snapshots.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::record_batch::RecordBatch;
use flott_core::Result;
use flott_core::operator::{StateRows, StateScope, StateTable};

use super::operator::WindowAggregate;
use super::runs::{for_each_slice, runs_of_bounds};
use super::slicing::Slice;
use crate::aggregates::Phase;
use crate::operators::aggregate_table::{AggregateTable, named_batch, state_batch};

/// The table of slices with their keys and partial states.
pub(super) const SLICES: &str = "slices";

impl WindowAggregate {
    /// Slices with their keys and partial states, or what has changed of them.
    pub(super) fn slices_table(&mut self) -> Result<StateTable> {
        let max_parallelism = self.max_parallelism();
        let says_changes = self.gone.is_on();
        let mut rows = StateRows::default();
        for (&slice, table) in &mut self.slices {
            if !says_changes {
                table.forget_changes();
            }
            let groups = table.groups_to_tell();
            let mut columns = slice_keys(table, slice, &groups, max_parallelism);
            columns.extend(table.key_states(&groups)?);
            let mut names = ["key_group", "slice_start", "slice_end"]
                .map(String::from)
                .to_vec();
            names.extend(self.layout.key_names());
            names.extend(table.accumulators().state_names());
            rows.push(named_batch(names, columns, groups.len())?);
            table.told();
        }
        let gone = self.gone.take_removed();
        self.gone.begin();
        if !says_changes {
            return Ok(StateTable::full(SLICES, StateScope::Keyed, rows));
        }
        let key_columns = 3 + self.layout.num_keys();
        Ok(StateTable::delta(SLICES, key_columns, rows, gone))
    }

    /// Takes slices back.
    pub(super) fn restore_batch(&mut self, batch: &RecordBatch) -> Result<()> {
        // The local phase's state is not keyed.
        let mut columns = batch.columns().to_vec();
        if self.config.phase != Phase::Local {
            let start_and_end = columns.drain(..3).skip(1).collect::<Vec<_>>();
            columns.extend(start_and_end);
        }
        let width = columns.len() - 2;
        let runs = runs_of_bounds(&columns[width], &columns[width + 1])?;
        let picked = state_batch(columns, batch.num_rows())?;
        for_each_slice(&picked, None, runs, |slice, rows, _| {
            let table = self.slice_table(slice)?;
            table.merge_columns(&rows.columns()[..width], rows.num_rows())
        })
    }
}

/// Key groups, start and end of a slice.
pub(super) fn slice_keys(
    table: &AggregateTable,
    slice: Slice,
    groups: &[u32],
    max_parallelism: usize,
) -> Vec<ArrayRef> {
    let bound = |ms: i64| -> ArrayRef { Arc::new(Int64Array::from_value(ms, groups.len())) };
    let key_groups = table.key_groups(groups, max_parallelism);
    vec![key_groups, bound(slice.start), bound(slice.end)]
}
