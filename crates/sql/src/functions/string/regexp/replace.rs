//! `REGEXP_REPLACE`.

use arrow::array::ArrayRef;
use flott_core::Result;
use flott_core::types::LogicalType;
use regex::Regex;

use super::pattern::{Patterns, for_each_range};
use super::pattern_kernel;
use crate::functions::kernel::{Args, Text, collect_text};
use crate::functions::{BindContext, BoundFunction, FunctionDef, FunctionGroup};

pub static REGEXP_REPLACE: FunctionDef = FunctionDef {
    name: "REGEXP_REPLACE",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "REGEXP_REPLACE(string, regex, replacement)",
    doc: "The string with all matches of the regular expression replaced. The replacement is taken \
          literally: '$1' is no reference. NULL for an invalid expression.",
    examples: &[("REGEXP_REPLACE('foobar', 'oo|ar', '')", "fb")],
    is_deterministic: true,
    bind,
};

fn bind(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let types = ctx.expect_text(3..=3)?;
    let kernel = pattern_kernel(ctx, replace_rows)?;
    Ok(BoundFunction::new(
        types,
        ctx.returns(LogicalType::STRING),
        kernel,
    ))
}

fn replace_rows(args: &Args, patterns: &mut Patterns) -> Result<ArrayRef> {
    let (text, pattern) = (args.column::<Text>(0)?, args.column::<Text>(1)?);
    let replacement = args.column::<Text>(2)?;
    collect_text(args.num_rows(), |row, out| {
        let (Some(text), Some(pattern), Some(replacement)) =
            (text.get(row), pattern.get(row), replacement.get(row))
        else {
            return Ok(false);
        };
        let Some(regex) = patterns.get(pattern)? else {
            return Ok(false);
        };
        replace_all(regex, text, replacement, out);
        Ok(true)
    })
}

fn replace_all(regex: &Regex, text: &str, replacement: &str, out: &mut String) {
    let mut end = 0;
    for_each_range(regex, text, |start, match_end| {
        out.push_str(&text[end..start]);
        out.push_str(replacement);
        end = match_end;
    });
    out.push_str(&text[end..]);
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{call_text, text};
    use super::*;

    fn replace(value: &str, pattern: &str, replacement: &str) -> Option<String> {
        call_text(
            &REGEXP_REPLACE,
            &[text(value), text(pattern), text(replacement)],
        )
    }

    #[test]
    fn all_matches_are_replaced_literally() {
        assert_eq!(replace("foobar", "o+|b", "X").as_deref(), Some("fXXar"));
        assert_eq!(replace("abc", "(b)", "[$1]").as_deref(), Some("a[$1]c"));
        assert_eq!(replace("abc", "", "-").as_deref(), Some("-a-b-c-"));
        assert_eq!(replace("abc", "b*", "-").as_deref(), Some("-a--c-"));
        assert_eq!(replace("äöü", "ö", "o").as_deref(), Some("äoü"));
        assert_eq!(replace("abc", "[", "-"), None);
    }
}
