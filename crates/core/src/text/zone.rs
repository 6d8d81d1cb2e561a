//! Points in time to wall-clock time and back, in a time zone.

use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::Tz;

/// Converts in one zone and remembers the offset of the last quarter of an hour, because rows
/// that follow each other are mostly near in time.
#[derive(Debug, Clone)]
pub struct ZoneCursor {
    zone: Tz,
    is_utc: bool,
    block: i64,
    offset: i64,
}

/// Zones change their offset at full quarters of an hour only, since 1972.
const BLOCK_SECONDS: i64 = 900;
const FIRST_CACHED_SECOND: i64 = 2 * 366 * 86_400;
const DAY_SECONDS: i64 = 86_400;

impl ZoneCursor {
    pub fn new(zone: Tz) -> Self {
        Self {
            zone,
            is_utc: zone == Tz::UTC,
            block: i64::MIN,
            offset: 0,
        }
    }

    /// The zone of this name (`Europe/Berlin`); `None` when there is none.
    pub fn named(name: &str) -> Option<Self> {
        name.parse().ok().map(Self::new)
    }

    /// The zone of this machine's clock, found as Java finds it: named by the variable `TZ`, or by
    /// what `/etc/localtime` points to; UTC where neither names one.
    pub fn of_machine() -> Self {
        let variable = std::env::var("TZ").ok();
        let named = variable.and_then(|name| Self::named(name.trim_start_matches(':')));
        let linked = || {
            let target = std::fs::canonicalize("/etc/localtime").ok()?;
            let (_, name) = target.to_str()?.split_once("/zoneinfo/")?;
            Self::named(name)
        };
        named.or_else(linked).unwrap_or_else(|| Self::new(Tz::UTC))
    }

    /// Whether local time is UTC.
    pub fn is_utc(&self) -> bool {
        self.is_utc
    }

    /// Seconds to add to UTC for local time, at this second since 1970-01-01 UTC.
    #[inline]
    pub fn offset_at(&mut self, utc_seconds: i64) -> i64 {
        if self.is_utc {
            return 0;
        }
        let block = utc_seconds.div_euclid(BLOCK_SECONDS);
        if block != self.block || utc_seconds < FIRST_CACHED_SECOND {
            self.offset = offset_of(self.zone, utc_seconds);
            self.block = block;
        }
        self.offset
    }

    /// Local wall-clock time for a point in time; `per_second` is the unit of both.
    #[inline]
    pub fn to_local(&mut self, utc: i64, per_second: i64) -> i64 {
        utc.saturating_add(self.offset_at(utc.div_euclid(per_second)) * per_second)
    }

    /// The point in time of a local wall-clock time. A time that a clock change repeats is the
    /// earlier one; a time that it skips moves forward by the gap.
    pub fn to_utc(&mut self, local: i64, per_second: i64) -> i64 {
        if self.is_utc {
            return local;
        }
        let seconds = local.div_euclid(per_second);
        let before = self.offset_at(seconds - DAY_SECONDS);
        let after = self.offset_at(seconds + DAY_SECONDS);
        let is_after = before != after
            && self.offset_at(seconds - before) != before
            && self.offset_at(seconds - after) == after;
        local.saturating_sub(if is_after { after } else { before } * per_second)
    }

    /// As [`ZoneCursor::to_utc`], but a time that a clock change repeats is the later one, as with
    /// Java's older classes of dates.
    pub fn to_later_utc(&mut self, local: i64, per_second: i64) -> i64 {
        if self.is_utc {
            return local;
        }
        let seconds = local.div_euclid(per_second);
        let after = self.offset_at(seconds + DAY_SECONDS);
        match self.offset_at(seconds - after) == after {
            true => local.saturating_sub(after * per_second),
            false => self.to_utc(local, per_second),
        }
    }
}

fn offset_of(zone: Tz, utc_seconds: i64) -> i64 {
    let instant = DateTime::from_timestamp(utc_seconds, 0);
    instant.map_or(0, |t| {
        let offset = zone.offset_from_utc_datetime(&t.naive_utc());
        i64::from(offset.fix().local_minus_utc())
    })
}

#[cfg(test)]
mod tests {
    use super::super::calendar::days_from_civil;
    use super::*;

    fn at(day: u32, month: u32, hour: i64, minute: i64) -> i64 {
        days_from_civil(2024, month, day) * 86_400 + hour * 3600 + minute * 60
    }

    #[test]
    fn clock_changes_are_resolved_as_java_does() {
        let mut zone = ZoneCursor::new(Tz::America__Los_Angeles);
        let skipped = zone.to_utc(at(10, 3, 2, 30), 1);
        assert_eq!(zone.to_local(skipped, 1), at(10, 3, 3, 30));
        let repeated = zone.to_utc(at(3, 11, 1, 30), 1);
        assert_eq!(repeated, at(3, 11, 8, 30));
        assert_eq!(zone.to_utc(at(10, 3, 3, 30), 1), at(10, 3, 10, 30));
        assert_eq!(zone.to_utc(at(3, 11, 2, 0), 1), at(3, 11, 10, 0));
        assert_eq!(zone.to_later_utc(at(3, 11, 1, 30), 1), at(3, 11, 9, 30));
        assert_eq!(zone.to_later_utc(at(10, 3, 2, 30), 1), skipped);
        assert_eq!(zone.to_later_utc(at(3, 7, 1, 30), 1), at(3, 7, 8, 30));
    }
}
