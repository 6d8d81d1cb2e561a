//! Columns to rows.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, UInt32Array};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::compute::take;
use arrow::datatypes::DataType;
use flott_core::{Error, Result};

use super::layout::{Kind, Layout, Place};

/// Rows of a batch, ready to be written.
pub struct Values<'a> {
    picks: &'a [u32],
    sources: Vec<Source<'a>>,
}

/// The values of a column.
struct Source<'a> {
    values: SourceValues<'a>,
    nulls: Option<&'a NullBuffer>,
}

enum SourceValues<'a> {
    Null,
    Bool(&'a BooleanArray),
    Fixed(usize, Buffer),
    Views(&'a [u128], &'a [Buffer]),
    /// Rows inside, of the picked rows alone: their bytes, and where those of each row end.
    Encoded(Vec<u8>, Vec<u32>),
}

impl<'a> Source<'a> {
    fn new(place: &Place, array: &'a ArrayRef, picks: &[u32]) -> Result<Self> {
        let views = |views: &'a [u128], buffers: &'a [Buffer]| SourceValues::Views(views, buffers);
        let values = match &place.kind {
            Kind::Null => SourceValues::Null,
            Kind::Bool => SourceValues::Bool(array.as_boolean()),
            Kind::Fixed(width) => {
                let data = array.to_data();
                let bytes = data.buffers()[0].slice(data.offset() * width);
                SourceValues::Fixed(*width, bytes)
            }
            Kind::Bytes => match array.data_type() {
                DataType::Utf8View => {
                    let array = array.as_string_view();
                    views(array.views(), array.data_buffers())
                }
                DataType::BinaryView => {
                    let array = array.as_binary_view();
                    views(array.views(), array.data_buffers())
                }
                other => return Err(Error::internal(format!("rows cannot hold {other}"))),
            },
            Kind::Nested(layout) => {
                let (bytes, ends) = encode(layout, array, picks)?;
                SourceValues::Encoded(bytes, ends)
            }
        };
        let nulls = array.nulls().filter(|n| n.null_count() > 0);
        Ok(Self { values, nulls })
    }

    #[inline]
    fn is_null(&self, row: u32) -> bool {
        self.nulls.is_some_and(|n| n.is_null(row as usize))
    }
}

/// Writes the rows inside the values at `picks`; gives their bytes, and where those of each value
/// end.
fn encode(layout: &Layout, array: &ArrayRef, picks: &[u32]) -> Result<(Vec<u8>, Vec<u32>)> {
    let array = take(array, &UInt32Array::from(picks.to_vec()), None)?;
    let (offsets, columns): (Option<&[i32]>, Vec<ArrayRef>) = match array.data_type() {
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            (Some(list.value_offsets()), vec![list.values().clone()])
        }
        DataType::Map(..) => {
            let map = array.as_map();
            (Some(map.value_offsets()), map.entries().columns().to_vec())
        }
        _ => (None, array.as_struct().columns().to_vec()),
    };
    let items = |row: usize| match offsets {
        Some(_) if array.is_null(row) => 0..0,
        Some(offsets) => offsets[row] as u32..offsets[row + 1] as u32,
        None => row as u32..row as u32 + 1,
    };
    let picks: Vec<u32> = (0..array.len()).flat_map(items).collect();
    let values = Values::new(layout, &columns, &picks)?;
    let mut starts = Vec::with_capacity(picks.len() + 1);
    starts.push(0);
    for length in values.lengths(layout) {
        starts.push(starts[starts.len() - 1] + length);
    }
    let mut bytes = vec![0; starts[picks.len()] as usize];
    values.write(layout, 0..picks.len(), &starts[..picks.len()], &mut bytes);
    let mut num_items = 0;
    let ends = (0..array.len()).map(|row| {
        num_items += items(row).len();
        starts[num_items]
    });
    Ok((bytes, ends.collect()))
}

impl<'a> Values<'a> {
    /// The rows at `picks` of these columns.
    ///
    /// # Errors
    /// An internal error for a type that rows cannot hold.
    pub fn new(layout: &Layout, columns: &'a [ArrayRef], picks: &'a [u32]) -> Result<Self> {
        let sources = layout.columns.iter().zip(columns);
        let sources = sources.map(|(place, column)| Source::new(place, column, picks));
        Ok(Self {
            picks,
            sources: sources.collect::<Result<_>>()?,
        })
    }

    /// Whether a column has a NULL.
    pub fn has_nulls(&self, column: usize) -> bool {
        self.sources[column].nulls.is_some()
    }

