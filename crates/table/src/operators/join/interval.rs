//! The interval join: a row meets the other side's rows whose times are near its own.
//!
//! Rows are kept until the watermark has passed every time that they can match, and somewhat
//! longer, as in Flink: a key is cleaned up at most once in half an interval, and until then late
//! rows still find their matches.

use std::collections::BTreeMap;

use arrow::array::{Array, Int64Array};
use arrow::record_batch::RecordBatch;
use flott_core::Result;
use flott_core::changelog::ChangelogBatch;
use flott_core::operator::{Operator, OperatorContext, Output, StateSnapshot, StateTable};
use flott_core::time::{MAX_WATERMARK, MIN_WATERMARK};

use super::chains::{Chains, NONE};
use super::combine::{Alone, Combiner, Pairs, RowsOf, is_left_only};
use super::keys::{KeyGroups, SideName};
use super::{IntervalJoinConfig, JoinKind};
use crate::operators::evaluate::milliseconds;
use crate::operators::rows::{Extra, ExtraValue, RestoredRows, RowStore};

/// No clean-up is due.
const NO_TIMER: i64 = i64::MAX;
const SIDES: [SideName; 2] = [SideName::Left, SideName::Right];

/// The rows of one side.
struct Side {
    name: SideName,
    time_column: usize,
    alone: Alone,
    store: RowStore,
    chains: Chains,
    /// By slot.
    times: Vec<i64>,
    /// By slot: whether a match has been sent.
    is_matched: Vec<bool>,
    /// Rows of the other side may be later by this, in ms.
    reach_ms: i64,
    /// Rows up to this time have been given up.
    expired_ms: i64,
    /// By group: when it is cleaned up.
    timers: Vec<i64>,
}

impl Side {
    fn insert(&mut self, row: usize, group: u32, time: i64, is_matched: bool) {
        let slot = self.store.allocate(row);
        let at = slot as usize;
        if at >= self.times.len() {
            self.times.resize(at + 1, 0);
            self.is_matched.resize(at + 1, false);
        }
        self.times[at] = time;
        self.is_matched[at] = is_matched;
        self.chains.push(group, slot);
    }

    /// Takes a row out of its group; the caller releases the slot.
    fn unlink(&mut self, slot: u32) {
        let group = self.chains.remove(slot);
        if self.chains.first(group) == NONE
            && let Some(timer) = self.timers.get_mut(group as usize)
        {
            *timer = NO_TIMER;
        }
    }

    /// Up to which time rows have nothing more to expect at this time of the operator.
    fn expired_at(&self, now_ms: i64) -> i64 {
        match now_ms {
            MAX_WATERMARK => MAX_WATERMARK,
            now_ms => now_ms.saturating_sub(self.reach_ms).saturating_sub(1),
        }
    }
}

pub(super) struct IntervalJoin {
    is_proctime: bool,
    kind: JoinKind,
    keys: KeyGroups,
    combiner: Combiner,
    sides: [Side; 2],
    /// Rows are kept so much longer than needed, so that a key is not cleaned up for each row.
    slack_ms: i64,
    delay_ms: i64,
    watermark: i64,
    /// Groups to be cleaned up, by time; those whose timer has moved are passed over.
    due: BTreeMap<i64, Vec<(SideName, u32)>>,
    groups: Vec<u32>,
    context: Option<OperatorContext>,
}

/// What becomes of the rows of a batch.
#[derive(Default)]
struct Outcome {
    pairs: Pairs,
    /// By row of the batch.
    counts: Vec<u32>,
    /// Slots of the other side that have expired.
    expired: Vec<u32>,
    /// Groups that may have become empty.
    groups: Vec<u32>,
}

