//! `SUBSTRING`, `LEFT`, `RIGHT`: parts of strings by position.

use arrow::array::ArrayRef;
use arrow::datatypes::Int32Type;
use flott_core::Result;

use super::parts;
use super::signature::{Kind, expect, varying};
use crate::functions::kernel::{Args, columns};
use crate::functions::{BindContext, BoundFunction, FunctionDef, FunctionGroup};

pub static SUBSTRING: FunctionDef = FunctionDef {
    name: "SUBSTRING",
    aliases: &["SUBSTR"],
    group: FunctionGroup::String,
    syntax: "SUBSTRING(string, start[, length])",
    doc: "The part of a string from a position on, to the end or of a length. Positions count from \
          1; a negative position counts from the end. A negative length gives NULL.",
    examples: &[
        ("SUBSTRING('foobar' FROM 2 FOR 3)", "oob"),
        ("SUBSTR('foobar', -3)", "bar"),
    ],
    is_deterministic: true,
    bind: |ctx| bind(ctx, &[Kind::Text, Kind::Integer, Kind::Integer], substrings),
};

pub static LEFT: FunctionDef = FunctionDef {
    name: "LEFT",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "LEFT(string, length)",
    doc: "The first characters of a string.",
    examples: &[("LEFT('streaming', 6)", "stream")],
    is_deterministic: true,
    bind: |ctx| bind(ctx, &[Kind::Text, Kind::Integer], |args| ends(args, left)),
};

pub static RIGHT: FunctionDef = FunctionDef {
    name: "RIGHT",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "RIGHT(string, length)",
    doc: "The last characters of a string.",
    examples: &[("RIGHT('streaming', 3)", "ing")],
    is_deterministic: true,
    bind: |ctx| bind(ctx, &[Kind::Text, Kind::Integer], |args| ends(args, right)),
};

fn bind(
    ctx: &BindContext<'_>,
    kinds: &[Kind],
    work: fn(&Args) -> Result<ArrayRef>,
) -> Result<BoundFunction> {
    let types = expect(ctx, 2, kinds)?;
    let kernel = columns(ctx.name.to_ascii_uppercase(), work);
    let return_type = varying(ctx.logical(0)?).nullable();
    Ok(BoundFunction::new(types, return_type, kernel))
}

fn substrings(args: &Args) -> Result<ArrayRef> {
    let start = args.column::<Int32Type>(1)?;
    let length = (args.len() > 2)
        .then(|| args.column::<Int32Type>(2))
        .transpose()?;
    parts::collect(args, 0, |row, text| {
        let length = length.as_ref().map_or(Some(i32::MAX), |l| l.get(row));
        Ok(match (start.get(row), length) {
            (Some(start), Some(length)) => substring(text, start, length),
            _ => None,
        })
    })
}

fn ends(args: &Args, part: fn(&str, usize) -> &str) -> Result<ArrayRef> {
    let length = args.column::<Int32Type>(1)?;
    parts::collect(args, 0, |row, text| {
        let length = length.get(row);
        Ok(length.map(|length| part(text, usize::try_from(length).unwrap_or(0))))
    })
}

/// The part of `text` from character `start` (from 1, negative from the end) of at most `length`
/// characters; `None` for a negative length.
pub fn substring(text: &str, start: i32, length: i32) -> Option<&str> {
    let length = usize::try_from(length).ok()?;
    let from = if start >= 0 {
        skip(text, (start as usize).saturating_sub(1))
    } else {
        let count = start.unsigned_abs() as usize;
        last(text, count).unwrap_or_default()
    };
    Some(left(from, length))
}

/// The last `count` characters; `None` when there are fewer.
fn last(text: &str, count: usize) -> Option<&str> {
    if text.is_ascii() {
        return text.len().checked_sub(count).map(|at| &text[at..]);
    }
    let start = text.char_indices().rev().nth(count - 1);
    start.map(|(at, _)| &text[at..])
}

fn skip(text: &str, count: usize) -> &str {
    // Characters are at least a byte long: a short cut through the front needs no look at it.
    if text.is_ascii() {
        return text.get(count..).unwrap_or("");
    }
    match text.char_indices().nth(count) {
        Some((at, _)) => &text[at..],
        None => "",
    }
}

fn left(text: &str, count: usize) -> &str {
    if text.len() <= count {
        return text;
    }
    match text.as_bytes().get(..count) {
        Some(front) if front.is_ascii() => &text[..count],
        _ => match text.char_indices().nth(count) {
            Some((at, _)) => &text[..at],
            None => text,
        },
    }
}

fn right(text: &str, count: usize) -> &str {
    match count {
        0 => "",
        _ => last(text, count).unwrap_or(text),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bind, call_rows, call_text, int, text, texts};
    use super::*;

    fn call(value: &str, start: i32, length: i32) -> Option<String> {
        call_text(&SUBSTRING, &[text(value), int(start), int(length)])
    }

    #[test]
    fn positions_count_from_either_end() {
        assert_eq!(call("hello", 2, 3).as_deref(), Some("ell"));
        assert_eq!(call("hello", 0, 2).as_deref(), Some("he"));
        assert_eq!(call("hello", -3, 2).as_deref(), Some("ll"));
        assert_eq!(call("hello", -9, 2).as_deref(), Some(""));
        assert_eq!(call("hello", 9, 2).as_deref(), Some(""));
        assert_eq!(call("hello", 2, -1), None);
        assert_eq!(call("日本語です", 2, 2).as_deref(), Some("本語"));
        assert_eq!(call("日本語です", -2, 9).as_deref(), Some("です"));
        assert_eq!(call("", -1, 1).as_deref(), Some(""));
        assert_eq!(call("a", i32::MIN, 1).as_deref(), Some(""));
    }

    #[test]
    fn long_parts_and_nulls_in_columns() {
        let rows = [Some("0123456789abcdefghijklmnop"), None, Some("x")];
        let parts = call_rows(&SUBSTRING, &rows, &[int(3)]);
        assert_eq!(
            texts(&parts),
            [Some("23456789abcdefghijklmnop"), None, Some("")]
        );
        assert_eq!(
            texts(&call_rows(&RIGHT, &rows, &[int(2)])),
            [Some("op"), None, Some("x")]
        );
        assert_eq!(
            texts(&call_rows(&LEFT, &rows, &[int(-2)])),
            [Some(""), None, Some("")]
        );
    }

    #[test]
    fn the_type_is_as_long_as_the_string() {
        let bound = bind(&SUBSTRING, &[text("hello"), int(1)]).expect("bound");
        assert_eq!(bound.return_type.to_string(), "VARCHAR(5)");
    }
}
