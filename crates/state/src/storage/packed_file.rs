//! State files of packed rows ([`crate::rows`]).
//!
//! ```text
//! magic "FLOTTSTA" · version u32 = 2 · length u32 · the table's columns as an Arrow IPC stream
//! without batches · blocks · length u64 · checksum u64
//! block: number of rows u32 · length of the rows u32 · for each column between the identity and
//!        the rows' own, 0 and the value of all rows, or 1 and the value of each (i64) · rows
//! ```
//!
//! Numbers are little endian; length and checksum at the end are those of every state file
//! ([`super::state_file`]). The slots in the rows' heads mean nothing.

use std::io::Cursor;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryViewArray, Int64Array};
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use bytes::Bytes;
use flott_core::operator::{PackedReader, StateBatch};
use flott_core::{Error, Result};

use super::state_file::{HEAD, MAGIC, corrupt, end, number};
use crate::rows::{FORMAT_VERSION, HEAD_BYTES, Layout, PackedBuilder, PackedRows};

const U32: usize = size_of::<u32>();
const I64: usize = size_of::<i64>();
/// The key group and the id are in the rows' heads.
const NUM_IDENTITY: usize = 2;

/// Writes packed rows of one table into the bytes of a file.
pub(super) struct PackedEncoder {
    schema: SchemaRef,
    bytes: Vec<u8>,
    /// Bytes of the rows.
    pub row_bytes: usize,
    pub num_rows: usize,
}

impl PackedEncoder {
    /// A file of rows of this table, in a buffer whose room is used again.
    ///
    /// # Errors
    /// A defect: columns that cannot be written.
    pub fn new(rows: &PackedRows<'_>, mut buffer: Vec<u8>) -> Result<Self> {
        buffer.clear();
        buffer.extend_from_slice(MAGIC);
        buffer.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        let mut columns = Vec::new();
        StreamWriter::try_new(&mut columns, rows.schema)?.finish()?;
        let num_extra = rows.before.len() - NUM_IDENTITY;
        buffer.extend_from_slice(&length(columns.len())?);
        buffer.extend_from_slice(&length(num_extra)?);
        buffer.extend_from_slice(&columns);
        Ok(Self {
            schema: rows.schema.clone(),
            bytes: buffer,
            row_bytes: 0,
            num_rows: 0,
        })
    }

    /// The table's columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Bytes so far.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a block.
    ///
    /// # Errors
    /// A defect: rows of another form, or more bytes than a block holds.
    pub fn add(&mut self, packed: &PackedRows<'_>) -> Result<()> {
        let lengths = packed.rows.views().iter().map(|&view| view as u32 as usize);
        let num_bytes: usize = lengths.sum();
        self.bytes.extend_from_slice(&length(packed.rows.len())?);
        self.bytes.extend_from_slice(&length(num_bytes)?);
        for values in packed.extra()? {
            let first = values.values().first().copied().unwrap_or(0);
            if values.values().iter().all(|&v| v == first) {
                self.bytes.push(0);
                self.bytes.extend_from_slice(&first.to_le_bytes());
                continue;
            }
            self.bytes.push(1);
            let values = values.values().iter().flat_map(|v| v.to_le_bytes());
            self.bytes.extend(values);
        }
        copy_rows(packed.rows, &mut self.bytes);
        self.row_bytes += num_bytes;
        self.num_rows += packed.rows.len();
        Ok(())
    }

    /// The file's bytes.
    pub fn finish(self) -> Bytes {
        end(self.bytes)
    }
}

/// Copies the rows; those that lie one after the other in one piece.
fn copy_rows(rows: &BinaryViewArray, out: &mut Vec<u8>) {
    let buffers = rows.data_buffers();
    let (mut buffer, mut run) = (0, 0..0);
    for (row, &view) in rows.views().iter().enumerate() {
        let length = view as u32 as usize;
        if length <= HEAD_BYTES {
            // It lies in the view itself.
            out.extend_from_slice(slice_of(buffers, buffer, &run));
            run = 0..0;
            out.extend_from_slice(rows.value(row));
            continue;
        }
        let (number, start) = ((view >> 64) as u32 as usize, (view >> 96) as usize);
        if number != buffer || start != run.end {
            out.extend_from_slice(slice_of(buffers, buffer, &run));
            (buffer, run) = (number, start..start);
        }
        run.end = start + length;
    }
    out.extend_from_slice(slice_of(buffers, buffer, &run));
}

