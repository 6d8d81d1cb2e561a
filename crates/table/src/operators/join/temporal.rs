//! The temporal join: each row of the left with the version of the right that was valid at its time.

use std::collections::BTreeMap;

use arrow::array::{Array, Int64Array};
use arrow::record_batch::RecordBatch;
use flott_core::Result;
use flott_core::changelog::{ChangelogBatch, RowKind};
use flott_core::operator::{Operator, OperatorContext, Output, StateSnapshot};
use flott_core::time::MIN_WATERMARK;

use super::chains::NONE;
use super::combine::{Combiner, RowsOf};
use super::keys::{KeyGroups, SideName};
use super::{JoinKind, TemporalJoinConfig};
use crate::operators::evaluate::milliseconds;
use crate::operators::rows::{Extra, ExtraValue, RestoredRows, RowStore};

/// From when a row of the right is valid.
#[derive(Clone, Copy)]
struct Version {
    time: i64,
    slot: u32,
    /// From here on the key has no row; the slot holds the row deleted.
    is_end: bool,
}

/// A row of the left that waits for the watermark.
#[derive(Clone, Copy)]
struct Waiting {
    slot: u32,
    group: u32,
    kind: u8,
}

pub(super) struct TemporalJoin {
    kind: JoinKind,
    times: [usize; 2],
    keys: KeyGroups,
    combiner: Combiner,
    stores: [RowStore; 2],
    /// By slot of the left: the row's kind.
    kinds: Vec<u8>,
    /// By slot of the right: the version's time, and whether it is an end.
    valid_from: Vec<(i64, bool)>,
    /// By time.
    waiting: BTreeMap<i64, Vec<Waiting>>,
    /// By group: how many rows of the left wait.
    num_waiting: Vec<u32>,
    /// By group, in order of time.
    versions: Vec<Vec<Version>>,
    /// Groups with a version that the watermark may make obsolete, by that version's time.
    due: BTreeMap<i64, Vec<u32>>,
    /// The latest time seen on the right.
    latest_ms: i64,
    groups: Vec<u32>,
    context: Option<OperatorContext>,
}

impl TemporalJoin {
    pub fn new(config: &TemporalJoinConfig) -> Result<Self> {
        let inputs = &config.inputs;
        Ok(Self {
            kind: inputs.kind,
            times: [config.left_time, config.right_time],
            keys: KeyGroups::new(inputs)?,
            combiner: Combiner::new(inputs)?,
            stores: [
                RowStore::new(inputs.left_schema.clone()),
                RowStore::new(inputs.right_schema.clone()),
            ],
            kinds: Vec::new(),
            valid_from: Vec::new(),
            waiting: BTreeMap::new(),
            num_waiting: Vec::new(),
            versions: Vec::new(),
            due: BTreeMap::new(),
            latest_ms: MIN_WATERMARK,
            groups: Vec::new(),
            context: None,
        })
    }

    fn assign(&mut self, side: SideName, rows: &RecordBatch) -> Result<Int64Array> {
        self.keys.assign(side, rows, &mut self.groups)?;
        let groups = self.groups.iter().filter(|&&g| g != NONE);
        let bound = groups.max().map_or(0, |&g| g as usize + 1);
        let bound = bound.max(self.versions.len());
        self.versions.resize_with(bound, Vec::new);
        self.num_waiting.resize(bound, 0);
        milliseconds(rows.column(self.times[side as usize]))
    }

    /// Rows whose time is NULL are dropped: no version is valid then.
    fn wait(&mut self, rows: &RecordBatch, kind: impl Fn(usize) -> u8) -> Result<()> {
        let times = self.assign(SideName::Left, rows)?;
        for row in 0..rows.num_rows() {
            if times.is_null(row) {
                continue;
            }
            let waiting = Waiting {
                slot: self.stores[0].allocate(row),
                group: self.groups[row],
                kind: kind(row),
            };
            let at = waiting.slot as usize;
            self.kinds.resize(self.kinds.len().max(at + 1), 0);
            self.kinds[at] = waiting.kind;
            if waiting.group != NONE {
                self.num_waiting[waiting.group as usize] += 1;
            }
            let same_time = self.waiting.entry(times.value(row)).or_default();
            same_time.push(waiting);
        }
        Ok(())
    }

    fn change(&mut self, batch: &ChangelogBatch) -> Result<()> {
        let rows = batch.rows();
        let times = self.assign(SideName::Right, rows)?;
        for row in 0..rows.num_rows() {
            let (group, kind) = (self.groups[row], batch.kind(row));
            if group == NONE || times.is_null(row) || kind == RowKind::UpdateBefore {
                continue;
            }
            let mut time = times.value(row);
            self.latest_ms = self.latest_ms.max(time);
            let is_end = kind == RowKind::Delete;
            let last = self.versions[group as usize].last();
            if is_end && last.is_some_and(|v| v.time >= time) {
                // A deletion that repeats the time of what it deletes does not say its own.
                time = self.latest_ms.max(time.saturating_add(1));
            }
            self.set_version(group, row, time, is_end);
        }
        self.stores[1].commit_keyed(rows, self.keys.row_hashes())?;
        self.stores[1].sweep()
    }

