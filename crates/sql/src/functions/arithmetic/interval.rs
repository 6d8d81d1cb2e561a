//! Dates, times and intervals: sums and differences.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::compute::kernels::numeric::{add_wrapping, mul_wrapping, sub_wrapping};
use arrow::datatypes::*;
use flott_core::Result;
use flott_core::text::calendar::{MILLIS_PER_DAY, add_months};
use flott_core::text::datetime::units_per_second;
use flott_core::types::LogicalType;

use super::operators::Operator;
use crate::functions::bind::scalar_integer;
use crate::functions::cast::datetime::values_i64;
use crate::functions::cast::string::retype_i64;
use crate::functions::kernel::{Args, collect, columns, datum_of};
use crate::functions::{Argument, BindContext, BoundFunction};

/// Binds an operator whose operands are not both numbers.
pub fn bind_operator(
    c: &BindContext<'_>,
    operator: Operator,
    left: &LogicalType,
    right: &LogicalType,
) -> Result<BoundFunction> {
    let is_sum = matches!(operator, Operator::Add | Operator::Subtract);
    match (left, right) {
        (time, interval) if is_sum && time.is_datetime() && interval.is_interval() => {
            bind_sum(c, 0, operator == Operator::Subtract)
        }
        (interval, time)
            if operator == Operator::Add && interval.is_interval() && time.is_datetime() =>
        {
            bind_sum(c, 1, false)
        }
        (a, b) if operator == Operator::Subtract && a.is_datetime() && b.is_datetime() => {
            bind_difference(c, a, b)
        }
        (a, b) if is_sum && a.is_interval() && a == b => Ok(bind_intervals(c, operator, a)),
        (interval, number)
            if interval.is_interval()
                && number.is_exact_numeric()
                && matches!(operator, Operator::Multiply | Operator::Divide) =>
        {
            Ok(bind_scaled(c, operator, interval, 0))
        }
        (number, interval)
            if operator == Operator::Multiply
                && interval.is_interval()
                && number.is_exact_numeric() =>
        {
            Ok(bind_scaled(c, operator, interval, 1))
        }
        _ => Err(c.wrong_types()),
    }
}

/// The type of a date or time moved by an interval. A date stays one: the hours of an interval are
/// lost on it.
fn moved_type(time: &LogicalType, interval: &Argument) -> LogicalType {
    let millis = interval.literal.as_ref().and_then(scalar_integer);
    let is_months = *interval.logical() == LogicalType::IntervalYearMonth;
    let is_within = |unit: i64| is_months || millis.is_none_or(|ms| ms % unit == 0);
    match time {
        LogicalType::Timestamp(p) if !is_within(1000) => LogicalType::Timestamp(*p.max(&3)),
        LogicalType::TimestampLtz(p) if !is_within(1000) => LogicalType::TimestampLtz(*p.max(&3)),
        other => other.clone(),
    }
}

fn bind_sum(c: &BindContext<'_>, time_at: usize, is_negative: bool) -> Result<BoundFunction> {
    let interval = c.argument(1 - time_at)?;
    let time_type = moved_type(c.logical(time_at)?, interval);
    let is_months = *interval.logical() == LogicalType::IntervalYearMonth;
    let mut types = [time_type.clone(), time_type.clone()];
    types[1 - time_at] = interval.logical().clone();
    let label = format!(
        "move {time_type} by {} {time_at} {is_negative}",
        interval.logical()
    );
    let returned = c.returns(time_type.clone());
    let kernel = columns(label, move |args| {
        if is_months {
            let months = args.column::<IntervalYearMonthType>(1 - time_at)?;
            return move_months(args, time_at, &time_type, |row| {
                months.get(row).map(|m| {
                    if is_negative {
                        -i64::from(m)
                    } else {
                        i64::from(m)
                    }
                })
            });
        }
        let millis = args
            .array(1 - time_at)?
            .as_primitive::<DurationMillisecondType>();
        let millis = millis.unary::<_, Int64Type>(|v| if is_negative { -v } else { v });
        move_millis(
            args,
            time_at,
            &time_type,
            (millis, args.is_constant(1 - time_at)),
        )
    });
    Ok(BoundFunction::new(c.casts(types), returned, kernel))
}

/// Moves dates and times by milliseconds, which may be a constant.
pub fn move_millis(
    args: &Args,
    time_at: usize,
    time_type: &LogicalType,
    (millis, is_constant): (Int64Array, bool),
) -> Result<ArrayRef> {
    let steps: Int64Array = match time_type {
        LogicalType::Date => millis.unary(|v| v / MILLIS_PER_DAY),
        LogicalType::Timestamp(p) | LogicalType::TimestampLtz(p) => {
            let factor = units_per_second(*p) / 1000;
            millis.unary(|v| v.wrapping_mul(factor))
        }
        _ => millis,
    };
    let times = time_values(args, time_at)?;
    let times = datum_of(Arc::new(times), args.is_constant(time_at));
    let steps = datum_of(Arc::new(steps), is_constant);
    let moved = add_wrapping(times.as_ref(), steps.as_ref())?;
    from_values(moved.as_primitive(), time_type)
}

fn time_values(args: &Args, at: usize) -> Result<Int64Array> {
    let array = args.array(at)?;
    values_i64(array).ok_or_else(|| {
        flott_core::Error::internal(format!("{} is not a date or time", array.data_type()))
    })
}

