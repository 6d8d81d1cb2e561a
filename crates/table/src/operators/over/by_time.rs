//! OVER in order of time: event time, held until the watermark, or arrival.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use flott_core::Result;
use flott_core::changelog::ChangelogBatch;
use flott_core::operator::{
    Operator, OperatorContext, Output, PartLayout, StateLayout, StateNames, StateRows, StateScope,
    StateSnapshot, StateTable, TableLayout,
};
use flott_state::ChangeTracker;

use super::compute::{Calls, Distinct, Frame};
use super::{OverConfig, OverFrame, OverOrder};
use crate::operators::evaluate::{batch_of, milliseconds};
use crate::operators::rows::{
    Extra, ExtraValue, Partitions, RestoredRows, RowStore, keyed_rows, rows_layout, split_keyed,
};

pub(super) fn create(config: &OverConfig) -> Result<Box<dyn Operator>> {
    Ok(Box::new(OverTime {
        calls: Calls::new(config)?,
        partitions: Partitions::new(&config.input_schema, &config.partition_columns)?,
        store: RowStore::new(config.input_schema.clone()),
        times: Vec::new(),
        frames: Vec::new(),
        changes: begun(),
        waiting: BTreeMap::new(),
        watermark: i64::MIN,
        config: config.clone(),
        context: None,
    }))
}

struct OverTime {
    config: OverConfig,
    calls: Calls,
    partitions: Partitions,
    store: RowStore,
    /// By slot of the store.
    times: Vec<i64>,
    /// By number of the partition.
    frames: Vec<Frame>,
    /// By number of the partition: which frames have changed.
    changes: ChangeTracker,
    /// Rows that are not computed yet, with their partitions, by time.
    waiting: BTreeMap<i64, Vec<(u32, u32)>>,
    watermark: i64,
    context: Option<OperatorContext>,
}

impl OverTime {
    fn times(&self, rows: &RecordBatch) -> Result<Int64Array> {
        match self.config.order {
            OverOrder::Rowtime(column) => milliseconds(rows.column(column)),
            _ => {
                let now = self.context.as_ref().map_or(0, |c| c.clock.now_ms());
                Ok(Int64Array::from_value(now, rows.num_rows()))
            }
        }
    }

    /// Bounded frames take what is later than their partition's last row; unbounded ones only what
    /// the watermark has not passed.
    fn is_late(&self, group: u32, time: i64) -> bool {
        match (&self.config.order, self.config.frame) {
            (OverOrder::Proctime, _) => false,
            (_, OverFrame::Rows { preceding: None } | OverFrame::Range { preceding: None }) => {
                time <= self.watermark
            }
            _ => {
                let last = self.frames[group as usize].last_time;
                last.is_some_and(|last| time <= last)
            }
        }
    }

    fn hold(&mut self, rows: &RecordBatch) -> Result<()> {
        let times = self.times(rows)?;
        let groups = self.partitions.assign(rows)?;
        let bound = self.partitions.bound().max(self.frames.len());
        self.frames.resize_with(bound, Frame::default);
        let mut num_late = 0;
        for (row, &group) in groups.iter().enumerate() {
            if times.is_null(row) || self.is_late(group, times.value(row)) {
                num_late += 1;
                continue;
            }
            let slot = self.allocate(row, times.value(row));
            let waiting = self.waiting.entry(times.value(row)).or_default();
            waiting.push((group, slot));
        }
        if let Some(context) = self.context.as_ref().filter(|_| num_late > 0) {
            context.metrics.num_late_records_dropped.add(num_late);
        }
        self.store.commit_keyed(rows, self.partitions.row_hashes())
    }

    fn allocate(&mut self, row: usize, time: i64) -> u32 {
        let slot = self.store.allocate(row);
        let at = slot as usize;
        self.times.resize(self.times.len().max(at + 1), 0);
        self.times[at] = time;
        slot
    }

