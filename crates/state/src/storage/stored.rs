//! Rows that lie in a state file, or in a manifest when they are few.

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{Schema, UInt16Type};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use flott_core::Result;
use flott_core::operator::{RowsReader, StatePart, StateRows, StateScope, StoredRows};
use flott_storage::StoragePlace;

use super::manifest::{Blob, FileManifest};
use super::state_file::{decode, encode, missing};
use crate::chain::ROW_ID;

/// Rows of more bytes than this are parted into several files.
const MAX_FILE_BYTES: usize = 64 << 20;
/// Encoded bytes that wait to be written, at most about.
const MAX_WAITING_BYTES: usize = 128 << 20;

/// A state file.
#[derive(Debug, Clone)]
pub struct StoredFile {
    /// What the file's path is relative to.
    pub place: StoragePlace,
    pub file: FileManifest,
    /// The columns, for people.
    pub schema: Arc<str>,
}

impl StoredFile {
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
        let bytes = self.place.get(&self.file.path)?;
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
        if let (Some(wanted), Some((least, greatest))) = (key_groups, self.file.key_groups)
            && (wanted.end <= usize::from(least) || usize::from(greatest) < wanted.start)
        {
            return Ok(Box::new(std::iter::empty()));
        }
        let batches = decode(&self.name(), &self.bytes()?)?;
        Ok(Box::new(batches.into_iter().map(Ok)))
    }

    fn numbers_rows(&self) -> bool {
        let second = self.schema.split(", ").nth(1);
        second.and_then(|c| c.strip_prefix(ROW_ID)) == Some(": Int64")
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Where new files go and what they are called.
pub struct FileTarget<'a> {
    pub place: &'a StoragePlace,
    /// The name of the file of this number.
    pub name: &'a dyn Fn(u64) -> String,
    /// Encoded rows of at most so many bytes stay in the manifest.
    pub inline_bytes: usize,
}

/// Writes rows into files, and counts.
pub struct FileWriter<'a> {
    target: FileTarget<'a>,
    next_number: u64,
    waiting: Vec<(String, Bytes)>,
    waiting_bytes: usize,
    /// Bytes of new files and inline rows.
    pub written_bytes: u64,
    pub num_files: u64,
}

impl<'a> FileWriter<'a> {
    pub fn new(target: FileTarget<'a>) -> Self {
        Self {
            target,
            next_number: 0,
            waiting: Vec::new(),
            waiting_bytes: 0,
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
        let mut batches: Vec<RecordBatch> = Vec::new();
        let mut size = 0;
        for part in rows.parts() {
            match part {
                StatePart::Batch(batch) => {
                    self.add(scope, batch.clone(), &mut batches, &mut size, &mut stored)?;
                }
                StatePart::Stored(rows) if self.is_in_place(rows.as_ref()) => {
                    stored.push_stored(rows.clone());
                }
                StatePart::Stored(rows) => {
                    for batch in rows.read(None)? {
                        self.add(scope, batch?, &mut batches, &mut size, &mut stored)?;
                    }
                }
            }
        }
        self.write(scope, &mut batches, &mut stored)?;
        Ok(stored)
    }

    fn is_in_place(&self, rows: &dyn StoredRows) -> bool {
        let file = rows.as_any().downcast_ref::<StoredFile>();
        file.is_some_and(|f| f.file.path.is_empty() || f.place.is_same(self.target.place))
    }

    fn add(
        &mut self,
        scope: StateScope,
        batch: RecordBatch,
        batches: &mut Vec<RecordBatch>,
        size: &mut usize,
        stored: &mut StateRows,
    ) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        *size += batch.get_array_memory_size();
        batches.push(batch);
        if *size > MAX_FILE_BYTES {
            *size = 0;
            self.write(scope, batches, stored)?;
        }
        Ok(())
    }

    /// One file of these batches; leaves none.
    fn write(
        &mut self,
        scope: StateScope,
        batches: &mut Vec<RecordBatch>,
        stored: &mut StateRows,
    ) -> Result<()> {
        let Some(first) = batches.first() else {
            return Ok(());
        };
        let bytes = encode(&first.schema(), batches)?;
        let mut file = FileManifest {
            path: String::new(),
            inline: Blob::default(),
            num_rows: batches.iter().map(|b| b.num_rows() as u64).sum(),
            size_bytes: bytes.len() as u64,
            memory_bytes: batches
                .iter()
                .map(|b| b.get_array_memory_size() as u64)
                .sum(),
            key_groups: match scope {
                StateScope::Keyed => key_groups(batches),
                StateScope::Split | StateScope::Union => None,
            },
        };
        self.written_bytes += file.size_bytes;
        if bytes.len() <= self.target.inline_bytes {
            file.inline = Blob(bytes);
        } else {
            file.path = (self.target.name)(self.next_number);
            self.next_number += 1;
            self.num_files += 1;
            self.waiting_bytes += bytes.len();
            self.waiting.push((file.path.clone(), bytes));
            if self.waiting_bytes > MAX_WAITING_BYTES {
                self.flush()?;
            }
        }
        stored.push_stored(Arc::new(StoredFile {
            place: self.target.place.clone(),
            file,
            schema: describe(&first.schema()).into(),
        }));
        batches.clear();
        Ok(())
    }

    /// Waits until every file is written.
    ///
    /// # Errors
    /// The store's.
    pub fn flush(&mut self) -> Result<()> {
        self.waiting_bytes = 0;
        match std::mem::take(&mut self.waiting) {
            files if files.is_empty() => Ok(()),
            files => self.target.place.put_all(files),
        }
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

/// The least and the greatest key group: the first column.
fn key_groups(batches: &[RecordBatch]) -> Option<(u16, u16)> {
    let groups = batches.iter().filter_map(|batch| {
        let column = batch.columns().first()?;
        column.as_primitive_opt::<UInt16Type>()
    });
    let values = groups.flat_map(|g| g.values().iter().copied());
    values.fold(None, |range, group| match range {
        None => Some((group, group)),
        Some((least, greatest)) => Some((group.min(least), group.max(greatest))),
    })
}
