//! Times to text and back by patterns, and seconds since 1970.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringViewBuilder};
use arrow::datatypes::{Date32Type, Float64Type, Int32Type, Int64Type};
use chrono_tz::Tz;
use flott_core::text::datetime::{parse_date, parse_timestamp, units_per_second};
use flott_core::text::pattern::{Dialect, Pattern, PatternCache};
use flott_core::text::zone::ZoneCursor;
use flott_core::types::LogicalType;
use flott_core::{Error, Result};

use crate::functions::cast::datetime::values_i64;
use crate::functions::cast::string::retype_i64;
use crate::functions::kernel::{Args, Text, collect, collect_text, columns};
use crate::functions::{BindContext, BoundFunction};

function!(
    DATE_FORMAT,
    "DATE_FORMAT",
    Temporal,
    "DATE_FORMAT(time, pattern)",
    "Writes a time, or the text 'yyyy-MM-dd HH:mm:ss' of one, by a pattern of Java.",
    [(
        "DATE_FORMAT(TIMESTAMP '2024-03-10 01:30:05.123', 'yyyy/MM/dd HH:mm:ss.SSS')",
        "2024/03/10 01:30:05.123"
    )],
    bind_date_format
);
function!(
    FROM_UNIXTIME,
    "FROM_UNIXTIME",
    Temporal,
    "FROM_UNIXTIME(seconds[, pattern])",
    "Writes seconds since 1970-01-01 UTC in the session's zone.",
    [("FROM_UNIXTIME(1709287200, 'yyyy-MM')", "2024-03")],
    bind_from_unixtime
);
function!(
    UNIX_TIMESTAMP,
    "UNIX_TIMESTAMP",
    Temporal,
    "UNIX_TIMESTAMP([string[, pattern]])",
    "The seconds since 1970-01-01 UTC now, or of a time of the session's zone.",
    [("UNIX_TIMESTAMP() > 0", "TRUE")],
    bind_unix_timestamp,
    volatile
);
function!(
    TO_DATE,
    "TO_DATE",
    Temporal,
    "TO_DATE(string[, pattern])",
    "Reads a date; NULL if it is none.",
    [("TO_DATE('05/03/2024', 'dd/MM/yyyy')", "2024-03-05")],
    bind_to_date
);
function!(
    TO_TIMESTAMP,
    "TO_TIMESTAMP",
    Temporal,
    "TO_TIMESTAMP(string[, pattern])",
    "Reads a timestamp; NULL if it is none.",
    [(
        "TO_TIMESTAMP('2024-03-05 01:02:03')",
        "2024-03-05 01:02:03.000"
    )],
    bind_to_timestamp
);
function!(
    TO_TIMESTAMP_LTZ,
    "TO_TIMESTAMP_LTZ",
    Temporal,
    "TO_TIMESTAMP_LTZ(number[, precision]) | TO_TIMESTAMP_LTZ(string[, pattern[, zone]])",
    "The point in time of seconds (precision 0) or milliseconds (3, the default) since 1970-01-01 UTC, or of a text in a zone (UTC).",
    [("EXTRACT(EPOCH FROM TO_TIMESTAMP_LTZ(5000, 3))", "5")],
    bind_to_ltz
);
function!(
    CONVERT_TZ,
    "CONVERT_TZ",
    Temporal,
    "CONVERT_TZ(string, from_zone, to_zone)",
    "Moves the text 'yyyy-MM-dd HH:mm:ss' of a time from one zone to another.",
    [(
        "CONVERT_TZ('2024-03-01 10:00:00', 'UTC', 'Asia/Tokyo')",
        "2024-03-01 19:00:00"
    )],
    bind_convert_tz
);

/// The pattern of texts where none is given.
const DEFAULT_PATTERN: &str = "yyyy-MM-dd HH:mm:ss";

/// Refuses a constant pattern that cannot be compiled while the query is planned.
fn check_pattern(c: &BindContext<'_>, at: usize, dialect: Dialect) -> Result<()> {
    match c.arguments.get(at).and_then(|a| a.literal_text()) {
        Some(pattern) => Pattern::compile(pattern, dialect).map(|_| ()),
        None => Ok(()),
    }
}

