//! EXTRACT and the functions that are short for it.

use arrow::array::{Array, AsArray, Int64Array};
use arrow::datatypes::DurationMillisecondType;
use flott_core::text::calendar::{civil_from_days, day_of_year, iso_day_of_week, iso_week};
use flott_core::text::datetime::units_per_second;
use flott_core::text::zone::ZoneCursor;
use flott_core::types::LogicalType;
use flott_core::{Error, Result};
use std::sync::Arc;

use super::unit::{Unit, unit_argument};
use crate::functions::cast::datetime::values_i64;
use crate::functions::kernel::{Args, columns};
use crate::functions::{BindContext, BoundFunction};

function!(
    EXTRACT,
    "EXTRACT",
    Temporal,
    "EXTRACT(unit FROM time)",
    "A field of a date, time or interval: YEAR to NANOSECOND, WEEK and ISOYEAR by ISO 8601, DOW from 1 for Sunday, ISODOW from 1 for Monday, DOY, EPOCH, DECADE, CENTURY, MILLENNIUM.",
    [("EXTRACT(WEEK FROM DATE '2024-12-30')", "1")],
    bind_extract
);
function!(
    YEAR,
    "YEAR",
    Temporal,
    "YEAR(date)",
    "The year.",
    [("YEAR(DATE '2024-03-05')", "2024")],
    |c| bind_field(c, 0, Unit::Year)
);
function!(
    QUARTER,
    "QUARTER",
    Temporal,
    "QUARTER(date)",
    "The quarter, 1 to 4.",
    [("QUARTER(DATE '2024-03-05')", "1")],
    |c| bind_field(c, 0, Unit::Quarter)
);
function!(
    MONTH,
    "MONTH",
    Temporal,
    "MONTH(date)",
    "The month, 1 to 12.",
    [("MONTH(DATE '2024-03-05')", "3")],
    |c| bind_field(c, 0, Unit::Month)
);
function!(
    WEEK,
    "WEEK",
    Temporal,
    "WEEK(date)",
    "The week by ISO 8601, 1 to 53.",
    [("WEEK(DATE '2024-03-05')", "10")],
    |c| bind_field(c, 0, Unit::Week)
);
function!(
    DAYOFYEAR,
    "DAYOFYEAR",
    Temporal,
    "DAYOFYEAR(date)",
    "The day of the year, 1 to 366.",
    [("DAYOFYEAR(DATE '2024-03-05')", "65")],
    |c| bind_field(c, 0, Unit::DayOfYear)
);
function!(
    DAYOFMONTH,
    "DAYOFMONTH",
    Temporal,
    "DAYOFMONTH(date)",
    "The day of the month, 1 to 31.",
    [("DAYOFMONTH(DATE '2024-03-05')", "5")],
    |c| bind_field(c, 0, Unit::Day)
);
function!(
    DAYOFWEEK,
    "DAYOFWEEK",
    Temporal,
    "DAYOFWEEK(date)",
    "The day of the week, 1 for Sunday to 7.",
    [("DAYOFWEEK(DATE '2024-03-05')", "3")],
    |c| bind_field(c, 0, Unit::DayOfWeek)
);
function!(
    HOUR,
    "HOUR",
    Temporal,
    "HOUR(time)",
    "The hour, 0 to 23.",
    [("HOUR(TIMESTAMP '2024-03-05 13:14:15')", "13")],
    |c| bind_field(c, 0, Unit::Hour)
);
function!(
    MINUTE,
    "MINUTE",
    Temporal,
    "MINUTE(time)",
    "The minute, 0 to 59.",
    [("MINUTE(TIMESTAMP '2024-03-05 13:14:15')", "14")],
    |c| bind_field(c, 0, Unit::Minute)
);
function!(
    SECOND,
    "SECOND",
    Temporal,
    "SECOND(time)",
    "The second, 0 to 59.",
    [("SECOND(TIMESTAMP '2024-03-05 13:14:15')", "15")],
    |c| bind_field(c, 0, Unit::Second)
);

