//! What a statement gives.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringViewArray};
use flott_core::graph::JobGraph;
use flott_core::schema::{Column, Schema};
use flott_core::types::LogicalType;
use flott_core::{Error, Result};

use crate::planner::PlannedQuery;

/// What [`super::Session::execute`] gives.
pub enum StatementResult {
    /// Done; `message` may be empty.
    Ok { message: String },
    /// Rows that are known at once: SHOW, DESCRIBE, EXPLAIN.
    Table { schema: Schema, rows: RecordBatch },
    /// A query to be run, its rows for the caller.
    Query(PlannedQuery),
    /// A job to be run that writes tables.
    Insert(JobGraph),
}

impl std::fmt::Debug for StatementResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ok { message } => write!(f, "Ok({message})"),
            Self::Table { schema, rows } => write!(f, "Table({schema}, {} rows)", rows.num_rows()),
            Self::Query(query) => write!(f, "Query({})", query.schema),
            Self::Insert(graph) => write!(f, "Insert({})", graph.name),
        }
    }
}

impl StatementResult {
    pub(crate) fn ok(message: impl Into<String>) -> Result<Self> {
        Ok(Self::Ok {
            message: message.into(),
        })
    }

    /// One STRING column.
    pub(crate) fn list(name: &str, values: Vec<String>) -> Result<Self> {
        Self::texts(&[name], values.into_iter().map(|v| vec![Some(v)]).collect())
    }

    /// STRING columns.
    pub(crate) fn texts(names: &[&str], rows: Vec<Vec<Option<String>>>) -> Result<Self> {
        let columns = (0..names.len())
            .map(|i| {
                let cells = rows.iter().map(|r| r.get(i).and_then(Option::as_deref));
                Cells::Text(cells.map(|c| c.map(str::to_string)).collect())
            })
            .collect();
        Self::table(names, columns)
    }

    /// Columns of texts and truth values.
    pub(crate) fn table(names: &[&str], columns: Vec<Cells>) -> Result<Self> {
        let schema: Schema = names
            .iter()
            .zip(&columns)
            .map(|(name, cells)| Column::new(*name, cells.logical().nullable()))
            .collect();
        let arrays = columns.into_iter().map(Cells::into_array).collect();
        let rows = RecordBatch::try_new(schema.to_arrow(), arrays).map_err(Error::from)?;
        Ok(Self::Table { schema, rows })
    }
}

/// A result's column.
pub(crate) enum Cells {
    Text(Vec<Option<String>>),
    Truth(Vec<bool>),
}

impl Cells {
    fn logical(&self) -> LogicalType {
        match self {
            Self::Text(_) => LogicalType::STRING,
            Self::Truth(_) => LogicalType::Boolean,
        }
    }

    fn into_array(self) -> ArrayRef {
        match self {
            Self::Text(values) => Arc::new(StringViewArray::from_iter(values)),
            Self::Truth(values) => Arc::new(BooleanArray::from(values)),
        }
    }
}