fn bind_date_format(c: &BindContext<'_>) -> Result<BoundFunction> {
    c.expect_count(2..=2)?;
    c.expect_types(c.is_text(1))?;
    let returned = LogicalType::STRING.nullable();
    let zone = ZoneCursor::new(c.session.time_zone);
    if c.is_text(0) {
        let types = c.expect_text(2..=2)?;
        check_pattern(c, 1, Dialect::Lenient)?;
        let kernel = columns("DATE_FORMAT text", format_texts);
        return Ok(BoundFunction::new(types, returned, kernel));
    }
    check_pattern(c, 1, Dialect::Strict)?;
    let logical = match c.logical(0)? {
        LogicalType::Date => LogicalType::Timestamp(0),
        logical if logical.is_timestamp() => logical.clone(),
        _ => return Err(c.wrong_types()),
    };
    let types = c.casts([logical.clone(), LogicalType::STRING]);
    let label = format!("DATE_FORMAT {logical} {}", c.session.time_zone);
    let kernel = columns(label, move |args| {
        format_times(args, &logical, zone.clone())
    });
    Ok(BoundFunction::new(types, returned, kernel))
}

/// Rows that follow each other are mostly written the same: their text is kept.
fn format_times(args: &Args, logical: &LogicalType, mut zone: ZoneCursor) -> Result<ArrayRef> {
    let (LogicalType::Timestamp(precision) | LogicalType::TimestampLtz(precision)) = logical else {
        return Err(Error::internal(format!("DATE_FORMAT of {logical}")));
    };
    let per_second = units_per_second(*precision);
    let per_nano = 1_000_000_000 / per_second;
    let is_point = matches!(logical, LogicalType::TimestampLtz(_));
    let values =
        values_i64(args.array(0)?).ok_or_else(|| Error::internal("DATE_FORMAT without a time"))?;
    let patterns = args.column::<Text>(1)?;
    let is_fixed = patterns.is_constant();
    let mut cache = PatternCache::new(Dialect::Strict);
    let mut builder = StringViewBuilder::with_capacity(args.num_rows());
    let (mut scratch, mut last_key) = (String::new(), None);
    for row in 0..args.num_rows() {
        let at = args.row_of(0, row);
        let Some(pattern) = patterns.get(row).filter(|_| values.is_valid(at)) else {
            builder.append_null();
            continue;
        };
        let value = values.value(at);
        let value = if is_point {
            zone.to_local(value, per_second)
        } else {
            value
        };
        let seconds = value.div_euclid(per_second);
        let nanos = (value.rem_euclid(per_second) * per_nano) as u32;
        let pattern = cache.get(pattern)?;
        let key = pattern.key(seconds, nanos).filter(|_| is_fixed);
        if key.is_none() || key != last_key {
            scratch.clear();
            pattern.format(seconds, nanos, &mut scratch);
            last_key = key;
        }
        builder.append_value(&scratch);
    }
    Ok(Arc::new(builder.finish()))
}

fn format_texts(args: &Args) -> Result<ArrayRef> {
    let (texts, patterns) = (args.column::<Text>(0)?, args.column::<Text>(1)?);
    let default = Pattern::compile(DEFAULT_PATTERN, Dialect::Lenient)?;
    let mut cache = PatternCache::new(Dialect::Lenient);
    collect_text(args.num_rows(), |row, out| {
        let Some((text, pattern)) = texts.get(row).zip(patterns.get(row)) else {
            return Ok(false);
        };
        let pattern = cache.get(pattern)?;
        let Some((seconds, nanos)) = default.parse(text) else {
            return Ok(false);
        };
        pattern.format(seconds, nanos, out);
        Ok(true)
    })
}

