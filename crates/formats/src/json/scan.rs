//! A cursor over one JSON text: tokens, and skipping what nobody asked for as fast as possible.
//!
//! Searching is done eight bytes at a time with the classic zero-byte test (Mycroft).

use super::fault::{Fault, Scanned};

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Sets the high bit of each zero byte; exact up to and including the first one.
#[inline]
fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

#[inline]
fn bytes_equal(word: u64, byte: u8) -> u64 {
    zero_bytes(word ^ (ONES * u64::from(byte)))
}

/// A scalar or the place where a container begins. Ranges lead into the scanned text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    Null,
    /// The inside of a string.
    Text {
        start: usize,
        end: usize,
        has_escapes: bool,
    },
    /// A number, `true` or `false`.
    Bare {
        start: usize,
        end: usize,
    },
    /// `{` or `[`, not yet consumed.
    Container,
}

/// A cursor over JSON text.
pub(crate) struct Scanner<'a> {
    pub text: &'a [u8],
    pub at: usize,
}

/// Bytes that numbers are made of.
const fn number_bytes() -> [bool; 256] {
    let mut table = [false; 256];
    let mut digit = b'0';
    while digit <= b'9' {
        table[digit as usize] = true;
        digit += 1;
    }
    table[b'-' as usize] = true;
    table[b'+' as usize] = true;
    table[b'.' as usize] = true;
    table[b'e' as usize] = true;
    table[b'E' as usize] = true;
    table
}

static NUMBER: [bool; 256] = number_bytes();

impl<'a> Scanner<'a> {
    pub fn new(text: &'a [u8], at: usize) -> Self {
        Self { text, at }
    }

    #[inline]
    pub fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    #[inline]
    pub fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    #[cold]
    pub fn malformed(&self, expected: &'static str) -> Box<Fault> {
        Fault::malformed(self.at, expected)
    }

    #[inline]
    fn word(&self) -> Option<u64> {
        let bytes = self.text.get(self.at..self.at + 8)?;
        bytes.try_into().ok().map(u64::from_le_bytes)
    }

    /// Moves to the next `"` or `\`.
    #[inline]
    fn find_quote(&mut self) -> Scanned<()> {
        while let Some(word) = self.word() {
            let hits = bytes_equal(word, b'"') | bytes_equal(word, b'\\');
            if hits != 0 {
                self.at += (hits.trailing_zeros() / 8) as usize;
                return Ok(());
            }
            self.at += 8;
        }
        while let Some(byte) = self.peek() {
            if byte == b'"' || byte == b'\\' {
                return Ok(());
            }
            self.at += 1;
        }
        Err(self.malformed("the end of a string"))
    }

    /// With the cursor behind the opening quote: moves behind the closing one; returns where the
    /// string ends and whether it holds escapes.
    #[inline]
    pub fn string(&mut self) -> Scanned<(usize, bool)> {
        let mut has_escapes = false;
        loop {
            self.find_quote()?;
            if self.text[self.at] == b'"' {
                self.at += 1;
                return Ok((self.at - 1, has_escapes));
            }
            has_escapes = true;
            self.at += 2;
        }
    }

    /// Moves to the next quote or bracket of either kind.
    #[inline]
    fn find_structure(&mut self) -> Scanned<u8> {
        while let Some(word) = self.word() {
            // With this bit set, `[` is `{` and `]` is `}`; a control character that becomes `"`
            // is told apart below.
            let folded = word | (ONES * 0x20);
            let hits =
                bytes_equal(folded, b'"') | bytes_equal(folded, b'{') | bytes_equal(folded, b'}');
            if hits != 0 {
                self.at += (hits.trailing_zeros() / 8) as usize;
                return Ok(self.text[self.at]);
            }
            self.at += 8;
        }
        while let Some(byte) = self.peek() {
            if matches!(byte, b'"' | b'{' | b'}' | b'[' | b']') {
                return Ok(byte);
            }
            self.at += 1;
        }
        Err(self.malformed("'}' or ']'"))
    }

    fn skip_container(&mut self) -> Scanned<()> {
        let mut depth = 0usize;
        loop {
            let byte = self.find_structure()?;
            self.at += 1;
            match byte {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
    }

    /// Moves behind the value that begins at the cursor.
    #[inline]
    pub fn skip_value(&mut self) -> Scanned<()> {
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                self.string().map(|_| ())
            }
            Some(b'{' | b'[') => self.skip_container(),
            _ => self.bare().map(|_| ()),
        }
    }

