//! Literals: their values and Flink's types for them.

use chrono::{NaiveDate, NaiveDateTime, NaiveTime, Timelike};
use datafusion_common::ScalarValue;
use flott_core::types::{LogicalType, arrow_time_unit};
use flott_core::{Error, Result};
use sqlparser::ast::{DateTimeField, Interval, Value};

use arrow::datatypes::TimeUnit;

use crate::expr::Expr;

fn invalid(text: &str, what: &str, form: &str) -> Error {
    let message = format!("'{text}' is not a {what} literal; write {form}");
    Error::user("INVALID_LITERAL", message)
}

/// A literal of the parser.
pub(crate) fn bind(value: &Value) -> Result<Expr> {
    match value {
        Value::Number(text, _) => number(text, false),
        Value::Boolean(v) => Ok(Expr::boolean(*v)),
        Value::Null => Expr::null(&LogicalType::Null.nullable()),
        Value::SingleQuotedString(text)
        | Value::NationalStringLiteral(text)
        | Value::UnicodeStringLiteral(text)
        | Value::EscapedStringLiteral(text)
        | Value::SingleQuotedRawStringLiteral(text) => Ok(string(text)),
        Value::HexStringLiteral(text) => hex(text),
        other => Err(Error::user(
            "UNSUPPORTED_LITERAL",
            format!("literal {other} is not supported"),
        )),
    }
}

/// A `CHAR(n) NOT NULL` constant.
pub(crate) fn string(text: &str) -> Expr {
    let length = text.chars().count() as u32;
    Expr::literal(
        ScalarValue::Utf8View(Some(text.to_string())),
        LogicalType::Char(length).not_null(),
    )
}

fn hex(text: &str) -> Result<Expr> {
    let digits = text.as_bytes();
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    };
    let bytes = digits.chunks(2).map(byte).collect::<Option<Vec<u8>>>();
    let bytes = bytes.filter(|_| digits.len().is_multiple_of(2));
    let bytes = bytes.ok_or_else(|| invalid(text, "binary", "pairs of hexadecimal digits"))?;
    let data_type = LogicalType::Binary(bytes.len() as u32).not_null();
    Ok(Expr::literal(
        ScalarValue::BinaryView(Some(bytes)),
        data_type,
    ))
}

/// A number: INT or BIGINT without a point, DECIMAL with one, DOUBLE with an exponent.
pub(crate) fn number(text: &str, is_negative: bool) -> Result<Expr> {
    let sign = if is_negative { "-" } else { "" };
    if text.contains(['e', 'E']) {
        let value: f64 = format!("{sign}{text}")
            .parse()
            .map_err(|_| invalid(text, "DOUBLE", "1.5E3"))?;
        let value = ScalarValue::Float64(Some(value));
        return Ok(Expr::literal(value, LogicalType::Double.not_null()));
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let unscaled: i64 = format!("{sign}{whole}{fraction}").parse().map_err(|_| {
        let message = format!("numeric literal '{text}' is out of range; cast it from a string");
        Error::user("LITERAL_OUT_OF_RANGE", message)
    })?;
    if !text.contains('.') {
        return Ok(match i32::try_from(unscaled) {
            Ok(v) => Expr::literal(ScalarValue::Int32(Some(v)), LogicalType::Int.not_null()),
            Err(_) => Expr::literal(
                ScalarValue::Int64(Some(unscaled)),
                LogicalType::BigInt.not_null(),
            ),
        });
    }
    let precision = (whole.len() + fraction.len()).max(1) as u8;
    let scale = fraction.len() as u8;
    Ok(Expr::literal(
        ScalarValue::Decimal128(Some(i128::from(unscaled)), precision, scale as i8),
        LogicalType::Decimal(precision, scale).not_null(),
    ))
}

/// `DATE '…'`, `TIME '…'`, `TIMESTAMP '…'`; `None` for a type that has no literals.
pub(crate) fn typed(data_type: &LogicalType, text: &str) -> Result<Option<Expr>> {
    match data_type {
        LogicalType::Date => date(text).map(Some),
        LogicalType::Time(_) => time(text).map(Some),
        LogicalType::Timestamp(_) => timestamp(text).map(Some),
        _ => Ok(None),
    }
}

fn date(text: &str) -> Result<Expr> {
    let date = NaiveDate::parse_from_str(text.trim(), "%Y-%m-%d")
        .map_err(|_| invalid(text, "DATE", "DATE '2024-12-31'"))?;
    let days = date.signed_duration_since(NaiveDate::default()).num_days();
    Ok(Expr::literal(
        ScalarValue::Date32(Some(days as i32)),
        LogicalType::Date.not_null(),
    ))
}

/// The number of digits after the point.
fn fraction_digits(text: &str) -> u8 {
    let digits = text.rsplit_once('.').map_or(0, |(_, f)| f.len());
    digits.min(9) as u8
}

fn time(text: &str) -> Result<Expr> {
    let time = NaiveTime::parse_from_str(text.trim(), "%H:%M:%S%.f")
        .map_err(|_| invalid(text, "TIME", "TIME '23:59:59'"))?;
    let ms = time.num_seconds_from_midnight() * 1000 + time.nanosecond() / 1_000_000;
    let precision = fraction_digits(text.trim());
    Ok(Expr::literal(
        ScalarValue::Time32Millisecond(Some(ms as i32)),
        LogicalType::Time(precision).not_null(),
    ))
}

fn timestamp(text: &str) -> Result<Expr> {
    let form = "TIMESTAMP '2024-12-31 23:59:59.999'";
    let trimmed = text.trim();
    let midnight = || {
        let date = NaiveDate::parse_from_str(trimmed, "%Y-%m-%d").ok()?;
        date.and_hms_opt(0, 0, 0)
    };
    let value = NaiveDateTime::parse_from_str(trimmed, "%Y-%m-%d %H:%M:%S%.f")
        .or_else(|e| midnight().ok_or(e))
        .map_err(|_| invalid(text, "TIMESTAMP", form))?
        .and_utc();
    let precision = fraction_digits(trimmed);
    let out_of_range = || invalid(text, "TIMESTAMP", "a year from 1678 to 2261");
    let scalar = match arrow_time_unit(precision) {
        TimeUnit::Millisecond => {
            ScalarValue::TimestampMillisecond(Some(value.timestamp_millis()), None)
        }
        TimeUnit::Microsecond => {
            ScalarValue::TimestampMicrosecond(Some(value.timestamp_micros()), None)
        }
        _ => {
            let nanos = value.timestamp_nanos_opt().ok_or_else(out_of_range)?;
            ScalarValue::TimestampNanosecond(Some(nanos), None)
        }
    };
    Ok(Expr::literal(
        scalar,
        LogicalType::Timestamp(precision).not_null(),
    ))
}

/// What an interval literal's field counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Unit {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
}

