//! OVER in any order, as an updating result: a changed partition is computed before and after.

use flott_core::Result;
use flott_core::changelog::{ChangelogBatch, RowKind, adds};
use flott_core::hash::{StableHashMap, hash_columns};
use flott_core::operator::{Operator, OperatorContext, Output, StateLayout, StateSnapshot};

use super::OverConfig;
use super::compute::{Calls, Computed, Frame};
use crate::operators::evaluate::batch_of;
use crate::operators::rank::{InputMode, RankFunction};
use crate::operators::rows::rows_layout;
use crate::operators::sort_key::SortKey;
use crate::operators::top_rows::{ROWS, TopRows};

pub(super) fn create(config: &OverConfig, order: &[SortKey]) -> Result<Box<dyn Operator>> {
    // Dense ranks stand for the times by which peers are found.
    let rows = TopRows::new(
        &config.input_schema,
        &config.partition_columns,
        order,
        RankFunction::DenseRank,
        (1, u64::MAX),
        false,
    )?;
    Ok(Box::new(OverKeys {
        config: config.clone(),
        rows,
        context: None,
    }))
}

/// Only rows are kept; calls are computed of them.
pub(super) fn state_layout(config: &OverConfig) -> StateLayout {
    let is_append = config.input == InputMode::Append;
    StateLayout {
        rebuilds_calls: true,
        ..rows_layout(&[(ROWS, &config.input_schema)], is_append)
    }
}

struct OverKeys {
    config: OverConfig,
    rows: TopRows,
    context: Option<OperatorContext>,
}

impl OverKeys {
    fn compute(&self, groups: &[u32]) -> Result<Computed> {
        let lists = groups.iter().enumerate().map(|(number, &group)| {
            let rows = self.rows.list(group).into_iter();
            (number as u32, rows.map(|r| (r.rank, r.slot)).collect())
        });
        let ready: Vec<(u32, Vec<(i64, u32)>)> = lists.collect();
        let mut frames: Vec<Frame> = Vec::new();
        frames.resize_with(groups.len(), Frame::default);
        Calls::new(&self.config)?.compute(&mut frames, &ready, &self.rows.store)
    }

    fn batch(
        &self,
        computed: &Computed,
        positions: &[(RowKind, usize)],
    ) -> Result<Option<ChangelogBatch>> {
        if positions.is_empty() {
            return Ok(None);
        }
        let slots: Vec<u32> = positions.iter().map(|&(_, p)| computed.slots[p]).collect();
        let rows = self.rows.store.rows(&slots)?;
        let indices = positions.iter().map(|&(_, p)| p as u32);
        let indices = arrow::array::UInt32Array::from_iter_values(indices);
        let (_, mut columns, _) = rows.into_parts();
        for column in &computed.columns {
            columns.push(arrow::compute::take(column, &indices, None)?);
        }
        let rows = batch_of(self.config.schema.clone(), columns, slots.len())?;
        let kinds: Vec<u8> = positions.iter().map(|&(kind, _)| kind as u8).collect();
        Ok(Some(ChangelogBatch::new(rows, Some(kinds.into()))))
    }

    /// Sends what turns the old results into the new, removals first.
    fn send(&self, old: &Computed, new: &Computed, out: &mut dyn Output) -> Result<()> {
        let (mut old_hashes, mut new_hashes) = (Vec::new(), Vec::new());
        hash_columns(&old.columns, old.slots.len(), &mut old_hashes)?;
        hash_columns(&new.columns, new.slots.len(), &mut new_hashes)?;
        let hashes = new_hashes.iter().copied();
        let results: StableHashMap<u32, u64> = new.slots.iter().copied().zip(hashes).collect();
        let mut before: StableHashMap<u32, u64> = StableHashMap::default();
        let mut removed = Vec::new();
        for (position, (&slot, &hash)) in old.slots.iter().zip(&old_hashes).enumerate() {
            before.insert(slot, hash);
            match results.get(&slot) {
                None => removed.push((RowKind::Delete, position)),
                Some(&now) if now != hash && self.config.emits_update_before => {
                    removed.push((RowKind::UpdateBefore, position));
                }
                _ => {}
            }
        }
        let mut added = Vec::new();
        for (position, (slot, &hash)) in new.slots.iter().zip(&new_hashes).enumerate() {
            match before.get(slot) {
                None => added.push((RowKind::Insert, position)),
                Some(&was) if was != hash => added.push((RowKind::UpdateAfter, position)),
                _ => {}
            }
        }
        for batch in [self.batch(old, &removed)?, self.batch(new, &added)?] {
            batch.map_or(Ok(()), |batch| out.emit(batch))?;
        }
        Ok(())
    }
}

impl Operator for OverKeys {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        self.context = Some(context.clone());
        self.rows.open(context.max_parallelism);
        Ok(())
    }

    fn process(&mut self, _: usize, batch: ChangelogBatch, out: &mut dyn Output) -> Result<()> {
        let prepared = self.rows.prepare(batch.rows())?;
        let mut groups = prepared.groups.clone();
        groups.sort_unstable();
        groups.dedup();
        let old = self.compute(&groups)?;
        for row in 0..batch.num_rows() {
            if batch.kinds().is_none_or(|k| adds(k[row])) {
                self.rows.add(&prepared, row);
            } else {
                self.rows.remove(&prepared, row);
            }
        }
        self.rows.commit(batch.rows())?;
        let new = self.compute(&groups)?;
        self.send(&old, &new, out)?;
        for group in groups {
            if self.rows.is_empty(group) {
                self.rows.clear(group);
            }
        }
        self.rows.store.sweep()
    }

    fn state_bytes(&self) -> usize {
        self.rows.size_bytes()
    }

    fn next_event_time(&self) -> Option<i64> {
        None
    }

    fn snapshot(&mut self) -> Result<StateSnapshot> {
        Ok(StateSnapshot {
            tables: vec![self.rows.snapshot()],
        })
    }

    fn restore(&mut self, snapshot: StateSnapshot) -> Result<()> {
        self.rows.restore(snapshot.table(ROWS)).map(drop)
    }

    fn restart_snapshots(&mut self) {
        self.rows.store.restart_snapshots();
    }
}
