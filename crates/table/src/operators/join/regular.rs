//! The regular join: both tables are kept, and every change of one meets the rows of the other.
//!
//! A batch is worked in two passes over the static other side: first the rows that go, then those
//! that come, so that deletions of a key reach the output before insertions.

use arrow::record_batch::RecordBatch;
use flott_core::Result;
use flott_core::changelog::{ChangelogBatch, RowKind};
use flott_core::hash::StableHashSet;
use flott_core::operator::{Operator, OperatorContext, Output, StateSnapshot};

use super::chains::NONE;
use super::changes::Changes;
use super::combine::{Alone, Combiner, Pairs, RowsOf, is_left_only, may_be_equal};
use super::keys::{KeyGroups, SideName};
use super::side::{NewRow, Side, SideNeeds};
use super::{JoinKind, RegularJoinConfig};

pub(super) struct RegularJoin {
    kind: JoinKind,
    emits_pairs: bool,
    keys: KeyGroups,
    combiner: Combiner,
    sides: [Side; 2],
    /// Of each row of the batch at hand.
    groups: Vec<u32>,
    context: Option<OperatorContext>,
}

/// Rows of a batch on their way through the other side.
struct Probe<'a> {
    side: SideName,
    rows: &'a RecordBatch,
    /// Positions in the batch.
    picked: &'a [u32],
    is_addition: bool,
}

/// Slots of the other side that the batch has left without a match.
#[derive(Default)]
struct Emptied {
    slots: Vec<u32>,
    set: StableHashSet<u32>,
}

impl RegularJoin {
    pub fn new(config: &RegularJoinConfig) -> Result<Self> {
        let inputs = &config.inputs;
        let side = |name: SideName, schema, is_append: bool, ttl_ms| {
            let needs = SideNeeds {
                is_retracting: !is_append,
                counts_matches: Alone::of(inputs.kind, name) != Alone::Never,
                ttl_ms,
            };
            Side::new(name, schema, &needs)
        };
        let (left, right) = (inputs.left_schema.clone(), inputs.right_schema.clone());
        Ok(Self {
            kind: inputs.kind,
            emits_pairs: !is_left_only(inputs.kind),
            keys: KeyGroups::new(inputs)?,
            combiner: Combiner::new(inputs)?,
            sides: [
                side(
                    SideName::Left,
                    left,
                    config.left_is_append,
                    config.left_ttl_ms,
                ),
                side(
                    SideName::Right,
                    right,
                    config.right_is_append,
                    config.right_ttl_ms,
                ),
            ],
            groups: Vec::new(),
            context: None,
        })
    }

    fn now_ms(&self) -> i64 {
        self.context.as_ref().map_or(0, |c| c.clock.now_ms())
    }

    fn alone(&self, side: SideName) -> Alone {
        Alone::of(self.kind, side)
    }

    fn is_kept(&self, group: u32) -> bool {
        group != NONE || self.kind == JoinKind::NullAwareAnti
    }

    /// Takes out the rows that go and undoes what they have sent.
    fn remove(
        &mut self,
        side: SideName,
        rows: &RecordBatch,
        changes: &Changes,
        touched: &mut Touched,
        out: &mut dyn Output,
    ) -> Result<()> {
        if changes.removed.is_empty() {
            return Ok(());
        }
        let (kept, without): (Vec<u32>, Vec<u32>) = changes
            .removed
            .iter()
            .partition(|&&row| self.is_kept(self.groups[row as usize]));
        let own = &mut self.sides[side as usize];
        let slots = own.take_equal(rows, &kept, &changes.hashes)?;
        let has_ttl = own.has_ttl();
        let mut picked = without;
        for (row, slot) in kept.into_iter().zip(slots) {
            if let Some(slot) = slot {
                touched.groups.push(own.release(slot));
            }
            // What has expired here may still be there in the output.
            if slot.is_some() || has_ttl {
                picked.push(row);
            }
        }
        let probe = Probe {
            side,
            rows,
            picked: &picked,
            is_addition: false,
        };
        self.join(&probe, touched, out)?;
        Ok(())
    }

