//! The end of an ORC file: how it is compressed, its types, where its stripes are and what their
//! statistics say. Everything is checked against the file's size before it is used.
//!
//! Source: the ORC specification, version 1.

use arrow::buffer::Buffer;
use flott_core::Result;
use flott_core::format::FileInput;

use super::compression::{Codec, Compression};
use super::{damaged, faulty};
use crate::protobuf::wire::{BYTES, Cursor, VARINT};

/// So much of the end is read at first: mostly all that is needed.
const TAIL_BYTES: u64 = 16 << 10;
/// Footers larger than this are not read.
const MAX_FOOTER_BYTES: u64 = 256 << 20;
/// Types may be nested only so deep.
const MAX_DEPTH: usize = 64;
/// Run lengths and compression let a byte stand for many rows, but not for more than this.
const MAX_ROWS_PER_BYTE: u64 = 1 << 20;

/// What a column of a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean,
    Byte,
    Short,
    Int,
    Long,
    Float,
    Double,
    String,
    Binary,
    Timestamp,
    List,
    Map,
    Struct,
    Union,
    Decimal,
    Date,
    Varchar,
    Char,
    TimestampInstant,
}

const KINDS: [Kind; 19] = [
    Kind::Boolean,
    Kind::Byte,
    Kind::Short,
    Kind::Int,
    Kind::Long,
    Kind::Float,
    Kind::Double,
    Kind::String,
    Kind::Binary,
    Kind::Timestamp,
    Kind::List,
    Kind::Map,
    Kind::Struct,
    Kind::Union,
    Kind::Decimal,
    Kind::Date,
    Kind::Varchar,
    Kind::Char,
    Kind::TimestampInstant,
];

/// A type in the file's list of types; its place in the list is the column's number.
#[derive(Debug, Clone)]
pub(super) struct Type {
    pub kind: Kind,
    pub children: Vec<usize>,
    /// The names of a struct's fields.
    pub names: Vec<String>,
    pub precision: u8,
    pub scale: u8,
}

/// A stripe's place: its index, then its data, then its footer.
#[derive(Debug, Clone, Default)]
pub(super) struct StripeInfo {
    pub offset: u64,
    pub index_length: u64,
    pub data_length: u64,
    pub footer_length: u64,
    pub num_rows: u64,
    /// By column number; empty when the file has none.
    pub ranges: Vec<Range>,
}

/// The least and the greatest value of a column in a stripe.
#[derive(Debug, Clone, Default)]
pub(super) enum Range {
    #[default]
    Unknown,
    Integers(i64, i64),
    Texts(Vec<u8>, Vec<u8>),
}

/// What is known of a file.
#[derive(Debug)]
pub(super) struct Tail {
    pub compression: Compression,
    pub types: Vec<Type>,
    pub stripes: Vec<StripeInfo>,
}

/// A field's value as it stands in a message.
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

impl<'a> Value<'a> {
    fn number(&self) -> u64 {
        match self {
            Self::Number(value) => *value,
            _ => 0,
        }
    }

    fn bytes(&self) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            _ => &[],
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    /// A number, or several of them packed.
    fn numbers(&self, out: &mut Vec<u64>) -> Result<()> {
        match self {
            Self::Number(value) => out.push(*value),
            Self::Bytes(bytes) => {
                let mut cursor = Cursor::new(bytes);
                while !cursor.is_done() {
                    out.push(cursor.varint().map_err(faulty)?);
                }
            }
            Self::Other => {}
        }
        Ok(())
    }
}

