//! TIMESTAMPADD and TIMESTAMPDIFF.

use std::sync::Arc;

use arrow::array::{AsArray, Int64Array};
use arrow::compute::kernels::numeric::add_wrapping;
use arrow::datatypes::{Int32Type, Int64Type};
use flott_core::text::calendar::add_months;
use flott_core::text::datetime::units_per_second;
use flott_core::types::LogicalType;
use flott_core::{Error, Result};

use super::unit::{Unit, unit_argument};
use crate::functions::arithmetic::interval::{from_values, move_months};
use crate::functions::cast::datetime::values_i64;
use crate::functions::coercion::comparison_type;
use crate::functions::kernel::{collect, columns, datum_of};
use crate::functions::{BindContext, BoundFunction};

function!(
    TIMESTAMPADD,
    "TIMESTAMPADD",
    Temporal,
    "TIMESTAMPADD(unit, count, time)",
    "Moves a date or time by a number of units.",
    [("TIMESTAMPADD(MONTH, 1, DATE '2024-01-31')", "2024-02-29")],
    bind_add
);
function!(
    TIMESTAMPDIFF,
    "TIMESTAMPDIFF",
    Temporal,
    "TIMESTAMPDIFF(unit, from, to)",
    "The number of whole units from one date or time to another.",
    [(
        "TIMESTAMPDIFF(DAY, DATE '2024-01-31', DATE '2024-03-01')",
        "30"
    )],
    bind_difference
);

/// The nanoseconds of one step of a type's values.
fn nanos_per_step(logical: &LogicalType) -> i64 {
    match logical {
        LogicalType::Date => 86_400_000_000_000,
        LogicalType::Timestamp(p) | LogicalType::TimestampLtz(p) => {
            1_000_000_000 / units_per_second(*p)
        }
        _ => 1_000_000,
    }
}

/// The type of a time moved by a unit: fine enough for it.
fn moved_type(logical: &LogicalType, unit: Unit) -> LogicalType {
    let precision = match unit {
        Unit::Nanosecond => 9,
        Unit::Microsecond => 6,
        Unit::Millisecond => 3,
        _ => 0,
    };
    let is_clock_unit = unit.nanos().is_some() && !matches!(unit, Unit::Day | Unit::Week);
    match logical {
        LogicalType::Date if is_clock_unit => LogicalType::Timestamp(precision),
        LogicalType::Timestamp(p) => LogicalType::Timestamp(*p.max(&precision)),
        LogicalType::TimestampLtz(p) => LogicalType::TimestampLtz(*p.max(&precision)),
        LogicalType::Null => LogicalType::Timestamp(3),
        other => other.clone(),
    }
}

fn bind_add(c: &BindContext<'_>) -> Result<BoundFunction> {
    c.expect_count(3..=3)?;
    let unit = unit_argument(c, 0)?;
    let is_known = unit.nanos().or(unit.months()).is_some();
    c.expect_types(
        is_known && c.is_type(1, LogicalType::is_integer) && c.is_type(2, LogicalType::is_datetime),
    )?;
    let logical = moved_type(c.logical(2)?, unit);
    let types = c.casts([LogicalType::STRING, LogicalType::BigInt, logical.clone()]);
    let returned = c.returns(logical.clone());
    let kernel = columns(format!("move {logical} by {unit:?}"), move |args| {
        if let Some(months) = unit.months() {
            let counts = args.column::<Int64Type>(1)?;
            let moved = |row| counts.get(row).map(|count| count.wrapping_mul(months));
            return move_months(args, 2, &logical, moved);
        }
        let step = unit.nanos().unwrap_or(0) / nanos_per_step(&logical);
        let counts = args.array(1)?.as_primitive::<Int64Type>();
        let steps: Int64Array = counts.unary(|count| count.wrapping_mul(step));
        let times = values_i64(args.array(2)?).ok_or_else(|| not_a_time(&logical))?;
        let times = datum_of(Arc::new(times), args.is_constant(2));
        let steps = datum_of(Arc::new(steps), args.is_constant(1));
        let moved = add_wrapping(times.as_ref(), steps.as_ref())?;
        from_values(moved.as_primitive(), &logical)
    });
    Ok(BoundFunction::new(types, returned, kernel))
}

fn not_a_time(logical: &LogicalType) -> Error {
    Error::internal(format!("{logical} is not a time"))
}

fn bind_difference(c: &BindContext<'_>) -> Result<BoundFunction> {
    c.expect_count(3..=3)?;
    let unit = unit_argument(c, 0)?;
    let is_known = unit.nanos().or(unit.months()).is_some();
    let is_time = |at| c.is_type(at, LogicalType::is_datetime);
    c.expect_types(is_known && is_time(1) && is_time(2))?;
    let is_ltz = |at| matches!(c.logical(at), Ok(LogicalType::TimestampLtz(_)));
    let is_null = |at| matches!(c.logical(at), Ok(LogicalType::Null));
    c.expect_types(is_ltz(1) == is_ltz(2) || is_null(1) || is_null(2))?;
    let common = comparison_type(&c.own_types()[1..])
        .ok_or_else(|| c.wrong_types())?
        .logical;
    let common = if common == LogicalType::Null {
        LogicalType::Timestamp(3)
    } else {
        common
    };
    let step = nanos_per_step(&common);
    let types = c.casts([LogicalType::STRING, common.clone(), common.clone()]);
    let kernel = columns(format!("difference of {common} in {unit:?}"), move |args| {
        let value = |at: usize| values_i64(args.array(at)?).ok_or_else(|| not_a_time(&common));
        let (from, to) = (value(1)?, value(2)?);
        let at = |values: &Int64Array, argument: usize, row: usize| {
            let row = args.row_of(argument, row);
            (!arrow::array::Array::is_null(values, row)).then(|| values.value(row))
        };
        collect::<Int32Type>(args.num_rows(), |row| {
            let pair = at(&from, 1, row).zip(at(&to, 2, row));
            Ok(pair.map(|(from, to)| difference(from, to, unit, step) as i32))
        })
    });
    Ok(BoundFunction::new(
        types,
        c.returns(LogicalType::Int),
        kernel,
    ))
}

/// The whole units between two values of which each step is so many nanoseconds.
fn difference(from: i64, to: i64, unit: Unit, step: i64) -> i64 {
    if let Some(nanos) = unit.nanos() {
        let distance = (i128::from(to) - i128::from(from)) * i128::from(step);
        return (distance / i128::from(nanos)) as i64;
    }
    let per_day = 86_400_000_000_000 / step;
    months_between(from, to, per_day) / unit.months().unwrap_or(1)
}

/// The months from one value to another, as Calcite counts them: of the days alone first, and one
/// less where the last day is the same in both months but its time is earlier.
fn months_between(from: i64, to: i64, per_day: i64) -> i64 {
    let (from_day, to_day) = (from.div_euclid(per_day), to.div_euclid(per_day));
    let months = months_between_days(from_day, to_day);
    let is_early = to.rem_euclid(per_day) < from.rem_euclid(per_day);
    months - i64::from(is_early && add_months(from_day, months) == to_day)
}

/// A month is over on the same day of the next one, or on its last day.
fn months_between_days(from: i64, to: i64) -> i64 {
    if to < from {
        return -months_between_days(to, from);
    }
    // No month has more than 31 days: the estimate is never too large.
    let mut months = (to - from) / 31;
    while add_months(from, months) < to && add_months(from, months + 1) <= to {
        months += 1;
    }
    months
}
