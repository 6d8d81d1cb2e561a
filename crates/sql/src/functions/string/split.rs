//! `SPLIT_INDEX`, `SPLIT`: strings cut at separators.

use std::ops::Range;
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
    let bytes = text.as_bytes();
    if let Some(head) = bytes.first_chunk::<HEAD>()
        && let Some(part) = nth_part_in_head(head, separator, index)
    {
        return text.get(part);
    }
    let start = match index {
        0 => 0,
        _ => find_nth(bytes, 0, separator, index - 1)? + 1,
    };
    let end = find_nth(bytes, start, separator, 0).unwrap_or(text.len());
    Some(&text[start..end])
}

/// So many bytes at the start of a text are compared at once.
const HEAD: usize = 48;
const ONES: u64 = 0x0101_0101_0101_0101;

/// The part if it ends before the head does. The way through is the same for every text, so that
/// the processor can work on several texts while it waits for their memory.
#[inline]
fn nth_part_in_head(head: &[u8; HEAD], separator: u8, index: usize) -> Option<Range<usize>> {
    if index >= HEAD {
        return None;
    }
    let pattern = u64::from(separator) * ONES;
    let (words, _) = head.as_chunks::<8>();
    let words = words.iter().enumerate();
    let mut hits = words.fold(0, |hits, (at, word)| {
        // Eight bits from eight bytes that are 0 or 1.
        let bits = zero_bytes(u64::from_le_bytes(*word) ^ pattern);
        hits | (bits.wrapping_mul(0x0102_0408_1020_4080) >> 56) << (at * 8)
    });
    let mut start = 0;
    if index > 0 {
        (1..index).for_each(|_| hits &= hits.wrapping_sub(1));
        start = hits.trailing_zeros() as usize + 1;
        hits &= hits.wrapping_sub(1);
    }
    (hits != 0).then(|| start..hits.trailing_zeros() as usize)
}

/// A 1 in every byte that is zero, exactly.
#[inline]
fn zero_bytes(word: u64) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    !(((word & LOW) + LOW) | word | LOW) >> 7
}

/// Where a byte is in `text[from..]` after `num` others of its kind. Separators are close to each
/// other: words are compared as a whole and their hits counted, where a search for each hit would
/// begin anew.
#[inline]
fn find_nth(text: &[u8], from: usize, byte: u8, mut num: usize) -> Option<usize> {
    let pattern = u64::from(byte) * ONES;
    let (words, rest) = text[from..].as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let mut hits = zero_bytes(u64::from_le_bytes(*word) ^ pattern);
        let num_hits = (hits.wrapping_mul(ONES) >> 56) as usize;
        if num < num_hits {
            (0..num).for_each(|_| hits &= hits - 1);
            return Some(from + at * 8 + hits.trailing_zeros() as usize / 8);
        }
        num -= num_hits;
    }
    let start = text.len() - rest.len();
    let mut rest = rest.iter().enumerate().filter(|(_, b)| **b == byte);
    rest.nth(num).map(|(at, _)| start + at)
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
        let text = "a/bc//defghij/klmnopqrstuvwxyz012/3456789/BCDE/äöü/\u{7f}\u{80}./";
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
