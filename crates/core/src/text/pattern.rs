//! Java's patterns of dates and times (`yyyy-MM-dd HH:mm`), compiled once.

use crate::text::calendar::{civil_from_days, day_of_year, iso_day_of_week, sunday_week};
use crate::{Error, Result};

/// Which of Java's two readers of patterns is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `DateTimeFormatter`: digits must fill their places and values must exist.
    Strict,
    /// `SimpleDateFormat`: fewer digits will do, month 13 is the next January, and what follows
    /// is ignored.
    Lenient,
}

/// A field of a pattern, from its letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    Era,
    Year,
    WeekYear,
    Month,
    Week,
    DayOfMonth,
    DayOfYear,
    DayName,
    DayNumber,
    Quarter,
    AmPm,
    /// 0 to 23.
    Hour24,
    /// 1 to 24.
    Hour24FromOne,
    /// 1 to 12.
    Hour12,
    /// 0 to 11.
    Hour12FromZero,
    Minute,
    Second,
    Fraction,
    Nano,
}

impl Field {
    fn of_letter(letter: char, dialect: Dialect) -> Option<Self> {
        Some(match letter {
            'G' => Self::Era,
            'y' => Self::Year,
            'u' if dialect == Dialect::Strict => Self::Year,
            'u' => Self::DayNumber,
            'Y' => Self::WeekYear,
            'M' | 'L' => Self::Month,
            'w' => Self::Week,
            'd' => Self::DayOfMonth,
            'D' => Self::DayOfYear,
            'E' => Self::DayName,
            'e' if dialect == Dialect::Strict => Self::DayNumber,
            'Q' | 'q' if dialect == Dialect::Strict => Self::Quarter,
            'a' => Self::AmPm,
            'H' => Self::Hour24,
            'k' => Self::Hour24FromOne,
            'h' => Self::Hour12,
            'K' => Self::Hour12FromZero,
            'm' => Self::Minute,
            's' => Self::Second,
            'S' => Self::Fraction,
            'n' if dialect == Dialect::Strict => Self::Nano,
            _ => return None,
        })
    }
}

/// A part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    Literal(String),
    /// A field and how often its letter is repeated.
    Field(Field, usize),
}

impl Item {
    /// Whether the part is written in digits.
    pub fn is_number(&self) -> bool {
        match self {
            Self::Literal(_) | Self::Field(Field::Era | Field::DayName | Field::AmPm, _) => false,
            Self::Field(Field::Month, width) => *width < 3,
            Self::Field(..) => true,
        }
    }
}

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    pub(super) items: Vec<Item>,
    pub(super) dialect: Dialect,
    resolution: Resolution,
}

/// How far apart two times must be to be written differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Resolution {
    Day,
    Minute,
    Second,
    Nano,
}

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
pub(super) const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// A user error for a letter that is no field, or an open quote.
    pub fn compile(pattern: &str, dialect: Dialect) -> Result<Self> {
        let mut items: Vec<Item> = Vec::new();
        let mut chars = pattern.chars().peekable();
        while let Some(c) = chars.next() {
            if c == '\'' {
                push_literal(&mut items, &quoted(&mut chars, pattern)?);
            } else if c.is_ascii_alphabetic() {
                let mut width = 1;
                while chars.next_if_eq(&c).is_some() {
                    width += 1;
                }
                let field = Field::of_letter(c, dialect)
                    .ok_or_else(|| invalid(pattern, &format!("'{c}' is not supported")))?;
                items.push(Item::Field(field, width));
            } else if c != '[' && c != ']' || dialect == Dialect::Lenient {
                push_literal(&mut items, c.encode_utf8(&mut [0; 4]));
            }
        }
        let resolution = items
            .iter()
            .map(resolution_of)
            .max()
            .unwrap_or(Resolution::Day);
        Ok(Self {
            items,
            dialect,
            resolution,
        })
    }

    /// A number that is the same for times that are written the same.
    #[inline]
    pub fn key(&self, seconds: i64, nanos: u32) -> Option<i64> {
        match self.resolution {
            Resolution::Day => Some(seconds.div_euclid(86_400)),
            Resolution::Minute => Some(seconds.div_euclid(60)),
            Resolution::Second => Some(seconds),
            Resolution::Nano => (nanos == 0).then_some(seconds),
        }
    }

    /// Appends a wall-clock time: seconds since 1970-01-01 and nanoseconds.
    pub fn format(&self, seconds: i64, nanos: u32, out: &mut String) {
        let days = seconds.div_euclid(86_400);
        let second_of_day = seconds.rem_euclid(86_400);
        for item in &self.items {
            match item {
                Item::Literal(text) => out.push_str(text),
                Item::Field(field, width) => {
                    let moment = Moment {
                        days,
                        second_of_day,
                        nanos,
                    };
                    moment.write(*field, *width, self.dialect, out);
                }
            }
        }
    }
}

fn push_literal(items: &mut Vec<Item>, text: &str) {
    match items.last_mut() {
        Some(Item::Literal(last)) => last.push_str(text),
        _ => items.push(Item::Literal(text.to_string())),
    }
}