fn bind_extract(c: &BindContext<'_>) -> Result<BoundFunction> {
    c.expect_count(2..=2)?;
    bind_field(c, 1, unit_argument(c, 0)?)
}

fn bind_field(c: &BindContext<'_>, at: usize, unit: Unit) -> Result<BoundFunction> {
    c.expect_count(at + 1..=at + 1)?;
    c.expect_types(c.is_type(at, |t| {
        t.is_datetime() || *t == LogicalType::IntervalDaySecond
    }))?;
    let logical = match c.logical(at)? {
        LogicalType::Null => LogicalType::Timestamp(3),
        logical => logical.clone(),
    };
    let mut types = c.own_types();
    types[at].logical = logical.clone();
    let zone = ZoneCursor::new(c.session.time_zone);
    let label = format!("extract {unit:?} {logical} {at} {}", c.session.time_zone);
    let kernel = columns(label, move |args| {
        extract(args, at, &logical, unit, zone.clone())
    });
    Ok(BoundFunction::new(
        types,
        c.returns(LogicalType::BigInt),
        kernel,
    ))
}

fn extract(
    args: &Args,
    at: usize,
    logical: &LogicalType,
    unit: Unit,
    mut zone: ZoneCursor,
) -> Result<arrow::array::ArrayRef> {
    let array = args.full_array(at)?;
    let per_second = match logical {
        LogicalType::Timestamp(p) | LogicalType::TimestampLtz(p) => units_per_second(*p),
        _ => 1000,
    };
    // The epoch of a point in time does not depend on where it is looked at.
    let is_local = matches!(logical, LogicalType::TimestampLtz(_)) && unit != Unit::Epoch;
    let values = match array.as_primitive_opt::<DurationMillisecondType>() {
        Some(interval) => interval.unary(|v| v),
        None => values_i64(&array)
            .ok_or_else(|| Error::internal(format!("{} is not a time", array.data_type())))?,
    };
    let per_nano = 1_000_000_000 / per_second;
    let fields: Int64Array = if *logical == LogicalType::Date {
        values.unary(|days| field(unit, days * 86_400, 0))
    } else if is_local {
        let mut local = |v: i64| {
            let v = zone.to_local(v, per_second);
            field(
                unit,
                v.div_euclid(per_second),
                v.rem_euclid(per_second) * per_nano,
            )
        };
        values.iter().map(|v| v.map(&mut local)).collect()
    } else {
        values.unary(|v| {
            field(
                unit,
                v.div_euclid(per_second),
                v.rem_euclid(per_second) * per_nano,
            )
        })
    };
    Ok(Arc::new(fields))
}

/// A field of a wall-clock time: seconds since 1970-01-01 and nanoseconds.
fn field(unit: Unit, seconds: i64, nanos: i64) -> i64 {
    let days = seconds.div_euclid(86_400);
    let second_of_day = seconds.rem_euclid(86_400);
    let date = || civil_from_days(days);
    // The first century has the years 1 to 100.
    let span = |years: i64| (date().year + years - 1).div_euclid(years);
    match unit {
        Unit::Nanosecond => nanos,
        Unit::Microsecond => nanos / 1_000,
        Unit::Millisecond => nanos / 1_000_000,
        Unit::Second => second_of_day % 60,
        Unit::Minute => second_of_day / 60 % 60,
        Unit::Hour => second_of_day / 3600,
        Unit::Day => i64::from(date().day),
        Unit::Week => i64::from(iso_week(days).1),
        Unit::Month => i64::from(date().month),
        Unit::Quarter => i64::from((date().month - 1) / 3 + 1),
        Unit::Year => date().year,
        Unit::Decade => date().year.div_euclid(10),
        Unit::Century => span(100),
        Unit::Millennium => span(1000),
        Unit::DayOfWeek => i64::from(iso_day_of_week(days) % 7) + 1,
        Unit::IsoDayOfWeek => i64::from(iso_day_of_week(days)),
        Unit::DayOfYear => i64::from(day_of_year(days)),
        Unit::IsoYear => iso_week(days).0,
        Unit::Epoch => seconds,
    }
}