impl IntervalJoin {
    pub fn new(config: &IntervalJoinConfig) -> Result<Self> {
        let inputs = &config.inputs;
        let side = |name: SideName, schema, time_column, reach_ms| Side {
            name,
            time_column,
            alone: Alone::of(inputs.kind, name),
            store: RowStore::new(schema),
            chains: Chains::default(),
            times: Vec::new(),
            is_matched: Vec::new(),
            reach_ms,
            expired_ms: MIN_WATERMARK,
            timers: Vec::new(),
        };
        let (left, right) = (inputs.left_schema.clone(), inputs.right_schema.clone());
        let (left_reach, right_reach) = (-config.lower_ms, config.upper_ms);
        let slack_ms = ((left_reach + right_reach) / 2).max(0);
        let is_outer = SIDES
            .iter()
            .any(|&s| Alone::of(inputs.kind, s) == Alone::Unmatched);
        // Rows without a match are sent when they are cleaned up, and must not be late then.
        let wait_ms = if is_outer { slack_ms + 1 } else { 0 };
        Ok(Self {
            is_proctime: config.is_proctime,
            kind: inputs.kind,
            keys: KeyGroups::new(inputs)?,
            combiner: Combiner::new(inputs)?,
            sides: [
                side(SideName::Left, left, config.left_time, left_reach),
                side(SideName::Right, right, config.right_time, right_reach),
            ],
            slack_ms,
            delay_ms: left_reach.max(right_reach).max(0) + wait_ms,
            watermark: MIN_WATERMARK,
            due: BTreeMap::new(),
            groups: Vec::new(),
            context: None,
        })
    }

    /// The operator's time: the watermark, or processing time.
    fn now_ms(&self) -> i64 {
        match (&self.context, self.is_proctime) {
            (Some(context), true) => context.clock.now_ms(),
            _ => self.watermark,
        }
    }

    fn times(&self, side: SideName, rows: &RecordBatch) -> Result<Int64Array> {
        if self.is_proctime {
            return Ok(Int64Array::from_value(self.now_ms(), rows.num_rows()));
        }
        milliseconds(rows.column(self.sides[side as usize].time_column))
    }

    /// Joins the rows of a batch with what is there of the other side.
    fn probe(
        &mut self,
        side: SideName,
        rows: &RecordBatch,
        times: &Int64Array,
        out: &mut dyn Output,
    ) -> Result<Outcome> {
        let mut outcome = Outcome {
            counts: vec![0; rows.num_rows()],
            ..Outcome::default()
        };
        let now_ms = self.now_ms();
        for row in 0..rows.num_rows() {
            let group = self.groups[row];
            if group == NONE {
                continue;
            }
            let time = times.value(row);
            let reach_ms = self.sides[side as usize].reach_ms;
            let other = &mut self.sides[side.other() as usize];
            let from_ms = time.saturating_sub(other.reach_ms);
            let to_ms = time.saturating_add(reach_ms);
            if other.expired_ms >= to_ms {
                continue;
            }
            other.expired_ms = other.expired_at(now_ms);
            let mut slot = other.chains.first(group);
            while slot != NONE {
                let (at, next) = (other.times[slot as usize], other.chains.next(slot));
                if from_ms <= at && at <= to_ms {
                    outcome.pairs.push(row as u32, row, slot);
                }
                if at <= other.expired_ms {
                    other.unlink(slot);
                    outcome.expired.push(slot);
                    outcome.groups.push(group);
                }
                slot = next;
            }
            if outcome.pairs.is_full() {
                self.flush(side, rows, &mut outcome, out)?;
            }
        }
        self.flush(side, rows, &mut outcome, out)?;
        Ok(outcome)
    }

    fn flush(
        &mut self,
        side: SideName,
        rows: &RecordBatch,
        outcome: &mut Outcome,
        out: &mut dyn Output,
    ) -> Result<()> {
        let pairs = &mut outcome.pairs;
        if pairs.is_empty() {
            return Ok(());
        }
        let other = &mut self.sides[side.other() as usize];
        let own = RowsOf::Batch(rows, &pairs.rows);
        let stored = RowsOf::Stored(&other.store, &pairs.slots);
        if let Some(marks) = self.combiner.matches(side, &own, &stored)? {
            pairs.keep(&marks);
        }
        let mut first_matches = Vec::new();
        for (&pick, &slot) in pairs.picks.iter().zip(&pairs.slots) {
            outcome.counts[pick as usize] += 1;
            if !std::mem::replace(&mut other.is_matched[slot as usize], true) {
                other.store.touch(slot);
                first_matches.push(slot);
            }
        }
        if !is_left_only(self.kind) && !pairs.is_empty() {
            let own = RowsOf::Batch(rows, &pairs.rows);
            let stored = RowsOf::Stored(&other.store, &pairs.slots);
            let rows = self.combiner.pairs(side, &own, &stored)?;
            out.emit(ChangelogBatch::insert_only(rows))?;
        }
        pairs.clear();
        if other.alone == Alone::Matched {
            self.send_stored(side.other(), &first_matches, out)?;
        }
        Ok(())
    }