fn unit(field: &DateTimeField) -> Result<(Unit, i64)> {
    use DateTimeField as F;
    let message = |f| format!("{f} is not a field of an interval; use YEAR to SECOND");
    Ok(match field {
        F::Year | F::Years => (Unit::Year, 1),
        F::Quarter => (Unit::Month, 3),
        F::Month | F::Months => (Unit::Month, 1),
        F::Week(None) | F::Weeks => (Unit::Day, 7),
        F::Day | F::Days => (Unit::Day, 1),
        F::Hour | F::Hours => (Unit::Hour, 1),
        F::Minute | F::Minutes => (Unit::Minute, 1),
        F::Second | F::Seconds => (Unit::Second, 1),
        other => return Err(Error::user("INVALID_INTERVAL", message(other))),
    })
}

fn unit_ms(unit: Unit) -> i64 {
    match unit {
        Unit::Day => 86_400_000,
        Unit::Hour => 3_600_000,
        Unit::Minute => 60_000,
        _ => 1000,
    }
}

/// An interval literal; `text` is the literal's string.
pub(crate) fn interval(interval: &Interval, text: &str) -> Result<Expr> {
    let leading = interval.leading_field.as_ref().ok_or_else(|| {
        let message = format!("INTERVAL '{text}' has no unit; write INTERVAL '{text}' SECOND");
        Error::user("INVALID_INTERVAL", message)
    })?;
    let (first, factor) = unit(leading)?;
    let last = match &interval.last_field {
        Some(field) => unit(field)?.0,
        None => first,
    };
    let trimmed = text.trim();
    let (negative, digits) = match trimmed.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, trimmed.strip_prefix('+').unwrap_or(trimmed)),
    };
    check_leading(digits, leading, interval.leading_precision)?;
    let magnitude = interval_magnitude(digits, first, last)
        .and_then(|m| m.checked_mul(factor))
        .ok_or_else(|| {
            let message = format!("'{text}' does not fit INTERVAL {leading}");
            Error::user("INVALID_INTERVAL", message)
        })?;
    let value = if negative { -magnitude } else { magnitude };
    Ok(interval_value(value, first <= Unit::Month))
}

/// The leading field has as many digits as its precision says: 2 if it says nothing.
fn check_leading(digits: &str, leading: &DateTimeField, precision: Option<u64>) -> Result<()> {
    let field = digits.split([' ', ':', '-', '.']).next().unwrap_or("");
    let precision = precision.unwrap_or(2);
    if field.trim_start_matches('0').len() as u64 <= precision {
        return Ok(());
    }
    let message = format!(
        "interval field value {field} exceeds precision of {leading}({precision}) field; write {leading}({})",
        field.len()
    );
    Err(Error::user("INVALID_INTERVAL", message))
}

