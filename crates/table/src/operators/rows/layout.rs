//! How a row lies in memory: its values one after the other, in few bytes.
//!
//! `[nulls: a bit a column][values of fixed width][ends: u32 for each value of any length][bytes]`
//!
//! Ends count from the row's first byte. A value that holds rows itself (ROW, ARRAY, MAP) is rows of
//! a layout of its own. Nothing is aligned, and a row is only read by the process that wrote it.

use std::ops::Range;

use arrow::datatypes::DataType;

/// The width of an end.
const END_BYTES: usize = 4;

/// Where the values of rows of certain types are.
#[derive(Clone)]
pub(super) struct Layout {
    pub columns: Vec<Place>,
    /// The position of the nulls.
    nulls: usize,
    /// The position of the first end.
    ends: usize,
    /// The position of the first byte behind the ends.
    pub bytes: usize,
}

/// Where a column's value is.
#[derive(Clone)]
pub(super) struct Place {
    pub data_type: DataType,
    pub kind: Kind,
    /// Of a value of fixed width its position in the row, of others the number of its end.
    pub at: usize,
    /// Whether a NULL was ever written.
    pub has_nulls: bool,
}

#[derive(Clone)]
pub(super) enum Kind {
    /// Nothing but NULL.
    Null,
    Bool,
    /// So many bytes.
    Fixed(usize),
    /// A string or bytes.
    Bytes,
    /// Rows inside.
    Nested(Box<Layout>),
}

impl Kind {
    fn of(data_type: &DataType) -> Self {
        let nested = |types: Vec<&DataType>| {
            let mut layout = Layout::new(types, 0);
            layout.columns.iter_mut().for_each(|c| c.has_nulls = true);
            Self::Nested(Box::new(layout))
        };
        match data_type {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Bool,
            DataType::Struct(fields) => nested(fields.iter().map(|f| f.data_type()).collect()),
            DataType::List(item) => nested(vec![item.data_type()]),
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(fields) => nested(fields.iter().map(|f| f.data_type()).collect()),
                other => nested(vec![other]),
            },
            other => other.primitive_width().map_or(Self::Bytes, Self::Fixed),
        }
    }

    /// `None` for values of any length.
    fn width(&self) -> Option<usize> {
        match self {
            Self::Null => Some(0),
            Self::Bool => Some(1),
            Self::Fixed(width) => Some(*width),
            Self::Bytes | Self::Nested(_) => None,
        }
    }
}

impl Layout {
    /// Rows of these types that begin after `header` bytes of the caller's own.
    pub fn new(types: Vec<&DataType>, header: usize) -> Self {
        let mut end = header + types.len().div_ceil(8);
        let mut num_ends = 0;
        let mut columns = Vec::with_capacity(types.len());
        for data_type in types {
            let kind = Kind::of(data_type);
            let at = match kind.width() {
                Some(_) => end,
                None => num_ends,
            };
            end += kind.width().unwrap_or(0);
            num_ends += usize::from(kind.width().is_none());
            columns.push(Place {
                data_type: data_type.clone(),
                kind,
                at,
                has_nulls: false,
            });
        }
        Self {
            columns,
            nulls: header,
            ends: end,
            bytes: end + num_ends * END_BYTES,
        }
    }

    /// The byte and the bit that tell of a column's NULL.
    #[inline]
    pub fn null_bit(&self, column: usize) -> (usize, u8) {
        (self.nulls + column / 8, 1 << (column % 8))
    }

    /// The position of an end.
    #[inline]
    pub fn end_at(&self, end: usize) -> usize {
        self.ends + end * END_BYTES
    }

    /// Where the bytes of a value with an end are.
    #[inline]
    pub fn range(&self, row: &[u8], end: usize) -> Range<usize> {
        let at = self.end_at(end);
        let start = match end {
            0 => self.bytes,
            _ => read_u32(row, at - END_BYTES),
        };
        start..read_u32(row, at)
    }

    /// How long the row is that begins here.
    #[inline]
    pub fn length(&self, row: &[u8]) -> usize {
        if self.bytes == self.ends {
            return self.bytes;
        }
        read_u32(row, self.bytes - END_BYTES)
    }
}

#[inline]
pub(super) fn read_u32(bytes: &[u8], at: usize) -> usize {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_ne_bytes(word) as usize
}
