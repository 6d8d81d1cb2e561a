//! `TO_BASE64`, `FROM_BASE64`.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use flott_core::types::LogicalType;
use flott_core::{Error, Result};

use super::signature::{Kind, expect};
use crate::functions::kernel::{Bytes, Text, text_unary};
use crate::functions::{BindContext, BoundFunction, FunctionDef, FunctionGroup};

pub static TO_BASE64: FunctionDef = FunctionDef {
    name: "TO_BASE64",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "TO_BASE64(string)",
    doc: "The base64 form of a string's or byte string's bytes.",
    examples: &[("TO_BASE64('hello world')", "aGVsbG8gd29ybGQ=")],
    is_deterministic: true,
    bind: bind_to,
};

pub static FROM_BASE64: FunctionDef = FunctionDef {
    name: "FROM_BASE64",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "FROM_BASE64(string)",
    doc: "The string whose base64 form this is.",
    examples: &[("FROM_BASE64('aGVsbG8gd29ybGQ=')", "hello world")],
    is_deterministic: true,
    bind: bind_from,
};

/// Padding may be missing and unused bits may be set, as for Java's decoder.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

fn bind_to(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    ctx.expect_count(1..=1)?;
    let return_type = ctx.returns(LogicalType::STRING);
    if ctx.logical(0)?.is_binary() {
        let types = expect(ctx, 1, &[Kind::Bytes])?;
        let kernel = text_unary::<Bytes>("TO_BASE64 bytes", |bytes, out| {
            BASE64.encode_string(bytes, out);
            Ok(true)
        });
        return Ok(BoundFunction::new(types, return_type, kernel));
    }
    let types = ctx.expect_text(1..=1)?;
    let kernel = text_unary::<Text>("TO_BASE64", |text, out| {
        BASE64.encode_string(text, out);
        Ok(true)
    });
    Ok(BoundFunction::new(types, return_type, kernel))
}

fn bind_from(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let types = ctx.expect_text(1..=1)?;
    let kernel = text_unary::<Text>("FROM_BASE64", |text, out| {
        let bytes = BASE64
            .decode(text)
            .map_err(|e| Error::user("INVALID_BASE64", format!("'{text}' is not base64: {e}")))?;
        out.push_str(&String::from_utf8_lossy(&bytes));
        Ok(true)
    });
    Ok(BoundFunction::new(
        types,
        ctx.returns(LogicalType::STRING),
        kernel,
    ))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{call, call_text, text};
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let written = call_text(&TO_BASE64, &[text("naïve 😀")]).expect("text");
        assert_eq!(
            call_text(&FROM_BASE64, &[text(&*written)]).as_deref(),
            Some("naïve 😀")
        );
        assert_eq!(call_text(&FROM_BASE64, &[text("YQ")]).as_deref(), Some("a"));
        assert_eq!(call_text(&TO_BASE64, &[text(None)]), None);
        assert!(call(&FROM_BASE64, &[text("!!")]).is_err());
    }
}