    /// Keeps the rows that may still find matches; sends those that are sent by themselves already.
    fn keep(
        &mut self,
        side: SideName,
        rows: &RecordBatch,
        times: &Int64Array,
        counts: &[u32],
        out: &mut dyn Output,
    ) -> Result<()> {
        let now_ms = self.now_ms();
        let mut sent = Vec::new();
        for (row, &num_matches) in counts.iter().enumerate() {
            let own = &mut self.sides[side as usize];
            let group = self.groups[row];
            let is_kept = group != NONE && now_ms < times.value(row).saturating_add(own.reach_ms);
            if is_kept {
                own.insert(row, group, times.value(row), num_matches > 0);
                self.set_timer(side, group, times.value(row));
            }
            let is_sent = self.sides[side as usize].alone.is_sent(num_matches);
            if is_sent && (num_matches > 0 || !is_kept) {
                sent.push(row as u32);
            }
        }
        let store = &mut self.sides[side as usize].store;
        store.commit_keyed(rows, self.keys.row_hashes())?;
        if sent.is_empty() {
            return Ok(());
        }
        let rows = self.combiner.alone(side, &RowsOf::Batch(rows, &sent))?;
        out.emit(ChangelogBatch::insert_only(rows))
    }

    /// Has a group cleaned up in time for a row of this time.
    fn set_timer(&mut self, side: SideName, group: u32, time: i64) {
        let own = &mut self.sides[side as usize];
        let at = group as usize;
        if at >= own.timers.len() {
            own.timers.resize(at + 1, NO_TIMER);
        }
        let kept_ms = own.reach_ms.saturating_add(self.slack_ms + 1);
        let timer = time.saturating_add(kept_ms).min(NO_TIMER - 1);
        if timer < own.timers[at] {
            own.timers[at] = timer;
            self.due.entry(timer).or_default().push((side, group));
        }
    }

    /// Cleans up the groups that are due.
    fn clean_up(&mut self, out: &mut dyn Output) -> Result<()> {
        let now_ms = self.now_ms();
        let (mut expired, mut groups) = ([Vec::new(), Vec::new()], Vec::new());
        while let Some(entry) = self.due.first_entry()
            && *entry.key() <= now_ms
        {
            let (timer, due) = entry.remove_entry();
            for (name, group) in due {
                let side = &mut self.sides[name as usize];
                if side.timers.get(group as usize) != Some(&timer) {
                    continue;
                }
                side.timers[group as usize] = NO_TIMER;
                side.expired_ms = side.expired_at(now_ms);
                let mut earliest = None;
                let mut slot = side.chains.first(group);
                while slot != NONE {
                    let (time, next) = (side.times[slot as usize], side.chains.next(slot));
                    if time <= side.expired_ms {
                        side.unlink(slot);
                        expired[name as usize].push(slot);
                    } else if earliest.is_none_or(|e| time < e) {
                        earliest = Some(time);
                    }
                    slot = next;
                }
                match earliest {
                    Some(time) => self.set_timer(name, group, time),
                    None => groups.push(group),
                }
            }
        }
        for (name, slots) in SIDES.into_iter().zip(expired) {
            self.release(name, &slots, out)?;
        }
        self.forget(groups)
    }

    /// Gives rows up; those that have never matched are sent.
    fn release(&mut self, name: SideName, slots: &[u32], out: &mut dyn Output) -> Result<()> {
        let side = &mut self.sides[name as usize];
        slots.iter().for_each(|&s| side.store.release(s));
        if side.alone != Alone::Unmatched {
            return Ok(());
        }
        let unmatched = slots.iter().copied();
        let unmatched = unmatched.filter(|&s| !side.is_matched[s as usize]);
        let unmatched: Vec<u32> = unmatched.collect();
        self.send_stored(name, &unmatched, out)
    }

    fn send_stored(&self, name: SideName, slots: &[u32], out: &mut dyn Output) -> Result<()> {
        if slots.is_empty() {
            return Ok(());
        }
        let rows = RowsOf::Stored(&self.sides[name as usize].store, slots);
        let rows = self.combiner.alone(name, &rows)?;
        out.emit(ChangelogBatch::insert_only(rows))
    }

