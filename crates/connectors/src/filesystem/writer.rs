//! Writes rows into hidden files, one open file a partition.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::UInt32Array;
use flott_core::changelog::ChangelogBatch;
use flott_core::format::Encoder;
use flott_core::hash::StableHashMap;
use flott_core::sink::{Committable, SinkWriter, WriterContext};
use flott_core::time::MIN_WATERMARK;
use flott_core::{Error, Result};

use super::codec::{Decoding, Encoding};
use super::commit::FileCommittable;
use super::compaction::{COMPACTED, UNCOMPACTED, Uncompacted};
use super::file_system::PendingFile;
use super::path::{partition_folder, partition_values};
use super::sink::SinkPlan;

/// Encoded bytes are written to a file when so many have gathered.
const BUFFER_BYTES: usize = 256 << 10;
/// The most files that a writer holds open; beyond it the one written least is closed.
const MAX_OPEN_FILES: usize = 256;

/// A file being written.
struct OpenFile {
    file: Box<dyn PendingFile>,
    encoder: Box<dyn Encoder>,
    buffer: Vec<u8>,
    size_bytes: u64,
    opened_ms: i64,
    /// Where it will stand, and its name there.
    folder: String,
    name: String,
}

/// Writes the rows of one subtask.
pub(super) struct FileWriter {
    plan: Arc<SinkPlan>,
    context: WriterContext,
    /// By the partition's folder, which is empty for a table without partitions.
    open: BTreeMap<String, OpenFile>,
    /// Closed, and not yet handed to the committer.
    closed: Vec<FileCommittable>,
    /// Partitions to be marked, and the time to wait for.
    unmarked: BTreeMap<String, i64>,
    /// A partition whose values name no time. At the end of input it is complete all the same.
    untimed: Option<Error>,
    replaced: StableHashMap<String, ()>,
    num_files: u64,
    watermark: i64,
}

/// Part names of an attempt begin so; the subtask and a number follow.
pub(super) fn prefix(attempt_id: &str) -> String {
    format!("part-{attempt_id}-")
}

/// What a writer leaves in a checkpoint.
pub(super) struct WriterState {
    pub attempt_id: String,
    pub subtask: usize,
    /// The number of its next file: those before belong to the checkpoint or older ones.
    pub num_files: u64,
    /// Partitions to be marked, and the time to wait for.
    pub unmarked: BTreeMap<String, i64>,
}

impl WriterState {
    fn encode(&self) -> Vec<u8> {
        let mut encoding = Encoding::default();
        encoding.text(&self.attempt_id);
        encoding.number(self.subtask as u64).number(self.num_files);
        for (partition, due_ms) in &self.unmarked {
            encoding.text(partition).number(*due_ms as u64);
        }
        encoding.0
    }

    /// `None` of a writer that had ended.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let mut decoding = Decoding(bytes);
        let mut state = Self {
            attempt_id: decoding.text()?,
            subtask: decoding.number()? as usize,
            num_files: decoding.number()?,
            unmarked: BTreeMap::new(),
        };
        while !decoding.is_empty() {
            let partition = decoding.text()?;
            state.unmarked.insert(partition, decoding.number()? as i64);
        }
        Ok(Some(state))
    }
}

