//! Dates, times, timestamps and intervals as Flink writes and reads them.

use super::calendar::{civil_from_days, days_from_civil, days_in_month};
use super::zone::ZoneCursor;

/// How many units of a timestamp's Arrow type make a second, by its precision.
pub fn units_per_second(precision: u8) -> i64 {
    match precision {
        0..=3 => 1_000,
        4..=6 => 1_000_000,
        _ => 1_000_000_000,
    }
}

fn push_ascii(bytes: &[u8], out: &mut String) {
    out.push_str(std::str::from_utf8(bytes).unwrap_or_default());
}

fn two(value: u32) -> [u8; 2] {
    [b'0' + (value / 10 % 10) as u8, b'0' + (value % 10) as u8]
}

fn write_year(year: i64, out: &mut String) {
    use std::fmt::Write;
    if (0..=9999).contains(&year) {
        let (high, low) = (two(year as u32 / 100), two(year as u32 % 100));
        push_ascii(&[high[0], high[1], low[0], low[1]], out);
    } else {
        let _ = write!(out, "{year:04}");
    }
}

/// Writes `2024-02-29` for days since 1970-01-01.
pub fn write_date(days: i64, out: &mut String) {
    let date = civil_from_days(days);
    write_year(date.year, out);
    let (month, day) = (two(date.month), two(date.day));
    push_ascii(&[b'-', month[0], month[1], b'-', day[0], day[1]], out);
}

fn write_clock(second_of_day: u32, out: &mut String) {
    let hour = two(second_of_day / 3600);
    let minute = two(second_of_day / 60 % 60);
    let second = two(second_of_day % 60);
    let text = [
        hour[0], hour[1], b':', minute[0], minute[1], b':', second[0], second[1],
    ];
    push_ascii(&text, out);
}

/// Writes `.123` for nanoseconds: at least `precision` digits, and more while they are not zero.
fn write_fraction(nanos: u32, precision: u8, out: &mut String) {
    let mut digits = [b'0'; 10];
    digits[0] = b'.';
    let mut rest = nanos;
    for digit in digits[1..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let mut len = 9;
    while len > usize::from(precision) && digits[len] == b'0' {
        len -= 1;
    }
    if len > 0 {
        push_ascii(&digits[..=len], out);
    }
}

/// Writes `12:34:56`, for milliseconds of a day, with a fraction where the precision has one.
pub fn write_time(millis: i64, precision: u8, out: &mut String) {
    let millis = millis.rem_euclid(super::calendar::MILLIS_PER_DAY);
    write_clock((millis / 1000) as u32, out);
    let nanos = (millis % 1000) as u32 * 1_000_000;
    if precision > 0 {
        write_fraction(nanos, 1, out);
    }
}

/// Writes `2024-03-01 10:00:00.123`, for a value in the unit of its precision.
pub fn write_timestamp(value: i64, precision: u8, out: &mut String) {
    let per_second = units_per_second(precision);
    let seconds = value.div_euclid(per_second);
    let nanos = (value.rem_euclid(per_second) * (1_000_000_000 / per_second)) as u32;
    let days = seconds.div_euclid(86_400);
    let second_of_day = seconds.rem_euclid(86_400) as u32;
    let date = civil_from_days(days);
    if !(0..=9999).contains(&date.year) {
        write_date(days, out);
        out.push(' ');
        write_clock(second_of_day, out);
        return write_fraction(nanos, precision, out);
    }
    // The usual case in one piece.
    let mut text = *b"0000-00-00 00:00:00";
    let places = [
        (0, date.year as u32 / 100),
        (2, date.year as u32 % 100),
        (5, date.month),
        (8, date.day),
        (11, second_of_day / 3600),
        (14, second_of_day / 60 % 60),
        (17, second_of_day % 60),
    ];
    for (at, value) in places {
        text[at..at + 2].copy_from_slice(&two(value));
    }
    push_ascii(&text, out);
    write_fraction(nanos, precision, out);
}

/// Writes `+1-02` for months.
pub fn write_year_month(months: i64, out: &mut String) {
    use std::fmt::Write;
    let sign = if months < 0 { '-' } else { '+' };
    let months = months.unsigned_abs();
    let _ = write!(out, "{sign}{}-{:02}", months / 12, months % 12);
}

/// Writes `+1 02:03:04.500` for milliseconds.
pub fn write_day_time(millis: i64, out: &mut String) {
    use std::fmt::Write;
    let sign = if millis < 0 { '-' } else { '+' };
    let millis = millis.unsigned_abs();
    let _ = write!(out, "{sign}{} ", millis / 86_400_000);
    write_clock((millis / 1000 % 86_400) as u32, out);
    write_fraction((millis % 1000) as u32 * 1_000_000, 3, out);
}

/// Reads bytes from the front.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            rest: text.as_bytes(),
        }
    }

    /// Takes this byte if it comes next.
    #[inline]
    fn eat(&mut self, byte: u8) -> Option<()> {
        let (first, rest) = self.rest.split_first()?;
        (*first == byte).then(|| self.rest = rest)
    }

    /// A number of `min` to `max` digits.
    #[inline]
    fn number(&mut self, min: usize, max: usize) -> Option<u32> {
        let (mut value, mut len) = (0, 0);
        while len < max
            && let Some(digit) = self.rest.get(len).filter(|b| b.is_ascii_digit())
        {
            value = value * 10 + u32::from(digit - b'0');
            len += 1;
        }
        self.rest = &self.rest[len..];
        (len >= min).then_some(value)
    }

    /// `.` and up to 9 digits as nanoseconds; nothing is 0.
    fn fraction(&mut self) -> Option<u32> {
        if self.eat(b'.').is_none() {
            return Some(0);
        }
        let before = self.rest.len();
        let value = self.number(0, 9)?;
        let len = before - self.rest.len();
        Some(value * 10u32.pow(9 - len as u32))
    }

    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    fn at_end(&self) -> bool {
        self.rest.is_empty()
    }
}