fn slice_of<'a>(buffers: &'a [Buffer], buffer: usize, range: &Range<usize>) -> &'a [u8] {
    match range.is_empty() {
        true => &[],
        false => &buffers[buffer][range.clone()],
    }
}

fn length(number: usize) -> Result<[u8; U32]> {
    let number = u32::try_from(number);
    let number = number.map_err(|_| Error::internal("state rows of more than 4 GiB in a block"))?;
    Ok(number.to_le_bytes())
}

/// Goes through the bytes of a file.
struct ByteReader {
    name: String,
    /// Without the end, which has been verified.
    bytes: Bytes,
    at: usize,
}

impl ByteReader {
    fn take(&mut self, length: usize) -> Result<Range<usize>> {
        let end = self.at.checked_add(length);
        let Some(end) = end.filter(|&end| end <= self.bytes.len()) else {
            return Err(corrupt(&self.name, "its rows end too early"));
        };
        let range = self.at..end;
        self.at = end;
        Ok(range)
    }

    fn number(&mut self, length: usize) -> Result<u64> {
        let range = self.take(length)?;
        Ok(number(&self.bytes[range]))
    }
}

/// Reads the blocks of a file.
struct Blocks {
    file: ByteReader,
    schema: SchemaRef,
    num_extra: usize,
    layout: Layout,
}

/// The rows of a file whose end has been verified; `data` is what lies before it.
///
/// # Errors
/// An external error that says what is wrong with the file.
pub(super) fn decode(name: &str, data: Bytes) -> Result<PackedReader<'static>> {
    let mut file = ByteReader {
        name: name.to_owned(),
        bytes: data,
        at: HEAD,
    };
    let length = file.number(U32)? as usize;
    let num_extra = file.number(U32)? as usize;
    let columns = file.take(length)?;
    let reader = StreamReader::try_new(Cursor::new(&file.bytes[columns]), None);
    let reader = reader.map_err(|e| corrupt(name, &format!("its columns cannot be read ({e})")))?;
    let schema = reader.schema();
    if NUM_IDENTITY + num_extra > schema.fields().len() {
        return Err(corrupt(name, "it has fewer columns than it says"));
    }
    Ok(Box::new(Blocks {
        layout: crate::rows::row_layout(&schema, NUM_IDENTITY + num_extra),
        file,
        schema,
        num_extra,
    }))
}

impl Blocks {
    fn block(&mut self) -> Result<StateBatch> {
        let num_rows = self.file.number(U32)? as usize;
        let num_bytes = self.file.number(U32)? as usize;
        let mut extra = Vec::with_capacity(self.num_extra);
        for _ in 0..self.num_extra {
            extra.push(self.values(num_rows)?);
        }
        let bytes = self.file.take(num_bytes)?;
        let bytes = self.file.bytes.slice(bytes);
        let damaged = || corrupt(&self.file.name, "a row is none");
        let mut rows = PackedBuilder::with_capacity(num_rows.min(num_bytes / HEAD_BYTES));
        let mut at = 0;
        for _ in 0..num_rows {
            let left = bytes.get(at..).ok_or_else(damaged)?;
            let length = self.layout.checked_length(left).ok_or_else(damaged)?;
            rows.push(&left[..length], 0, at as u32);
            at += length;
        }
        if at != bytes.len() {
            return Err(damaged());
        }
        rows.finish(&self.schema, extra, vec![Buffer::from(bytes)])
    }

    /// A column between the identity and the rows' own.
    fn values(&mut self, num_rows: usize) -> Result<ArrayRef> {
        let kind = self.file.number(1)?;
        if kind == 0 {
            let value = self.file.number(I64)? as i64;
            // A corrupt number of rows does not get memory.
            let num_rows = num_rows.min(self.file.bytes.len());
            return Ok(Arc::new(Int64Array::from_value(value, num_rows)));
        }
        let range = self.file.take(num_rows.saturating_mul(I64))?;
        let values = self.file.bytes[range].chunks_exact(I64);
        Ok(Arc::new(Int64Array::from_iter_values(
            values.map(|v| number(v) as i64),
        )))
    }
}

