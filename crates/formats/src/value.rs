//! Single values to columns and text, for what stands beside the records: partition values, file
//! names.

use arrow::array::{Array, ArrayRef};
use flott_core::types::LogicalType;
use flott_core::{Error, Result};

use crate::column::ColumnBuilder;
use crate::json::read::push_text;
use crate::temporal::{self, TimestampStandard};

/// A column of `num_rows` times the value that `text` stands for, as CSV reads it; `None` is NULL.
///
/// # Errors
/// A user error when the text is no value of the type.
pub fn constant_column(
    logical: &LogicalType,
    text: Option<&str>,
    num_rows: usize,
) -> Result<ArrayRef> {
    let mut column = ColumnBuilder::new(logical, num_rows);
    for _ in 0..num_rows {
        match text {
            None => column.push_null(),
            Some(text) => {
                if !push_text(text.as_bytes(), &mut column, TimestampStandard::Sql) {
                    let message = format!("cannot read '{text}' as {logical}");
                    return Err(Error::user("MALFORMED_RECORD", message));
                }
            }
        }
    }
    column.finish()
}

/// A timestamp column of `num_rows` times `millis` since 1970-01-01.
///
/// # Errors
/// A user error when the type is no timestamp that can hold it.
pub fn timestamp_column(millis: i64, logical: &LogicalType, num_rows: usize) -> Result<ArrayRef> {
    let mut column = ColumnBuilder::new(logical, num_rows);
    let seconds = millis.div_euclid(1000);
    let nanos = (millis.rem_euclid(1000) * 1_000_000) as u32;
    let ColumnBuilder::Timestamp(values, precision, _) = &mut column else {
        let message = format!("a point in time is no value of type {logical}");
        return Err(Error::user("UNSUPPORTED_TYPE", message));
    };
    let value = temporal::to_unit(seconds, nanos, *precision).ok_or_else(|| {
        let message = format!("{millis} ms is out of the range of {logical}");
        Error::user("MALFORMED_RECORD", message)
    })?;
    (0..num_rows).for_each(|_| values.push(value));
    column.finish()
}

/// `yyyy-MM-dd HH:mm:ss[.fraction]` to milliseconds since 1970-01-01.
pub fn parse_sql_timestamp_ms(text: &str) -> Option<i64> {
    temporal::parse_timestamp(text.as_bytes(), TimestampStandard::Sql, false, 3)
}

/// The text of a value as it stands in a partition's folder; `None` for NULL.
///
/// # Errors
/// A user error for a type that has no such text.
pub fn value_text(array: &dyn Array, row: usize) -> Result<Option<String>> {
    if array.is_null(row) {
        return Ok(None);
    }
    let mut out = Vec::new();
    crate::csv::write_plain_value(array, row, &mut out)?;
    Ok(Some(String::from_utf8_lossy(&out).into_owned()))
}
