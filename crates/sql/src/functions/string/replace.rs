//! `REPLACE`, `TRANSLATE`.

use arrow::array::ArrayRef;
use flott_core::Result;
use flott_core::types::LogicalType;

use crate::functions::kernel::{Args, Text, collect_text, columns, text_ternary};
use crate::functions::{BindContext, BoundFunction, FunctionDef, FunctionGroup};

pub static REPLACE: FunctionDef = FunctionDef {
    name: "REPLACE",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "REPLACE(string1, string2, string3)",
    doc: "string1 with every string2 in it replaced by string3.",
    examples: &[("REPLACE('hello world', 'world', 'flink')", "hello flink")],
    is_deterministic: true,
    bind: bind_replace,
};

pub static TRANSLATE: FunctionDef = FunctionDef {
    name: "TRANSLATE",
    aliases: &["TRANSLATE3"],
    group: FunctionGroup::String,
    syntax: "TRANSLATE(string, from, to)",
    doc: "The string with each character of from replaced by the character at the same place in to, \
          or removed when to is shorter.",
    examples: &[(
        "TRANSLATE('www.apache.org', 'wapcheorg', ' APCHEcom')",
        "   .APACHE.com",
    )],
    is_deterministic: true,
    bind: bind_translate,
};

fn bind_replace(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let types = ctx.expect_text(3..=3)?;
    let kernel = text_ternary::<Text, Text, Text>("REPLACE", |text, sought, by, out| {
        replace(text, sought, by, out);
        Ok(true)
    });
    Ok(BoundFunction::new(
        types,
        ctx.returns(LogicalType::STRING),
        kernel,
    ))
}

fn replace(text: &str, sought: &str, by: &str, out: &mut String) {
    let mut end = 0;
    for (start, found) in text.match_indices(sought) {
        out.push_str(&text[end..start]);
        out.push_str(by);
        end = start + found.len();
    }
    out.push_str(&text[end..]);
}

fn bind_translate(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let types = ctx.expect_text(3..=3)?;
    let return_type = LogicalType::STRING
        .nullable()
        .with_nullable(ctx.argument(0)?.data_type.nullable);
    Ok(BoundFunction::new(
        types,
        return_type,
        columns("TRANSLATE", translations),
    ))
}

fn translations(args: &Args) -> Result<ArrayRef> {
    let (text, from, to) = (
        args.column::<Text>(0)?,
        args.column::<Text>(1)?,
        args.column::<Text>(2)?,
    );
    collect_text(args.num_rows(), |row, out| {
        let Some(text) = text.get(row) else {
            return Ok(false);
        };
        translate(
            text,
            from.get(row).unwrap_or(""),
            to.get(row).unwrap_or(""),
            out,
        );
        Ok(true)
    })
}

fn translate(text: &str, from: &str, to: &str, out: &mut String) {
    out.extend(
        text.chars()
            .filter_map(|c| match from.chars().position(|f| f == c) {
                Some(place) => to.chars().nth(place),
                None => Some(c),
            }),
    );
}

#[cfg(test)]
mod tests {
    use super::super::testing::{call_text, text};
    use super::*;

    #[test]
    fn every_occurrence_is_replaced() {
        let call = |a, b, c| call_text(&REPLACE, &[text(a), text(b), text(c)]);
        assert_eq!(call("aXbXc", "X", "--").as_deref(), Some("a--b--c"));
        assert_eq!(call("äö", "", "-").as_deref(), Some("-ä-ö-"));
        assert_eq!(
            call_text(&REPLACE, &[text("a"), text(None), text("b")]),
            None
        );
    }

    #[test]
    fn characters_without_counterpart_go() {
        let call = |a, b, c| call_text(&TRANSLATE, &[text(a), text(b), text(c)]);
        assert_eq!(call("abcabc", "abcb", "xy").as_deref(), Some("xyxy"));
        assert_eq!(
            call_text(&TRANSLATE, &[text("ab"), text("a"), text(None)]).as_deref(),
            Some("b")
        );
        assert_eq!(
            call_text(&TRANSLATE, &[text("ab"), text(None), text("x")]).as_deref(),
            Some("ab")
        );
    }
}
