//! FLOOR and CEIL of dates and times to a unit.

use arrow::array::{Array, ArrayRef, Int64Array};
use flott_core::text::calendar::{civil_from_days, days_from_civil, iso_day_of_week};
use flott_core::text::datetime::units_per_second;
use flott_core::text::zone::ZoneCursor;
use flott_core::types::LogicalType;
use flott_core::{Error, Result};

use super::unit::{Unit, unit_argument};
use crate::functions::arithmetic::interval::from_values;
use crate::functions::cast::datetime::values_i64;
use crate::functions::kernel::columns;
use crate::functions::{BindContext, BoundFunction};

/// Binds `FLOOR(time TO unit)` or, with `is_up`, `CEIL(time TO unit)`.
pub fn bind_to_unit(c: &BindContext<'_>, is_up: bool) -> Result<BoundFunction> {
    c.expect_count(2..=2)?;
    c.expect_types(c.is_type(0, LogicalType::is_datetime))?;
    let unit = unit_argument(c, 1)?;
    let logical = match c.logical(0)? {
        LogicalType::Null => LogicalType::Timestamp(3),
        logical => logical.clone(),
    };
    let zone = ZoneCursor::new(c.session.time_zone);
    let label = format!("round {logical} {unit:?} {is_up} {}", c.session.time_zone);
    let time_type = logical.clone();
    let kernel = columns(label, move |args| {
        round(args.array(0)?, &time_type, unit, is_up, zone.clone())
    });
    let argument_types = vec![
        c.argument(0)?.data_type.clone(),
        LogicalType::STRING.not_null(),
    ];
    Ok(BoundFunction::new(
        argument_types,
        c.returns(logical),
        kernel,
    ))
}

fn round(
    array: &ArrayRef,
    logical: &LogicalType,
    unit: Unit,
    is_up: bool,
    mut zone: ZoneCursor,
) -> Result<ArrayRef> {
    let per_second = match logical {
        LogicalType::Timestamp(p) | LogicalType::TimestampLtz(p) => units_per_second(*p),
        _ => 1000,
    };
    let per_day = if *logical == LogicalType::Date {
        1
    } else {
        86_400 * per_second
    };
    let is_point = matches!(logical, LogicalType::TimestampLtz(_));
    let values = values_i64(array)
        .ok_or_else(|| Error::internal(format!("{} is not a time", array.data_type())))?;
    let rounded: Int64Array = if is_point {
        let mut in_zone = |value: i64| {
            let local = round_value(zone.to_local(value, per_second), unit, is_up, per_day);
            zone.to_utc(local, per_second)
        };
        values.iter().map(|v| v.map(&mut in_zone)).collect()
    } else {
        values.unary(|value| round_value(value, unit, is_up, per_day))
    };
    from_values(&rounded, logical)
}

/// Rounds a value of which `per_day` make a day.
fn round_value(value: i64, unit: Unit, is_up: bool, per_day: i64) -> i64 {
    if let Some(nanos) = unit.nanos().filter(|_| unit != Unit::Week) {
        // Units shorter than the value's own leave it as it is.
        let nanos_per_unit = 86_400_000_000_000 / per_day;
        let step = (nanos / nanos_per_unit).max(1);
        let floor = value.div_euclid(step) * step;
        return if is_up && floor < value {
            floor + step
        } else {
            floor
        };
    }
    let days = value.div_euclid(per_day);
    let start = start_of(days, unit);
    if is_up && !is_start(start, days, unit) {
        return start_after(start, unit) * per_day;
    }
    start * per_day
}

/// Whether CEIL leaves a day as it is. Flink asks the day alone, so that a time on the unit's first
/// day is rounded down; of quarters it knows the first in a year only, and of longer units none.
fn is_start(start: i64, days: i64, unit: Unit) -> bool {
    let is_first = start == days;
    match unit {
        Unit::Quarter => is_first && civil_from_days(days).month == 1,
        Unit::Decade | Unit::Century | Unit::Millennium => false,
        _ => is_first,
    }
}

/// The day on which the unit that holds a day begins; weeks begin on Sunday.
fn start_of(days: i64, unit: Unit) -> i64 {
    let date = civil_from_days(days);
    let month = |month| days_from_civil(date.year, month, 1);
    let year = |year| days_from_civil(year, 1, 1);
    match unit {
        Unit::Week => days - i64::from(iso_day_of_week(days) % 7),
        Unit::Month => month(date.month),
        Unit::Quarter => month((date.month - 1) / 3 * 3 + 1),
        Unit::Decade => year(date.year.div_euclid(10) * 10),
        Unit::Century => year((date.year - 1).div_euclid(100) * 100 + 1),
        Unit::Millennium => year((date.year - 1).div_euclid(1000) * 1000 + 1),
        _ => year(date.year),
    }
}

fn start_after(start: i64, unit: Unit) -> i64 {
    match unit {
        Unit::Week => start + 7,
        _ => flott_core::text::calendar::add_months(start, unit.months().unwrap_or(12)),
    }
}
