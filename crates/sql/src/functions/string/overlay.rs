//! `OVERLAY`.

use arrow::array::ArrayRef;
use arrow::datatypes::Int32Type;
use flott_core::Result;

use super::concat::joined_type;
use super::length::num_chars;
use super::signature::{Kind, expect, varying};
use crate::functions::kernel::{Args, Text, collect_text, columns};
use crate::functions::{BindContext, BoundFunction, FunctionDef, FunctionGroup};

pub static OVERLAY: FunctionDef = FunctionDef {
    name: "OVERLAY",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "OVERLAY(string1 PLACING string2 FROM start [FOR length])",
    doc: "string1 with length characters from position start on replaced by string2; the length is \
          that of string2 when it is not given.",
    examples: &[("OVERLAY('xxxxxtest' PLACING 'xxxx' FROM 6)", "xxxxxxxxx")],
    is_deterministic: true,
    bind,
};

fn bind(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let types = expect(
        ctx,
        3,
        &[Kind::Text, Kind::Text, Kind::Integer, Kind::Integer],
    )?;
    let return_type = ctx.returns(varying(&joined_type(ctx.logical(0)?, ctx.logical(1)?)));
    Ok(BoundFunction::new(
        types,
        return_type,
        columns("OVERLAY", overlays),
    ))
}

fn overlays(args: &Args) -> Result<ArrayRef> {
    let (text, placed) = (args.column::<Text>(0)?, args.column::<Text>(1)?);
    let start = args.column::<Int32Type>(2)?;
    let length = (args.len() > 3)
        .then(|| args.column::<Int32Type>(3))
        .transpose()?;
    collect_text(args.num_rows(), |row, out| {
        let (Some(text), Some(placed), Some(start)) =
            (text.get(row), placed.get(row), start.get(row))
        else {
            return Ok(false);
        };
        let length = match &length {
            Some(length) => length.get(row),
            None => Some(num_chars(placed)),
        };
        let Some(length) = length else {
            return Ok(false);
        };
        overlay(text, placed, start, length, out);
        Ok(true)
    })
}

/// Outside of the string nothing is placed; without a length the rest of the string goes.
fn overlay(text: &str, placed: &str, start: i32, length: i32, out: &mut String) {
    if start <= 0 || start > num_chars(text) {
        out.push_str(text);
        return;
    }
    let before = start as usize - 1;
    out.extend(text.chars().take(before));
    out.push_str(placed);
    if length > 0 {
        out.extend(text.chars().skip(before + length as usize));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{call_text, int, text};
    use super::*;

    #[test]
    fn a_part_is_replaced() {
        let call = |start, length| {
            let args = [text("größer"), text("XY"), int(start), int(length)];
            call_text(&OVERLAY, &args).expect("text")
        };
        assert_eq!(call(3, 2), "grXYer");
        assert_eq!(call(3, 9), "grXY");
        assert_eq!(call(0, 1), "größer");
        assert_eq!(call(7, 1), "größer");
    }
}
