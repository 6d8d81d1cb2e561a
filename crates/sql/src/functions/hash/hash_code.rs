//! `HASH_CODE`: Java's hash codes without their sign.

use arrow::datatypes::{Date32Type, Float32Type, Float64Type, Int32Type, Int64Type};
use flott_core::Result;
use flott_core::types::LogicalType;

use crate::functions::kernel::{Bool, Text, unary};
use crate::functions::{BindContext, BoundFunction, FunctionDef, FunctionGroup};

pub static HASH_CODE: FunctionDef = FunctionDef {
    name: "HASH_CODE",
    aliases: &[],
    group: FunctionGroup::Hash,
    syntax: "HASH_CODE(expr)",
    doc: "The absolute value of the hash code that Java gives a string, number, truth value or date.",
    examples: &[("HASH_CODE('abc')", "96354")],
    is_deterministic: true,
    bind,
};

fn bind(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    ctx.expect_count(1..=1)?;
    let logical = ctx.logical(0)?.clone();
    let (logical, kernel) = match logical {
        LogicalType::Char(_) | LogicalType::VarChar(_) | LogicalType::Null => (
            LogicalType::STRING,
            unary::<Text, Int32Type>("HASH_CODE text", |text| absolute(java_hash(text))),
        ),
        LogicalType::Boolean => (
            logical,
            unary::<Bool, Int32Type>("HASH_CODE bool", |b| if b { 1231 } else { 1237 }),
        ),
        LogicalType::TinyInt | LogicalType::SmallInt | LogicalType::Int => (
            LogicalType::Int,
            unary::<Int32Type, Int32Type>("HASH_CODE int", absolute),
        ),
        LogicalType::BigInt => (
            logical,
            unary::<Int64Type, Int32Type>("HASH_CODE bigint", |v| absolute(fold(v))),
        ),
        LogicalType::Float => (
            logical,
            unary::<Float32Type, Int32Type>("HASH_CODE float", |v| absolute(v.to_bits() as i32)),
        ),
        LogicalType::Double | LogicalType::Decimal(..) => (
            LogicalType::Double,
            unary::<Float64Type, Int32Type>("HASH_CODE double", |v| {
                absolute(fold(v.to_bits() as i64))
            }),
        ),
        LogicalType::Date => (
            logical,
            unary::<Date32Type, Int32Type>("HASH_CODE date", absolute),
        ),
        LogicalType::Time(_) | LogicalType::Timestamp(_) | LogicalType::TimestampLtz(_) => (
            LogicalType::STRING,
            unary::<Text, Int32Type>("HASH_CODE text", |text| absolute(java_hash(text))),
        ),
        _ => return Err(ctx.wrong_types()),
    };
    Ok(BoundFunction::new(
        ctx.casts([logical]),
        ctx.returns(LogicalType::Int),
        kernel,
    ))
}

/// As `Math.abs`: the smallest number keeps its sign.
fn absolute(value: i32) -> i32 {
    value.wrapping_abs()
}

fn fold(value: i64) -> i32 {
    (value ^ ((value as u64) >> 32) as i64) as i32
}

fn java_hash(text: &str) -> i32 {
    let step = |hash: i32, unit: u16| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
    text.encode_utf16().fold(0, step)
}

#[cfg(test)]
mod tests {
    use super::super::super::string::testing::{call_int, int, text};
    use super::*;

    #[test]
    fn hashes_are_javas() {
        assert_eq!(call_int(&HASH_CODE, &[text("abc")]), Some(96354));
        assert_eq!(call_int(&HASH_CODE, &[text("")]), Some(0));
        assert_eq!(call_int(&HASH_CODE, &[text("😀")]), Some(1772899));
        assert_eq!(call_int(&HASH_CODE, &[int(-7)]), Some(7));
        assert_eq!(call_int(&HASH_CODE, &[text(None)]), None);
    }
}
