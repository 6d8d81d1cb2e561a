//! `JSON_QUOTE`, `JSON_UNQUOTE`.

use std::fmt::Write;

use flott_core::Result;
use flott_core::types::LogicalType;

use super::scan::{Scanner, unquote};
use crate::functions::kernel::{Text, text_unary};
use crate::functions::{BindContext, BoundFunction};

function!(
    JSON_QUOTE,
    "JSON_QUOTE",
    Json,
    "JSON_QUOTE(string)",
    "The string as a JSON string, with quotes, escapes, and other than ASCII characters as codes.",
    [("JSON_QUOTE('a\"b')", "\"a\\\"b\"")],
    |ctx| bind(ctx, quote)
);

function!(
    JSON_UNQUOTE,
    "JSON_UNQUOTE",
    Json,
    "JSON_UNQUOTE(string)",
    "What a JSON string says; any other string is given as it is.",
    [("JSON_UNQUOTE('\"a\\\\nb\"')", "a\\nb")],
    |ctx| bind(ctx, unquote_whole)
);

fn bind(ctx: &BindContext<'_>, convert: fn(&str, &mut String)) -> Result<BoundFunction> {
    let types = ctx.expect_text(1..=1)?;
    let kernel = text_unary::<Text>(ctx.name.to_ascii_uppercase(), move |text, out| {
        convert(text, out);
        Ok(true)
    });
    Ok(BoundFunction::new(
        types,
        ctx.returns(LogicalType::STRING),
        kernel,
    ))
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '/' => out.push_str("\\/"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\x7f' => out.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a string cannot fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
}

fn unquote_whole(text: &str, out: &mut String) {
    let is_string = text.starts_with('"') && Scanner::new(text).value() == Ok(text);
    if is_string {
        out.push_str(&unquote(text));
    } else {
        out.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::string::testing::{call_text, text};
    use super::*;

    #[test]
    fn what_is_quoted_is_unquoted() {
        let quoted = call_text(&JSON_QUOTE, &[text("a\"/ä😀\n")]).expect("text");
        assert_eq!(quoted, r#""a\"\/\u00e4\ud83d\ude00\n""#);
        assert_eq!(
            call_text(&JSON_UNQUOTE, &[text(&*quoted)]).as_deref(),
            Some("a\"/ä😀\n")
        );
        for other in ["abc", "\"a", "\"a\" b", "[1]", ""] {
            assert_eq!(
                call_text(&JSON_UNQUOTE, &[text(other)]).as_deref(),
                Some(other)
            );
        }
        assert_eq!(call_text(&JSON_QUOTE, &[text(None)]), None);
    }
}
