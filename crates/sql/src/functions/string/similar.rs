//! `SIMILAR TO`.

use flott_core::types::LogicalType;
use flott_core::{Error, Result};
use regex::Regex;

use super::like::{escape_char, invalid_escape};
use super::regexp::java;
use crate::functions::kernel::{Bool, Text, collect, columns};
use crate::functions::{BindContext, BoundFunction, FunctionDef, FunctionGroup};

pub static SIMILAR_TO: FunctionDef = FunctionDef {
    name: "SIMILAR TO",
    aliases: &[],
    group: FunctionGroup::Comparison,
    syntax: "string [NOT] SIMILAR TO pattern [ESCAPE char]",
    doc: "Whether a whole string matches an SQL regular expression: % and _ as in LIKE, with |, *, \
          +, ?, {n,m}, ( ) and [ ] as in regular expressions.",
    examples: &[("'abc' SIMILAR TO '(a|b)%'", "TRUE")],
    is_deterministic: true,
    bind: |ctx| bind(ctx, false),
};

pub static NOT_SIMILAR_TO: FunctionDef = FunctionDef {
    name: "NOT SIMILAR TO",
    aliases: &[],
    group: FunctionGroup::Comparison,
    syntax: "string NOT SIMILAR TO pattern [ESCAPE char]",
    doc: "Whether a string does not match an SQL regular expression; see SIMILAR TO.",
    examples: &[("'abc' NOT SIMILAR TO '(a|b)%'", "FALSE")],
    is_deterministic: true,
    bind: |ctx| bind(ctx, true),
};

fn bind(ctx: &BindContext<'_>, is_negated: bool) -> Result<BoundFunction> {
    let types = ctx.expect_text(2..=3)?;
    let escape = match ctx.arguments.get(2) {
        Some(argument) => Some(argument.literal_text().ok_or_else(not_constant)?),
        None => None,
    };
    let escape = escape.map(escape_char).transpose()?;
    let constant = ctx.argument(1)?.literal_text();
    let label = format!("SIMILAR TO {constant:?} {escape:?} {is_negated}");
    let constant = constant
        .map(|pattern| compile(pattern, escape))
        .transpose()?;
    let kernel = columns(label, move |args| {
        let (text, pattern) = (args.column::<Text>(0)?, args.column::<Text>(1)?);
        collect::<Bool>(args.num_rows(), |row| {
            let (Some(text), Some(pattern)) = (text.get(row), pattern.get(row)) else {
                return Ok(None);
            };
            let is_match = match &constant {
                Some(regex) => regex.is_match(text),
                None => compile(pattern, escape)?.is_match(text),
            };
            Ok(Some(is_match != is_negated))
        })
    });
    Ok(BoundFunction::new(
        types,
        ctx.returns(LogicalType::Boolean),
        kernel,
    ))
}

fn not_constant() -> Error {
    Error::user(
        "INVALID_ESCAPE",
        "ESCAPE of SIMILAR TO takes a constant of one character",
    )
}

fn compile(pattern: &str, escape: Option<char>) -> Result<Regex> {
    let regex = format!("^(?:{})$", to_regex(pattern, escape)?);
    java::compile(&regex).map_err(|error| error.into_error(pattern))
}

/// The pattern as a regular expression.
fn to_regex(pattern: &str, escape: Option<char>) -> Result<String> {
    let mut regex = String::with_capacity(pattern.len() + 8);
    let mut in_class = false;
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if Some(c) == escape {
            let next = chars.next().ok_or_else(|| invalid_escape(pattern))?;
            regex.push_str(&regex::escape(next.encode_utf8(&mut [0; 4])));
            continue;
        }
        match c {
            '[' => in_class = true,
            ']' => in_class = false,
            _ => {}
        }
        match c {
            '_' if !in_class => regex.push('.'),
            '%' if !in_class => regex.push_str("(?s:.*)"),
            // A dot stands for any character but the end of a line, which the standard does not
            // say and Flink does.
            '$' | '\\' if !in_class => {
                regex.push('\\');
                regex.push(c);
            }
            _ => regex.push(c),
        }
    }
    Ok(regex)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bind, call_bool, text};
    use super::*;

    fn similar(value: &str, pattern: &str) -> Option<bool> {
        call_bool(&SIMILAR_TO, &[text(value), text(pattern)])
    }

    #[test]
    fn whole_strings_match() {
        assert_eq!(similar("abc", "abc"), Some(true));
        assert_eq!(similar("abc", "a"), Some(false));
        assert_eq!(similar("abc", "%(b|d)%"), Some(true));
        assert_eq!(similar("abc", "(b|c)%"), Some(false));
        assert_eq!(similar("aaa\n", "a{2,3}_"), Some(false));
        assert_eq!(similar("a.c", "a.c"), Some(true));
        assert_eq!(similar("abc", "a.c"), Some(true));
        assert_eq!(similar("a\nc", "a.c"), Some(false));
        assert_eq!(similar("a\nc", "a%"), Some(true));
        assert_eq!(similar("x1", "[a-z][0-9]"), Some(true));
        assert_eq!(call_bool(&SIMILAR_TO, &[text(None), text("a")]), None);
        let args = [text("a%"), text("a!%"), text("!")];
        assert_eq!(call_bool(&NOT_SIMILAR_TO, &args), Some(false));
        assert!(bind(&SIMILAR_TO, &[text("a"), text("(a")]).is_err());
    }
}
