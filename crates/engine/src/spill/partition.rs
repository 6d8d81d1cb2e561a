//! One partition of an operator's state: an instance in memory, or its snapshot in files.

use std::ops::Range;
use std::sync::Arc;

use flott_core::changelog::ChangelogBatch;
use flott_core::metrics::OperatorMetrics;
use flott_core::operator::{
    Operator, OperatorContext, OperatorFactory, Output, StateSnapshot, StateTable,
};
use flott_core::time::MIN_WATERMARK;
use flott_core::{Error, Result};

use super::files::{SpillFolder, write_rows};
use super::split::all_rows;
use super::waiting::Waiting;

/// A snapshot in files, and what was known of its instance.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    /// Whole tables.
    pub snapshot: StateSnapshot,
    pub next_event_time: Option<i64>,
    pub next_timer_ms: Option<i64>,
    /// In memory.
    pub state_bytes: usize,
}

/// One partition.
pub(super) struct Partition {
    pub groups: Range<usize>,
    /// `None` when the state is in files only.
    pub operator: Option<Box<dyn Operator>>,
    /// The files, as long as the instance has not changed since.
    pub stored: Option<Stored>,
    pub waiting: Waiting,
    /// Since when rows or a watermark wait for the state, in processing-time ms.
    pub since_ms: Option<i64>,
    /// The last watermark that an instance was told.
    pub watermark: i64,
    /// The last watermark that the instance before was told.
    resumes_at: i64,
    /// By input, whether the instance was told its end.
    pub told_ends: Vec<bool>,
    /// Whether it has changed since the last snapshot of the whole operator.
    pub is_unreported: bool,
    /// Whether the instance's own snapshots do not go back to what was reported last.
    pub reports_all: bool,
    /// The number of the batch that used it last.
    pub last_used: u64,
    /// Of this partition's instances alone.
    pub metrics: Arc<OperatorMetrics>,
    num_late_told: u64,
    pub is_finished: bool,
}

/// Passes rows on, counts their bytes, and keeps the watermarks of single partitions back.
pub(super) struct RowsOnly<'a> {
    out: &'a mut dyn Output,
    pub num_bytes: usize,
}

impl<'a> RowsOnly<'a> {
    pub fn new(out: &'a mut dyn Output) -> Self {
        Self { out, num_bytes: 0 }
    }
}

impl Output for RowsOnly<'_> {
    fn emit(&mut self, batch: ChangelogBatch) -> Result<()> {
        self.num_bytes += crate::partition::size_bytes(&batch);
        self.out.emit(batch)
    }

    fn watermark(&mut self, _: i64) -> Result<()> {
        Ok(())
    }
}

/// What the host knows that its partitions' instances have to be told.
pub(super) struct News {
    /// `None` when watermarks mean nothing to the operator.
    pub watermark: Option<i64>,
    pub ends: Vec<bool>,
    pub batch_number: u64,
}

impl Partition {
    /// An empty one without an instance.
    pub fn new(groups: Range<usize>, num_inputs: usize) -> Self {
        Self {
            groups,
            operator: None,
            stored: None,
            waiting: Waiting::default(),
            since_ms: None,
            watermark: MIN_WATERMARK,
            resumes_at: MIN_WATERMARK,
            told_ends: vec![false; num_inputs],
            is_unreported: false,
            reports_all: false,
            last_used: 0,
            metrics: Arc::default(),
            num_late_told: 0,
            is_finished: false,
        }
    }

    pub fn is_loaded(&self) -> bool {
        self.operator.is_some()
    }

    /// Of the instance.
    pub fn state_bytes(&self) -> usize {
        self.operator.as_ref().map_or(0, |o| o.state_bytes())
    }

    /// Of the instance and of the rows that wait in memory.
    pub fn memory_bytes(&self) -> usize {
        self.state_bytes() + self.waiting.memory_bytes()
    }

    /// Of files that stand for something: those of an instance in memory do not.
    pub fn file_bytes(&self) -> usize {
        let stored = self.stored.as_ref().filter(|_| !self.is_loaded());
        self.waiting.file_bytes() + stored.map_or(0, |s| s.snapshot.size_bytes())
    }

    /// Bytes that the state takes when it is read back.
    pub fn stored_bytes(&self) -> usize {
        self.stored.as_ref().map_or(0, |s| s.state_bytes)
    }

    /// The instance is about to change.
    pub fn touch(&mut self, batch_number: u64) {
        self.stored = None;
        self.is_unreported = true;
        self.last_used = batch_number;
    }

    pub fn instance(&mut self) -> Result<&mut Box<dyn Operator>> {
        let operator = self.operator.as_mut();
        operator.ok_or_else(|| Error::internal("a partition without an instance"))
    }

    /// Drops the instance, whose state is in files.
    pub fn unload(&mut self) {
        if let (Some(operator), Some(stored)) = (self.operator.take(), &mut self.stored) {
            stored.next_event_time = operator.next_event_time();
            stored.next_timer_ms = operator.next_timer_ms();
            stored.state_bytes = operator.state_bytes();
        }
    }

