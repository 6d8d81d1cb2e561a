//! `URL_ENCODE`, `URL_DECODE`.

use flott_core::Result;
use flott_core::types::LogicalType;

use crate::functions::kernel::{Text, text_unary};
use crate::functions::{BindContext, BoundFunction, FunctionDef, FunctionGroup};

pub static URL_ENCODE: FunctionDef = FunctionDef {
    name: "URL_ENCODE",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "URL_ENCODE(string)",
    doc: "The string in the form application/x-www-form-urlencoded, in UTF-8.",
    examples: &[("URL_ENCODE('a b&c=ü')", "a+b%26c%3D%C3%BC")],
    is_deterministic: true,
    bind: |ctx| bind(ctx, encode),
};

pub static URL_DECODE: FunctionDef = FunctionDef {
    name: "URL_DECODE",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "URL_DECODE(string)",
    doc: "The string whose form application/x-www-form-urlencoded, in UTF-8, this is; NULL when it \
          is none.",
    examples: &[("URL_DECODE('a+b%26c')", "a b&c")],
    is_deterministic: true,
    bind: |ctx| bind(ctx, decode),
};

fn bind(ctx: &BindContext<'_>, convert: fn(&str, &mut String) -> bool) -> Result<BoundFunction> {
    let types = ctx.expect_text(1..=1)?;
    let name = ctx.name.to_ascii_uppercase();
    let kernel = text_unary::<Text>(name, move |text, out| Ok(convert(text, out)));
    Ok(BoundFunction::new(
        types,
        LogicalType::STRING.nullable(),
        kernel,
    ))
}

fn encode(text: &str, out: &mut String) -> bool {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            _ => out.push_str(percent_encoding::percent_encode_byte(byte)),
        }
    }
    true
}

/// `false` for a percent sign that two hexadecimal digits do not follow.
fn decode(text: &str, out: &mut String) -> bool {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let [high, low, after @ ..] = rest else {
                    return false;
                };
                let digit = |digit: u8| char::from(digit).to_digit(16);
                let (Some(high), Some(low)) = (digit(*high), digit(*low)) else {
                    return false;
                };
                bytes.push((high * 16 + low) as u8);
                rest = after;
            }
            _ => bytes.push(*byte),
        }
    }
    out.push_str(&String::from_utf8_lossy(&bytes));
    true
}

#[cfg(test)]
mod tests {
    use super::super::testing::{call_text, text};
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let encoded = call_text(&URL_ENCODE, &[text("https://x.y/ä?q=a b*~")]).expect("text");
        assert_eq!(encoded, "https%3A%2F%2Fx.y%2F%C3%A4%3Fq%3Da+b*%7E");
        let decoded = call_text(&URL_DECODE, &[text(&*encoded)]);
        assert_eq!(decoded.as_deref(), Some("https://x.y/ä?q=a b*~"));
    }

    #[test]
    fn what_is_no_code_is_null() {
        assert_eq!(call_text(&URL_DECODE, &[text("100%")]), None);
        assert_eq!(call_text(&URL_DECODE, &[text("%zz")]), None);
        assert_eq!(call_text(&URL_DECODE, &[text(None)]), None);
    }
}
