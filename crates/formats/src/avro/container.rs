//! Avro's object container files: a header with the writer's schema, then blocks of records, each
//! followed by the file's own marker, by which the blocks are found from any place on.

use std::sync::Arc;

use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use flott_core::changelog::ChangelogBatch;
use flott_core::format::{DecodeRequest, FileInput, FileReader, FileScan};
use flott_core::hash::StableBuildHasher;
use flott_core::{Error, Result};

use super::codec::{Codec, MAX_BLOCK_BYTES};
use super::program::Program;
use super::read::{Cursor, Fault};
use super::schema::{Avro, parse_schema};
use super::write::{write_bytes, write_long};
use crate::column::{ColumnBuilder, flush_columns};
use crate::json::requested_columns;

const MAGIC: &[u8] = b"Obj\x01";
const MARKER_BYTES: usize = 16;
type Marker = [u8; MARKER_BYTES];
/// Records gather to blocks of about this many bytes, Avro's own default.
const BLOCK_BYTES: usize = 64_000;
/// So much of a file is read at once.
const WINDOW_BYTES: usize = 1 << 20;
/// A header with the schema in it cannot be larger than this.
const MAX_HEADER_BYTES: usize = 16 << 20;

fn malformed(what: impl std::fmt::Display) -> Error {
    Error::user(
        "MALFORMED_FILE",
        format!("not an Avro file, or a damaged one: {what}"),
    )
}

/// What stands at the head of a file.
struct Header {
    schema: Avro,
    codec: Codec,
    marker: Marker,
    size_bytes: usize,
}

impl Header {
    fn read(window: &mut Window) -> Result<Self> {
        let mut length = WINDOW_BYTES;
        loop {
            let available = window.input.size_bytes().min(length as u64) as usize;
            let bytes = window.bytes(0, available)?;
            if !bytes.starts_with(MAGIC) {
                return Err(malformed("it does not begin with 'Obj' and 1"));
            }
            match Self::parse(&bytes) {
                Some(header) => return header,
                None if available < length || length >= MAX_HEADER_BYTES => {
                    return Err(malformed("its header is cut off"));
                }
                None => length *= 4,
            }
        }
    }

    /// `None` when the bytes end within the header.
    fn parse(bytes: &[u8]) -> Option<Result<Self>> {
        let mut cursor = Cursor::new(bytes, None);
        cursor.at = MAGIC.len();
        let (mut schema, mut codec) = (None, "null".to_string());
        loop {
            let mut count = cursor.long().ok()?;
            if count == 0 {
                break;
            }
            if count < 0 {
                cursor.long().ok()?;
                count = count.saturating_neg();
            }
            for _ in 0..count {
                let key = cursor.bytes().ok()?;
                let value = String::from_utf8_lossy(cursor.bytes().ok()?).into_owned();
                match key {
                    b"avro.schema" => schema = Some(value),
                    b"avro.codec" => codec = value,
                    _ => {}
                }
            }
        }
        let marker = Marker::try_from(cursor.take(MARKER_BYTES).ok()?).ok()?;
        Some(Self::of(schema, &codec, marker, cursor.at))
    }

    fn of(schema: Option<String>, codec: &str, marker: Marker, size_bytes: usize) -> Result<Self> {
        let schema = schema.ok_or_else(|| malformed("its header has no schema"))?;
        Ok(Self {
            schema: parse_schema(&schema)?,
            codec: Codec::from_name(codec)?,
            marker,
            size_bytes,
        })
    }
}

/// A file, read a good piece at a time.
struct Window {
    input: Arc<dyn FileInput>,
    bytes: Buffer,
    offset: u64,
}

impl Window {
    /// The bytes of the file at `offset`, read together with what follows.
    fn bytes(&mut self, offset: u64, length: usize) -> Result<Buffer> {
        let within = |w: &Self| {
            let from = usize::try_from(offset.checked_sub(w.offset)?).ok()?;
            let end = from.checked_add(length)?;
            (end <= w.bytes.len()).then(|| w.bytes.slice_with_length(from, length))
        };
        if let Some(bytes) = within(self) {
            return Ok(bytes);
        }
        let left = self.input.size_bytes().saturating_sub(offset);
        if (length as u64) > left {
            return Err(malformed(format!(
                "it ends within the block at byte {offset}"
            )));
        }
        let size = left.min(length.max(WINDOW_BYTES) as u64) as usize;
        self.bytes = self.input.read_range(offset, size)?;
        self.offset = offset;
        Ok(self.bytes.slice_with_length(0, length))
    }

