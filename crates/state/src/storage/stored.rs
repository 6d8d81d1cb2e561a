//! Rows that lie in a state file, or in a manifest when they are few.

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use arrow::array::AsArray;
use arrow::datatypes::{Schema, SchemaRef, UInt16Type};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use flott_core::Result;
use flott_core::operator::{
    PackedReader, RowsReader, StateBatch, StatePart, StateRows, StateScope, StoredRows,
};
use flott_storage::{Puts, StoragePlace};
use parking_lot::Mutex;

use super::manifest::{Blob, FileManifest};
use super::packed_file::PackedEncoder;
use super::state_file::{decode_packed, encode, missing};
use crate::chain::ROW_ID;
use crate::rows::{PackedRows, unpack, unpacked};

/// Rows of more bytes than this are parted into several files.
const MAX_FILE_BYTES: usize = 64 << 20;
/// The same for packed rows, which are written while the next ones are collected.
const MAX_PACKED_FILE_BYTES: usize = 32 << 20;

/// A state file.
#[derive(Debug, Clone)]
pub struct StoredFile {
    /// What the file's path is relative to.
    pub place: StoragePlace,
    pub file: FileManifest,
    /// The columns, for people.
    pub schema: Arc<str>,
    ahead: Ahead,
}

/// The bytes of a file that is being read already, for the next who wants them.
#[derive(Debug, Clone, Default)]
struct Ahead(Arc<Mutex<Option<Receiver<Result<Option<Bytes>>>>>>);

impl StoredFile {
    /// A file of this place; nothing is read yet.
    pub fn new(place: &StoragePlace, file: FileManifest, schema: Arc<str>) -> Self {
        Self {
            place: place.clone(),
            file,
            schema,
            ahead: Ahead::default(),
        }
    }

    /// Whether rows of these key groups may be in the file.
    fn has_groups(&self, key_groups: Option<&Range<usize>>) -> bool {
        match (key_groups, self.file.key_groups) {
            (Some(wanted), Some((least, greatest))) => {
                wanted.start <= usize::from(greatest) && usize::from(least) < wanted.end
            }
            _ => true,
        }
    }

    /// What messages call the file.
    pub fn name(&self) -> String {
        match self.file.path.is_empty() {
            true => self.place.full_name("a table in the manifest"),
            false => self.place.full_name(&self.file.path),
        }
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// The store's; `STATE_MISSING` when the file is not there.
    pub fn bytes(&self) -> Result<Bytes> {
        if self.file.path.is_empty() {
            return Ok(self.file.inline.0.clone());
        }
        let ahead = self.ahead.0.lock().take();
        let bytes = match ahead.and_then(|bytes| bytes.recv().ok()) {
            Some(bytes) => bytes?,
            None => self.place.get(&self.file.path)?,
        };
        bytes.ok_or_else(|| missing(&self.name()))
    }
}

impl StoredRows for StoredFile {
    fn num_rows(&self) -> usize {
        self.file.num_rows as usize
    }

    fn size_bytes(&self) -> usize {
        self.file.memory_bytes as usize
    }

    fn read(&self, key_groups: Option<&Range<usize>>) -> Result<RowsReader<'_>> {
        Ok(unpacked(self.read_packed(key_groups)?))
    }

    fn read_packed(&self, key_groups: Option<&Range<usize>>) -> Result<PackedReader<'_>> {
        match self.has_groups(key_groups) {
            true => decode_packed(&self.name(), &self.bytes()?),
            false => Ok(Box::new(std::iter::empty())),
        }
    }

    fn prepare(&self, key_groups: Option<&Range<usize>>) {
        if self.file.size_bytes < MIN_AHEAD_BYTES
            || self.file.path.is_empty()
            || !self.has_groups(key_groups)
        {
            return;
        }
        // What cannot be begun now is an error when the rows are read.
        *self.ahead.0.lock() = self.place.start_get(&self.file.path).ok();
    }

    fn are_new(&self) -> bool {
        self.file.is_new
    }

    fn numbers_rows(&self) -> bool {
        let second = self.schema.split(", ").nth(1);
        second.and_then(|c| c.strip_prefix(ROW_ID)) == Some(": Int64")
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Smaller files are not read ahead.
const MIN_AHEAD_BYTES: u64 = 1 << 20;

/// Where new files go and what they are called.
pub struct FileTarget<'a> {
    pub place: &'a StoragePlace,
    /// The name of the file of this number.
    pub name: &'a dyn Fn(u64) -> String,
    /// Encoded rows of at most so many bytes stay in the manifest.
    pub inline_bytes: usize,
    /// All rows are written in columns, which every tool reads, also those that are packed.
    pub is_canonical: bool,
}

