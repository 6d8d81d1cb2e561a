//! Values of at most 64 bits as words and back: keys that need no bytes elsewhere.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray, PrimitiveBuilder,
};
use arrow::datatypes::*;
use flott_core::{Error, Result};

/// Whether values of this type fit a word.
pub(crate) fn fits_word(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Boolean
            | DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Float32
            | DataType::Float64
            | DataType::Date32
            | DataType::Time32(TimeUnit::Millisecond)
            | DataType::Timestamp(
                TimeUnit::Millisecond | TimeUnit::Microsecond | TimeUnit::Nanosecond,
                _
            )
            | DataType::Duration(TimeUnit::Millisecond)
            | DataType::Interval(IntervalUnit::YearMonth)
    )
}

/// Calls `$with!(ArrowType, value => word, word => value)` for the primitive type.
macro_rules! by_type {
    ($data_type:expr, $with:ident, $other:expr) => {
        match $data_type {
            DataType::Int8 => $with!(Int8Type, v => v as u64, w => w as i8),
            DataType::Int16 => $with!(Int16Type, v => v as u64, w => w as i16),
            DataType::Int32 => $with!(Int32Type, v => v as u64, w => w as i32),
            DataType::Int64 => $with!(Int64Type, v => v as u64, w => w as i64),
            DataType::Float32 => {
                $with!(Float32Type, v => float_word(v.into()), w => f64::from_bits(w) as f32)
            }
            DataType::Float64 => $with!(Float64Type, v => float_word(v), w => f64::from_bits(w)),
            DataType::Date32 => $with!(Date32Type, v => v as u64, w => w as i32),
            DataType::Time32(_) => $with!(Time32MillisecondType, v => v as u64, w => w as i32),
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                $with!(TimestampMillisecondType, v => v as u64, w => w as i64)
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                $with!(TimestampMicrosecondType, v => v as u64, w => w as i64)
            }
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                $with!(TimestampNanosecondType, v => v as u64, w => w as i64)
            }
            DataType::Duration(_) => $with!(DurationMillisecondType, v => v as u64, w => w as i64),
            DataType::Interval(_) => $with!(IntervalYearMonthType, v => v as u64, w => w as i32),
            _ => $other,
        }
    };
}

/// Equal floats are one word: `-0.0` is `0.0`, and every NaN is the same.
fn float_word(value: f64) -> u64 {
    if value == 0.0 {
        0
    } else if value.is_nan() {
        f64::NAN.to_bits()
    } else {
        value.to_bits()
    }
}

/// The word of each value; of a NULL any.
pub(crate) fn words_of(array: &dyn Array, words: &mut Vec<u64>) -> Result<()> {
    words.clear();
    macro_rules! words {
        ($type:ty, $v:ident => $word:expr, $w:ident => $value:expr) => {{
            let values = array.as_primitive::<$type>().values().iter();
            words.extend(values.map(|&$v| $word));
        }};
    }
    if let Some(booleans) = array.as_boolean_opt() {
        words.extend(booleans.values().iter().map(u64::from));
        return Ok(());
    }
    by_type!(
        array.data_type(),
        words,
        return Err(no_word(array.data_type()))
    );
    Ok(())
}

/// The values of words; `None` is NULL.
pub(crate) fn array_of(
    words: impl ExactSizeIterator<Item = Option<u64>>,
    data_type: &DataType,
) -> Result<ArrayRef> {
    macro_rules! values {
        ($type:ty, $v:ident => $word:expr, $w:ident => $value:expr) => {
            Arc::new(collect::<$type>(words, |$w| $value).with_data_type(data_type.clone()))
        };
    }
    if *data_type == DataType::Boolean {
        let booleans = words.map(|w| w.map(|w| w != 0));
        return Ok(Arc::new(booleans.collect::<BooleanArray>()));
    }
    Ok(by_type!(data_type, values, return Err(no_word(data_type))))
}

fn collect<T: ArrowPrimitiveType>(
    words: impl ExactSizeIterator<Item = Option<u64>>,
    value: impl Fn(u64) -> T::Native,
) -> PrimitiveArray<T> {
    let mut builder = PrimitiveBuilder::<T>::with_capacity(words.len());
    words.for_each(|w| builder.append_option(w.map(&value)));
    builder.finish()
}

fn no_word(data_type: &DataType) -> Error {
    Error::internal(format!("{data_type} does not fit a word"))
}