    /// Sends what the rows that come have to send and keeps them.
    fn add(
        &mut self,
        side: SideName,
        rows: &RecordBatch,
        changes: &Changes,
        touched: &mut Touched,
        out: &mut dyn Output,
    ) -> Result<()> {
        if changes.added.is_empty() {
            return Ok(());
        }
        let probe = Probe {
            side,
            rows,
            picked: &changes.added,
            is_addition: true,
        };
        let counts = self.join(&probe, touched, out)?;
        let created_ms = self.now_ms();
        for (pick, &row) in changes.added.iter().enumerate() {
            let group = self.groups[row as usize];
            let num_matches = counts.get(pick).copied().unwrap_or(0);
            if self.is_kept(group) && !self.is_settled(side, num_matches) {
                self.sides[side as usize].insert(&NewRow {
                    row,
                    group,
                    hash: changes.hashes.get(row as usize).copied(),
                    num_matches,
                    created_ms,
                });
            }
        }
        let store = &mut self.sides[side as usize].store;
        store.commit_keyed(rows, self.keys.row_hashes())
    }

    /// Whether a row with so many matches has nothing more to send, ever.
    fn is_settled(&self, side: SideName, num_matches: u32) -> bool {
        self.alone(side) == Alone::Matched
            && num_matches > 0
            && !self.sides.iter().any(Side::is_retracting)
    }

    /// Joins rows of a batch with the other side and sends the outcome; gives the number of matches
    /// of each row, if rows of this side are sent by themselves.
    fn join(
        &mut self,
        probe: &Probe<'_>,
        touched: &mut Touched,
        out: &mut dyn Output,
    ) -> Result<Vec<u32>> {
        let alone = self.alone(probe.side);
        let mut counts = match alone {
            Alone::Never => Vec::new(),
            _ => vec![0; probe.picked.len()],
        };
        let mut pairs = Pairs::default();
        let other = probe.side.other() as usize;
        for (pick, &row) in probe.picked.iter().enumerate() {
            let group = self.groups[row as usize];
            if self.kind == JoinKind::NullAwareAnti {
                for slot in self.null_aware_candidates(probe.side, group) {
                    pairs.push(row, pick, slot);
                    if pairs.is_full() {
                        self.flush(probe, &mut pairs, &mut counts, touched, out)?;
                    }
                }
                continue;
            }
            let mut slot = self.sides[other].chains.first(group);
            while slot != NONE {
                pairs.push(row, pick, slot);
                slot = self.sides[other].chains.next(slot);
                if pairs.is_full() {
                    self.flush(probe, &mut pairs, &mut counts, touched, out)?;
                }
            }
        }
        self.flush(probe, &mut pairs, &mut counts, touched, out)?;
        if alone != Alone::Never {
            let picked = probe.picked.iter().zip(&counts);
            let sent = picked.filter(|(_, n)| alone.is_sent(**n));
            let sent: Vec<u32> = sent.map(|(&row, _)| row).collect();
            let rows = RowsOf::Batch(probe.rows, &sent);
            self.send_alone(probe.side, &rows, sent.len(), probe.is_addition, out)?;
        }
        Ok(counts)
    }

    /// A NULL key may equal anything: `NOT IN` has to count it.
    fn null_aware_candidates(&self, side: SideName, group: u32) -> Vec<u32> {
        let other = &self.sides[side.other() as usize];
        let by_key: Vec<u32> = match group {
            NONE => other.chains.all().collect(),
            group => other.chains.slots(group).collect(),
        };
        [by_key, other.without_key.slots(0).collect()].concat()
    }

