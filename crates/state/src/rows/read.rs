//! Rows to columns.

use std::sync::Arc;

use arrow::array::{
    ArrayData, ArrayRef, BinaryViewArray, BooleanArray, BooleanBufferBuilder, ListArray, MapArray,
    NullArray, StringViewArray, StructArray, make_array,
};
use arrow::buffer::{Buffer, MutableBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, FieldRef, Fields};
use flott_core::{Error, Result};

use super::MAX_INLINE_BYTES;
use super::layout::{Kind, Layout, Place};

/// So many rows are read column by column before the next ones: they stay in the cache meanwhile.
const CHUNK_ROWS: usize = 1_024;
/// Strings are collected in buffers of about this size.
const BUFFER_BYTES: usize = 1 << 26;

/// These columns of rows, each given from its first byte on.
///
/// # Errors
/// A defect: columns that Arrow does not take.
pub fn read_columns<'a>(
    layout: &'a Layout,
    columns: &[usize],
    num_rows: usize,
    row: impl Fn(usize) -> &'a [u8],
) -> Result<Vec<ArrayRef>> {
    let readers = columns.iter().map(|&c| Reader::new(layout, c, num_rows));
    let mut readers: Vec<Reader<'_>> = readers.collect();
    let mut rows = Vec::with_capacity(num_rows.min(CHUNK_ROWS));
    for start in (0..num_rows).step_by(CHUNK_ROWS) {
        rows.clear();
        rows.extend((start..num_rows.min(start + CHUNK_ROWS)).map(&row));
        readers.iter_mut().for_each(|r| r.append(start, &rows));
    }
    readers.into_iter().map(Reader::finish).collect()
}

/// Collects the values of a column.
struct Reader<'a> {
    layout: &'a Layout,
    column: usize,
    place: &'a Place,
    num_rows: usize,
    valid: Option<BooleanBufferBuilder>,
    values: Collected<'a>,
}

enum Collected<'a> {
    Nothing,
    Bools(BooleanBufferBuilder),
    Fixed(usize, MutableBuffer),
    Bytes(Texts),
    Nested(Nested<'a>),
}

#[derive(Default)]
struct Texts {
    views: Vec<u128>,
    buffers: Vec<Buffer>,
    bytes: Vec<u8>,
}

/// The rows inside the values, and their number up to each value's end.
struct Nested<'a> {
    layout: &'a Layout,
    rows: Vec<&'a [u8]>,
    offsets: Vec<i32>,
}

impl<'a> Reader<'a> {
    fn new(layout: &'a Layout, column: usize, num_rows: usize) -> Self {
        let place = &layout.columns[column];
        let values = match &place.kind {
            Kind::Null => Collected::Nothing,
            Kind::Bool => Collected::Bools(BooleanBufferBuilder::new(num_rows)),
            Kind::Fixed(width) => {
                Collected::Fixed(*width, MutableBuffer::from_len_zeroed(num_rows * width))
            }
            Kind::Bytes => Collected::Bytes(Texts {
                views: Vec::with_capacity(num_rows),
                ..Texts::default()
            }),
            Kind::Nested(layout) => Collected::Nested(Nested {
                layout,
                rows: Vec::new(),
                offsets: vec![0],
            }),
        };
        Self {
            layout,
            column,
            place,
            num_rows,
            valid: place.has_nulls.then(|| BooleanBufferBuilder::new(num_rows)),
            values,
        }
    }

    /// Appends the values of these rows, the first of which is number `start` of all.
    fn append(&mut self, start: usize, rows: &[&'a [u8]]) {
        let (layout, at) = (self.layout, self.place.at);
        if let Some(valid) = &mut self.valid {
            let (null_at, mark) = layout.null_bit(self.column);
            rows.iter()
                .for_each(|row| valid.append(row[null_at] & mark == 0));
        }
        match &mut self.values {
            Collected::Nothing => {}
            Collected::Bools(bools) => rows.iter().for_each(|row| bools.append(row[at] != 0)),
            Collected::Fixed(width, values) => {
                let values = &mut values.as_slice_mut()[start * *width..];
                read_fixed(*width, at, rows, values);
            }
            Collected::Bytes(texts) => texts.append(layout, at, rows),
            Collected::Nested(nested) => {
                let is_one = matches!(self.place.data_type, DataType::Struct(_));
                let values = rows.iter().map(|row| &row[layout.range(row, at)]);
                values.for_each(|value| nested.append(value, is_one));
            }
        }
    }

    fn finish(self) -> Result<ArrayRef> {
        let valid = self.valid.map(|mut v| NullBuffer::new(v.finish()));
        let nulls = valid.filter(|n| n.null_count() > 0);
        let data_type = &self.place.data_type;
        Ok(match self.values {
            Collected::Nothing => Arc::new(NullArray::new(self.num_rows)),
            Collected::Bools(mut bools) => Arc::new(BooleanArray::new(bools.finish(), nulls)),
            Collected::Fixed(_, values) => {
                let data = ArrayData::builder(data_type.clone()).len(self.num_rows);
                make_array(data.add_buffer(values.into()).nulls(nulls).build()?)
            }
            Collected::Bytes(texts) => texts.finish(data_type, nulls)?,
            Collected::Nested(nested) => nested.finish(data_type, nulls)?,
        })
    }
}

fn read_fixed(width: usize, at: usize, rows: &[&[u8]], values: &mut [u8]) {
    match width {
        1 => read_words::<1>(at, rows, values),
        2 => read_words::<2>(at, rows, values),
        4 => read_words::<4>(at, rows, values),
        8 => read_words::<8>(at, rows, values),
        16 => read_words::<16>(at, rows, values),
        width => {
            for (value, row) in values.chunks_exact_mut(width).zip(rows) {
                value.copy_from_slice(&row[at..at + width]);
            }
        }
    }
}

#[inline]
fn read_words<const WIDTH: usize>(at: usize, rows: &[&[u8]], values: &mut [u8]) {
    for (value, row) in values.chunks_exact_mut(WIDTH).zip(rows) {
        value.copy_from_slice(&row[at..at + WIDTH]);
    }
}

impl Texts {
    fn append(&mut self, layout: &Layout, at: usize, rows: &[&[u8]]) {
        for row in rows {
            let range = layout.range(row, at);
            let length = range.len();
            if length <= MAX_INLINE_BYTES {
                self.views.push(inline_view(row, range.start, length));
                continue;
            }
            if self.bytes.len() + length > BUFFER_BYTES {
                self.close_buffer();
            }
            let text = &row[range];
            let prefix = u32::from_le_bytes([text[0], text[1], text[2], text[3]]);
            let view = length as u128
                | u128::from(prefix) << 32
                | (self.buffers.len() as u128) << 64
                | (self.bytes.len() as u128) << 96;
            self.views.push(view);
            self.bytes.extend_from_slice(text);
        }
    }