impl Iterator for Blocks {
    type Item = Result<StateBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.file.at >= self.file.bytes.len() {
            return None;
        }
        let block = self.block();
        if block.is_err() {
            self.file.at = self.file.bytes.len();
        }
        Some(block)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, StringViewArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use arrow::record_batch::RecordBatch;

    use super::super::state_file;
    use super::*;
    use crate::rows::write::Values;
    use crate::rows::{identity, unpack, write_head};

    /// Packed rows of a number and a text, every other one of what was written.
    fn packed(first: i64, num_rows: usize) -> StateBatch {
        let number = |name: &str| Field::new(name, DataType::Int64, true);
        let fields = vec![
            Field::new("key_group", DataType::UInt16, true),
            number("row_id"),
            number("same"),
            number("each"),
            number("n"),
            Field::new("t", DataType::Utf8View, true),
        ];
        let schema = Arc::new(Schema::new(fields));
        let layout = crate::rows::row_layout(&schema, 4);
        let numbers = (first..).take(2 * num_rows);
        let texts = numbers
            .clone()
            .map(|n| (n % 3 != 0).then(|| format!("the text of {n}")));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(numbers)),
            Arc::new(texts.collect::<StringViewArray>()),
        ];
        let picks: Vec<u32> = (0..2 * num_rows as u32).collect();
        let values = Values::new(&layout, &columns, &picks).unwrap();
        let (mut starts, mut end) = (Vec::new(), 0);
        for length in values.lengths(&layout) {
            starts.push(end);
            end += length;
        }
        let mut bytes = vec![0; end as usize];
        values.write(&layout, 0..2 * num_rows, &starts, &mut bytes);
        let mut rows = PackedBuilder::with_capacity(num_rows);
        for (row, &start) in starts.iter().enumerate() {
            let row_bytes = &mut bytes[start as usize..];
            write_head(row_bytes, 77, identity::of(row as u16 % 5, row as u64));
            if row % 2 == 0 {
                let length = layout.checked_length(row_bytes).unwrap();
                rows.push(&row_bytes[..length], 0, start);
            }
        }
        let each = Int64Array::from_iter_values((0..num_rows as i64).map(|n| n * n));
        let same = Int64Array::from_value(-1, num_rows);
        let extra: Vec<ArrayRef> = vec![Arc::new(same), Arc::new(each)];
        rows.finish(&schema, extra, vec![bytes.into()]).unwrap()
    }

    fn file(batches: &[StateBatch]) -> Bytes {
        let first = PackedRows::of(&batches[0]).unwrap().unwrap();
        let mut encoder = PackedEncoder::new(&first, Vec::new()).unwrap();
        for batch in batches {
            encoder
                .add(&PackedRows::of(batch).unwrap().unwrap())
                .unwrap();
        }
        encoder.finish()
    }

    fn read(bytes: &Bytes) -> Result<Vec<RecordBatch>> {
        state_file::decode_packed("f", bytes)?
            .map(|b| unpack(b?))
            .collect()
    }

    #[test]
    fn rows_come_back() {
        let batches = [packed(0, 100), packed(7, 1), packed(1_000, 20)];
        let expected = batches.clone().map(|b| unpack(b).unwrap());
        let texts = expected[2].column(5).as_string_view();
        assert_eq!(texts.value(2), "the text of 1004");
        assert_eq!(read(&file(&batches)).unwrap(), expected);
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let bytes = file(&[packed(0, 2)]);
        for length in 0..bytes.len() {
            let error = read(&bytes.slice(..length)).unwrap_err();
            assert_eq!(error.code(), "STATE_CORRUPT", "cut at {length}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let error = read(&damaged.into()).unwrap_err();
            assert_eq!(error.code(), "STATE_CORRUPT", "bit {bit}");
        }
    }

    /// Whoever makes a checksum can write what he wants: it must not be read beyond its bytes. What
    /// is said of the columns is up to Arrow, as in files of columns.
    #[test]
    fn wrong_bytes_with_a_right_checksum_are_an_error_or_rows() {
        let bytes = file(&[packed(0, 3)]);
        let data = bytes.len() - 16;
        let columns = number(&bytes[HEAD..HEAD + U32]) as usize;
        for at in HEAD + 2 * U32 + columns..data {
            for value in [0, 1, 0x80, 0xff] {
                let mut wrong = bytes[..data].to_vec();
                wrong[at] = value;
                let _ = read(&end(wrong));
            }
        }
    }
}
