//! Whether the local phase of an aggregation is worth its work.
//!
//! Where nearly every row has a key of its own, a table before the exchange costs a second look-up
//! of every row and saves nothing. The local phase measures that and then passes rows on, each as
//! the partial state of one row, until it is time to measure again.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::record_batch::RecordBatch;
use flott_core::Result;

use super::aggregate_table::{Accumulators, AggregateLayout};

/// Rows without which nothing is concluded.
const LEAST_ROWS: usize = 1 << 10;
/// After a measurement that speaks against the table, this many times its rows are passed on.
const ROWS_PASSED_FACTOR: usize = 32;

/// Rows to partial states without a table, when that is better.
pub(crate) struct LocalPhase {
    layout: Arc<AggregateLayout>,
    accumulators: Accumulators,
    /// The numbers 0, 1, …: each row is a group.
    groups: Vec<u32>,
    reduction: Reduction,
}

/// Whether fewer rows come out of a table before the exchange than go in.
#[derive(Default)]
pub(crate) struct Reduction {
    rows_to_pass: usize,
}

impl Reduction {
    /// Whether the next batch, of so many rows, is to be passed on.
    pub fn passes(&mut self, num_rows: usize) -> bool {
        let passes = self.rows_to_pass > 0;
        self.rows_to_pass = self.rows_to_pass.saturating_sub(num_rows);
        passes
    }

    /// So many rows have become so many.
    pub fn measure(&mut self, num_rows: usize, num_left: usize) {
        if num_rows >= LEAST_ROWS && num_left * 4 > num_rows * 3 {
            self.rows_to_pass = num_rows * ROWS_PASSED_FACTOR;
        }
    }
}

impl LocalPhase {
    pub fn new(layout: &Arc<AggregateLayout>) -> Result<Self> {
        Ok(Self {
            layout: layout.clone(),
            accumulators: Accumulators::new(layout)?,
            groups: Vec::new(),
            reduction: Reduction::default(),
        })
    }

    /// Whether the next batch, of so many rows, is to be passed on.
    pub fn passes(&mut self, num_rows: usize) -> bool {
        self.reduction.passes(num_rows)
    }

    /// So many rows have become so many groups.
    pub fn measure(&mut self, num_rows: usize, num_groups: usize) {
        self.reduction.measure(num_rows, num_groups);
    }

    /// Keys and partial states of picked rows, one for each.
    pub fn states(
        &mut self,
        rows: &RecordBatch,
        adds: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        self.groups.clear();
        self.groups.extend(0..rows.num_rows() as u32);
        self.accumulators.resize(rows.num_rows());
        self.accumulators.take_in(&self.groups, rows, adds)?;
        let mut columns = self.layout.keys(rows);
        columns.extend(self.accumulators.states(&self.groups)?);
        self.accumulators.clear(&self.groups);
        Ok(columns)
    }
}
