//! Sort keys: how rows compare.

use arrow::array::ArrayRef;
use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, Rows, SortField};
use flott_core::Result;

/// One column of an `ORDER BY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SortKey {
    pub column: usize,
    pub is_descending: bool,
    pub nulls_first: bool,
}

impl SortKey {
    /// `column [DESC]` with Flink's default for NULL: the lowest value.
    pub fn new(column: usize, is_descending: bool) -> Self {
        Self {
            column,
            is_descending,
            nulls_first: !is_descending,
        }
    }
}

/// Turns the sort columns of rows into bytes that compare as the rows do.
pub struct SortKeyEncoder {
    columns: Vec<usize>,
    converter: RowConverter,
}

impl SortKeyEncoder {
    /// # Errors
    /// An internal error for a type that has no order.
    pub fn new(schema: &SchemaRef, order: &[SortKey]) -> Result<Self> {
        let field = |key: &SortKey| {
            let options = SortOptions::new(key.is_descending, key.nulls_first);
            SortField::new_with_options(schema.field(key.column).data_type().clone(), options)
        };
        Ok(Self {
            columns: order.iter().map(|k| k.column).collect(),
            converter: RowConverter::new(order.iter().map(field).collect())?,
        })
    }

    /// The keys of all rows; `None` when there are no sort columns and all rows are equal.
    pub fn encode(&self, rows: &RecordBatch) -> Result<Option<Rows>> {
        if self.columns.is_empty() {
            return Ok(None);
        }
        let columns: Vec<ArrayRef> = self
            .columns
            .iter()
            .map(|&c| rows.column(c).clone())
            .collect();
        Ok(Some(self.converter.convert_columns(&columns)?))
    }
}