    /// What there is at `offset`, up to `length` bytes.
    fn up_to(&mut self, offset: u64, length: usize) -> Result<Buffer> {
        let left = self.input.size_bytes().saturating_sub(offset);
        self.bytes(offset, left.min(length as u64) as usize)
    }
}

/// A block in hand.
struct Block {
    bytes: Buffer,
    at: usize,
    num_left: u64,
}

/// Reads the blocks of a piece of a file.
pub(super) struct ContainerReader {
    window: Window,
    header: Header,
    program: Program,
    columns: Vec<ColumnBuilder>,
    schema: SchemaRef,
    batch_size: usize,
    end: u64,
    /// Where the next block begins.
    next_block: u64,
    block: Option<Block>,
    /// Records of the piece read so far: the position.
    num_read: u64,
}

impl ContainerReader {
    pub fn new(request: &DecodeRequest, scan: FileScan) -> Result<Self> {
        let mut window = Window {
            input: scan.input,
            bytes: Buffer::from_vec(Vec::<u8>::new()),
            offset: 0,
        };
        let header = Header::read(&mut window)?;
        let (columns, schema) = requested_columns(request)?;
        let mut reader = Self {
            program: Program::compile(&header.schema, request)?,
            columns,
            schema,
            batch_size: request.batch_size.max(1),
            end: scan.end,
            next_block: header.size_bytes as u64,
            block: None,
            num_read: 0,
            window,
            header,
        };
        if scan.start > 0 {
            reader.find_block(scan.start)?;
        }
        reader.go_to(scan.position.unwrap_or(0))?;
        Ok(reader)
    }

    /// Goes to the first block whose preceding marker begins at or behind `start`.
    fn find_block(&mut self, start: u64) -> Result<()> {
        let first = (self.header.size_bytes - MARKER_BYTES) as u64;
        let mut at = start.max(first);
        loop {
            let piece = self.window.up_to(at, WINDOW_BYTES)?;
            if let Some(place) = memchr::memmem::find(&piece, &self.header.marker) {
                self.next_block = at + (place + MARKER_BYTES) as u64;
                return Ok(());
            }
            if piece.len() < WINDOW_BYTES {
                self.next_block = self.window.input.size_bytes();
                return Ok(());
            }
            at += (piece.len() - MARKER_BYTES + 1) as u64;
        }
    }

    /// Steps over the first `num_records` of the piece.
    fn go_to(&mut self, num_records: u64) -> Result<()> {
        while self.num_read < num_records {
            if !self.open_block(num_records - self.num_read)? {
                return Ok(());
            }
            let left = num_records - self.num_read;
            let in_block = self.block.as_ref().map_or(0, |b| b.num_left.min(left));
            for _ in 0..in_block {
                self.read_record()?;
                self.columns.iter_mut().for_each(|c| c.truncate(0));
            }
            self.num_read += in_block;
        }
        Ok(())
    }

    /// Opens the next block; those with fewer than `num_skipped` records are stepped over whole.
    fn open_block(&mut self, num_skipped: u64) -> Result<bool> {
        let mut to_skip = num_skipped;
        loop {
            let marker_at = self.next_block - MARKER_BYTES as u64;
            if self.next_block >= self.window.input.size_bytes() || marker_at >= self.end {
                return Ok(false);
            }
            let head = self.window.up_to(self.next_block, 20)?;
            let mut cursor = Cursor::new(&head, None);
            let numbers = cursor.long().and_then(|count| Ok((count, cursor.long()?)));
            let (count, size) = numbers.map_err(|_| malformed("a block has no length"))?;
            let sized = usize::try_from(size).ok().filter(|s| *s <= MAX_BLOCK_BYTES);
            let (Ok(count), Some(size)) = (u64::try_from(count), sized) else {
                let at = self.next_block;
                return Err(malformed(format!(
                    "the block at byte {at} has {count} records in {size} bytes"
                )));
            };
            let start = self.next_block + cursor.at as u64;
            let whole = self.window.bytes(start, size + MARKER_BYTES)?;
            if whole[size..] != self.header.marker {
                let at = self.next_block;
                return Err(malformed(format!(
                    "the block at byte {at} does not end with the marker"
                )));
            }
            self.next_block = start + (size + MARKER_BYTES) as u64;
            if count == 0 {
                continue;
            }
            if count <= to_skip {
                to_skip -= count;
                self.num_read += count;
                if to_skip == 0 {
                    self.block = None;
                    return Ok(true);
                }
                continue;
            }
            self.block = Some(Block {
                bytes: self
                    .header
                    .codec
                    .decompress(whole.slice_with_length(0, size))?,
                at: 0,
                num_left: count,
            });
            self.columns.iter_mut().for_each(ColumnBuilder::begin_block);
            return Ok(true);
        }
    }

