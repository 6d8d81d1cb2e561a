//! Character and byte strings: what their text means, and the lengths of their types.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryViewBuilder, PrimitiveArray,
    StringViewArray, StringViewBuilder,
};
use arrow::datatypes::*;
use flott_core::text::zone::ZoneCursor;
use flott_core::text::{
    parse_boolean, parse_date, parse_decimal, parse_double, parse_float, parse_integer, parse_time,
    parse_timestamp, parse_timestamp_ltz,
};
use flott_core::types::{LogicalType, MAX_LENGTH};
use flott_core::{Error, Result};

use super::{CastOptions, unexpected};
use crate::functions::kernel::{Bool, Output, collect};

/// Reads every text of a column as a value of `to`.
pub fn parse_array(
    array: &ArrayRef,
    (from, to): (&LogicalType, &LogicalType),
    options: &CastOptions,
) -> Result<ArrayRef> {
    let text = array
        .as_string_view_opt()
        .ok_or_else(|| unexpected(from, to))?;
    let parser = Parser {
        text,
        from,
        to,
        is_try: options.is_try,
    };
    let mut zone = ZoneCursor::new(options.time_zone);
    match to {
        // Unlike numbers, not with blanks around it.
        LogicalType::Boolean => parser.run::<Bool>(|t| match t.trim().len() == t.len() {
            true => parse_boolean(t),
            false => None,
        }),
        LogicalType::TinyInt => parser.run::<Int8Type>(|t| parse_integer(t)?.try_into().ok()),
        LogicalType::SmallInt => parser.run::<Int16Type>(|t| parse_integer(t)?.try_into().ok()),
        LogicalType::Int => parser.run::<Int32Type>(|t| parse_integer(t)?.try_into().ok()),
        LogicalType::BigInt => parser.run::<Int64Type>(parse_integer),
        LogicalType::Float => parser.run::<Float32Type>(parse_float),
        LogicalType::Double => parser.run::<Float64Type>(parse_double),
        LogicalType::Date => parser.run::<Date32Type>(parse_date),
        LogicalType::Time(_) => parser.run::<Time32MillisecondType>(parse_time),
        LogicalType::Decimal(precision, scale) => parser.decimals(*precision, *scale),
        LogicalType::Timestamp(p) => parser.timestamps(|t| parse_timestamp(t, *p)),
        LogicalType::TimestampLtz(p) => {
            parser.timestamps(|t| parse_timestamp_ltz(t, *p, &mut zone))
        }
        LogicalType::Binary(_) | LogicalType::VarBinary(_) => {
            fit_bytes(&(Arc::new(text.clone().to_binary_view()) as ArrayRef), to)
        }
        _ => Err(unexpected(from, to)),
    }
}

struct Parser<'a> {
    text: &'a StringViewArray,
    from: &'a LogicalType,
    to: &'a LogicalType,
    is_try: bool,
}

impl Parser<'_> {
    fn run<O: Output>(&self, mut parse: impl FnMut(&str) -> Option<O::Value>) -> Result<ArrayRef> {
        collect::<O>(self.text.len(), |row| {
            if self.text.is_null(row) {
                return Ok(None);
            }
            let text = self.text.value(row);
            match parse(text) {
                None if !self.is_try => Err(self.failure(text)),
                parsed => Ok(parsed),
            }
        })
    }

    fn failure(&self, text: &str) -> Error {
        let (from, to) = (self.from, self.to);
        let message =
            format!("cannot cast '{text}' of type {from} to {to}; TRY_CAST would give NULL");
        Error::user("CAST_FAILED", message)
    }

    fn decimals(&self, precision: u8, scale: u8) -> Result<ArrayRef> {
        let mut values = Vec::with_capacity(self.text.len());
        for text in self.text {
            values.push(match text {
                None => None,
                Some(text) => match parse_decimal(text, precision, scale) {
                    None if !self.is_try => return Err(self.failure(text)),
                    parsed => parsed.flatten(),
                },
            });
        }
        let values = PrimitiveArray::<Decimal128Type>::from(values);
        Ok(Arc::new(
            values.with_precision_and_scale(precision, scale as i8)?,
        ))
    }

    fn timestamps(&self, parse: impl FnMut(&str) -> Option<i64>) -> Result<ArrayRef> {
        let values = self.run::<Int64Type>(parse)?;
        retype_i64(values.as_primitive(), self.to)
    }
}

