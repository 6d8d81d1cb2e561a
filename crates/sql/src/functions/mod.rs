//! Scalar functions: the one list, how they are bound and how they run.
//!
//! A function is bound once for each call: it sees its arguments' types and literal values, says
//! what its arguments are cast to and what it returns, and gives a kernel with everything constant
//! (a pattern, a format, a time zone) compiled. The kernel then works on columns.

use std::fmt;
use std::sync::Arc;

use chrono_tz::Tz;
use datafusion_common::ScalarValue;
use datafusion_expr::ColumnarValue;
use flott_core::Result;
use flott_core::clock::Clock;
use flott_core::types::DataType;

/// A function in the list of functions.
pub struct FunctionDef {
    /// SQL name, upper case; an operator's is its symbol (`+`, `=`).
    pub name: &'static str,
    pub aliases: &'static [&'static str],
    pub group: FunctionGroup,
    /// `SUBSTRING(string, start[, length])`.
    pub syntax: &'static str,
    pub doc: &'static str,
    /// Expressions and what they give as text; run by a test.
    pub examples: &'static [(&'static str, &'static str)],
    /// Whether equal arguments always give equal results, so that calls are folded and shared.
    pub is_deterministic: bool,
    pub bind: fn(&BindContext<'_>) -> Result<BoundFunction>,
}

impl fmt::Debug for FunctionDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The groups of Flink's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FunctionGroup {
    Comparison,
    Logical,
    Arithmetic,
    String,
    Temporal,
    Conditional,
    Conversion,
    Collection,
    Json,
    ValueConstruction,
    ValueAccess,
    Hash,
    Auxiliary,
}

/// An argument as the binder knows it.
#[derive(Debug, Clone)]
pub struct Argument {
    pub data_type: DataType,
    /// The value, where it is constant.
    pub literal: Option<ScalarValue>,
}

/// What a function may look at while it is bound.
#[derive(Clone, Copy)]
pub struct BindContext<'a> {
    /// The name that was called: the function's or an alias.
    pub name: &'a str,
    pub arguments: &'a [Argument],
    pub session: &'a ExprContext,
}

/// The session as expressions see it.
#[derive(Clone, Debug)]
pub struct ExprContext {
    /// `table.local-time-zone`.
    pub time_zone: Tz,
    pub clock: Arc<dyn Clock>,
    /// Batch: the current time is fixed at the query's start.
    pub query_start_ms: Option<i64>,
    pub current_catalog: String,
    pub current_database: String,
    /// `table.exec.legacy-cast-behaviour` is off: a failed CAST is an error.
    pub is_batch: bool,
}

/// A call, typed and ready to run.
#[derive(Clone, Debug)]
pub struct BoundFunction {
    /// What each argument is cast to.
    pub argument_types: Vec<DataType>,
    pub return_type: DataType,
    pub kernel: Arc<dyn Kernel>,
}

/// A bound function's work on columns.
pub trait Kernel: Send + Sync + fmt::Debug {
    /// `arguments` have the bound types; a scalar stands for a column of `num_rows` equal values.
    /// The result has the bound return type: a column of `num_rows`, or a scalar.
    fn evaluate(&self, arguments: &[ColumnarValue], num_rows: usize) -> Result<ColumnarValue>;
}
