//! The driver of the aggregation by key and window.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use flott_core::changelog::ChangelogBatch;
use flott_core::operator::{
    Operator, OperatorContext, Output, StateScope, StateSnapshot, StateTable,
};
use flott_core::time::MIN_WATERMARK;
use flott_core::{Error, Result};
use flott_state::ChangeTracker;

use super::ahead::Ahead;
use super::bounds::Bounds;
use super::runs::{Run, for_each_slice, runs_of_bounds, runs_of_times};
use super::slicing::{Slice, Slicing};
use super::state::{SLICES, slice_keys};
use super::{WindowAggregateConfig, WindowTime};
use crate::aggregates::Phase;
use crate::operators::aggregate_table::{AggregateLayout, AggregateTable, additions, state_batch};
use crate::operators::evaluate::{WallClock, batch_of, milliseconds};
use crate::operators::local_phase::LocalPhase;

/// How far windows have been sent.
const PROGRESS: &str = "progress";
/// Groups in a batch that is sent.
const BATCH_SIZE: usize = 1 << 14;
/// Groups that the local phase holds before it sends them.
const MAX_LOCAL_GROUPS: usize = 1 << 17;
/// Empty tables kept for the next slices.
const MAX_SPARE_TABLES: usize = 2;

pub(super) struct WindowAggregate {
    pub(super) config: WindowAggregateConfig,
    pub(super) layout: Arc<AggregateLayout>,
    pub(super) slicing: Slicing,
    wall: WallClock,
    context: Option<OperatorContext>,
    pub(super) slices: BTreeMap<Slice, AggregateTable>,
    /// Tables that are cleared when they are taken again.
    spare: Vec<AggregateTable>,
    /// The start of the newest slice that rows have come for.
    pub(super) newest: i64,
    pub(super) ahead: Ahead,
    local: LocalPhase,
    /// The rows that the local phase has taken in, by slice.
    num_rows_held: BTreeMap<Slice, usize>,
    /// The watermark, or the processing time, up to which windows have closed.
    progress: i64,
    /// Keys in slices that have gone since the last snapshot, which told of them.
    pub(super) gone: ChangeTracker,
}

impl WindowAggregate {
    pub fn new(config: WindowAggregateConfig) -> Result<Self> {
        if config.phase != Phase::Complete && config.time.is_proctime() {
            let message = "windows of processing time are not aggregated in two phases";
            return Err(Error::internal(message));
        }
        let times = match config.time {
            WindowTime::Rowtime(column) => vec![column],
            WindowTime::Attached { start, end, .. } => vec![start, end],
            WindowTime::Proctime => Vec::new(),
        };
        let layout = AggregateLayout::new(
            &config.input_schema,
            &config.key_columns,
            &config.calls,
            config.phase,
            config.input_is_retracting,
            &times,
        );
        let slicing = match config.time {
            WindowTime::Attached { .. } => Slicing::Whole,
            _ => Slicing::new(config.window)?,
        };
        let layout = Arc::new(layout);
        Ok(Self {
            local: LocalPhase::new(&layout)?,
            num_rows_held: BTreeMap::new(),
            newest: i64::MIN,
            ahead: Ahead::default(),
            layout,
            slicing,
            wall: WallClock::new(config.time_zone),
            config,
            context: None,
            slices: BTreeMap::new(),
            spare: Vec::new(),
            progress: MIN_WATERMARK,
            gone: ChangeTracker::default(),
        })
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.context.as_ref().map_or(0, |c| c.clock.now_ms())
    }

    /// Whether the window that ends with `end` is closed at this watermark or processing time.
    fn is_closed(&self, end: i64, progress: i64) -> bool {
        match self.config.time.is_proctime() {
            true => self.wall.epoch(end) <= progress,
            false => self.wall.epoch(end - 1) <= progress,
        }
    }

    fn runs(&self, rows: &RecordBatch) -> Result<Vec<Run>> {
        if self.config.phase == Phase::Global {
            let end = rows.num_columns() - 1;
            return runs_of_bounds(rows.column(end - 1), rows.column(end));
        }
        match self.config.time {
            WindowTime::Attached { start, end, .. } => runs_of_bounds(
                rows.column(self.layout.position(start)?),
                rows.column(self.layout.position(end)?),
            ),
            WindowTime::Rowtime(column) => {
                let times = milliseconds(rows.column(self.layout.position(column)?))?;
                let times = match self.wall.is_utc() {
                    true => times,
                    false => times.unary(|t| self.wall.local(t)),
                };
                runs_of_times(&times, self.slicing)
            }
            WindowTime::Proctime => Ok(vec![Run {
                slice: self.slicing.slice_of(self.wall.local(self.now_ms())),
                start: 0,
                length: rows.num_rows(),
            }]),
        }
    }

