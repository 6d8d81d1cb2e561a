//! Reading texts by Java's patterns.

use crate::text::calendar::{add_months, days_from_civil, days_in_month};

use super::pattern::{DAYS, Dialect, Field, Item, MONTHS, Pattern};

/// What has been read so far.
#[derive(Debug, Default)]
struct Parsed {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    hour: Option<i64>,
    hour12: Option<i64>,
    is_pm: bool,
    minute: i64,
    second: i64,
    nanos: i64,
}

impl Pattern {
    /// Reads a wall-clock time: seconds since 1970-01-01 and nanoseconds. Fields that the pattern
    /// lacks are those of 1970-01-01 00:00:00.
    pub fn parse(&self, text: &str) -> Option<(i64, u32)> {
        let mut rest = text;
        let mut parsed = Parsed::default();
        for (i, item) in self.items.iter().enumerate() {
            rest = match item {
                Item::Literal(literal) => rest.strip_prefix(literal.as_str())?,
                Item::Field(field, width) => {
                    let is_adjacent = self.items.get(i + 1).is_some_and(Item::is_number);
                    self.read(*field, *width, is_adjacent, rest, &mut parsed)?
                }
            };
        }
        if !rest.is_empty() && self.dialect == Dialect::Strict {
            return None;
        }
        match self.dialect {
            Dialect::Strict => parsed.resolve_strict(),
            Dialect::Lenient => Some(parsed.resolve_lenient()),
        }
    }

    /// Reads a field; gives the rest of the text.
    fn read<'t>(
        &self,
        field: Field,
        width: usize,
        is_adjacent: bool,
        text: &'t str,
        parsed: &mut Parsed,
    ) -> Option<&'t str> {
        match field {
            Field::Month if width >= 3 => {
                let (at, rest) = read_name(&MONTHS, width, text)?;
                parsed.month = Some(at as i64 + 1);
                return Some(rest);
            }
            Field::DayName => return read_name(&DAYS, width, text).map(|(_, rest)| rest),
            Field::AmPm => {
                let marker = text.get(..2)?;
                parsed.is_pm = marker.eq_ignore_ascii_case("PM");
                let is_known = parsed.is_pm || marker.eq_ignore_ascii_case("AM");
                return is_known.then(|| &text[2..]);
            }
            Field::Era => return text.strip_prefix("AD"),
            _ => {}
        }
        let (value, num_digits, rest) = self.read_number(field, width, is_adjacent, text)?;
        parsed.set(field, value, num_digits, width, self.dialect);
        Some(rest)
    }

    fn read_number<'t>(
        &self,
        field: Field,
        width: usize,
        is_adjacent: bool,
        text: &'t str,
    ) -> Option<(i64, usize, &'t str)> {
        let text = if self.dialect == Dialect::Lenient {
            text.trim_start()
        } else {
            text
        };
        let is_fixed = is_adjacent || field == Field::Fraction;
        let (min, max) = match self.dialect {
            Dialect::Lenient => (1, if is_adjacent { width } else { 18 }),
            Dialect::Strict if is_fixed || width > 1 => (width, width),
            Dialect::Strict => (1, 9),
        };
        let len = text
            .bytes()
            .take(max)
            .take_while(u8::is_ascii_digit)
            .count();
        if len < min {
            return None;
        }
        Some((text[..len].parse().ok()?, len, &text[len..]))
    }
}

fn read_name<'t>(names: &[&str], width: usize, text: &'t str) -> Option<(usize, &'t str)> {
    names.iter().enumerate().find_map(|(at, name)| {
        let name = if width == 3 { &name[..3] } else { name };
        let head = text.get(..name.len())?;
        head.eq_ignore_ascii_case(name)
            .then(|| (at, &text[name.len()..]))
    })
}

impl Parsed {
    fn set(&mut self, field: Field, value: i64, digits: usize, width: usize, dialect: Dialect) {
        match field {
            Field::Year | Field::WeekYear if width == 2 && digits == 2 => {
                self.year = Some(2000 + value);
            }
            Field::Year | Field::WeekYear => self.year = Some(value),
            Field::Month => self.month = Some(value),
            Field::DayOfMonth => self.day = Some(value),
            Field::DayOfYear => self.day_of_year = Some(value),
            Field::Hour24 => self.hour = Some(value),
            Field::Hour24FromOne => self.hour = Some(value % 24),
            Field::Hour12 | Field::Hour12FromZero => self.hour12 = Some(value % 12),
            Field::Minute => self.minute = value,
            Field::Second => self.second = value,
            Field::Fraction if dialect == Dialect::Lenient => self.nanos = value * 1_000_000,
            Field::Fraction => self.nanos = value * 10i64.pow(9 - digits.min(9) as u32),
            Field::Nano => self.nanos = value,
            _ => {}
        }
    }

    fn hour(&self) -> i64 {
        let from_half = self
            .hour12
            .map(|hour| hour + if self.is_pm { 12 } else { 0 });
        self.hour.or(from_half).unwrap_or(0)
    }

    /// Values must exist, except that a day that the month lacks is its last one.
    fn resolve_strict(&self) -> Option<(i64, u32)> {
        let year = self.year.unwrap_or(1970);
        let (month, day) = (self.month.unwrap_or(1), self.day.unwrap_or(1));
        let (hour, minute, second) = (self.hour(), self.minute, self.second);
        let is_valid = (1..=12).contains(&month)
            && (1..=31).contains(&day)
            && (0..24).contains(&hour)
            && minute < 60
            && second < 60;
        if !is_valid || !(-999_999..=999_999).contains(&year) {
            return None;
        }
        let day = (day as u32).min(days_in_month(year, month as u32));
        let days = match self.day_of_year {
            Some(day) => days_from_civil(year, 1, 1) + day - 1,
            None => days_from_civil(year, month as u32, day),
        };
        let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
        Some((seconds, self.nanos as u32))
    }

    /// Values that do not exist carry over.
    fn resolve_lenient(&self) -> (i64, u32) {
        let bounded = |value: i64| value.clamp(-999_999, 999_999);
        let year = days_from_civil(bounded(self.year.unwrap_or(1970)), 1, 1);
        let month = add_months(year, bounded(self.month.unwrap_or(1) - 1));
        let days = match self.day_of_year {
            Some(day) => year + bounded(day - 1),
            None => month + bounded(self.day.unwrap_or(1) - 1),
        };
        let clock = bounded(self.hour()) * 3600 + bounded(self.minute) * 60 + bounded(self.second);
        let nanos = self.nanos.rem_euclid(1_000_000_000) as u32;
        let seconds = days * 86_400 + clock + self.nanos.div_euclid(1_000_000_000);
        (seconds, nanos)
    }
}
