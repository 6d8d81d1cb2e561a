//! Cells as text.

use arrow::array::Array;
use flott_core::changelog::ChangelogBatch;
use flott_core::schema::Schema;
use flott_core::text::{TextOptions, format_value};
use flott_core::types::LogicalType;

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
    show(
        values.as_ref(),
        row,
        &schema.column(column).data_type.logical,
        text,
        out,
    );
    true
}

/// Appends the text of a value; of one that is not of its column's type, which would be a defect,
/// the error.
pub fn show(
    values: &dyn Array,
    row: usize,
    logical: &LogicalType,
    text: &TextOptions,
    out: &mut String,
) {
    if let Err(error) = format_value(values, row, logical, text, out) {
        out.push_str(error.message());
    }
}
