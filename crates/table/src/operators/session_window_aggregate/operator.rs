//! The driver of the aggregation by session.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, UInt16Array};
use arrow::compute::{filter, filter_record_batch};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use flott_core::changelog::ChangelogBatch;
use flott_core::operator::{
    Operator, OperatorContext, Output, StateScope, StateSnapshot, StateTable,
};
use flott_core::time::MIN_WATERMARK;
use flott_core::{Error, Result};
use flott_state::{ChangeTracker, GroupTable};

use super::SessionWindowAggregateConfig;
use super::sessions::{Session, Sessions};
use crate::aggregates::Phase;
use crate::operators::aggregate_table::{
    Accumulators, AggregateLayout, additions, named_batch, state_batch,
};
use crate::operators::evaluate::{WallClock, batch_of};
use crate::operators::window_aggregate::Bounds;
use crate::operators::window_tvf::WindowTime;

/// Sessions with their keys and partial states.
pub(super) const SESSIONS: &str = "sessions";
/// How far sessions have been sent.
const PROGRESS: &str = "progress";
/// The start of a session that no snapshot has told of.
const UNTOLD: i64 = i64::MIN;
/// The session of a late row.
const LATE: u32 = u32::MAX;

pub(super) struct SessionWindowAggregate {
    config: SessionWindowAggregateConfig,
    layout: Arc<AggregateLayout>,
    wall: WallClock,
    context: Option<OperatorContext>,
    keys: GroupTable,
    row_keys: Vec<u32>,
    sessions: Sessions,
    /// By the sessions' numbers.
    accumulators: Accumulators,
    progress: i64,
    /// By the sessions' numbers.
    changes: ChangeTracker,
    /// By number the start that the last snapshot told, which is part of the session's key there.
    told_starts: Vec<i64>,
}

impl SessionWindowAggregate {
    pub fn new(config: SessionWindowAggregateConfig) -> Result<Self> {
        if config.gap_ms <= 0 {
            let message = format!(
                "a session's gap is {} ms; it has to be positive",
                config.gap_ms
            );
            return Err(Error::user("WINDOW", message));
        }
        let times = match config.time {
            WindowTime::Rowtime(column) => vec![column],
            WindowTime::Proctime => Vec::new(),
        };
        let layout = Arc::new(AggregateLayout::new(
            &config.input_schema,
            &config.key_columns,
            &config.calls,
            Phase::Complete,
            config.input_is_retracting,
            &times,
        ));
        Ok(Self {
            wall: WallClock::new(config.time_zone),
            context: None,
            keys: layout.group_table()?,
            row_keys: Vec::new(),
            sessions: Sessions::default(),
            accumulators: Accumulators::new(&layout)?,
            progress: MIN_WATERMARK,
            changes: ChangeTracker::default(),
            told_starts: Vec::new(),
            layout,
            config,
        })
    }

    fn is_proctime(&self) -> bool {
        self.config.time == WindowTime::Proctime
    }

    fn now_ms(&self) -> i64 {
        self.context.as_ref().map_or(0, |c| c.clock.now_ms())
    }

    /// The session of each row; [`LATE`] for late ones. Sessions of before that have become one
    /// are merged.
    fn assign(&mut self, rows: &RecordBatch, times: &Int64Array) -> Result<Vec<u32>> {
        let keys = self.layout.keys(rows);
        self.keys
            .assign(&keys, rows.num_rows(), &mut self.row_keys)?;
        self.sessions.resize_keys(self.keys.capacity());
        let (wall, is_proctime, progress) = (self.wall, self.is_proctime(), self.progress);
        let is_closed = |end| closes(wall, is_proctime, end, progress);
        let mut merges = Vec::new();
        let mut numbers = Vec::with_capacity(rows.num_rows());
        for (&key, &time) in self.row_keys.iter().zip(times.values()) {
            let end = time.saturating_add(self.config.gap_ms);
            let number = self.sessions.insert(key, time, end, is_closed, &mut merges);
            numbers.push(number.unwrap_or(LATE));
        }
        self.accumulators.resize(self.sessions.capacity());
        if !merges.is_empty() {
            let known = numbers.iter_mut().filter(|n| **n != LATE);
            known.for_each(|n| *n = self.sessions.root(*n));
            self.merge(&merges)?;
        }
        Ok(numbers)
    }

