//! Cuts a block into lines, and makes sure that they are UTF-8 a good piece at a time.

/// How far ahead of the line in hand text is checked.
const CHECKED_AHEAD_BYTES: usize = 64 << 10;

/// A line: `start..end` without its terminator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line {
    pub start: usize,
    pub end: usize,
    /// Where the next line begins.
    pub next: usize,
    pub is_utf8: bool,
}

/// Checks records to be UTF-8, many at once.
#[derive(Debug, Default)]
pub(crate) struct Utf8Check {
    /// What stands before this place has been found good.
    checked: usize,
}

impl Utf8Check {
    /// Whether `text[start..end]` is UTF-8. Calls must go forward through `text`, and `start` and
    /// `end` must stand at ASCII bytes or the ends of the text.
    #[inline]
    pub fn covers(&mut self, text: &[u8], start: usize, end: usize) -> bool {
        end <= self.checked || self.check_ahead(text, start, end)
    }

    fn check_ahead(&mut self, text: &[u8], start: usize, end: usize) -> bool {
        let ahead = text.len().min(start + CHECKED_AHEAD_BYTES).max(end);
        let good = match simdutf8::compat::from_utf8(&text[start..ahead]) {
            Ok(_) => ahead,
            Err(error) => start + error.valid_up_to(),
        };
        self.checked = good.max(self.checked);
        good >= end
    }
}

/// The whole lines of a block.
pub(crate) struct Lines<'a> {
    text: &'a [u8],
    is_last: bool,
    at: usize,
    utf8: Utf8Check,
}

impl<'a> Lines<'a> {
    /// With `is_last` the last line need not be terminated.
    pub fn new(text: &'a [u8], is_last: bool) -> Self {
        Self {
            text,
            is_last,
            at: 0,
            utf8: Utf8Check::default(),
        }
    }
}

impl Iterator for Lines<'_> {
    type Item = Line;

    #[inline]
    fn next(&mut self) -> Option<Line> {
        let start = self.at;
        if start >= self.text.len() {
            return None;
        }
        let (end, next) = match memchr::memchr(b'\n', &self.text[start..]) {
            Some(length) => (start + length, start + length + 1),
            None if self.is_last => (self.text.len(), self.text.len()),
            None => return None,
        };
        self.at = next;
        let is_utf8 = self.utf8.covers(self.text, start, next);
        let has_return = end > start && self.text[end - 1] == b'\r';
        Some(Line {
            start,
            end: end - usize::from(has_return),
            next,
            is_utf8,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8], is_last: bool) -> Vec<(&[u8], bool)> {
        Lines::new(text, is_last)
            .map(|l| (&text[l.start..l.end], l.is_utf8))
            .collect()
    }

    #[test]
    fn only_whole_lines_are_given() {
        assert_eq!(lines(b"a\r\n\nb", false), [(&b"a"[..], true), (b"", true)]);
        assert_eq!(lines(b"a\nb", true), [(&b"a"[..], true), (b"b", true)]);
        assert_eq!(lines(b"a\n", true), [(&b"a"[..], true)]);
    }

    #[test]
    fn a_line_that_is_not_utf8_does_not_spoil_its_neighbours() {
        assert_eq!(
            lines(b"a\n\xff\n\xc3\xa9\n", true),
            [(&b"a"[..], true), (b"\xff", false), ("é".as_bytes(), true)]
        );
    }
}
