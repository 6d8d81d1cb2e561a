//! Values of any type to the text that `CAST(x AS STRING)` gives.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringViewArray, StringViewBuilder};
use arrow::datatypes::*;
use chrono_tz::Tz;

use super::datetime::{
    units_per_second, write_date, write_day_time, write_time, write_timestamp, write_year_month,
};
use super::number::{boolean_text, write_decimal, write_double, write_float, write_integer};
use super::zone::ZoneCursor;
use crate::error::{Error, Result};
use crate::types::LogicalType;

/// How values are written.
#[derive(Debug, Clone, Copy)]
pub struct TextOptions {
    /// The zone in which a `TIMESTAMP_LTZ` is shown.
    pub time_zone: Tz,
    /// For a person's eyes: bytes are shown as `x'41'`. A cast decodes them as UTF-8 instead.
    pub is_printing: bool,
}

/// Appends the text of one value; NULL is `NULL`.
///
/// # Errors
/// Internal, when the array does not hold values of `ty`.
pub fn format_value(
    array: &dyn Array,
    row: usize,
    ty: &LogicalType,
    options: &TextOptions,
    out: &mut String,
) -> Result<()> {
    Formatter::new(options).write(array, row, ty, out)
}

/// The text of every value; NULL stays NULL.
///
/// # Errors
/// Internal, when the array does not hold values of `ty`.
pub fn format_column(
    array: &ArrayRef,
    ty: &LogicalType,
    options: &TextOptions,
) -> Result<StringViewArray> {
    if ty.is_character() {
        return string_view(array.as_ref(), ty).cloned();
    }
    let mut formatter = Formatter::new(options);
    let mut builder = StringViewBuilder::with_capacity(array.len());
    let mut scratch = String::new();
    for row in 0..array.len() {
        if array.is_null(row) {
            builder.append_null();
            continue;
        }
        scratch.clear();
        formatter.write(array.as_ref(), row, ty, &mut scratch)?;
        builder.append_value(&scratch);
    }
    Ok(builder.finish())
}

fn mismatch(array: &dyn Array, ty: &LogicalType) -> Error {
    Error::internal(format!("a value of {ty} held as {}", array.data_type()))
}

fn string_view<'a>(array: &'a dyn Array, ty: &LogicalType) -> Result<&'a StringViewArray> {
    array
        .as_string_view_opt()
        .ok_or_else(|| mismatch(array, ty))
}

/// The value of a timestamp in the unit of its array.
fn timestamp_at(array: &dyn Array, row: usize) -> Option<i64> {
    let DataType::Timestamp(unit, _) = array.data_type() else {
        return None;
    };
    Some(match unit {
        TimeUnit::Second => array.as_primitive::<TimestampSecondType>().value(row),
        TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().value(row),
        TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().value(row),
        TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().value(row),
    })
}

/// Writes values and remembers the zone's last offset.
struct Formatter {
    zone: ZoneCursor,
    is_printing: bool,
}

impl Formatter {
    fn new(options: &TextOptions) -> Self {
        Self {
            zone: ZoneCursor::new(options.time_zone),
            is_printing: options.is_printing,
        }
    }

    fn write(
        &mut self,
        array: &dyn Array,
        row: usize,
        ty: &LogicalType,
        out: &mut String,
    ) -> Result<()> {
        if matches!(ty, LogicalType::Null) || array.is_null(row) {
            out.push_str("NULL");
            return Ok(());
        }
        let written = match ty {
            LogicalType::Timestamp(_) | LogicalType::TimestampLtz(_) => {
                self.write_timestamp(array, row, ty, out)
            }
            LogicalType::Char(_) | LogicalType::VarChar(_) => array
                .as_string_view_opt()
                .map(|a| out.push_str(a.value(row))),
            LogicalType::Binary(_) | LogicalType::VarBinary(_) => array
                .as_binary_view_opt()
                .map(|a| self.write_bytes(a.value(row), out)),
            LogicalType::Array(_)
            | LogicalType::Map(..)
            | LogicalType::Multiset(_)
            | LogicalType::Row(_) => return self.write_nested(array, row, ty, out),
            _ => write_scalar(array, row, ty, out),
        };
        written.ok_or_else(|| mismatch(array, ty))
    }

    fn write_timestamp(
        &mut self,
        array: &dyn Array,
        row: usize,
        ty: &LogicalType,
        out: &mut String,
    ) -> Option<()> {
        let value = timestamp_at(array, row)?;
        match ty {
            LogicalType::TimestampLtz(precision) => {
                let local = self.zone.to_local(value, units_per_second(*precision));
                write_timestamp(local, *precision, out);
            }
            LogicalType::Timestamp(precision) => write_timestamp(value, *precision, out),
            _ => return None,
        }
        Some(())
    }

    fn write_bytes(&self, bytes: &[u8], out: &mut String) {
        if !self.is_printing {
            out.push_str(&String::from_utf8_lossy(bytes));
            return;
        }
        out.push_str("x'");
        for byte in bytes {
            let _ = write!(out, "{byte:02x}");
        }
        out.push('\'');
    }