/// 64-bit values in the unit of a type as dates or times.
pub fn from_values(values: &Int64Array, time_type: &LogicalType) -> Result<ArrayRef> {
    Ok(match time_type {
        LogicalType::Date => Arc::new(values.unary::<_, Date32Type>(|v| v as i32)),
        LogicalType::Time(_) => Arc::new(
            values.unary::<_, Time32MillisecondType>(|v| v.rem_euclid(MILLIS_PER_DAY) as i32),
        ),
        _ => return retype_i64(values, time_type),
    })
}

/// Moves dates and timestamps by months, a number for each row.
pub fn move_months(
    args: &Args,
    time_at: usize,
    time_type: &LogicalType,
    months: impl Fn(usize) -> Option<i64>,
) -> Result<ArrayRef> {
    let values = time_values(args, time_at)?;
    let per_day = match time_type {
        LogicalType::Date => 1,
        LogicalType::Timestamp(p) | LogicalType::TimestampLtz(p) => 86_400 * units_per_second(*p),
        _ => i64::MAX,
    };
    let is_constant = args.is_constant(time_at);
    let moved = collect::<Int64Type>(args.num_rows(), |row| {
        let at = if is_constant { 0 } else { row };
        let value = (!arrow::array::Array::is_null(&values, at)).then(|| values.value(at));
        Ok(value.zip(months(row)).map(|(value, months)| {
            let day = add_months(value.div_euclid(per_day), months);
            day.wrapping_mul(per_day)
                .wrapping_add(value.rem_euclid(per_day))
        }))
    })?;
    from_values(moved.as_primitive(), time_type)
}

/// The milliseconds between two dates or times.
fn bind_difference(
    c: &BindContext<'_>,
    left: &LogicalType,
    right: &LogicalType,
) -> Result<BoundFunction> {
    let is_time = matches!((left, right), (LogicalType::Time(_), LogicalType::Time(_)));
    let mixed = matches!(left, LogicalType::Time(_)) || matches!(right, LogicalType::Time(_));
    c.expect_types(is_time || !mixed)?;
    let is_point = |t: &LogicalType| matches!(t, LogicalType::TimestampLtz(_));
    let common = match (is_time, is_point(left) || is_point(right)) {
        (true, _) => LogicalType::Time(3),
        (_, true) => LogicalType::TimestampLtz(3),
        _ => LogicalType::Timestamp(3),
    };
    let kernel = columns("difference", |args| {
        let (a, b) = (time_values(args, 0)?, time_values(args, 1)?);
        let a = datum_of(Arc::new(a), args.is_constant(0));
        let b = datum_of(Arc::new(b), args.is_constant(1));
        let millis = sub_wrapping(a.as_ref(), b.as_ref())?;
        retype_i64(millis.as_primitive(), &LogicalType::IntervalDaySecond)
    });
    let returned = c.returns(LogicalType::IntervalDaySecond);
    Ok(BoundFunction::new(
        c.casts([common.clone(), common]),
        returned,
        kernel,
    ))
}

fn interval_values(args: &Args, at: usize) -> Result<Int64Array> {
    let array = args.array(at)?;
    Ok(match array.as_primitive_opt::<IntervalYearMonthType>() {
        Some(months) => months.unary(i64::from),
        None => array.as_primitive::<DurationMillisecondType>().unary(|v| v),
    })
}

fn interval_from(values: &Int64Array, interval: &LogicalType) -> Result<ArrayRef> {
    match interval {
        LogicalType::IntervalYearMonth => Ok(Arc::new(
            values.unary::<_, IntervalYearMonthType>(|v| v as i32),
        )),
        _ => retype_i64(values, interval),
    }
}

fn bind_intervals(
    c: &BindContext<'_>,
    operator: Operator,
    interval: &LogicalType,
) -> BoundFunction {
    let (label, kind) = (format!("{operator:?} {interval}"), interval.clone());
    let kernel = columns(label, move |args| {
        let a = datum_of(Arc::new(interval_values(args, 0)?), args.is_constant(0));
        let b = datum_of(Arc::new(interval_values(args, 1)?), args.is_constant(1));
        let values = match operator {
            Operator::Add => add_wrapping(a.as_ref(), b.as_ref())?,
            _ => sub_wrapping(a.as_ref(), b.as_ref())?,
        };
        interval_from(values.as_primitive(), &kind)
    });
    let types = c.casts([interval.clone(), interval.clone()]);
    BoundFunction::new(types, c.returns(interval.clone()), kernel)
}

/// An interval times or divided by a whole number.
fn bind_scaled(
    c: &BindContext<'_>,
    operator: Operator,
    interval: &LogicalType,
    interval_at: usize,
) -> BoundFunction {
    let (label, kind) = (
        format!("{operator:?} {interval} {interval_at}"),
        interval.clone(),
    );
    let kernel = columns(label, move |args| {
        let values = interval_values(args, interval_at)?;
        let values: ArrayRef = Arc::new(values);
        let number = args.datum(1 - interval_at)?;
        let values_datum = datum_of(values.clone(), args.is_constant(interval_at));
        let result = match operator {
            Operator::Multiply => mul_wrapping(values_datum.as_ref(), number.as_ref())?,
            _ => arrow::compute::kernels::numeric::div(values_datum.as_ref(), number.as_ref())?,
        };
        interval_from(result.as_primitive(), &kind)
    });
    let mut types = [LogicalType::BigInt, LogicalType::BigInt];
    types[interval_at] = interval.clone();
    BoundFunction::new(c.casts(types), c.returns(interval.clone()), kernel)
}
