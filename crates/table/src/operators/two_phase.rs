//! What the planner asks of aggregations that can be done in two phases, one on each side of an
//! exchange.

use arrow::datatypes::SchemaRef;
use flott_core::Result;
use flott_core::operator::OperatorFactory;
use flott_core::schema::Schema;

use crate::aggregates::{AggregateCallConfig, Phase};

/// The configuration of an aggregation that can be done in two phases.
pub trait TwoPhase: OperatorFactory + Clone + 'static {
    /// What differs between the phases.
    fn phase_fields(&mut self) -> PhaseFields<'_>;

    fn calls(&self) -> &[AggregateCallConfig];

    /// What the local phase sends for an input of these columns; the keys are the first.
    ///
    /// # Errors
    /// A call of a type that its function does not take.
    fn partial_schema(&self, input: &Schema) -> Result<Schema>;

    /// The configuration of a complete aggregation for one of its phases; `partial` is
    /// [`TwoPhase::partial_schema`].
    fn in_phase(mut self, phase: Phase, partial: &Schema) -> Self {
        let fields = self.phase_fields();
        *fields.phase = phase;
        match phase {
            Phase::Complete => {}
            Phase::Local => *fields.schema = partial.to_arrow(),
            Phase::Global => {
                *fields.key_columns = (0..fields.key_columns.len()).collect();
                *fields.input_schema = partial.to_arrow();
            }
        }
        self
    }
}

/// The fields of a configuration that differ between the phases.
pub struct PhaseFields<'a> {
    pub phase: &'a mut Phase,
    pub key_columns: &'a mut Vec<usize>,
    pub input_schema: &'a mut SchemaRef,
    pub schema: &'a mut SchemaRef,
}
