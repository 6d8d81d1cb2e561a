//! `ASCII`, `CHR`.

use arrow::datatypes::{Int32Type, Int64Type};
use flott_core::Result;
use flott_core::types::LogicalType;

use super::signature::{Kind, expect};
use crate::functions::kernel::{Text, text_unary, unary};
use crate::functions::{BindContext, BoundFunction, FunctionDef, FunctionGroup};

pub static ASCII: FunctionDef = FunctionDef {
    name: "ASCII",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "ASCII(string)",
    doc: "The code of the string's first character; 0 for an empty string.",
    examples: &[("ASCII('abc')", "97"), ("ASCII('')", "0")],
    is_deterministic: true,
    bind: bind_ascii,
};

pub static CHR: FunctionDef = FunctionDef {
    name: "CHR",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "CHR(integer)",
    doc: "The character of a code; of a larger number its remainder by 256 counts, and a negative \
          one gives an empty string.",
    examples: &[("CHR(97)", "a"), ("CHR(353)", "a")],
    is_deterministic: true,
    bind: bind_chr,
};

fn bind_ascii(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let types = ctx.expect_text(1..=1)?;
    // Flink gives the first byte, signed.
    let kernel = unary::<Text, Int32Type>("ASCII", |text| {
        text.as_bytes()
            .first()
            .map_or(0, |byte| i32::from(*byte as i8))
    });
    Ok(BoundFunction::new(
        types,
        ctx.returns(LogicalType::Int),
        kernel,
    ))
}

fn bind_chr(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let types = expect(ctx, 1, &[Kind::BigInteger])?;
    let kernel = text_unary::<Int64Type>("CHR", |code, out| {
        if code >= 0 {
            out.push(char::from((code & 0xFF) as u8));
        }
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
    use super::super::testing::{call_int, call_text, int, text};
    use super::*;

    #[test]
    fn characters_and_codes() {
        assert_eq!(call_int(&ASCII, &[text("Abc")]), Some(65));
        assert_eq!(call_int(&ASCII, &[text("ä")]), Some(-61));
        assert_eq!(call_int(&ASCII, &[text(None)]), None);
        assert_eq!(call_text(&CHR, &[int(65)]).as_deref(), Some("A"));
        assert_eq!(call_text(&CHR, &[int(228)]).as_deref(), Some("ä"));
        assert_eq!(call_text(&CHR, &[int(-1)]).as_deref(), Some(""));
        assert_eq!(call_text(&CHR, &[int(256)]).as_deref(), Some("\0"));
    }
}
