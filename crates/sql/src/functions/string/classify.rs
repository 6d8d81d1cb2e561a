//! `IS_ALPHA`, `IS_DECIMAL`, `IS_DIGIT`.

use flott_core::Result;
use flott_core::types::LogicalType;

use crate::functions::kernel::{Bool, Text, collect, columns};
use crate::functions::{BindContext, BoundFunction, FunctionDef, FunctionGroup};

pub static IS_ALPHA: FunctionDef = FunctionDef {
    name: "IS_ALPHA",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "IS_ALPHA(string)",
    doc: "Whether all characters of a string are letters. FALSE for NULL, an empty string, a number.",
    examples: &[
        ("IS_ALPHA('Flink')", "TRUE"),
        ("IS_ALPHA('Flink2')", "FALSE"),
    ],
    is_deterministic: true,
    bind: |ctx| bind(ctx, |_| false, |text| text.chars().all(char::is_alphabetic)),
};

pub static IS_DECIMAL: FunctionDef = FunctionDef {
    name: "IS_DECIMAL",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "IS_DECIMAL(expr)",
    doc: "Whether an expression is a number or a string that can be read as one. FALSE for NULL and \
          an empty string.",
    examples: &[
        ("IS_DECIMAL('-1.5e3')", "TRUE"),
        ("IS_DECIMAL('x')", "FALSE"),
    ],
    is_deterministic: true,
    bind: |ctx| bind(ctx, LogicalType::is_numeric, is_decimal),
};

pub static IS_DIGIT: FunctionDef = FunctionDef {
    name: "IS_DIGIT",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "IS_DIGIT(expr)",
    doc: "Whether an expression is an integer or a string of digits only. FALSE for NULL and an \
          empty string.",
    examples: &[("IS_DIGIT('123')", "TRUE"), ("IS_DIGIT('-1')", "FALSE")],
    is_deterministic: true,
    bind: |ctx| {
        bind(ctx, LogicalType::is_integer, |text| {
            text.chars().all(char::is_numeric)
        })
    },
};

fn bind(
    ctx: &BindContext<'_>,
    of_type: fn(&LogicalType) -> bool,
    of_text: fn(&str) -> bool,
) -> Result<BoundFunction> {
    ctx.expect_count(1..=1)?;
    let logical = ctx.logical(0)?;
    let return_type = LogicalType::Boolean.not_null();
    let name = ctx.name.to_ascii_uppercase();
    if logical.is_numeric() {
        let answer = of_type(logical);
        let kernel = columns(format!("{name} {answer}"), move |args| {
            let numbers = args.full_array(0)?;
            collect::<Bool>(args.num_rows(), |row| {
                Ok(Some(answer && numbers.is_valid(row)))
            })
        });
        return Ok(BoundFunction::new(ctx.own_types(), return_type, kernel));
    }
    let types = ctx.expect_text(1..=1)?;
    let kernel = columns(name, move |args| {
        let text = args.column::<Text>(0)?;
        collect::<Bool>(args.num_rows(), |row| {
            Ok(Some(
                text.get(row)
                    .is_some_and(|text| !text.is_empty() && of_text(text)),
            ))
        })
    });
    Ok(BoundFunction::new(types, return_type, kernel))
}

/// Whether Java reads the text as an integer or a floating-point number, which may end in `d` or
/// `f` and may stand between spaces.
fn is_decimal(text: &str) -> bool {
    let text = text.trim_matches(|c: char| c <= ' ');
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, "NaN" | "Infinity") {
        return true;
    }
    let number = unsigned
        .strip_suffix(['d', 'D', 'f', 'F'])
        .unwrap_or(unsigned);
    let starts_as_number = number.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    starts_as_number && number.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{call_bool, int, text};
    use super::*;

    #[test]
    fn null_and_empty_are_nothing() {
        for function in [&IS_ALPHA, &IS_DECIMAL, &IS_DIGIT] {
            assert_eq!(call_bool(function, &[text(None)]), Some(false));
            assert_eq!(call_bool(function, &[text("")]), Some(false));
        }
    }

    #[test]
    fn strings_and_numbers_are_told_apart() {
        assert_eq!(call_bool(&IS_ALPHA, &[text("Größe")]), Some(true));
        assert_eq!(call_bool(&IS_ALPHA, &[text("a b")]), Some(false));
        assert_eq!(call_bool(&IS_DIGIT, &[int(5)]), Some(true));
        assert_eq!(call_bool(&IS_DIGIT, &[int(None)]), Some(false));
        assert_eq!(call_bool(&IS_DIGIT, &[text("1.5")]), Some(false));
        for number in [
            "1",
            "-1.5",
            "1e5",
            "+.5",
            "1.",
            " 7 ",
            "NaN",
            "-Infinity",
            "1f",
        ] {
            assert_eq!(
                call_bool(&IS_DECIMAL, &[text(number)]),
                Some(true),
                "{number}"
            );
        }
        for other in ["1x", "-", "e5", "inf", "1 2", "0x1"] {
            assert_eq!(
                call_bool(&IS_DECIMAL, &[text(other)]),
                Some(false),
                "{other}"
            );
        }
    }
}
