//! Encodes rows as CSV, quoting where Flink's writer (Jackson) quotes.

use std::sync::LazyLock;

use arrow::array::*;
use arrow::datatypes::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use flott_core::changelog::ChangelogBatch;
use flott_core::options::Options;
use flott_core::{Error, Result};

use super::dialect::Dialect;
use crate::json::write::timestamp_values;
use crate::number::{self, DecimalStyle};
use crate::records::RowEncoder;
use crate::temporal::{self, TimestampStandard};

/// Longer texts are quoted without a look at their characters.
const MAX_CHECKED_CHARACTERS: usize = 24;

pub(crate) struct CsvEncoder {
    dialect: Dialect,
    /// Characters below this one make quotes necessary.
    first_safe: u32,
    scratch: Vec<u8>,
}

impl RowEncoder for CsvEncoder {
    fn rows(
        &mut self,
        batch: &ChangelogBatch,
        out: &mut Vec<u8>,
        mut after_row: impl FnMut(&mut Vec<u8>),
    ) -> Result<()> {
        let columns = batch.rows().columns();
        for row in 0..batch.num_rows() {
            for (place, column) in columns.iter().enumerate() {
                if place > 0 {
                    out.extend_from_slice(&self.dialect.delimiter);
                }
                self.cell(column.as_ref(), row, out)?;
            }
            after_row(out);
        }
        Ok(())
    }
}

impl CsvEncoder {
    pub fn new(dialect: Dialect) -> Self {
        let delimiter = std::str::from_utf8(&dialect.delimiter)
            .ok()
            .and_then(|d| d.chars().next())
            .map_or(u32::from(b','), u32::from);
        let quote = dialect.quote.map_or(0, u32::from);
        Self {
            first_safe: delimiter.max(quote).max(u32::from(b'\r')) + 1,
            dialect,
            scratch: Vec::new(),
        }
    }

    fn cell(&mut self, array: &dyn Array, row: usize, out: &mut Vec<u8>) -> Result<()> {
        if array.is_null(row) {
            self.write_null(out);
            return Ok(());
        }
        if let Some(text) = array.as_string_view_opt() {
            self.write_text(text.value(row).as_bytes(), out);
            return Ok(());
        }
        if is_written_plainly(array.data_type()) {
            return write_value(&self.dialect, array, row, out);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let written = write_value(&self.dialect, array, row, &mut scratch);
        self.write_text(&scratch, out);
        self.scratch = scratch;
        written
    }

    fn write_null(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.dialect.null_literal.as_deref().unwrap_or_default());
    }

    fn write_text(&self, text: &[u8], out: &mut Vec<u8>) {
        match self.dialect.quote {
            Some(quote) if self.needs_quotes(text) => {
                out.push(quote);
                self.write_doubled(text, quote, out);
                out.push(quote);
            }
            _ => out.extend_from_slice(text),
        }
    }

    /// Each quote and each escape character stands twice.
    fn write_doubled(&self, text: &[u8], quote: u8, out: &mut Vec<u8>) {
        let mut from = 0;
        for at in memchr::memchr2_iter(quote, self.dialect.escape.unwrap_or(quote), text) {
            out.extend_from_slice(&text[from..=at]);
            from = at;
        }
        out.extend_from_slice(&text[from..]);
    }

    fn needs_quotes(&self, text: &[u8]) -> bool {
        if text.is_ascii() {
            let is_unsafe =
                |&b: &u8| u32::from(b) < self.first_safe || Some(b) == self.dialect.escape;
            return text.len() > MAX_CHECKED_CHARACTERS || text.iter().any(is_unsafe);
        }
        let Ok(text) = std::str::from_utf8(text) else {
            return true;
        };
        let escape = self.dialect.escape.map(char::from);
        text.chars().enumerate().any(|(place, c)| {
            place >= MAX_CHECKED_CHARACTERS || u32::from(c) < self.first_safe || Some(c) == escape
        })
    }
}

