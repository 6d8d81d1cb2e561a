//! The temporal join: each row of the left with the version of the right that was valid at its time.

use std::collections::BTreeMap;

use arrow::array::{Array, Int64Array};
use arrow::record_batch::RecordBatch;
use flott_core::Result;
use flott_core::changelog::{ChangelogBatch, RowKind};
use flott_core::operator::{Operator, OperatorContext, Output, StateSnapshot, StateTable};
use flott_core::time::MIN_WATERMARK;

use super::chains::NONE;
use super::combine::{Combiner, RowsOf};
use super::keys::{KeyGroups, SideName};
use super::{JoinKind, TemporalJoinConfig};
use crate::operators::evaluate::milliseconds;
use crate::operators::rows::{RowStore, keyed_table, split_keyed};

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
            if waiting.group != NONE {
                self.num_waiting[waiting.group as usize] += 1;
            }
            let same_time = self.waiting.entry(times.value(row)).or_default();
            same_time.push(waiting);
        }
        self.stores[0].commit(rows)
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
        self.stores[1].commit(rows)?;
        self.stores[1].sweep()
    }

    fn set_version(&mut self, group: u32, row: usize, time: i64, is_end: bool) {
        let slot = self.stores[1].allocate(row);
        let version = Version { time, slot, is_end };
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

    fn table(
        &self,
        side: SideName,
        slots: &[u32],
        extra: Vec<(&str, Vec<i64>)>,
    ) -> Result<StateTable> {
        let max_parallelism = self.context.as_ref().map_or(1, |c| c.max_parallelism);
        let rows = self.stores[side as usize].rows(slots)?;
        let key_groups = self.keys.columns.key_groups(side, &rows, max_parallelism)?;
        keyed_table(side.table(), key_groups, extra, rows)
    }
}

impl Operator for TemporalJoin {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        self.context = Some(context.clone());
        Ok(())
    }

    fn process(&mut self, input: usize, batch: ChangelogBatch, _: &mut dyn Output) -> Result<()> {
        match SideName::of_input(input) {
            SideName::Left => self.wait(batch.rows(), |row| batch.kind(row) as u8)?,
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
        let waiting: Vec<Waiting> = self.waiting.values().flatten().copied().collect();
        let slots: Vec<u32> = waiting.iter().map(|w| w.slot).collect();
        let kinds = waiting.iter().map(|w| i64::from(w.kind)).collect();
        let left = self.table(SideName::Left, &slots, vec![("kind", kinds)])?;
        let versions: Vec<Version> = self.versions.iter().flatten().copied().collect();
        let slots: Vec<u32> = versions.iter().map(|v| v.slot).collect();
        let extra = vec![
            ("time", versions.iter().map(|v| v.time).collect()),
            (
                "is_end",
                versions.iter().map(|v| i64::from(v.is_end)).collect(),
            ),
        ];
        let right = self.table(SideName::Right, &slots, extra)?;
        if let Some(context) = &self.context {
            let size = self.state_bytes();
            context.metrics.state_size_bytes.set(size as i64);
        }
        Ok(StateSnapshot {
            tables: vec![left, right],
        })
    }

    fn restore(&mut self, snapshot: StateSnapshot) -> Result<()> {
        for batch in snapshot.table(SideName::Left.table()) {
            let batch = &batch?;
            let ([kinds], rows) = split_keyed::<1>(batch, self.stores[0].schema())?;
            self.wait(&rows, |row| kinds.value(row) as u8)?;
        }
        for batch in snapshot.table(SideName::Right.table()) {
            let batch = &batch?;
            let ([times, ends], rows) = split_keyed::<2>(batch, self.stores[1].schema())?;
            self.assign(SideName::Right, &rows)?;
            for row in 0..rows.num_rows() {
                let (group, time) = (self.groups[row], times.value(row));
                self.latest_ms = self.latest_ms.max(time);
                if group != NONE {
                    self.set_version(group, row, time, ends.value(row) != 0);
                }
            }
            self.stores[1].commit(&rows)?;
        }
        Ok(())
    }
}