    fn forget(&mut self, groups: Vec<u32>) -> Result<()> {
        let [left, right] = &self.sides;
        let is_empty = |g: u32| left.chains.first(g) == NONE && right.chains.first(g) == NONE;
        self.keys.release(groups, is_empty);
        self.sides.iter_mut().try_for_each(|s| s.store.sweep())
    }

    fn report(&self) {
        if let Some(context) = &self.context {
            let size = self.state_bytes();
            context.metrics.state_size_bytes.set(size as i64);
            context.metrics.num_keys.set(self.keys.len() as i64);
        }
    }
}

/// The rows of a side that have changed, with their times.
fn side_table(side: &mut Side) -> StateTable {
    let (times, is_matched) = (&side.times, &side.is_matched);
    let extra: [Extra<'_>; 2] = [
        ("time", ExtraValue::Of(&|slot| times[slot])),
        (
            "is_matched",
            ExtraValue::Of(&|slot| i64::from(is_matched[slot])),
        ),
    ];
    side.store.snapshot(side.name.table(), &extra)
}

impl Operator for IntervalJoin {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        self.context = Some(context.clone());
        for side in &mut self.sides {
            side.store.set_max_parallelism(context.max_parallelism);
        }
        Ok(())
    }

    fn process(&mut self, input: usize, batch: ChangelogBatch, out: &mut dyn Output) -> Result<()> {
        let side = SideName::of_input(input);
        let rows = batch.rows();
        let times = self.times(side, rows)?;
        self.keys.assign(side, rows, &mut self.groups)?;
        if let Some(nulls) = times.nulls() {
            for (row, group) in self.groups.iter_mut().enumerate() {
                if nulls.is_null(row) {
                    *group = NONE;
                }
            }
        }
        let outcome = self.probe(side, rows, &times, out)?;
        self.release(side.other(), &outcome.expired, out)?;
        self.keep(side, rows, &times, &outcome.counts, out)?;
        self.forget(outcome.groups)
    }

    fn watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<()> {
        self.watermark = watermark;
        if self.is_proctime {
            return out.watermark(watermark);
        }
        self.clean_up(out)?;
        self.report();
        out.watermark(match watermark {
            MAX_WATERMARK => MAX_WATERMARK,
            watermark => watermark.saturating_sub(self.delay_ms),
        })
    }

    fn next_timer_ms(&self) -> Option<i64> {
        let first = self.due.first_key_value().map(|(&timer, _)| timer);
        first.filter(|_| self.is_proctime)
    }

    fn on_timer(&mut self, _now_ms: i64, out: &mut dyn Output) -> Result<()> {
        self.clean_up(out)
    }

    fn state_bytes(&self) -> usize {
        let sides = self.sides.iter().map(|s| {
            let times = (s.times.capacity() + s.timers.capacity()) * 8;
            s.store.size_bytes() + s.chains.size_bytes() + times + s.is_matched.capacity()
        });
        sides.sum::<usize>() + self.keys.size_bytes() + self.due.len() * 64
    }

    fn next_event_time(&self) -> Option<i64> {
        if self.is_proctime {
            return None;
        }
        Some(
            self.due
                .first_key_value()
                .map_or(i64::MAX, |(&timer, _)| timer),
        )
    }

    fn snapshot(&mut self) -> Result<StateSnapshot> {
        self.report();
        let sides = self.sides.iter_mut();
        Ok(StateSnapshot {
            tables: sides.map(side_table).collect(),
        })
    }

    fn restore(&mut self, snapshot: StateSnapshot) -> Result<()> {
        for name in SIDES {
            for batch in snapshot.table(name.table()) {
                let batch = &batch?;
                let schema = self.sides[name as usize].store.schema().clone();
                let restored = RestoredRows::<2>::new(batch, &schema)?;
                let ([times, is_matched], rows) = (&restored.extra, &restored.rows);
                self.keys.assign(name, rows, &mut self.groups)?;
                for row in 0..rows.num_rows() {
                    let (group, time) = (self.groups[row], times.value(row));
                    let side = &mut self.sides[name as usize];
                    side.insert(row, group, time, is_matched.value(row) != 0);
                    self.set_timer(name, group, time);
                }
                let store = &mut self.sides[name as usize].store;
                store.commit_restored(&restored)?;
            }
            self.sides[name as usize].store.told();
        }
        Ok(())
    }

    fn restart_snapshots(&mut self) {
        let sides = self.sides.iter_mut();
        sides.for_each(|side| side.store.restart_snapshots());
    }
}
