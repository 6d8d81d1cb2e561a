//! Batches as text and back: `+I | alice | 12`.
//!
//! Columns stand between `|`; the row kind comes first and is `+I` where it is left out; `NULL` is
//! null and `''` the empty string; a time of day without a date is on 1970-01-01; an array is
//! `[1, 2]`.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, Int32Array, Int64Array, ListArray, RecordBatch,
    StringArray, make_array, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{CastOptions, cast_with_options, concat};
use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use arrow::record_batch::RecordBatchOptions;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use flott_core::changelog::{ChangelogBatch, RowKind};
use flott_core::schema::Schema;
use flott_core::{Error, Result};

/// Reads lines of text as one batch; blank lines are skipped.
///
/// # Errors
/// A user error that names the line with an unknown kind, a wrong number of columns or a value that
/// is not of its column's type.
pub fn parse_rows(schema: &Schema, text: &str) -> Result<ChangelogBatch> {
    let mut kinds = Vec::new();
    let mut columns: Vec<Vec<Option<String>>> = vec![Vec::new(); schema.len()];
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let mut cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let kind = cells.first().and_then(|c| RowKind::from_symbol(c));
        if kind.is_some() {
            cells.remove(0);
        }
        if cells.len() != schema.len() {
            let message = format!(
                "'{line}' has {} columns, {schema} has {}",
                cells.len(),
                schema.len()
            );
            return Err(Error::user("TEST_ROWS", message));
        }
        kinds.push(kind.unwrap_or(RowKind::Insert) as u8);
        for (column, cell) in columns.iter_mut().zip(cells) {
            column.push(match cell {
                "NULL" => None,
                "''" => Some(String::new()),
                other => Some(other.to_owned()),
            });
        }
    }
    let arrays = columns
        .iter()
        .zip(schema.columns())
        .map(|(cells, column)| {
            parse_column(cells, &column.data_type.to_arrow())
                .map_err(|e| e.context(format!("column {}", column.name)))
        })
        .collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(kinds.len()));
    let rows = RecordBatch::try_new_with_options(schema.to_arrow(), arrays, &options)?;
    let is_insert_only = kinds.iter().all(|&k| k == RowKind::Insert as u8);
    Ok(ChangelogBatch::new(
        rows,
        (!is_insert_only).then(|| kinds.into()),
    ))
}

fn parse_column(cells: &[Option<String>], to: &DataType) -> Result<ArrayRef> {
    let texts = |f: fn(&str) -> String| -> StringArray {
        cells.iter().map(|c| c.as_deref().map(f)).collect()
    };
    let from = match to {
        DataType::Null => return Ok(new_null_array(to, cells.len())),
        DataType::BinaryView => {
            let bytes = cells.iter().map(|c| c.as_deref().map(str::as_bytes));
            return Ok(Arc::new(bytes.collect::<BinaryViewArray>()));
        }
        DataType::List(item) => return parse_lists(cells, item),
        DataType::Duration(TimeUnit::Millisecond) => {
            return cast(&parse_column(cells, &DataType::Int64)?, to);
        }
        DataType::Interval(IntervalUnit::YearMonth) => {
            return relabel(&parse_column(cells, &DataType::Int32)?, to.clone());
        }
        DataType::Timestamp(unit, Some(_)) => {
            let local = parse_column(cells, &DataType::Timestamp(*unit, None))?;
            return relabel(&local, to.clone());
        }
        DataType::Timestamp(_, None) => texts(with_date),
        _ => texts(str::to_owned),
    };
    cast(&(Arc::new(from) as ArrayRef), to)
}

/// The same values under another type of the same width.
fn relabel(array: &ArrayRef, to: DataType) -> Result<ArrayRef> {
    let data = array.to_data().into_builder().data_type(to).build()?;
    Ok(make_array(data))
}

fn with_date(text: &str) -> String {
    if text.as_bytes().get(2) == Some(&b':') {
        format!("1970-01-01T{text}")
    } else {
        text.to_owned()
    }
}

fn cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(array, to, &options).map_err(|e| Error::user("TEST_ROWS", e.to_string()))
}

fn parse_lists(cells: &[Option<String>], item: &arrow::datatypes::FieldRef) -> Result<ArrayRef> {
    let mut lengths = Vec::with_capacity(cells.len());
    let mut items = Vec::new();
    for cell in cells {
        let inner = cell.as_deref().unwrap_or("[]");
        let inner = inner.trim_start_matches('[').trim_end_matches(']').trim();
        let before = items.len();
        if !inner.is_empty() {
            items.extend(inner.split(',').map(|i| match i.trim() {
                "NULL" => None,
                text => Some(text.to_owned()),
            }));
        }
        lengths.push(items.len() - before);
    }
    let values = parse_column(&items, item.data_type())?;
    let nulls: NullBuffer = cells.iter().map(Option::is_some).collect();
    let offsets = OffsetBuffer::from_lengths(lengths);
    let lists = ListArray::try_new(item.clone(), offsets, values, Some(nulls))?;
    Ok(Arc::new(lists))
}

