//! `REGEXP`, `REGEXP_COUNT`, `REGEXP_INSTR`, `REGEXP_SUBSTR`.

use arrow::array::ArrayRef;
use arrow::datatypes::Int32Type;
use flott_core::Result;
use flott_core::types::LogicalType;
use regex::Regex;

use super::pattern::{Patterns, for_each_range};
use super::pattern_kernel;
use crate::functions::kernel::{Args, Bool, Output, Text, collect};
use crate::functions::string::{length, parts};
use crate::functions::{BindContext, BoundFunction, FunctionDef, FunctionGroup};

pub static REGEXP: FunctionDef = FunctionDef {
    name: "REGEXP",
    aliases: &["RLIKE"],
    group: FunctionGroup::String,
    syntax: "REGEXP(string, regex)",
    doc: "Whether any part of the string matches the regular expression; FALSE for an empty or \
          invalid one.",
    examples: &[("REGEXP('abc123', '[0-9]+')", "TRUE")],
    is_deterministic: true,
    bind: bind_regexp,
};

pub static REGEXP_COUNT: FunctionDef = FunctionDef {
    name: "REGEXP_COUNT",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "REGEXP_COUNT(string, regex)",
    doc: "How often the regular expression matches in the string; NULL for an invalid one.",
    examples: &[("REGEXP_COUNT('abab', 'ab')", "2")],
    is_deterministic: true,
    bind: |ctx| bind_int(ctx, count),
};

pub static REGEXP_INSTR: FunctionDef = FunctionDef {
    name: "REGEXP_INSTR",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "REGEXP_INSTR(string, regex)",
    doc: "Where the regular expression first matches, counted from 1; 0 when it does not and NULL \
          for an invalid one.",
    examples: &[("REGEXP_INSTR('hello', 'l+')", "3")],
    is_deterministic: true,
    bind: |ctx| bind_int(ctx, first_position),
};

pub static REGEXP_SUBSTR: FunctionDef = FunctionDef {
    name: "REGEXP_SUBSTR",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "REGEXP_SUBSTR(string, regex)",
    doc: "The first part of the string that matches the regular expression; NULL when there is none \
          and for an invalid one.",
    examples: &[("REGEXP_SUBSTR('foo123bar', '[0-9]+')", "123")],
    is_deterministic: true,
    bind: bind_substr,
};

fn bind_regexp(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let types = ctx.expect_text(2..=2)?;
    let kernel = pattern_kernel(ctx, |args, patterns| {
        collect_matches::<Bool>(args, patterns, |text, pattern, regex| {
            Some(!pattern.is_empty() && regex.is_some_and(|regex| regex.is_match(text)))
        })
    })?;
    Ok(BoundFunction::new(
        types,
        ctx.returns(LogicalType::Boolean),
        kernel,
    ))
}

fn bind_int(ctx: &BindContext<'_>, work: fn(&Regex, &str) -> i32) -> Result<BoundFunction> {
    let types = ctx.expect_text(2..=2)?;
    let kernel = pattern_kernel(ctx, move |args, patterns| {
        collect_matches::<Int32Type>(args, patterns, |text, _, regex| {
            regex.map(|regex| work(regex, text))
        })
    })?;
    Ok(BoundFunction::new(
        types,
        LogicalType::Int.nullable(),
        kernel,
    ))
}

fn collect_matches<O: Output>(
    args: &Args,
    patterns: &mut Patterns,
    value: impl Fn(&str, &str, Option<&Regex>) -> Option<O::Value>,
) -> Result<ArrayRef> {
    let (text, pattern) = (args.column::<Text>(0)?, args.column::<Text>(1)?);
    collect::<O>(args.num_rows(), |row| {
        let (Some(text), Some(pattern)) = (text.get(row), pattern.get(row)) else {
            return Ok(None);
        };
        Ok(value(text, pattern, patterns.get(pattern)?))
    })
}

fn count(regex: &Regex, text: &str) -> i32 {
    let mut count = 0;
    for_each_range(regex, text, |_, _| count += 1);
    count
}

fn first_position(regex: &Regex, text: &str) -> i32 {
    let found = regex.find(text);
    found.map_or(0, |found| length::num_chars(&text[..found.start()]) + 1)
}

fn bind_substr(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let types = ctx.expect_text(2..=2)?;
    let kernel = pattern_kernel(ctx, |args, patterns| {
        let pattern = args.column::<Text>(1)?;
        parts::collect(args, 0, |row, text| {
            let Some(pattern) = pattern.get(row) else {
                return Ok(None);
            };
            let regex = patterns.get(pattern)?;
            Ok(regex
                .and_then(|regex| regex.find(text))
                .map(|found| found.as_str()))
        })
    })?;
    Ok(BoundFunction::new(
        types,
        LogicalType::STRING.nullable(),
        kernel,
    ))
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{call_bool, call_int, call_rows, call_text, text, texts};
    use super::*;

    #[test]
    fn matches_are_found() {
        assert_eq!(
            call_bool(&REGEXP, &[text("abc123"), text("[0-9]+")]),
            Some(true)
        );
        assert_eq!(call_bool(&REGEXP, &[text("abc"), text("")]), Some(false));
        assert_eq!(call_bool(&REGEXP, &[text("abc"), text("(")]), Some(false));
        assert_eq!(call_bool(&REGEXP, &[text(None), text("a")]), None);
        assert_eq!(
            call_int(&REGEXP_COUNT, &[text("abab"), text("ab")]),
            Some(2)
        );
        assert_eq!(call_int(&REGEXP_COUNT, &[text("abab"), text("(")]), None);
        assert_eq!(
            call_int(&REGEXP_INSTR, &[text("größe"), text("[ß]")]),
            Some(4)
        );
        assert_eq!(call_int(&REGEXP_INSTR, &[text("a"), text("b")]), Some(0));
        let found = call_text(&REGEXP_SUBSTR, &[text("foo123bar"), text(r"\d+")]);
        assert_eq!(found.as_deref(), Some("123"));
    }

    #[test]
    fn parts_of_columns_are_found() {
        let rows = [Some("id=0123456789abcdef;"), None, Some("none")];
        let found = call_rows(&REGEXP_SUBSTR, &rows, &[text("id=[^;]*")]);
        assert_eq!(texts(&found), [Some("id=0123456789abcdef"), None, None]);
    }
}