    fn merge(&mut self, merges: &[(u32, u32)]) -> Result<()> {
        let merged: Vec<u32> = merges.iter().map(|&(from, _)| from).collect();
        let into: Vec<u32> = merged.iter().map(|&n| self.sessions.root(n)).collect();
        let states = self.accumulators.states(&merged)?;
        self.accumulators.merge(&into, &states)?;
        self.changes.mark(&into, self.sessions.capacity());
        self.forget_told(&merged)?;
        self.accumulators.clear(&merged);
        self.sessions.release(merged);
        Ok(())
    }

    /// Takes in the rows that are not late.
    fn take_in(
        &mut self,
        numbers: Vec<u32>,
        rows: &RecordBatch,
        adds: Option<&BooleanArray>,
    ) -> Result<()> {
        let is_kept = BooleanArray::from_iter(numbers.iter().map(|&n| Some(n != LATE)));
        let num_late = is_kept.false_count();
        if num_late == 0 {
            self.changes.mark(&numbers, self.sessions.capacity());
            return self.accumulators.take_in(&numbers, rows, adds);
        }
        if let Some(context) = &self.context {
            let dropped = &context.metrics.num_late_records_dropped;
            dropped.add(num_late as u64);
        }
        let rows = filter_record_batch(rows, &is_kept)?;
        let adds = match adds {
            Some(adds) => Some(filter(adds, &is_kept)?.as_boolean().clone()),
            None => None,
        };
        let numbers: Vec<u32> = numbers.into_iter().filter(|&n| n != LATE).collect();
        self.changes.mark(&numbers, self.sessions.capacity());
        self.accumulators.take_in(&numbers, &rows, adds.as_ref())?;
        self.forget_keys(self.row_keys.clone());
        Ok(())
    }

    /// Removes those of these keys that have no session.
    fn forget_keys(&mut self, mut keys: Vec<u32>) {
        keys.sort_unstable();
        keys.dedup();
        keys.retain(|&k| self.sessions.is_without(k));
        self.keys.remove(&keys);
    }

    fn fire(&mut self, progress: i64, out: &mut dyn Output) -> Result<()> {
        if progress <= self.progress {
            return Ok(());
        }
        let (wall, is_proctime) = (self.wall, self.is_proctime());
        let closed = self
            .sessions
            .close(|end| closes(wall, is_proctime, end, progress));
        self.progress = progress;
        if closed.is_empty() {
            return Ok(());
        }
        let shown = closed.iter().copied();
        let shown: Vec<_> = shown
            .filter(|&(n, _)| self.accumulators.has_rows(n))
            .collect();
        if !shown.is_empty() {
            self.send(&shown, out)?;
        }
        let numbers: Vec<u32> = closed.iter().map(|&(n, _)| n).collect();
        self.forget_told(&numbers)?;
        self.accumulators.clear(&numbers);
        self.forget_keys(closed.iter().map(|(_, s)| s.key).collect());
        Ok(())
    }

    fn send(&self, closed: &[(u32, Session)], out: &mut dyn Output) -> Result<()> {
        let (numbers, sessions): (Vec<u32>, Vec<Session>) = closed.iter().copied().unzip();
        let mut columns = self.key_columns(&sessions)?;
        columns.extend(self.accumulators.results(&numbers)?);
        let bounds = Bounds {
            starts: sessions.iter().map(|s| s.start).collect(),
            ends: sessions.iter().map(|s| s.end).collect(),
            now_ms: self.now_ms(),
            wall: self.wall,
        };
        let schema = &self.config.schema;
        bounds.append(&self.config.properties, schema, &mut columns)?;
        let batch = batch_of(schema.clone(), columns, numbers.len())?;
        out.emit(ChangelogBatch::insert_only(batch))
    }

    fn max_parallelism(&self) -> usize {
        self.context.as_ref().map_or(1, |c| c.max_parallelism)
    }

