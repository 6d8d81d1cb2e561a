//! Bound scalar expressions: names resolved to column positions, every type known, every cast
//! explicit.

mod build;
mod display;
mod walk;

use std::sync::Arc;

use datafusion_common::ScalarValue;
use flott_core::types::DataType;

use crate::functions::{BoundFunction, FunctionDef, Kernel};
use crate::plan::Plan;

/// An expression over the columns of its plan node's input.
#[derive(Debug, Clone)]
pub struct Expr {
    pub kind: ExprKind,
    pub data_type: DataType,
}

#[derive(Debug, Clone)]
pub enum ExprKind {
    /// A column of the input, by position; of a join, the left input's columns then the right's.
    Column(usize),
    /// A column of the query that encloses this one by `depth` levels (1 is the next outer).
    /// Gone after decorrelation.
    OuterColumn {
        depth: usize,
        index: usize,
    },
    Literal(ScalarValue),
    /// Arithmetic, comparison and every named function.
    Call {
        function: &'static FunctionDef,
        bound: BoundFunction,
        args: Vec<Expr>,
    },
    Cast {
        expr: Box<Expr>,
        is_try: bool,
        kernel: Arc<dyn Kernel>,
    },
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    IsNull(Box<Expr>),
    IsNotNull(Box<Expr>),
    /// Searched CASE; a missing ELSE is a NULL literal.
    Case {
        branches: Vec<(Expr, Expr)>,
        otherwise: Box<Expr>,
    },
    /// `expr IN (literals)`, with the list's values of the expression's type.
    InList {
        expr: Box<Expr>,
        list: Vec<ScalarValue>,
        negated: bool,
    },
    /// A field of a row, by position.
    Field {
        expr: Box<Expr>,
        index: usize,
    },
    /// Gone after decorrelation.
    Subquery(Box<Subquery>),
}

/// A query inside an expression.
#[derive(Debug, Clone)]
pub struct Subquery {
    pub kind: SubqueryKind,
    pub plan: Arc<Plan>,
}

#[derive(Debug, Clone)]
pub enum SubqueryKind {
    /// One column, at most one row.
    Scalar,
    Exists {
        negated: bool,
    },
    /// The compared values, one for each column of the query.
    In {
        exprs: Vec<Expr>,
        negated: bool,
    },
}
