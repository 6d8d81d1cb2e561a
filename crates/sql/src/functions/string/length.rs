//! `CHAR_LENGTH`.

use arrow::datatypes::Int32Type;
use flott_core::Result;
use flott_core::types::LogicalType;

use crate::functions::kernel::{Text, unary};
use crate::functions::{BindContext, BoundFunction, FunctionDef, FunctionGroup};

pub static CHAR_LENGTH: FunctionDef = FunctionDef {
    name: "CHAR_LENGTH",
    aliases: &["CHARACTER_LENGTH"],
    group: FunctionGroup::String,
    syntax: "CHAR_LENGTH(string)",
    doc: "The number of characters of a string.",
    examples: &[("CHAR_LENGTH('häuser')", "6"), ("CHAR_LENGTH('')", "0")],
    is_deterministic: true,
    bind,
};

fn bind(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let types = ctx.expect_text(1..=1)?;
    let kernel = unary::<Text, Int32Type>("CHAR_LENGTH", num_chars);
    Ok(BoundFunction::new(
        types,
        ctx.returns(LogicalType::Int),
        kernel,
    ))
}

/// The number of characters: bytes that do not continue one.
pub fn num_chars(text: &str) -> i32 {
    text.chars().count() as i32
}

#[cfg(test)]
mod tests {
    use super::super::testing::{call_int, text};
    use super::*;

    #[test]
    fn characters_are_counted_not_bytes() {
        assert_eq!(call_int(&CHAR_LENGTH, &[text("日本😀")]), Some(3));
        assert_eq!(call_int(&CHAR_LENGTH, &[text("")]), Some(0));
        assert_eq!(call_int(&CHAR_LENGTH, &[text(None)]), None);
    }
}
