//! The window join: rows of equal windows and keys, sent when the watermark closes the window.
//!
//! Large batches of one window, as window aggregates send them, are kept as they are; other rows are
//! copied into a row store.

use std::collections::BTreeMap;

use arrow::array::{Array, Int64Array};
use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;
use flott_core::Result;
use flott_core::changelog::ChangelogBatch;
use flott_core::operator::{Operator, OperatorContext, Output, StateSnapshot};
use flott_core::time::MIN_WATERMARK;

use super::batch_join::BatchJoin;
use super::keys::{KeyColumns, SideName};
use super::{JoinInputs, JoinKind, WindowJoinConfig};
use crate::operators::evaluate::{WallClock, milliseconds};
use crate::operators::rows::{RowStore, keyed_table, split_keyed};

/// The watermark that closes a window, then its start and its end as its columns show them, in ms.
type Window = (i64, i64, i64);

/// A batch of one window that has so many rows is kept as it is.
const LEAST_ROWS_KEPT: usize = 1 << 10;

/// The rows of one side in an open window.
#[derive(Default)]
struct Held {
    batches: Vec<RecordBatch>,
    /// Slots of the side's store.
    slots: Vec<u32>,
}

impl Held {
    /// All rows, a batch at a time.
    fn into_batches(self, store: &mut RowStore) -> Result<Vec<RecordBatch>> {
        let mut batches = self.batches;
        if !self.slots.is_empty() {
            batches.push(store.rows(&self.slots)?);
            self.slots.into_iter().for_each(|slot| store.release(slot));
        }
        Ok(batches)
    }

    fn size_bytes(&self) -> usize {
        let batches = self.batches.iter();
        batches.map(RecordBatch::get_array_memory_size).sum()
    }
}

pub(super) struct WindowJoin {
    columns: [(usize, usize); 2],
    wall: WallClock,
    keys: KeyColumns,
    join: BatchJoin,
    stores: [RowStore; 2],
    /// The rows of each side of the windows that are open.
    open: BTreeMap<Window, [Held; 2]>,
    watermark: i64,
    context: Option<OperatorContext>,
}

impl WindowJoin {
    pub fn new(config: &WindowJoinConfig) -> Result<Self> {
        let inputs = &config.inputs;
        Ok(Self {
            columns: [config.left_window, config.right_window],
            wall: WallClock::new(config.time_zone),
            keys: KeyColumns::new(inputs)?,
            join: BatchJoin::new(&within_window(config))?,
            stores: [
                RowStore::new(inputs.left_schema.clone()),
                RowStore::new(inputs.right_schema.clone()),
            ],
            open: BTreeMap::new(),
            watermark: MIN_WATERMARK,
            context: None,
        })
    }

    /// Keeps the rows whose windows are open; gives the number of the others.
    fn hold(&mut self, side: SideName, rows: &RecordBatch, is_restored: bool) -> Result<u64> {
        let (start, end) = self.columns[side as usize];
        let starts = milliseconds(rows.column(start))?;
        let ends = milliseconds(rows.column(end))?;
        let watermark = self.watermark;
        let is_late = |window: &Window| window.0 <= watermark && !is_restored;
        if rows.num_rows() >= LEAST_ROWS_KEPT
            && let Some((start, end)) = only_window(&starts, &ends)
        {
            let window = (self.wall.epoch(end - 1), start, end);
            if is_late(&window) {
                return Ok(rows.num_rows() as u64);
            }
            let held = self.open.entry(window).or_default();
            held[side as usize].batches.push(rows.clone());
            return Ok(0);
        }
        let mut num_late = 0;
        for row in 0..rows.num_rows() {
            let (start, end) = (starts.value(row), ends.value(row));
            let window = (self.wall.epoch(end - 1), start, end);
            if starts.is_null(row) || ends.is_null(row) || is_late(&window) {
                num_late += 1;
                continue;
            }
            let slot = self.stores[side as usize].allocate(row);
            let held = self.open.entry(window).or_default();
            held[side as usize].slots.push(slot);
        }
        self.stores[side as usize].commit(rows)?;
        Ok(num_late)
    }

