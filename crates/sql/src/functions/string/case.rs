//! `UPPER`, `LOWER`, `INITCAP`.

use flott_core::Result;
use flott_core::types::LogicalType;

use crate::functions::kernel::{Text, text_unary};
use crate::functions::{BindContext, BoundFunction, FunctionDef, FunctionGroup};

pub static UPPER: FunctionDef = FunctionDef {
    name: "UPPER",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "UPPER(string)",
    doc: "The string with all letters in upper case.",
    examples: &[("UPPER('Flott')", "FLOTT"), ("UPPER('straße')", "STRASSE")],
    is_deterministic: true,
    bind: |ctx| bind(ctx, upper),
};

pub static LOWER: FunctionDef = FunctionDef {
    name: "LOWER",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "LOWER(string)",
    doc: "The string with all letters in lower case.",
    examples: &[("LOWER('Flott')", "flott"), ("LOWER('ÄÖ')", "äö")],
    is_deterministic: true,
    bind: |ctx| bind(ctx, lower),
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
    bind: |ctx| bind(ctx, initcap),
};

fn bind(ctx: &BindContext<'_>, convert: fn(&str, &mut String)) -> Result<BoundFunction> {
    let types = ctx.expect_text(1..=1)?;
    // The length stays what was declared, as in Flink, although 'ß' becomes 'SS'.
    let logical = match ctx.logical(0)? {
        LogicalType::Null => LogicalType::STRING,
        logical => logical.clone(),
    };
    let kernel = text_unary::<Text>(ctx.name.to_ascii_uppercase(), move |text, out| {
        convert(text, out);
        Ok(true)
    });
    Ok(BoundFunction::new(types, ctx.returns(logical), kernel))
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