    /// Checks and sends the pairs collected.
    fn flush(
        &mut self,
        probe: &Probe<'_>,
        pairs: &mut Pairs,
        counts: &mut [u32],
        touched: &mut Touched,
        out: &mut dyn Output,
    ) -> Result<()> {
        self.check(probe, pairs)?;
        if pairs.is_empty() {
            return Ok(());
        }
        if !counts.is_empty() {
            for &pick in &pairs.picks {
                counts[pick as usize] += 1;
            }
        }
        self.count_other(probe, &pairs.slots, &mut touched.emptied, out)?;
        if self.emits_pairs {
            let other = &self.sides[probe.side.other() as usize];
            let own = RowsOf::Batch(probe.rows, &pairs.rows);
            let stored = RowsOf::Stored(&other.store, &pairs.slots);
            let rows = self.combiner.pairs(probe.side, &own, &stored)?;
            emit(rows, probe.is_addition, out)?;
        }
        pairs.clear();
        Ok(())
    }

    /// Leaves the pairs that fulfil the whole condition.
    fn check(&self, probe: &Probe<'_>, pairs: &mut Pairs) -> Result<()> {
        if pairs.is_empty() {
            return Ok(());
        }
        let store = &self.sides[probe.side.other() as usize].store;
        let marks = |pairs: &Pairs| {
            let own = RowsOf::Batch(probe.rows, &pairs.rows);
            let other = RowsOf::Stored(store, &pairs.slots);
            self.combiner.matches(probe.side, &own, &other)
        };
        if let Some(marks) = marks(pairs)? {
            pairs.keep(&marks);
        }
        let keys = self.keys.columns.positions(probe.side);
        if self.kind == JoinKind::NullAwareAnti && keys.len() > 1 {
            let own = RowsOf::Batch(probe.rows, &pairs.rows).columns(keys)?;
            let keys = self.keys.columns.positions(probe.side.other());
            let other = RowsOf::Stored(store, &pairs.slots).columns(keys)?;
            pairs.keep(&may_be_equal(&own, &other, pairs.rows.len())?);
        }
        Ok(())
    }

    /// Counts matches of the other side's rows, and sends those of them whose first match has come.
    fn count_other(
        &mut self,
        probe: &Probe<'_>,
        slots: &[u32],
        emptied: &mut Emptied,
        out: &mut dyn Output,
    ) -> Result<()> {
        let other = probe.side.other();
        let Side { matches, store, .. } = &mut self.sides[other as usize];
        let Some(matches) = matches else {
            return Ok(());
        };
        let mut found = Vec::new();
        for &slot in slots {
            store.touch(slot);
            let count = &mut matches[slot as usize];
            if probe.is_addition {
                *count += 1;
                if *count == 1 && !emptied.set.contains(&slot) {
                    found.push(slot);
                }
            } else if *count > 0 {
                *count -= 1;
                if *count == 0 {
                    emptied.slots.push(slot);
                    emptied.set.insert(slot);
                }
            }
        }
        self.send_stored(other, &found, self.alone(other) == Alone::Matched, out)
    }

    /// Sends the rows of the other side that have lost their last match for good.
    fn send_emptied(&self, other: SideName, emptied: Emptied, out: &mut dyn Output) -> Result<()> {
        let Some(matches) = &self.sides[other as usize].matches else {
            return Ok(());
        };
        let mut slots = emptied.slots;
        slots.retain(|&slot| matches[slot as usize] == 0);
        self.send_stored(other, &slots, self.alone(other) == Alone::Unmatched, out)
    }

    fn send_stored(
        &self,
        side: SideName,
        slots: &[u32],
        is_addition: bool,
        out: &mut dyn Output,
    ) -> Result<()> {
        let rows = RowsOf::Stored(&self.sides[side as usize].store, slots);
        self.send_alone(side, &rows, slots.len(), is_addition, out)
    }

    fn send_alone(
        &self,
        side: SideName,
        rows: &RowsOf<'_>,
        num_rows: usize,
        is_addition: bool,
        out: &mut dyn Output,
    ) -> Result<()> {
        if num_rows == 0 {
            return Ok(());
        }
        emit(self.combiner.alone(side, rows)?, is_addition, out)
    }

