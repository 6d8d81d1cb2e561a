//! Key columns of any number and type, stored by group and compared by type.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, GenericByteViewArray, StringViewArray,
};
use arrow::buffer::{Buffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::{BinaryViewType, ByteViewType, DataType, StringViewType};
use arrow::row::{RowConverter, Rows, SortField};
use flott_core::Result;

use crate::probe::NO_GROUP;
use crate::words::{array_of, fits_word, words_of};

/// The values of one key column by group.
pub(crate) enum KeyColumn {
    /// Values of at most 64 bits.
    Words(DataType, WordColumn),
    /// Strings and bytes.
    Texts(DataType, TextColumn),
    /// Any other type, encoded.
    Encoded(RowConverter, TextColumn),
}

/// The values of one key column of a batch, ready to be compared with stored ones.
pub(crate) enum KeyValues<'a> {
    Words(Vec<u64>, Option<&'a NullBuffer>),
    Texts(&'a [u128], &'a [Buffer], Option<&'a NullBuffer>),
    Encoded(Rows),
}

#[derive(Default)]
pub(crate) struct WordColumn {
    words: Vec<u64>,
    nulls: Vec<bool>,
}

impl WordColumn {
    #[inline]
    pub fn set(&mut self, group: u32, word: Option<u64>) {
        let at = group as usize;
        if at >= self.words.len() {
            self.words.resize(at + 1, 0);
            self.nulls.resize(at + 1, false);
        }
        self.words[at] = word.unwrap_or(0);
        self.nulls[at] = word.is_none();
    }

    #[inline]
    fn is(&self, group: u32, word: Option<u64>) -> bool {
        let at = group as usize;
        self.nulls[at] == word.is_none() && (word.is_none() || word == Some(self.words[at]))
    }

    pub fn array(&self, groups: &[u32], data_type: &DataType) -> Result<ArrayRef> {
        let values = groups.iter().map(|&g| g as usize);
        let values = values.map(|g| (!self.nulls[g]).then_some(self.words[g]));
        array_of(values, data_type)
    }

    pub fn clear(&mut self) {
        self.words.clear();
        self.nulls.clear();
    }

    pub fn size_bytes(&self) -> usize {
        self.words.capacity() * 8 + self.nulls.capacity()
    }
}

/// Longest text that lies in its view.
const INLINE: u32 = 12;
const NULL_VIEW: u128 = u128::MAX;
/// Arrow's offsets are signed 32-bit numbers.
const MAX_BUFFER: usize = 1 << 30;
const MIN_GARBAGE: usize = 1 << 16;

/// Bytes by group as Arrow's views: short ones whole, long ones with length, first four bytes and
/// (in place of buffer and offset) a place in the arena.
#[derive(Default)]
pub(crate) struct TextColumn {
    views: Vec<u128>,
    arena: Vec<u8>,
    /// Bytes in the arena of removed values.
    garbage: usize,
}

#[inline]
fn view_length(view: u128) -> u32 {
    view as u32
}

/// Length and first four bytes.
#[inline]
fn view_head(view: u128) -> u64 {
    view as u64
}

#[inline]
fn place(view: u128) -> usize {
    (view >> 64) as usize
}

/// The view of bytes; of long ones without their place.
fn view_of(bytes: &[u8]) -> u128 {
    let mut view = [0u8; 16];
    view[..4].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
    let shown = if bytes.len() <= INLINE as usize {
        bytes.len()
    } else {
        4
    };
    view[4..4 + shown].copy_from_slice(&bytes[..shown]);
    u128::from_le_bytes(view)
}

/// The bytes of a long view of a batch.
#[inline]
fn long_bytes(view: u128, buffers: &[Buffer]) -> &[u8] {
    let (buffer, offset) = ((view >> 64) as u32 as usize, (view >> 96) as usize);
    &buffers[buffer][offset..offset + view_length(view) as usize]
}

impl TextColumn {
    #[inline]
    fn is_view(&self, group: u32, view: u128, buffers: &[Buffer]) -> bool {
        let own = self.views[group as usize];
        if own == view && (view_length(view) <= INLINE || view == NULL_VIEW) {
            return true;
        }
        let is_long = view_length(view) > INLINE && own != NULL_VIEW && view != NULL_VIEW;
        is_long && view_head(own) == view_head(view) && self.long(own) == long_bytes(view, buffers)
    }

    #[inline]
    fn is_bytes(&self, group: u32, bytes: &[u8]) -> bool {
        let own = self.views[group as usize];
        let view = view_of(bytes);
        if view_length(view) <= INLINE {
            return own == view;
        }
        own != NULL_VIEW && view_head(own) == view_head(view) && self.long(own) == bytes
    }

    #[inline]
    fn long(&self, view: u128) -> &[u8] {
        &self.arena[place(view)..place(view) + view_length(view) as usize]
    }

    fn set_view(&mut self, group: u32, view: u128, buffers: &[Buffer]) {
        if view == NULL_VIEW || view_length(view) <= INLINE {
            self.put(group, view);
        } else {
            self.set_bytes(group, long_bytes(view, buffers));
        }
    }

    fn set_bytes(&mut self, group: u32, bytes: &[u8]) {
        let mut view = view_of(bytes);
        if view_length(view) > INLINE {
            view = u128::from(view_head(view)) | (self.arena.len() as u128) << 64;
            self.arena.extend_from_slice(bytes);
        }
        self.put(group, view);
    }

    fn put(&mut self, group: u32, view: u128) {
        let at = group as usize;
        if at >= self.views.len() {
            self.views.resize(at + 1, 0);
        }
        self.views[at] = view;
    }

    /// Forgets a value; when most of the arena is of removed values the rest is moved together.
    fn remove(&mut self, group: u32) {
        let view = std::mem::take(&mut self.views[group as usize]);
        if view == NULL_VIEW || view_length(view) <= INLINE {
            return;
        }
        self.garbage += view_length(view) as usize;
        if self.garbage < MIN_GARBAGE || self.garbage * 2 < self.arena.len() {
            return;
        }
        let mut arena = Vec::with_capacity(self.arena.len() - self.garbage);
        for view in &mut self.views {
            if *view != NULL_VIEW && view_length(*view) > INLINE {
                let (start, length) = (place(*view), view_length(*view) as usize);
                *view = u128::from(view_head(*view)) | (arena.len() as u128) << 64;
                arena.extend_from_slice(&self.arena[start..start + length]);
            }
        }
        self.arena = arena;
        self.garbage = 0;
    }

    fn bytes<'a>(&'a self, group: u32, inline: &'a mut [u8; 16]) -> &'a [u8] {
        let view = self.views[group as usize];
        if view_length(view) > INLINE {
            return self.long(view);
        }
        *inline = view.to_le_bytes();
        &inline[4..4 + view_length(view) as usize]
    }

    fn array<T: ByteViewType>(&self, groups: &[u32]) -> Result<GenericByteViewArray<T>> {
        let mut views = Vec::with_capacity(groups.len());
        let (mut buffers, mut buffer) = (Vec::new(), Vec::new());
        let mut has_nulls = false;
        for &group in groups {
            let view = self.views[group as usize];
            if view == NULL_VIEW {
                has_nulls = true;
                views.push(0);
                continue;
            }
            if view_length(view) <= INLINE {
                views.push(view);
                continue;
            }
            let bytes = self.long(view);
            if !buffer.is_empty() && buffer.len() + bytes.len() > MAX_BUFFER {
                buffers.push(Buffer::from_vec(std::mem::take(&mut buffer)));
            }
            let place = buffers.len() as u128 | (buffer.len() as u128) << 32;
            views.push(u128::from(view_head(view)) | place << 64);
            buffer.extend_from_slice(bytes);
        }
        if !buffer.is_empty() {
            buffers.push(Buffer::from_vec(buffer));
        }
        let is_valid = |&g: &u32| self.views[g as usize] != NULL_VIEW;
        let nulls = has_nulls.then(|| NullBuffer::from_iter(groups.iter().map(is_valid)));
        let views = ScalarBuffer::from(views);
        Ok(GenericByteViewArray::try_new(views, buffers, nulls)?)
    }

    fn clear(&mut self) {
        self.views.clear();
        self.arena.clear();
        self.garbage = 0;
    }

    fn size_bytes(&self) -> usize {
        self.views.capacity() * 16 + self.arena.capacity()
    }
}

impl KeyColumn {
    /// # Errors
    /// A type that cannot be a key.
    pub fn new(data_type: &DataType) -> Result<Self> {
        Ok(match data_type {
            t if fits_word(t) => Self::Words(t.clone(), WordColumn::default()),
            DataType::Utf8View | DataType::BinaryView => {
                Self::Texts(data_type.clone(), TextColumn::default())
            }
            other => {
                let fields = vec![SortField::new(other.clone())];
                Self::Encoded(RowConverter::new(fields)?, TextColumn::default())
            }
        })
    }

    /// A batch's values, to be compared with the stored ones.
    pub fn values<'a>(&self, array: &'a ArrayRef) -> Result<KeyValues<'a>> {
        let nulls = array.nulls().filter(|n| n.null_count() > 0);
        Ok(match self {
            Self::Words(..) => {
                let mut words = Vec::with_capacity(array.len());
                words_of(array, &mut words)?;
                KeyValues::Words(words, nulls)
            }
            Self::Texts(DataType::Utf8View, _) => {
                let array: &StringViewArray = array.as_string_view();
                KeyValues::Texts(array.views(), array.data_buffers(), nulls)
            }
            Self::Texts(..) => {
                let array: &BinaryViewArray = array.as_binary_view();
                KeyValues::Texts(array.views(), array.data_buffers(), nulls)
            }
            Self::Encoded(converter, _) => {
                KeyValues::Encoded(converter.convert_columns(std::slice::from_ref(array))?)
            }
        })
    }

    /// Makes [`NO_GROUP`] of each row's group whose value here is another one.
    pub fn keep_equal(&self, values: &KeyValues<'_>, groups: &mut [u32]) {
        match (self, values) {
            (Self::Words(_, own), KeyValues::Words(words, None)) => {
                keep(groups, |group, row| own.is(group, Some(words[row])));
            }
            (Self::Texts(_, own), KeyValues::Texts(views, buffers, None)) => {
                keep(groups, |group, row| own.is_view(group, views[row], buffers));
            }
            _ => keep(groups, |group, row| self.is_equal(group, values, row)),
        }
    }

    /// Whether the group's value is that of the row.
    #[inline]
    pub fn is_equal(&self, group: u32, values: &KeyValues<'_>, row: usize) -> bool {
        match (self, values) {
            (Self::Words(_, own), KeyValues::Words(words, nulls)) => {
                own.is(group, valid(words, nulls, row))
            }
            (Self::Texts(_, own), KeyValues::Texts(views, buffers, nulls)) => {
                let view = valid(views, nulls, row).unwrap_or(NULL_VIEW);
                own.is_view(group, view, buffers)
            }
            (Self::Encoded(_, own), KeyValues::Encoded(rows)) => {
                own.is_bytes(group, rows.row(row).data())
            }
            _ => false,
        }
    }

    /// Makes the row's value that of the group.
    pub fn set(&mut self, group: u32, values: &KeyValues<'_>, row: usize) {
        match (self, values) {
            (Self::Words(_, own), KeyValues::Words(words, nulls)) => {
                own.set(group, valid(words, nulls, row));
            }
            (Self::Texts(_, own), KeyValues::Texts(views, buffers, nulls)) => {
                let view = valid(views, nulls, row).unwrap_or(NULL_VIEW);
                own.set_view(group, view, buffers);
            }
            (Self::Encoded(_, own), KeyValues::Encoded(rows)) => {
                own.set_bytes(group, rows.row(row).data());
            }
            _ => {}
        }
    }

    /// Forgets the group's value.
    pub fn remove(&mut self, group: u32) {
        match self {
            Self::Words(..) => {}
            Self::Texts(_, texts) | Self::Encoded(_, texts) => texts.remove(group),
        }
    }

    pub fn clear(&mut self) {
        match self {
            Self::Words(_, words) => words.clear(),
            Self::Texts(_, texts) | Self::Encoded(_, texts) => texts.clear(),
        }
    }

    /// The values of these groups.
    ///
    /// # Errors
    /// An internal error when a value cannot be decoded.
    pub fn array(&self, groups: &[u32]) -> Result<ArrayRef> {
        Ok(match self {
            Self::Words(data_type, words) => words.array(groups, data_type)?,
            Self::Texts(DataType::Utf8View, texts) => {
                Arc::new(texts.array::<StringViewType>(groups)?)
            }
            Self::Texts(_, texts) => Arc::new(texts.array::<BinaryViewType>(groups)?),
            Self::Encoded(converter, texts) => {
                let parser = converter.parser();
                let mut inline = vec![[0; 16]; groups.len()];
                let rows = groups.iter().zip(&mut inline);
                let rows = rows.map(|(&group, inline)| parser.parse(texts.bytes(group, inline)));
                converter.convert_rows(rows)?.remove(0)
            }
        })
    }

    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Words(_, words) => words.size_bytes(),
            Self::Texts(_, texts) | Self::Encoded(_, texts) => texts.size_bytes(),
        }
    }
}

#[inline]
fn keep(groups: &mut [u32], is_equal: impl Fn(u32, usize) -> bool) {
    for (row, group) in groups.iter_mut().enumerate() {
        if *group != NO_GROUP && !is_equal(*group, row) {
            *group = NO_GROUP;
        }
    }
}

#[inline]
fn valid<T: Copy>(values: &[T], nulls: &Option<&NullBuffer>, row: usize) -> Option<T> {
    match nulls {
        Some(nulls) if nulls.is_null(row) => None,
        _ => Some(values[row]),
    }
}