impl OpenFile {
    fn write_out(&mut self, metrics: &flott_core::metrics::OperatorMetrics) -> Result<()> {
        self.file.write(&self.buffer)?;
        metrics.num_bytes_out.add(self.buffer.len() as u64);
        self.size_bytes += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

impl FileWriter {
    pub fn new(plan: Arc<SinkPlan>, context: WriterContext) -> Result<Self> {
        let mut writer = Self {
            plan,
            open: BTreeMap::new(),
            closed: Vec::new(),
            unmarked: BTreeMap::new(),
            untimed: None,
            replaced: StableHashMap::default(),
            num_files: 0,
            watermark: MIN_WATERMARK,
            context,
        };
        for bytes in std::mem::take(&mut writer.context.restored) {
            // A writer that had ended has left nothing.
            if let Some(state) = WriterState::decode(&bytes)? {
                writer.unmarked.extend(state.unmarked);
            }
        }
        Ok(writer)
    }

    fn folder(&self, partition: &str) -> String {
        match partition {
            "" => self.plan.folder.clone(),
            _ => format!("{}/{partition}", self.plan.folder),
        }
    }

    /// Part names of this attempt begin so.
    fn prefix(&self) -> String {
        prefix(&self.context.attempt_id)
    }

    /// What the names of this attempt's visible files begin with.
    fn kept_prefix(&self) -> String {
        match self.plan.compaction {
            None => self.prefix(),
            Some(_) => format!("{COMPACTED}{}", self.prefix()),
        }
    }

    fn open_file(&mut self, partition: &str) -> Result<OpenFile> {
        let folder = self.folder(partition);
        let name = format!(
            "{}{}-{}",
            self.prefix(),
            self.context.subtask,
            self.num_files
        );
        self.num_files += 1;
        let file = match self.plan.compaction {
            None => self.plan.files.create(&folder, &name),
            Some(_) => self
                .plan
                .files
                .create(&folder, &format!("{UNCOMPACTED}{name}")),
        }?;
        if self.plan.overwrites && self.replaced.insert(folder.clone(), ()).is_none() {
            self.closed.push(FileCommittable::Replace {
                folder: folder.clone(),
                keep_prefix: self.kept_prefix(),
            });
        }
        let now_ms = self.context.clock.now_ms();
        if let Some(policy) = &self.plan.partition_commit
            && !partition.is_empty()
            && !self.unmarked.contains_key(partition)
        {
            let keys = &self.plan.partition_keys;
            let path = format!("{partition}/{name}");
            let values = partition_values(&path, keys, &self.plan.default_name).unwrap_or_default();
            let due_ms = policy
                .due_ms(keys, &values, now_ms)
                .unwrap_or_else(|error| {
                    self.untimed.get_or_insert(error);
                    i64::MAX
                });
            self.unmarked.insert(partition.to_string(), due_ms);
        }
        Ok(OpenFile {
            file,
            encoder: self.plan.format.create_encoder(&self.plan.encode)?,
            buffer: Vec::with_capacity(BUFFER_BYTES * 2),
            size_bytes: 0,
            opened_ms: now_ms,
            folder,
            name,
        })
    }

    fn write_rows(&mut self, partition: &str, rows: &ChangelogBatch) -> Result<()> {
        if !self.open.contains_key(partition) {
            self.make_room()?;
            let file = self.open_file(partition)?;
            self.open.insert(partition.to_string(), file);
        }
        let Some(open) = self.open.get_mut(partition) else {
            return Ok(());
        };
        open.encoder.encode_block(rows, &mut open.buffer)?;
        if open.buffer.len() >= BUFFER_BYTES {
            open.write_out(&self.context.metrics)?;
        }
        if open.size_bytes + open.buffer.len() as u64 >= self.plan.rolling.size_bytes {
            self.close(partition)?;
        }
        Ok(())
    }

    fn make_room(&mut self) -> Result<()> {
        if self.open.len() < MAX_OPEN_FILES {
            return Ok(());
        }
        let least = self
            .open
            .iter()
            .min_by_key(|(_, f)| f.size_bytes + f.buffer.len() as u64);
        match least.map(|(partition, _)| partition.clone()) {
            Some(partition) => self.close(&partition),
            None => Ok(()),
        }
    }

    /// Ends a file: all of it is on disk afterwards.
    fn close(&mut self, partition: &str) -> Result<()> {
        let Some(open) = self.open.get_mut(partition) else {
            return Ok(());
        };
        open.encoder.finish_file(&mut open.buffer)?;
        open.write_out(&self.context.metrics)?;
        let Some(open) = self.open.remove(partition) else {
            return Ok(());
        };
        let finished = open.file.finish()?;
        self.closed.push(match self.plan.compaction {
            None => finished,
            Some(_) => {
                // Under a name that hides it, where the committer can read it.
                self.plan.files.publish(&[finished])?;
                FileCommittable::Uncompacted(Uncompacted {
                    folder: open.folder,
                    name: open.name,
                    size_bytes: open.size_bytes,
                })
            }
        });
        Ok(())
    }

    fn close_where(&mut self, is_done: impl Fn(&OpenFile) -> bool) -> Result<()> {
        let done = self.open.iter().filter(|(_, f)| is_done(f));
        let done: Vec<String> = done.map(|(partition, _)| partition.clone()).collect();
        done.iter().try_for_each(|partition| self.close(partition))
    }

    /// The rows of each partition, in the order in which partitions first come.
    fn rows_by_partition(&self, batch: &ChangelogBatch) -> Result<Vec<(String, Vec<u32>)>> {
        let mut groups: Vec<(String, Vec<u32>)> = Vec::new();
        let mut places: StableHashMap<Vec<Option<String>>, usize> = StableHashMap::default();
        for row in 0..batch.num_rows() {
            let columns = self.plan.key_columns.iter().map(|&c| batch.column(c));
            let values = columns
                .map(|column| flott_formats::value_text(column.as_ref(), row))
                .collect::<Result<Vec<_>>>()?;
            let place = match places.get(&values) {
                Some(place) => *place,
                None => {
                    let (keys, default) = (&self.plan.partition_keys, &self.plan.default_name);
                    groups.push((partition_folder(keys, &values, default), Vec::new()));
                    places.insert(values, groups.len() - 1);
                    groups.len() - 1
                }
            };
            groups[place].1.push(row as u32);
        }
        Ok(groups)
    }

    /// Partitions that are complete now.
    fn marks(&mut self, is_final: bool) -> Vec<FileCommittable> {
        let Some(policy) = &self.plan.partition_commit else {
            return Vec::new();
        };
        let (now_ms, watermark) = (self.context.clock.now_ms(), self.watermark);
        let mut marks = Vec::new();
        let folder = &self.plan.folder;
        self.unmarked.retain(|partition, due_ms| {
            let is_due = is_final || policy.is_due(*due_ms, now_ms, watermark);
            if is_due {
                let file = format!("{folder}/{partition}/{}", policy.success_file);
                marks.push(FileCommittable::Mark { file });
            }
            !is_due
        });
        marks
    }
}

impl SinkWriter for FileWriter {
    fn write(&mut self, batch: &ChangelogBatch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        if self.plan.key_columns.is_empty() {
            return self.write_rows("", batch);
        }
        for (partition, rows) in self.rows_by_partition(batch)? {
            let all = rows.len() == batch.num_rows();
            let in_file = batch.project(&self.plan.file_columns)?;
            match all {
                true => self.write_rows(&partition, &in_file)?,
                false => self.write_rows(&partition, &in_file.take(&UInt32Array::from(rows))?)?,
            }
        }
        Ok(())
    }

    fn watermark(&mut self, watermark: i64) -> Result<()> {
        self.watermark = self.watermark.max(watermark);
        Ok(())
    }

    fn next_timer_ms(&self) -> Option<i64> {
        let opened = self.open.values().map(|f| f.opened_ms).min()?;
        let rolling = &self.plan.rolling;
        // Files are looked at every check interval, so one may be older by as much.
        let checks = rolling.rollover_ms.div_euclid(rolling.check_ms) + 1;
        Some(opened.saturating_add(checks.saturating_mul(rolling.check_ms)))
    }

    fn on_timer(&mut self, now_ms: i64) -> Result<()> {
        let rollover_ms = self.plan.rolling.rollover_ms;
        self.close_where(|file| now_ms - file.opened_ms >= rollover_ms)
    }

    fn prepare_commit(&mut self, is_final: bool) -> Result<Vec<Committable>> {
        self.close_where(|_| true)?;
        if is_final
            && self.context.subtask == 0
            && let Some(folder) = &self.plan.replaced_folder
            && self.replaced.insert(folder.clone(), ()).is_none()
        {
            self.closed.push(FileCommittable::Replace {
                folder: folder.clone(),
                keep_prefix: self.kept_prefix(),
            });
        }
        if let Some(error) = self.untimed.take().filter(|_| !is_final) {
            return Err(error);
        }
        let marks = self.marks(is_final);
        let closed = std::mem::take(&mut self.closed);
        Ok(closed
            .iter()
            .chain(&marks)
            .map(FileCommittable::encode)
            .collect())
    }

    fn snapshot(&mut self) -> Result<Vec<u8>> {
        let state = WriterState {
            attempt_id: self.context.attempt_id.clone(),
            subtask: self.context.subtask,
            num_files: self.num_files,
            unmarked: self.unmarked.clone(),
        };
        Ok(state.encode())
    }

    fn abort(&mut self) {
        let open = std::mem::take(&mut self.open).into_values();
        let open = open.map(|f| f.file.abort());
        let closed = std::mem::take(&mut self.closed);
        let closed = closed.iter().map(|f| self.plan.files.discard(f));
        for error in open.chain(closed).filter_map(Result::err) {
            tracing::warn!(%error, "a pending file could not be removed");
        }
    }
}
