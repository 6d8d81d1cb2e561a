//! What a column's values are, made a batch at a time.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType as ArrowType, TimeUnit};
use flott_core::hash::{mix, mix_bytes};
use flott_core::options::{Options, parse_duration};
use flott_core::types::{DataType, LogicalType};
use flott_core::{Error, Result};

use super::options::{field_number, field_option};

const DEFAULT_TEXT_LENGTH: usize = 100;
const DEFAULT_COLLECTION_LENGTH: usize = 3;

/// Makes the values of one column.
#[derive(Debug, Clone)]
pub struct FieldGenerator {
    salt: u64,
    null_rate: f64,
    arrow_type: ArrowType,
    values: Values,
}

#[derive(Debug, Clone)]
enum Values {
    Sequence {
        start: i64,
        end: i64,
    },
    /// Whole numbers (also behind decimals, dates, times and intervals), both ends included.
    Integer {
        min: i64,
        max: i64,
    },
    Float {
        min: f64,
        max: f64,
    },
    Boolean,
    Text {
        length: usize,
        varies: bool,
    },
    Bytes {
        length: usize,
        varies: bool,
    },
    /// The current time less up to this many ms.
    Past {
        max_past_ms: i64,
    },
    Row(Vec<FieldGenerator>),
    List {
        length: usize,
        item: Box<FieldGenerator>,
    },
    Map {
        length: usize,
        key: Box<FieldGenerator>,
        value: Box<FieldGenerator>,
    },
}

impl FieldGenerator {
    /// The generator of the column or nested field at `path` (`a`, `a.b`, `a.element`).
    pub fn new(path: &str, data_type: &DataType, options: &Options) -> Result<Self> {
        let is_sequence = field_option(options, path, "kind")
            .is_some_and(|kind| kind.eq_ignore_ascii_case("sequence"));
        let values = if is_sequence {
            sequence(path, data_type, options)?
        } else {
            random(path, data_type, options)?
        };
        Ok(Self {
            salt: mix_bytes(0x6461_7461, path.as_bytes()),
            null_rate: field_number(options, path, "null-rate", 0.0)?,
            arrow_type: data_type.to_arrow(),
            values,
        })
    }

    /// The number of rows of a sequence.
    pub fn sequence_length(&self) -> Option<u64> {
        match self.values {
            Values::Sequence { start, end } => {
                Some((i128::from(end) - i128::from(start) + 1).max(0) as u64)
            }
            _ => None,
        }
    }

    #[inline]
    fn random(&self, row: u64) -> u64 {
        mix(self.salt, row)
    }

    /// The values of these rows, at this processing time in ms.
    pub fn generate(&self, rows: Range<u64>, now_ms: i64) -> Result<ArrayRef> {
        let values = self.values_of(rows.clone(), now_ms)?;
        let values = to_type(values, &self.arrow_type)?;
        if self.null_rate <= 0.0 {
            return Ok(values);
        }
        let limit = (self.null_rate.min(1.0) * u64::MAX as f64) as u64;
        let is_valid = rows.map(|row| mix(self.salt ^ 0x6e75_6c6c, row) >= limit);
        let data = values
            .to_data()
            .into_builder()
            .nulls(Some(NullBuffer::from_iter(is_valid)));
        Ok(make_array(data.build()?))
    }

    fn values_of(&self, rows: Range<u64>, now_ms: i64) -> Result<ArrayRef> {
        Ok(match &self.values {
            Values::Sequence { start, .. } => {
                let numbers = rows.map(|row| start.wrapping_add(row as i64));
                self.whole_numbers(numbers.collect::<Vec<_>>().into())?
            }
            Values::Integer { min, max } => {
                let (salt, min) = (self.salt, *min);
                let span = (i128::from(*max) - i128::from(min) + 1).max(1);
                let numbers: Vec<i64> = match u64::try_from(span) {
                    Ok(span) => {
                        let number = |row| (u128::from(mix(salt, row)) * u128::from(span)) >> 64;
                        rows.map(|row| min.wrapping_add(number(row) as i64))
                            .collect()
                    }
                    // All 64-bit numbers.
                    Err(_) => rows
                        .map(|row| min.wrapping_add(mix(salt, row) as i64))
                        .collect(),
                };
                self.whole_numbers(numbers.into())?
            }
            Values::Float { min, max } => {
                let number = |row| min + (max - min) * (self.random(row) as f64 / u64::MAX as f64);
                Arc::new(Float64Array::from_iter_values(rows.map(number)))
            }
            Values::Boolean => Arc::new(
                rows.map(|row| Some(self.random(row) & 1 == 1))
                    .collect::<BooleanArray>(),
            ),
            Values::Text { length, varies } => self.text(rows, *length, *varies),
            Values::Bytes { length, varies } => self.bytes(rows, *length, *varies),
            Values::Past { max_past_ms } => {
                let span = (*max_past_ms).max(0) as u64 + 1;
                let past = |row| ((u128::from(self.random(row)) * u128::from(span)) >> 64) as i64;
                let times = rows.map(|row| now_ms - past(row));
                Arc::new(TimestampMillisecondArray::from_iter_values(times))
            }
            Values::Row(fields) => self.row(fields, rows, now_ms)?,
            Values::List { length, item } => {
                let ArrowType::List(field) = &self.arrow_type else {
                    return Err(self.mismatch());
                };
                let (items, offsets) = repeated(item, rows, *length, now_ms)?;
                Arc::new(ListArray::try_new(field.clone(), offsets, items, None)?)
            }
            Values::Map { length, key, value } => self.map(key, value, rows, *length, now_ms)?,
        })
    }