    /// Key groups, starts and keys of sessions with these starts.
    fn state_keys(&self, numbers: &[u32], starts: Vec<i64>) -> Result<Vec<ArrayRef>> {
        let sessions: Vec<Session> = numbers.iter().map(|&n| self.sessions.get(n)).collect();
        let max_parallelism = self.max_parallelism();
        let key_groups = sessions.iter();
        let key_groups = key_groups.map(|s| self.keys.key_group(s.key, max_parallelism));
        let key_groups: ArrayRef = Arc::new(UInt16Array::from_iter_values(key_groups));
        let mut columns = vec![key_groups, Arc::new(Int64Array::from(starts))];
        columns.extend(self.key_columns(&sessions)?);
        Ok(columns)
    }

    /// What the last snapshot told of these sessions holds no more: the next will say so.
    fn forget_told(&mut self, numbers: &[u32]) -> Result<()> {
        if !self.changes.is_on() {
            return Ok(());
        }
        let told_start = |n: u32| self.told_starts.get(n as usize).copied().unwrap_or(UNTOLD);
        let told = numbers.iter().copied();
        let told: Vec<u32> = told.filter(|&n| told_start(n) != UNTOLD).collect();
        let starts: Vec<i64> = told.iter().map(|&n| told_start(n)).collect();
        let keys = state_batch(self.state_keys(&told, starts)?, told.len())?;
        for &number in &told {
            self.told_starts[number as usize] = UNTOLD;
        }
        let num_left = self.sessions.capacity();
        self.changes.remove(numbers, keys, num_left);
        Ok(())
    }

    fn sessions_table(&mut self) -> Result<StateTable> {
        let says_changes = self.changes.is_on();
        let numbers = match says_changes {
            true => self.changes.changed(),
            false => {
                self.told_starts.clear();
                self.sessions.open()
            }
        };
        let starts = numbers.iter().map(|&n| self.sessions.get(n).start);
        let starts: Vec<i64> = starts.collect();
        self.told_starts.resize(self.sessions.capacity(), UNTOLD);
        let moved = numbers.iter().zip(&starts).filter(|&(&number, &start)| {
            let told = self.told_starts[number as usize];
            told != UNTOLD && told != start
        });
        let moved: Vec<u32> = moved.map(|(&number, _)| number).collect();
        self.forget_told(&moved)?;
        let mut columns = self.state_keys(&numbers, starts)?;
        let ends = numbers.iter().map(|&n| self.sessions.get(n).end);
        columns.push(Arc::new(Int64Array::from_iter_values(ends)));
        columns.extend(self.accumulators.states(&numbers)?);
        let mut names = ["key_group", "window_start"].map(String::from).to_vec();
        names.extend(self.layout.key_names());
        names.push("window_end".into());
        names.extend(self.accumulators.state_names());
        let rows = named_batch(names, columns, numbers.len())?;
        self.told(&numbers);
        let gone = self.changes.take_removed();
        // It may have stopped itself just now.
        let says_changes = says_changes && self.changes.is_on();
        self.changes.begin();
        if !says_changes {
            return Ok(StateTable::full(SESSIONS, StateScope::Keyed, rows));
        }
        let key_columns = 2 + self.layout.num_keys();
        Ok(StateTable::delta(SESSIONS, key_columns, rows, gone))
    }

    /// These sessions have been told as they are now.
    fn told(&mut self, numbers: &[u32]) {
        self.told_starts.resize(self.sessions.capacity(), UNTOLD);
        for &number in numbers {
            self.told_starts[number as usize] = self.sessions.get(number).start;
        }
    }

    fn size_bytes(&self) -> usize {
        let sessions = self.sessions.size_bytes() + self.told_starts.capacity() * 8;
        self.keys.size_bytes() + self.accumulators.size_bytes() + sessions
    }

    fn key_columns(&self, sessions: &[Session]) -> Result<Vec<ArrayRef>> {
        let keys: Vec<u32> = sessions.iter().map(|s| s.key).collect();
        self.keys.keys(&keys)
    }

    fn times(&self, rows: &RecordBatch) -> Result<Int64Array> {
        let column = match self.config.time {
            WindowTime::Rowtime(column) => self.layout.position(column)?,
            WindowTime::Proctime => 0,
        };
        let time = match self.config.time {
            WindowTime::Rowtime(_) => WindowTime::Rowtime(column),
            WindowTime::Proctime => WindowTime::Proctime,
        };
        let clock = self.context.as_ref().map(|c| &c.clock);
        let times = time.local_times(rows, clock, self.wall)?;
        if times.null_count() > 0 {
            let message = "the rowtime of a row is NULL; filter such rows out before the window";
            return Err(Error::user("ROWTIME", message));
        }
        Ok(times)
    }

