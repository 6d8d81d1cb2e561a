//! The proleptic Gregorian calendar over days since 1970-01-01 (Hinnant, "chrono-Compatible
//! Low-Level Date Algorithms").

/// A calendar day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CivilDate {
    pub year: i64,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
}

pub const MILLIS_PER_DAY: i64 = 86_400_000;

/// The calendar day that is `days` after 1970-01-01.
#[inline]
pub fn civil_from_days(days: i64) -> CivilDate {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * shifted_month + 2) / 5 + 1) as u32;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    } as u32;
    CivilDate {
        year: year_of_era + era * 400 + i64::from(month <= 2),
        month,
        day,
    }
}

/// The days from 1970-01-01 to this day; month and day must be valid.
#[inline]
pub fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = i64::from((month + 9) % 12);
    let day_of_year = (153 * shifted_month + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

pub fn is_leap_year(year: i64) -> bool {
    year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0)
}

/// The number of days of a month, 1 to 12.
#[inline]
pub fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        2 => 28 + u32::from(is_leap_year(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Adds months; a day that the month does not have becomes its last one.
pub fn add_months(days: i64, months: i64) -> i64 {
    let date = civil_from_days(days);
    let month0 = date.year * 12 + i64::from(date.month) - 1 + months;
    let (year, month) = (month0.div_euclid(12), month0.rem_euclid(12) as u32 + 1);
    days_from_civil(year, month, date.day.min(days_in_month(year, month)))
}

/// 1 for Monday to 7 for Sunday.
pub fn iso_day_of_week(days: i64) -> u32 {
    (days + 3).rem_euclid(7) as u32 + 1
}

/// 1 for the first of January.
pub fn day_of_year(days: i64) -> u32 {
    let date = civil_from_days(days);
    (days - days_from_civil(date.year, 1, 1) + 1) as u32
}

/// ISO 8601's week-based year and week.
pub fn iso_week(days: i64) -> (i64, u32) {
    // The week belongs to the year of its Thursday.
    let thursday = days - i64::from(iso_day_of_week(days)) + 4;
    let year = civil_from_days(thursday).year;
    let week = (thursday - days_from_civil(year, 1, 1)) / 7 + 1;
    (year, week as u32)
}

/// The week-based year and week where weeks start on Sunday and the first of January is in week 1,
/// as Java counts them in the locale of the United States.
pub fn sunday_week(days: i64) -> (i64, u32) {
    // The week belongs to the year of its Saturday.
    let saturday = days + i64::from(6 - iso_day_of_week(days) % 7);
    let year = civil_from_days(saturday).year;
    let week = (saturday - days_from_civil(year, 1, 1)) / 7 + 1;
    (year, week as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_calendar_agree_over_centuries() {
        let mut days = days_from_civil(1500, 3, 1);
        while days < days_from_civil(2500, 1, 1) {
            let date = civil_from_days(days);
            assert_eq!(days_from_civil(date.year, date.month, date.day), days);
            days += 13;
        }
        assert_eq!(
            civil_from_days(0),
            CivilDate {
                year: 1970,
                month: 1,
                day: 1
            }
        );
    }

    #[test]
    fn weeks_at_the_turn_of_a_year() {
        let day = days_from_civil(2024, 12, 30);
        assert_eq!(iso_week(day), (2025, 1));
        assert_eq!(sunday_week(days_from_civil(2024, 1, 5)), (2024, 1));
        assert_eq!(sunday_week(days_from_civil(2023, 12, 31)), (2024, 1));
        assert_eq!(iso_day_of_week(days_from_civil(2024, 12, 29)), 7);
    }

    #[test]
    fn months_end_where_the_month_ends() {
        let january = days_from_civil(2024, 1, 31);
        assert_eq!(add_months(january, 1), days_from_civil(2024, 2, 29));
        assert_eq!(add_months(january, -11), days_from_civil(2023, 2, 28));
    }
}