    /// Whole numbers as this column's type: days, ms, unscaled decimals.
    fn whole_numbers(&self, numbers: Int64Array) -> Result<ArrayRef> {
        let numbers: ArrayRef = Arc::new(numbers);
        Ok(match &self.arrow_type {
            ArrowType::Int64 => numbers,
            ArrowType::Decimal128(precision, scale) => {
                let unscaled = numbers.as_primitive::<arrow::datatypes::Int64Type>();
                let wide = Decimal128Array::from_iter_values(
                    unscaled.values().iter().map(|v| i128::from(*v)),
                );
                Arc::new(wide.with_precision_and_scale(*precision, *scale)?)
            }
            ArrowType::Date32 | ArrowType::Time32(_) | ArrowType::Interval(_) => {
                cast(&cast(&numbers, &ArrowType::Int32)?, &self.arrow_type)?
            }
            ArrowType::Duration(TimeUnit::Millisecond) => cast(&numbers, &self.arrow_type)?,
            ArrowType::Utf8View => cast(&numbers, &ArrowType::Utf8View)?,
            other => cast(&numbers, other)?,
        })
    }

    fn text(&self, rows: Range<u64>, length: usize, varies: bool) -> ArrayRef {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut builder = StringViewBuilder::new();
        let mut text = String::with_capacity(length);
        for row in rows {
            text.clear();
            let wanted = self.length(row, length, varies);
            for word in 0..wanted.div_ceil(16) as u64 {
                let random = mix(self.random(row), word);
                let digits = (wanted - text.len()).min(16);
                text.extend((0..digits).map(|i| HEX[(random >> (i * 4)) as usize & 15] as char));
            }
            builder.append_value(&text);
        }
        Arc::new(builder.finish())
    }

    fn bytes(&self, rows: Range<u64>, length: usize, varies: bool) -> ArrayRef {
        let mut builder = BinaryViewBuilder::new();
        let mut bytes = Vec::with_capacity(length);
        for row in rows {
            bytes.clear();
            let wanted = self.length(row, length, varies);
            for word in 0..wanted.div_ceil(8) as u64 {
                bytes.extend_from_slice(&mix(self.random(row), word).to_le_bytes());
            }
            builder.append_value(&bytes[..wanted]);
        }
        Arc::new(builder.finish())
    }

    fn length(&self, row: u64, length: usize, varies: bool) -> usize {
        if varies && length > 0 {
            1 + (mix(self.salt, !row) % length as u64) as usize
        } else {
            length
        }
    }

    fn row(&self, fields: &[FieldGenerator], rows: Range<u64>, now_ms: i64) -> Result<ArrayRef> {
        let ArrowType::Struct(arrow_fields) = &self.arrow_type else {
            return Err(self.mismatch());
        };
        let children = fields
            .iter()
            .map(|f| f.generate(rows.clone(), now_ms))
            .collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(StructArray::try_new(
            arrow_fields.clone(),
            children,
            None,
        )?))
    }

    fn map(
        &self,
        key: &FieldGenerator,
        value: &FieldGenerator,
        rows: Range<u64>,
        length: usize,
        now_ms: i64,
    ) -> Result<ArrayRef> {
        let ArrowType::Map(entries, _) = &self.arrow_type else {
            return Err(self.mismatch());
        };
        let ArrowType::Struct(fields) = entries.data_type() else {
            return Err(self.mismatch());
        };
        let (keys, offsets) = repeated(key, rows.clone(), length, now_ms)?;
        let (values, _) = repeated(value, rows, length, now_ms)?;
        let pairs = StructArray::try_new(fields.clone(), vec![keys, values], None)?;
        Ok(Arc::new(MapArray::try_new(
            entries.clone(),
            offsets,
            pairs,
            None,
            false,
        )?))
    }

    fn mismatch(&self) -> Error {
        Error::internal(format!("datagen values do not fit {}", self.arrow_type))
    }
}

