//! `STARTSWITH`, `ENDSWITH`.

use flott_core::Result;
use flott_core::types::LogicalType;

use super::signature::{Kind, expect};
use crate::functions::kernel::{Bool, Bytes, Text, binary};
use crate::functions::{BindContext, BoundFunction, FunctionDef, FunctionGroup};

pub static STARTSWITH: FunctionDef = FunctionDef {
    name: "STARTSWITH",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "STARTSWITH(expr, start)",
    doc: "Whether a string or byte string starts with another; with an empty one it does.",
    examples: &[("STARTSWITH('flink', 'fl')", "TRUE")],
    is_deterministic: true,
    bind: |ctx| {
        bind(
            ctx,
            |text, start| text.starts_with(start),
            |bytes, start| bytes.starts_with(start),
        )
    },
};

pub static ENDSWITH: FunctionDef = FunctionDef {
    name: "ENDSWITH",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "ENDSWITH(expr, end)",
    doc: "Whether a string or byte string ends with another; with an empty one it does.",
    examples: &[("ENDSWITH('flink', 'nk')", "TRUE")],
    is_deterministic: true,
    bind: |ctx| {
        bind(
            ctx,
            |text, end| text.ends_with(end),
            |bytes, end| bytes.ends_with(end),
        )
    },
};

fn bind(
    ctx: &BindContext<'_>,
    of_text: fn(&str, &str) -> bool,
    of_bytes: fn(&[u8], &[u8]) -> bool,
) -> Result<BoundFunction> {
    ctx.expect_count(2..=2)?;
    let name = ctx.name.to_ascii_uppercase();
    let return_type = ctx.returns(LogicalType::Boolean);
    if ctx.logical(0)?.is_binary() {
        let types = expect(ctx, 2, &[Kind::Bytes, Kind::Bytes])?;
        let kernel = binary::<Bytes, Bytes, Bool>(format!("{name} bytes"), of_bytes);
        return Ok(BoundFunction::new(types, return_type, kernel));
    }
    let types = ctx.expect_text(2..=2)?;
    Ok(BoundFunction::new(
        types,
        return_type,
        binary::<Text, Text, Bool>(name, of_text),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{call_bool, text};
    use super::*;

    #[test]
    fn starts_and_ends_are_compared() {
        assert_eq!(
            call_bool(&STARTSWITH, &[text("äbc"), text("äb")]),
            Some(true)
        );
        assert_eq!(call_bool(&STARTSWITH, &[text("abc"), text("")]), Some(true));
        assert_eq!(
            call_bool(&ENDSWITH, &[text("abc"), text("bd")]),
            Some(false)
        );
        assert_eq!(call_bool(&ENDSWITH, &[text("abc"), text(None)]), None);
    }
}