/// Writes rows into files, and counts.
pub struct FileWriter<'a> {
    target: FileTarget<'a>,
    next_number: u64,
    puts: Puts,
    /// Bytes of new files and inline rows.
    pub written_bytes: u64,
    pub num_files: u64,
}

/// The rows of the next file.
#[derive(Default)]
struct NextFile {
    /// What they all are.
    is_new: bool,
    batches: Vec<RecordBatch>,
    /// Of the batches.
    size_bytes: usize,
    packed: Option<PackedEncoder>,
    /// About how many bytes of packed rows will come.
    expected_bytes: usize,
    key_groups: Option<(u16, u16)>,
}

/// The bytes of a file, and what the manifest says of it.
struct Encoded {
    bytes: Bytes,
    schema: SchemaRef,
    num_rows: usize,
    memory_bytes: usize,
}

impl NextFile {
    /// Whether it can take these rows in.
    fn takes(&self, batch: &StateBatch) -> bool {
        match (&self.packed, &batch.packed) {
            (Some(packed), Some(schema)) => packed.schema() == schema,
            (Some(_), None) => false,
            (None, Some(_)) => self.batches.is_empty(),
            (None, None) => true,
        }
    }

    fn is_full(&self) -> bool {
        let packed = self.packed.as_ref().map_or(0, PackedEncoder::size_bytes);
        self.size_bytes > MAX_FILE_BYTES || packed > MAX_PACKED_FILE_BYTES
    }

    fn encode(&mut self) -> Result<Option<Encoded>> {
        if let Some(packed) = self.packed.take() {
            return Ok(Some(Encoded {
                schema: packed.schema().clone(),
                num_rows: packed.num_rows,
                memory_bytes: packed.row_bytes,
                bytes: packed.finish(),
            }));
        }
        let batches = std::mem::take(&mut self.batches);
        let Some(first) = batches.first() else {
            return Ok(None);
        };
        Ok(Some(Encoded {
            schema: first.schema(),
            num_rows: batches.iter().map(RecordBatch::num_rows).sum(),
            memory_bytes: self.size_bytes,
            bytes: encode(&first.schema(), &batches)?,
        }))
    }
}

impl<'a> FileWriter<'a> {
    pub fn new(target: FileTarget<'a>) -> Self {
        Self {
            puts: Puts::new(target.place),
            target,
            next_number: 0,
            written_bytes: 0,
            num_files: 0,
        }
    }

    /// Puts rows into files of the target, except those that lie there already; gives them as
    /// rows that are read from there. The files are there once [`FileWriter::flush`] has succeeded.
    ///
    /// # Errors
    /// The store's, and rows that cannot be read from where they lie.
    pub fn store(&mut self, scope: StateScope, rows: &StateRows) -> Result<StateRows> {
        let mut stored = StateRows::default();
        let mut file = NextFile {
            expected_bytes: rows.size_bytes(),
            ..NextFile::default()
        };
        for part in rows.parts() {
            match part {
                StatePart::Stored(rows) if self.is_in_place(rows.as_ref()) => {
                    stored.push_stored(rows.clone());
                    continue;
                }
                _ if part.is_new() != file.is_new => {
                    self.write(scope, &mut file, &mut stored)?;
                    file.is_new = part.is_new();
                }
                _ => {}
            }
            match part {
                StatePart::Batch(batch) => {
                    self.add(scope, batch.clone().into(), &mut file, &mut stored)?;
                }
                StatePart::Stored(rows) => {
                    for batch in rows.read_packed(None)? {
                        self.add(scope, batch?, &mut file, &mut stored)?;
                    }
                }
            }
        }
        self.write(scope, &mut file, &mut stored)?;
        Ok(stored)
    }

