//! Writes rows of Arrow columns in Avro's binary encoding, by the schema derived from their types.

use arrow::array::*;
use arrow::datatypes::*;
use flott_core::schema::Schema;
use flott_core::types::DataType as FlinkType;
use flott_core::types::LogicalType;
use flott_core::{Error, Result};

use crate::json::write::timestamp_values;

/// A column ready to be written row by row.
enum ColumnWriter<'a> {
    Null,
    Boolean(&'a BooleanArray),
    TinyInt(&'a Int8Array),
    SmallInt(&'a Int16Array),
    Int(&'a [i32]),
    BigInt(&'a [i64]),
    /// Values to be divided, in milliseconds or microseconds.
    Timestamp(&'a [i64], i64),
    Float(&'a Float32Array),
    Double(&'a Float64Array),
    Decimal(&'a Decimal128Array),
    Text(&'a StringViewArray),
    Bytes(&'a BinaryViewArray),
    Row(RowWriter<'a>),
    Array(&'a [i32], Box<NullableWriter<'a>>),
    Map(&'a [i32], &'a StringViewArray, Box<NullableWriter<'a>>),
}

/// A column, and whether its type is a union with null.
struct NullableWriter<'a> {
    nulls: Option<arrow::buffer::NullBuffer>,
    is_nullable: bool,
    writer: ColumnWriter<'a>,
}

/// Writes the rows of some columns as records.
pub(super) struct RowWriter<'a> {
    columns: Vec<NullableWriter<'a>>,
}

impl<'a> RowWriter<'a> {
    /// A writer of `columns`, which are of the table's types.
    ///
    /// # Errors
    /// A user error when a column that is `NOT NULL` holds a NULL.
    pub fn new(schema: &Schema, columns: &'a [ArrayRef]) -> Result<Self> {
        let fields = schema.columns().iter().map(|c| (&*c.name, &c.data_type));
        Self::of(fields, columns, None)
    }

    fn of<'b>(
        fields: impl Iterator<Item = (&'b str, &'b FlinkType)>,
        columns: &'a [ArrayRef],
        rows: Option<&arrow::buffer::NullBuffer>,
    ) -> Result<Self> {
        let writers = fields.zip(columns).map(|((name, data_type), column)| {
            NullableWriter::new(data_type, column.as_ref(), rows)
                .map_err(|error| error.context(format!("column '{name}'")))
        });
        Ok(Self {
            columns: writers.collect::<Result<_>>()?,
        })
    }

    /// Appends row `row` as a record.
    #[inline]
    pub fn write(&self, row: usize, out: &mut Vec<u8>) {
        for column in &self.columns {
            column.write(row, out);
        }
    }
}

impl<'a> NullableWriter<'a> {
    /// `outer` tells which of the values matter: those of a row that is not NULL.
    fn new(
        data_type: &FlinkType,
        array: &'a dyn Array,
        outer: Option<&arrow::buffer::NullBuffer>,
    ) -> Result<Self> {
        let nulls = array.logical_nulls().filter(|n| n.null_count() > 0);
        let is_nullable = data_type.nullable && data_type.logical != LogicalType::Null;
        if let Some(nulls) = nulls.as_ref().filter(|_| !data_type.nullable) {
            let matters = |row| outer.is_none_or(|o| o.is_valid(row));
            if (0..nulls.len()).any(|row| nulls.is_null(row) && matters(row)) {
                return Err(Error::user(
                    "NULL_VALUE",
                    format!("a NULL for a type that is {data_type}; declare it without NOT NULL"),
                ));
            }
        }
        Ok(Self {
            writer: ColumnWriter::new(&data_type.logical, array)?,
            nulls: nulls.filter(|_| is_nullable),
            is_nullable,
        })
    }

    #[inline]
    fn write(&self, row: usize, out: &mut Vec<u8>) {
        if self.is_nullable {
            let is_null = self.nulls.as_ref().is_some_and(|n| n.is_null(row));
            // The branches of a union are numbered 0, 1, written zig-zag.
            out.push(if is_null { 0 } else { 2 });
            if is_null {
                return;
            }
        }
        self.writer.write(row, out);
    }
}

impl<'a> ColumnWriter<'a> {
    fn new(logical: &LogicalType, array: &'a dyn Array) -> Result<Self> {
        let items_of = |item: &FlinkType, items: &'a dyn Array| {
            NullableWriter::new(item, items, None).map(Box::new)
        };
        Ok(match (logical, array.data_type()) {
            (LogicalType::Null, _) => Self::Null,
            (_, DataType::Boolean) => Self::Boolean(array.as_boolean()),
            (_, DataType::Int8) => Self::TinyInt(array.as_primitive()),
            (_, DataType::Int16) => Self::SmallInt(array.as_primitive()),
            (_, DataType::Int32) => Self::Int(array.as_primitive::<Int32Type>().values()),
            (_, DataType::Date32) => Self::Int(array.as_primitive::<Date32Type>().values()),
            (_, DataType::Time32(TimeUnit::Millisecond)) => {
                Self::Int(array.as_primitive::<Time32MillisecondType>().values())
            }
            (_, DataType::Int64) => Self::BigInt(array.as_primitive::<Int64Type>().values()),
            (
                LogicalType::Timestamp(p) | LogicalType::TimestampLtz(p),
                DataType::Timestamp(unit, _),
            ) => {
                let (values, per_second) = timestamp_values(array, *unit)?;
                let written = if *p <= 3 { 1_000 } else { 1_000_000 };
                Self::Timestamp(values, (per_second / written).max(1))
            }
            (_, DataType::Float32) => Self::Float(array.as_primitive()),
            (_, DataType::Float64) => Self::Double(array.as_primitive()),
            (_, DataType::Decimal128(..)) => Self::Decimal(array.as_primitive()),
            (_, DataType::Utf8View) => Self::Text(array.as_string_view()),
            (_, DataType::BinaryView) => Self::Bytes(array.as_binary_view()),
            (LogicalType::Row(fields), DataType::Struct(_)) => {
                let fields = fields.iter().map(|f| (&*f.name, &f.data_type));
                let rows = array.as_struct();
                Self::Row(RowWriter::of(fields, rows.columns(), rows.nulls())?)
            }
            (LogicalType::Array(item), DataType::List(_)) => {
                let list = array.as_list::<i32>();
                Self::Array(
                    list.value_offsets(),
                    items_of(item, list.values().as_ref())?,
                )
            }
            (LogicalType::Map(_, item), DataType::Map(..)) => {
                let map = array.as_map();
                Self::map(map, items_of(item, map.values().as_ref())?)?
            }
            (LogicalType::Multiset(_), DataType::Map(..)) => {
                let map = array.as_map();
                let count = LogicalType::Int.not_null();
                Self::map(map, items_of(&count, map.values().as_ref())?)?
            }
            (logical, arrow) => {
                let message = format!("a column of {logical} holds {arrow}");
                return Err(Error::internal(message));
            }
        })
    }

    fn map(map: &'a MapArray, values: Box<NullableWriter<'a>>) -> Result<Self> {
        let keys = map.keys().as_string_view_opt();
        let keys = keys.ok_or_else(|| Error::internal("keys of a map that are no strings"))?;
        Ok(Self::Map(map.value_offsets(), keys, values))
    }

    #[inline]
    fn write(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::Null => {}
            Self::Boolean(a) => out.push(u8::from(a.value(row))),
            Self::TinyInt(a) => write_long(i64::from(a.value(row)), out),
            Self::SmallInt(a) => write_long(i64::from(a.value(row)), out),
            Self::Int(values) => write_long(i64::from(values[row]), out),
            Self::BigInt(values) => write_long(values[row], out),
            Self::Timestamp(values, divide) => write_long(values[row].div_euclid(*divide), out),
            Self::Float(a) => out.extend_from_slice(&a.value(row).to_le_bytes()),
            Self::Double(a) => out.extend_from_slice(&a.value(row).to_le_bytes()),
            Self::Decimal(a) => write_decimal(a.value(row), out),
            Self::Text(a) => write_bytes(a.value(row).as_bytes(), out),
            Self::Bytes(a) => write_bytes(a.value(row), out),
            Self::Row(rows) => rows.write(row, out),
            Self::Array(offsets, items) => write_items(offsets, row, out, |item, out| {
                items.write(item, out);
            }),
            Self::Map(offsets, keys, values) => write_items(offsets, row, out, |entry, out| {
                write_bytes(keys.value(entry).as_bytes(), out);
                values.write(entry, out);
            }),
        }
    }
}

fn write_items(
    offsets: &[i32],
    row: usize,
    out: &mut Vec<u8>,
    mut write: impl FnMut(usize, &mut Vec<u8>),
) {
    let (from, to) = (offsets[row] as usize, offsets[row + 1] as usize);
    if to > from {
        write_long((to - from) as i64, out);
        (from..to).for_each(|item| write(item, out));
    }
    out.push(0);
}

/// Appends a number zig-zag, seven bits a byte.
#[inline]
pub(super) fn write_long(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends bytes behind their length.
#[inline]
pub(super) fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    write_long(bytes.len() as i64, out);
    out.extend_from_slice(bytes);
}

/// Appends an unscaled value in the fewest big-endian bytes, as Java's `BigInteger` gives them.
fn write_decimal(value: i128, out: &mut Vec<u8>) {
    let bytes = value.to_be_bytes();
    let sign = if value < 0 { 0xff } else { 0 };
    let mut from = 0;
    while from < 15 && bytes[from] == sign && (bytes[from + 1] ^ sign) < 0x80 {
        from += 1;
    }
    write_bytes(&bytes[from..], out);
}