    fn take_in(
        &mut self,
        slice: Slice,
        rows: &RecordBatch,
        adds: Option<&BooleanArray>,
    ) -> Result<()> {
        match self.slicing.last_window(slice) {
            // Between two HOP windows.
            None => return Ok(()),
            Some(end)
                if self.config.phase != Phase::Local && self.is_closed(end, self.progress) =>
            {
                if let Some(context) = &self.context {
                    let dropped = &context.metrics.num_late_records_dropped;
                    dropped.add(rows.num_rows() as u64);
                }
                return Ok(());
            }
            Some(_) => {}
        }
        if let Some(table) = self.ahead.change(slice) {
            self.recycle(table);
        }
        if slice.start > self.newest {
            self.newest = slice.start;
            if self.has_panes() {
                self.ahead.wake(self.now_ms());
            }
        }
        if self.config.phase == Phase::Local {
            *self.num_rows_held.entry(slice).or_default() += rows.num_rows();
        }
        let table = self.slice_table(slice)?;
        table.assign(rows)?;
        table.take_in(rows, adds)
    }

    pub(super) fn empty_table(&mut self) -> Result<AggregateTable> {
        match self.spare.pop() {
            Some(mut table) => {
                table.clear();
                Ok(table)
            }
            None => AggregateTable::new(&self.layout),
        }
    }

    pub(super) fn slice_table(&mut self, slice: Slice) -> Result<&mut AggregateTable> {
        if !self.slices.contains_key(&slice) {
            let table = self.empty_table()?;
            self.slices.insert(slice, table);
        }
        let table = self.slices.get_mut(&slice);
        table.ok_or_else(|| Error::internal("a slice without a table"))
    }

    /// Drops a slice; the next snapshot tells of it if one before told of the slice.
    fn forget(&mut self, slice: Slice, table: AggregateTable) -> Result<()> {
        if self.gone.is_on() && table.knows_changes() {
            let groups = table.groups().groups();
            let mut keys = slice_keys(&table, slice, &groups, self.max_parallelism());
            keys.extend(table.groups().keys(&groups)?);
            let num_left = self.num_groups();
            self.gone
                .remove(&[], state_batch(keys, groups.len())?, num_left);
        }
        self.recycle(table);
        Ok(())
    }

    pub(super) fn max_parallelism(&self) -> usize {
        self.context.as_ref().map_or(1, |c| c.max_parallelism)
    }

    pub(super) fn recycle(&mut self, table: AggregateTable) {
        if self.spare.len() < MAX_SPARE_TABLES {
            self.spare.push(table);
        }
    }

    /// Sends the windows that close between the progress so far and `progress`, in their order.
    fn fire(&mut self, progress: i64, out: &mut dyn Output) -> Result<()> {
        if progress <= self.progress {
            return Ok(());
        }
        let mut fired = Slice::NEVER;
        while let Some((window, slice)) = self.next_window(fired) {
            if !self.is_closed(window.end, progress) {
                break;
            }
            self.send_window(window, slice, out)?;
            self.drop_slices(window.end)?;
            fired = window;
        }
        self.progress = progress;
        if fired.end > i64::MIN && self.has_panes() {
            self.ahead.begin(self.now_ms());
        }
        Ok(())
    }

    /// The next window after `fired` that has not been sent, with one of its slices.
    pub(super) fn next_window(&self, fired: Slice) -> Option<(Slice, Slice)> {
        let is_open = |end: i64| {
            let is_after = end > fired.end || self.slicing == Slicing::Whole;
            is_after && !self.is_closed(end, self.progress)
        };
        let next = |&slice: &Slice| {
            let end = self.slicing.first_window(slice, is_open)?;
            Some((self.slicing.window(slice, end), slice))
        };
        match self.slicing {
            Slicing::Whole | Slicing::Tumble { .. } => self.slices.keys().find_map(next),
            _ => self.slices.keys().filter_map(next).min(),
        }
    }

    fn send_window(&mut self, window: Slice, slice: Slice, out: &mut dyn Output) -> Result<()> {
        match self.slicing {
            Slicing::Whole | Slicing::Tumble { .. } => {
                if let Some(table) = self.slices.remove(&slice) {
                    self.send(&table, window, out)?;
                    self.forget(slice, table)?;
                }
                Ok(())
            }
            Slicing::Cumulate { .. } => {
                let base = self.cumulate(window)?;
                let Some(table) = base.and_then(|slice| self.slices.get(&slice)) else {
                    return Ok(());
                };
                self.send(table, window, out)
            }
            Slicing::Hop { .. } => self.send_panes(window, out),
        }
    }

