//! Aggregation by key without windows: an updating result.

mod changes;
mod emptied;
mod operator;
mod pieces;

use arrow::datatypes::SchemaRef;
use flott_core::Result;
use flott_core::operator::{Operator, OperatorFactory, StateLayout};
use flott_core::schema::Schema;

pub use super::aggregate_table::PartialColumns;
use super::aggregate_table::{self, AggregateLayout, state_layout};
use super::two_phase::{PhaseFields, TwoPhase};
use crate::aggregates::{AggregateCallConfig, Phase};

/// `GROUP BY` (also `SELECT DISTINCT`: no calls), and aggregates without keys.
///
/// Streaming sends one consolidated change for each key and batch: `+I` first, `-U`/`+U` when the
/// result changes, `-D` when the last row of the key is removed; with
/// [`GroupAggregateConfig::sends_each_change`] one for each row. With
/// [`GroupAggregateConfig::emits_at_end`] it sends each key's result once, when the input ends;
/// without keys that is one row even if there was no input.
///
/// [`Phase::Local`] sends the partial states of each batch's keys: insert-only rows of
/// [`GroupAggregateConfig::local_schema`].
#[derive(Debug, Clone)]
pub struct GroupAggregateConfig {
    /// The input is exchanged by these columns, except for [`Phase::Local`]. For
    /// [`Phase::Global`] they are the first columns.
    pub key_columns: Vec<usize>,
    pub calls: Vec<AggregateCallConfig>,
    pub phase: Phase,
    /// Whether the input (of the local phase, if there is one) has other kinds than `+I`.
    pub input_is_retracting: bool,
    /// Whether updates come with `-U`.
    pub emits_update_before: bool,
    /// Batch mode: results are sent once, when the input ends.
    pub emits_at_end: bool,
    /// Whether changes of one key are not consolidated. [`Phase::Complete`] only.
    pub sends_each_change: bool,
    /// Whether a group is begun anew when its last row is taken back, also within a batch, and
    /// what is taken back from a group without rows is ignored. [`Phase::Complete`] only.
    pub forgets_emptied: bool,
    /// Of the final part of a split aggregation ([`Phase::Global`], without a TTL): what its inputs
    /// have, instead of all partial states.
    pub final_inputs: Option<FinalInputs>,
    /// A key's state is forgotten when it has not been updated for this long, in ms of processing
    /// time; `None` is never.
    pub state_ttl_ms: Option<i64>,
    pub input_schema: SchemaRef,
    /// The keys, then one column for each call; for [`Phase::Local`] that of
    /// [`GroupAggregateConfig::local_schema`].
    pub schema: SchemaRef,
}

/// How the final part of a split aggregation gets its partial states: over several ways, on each of
/// which a key's rows are counted by themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinalInputs {
    /// Of each input, what follows the keys.
    pub inputs: Vec<PartialColumns>,
    pub num_counts: usize,
    /// The counts that have to be positive before a key's result is sent: without them, it would be
    /// that of a part of the calls only.
    pub required: Vec<usize>,
}

impl GroupAggregateConfig {
    /// What the local phase sends for an input of these columns: the keys, then the columns of the
    /// calls' partial states, then the number of rows when the input is retracting.
    ///
    /// # Errors
    /// A call of a type that its function does not take.
    pub fn local_schema(
        input: &Schema,
        key_columns: &[usize],
        calls: &[AggregateCallConfig],
        input_is_retracting: bool,
    ) -> Result<Schema> {
        aggregate_table::state_schema(input, key_columns, calls, input_is_retracting)
    }
}

impl TwoPhase for GroupAggregateConfig {
    fn phase_fields(&mut self) -> PhaseFields<'_> {
        PhaseFields {
            phase: &mut self.phase,
            key_columns: &mut self.key_columns,
            input_schema: &mut self.input_schema,
            schema: &mut self.schema,
        }
    }

    fn calls(&self) -> &[AggregateCallConfig] {
        &self.calls
    }

    fn partial_schema(&self, input: &Schema) -> Result<Schema> {
        let retracting = self.input_is_retracting;
        Self::local_schema(input, &self.key_columns, &self.calls, retracting)
    }
}

impl GroupAggregateConfig {
    fn layout(&self) -> AggregateLayout {
        let layout = AggregateLayout::new(
            &self.input_schema,
            &self.key_columns,
            &self.calls,
            self.phase,
            self.input_is_retracting,
            &[],
        );
        match &self.final_inputs {
            Some(inputs) => layout.with_counts(inputs.num_counts, inputs.required.clone()),
            None => layout,
        }
    }
}

impl OperatorFactory for GroupAggregateConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(operator::GroupAggregate::new(self.clone())?))
    }

    fn state_layout(&self) -> Result<Option<StateLayout>> {
        state_layout(operator::GROUPS, &self.layout(), true)
    }
}
