//! Dead letters of files: records that cannot be read, with the file, line and byte they stand at.

use std::sync::Arc;

use flott_core::Result;
use flott_core::changelog::ChangelogBatch;
use flott_core::dead_letter::{DeadLetter, DeadLetters};
use flott_core::format::Rejected;

use super::reader::ScanPlan;

/// The letters of a split being read.
pub(super) struct Letters {
    gathered: DeadLetters,
    source: Arc<str>,
    file: Arc<str>,
    /// Lines before the split, once someone has counted them.
    lines_before: Option<u64>,
    num_counted: u64,
}

impl Letters {
    /// `None` where the table has no place for them.
    pub fn new(plan: &ScanPlan, file: &str) -> Option<Self> {
        let source = plan.dead_letters.clone()?;
        Some(Self {
            gathered: DeadLetters::new(&plan.schema),
            source,
            file: file.into(),
            lines_before: None,
            num_counted: 0,
        })
    }

    /// Adds records of a decoder whose first block began at `offset` of the file; `count_lines`
    /// tells how many lines stand before that.
    pub fn add(
        &mut self,
        rejected: Vec<Rejected>,
        offset: u64,
        now_ms: i64,
        count_lines: impl FnOnce() -> Result<u64>,
    ) -> Result<()> {
        let before = match self.lines_before {
            Some(lines) => lines,
            None => *self.lines_before.insert(count_lines()?),
        };
        for record in rejected {
            self.num_counted += 1;
            self.gathered.push(DeadLetter {
                source: self.source.clone(),
                file: Some(self.file.clone()),
                line: Some((before + record.line) as i64),
                offset: Some((offset + record.offset) as i64),
                raw: Some(record.raw),
                reason: record.reason,
                time_ms: now_ms,
                ..DeadLetter::default()
            });
        }
        Ok(())
    }

    /// How many have been added since the last call.
    pub fn take_count(&mut self) -> u64 {
        std::mem::take(&mut self.num_counted)
    }

    /// The rows with the letters gathered behind them.
    pub fn complete(&mut self, rows: Option<ChangelogBatch>) -> Result<Option<ChangelogBatch>> {
        self.gathered.complete(rows)
    }
}
