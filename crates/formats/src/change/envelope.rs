//! The envelope of a change as a schema of its own, which the JSON decoder reads like any other.
//!
//! All dialects are brought to one shape: lists of rows after and before the change (of one row,
//! but for Canal), a word for the kind of change, database and table. In rows of `old` values each
//! field has a presence beside it: Canal and Maxwell write there only what has changed.

use std::sync::Arc;

use flott_core::format::DecodeRequest;
use flott_core::schema::{Column, Schema};
use flott_core::source::FieldPath;
use flott_core::types::{DataType, LogicalType, RowField};

use super::Dialect;
use super::metadata::Metadata;
use crate::json::plan::PRESENCE;

/// The columns of a decoded envelope.
pub(super) const AFTER: usize = 0;
pub(super) const BEFORE: usize = 1;
pub(super) const KIND: usize = 2;
pub(super) const DATABASE: usize = 3;
pub(super) const TABLE: usize = 4;
/// Columns of metadata begin here.
pub(super) const METADATA: usize = 5;

/// The row type of the table columns at `wanted`.
fn row_of(schema: &Schema, wanted: &[usize]) -> DataType {
    let fields = wanted.iter().map(|&c| {
        let column = schema.column(c);
        RowField::new(&column.name, column.data_type.clone())
    });
    LogicalType::Row(fields.collect()).nullable()
}

/// The same, then for each field whether it is there.
fn row_with_presence(schema: &Schema, wanted: &[usize]) -> DataType {
    let fields = wanted.iter().map(|&c| {
        let column = schema.column(c);
        RowField::new(&column.name, column.data_type.clone())
    });
    let presence = wanted.iter().map(|&c| {
        let name = format!("{PRESENCE}{}", schema.column(c).name);
        RowField::new(name, LogicalType::Boolean.nullable())
    });
    LogicalType::Row(fields.chain(presence).collect()).nullable()
}

/// The columns of the envelope of a table's changes; only the columns at `wanted` are in its rows.
fn columns_of(dialect: Dialect, table: &Schema, wanted: &[usize]) -> Vec<Column> {
    let row = row_of(table, wanted);
    let old = row_with_presence(table, wanted);
    let list = |row: DataType| LogicalType::Array(Arc::new(row)).nullable();
    let text = || LogicalType::STRING.nullable();
    let [after, before, kind] = match dialect {
        Dialect::Debezium => [("after", row.clone()), ("before", row), ("op", text())],
        Dialect::Ogg => [("after", row.clone()), ("before", row), ("op_type", text())],
        Dialect::Maxwell => [("data", row), ("old", old), ("type", text())],
        Dialect::Canal => [("data", list(row)), ("old", list(old)), ("type", text())],
    };
    let columns = [after, before, kind, ("database", text()), ("table", text())].into_iter();
    columns
        .map(|(name, data_type)| Column::new(name, data_type))
        .collect()
}

/// A request for the envelopes of a table's changes and their metadata, of which some may stand
/// outside of Debezium's payload.
#[derive(Debug, Clone)]
pub(crate) struct EnvelopeRequest {
    pub request: DecodeRequest,
    /// By requested field: whether it stands outside of the payload.
    is_outside: Vec<bool>,
}

impl EnvelopeRequest {
    /// The request for what `table` needs: the columns at `wanted`, and metadata.
    pub(super) fn new(
        dialect: Dialect,
        table: &DecodeRequest,
        wanted: &[usize],
        metadata: &Metadata,
    ) -> Self {
        let mut columns = columns_of(dialect, &table.schema, wanted);
        let mut fields: Vec<_> = (0..columns.len()).map(FieldPath::column).collect();
        let mut is_outside = vec![false; fields.len()];
        for (path, outside) in metadata.add_to(&mut columns) {
            fields.push(path);
            is_outside.push(outside);
        }
        let request = DecodeRequest {
            schema: Schema::new(columns),
            fields,
            options: table.options.clone(),
            batch_size: table.batch_size,
        };
        Self {
            request,
            is_outside,
        }
    }

    /// The same inside Debezium's `payload`.
    pub(super) fn in_payload(self) -> DecodeRequest {
        let envelopes = self.request;
        let columns = envelopes.schema.columns();
        let fields = columns
            .iter()
            .map(|c| RowField::new(&c.name, c.data_type.clone()));
        let payload = LogicalType::Row(fields.collect()).nullable();
        let mut all = vec![Column::new("payload", payload)];
        let paths = envelopes.fields.iter().zip(&self.is_outside);
        let paths = paths.map(|(FieldPath(path), is_outside)| match is_outside {
            true => {
                all.push(columns[path[0]].clone());
                FieldPath::column(all.len() - 1)
            }
            false => FieldPath([&[0], path.as_slice()].concat()),
        });
        DecodeRequest {
            fields: paths.collect(),
            schema: Schema::new(all),
            ..envelopes
        }
    }
}