    fn set_version(&mut self, group: u32, row: usize, time: i64, is_end: bool) {
        let slot = self.stores[1].allocate(row);
        let version = Version { time, slot, is_end };
        let num_slots = self.valid_from.len().max(slot as usize + 1);
        self.valid_from.resize(num_slots, (0, false));
        self.valid_from[slot as usize] = (time, is_end);
        let versions = &mut self.versions[group as usize];
        let at = versions.partition_point(|v| v.time < time);
        match versions.get_mut(at).filter(|v| v.time == time) {
            Some(old) => self.stores[1].release(std::mem::replace(old, version).slot),
            None => versions.insert(at, version),
        }
        self.due.entry(time).or_default().push(group);
    }

    fn version_at(&self, group: u32, time: i64) -> Option<Version> {
        let versions = self.versions.get(group as usize)?;
        let after = versions.partition_point(|v| v.time <= time);
        let last = after.checked_sub(1)?;
        Some(versions[last]).filter(|v| !v.is_end)
    }

    /// Sends the rows of the left whose time the watermark has reached.
    fn send_due(&mut self, watermark: i64, out: &mut dyn Output) -> Result<Vec<u32>> {
        let (mut due, mut pairs) = (Vec::new(), Vec::new());
        while let Some(entry) = self.waiting.first_entry()
            && *entry.key() <= watermark
        {
            let (time, rows) = entry.remove_entry();
            for waiting in rows {
                if let Some(version) = self.version_at(waiting.group, time) {
                    pairs.push((due.len() as u32, version.slot));
                }
                due.push(waiting);
            }
        }
        if !due.is_empty() {
            self.send(&due, pairs, out)?;
        }
        let mut groups = Vec::with_capacity(due.len());
        for waiting in due {
            self.stores[0].release(waiting.slot);
            if waiting.group != NONE {
                self.num_waiting[waiting.group as usize] -= 1;
                groups.push(waiting.group);
            }
        }
        Ok(groups)
    }

    /// Sends rows of the left, in order, with their versions: `pairs` has positions in `due`.
    fn send(&self, due: &[Waiting], pairs: Vec<(u32, u32)>, out: &mut dyn Output) -> Result<()> {
        let left: Vec<u32> = due.iter().map(|w| w.slot).collect();
        let slots = |positions: &[u32]| -> Vec<u32> {
            positions.iter().map(|&p| left[p as usize]).collect()
        };
        let (mut positions, mut right): (Vec<u32>, Vec<u32>) = pairs.into_iter().unzip();
        let own = slots(&positions);
        let own = RowsOf::Stored(&self.stores[0], &own);
        let stored = RowsOf::Stored(&self.stores[1], &right);
        if let Some(marks) = self.combiner.matches(SideName::Left, &own, &stored)? {
            let mut marks_left = marks.values().iter();
            positions.retain(|_| marks_left.next().unwrap_or(false));
            let mut marks_right = marks.values().iter();
            right.retain(|_| marks_right.next().unwrap_or(false));
        }
        let own = slots(&positions);
        let own = RowsOf::Stored(&self.stores[0], &own);
        let stored = RowsOf::Stored(&self.stores[1], &right);
        let joined = self.combiner.pairs(SideName::Left, &own, &stored)?;
        let mut rows = vec![(joined, positions.clone())];
        if self.kind == JoinKind::Left {
            let mut is_joined = vec![false; due.len()];
            positions.iter().for_each(|&p| is_joined[p as usize] = true);
            let alone = (0..due.len() as u32).filter(|&p| !is_joined[p as usize]);
            let alone: Vec<u32> = alone.collect();
            let own = slots(&alone);
            let own = RowsOf::Stored(&self.stores[0], &own);
            rows.push((self.combiner.alone(SideName::Left, &own)?, alone));
        }
        let kinds: Vec<u8> = due.iter().map(|w| w.kind).collect();
        super::combine::emit_in_order(rows, &kinds, out)
    }

    /// Forgets versions that are followed by one that the watermark has passed.
    fn clean_up(&mut self, watermark: i64, mut touched: Vec<u32>) -> Result<()> {
        while let Some(entry) = self.due.first_entry()
            && *entry.key() <= watermark
        {
            for group in entry.remove() {
                let Some(versions) = self.versions.get_mut(group as usize) else {
                    continue;
                };
                let passed = versions.partition_point(|v| v.time <= watermark);
                let is_end = passed > 0 && versions[passed - 1].is_end;
                let obsolete = if is_end {
                    passed
                } else {
                    passed.saturating_sub(1)
                };
                let store = &mut self.stores[1];
                versions
                    .drain(..obsolete)
                    .for_each(|v| store.release(v.slot));
                touched.push(group);
            }
        }
        self.forget(touched)
    }

