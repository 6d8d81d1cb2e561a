//! JSON text read in place: values are found, checked and skipped, never built.

use std::borrow::Cow;

/// The text is no JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invalid;

pub type Scan<T> = Result<T, Invalid>;

/// Values nested deeper than this are refused.
const MAX_DEPTH: usize = 1000;

/// A place in JSON text.
#[derive(Debug, Clone)]
pub struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Scanner<'a> {
    pub fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            depth: 0,
        }
    }

    /// The next byte behind white space, which stays.
    pub fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = bytes.get(self.at) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    fn take(&mut self, wanted: u8) -> bool {
        let is_there = self.peek() == Some(wanted);
        self.at += usize::from(is_there);
        is_there
    }

    fn expect(&mut self, wanted: u8) -> Scan<()> {
        if self.take(wanted) {
            Ok(())
        } else {
            Err(Invalid)
        }
    }

    /// Checks the next value; gives its text.
    pub fn value(&mut self) -> Scan<&'a str> {
        let first = self.peek().ok_or(Invalid)?;
        let start = self.at;
        match first {
            b'"' => self.skip_string()?,
            b'{' => self.members(|scanner, _| scanner.value().map(|_| ()))?,
            b'[' => self.items(|scanner, _| scanner.value().map(|_| ()))?,
            b't' => self.skip_word("true")?,
            b'f' => self.skip_word("false")?,
            b'n' => self.skip_word("null")?,
            _ => self.skip_number()?,
        }
        Ok(&self.text[start..self.at])
    }

    /// Calls `member` with each key, as written, of the object that comes next; it reads the value.
    pub fn members(&mut self, mut member: impl FnMut(&mut Self, &'a str) -> Scan<()>) -> Scan<()> {
        self.expect(b'{')?;
        self.enter()?;
        if !self.take(b'}') {
            loop {
                if self.peek() != Some(b'"') {
                    return Err(Invalid);
                }
                let start = self.at;
                self.skip_string()?;
                let key = &self.text[start..self.at];
                self.expect(b':')?;
                member(self, key)?;
                if !self.take(b',') {
                    break;
                }
            }
            self.expect(b'}')?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// Calls `item` with the number, from 0, of each item of the array that comes next; it reads
    /// the value.
    pub fn items(&mut self, mut item: impl FnMut(&mut Self, usize) -> Scan<()>) -> Scan<()> {
        self.expect(b'[')?;
        self.enter()?;
        if !self.take(b']') {
            let mut index = 0;
            loop {
                item(self, index)?;
                index += 1;
                if !self.take(b',') {
                    break;
                }
            }
            self.expect(b']')?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn enter(&mut self) -> Scan<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            Err(Invalid)
        } else {
            Ok(())
        }
    }

    fn skip_word(&mut self, word: &str) -> Scan<()> {
        if !self.text[self.at..].starts_with(word) {
            return Err(Invalid);
        }
        self.at += word.len();
        self.expect_end_of_word()
    }

    fn expect_end_of_word(&self) -> Scan<()> {
        match self.text.as_bytes().get(self.at) {
            Some(b) if b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'"') => Err(Invalid),
            _ => Ok(()),
        }
    }

    fn skip_string(&mut self) -> Scan<()> {
        let bytes = self.text.as_bytes();
        self.at += 1;
        loop {
            match bytes.get(self.at) {
                None | Some(..0x20) => return Err(Invalid),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    match bytes.get(self.at + 1) {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {}
                        Some(b'u') => {
                            let digits = bytes.get(self.at + 2..self.at + 6).ok_or(Invalid)?;
                            if !digits.iter().all(u8::is_ascii_hexdigit) {
                                return Err(Invalid);
                            }
                            self.at += 4;
                        }
                        _ => return Err(Invalid),
                    }
                    self.at += 2;
                }
                Some(_) => self.at += 1,
            }
        }
    }

    fn skip_number(&mut self) -> Scan<()> {
        let bytes = self.text.as_bytes();
        let digits = |from: usize| {
            let rest = bytes.get(from..).unwrap_or_default();
            rest.iter().take_while(|b| b.is_ascii_digit()).count()
        };
        let mut at = self.at + usize::from(bytes.get(self.at) == Some(&b'-'));
        let whole = digits(at);
        if whole == 0 || (whole > 1 && bytes[at] == b'0') {
            return Err(Invalid);
        }
        at += whole;
        if bytes.get(at) == Some(&b'.') {
            let fraction = digits(at + 1);
            if fraction == 0 {
                return Err(Invalid);
            }
            at += 1 + fraction;
        }
        if let Some(b'e' | b'E') = bytes.get(at) {
            at += 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
            let exponent = digits(at);
            if exponent == 0 {
                return Err(Invalid);
            }
            at += exponent;
        }
        self.at = at;
        self.expect_end_of_word()
    }
}

/// Whether a value's text is neither an object nor an array.
pub fn is_scalar(value: &str) -> bool {
    !value.starts_with(['{', '['])
}

/// What a string's text, with its quotes, says.
pub fn unquote(string: &str) -> Cow<'_, str> {
    let inner = &string[1..string.len() - 1];
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Cow::Borrowed(inner);
    }
    let mut out = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let (escaped, after) = after.split_at(1);
        rest = after;
        match escaped {
            "b" => out.push('\u{8}'),
            "f" => out.push('\u{c}'),
            "n" => out.push('\n'),
            "r" => out.push('\r'),
            "t" => out.push('\t'),
            "u" => rest = unquote_unit(rest, &mut out),
            other => out.push_str(other),
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Reads the digits after `\u`, and a second such escape where the first is half of a pair.
fn unquote_unit<'a>(digits: &'a str, out: &mut String) -> &'a str {
    let unit = |digits: &str| u16::from_str_radix(digits, 16).unwrap_or(0xFFFD);
    let (first, rest) = digits.split_at(4);
    let first = unit(first);
    if let Some(pair) = rest.strip_prefix("\\u")
        && let Some(Ok(c)) = char::decode_utf16([first, unit(&pair[..4])]).next()
        && u32::from(c) > 0xFFFF
    {
        out.push(c);
        return &pair[4..];
    }
    // Half of a pair alone cannot be said in UTF-8; Java writes a question mark.
    out.push(char::from_u32(first.into()).unwrap_or('?'));
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_json(text: &str) -> bool {
        Scanner::new(text).value().is_ok()
    }

    #[test]
    fn values_are_checked() {
        for valid in [
            "1",
            "-0.5e+10",
            "\"a\\u00e4\\n\"",
            "true",
            " null ",
            "[]",
            "{}",
            "[1, [2], {\"a\": 3}]",
            "{\"a\":1,\"b\":[true,false,null]}",
            "1 trailing text",
        ] {
            assert!(is_json(valid), "{valid}");
        }
        for invalid in [
            "",
            " ",
            "01",
            "1.",
            "-",
            "+1",
            "tru",
            "truex",
            "\"a",
            "\"\\x\"",
            "\"\\u12\"",
            "[1,]",
            "[1 2]",
            "{a:1}",
            "{\"a\"}",
            "{\"a\":1,}",
            "'a'",
            "NaN",
            "\"\n\"",
        ] {
            assert!(!is_json(invalid), "{invalid}");
        }
        assert!(!is_json(&"[".repeat(5000)));
    }

    #[test]
    fn strings_are_unquoted() {
        assert_eq!(unquote(r#""plain ä""#), "plain ä");
        assert_eq!(
            unquote(r#""a\"\\\/\n\u00e4\ud83d\ude00|\ud83d""#),
            "a\"\\/\nä😀|?"
        );
    }
}