    fn close_buffer(&mut self) {
        if !self.bytes.is_empty() {
            self.buffers.push(std::mem::take(&mut self.bytes).into());
        }
    }

    fn finish(mut self, data_type: &DataType, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        self.close_buffer();
        let views = ScalarBuffer::from(self.views);
        if data_type == &DataType::BinaryView {
            let array = BinaryViewArray::try_new(views, self.buffers, nulls)?;
            return Ok(Arc::new(array));
        }
        // SAFETY: each view was made above, inline or into the buffer that it names, and each text
        // was written as a whole from a string array, or checked when its file was read
        // (`Layout::checked_length`), so that it is UTF-8. Checking every string that a join or a
        // top-n gives again would cost more than reading it.
        let array = unsafe { StringViewArray::new_unchecked(views, self.buffers, nulls) };
        Ok(Arc::new(array))
    }
}

/// The view of a text that fits into it.
#[inline]
fn inline_view(row: &[u8], start: usize, length: usize) -> u128 {
    let mut bytes = [0; 16];
    match row.get(start..start + MAX_INLINE_BYTES) {
        // The usual case copies a fixed number of bytes and cuts off what belongs to others.
        Some(text) => bytes[4..].copy_from_slice(text),
        None => bytes[4..4 + length].copy_from_slice(&row[start..start + length]),
    }
    let mask = u128::MAX >> (8 * (MAX_INLINE_BYTES - length));
    (u128::from_le_bytes(bytes) & mask) | length as u128
}

impl<'a> Nested<'a> {
    fn append(&mut self, value: &'a [u8], is_one: bool) {
        let mut at = 0;
        if is_one {
            self.rows.push(value);
            at = value.len();
        }
        while at < value.len() {
            self.rows.push(&value[at..]);
            at += self.layout.length(&value[at..]);
        }
        self.offsets.push(self.rows.len() as i32);
    }

    fn finish(self, data_type: &DataType, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        let columns: Vec<usize> = (0..self.layout.columns.len()).collect();
        let num_rows = self.rows.len();
        let columns = read_columns(self.layout, &columns, num_rows, |i| self.rows[i])?;
        let offsets = || OffsetBuffer::new(self.offsets.clone().into());
        Ok(match data_type {
            DataType::Struct(fields) => Arc::new(rows_of(fields, columns, nulls, num_rows)?),
            DataType::List(item) => {
                let values = columns.into_iter().next();
                let values = values.ok_or_else(|| Error::internal("an array without items"))?;
                Arc::new(ListArray::try_new(item.clone(), offsets(), values, nulls)?)
            }
            DataType::Map(field, is_ordered) => {
                let entries = rows_of(entries_of(field)?, columns, None, num_rows)?;
                let field = field.clone();
                Arc::new(MapArray::try_new(
                    field,
                    offsets(),
                    entries,
                    nulls,
                    *is_ordered,
                )?)
            }
            other => return Err(Error::internal(format!("rows cannot hold {other}"))),
        })
    }
}

fn rows_of(
    fields: &Fields,
    columns: Vec<ArrayRef>,
    nulls: Option<NullBuffer>,
    num_rows: usize,
) -> Result<StructArray> {
    let fields = fields.clone();
    Ok(StructArray::try_new_with_length(
        fields, columns, nulls, num_rows,
    )?)
}

fn entries_of(field: &FieldRef) -> Result<&Fields> {
    match field.data_type() {
        DataType::Struct(fields) => Ok(fields),
        other => Err(Error::internal(format!("map entries of {other}"))),
    }
}