    /// Computes and sends what is due at this time.
    fn compute(&mut self, until_ms: i64, out: &mut dyn Output) -> Result<()> {
        let mut due: BTreeMap<u32, Vec<(i64, u32)>> = BTreeMap::new();
        while let Some(entry) = self.waiting.first_entry()
            && *entry.key() <= until_ms
        {
            let time = *entry.key();
            for (group, slot) in entry.remove() {
                due.entry(group).or_default().push((time, slot));
            }
        }
        if due.is_empty() {
            return Ok(());
        }
        let groups: Vec<u32> = due.keys().copied().collect();
        self.changes.mark(&groups, self.frames.len());
        let due: Vec<_> = due.into_iter().collect();
        let computed = self.calls.compute(&mut self.frames, &due, &self.store)?;
        let rows = self.store.rows(&computed.slots)?;
        let (_, mut columns, _) = rows.into_parts();
        columns.extend(computed.columns);
        let rows = batch_of(self.config.schema.clone(), columns, computed.slots.len())?;
        out.emit(ChangelogBatch::insert_only(rows))?;
        computed
            .released
            .iter()
            .for_each(|&s| self.store.release(s));
        self.store.sweep()
    }

    fn key_schema(&self) -> Vec<Arc<Field>> {
        let columns = self.config.partition_columns.iter().enumerate();
        let fields = columns.map(|(at, &c)| {
            let own = self.config.input_schema.field(c).clone();
            Arc::new(own.with_name(format!("{}{at}", NAMES.key)))
        });
        fields.collect()
    }

    /// The key columns, then what [`Frame`] counts and the state columns of the accumulators of
    /// these calls.
    fn partition_schema(&self, has_call: impl Fn(usize) -> bool) -> SchemaRef {
        let mut fields = self.key_schema();
        let counts = COUNTS.map(|name| Arc::new(Field::new(name, DataType::Int64, true)));
        fields.extend(counts);
        for (call, accumulator) in self.calls.accumulators.iter().enumerate() {
            let accumulator = accumulator.iter().filter(|_| has_call(call));
            let types = accumulator.flat_map(|a| a.state_types()).enumerate();
            let fields_of = types.map(|(at, t)| t.to_field(&state_name(call, at)));
            fields.extend(fields_of);
        }
        Arc::new(Schema::new(fields))
    }

    /// The partitions that have changed.
    fn partitions_table(&mut self, max_parallelism: usize) -> Result<StateTable> {
        let is_whole = !self.changes.is_on();
        let numbers = match is_whole {
            true => self.partitions.all(),
            false => self.changes.changed(),
        };
        let groups = numbers.iter();
        let groups = groups.map(|&n| self.partitions.key_group(n, max_parallelism));
        let values = |value: fn(&Frame) -> i64| {
            let frames = numbers.iter().map(|&n| &self.frames[n as usize]);
            Arc::new(frames.map(value).collect::<Int64Array>()) as ArrayRef
        };
        let mut columns = self.partitions.key_columns(&numbers)?;
        columns.extend([
            values(|f| f.row_number),
            values(|f| f.rank),
            values(|f| f.dense_rank),
            values(|f| f.last_time.unwrap_or(i64::MIN)),
        ]);
        for accumulator in self.calls.accumulators.iter().flatten() {
            columns.extend(accumulator.state(&numbers)?);
        }
        let rows = batch_of(self.partition_schema(|_| true), columns, numbers.len())?;
        let rows = keyed_rows(groups.collect(), Vec::new(), rows)?;
        self.changes.begin();
        Ok(match is_whole {
            true => StateTable::full(PARTITIONS, StateScope::Keyed, rows),
            false => {
                let key_columns = 1 + self.config.partition_columns.len();
                StateTable::delta(PARTITIONS, key_columns, rows, StateRows::default())
            }
        })
    }

    /// Takes partitions back; gives the calls whose state is not there, because they are new.
    fn restore_partitions(&mut self, batch: &RecordBatch) -> Result<BTreeSet<usize>> {
        let is_there = |call| batch.column_by_name(&state_name(call, 0)).is_some();
        let schema = self.partition_schema(is_there);
        let ([], rows) = split_keyed::<0>(batch, &schema)?;
        let (keys, others) = rows.columns().split_at(self.config.partition_columns.len());
        let (counts, states) = others.split_at(COUNTS.len());
        let count = |column: usize, row: usize| {
            let values = counts[column].as_primitive::<Int64Type>();
            values.value(row)
        };
        let groups = self.partitions.assign_columns(keys, rows.num_rows())?;
        let bound = self.partitions.bound().max(self.frames.len());
        self.frames.resize_with(bound, Frame::default);
        for (row, &group) in groups.iter().enumerate() {
            let last = count(3, row);
            self.frames[group as usize] = Frame {
                row_number: count(0, row),
                rank: count(1, row),
                dense_rank: count(2, row),
                last_time: (last != i64::MIN).then_some(last),
                ..Frame::default()
            };
        }
        let (mut states, mut missing): (&[ArrayRef], _) = (states, BTreeSet::new());
        for (call, accumulator) in self.calls.accumulators.iter_mut().enumerate() {
            let Some(accumulator) = accumulator else {
                continue;
            };
            accumulator.resize(bound);
            if !is_there(call) {
                missing.insert(call);
                continue;
            }
            let (own, rest) = states.split_at(accumulator.state_types().len());
            accumulator.merge(&groups, own)?;
            states = rest;
        }
        Ok(missing)
    }