    /// The slices that lie in a window.
    pub(super) fn slices_in(&self, window: Slice) -> Vec<Slice> {
        let least = Slice {
            end: window.start + 1,
            start: i64::MIN,
        };
        let most = Slice {
            end: window.end,
            start: i64::MAX,
        };
        let slices = self.slices.range(least..=most);
        slices.map(|(&slice, _)| slice).collect()
    }

    /// Merges the slices of a CUMULATE window into the largest of them, which stands for all.
    fn cumulate(&mut self, window: Slice) -> Result<Option<Slice>> {
        let slices = self.slices_in(window);
        let num_groups = |slice: &Slice| self.slices.get(slice).map_or(0, |t| t.groups().len());
        let Some(base) = slices.iter().copied().max_by_key(num_groups) else {
            return Ok(None);
        };
        for slice in slices.into_iter().filter(|&s| s != base) {
            let Some(part) = self.slices.remove(&slice) else {
                continue;
            };
            if let Some(whole) = self.slices.get_mut(&base) {
                whole.merge_table(&part)?;
            }
            self.forget(slice, part)?;
        }
        Ok(Some(base))
    }

    /// Drops the slices whose last window has been sent.
    fn drop_slices(&mut self, fired_end: i64) -> Result<()> {
        let slicing = self.slicing;
        let is_done = |slice: &Slice| {
            slicing != Slicing::Whole
                && slicing
                    .last_window(*slice)
                    .is_none_or(|end| end <= fired_end)
        };
        let done: Vec<Slice> = self.slices.keys().copied().filter(is_done).collect();
        for slice in done {
            if let Some(table) = self.slices.remove(&slice) {
                self.forget(slice, table)?;
            }
        }
        Ok(())
    }

    fn size_bytes(&self) -> usize {
        let tables = self.slices.values().chain(&self.spare);
        tables.map(AggregateTable::size_bytes).sum::<usize>() + self.ahead.size_bytes()
    }

    fn report(&self) {
        if let Some(context) = &self.context {
            let metrics = &context.metrics;
            metrics.num_keys.set(self.num_groups() as i64);
            metrics.state_size_bytes.set(self.size_bytes() as i64);
        }
    }

    pub(super) fn send(
        &self,
        table: &AggregateTable,
        window: Slice,
        out: &mut dyn Output,
    ) -> Result<()> {
        for groups in table.shown_groups().chunks(BATCH_SIZE) {
            let mut columns = table.key_results(groups)?;
            let bounds = Bounds {
                starts: vec![window.start; groups.len()],
                ends: vec![window.end; groups.len()],
                now_ms: self.now_ms(),
                wall: self.wall,
            };
            bounds.append(&self.config.properties, &self.config.schema, &mut columns)?;
            let batch = batch_of(self.config.schema.clone(), columns, groups.len())?;
            out.emit(ChangelogBatch::insert_only(batch))?;
        }
        Ok(())
    }

    /// Sends what the local phase holds of slices whose end `is_due`.
    fn flush(&mut self, is_due: impl Fn(&Self, i64) -> bool, out: &mut dyn Output) -> Result<()> {
        let (mut num_rows, mut num_groups) = (0, 0);
        while let Some(first) = self.slices.first_key_value()
            && is_due(self, first.0.end)
            && let Some((slice, table)) = self.slices.pop_first()
        {
            num_rows += self.num_rows_held.remove(&slice).unwrap_or(0);
            num_groups += table.groups().len();
            for groups in table.groups().groups().chunks(BATCH_SIZE) {
                let columns = slice_columns(&table, slice, groups)?;
                let batch = batch_of(self.config.schema.clone(), columns, groups.len())?;
                out.emit(ChangelogBatch::insert_only(batch))?;
            }
            self.recycle(table);
        }
        self.local.measure(num_rows, num_groups);
        Ok(())
    }

    fn num_groups(&self) -> usize {
        self.slices.values().map(|t| t.groups().len()).sum()
    }

