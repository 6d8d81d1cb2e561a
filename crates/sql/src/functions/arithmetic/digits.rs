//! Numbers and strings in binary and hexadecimal digits.

use std::fmt::Write;

use arrow::datatypes::Int64Type;
use flott_core::Result;
use flott_core::types::LogicalType;

use crate::functions::kernel::{Bytes, Text, text_unary, try_unary};
use crate::functions::{BindContext, BoundFunction};

function!(
    BIN,
    "BIN",
    Arithmetic,
    "BIN(integer)",
    "The binary digits of an integer; a negative one in two's complement.",
    [("BIN(4)", "100")],
    bind_bin
);
function!(
    HEX,
    "HEX",
    Arithmetic,
    "HEX(number | string)",
    "The hexadecimal digits of an integer or of a string's UTF-8 bytes.",
    [("HEX(255)", "FF"), ("HEX('hello')", "68656C6C6F")],
    bind_hex
);
function!(
    UNHEX,
    "UNHEX",
    Arithmetic,
    "UNHEX(string)",
    "The bytes of hexadecimal digits; NULL when there is another character.",
    [("UNHEX('41')", "x'41'")],
    bind_unhex
);

fn bind_bin(c: &BindContext<'_>) -> Result<BoundFunction> {
    c.expect_count(1..=1)?;
    c.expect_types(c.is_type(0, LogicalType::is_integer))?;
    let kernel = text_unary::<Int64Type>("BIN", |value, out| {
        let _ = write!(out, "{value:b}");
        Ok(true)
    });
    Ok(BoundFunction::new(
        c.casts([LogicalType::BigInt]),
        c.returns(LogicalType::STRING),
        kernel,
    ))
}

fn bind_hex(c: &BindContext<'_>) -> Result<BoundFunction> {
    c.expect_count(1..=1)?;
    let returned = c.returns(LogicalType::STRING);
    if c.is_type(0, LogicalType::is_integer) {
        let kernel = text_unary::<Int64Type>("HEX number", |value, out| {
            let _ = write!(out, "{value:X}");
            Ok(true)
        });
        return Ok(BoundFunction::new(
            c.casts([LogicalType::BigInt]),
            returned,
            kernel,
        ));
    }
    c.expect_types(c.is_text(0))?;
    let kernel = text_unary::<Text>("HEX text", |value, out| {
        value.bytes().for_each(|byte| {
            let _ = write!(out, "{byte:02X}");
        });
        Ok(true)
    });
    Ok(BoundFunction::new(
        c.casts([LogicalType::STRING]),
        returned,
        kernel,
    ))
}

fn bind_unhex(c: &BindContext<'_>) -> Result<BoundFunction> {
    let types = c.expect_text(1..=1)?;
    let kernel = try_unary::<Text, Bytes>("UNHEX", |value| Ok(unhex(value.as_bytes())));
    Ok(BoundFunction::new(
        types,
        LogicalType::BYTES.nullable(),
        kernel,
    ))
}

/// Of an odd number of digits the first has to be one, and stands for a byte of zero, as in Flink.
fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |b: &u8| char::from(*b).to_digit(16).map(|d| d as u8);
    let (odd, pairs) = digits.split_at(digits.len() % 2);
    let mut bytes = Vec::with_capacity(digits.len().div_ceil(2));
    if let Some(first) = odd.first() {
        digit(first)?;
        bytes.push(0);
    }
    for pair in pairs.chunks_exact(2) {
        bytes.push(digit(&pair[0])? << 4 | digit(&pair[1])?);
    }
    Some(bytes)
}