    /// Makes the state of calls that are new of the rows that are in the frames.
    fn rebuild(&mut self, calls: BTreeSet<usize>) -> Result<()> {
        if calls.is_empty() {
            return Ok(());
        }
        let (mut groups, mut slots) = (Vec::new(), Vec::new());
        for (group, frame) in self.frames.iter().enumerate() {
            groups.extend(frame.members.iter().map(|_| group as u32));
            slots.extend(frame.members.iter().map(|(_, slot)| *slot));
        }
        let rows = (groups.as_slice(), slots.as_slice());
        let num_groups = self.frames.len();
        let mut calls = calls.into_iter();
        calls.try_for_each(|call| self.calls.take_in(call, rows, num_groups, &self.store))
    }

    /// Takes rows back; gives each with its order, for [`OverTime::place`].
    fn restore_rows(&mut self, batch: &RecordBatch, held: &mut Vec<Held>) -> Result<()> {
        let restored = RestoredRows::<1>::new(batch, &self.config.input_schema)?;
        let [times] = &restored.extra;
        let groups = self.partitions.assign(&restored.rows)?;
        let bound = self.partitions.bound().max(self.frames.len());
        self.frames.resize_with(bound, Frame::default);
        for (row, &group) in groups.iter().enumerate() {
            let time = times.value(row);
            held.push(Held {
                group,
                time,
                id: restored.id(row),
                slot: self.allocate(row, time),
            });
        }
        self.store.commit_restored(&restored)
    }

    /// Puts restored rows where they were, in their order: what is later than the last row computed
    /// of its partition waits.
    fn place(&mut self, mut held: Vec<Held>) {
        let is_proctime = matches!(self.config.order, OverOrder::Proctime);
        held.sort_unstable_by_key(|h| match is_proctime {
            true => (0, h.id),
            false => (h.time, h.id),
        });
        for row in held {
            let frame = &mut self.frames[row.group as usize];
            if is_proctime || frame.last_time.is_some_and(|last| row.time <= last) {
                frame.members.push_back((row.time, row.slot));
            } else {
                let waiting = self.waiting.entry(row.time).or_default();
                waiting.push((row.group, row.slot));
            }
        }
    }
}

/// A restored row.
struct Held {
    group: u32,
    time: i64,
    id: i64,
    slot: u32,
}

/// How the tables hold the columns of the state.
///
/// # Errors
/// A defect: a call that its function does not take.
pub(super) fn state_layout(config: &OverConfig) -> Result<StateLayout> {
    let keys = config.partition_columns.iter();
    let keys: Vec<DataType> = keys
        .map(|&c| config.input_schema.field(c).data_type().clone())
        .collect();
    let mut calls = Calls::new(config)?;
    let is_bounded = calls.is_bounded();
    let mut parts = Vec::new();
    for (call, accumulator) in calls.accumulators.iter_mut().enumerate() {
        if let Some(accumulator) = accumulator {
            accumulator.resize(1);
            parts.push(PartLayout {
                calls: vec![(call, 0)],
                num_filters: None,
                empty: accumulator.state(&[0])?,
                is_rebuilt: is_bounded,
            });
        }
    }
    let distinct = config
        .calls
        .iter()
        .enumerate()
        .filter_map(|(number, call)| {
            let types = call.distinct_types()?.map(|t| t.to_arrow());
            Some(TableLayout::OfCall {
                prefix: DISTINCT,
                call: number,
                types: keys.iter().cloned().chain(types).collect(),
            })
        });
    let mut layout = rows_layout(&[(ROWS, &config.input_schema)], true);
    layout.tables.extend(distinct);
    layout.tables.push(TableLayout::Aggregates {
        table: PARTITIONS,
        names: NAMES,
        keys,
        parts,
    });
    layout.rebuilds_calls = is_bounded;
    Ok(layout)
}

