//! The window join: rows of equal windows and keys, sent when the watermark closes the window.
//!
//! Large batches of one window, as window aggregates send them, are kept as they are until the next
//! snapshot; other rows are copied into a row store.

use std::collections::BTreeMap;

use arrow::array::{Array, Int64Array};
use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;
use flott_core::Result;
use flott_core::changelog::ChangelogBatch;
use flott_core::hash::hash_columns;
use flott_core::operator::{Operator, OperatorContext, Output, StateSnapshot};
use flott_core::time::MIN_WATERMARK;

use super::batch_join::BatchJoin;
use super::keys::{KeyColumns, SideName};
use super::{JoinInputs, JoinKind, WindowJoinConfig};
use crate::operators::evaluate::{WallClock, milliseconds};
use crate::operators::rows::{RestoredRows, RowStore};

const SIDES: [SideName; 2] = [SideName::Left, SideName::Right];

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
    fn hold(&mut self, side: SideName, rows: &RecordBatch) -> Result<u64> {
        if rows.num_rows() >= LEAST_ROWS_KEPT
            && let Some(window) = self.only_window(side, rows)?
        {
            if window.0 <= self.watermark {
                return Ok(rows.num_rows() as u64);
            }
            let held = self.open.entry(window).or_default();
            held[side as usize].batches.push(rows.clone());
            return Ok(0);
        }
        let num_late = self.place(side, rows, self.watermark)?;
        commit(&mut self.stores[side as usize], &self.keys, side, rows)?;
        Ok(num_late)
    }

    /// The window that all rows are in, if there is only one.
    fn only_window(&self, side: SideName, rows: &RecordBatch) -> Result<Option<Window>> {
        let (start, end) = self.columns[side as usize];
        let starts = milliseconds(rows.column(start))?;
        let ends = milliseconds(rows.column(end))?;
        let window = only(&starts).zip(only(&ends));
        Ok(window.map(|(start, end)| (self.wall.epoch(end - 1), start, end)))
    }

    /// Finds the rows' windows, unless this watermark has closed them.
    fn place(&mut self, side: SideName, rows: &RecordBatch, watermark: i64) -> Result<u64> {
        let (start, end) = self.columns[side as usize];
        let starts = milliseconds(rows.column(start))?;
        let ends = milliseconds(rows.column(end))?;
        let mut num_late = 0;
        for row in 0..rows.num_rows() {
            let (start, end) = (starts.value(row), ends.value(row));
            let closing = self.wall.epoch(end - 1);
            let is_null = starts.is_null(row) || ends.is_null(row);
            if is_null || closing <= watermark {
                num_late += 1;
                continue;
            }
            let slot = self.stores[side as usize].allocate(row);
            let held = self.open.entry((closing, start, end)).or_default();
            held[side as usize].slots.push(slot);
        }
        Ok(num_late)
    }

    /// Copies the batches that were kept as they are, so that a snapshot can tell of their rows.
    fn store_batches(&mut self) -> Result<()> {
        for window in self.open.values_mut() {
            for side in SIDES {
                let (held, store) = (&mut window[side as usize], &mut self.stores[side as usize]);
                for rows in std::mem::take(&mut held.batches) {
                    let slots = (0..rows.num_rows()).map(|row| store.allocate(row));
                    held.slots.extend(slots);
                    commit(store, &self.keys, side, &rows)?;
                }
            }
        }
        Ok(())
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

/// Copies the rows for which slots were allocated.
fn commit(
    store: &mut RowStore,
    keys: &KeyColumns,
    side: SideName,
    rows: &RecordBatch,
) -> Result<()> {
    let mut hashes = Vec::new();
    hash_columns(&keys.of(side, rows), rows.num_rows(), &mut hashes)?;
    store.commit_keyed(rows, &hashes)
}

/// The time that all rows have.
fn only(times: &Int64Array) -> Option<i64> {
    let first = *times.values().first()?;
    let is_only = times.null_count() == 0 && times.values().iter().all(|&t| t == first);
    is_only.then_some(first)
}

impl Operator for WindowJoin {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        self.context = Some(context.clone());
        for store in &mut self.stores {
            store.set_max_parallelism(context.max_parallelism);
        }
        Ok(())
    }

    fn process(&mut self, input: usize, batch: ChangelogBatch, _: &mut dyn Output) -> Result<()> {
        let num_late = self.hold(SideName::of_input(input), batch.rows())?;
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

    fn next_event_time(&self) -> Option<i64> {
        Some(
            self.open
                .first_key_value()
                .map_or(i64::MAX, |(window, _)| window.0),
        )
    }

    fn snapshot(&mut self) -> Result<StateSnapshot> {
        self.store_batches()?;
        if let Some(context) = &self.context {
            let size = self.state_bytes();
            context.metrics.state_size_bytes.set(size as i64);
        }
        let sides = SIDES.into_iter().zip(&mut self.stores);
        Ok(StateSnapshot {
            tables: sides
                .map(|(side, store)| store.snapshot(side.table(), &[]))
                .collect(),
        })
    }

    fn restore(&mut self, snapshot: StateSnapshot) -> Result<()> {
        for side in SIDES {
            for batch in snapshot.table(side.table()) {
                let schema = self.stores[side as usize].schema();
                let restored = RestoredRows::<0>::new(&batch?, schema)?;
                self.place(side, &restored.rows, MIN_WATERMARK)?;
                self.stores[side as usize].commit_restored(&restored)?;
            }
            self.stores[side as usize].told();
        }
        Ok(())
    }

    fn restart_snapshots(&mut self) {
        let stores = self.stores.iter_mut();
        stores.for_each(RowStore::restart_snapshots);
    }
}
