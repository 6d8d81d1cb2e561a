//! Numbers, booleans and intervals to each other, as Java converts them.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Decimal128Array};
use arrow::datatypes::*;
use flott_core::Result;
use flott_core::text::number::{parse_decimal, power_of_ten, rescale, write_double};
use flott_core::types::LogicalType;

use super::unexpected;

macro_rules! convert {
    ($array:ident, $from:ty, $to:ty, $value:ident => $result:expr) => {
        Arc::new(
            $array
                .as_primitive::<$from>()
                .unary::<_, $to>(|$value| $result),
        ) as ArrayRef
    };
}

/// From a primitive of Rust's numbers; `as` is what Java does, through `int` for narrow types.
macro_rules! from_number {
    ($array:ident, $from:ty, $to:expr, $decimal:expr) => {
        match $to {
            LogicalType::TinyInt => convert!($array, $from, Int8Type, v => v as i32 as i8),
            LogicalType::SmallInt => convert!($array, $from, Int16Type, v => v as i32 as i16),
            LogicalType::Int => convert!($array, $from, Int32Type, v => v as i32),
            LogicalType::BigInt => convert!($array, $from, Int64Type, v => v as i64),
            LogicalType::Float => convert!($array, $from, Float32Type, v => v as f32),
            LogicalType::Double => convert!($array, $from, Float64Type, v => v as f64),
            LogicalType::IntervalYearMonth => {
                convert!($array, $from, IntervalYearMonthType, v => v as i32)
            }
            LogicalType::IntervalDaySecond => {
                convert!($array, $from, DurationMillisecondType, v => v as i64)
            }
            LogicalType::Boolean => {
                let array = $array.as_primitive::<$from>();
                let zero = <$from as ArrowPrimitiveType>::Native::default();
                Arc::new(BooleanArray::from_unary(array, |v| v != zero))
            }
            LogicalType::Decimal(precision, scale) => {
                let (precision, scale) = (*precision, *scale);
                let convert = $decimal;
                let array = $array.as_primitive::<$from>();
                let values: Decimal128Array =
                    array.unary_opt(|v| convert(v, precision, scale));
                with_digits(values, precision, scale)?
            }
            _ => return Ok(None),
        }
    };
}

fn with_digits(values: Decimal128Array, precision: u8, scale: u8) -> Result<ArrayRef> {
    Ok(Arc::new(
        values.with_precision_and_scale(precision, scale as i8)?,
    ))
}

/// Casts numbers, booleans and intervals.
pub fn cast_number(array: &ArrayRef, from: &LogicalType, to: &LogicalType) -> Result<ArrayRef> {
    if let LogicalType::Decimal(precision, scale) = to
        && let Some(exact) = exact_decimals(array, from, (*precision, *scale))?
    {
        return Ok(exact);
    }
    cast_primitive(array, from, to)?.ok_or_else(|| unexpected(from, to))
}

fn cast_primitive(
    array: &ArrayRef,
    from: &LogicalType,
    to: &LogicalType,
) -> Result<Option<ArrayRef>> {
    Ok(Some(match from {
        LogicalType::TinyInt => from_number!(array, Int8Type, to, decimal_of),
        LogicalType::SmallInt => from_number!(array, Int16Type, to, decimal_of),
        LogicalType::Int => from_number!(array, Int32Type, to, decimal_of),
        LogicalType::BigInt => from_number!(array, Int64Type, to, decimal_of),
        LogicalType::Float => {
            from_number!(array, Float32Type, to, |v, p, s| decimal_of_double(
                f64::from(v),
                p,
                s
            ))
        }
        LogicalType::Double => from_number!(array, Float64Type, to, decimal_of_double),
        LogicalType::IntervalYearMonth => {
            from_number!(array, IntervalYearMonthType, to, decimal_of)
        }
        LogicalType::IntervalDaySecond => {
            from_number!(array, DurationMillisecondType, to, decimal_of)
        }
        LogicalType::Boolean => {
            let bits = array.as_boolean().iter().map(|v| v.map(i32::from));
            let bits: ArrayRef = Arc::new(bits.collect::<arrow::array::Int32Array>());
            from_number!(bits, Int32Type, to, decimal_of)
        }
        LogicalType::Decimal(_, scale) => return cast_decimal(array, *scale, to),
        _ => return Ok(None),
    }))
}

