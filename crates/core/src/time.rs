//! Event time: milliseconds since 1970-01-01, carried by rows and watermarks.

use std::cell::Cell;

/// No watermark has been seen yet.
pub const MIN_WATERMARK: i64 = i64::MIN;
/// The watermark of the end of input: every window closes.
pub const MAX_WATERMARK: i64 = i64::MAX;

thread_local! {
    static ROWS_WATERMARK: Cell<i64> = const { Cell::new(MIN_WATERMARK) };
}

/// Runs `evaluate` for rows that come after this watermark, so that expressions can ask for it.
pub fn after_watermark<T>(watermark: i64, evaluate: impl FnOnce() -> T) -> T {
    let outer = ROWS_WATERMARK.replace(watermark);
    let result = evaluate();
    ROWS_WATERMARK.set(outer);
    result
}

/// The watermark in ms before the rows that this thread evaluates; `None` before the first one.
pub fn watermark_before_rows() -> Option<i64> {
    Some(ROWS_WATERMARK.get()).filter(|&watermark| watermark != MIN_WATERMARK)
}

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
    fn rows_know_the_watermark_before_them_only_while_they_are_evaluated() {
        assert_eq!(watermark_before_rows(), None);
        let (inner, outer) = after_watermark(5, || {
            let inner = after_watermark(7, watermark_before_rows);
            (inner, watermark_before_rows())
        });
        assert_eq!((inner, outer), (Some(7), Some(5)));
        assert_eq!(watermark_before_rows(), None);
    }

    #[test]
    fn windows_before_1970_align() {
        assert_eq!(window_start(-1, 10, 0), -10);
        assert_eq!(window_start(3, 10, 4), -6);
        assert_eq!(window_start(4, 10, 4), 4);
    }
}