fn bind_from_unixtime(c: &BindContext<'_>) -> Result<BoundFunction> {
    c.expect_count(1..=2)?;
    c.expect_types(c.is_numeric(0) && (c.len() == 1 || c.is_text(1)))?;
    check_pattern(c, 1, Dialect::Lenient)?;
    let zone = ZoneCursor::new(c.session.time_zone);
    let types = c.casts([LogicalType::BigInt, LogicalType::STRING]);
    let label = format!("FROM_UNIXTIME {}", c.session.time_zone);
    let kernel = columns(label, move |args| {
        let seconds = args.column::<Int64Type>(0)?;
        let patterns = optional_text(args, 1)?;
        let mut zone = zone.clone();
        let mut cache = PatternCache::new(Dialect::Lenient);
        collect_text(args.num_rows(), |row, out| {
            let Some((seconds, pattern)) = seconds.get(row).zip(patterns.get(row)) else {
                return Ok(false);
            };
            // In milliseconds, which wrap around as in Java.
            let seconds = seconds.wrapping_mul(1000).div_euclid(1000);
            cache
                .get(pattern)?
                .format(zone.to_local(seconds, 1), 0, out);
            Ok(true)
        })
    });
    Ok(BoundFunction::new(
        types,
        LogicalType::STRING.nullable(),
        kernel,
    ))
}

/// An argument of patterns, or the default pattern where it is missing.
enum Patterns<'a> {
    Given(crate::functions::kernel::Column<'a, Text>),
    Default,
}

impl Patterns<'_> {
    fn get(&self, row: usize) -> Option<&str> {
        match self {
            Self::Given(column) => column.get(row),
            Self::Default => Some(DEFAULT_PATTERN),
        }
    }
}

fn optional_text(args: &Args, at: usize) -> Result<Patterns<'_>> {
    Ok(if at < args.len() {
        Patterns::Given(args.column(at)?)
    } else {
        Patterns::Default
    })
}

fn bind_unix_timestamp(c: &BindContext<'_>) -> Result<BoundFunction> {
    c.expect_count(0..=2)?;
    if c.is_empty() {
        let (clock, fixed_ms) = (c.session.clock.clone(), c.session.query_start_ms);
        let kernel = columns(format!("UNIX_TIMESTAMP {fixed_ms:?}"), move |_| {
            let now_ms = fixed_ms.unwrap_or_else(|| clock.now_ms());
            Ok(Arc::new(Int64Array::from(vec![now_ms.div_euclid(1000)])))
        });
        return Ok(BoundFunction::new(
            Vec::new(),
            LogicalType::BigInt.not_null(),
            kernel,
        ));
    }
    let types = c.expect_text(1..=2)?;
    check_pattern(c, 1, Dialect::Lenient)?;
    let zone = ZoneCursor::new(c.session.time_zone);
    let label = format!("UNIX_TIMESTAMP text {}", c.session.time_zone);
    let kernel = columns(label, move |args| {
        let (texts, patterns) = (args.column::<Text>(0)?, optional_text(args, 1)?);
        let mut zone = zone.clone();
        let mut cache = PatternCache::new(Dialect::Lenient);
        collect::<Int64Type>(args.num_rows(), |row| {
            let Some((text, pattern)) = texts.get(row).zip(patterns.get(row)) else {
                return Ok(None);
            };
            // Flink gives the least BIGINT for what it cannot read.
            let parsed = cache.get(pattern)?.parse(text);
            Ok(Some(
                parsed.map_or(i64::MIN, |(seconds, _)| zone.to_utc(seconds, 1)),
            ))
        })
    });
    Ok(BoundFunction::new(
        types,
        c.returns(LogicalType::BigInt),
        kernel,
    ))
}

