//! How a row lies in memory and in state files: its values one after the other, in few bytes.
//!
//! `[head][nulls: a bit a column][values of fixed width][ends: u32 for each value of any length][bytes]`
//!
//! Ends count from the row's first byte. A value that holds rows itself (ROW, ARRAY, MAP) is rows of
//! a layout of its own, without a head. Nothing is aligned; numbers are little endian. What is said
//! here is a format of state: [`super::FORMAT_VERSION`] goes up when it changes.

use std::ops::Range;

use arrow::datatypes::DataType;

/// The width of an end.
const END_BYTES: usize = 4;

/// Where the values of rows of certain types are.
#[derive(Debug, Clone)]
pub struct Layout {
    /// In the order of the schema.
    pub columns: Vec<Place>,
    /// The position of the nulls.
    nulls: usize,
    /// The position of the first end.
    ends: usize,
    /// The position of the first byte behind the ends.
    pub bytes: usize,
}

/// Where a column's value is.
#[derive(Debug, Clone)]
pub struct Place {
    pub data_type: DataType,
    /// How the value lies there.
    pub kind: Kind,
    /// Of a value of fixed width its position in the row, of others the number of its end.
    pub at: usize,
    /// Whether a NULL was ever written.
    pub has_nulls: bool,
}

/// How a value lies in a row.
#[derive(Debug, Clone)]
pub enum Kind {
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

impl Layout {
    /// How long the row is that these bytes begin with; `None` when they are no row of this layout,
    /// so that reading it would go beyond its bytes or give a string that is none. For bytes of a
    /// file: whoever has written a row knows.
    pub fn checked_length(&self, bytes: &[u8]) -> Option<usize> {
        if bytes.len() < self.bytes {
            return None;
        }
        if self.bytes == self.ends {
            return Some(self.bytes);
        }
        let mut start = self.bytes;
        for place in &self.columns {
            if place.kind.width().is_some() {
                continue;
            }
            let end = read_u32(bytes, self.end_at(place.at));
            let value = bytes.get(start..end)?;
            match &place.kind {
                Kind::Nested(layout) => {
                    let is_one = matches!(place.data_type, DataType::Struct(_));
                    layout.check_rows(value, is_one)?;
                }
                _ if matches!(place.data_type, DataType::BinaryView) => {}
                _ => {
                    std::str::from_utf8(value).ok()?;
                }
            }
            start = end;
        }
        Some(start)
    }

    /// Whether these are whole rows, exactly one if `is_one`.
    fn check_rows(&self, mut bytes: &[u8], is_one: bool) -> Option<()> {
        if is_one {
            return (self.checked_length(bytes)? == bytes.len()).then_some(());
        }
        while !bytes.is_empty() {
            let length = self.checked_length(bytes)?;
            // Rows without bytes would never end.
            bytes = bytes.get(length.max(1)..)?;
        }
        Some(())
    }
}

/// The number at a position of at least four bytes.
#[inline]
pub fn read_u32(bytes: &[u8], at: usize) -> usize {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word) as usize
}
