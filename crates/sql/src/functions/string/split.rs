//! `SPLIT_INDEX`, `SPLIT`: strings cut at separators.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::Int32Type;
use flott_core::Result;
use flott_core::types::LogicalType;

use super::parts::{self, PartsBuilder};
use super::signature::{Kind, expect};
use crate::functions::collection::build::ListsBuilder;
use crate::functions::kernel::{Args, Text, columns};
use crate::functions::{BindContext, BoundFunction, FunctionDef, FunctionGroup};

pub static SPLIT_INDEX: FunctionDef = FunctionDef {
    name: "SPLIT_INDEX",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "SPLIT_INDEX(string, separator, index)",
    doc: "The part number index, from 0, of the string cut at the separator, which is a string or a \
          character's code from 1 to 255. NULL when there is no such part.",
    examples: &[
        ("SPLIT_INDEX('a,b,,c', ',', 3)", "c"),
        ("SPLIT_INDEX('a b', 32, 1)", "b"),
    ],
    is_deterministic: true,
    bind: bind_split_index,
};

pub static SPLIT: FunctionDef = FunctionDef {
    name: "SPLIT",
    aliases: &[],
    group: FunctionGroup::Collection,
    syntax: "SPLIT(string, delimiter)",
    doc: "The parts of the string between the delimiters; its characters when the delimiter is \
          empty. An empty string has no parts.",
    examples: &[("SPLIT('a,b,', ',')", "[a, b, ]")],
    is_deterministic: true,
    bind: bind_split,
};

fn bind_split_index(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    ctx.expect_count(3..=3)?;
    let is_code = ctx.logical(1)?.is_integer();
    let separator = if is_code { Kind::Integer } else { Kind::Text };
    let types = expect(ctx, 3, &[Kind::Text, separator, Kind::Integer])?;
    let kernel = if is_code {
        columns("SPLIT_INDEX code", split_at_code)
    } else {
        columns("SPLIT_INDEX", split_at_text)
    };
    Ok(BoundFunction::new(
        types,
        LogicalType::STRING.nullable(),
        kernel,
    ))
}

fn split_at_text(args: &Args) -> Result<ArrayRef> {
    let (separator, index) = (args.column::<Text>(1)?, args.column::<Int32Type>(2)?);
    parts::collect(args, 0, |row, text| {
        Ok(match (separator.get(row), index.get(row)) {
            (Some(separator), Some(index)) => nth_part(text, separator, index),
            _ => None,
        })
    })
}

fn split_at_code(args: &Args) -> Result<ArrayRef> {
    let (code, index) = (args.column::<Int32Type>(1)?, args.column::<Int32Type>(2)?);
    let mut utf8 = [0; 4];
    parts::collect(args, 0, |row, text| {
        let (Some(code), Some(index)) = (code.get(row), index.get(row)) else {
            return Ok(None);
        };
        match u8::try_from(code) {
            Ok(code @ 1..) => Ok(nth_part(
                text,
                char::from(code).encode_utf8(&mut utf8),
                index,
            )),
            _ => Ok(None),
        }
    })
}

/// The part of `text` number `index`, from 0; an empty separator cuts at white space.
fn nth_part<'a>(text: &'a str, separator: &str, index: i32) -> Option<&'a str> {
    let index = usize::try_from(index).ok()?;
    if text.is_empty() {
        return None;
    }
    match separator.as_bytes() {
        [] => text.split(char::is_whitespace).nth(index),
        [byte] if byte.is_ascii() => nth_part_at_byte(text, *byte, index),
        _ => text.split(separator).nth(index),
    }
}

fn nth_part_at_byte(text: &str, separator: u8, index: usize) -> Option<&str> {
    let mut cuts = ByteCuts::new(text.as_bytes(), separator);
    let start = match index {
        0 => 0,
        _ => cuts.skip(index - 1)? + 1,
    };
    let end = cuts.skip(0).unwrap_or(text.len());
    Some(&text[start..end])
}

/// Bytes looked at in one step.
const BLOCK: usize = 16;

/// Where a byte is in a text. Separators are close to each other: a block is compared at once, and
/// the hits in it are walked through bit by bit, where a search for each of them would begin anew.
struct ByteCuts<'a> {
    text: &'a [u8],
    byte: u8,
    /// The position of the block that follows.
    next: usize,
    /// The hits left in the current block.
    hits: u32,
}

impl<'a> ByteCuts<'a> {
    fn new(text: &'a [u8], byte: u8) -> Self {
        Self {
            text,
            byte,
            next: 0,
            hits: 0,
        }
    }

    /// The position of the hit after `num` others.
    #[inline]
    fn skip(&mut self, num: usize) -> Option<usize> {
        let mut num = num as u32;
        loop {
            let num_hits = self.hits.count_ones();
            if num < num_hits {
                break;
            }
            num -= num_hits;
            self.load()?;
        }
        for _ in 0..num {
            self.hits &= self.hits - 1;
        }
        let at = self.next - BLOCK + self.hits.trailing_zeros() as usize;
        self.hits &= self.hits - 1;
        Some(at)
    }

    /// Compares the next block.
    #[inline]
    fn load(&mut self) -> Option<()> {
        let rest = self.text.get(self.next..).filter(|r| !r.is_empty())?;
        self.hits = match rest.first_chunk::<BLOCK>() {
            Some(block) => hits(block, self.byte),
            None => {
                let mut block = [!self.byte; BLOCK];
                block[..rest.len()].copy_from_slice(rest);
                hits(&block, self.byte)
            }
        };
        self.next += BLOCK;
        Some(())
    }
}