fn signed(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Gives each field of a message to `take`.
fn each_field<'a>(
    message: &'a [u8],
    mut take: impl FnMut(u32, Value<'a>) -> Result<()>,
) -> Result<()> {
    let mut cursor = Cursor::new(message);
    while !cursor.is_done() {
        let (number, wire) = cursor.tag().map_err(faulty)?;
        let value = match wire {
            VARINT => Value::Number(cursor.varint().map_err(faulty)?),
            BYTES => Value::Bytes(cursor.bytes().map_err(faulty)?),
            other => {
                cursor.skip(other, 0).map_err(faulty)?;
                Value::Other
            }
        };
        take(number, value)?;
    }
    Ok(())
}

#[derive(Default)]
struct Postscript {
    footer_length: u64,
    compression: u64,
    block_size: Option<u64>,
    metadata_length: u64,
    is_orc: bool,
}

fn postscript(bytes: &[u8]) -> Result<Postscript> {
    let mut found = Postscript::default();
    each_field(bytes, |number, value| {
        match number {
            1 => found.footer_length = value.number(),
            2 => found.compression = value.number(),
            3 => found.block_size = Some(value.number()),
            5 => found.metadata_length = value.number(),
            8000 => found.is_orc = value.bytes() == b"ORC",
            _ => {}
        }
        Ok(())
    })?;
    match found.is_orc {
        true => Ok(found),
        false => Err(damaged("it does not end with 'ORC'")),
    }
}

impl Tail {
    /// # Errors
    /// A user error when the file is no ORC file, or what it says of itself cannot be.
    pub fn read(input: &dyn FileInput) -> Result<Self> {
        let size = input.size_bytes();
        let first = size.min(TAIL_BYTES);
        let tail = input.read_range(size - first, first as usize)?;
        let Some((&length, before)) = tail.split_last() else {
            return Err(damaged("it is empty"));
        };
        let at = before.len().checked_sub(usize::from(length));
        let at = at.ok_or_else(|| damaged("it is too short"))?;
        let postscript = postscript(&before[at..])?;
        let lengths = postscript
            .footer_length
            .checked_add(postscript.metadata_length);
        let end = size - first + at as u64;
        let start = lengths
            .filter(|l| *l <= MAX_FOOTER_BYTES)
            .and_then(|l| end.checked_sub(l));
        let start = start.ok_or_else(|| damaged("its footer is longer than it is"))?;
        let bytes = match start.checked_sub(size - first) {
            Some(from) => tail.slice_with_length(from as usize, (end - start) as usize),
            None => input.read_range(start, (end - start) as usize)?,
        };
        let compression = Compression {
            codec: Codec::from_number(postscript.compression)?,
            block_size: super::compression::block_size(postscript.block_size)?,
        };
        let split = postscript.metadata_length as usize;
        let footer = compression.whole(bytes.slice(split))?;
        let mut tail = Self {
            compression,
            types: Vec::new(),
            stripes: Vec::new(),
        };
        tail.read_footer(&footer, start)?;
        let metadata = compression.whole(bytes.slice_with_length(0, split));
        // Statistics are a help, not a need.
        if let Ok(metadata) = metadata {
            let _ = tail.read_statistics(&metadata);
        }
        Ok(tail)
    }

    fn read_footer(&mut self, footer: &[u8], end: u64) -> Result<()> {
        let (mut num_rows, mut is_encrypted) = (0, false);
        each_field(footer, |number, value| {
            match number {
                3 => self.stripes.push(stripe(value.bytes(), end)?),
                4 => self.types.push(type_of(value.bytes())?),
                6 => num_rows = value.number(),
                10 => is_encrypted = true,
                _ => {}
            }
            Ok(())
        })?;
        if is_encrypted {
            return Err(damaged("it is encrypted, which cannot be read"));
        }
        let in_stripes: u128 = self.stripes.iter().map(|s| u128::from(s.num_rows)).sum();
        if in_stripes != u128::from(num_rows) {
            let what = format!("its stripes hold {in_stripes} rows, the footer says {num_rows}");
            return Err(damaged(what));
        }
        check_types(&self.types)
    }

    fn read_statistics(&mut self, metadata: &[u8]) -> Result<()> {
        let mut of_stripes = Vec::new();
        each_field(metadata, |number, value| {
            if number == 1 {
                let mut ranges = Vec::new();
                each_field(value.bytes(), |number, value| {
                    if number == 1 {
                        ranges.push(range(value.bytes())?);
                    }
                    Ok(())
                })?;
                of_stripes.push(ranges);
            }
            Ok(())
        })?;
        if of_stripes.len() == self.stripes.len() {
            for (stripe, ranges) in self.stripes.iter_mut().zip(of_stripes) {
                stripe.ranges = ranges;
            }
        }
        Ok(())
    }
}

fn stripe(bytes: &[u8], end: u64) -> Result<StripeInfo> {
    let mut found = StripeInfo::default();
    each_field(bytes, |number, value| {
        match number {
            1 => found.offset = value.number(),
            2 => found.index_length = value.number(),
            3 => found.data_length = value.number(),
            4 => found.footer_length = value.number(),
            5 => found.num_rows = value.number(),
            _ => {}
        }
        Ok(())
    })?;
    let lengths = [found.index_length, found.data_length, found.footer_length];
    let found_end = lengths
        .iter()
        .try_fold(found.offset, |at, length| at.checked_add(*length));
    if found_end.is_none_or(|found_end| found_end > end) {
        return Err(damaged("a stripe is longer than the file"));
    }
    if found.num_rows > (found.index_length + found.data_length + 1) * MAX_ROWS_PER_BYTE {
        let what = format!("a stripe cannot hold {} rows", found.num_rows);
        return Err(damaged(what));
    }
    Ok(found)
}

fn type_of(bytes: &[u8]) -> Result<Type> {
    let (mut kind, mut children, mut names) = (0, Vec::new(), Vec::new());
    let (mut precision, mut scale) = (38, 0);
    each_field(bytes, |number, value| {
        match number {
            1 => kind = value.number(),
            2 => value.numbers(&mut children)?,
            3 => names.push(value.text()),
            5 => precision = value.number(),
            6 => scale = value.number(),
            _ => {}
        }
        Ok(())
    })?;
    let known = usize::try_from(kind).ok().and_then(|k| KINDS.get(k));
    let kind = *known.ok_or_else(|| damaged(format!("unknown type {kind}")))?;
    if kind == Kind::Decimal && (precision == 0 || precision > 38 || scale > precision) {
        let what = format!("DECIMAL({precision}, {scale}) cannot be");
        return Err(damaged(what));
    }
    Ok(Type {
        kind,
        children: children.into_iter().map(|c| c as usize).collect(),
        names,
        precision: precision as u8,
        scale: scale as u8,
    })
}

/// Children must follow their parents, each have one, and not be nested without end.
fn check_types(types: &[Type]) -> Result<()> {
    let mut depths: Vec<Option<usize>> = vec![None; types.len()];
    if let Some(depth) = depths.first_mut() {
        *depth = Some(0);
    }
    if types.first().is_none_or(|root| root.kind != Kind::Struct) {
        return Err(damaged("its rows are no struct"));
    }
    for (place, parent) in types.iter().enumerate() {
        let wanted = match parent.kind {
            Kind::List => 1,
            Kind::Map => 2,
            Kind::Struct => parent.names.len(),
            Kind::Union => parent.children.len(),
            _ => 0,
        };
        let Some(depth) = depths[place] else {
            return Err(damaged(format!("type {place} belongs to none")));
        };
        if parent.children.len() != wanted || depth > MAX_DEPTH {
            return Err(damaged(format!("type {place} is malformed")));
        }
        for &child in &parent.children {
            match depths.get_mut(child) {
                Some(found @ None) if child > place => *found = Some(depth + 1),
                _ => return Err(damaged(format!("type {place} holds type {child}"))),
            }
        }
    }
    Ok(())
}

fn range(bytes: &[u8]) -> Result<Range> {
    let mut found = Range::Unknown;
    each_field(bytes, |number, value| {
        let (mut least, mut greatest) = (None, None);
        match number {
            2 => {
                each_field(value.bytes(), |number, value| {
                    match number {
                        1 => least = Some(signed(value.number())),
                        2 => greatest = Some(signed(value.number())),
                        _ => {}
                    }
                    Ok(())
                })?;
                if let (Some(least), Some(greatest)) = (least, greatest) {
                    found = Range::Integers(least, greatest);
                }
            }
            4 => found = text_range(value.bytes())?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(found)
}

fn text_range(bytes: &[u8]) -> Result<Range> {
    let (mut least, mut greatest) = (None, None);
    each_field(bytes, |number, value| {
        match number {
            // Bounds stand for values that are too long to be kept.
            1 | 4 => least = Some(value.bytes().to_vec()),
            2 | 5 => greatest = Some(value.bytes().to_vec()),
            _ => {}
        }
        Ok(())
    })?;
    Ok(match (least, greatest) {
        (Some(least), Some(greatest)) => Range::Texts(least, greatest),
        _ => Range::Unknown,
    })
}

/// What a stream of a stripe holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamKind {
    Present,
    Data,
    Length,
    DictionaryData,
    Secondary,
}

/// A stream's place in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct StreamInfo {
    pub column: usize,
    pub kind: StreamKind,
    pub offset: u64,
    pub length: usize,
}

/// How a column of a stripe is encoded.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Encoding {
    pub is_dictionary: bool,
    /// Run lengths of the second version.
    pub is_v2: bool,
    pub dictionary_size: usize,
}

/// The footer of a stripe.
#[derive(Debug, Default)]
pub(super) struct StripeFooter {
    pub streams: Vec<StreamInfo>,
    pub encodings: Vec<Encoding>,
    pub zone: Option<String>,
}

impl StripeFooter {
    /// Reads the footer of a stripe; streams of indexes are left out.
    ///
    /// # Errors
    /// A user error when a stream is outside of the stripe.
    pub fn read(input: &dyn FileInput, tail: &Tail, stripe: &StripeInfo) -> Result<Self> {
        let end = stripe.offset + stripe.index_length + stripe.data_length;
        let length = usize::try_from(stripe.footer_length).unwrap_or(usize::MAX);
        let bytes = tail.compression.whole(input.read_range(end, length)?)?;
        Self::parse(&bytes, stripe.offset, end)
    }

    fn parse(bytes: &[u8], start: u64, end: u64) -> Result<Self> {
        let mut found = Self::default();
        let mut offset = start;
        each_field(bytes, |number, value| {
            match number {
                1 => {
                    let (kind, column, length) = stream(value.bytes())?;
                    let next = offset.checked_add(length).filter(|next| *next <= end);
                    let next = next.ok_or_else(|| damaged("a stream is longer than its stripe"))?;
                    if let Some(kind) = kind {
                        found.streams.push(StreamInfo {
                            column: column as usize,
                            kind,
                            offset,
                            length: length as usize,
                        });
                    }
                    offset = next;
                }
                2 => found.encodings.push(encoding(value.bytes())?),
                3 => found.zone = Some(value.text()),
                _ => {}
            }
            Ok(())
        })?;
        Ok(found)
    }
}

fn stream(bytes: &[u8]) -> Result<(Option<StreamKind>, u64, u64)> {
    let (mut kind, mut column, mut length) = (0, 0, 0);
    each_field(bytes, |number, value| {
        match number {
            1 => kind = value.number(),
            2 => column = value.number(),
            3 => length = value.number(),
            _ => {}
        }
        Ok(())
    })?;
    let kind = match kind {
        0 => Some(StreamKind::Present),
        1 => Some(StreamKind::Data),
        2 => Some(StreamKind::Length),
        3 => Some(StreamKind::DictionaryData),
        5 => Some(StreamKind::Secondary),
        _ => None,
    };
    Ok((kind, column, length))
}

fn encoding(bytes: &[u8]) -> Result<Encoding> {
    let mut found = Encoding::default();
    each_field(bytes, |number, value| {
        match number {
            1 => {
                found.is_dictionary = matches!(value.number(), 1 | 3);
                found.is_v2 = matches!(value.number(), 2 | 3);
            }
            2 => found.dictionary_size = value.number() as usize,
            _ => {}
        }
        Ok(())
    })?;
    Ok(found)
}

/// The bytes of a stream, as they stand in the file.
pub(super) fn stream_bytes(pieces: &[(u64, Buffer)], info: &StreamInfo) -> Option<Buffer> {
    let (start, piece) = pieces.iter().find(|(start, piece)| {
        *start <= info.offset && info.offset - start <= piece.len() as u64
    })?;
    let from = (info.offset - start) as usize;
    let is_whole = from.checked_add(info.length)? <= piece.len();
    is_whole.then(|| piece.slice_with_length(from, info.length))
}