/// What is new counts from the beginning.
pub(super) fn begun() -> ChangeTracker {
    let mut changes = ChangeTracker::default();
    changes.begin();
    changes
}

impl Operator for OverTime {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        self.context = Some(context.clone());
        self.store.set_max_parallelism(context.max_parallelism);
        for distinct in self.calls.distinct.iter_mut().flatten() {
            distinct.max_parallelism = context.max_parallelism;
        }
        Ok(())
    }

    fn process(&mut self, _: usize, batch: ChangelogBatch, out: &mut dyn Output) -> Result<()> {
        self.hold(batch.rows())?;
        match self.config.order {
            OverOrder::Proctime => self.compute(i64::MAX, out),
            _ => Ok(()),
        }
    }

    fn watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<()> {
        self.watermark = watermark;
        if let OverOrder::Rowtime(_) = self.config.order {
            self.compute(watermark, out)?;
        }
        out.watermark(watermark)
    }

    fn state_bytes(&self) -> usize {
        let frames = self.frames.capacity() * size_of::<Frame>() + self.waiting.len() * 64;
        let accumulators = self.calls.accumulators.iter().flatten();
        let accumulators: usize = accumulators.map(|a| a.size_bytes()).sum();
        let distinct = self.calls.distinct.iter().flatten();
        let distinct = distinct.map(|d| d.size_bytes());
        let rows = self.store.size_bytes() + self.partitions.size_bytes();
        rows + frames + accumulators + distinct.sum::<usize>()
    }

    fn next_event_time(&self) -> Option<i64> {
        match self.config.order {
            OverOrder::Rowtime(_) => {
                let first = self.waiting.first_key_value();
                Some(first.map_or(i64::MAX, |(&time, _)| time))
            }
            _ => None,
        }
    }

    fn snapshot(&mut self) -> Result<StateSnapshot> {
        let max_parallelism = self.context.as_ref().map_or(1, |c| c.max_parallelism);
        for accumulator in self.calls.accumulators.iter_mut().flatten() {
            accumulator.resize(self.frames.len());
        }
        let times = &self.times;
        let time: [Extra<'_>; 1] = [("time", ExtraValue::Of(&|slot| times[slot]))];
        let rows = self.store.snapshot(ROWS, &time);
        let mut tables = vec![self.partitions_table(max_parallelism)?, rows];
        for (call, distinct) in self.calls.distinct.iter_mut().enumerate() {
            if let Some(distinct) = distinct {
                tables.push(distinct.snapshot(&format!("{DISTINCT}{call}"))?);
            }
        }
        Ok(StateSnapshot { tables })
    }

    fn restore(&mut self, snapshot: StateSnapshot) -> Result<()> {
        let mut missing = BTreeSet::new();
        for batch in snapshot.table(PARTITIONS) {
            missing.extend(self.restore_partitions(&batch?)?);
        }
        let mut held = Vec::new();
        for batch in snapshot.table(ROWS) {
            self.restore_rows(&batch?, &mut held)?;
        }
        self.place(held);
        for (call, distinct) in self.calls.distinct.iter_mut().enumerate() {
            if let Some(distinct) = distinct {
                distinct.restore(snapshot.table(&format!("{DISTINCT}{call}")))?;
            }
        }
        self.rebuild(missing)?;
        self.changes.begin();
        self.store.told();
        Ok(())
    }

    fn restart_snapshots(&mut self) {
        self.changes.stop();
        self.store.restart_snapshots();
        let distinct = self.calls.distinct.iter_mut().flatten();
        distinct.for_each(Distinct::restart_snapshots);
    }
}

const PARTITIONS: &str = "partitions";
const ROWS: &str = "rows";
const DISTINCT: &str = "distinct_";
/// The columns of partitions.
const NAMES: StateNames = StateNames {
    key: "partition_key",
    call: "call",
    set: "set",
};
/// The columns of a [`Frame`].
const COUNTS: [&str; 4] = ["row_number", "rank", "dense_rank", "last_time"];

/// What a column of an accumulator's state is called.
fn state_name(call: usize, column: usize) -> String {
    format!("{}{call}_{column}", NAMES.call)
}