fn checked_days(year: u32, month: u32, day: u32) -> Option<i64> {
    let year = i64::from(year);
    let is_valid = (1..=12).contains(&month) && day >= 1 && day <= days_in_month(year, month);
    is_valid.then(|| days_from_civil(year, month, day))
}

/// Reads a date as a cast does: `2024-03-05`, `2024-3-5`, `2024-3`, `2024`; what follows a space
/// is ignored. Gives days since 1970-01-01.
pub fn parse_date(text: &str) -> Option<i32> {
    let text = match text.find(' ') {
        Some(space) if space > 0 => &text[..space],
        _ => text.trim(),
    };
    let mut reader = Reader::new(text);
    let year = reader.number(1, 4)?;
    let mut parts = [1, 1];
    for part in &mut parts {
        if reader.eat(b'-').is_none() {
            break;
        }
        *part = reader.number(1, 2)?;
    }
    if !reader.at_end() {
        return None;
    }
    checked_days(year, parts[0], parts[1]).map(|days| days as i32)
}

/// Reads a time of day as a cast does: `12:34:56.789`, `1:2:3`, `23:45`, `23`. Gives milliseconds
/// of the day.
pub fn parse_time(text: &str) -> Option<i32> {
    let mut reader = Reader::new(text.trim());
    let hour = reader.number(1, 2)?;
    let (mut minute, mut second, mut nanos) = (0, 0, 0);
    if reader.eat(b':').is_some() {
        minute = reader.number(1, 2)?;
        if reader.eat(b':').is_some() {
            second = reader.number(1, 2)?;
            nanos = reader.fraction()?;
        }
    }
    let is_valid = reader.at_end() && hour < 24 && minute < 60 && second < 60;
    is_valid
        .then(|| ((hour * 60 + minute) * 60 + second) as i32 * 1000 + (nanos / 1_000_000) as i32)
}

/// Seconds since 1970-01-01 and nanoseconds of the second.
type Instant = (i64, u32);

/// A clock time as seconds of the day and nanoseconds.
fn read_clock(reader: &mut Reader<'_>, min_digits: usize) -> Option<(u32, u32)> {
    let hour = reader.number(min_digits, 2)?;
    reader.eat(b':')?;
    let minute = reader.number(min_digits, 2)?;
    reader.eat(b':')?;
    let second = reader.number(min_digits, 2)?;
    let nanos = reader.fraction()?;
    (hour < 24 && minute < 60 && second < 60).then_some(((hour * 60 + minute) * 60 + second, nanos))
}

/// The value in the unit of `precision`, cut off after its digits.
fn to_units((seconds, nanos): Instant, precision: u8) -> Option<i64> {
    let kept = 10u32.pow(9 - u32::from(precision.min(9)));
    let nanos = nanos / kept * kept;
    let per_second = units_per_second(precision);
    let fraction = i64::from(nanos) / (1_000_000_000 / per_second);
    seconds.checked_mul(per_second)?.checked_add(fraction)
}

fn read_timestamp(text: &str) -> Option<Instant> {
    let mut reader = Reader::new(text);
    let year = reader.number(4, 4)?;
    reader.eat(b'-')?;
    let month = reader.number(1, 2)?;
    reader.eat(b'-')?;
    let day = reader.number(1, 2)?;
    // Java's lenience: a day up to 31 that the month lacks is its last day.
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let day = day.min(days_in_month(i64::from(year), month));
    let (seconds, nanos) = if reader.eat(b' ').is_some() {
        read_clock(&mut reader, 1)?
    } else {
        (0, 0)
    };
    let days = days_from_civil(i64::from(year), month, day);
    reader
        .at_end()
        .then_some((days * 86_400 + i64::from(seconds), nanos))
}