/// Numbers and truth values are never quoted.
fn is_written_plainly(data_type: &DataType) -> bool {
    data_type.is_numeric()
        || matches!(
            data_type,
            DataType::Boolean | DataType::Null | DataType::Interval(_) | DataType::Duration(_)
        )
}

/// Appends a value without quotes.
fn write_value(dialect: &Dialect, array: &dyn Array, row: usize, out: &mut Vec<u8>) -> Result<()> {
    macro_rules! integer {
        ($type:ty) => {
            number::write_integer(out, i64::from(array.as_primitive::<$type>().value(row)))
        };
    }
    match array.data_type() {
        DataType::Null => {}
        DataType::Boolean => {
            let value = array.as_boolean().value(row);
            out.extend_from_slice(if value { b"true" } else { b"false" });
        }
        DataType::Int8 => integer!(Int8Type),
        DataType::Int16 => integer!(Int16Type),
        DataType::Int32 => integer!(Int32Type),
        DataType::Int64 => integer!(Int64Type),
        DataType::Interval(IntervalUnit::YearMonth) => integer!(IntervalYearMonthType),
        DataType::Duration(TimeUnit::Millisecond) => integer!(DurationMillisecondType),
        DataType::Float32 => {
            number::write_float(out, array.as_primitive::<Float32Type>().value(row))
        }
        DataType::Float64 => {
            number::write_double(out, array.as_primitive::<Float64Type>().value(row))
        }
        DataType::Decimal128(_, scale) => {
            let value = array.as_primitive::<Decimal128Type>().value(row);
            number::write_decimal(out, value, *scale, dialect.decimals);
        }
        DataType::Utf8View => out.extend_from_slice(array.as_string_view().value(row).as_bytes()),
        DataType::BinaryView => {
            out.extend_from_slice(BASE64.encode(array.as_binary_view().value(row)).as_bytes());
        }
        DataType::Date32 => {
            temporal::write_date(
                out,
                i64::from(array.as_primitive::<Date32Type>().value(row)),
            );
        }
        DataType::Time32(TimeUnit::Millisecond) => {
            temporal::write_time(
                out,
                array.as_primitive::<Time32MillisecondType>().value(row),
            );
        }
        DataType::Timestamp(unit, zone) => {
            let (values, per_second) = timestamp_values(array, *unit)?;
            let standard = TimestampStandard::Sql;
            temporal::write_timestamp(out, values[row], per_second, standard, zone.is_some());
        }
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            let items = (0..items.len()).map(|item| (items.as_ref(), item));
            write_elements(dialect, items, out)?;
        }
        DataType::Struct(_) => {
            let fields = array
                .as_struct()
                .columns()
                .iter()
                .map(|f| (f.as_ref(), row));
            write_elements(dialect, fields, out)?;
        }
        other => {
            let message = format!("CSV cannot hold a value of type {other}");
            return Err(Error::user("UNSUPPORTED_TYPE", message));
        }
    }
    Ok(())
}

/// Appends a value's text in the default dialect, without quotes or exponents.
pub(crate) fn write_plain_value(array: &dyn Array, row: usize, out: &mut Vec<u8>) -> Result<()> {
    static DIALECT: LazyLock<Result<Dialect>> = LazyLock::new(|| {
        let dialect = Dialect::new(&Options::default())?;
        Ok(Dialect {
            decimals: DecimalStyle::Plain,
            ..dialect
        })
    });
    let dialect = DIALECT.as_ref().map_err(Clone::clone)?;
    write_value(dialect, array, row, out)
}

fn write_elements<'a>(
    dialect: &Dialect,
    elements: impl Iterator<Item = (&'a dyn Array, usize)>,
    out: &mut Vec<u8>,
) -> Result<()> {
    for (place, (array, row)) in elements.enumerate() {
        if place > 0 {
            out.extend_from_slice(&dialect.array_delimiter);
        }
        if array.is_null(row) {
            out.extend_from_slice(dialect.null_literal.as_deref().unwrap_or_default());
        } else {
            write_value(dialect, array, row, out)?;
        }
    }
    Ok(())
}
