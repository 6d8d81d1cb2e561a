//! Units of time.

use flott_core::{Error, Result};

use crate::functions::BindContext;

/// A unit of time, or a field of a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Nanosecond,
    Microsecond,
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    Decade,
    Century,
    Millennium,
    DayOfWeek,
    IsoDayOfWeek,
    DayOfYear,
    IsoYear,
    Epoch,
}

impl Unit {
    /// The unit of this name, in any case, singular, plural or as `SQL_TSI_…`.
    pub fn parse(name: &str) -> Option<Self> {
        let upper = name.to_ascii_uppercase();
        let name = upper.strip_prefix("SQL_TSI_").unwrap_or(&upper);
        Some(match name {
            "NANOSECOND" | "NANOSECONDS" => Self::Nanosecond,
            "MICROSECOND" | "MICROSECONDS" | "FRAC_SECOND" => Self::Microsecond,
            "MILLISECOND" | "MILLISECONDS" => Self::Millisecond,
            "SECOND" | "SECONDS" => Self::Second,
            "MINUTE" | "MINUTES" => Self::Minute,
            "HOUR" | "HOURS" => Self::Hour,
            "DAY" | "DAYS" => Self::Day,
            "WEEK" | "WEEKS" => Self::Week,
            "MONTH" | "MONTHS" => Self::Month,
            "QUARTER" | "QUARTERS" => Self::Quarter,
            "YEAR" | "YEARS" => Self::Year,
            "DECADE" => Self::Decade,
            "CENTURY" => Self::Century,
            "MILLENNIUM" => Self::Millennium,
            "DOW" => Self::DayOfWeek,
            "ISODOW" => Self::IsoDayOfWeek,
            "DOY" => Self::DayOfYear,
            "ISOYEAR" => Self::IsoYear,
            "EPOCH" => Self::Epoch,
            _ => return None,
        })
    }

    /// The nanoseconds of units of constant length.
    pub fn nanos(self) -> Option<i64> {
        Some(match self {
            Self::Nanosecond => 1,
            Self::Microsecond => 1_000,
            Self::Millisecond => 1_000_000,
            Self::Second => 1_000_000_000,
            Self::Minute => 60_000_000_000,
            Self::Hour => 3_600_000_000_000,
            Self::Day => 86_400_000_000_000,
            Self::Week => 7 * 86_400_000_000_000,
            _ => return None,
        })
    }

    /// The months of units that are counted in months.
    pub fn months(self) -> Option<i64> {
        Some(match self {
            Self::Month => 1,
            Self::Quarter => 3,
            Self::Year => 12,
            Self::Decade => 120,
            Self::Century => 1_200,
            Self::Millennium => 12_000,
            _ => return None,
        })
    }
}

/// The unit that an argument names.
///
/// # Errors
/// A user error for what is no unit's name.
pub fn unit_argument(c: &BindContext<'_>, index: usize) -> Result<Unit> {
    let name = c
        .argument(index)?
        .literal_text()
        .ok_or_else(|| c.wrong_types())?;
    Unit::parse(name).ok_or_else(|| {
        let function = c.name;
        let message = format!("'{name}' is not a unit of time in {function}; write YEAR to SECOND");
        Error::user("INVALID_TIME_UNIT", message)
    })
}