/// Integers as decimals that have room for all of them.
fn exact_decimals(
    array: &ArrayRef,
    from: &LogicalType,
    (precision, scale): (u8, u8),
) -> Result<Option<ArrayRef>> {
    let power = power_of_ten(u32::from(scale));
    macro_rules! widen {
        ($from:ty, $digits:literal) => {
            (precision >= scale && precision - scale >= $digits).then(|| {
                let array = array.as_primitive::<$from>();
                array.unary::<_, Decimal128Type>(|v| i128::from(v) * power)
            })
        };
    }
    let values = match from {
        LogicalType::TinyInt => widen!(Int8Type, 3),
        LogicalType::SmallInt => widen!(Int16Type, 5),
        LogicalType::Int => widen!(Int32Type, 10),
        LogicalType::BigInt => widen!(Int64Type, 19),
        _ => None,
    };
    values.map(|v| with_digits(v, precision, scale)).transpose()
}

fn decimal_of<T: Into<i64>>(value: T, precision: u8, scale: u8) -> Option<i128> {
    rescale(i128::from(value.into()), i32::from(scale), precision)
}

/// The decimal of a double's shortest text, as Java's `BigDecimal.valueOf`; NULL for NaN, infinity
/// and what has too many digits.
pub fn decimal_of_double(value: f64, precision: u8, scale: u8) -> Option<i128> {
    let mut text = String::new();
    write_double(value, &mut text);
    parse_decimal(&text, precision, scale).flatten()
}

/// The double nearest to a decimal.
pub fn double_of_decimal(unscaled: i128, scale: u8) -> f64 {
    const EXACT: u128 = 1 << 53;
    if unscaled.unsigned_abs() <= EXACT && scale <= 22 {
        // Both are exact, so that the division rounds once.
        return unscaled as f64 / power_of_ten(u32::from(scale)) as f64;
    }
    format!("{unscaled}e-{scale}").parse().unwrap_or(f64::NAN)
}

fn cast_decimal(array: &ArrayRef, scale: u8, to: &LogicalType) -> Result<Option<ArrayRef>> {
    let power = power_of_ten(u32::from(scale));
    Ok(Some(match to {
        LogicalType::TinyInt => {
            convert!(array, Decimal128Type, Int8Type, v => (v / power) as i8)
        }
        LogicalType::SmallInt => {
            convert!(array, Decimal128Type, Int16Type, v => (v / power) as i16)
        }
        LogicalType::Int => convert!(array, Decimal128Type, Int32Type, v => (v / power) as i32),
        LogicalType::BigInt => convert!(array, Decimal128Type, Int64Type, v => (v / power) as i64),
        LogicalType::Float => {
            convert!(array, Decimal128Type, Float32Type, v => double_of_decimal(v, scale) as f32)
        }
        LogicalType::Double => {
            convert!(array, Decimal128Type, Float64Type, v => double_of_decimal(v, scale))
        }
        LogicalType::Boolean => {
            let values = array.as_primitive::<Decimal128Type>();
            Arc::new(BooleanArray::from_unary(values, |v| v != 0))
        }
        LogicalType::Decimal(precision, new_scale) => {
            let exponent = i32::from(*new_scale) - i32::from(scale);
            let values = array.as_primitive::<Decimal128Type>();
            let values: Decimal128Array = values.unary_opt(|v| rescale(v, exponent, *precision));
            with_digits(values, *precision, *new_scale)?
        }
        _ => return Ok(None),
    }))
}
