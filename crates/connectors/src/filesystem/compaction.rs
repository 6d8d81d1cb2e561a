//! Compaction: the small files of one checkpoint become large ones before anyone sees them.
//!
//! With `auto-compaction` a writer's files are hidden under names that begin with `.uncompacted-`.
//! When their checkpoint is complete, those of a folder are put together in the order of their
//! names, until a file has `compaction.file-size`; a merged file has the name of its first part
//! behind `compacted-`. Which files go together follows from the committables alone, so that doing
//! it again after a crash gives the same files: one that is there already is left alone.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use flott_core::format::{DecodeRequest, EncodeRequest, FileScan, FormatFactory};
use flott_core::options::Options;
use flott_core::source::FieldPath;
use flott_core::{Error, Result};
use parking_lot::Mutex;

use super::file_system::{FileRef, FileSystem, PendingFile};
use super::options::{AUTO_COMPACTION, COMPACTION_PARALLELISM, COMPACTION_SIZE};

/// What the name of a file that waits to be merged begins with: it is hidden.
pub(super) const UNCOMPACTED: &str = ".uncompacted-";
/// What the name of a merged file begins with.
pub(super) const COMPACTED: &str = "compacted-";

/// Bytes copied at once.
const COPY_BYTES: usize = 1 << 20;
/// Rows of a batch when a file has to be written anew.
const BATCH_ROWS: usize = 8192;

/// The options `auto-compaction` and `compaction.*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CompactionPolicy {
    pub size_bytes: u64,
    pub parallelism: usize,
}

impl CompactionPolicy {
    /// `None` when files stay as they are; `rolling_bytes` is the size of files otherwise.
    ///
    /// # Errors
    /// A user error for a wrong value.
    pub fn new(table: &Options, rolling_bytes: u64) -> Result<Option<Self>> {
        if table.boolean(&AUTO_COMPACTION)? != Some(true) {
            return Ok(None);
        }
        let parallelism = table.integer(&COMPACTION_PARALLELISM)?.unwrap_or(1);
        if parallelism < 1 {
            let message = format!(
                "option '{}' is '{parallelism}'; it takes a positive number",
                COMPACTION_PARALLELISM.key
            );
            return Err(Error::user("INVALID_OPTION", message));
        }
        let size = table.memory_size(&COMPACTION_SIZE)?;
        Ok(Some(Self {
            size_bytes: size.unwrap_or(rolling_bytes),
            parallelism: parallelism as usize,
        }))
    }
}

/// A file that waits to be merged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Uncompacted {
    pub folder: String,
    /// Without [`UNCOMPACTED`].
    pub name: String,
    pub size_bytes: u64,
}

impl Uncompacted {
    pub fn path(&self) -> String {
        format!("{}/{UNCOMPACTED}{}", self.folder, self.name)
    }
}

/// Merges files of one table.
#[derive(Clone)]
pub(super) struct Compactor {
    pub files: Arc<dyn FileSystem>,
    pub policy: CompactionPolicy,
    pub format: Arc<dyn FormatFactory>,
    pub encode: EncodeRequest,
}

/// Files that become one, in order: those of a folder until they have the wanted size.
fn groups(mut files: Vec<Uncompacted>, size_bytes: u64) -> Vec<Vec<Uncompacted>> {
    files.sort();
    files.dedup();
    let mut by_folder: BTreeMap<String, Vec<Uncompacted>> = BTreeMap::new();
    for file in files {
        by_folder.entry(file.folder.clone()).or_default().push(file);
    }
    let mut groups = Vec::new();
    for files in by_folder.into_values() {
        let (mut group, mut size) = (Vec::new(), 0u64);
        for file in files {
            if !group.is_empty() && size.saturating_add(file.size_bytes) > size_bytes {
                groups.push(std::mem::take(&mut group));
                size = 0;
            }
            size = size.saturating_add(file.size_bytes);
            group.push(file);
        }
        groups.push(group);
    }
    groups
}

impl Compactor {
    /// Merges the files of a checkpoint. Doing it twice does no harm.
    ///
    /// # Errors
    /// A file that cannot be read or written.
    pub fn compact(&self, files: Vec<Uncompacted>) -> Result<()> {
        let groups = groups(files, self.policy.size_bytes);
        let num_threads = self.policy.parallelism.min(groups.len());
        if num_threads <= 1 {
            return groups.iter().try_for_each(|group| self.merge(group));
        }
        let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
        let work = || {
            while let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = self.merge(group) {
                    failure.lock().get_or_insert(error);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..num_threads {
                scope.spawn(work);
            }
        });
        failure.into_inner().map_or(Ok(()), Err)
    }

    fn merge(&self, group: &[Uncompacted]) -> Result<()> {
        let Some(first) = group.first() else {
            return Ok(());
        };
        let name = format!("{COMPACTED}{}", first.name);
        if !self.files.exists(&format!("{}/{name}", first.folder))? {
            let mut merged = self.files.create(&first.folder, &name)?;
            match self.write(group, merged.as_mut()) {
                Ok(()) => self.files.publish(&[merged.finish()?])?,
                Err(error) => {
                    if let Err(error) = merged.abort() {
                        tracing::warn!(%error, "a pending file could not be removed");
                    }
                    return Err(error);
                }
            }
        }
        let mut parts = group.iter();
        parts.try_for_each(|part| self.files.remove(&[part.path()]))
    }

