//! Event time: milliseconds since 1970-01-01, carried by rows and watermarks.

/// No watermark has been seen yet.
pub const MIN_WATERMARK: i64 = i64::MIN;
/// The watermark of the end of input: every window closes.
pub const MAX_WATERMARK: i64 = i64::MAX;

/// The start of the tumbling window of `size` ms that holds `time`, windows being shifted by
/// `offset` ms. Windows before 1970 align too.
#[inline]
pub fn window_start(time: i64, size: i64, offset: i64) -> i64 {
    time - (time - offset).rem_euclid(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_before_1970_align() {
        assert_eq!(window_start(-1, 10, 0), -10);
        assert_eq!(window_start(3, 10, 4), -6);
        assert_eq!(window_start(4, 10, 4), 4);
    }
}