    fn forget(&mut self, groups: Vec<u32>) -> Result<()> {
        let [left, right] = &self.sides;
        let is_empty = |g: u32| left.chains.first(g) == NONE && right.chains.first(g) == NONE;
        self.keys.release(groups, is_empty);
        self.sides.iter_mut().try_for_each(|s| s.store.sweep())
    }

    fn expire(&mut self, now_ms: i64) -> Vec<u32> {
        let mut groups = Vec::new();
        for side in &mut self.sides {
            side.expire(now_ms, &mut groups);
        }
        groups
    }
}

/// What a batch has changed.
#[derive(Default)]
struct Touched {
    emptied: Emptied,
    /// Groups that have lost rows.
    groups: Vec<u32>,
}

fn emit(rows: RecordBatch, is_addition: bool, out: &mut dyn Output) -> Result<()> {
    let removal = RowKind::Delete as u8;
    let kinds = (!is_addition).then(|| vec![removal; rows.num_rows()].into());
    out.emit(ChangelogBatch::new(rows, kinds))
}

impl Operator for RegularJoin {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        self.context = Some(context.clone());
        for side in &mut self.sides {
            side.store.set_max_parallelism(context.max_parallelism);
        }
        Ok(())
    }

    fn process(&mut self, input: usize, batch: ChangelogBatch, out: &mut dyn Output) -> Result<()> {
        let side = SideName::of_input(input);
        let expired = self.expire(self.now_ms());
        let is_append = !self.sides[side as usize].is_retracting();
        let changes = Changes::of(&batch, is_append)?;
        self.keys.assign(side, batch.rows(), &mut self.groups)?;
        let mut touched = Touched {
            groups: expired,
            ..Touched::default()
        };
        self.remove(side, batch.rows(), &changes, &mut touched, out)?;
        self.add(side, batch.rows(), &changes, &mut touched, out)?;
        self.send_emptied(side.other(), touched.emptied, out)?;
        self.forget(touched.groups)?;
        if let Some(context) = &self.context {
            context.metrics.num_keys.set(self.keys.len() as i64);
        }
        Ok(())
    }

    fn next_timer_ms(&self) -> Option<i64> {
        self.sides.iter().filter_map(Side::next_expiry_ms).min()
    }

    fn on_timer(&mut self, now_ms: i64, _out: &mut dyn Output) -> Result<()> {
        let groups = self.expire(now_ms);
        self.forget(groups)
    }

    fn state_bytes(&self) -> usize {
        let sides: usize = self.sides.iter().map(Side::size_bytes).sum();
        sides + self.keys.size_bytes()
    }

    fn next_event_time(&self) -> Option<i64> {
        None
    }

    fn snapshot(&mut self) -> Result<StateSnapshot> {
        if let Some(context) = &self.context {
            let size = self.state_bytes();
            context.metrics.state_size_bytes.set(size as i64);
        }
        let sides = self.sides.iter_mut();
        Ok(StateSnapshot {
            tables: sides.map(Side::snapshot).collect(),
        })
    }

    fn restore(&mut self, snapshot: StateSnapshot) -> Result<()> {
        let now_ms = self.now_ms();
        for name in [SideName::Left, SideName::Right] {
            let side = &mut self.sides[name as usize];
            let keys = &mut self.keys;
            let columns = keys.columns.positions(name).to_vec();
            for batch in snapshot.packed_table(name.table()) {
                side.restore(batch?, &columns, now_ms, |columns, num_rows| {
                    let mut groups = Vec::new();
                    keys.assign_columns(&columns, num_rows, &mut groups)?;
                    Ok(groups)
                })?;
            }
            side.restored();
        }
        Ok(())
    }

    fn restart_snapshots(&mut self) {
        let sides = self.sides.iter_mut();
        sides.for_each(|side| side.store.restart_snapshots());
    }
}
