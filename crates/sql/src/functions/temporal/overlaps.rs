//! OVERLAPS.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DurationMillisecondType, IntervalYearMonthType};
use flott_core::text::calendar::{MILLIS_PER_DAY, add_months};
use flott_core::types::LogicalType;
use flott_core::{Error, Result};

use crate::functions::cast::datetime::values_i64;
use crate::functions::kernel::{Args, Bool, collect, columns};
use crate::functions::{BindContext, BoundFunction};

function!(
    OVERLAPS,
    "OVERLAPS",
    Temporal,
    "(start, end) OVERLAPS (start, end)",
    "Whether two spans of time share a point; an end may be an interval after its start.",
    [(
        "(TIMESTAMP '2024-03-05 00:00:00', INTERVAL '1' HOUR) OVERLAPS (TIMESTAMP '2024-03-05 00:30:00', INTERVAL '1' HOUR)",
        "TRUE"
    )],
    bind
);

fn bind(c: &BindContext<'_>) -> Result<BoundFunction> {
    c.expect_count(4..=4)?;
    let is_start = |at| c.is_type(at, LogicalType::is_datetime);
    let is_end = |at| c.is_type(at, |t| t.is_datetime() || t.is_interval());
    c.expect_types(is_start(0) && is_end(1) && is_start(2) && is_end(3))?;
    let own = c.own_types();
    let has = |holds: fn(&LogicalType) -> bool| own.iter().any(|t| holds(&t.logical));
    let common = if has(|t| matches!(t, LogicalType::Time(_))) {
        LogicalType::Time(3)
    } else if has(|t| matches!(t, LogicalType::TimestampLtz(_))) {
        LogicalType::TimestampLtz(3)
    } else {
        LogicalType::Timestamp(3)
    };
    let types = own.iter().map(|t| {
        if t.logical.is_interval() {
            t.logical.clone()
        } else {
            common.clone()
        }
    });
    let types = c.casts(types);
    let kernel = columns("OVERLAPS", |args| {
        let (first, second) = (Span::new(args, 0)?, Span::new(args, 2)?);
        collect::<Bool>(args.num_rows(), |row| {
            let spans = first.at(args, row).zip(second.at(args, row));
            Ok(spans.map(|((a, b), (c, d))| b >= c && d >= a))
        })
    });
    Ok(BoundFunction::new(
        types,
        c.returns(LogicalType::Boolean),
        kernel,
    ))
}

/// A start and an end, or an interval, as columns of milliseconds.
struct Span {
    argument: usize,
    start: arrow::array::Int64Array,
    end: ArrayRef,
    end_times: Option<arrow::array::Int64Array>,
}

impl Span {
    fn new(args: &Args, argument: usize) -> Result<Self> {
        let start = values_i64(args.array(argument)?)
            .ok_or_else(|| Error::internal("the start of a span is not a time"))?;
        let end = args.array(argument + 1)?.clone();
        Ok(Self {
            argument,
            start,
            end_times: values_i64(&end),
            end,
        })
    }

    /// The earlier and the later end.
    fn at(&self, args: &Args, row: usize) -> Option<(i64, i64)> {
        let start_row = args.row_of(self.argument, row);
        let row = args.row_of(self.argument + 1, row);
        if self.start.is_null(start_row) || self.end.is_null(row) {
            return None;
        }
        let start = self.start.value(start_row);
        let end = if let Some(times) = &self.end_times {
            times.value(row)
        } else if let Some(months) = self.end.as_primitive_opt::<IntervalYearMonthType>() {
            let day = add_months(
                start.div_euclid(MILLIS_PER_DAY),
                i64::from(months.value(row)),
            );
            day * MILLIS_PER_DAY + start.rem_euclid(MILLIS_PER_DAY)
        } else {
            start
                + self
                    .end
                    .as_primitive_opt::<DurationMillisecondType>()?
                    .value(row)
        };
        Some((start.min(end), start.max(end)))
    }
}