/// An interval of months or of ms.
pub(crate) fn interval_value(value: i64, is_months: bool) -> Expr {
    match is_months {
        true => Expr::literal(
            ScalarValue::IntervalYearMonth(Some(value as i32)),
            LogicalType::IntervalYearMonth.not_null(),
        ),
        false => Expr::literal(
            ScalarValue::DurationMillisecond(Some(value)),
            LogicalType::IntervalDaySecond.not_null(),
        ),
    }
}

/// Months or ms of the fields `first` to `last` written in `digits`.
fn interval_magnitude(digits: &str, first: Unit, last: Unit) -> Option<i64> {
    let parts: Vec<&str> = digits
        .split([' ', ':', '-'])
        .filter(|p| !p.is_empty())
        .collect();
    let units = [
        Unit::Year,
        Unit::Month,
        Unit::Day,
        Unit::Hour,
        Unit::Minute,
        Unit::Second,
    ];
    let units: Vec<Unit> = units
        .into_iter()
        .filter(|u| *u >= first && *u <= last)
        .collect();
    if parts.len() != units.len() {
        return None;
    }
    let mut total: i64 = 0;
    for (part, unit) in parts.into_iter().zip(units) {
        let value = match unit {
            Unit::Year => part.parse::<i64>().ok()?.checked_mul(12)?,
            Unit::Month => part.parse().ok()?,
            Unit::Second => seconds_ms(part)?,
            _ => part.parse::<i64>().ok()?.checked_mul(unit_ms(unit))?,
        };
        total = total.checked_add(value)?;
    }
    Some(total)
}

fn seconds_ms(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let ms: String = fraction.chars().chain("000".chars()).take(3).collect();
    let whole: i64 = whole.parse().ok()?;
    whole.checked_mul(1000)?.checked_add(ms.parse().ok()?)
}

/// An interval that counts an integer of one unit: `INTERVAL 5 MINUTE`.
pub(crate) fn interval_text(value: &Value) -> Option<String> {
    match value {
        Value::SingleQuotedString(text) => Some(text.clone()),
        Value::Number(text, _) => Some(text.clone()),
        _ => None,
    }
}

/// The length in ms of a constant day-second interval.
pub(crate) fn interval_ms(expr: &Expr) -> Option<i64> {
    match expr.as_literal()? {
        ScalarValue::DurationMillisecond(ms) => *ms,
        _ => None,
    }
}

/// The value of a constant that is a string.
pub(crate) fn text(expr: &Expr) -> Option<&str> {
    match expr.as_literal()? {
        ScalarValue::Utf8View(text) => text.as_deref(),
        _ => None,
    }
}

/// The value of a constant that is an integer.
pub(crate) fn integer(expr: &Expr) -> Option<i64> {
    match expr.as_literal()? {
        ScalarValue::Int8(v) => v.map(i64::from),
        ScalarValue::Int16(v) => v.map(i64::from),
        ScalarValue::Int32(v) => v.map(i64::from),
        ScalarValue::Int64(v) => *v,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn type_of(text: &str) -> String {
        number(text, false).map_or_else(|e| e.to_string(), |e| e.data_type.to_string())
    }

    #[test]
    fn numbers_have_flinks_types() {
        assert_eq!(type_of("1"), "INT NOT NULL");
        assert_eq!(type_of("3000000000"), "BIGINT NOT NULL");
        assert_eq!(type_of("1.5"), "DECIMAL(2, 1) NOT NULL");
        assert_eq!(type_of("0.908"), "DECIMAL(4, 3) NOT NULL");
        assert_eq!(type_of("1e2"), "DOUBLE NOT NULL");
        assert!(type_of("99999999999999999999999999999999999999").contains("out of range"));
    }

    #[test]
    fn intervals_add_up_their_fields() {
        let make = |first, last, text: &str| {
            let interval = Interval {
                value: Box::new(sqlparser::ast::Expr::Value(Value::Null.into())),
                leading_field: Some(first),
                leading_precision: None,
                last_field: last,
                fractional_seconds_precision: None,
            };
            super::interval(&interval, text).map(|e| e.as_literal().cloned())
        };
        let day_to_second = make(
            DateTimeField::Day,
            Some(DateTimeField::Second),
            "1 02:03:04.5",
        );
        assert_eq!(
            day_to_second.unwrap(),
            Some(ScalarValue::DurationMillisecond(Some(93_784_500)))
        );
        assert_eq!(
            make(DateTimeField::Year, Some(DateTimeField::Month), "1-2").unwrap(),
            Some(ScalarValue::IntervalYearMonth(Some(14)))
        );
        assert_eq!(
            make(DateTimeField::Second, None, "-4").unwrap(),
            Some(ScalarValue::DurationMillisecond(Some(-4000)))
        );
    }
}