/// The values as this type. Arrow's cast wants to know time zones; ours is always UTC.
fn to_type(values: ArrayRef, arrow_type: &ArrowType) -> Result<ArrayRef> {
    match arrow_type {
        wanted if values.data_type() == wanted => Ok(values),
        ArrowType::Timestamp(unit, Some(_)) => {
            let wall_clock = cast(&values, &ArrowType::Timestamp(*unit, None))?;
            let data = wall_clock
                .to_data()
                .into_builder()
                .data_type(arrow_type.clone());
            Ok(make_array(data.build()?))
        }
        wanted => Ok(cast(&values, wanted)?),
    }
}

/// `length` items for each row, with the lists' offsets.
fn repeated(
    item: &FieldGenerator,
    rows: Range<u64>,
    length: usize,
    now_ms: i64,
) -> Result<(ArrayRef, OffsetBuffer<i32>)> {
    let num_rows = (rows.end - rows.start) as usize;
    let (first, per_row) = (rows.start.wrapping_mul(length as u64), length as u64);
    let items = item.generate(first..first + num_rows as u64 * per_row, now_ms)?;
    Ok((items, OffsetBuffer::from_repeated_length(length, num_rows)))
}

fn sequence(path: &str, data_type: &DataType, options: &Options) -> Result<Values> {
    let bound = |key: &str| {
        if field_option(options, path, key).is_none() {
            let message = format!("a sequence needs the option 'fields.{path}.{key}'");
            return Err(Error::user("MISSING_OPTION", message));
        }
        field_number(options, path, key, 0i64)
    };
    let logical = &data_type.logical;
    if !(logical.is_numeric() || logical.is_character()) {
        let message = format!("column '{path}' of type {data_type} cannot be a sequence");
        return Err(Error::user("INVALID_OPTION", message));
    }
    Ok(Values::Sequence {
        start: bound("start")?,
        end: bound("end")?,
    })
}

fn random(path: &str, data_type: &DataType, options: &Options) -> Result<Values> {
    let integer = |min: i64, max: i64| -> Result<Values> {
        Ok(Values::Integer {
            min: field_number(options, path, "min", min)?,
            max: field_number(options, path, "max", max)?,
        })
    };
    let float = |max: f64| -> Result<Values> {
        Ok(Values::Float {
            min: field_number(options, path, "min", -max)?,
            max: field_number(options, path, "max", max)?,
        })
    };
    let length = |default| field_number(options, path, "length", default);
    let varies = field_number(options, path, "var-len", false)?;
    let nested =
        |name: &str, t: &DataType| FieldGenerator::new(&format!("{path}.{name}"), t, options);
    Ok(match &data_type.logical {
        LogicalType::Boolean => Values::Boolean,
        LogicalType::TinyInt => integer(i8::MIN.into(), i8::MAX.into())?,
        LogicalType::SmallInt => integer(i16::MIN.into(), i16::MAX.into())?,
        LogicalType::Int => integer(i32::MIN.into(), i32::MAX.into())?,
        LogicalType::BigInt => integer(i64::MIN, i64::MAX)?,
        LogicalType::Float => float(f32::MAX.into())?,
        LogicalType::Double => float(f64::MAX / 2.0)?,
        LogicalType::Decimal(precision, scale) => decimal(path, *precision, *scale, options)?,
        LogicalType::Char(n) => Values::Text {
            length: *n as usize,
            varies: false,
        },
        LogicalType::VarChar(n) => Values::Text {
            length: length(DEFAULT_TEXT_LENGTH.min(*n as usize))?,
            varies,
        },
        LogicalType::Binary(n) => Values::Bytes {
            length: *n as usize,
            varies: false,
        },
        LogicalType::VarBinary(n) => Values::Bytes {
            length: length(DEFAULT_TEXT_LENGTH.min(*n as usize))?,
            varies,
        },
        LogicalType::Date => Values::Integer {
            min: 0,
            max: 20_000,
        },
        LogicalType::Time(_) => Values::Integer {
            min: 0,
            max: 86_399_999,
        },
        LogicalType::Timestamp(_) | LogicalType::TimestampLtz(_) => {
            let text = field_option(options, path, "max-past").unwrap_or("0");
            let past = parse_duration(text).ok_or_else(|| {
                let message =
                    format!("option 'fields.{path}.max-past' is '{text}'; it takes a duration");
                Error::user("INVALID_OPTION", message)
            })?;
            Values::Past {
                max_past_ms: past.as_millis() as i64,
            }
        }
        LogicalType::IntervalYearMonth => integer(0, 120_000)?,
        LogicalType::IntervalDaySecond => integer(0, i64::from(i32::MAX))?,
        LogicalType::Row(fields) => {
            let fields = fields.iter().map(|f| nested(&f.name, &f.data_type));
            Values::Row(fields.collect::<Result<_>>()?)
        }
        LogicalType::Array(item) => Values::List {
            length: length(DEFAULT_COLLECTION_LENGTH)?,
            item: Box::new(nested("element", item)?),
        },
        LogicalType::Map(key, value) => Values::Map {
            length: length(DEFAULT_COLLECTION_LENGTH)?,
            key: Box::new(nested("key", key)?),
            value: Box::new(nested("value", value)?),
        },
        LogicalType::Multiset(item) => Values::Map {
            length: length(DEFAULT_COLLECTION_LENGTH)?,
            key: Box::new(nested("element", item)?),
            value: Box::new(FieldGenerator::new(
                path,
                &LogicalType::Int.not_null(),
                options,
            )?),
        },
        LogicalType::Null => {
            let message = format!("column '{path}' has no type that datagen can fill");
            return Err(Error::user("INVALID_OPTION", message));
        }
    })
}