    /// Everything the instance has, as a snapshot.
    pub fn whole(&mut self) -> Result<Stored> {
        let operator = self.instance()?;
        let state_bytes = operator.state_bytes();
        operator.restart_snapshots();
        Ok(Stored {
            snapshot: operator.snapshot()?,
            next_event_time: operator.next_event_time(),
            next_timer_ms: operator.next_timer_ms(),
            state_bytes,
        })
    }

    /// Writes the state of the instance to files unless it is there already.
    pub fn store(&mut self, folder: &Arc<SpillFolder>) -> Result<()> {
        if self.stored.is_some() {
            return Ok(());
        }
        let mut stored = self.whole()?;
        let tables = stored.snapshot.tables.iter().map(|table| {
            let files = write_rows(folder, all_rows(table).read())?;
            Ok(StateTable::full(&table.name, table.scope, files))
        });
        stored.snapshot.tables = tables.collect::<Result<_>>()?;
        self.stored = Some(stored);
        Ok(())
    }

    /// Makes an instance and reads the state back.
    pub fn load(&mut self, factory: &dyn OperatorFactory, context: &OperatorContext) -> Result<()> {
        let mut operator = factory.create()?;
        operator.open(&OperatorContext {
            metrics: self.metrics.clone(),
            ..context.clone()
        })?;
        let snapshot = match &self.stored {
            Some(stored) => stored.snapshot.clone(),
            None => StateSnapshot::default(),
        };
        if !snapshot.tables.is_empty() {
            operator.restore(snapshot)?;
            context.metrics.num_state_loads.add(1);
        }
        self.resumes_at = std::mem::replace(&mut self.watermark, MIN_WATERMARK);
        // Its changes count from what is in the files: was that reported?
        self.reports_all = self.is_unreported;
        self.told_ends.fill(false);
        self.operator = Some(operator);
        Ok(())
    }

    /// Gives the instance the rows that wait and tells it what it has missed, in the order in which
    /// all came; stops when so many bytes have been sent. Gives whether it is up to date.
    pub fn catch_up(
        &mut self,
        news: &News,
        most_bytes: usize,
        out: &mut dyn Output,
    ) -> Result<bool> {
        let mut out = RowsOnly::new(out);
        if news.watermark.is_some() {
            self.tell_watermark(self.resumes_at, &mut out)?;
        }
        while let Some(before) = self.waiting.first_watermark() {
            if out.num_bytes >= most_bytes {
                return Ok(false);
            }
            if let Some(watermark) = news.watermark {
                self.tell_watermark(before.min(watermark), &mut out)?;
            }
            if let Some((arrival, batch)) = self.waiting.take_first()? {
                self.touch(news.batch_number);
                self.instance()?.process(arrival.input, batch, &mut out)?;
            }
        }
        if let Some(watermark) = news.watermark {
            self.tell_watermark(watermark, &mut out)?;
        }
        self.tell_ends(&news.ends, &mut out)?;
        self.since_ms = None;
        Ok(true)
    }

    fn tell_ends(&mut self, ends: &[bool], out: &mut dyn Output) -> Result<()> {
        for (input, &has_ended) in ends.iter().enumerate() {
            if has_ended && !self.told_ends[input] {
                self.told_ends[input] = true;
                self.stored = None;
                self.is_unreported = true;
                self.instance()?.input_ended(input, out)?;
            }
        }
        Ok(())
    }

    /// Tells the instance the watermark if it is news.
    pub fn tell_watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<()> {
        if watermark <= self.watermark {
            return Ok(());
        }
        self.watermark = watermark;
        let operator = self.instance()?;
        let due = operator.next_event_time();
        operator.watermark(watermark, out)?;
        if due.is_some_and(|due| due <= watermark) {
            self.stored = None;
            self.is_unreported = true;
        }
        Ok(())
    }

    /// The least watermark that would do something now.
    pub fn next_event_time(&self) -> Option<i64> {
        match (&self.operator, &self.stored) {
            (Some(operator), _) => operator.next_event_time(),
            (None, Some(stored)) => stored.next_event_time,
            (None, None) => Some(i64::MAX),
        }
    }

    pub fn next_timer_ms(&self) -> Option<i64> {
        match (&self.operator, &self.stored) {
            (Some(operator), _) => operator.next_timer_ms(),
            (None, stored) => stored.as_ref().and_then(|s| s.next_timer_ms),
        }
    }

    /// What the host may send on as far as this partition is concerned: no row comes from here any
    /// more that was there before. `watermark` is the host's.
    pub fn clear_watermark(&self, watermark: i64, uses_watermarks: bool) -> i64 {
        if self.is_finished {
            return watermark;
        }
        let arrived = self.waiting.first_watermark().unwrap_or(watermark);
        let arrived = arrived.min(watermark);
        if !uses_watermarks {
            return arrived;
        }
        let due = self.next_event_time().unwrap_or(i64::MAX);
        arrived
            .min(due.saturating_sub(1))
            .max(self.watermark.min(watermark))
    }

    /// Rows dropped as late since the last time.
    pub fn new_late_rows(&mut self) -> u64 {
        let num_late = self.metrics.num_late_records_dropped.get();
        let new = num_late - self.num_late_told;
        self.num_late_told = num_late;
        new
    }
}
