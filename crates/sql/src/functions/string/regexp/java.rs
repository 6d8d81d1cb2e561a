//! Java's regular expressions written in the syntax of the `regex` crate.
//!
//! What differs: Java's `\d`, `\w` and `\s` are of ASCII, its `.` leaves out five line ends, it
//! quotes with `\Q…\E` and names POSIX classes `\p{Alpha}`. Look-around, back-references and
//! possessive quantifiers need backtracking, which `regex` never does: they are refused.

use flott_core::{Error, Result};

/// Why a pattern cannot be used.
#[derive(Debug)]
pub enum PatternError {
    /// Java refuses it too.
    Invalid(String),
    /// Java takes it.
    Unsupported(&'static str),
}

impl PatternError {
    /// The error for the user.
    pub fn into_error(self, pattern: &str) -> Error {
        match self {
            Self::Invalid(reason) => {
                let message = format!("invalid regular expression '{pattern}': {reason}");
                Error::user("INVALID_REGEX", message)
            }
            Self::Unsupported(what) => {
                let message = format!(
                    "the regular expression '{pattern}' uses {what}, which is not supported; \
                     rewrite it without"
                );
                Error::user("UNSUPPORTED_REGEX", message)
            }
        }
    }
}

/// Compiles a pattern of Java's syntax.
pub fn compile(pattern: &str) -> Result<regex::Regex, PatternError> {
    let translated = translate(pattern)?;
    regex::Regex::new(&translated).map_err(|error| {
        let text = error.to_string();
        if text.contains("look-around") {
            PatternError::Unsupported("look-around")
        } else if text.contains("backreferences") {
            PatternError::Unsupported("back-references")
        } else {
            let last = text.lines().last().unwrap_or_default();
            PatternError::Invalid(last.trim_start_matches("error: ").to_string())
        }
    })
}

const DOT: &str = r"[^\n\r\u{85}\u{2028}\u{2029}]";

fn translate(pattern: &str) -> Result<String, PatternError> {
    let mut translation = Translation {
        rest: pattern,
        out: String::with_capacity(pattern.len() + 16),
        class_depth: 0,
        dot_is_all: has_dot_all_flag(pattern),
        after_quantifier: false,
    };
    while let Some(c) = translation.rest.chars().next() {
        translation.step(c)?;
    }
    Ok(translation.out)
}

/// Whether an inline flag makes `.` match line ends, as in `(?s)` or `(?is:…)`.
fn has_dot_all_flag(pattern: &str) -> bool {
    pattern.split("(?").skip(1).any(|after| {
        let flags = after.bytes().take_while(u8::is_ascii_lowercase);
        flags.into_iter().any(|flag| flag == b's')
    })
}

struct Translation<'a> {
    rest: &'a str,
    out: String,
    class_depth: usize,
    dot_is_all: bool,
    /// Whether the last element was a quantifier, which a `+` would make possessive.
    after_quantifier: bool,
}