fn bind_to_date(c: &BindContext<'_>) -> Result<BoundFunction> {
    let types = c.expect_text(1..=2)?;
    check_pattern(c, 1, Dialect::Lenient)?;
    let kernel = columns("TO_DATE", |args| {
        let texts = args.column::<Text>(0)?;
        let patterns = optional_text(args, 1)?;
        let mut cache = PatternCache::new(Dialect::Lenient);
        collect::<Date32Type>(args.num_rows(), |row| {
            let Some((text, pattern)) = texts.get(row).zip(patterns.get(row)) else {
                return Ok(None);
            };
            if matches!(patterns, Patterns::Default) {
                return Ok(parse_date(text));
            }
            let parsed = cache.get(pattern)?.parse(text);
            Ok(parsed.map(|(seconds, _)| seconds.div_euclid(86_400) as i32))
        })
    });
    Ok(BoundFunction::new(
        types,
        LogicalType::Date.nullable(),
        kernel,
    ))
}

/// Milliseconds of texts by strict patterns.
fn parse_millis(
    args: &Args,
    mut finish: impl FnMut(usize, i64) -> Result<Option<i64>>,
) -> Result<Int64Array> {
    let texts = args.column::<Text>(0)?;
    let patterns = optional_text(args, 1)?;
    let mut cache = PatternCache::new(Dialect::Strict);
    let millis = collect::<Int64Type>(args.num_rows(), |row| {
        let Some((text, pattern)) = texts.get(row).zip(patterns.get(row)) else {
            return Ok(None);
        };
        let parsed = if matches!(patterns, Patterns::Default) {
            parse_timestamp(text, 3)
        } else {
            let parsed = cache.get(pattern)?.parse(text);
            parsed.map(|(seconds, nanos)| seconds * 1000 + i64::from(nanos / 1_000_000))
        };
        parsed.map_or(Ok(None), |millis| finish(row, millis))
    })?;
    Ok(millis.as_primitive().clone())
}

fn bind_to_timestamp(c: &BindContext<'_>) -> Result<BoundFunction> {
    let types = c.expect_text(1..=2)?;
    check_pattern(c, 1, Dialect::Strict)?;
    let returned = LogicalType::Timestamp(3);
    let kernel = columns("TO_TIMESTAMP", |args| {
        let millis = parse_millis(args, |_, millis| Ok(Some(millis)))?;
        retype_i64(&millis, &LogicalType::Timestamp(3))
    });
    Ok(BoundFunction::new(types, returned.nullable(), kernel))
}

fn zone_named(name: &str) -> Result<Tz> {
    let unknown = |_| {
        let message = format!("'{name}' is not a time zone; write one as 'Europe/Berlin' or 'UTC'");
        Error::user("INVALID_TIME_ZONE", message)
    };
    name.parse().map_err(unknown)
}

/// The zone of each row, which is nearly always that of the row before.
#[derive(Default)]
struct Zones {
    last: Option<(String, ZoneCursor)>,
}

impl Zones {
    fn get(&mut self, name: &str) -> Result<&mut ZoneCursor> {
        if self.last.as_ref().is_none_or(|(last, _)| last != name) {
            self.last = None;
        }
        match &mut self.last {
            Some((_, zone)) => Ok(zone),
            empty => {
                let zone = ZoneCursor::new(zone_named(name)?);
                Ok(&mut empty.insert((name.to_string(), zone)).1)
            }
        }
    }
}

fn bind_to_ltz(c: &BindContext<'_>) -> Result<BoundFunction> {
    c.expect_count(1..=3)?;
    let returned = LogicalType::TimestampLtz(3).nullable();
    if c.is_numeric(0) {
        c.expect_types(c.len() == 1 || c.len() == 2 && c.is_type(1, LogicalType::is_integer))?;
        let is_exact = c.is_type(0, LogicalType::is_integer);
        let number = if is_exact {
            LogicalType::BigInt
        } else {
            LogicalType::Double
        };
        let types = c.casts([number, LogicalType::Int]);
        let kernel = columns(format!("TO_TIMESTAMP_LTZ exact={is_exact}"), move |args| {
            number_to_ltz(args, is_exact)
        });
        return Ok(BoundFunction::new(types, returned, kernel));
    }
    let types = c.expect_text(1..=3)?;
    check_pattern(c, 1, Dialect::Strict)?;
    let kernel = columns("TO_TIMESTAMP_LTZ text", |args| {
        let names = (args.len() > 2)
            .then(|| args.column::<Text>(2))
            .transpose()?;
        let mut zones = Zones::default();
        let millis = parse_millis(args, |row, millis| {
            let name = names.as_ref().map_or(Some("UTC"), |names| names.get(row));
            let Some(name) = name else { return Ok(None) };
            Ok(Some(zones.get(name)?.to_utc(millis, 1000)))
        })?;
        retype_i64(&millis, &LogicalType::TimestampLtz(3))
    });
    Ok(BoundFunction::new(types, returned, kernel))
}

