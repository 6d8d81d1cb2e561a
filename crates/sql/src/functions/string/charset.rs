//! `ENCODE`, `DECODE`: strings to bytes of a character set and back.

use flott_core::types::LogicalType;
use flott_core::{Error, Result};

use super::signature::{Kind, expect};
use crate::functions::kernel::{Bytes, Text, text_binary, try_binary};
use crate::functions::{BindContext, BoundFunction, FunctionDef, FunctionGroup};

pub static ENCODE: FunctionDef = FunctionDef {
    name: "ENCODE",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "ENCODE(string, charset)",
    doc: "The bytes of the string in a character set: US-ASCII, ISO-8859-1, UTF-8, UTF-16BE, \
          UTF-16LE or UTF-16.",
    examples: &[("ENCODE('AB', 'UTF-16BE')", "x'00410042'")],
    is_deterministic: true,
    bind: bind_encode,
};

pub static DECODE: FunctionDef = FunctionDef {
    name: "DECODE",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "DECODE(binary, charset)",
    doc: "The string whose bytes in a character set these are: US-ASCII, ISO-8859-1, UTF-8, \
          UTF-16BE, UTF-16LE or UTF-16.",
    examples: &[("DECODE(x'4142', 'UTF-8')", "AB")],
    is_deterministic: true,
    bind: bind_decode,
};

#[derive(Debug, Clone, Copy)]
enum Charset {
    Ascii,
    Latin1,
    Utf8,
    Utf16Be,
    Utf16Le,
    /// Big-endian with a mark when written; either when read.
    Utf16,
}

impl Charset {
    fn parse(name: &str) -> Result<Self> {
        Ok(match name.to_ascii_uppercase().as_str() {
            "US-ASCII" | "ASCII" => Self::Ascii,
            "ISO-8859-1" | "LATIN1" => Self::Latin1,
            "UTF-8" | "UTF8" => Self::Utf8,
            "UTF-16BE" => Self::Utf16Be,
            "UTF-16LE" => Self::Utf16Le,
            "UTF-16" | "UTF16" => Self::Utf16,
            _ => {
                let known = "US-ASCII, ISO-8859-1, UTF-8, UTF-16BE, UTF-16LE or UTF-16";
                let message = format!("unknown character set '{name}'; use {known}");
                return Err(Error::user("UNKNOWN_CHARSET", message));
            }
        })
    }

    fn encode(self, text: &str) -> Vec<u8> {
        let narrow = |largest: u32| {
            let byte = move |c: char| if c as u32 <= largest { c as u8 } else { b'?' };
            text.chars().map(byte).collect()
        };
        match self {
            Self::Ascii => narrow(0x7F),
            Self::Latin1 => narrow(0xFF),
            Self::Utf8 => text.as_bytes().to_vec(),
            Self::Utf16Be => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
            Self::Utf16Le => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            Self::Utf16 => {
                let units = std::iter::once(0xFEFF).chain(text.encode_utf16());
                units.flat_map(u16::to_be_bytes).collect()
            }
        }
    }

    /// Bytes that are wrong become U+FFFD.
    fn decode(self, bytes: &[u8], out: &mut String) {
        let wide = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
            let units = bytes.chunks(2).map(|pair| match pair {
                [a, b] => unit([*a, *b]),
                _ => u32::from(char::REPLACEMENT_CHARACTER) as u16,
            });
            char::decode_utf16(units)
                .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect::<String>()
        };
        match self {
            Self::Ascii => out.extend(bytes.iter().map(|b| {
                if b.is_ascii() {
                    char::from(*b)
                } else {
                    char::REPLACEMENT_CHARACTER
                }
            })),
            Self::Latin1 => out.extend(bytes.iter().copied().map(char::from)),
            Self::Utf8 => out.push_str(&String::from_utf8_lossy(bytes)),
            Self::Utf16Be => out.push_str(&wide(bytes, u16::from_be_bytes)),
            Self::Utf16Le => out.push_str(&wide(bytes, u16::from_le_bytes)),
            Self::Utf16 => match bytes {
                [0xFF, 0xFE, rest @ ..] => out.push_str(&wide(rest, u16::from_le_bytes)),
                [0xFE, 0xFF, rest @ ..] | rest => out.push_str(&wide(rest, u16::from_be_bytes)),
            },
        }
    }
}

fn check_literal(ctx: &BindContext<'_>) -> Result<()> {
    match ctx.argument(1)?.literal_text() {
        Some(name) => Charset::parse(name).map(|_| ()),
        None => Ok(()),
    }
}

fn bind_encode(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let types = expect(ctx, 2, &[Kind::Text, Kind::Text])?;
    check_literal(ctx)?;
    let kernel = try_binary::<Text, Text, Bytes>("ENCODE", |text, charset| {
        Ok(Some(Charset::parse(charset)?.encode(text)))
    });
    // Flink's declared type is BINARY without a length, which is BINARY(1).
    Ok(BoundFunction::new(
        types,
        LogicalType::Binary(1).nullable(),
        kernel,
    ))
}

fn bind_decode(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let types = expect(ctx, 2, &[Kind::Bytes, Kind::Text])?;
    check_literal(ctx)?;
    let kernel = text_binary::<Bytes, Text>("DECODE", |bytes, charset, out| {
        Charset::parse(charset)?.decode(bytes, out);
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

    use super::super::testing::{call, call_text, literal, text};
    use super::*;

    #[test]
    fn every_charset_reads_what_it_writes() {
        for charset in ["UTF-8", "utf-16be", "UTF-16LE", "UTF-16"] {
            let encoded = call(&ENCODE, &[text("aé😀"), text(charset)]).expect("bytes");
            let encoded = literal(encoded, LogicalType::BYTES);
            let decoded = call_text(&DECODE, &[encoded, text(charset)]);
            assert_eq!(decoded.as_deref(), Some("aé😀"), "{charset}");
        }
    }

    #[test]
    fn what_cannot_be_said_becomes_a_question_mark() {
        let encoded = call(&ENCODE, &[text("é€"), text("ISO-8859-1")]).expect("bytes");
        assert_eq!(encoded, ScalarValue::BinaryView(Some(vec![0xE9, b'?'])));
        assert!(call(&ENCODE, &[text("a"), text("EBCDIC")]).is_err());
    }
}
