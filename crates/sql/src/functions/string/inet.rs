//! `INET_ATON`, `INET_NTOA`: IPv4 addresses as numbers.

use std::fmt::Write;
use std::net::Ipv4Addr;

use arrow::datatypes::Int64Type;
use flott_core::Result;
use flott_core::types::LogicalType;

use super::signature::{Kind, expect};
use crate::functions::kernel::{Text, text_unary, try_unary};
use crate::functions::{BindContext, BoundFunction, FunctionDef, FunctionGroup};

pub static INET_ATON: FunctionDef = FunctionDef {
    name: "INET_ATON",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "INET_ATON(string)",
    doc: "The number of an IPv4 address; NULL when it is none. Short forms are taken as in MySQL: \
          '127.1' is '127.0.0.1'.",
    examples: &[("INET_ATON('127.0.0.1')", "2130706433")],
    is_deterministic: true,
    bind: bind_aton,
};

pub static INET_NTOA: FunctionDef = FunctionDef {
    name: "INET_NTOA",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "INET_NTOA(number)",
    doc: "The IPv4 address of a number from 0 to 4294967295; NULL for others.",
    examples: &[("INET_NTOA(2130706433)", "127.0.0.1")],
    is_deterministic: true,
    bind: bind_ntoa,
};

fn bind_aton(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let types = ctx.expect_text(1..=1)?;
    let kernel = try_unary::<Text, Int64Type>("INET_ATON", |text| Ok(address(text)));
    Ok(BoundFunction::new(
        types,
        LogicalType::BigInt.nullable(),
        kernel,
    ))
}

fn address(text: &str) -> Option<i64> {
    let mut parts = [0u32; 4];
    let mut num_parts = 0;
    for part in text.split('.') {
        if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *parts.get_mut(num_parts)? = part.parse().ok()?;
        num_parts += 1;
    }
    let parts = &parts[..num_parts];
    if num_parts > 1 && parts.iter().any(|part| *part > 255) {
        return None;
    }
    let number = match *parts {
        [a] => a,
        [a, d] => a << 24 | d,
        [a, b, d] => a << 24 | b << 16 | d,
        [a, b, c, d] => a << 24 | b << 16 | c << 8 | d,
        _ => return None,
    };
    Some(i64::from(number))
}

fn bind_ntoa(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let types = expect(ctx, 1, &[Kind::BigInteger])?;
    let kernel = text_unary::<Int64Type>("INET_NTOA", |number, out| {
        let Ok(number) = u32::try_from(number) else {
            return Ok(false);
        };
        // Writing to a string cannot fail.
        let _ = write!(out, "{}", Ipv4Addr::from(number));
        Ok(true)
    });
    Ok(BoundFunction::new(
        types,
        LogicalType::STRING.nullable(),
        kernel,
    ))
}

#[cfg(test)]
mod tests {
    use datafusion_common::ScalarValue;

    use super::super::testing::{call, call_text, int, literal, text};
    use super::*;

    #[test]
    fn addresses_become_numbers() {
        let call = |address| call(&INET_ATON, &[text(address)]).expect("a number");
        assert_eq!(call("10.0.0.1"), ScalarValue::Int64(Some(167_772_161)));
        assert_eq!(call("127.1"), ScalarValue::Int64(Some(2_130_706_433)));
        for wrong in ["", "1..2", "256.1", "a.b", "1.2.3.4.5", "4294967296", "+1"] {
            assert_eq!(call(wrong), ScalarValue::Int64(None), "{wrong}");
        }
    }

    #[test]
    fn numbers_become_addresses() {
        let largest = literal(ScalarValue::Int64(Some(4_294_967_295)), LogicalType::BigInt);
        assert_eq!(
            call_text(&INET_NTOA, &[largest]).as_deref(),
            Some("255.255.255.255")
        );
        assert_eq!(call_text(&INET_NTOA, &[int(-1)]), None);
    }
}
