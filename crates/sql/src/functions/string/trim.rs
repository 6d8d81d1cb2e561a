//! `TRIM`, `LTRIM`, `RTRIM`, `BTRIM`: strings without certain characters at their ends.

use flott_core::types::LogicalType;
use flott_core::{Error, Result};

use super::parts;
use super::signature::varying;
use crate::functions::kernel::{Text, columns};
use crate::functions::{BindContext, BoundFunction, FunctionDef, FunctionGroup};

pub static TRIM: FunctionDef = FunctionDef {
    name: "TRIM",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "TRIM([BOTH | LEADING | TRAILING] [characters FROM] string)",
    doc: "The string without the given characters at its ends; without spaces when none are given.",
    examples: &[
        ("TRIM(' Beep ')", "Beep"),
        ("TRIM(LEADING 'xy' FROM 'xyyabcx')", "abcx"),
    ],
    is_deterministic: true,
    bind: bind_trim,
};

pub static LTRIM: FunctionDef = FunctionDef {
    name: "LTRIM",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "LTRIM(string[, characters])",
    doc: "The string without the given characters at its start; without spaces when none are given.",
    examples: &[("LTRIM('  This is a test ')", "This is a test ")],
    is_deterministic: true,
    bind: |ctx| bind_sides(ctx, Sides::Leading),
};

pub static RTRIM: FunctionDef = FunctionDef {
    name: "RTRIM",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "RTRIM(string[, characters])",
    doc: "The string without the given characters at its end; without spaces when none are given.",
    examples: &[("RTRIM(' This is a test ')", " This is a test")],
    is_deterministic: true,
    bind: |ctx| bind_sides(ctx, Sides::Trailing),
};

pub static BTRIM: FunctionDef = FunctionDef {
    name: "BTRIM",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "BTRIM(string[, characters])",
    doc: "The string without the given characters at both ends; without spaces when none are given.",
    examples: &[(
        "BTRIM('/www.apache.org/flink/', '/')",
        "www.apache.org/flink",
    )],
    is_deterministic: true,
    bind: bind_btrim,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sides {
    Leading,
    Trailing,
    Both,
}

/// The parser gives `TRIM(side, characters, string)`, or `TRIM(string)`.
fn bind_trim(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let types = ctx.expect_text(1..=3)?;
    if ctx.len() == 2 {
        return Err(ctx.wrong_count());
    }
    if ctx.len() == 1 {
        let return_type = ctx.returns(varying(ctx.logical(0)?));
        return Ok(BoundFunction::new(
            types,
            return_type,
            trim_kernel(Sides::Both, 0, None),
        ));
    }
    let side = ctx.argument(0)?.literal_text().map(str::to_ascii_uppercase);
    let sides = match side.as_deref() {
        Some("LEADING") => Sides::Leading,
        Some("TRAILING") => Sides::Trailing,
        Some("BOTH") => Sides::Both,
        _ => {
            let message = "TRIM takes BOTH, LEADING or TRAILING before the characters";
            return Err(Error::user("INVALID_ARGUMENT", message));
        }
    };
    let return_type = ctx.returns(varying(ctx.logical(2)?));
    Ok(BoundFunction::new(
        types,
        return_type,
        trim_kernel(sides, 2, Some(1)),
    ))
}

fn bind_sides(ctx: &BindContext<'_>, sides: Sides) -> Result<BoundFunction> {
    let types = ctx.expect_text(1..=2)?;
    let characters = (ctx.len() == 2).then_some(1);
    let return_type = ctx.returns(varying(ctx.logical(0)?));
    Ok(BoundFunction::new(
        types,
        return_type,
        trim_kernel(sides, 0, characters),
    ))
}

fn bind_btrim(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let mut bound = bind_sides(ctx, Sides::Both)?;
    bound.return_type = ctx.returns(LogicalType::STRING);
    Ok(bound)
}

fn trim_kernel(
    sides: Sides,
    text: usize,
    characters: Option<usize>,
) -> std::sync::Arc<dyn crate::functions::Kernel> {
    columns(format!("TRIM {sides:?} {text}"), move |args| {
        let characters = characters.map(|i| args.column::<Text>(i)).transpose()?;
        parts::collect(args, text, |row, text| {
            let characters = characters.as_ref().map_or(Some(" "), |c| c.get(row));
            Ok(characters.map(|characters| trim(text, characters, sides)))
        })
    })
}

fn trim<'a>(text: &'a str, characters: &str, sides: Sides) -> &'a str {
    let is_trimmed = |c: char| characters.contains(c);
    let text = match sides {
        Sides::Trailing => text,
        Sides::Leading | Sides::Both => text.trim_start_matches(is_trimmed),
    };
    match sides {
        Sides::Leading => text,
        Sides::Trailing | Sides::Both => text.trim_end_matches(is_trimmed),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{call, call_rows, call_text, text, texts};
    use super::*;

    #[test]
    fn only_spaces_are_trimmed_by_default() {
        let rows = [Some("  a b \t "), None, Some("   "), Some("")];
        let trimmed = call_rows(&TRIM, &rows, &[]);
        assert_eq!(texts(&trimmed), [Some("a b \t"), None, Some(""), Some("")]);
    }

    #[test]
    fn any_of_the_characters_is_trimmed() {
        let trim = |side| call_text(&TRIM, &[text(side), text("xü"), text("xüüaxbüx")]);
        assert_eq!(trim("BOTH").as_deref(), Some("axb"));
        assert_eq!(trim("LEADING").as_deref(), Some("axbüx"));
        assert_eq!(trim("TRAILING").as_deref(), Some("xüüaxb"));
        assert_eq!(call_text(&LTRIM, &[text("a"), text(None)]), None);
        assert!(call(&TRIM, &[text("MIDDLE"), text("x"), text("x")]).is_err());
    }
}
