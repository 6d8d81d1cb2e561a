//! `LIKE`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::buffer::BooleanBuffer;
use flott_core::types::LogicalType;
use flott_core::{Error, Result};
use memchr::memmem::Finder;

use crate::functions::kernel::{Args, Bool, Text, collect, columns};
use crate::functions::{BindContext, BoundFunction, FunctionDef, FunctionGroup};

pub static LIKE: FunctionDef = FunctionDef {
    name: "LIKE",
    aliases: &[],
    group: FunctionGroup::Comparison,
    syntax: "string [NOT] LIKE pattern [ESCAPE char]",
    doc: "Whether a string matches a pattern, in which % stands for any characters and _ for one. \
          After the escape character they stand for themselves.",
    examples: &[
        ("'flink' LIKE 'f%k'", "TRUE"),
        ("'a_b' LIKE 'a!_b' ESCAPE '!'", "TRUE"),
    ],
    is_deterministic: true,
    bind: |ctx| bind(ctx, false),
};

pub static NOT_LIKE: FunctionDef = FunctionDef {
    name: "NOT LIKE",
    aliases: &[],
    group: FunctionGroup::Comparison,
    syntax: "string NOT LIKE pattern [ESCAPE char]",
    doc: "Whether a string does not match a pattern; see LIKE.",
    examples: &[("'flink' NOT LIKE 'f%k'", "FALSE")],
    is_deterministic: true,
    bind: |ctx| bind(ctx, true),
};

fn bind(ctx: &BindContext<'_>, is_negated: bool) -> Result<BoundFunction> {
    let types = ctx.expect_text(2..=3)?;
    let escape = match ctx.arguments.get(2) {
        Some(argument) => argument.literal_text().map(Some),
        None => Some(None),
    };
    let pattern = ctx.argument(1)?.literal_text();
    let kernel = match (pattern, escape) {
        (Some(pattern), Some(escape)) => {
            let matcher = Matcher::compile(pattern, escape)?;
            let label = format!("LIKE {pattern:?} {escape:?} {is_negated}");
            columns(label, move |args| {
                match_constant(args, &matcher, is_negated)
            })
        }
        _ => columns(format!("LIKE {is_negated}"), move |args| {
            match_rows(args, is_negated)
        }),
    };
    Ok(BoundFunction::new(
        types,
        ctx.returns(LogicalType::Boolean),
        kernel,
    ))
}

fn match_constant(args: &Args, matcher: &Matcher, is_negated: bool) -> Result<ArrayRef> {
    let texts = super::parts::text_array(args, 0)?;
    // Values under NULLs are matched too: cheaper than asking for each.
    let matches = (0..texts.len()).map(|row| matcher.is_match(texts.value(row)) != is_negated);
    let matches = matches.collect::<BooleanBuffer>();
    let matches = BooleanArray::new(matches, texts.nulls().cloned());
    if args.is_constant(0) && args.num_rows() != 1 {
        let text = args.column::<Text>(0)?;
        return collect::<Bool>(args.num_rows(), |row| {
            Ok(text.get(row).map(|_| matches.value(0)))
        });
    }
    Ok(Arc::new(matches))
}

fn match_rows(args: &Args, is_negated: bool) -> Result<ArrayRef> {
    let (text, pattern) = (args.column::<Text>(0)?, args.column::<Text>(1)?);
    let escape = (args.len() > 2)
        .then(|| args.column::<Text>(2))
        .transpose()?;
    let mut last: Option<((&str, Option<&str>), Matcher)> = None;
    collect::<Bool>(args.num_rows(), |row| {
        let escape = match &escape {
            Some(escape) => escape.get(row).map(Some),
            None => Some(None),
        };
        let (Some(text), Some(pattern), Some(escape)) = (text.get(row), pattern.get(row), escape)
        else {
            return Ok(None);
        };
        let matcher = match &mut last {
            Some((key, matcher)) if *key == (pattern, escape) => matcher,
            last => {
                let matcher = Matcher::compile(pattern, escape)?;
                &mut last.insert(((pattern, escape), matcher)).1
            }
        };
        Ok(Some(matcher.is_match(text) != is_negated))
    })
}

/// A compiled pattern.
#[derive(Debug)]
enum Matcher {
    Equal(String),
    /// Without `_`: what stands before, between and after the `%`s.
    Chain {
        prefix: String,
        middle: Vec<Finder<'static>>,
        suffix: String,
    },
    General(Vec<Token>),
}

/// A part of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Char(char),
    AnyChar,
    AnyChars,
}

impl Matcher {
    fn compile(pattern: &str, escape: Option<&str>) -> Result<Self> {
        let tokens = tokens(pattern, escape)?;
        if tokens.contains(&Token::AnyChar) {
            return Ok(Self::General(tokens));
        }
        let mut pieces = tokens.split(|t| *t == Token::AnyChars).map(piece);
        let prefix = pieces.next().unwrap_or_default();
        let Some(suffix) = pieces.next_back() else {
            return Ok(Self::Equal(prefix));
        };
        let middle = pieces.filter(|piece| !piece.is_empty());
        let middle = middle
            .map(|piece| Finder::new(&piece).into_owned())
            .collect();
        Ok(Self::Chain {
            prefix,
            middle,
            suffix,
        })
    }