/// A line for each row, its kind first.
///
/// # Errors
/// A column whose type cannot be shown.
pub fn format_rows(batch: &ChangelogBatch) -> Result<Vec<String>> {
    let columns = batch.rows().columns().iter();
    let columns = columns.map(format_column).collect::<Result<Vec<_>>>()?;
    Ok((0..batch.num_rows())
        .map(|row| {
            let mut line = batch.kind(row).symbol().to_owned();
            for column in &columns {
                line.push_str(" | ");
                line.push_str(&column[row]);
            }
            line
        })
        .collect())
}

fn format_column(array: &ArrayRef) -> Result<Vec<String>> {
    // Lengths of time read better as plain numbers than as ISO 8601, and Arrow knows no time zones
    // by name here.
    let array = &match array.data_type() {
        DataType::Duration(_) => cast(array, &DataType::Int64)?,
        DataType::Interval(IntervalUnit::YearMonth) => relabel(array, DataType::Int32)?,
        DataType::Timestamp(unit, Some(_)) => relabel(array, DataType::Timestamp(*unit, None))?,
        _ => array.clone(),
    };
    if let Some(bytes) = array.as_binary_view_opt() {
        let texts = bytes.iter().map(|b| match b {
            Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            None => "NULL".to_owned(),
        });
        return Ok(texts.collect());
    }
    let options = FormatOptions::new()
        .with_null("NULL")
        .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"));
    let formatter = ArrayFormatter::try_new(array, &options)?;
    let cells = (0..array.len()).map(|row| {
        let text = formatter.value(row).to_string();
        match text.strip_prefix("1970-01-01 ") {
            Some(time) => time.to_owned(),
            None if text.is_empty() => "''".to_owned(),
            None => text,
        }
    });
    Ok(cells.collect())
}

/// One batch of the rows of all; `None` when there is none.
///
/// # Errors
/// Batches of different schemas.
pub fn concat_batches(batches: &[ChangelogBatch]) -> Result<Option<ChangelogBatch>> {
    let Some(first) = batches.first() else {
        return Ok(None);
    };
    let columns = (0..first.rows().num_columns()).map(|column| {
        let arrays: Vec<&dyn Array> = batches.iter().map(|b| b.column(column).as_ref()).collect();
        concat(&arrays)
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let num_rows = batches.iter().map(ChangelogBatch::num_rows).sum();
    let options = RecordBatchOptions::new().with_row_count(Some(num_rows));
    let rows = RecordBatch::try_new_with_options(first.rows().schema(), columns, &options)?;
    let kinds = batches
        .iter()
        .flat_map(|b| (0..b.num_rows()).map(|row| b.kind(row) as u8));
    Ok(Some(ChangelogBatch::new(rows, Some(kinds.collect()))))
}

/// Columns of integers as an insert-only batch, for tests that need no text.
pub fn integers(columns: &[Vec<i64>], schema: &Schema) -> Result<ChangelogBatch> {
    let arrays = columns
        .iter()
        .zip(schema.columns())
        .map(|(values, column)| {
            let array: ArrayRef = match column.data_type.to_arrow() {
                DataType::Int32 => Arc::new(Int32Array::from_iter_values(
                    values.iter().map(|&v| v as i32),
                )),
                _ => Arc::new(Int64Array::from(values.clone())),
            };
            cast(&array, &column.data_type.to_arrow())
        });
    let rows = RecordBatch::try_new(schema.to_arrow(), arrays.collect::<Result<_>>()?)?;
    Ok(ChangelogBatch::insert_only(rows))
}

#[cfg(test)]
mod tests {
    use flott_core::schema::Column;
    use flott_core::types::LogicalType;

    use super::*;

    #[test]
    fn text_survives_the_way_through_a_batch() {
        let types = [
            LogicalType::STRING,
            LogicalType::Int,
            LogicalType::Boolean,
            LogicalType::Double,
            LogicalType::Decimal(10, 2),
            LogicalType::Timestamp(3),
            LogicalType::TimestampLtz(6),
            LogicalType::Date,
            LogicalType::IntervalDaySecond,
            LogicalType::IntervalYearMonth,
            LogicalType::Array(Arc::new(LogicalType::BigInt.nullable())),
            LogicalType::BYTES,
        ];
        let columns = types.map(|t| Column::new("c", t.nullable()));
        let schema = Schema::new(columns.to_vec());
        let rows = [
            "+I | alice | 12 | true | 1.5 | 3.20 | 12:00:01 | 2024-02-29 12:00:01.123456 | 2024-02-29 | 1500 | 14 | [1, 2] | ab",
            "-U | '' | NULL | NULL | NULL | NULL | 12:00:01.500 | NULL | NULL | NULL | NULL | NULL | NULL",
        ];
        let batch = parse_rows(&schema, &rows.join("\n")).unwrap();
        assert_eq!(format_rows(&batch).unwrap(), rows);
    }

    #[test]
    fn a_wrong_value_is_an_error_that_names_the_column() {
        let schema = Schema::new(vec![Column::new("n", LogicalType::Int.nullable())]);
        let error = parse_rows(&schema, "+I | x").unwrap_err();
        assert!(error.message().starts_with("column n:"), "{error}");
        let error = parse_rows(&schema, "+I | 1 | 2").unwrap_err();
        assert!(error.message().contains("has 2 columns"), "{error}");
    }
}