/// The points in time that TO_TIMESTAMP_LTZ gives: the years 0 to 9999.
const SHOWN_MILLIS: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

fn number_to_ltz(args: &Args, is_exact: bool) -> Result<ArrayRef> {
    let precisions = (args.len() > 1)
        .then(|| args.column::<Int32Type>(1))
        .transpose()?;
    let scale = |row: usize| match precisions.as_ref().map_or(Some(3), |p| p.get(row)) {
        None => Ok(None),
        Some(0) => Ok(Some(1000)),
        Some(3) => Ok(Some(1)),
        Some(other) => Err(Error::user(
            "INVALID_PRECISION",
            format!(
                "the precision {other} of TO_TIMESTAMP_LTZ is not 0 (seconds) or 3 (milliseconds)"
            ),
        )),
    };
    let has_one_precision = precisions.as_ref().is_none_or(|p| p.is_constant());
    let millis: ArrayRef =
        if let (true, true, Some(factor)) = (is_exact, has_one_precision, scale(0)?) {
            let numbers = args.full_array(0)?;
            let numbers: &Int64Array = numbers.as_primitive();
            let millis = match factor {
                1 => numbers.clone(),
                _ => numbers.unary_opt(|n| n.checked_mul(factor)),
            };
            Arc::new(millis)
        } else if is_exact {
            let numbers = args.column::<Int64Type>(0)?;
            collect::<Int64Type>(args.num_rows(), |row| {
                let pair = numbers.get(row).zip(scale(row)?);
                Ok(pair.and_then(|(number, scale)| number.checked_mul(scale)))
            })?
        } else {
            let numbers = args.column::<Float64Type>(0)?;
            collect::<Int64Type>(args.num_rows(), |row| {
                let pair = numbers.get(row).zip(scale(row)?);
                Ok(pair.map(|(number, scale)| (number * scale as f64) as i64))
            })?
        };
    let millis: &Int64Array = millis.as_primitive();
    let millis = millis.unary_opt(|millis| SHOWN_MILLIS.contains(&millis).then_some(millis));
    retype_i64(&millis, &LogicalType::TimestampLtz(3))
}

fn bind_convert_tz(c: &BindContext<'_>) -> Result<BoundFunction> {
    let types = c.expect_text(3..=3)?;
    for at in 1..3 {
        c.argument(at)?
            .literal_text()
            .map_or(Ok(Tz::UTC), zone_named)?;
    }
    let kernel = columns("CONVERT_TZ", |args| {
        let texts = args.column::<Text>(0)?;
        let (from, to) = (args.column::<Text>(1)?, args.column::<Text>(2)?);
        let pattern = Pattern::compile(DEFAULT_PATTERN, Dialect::Lenient)?;
        let (mut from_zones, mut to_zones) = (Zones::default(), Zones::default());
        collect_text(args.num_rows(), |row, out| {
            let zones = from.get(row).zip(to.get(row));
            let Some((text, (from, to))) = texts.get(row).zip(zones) else {
                return Ok(false);
            };
            let Some((seconds, nanos)) = pattern.parse(text) else {
                return Ok(false);
            };
            let utc = from_zones.get(from)?.to_utc(seconds, 1);
            pattern.format(to_zones.get(to)?.to_local(utc, 1), nanos, out);
            Ok(true)
        })
    });
    Ok(BoundFunction::new(
        types,
        LogicalType::STRING.nullable(),
        kernel,
    ))
}
