//! `REPEAT`, `REVERSE`.

use arrow::datatypes::Int32Type;
use flott_core::types::LogicalType;
use flott_core::{Error, Result};

use super::signature::{Kind, expect};
use crate::functions::kernel::{Text, text_binary, text_unary};
use crate::functions::{BindContext, BoundFunction, FunctionDef, FunctionGroup};

/// A string that a function makes longer than this is refused instead of filling the memory.
pub const MAX_MADE_BYTES: usize = 1 << 30;

pub static REPEAT: FunctionDef = FunctionDef {
    name: "REPEAT",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "REPEAT(string, count)",
    doc: "The string count times one after the other.",
    examples: &[
        ("REPEAT('Flink', 2)", "FlinkFlink"),
        ("REPEAT('x', -1)", ""),
    ],
    is_deterministic: true,
    bind: bind_repeat,
};

pub static REVERSE: FunctionDef = FunctionDef {
    name: "REVERSE",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "REVERSE(string)",
    doc: "The characters of the string from the last to the first.",
    examples: &[("REVERSE('flink')", "knilf")],
    is_deterministic: true,
    bind: bind_reverse,
};

fn bind_repeat(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let types = expect(ctx, 2, &[Kind::Text, Kind::Integer])?;
    let kernel = text_binary::<Text, Int32Type>("REPEAT", |text, count, out| {
        let count = usize::try_from(count).unwrap_or(0);
        check_made_bytes("REPEAT", text.len().saturating_mul(count))?;
        for _ in 0..count {
            out.push_str(text);
        }
        Ok(true)
    });
    Ok(BoundFunction::new(
        types,
        ctx.returns(LogicalType::STRING),
        kernel,
    ))
}

/// # Errors
/// A user error when `function` would make a string of more than [`MAX_MADE_BYTES`].
pub fn check_made_bytes(function: &str, num_bytes: usize) -> Result<()> {
    if num_bytes <= MAX_MADE_BYTES {
        return Ok(());
    }
    let message = format!("{function} would make a string of {num_bytes} bytes; ask for less");
    Err(Error::user("STRING_TOO_LONG", message))
}

fn bind_reverse(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let types = ctx.expect_text(1..=1)?;
    let kernel = text_unary::<Text>("REVERSE", |text, out| {
        out.extend(text.chars().rev());
        Ok(true)
    });
    Ok(BoundFunction::new(
        types,
        LogicalType::STRING.nullable(),
        kernel,
    ))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{call, call_text, int, text};
    use super::*;

    #[test]
    fn strings_are_repeated_within_reason() {
        assert_eq!(
            call_text(&REPEAT, &[text("äb"), int(3)]).as_deref(),
            Some("äbäbäb")
        );
        assert_eq!(
            call_text(&REPEAT, &[text("a"), int(0)]).as_deref(),
            Some("")
        );
        assert_eq!(call_text(&REPEAT, &[text("a"), int(None)]), None);
        assert!(call(&REPEAT, &[text("abc"), int(i32::MAX)]).is_err());
    }

    #[test]
    fn characters_are_reversed() {
        assert_eq!(
            call_text(&REVERSE, &[text("añ😀")]).as_deref(),
            Some("😀ña")
        );
        assert_eq!(call_text(&REVERSE, &[text(None)]), None);
    }
}