    /// Moves behind a number or a literal.
    #[inline]
    fn bare(&mut self) -> Scanned<Token> {
        let start = self.at;
        let token = match self.peek() {
            Some(b'-' | b'0'..=b'9') => {
                while self.peek().is_some_and(|b| NUMBER[b as usize]) {
                    self.at += 1;
                }
                let end = self.at;
                return Ok(Token::Bare { start, end });
            }
            Some(b'n') => self.literal(b"null", Token::Null),
            Some(b't') => self.literal(
                b"true",
                Token::Bare {
                    start,
                    end: start + 4,
                },
            ),
            Some(b'f') => self.literal(
                b"false",
                Token::Bare {
                    start,
                    end: start + 5,
                },
            ),
            _ => None,
        };
        token.ok_or_else(|| self.malformed("a value"))
    }

    #[inline]
    fn literal(&mut self, word: &[u8], token: Token) -> Option<Token> {
        self.text[self.at..].starts_with(word).then(|| {
            self.at += word.len();
            token
        })
    }

    /// The value at the cursor; moves behind it unless it is a container.
    #[inline]
    pub fn token(&mut self) -> Scanned<Token> {
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                let start = self.at;
                let (end, has_escapes) = self.string()?;
                Ok(Token::Text {
                    start,
                    end,
                    has_escapes,
                })
            }
            Some(b'{' | b'[') => Ok(Token::Container),
            _ => self.bare(),
        }
    }

    /// After a value: moves behind `,` (true) or behind `close` (false), and the space after it.
    #[inline]
    pub fn goes_on(&mut self, close: u8, expected: &'static str) -> Scanned<bool> {
        self.skip_space();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                self.skip_space();
                Ok(true)
            }
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(false)
            }
            _ => Err(self.malformed(expected)),
        }
    }
}

/// Appends the text of a JSON string's inside with its escapes resolved.
pub(crate) fn unescape(text: &[u8], at: usize, out: &mut Vec<u8>) -> Scanned<()> {
    let mut rest = text;
    while let Some(place) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..place]);
        let Some(&escape) = rest.get(place + 1) else {
            return Err(Fault::malformed(at, "a complete escape sequence"));
        };
        rest = &rest[place + 2..];
        match escape {
            b'"' | b'\\' | b'/' => out.push(escape),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => {
                let (character, used) = unicode_escape(rest)
                    .ok_or_else(|| Fault::malformed(at, "four hexadecimal digits after \\u"))?;
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &rest[used..];
            }
            _ => return Err(Fault::malformed(at, "a known escape sequence")),
        }
    }
    out.extend_from_slice(rest);
    Ok(())
}

fn hex4(text: &[u8]) -> Option<u32> {
    let digits = text.get(..4)?;
    digits.iter().try_fold(0, |value, &digit| {
        (digit as char).to_digit(16).map(|d| value * 16 + d)
    })
}

/// The character after `\u` and how many bytes it took; half a surrogate pair gives U+FFFD.
fn unicode_escape(text: &[u8]) -> Option<(char, usize)> {
    let first = hex4(text)?;
    if (0xd800..0xdc00).contains(&first)
        && text.get(4..6) == Some(b"\\u")
        && let Some(second @ 0xdc00..0xe000) = hex4(&text[6..])
    {
        let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return Some((char::from_u32(code).unwrap_or('\u{fffd}'), 10));
    }
    Some((char::from_u32(first).unwrap_or('\u{fffd}'), 4))
}

/// Appends a JSON value's text without the space between tokens.
pub(crate) fn compact(text: &[u8], out: &mut Vec<u8>) {
    let mut in_string = false;
    let mut escaped = false;
    for &byte in text {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
            continue;
        } else {
            in_string = byte == b'"';
        }
        out.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skipped(text: &str) -> Option<usize> {
        let mut scanner = Scanner::new(text.as_bytes(), 0);
        scanner.skip_value().ok().map(|()| scanner.at)
    }

    #[test]
    fn values_are_skipped_to_their_end() {
        for value in [
            r#""a \" b""#,
            r#"{"a":[1,2,{"b":"}]"}],"c":"\\"}"#,
            "-1.5e3",
            "true",
            "null",
            "[]",
            r#"["long long long long ] string"]"#,
        ] {
            assert_eq!(skipped(&format!("{value},")), Some(value.len()), "{value}");
        }
        for bad in ["", "nul", "{\"a\":1", "\"abc", "\"abc\\", "xyz", "[[1]"] {
            assert_eq!(skipped(bad), None, "{bad}");
        }
    }

    #[test]
    fn escapes_are_resolved() {
        let mut out = Vec::new();
        unescape(br#"a\n\"\u00e9\ud83d\ude00\ud800x"#, 0, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "a\n\"é😀\u{fffd}x");
        assert!(unescape(br"\q", 0, &mut Vec::new()).is_err());
        assert!(unescape(br"\u12", 0, &mut Vec::new()).is_err());
    }

    #[test]
    fn compact_text_keeps_space_inside_strings() {
        let mut out = Vec::new();
        compact(br#"{ "a b" : [ 1 , "\" " ] }"#, &mut out);
        assert_eq!(out, br#"{"a b":[1,"\" "]}"#);
    }
}
