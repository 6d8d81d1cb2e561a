//! Timestamps between a file and the table: the zone of the clock, units, and INT96.
//!
//! Without `utc-timezone` Flink writes what a clock in the machine's zone shows as the point in time
//! at which it shows that, and the other way round when it reads. It does so with `TIMESTAMP` and
//! `TIMESTAMP_LTZ` alike, in columns and inside of nested values.

use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::Buffer;
use arrow::datatypes::*;
use flott_core::text::zone::ZoneCursor;
use flott_core::{Error, Result};

/// Bytes of an INT96.
pub(super) const INT96_BYTES: i32 = 12;
/// The Julian day of 1970-01-01.
const JULIAN_EPOCH: i64 = 2_440_588;
const DAY_SECONDS: i64 = 86_400;

pub(super) fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// The type with `change` applied to the timestamps in it.
pub(super) fn map_type(data_type: &DataType, change: &dyn Fn(TimeUnit) -> DataType) -> DataType {
    let inner = |field: &FieldRef| {
        let inner = map_type(field.data_type(), change);
        Arc::new(field.as_ref().clone().with_data_type(inner))
    };
    match data_type {
        DataType::Timestamp(unit, _) => change(*unit),
        DataType::List(item) => DataType::List(inner(item)),
        DataType::Map(entries, sorted) => DataType::Map(inner(entries), *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        other => other.clone(),
    }
}

pub(super) fn has_timestamps(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(..) => true,
        DataType::List(inner) | DataType::Map(inner, _) => has_timestamps(inner.data_type()),
        DataType::Struct(fields) => fields.iter().any(|f| has_timestamps(f.data_type())),
        _ => false,
    }
}

/// What is done with a column of timestamps.
pub(super) type Change<'a> = dyn FnMut(&ArrayRef) -> Result<ArrayRef> + 'a;

/// The array with `change` applied to the timestamps in it.
pub(super) fn map_array(array: &ArrayRef, change: &mut Change<'_>) -> Result<ArrayRef> {
    if !has_timestamps(array.data_type()) {
        return Ok(array.clone());
    }
    Ok(match array.data_type() {
        DataType::List(item) => {
            let list = array.as_list::<i32>();
            let values = map_array(list.values(), change)?;
            let item = item.as_ref().clone();
            let item = item.with_data_type(values.data_type().clone());
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            Arc::new(ListArray::try_new(Arc::new(item), offsets, values, nulls)?)
        }
        DataType::Map(entries, sorted) => {
            let map = array.as_map();
            let rows: ArrayRef = Arc::new(map.entries().clone());
            let rows = map_array(&rows, change)?;
            let entries = entries.as_ref().clone();
            let entries = Arc::new(entries.with_data_type(rows.data_type().clone()));
            let rows = rows.as_struct().clone();
            let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
            Arc::new(MapArray::try_new(entries, offsets, rows, nulls, *sorted)?)
        }
        DataType::Struct(fields) => {
            let rows = array.as_struct();
            let columns = rows.columns().iter().map(|c| map_array(c, change));
            let columns = columns.collect::<Result<Vec<_>>>()?;
            let fields = fields.iter().zip(&columns).map(|(field, column)| {
                let field = field.as_ref().clone();
                field.with_data_type(column.data_type().clone())
            });
            let (nulls, len) = (rows.nulls().cloned(), rows.len());
            let fields = fields.collect::<Vec<_>>().into();
            let rows = StructArray::try_new_with_length(fields, columns, nulls, len)?;
            Arc::new(rows)
        }
        _ => change(array)?,
    })
}

/// The numbers of a column of timestamps, and their unit.
fn numbers(array: &ArrayRef) -> Result<(Int64Array, TimeUnit)> {
    let DataType::Timestamp(unit, _) = array.data_type() else {
        let message = format!("timestamps that are {}", array.data_type());
        return Err(Error::internal(message));
    };
    let data = array.to_data().into_builder().data_type(DataType::Int64);
    Ok((Int64Array::from(data.build()?), *unit))
}

/// The zone whose clock the files of a table show: `None` for UTC.
pub(super) fn zone_of_files(is_utc: bool) -> Option<ZoneCursor> {
    Some(ZoneCursor::of_machine()).filter(|zone| !is_utc && !zone.is_utc())
}

/// What the zone's clock shows at these points in time.
pub(super) fn to_local(array: &ArrayRef, zone: &mut ZoneCursor) -> Result<ArrayRef> {
    moved(array, |value, per_second| zone.to_local(value, per_second))
}

/// The points in time at which the zone's clock shows this.
pub(super) fn to_utc(array: &ArrayRef, zone: &mut ZoneCursor) -> Result<ArrayRef> {
    moved(array, |value, per_second| {
        zone.to_later_utc(value, per_second)
    })
}

fn moved(array: &ArrayRef, mut to: impl FnMut(i64, i64) -> i64) -> Result<ArrayRef> {
    let (values, unit) = numbers(array)?;
    let per_second = per_second(unit);
    let moved = values.values().iter().map(|value| to(*value, per_second));
    let moved = Int64Array::new(moved.collect(), values.nulls().cloned());
    let data = moved.into_data().into_builder();
    Ok(make_array(
        data.data_type(array.data_type().clone()).build()?,
    ))
}