/// A bit for each byte of the block that is `byte`.
#[inline]
fn hits(block: &[u8; BLOCK], byte: u8) -> u32 {
    let pattern = u64::from(byte) * 0x0101_0101_0101_0101;
    let (low, high) = block.split_at(8);
    let half = |bytes: &[u8]| {
        let mut word = [0; 8];
        word.copy_from_slice(bytes);
        let differing = u64::from_le_bytes(word) ^ pattern;
        // The high bit of every byte that is zero, exactly, then the eight bits side by side.
        const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
        let zeros = !(((differing & LOW) + LOW) | differing | LOW);
        ((zeros >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
    };
    half(low) | half(high) << 8
}

fn bind_split(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let types = ctx.expect_text(2..=2)?;
    let item = Arc::new(LogicalType::STRING.nullable());
    let kernel = columns("SPLIT", split);
    Ok(BoundFunction::new(
        types,
        ctx.returns(LogicalType::Array(item)),
        kernel,
    ))
}

fn split(args: &Args) -> Result<ArrayRef> {
    let (text, delimiter) = (args.column::<Text>(0)?, args.column::<Text>(1)?);
    let mut items = PartsBuilder::new(parts::text_array(args, 0)?, args.num_rows());
    let mut lists = ListsBuilder::with_capacity(args.num_rows());
    for row in 0..args.num_rows() {
        let source_row = if args.is_constant(0) { 0 } else { row };
        let (Some(text), Some(delimiter)) = (text.get(row), delimiter.get(row)) else {
            lists.append_null();
            continue;
        };
        let mut num_items = 0;
        let mut push = |part: &str| {
            num_items += 1;
            items.append(source_row, text, part)
        };
        match (text, delimiter) {
            ("", _) => {}
            (_, "") => text
                .char_indices()
                .try_for_each(|(at, c)| push(&text[at..at + c.len_utf8()]))?,
            _ => text.split(delimiter).try_for_each(push)?,
        }
        lists.append(num_items);
    }
    lists.finish(&LogicalType::STRING.nullable(), items.finish())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};

    use super::super::testing::{call_rows, int, text, texts};
    use super::*;

    #[test]
    fn parts_are_found_by_index() {
        let rows = [
            Some("https://example.com/a long first/second"),
            Some(""),
            None,
            Some("x"),
            Some("a//"),
        ];
        let part = |index| call_rows(&SPLIT_INDEX, &rows, &[text("/"), int(index)]);
        let (first, third, fourth) = (part(0), part(2), part(3));
        assert_eq!(
            texts(&first),
            [Some("https:"), None, None, Some("x"), Some("a")]
        );
        assert_eq!(
            texts(&third),
            [Some("example.com"), None, None, None, Some("")]
        );
        assert_eq!(
            texts(&fourth),
            [Some("a long first"), None, None, None, None]
        );
        assert!(part(-1).is_null(0));
    }

    #[test]
    fn parts_at_a_byte_are_those_of_split() {
        let text = "a/bc//defghij/klmnopqrstuvwxyz0123456789ABCDE/äöü/\u{7f}\u{80}./";
        for end in (0..=text.len()).filter(|&e| text.is_char_boundary(e)) {
            for separator in ["/", ".", "z", "\u{7f}", "\u{0}"] {
                let byte = separator.as_bytes()[0];
                for index in 0..10 {
                    let expected = text[..end].split(separator).nth(index);
                    let found = nth_part_at_byte(&text[..end], byte, index);
                    assert_eq!(found, expected, "part {index} of {:?}", &text[..end]);
                }
            }
        }
    }

    #[test]
    fn separators_are_strings_or_codes() {
        let rows = [Some("a  bäc")];
        assert_eq!(
            texts(&call_rows(&SPLIT_INDEX, &rows, &[int(228), int(1)])),
            [Some("c")]
        );
        assert_eq!(
            texts(&call_rows(&SPLIT_INDEX, &rows, &[int(0), int(0)])),
            [None]
        );
        assert_eq!(
            texts(&call_rows(&SPLIT_INDEX, &rows, &[int(256), int(0)])),
            [None]
        );
        assert_eq!(
            texts(&call_rows(&SPLIT_INDEX, &rows, &[text(""), int(2)])),
            [Some("bäc")]
        );
        assert_eq!(
            texts(&call_rows(&SPLIT_INDEX, &rows, &[text("  "), int(1)])),
            [Some("bäc")]
        );
        assert_eq!(
            texts(&call_rows(&SPLIT_INDEX, &rows, &[text(None), int(1)])),
            [None]
        );
    }

    #[test]
    fn all_parts_make_an_array() {
        let rows = [Some("a,b,"), None, Some(""), Some("äx")];
        let split = call_rows(&SPLIT, &rows, &[text(",")]);
        let split = split.as_list::<i32>();
        assert_eq!(texts(&split.value(0)), [Some("a"), Some("b"), Some("")]);
        assert!(split.is_null(1));
        assert_eq!(split.value_length(2), 0);
        let split = call_rows(&SPLIT, &rows[3..], &[text("")]);
        assert_eq!(
            texts(&split.as_list::<i32>().value(0)),
            [Some("ä"), Some("x")]
        );
    }
}
