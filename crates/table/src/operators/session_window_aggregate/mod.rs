//! Aggregation by key and session.

mod operator;
mod sessions;

use arrow::datatypes::SchemaRef;
use chrono_tz::Tz;
use flott_core::Result;
use flott_core::operator::{Operator, OperatorFactory, StateLayout};

use super::aggregate_table::{AggregateLayout, state_layout};
use super::window_aggregate::WindowProperty;
use super::window_tvf::WindowTime;
use crate::aggregates::{AggregateCallConfig, Phase};

/// `GROUP BY SESSION window, keys`: insert-only results, sent in the order of the sessions' ends
/// when the watermark (or processing time) passes them.
///
/// A row opens a session of `gap_ms` from its time; sessions of a key that overlap or touch are
/// one. A row is late, dropped and counted, when the session that it makes or joins has closed.
#[derive(Debug, Clone)]
pub struct SessionWindowAggregateConfig {
    pub gap_ms: i64,
    pub time: WindowTime,
    /// As in [`super::window_aggregate::WindowAggregateConfig`].
    pub time_zone: Option<Tz>,
    /// The sessions' keys; the input is exchanged by these columns.
    pub key_columns: Vec<usize>,
    pub calls: Vec<AggregateCallConfig>,
    /// Whether the input has other kinds than `+I`.
    pub input_is_retracting: bool,
    /// Appended to the results.
    pub properties: Vec<WindowProperty>,
    pub input_schema: SchemaRef,
    /// The keys, then one column for each call, then the properties (each TIMESTAMP or
    /// TIMESTAMP_LTZ).
    pub schema: SchemaRef,
}

impl OperatorFactory for SessionWindowAggregateConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(operator::SessionWindowAggregate::new(
            self.clone(),
        )?))
    }

    fn state_layout(&self) -> Result<Option<StateLayout>> {
        let layout = AggregateLayout::new(
            &self.input_schema,
            &self.key_columns,
            &self.calls,
            Phase::Complete,
            self.input_is_retracting,
            &[],
        );
        state_layout(operator::SESSIONS, &layout, false)
    }
}
