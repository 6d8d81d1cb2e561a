//! Aggregation by key and window, for windows that are known from a row's time alone.

mod ahead;
mod bounds;
mod operator;
mod runs;
mod slicing;
mod state;

use arrow::datatypes::SchemaRef;
use chrono_tz::Tz;
use flott_core::Result;
use flott_core::operator::{Operator, OperatorFactory, StateLayout};
use flott_core::schema::{Column, Schema};
use flott_core::types::LogicalType;

use super::aggregate_table::{self, AggregateLayout, state_layout};
use super::two_phase::{PhaseFields, TwoPhase};
use crate::aggregates::{AggregateCallConfig, Phase};
pub(crate) use bounds::Bounds;

pub use crate::operators::window_tvf::WindowTvf as WindowShape;

/// Where an aggregated row's window comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowTime {
    /// Assigned by the rowtime column of this position, a TIMESTAMP or TIMESTAMP_LTZ.
    Rowtime(usize),
    /// Assigned by the time at which the row is processed.
    Proctime,
    /// The row carries its window already, in TIMESTAMP columns at the positions `start` and
    /// `end`; a row that is in several windows comes once for each.
    Attached {
        start: usize,
        end: usize,
        /// Whether the windows are of processing time.
        is_proctime: bool,
    },
}

impl WindowTime {
    /// Whether windows close by processing time.
    pub fn is_proctime(self) -> bool {
        matches!(
            self,
            Self::Proctime
                | Self::Attached {
                    is_proctime: true,
                    ..
                }
        )
    }
}

/// A column of a window aggregate's result that says which window it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowProperty {
    Start,
    /// The end, exclusive.
    End,
    /// End − 1 ms: the result's rowtime.
    Rowtime,
    /// The time at which the result is sent.
    Proctime,
}

/// `GROUP BY window, keys`: insert-only results, sent in the order of windows when the watermark
/// (or processing time) passes a window's end. Late rows are dropped and counted; a HOP or
/// CUMULATE row is late only when all its windows have closed.
///
/// [`Phase::Local`] sends partial states of slices: rows of
/// [`WindowAggregateConfig::local_schema`]. It is for rowtime and attached windows.
#[derive(Debug, Clone)]
pub struct WindowAggregateConfig {
    /// Not looked at when the windows are attached.
    pub window: WindowShape,
    /// [`Phase::Global`] looks only at whether it is processing time or attached.
    pub time: WindowTime,
    /// The time zone in whose wall-clock time windows are aligned and shown: the session's when
    /// the time is a TIMESTAMP_LTZ or processing time; `None` for TIMESTAMP.
    pub time_zone: Option<Tz>,
    /// The keys besides the window; the input is exchanged by these columns, except for
    /// [`Phase::Local`]. For [`Phase::Global`] they are the first columns.
    pub key_columns: Vec<usize>,
    pub calls: Vec<AggregateCallConfig>,
    pub phase: Phase,
    /// Whether the input (of the local phase, if there is one) has other kinds than `+I`.
    pub input_is_retracting: bool,
    /// Appended to the results.
    pub properties: Vec<WindowProperty>,
    pub input_schema: SchemaRef,
    /// The keys, then one column for each call, then the properties (each TIMESTAMP or
    /// TIMESTAMP_LTZ); for [`Phase::Local`] that of [`WindowAggregateConfig::local_schema`].
    pub schema: SchemaRef,
}

impl WindowAggregateConfig {
    /// What the local phase sends for an input of these columns: the keys, then the columns of the
    /// calls' partial states, then the number of rows when the input is retracting, then start and
    /// end of the slice as BIGINT ms.
    ///
    /// # Errors
    /// A call of a type that its function does not take.
    pub fn local_schema(
        input: &Schema,
        key_columns: &[usize],
        calls: &[AggregateCallConfig],
        input_is_retracting: bool,
    ) -> Result<Schema> {
        let states = aggregate_table::state_schema(input, key_columns, calls, input_is_retracting)?;
        let bound = |name| Column::new(name, LogicalType::BigInt.not_null());
        let bounds = Schema::new(vec![bound("$slice_start"), bound("$slice_end")]);
        Ok(states.join(&bounds))
    }
}

impl TwoPhase for WindowAggregateConfig {
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

impl OperatorFactory for WindowAggregateConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(operator::WindowAggregate::new(self.clone())?))
    }

    fn state_layout(&self) -> Result<Option<StateLayout>> {
        let layout = AggregateLayout::new(
            &self.input_schema,
            &self.key_columns,
            &self.calls,
            self.phase,
            self.input_is_retracting,
            &[],
        );
        state_layout(state::SLICES, &layout, false)
    }
}