    fn write_nested(
        &mut self,
        array: &dyn Array,
        row: usize,
        ty: &LogicalType,
        out: &mut String,
    ) -> Result<()> {
        match ty {
            LogicalType::Array(item) => {
                let list = array
                    .as_list_opt::<i32>()
                    .ok_or_else(|| mismatch(array, ty))?;
                let offsets = list.value_offsets();
                out.push('[');
                for at in offsets[row]..offsets[row + 1] {
                    separate(at > offsets[row], out);
                    self.write(list.values().as_ref(), at as usize, &item.logical, out)?;
                }
                out.push(']');
                Ok(())
            }
            LogicalType::Row(fields) => {
                let rows = array.as_struct_opt().ok_or_else(|| mismatch(array, ty))?;
                out.push('(');
                for (i, (field, column)) in fields.iter().zip(rows.columns()).enumerate() {
                    separate(i > 0, out);
                    self.write(column.as_ref(), row, &field.data_type.logical, out)?;
                }
                out.push(')');
                Ok(())
            }
            LogicalType::Map(key, value) => {
                self.write_map(array, row, (&key.logical, &value.logical), out)
            }
            LogicalType::Multiset(item) => {
                self.write_map(array, row, (&item.logical, &LogicalType::Int), out)
            }
            _ => Err(mismatch(array, ty)),
        }
    }

    fn write_map(
        &mut self,
        array: &dyn Array,
        row: usize,
        (key, value): (&LogicalType, &LogicalType),
        out: &mut String,
    ) -> Result<()> {
        let map = array.as_map_opt().ok_or_else(|| mismatch(array, key))?;
        let offsets = map.value_offsets();
        out.push('{');
        for at in offsets[row]..offsets[row + 1] {
            separate(at > offsets[row], out);
            self.write(map.keys().as_ref(), at as usize, key, out)?;
            out.push('=');
            self.write(map.values().as_ref(), at as usize, value, out)?;
        }
        out.push('}');
        Ok(())
    }
}

fn separate(is_needed: bool, out: &mut String) {
    if is_needed {
        out.push_str(", ");
    }
}

fn write_scalar(array: &dyn Array, row: usize, ty: &LogicalType, out: &mut String) -> Option<()> {
    macro_rules! value {
        ($type:ty) => {
            array.as_primitive_opt::<$type>()?.value(row)
        };
    }
    match ty {
        LogicalType::Boolean => out.push_str(boolean_text(array.as_boolean_opt()?.value(row))),
        LogicalType::TinyInt => write_integer(i64::from(value!(Int8Type)), out),
        LogicalType::SmallInt => write_integer(i64::from(value!(Int16Type)), out),
        LogicalType::Int => write_integer(i64::from(value!(Int32Type)), out),
        LogicalType::BigInt => write_integer(value!(Int64Type), out),
        LogicalType::Float => write_float(value!(Float32Type), out),
        LogicalType::Double => write_double(value!(Float64Type), out),
        LogicalType::Decimal(_, scale) => write_decimal(value!(Decimal128Type), *scale, out),
        LogicalType::Date => write_date(i64::from(value!(Date32Type)), out),
        LogicalType::Time(precision) => {
            write_time(i64::from(value!(Time32MillisecondType)), *precision, out);
        }
        LogicalType::IntervalYearMonth => {
            write_year_month(i64::from(value!(IntervalYearMonthType)), out);
        }
        LogicalType::IntervalDaySecond => write_day_time(value!(DurationMillisecondType), out),
        _ => return None,
    }
    Some(())
}

/// The text of every value as an array.
pub fn format_array(array: &ArrayRef, ty: &LogicalType, options: &TextOptions) -> Result<ArrayRef> {
    Ok(Arc::new(format_column(array, ty, options)?))
}

#[cfg(test)]
mod tests {
    use arrow::array::{BinaryViewArray, Int32Builder, ListBuilder, TimestampMillisecondArray};

    use super::*;

    const OPTIONS: TextOptions = TextOptions {
        time_zone: Tz::America__Los_Angeles,
        is_printing: true,
    };

    fn text(array: &dyn Array, ty: &LogicalType, options: &TextOptions) -> String {
        let mut out = String::new();
        format_value(array, 0, ty, options, &mut out).expect("formattable");
        out
    }

    #[test]
    fn nested_values_show_their_nulls() {
        let mut builder = ListBuilder::new(Int32Builder::new());
        builder.append_value([Some(1), None]);
        let ty = LogicalType::Array(Arc::new(LogicalType::Int.nullable()));
        assert_eq!(text(&builder.finish(), &ty, &OPTIONS), "[1, NULL]");
    }

    #[test]
    fn points_in_time_are_shown_in_the_zone() {
        let array = TimestampMillisecondArray::from(vec![1_709_287_200_123]).with_timezone("UTC");
        let ty = LogicalType::TimestampLtz(3);
        assert_eq!(text(&array, &ty, &OPTIONS), "2024-03-01 02:00:00.123");
    }

    #[test]
    fn bytes_are_hex_for_the_eye_and_utf8_for_a_cast() {
        let array = BinaryViewArray::from(vec![b"A".as_slice()]);
        assert_eq!(text(&array, &LogicalType::BYTES, &OPTIONS), "x'41'");
        let cast = TextOptions {
            is_printing: false,
            ..OPTIONS
        };
        assert_eq!(text(&array, &LogicalType::BYTES, &cast), "A");
    }

    #[test]
    fn a_wrong_array_is_an_internal_error() {
        let array = BinaryViewArray::from(vec![b"A".as_slice()]);
        let mut out = String::new();
        assert!(format_value(&array, 0, &LogicalType::Int, &OPTIONS, &mut out).is_err());
    }
}