    fn forget(&mut self, groups: Vec<u32>) -> Result<()> {
        let (versions, num_waiting) = (&self.versions, &self.num_waiting);
        // Groups of NULL keys have neither.
        let is_empty = |g: u32| {
            let at = g as usize;
            versions.get(at).is_none_or(Vec::is_empty)
                && num_waiting.get(at).is_none_or(|&n| n == 0)
        };
        self.keys.release(groups, is_empty);
        self.stores.iter_mut().try_for_each(RowStore::sweep)
    }
}

impl Operator for TemporalJoin {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        self.context = Some(context.clone());
        for store in &mut self.stores {
            store.set_max_parallelism(context.max_parallelism);
        }
        Ok(())
    }

    fn process(&mut self, input: usize, batch: ChangelogBatch, _: &mut dyn Output) -> Result<()> {
        match SideName::of_input(input) {
            SideName::Left => {
                self.wait(batch.rows(), |row| batch.kind(row) as u8)?;
                self.stores[0].commit_keyed(batch.rows(), self.keys.row_hashes())?;
            }
            SideName::Right => self.change(&batch)?,
        }
        self.forget(Vec::new())
    }

    fn watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<()> {
        let touched = self.send_due(watermark, out)?;
        self.clean_up(watermark, touched)?;
        if let Some(context) = &self.context {
            context.metrics.num_keys.set(self.keys.len() as i64);
        }
        out.watermark(watermark)
    }

    fn state_bytes(&self) -> usize {
        let stores: usize = self.stores.iter().map(RowStore::size_bytes).sum();
        let versions = self.versions.capacity() * size_of::<Vec<Version>>();
        let waiting = (self.waiting.len() + self.due.len()) * 64;
        stores + self.keys.size_bytes() + versions + self.num_waiting.capacity() * 4 + waiting
    }

    fn next_event_time(&self) -> Option<i64> {
        let waiting = self.waiting.first_key_value().map(|(&time, _)| time);
        let due = self.due.first_key_value().map(|(&time, _)| time);
        Some(waiting.into_iter().chain(due).min().unwrap_or(i64::MAX))
    }

    fn snapshot(&mut self) -> Result<StateSnapshot> {
        if let Some(context) = &self.context {
            let size = self.state_bytes();
            context.metrics.state_size_bytes.set(size as i64);
        }
        let (kinds, valid_from) = (&self.kinds, &self.valid_from);
        let kind: [Extra<'_>; 1] = [("kind", ExtraValue::Of(&|slot| i64::from(kinds[slot])))];
        let version: [Extra<'_>; 2] = [
            ("time", ExtraValue::Of(&|slot| valid_from[slot].0)),
            (
                "is_end",
                ExtraValue::Of(&|slot| i64::from(valid_from[slot].1)),
            ),
        ];
        let [left, right] = &mut self.stores;
        Ok(StateSnapshot {
            tables: vec![
                left.snapshot(SideName::Left.table(), &kind),
                right.snapshot(SideName::Right.table(), &version),
            ],
        })
    }

    fn restore(&mut self, snapshot: StateSnapshot) -> Result<()> {
        let mut ids: Vec<i64> = Vec::new();
        for batch in snapshot.table(SideName::Left.table()) {
            let restored = RestoredRows::<1>::new(&batch?, self.stores[0].schema())?;
            let [kinds] = &restored.extra;
            self.wait(&restored.rows, |row| kinds.value(row) as u8)?;
            // A fresh store gives its slots in order.
            ids.extend((0..restored.rows.num_rows()).map(|row| restored.id(row)));
            self.stores[0].commit_restored(&restored)?;
        }
        for same_time in self.waiting.values_mut() {
            same_time.sort_by_key(|w| ids[w.slot as usize]);
        }
        for batch in snapshot.table(SideName::Right.table()) {
            let restored = RestoredRows::<2>::new(&batch?, self.stores[1].schema())?;
            let [times, ends] = &restored.extra;
            self.assign(SideName::Right, &restored.rows)?;
            for row in 0..restored.rows.num_rows() {
                let (group, time) = (self.groups[row], times.value(row));
                self.latest_ms = self.latest_ms.max(time);
                if group != NONE {
                    self.set_version(group, row, time, ends.value(row) != 0);
                }
            }
            self.stores[1].commit_restored(&restored)?;
        }
        self.stores.iter_mut().for_each(RowStore::told);
        Ok(())
    }

    fn restart_snapshots(&mut self) {
        let stores = self.stores.iter_mut();
        stores.for_each(RowStore::restart_snapshots);
    }
}