    /// How many bytes each row takes.
    pub fn lengths(&self, layout: &Layout) -> Vec<u32> {
        let mut lengths = vec![layout.bytes as u32; self.picks.len()];
        for source in &self.sources {
            match &source.values {
                SourceValues::Views(views, _) => {
                    for (length, &row) in lengths.iter_mut().zip(self.picks) {
                        if !source.is_null(row) {
                            *length += views[row as usize] as u32;
                        }
                    }
                }
                SourceValues::Encoded(_, ends) => {
                    let mut start = 0;
                    for (length, &end) in lengths.iter_mut().zip(ends) {
                        *length += end - start;
                        start = end;
                    }
                }
                _ => {}
            }
        }
        lengths
    }

    /// Writes some of the rows, each from its start on, into `out`, which is all zero there.
    pub fn write(&self, layout: &Layout, rows: Range<usize>, starts: &[u32], out: &mut [u8]) {
        let picks = &self.picks[rows.clone()];
        // Where the next value of any length goes, by row.
        let mut cursors: Vec<usize> = starts.iter().map(|&s| s as usize + layout.bytes).collect();
        for (column, (place, source)) in layout.columns.iter().zip(&self.sources).enumerate() {
            let targets = starts.iter().map(|&s| s as usize);
            match &source.values {
                SourceValues::Null => {}
                SourceValues::Bool(array) => {
                    for (start, &row) in targets.clone().zip(picks) {
                        out[start + place.at] = u8::from(array.value(row as usize));
                    }
                }
                SourceValues::Fixed(width, bytes) => {
                    let targets = targets.clone().map(|s| s + place.at);
                    write_fixed(*width, bytes, picks, targets, out);
                }
                SourceValues::Views(views, buffers) => {
                    for (cursor, &row) in cursors.iter_mut().zip(picks) {
                        if !source.is_null(row) {
                            write_view(views[row as usize], buffers, cursor, out);
                        }
                    }
                }
                SourceValues::Encoded(bytes, ends) => {
                    let mut from = rows.start.checked_sub(1).map_or(0, |r| ends[r] as usize);
                    for (cursor, &to) in cursors.iter_mut().zip(&ends[rows.clone()]) {
                        write_bytes(&bytes[from..to as usize], cursor, out);
                        from = to as usize;
                    }
                }
            }
            if matches!(place.kind, Kind::Bytes | Kind::Nested(_)) {
                let at = layout.end_at(place.at);
                for (start, &cursor) in targets.clone().zip(&cursors) {
                    let end = (cursor - start) as u32;
                    out[start + at..start + at + 4].copy_from_slice(&end.to_le_bytes());
                }
            }
            if source.nulls.is_some() {
                let (at, mark) = layout.null_bit(column);
                for (start, _) in targets.zip(picks).filter(|(_, row)| source.is_null(**row)) {
                    out[start + at] |= mark;
                }
            }
        }
    }
}

fn write_fixed(
    width: usize,
    bytes: &[u8],
    picks: &[u32],
    targets: impl Iterator<Item = usize>,
    out: &mut [u8],
) {
    match width {
        1 => write_words::<1>(bytes, picks, targets, out),
        2 => write_words::<2>(bytes, picks, targets, out),
        4 => write_words::<4>(bytes, picks, targets, out),
        8 => write_words::<8>(bytes, picks, targets, out),
        16 => write_words::<16>(bytes, picks, targets, out),
        width => {
            for (to, &row) in targets.zip(picks) {
                let from = row as usize * width;
                out[to..to + width].copy_from_slice(&bytes[from..from + width]);
            }
        }
    }
}

#[inline]
fn write_words<const WIDTH: usize>(
    bytes: &[u8],
    picks: &[u32],
    targets: impl Iterator<Item = usize>,
    out: &mut [u8],
) {
    for (to, &row) in targets.zip(picks) {
        let from = row as usize * WIDTH;
        out[to..to + WIDTH].copy_from_slice(&bytes[from..from + WIDTH]);
    }
}

#[inline]
fn write_view(view: u128, buffers: &[Buffer], cursor: &mut usize, out: &mut [u8]) {
    let length = view as u32 as usize;
    if length <= super::MAX_INLINE_BYTES {
        return write_bytes(&view.to_le_bytes()[4..4 + length], cursor, out);
    }
    let (buffer, start) = ((view >> 64) as u32 as usize, (view >> 96) as usize);
    write_bytes(&buffers[buffer][start..start + length], cursor, out);
}

#[inline]
fn write_bytes(bytes: &[u8], cursor: &mut usize, out: &mut [u8]) {
    out[*cursor..*cursor + bytes.len()].copy_from_slice(bytes);
    *cursor += bytes.len();
}
