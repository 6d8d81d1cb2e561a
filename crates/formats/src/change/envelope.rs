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
use crate::json::plan::PRESENCE;

/// The columns of a decoded envelope.
pub(super) const AFTER: usize = 0;
pub(super) const BEFORE: usize = 1;
pub(super) const KIND: usize = 2;
pub(super) const DATABASE: usize = 3;
pub(super) const TABLE: usize = 4;

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

/// The envelope of a table's changes; only the columns at `wanted` are in its rows.
pub(super) fn schema_of(dialect: Dialect, table: &Schema, wanted: &[usize]) -> Schema {
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
    [after, before, kind, ("database", text()), ("table", text())]
        .into_iter()
        .map(|(name, data_type)| Column::new(name, data_type))
        .collect()
}

/// The request for envelopes inside Debezium's `payload`.
pub(super) fn in_payload(envelopes: DecodeRequest) -> DecodeRequest {
    let columns = envelopes.schema.columns().iter();
    let fields = columns.map(|c| RowField::new(&c.name, c.data_type.clone()));
    let payload = LogicalType::Row(fields.collect()).nullable();
    let paths = envelopes.fields.into_iter().map(|FieldPath(mut path)| {
        path.insert(0, 0);
        FieldPath(path)
    });
    DecodeRequest {
        schema: Schema::new(vec![Column::new("payload", payload)]),
        fields: paths.collect(),
        ..envelopes
    }
}
