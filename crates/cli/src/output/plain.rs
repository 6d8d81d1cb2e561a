//! Cells as text.

use arrow::array::Array;
use flott_core::changelog::ChangelogBatch;
use flott_core::schema::Schema;
use flott_core::text::{TextOptions, format_value};

/// Writes the text of a cell into `out`, which is cleared; `false` for NULL.
pub fn cell(
    batch: &ChangelogBatch,
    row: usize,
    column: usize,
    schema: &Schema,
    text: &TextOptions,
    out: &mut String,
) -> bool {
    out.clear();
    let values = batch.column(column);
    if values.is_null(row) || values.data_type() == &arrow::datatypes::DataType::Null {
        return false;
    }
    format_value(values, row, &schema.column(column).data_type.logical, text, out);
    true
}