/// The text up to the closing quote; two quotes are one.
fn quoted(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, pattern: &str) -> Result<String> {
    if chars.next_if_eq(&'\'').is_some() {
        return Ok("'".into());
    }
    let mut text = String::new();
    loop {
        match chars.next() {
            Some('\'') if chars.next_if_eq(&'\'').is_some() => text.push('\''),
            Some('\'') => return Ok(text),
            Some(c) => text.push(c),
            None => return Err(invalid(pattern, "a quote is not closed")),
        }
    }
}

fn invalid(pattern: &str, why: &str) -> Error {
    let message = format!("'{pattern}' is not a pattern of dates and times: {why}");
    Error::user("INVALID_DATETIME_PATTERN", message)
}

fn resolution_of(item: &Item) -> Resolution {
    match item {
        Item::Field(Field::Fraction | Field::Nano, _) => Resolution::Nano,
        Item::Field(Field::Second, _) => Resolution::Second,
        Item::Field(
            Field::AmPm
            | Field::Hour24
            | Field::Hour24FromOne
            | Field::Hour12
            | Field::Hour12FromZero
            | Field::Minute,
            _,
        ) => Resolution::Minute,
        _ => Resolution::Day,
    }
}

struct Moment {
    days: i64,
    second_of_day: i64,
    nanos: u32,
}

impl Moment {
    fn write(&self, field: Field, width: usize, dialect: Dialect, out: &mut String) {
        let hour = self.second_of_day / 3600;
        let from_one = |value: i64, size: i64| {
            if value % size == 0 {
                size
            } else {
                value % size
            }
        };
        let date = || civil_from_days(self.days);
        match field {
            Field::Era => out.push_str(if date().year > 0 { "AD" } else { "BC" }),
            Field::Year => write_year(date().year, width, out),
            Field::WeekYear => write_year(sunday_week(self.days).0, width, out),
            Field::Month => write_month(date().month as usize, width, out),
            Field::Week => write_number(i64::from(sunday_week(self.days).1), width, out),
            Field::DayOfMonth => write_number(i64::from(date().day), width, out),
            Field::DayOfYear => write_number(i64::from(day_of_year(self.days)), width, out),
            Field::DayName => {
                let name = DAYS[(iso_day_of_week(self.days) - 1) as usize];
                out.push_str(if width < 4 { &name[..3] } else { name });
            }
            Field::DayNumber => {
                let iso = i64::from(iso_day_of_week(self.days));
                write_number(
                    if dialect == Dialect::Strict {
                        iso % 7 + 1
                    } else {
                        iso
                    },
                    width,
                    out,
                );
            }
            Field::Quarter => write_number(i64::from((date().month - 1) / 3 + 1), width, out),
            Field::AmPm => out.push_str(if hour < 12 { "AM" } else { "PM" }),
            Field::Hour24 => write_number(hour, width, out),
            Field::Hour24FromOne => write_number(from_one(hour, 24), width, out),
            Field::Hour12 => write_number(from_one(hour, 12), width, out),
            Field::Hour12FromZero => write_number(hour % 12, width, out),
            Field::Minute => write_number(self.second_of_day / 60 % 60, width, out),
            Field::Second => write_number(self.second_of_day % 60, width, out),
            Field::Nano => write_number(i64::from(self.nanos), width, out),
            Field::Fraction if dialect == Dialect::Lenient => {
                write_number(i64::from(self.nanos / 1_000_000), width, out);
            }
            Field::Fraction => {
                let width = width.min(9);
                let digits = self.nanos / 10u32.pow(9 - width as u32);
                write_number(i64::from(digits), width, out);
            }
        }
    }
}

fn write_month(month: usize, width: usize, out: &mut String) {
    match width {
        0..=2 => write_number(month as i64, width, out),
        3 => out.push_str(&MONTHS[month - 1][..3]),
        _ => out.push_str(MONTHS[month - 1]),
    }
}

fn write_year(year: i64, width: usize, out: &mut String) {
    if width == 2 {
        write_number(year.rem_euclid(100), 2, out);
    } else {
        write_number(year, width, out);
    }
}

/// Writes a number with leading zeros up to `width`.
fn write_number(value: i64, width: usize, out: &mut String) {
    if width == 2 && (0..100).contains(&value) {
        out.push((b'0' + (value / 10) as u8) as char);
        out.push((b'0' + (value % 10) as u8) as char);
        return;
    }
    use std::fmt::Write;
    let _ = write!(out, "{value:0width$}");
}

/// Compiles the pattern of each row, which is nearly always that of the row before.
#[derive(Debug)]
pub struct PatternCache {
    dialect: Dialect,
    last: Option<(String, Pattern)>,
}

impl PatternCache {
    pub fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            last: None,
        }
    }

    /// The compiled pattern.
    ///
    /// # Errors
    /// As [`Pattern::compile`].
    pub fn get(&mut self, text: &str) -> Result<&Pattern> {
        if self.last.as_ref().is_none_or(|(last, _)| last != text) {
            self.last = None;
        }
        match &mut self.last {
            Some((_, pattern)) => Ok(pattern),
            empty => {
                let pattern = Pattern::compile(text, self.dialect)?;
                Ok(&empty.insert((text.to_string(), pattern)).1)
            }
        }
    }
}
