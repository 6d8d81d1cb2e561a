//! Aggregation with DISTINCT in two parts, so that the distinct values of one key are kept by many
//! subtasks (Flink's `table.optimizer.distinct-agg.split.enabled`).
//!
//! ```text
//!              ┌ local phase of the other calls ──────────────────── by key ┐
//! rows ────────┤                                                            ├ final part
//!              └ SpreadDistinct ─ by key and bucket ─ PartialAggregate ─ by key ┘
//! ```
//!
//! [`PartialAggregate`](PartialAggregateConfig) keeps the sets of values and sends, for each key of
//! a batch, by how much the aggregates over them have changed. The final part is a
//! [`GroupAggregate`](super::group_aggregate) that adds this up. With one subtask the partial
//! aggregate takes the rows themselves and sends the changes of all calls; its state and the final
//! part's are the same either way, so that a checkpoint of one parallelism is one of any.

mod layout;
mod partial;
mod spread;
#[cfg(test)]
mod tests;

use arrow::datatypes::SchemaRef;
use flott_core::Result;
use flott_core::operator::{Operator, OperatorFactory};
use flott_core::schema::Schema;

use super::group_aggregate::FinalInputs;
use crate::aggregates::AggregateCallConfig;

/// What the parts of a split aggregation share.
#[derive(Debug, Clone)]
pub struct SplitAggregate {
    /// Positions in the rows.
    pub key_columns: Vec<usize>,
    /// Those with DISTINCT are [additive](crate::aggregates::AggregateFunction::is_additive) where
    /// rows are removed, the others [mergeable](crate::aggregates::AggregateFunction::is_mergeable).
    pub calls: Vec<AggregateCallConfig>,
    /// Over how many buckets the values of a key are spread.
    pub num_buckets: usize,
    /// Whether the rows have other kinds than `+I`.
    pub input_is_retracting: bool,
    /// Of the rows.
    pub input: Schema,
}

impl SplitAggregate {
    /// What [`SpreadDistinctConfig`] sends: the keys; the bucket and, in one number, the set and
    /// the filters that the value passes, both INT; the columns of values, which sets of one type
    /// share.
    pub fn spread_schema(&self) -> Schema {
        layout::SplitLayout::new(self).spread_schema(self)
    }

    /// What [`PartialAggregateConfig`] sends: the keys; the partial states of the calls and the
    /// numbers of rows, as [`SplitAggregate::final_inputs`] says.
    ///
    /// # Errors
    /// A call of a type that its function does not take.
    pub fn partial_schema(&self, takes: SplitRows) -> Result<Schema> {
        layout::SplitLayout::new(self).partial_schema(self, takes)
    }

    /// The calls without DISTINCT, for the local phase of their own.
    pub fn plain_calls(&self) -> Vec<AggregateCallConfig> {
        let calls = self.calls.iter().filter(|c| !c.is_distinct());
        calls.cloned().collect()
    }

    /// The calls as the final part has them: their distinct values are known already.
    pub fn final_calls(&self) -> Vec<AggregateCallConfig> {
        let call = |call: &AggregateCallConfig| AggregateCallConfig {
            distinct: false,
            filter: None,
            ..call.clone()
        };
        self.calls.iter().map(call).collect()
    }

    /// How the final part gets its partial states. [`SplitRows::Whole`]: one input.
    /// [`SplitRows::Spread`]: the local phase's first, with a number of rows at its end.
    pub fn final_inputs(&self, takes: SplitRows) -> FinalInputs {
        layout::SplitLayout::new(self).final_inputs(self, takes)
    }
}

/// What comes into a partial aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SplitRows {
    /// The rows themselves; all go to one subtask.
    Whole,
    /// Those of [`SpreadDistinctConfig`], by key and bucket: the first columns.
    Spread,
}

/// Before the exchange: of each row, for each set of distinct values, the key, the value and the
/// filters that it passes. Of insert-only rows a value that was sent lately is not sent again.
/// Keeps nothing over a checkpoint.
#[derive(Debug, Clone)]
pub struct SpreadDistinctConfig {
    pub split: SplitAggregate,
    /// [`SplitAggregate::spread_schema`].
    pub schema: SchemaRef,
}

/// Behind it: keeps the sets of values, by key and bucket. Sends insert-only rows of changes, which
/// may be negative, one for each key of a batch.
#[derive(Debug, Clone)]
pub struct PartialAggregateConfig {
    pub split: SplitAggregate,
    pub takes: SplitRows,
    /// [`SplitAggregate::partial_schema`].
    pub schema: SchemaRef,
}

impl OperatorFactory for SpreadDistinctConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(spread::SpreadDistinct::new(self)?))
    }
}

impl OperatorFactory for PartialAggregateConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(partial::PartialAggregate::new(self)?))
    }
}
