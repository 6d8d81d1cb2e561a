//! The window join: rows of equal windows and keys, sent when the watermark closes the window.

use std::collections::BTreeMap;

use arrow::array::Array;
use arrow::record_batch::RecordBatch;
use flott_core::Result;
use flott_core::changelog::ChangelogBatch;
use flott_core::operator::{Operator, OperatorContext, Output, StateSnapshot};
use flott_core::time::MIN_WATERMARK;

use super::WindowJoinConfig;
use super::batch_join::BatchJoin;
use super::keys::{KeyColumns, SideName};
use crate::operators::evaluate::{WallClock, milliseconds};
use crate::operators::rows::{RowStore, keyed_table, split_keyed};

/// The watermark that closes a window, then its start and its end as its columns show them, in ms.
type Window = (i64, i64, i64);

pub(super) struct WindowJoin {
    columns: [(usize, usize); 2],
    wall: WallClock,
    keys: KeyColumns,
    join: BatchJoin,
    stores: [RowStore; 2],
    /// The slots of each side of the windows that are open.
    open: BTreeMap<Window, [Vec<u32>; 2]>,
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
            join: BatchJoin::new(inputs)?,
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
        let mut num_late = 0;
        for row in 0..rows.num_rows() {
            let (start, end) = (starts.value(row), ends.value(row));
            let closing = self.wall.epoch(end - 1);
            let is_null = starts.is_null(row) || ends.is_null(row);
            if is_null || (closing <= self.watermark && !is_restored) {
                num_late += 1;
                continue;
            }
            let slot = self.stores[side as usize].allocate(row);
            let window = self.open.entry((closing, start, end)).or_default();
            window[side as usize].push(slot);
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
            self.join.build(rights.rows(&right)?)?;
            let rows = lefts.rows(&left)?;
            self.join.probe(&rows, &mut |rows, _| {
                out.emit(ChangelogBatch::insert_only(rows))
            })?;
            if let Some(unmatched) = self.join.unmatched()? {
                out.emit(ChangelogBatch::insert_only(unmatched))?;
            }
            left.into_iter().for_each(|slot| lefts.release(slot));
            right.into_iter().for_each(|slot| rights.release(slot));
        }
        self.stores.iter_mut().try_for_each(RowStore::sweep)
    }
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
        self.stores.iter().map(RowStore::size_bytes).sum()
    }

    fn next_event_time(&self) -> Option<i64> {
        Some(
            self.open
                .first_key_value()
                .map_or(i64::MAX, |(window, _)| window.0),
        )
    }

    fn snapshot(&mut self) -> Result<StateSnapshot> {
        let max_parallelism = self.context.as_ref().map_or(1, |c| c.max_parallelism);
        let table = |side: SideName| {
            let windows = self.open.values();
            let slots: Vec<u32> = windows.flat_map(|w| &w[side as usize]).copied().collect();
            let rows = self.stores[side as usize].rows(&slots)?;
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
