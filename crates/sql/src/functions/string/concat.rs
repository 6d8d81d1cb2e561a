//! `||`, `CONCAT`, `CONCAT_WS`.

use arrow::array::ArrayRef;
use flott_core::Result;
use flott_core::types::{LogicalType, MAX_LENGTH};

use crate::functions::kernel::{Args, Bytes, Column, Text, collect, collect_text, columns};
use crate::functions::{BindContext, BoundFunction, FunctionDef, FunctionGroup};

pub static CONCAT_OPERATOR: FunctionDef = FunctionDef {
    name: "||",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "string1 || string2",
    doc: "Two strings one after the other.",
    examples: &[("'stream' || 'ing'", "streaming")],
    is_deterministic: true,
    bind: bind_operator,
};

pub static CONCAT: FunctionDef = FunctionDef {
    name: "CONCAT",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "CONCAT(string1, string2, ...)",
    doc: "The strings one after the other; NULL when any of them is NULL.",
    examples: &[("CONCAT('AA', 'BB', 'CC')", "AABBCC")],
    is_deterministic: true,
    bind: bind_concat,
};

pub static CONCAT_WS: FunctionDef = FunctionDef {
    name: "CONCAT_WS",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "CONCAT_WS(separator, string1, string2, ...)",
    doc: "The strings that are not NULL with the separator between them; NULL when the separator \
          is NULL.",
    examples: &[("CONCAT_WS('~', 'AA', CAST(NULL AS STRING), 'BB')", "AA~BB")],
    is_deterministic: true,
    bind: bind_concat_ws,
};

/// The type of a string made of strings of these types.
pub fn joined_type(left: &LogicalType, right: &LogicalType) -> LogicalType {
    let length = |t: &LogicalType| match t {
        LogicalType::Char(n)
        | LogicalType::VarChar(n)
        | LogicalType::Binary(n)
        | LogicalType::VarBinary(n) => *n,
        _ => MAX_LENGTH,
    };
    let sum = length(left).saturating_add(length(right)).min(MAX_LENGTH);
    match (left, right) {
        (LogicalType::Char(_), LogicalType::Char(_)) => LogicalType::Char(sum),
        (LogicalType::Binary(_), LogicalType::Binary(_)) => LogicalType::Binary(sum),
        _ if left.is_binary() || right.is_binary() => LogicalType::VarBinary(sum),
        _ => LogicalType::VarChar(sum),
    }
}

fn is_bytes(ctx: &BindContext<'_>) -> bool {
    let is_binary = |i| ctx.is_type(i, LogicalType::is_binary);
    (0..ctx.len()).all(is_binary) && ctx.arguments.iter().any(|a| a.logical().is_binary())
}

fn bind_operator(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    ctx.expect_count(2..=2)?;
    let logical = joined_type(ctx.logical(0)?, ctx.logical(1)?);
    bind_joined(ctx, logical)
}

fn bind_concat(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    ctx.expect_count(1..=usize::MAX)?;
    let logical = if is_bytes(ctx) {
        LogicalType::BYTES
    } else {
        LogicalType::STRING
    };
    bind_joined(ctx, logical)
}

fn bind_joined(ctx: &BindContext<'_>, logical: LogicalType) -> Result<BoundFunction> {
    if is_bytes(ctx) {
        let types = ctx.casts(std::iter::repeat_n(LogicalType::BYTES, ctx.len()));
        let kernel = columns("CONCAT BYTES", join_bytes);
        return Ok(BoundFunction::new(types, ctx.returns(logical), kernel));
    }
    let types = ctx.expect_text(1..=usize::MAX)?;
    Ok(BoundFunction::new(
        types,
        ctx.returns(logical),
        columns("CONCAT", join),
    ))
}

fn join(args: &Args) -> Result<ArrayRef> {
    let texts = (0..args.len()).map(|i| args.column::<Text>(i));
    let texts = texts.collect::<Result<Vec<_>>>()?;
    collect_text(args.num_rows(), |row, out| {
        for text in &texts {
            match text.get(row) {
                Some(text) => out.push_str(text),
                None => return Ok(false),
            }
        }
        Ok(true)
    })
}

fn join_bytes(args: &Args) -> Result<ArrayRef> {
    let parts = (0..args.len()).map(|i| args.column::<Bytes>(i));
    let parts = parts.collect::<Result<Vec<Column<'_, Bytes>>>>()?;
    collect::<Bytes>(args.num_rows(), |row| {
        Ok(parts
            .iter()
            .map(|part| part.get(row))
            .collect::<Option<Vec<_>>>()
            .map(|parts| parts.concat()))
    })
}

fn bind_concat_ws(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let types = ctx.expect_text(1..=usize::MAX)?;
    let kernel = columns("CONCAT_WS", join_with_separator);
    Ok(BoundFunction::new(
        types,
        ctx.returns(LogicalType::STRING),
        kernel,
    ))
}

fn join_with_separator(args: &Args) -> Result<ArrayRef> {
    let texts = (0..args.len()).map(|i| args.column::<Text>(i));
    let texts = texts.collect::<Result<Vec<_>>>()?;
    collect_text(args.num_rows(), |row, out| {
        let Some(separator) = texts.first().and_then(|t| t.get(row)) else {
            return Ok(false);
        };
        let mut is_first = true;
        for text in texts[1..].iter().filter_map(|t| t.get(row)) {
            if !is_first {
                out.push_str(separator);
            }
            out.push_str(text);
            is_first = false;
        }
        Ok(true)
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bind, call_rows, call_text, text, texts};
    use super::*;

    #[test]
    fn a_null_makes_the_whole_null() {
        let joined = call_rows(
            &CONCAT,
            &[Some("a"), None, Some("")],
            &[text("b"), text("ü")],
        );
        assert_eq!(texts(&joined), [Some("abü"), None, Some("bü")]);
        assert_eq!(call_text(&CONCAT, &[text("a"), text(None)]), None);
    }

    #[test]
    fn separators_stand_between_values_that_are_not_null() {
        let args = [text(","), text("a"), text(None), text(""), text("b")];
        assert_eq!(call_text(&CONCAT_WS, &args).as_deref(), Some("a,,b"));
        assert_eq!(call_text(&CONCAT_WS, &[text(None), text("a")]), None);
        assert_eq!(call_text(&CONCAT_WS, &[text(",")]).as_deref(), Some(""));
    }

    #[test]
    fn lengths_add_up_in_the_operators_type() {
        let bound = bind(&CONCAT_OPERATOR, &[text("ab"), text("c")]).expect("bound");
        assert_eq!(bound.return_type.to_string(), "CHAR(3) NOT NULL");
        let bound = bind(&CONCAT_OPERATOR, &[text("ab"), text(None)]).expect("bound");
        assert_eq!(bound.return_type.to_string(), "STRING");
    }
}