    fn write(&self, group: &[Uncompacted], merged: &mut dyn PendingFile) -> Result<()> {
        let schema = &self.encode.schema;
        let decode = DecodeRequest {
            fields: (0..schema.len()).map(FieldPath::column).collect(),
            schema: schema.clone(),
            options: self.encode.options.clone(),
            batch_size: BATCH_ROWS,
        };
        match self.format.reads_files(&decode)? {
            true => self.rewrite(group, &decode, merged),
            // Records that end with their line may stand behind each other.
            false => group.iter().try_for_each(|part| self.copy(part, merged)),
        }
    }

    fn copy(&self, part: &Uncompacted, merged: &mut dyn PendingFile) -> Result<()> {
        let path = part.path();
        let file = FileRef {
            path: &path,
            size_bytes: part.size_bytes,
        };
        let mut input = self.files.open_stream(file, 0)?;
        let mut bytes = vec![0; COPY_BYTES];
        loop {
            match input.read(&mut bytes).map_err(|e| Error::io(&path, &e))? {
                0 => return Ok(()),
                n => merged.write(&bytes[..n])?,
            }
        }
    }

    /// Files with a head or a foot are decoded and encoded again.
    fn rewrite(
        &self,
        group: &[Uncompacted],
        decode: &DecodeRequest,
        merged: &mut dyn PendingFile,
    ) -> Result<()> {
        let mut encoder = self.format.create_encoder(&self.encode)?;
        let mut bytes = Vec::new();
        for part in group {
            let path = part.path();
            let file = FileRef {
                path: &path,
                size_bytes: part.size_bytes,
            };
            let scan = FileScan {
                input: self.files.open_file(file)?,
                start: 0,
                end: u64::MAX,
                position: None,
                predicates: Vec::new(),
            };
            let mut reader = self.format.create_file_reader(decode, scan)?;
            while let Some(rows) = reader.next_batch()? {
                encoder.encode_block(&rows, &mut bytes)?;
                if bytes.len() >= COPY_BYTES {
                    merged.write(&bytes)?;
                    bytes.clear();
                }
            }
        }
        encoder.finish_file(&mut bytes)?;
        merged.write(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use flott_core::schema::{Column, Schema};
    use flott_core::types::LogicalType;

    use super::super::file_system::LocalFiles;
    use super::*;

    fn file(folder: &str, name: &str, size_bytes: u64) -> Uncompacted {
        Uncompacted {
            folder: folder.into(),
            name: name.into(),
            size_bytes,
        }
    }

    #[test]
    fn files_of_a_folder_are_packed_in_the_order_of_their_names() {
        let files = vec![
            file("b", "0", 5),
            file("a", "2", 7),
            file("a", "0", 4),
            file("a", "1", 6),
            file("a", "1", 6),
            file("a", "3", 30),
        ];
        let named: Vec<Vec<String>> = groups(files, 10)
            .into_iter()
            .map(|g| g.into_iter().map(|f| f.folder + &f.name).collect())
            .collect();
        assert_eq!(
            named,
            [vec!["a0", "a1"], vec!["a2"], vec!["a3"], vec!["b0"]]
        );
    }

    /// A crash may come after any step: doing all of it again gives the same file.
    #[test]
    fn compaction_after_a_crash_gives_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_string_lossy().into_owned();
        let schema = Schema::new(vec![Column::new("n", LogicalType::Int.nullable())]);
        let compactor = Compactor {
            files: Arc::new(LocalFiles),
            policy: CompactionPolicy {
                size_bytes: 100,
                parallelism: 2,
            },
            format: Arc::new(flott_formats::JsonFormat),
            encode: EncodeRequest {
                schema,
                options: Options::default(),
            },
        };
        let parts = vec![file(&path, "part-0", 8), file(&path, "part-1", 8)];
        let write_parts = || {
            for (number, part) in parts.iter().enumerate() {
                std::fs::write(part.path(), format!("{{\"n\":{number}}}\n")).unwrap();
            }
        };
        let visible = folder.path().join("compacted-part-0");
        let expected = "{\"n\":0}\n{\"n\":1}\n";
        write_parts();
        compactor.compact(parts.clone()).unwrap();
        assert_eq!(std::fs::read_to_string(&visible).unwrap(), expected);
        // All is done already.
        compactor.compact(parts.clone()).unwrap();
        // The merged file was visible, and not all parts were removed.
        std::fs::write(parts[1].path(), "{\"n\":1}\n").unwrap();
        compactor.compact(parts.clone()).unwrap();
        // The merged file was half written.
        std::fs::remove_file(&visible).unwrap();
        std::fs::write(folder.path().join(".compacted-part-0.inprogress"), "{\"").unwrap();
        write_parts();
        compactor.compact(parts).unwrap();
        assert_eq!(std::fs::read_to_string(&visible).unwrap(), expected);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
