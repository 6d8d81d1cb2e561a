//! Timestamps of a stripe: seconds since 2015 on the writer's clock, and nanoseconds.

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::*;
use flott_core::text::zone::ZoneCursor;
use flott_core::{Error, Result};

use crate::column::timestamp_array;

/// Timestamps count from the begin of 2015 in the writer's zone.
const EPOCH_SECONDS: i64 = 1_420_070_400;

/// How a column's timestamps are brought to their unit.
pub(super) struct Clock {
    unit: TimeUnit,
    /// Where the writer's clock stood; `None` for points in time, which are kept as they are.
    zone: Option<ZoneCursor>,
    has_zone: bool,
    base_seconds: i64,
}

impl Clock {
    /// A clock for points in time (`has_zone`), or for what a clock in the writer's zone showed.
    pub fn new(unit: TimeUnit, zone: Option<ZoneCursor>, has_zone: bool) -> Self {
        let mut zone = zone.filter(|_| !has_zone);
        let to_utc = |zone: &mut ZoneCursor| zone.to_utc(EPOCH_SECONDS, 1);
        Self {
            unit,
            base_seconds: zone.as_mut().map_or(EPOCH_SECONDS, to_utc),
            zone,
            has_zone,
        }
    }

    /// The values of seconds and nanoseconds as they are stored, in the column's unit.
    ///
    /// # Errors
    /// A user error for one that the unit cannot hold.
    pub fn values(&mut self, seconds: &[i64], nanos: &[i64]) -> Result<Vec<i64>> {
        let per_second = match self.unit {
            TimeUnit::Second => 1,
            TimeUnit::Millisecond => 1_000,
            TimeUnit::Microsecond => 1_000_000,
            TimeUnit::Nanosecond => 1_000_000_000,
        };
        let mut values = Vec::with_capacity(seconds.len());
        for (&seconds, &nanos) in seconds.iter().zip(nanos) {
            let nanos = nanos_of(nanos);
            let value = self.seconds(seconds, nanos).and_then(|seconds| {
                let part = nanos / (1_000_000_000 / per_second);
                seconds.checked_mul(per_second)?.checked_add(part)
            });
            values.push(value.ok_or_else(|| {
                let message = format!(
                    "a timestamp of an ORC file is out of the range of {:?}s",
                    self.unit
                );
                Error::user("MALFORMED_RECORD", message)
            })?);
        }
        Ok(values)
    }

    /// Seconds since 1970 on the writer's clock.
    fn seconds(&mut self, seconds: i64, nanos: i64) -> Option<i64> {
        let mut seconds = seconds.checked_add(self.base_seconds)?;
        // Java's writer cuts towards zero; see ORC-763.
        if seconds < 0 && nanos > 999_999 {
            seconds -= 1;
        }
        match &mut self.zone {
            Some(zone) => Some(zone.to_local(seconds, 1)),
            None => Some(seconds),
        }
    }

    /// The column of these values.
    pub fn array(&self, values: Int64Array) -> ArrayRef {
        timestamp_array(&values, self.unit, self.has_zone)
    }
}

/// Nanoseconds as they are stored: the last three bits count the zeros that were left out, less one.
fn nanos_of(stored: i64) -> i64 {
    let digits = stored >> 3;
    match stored & 7 {
        0 => digits,
        zeros => digits.wrapping_mul(10i64.pow(zeros as u32 + 1)),
    }
    .clamp(0, 999_999_999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_writers_clock_showed_is_kept() {
        let zone = ZoneCursor::named("America/Los_Angeles");
        let mut clock = Clock::new(TimeUnit::Millisecond, zone, false);
        // Midnight of 2015 there, and half a year later, when clocks are an hour ahead.
        let summer = 181 * 86_400 - 3_600;
        let values = clock.values(&[0, summer], &[0, 5 << 3 | 7]).unwrap();
        let begin = EPOCH_SECONDS * 1_000;
        assert_eq!(values, [begin, begin + 181 * 86_400_000 + 500]);
        let mut points = Clock::new(TimeUnit::Nanosecond, None, true);
        assert_eq!(
            points.values(&[0], &[12 << 3]).unwrap(),
            [begin * 1_000_000 + 12]
        );
        assert!(points.values(&[i64::MAX], &[0]).is_err());
        assert!(points.values(&[1 << 40], &[0]).is_err());
    }

    #[test]
    fn moments_before_1970_are_brought_back_from_javas_cut() {
        let mut clock = Clock::new(TimeUnit::Millisecond, None, true);
        let stored = -EPOCH_SECONDS - 4;
        assert_eq!(clock.values(&[stored], &[25 << 3 | 6]).unwrap(), [-4750]);
    }
}