/// Timestamps as INT96: nanoseconds of the day and the Julian day, little-endian.
///
/// # Errors
/// A user error for one whose day is out of range.
pub(super) fn to_int96(array: &ArrayRef) -> Result<ArrayRef> {
    let (values, unit) = numbers(array)?;
    let per_second = per_second(unit);
    let per_day = per_second.saturating_mul(DAY_SECONDS);
    let mut bytes = Vec::with_capacity(values.len() * INT96_BYTES as usize);
    for (row, value) in values.values().iter().enumerate() {
        let value = if values.is_null(row) { 0 } else { *value };
        let nanos = value.rem_euclid(per_day) * (1_000_000_000 / per_second);
        let day = value.div_euclid(per_day) + JULIAN_EPOCH;
        let day = i32::try_from(day).map_err(|_| {
            let message = format!("a timestamp of {value} {unit:?}s is out of the range of INT96");
            Error::user("MALFORMED_RECORD", message)
        })?;
        bytes.extend_from_slice(&nanos.to_le_bytes());
        bytes.extend_from_slice(&day.to_le_bytes());
    }
    let nulls = values.nulls().cloned();
    let array = FixedSizeBinaryArray::try_new(INT96_BYTES, Buffer::from_vec(bytes), nulls)?;
    Ok(Arc::new(array))
}

/// Timestamps in `unit`, as INT64 holds them.
///
/// # Errors
/// A user error for one that the unit cannot hold.
pub(super) fn to_unit(array: &ArrayRef, to: TimeUnit) -> Result<ArrayRef> {
    let (values, from) = numbers(array)?;
    let (from_rate, to_rate) = (per_second(from), per_second(to));
    let values: Int64Array = match from_rate > to_rate {
        true => values.unary(|v| v.div_euclid(from_rate / to_rate)),
        false => values.try_unary(|v| {
            v.checked_mul(to_rate / from_rate).ok_or_else(|| {
                let message =
                    format!("a timestamp of {v} {from:?}s is out of the range of {to:?}s");
                Error::user("MALFORMED_RECORD", message)
            })
        })?,
    };
    let data = values.into_data().into_builder();
    Ok(make_array(
        data.data_type(DataType::Timestamp(to, None)).build()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(values: &[Option<i64>]) -> ArrayRef {
        Arc::new(
            values
                .iter()
                .copied()
                .collect::<TimestampMicrosecondArray>(),
        )
    }

    #[test]
    fn a_clock_in_another_zone_shows_the_same_again() {
        let mut zone = ZoneCursor::named("America/Los_Angeles").unwrap();
        // 2024-07-01 12:34:56.789 and 1965-01-01 00:00:00, as clocks show them.
        let shown = micros(&[
            Some(1_719_837_296_789_000),
            None,
            Some(-157_766_400_000_000),
        ]);
        let instants = to_utc(&shown, &mut zone).unwrap();
        let expected = micros(&[
            Some(1_719_862_496_789_000),
            None,
            Some(-157_737_600_000_000),
        ]);
        assert_eq!(&instants, &expected);
        assert_eq!(&to_local(&instants, &mut zone).unwrap(), &shown);
    }

    #[test]
    fn int96_counts_days_from_noon_of_long_ago() {
        let array = to_int96(&micros(&[Some(-1), None, Some(86_400_000_001)])).unwrap();
        let array = array.as_fixed_size_binary();
        let last_of_day: i64 = 86_399_999_999_000;
        let mut before = last_of_day.to_le_bytes().to_vec();
        before.extend_from_slice(&2_440_587u32.to_le_bytes());
        assert_eq!(array.value(0), before);
        assert!(array.is_null(1));
        let mut after = 1_000i64.to_le_bytes().to_vec();
        after.extend_from_slice(&2_440_589u32.to_le_bytes());
        assert_eq!(array.value(2), after);
    }

    #[test]
    fn timestamps_inside_are_changed_and_nothing_else() {
        let times = micros(&[Some(1), Some(2), None]);
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let fields = Fields::from(vec![
            Field::new("t", times.data_type().clone(), true),
            Field::new("n", DataType::Int64, true),
        ]);
        let rows: ArrayRef = Arc::new(StructArray::new(fields, vec![times, numbers], None));
        let item = Arc::new(Field::new("item", rows.data_type().clone(), true));
        let offsets = arrow::buffer::OffsetBuffer::from_lengths([2, 1]);
        let list: ArrayRef = Arc::new(ListArray::new(item, offsets, rows, None));
        let changed = map_array(&list, &mut |array| to_unit(array, TimeUnit::Nanosecond)).unwrap();
        let expected = map_type(list.data_type(), &|_| {
            DataType::Timestamp(TimeUnit::Nanosecond, None)
        });
        assert_eq!(changed.data_type(), &expected);
        let inner = changed
            .as_list::<i32>()
            .values()
            .as_struct()
            .column(0)
            .clone();
        let inner = inner.as_primitive::<TimestampNanosecondType>().clone();
        assert_eq!(inner.value(1), 2_000);
    }
}
