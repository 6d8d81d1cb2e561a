//! `UPPER`, `LOWER`, `INITCAP`.

use arrow::array::ArrayRef;
use flott_core::Result;
use flott_core::types::LogicalType;

use super::parts::{MAX_INLINE_BYTES, PartsBuilder, text_array};
use crate::functions::kernel::{Args, Text, columns, text_unary};
use crate::functions::{BindContext, BoundFunction, FunctionDef, FunctionGroup};

pub static UPPER: FunctionDef = FunctionDef {
    name: "UPPER",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "UPPER(string)",
    doc: "The string with all letters in upper case.",
    examples: &[("UPPER('Flott')", "FLOTT"), ("UPPER('straße')", "STRASSE")],
    is_deterministic: true,
    bind: |ctx| bind_case(ctx, upper, |byte| byte.to_ascii_uppercase()),
};

pub static LOWER: FunctionDef = FunctionDef {
    name: "LOWER",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "LOWER(string)",
    doc: "The string with all letters in lower case.",
    examples: &[("LOWER('Flott')", "flott"), ("LOWER('ÄÖ')", "äö")],
    is_deterministic: true,
    bind: |ctx| bind_case(ctx, lower, |byte| byte.to_ascii_lowercase()),
};

pub static INITCAP: FunctionDef = FunctionDef {
    name: "INITCAP",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "INITCAP(string)",
    doc: "The string with the first letter of each word in upper case and the others in lower case. \
          Words are made of the letters A to Z and digits.",
    examples: &[("INITCAP('a whoLE-new 2nd world')", "A Whole-New 2nd World")],
    is_deterministic: true,
    bind: bind_initcap,
};

fn bind_initcap(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let types = ctx.expect_text(1..=1)?;
    let kernel = text_unary::<Text>("INITCAP", move |text, out| {
        initcap(text, out);
        Ok(true)
    });
    Ok(BoundFunction::new(
        types,
        ctx.returns(text_type(ctx)?),
        kernel,
    ))
}

/// `convert` for any text, `convert_byte` for one of ASCII.
fn bind_case(
    ctx: &BindContext<'_>,
    convert: fn(&str, &mut String),
    convert_byte: impl Fn(u8) -> u8 + Send + Sync + 'static,
) -> Result<BoundFunction> {
    let types = ctx.expect_text(1..=1)?;
    let kernel = columns(ctx.name.to_ascii_uppercase(), move |args| {
        convert_case(args, convert, &convert_byte)
    });
    Ok(BoundFunction::new(
        types,
        ctx.returns(text_type(ctx)?),
        kernel,
    ))
}

/// The length stays what was declared, as in Flink, although 'ß' becomes 'SS'.
fn text_type(ctx: &BindContext<'_>) -> Result<LogicalType> {
    Ok(match ctx.logical(0)? {
        LogicalType::Null => LogicalType::STRING,
        logical => logical.clone(),
    })
}

/// The bits that a view of a short text has when it is not ASCII.
const NOT_ASCII: u128 = 0x8080_8080_8080_8080_8080_8080_0000_0000;

/// Short texts of ASCII are converted inside their views, and texts that stay as they are share
/// their memory.
fn convert_case(
    args: &Args,
    convert: fn(&str, &mut String),
    convert_byte: &impl Fn(u8) -> u8,
) -> Result<ArrayRef> {
    let (texts, source) = (args.column::<Text>(0)?, text_array(args, 0)?);
    let mut builder = PartsBuilder::new(source, args.num_rows());
    let mut scratch = String::new();
    for row in 0..args.num_rows() {
        let source_row = args.row_of(0, row);
        let Some(text) = texts.get(row) else {
            builder.append_null();
            continue;
        };
        let view = source.views()[source_row];
        if text.len() <= MAX_INLINE_BYTES && view & NOT_ASCII == 0 {
            // The view begins with the length, whose bytes are no letters.
            let converted = view.to_le_bytes().map(convert_byte);
            builder.append_inline(u128::from_le_bytes(converted));
            continue;
        }
        if text.bytes().all(|b| b.is_ascii() && b == convert_byte(b)) {
            builder.append(source_row, text, text)?;
            continue;
        }
        scratch.clear();
        convert(text, &mut scratch);
        builder.append(source_row, text, &scratch)?;
    }
    Ok(builder.finish())
}

fn upper(text: &str, out: &mut String) {
    if text.is_ascii() {
        out.push_str(text);
        out.make_ascii_uppercase();
    } else {
        out.push_str(&text.to_uppercase());
    }
}

fn lower(text: &str, out: &mut String) {
    if text.is_ascii() {
        out.push_str(text);
        out.make_ascii_lowercase();
    } else {
        out.push_str(&text.to_lowercase());
    }
}

fn initcap(text: &str, out: &mut String) {
    let mut starts_word = true;
    for c in text.chars() {
        out.push(if starts_word {
            c.to_ascii_uppercase()
        } else {
            c.to_ascii_lowercase()
        });
        starts_word = !c.is_ascii_alphanumeric();
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{call_rows, call_text, text, texts};
    use super::*;

    #[test]
    fn case_is_changed_in_columns_with_nulls() {
        let rows = [Some("abc"), None, Some(""), Some("Ärger über Maße")];
        let upper = call_rows(&UPPER, &rows, &[]);
        assert_eq!(
            texts(&upper),
            [Some("ABC"), None, Some(""), Some("ÄRGER ÜBER MASSE")]
        );
        let lower = call_rows(&LOWER, &rows, &[]);
        assert_eq!(texts(&lower)[3], Some("ärger über maße"));
    }

    #[test]
    fn words_start_with_a_capital() {
        let capital = call_text(&INITCAP, &[text("hELLO wORLD_x9y")]);
        assert_eq!(capital.as_deref(), Some("Hello World_X9y"));
    }
}
