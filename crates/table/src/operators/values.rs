//! Constant rows as a source.

use arrow::record_batch::RecordBatch;
use flott_core::Result;
use flott_core::changelog::ChangelogBatch;
use flott_core::schema::Schema;
use flott_core::source::{
    ReaderContext, SourcePoll, SourceReader, Split, SplitEnumerator, SplitPoll, TableSource,
};

/// Gives constant rows once (`VALUES`); bounded, one subtask.
#[derive(Debug, Clone)]
pub struct ValuesSource {
    pub rows: RecordBatch,
    pub schema: Schema,
}

impl TableSource for ValuesSource {
    fn schema(&self) -> Schema {
        self.schema.clone()
    }

    fn is_bounded(&self) -> bool {
        true
    }

    fn parallelism(&self) -> Option<usize> {
        Some(1)
    }

    fn describe(&self) -> String {
        format!("{} rows", self.rows.num_rows())
    }

    fn create_enumerator(
        &self,
        _parallelism: usize,
        restored: Option<&[u8]>,
    ) -> Result<Box<dyn SplitEnumerator>> {
        let is_given = restored.is_some_and(|bytes| bytes == GIVEN);
        Ok(Box::new(ValuesEnumerator { is_given }))
    }

    fn create_reader(&self, context: ReaderContext) -> Result<Box<dyn SourceReader>> {
        let position = context.restored.first().map(position_of);
        Ok(Box::new(ValuesReader {
            rows: self.rows.clone(),
            position,
            context,
        }))
    }
}

const GIVEN: &[u8] = b"given";
const SPLIT: &str = "values";

/// A reader's split holds the position of the next row, little endian.
fn position_of(split: &Split) -> usize {
    let bytes = split.bytes.as_slice().try_into().unwrap_or_default();
    u64::from_le_bytes(bytes) as usize
}

fn split_at(position: usize) -> Split {
    Split {
        id: SPLIT.to_string(),
        bytes: (position as u64).to_le_bytes().to_vec(),
    }
}

struct ValuesEnumerator {
    is_given: bool,
}

impl SplitEnumerator for ValuesEnumerator {
    fn next_split(&mut self, _subtask: usize, _now_ms: i64) -> Result<SplitPoll> {
        if std::mem::replace(&mut self.is_given, true) {
            return Ok(SplitPoll::End);
        }
        Ok(SplitPoll::Split(split_at(0)))
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        Ok(if self.is_given {
            GIVEN.to_vec()
        } else {
            Vec::new()
        })
    }
}

struct ValuesReader {
    rows: RecordBatch,
    /// The next row of the split at hand.
    position: Option<usize>,
    context: ReaderContext,
}

impl SourceReader for ValuesReader {
    fn poll(&mut self) -> Result<SourcePoll> {
        loop {
            match self.position {
                Some(at) if at < self.rows.num_rows() => {
                    let length = self
                        .context
                        .batch_size
                        .max(1)
                        .min(self.rows.num_rows() - at);
                    self.position = Some(at + length);
                    let batch = self.rows.slice(at, length);
                    return Ok(SourcePoll::Batch(ChangelogBatch::insert_only(batch)));
                }
                _ => self.position = None,
            }
            match self.context.splits.next_split(self.context.subtask)? {
                SplitPoll::Split(split) => self.position = Some(position_of(&split)),
                SplitPoll::PendingUntil(at) => return Ok(SourcePoll::PendingUntil(at)),
                SplitPoll::NoneUntil(at) => return Ok(SourcePoll::IdleUntil(at)),
                SplitPoll::End => return Ok(SourcePoll::End),
            }
        }
    }

    fn snapshot(&mut self) -> Result<Vec<Split>> {
        Ok(self.position.map(split_at).into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::operators::collect::{batch, ints};
    use flott_core::clock::ManualClock;
    use flott_core::schema::Column;
    use flott_core::types::LogicalType;
    use std::sync::Mutex;

    struct Splits(Mutex<Box<dyn SplitEnumerator>>);

    impl flott_core::source::SplitProvider for Splits {
        fn next_split(&self, subtask: usize) -> Result<SplitPoll> {
            self.0.lock().unwrap().next_split(subtask, 0)
        }
    }

    fn context(enumerator: Box<dyn SplitEnumerator>, restored: Vec<Split>) -> ReaderContext {
        ReaderContext {
            subtask: 0,
            parallelism: 1,
            clock: ManualClock::at_ms(0),
            metrics: Arc::default(),
            splits: Arc::new(Splits(Mutex::new(enumerator))),
            waker: Arc::new(|| ()),
            restored,
            batch_size: 2,
        }
    }

    fn read(reader: &mut dyn SourceReader) -> usize {
        match reader.poll().unwrap() {
            SourcePoll::Batch(batch) => batch.num_rows(),
            _ => 0,
        }
    }

    #[test]
    fn rows_come_once_also_after_a_restore() {
        let (rows, _) = batch("", vec![("a", ints([1, 2, 3]))]).into_parts();
        let column = Column::new("a", LogicalType::Int.nullable());
        let source = ValuesSource {
            rows,
            schema: Schema::new(vec![column]),
        };
        let splits = source.create_enumerator(1, None).unwrap();
        let mut reader = source.create_reader(context(splits, vec![])).unwrap();
        assert_eq!(read(reader.as_mut()), 2);
        let positions = reader.snapshot().unwrap();
        assert_eq!((read(reader.as_mut()), read(reader.as_mut())), (1, 0));

        let splits = source.create_enumerator(1, Some(GIVEN)).unwrap();
        let restored = context(splits, positions);
        let mut reader = source.create_reader(restored).unwrap();
        assert_eq!((read(reader.as_mut()), read(reader.as_mut())), (1, 0));
    }
}
