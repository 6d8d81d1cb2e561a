//! Dates, times and timestamps in the two standards that Flink's formats know.

use flott_core::text::calendar::{civil_from_days, days_from_civil, days_in_month};
pub(crate) use flott_core::text::datetime::units_per_second;

/// How a timestamp is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum TimestampStandard {
    /// `2024-03-01 10:00:00.123`, with local zone `2024-03-01 10:00:00.123Z`.
    #[default]
    Sql,
    /// `2024-03-01T10:00:00.123`, with local zone `2024-03-01T10:00:00.123Z`.
    Iso8601,
}

impl TimestampStandard {
    fn separator(self) -> u8 {
        match self {
            Self::Sql => b' ',
            Self::Iso8601 => b'T',
        }
    }
}

/// Two digits.
#[inline]
fn two(text: &[u8], at: usize) -> Option<u32> {
    let (tens, ones) = (
        text.get(at)?.wrapping_sub(b'0'),
        text.get(at + 1)?.wrapping_sub(b'0'),
    );
    (tens < 10 && ones < 10).then(|| u32::from(tens) * 10 + u32::from(ones))
}

/// `yyyy-MM-dd` to days since 1970-01-01.
#[inline]
pub(crate) fn parse_date(text: &[u8]) -> Option<i32> {
    if text.len() != 10 || text[4] != b'-' || text[7] != b'-' {
        return None;
    }
    let year = i64::from(two(text, 0)? * 100 + two(text, 2)?);
    let (month, day) = (two(text, 5)?, two(text, 8)?);
    let valid = (1..=12).contains(&month) && day >= 1 && day <= days_in_month(year, month);
    valid.then(|| days_from_civil(year, month, day) as i32)
}

/// `HH:mm:ss[.fraction]` to seconds and nanoseconds; the seconds may lack where `is_short` allows.
#[inline]
fn parse_clock(text: &[u8], is_short: bool) -> Option<(u32, u32)> {
    let (hour, minute) = (two(text, 0)?, two(text, 3)?);
    if text[2] != b':' || hour > 23 || minute > 59 {
        return None;
    }
    let minutes = hour * 60 + minute;
    if text.len() == 5 && is_short {
        return Some((minutes * 60, 0));
    }
    let second = two(text, 6)?;
    if text[5] != b':' || second > 59 {
        return None;
    }
    let nanos = match text.get(8) {
        None => 0,
        Some(b'.') => parse_fraction(&text[9..])?,
        Some(_) => return None,
    };
    Some((minutes * 60 + second, nanos))
}

/// One to nine digits after the point, as nanoseconds.
fn parse_fraction(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    let mut nanos = 0;
    for at in 0..9 {
        let digit = digits.get(at).map_or(0, |b| b.wrapping_sub(b'0'));
        if digit > 9 {
            return None;
        }
        nanos = nanos * 10 + u32::from(digit);
    }
    Some(nanos)
}

/// A time of day to milliseconds, cut to `precision` fractional digits.
pub(crate) fn parse_time(text: &[u8], precision: u8) -> Option<i32> {
    let (seconds, nanos) = parse_clock(text, true)?;
    let millis = nanos / 1_000_000;
    let unit = 10u32.pow(3 - u32::from(precision.min(3)));
    Some((seconds * 1000 + millis / unit * unit) as i32)
}

/// A timestamp to the unit of `precision`, cut to that many fractional digits. With `has_zone` it
/// must end in `Z`.
#[inline]
pub(crate) fn parse_timestamp(
    text: &[u8],
    standard: TimestampStandard,
    has_zone: bool,
    precision: u8,
) -> Option<i64> {
    let text = if has_zone {
        text.strip_suffix(b"Z")?
    } else {
        text
    };
    if text.len() < 16 || text[10] != standard.separator() {
        return None;
    }
    let days = parse_date(&text[..10])?;
    let (seconds, nanos) = parse_clock(&text[11..], standard == TimestampStandard::Iso8601)?;
    to_unit(
        i64::from(days) * 86_400 + i64::from(seconds),
        nanos,
        precision,
    )
}

/// Seconds and nanoseconds in the unit that holds `precision`; `None` when out of its range.
pub(crate) fn to_unit(seconds: i64, nanos: u32, precision: u8) -> Option<i64> {
    let digits = u32::from(precision.min(9));
    let cut = 10u32.pow(9 - digits);
    let nanos = i64::from(nanos / cut * cut);
    let per_second = units_per_second(precision);
    seconds
        .checked_mul(per_second)?
        .checked_add(nanos / (1_000_000_000 / per_second))
}

