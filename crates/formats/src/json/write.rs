//! Writes rows of Arrow columns as JSON objects.

use arrow::array::*;
use arrow::datatypes::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use flott_core::{Error, Result};

use crate::number::{self, DecimalStyle};
use crate::temporal::{self, TimestampStandard};

/// How values are written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WriteRules {
    pub standard: TimestampStandard,
    pub decimals: DecimalStyle,
    pub ignore_null_fields: bool,
}

/// A column ready to be written row by row.
enum ColumnWriter<'a> {
    Null,
    Boolean(&'a BooleanArray),
    TinyInt(&'a Int8Array),
    SmallInt(&'a Int16Array),
    Int(&'a Int32Array),
    BigInt(&'a Int64Array),
    Float(&'a Float32Array),
    Double(&'a Float64Array),
    Decimal(&'a Decimal128Array, i8),
    Text(&'a StringViewArray),
    Bytes(&'a BinaryViewArray),
    Date(&'a Date32Array),
    Time(&'a Time32MillisecondArray),
    Timestamp {
        values: &'a [i64],
        per_second: i64,
        has_zone: bool,
    },
    YearMonth(&'a IntervalYearMonthArray),
    DaySecond(&'a DurationMillisecondArray),
    Row(RowWriter<'a>),
    Array(&'a ListArray, Box<NullableWriter<'a>>),
    Map(
        &'a MapArray,
        Box<NullableWriter<'a>>,
        Box<NullableWriter<'a>>,
    ),
}

struct NullableWriter<'a> {
    array: &'a dyn Array,
    has_nulls: bool,
    writer: ColumnWriter<'a>,
}

/// Writes the rows of some columns as objects.
pub(crate) struct RowWriter<'a> {
    /// `"name":` and the column.
    fields: Vec<(Vec<u8>, NullableWriter<'a>)>,
    rules: WriteRules,
}

impl<'a> RowWriter<'a> {
    pub fn new(fields: &Fields, columns: &'a [ArrayRef], rules: WriteRules) -> Result<Self> {
        let fields = fields.iter().zip(columns).map(|(field, column)| {
            let mut key = Vec::with_capacity(field.name().len() + 3);
            write_string(&mut key, field.name().as_bytes());
            key.push(b':');
            let writer = NullableWriter::new(column.as_ref(), rules)
                .map_err(|error| error.context(format!("column '{}'", field.name())))?;
            Ok((key, writer))
        });
        Ok(Self {
            fields: fields.collect::<Result<_>>()?,
            rules,
        })
    }

    /// Appends row `row` as an object.
    #[inline]
    pub fn write(&self, row: usize, out: &mut Vec<u8>) {
        out.push(b'{');
        let mut is_first = true;
        for (key, column) in &self.fields {
            if self.rules.ignore_null_fields && column.is_null(row) {
                continue;
            }
            if !is_first {
                out.push(b',');
            }
            is_first = false;
            out.extend_from_slice(key);
            column.write(row, out, self.rules);
        }
        out.push(b'}');
    }
}

impl<'a> NullableWriter<'a> {
    fn new(array: &'a dyn Array, rules: WriteRules) -> Result<Self> {
        Ok(Self {
            has_nulls: array.logical_null_count() > 0,
            writer: ColumnWriter::new(array, rules)?,
            array,
        })
    }

    #[inline]
    fn is_null(&self, row: usize) -> bool {
        self.has_nulls && (matches!(self.writer, ColumnWriter::Null) || self.array.is_null(row))
    }

    #[inline]
    fn write(&self, row: usize, out: &mut Vec<u8>, rules: WriteRules) {
        if self.is_null(row) {
            out.extend_from_slice(b"null");
        } else {
            self.writer.write(row, out, rules);
        }
    }
}

impl<'a> ColumnWriter<'a> {
    fn new(array: &'a dyn Array, rules: WriteRules) -> Result<Self> {
        Ok(match array.data_type() {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Boolean(array.as_boolean()),
            DataType::Int8 => Self::TinyInt(array.as_primitive()),
            DataType::Int16 => Self::SmallInt(array.as_primitive()),
            DataType::Int32 => Self::Int(array.as_primitive()),
            DataType::Int64 => Self::BigInt(array.as_primitive()),
            DataType::Float32 => Self::Float(array.as_primitive()),
            DataType::Float64 => Self::Double(array.as_primitive()),
            DataType::Decimal128(_, scale) => Self::Decimal(array.as_primitive(), *scale),
            DataType::Utf8View => Self::Text(array.as_string_view()),
            DataType::BinaryView => Self::Bytes(array.as_binary_view()),
            DataType::Date32 => Self::Date(array.as_primitive()),
            DataType::Time32(TimeUnit::Millisecond) => Self::Time(array.as_primitive()),
            DataType::Timestamp(unit, zone) => {
                let (values, per_second) = timestamp_values(array, *unit)?;
                Self::Timestamp {
                    values,
                    per_second,
                    has_zone: zone.is_some(),
                }
            }
            DataType::Interval(IntervalUnit::YearMonth) => Self::YearMonth(array.as_primitive()),
            DataType::Duration(TimeUnit::Millisecond) => Self::DaySecond(array.as_primitive()),
            DataType::Struct(fields) => {
                Self::Row(RowWriter::new(fields, array.as_struct().columns(), rules)?)
            }
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                let items = NullableWriter::new(list.values().as_ref(), rules)?;
                Self::Array(list, Box::new(items))
            }
            DataType::Map(..) => {
                let map = array.as_map();
                let keys = NullableWriter::new(map.keys().as_ref(), rules)?;
                let values = NullableWriter::new(map.values().as_ref(), rules)?;
                if map.keys().data_type() != &DataType::Utf8View {
                    let message = "JSON writes map keys as strings; cast the key to STRING";
                    return Err(Error::user("UNSUPPORTED_TYPE", message));
                }
                Self::Map(map, Box::new(keys), Box::new(values))
            }
            other => {
                let message = format!("JSON cannot hold a value of type {other}");
                return Err(Error::user("UNSUPPORTED_TYPE", message));
            }
        })
    }

    #[inline]
    fn write(&self, row: usize, out: &mut Vec<u8>, rules: WriteRules) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Boolean(a) if a.value(row) => out.extend_from_slice(b"true"),
            Self::Boolean(_) => out.extend_from_slice(b"false"),
            Self::TinyInt(a) => number::write_integer(out, i64::from(a.value(row))),
            Self::SmallInt(a) => number::write_integer(out, i64::from(a.value(row))),
            Self::Int(a) => number::write_integer(out, i64::from(a.value(row))),
            Self::BigInt(a) => number::write_integer(out, a.value(row)),
            Self::Float(a) => {
                let value = a.value(row);
                quoted_unless(value.is_finite(), out, |out| {
                    number::write_float(out, value)
                });
            }
            Self::Double(a) => {
                let value = a.value(row);
                quoted_unless(value.is_finite(), out, |out| {
                    number::write_double(out, value)
                });
            }
            Self::Decimal(a, scale) => {
                number::write_decimal(out, a.value(row), *scale, rules.decimals);
            }
            Self::Text(a) => write_string(out, a.value(row).as_bytes()),
            Self::Bytes(a) => quoted_unless(false, out, |out| {
                out.extend_from_slice(BASE64.encode(a.value(row)).as_bytes());
            }),
            Self::Date(a) => quoted_unless(false, out, |out| {
                temporal::write_date(out, i64::from(a.value(row)));
            }),
            Self::Time(a) => quoted_unless(false, out, |out| {
                temporal::write_time(out, a.value(row));
            }),
            Self::Timestamp {
                values,
                per_second,
                has_zone,
            } => quoted_unless(false, out, |out| {
                temporal::write_timestamp(out, values[row], *per_second, rules.standard, *has_zone);
            }),
            Self::YearMonth(a) => number::write_integer(out, i64::from(a.value(row))),
            Self::DaySecond(a) => number::write_integer(out, a.value(row)),
            Self::Row(writer) => writer.write(row, out),
            Self::Array(list, items) => {
                let offsets = list.value_offsets();
                out.push(b'[');
                for (place, item) in (offsets[row]..offsets[row + 1]).enumerate() {
                    if place > 0 {
                        out.push(b',');
                    }
                    items.write(item as usize, out, rules);
                }
                out.push(b']');
            }
            Self::Map(map, keys, values) => {
                let offsets = map.value_offsets();
                out.push(b'{');
                for (place, entry) in (offsets[row]..offsets[row + 1]).enumerate() {
                    if place > 0 {
                        out.push(b',');
                    }
                    keys.write(entry as usize, out, rules);
                    out.push(b':');
                    values.write(entry as usize, out, rules);
                }
                out.push(b'}');
            }
        }
    }
}

/// The values of a timestamp column and how many of its units make a second.
pub(crate) fn timestamp_values(array: &dyn Array, unit: TimeUnit) -> Result<(&[i64], i64)> {
    Ok(match unit {
        TimeUnit::Millisecond => (
            array.as_primitive::<TimestampMillisecondType>().values(),
            1_000,
        ),
        TimeUnit::Microsecond => (
            array.as_primitive::<TimestampMicrosecondType>().values(),
            1_000_000,
        ),
        TimeUnit::Nanosecond => (
            array.as_primitive::<TimestampNanosecondType>().values(),
            1_000_000_000,
        ),
        TimeUnit::Second => return Err(Error::internal("a timestamp column in seconds")),
    })
}

fn quoted_unless(is_plain: bool, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    if is_plain {
        return write(out);
    }
    out.push(b'"');
    write(out);
    out.push(b'"');
}

/// What stands for a byte that cannot stand in a string: 0 for one that can, `u` for `\u00XX`.
const fn escapes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut control = 0;
    while control < 0x20 {
        table[control] = b'u';
        control += 1;
    }
    table[8] = b'b';
    table[9] = b't';
    table[10] = b'n';
    table[12] = b'f';
    table[13] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
}

static ESCAPES: [u8; 256] = escapes();

/// Writes a string in quotes.
#[inline]
pub(crate) fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    // Checked as a whole first: the loop without exit is vectorised.
    let is_clean = text.iter().fold(true, |clean, &b| {
        clean & (b >= 0x20) & (b != b'"') & (b != b'\\')
    });
    if is_clean {
        out.extend_from_slice(text);
    } else {
        write_escaped(out, text);
    }
    out.push(b'"');
}

fn write_escaped(out: &mut Vec<u8>, text: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut from = 0;
    for (at, &byte) in text.iter().enumerate() {
        let escape = ESCAPES[byte as usize];
        if escape == 0 {
            continue;
        }
        out.extend_from_slice(&text[from..at]);
        from = at + 1;
        out.extend_from_slice(&[b'\\', escape]);
        if escape == b'u' {
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
            out.extend_from_slice(&[b'0', b'0', high, low]);
        }
    }
    out.extend_from_slice(&text[from..]);
}