/// 64-bit values as the timestamps that `to` holds.
pub fn retype_i64(values: &PrimitiveArray<Int64Type>, to: &LogicalType) -> Result<ArrayRef> {
    let arrow_type = to.to_arrow();
    macro_rules! retype {
        ($type:ty) => {
            retyped::<$type>(values, arrow_type.clone())
        };
    }
    Ok(match &arrow_type {
        DataType::Timestamp(TimeUnit::Millisecond, _) => retype!(TimestampMillisecondType),
        DataType::Timestamp(TimeUnit::Microsecond, _) => retype!(TimestampMicrosecondType),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => retype!(TimestampNanosecondType),
        DataType::Duration(TimeUnit::Millisecond) => retype!(DurationMillisecondType),
        _ => return Err(Error::internal(format!("{to} is not held in 64 bits"))),
    })
}

fn retyped<T: ArrowPrimitiveType<Native = i64>>(
    values: &PrimitiveArray<Int64Type>,
    data_type: DataType,
) -> ArrayRef {
    let array = PrimitiveArray::<T>::new(values.values().clone(), values.nulls().cloned());
    Arc::new(array.with_data_type(data_type))
}

/// Cuts texts off at the length of their type; CHAR is filled up with spaces.
pub fn fit_text(array: ArrayRef, to: &LogicalType) -> Result<ArrayRef> {
    let (length, is_padded) = match to {
        LogicalType::VarChar(MAX_LENGTH) => return Ok(array),
        LogicalType::VarChar(length) => (*length as usize, false),
        LogicalType::Char(length) => (*length as usize, true),
        _ => return Err(Error::internal(format!("{to} is not a character type"))),
    };
    let text = array.as_string_view();
    // No more bytes than characters are allowed: nothing to cut.
    if !is_padded && text.iter().flatten().all(|t| t.len() <= length) {
        return Ok(array);
    }
    let mut builder = StringViewBuilder::with_capacity(text.len());
    let mut padded = String::new();
    for value in text {
        let Some(value) = value else {
            builder.append_null();
            continue;
        };
        let end = value
            .char_indices()
            .nth(length)
            .map_or(value.len(), |(end, _)| end);
        let missing = if is_padded {
            length.saturating_sub(value.chars().count())
        } else {
            0
        };
        if missing == 0 {
            builder.append_value(&value[..end]);
        } else {
            padded.clear();
            padded.push_str(value);
            padded.extend(std::iter::repeat_n(' ', missing));
            builder.append_value(&padded);
        }
    }
    Ok(Arc::new(builder.finish()))
}

/// Cuts bytes off at the length of their type; BINARY is filled up with zeros.
pub fn fit_bytes(array: &ArrayRef, to: &LogicalType) -> Result<ArrayRef> {
    let (length, is_padded) = match to {
        LogicalType::VarBinary(length) => (*length as usize, false),
        LogicalType::Binary(length) => (*length as usize, true),
        _ => return Err(Error::internal(format!("{to} is not a byte string type"))),
    };
    let bytes = array.as_binary_view();
    if bytes
        .iter()
        .flatten()
        .all(|b| b.len() == length || (!is_padded && b.len() < length))
    {
        return Ok(array.clone());
    }
    let mut builder = BinaryViewBuilder::with_capacity(bytes.len());
    for value in bytes {
        builder.append_option(value.map(|value| {
            let mut fitted = value[..value.len().min(length)].to_vec();
            if is_padded {
                fitted.resize(length, 0);
            }
            fitted
        }));
    }
    Ok(Arc::new(builder.finish()))
}