    fn read_record(&mut self) -> Result<bool> {
        let Some(block) = &mut self.block else {
            return Ok(false);
        };
        let mut cursor = Cursor::new(&block.bytes, Some(&block.bytes));
        cursor.at = block.at;
        let is_row = self.program.row(&mut cursor, &mut self.columns);
        let is_row = is_row
            .map_err(|fault| fault_error(*fault, &format!("record {}", self.num_read + 1)))?;
        block.at = cursor.at;
        block.num_left -= 1;
        if block.num_left == 0 {
            self.block = None;
        }
        Ok(is_row)
    }
}

/// The error to report for a fault; `place` says where.
pub(super) fn fault_error(fault: Fault, place: &str) -> Error {
    match fault {
        Fault::Malformed(expected) => Error::user(
            "MALFORMED_RECORD",
            format!("{place}: the bytes do not fit the Avro schema, expected {expected}"),
        ),
        Fault::Value(what) => Error::user("MALFORMED_RECORD", format!("{place}: {what}")),
        Fault::Other(error) => error,
    }
}

impl FileReader for ContainerReader {
    fn next_batch(&mut self) -> Result<Option<ChangelogBatch>> {
        let mut num_rows = 0;
        while num_rows < self.batch_size {
            if self.block.is_none() && !self.open_block(0)? {
                break;
            }
            num_rows += usize::from(self.read_record()?);
            self.num_read += 1;
        }
        let rows = flush_columns(&mut self.columns, &self.schema, &mut num_rows)?;
        if rows.is_some() {
            // The strings of the next batch may stand in the same block.
            self.columns.iter_mut().for_each(ColumnBuilder::begin_block);
        }
        Ok(rows)
    }

    fn position(&self) -> u64 {
        self.num_read
    }
}

/// Gathers records to blocks of a file.
pub(super) struct ContainerWriter {
    schema: String,
    codec: Codec,
    /// Written with the first block.
    marker: Option<Marker>,
    block: Vec<u8>,
    num_records: i64,
}

impl ContainerWriter {
    pub fn new(schema: String, codec: Codec) -> Self {
        Self {
            schema,
            codec,
            marker: None,
            block: Vec::with_capacity(BLOCK_BYTES * 2),
            num_records: 0,
        }
    }

    /// Adds the record that `write` appends; full blocks go to `out`.
    pub fn record(&mut self, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        write(&mut self.block);
        self.num_records += 1;
        match self.block.len() >= BLOCK_BYTES {
            true => self.end_block(out),
            false => Ok(()),
        }
    }

    fn begin(&mut self, out: &mut Vec<u8>) -> Marker {
        if let Some(marker) = self.marker {
            return marker;
        }
        // Unlikely to stand anywhere else in the file, and the same in every run.
        let hasher = StableBuildHasher::default();
        let part = |salt: u64| {
            use std::hash::BuildHasher;
            hasher
                .hash_one((salt, &self.schema, &self.block))
                .to_le_bytes()
        };
        let mut marker = Marker::default();
        marker[..8].copy_from_slice(&part(1));
        marker[8..].copy_from_slice(&part(2));
        out.extend_from_slice(MAGIC);
        write_long(2, out);
        write_bytes(b"avro.codec", out);
        write_bytes(self.codec.name().as_bytes(), out);
        write_bytes(b"avro.schema", out);
        write_bytes(self.schema.as_bytes(), out);
        out.push(0);
        out.extend_from_slice(&marker);
        self.marker = Some(marker);
        marker
    }

    /// Writes what has gathered, and the header if nothing has been written.
    pub fn end_block(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let marker = self.begin(out);
        if self.num_records == 0 {
            return Ok(());
        }
        let mut compressed = Vec::new();
        self.codec.compress(&self.block, &mut compressed)?;
        write_long(self.num_records, out);
        write_bytes(&compressed, out);
        out.extend_from_slice(&marker);
        self.block.clear();
        self.num_records = 0;
        Ok(())
    }
}
