//! OVER aggregation.

mod by_keys;
mod by_time;
mod compute;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion_physical_expr_common::physical_expr::PhysicalExpr;
use flott_core::operator::{Operator, OperatorFactory, StateLayout};
use flott_core::types::DataType;
use flott_core::{Error, Result};

use super::rank::InputMode;
use super::sort_key::SortKey;
use crate::aggregates::{AggregateFunction, AggregateTypes};

/// The order of the rows in an OVER window.
#[derive(Debug, Clone)]
pub enum OverOrder {
    /// By this rowtime column: rows are held until the watermark passes them.
    Rowtime(usize),
    /// By arrival: results are immediate.
    Proctime,
    /// By any keys: the result is updated when a row comes in between.
    Keys(Vec<SortKey>),
}

/// Which rows before the current one are in its frame; the frame ends at the current row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverFrame {
    /// `ROWS BETWEEN n PRECEDING AND CURRENT ROW`; `None` is unbounded.
    Rows { preceding: Option<u64> },
    /// `RANGE BETWEEN interval PRECEDING AND CURRENT ROW`, in ms of the time; rows of equal order
    /// are all in. `None` is unbounded.
    Range { preceding: Option<i64> },
}

/// What a call computes.
#[derive(Clone)]
pub enum OverFunction {
    Aggregate {
        function: &'static AggregateFunction,
        types: AggregateTypes,
        is_distinct: bool,
    },
    RowNumber,
    Rank,
    DenseRank,
    /// The first argument's value `offset` rows before; the second argument where there is none.
    Lag {
        offset: u64,
    },
}

/// One function call of an OVER window.
#[derive(Clone)]
pub struct OverCall {
    pub function: OverFunction,
    /// Over the input's columns, already cast to what the function takes.
    pub arguments: Vec<Arc<dyn PhysicalExpr>>,
}

impl OverCall {
    /// The types of the arguments of a call with DISTINCT.
    fn distinct_types(&self) -> Option<impl Iterator<Item = &DataType>> {
        match &self.function {
            OverFunction::Aggregate {
                types,
                is_distinct: true,
                ..
            } => Some(types.arguments.iter()),
            _ => None,
        }
    }
}

/// `calls OVER (PARTITION BY … ORDER BY … frame)`: appends a column for each call.
///
/// Late rows: bounded frames keep a row that is later than the last one computed in its partition,
/// unbounded ones drop every row that the watermark has passed.
#[derive(Clone)]
pub struct OverConfig {
    /// The input is exchanged by these columns.
    pub partition_columns: Vec<usize>,
    pub order: OverOrder,
    pub frame: OverFrame,
    pub calls: Vec<OverCall>,
    /// With [`OverOrder::Keys`] only, anything but append.
    pub input: InputMode,
    /// Whether updates come with `-U`.
    pub emits_update_before: bool,
    pub input_schema: SchemaRef,
    /// The input's columns, then one for each call.
    pub schema: SchemaRef,
}

impl OperatorFactory for OverConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        match &self.order {
            OverOrder::Keys(order) => by_keys::create(self, order),
            _ if self.input == InputMode::Retract => Err(Error::internal(
                "OVER in order of time takes append-only input; order by keys instead",
            )),
            _ => by_time::create(self),
        }
    }

    fn state_layout(&self) -> Result<Option<StateLayout>> {
        match &self.order {
            OverOrder::Keys(_) => Ok(Some(by_keys::state_layout(self))),
            _ => by_time::state_layout(self).map(Some),
        }
    }
}

#[cfg(test)]
mod tests;