fn write_two(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&[b'0' + (value / 10) as u8, b'0' + (value % 10) as u8]);
}

/// Writes `yyyy-MM-dd`.
pub(crate) fn write_date(out: &mut Vec<u8>, days: i64) {
    let date = civil_from_days(days);
    let year = date.year;
    if (0..=9999).contains(&year) {
        write_two(out, (year / 100) as u32);
        write_two(out, (year % 100) as u32);
    } else {
        let sign = if year < 0 { '-' } else { '+' };
        out.extend_from_slice(format!("{sign}{:04}", year.abs()).as_bytes());
    }
    out.push(b'-');
    write_two(out, date.month);
    out.push(b'-');
    write_two(out, date.day);
}

/// Writes `HH:mm:ss` and as many fractional digits as it takes.
fn write_clock(out: &mut Vec<u8>, seconds: u32, nanos: u32) {
    write_two(out, seconds / 3600);
    out.push(b':');
    write_two(out, seconds / 60 % 60);
    out.push(b':');
    write_two(out, seconds % 60);
    if nanos > 0 {
        out.push(b'.');
        let (mut rest, mut unit) = (nanos, 100_000_000);
        while rest > 0 {
            out.push(b'0' + (rest / unit) as u8);
            rest %= unit;
            unit /= 10;
        }
    }
}

/// Writes a time of day given in milliseconds.
pub(crate) fn write_time(out: &mut Vec<u8>, millis: i32) {
    let millis = millis.rem_euclid(86_400_000) as u32;
    write_clock(out, millis / 1000, millis % 1000 * 1_000_000);
}

/// Writes a timestamp held in the unit of which `per_second` make a second.
pub(crate) fn write_timestamp(
    out: &mut Vec<u8>,
    value: i64,
    per_second: i64,
    standard: TimestampStandard,
    has_zone: bool,
) {
    let seconds = value.div_euclid(per_second);
    let nanos = value.rem_euclid(per_second) * (1_000_000_000 / per_second);
    write_date(out, seconds.div_euclid(86_400));
    out.push(standard.separator());
    write_clock(out, seconds.rem_euclid(86_400) as u32, nanos as u32);
    if has_zone {
        out.push(b'Z');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TimestampStandard::*;

    #[test]
    fn only_the_standard_in_force_is_read() {
        let parse =
            |text: &str, standard, zone| parse_timestamp(text.as_bytes(), standard, zone, 3);
        let ms = 1_709_287_200_123;
        assert_eq!(parse("2024-03-01 10:00:00.123", Sql, false), Some(ms));
        assert_eq!(parse("2024-03-01T10:00:00.1239Z", Iso8601, true), Some(ms));
        assert_eq!(parse("2024-03-01T10:00", Iso8601, false), Some(ms - 123));
        assert_eq!(parse("2024-03-01T10:00:00", Sql, false), None);
        assert_eq!(parse("2024-03-01 10:00", Sql, false), None);
        assert_eq!(parse("2024-03-01 10:00:00", Sql, true), None);
        assert_eq!(parse("2024-02-30 10:00:00", Sql, false), None);
        assert_eq!(parse("2024-03-01 10:00:00.", Sql, false), None);
        assert_eq!(
            parse("9999-12-31 23:59:59", Sql, false),
            Some(253_402_300_799_000)
        );
        let nanos = parse_timestamp(b"9999-12-31 23:59:59", Sql, false, 9);
        assert_eq!(nanos, None);
    }

    #[test]
    fn times_are_written_with_the_digits_they_need() {
        let mut out = Vec::new();
        write_timestamp(&mut out, -1, 1000, Sql, false);
        out.push(b'|');
        write_timestamp(&mut out, 1_709_287_200_000_120, 1_000_000, Iso8601, true);
        out.push(b'|');
        write_time(&mut out, 36_610_500);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "1969-12-31 23:59:59.999|2024-03-01T10:00:00.00012Z|10:10:10.5"
        );
    }

    #[test]
    fn dates_go_there_and_back() {
        for days in (-700_000..2_900_000).step_by(997) {
            let mut text = Vec::new();
            write_date(&mut text, days);
            assert_eq!(parse_date(&text), Some(days as i32));
        }
        assert_eq!(parse_date(b"1970-01-01"), Some(0));
        assert_eq!(parse_date(b"2000-02-29"), Some(11_016));
    }
}