    fn is_in_place(&self, rows: &dyn StoredRows) -> bool {
        let file = rows.as_any().downcast_ref::<StoredFile>();
        file.is_some_and(|f| f.file.path.is_empty() || f.place.is_same(self.target.place))
    }

    fn add(
        &mut self,
        scope: StateScope,
        batch: StateBatch,
        file: &mut NextFile,
        stored: &mut StateRows,
    ) -> Result<()> {
        if batch.rows.num_rows() == 0 {
            return Ok(());
        }
        let batch = match self.target.is_canonical {
            true => unpack(batch)?.into(),
            false => batch,
        };
        if !file.takes(&batch) {
            self.write(scope, file, stored)?;
        }
        if scope == StateScope::Keyed {
            file.key_groups = key_groups(file.key_groups, &batch.rows);
        }
        match PackedRows::of(&batch)? {
            Some(rows) => {
                let packed = match &mut file.packed {
                    Some(packed) => packed,
                    none => {
                        let mut buffer = self.puts.spare();
                        let expected = file.expected_bytes.min(MAX_PACKED_FILE_BYTES);
                        // The last block may go beyond.
                        buffer.reserve(expected + expected / 16);
                        none.insert(PackedEncoder::new(&rows, buffer)?)
                    }
                };
                packed.add(&rows)?;
            }
            None => {
                file.size_bytes += batch.rows.get_array_memory_size();
                file.batches.push(batch.rows);
            }
        }
        match file.is_full() {
            true => self.write(scope, file, stored),
            false => Ok(()),
        }
    }

    /// One file of the rows so far; the next one begins.
    fn write(
        &mut self,
        scope: StateScope,
        file: &mut NextFile,
        stored: &mut StateRows,
    ) -> Result<()> {
        let encoded = file.encode()?;
        let next = NextFile {
            is_new: file.is_new,
            expected_bytes: file.expected_bytes,
            ..NextFile::default()
        };
        let file = std::mem::replace(file, next);
        let Some(encoded) = encoded else {
            return Ok(());
        };
        let mut manifest = FileManifest {
            path: String::new(),
            inline: Blob::default(),
            num_rows: encoded.num_rows as u64,
            size_bytes: encoded.bytes.len() as u64,
            memory_bytes: encoded.memory_bytes as u64,
            key_groups: file.key_groups,
            is_new: file.is_new && scope == StateScope::Keyed,
        };
        self.written_bytes += manifest.size_bytes;
        if encoded.bytes.len() <= self.target.inline_bytes {
            // A copy: the buffer has room for a whole file.
            manifest.inline = Blob(Bytes::copy_from_slice(&encoded.bytes));
        } else {
            manifest.path = (self.target.name)(self.next_number);
            self.next_number += 1;
            self.num_files += 1;
            self.puts.put(&manifest.path, encoded.bytes)?;
        }
        let schema = describe(&encoded.schema).into();
        let file = StoredFile::new(self.target.place, manifest, schema);
        stored.push_stored(Arc::new(file));
        Ok(())
    }

    /// Waits until every file is written.
    ///
    /// # Errors
    /// The store's.
    pub fn flush(&mut self) -> Result<()> {
        self.puts.flush()
    }
}

/// `name: type, …`
fn describe(schema: &Schema) -> String {
    let columns = schema.fields().iter();
    let columns: Vec<String> = columns
        .map(|f| format!("{}: {}", f.name(), f.data_type()))
        .collect();
    columns.join(", ")
}

/// The least and the greatest key group, the first column, of these rows and of those before.
fn key_groups(before: Option<(u16, u16)>, rows: &RecordBatch) -> Option<(u16, u16)> {
    let groups = rows.columns().first()?;
    let groups = groups.as_primitive_opt::<UInt16Type>()?.values();
    let least = groups.iter().copied().min()?;
    let greatest = groups.iter().copied().max()?;
    Some(match before {
        None => (least, greatest),
        Some((a, b)) => (a.min(least), b.max(greatest)),
    })
}
