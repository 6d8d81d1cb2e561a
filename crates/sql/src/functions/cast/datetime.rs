//! Dates, times, timestamps and points in time to each other.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::datatypes::*;
use chrono_tz::Tz;
use flott_core::Result;
use flott_core::text::datetime::units_per_second;
use flott_core::text::zone::ZoneCursor;
use flott_core::types::LogicalType;

use super::string::retype_i64;
use super::unexpected;

const DAY_SECONDS: i64 = 86_400;

/// Wall-clock or UTC time: seconds since 1970-01-01 and nanoseconds.
type Moment = (i64, i64);

/// The values of a date, time or timestamp column as 64-bit numbers in their own unit.
pub fn values_i64(array: &ArrayRef) -> Option<Int64Array> {
    macro_rules! as_is {
        ($type:ty) => {{
            let array = array.as_primitive::<$type>();
            Int64Array::new(array.values().clone(), array.nulls().cloned())
        }};
    }
    Some(match array.data_type() {
        DataType::Date32 => array.as_primitive::<Date32Type>().unary(i64::from),
        DataType::Time32(TimeUnit::Millisecond) => array
            .as_primitive::<Time32MillisecondType>()
            .unary(i64::from),
        DataType::Timestamp(TimeUnit::Millisecond, _) => as_is!(TimestampMillisecondType),
        DataType::Timestamp(TimeUnit::Microsecond, _) => as_is!(TimestampMicrosecondType),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => as_is!(TimestampNanosecondType),
        _ => return None,
    })
}

fn read(logical: &LogicalType, value: i64) -> Option<Moment> {
    let per_second = match logical {
        LogicalType::Date => return Some((value * DAY_SECONDS, 0)),
        LogicalType::Time(_) => 1000,
        LogicalType::Timestamp(precision) | LogicalType::TimestampLtz(precision) => {
            units_per_second(*precision)
        }
        _ => return None,
    };
    let nanos = value.rem_euclid(per_second) * (1_000_000_000 / per_second);
    Some((value.div_euclid(per_second), nanos))
}

fn write(logical: &LogicalType, (seconds, nanos): Moment) -> Option<i64> {
    match logical {
        LogicalType::Date => Some(seconds.div_euclid(DAY_SECONDS)),
        LogicalType::Time(_) => Some(seconds.rem_euclid(DAY_SECONDS) * 1000 + nanos / 1_000_000),
        LogicalType::Timestamp(precision) | LogicalType::TimestampLtz(precision) => {
            let per_second = units_per_second(*precision);
            let kept = 10i64.pow(9 - u32::from(*precision.min(&9)));
            let fraction = nanos / kept * kept / (1_000_000_000 / per_second);
            seconds.checked_mul(per_second)?.checked_add(fraction)
        }
        _ => None,
    }
}

/// Casts between dates, times and timestamps; digits that the new type lacks are cut off.
pub fn cast_datetime(
    array: &ArrayRef,
    from: &LogicalType,
    to: &LogicalType,
    time_zone: Tz,
) -> Result<ArrayRef> {
    let values = values_i64(array).ok_or_else(|| unexpected(from, to))?;
    let was_point = matches!(from, LogicalType::TimestampLtz(_));
    let is_point = matches!(to, LogicalType::TimestampLtz(_));
    let mut zone = ZoneCursor::new(time_zone);
    let mut convert = |value: i64| {
        let (seconds, nanos) = read(from, value)?;
        let seconds = match (was_point, is_point) {
            (true, false) => zone.to_local(seconds, 1),
            (false, true) => zone.to_utc(seconds, 1),
            _ => seconds,
        };
        write(to, (seconds, nanos))
    };
    let converted: Int64Array = values.iter().map(|v| v.and_then(&mut convert)).collect();
    match to {
        LogicalType::Date => Ok(Arc::new(converted.unary::<_, Date32Type>(|v| v as i32))),
        LogicalType::Time(_) => Ok(Arc::new(
            converted.unary::<_, Time32MillisecondType>(|v| v as i32),
        )),
        _ => retype_i64(&converted, to),
    }
}