    /// Sends the windows that the watermark has closed, in order of their end.
    fn close(&mut self, out: &mut dyn Output) -> Result<()> {
        while let Some(entry) = self.open.first_entry()
            && entry.key().0 <= self.watermark
        {
            let [left, right] = entry.remove();
            let [lefts, rights] = &mut self.stores;
            let right = right.into_batches(rights)?;
            self.join.build(concat_batches(rights.schema(), &right)?)?;
            for rows in left.into_batches(lefts)? {
                self.join.probe(&rows, &mut |rows, _| {
                    out.emit(ChangelogBatch::insert_only(rows))
                })?;
            }
            if let Some(unmatched) = self.join.unmatched()? {
                out.emit(ChangelogBatch::insert_only(unmatched))?;
            }
        }
        self.stores.iter_mut().try_for_each(RowStore::sweep)
    }
}

/// What is left to join among rows of one window: its columns are equal.
fn within_window(config: &WindowJoinConfig) -> JoinInputs {
    let mut inputs = config.inputs.clone();
    if inputs.kind == JoinKind::NullAwareAnti {
        return inputs;
    }
    let (left, right) = (config.left_window, config.right_window);
    let is_window = |key: (usize, usize)| key == (left.0, right.0) || key == (left.1, right.1);
    let keys = config.inputs.left_keys.iter().copied();
    let keys = keys.zip(config.inputs.right_keys.iter().copied());
    let keys = keys.zip(config.inputs.null_safe.iter().copied());
    let rest: Vec<_> = keys.filter(|&(key, _)| !is_window(key)).collect();
    inputs.left_keys = rest.iter().map(|(key, _)| key.0).collect();
    inputs.right_keys = rest.iter().map(|(key, _)| key.1).collect();
    inputs.null_safe = rest.iter().map(|&(_, null_safe)| null_safe).collect();
    inputs
}

/// Start and end of the window that all rows are in, if there is only one.
fn only_window(starts: &Int64Array, ends: &Int64Array) -> Option<(i64, i64)> {
    let only = |times: &Int64Array| {
        let first = *times.values().first()?;
        let is_only = times.null_count() == 0 && times.values().iter().all(|&t| t == first);
        is_only.then_some(first)
    };
    Some((only(starts)?, only(ends)?))
}

impl Operator for WindowJoin {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        self.context = Some(context.clone());
        Ok(())
    }

    fn process(&mut self, input: usize, batch: ChangelogBatch, _: &mut dyn Output) -> Result<()> {
        let num_late = self.hold(SideName::of_input(input), batch.rows(), false)?;
        if let Some(context) = self.context.as_ref().filter(|_| num_late > 0) {
            context.metrics.num_late_records_dropped.add(num_late);
        }
        Ok(())
    }

    fn watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<()> {
        self.watermark = watermark;
        self.close(out)?;
        out.watermark(watermark)
    }

    fn state_bytes(&self) -> usize {
        let held = self.open.values().flatten().map(Held::size_bytes);
        held.chain(self.stores.iter().map(RowStore::size_bytes))
            .sum()
    }

    fn snapshot(&mut self) -> Result<StateSnapshot> {
        let max_parallelism = self.context.as_ref().map_or(1, |c| c.max_parallelism);
        let table = |side: SideName| {
            let held = || self.open.values().map(|window| &window[side as usize]);
            let slots: Vec<u32> = held().flat_map(|h| &h.slots).copied().collect();
            let stored = self.stores[side as usize].rows(&slots)?;
            let batches = held().flat_map(|h| &h.batches);
            let rows = concat_batches(&stored.schema(), batches.chain([&stored]))?;
            let key_groups = self.keys.key_groups(side, &rows, max_parallelism)?;
            keyed_table(side.table(), key_groups, Vec::new(), rows)
        };
        let tables = vec![table(SideName::Left)?, table(SideName::Right)?];
        if let Some(context) = &self.context {
            let size = self.state_bytes();
            context.metrics.state_size_bytes.set(size as i64);
        }
        Ok(StateSnapshot { tables })
    }

    fn restore(&mut self, snapshot: StateSnapshot) -> Result<()> {
        for side in [SideName::Left, SideName::Right] {
            for batch in snapshot.table(side.table()) {
                let batch = &batch?;
                let schema = self.stores[side as usize].schema();
                let ([], rows) = split_keyed::<0>(batch, schema)?;
                self.hold(side, &rows, true)?;
            }
        }
        Ok(())
    }
}
