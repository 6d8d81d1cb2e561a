//! Slices: the largest stretches of time that lie wholly inside or outside every window, so that
//! each row is aggregated once however many windows it is in.

use flott_core::time::window_start;
use flott_core::{Error, Result};

use super::WindowShape;

/// A stretch of wall-clock time in ms; ordered by its end, which is exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slice {
    pub end: i64,
    pub start: i64,
}

impl Slice {
    /// Before every window.
    pub const NEVER: Self = Self {
        start: i64::MIN,
        end: i64::MIN,
    };
}

/// How windows are made of slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slicing {
    /// Every slice is a window.
    Whole,
    Tumble {
        size: i64,
        offset: i64,
    },
    Hop {
        size: i64,
        slide: i64,
        offset: i64,
        slice: i64,
    },
    Cumulate {
        max_size: i64,
        step: i64,
        offset: i64,
    },
}

impl Slicing {
    /// # Errors
    /// A length that is not positive, and a CUMULATE size that is no multiple of its step.
    pub fn new(shape: WindowShape) -> Result<Self> {
        let (slicing, lengths) = match shape {
            WindowShape::Tumble { size_ms, offset_ms } => {
                let (size, offset) = (size_ms, offset_ms);
                (Self::Tumble { size, offset }, [size, size])
            }
            WindowShape::Hop {
                size_ms: size,
                slide_ms: slide,
                offset_ms: offset,
            } => {
                let slice = greatest_common_divisor(size, slide);
                let hop = Self::Hop {
                    size,
                    slide,
                    offset,
                    slice,
                };
                (hop, [size, slide])
            }
            WindowShape::Cumulate {
                max_size_ms: max_size,
                step_ms: step,
                offset_ms: offset,
            } => {
                let cumulate = Self::Cumulate {
                    max_size,
                    step,
                    offset,
                };
                (cumulate, [max_size, step])
            }
        };
        if let Some(length) = lengths.into_iter().find(|&l| l <= 0) {
            let message = format!("a window's length is {length} ms; it has to be positive");
            return Err(Error::user("WINDOW", message));
        }
        if let Self::Cumulate { max_size, step, .. } = slicing
            && max_size % step != 0
        {
            let message = format!(
                "CUMULATE's maximum size of {max_size} ms is not a multiple of its step of {step} \
                 ms; choose another step"
            );
            return Err(Error::user("WINDOW", message));
        }
        Ok(slicing)
    }

    /// The slice that holds a time.
    #[inline]
    pub fn slice_of(self, time: i64) -> Slice {
        let (length, offset) = match self {
            Self::Whole => (1, 0),
            Self::Tumble { size, offset } => (size, offset),
            Self::Hop { slice, offset, .. } => (slice, offset),
            Self::Cumulate { step, offset, .. } => (step, offset),
        };
        let start = window_start(time, length, offset);
        Slice {
            start,
            end: start + length,
        }
    }

    /// The end of the first window with this slice that satisfies `is_open`; `None` when there is
    /// none such. Once a window is open, all later ones are.
    pub fn first_window(self, slice: Slice, is_open: impl Fn(i64) -> bool) -> Option<i64> {
        let (first, last, step) = self.window_ends(slice);
        let mut end = first;
        while end <= last {
            if is_open(end) {
                return Some(end);
            }
            end += step;
        }
        None
    }

    /// The end of the last window with this slice; `None` when no window holds it.
    pub fn last_window(self, slice: Slice) -> Option<i64> {
        let (first, last, _) = self.window_ends(slice);
        (first <= last).then_some(last)
    }

    /// The first and last end of the windows with this slice, and the distance between two.
    fn window_ends(self, slice: Slice) -> (i64, i64, i64) {
        match self {
            Self::Whole | Self::Tumble { .. } => (slice.end, slice.end, 1),
            Self::Hop {
                size,
                slide,
                offset,
                ..
            } => {
                let last = window_start(slice.start, slide, offset);
                // The first window start that is not before this.
                let least = slice.end - size;
                let first = window_start(least + slide - 1, slide, offset);
                (first + size, last + size, slide)
            }
            Self::Cumulate {
                max_size,
                step,
                offset,
            } => {
                let end = window_start(slice.start, max_size, offset) + max_size;
                (slice.end, end, step)
            }
        }
    }

    /// The window that ends with `end`, of the windows with `slice`.
    pub fn window(self, slice: Slice, end: i64) -> Slice {
        let start = match self {
            Self::Whole => slice.start,
            Self::Tumble { size, .. } | Self::Hop { size, .. } => end - size,
            Self::Cumulate {
                max_size, offset, ..
            } => window_start(slice.start, max_size, offset),
        };
        Slice { start, end }
    }
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    if b <= 0 {
        return a;
    }
    greatest_common_divisor(b, a % b)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ends(slicing: Slicing, time: i64) -> Vec<(i64, i64)> {
        let slice = slicing.slice_of(time);
        let (mut end, last, step) = slicing.window_ends(slice);
        let mut windows = Vec::new();
        while end <= last {
            let window = slicing.window(slice, end);
            windows.push((window.start, window.end));
            end += step;
        }
        windows
    }

    fn check(shape: WindowShape, time: i64) {
        let mut expected = Vec::new();
        shape.windows_of(time, |start, end| expected.push((start, end)));
        expected.sort_by_key(|w| w.1);
        assert_eq!(ends(Slicing::new(shape).unwrap(), time), expected);
    }

    proptest! {
        #[test]
        fn slices_are_in_the_windows_of_their_times(
            time in -100i64..100, a in 1i64..20, b in 1i64..20, offset in -20i64..20,
        ) {
            check(WindowShape::Tumble { size_ms: a, offset_ms: offset }, time);
            check(WindowShape::Hop { size_ms: a, slide_ms: b, offset_ms: offset }, time);
            let cumulate = WindowShape::Cumulate {
                max_size_ms: a * b, step_ms: a, offset_ms: offset,
            };
            check(cumulate, time);
        }
    }

    #[test]
    fn a_length_has_to_be_positive() {
        let shape = WindowShape::Tumble {
            size_ms: 0,
            offset_ms: 0,
        };
        assert!(Slicing::new(shape).is_err());
    }
}