impl Translation<'_> {
    fn step(&mut self, c: char) -> Result<(), PatternError> {
        let was_quantifier = std::mem::take(&mut self.after_quantifier);
        if c == '\\' {
            return self.escape();
        }
        self.rest = &self.rest[c.len_utf8()..];
        match c {
            '[' => self.open_class(),
            ']' if self.class_depth > 0 => {
                self.class_depth -= 1;
                self.out.push(']');
            }
            // Operators of the crate's classes that Java does not have.
            '-' | '~' if self.class_depth > 0 && self.out.ends_with(c) => {
                self.out.push('\\');
                self.out.push(c);
            }
            _ if self.class_depth > 0 => self.out.push(c),
            '+' if was_quantifier => {
                return Err(PatternError::Unsupported("possessive quantifiers"));
            }
            '(' if self.rest.starts_with("?>") => {
                return Err(PatternError::Unsupported("atomic groups"));
            }
            '*' | '+' | '?' | '}' => {
                self.after_quantifier = !was_quantifier && !self.out.ends_with('(');
                self.out.push(c);
            }
            '.' if !self.dot_is_all => self.out.push_str(DOT),
            _ => self.out.push(c),
        }
        Ok(())
    }

    fn open_class(&mut self) {
        self.class_depth += 1;
        self.out.push('[');
        if let Some(rest) = self.rest.strip_prefix('^') {
            self.rest = rest;
            self.out.push('^');
        }
    }

    /// What stands after a backslash.
    fn escape(&mut self) -> Result<(), PatternError> {
        let mut chars = self.rest[1..].chars();
        let Some(c) = chars.next() else {
            return Err(PatternError::Invalid("a backslash at the end".to_string()));
        };
        self.rest = chars.as_str();
        let in_class = self.class_depth > 0;
        let translated = match c {
            'd' => "[0-9]",
            'D' => "[^0-9]",
            'w' => "[a-zA-Z0-9_]",
            'W' => "[^a-zA-Z0-9_]",
            's' => r"[ \t\n\x0B\f\r]",
            'S' => r"[^ \t\n\x0B\f\r]",
            'h' => r"[ \t\u{A0}\u{1680}\u{180e}\u{2000}-\u{200a}\u{202f}\u{205f}\u{3000}]",
            'v' => r"[\n\x0B\f\r\u{85}\u{2028}\u{2029}]",
            'R' if !in_class => r"(?:\r\n|[\n\x0B\f\r\u{85}\u{2028}\u{2029}])",
            'e' => r"\x1B",
            'Q' => return self.quotation(),
            'p' | 'P' => return self.property(c == 'P'),
            'Z' => return Err(PatternError::Unsupported("\\Z")),
            'G' => return Err(PatternError::Unsupported("\\G")),
            '1'..='9' | 'k' if !in_class => {
                return Err(PatternError::Unsupported("back-references"));
            }
            't' | 'n' | 'r' | 'f' | 'a' | 'x' | 'u' | 'b' | 'B' | 'A' | 'z' => {
                self.out.push('\\');
                self.out.push(c);
                return Ok(());
            }
            c if c.is_ascii_alphanumeric() => {
                return Err(PatternError::Invalid(format!("unknown escape '\\{c}'")));
            }
            c => {
                self.out
                    .push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
                return Ok(());
            }
        };
        self.out.push_str(translated);
        Ok(())
    }

    fn quotation(&mut self) -> Result<(), PatternError> {
        let (quoted, rest) = self.rest.split_once(r"\E").unwrap_or((self.rest, ""));
        self.out.push_str(&regex::escape(quoted));
        self.rest = rest;
        Ok(())
    }

    /// A class with a name, `\p{…}`.
    fn property(&mut self, is_negated: bool) -> Result<(), PatternError> {
        let named = self
            .rest
            .strip_prefix('{')
            .and_then(|rest| rest.split_once('}'));
        let Some((name, rest)) = named else {
            self.out.push_str(if is_negated { r"\P" } else { r"\p" });
            return Ok(());
        };
        self.rest = rest;
        let posix = match name {
            "Lower" => "lower",
            "Upper" => "upper",
            "ASCII" => "ascii",
            "Alpha" => "alpha",
            "Digit" => "digit",
            "Alnum" => "alnum",
            "Punct" => "punct",
            "Graph" => "graph",
            "Print" => "print",
            "Blank" => "blank",
            "Cntrl" => "cntrl",
            "XDigit" => "xdigit",
            "Space" => "space",
            _ => {
                let name = name.strip_prefix("Is").unwrap_or(name);
                let letter = if is_negated { 'P' } else { 'p' };
                self.out.push_str(&format!("\\{letter}{{{name}}}"));
                return Ok(());
            }
        };
        let negation = if is_negated { "^" } else { "" };
        self.out.push_str(&format!("[[:{negation}{posix}:]]"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        compile(pattern).expect("a pattern").is_match(text)
    }

    #[test]
    fn classes_are_of_ascii() {
        assert!(matches(r"^\d+$", "123") && !matches(r"^\d+$", "١٢٣"));
        assert!(matches(r"^[\w-]+$", "a-b_c") && !matches(r"\w", "ä"));
        assert!(matches(r"^\S+\s\S+$", "ä ö") && matches(r"^[^\s,]+$", "ab"));
        assert!(matches(r"^\p{Alpha}+\P{Digit}$", "abc") && matches(r"^\p{L}+$", "äß"));
        assert!(matches(r"^\p{IsAlphabetic}$", "ä"));
    }

    #[test]
    fn quotations_and_escapes_are_literal() {
        assert!(matches(r"^\Qa.b*\E$", "a.b*") && !matches(r"^\Qa.b\E$", "axb"));
        assert!(matches(r"\<a\>\/\-", "<a>/-") && matches(r"[a\]]$", "]"));
        assert!(matches("[+--]", ",") && matches(r"^[^\[\]]+$", "ab"));
    }

    #[test]
    fn a_dot_is_not_a_line_end() {
        assert!(!matches("a.b", "a\rb") && matches("(?s)a.b", "a\nb") && matches("a.b", "aöb"));
    }

    #[test]
    fn backtracking_is_refused_with_its_name() {
        for (pattern, what) in [
            ("(?=a)b", "look-around"),
            (r"(a)\1", "back-references"),
            ("a*+b", "possessive quantifiers"),
            ("(?>a)b", "atomic groups"),
        ] {
            let error = compile(pattern)
                .expect_err("unsupported")
                .into_error(pattern);
            assert_eq!(error.code(), "UNSUPPORTED_REGEX", "{pattern}");
            assert!(error.message().contains(what), "{error}");
        }
        assert!(matches!(compile("("), Err(PatternError::Invalid(_))));
        assert!(compile("a+?b??c{2,3}?").is_ok());
    }
}
