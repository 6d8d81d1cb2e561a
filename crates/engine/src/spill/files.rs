//! State in files of this process: written once, read as often as needed, gone with their owner.
//!
//! A folder holds a locked file as long as its process lives: folders whose lock can be had belong
//! to processes that are gone.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter as IpcWriter;
use arrow::record_batch::RecordBatchOptions;

use flott_core::metrics::OperatorMetrics;
use flott_core::operator::{RowsReader, StateRows, StoredRows};
use flott_core::{Error, Result};

/// Rows in a batch of a file.
const BATCH_ROWS: usize = 1 << 15;
const BUFFER_BYTES: usize = 64 << 10;
const PREFIX: &str = "flott-spill-";
const LOCK: &str = "lock";

/// Numbers the folders of this process.
static NEXT_FOLDER: AtomicU64 = AtomicU64::new(0);

/// A folder of an operator's subtask, removed with its last file.
#[derive(Debug)]
pub(super) struct SpillFolder {
    path: PathBuf,
    next_file: AtomicU64,
    metrics: Arc<OperatorMetrics>,
    /// Held as long as the folder is used.
    _lock: File,
}

impl SpillFolder {
    /// Makes a new folder in `parent`; what is written and read is counted in `metrics`.
    ///
    /// # Errors
    /// An external error `SPILL`: it cannot be made.
    pub fn create(parent: &Path, metrics: &Arc<OperatorMetrics>) -> Result<Arc<Self>> {
        let number = NEXT_FOLDER.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
        // A process of the same number may have left it.
        let _ = std::fs::remove_dir_all(&path);
        let failed = |e: std::io::Error| failed("make the folder", &path, &e);
        std::fs::create_dir_all(&path).map_err(failed)?;
        // The file has its name only once it is locked.
        let unlocked = path.join("unlocked");
        let lock = File::create(&unlocked).map_err(failed)?;
        lock.lock().map_err(failed)?;
        std::fs::rename(&unlocked, path.join(LOCK)).map_err(failed)?;
        Ok(Arc::new(Self {
            path,
            next_file: AtomicU64::new(0),
            metrics: metrics.clone(),
            _lock: lock,
        }))
    }

    fn new_file(&self) -> PathBuf {
        let number = self.next_file.fetch_add(1, Ordering::Relaxed);
        self.path.join(format!("{number}.arrow"))
    }
}

impl Drop for SpillFolder {
    fn drop(&mut self) {
        // What cannot be removed is left to the next process.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Removes folders of processes that ended without doing so. What cannot be removed is left.
pub fn clean_stale_folders(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let path = entry.path();
        if let Ok(lock) = File::open(path.join(LOCK))
            && lock.try_lock().is_ok()
        {
            let _ = std::fs::remove_dir_all(&path);
        }
    }
}

fn failed(what: &str, path: &Path, error: &dyn std::fmt::Display) -> Error {
    let message = format!(
        "cannot {what} {} for state that does not fit into memory: {error}; \
         make room there, set 'io.tmp.dirs' to another folder, or give the process more memory",
        path.display()
    );
    Error::external("SPILL", message)
}

/// Batches in a file, which is removed when nobody needs them.
#[derive(Debug)]
struct SpillFile {
    path: PathBuf,
    /// Keeps the folder.
    folder: Arc<SpillFolder>,
}

impl SpillFile {
    fn open(&self) -> Result<FileReader<BufReader<File>>> {
        let file = File::open(&self.path).map_err(|e| failed("open", &self.path, &e))?;
        let reader = BufReader::with_capacity(BUFFER_BYTES, file);
        FileReader::try_new(reader, None).map_err(|e| failed("read", &self.path, &e))
    }
}

impl Drop for SpillFile {
    fn drop(&mut self) {
        // The folder goes too in the end.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Some batches of a file.
#[derive(Debug, Clone)]
pub(super) struct SpillRows {
    file: Arc<SpillFile>,
    /// By number, without those that have been taken.
    batches: Range<usize>,
    num_rows: usize,
    size_bytes: usize,
}

impl SpillRows {
    /// Takes the first batch away; `None` when there is none.
    ///
    /// # Errors
    /// An external error `SPILL`: it cannot be read.
    pub fn take_first(&mut self) -> Result<Option<RecordBatch>> {
        let mut first = self.clone();
        first.batches.end = self.batches.end.min(self.batches.start + 1);
        first.size_bytes /= self.batches.len().max(1);
        let Some(batch) = first.read(None)?.next().transpose()? else {
            return Ok(None);
        };
        self.size_bytes -= first.size_bytes;
        self.num_rows = self.num_rows.saturating_sub(batch.num_rows());
        self.batches.start += 1;
        Ok(Some(batch))
    }

    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }
}

impl StoredRows for SpillRows {
    fn num_rows(&self) -> usize {
        self.num_rows
    }

    fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    fn read(&self, _: Option<&Range<usize>>) -> Result<RowsReader<'_>> {
        let mut reader = self.file.open()?;
        let path = &self.file.path;
        let seek = reader.set_index(self.batches.start);
        seek.map_err(|e| failed("read", path, &e))?;
        let metrics = &self.file.folder.metrics;
        metrics.num_bytes_unspilled.add(self.size_bytes as u64);
        let batches = reader.take(self.batches.len());
        Ok(Box::new(
            batches.map(|batch| batch.map_err(|e| failed("read", path, &e))),
        ))
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// Writes batches of one schema into a file.
pub(super) struct FileWriter {
    folder: Arc<SpillFolder>,
    path: PathBuf,
    schema: SchemaRef,
    writer: IpcWriter<BufWriter<File>>,
    num_batches: usize,
    /// Of each part that was ended: its batches, rows and bytes.
    parts: Vec<(Range<usize>, usize, usize)>,
    part: (Range<usize>, usize, usize),
}

impl FileWriter {
    /// # Errors
    /// An external error `SPILL`: the file cannot be made.
    pub fn create(folder: &Arc<SpillFolder>, schema: &SchemaRef) -> Result<Self> {
        let path = folder.new_file();
        let file = File::create_new(&path).map_err(|e| failed("make", &path, &e))?;
        let buffer = BufWriter::with_capacity(BUFFER_BYTES, file);
        let writer = IpcWriter::try_new(buffer, schema).map_err(|e| failed("write", &path, &e))?;
        Ok(Self {
            folder: folder.clone(),
            path,
            schema: schema.clone(),
            writer,
            num_batches: 0,
            parts: Vec::new(),
            part: (0..0, 0, 0),
        })
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// # Errors
    /// An external error `SPILL`: the disk is full, or refuses.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        for start in (0..batch.num_rows()).step_by(BATCH_ROWS) {
            let piece = batch.slice(start, BATCH_ROWS.min(batch.num_rows() - start));
            let piece = without_slack(&piece)?;
            self.part.2 += row_bytes(&piece);
            let written = self.writer.write(&piece);
            written.map_err(|e| failed("write", &self.path, &e))?;
            self.num_batches += 1;
        }
        self.part.1 += batch.num_rows();
        Ok(())
    }

    /// What was written since the last part is one.
    pub fn end_part(&mut self) {
        self.part.0.end = self.num_batches;
        let next = (self.num_batches..self.num_batches, 0, 0);
        self.parts.push(std::mem::replace(&mut self.part, next));
    }

    /// Ends the file; gives its parts.
    ///
    /// # Errors
    /// An external error `SPILL`: the disk is full, or refuses.
    pub fn finish(mut self) -> Result<Vec<SpillRows>> {
        let finished = self.writer.finish();
        finished.map_err(|e| failed("write", &self.path, &e))?;
        let parts = self.parts.iter();
        let bytes: usize = parts.map(|(_, _, bytes)| bytes).sum();
        self.folder.metrics.num_bytes_spilled.add(bytes as u64);
        let file = Arc::new(SpillFile {
            path: self.path,
            folder: self.folder,
        });
        let rows = self.parts.into_iter();
        let rows = rows.map(|(batches, num_rows, size_bytes)| SpillRows {
            file: file.clone(),
            batches,
            num_rows,
            size_bytes,
        });
        Ok(rows.collect())
    }
}

/// Writes rows into files, one for each schema among them.
///
/// # Errors
/// Rows that cannot be read, and a disk that is full or refuses.
pub(super) fn write_rows(folder: &Arc<SpillFolder>, rows: RowsReader<'_>) -> Result<StateRows> {
    let mut files = StateRows::default();
    let mut writer = TableWriter::default();
    for batch in rows {
        writer.write(folder, &batch?, &mut files)?;
    }
    writer.finish(&mut files)?;
    Ok(files)
}

/// Writes batches of any schemas into files.
#[derive(Default)]
pub(super) struct TableWriter(Option<FileWriter>);

impl TableWriter {
    /// # Errors
    /// An external error `SPILL`: the disk is full, or refuses.
    pub fn write(
        &mut self,
        folder: &Arc<SpillFolder>,
        batch: &RecordBatch,
        files: &mut StateRows,
    ) -> Result<()> {
        let is_other = |w: &FileWriter| w.schema() != batch.schema_ref();
        if self.0.as_ref().is_some_and(is_other) {
            self.finish(files)?;
        }
        let writer = match &mut self.0 {
            Some(writer) => writer,
            none => none.insert(FileWriter::create(folder, batch.schema_ref())?),
        };
        writer.write(batch)
    }

    /// # Errors
    /// An external error `SPILL`: the disk is full, or refuses.
    pub fn finish(&mut self, files: &mut StateRows) -> Result<()> {
        if let Some(mut writer) = self.0.take() {
            writer.end_part();
            for rows in writer.finish()? {
                files.push_stored(Arc::new(rows));
            }
        }
        Ok(())
    }
}

/// About how many bytes the rows of a batch have, whatever else its buffers hold.
pub(super) fn row_bytes(batch: &RecordBatch) -> usize {
    let batch = flott_core::changelog::ChangelogBatch::insert_only(batch.clone());
    crate::partition::size_bytes(&batch)
}

/// A copy of what view columns point to, without the rest of their buffers.
pub(super) fn without_slack(batch: &RecordBatch) -> Result<RecordBatch> {
    let is_view = |c: &ArrayRef| matches!(c.data_type(), DataType::Utf8View | DataType::BinaryView);
    if !batch.columns().iter().any(is_view) {
        return Ok(batch.clone());
    }
    let columns = batch.columns().iter().map(|column| -> ArrayRef {
        match column.data_type() {
            DataType::Utf8View => Arc::new(column.as_string_view().gc()),
            DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
            _ => column.clone(),
        }
    });
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let columns = columns.collect();
    Ok(RecordBatch::try_new_with_options(
        batch.schema(),
        columns,
        &options,
    )?)
}
