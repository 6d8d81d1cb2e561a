//! Packed rows and columns.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryViewArray, Int64Array, UInt16Array, make_view};
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use flott_core::operator::{PackedReader, RowsReader};
use flott_core::{Error, Result};

use super::layout::Layout;
use super::read::read_columns;
use super::{HEAD_BYTES, StateBatch, identity, identity_of};

/// The name of the column of whole rows.
pub const ROWS: &str = "$rows";
/// The columns before the rows' own: the key group and the id.
const NUM_IDENTITY: usize = 2;

/// Collects packed rows: places in buffers, and what is beside them.
pub struct PackedBuilder {
    key_groups: Vec<u16>,
    ids: Vec<i64>,
    views: Vec<u128>,
}

impl PackedBuilder {
    /// For about so many rows.
    pub fn with_capacity(num_rows: usize) -> Self {
        Self {
            key_groups: Vec::with_capacity(num_rows),
            ids: Vec::with_capacity(num_rows),
            views: Vec::with_capacity(num_rows),
        }
    }

    /// Adds a row, which begins at `at` of the buffer of this number.
    #[inline]
    pub fn push(&mut self, row: &[u8], buffer: u32, at: u32) {
        let identity = identity_of(row);
        self.key_groups.push(identity::key_group(identity));
        self.ids.push(identity::id(identity) as i64);
        self.views.push(make_view(row, buffer, at));
    }

    /// The rows; `schema` is the table's, `extra` the values of the columns between the identity and
    /// the rows' own.
    ///
    /// # Errors
    /// A defect: places that are not in the buffers, or other columns than the schema has.
    pub fn finish(
        self,
        schema: &SchemaRef,
        extra: Vec<ArrayRef>,
        buffers: Vec<Buffer>,
    ) -> Result<StateBatch> {
        let num_rows = self.views.len();
        let views = ScalarBuffer::from(self.views);
        let num_before = NUM_IDENTITY + extra.len();
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(UInt16Array::from(self.key_groups)),
            Arc::new(Int64Array::from(self.ids)),
        ];
        columns.extend(extra);
        columns.push(Arc::new(BinaryViewArray::try_new(views, buffers, None)?));
        let rows = batch(packed_schema(schema, num_before), columns, num_rows)?;
        Ok(StateBatch {
            rows,
            packed: Some(schema.clone()),
        })
    }
}

/// The columns of packed rows of a table.
fn packed_schema(schema: &SchemaRef, num_before: usize) -> SchemaRef {
    let before = schema.fields().iter().take(num_before).cloned();
    let rows = Arc::new(Field::new(ROWS, DataType::BinaryView, true));
    Arc::new(Schema::new(before.chain([rows]).collect::<Vec<_>>()))
}

fn batch(schema: SchemaRef, columns: Vec<ArrayRef>, num_rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(num_rows));
    Ok(RecordBatch::try_new_with_options(
        schema, columns, &options,
    )?)
}

/// A batch of packed rows, taken apart.
pub struct PackedRows<'a> {
    /// The columns before the rows' own.
    pub before: &'a [ArrayRef],
    /// Their bytes.
    pub rows: &'a BinaryViewArray,
    /// The table's columns.
    pub schema: &'a SchemaRef,
}

impl<'a> PackedRows<'a> {
    /// `None` when they are not packed.
    ///
    /// # Errors
    /// A defect: a batch of another form.
    pub fn of(batch: &'a StateBatch) -> Result<Option<Self>> {
        let Some(schema) = &batch.packed else {
            return Ok(None);
        };
        let columns = batch.rows.columns().split_last();
        let rows = columns.and_then(|(rows, before)| Some((rows.as_binary_view_opt()?, before)));
        let Some((rows, before)) = rows.filter(|(_, b)| b.len() <= schema.fields().len()) else {
            return Err(Error::internal("packed rows of another form"));
        };
        Ok(Some(Self {
            before,
            rows,
            schema,
        }))
    }

    /// The fields of the rows' own columns.
    pub fn row_schema(&self) -> Schema {
        Schema::new(self.schema.fields()[self.before.len()..].to_vec())
    }

    /// Where the rows' values are; any of them may be NULL.
    pub fn layout(&self) -> Layout {
        row_layout(self.schema, self.before.len())
    }

    /// The columns between the identity and the rows' own.
    ///
    /// # Errors
    /// A defect: one that is not BIGINT.
    pub fn extra(&self) -> Result<Vec<&'a Int64Array>> {
        let extra = self.before.iter().skip(NUM_IDENTITY);
        let extra = extra.map(|c| c.as_primitive_opt::<Int64Type>());
        extra
            .collect::<Option<_>>()
            .ok_or_else(|| Error::internal("packed rows beside other columns than BIGINT"))
    }
}

/// Where the values of rows are that follow so many columns of a table.
pub(crate) fn row_layout(schema: &SchemaRef, num_before: usize) -> Layout {
    let fields = schema.fields().iter().skip(num_before);
    let mut layout = Layout::new(fields.map(|f| f.data_type()).collect(), HEAD_BYTES);
    layout.columns.iter_mut().for_each(|c| c.has_nulls = true);
    layout
}

/// The rows in columns.
///
/// # Errors
/// A defect: a batch of another form.
pub fn unpack(packed: StateBatch) -> Result<RecordBatch> {
    let Some(rows) = PackedRows::of(&packed)? else {
        return Ok(packed.rows);
    };
    let layout = rows.layout();
    let all: Vec<usize> = (0..layout.columns.len()).collect();
    let num_rows = rows.rows.len();
    let mut columns = rows.before.to_vec();
    columns.extend(read_columns(&layout, &all, num_rows, |row| {
        rows.rows.value(row)
    })?);
    batch(rows.schema.clone(), columns, num_rows)
}

/// Batches in columns.
pub fn unpacked(batches: PackedReader<'_>) -> RowsReader<'_> {
    Box::new(batches.map(|batch| unpack(batch?)))
}
