//! `MD5`, `SHA1`, `SHA224` to `SHA512`, `SHA2`: digests as hexadecimal text.

use std::sync::Arc;

use arrow::datatypes::Int32Type;
use flott_core::types::LogicalType;
use flott_core::{Error, Result};
use md5::Digest;

use crate::functions::kernel::{Bytes, Text, text_binary, text_unary};
use crate::functions::string::signature::{Kind, expect};
use crate::functions::{BindContext, BoundFunction, FunctionDef, FunctionGroup, Kernel};

pub static MD5: FunctionDef = FunctionDef {
    name: "MD5",
    aliases: &[],
    group: FunctionGroup::Hash,
    syntax: "MD5(string)",
    doc: "The MD5 digest of a string, as 32 hexadecimal digits.",
    examples: &[("MD5('abc')", "900150983cd24fb0d6963f7d28e17f72")],
    is_deterministic: true,
    bind: |ctx| bind::<md5::Md5>(ctx, 32),
};

pub static SHA1: FunctionDef = FunctionDef {
    name: "SHA1",
    aliases: &[],
    group: FunctionGroup::Hash,
    syntax: "SHA1(string)",
    doc: "The SHA-1 digest of a string, as 40 hexadecimal digits.",
    examples: &[("SHA1('abc')", "a9993e364706816aba3e25717850c26c9cd0d89d")],
    is_deterministic: true,
    bind: |ctx| bind::<sha1::Sha1>(ctx, 40),
};

pub static SHA224: FunctionDef = FunctionDef {
    name: "SHA224",
    aliases: &[],
    group: FunctionGroup::Hash,
    syntax: "SHA224(string)",
    doc: "The SHA-224 digest of a string, as 56 hexadecimal digits.",
    examples: &[(
        "SHA224('abc')",
        "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7",
    )],
    is_deterministic: true,
    bind: |ctx| bind::<sha2::Sha224>(ctx, 56),
};

pub static SHA256: FunctionDef = FunctionDef {
    name: "SHA256",
    aliases: &[],
    group: FunctionGroup::Hash,
    syntax: "SHA256(string)",
    doc: "The SHA-256 digest of a string, as 64 hexadecimal digits.",
    examples: &[(
        "SHA256('abc')",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    )],
    is_deterministic: true,
    bind: |ctx| bind::<sha2::Sha256>(ctx, 64),
};

pub static SHA384: FunctionDef = FunctionDef {
    name: "SHA384",
    aliases: &[],
    group: FunctionGroup::Hash,
    syntax: "SHA384(string)",
    doc: "The SHA-384 digest of a string, as 96 hexadecimal digits.",
    examples: &[("CHAR_LENGTH(SHA384('abc'))", "96")],
    is_deterministic: true,
    bind: |ctx| bind::<sha2::Sha384>(ctx, 96),
};

pub static SHA512: FunctionDef = FunctionDef {
    name: "SHA512",
    aliases: &[],
    group: FunctionGroup::Hash,
    syntax: "SHA512(string)",
    doc: "The SHA-512 digest of a string, as 128 hexadecimal digits.",
    examples: &[("CHAR_LENGTH(SHA512('abc'))", "128")],
    is_deterministic: true,
    bind: |ctx| bind::<sha2::Sha512>(ctx, 128),
};

pub static SHA2: FunctionDef = FunctionDef {
    name: "SHA2",
    aliases: &[],
    group: FunctionGroup::Hash,
    syntax: "SHA2(string, bits)",
    doc: "The SHA-2 digest of a string in 224, 256, 384 or 512 bits, as hexadecimal digits.",
    examples: &[(
        "SHA2('abc', 224)",
        "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7",
    )],
    is_deterministic: true,
    bind: bind_sha2,
};

fn bind<D: Digest + 'static>(ctx: &BindContext<'_>, num_digits: u32) -> Result<BoundFunction> {
    ctx.expect_count(1..=1)?;
    let name = ctx.name.to_ascii_uppercase();
    let return_type = ctx.returns(LogicalType::Char(num_digits));
    if ctx.logical(0)?.is_binary() {
        let types = expect(ctx, 1, &[Kind::Bytes])?;
        let kernel = text_unary::<Bytes>(format!("{name} bytes"), |bytes, out| {
            write_digest::<D>(bytes, out);
            Ok(true)
        });
        return Ok(BoundFunction::new(types, return_type, kernel));
    }
    let types = ctx.expect_text(1..=1)?;
    let kernel = text_unary::<Text>(name, |text, out| {
        write_digest::<D>(text.as_bytes(), out);
        Ok(true)
    });
    Ok(BoundFunction::new(types, return_type, kernel))
}

fn write_digest<D: Digest>(bytes: &[u8], out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in D::digest(bytes) {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

fn bind_sha2(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    ctx.expect_count(2..=2)?;
    let is_bytes = ctx.logical(0)?.is_binary();
    let data = if is_bytes { Kind::Bytes } else { Kind::Text };
    let types = expect(ctx, 2, &[data, Kind::Integer])?;
    if let Some(bits) = ctx.argument(1)?.literal_integer() {
        write_sha2(&[], bits, &mut String::new())?;
    }
    let kernel: Arc<dyn Kernel> = if is_bytes {
        text_binary::<Bytes, Int32Type>("SHA2 bytes", |bytes, bits, out| {
            write_sha2(bytes, bits.into(), out)
        })
    } else {
        text_binary::<Text, Int32Type>("SHA2", |text, bits, out| {
            write_sha2(text.as_bytes(), bits.into(), out)
        })
    };
    Ok(BoundFunction::new(
        types,
        ctx.returns(LogicalType::VarChar(128)),
        kernel,
    ))
}

fn write_sha2(bytes: &[u8], bits: i64, out: &mut String) -> Result<bool> {
    match bits {
        224 => write_digest::<sha2::Sha224>(bytes, out),
        256 => write_digest::<sha2::Sha256>(bytes, out),
        384 => write_digest::<sha2::Sha384>(bytes, out),
        512 => write_digest::<sha2::Sha512>(bytes, out),
        _ => {
            let message = format!("SHA2 gives 224, 256, 384 or 512 bits, not {bits}");
            return Err(Error::user("INVALID_ARGUMENT", message));
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::super::super::string::testing::{bind, call, call_text, int, text};
    use super::*;

    #[test]
    fn digests_are_hexadecimal() {
        let digest = |f| call_text(f, &[text("")]).expect("text");
        assert_eq!(digest(&MD5), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(digest(&SHA1), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        for (function, length) in [(&SHA224, 56), (&SHA256, 64), (&SHA384, 96), (&SHA512, 128)] {
            assert_eq!(digest(function).len(), length);
            assert_eq!(call_text(function, &[text(None)]), None);
        }
    }

    #[test]
    fn sha2_takes_its_length() {
        let long = call_text(&SHA2, &[text("abc"), int(256)]);
        assert_eq!(long, call_text(&SHA256, &[text("abc")]));
        assert!(call(&SHA2, &[text("abc"), int(100)]).is_err());
        let bound = bind(&SHA2, &[text("abc"), int(256)]).expect("bound");
        assert_eq!(bound.return_type.to_string(), "VARCHAR(128) NOT NULL");
    }
}