    fn is_match(&self, text: &str) -> bool {
        match self {
            Self::Equal(whole) => text == whole,
            Self::Chain {
                prefix,
                middle,
                suffix,
            } => {
                let rest = text.as_bytes().strip_prefix(prefix.as_bytes());
                let Some(mut rest) = rest.and_then(|r| r.strip_suffix(suffix.as_bytes())) else {
                    return false;
                };
                for piece in middle {
                    let Some(start) = piece.find(rest) else {
                        return false;
                    };
                    rest = &rest[start + piece.needle().len()..];
                }
                true
            }
            Self::General(tokens) => matches_tokens(text, tokens),
        }
    }
}

/// The text of a piece without wildcards.
fn piece(tokens: &[Token]) -> String {
    let chars = tokens.iter().filter_map(|token| match token {
        Token::Char(c) => Some(*c),
        Token::AnyChar | Token::AnyChars => None,
    });
    chars.collect()
}

fn tokens(pattern: &str, escape: Option<&str>) -> Result<Vec<Token>> {
    let escape = escape.map(escape_char).transpose()?;
    let mut tokens = Vec::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            c if Some(c) == escape => match chars.next() {
                Some(next) if next == '%' || next == '_' || Some(next) == escape => {
                    Token::Char(next)
                }
                _ => return Err(invalid_escape(pattern)),
            },
            '_' => Token::AnyChar,
            '%' => Token::AnyChars,
            c => Token::Char(c),
        });
    }
    Ok(tokens)
}

/// The one character of an escape string.
///
/// # Errors
/// A user error for any other string.
pub fn escape_char(escape: &str) -> Result<char> {
    let mut chars = escape.chars();
    match (chars.next(), chars.next()) {
        (Some(c), None) => Ok(c),
        _ => {
            let message = format!("ESCAPE takes one character, not '{escape}'");
            Err(Error::user("INVALID_ESCAPE", message))
        }
    }
}

/// The error for an escape character that escapes nothing.
pub fn invalid_escape(pattern: &str) -> Error {
    let message = format!(
        "in the pattern '{pattern}' the escape character must stand before a wildcard or itself"
    );
    Error::user("INVALID_ESCAPE", message)
}

/// Greedy matching that goes back to the last `%` only: linear but for pathological patterns.
fn matches_tokens(text: &str, tokens: &[Token]) -> bool {
    let (mut rest, mut at) = (text.chars(), 0);
    let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
    loop {
        if let Some(Token::AnyChars) = tokens.get(at) {
            at += 1;
            retry = Some((at, rest.clone()));
            continue;
        }
        let mut next = rest.clone();
        let fits = match (next.next(), tokens.get(at)) {
            (None, None) => return true,
            (Some(c), Some(Token::Char(wanted))) => c == *wanted,
            (Some(_), Some(Token::AnyChar)) => true,
            _ => false,
        };
        if fits {
            (rest, at) = (next, at + 1);
            continue;
        }
        let Some((after_any, from)) = &mut retry else {
            return false;
        };
        if from.next().is_none() {
            return false;
        }
        (rest, at) = (from.clone(), *after_any);
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;

    use super::super::testing::{bind, call_bool, call_rows, text};
    use super::*;

    fn like(value: &str, pattern: &str) -> bool {
        call_bool(&LIKE, &[text(value), text(pattern)]).expect("not null")
    }

    #[test]
    fn wildcards_match() {
        assert!(like("flink", "flink") && !like("flink", "flin") && !like("flink", "FLINK"));
        assert!(like("flink", "fl%") && like("flink", "%nk") && like("flink", "%li%"));
        assert!(like("flink", "f%k") && !like("fk", "fk%fk") && like("", "%") && like("", ""));
        assert!(like("abcabc", "a%c%c") && !like("abc", "a%c%c"));
        assert!(like("größe", "gr__e") && like("größe", "%ö_%") && !like("größe", "______"));
        assert!(like("aaab", "%a_b") && like("mississippi", "m%iss%ip_i") && !like("", "_"));
        assert!(like("a\nb", "a%b") && like("a\nb", "a_b"));
    }

    #[test]
    fn escaped_wildcards_are_characters() {
        let like =
            |value, pattern, escape| call_bool(&LIKE, &[text(value), text(pattern), text(escape)]);
        assert_eq!(like("a_b", "a!_b", "!"), Some(true));
        assert_eq!(like("axb", "a!_b", "!"), Some(false));
        assert_eq!(like("50%", "%!%", "!"), Some(true));
        assert_eq!(like("a!b", "a!!_", "!"), Some(true));
        assert!(bind(&LIKE, &[text("a"), text("a!b"), text("!")]).is_err());
        assert!(bind(&LIKE, &[text("a"), text("a"), text("!!")]).is_err());
    }

    #[test]
    fn columns_and_nulls() {
        let rows = [Some("https://a.org/x"), None, Some("ftp://b.org")];
        let found = call_rows(&LIKE, &rows, &[text("http%://%")]);
        let found = found.as_boolean();
        assert!(found.value(0) && found.is_null(1) && !found.value(2));
        let found = call_rows(&NOT_LIKE, &rows, &[text("http%://%")]);
        assert!(!found.as_boolean().value(0) && found.is_null(1) && found.as_boolean().value(2));
        assert_eq!(call_bool(&LIKE, &[text("a"), text(None)]), None);
    }
}
