//! `POSITION`, `LOCATE`, `INSTR`: where a string stands in another, counted from 1; 0 is nowhere.

use arrow::array::ArrayRef;
use arrow::datatypes::Int32Type;
use flott_core::types::LogicalType;
use flott_core::{Error, Result};

use super::length::num_chars;
use super::signature::{Kind, expect};
use crate::functions::kernel::{Args, Text, collect, columns};
use crate::functions::{BindContext, BoundFunction, FunctionDef, FunctionGroup};

pub static POSITION: FunctionDef = FunctionDef {
    name: "POSITION",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "POSITION(string1 IN string2)",
    doc: "Where string1 first stands in string2, counted from 1; 0 when it does not.",
    examples: &[
        ("POSITION('nk' IN 'flink')", "4"),
        ("POSITION('x' IN 'flink')", "0"),
    ],
    is_deterministic: true,
    bind: |ctx| bind(ctx, &[Kind::Text, Kind::Text, Kind::Integer], 2, locate),
};

pub static LOCATE: FunctionDef = FunctionDef {
    name: "LOCATE",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "LOCATE(string1, string2[, start])",
    doc: "Where string1 first stands in string2 at or after position start, counted from 1; 0 when \
          it does not.",
    examples: &[
        ("LOCATE('a', 'banana')", "2"),
        ("LOCATE('a', 'banana', 3)", "4"),
    ],
    is_deterministic: true,
    bind: |ctx| bind(ctx, &[Kind::Text, Kind::Text, Kind::Integer], 2, locate),
};

pub static INSTR: FunctionDef = FunctionDef {
    name: "INSTR",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "INSTR(string1, string2[, start[, nth]])",
    doc: "Where string2 stands in string1 for the nth time at or after position start, counted from \
          1; 0 when it does not. A negative start counts and searches from the end.",
    examples: &[
        ("INSTR('Corporate Floor', 'or', 3, 2)", "14"),
        ("INSTR('Corporate Floor', 'or', -3, 2)", "2"),
    ],
    is_deterministic: true,
    bind: |ctx| {
        let kinds = [Kind::Text, Kind::Text, Kind::Integer, Kind::Integer];
        bind(ctx, &kinds, 2, instr)
    },
};

fn bind(
    ctx: &BindContext<'_>,
    kinds: &[Kind],
    required: usize,
    work: fn(&Args) -> Result<ArrayRef>,
) -> Result<BoundFunction> {
    let types = expect(ctx, required, kinds)?;
    let kernel = columns(ctx.name.to_ascii_uppercase(), work);
    Ok(BoundFunction::new(
        types,
        ctx.returns(LogicalType::Int),
        kernel,
    ))
}

fn locate(args: &Args) -> Result<ArrayRef> {
    let (sought, text) = (args.column::<Text>(0)?, args.column::<Text>(1)?);
    let start = (args.len() > 2)
        .then(|| args.column::<Int32Type>(2))
        .transpose()?;
    collect::<Int32Type>(args.num_rows(), |row| {
        let start = start.as_ref().map_or(Some(1), |s| s.get(row));
        let (Some(sought), Some(text), Some(start)) = (sought.get(row), text.get(row), start)
        else {
            return Ok(None);
        };
        Ok(Some(position(text, sought, start)))
    })
}

fn instr(args: &Args) -> Result<ArrayRef> {
    let (text, sought) = (args.column::<Text>(0)?, args.column::<Text>(1)?);
    let start = (args.len() > 2)
        .then(|| args.column::<Int32Type>(2))
        .transpose()?;
    let nth = (args.len() > 3)
        .then(|| args.column::<Int32Type>(3))
        .transpose()?;
    collect::<Int32Type>(args.num_rows(), |row| {
        let start = start.as_ref().map_or(Some(1), |s| s.get(row));
        let nth = nth.as_ref().map_or(Some(1), |n| n.get(row));
        match (text.get(row), sought.get(row), start, nth) {
            (Some(text), Some(sought), Some(start), Some(nth)) => {
                nth_position(text, sought, start, nth).map(Some)
            }
            _ => Ok(None),
        }
    })
}

/// Where `sought` first stands in `text` from character `start` on, both counted from 1. The empty
/// string stands everywhere first.
pub fn position(text: &str, sought: &str, start: i32) -> i32 {
    if sought.is_empty() {
        return 1;
    }
    let skipped = usize::try_from(start.saturating_sub(1)).unwrap_or(0);
    let offset = match skipped {
        0 => 0,
        _ => match text.char_indices().nth(skipped) {
            Some((offset, _)) => offset,
            None => return 0,
        },
    };
    match text[offset..].find(sought) {
        Some(found) => num_chars(&text[..offset + found]) + 1,
        None => 0,
    }
}

fn nth_position(text: &str, sought: &str, start: i32, nth: i32) -> Result<i32> {
    if nth <= 0 {
        let message = format!("the fourth argument of INSTR must be positive, and is {nth}");
        return Err(Error::user("INVALID_ARGUMENT", message));
    }
    if start == 0 {
        return Ok(0);
    }
    if start < 0 {
        let reverse = |text: &str| text.chars().rev().collect::<String>();
        let (text_back, sought_back) = (reverse(text), reverse(sought));
        let found = nth_position(&text_back, &sought_back, start.saturating_neg(), nth)?;
        return Ok(match found {
            0 => 0,
            found => num_chars(text) + 2 - found - num_chars(sought),
        });
    }
    let mut found = start - 1;
    for _ in 0..nth {
        found = position(text, sought, found + 1);
        if found == 0 {
            return Ok(0);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{call, call_int, int, text};
    use super::*;

    #[test]
    fn positions_count_characters() {
        assert_eq!(call_int(&POSITION, &[text("ö"), text("größer ö")]), Some(3));
        assert_eq!(
            call_int(&LOCATE, &[text("ö"), text("größer ö"), int(4)]),
            Some(8)
        );
        assert_eq!(
            call_int(&LOCATE, &[text("a"), text("abc"), int(9)]),
            Some(0)
        );
        assert_eq!(call_int(&POSITION, &[text(""), text("abc")]), Some(1));
        assert_eq!(call_int(&POSITION, &[text(None), text("abc")]), None);
    }

    #[test]
    fn occurrences_are_counted_from_either_end() {
        let args = |start, nth| [text("Corporate Floor"), text("or"), int(start), int(nth)];
        assert_eq!(call_int(&INSTR, &args(3, 2)), Some(14));
        assert_eq!(call_int(&INSTR, &args(-3, 2)), Some(2));
        assert_eq!(call_int(&INSTR, &args(1, 9)), Some(0));
        assert!(call(&INSTR, &args(1, 0)).is_err());
    }
}