/// Reads a timestamp as a cast does: `2024-03-05 01:02:03.456`, `2024-3-5 1:2:3`, `2024-03-05`.
/// Gives a value in the unit of `precision`, digits beyond it cut off.
pub fn parse_timestamp(text: &str, precision: u8) -> Option<i64> {
    to_units(read_timestamp(text)?, precision)
}

/// The same for a wall-clock time of a zone. Gives a point in time in the unit of `precision`.
pub fn parse_timestamp_ltz(text: &str, precision: u8, zone: &mut ZoneCursor) -> Option<i64> {
    let (seconds, nanos) = read_timestamp(text)?;
    to_units((zone.to_utc(seconds, 1), nanos), precision)
}

/// Reads what formats write: `2024-03-05<separator>01:02:03.456`, with two digits in every place
/// and `Z` at the end if `has_zone`. Gives a value in the unit of `precision`.
pub fn parse_timestamp_iso(
    text: &str,
    separator: u8,
    has_zone: bool,
    precision: u8,
) -> Option<i64> {
    let mut reader = Reader::new(text);
    let year = reader.number(4, 4)?;
    reader.eat(b'-')?;
    let month = reader.number(2, 2)?;
    reader.eat(b'-')?;
    let day = reader.number(2, 2)?;
    let days = checked_days(year, month, day)?;
    reader.eat(separator)?;
    let (seconds, nanos) = read_iso_clock(&mut reader)?;
    if has_zone {
        reader.eat(b'Z')?;
    }
    reader.at_end().then_some(())?;
    to_units((days * 86_400 + i64::from(seconds), nanos), precision)
}

/// ISO 8601 lets seconds be left out.
fn read_iso_clock(reader: &mut Reader<'_>) -> Option<(u32, u32)> {
    reader.skip_spaces();
    let hour = reader.number(2, 2)?;
    reader.eat(b':')?;
    let minute = reader.number(2, 2)?;
    let (mut second, mut nanos) = (0, 0);
    if reader.eat(b':').is_some() {
        second = reader.number(2, 2)?;
        nanos = reader.fraction()?;
    }
    (hour < 24 && minute < 60 && second < 60).then_some(((hour * 60 + minute) * 60 + second, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl Fn(&mut String)) -> String {
        let mut out = String::new();
        write(&mut out);
        out
    }

    #[test]
    fn values_are_written_as_flink_writes_them() {
        assert_eq!(text(|o| write_date(19_782, o)), "2024-02-29");
        assert_eq!(text(|o| write_time(45_296_000, 0, o)), "12:34:56");
        assert_eq!(text(|o| write_timestamp(0, 0, o)), "1970-01-01 00:00:00");
        assert_eq!(
            text(|o| write_timestamp(-1, 3, o)),
            "1969-12-31 23:59:59.999"
        );
        assert_eq!(
            text(|o| write_timestamp(1_500_000, 6, o)),
            "1970-01-01 00:00:01.500000"
        );
        assert_eq!(text(|o| write_year_month(14, o)), "+1-02");
        assert_eq!(text(|o| write_year_month(-1, o)), "-0-01");
        assert_eq!(text(|o| write_day_time(93_784_500, o)), "+1 02:03:04.500");
    }

    #[test]
    fn casts_are_lenient_where_flink_is() {
        assert_eq!(parse_date("2024-3-5"), parse_date("2024-03-05"));
        assert_eq!(
            parse_date("2021-09-27 12:34:56.1"),
            parse_date("2021-09-27")
        );
        assert_eq!(parse_date("2024-02-30"), None);
        assert_eq!(parse_date("2021/09/27"), None);
        assert_eq!(parse_time("1:2:3"), Some(3_723_000));
        assert_eq!(parse_time("23:45"), Some(85_500_000));
        assert_eq!(parse_time("25:00:00"), None);
        assert_eq!(parse_timestamp("2024-03-05T01:02:03Z", 3), None);
        let millis = parse_timestamp("2024-03-05 01:02:03.4567", 3).expect("a timestamp");
        assert_eq!(
            text(|o| write_timestamp(millis, 3, o)),
            "2024-03-05 01:02:03.456"
        );
        let cut = parse_timestamp("2024-03-05 01:02:03.9999", 0).expect("a timestamp");
        assert_eq!(text(|o| write_timestamp(cut, 0, o)), "2024-03-05 01:02:03");
    }

    #[test]
    fn formats_are_strict() {
        let iso = |t| parse_timestamp_iso(t, b'T', true, 3);
        assert_eq!(iso("1970-01-01T00:00:01.5Z"), Some(1500));
        assert_eq!(iso("1970-01-01T00:00:01.5"), None);
        assert_eq!(iso("1970-1-01T00:00:01Z"), None);
        assert_eq!(iso("2023-02-29T00:00:01Z"), None);
    }
}
