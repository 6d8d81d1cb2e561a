//! Pieces of files, and the enumerator that finds them.

use std::collections::{BTreeSet, VecDeque};

use flott_core::Result;
use flott_core::source::{Split, SplitEnumerator, SplitPoll};

use super::codec::{Decoding, Encoding};
use super::file_system::{FileRef, is_object_uri};
use super::input::is_compressed;
use super::listing::{FileFilter, FoundFile};

/// Splittable files are cut in pieces of this many bytes.
pub(super) const SPLIT_BYTES: u64 = 64 << 20;

/// A piece of a file: the records that begin in `start..end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileSplit {
    pub path: String,
    pub size_bytes: u64,
    pub modified_ms: i64,
    pub start: u64,
    /// `u64::MAX` for the rest of the file.
    pub end: u64,
    /// Where the next record begins, once reading has begun; counted in decompressed bytes, or
    /// what the format's own reader calls a position.
    pub position: Option<u64>,
}

impl FileSplit {
    /// The file that it is a piece of.
    pub fn file(&self) -> FileRef<'_> {
        FileRef {
            path: &self.path,
            size_bytes: self.size_bytes,
        }
    }

    pub fn to_split(&self) -> Split {
        let mut encoding = Encoding::default();
        encoding
            .text(&self.path)
            .number(self.size_bytes)
            .number(self.modified_ms as u64)
            .number(self.start)
            .number(self.end)
            .number(self.position.unwrap_or(u64::MAX));
        Split {
            id: format!("{}:{}", self.path, self.start),
            bytes: encoding.0,
        }
    }

    pub fn from_split(split: &Split) -> Result<Self> {
        Self::decode(&mut Decoding(&split.bytes))
    }

    fn decode(decoding: &mut Decoding<'_>) -> Result<Self> {
        Ok(Self {
            path: decoding.text()?,
            size_bytes: decoding.number()?,
            modified_ms: decoding.number()? as i64,
            start: decoding.number()?,
            end: decoding.number()?,
            position: Some(decoding.number()?).filter(|p| *p != u64::MAX),
        })
    }

    /// The pieces of a file, `split_bytes` each, or the whole of one that cannot be cut.
    pub fn cut(file: &FoundFile, split_bytes: Option<u64>) -> Vec<Self> {
        let piece = |start: u64, end: u64| Self {
            path: file.path.clone(),
            size_bytes: file.size_bytes,
            modified_ms: file.modified_ms,
            start,
            end,
            position: None,
        };
        match split_bytes {
            Some(bytes) if file.size_bytes > bytes && !is_compressed(&file.path) => {
                let starts = (0..file.size_bytes).step_by(bytes as usize);
                starts
                    .map(|start| match start + bytes {
                        end if end < file.size_bytes => piece(start, end),
                        _ => piece(start, u64::MAX),
                    })
                    .collect()
            }
            _ => vec![piece(0, u64::MAX)],
        }
    }
}

/// Lists the table's files once, or again and again.
pub(super) struct FileEnumerator {
    filter: FileFilter,
    split_bytes: Option<u64>,
    /// How often to look for new files; `None` reads what is there and ends.
    monitor_interval_ms: Option<i64>,
    waiting: VecDeque<FileSplit>,
    /// The paths found so far, kept while looking for new ones.
    seen: BTreeSet<String>,
    is_listed: bool,
    next_listing_ms: i64,
    /// What planning has found just now.
    first_listing: Option<Vec<FoundFile>>,
}

impl FileEnumerator {
    pub fn new(
        filter: FileFilter,
        split_bytes: Option<u64>,
        monitor_interval_ms: Option<i64>,
        restored: Option<&[u8]>,
        first_listing: Option<Vec<FoundFile>>,
    ) -> Result<Self> {
        let mut enumerator = Self {
            filter,
            split_bytes,
            monitor_interval_ms,
            waiting: VecDeque::new(),
            seen: BTreeSet::new(),
            is_listed: false,
            next_listing_ms: i64::MIN,
            first_listing,
        };
        if let Some(bytes) = restored {
            let mut decoding = Decoding(bytes);
            enumerator.is_listed = decoding.number()? == 1;
            for _ in 0..decoding.number()? {
                enumerator.seen.insert(decoding.text()?);
            }
            while !decoding.is_empty() {
                enumerator
                    .waiting
                    .push_back(FileSplit::decode(&mut decoding)?);
            }
        }
        Ok(enumerator)
    }

    /// The table's files. A folder of an object store is not there before its first object is: one
    /// that is watched is waited for.
    fn list(&mut self) -> Result<Vec<FoundFile>> {
        if let Some(files) = self.first_listing.take() {
            return Ok(files);
        }
        match self.filter.list() {
            Err(error)
                if error.code() == "FILE_NOT_FOUND"
                    && self.monitor_interval_ms.is_some()
                    && is_object_uri(&self.filter.path) =>
            {
                Ok(Vec::new())
            }
            other => other,
        }
    }

    fn discover(&mut self) -> Result<()> {
        for file in self.list()? {
            if self.monitor_interval_ms.is_some() && !self.seen.insert(file.path.clone()) {
                continue;
            }
            self.waiting.extend(FileSplit::cut(&file, self.split_bytes));
        }
        self.is_listed = true;
        Ok(())
    }
}

impl SplitEnumerator for FileEnumerator {
    fn next_split(&mut self, _subtask: usize, now_ms: i64) -> Result<SplitPoll> {
        let is_due = match self.monitor_interval_ms {
            None => !self.is_listed,
            Some(_) => self.waiting.is_empty() && now_ms >= self.next_listing_ms,
        };
        if is_due {
            self.discover()?;
            let interval_ms = self.monitor_interval_ms.unwrap_or(0);
            self.next_listing_ms = now_ms.saturating_add(interval_ms);
        }
        Ok(match (self.waiting.pop_front(), self.monitor_interval_ms) {
            (Some(split), _) => SplitPoll::Split(split.to_split()),
            (None, None) => SplitPoll::End,
            (None, Some(_)) => SplitPoll::NoneUntil(self.next_listing_ms),
        })
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        let mut encoding = Encoding::default();
        encoding
            .number(u64::from(self.is_listed))
            .number(self.seen.len() as u64);
        for path in &self.seen {
            encoding.text(path);
        }
        for split in &self.waiting {
            encoding.0.extend_from_slice(&split.to_split().bytes);
        }
        Ok(encoding.0)
    }
}
