//! Joins of two changelogs. Every join takes its left input as input 0 and its right as input 1,
//! both exchanged by the equi-join keys, and gives the left's columns then the right's (of semi and
//! anti joins, the left's alone).

mod batch_join;
mod chains;
mod changes;
mod combine;
mod interval;
mod keys;
mod lookup;
mod lookup_async;
mod lookup_cache;
#[cfg(test)]
mod lookup_tests;
pub mod multi;
mod regular;
mod row_index;
mod side;
mod temporal;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod time_tests;
mod window;

use flott_core::lookup::LookupSource;
pub use lookup_cache::LookupCacheConfig;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion_physical_expr_common::physical_expr::PhysicalExpr;
use flott_core::operator::{Operator, OperatorFactory, StateLayout};
use flott_core::{Error, Result};

use super::rows::rows_layout;
use keys::SideName;

/// What becomes of rows without a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinKind {
    Inner,
    Left,
    Right,
    Full,
    /// Left rows with a match.
    Semi,
    /// Left rows without a match.
    Anti,
    /// `NOT IN`: as [`JoinKind::Anti`], but a NULL key on the right lets nothing pass, and a left
    /// row with a NULL key passes only while the right is empty. Runs in one subtask.
    NullAwareAnti,
}

/// What all joins are told.
#[derive(Clone)]
pub struct JoinInputs {
    pub kind: JoinKind,
    /// Positions in the left's columns, pairwise equal to `right_keys`; none is a cross join.
    pub left_keys: Vec<usize>,
    pub right_keys: Vec<usize>,
    /// For each key, whether NULL equals NULL (`IS NOT DISTINCT FROM`).
    pub null_safe: Vec<bool>,
    /// The rest of the condition, over the left's columns then the right's.
    pub residual: Option<Arc<dyn PhysicalExpr>>,
    pub left_schema: SchemaRef,
    pub right_schema: SchemaRef,
    /// The output's columns.
    pub schema: SchemaRef,
}

impl JoinInputs {
    /// For a join that keeps the rows of both sides whole.
    fn state_layout(&self, is_append: bool) -> StateLayout {
        let (left, right) = (SideName::Left.table(), SideName::Right.table());
        let sides = [(left, &self.left_schema), (right, &self.right_schema)];
        rows_layout(&sides, is_append)
    }
}

/// A regular join: both inputs are kept and may change; results are taken back.
#[derive(Clone)]
pub struct RegularJoinConfig {
    pub inputs: JoinInputs,
    pub left_is_append: bool,
    pub right_is_append: bool,
    /// `table.exec.state.ttl`, in ms, by side.
    pub left_ttl_ms: Option<i64>,
    pub right_ttl_ms: Option<i64>,
}

/// A join of rows whose times are near: `left.time` between `right.time + lower_ms` and
/// `right.time + upper_ms`. State goes with the watermark; output is append-only.
#[derive(Clone)]
pub struct IntervalJoinConfig {
    pub inputs: JoinInputs,
    pub left_time: usize,
    pub right_time: usize,
    pub lower_ms: i64,
    pub upper_ms: i64,
    pub is_proctime: bool,
}

/// A join of rows of equal windows, emitted when the window closes; append-only.
#[derive(Clone)]
pub struct WindowJoinConfig {
    pub inputs: JoinInputs,
    /// Positions of `window_start` and `window_end`.
    pub left_window: (usize, usize),
    pub right_window: (usize, usize),
    /// The time zone of the windows' columns when their time is a TIMESTAMP_LTZ.
    pub time_zone: Option<chrono_tz::Tz>,
}

/// `right FOR SYSTEM_TIME AS OF left.rowtime`: each left row (append-only) with the version of the
/// right's row (a changelog by key) that was valid at its time. Kinds: inner and left.
#[derive(Clone)]
pub struct TemporalJoinConfig {
    pub inputs: JoinInputs,
    pub left_time: usize,
    pub right_time: usize,
}

/// `right FOR SYSTEM_TIME AS OF left.proctime` on a table that is read whole first: left rows wait
/// until the right has ended. Kinds: inner and left.
#[derive(Clone)]
pub struct LookupJoinConfig {
    pub inputs: JoinInputs,
}

/// `right FOR SYSTEM_TIME AS OF left.proctime` on a table that answers by key. Kinds: inner and
/// left. Rows, with the kinds that they come with, leave when their answer is there, in order or
/// between two watermarks in any; watermarks wait for the rows before them.
#[derive(Clone)]
pub struct AsyncLookupJoinConfig {
    /// The keys are the columns by which the source is asked, in its order.
    pub inputs: JoinInputs,
    pub source: Arc<dyn LookupSource>,
    /// Keys asked for at once, at most.
    pub capacity: usize,
    pub keeps_order: bool,
    /// A request without an answer for so long fails the job, in ms.
    pub timeout_ms: i64,
    /// Rows kept for the next time; `None` keeps none.
    pub cache: Option<LookupCacheConfig>,
    /// Keys that have no rows are asked for again.
    pub retry: Option<LookupRetry>,
}

/// How keys without rows are asked for again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupRetry {
    pub delay_ms: i64,
    /// Requests for one key in all.
    pub max_attempts: u32,
}

impl OperatorFactory for AsyncLookupJoinConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        check_kind(self.inputs.kind, "lookup join")?;
        Ok(Box::new(lookup_async::AsyncLookupJoin::new(self)?))
    }
}

impl OperatorFactory for IntervalJoinConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        if self.inputs.kind == JoinKind::NullAwareAnti {
            return Err(Error::internal("NOT IN as an interval join"));
        }
        Ok(Box::new(interval::IntervalJoin::new(self)?))
    }

    fn state_layout(&self) -> Result<Option<StateLayout>> {
        Ok(Some(self.inputs.state_layout(true)))
    }
}

impl OperatorFactory for RegularJoinConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(regular::RegularJoin::new(self)?))
    }

    fn state_layout(&self) -> Result<Option<StateLayout>> {
        let is_append = self.left_is_append && self.right_is_append;
        Ok(Some(StateLayout {
            has_ttl: true,
            ..self.inputs.state_layout(is_append)
        }))
    }
}

impl OperatorFactory for WindowJoinConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(window::WindowJoin::new(self)?))
    }

    fn state_layout(&self) -> Result<Option<StateLayout>> {
        Ok(Some(self.inputs.state_layout(true)))
    }
}

impl OperatorFactory for TemporalJoinConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        check_kind(self.inputs.kind, "temporal join")?;
        Ok(Box::new(temporal::TemporalJoin::new(self)?))
    }

    /// Versions follow each other by key and time, whatever else is in their rows.
    fn state_layout(&self) -> Result<Option<StateLayout>> {
        Ok(Some(self.inputs.state_layout(true)))
    }
}

impl OperatorFactory for LookupJoinConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        check_kind(self.inputs.kind, "lookup join")?;
        Ok(Box::new(lookup::LookupJoin::new(self)?))
    }
}

fn check_kind(kind: JoinKind, name: &str) -> Result<()> {
    match kind {
        JoinKind::Inner | JoinKind::Left => Ok(()),
        kind => Err(Error::internal(format!("a {name} of kind {kind:?}"))),
    }
}