    fn restore_batch(&mut self, batch: &RecordBatch) -> Result<()> {
        let (keys, rest) = batch.columns()[2..].split_at(self.layout.num_keys());
        let (ends, states) = rest.split_at(1);
        self.keys
            .assign(keys, batch.num_rows(), &mut self.row_keys)?;
        self.sessions.resize_keys(self.keys.capacity());
        let starts = batch.column(1).as_primitive::<Int64Type>().values();
        let ends = ends[0].as_primitive::<Int64Type>().values();
        let rows = self.row_keys.iter().zip(starts).zip(ends);
        let numbers = rows.map(|((&key, &start), &end)| self.sessions.create(key, start, end));
        let numbers: Vec<u32> = numbers.collect();
        self.accumulators.resize(self.sessions.capacity());
        self.accumulators.merge(&numbers, states)
    }
}

fn closes(wall: WallClock, is_proctime: bool, end: i64, progress: i64) -> bool {
    match is_proctime {
        true => wall.epoch(end) <= progress,
        false => wall.epoch(end - 1) <= progress,
    }
}

impl Operator for SessionWindowAggregate {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        self.context = Some(context.clone());
        Ok(())
    }

    fn process(&mut self, _: usize, batch: ChangelogBatch, out: &mut dyn Output) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        if self.is_proctime() {
            self.fire(self.now_ms(), out)?;
        }
        let adds = additions(&batch);
        let rows = self.layout.pick(batch.rows())?;
        let times = self.times(&rows)?;
        let numbers = self.assign(&rows, &times)?;
        self.take_in(numbers, &rows, adds.as_ref())
    }

    fn watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<()> {
        if !self.is_proctime() {
            self.fire(watermark, out)?;
        }
        out.watermark(watermark)
    }

    fn next_timer_ms(&self) -> Option<i64> {
        let end = self.sessions.next_end().filter(|_| self.is_proctime())?;
        Some(self.wall.epoch(end))
    }

    fn on_timer(&mut self, now_ms: i64, out: &mut dyn Output) -> Result<()> {
        self.fire(now_ms, out)
    }

    fn finish(&mut self, out: &mut dyn Output) -> Result<()> {
        // No time will come that closes what is open: every row is counted all the same.
        match self.is_proctime() {
            true => self.fire(i64::MAX, out),
            false => Ok(()),
        }
    }

    fn snapshot(&mut self) -> Result<StateSnapshot> {
        if let Some(context) = &self.context {
            let metrics = &context.metrics;
            metrics.num_keys.set(self.keys.len() as i64);
            metrics.state_size_bytes.set(self.size_bytes() as i64);
        }
        let sessions = self.sessions_table()?;
        let progress: ArrayRef = Arc::new(Int64Array::from_value(self.progress, 1));
        let progress = state_batch(vec![progress], 1)?;
        Ok(StateSnapshot {
            tables: vec![
                sessions,
                StateTable::full(PROGRESS, StateScope::Union, progress),
            ],
        })
    }

    fn restore(&mut self, snapshot: StateSnapshot) -> Result<()> {
        // With idle inputs subtasks may have come differently far: a window that one of them has
        // not sent must not count as sent.
        let mut least = None;
        for batch in snapshot.table(PROGRESS) {
            let batch = &batch?;
            let progress = batch.column(0).as_primitive::<Int64Type>().values();
            least = least.into_iter().chain(progress.iter().copied()).min();
        }
        self.progress = least.unwrap_or(self.progress);
        for batch in snapshot.table(SESSIONS) {
            self.restore_batch(&batch?)?;
        }
        self.told(&self.sessions.open());
        self.changes.begin();
        Ok(())
    }

    fn restart_snapshots(&mut self) {
        self.changes.stop();
    }

    fn state_bytes(&self) -> usize {
        self.size_bytes()
    }

    fn next_event_time(&self) -> Option<i64> {
        if self.is_proctime() {
            return None;
        }
        let next = self.sessions.next_end();
        Some(next.map_or(i64::MAX, |end| self.wall.epoch(end - 1)))
    }
}