    /// Sends rows of the local phase as they are, one state for each.
    fn pass(
        &mut self,
        slice: Slice,
        rows: &RecordBatch,
        adds: Option<&BooleanArray>,
        out: &mut dyn Output,
    ) -> Result<()> {
        if self.slicing.last_window(slice).is_none() {
            return Ok(());
        }
        let mut columns = self.local.states(rows, adds)?;
        for bound in [slice.start, slice.end] {
            columns.push(Arc::new(Int64Array::from_value(bound, rows.num_rows())));
        }
        let states = batch_of(self.config.schema.clone(), columns, rows.num_rows())?;
        out.emit(ChangelogBatch::insert_only(states))
    }
}

/// Keys, partial states, start and end of a slice.
fn slice_columns(table: &AggregateTable, slice: Slice, groups: &[u32]) -> Result<Vec<ArrayRef>> {
    let mut columns = table.key_states(groups)?;
    let bound = |ms: i64| -> ArrayRef { Arc::new(Int64Array::from_value(ms, groups.len())) };
    columns.extend([bound(slice.start), bound(slice.end)]);
    Ok(columns)
}

impl Operator for WindowAggregate {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        self.context = Some(context.clone());
        Ok(())
    }

    fn process(&mut self, _: usize, batch: ChangelogBatch, out: &mut dyn Output) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        if self.config.time.is_proctime() {
            self.fire(self.now_ms(), out)?;
        }
        let adds = additions(&batch);
        let rows = self.layout.pick(batch.rows())?;
        let runs = self.runs(&rows)?;
        let is_local = self.config.phase == Phase::Local;
        let newest = self.newest;
        if is_local && self.local.passes(rows.num_rows()) {
            return for_each_slice(&rows, adds.as_ref(), runs, |slice, rows, adds| {
                self.pass(slice, rows, adds, out)
            });
        }
        for_each_slice(&rows, adds.as_ref(), runs, |slice, rows, adds| {
            self.take_in(slice, rows, adds)
        })?;
        if is_local {
            if self.num_groups() > MAX_LOCAL_GROUPS {
                self.flush(|_, _| true, out)?;
            } else if self.newest > newest {
                // What is before the newest slice is most likely complete: sent now, it has been
                // taken in when the watermark comes.
                self.flush(|own, end| end <= own.newest, out)?;
            }
        }
        Ok(())
    }

    fn watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<()> {
        if self.config.phase == Phase::Local {
            self.flush(|own, end| own.is_closed(end, watermark), out)?;
        } else if !self.config.time.is_proctime() {
            self.fire(watermark, out)?;
        }
        out.watermark(watermark)
    }

    fn next_timer_ms(&self) -> Option<i64> {
        if !self.config.time.is_proctime() {
            return self.ahead.due_ms();
        }
        self.next_window(Slice::NEVER)
            .map(|(window, _)| self.wall.epoch(window.end))
    }

    fn on_timer(&mut self, now_ms: i64, out: &mut dyn Output) -> Result<()> {
        match self.config.time.is_proctime() {
            true => self.fire(now_ms, out),
            false => self.merge_ahead(),
        }
    }

    fn finish(&mut self, out: &mut dyn Output) -> Result<()> {
        match self.config.phase {
            Phase::Local => self.flush(|_, _| true, out),
            // No time will come that closes what is open: every row is counted all the same.
            _ if self.config.time.is_proctime() => self.fire(i64::MAX, out),
            _ => Ok(()),
        }
    }

    /// The local phase keeps nothing over a checkpoint: with another parallelism it may not be there.
    fn prepare_snapshot(&mut self, out: &mut dyn Output) -> Result<()> {
        match self.config.phase {
            Phase::Local => self.flush(|_, _| true, out),
            _ => Ok(()),
        }
    }

    fn snapshot(&mut self) -> Result<StateSnapshot> {
        if self.config.phase == Phase::Local {
            return Ok(StateSnapshot::default());
        }
        self.report();
        let slices = self.slices_table()?;
        let progress: ArrayRef = Arc::new(Int64Array::from_value(self.progress, 1));
        let progress = state_batch(vec![progress], 1)?;
        Ok(StateSnapshot {
            tables: vec![
                slices,
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
        for batch in snapshot.table(SLICES) {
            self.restore_batch(&batch?)?;
        }
        self.slices.values_mut().for_each(|table| {
            table.told();
        });
        self.gone.begin();
        Ok(())
    }

    fn restart_snapshots(&mut self) {
        self.gone.stop();
    }

    fn state_bytes(&self) -> usize {
        self.size_bytes()
    }

    fn next_event_time(&self) -> Option<i64> {
        if self.config.time.is_proctime() {
            return None;
        }
        let next = self.next_window(Slice::NEVER);
        Some(next.map_or(i64::MAX, |(window, _)| self.wall.epoch(window.end - 1)))
    }
}
