//! A source that plays a script: for tests of jobs.

use std::sync::Arc;

use flott_core::changelog::{ChangelogBatch, ChangelogMode};
use flott_core::clock::Clock;
use flott_core::schema::Schema;
use flott_core::source::{
    ReaderContext, SourcePoll, SourceReader, Split, SplitEnumerator, SplitPoll, SplitProvider,
    TableSource,
};
use flott_core::{Error, Result};

/// One thing that a split gives.
#[derive(Debug, Clone)]
pub enum ScriptItem {
    Batch(ChangelogBatch),
    /// In ms.
    Watermark(i64),
    /// Nothing more before this processing time, in ms.
    WaitUntil(i64),
    /// Fails the reader.
    Fail(Error),
    /// Panics in the reader.
    Panic(String),
}

/// Plays one script for each split.
pub struct ScriptSource {
    schema: Schema,
    splits: Arc<Vec<Vec<ScriptItem>>>,
    is_bounded: bool,
    mode: ChangelogMode,
}

impl ScriptSource {
    pub fn new(schema: Schema, splits: Vec<Vec<ScriptItem>>) -> Self {
        Self {
            schema,
            splits: Arc::new(splits),
            is_bounded: true,
            mode: ChangelogMode::RETRACT,
        }
    }

    /// Its rows are all `+I`.
    pub fn append_only(mut self) -> Self {
        self.mode = ChangelogMode::APPEND;
        self
    }

    /// The source does not end: after its scripts it waits.
    pub fn unbounded(mut self) -> Self {
        self.is_bounded = false;
        self
    }
}

impl TableSource for ScriptSource {
    fn schema(&self) -> Schema {
        self.schema.clone()
    }

    fn changelog_mode(&self) -> ChangelogMode {
        self.mode
    }

    fn is_bounded(&self) -> bool {
        self.is_bounded
    }

    fn create_enumerator(
        &self,
        _: usize,
        restored: Option<&[u8]>,
    ) -> Result<Box<dyn SplitEnumerator>> {
        Ok(Box::new(ScriptEnumerator {
            next: restored.map_or(Ok(0), decode)?,
            num_splits: self.splits.len(),
            is_bounded: self.is_bounded,
        }))
    }

    fn create_reader(&self, context: ReaderContext) -> Result<Box<dyn SourceReader>> {
        let restored = context.restored.iter();
        let open = restored.map(|split| Ok((split.id.clone(), decode(&split.bytes)?)));
        let mut open: Vec<(String, usize)> = open.collect::<Result<_>>()?;
        // In the order in which they were handed out: later splits may hold later rows.
        open.sort_by_key(|(id, _)| decode(id.as_bytes()).unwrap_or(usize::MAX));
        Ok(Box::new(ScriptReader {
            splits: self.splits.clone(),
            open,
            provider: context.splits.clone(),
            subtask: context.subtask,
            clock: context.clock,
        }))
    }
}

fn decode(bytes: &[u8]) -> Result<usize> {
    let text = std::str::from_utf8(bytes).ok();
    text.and_then(|t| t.parse().ok())
        .ok_or_else(|| Error::internal("a script's position is not a number"))
}

fn encode(position: usize) -> Vec<u8> {
    position.to_string().into_bytes()
}

struct ScriptEnumerator {
    next: usize,
    num_splits: usize,
    is_bounded: bool,
}

impl SplitEnumerator for ScriptEnumerator {
    fn next_split(&mut self, _: usize, _: i64) -> Result<SplitPoll> {
        if self.next == self.num_splits {
            return Ok(match self.is_bounded {
                true => SplitPoll::End,
                false => SplitPoll::NoneUntil(i64::MAX),
            });
        }
        let id = self.next.to_string();
        self.next += 1;
        let bytes = encode(0);
        Ok(SplitPoll::Split(Split { id, bytes }))
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        Ok(encode(self.next))
    }
}

struct ScriptReader {
    splits: Arc<Vec<Vec<ScriptItem>>>,
    /// Splits by id, with the position of the next item; the first is read.
    open: Vec<(String, usize)>,
    provider: Arc<dyn SplitProvider>,
    subtask: usize,
    clock: Arc<dyn Clock>,
}

impl SourceReader for ScriptReader {
    fn poll(&mut self) -> Result<SourcePoll> {
        loop {
            let Some((id, position)) = self.open.first_mut() else {
                match self.provider.next_split(self.subtask)? {
                    SplitPoll::Split(split) => self.open.push((split.id, decode(&split.bytes)?)),
                    SplitPoll::PendingUntil(time_ms) => {
                        return Ok(SourcePoll::PendingUntil(time_ms));
                    }
                    SplitPoll::NoneUntil(time_ms) => return Ok(SourcePoll::IdleUntil(time_ms)),
                    SplitPoll::End => return Ok(SourcePoll::End),
                }
                continue;
            };
            let script = self.splits.get(decode(id.as_bytes())?);
            let Some(item) = script.and_then(|s| s.get(*position)) else {
                self.open.remove(0);
                continue;
            };
            if let ScriptItem::WaitUntil(time_ms) = item {
                if self.clock.now_ms() < *time_ms {
                    return Ok(SourcePoll::PendingUntil(*time_ms));
                }
                *position += 1;
                continue;
            }
            *position += 1;
            return match item {
                ScriptItem::Batch(batch) => Ok(SourcePoll::Batch(batch.clone())),
                ScriptItem::Watermark(watermark) => Ok(SourcePoll::Watermark(*watermark)),
                ScriptItem::Fail(error) => Err(error.clone()),
                ScriptItem::Panic(message) => panic!("{message}"),
                ScriptItem::WaitUntil(_) => continue,
            };
        }
    }

    fn snapshot(&mut self) -> Result<Vec<Split>> {
        let open = self.open.iter();
        let splits = open.map(|(id, position)| Split {
            id: id.clone(),
            bytes: encode(*position),
        });
        Ok(splits.collect())
    }
}
