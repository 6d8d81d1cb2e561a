//! Keyed rows as state, in columns: shared by the operators that keep whole rows.

mod changes;
pub(crate) mod partitions;
mod restored;
mod snapshot;
#[cfg(test)]
mod snapshot_tests;
pub(crate) mod store;
#[cfg(test)]
mod store_tests;

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, UInt16Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use flott_core::operator::{StateLayout, StateScope, StateTable, TableLayout};
use flott_core::{Error, Result};

use super::evaluate::batch_of;

pub(crate) use partitions::Partitions;
pub(crate) use restored::{PackedRestored, RestoredRows};
pub(crate) use snapshot::{Extra, ExtraValue};
pub(crate) use store::RowStore;

/// A keyed table of whole rows: the key group, BIGINT columns of the operator's own, then rows.
pub(crate) fn keyed_table(
    name: &str,
    key_groups: Vec<u16>,
    extra: Vec<(&str, Vec<i64>)>,
    rows: RecordBatch,
) -> Result<StateTable> {
    let rows = keyed_rows(key_groups, extra, rows)?;
    Ok(StateTable::full(name, StateScope::Keyed, rows))
}

/// The rows of [`keyed_table`].
pub(crate) fn keyed_rows(
    key_groups: Vec<u16>,
    extra: Vec<(&str, Vec<i64>)>,
    rows: RecordBatch,
) -> Result<RecordBatch> {
    let num_rows = rows.num_rows();
    let mut fields = vec![Arc::new(Field::new("key_group", DataType::UInt16, true))];
    let mut columns: Vec<ArrayRef> = vec![Arc::new(UInt16Array::from(key_groups))];
    for (name, values) in extra {
        fields.push(Arc::new(Field::new(name, DataType::Int64, true)));
        columns.push(Arc::new(Int64Array::from(values)));
    }
    fields.extend(rows.schema().fields().iter().cloned());
    columns.extend(rows.columns().iter().cloned());
    batch_of(Arc::new(Schema::new(fields)), columns, num_rows)
}

/// The types of a schema's columns.
pub(crate) fn types(schema: &SchemaRef) -> Vec<DataType> {
    let fields = schema.fields().iter();
    fields.map(|f| f.data_type().clone()).collect()
}

/// How tables of [`keyed_table`] hold the columns of an operator's state: whole rows, by input.
/// `is_append` says that rows are never taken back.
pub(crate) fn rows_layout(tables: &[(&'static str, &SchemaRef)], is_append: bool) -> StateLayout {
    let tables = tables.iter();
    layout_of(
        tables.map(|&(table, schema)| (table.into(), schema)),
        is_append,
    )
}

/// As [`rows_layout`], of any number of inputs.
pub(crate) fn layout_of<'a>(
    tables: impl Iterator<Item = (Cow<'static, str>, &'a SchemaRef)>,
    is_append: bool,
) -> StateLayout {
    let tables = tables.map(|(table, schema)| TableLayout::Rows {
        table,
        types: types(schema),
    });
    StateLayout {
        tables: tables.collect(),
        refuses_new: (!is_append)
            .then_some("the input takes rows back, which would not be found among rows without it"),
        ..StateLayout::default()
    }
}

/// A table of the keys of rows of this schema.
pub(crate) fn keys_layout(
    table: &'static str,
    schema: &SchemaRef,
    key_columns: &[usize],
) -> TableLayout {
    let types = key_columns
        .iter()
        .map(|&c| schema.field(c).data_type().clone());
    TableLayout::Keys {
        table,
        types: types.collect(),
    }
}

/// Takes a batch of [`keyed_table`] apart: `N` BIGINT columns, and the rows in `schema`.
///
/// # Errors
/// A user error when the state has other columns: the query has changed.
pub(crate) fn split_keyed<const N: usize>(
    batch: &RecordBatch,
    schema: &SchemaRef,
) -> Result<([Int64Array; N], RecordBatch)> {
    let has_extra =
        (1..=N).all(|i| i < batch.num_columns() && batch.column(i).data_type() == &DataType::Int64);
    if !has_extra || batch.num_columns() != 1 + N + schema.fields().len() {
        return Err(unfit(batch, schema));
    }
    let extra = std::array::from_fn(|i| batch.column(1 + i).as_primitive::<Int64Type>().clone());
    let columns = batch.columns()[1 + N..].to_vec();
    let rows = batch_of(schema.clone(), columns, batch.num_rows());
    let rows = rows.map_err(|e| Error::user("STATE_SCHEMA", e.message()))?;
    Ok((extra, rows))
}

/// State of other columns than the operator keeps: the query has changed.
pub(crate) fn unfit(batch: &RecordBatch, schema: &SchemaRef) -> Error {
    let message = format!(
        "the state has the columns {}, which do not fit the operator's {}; start without it",
        batch.schema(),
        schema
    );
    Error::user("STATE_SCHEMA", message)
}