/// Random unscaled numbers between `min` and `max`, which are in whole units.
fn decimal(path: &str, precision: u8, scale: u8, options: &Options) -> Result<Values> {
    let unit = 10f64.powi(i32::from(scale));
    let most = 10f64.powi(i32::from(precision)).min(9e18) - 1.0;
    let bound = |key, default: f64| -> Result<i64> {
        let value: f64 = field_number(options, path, key, default / unit)?;
        Ok((value * unit).clamp(-most, most) as i64)
    };
    Ok(Values::Integer {
        min: bound("min", -most)?,
        max: bound("max", most)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generate(data_type: DataType, pairs: &[(&str, &str)]) -> ArrayRef {
        let options = pairs
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect();
        FieldGenerator::new("f", &data_type, &options)
            .unwrap()
            .generate(0..100, 1_000_000)
            .unwrap()
    }

    #[test]
    fn random_numbers_stay_between_their_bounds() {
        let array = generate(
            LogicalType::Int.nullable(),
            &[("fields.f.min", "3"), ("fields.f.max", "5")],
        );
        let values = array.as_primitive::<arrow::datatypes::Int32Type>();
        assert!(values.values().iter().all(|v| (3..=5).contains(v)));
        assert!((3..=5).all(|v| values.values().contains(&v)));
    }

    #[test]
    fn every_type_gives_its_arrow_type() {
        let types = [
            LogicalType::TinyInt,
            LogicalType::Double,
            LogicalType::Decimal(20, 3),
            LogicalType::STRING,
            LogicalType::Char(4),
            LogicalType::BYTES,
            LogicalType::Date,
            LogicalType::Time(0),
            LogicalType::Timestamp(6),
            LogicalType::TimestampLtz(9),
            LogicalType::IntervalDaySecond,
            LogicalType::IntervalYearMonth,
            LogicalType::Boolean,
            LogicalType::Float,
            LogicalType::Array(Arc::new(LogicalType::STRING.nullable())),
            LogicalType::Map(
                Arc::new(LogicalType::Int.not_null()),
                Arc::new(LogicalType::Date.nullable()),
            ),
        ];
        for logical in types {
            let array = generate(logical.clone().nullable(), &[]);
            assert_eq!(array.data_type(), &logical.to_arrow(), "{logical}");
            array.to_data().validate_full().unwrap();
        }
    }

    #[test]
    fn nulls_come_at_their_rate() {
        let array = generate(
            LogicalType::Boolean.nullable(),
            &[("fields.f.null-rate", "0.5")],
        );
        assert!(
            (30..70).contains(&array.null_count()),
            "{}",
            array.null_count()
        );
    }

    #[test]
    fn sequences_count() {
        let array = generate(
            LogicalType::BigInt.nullable(),
            &[
                ("fields.f.kind", "sequence"),
                ("fields.f.start", "7"),
                ("fields.f.end", "200"),
            ],
        );
        assert_eq!(
            array.as_primitive::<arrow::datatypes::Int64Type>().value(1),
            8
        );
    }
}
