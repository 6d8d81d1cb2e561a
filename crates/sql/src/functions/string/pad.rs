//! `LPAD`, `RPAD`.

use arrow::datatypes::Int32Type;
use flott_core::Result;
use flott_core::types::LogicalType;

use super::repeat::check_made_bytes;
use super::signature::{Kind, expect};
use crate::functions::kernel::{Text, text_ternary};
use crate::functions::{BindContext, BoundFunction, FunctionDef, FunctionGroup};

pub static LPAD: FunctionDef = FunctionDef {
    name: "LPAD",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "LPAD(string, length, pad)",
    doc: "The string brought to a length: filled with pad at the left, or cut at the right. NULL for \
          a negative length or an empty pad.",
    examples: &[
        ("LPAD('hi', 4, '??')", "??hi"),
        ("LPAD('hi', 1, '??')", "h"),
    ],
    is_deterministic: true,
    bind: |ctx| bind(ctx, true),
};

pub static RPAD: FunctionDef = FunctionDef {
    name: "RPAD",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "RPAD(string, length, pad)",
    doc: "The string brought to a length: filled with pad or cut at the right. NULL for a negative \
          length or an empty pad.",
    examples: &[
        ("RPAD('hi', 4, '??')", "hi??"),
        ("RPAD('hi', 1, '??')", "h"),
    ],
    is_deterministic: true,
    bind: |ctx| bind(ctx, false),
};

fn bind(ctx: &BindContext<'_>, at_left: bool) -> Result<BoundFunction> {
    let types = expect(ctx, 3, &[Kind::Text, Kind::Integer, Kind::Text])?;
    let name = ctx.name.to_ascii_uppercase();
    let kernel = text_ternary::<Text, Int32Type, Text>(name, move |text, length, pad, out| {
        let Ok(length) = usize::try_from(length) else {
            return Ok(false);
        };
        if pad.is_empty() {
            return Ok(false);
        }
        check_made_bytes("LPAD or RPAD", length)?;
        let num_chars = text.chars().count();
        let missing = length.saturating_sub(num_chars);
        if at_left {
            out.extend(pad.chars().cycle().take(missing));
        }
        out.extend(text.chars().take(length));
        if !at_left {
            out.extend(pad.chars().cycle().take(missing));
        }
        Ok(true)
    });
    // Flink calls the result NOT NULL for arguments that are, although it can be NULL.
    Ok(BoundFunction::new(
        types,
        ctx.returns(LogicalType::STRING),
        kernel,
    ))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{call_text, int, text};
    use super::*;

    #[test]
    fn strings_are_filled_or_cut() {
        let call = |f, s, n, p| call_text(f, &[text(s), int(n), text(p)]);
        assert_eq!(call(&LPAD, "äb", 5, "xyz").as_deref(), Some("xyzäb"));
        assert_eq!(call(&RPAD, "äb", 7, "xü").as_deref(), Some("äbxüxüx"));
        assert_eq!(call(&RPAD, "äb", 1, "x").as_deref(), Some("ä"));
        assert_eq!(call(&LPAD, "ab", 0, "x").as_deref(), Some(""));
        assert_eq!(call(&LPAD, "ab", -1, "x"), None);
        assert_eq!(call(&LPAD, "ab", 5, ""), None);
    }
}
