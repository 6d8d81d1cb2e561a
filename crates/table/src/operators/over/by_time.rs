//! OVER in order of time: event time, held until the watermark, or arrival.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use flott_core::Result;
use flott_core::changelog::ChangelogBatch;
use flott_core::operator::{Operator, OperatorContext, Output, StateSnapshot, StateTable};

use super::compute::{Calls, Frame};
use super::{OverConfig, OverFrame, OverOrder};
use crate::operators::evaluate::{batch_of, milliseconds};
use crate::operators::rows::{Partitions, RowStore, keyed_table, split_keyed};

pub(super) fn create(config: &OverConfig) -> Result<Box<dyn Operator>> {
    Ok(Box::new(OverTime {
        calls: Calls::new(config)?,
        partitions: Partitions::new(&config.input_schema, &config.partition_columns)?,
        store: RowStore::new(config.input_schema.clone()),
        frames: Vec::new(),
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
    /// By number of the partition.
    frames: Vec<Frame>,
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
            let slot = self.store.allocate(row);
            let waiting = self.waiting.entry(times.value(row)).or_default();
            waiting.push((group, slot));
        }
        if let Some(context) = self.context.as_ref().filter(|_| num_late > 0) {
            context.metrics.num_late_records_dropped.add(num_late);
        }
        self.store.commit(rows)
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
        let columns = self.config.partition_columns.iter();
        let fields = columns.map(|&c| Arc::new(self.config.input_schema.field(c).clone()));
        fields.collect()
    }

    /// The key columns, then the state columns of all accumulators.
    fn partition_schema(&self) -> SchemaRef {
        let mut fields = self.key_schema();
        for accumulator in self.calls.accumulators.iter().flatten() {
            fields.extend(
                accumulator
                    .state_types()
                    .iter()
                    .map(|t| t.to_field("state")),
            );
        }
        Arc::new(Schema::new(fields))
    }

    fn partitions_table(&self, max_parallelism: usize) -> Result<StateTable> {
        let all = self.partitions.all();
        let groups = all.iter();
        let groups = groups.map(|&n| self.partitions.key_group(n, max_parallelism));
        let numbers = |number: fn(&Frame) -> i64| {
            let frames = all.iter().map(|&n| &self.frames[n as usize]);
            frames.map(number).collect::<Vec<_>>()
        };
        let extra = vec![
            ("row_number", numbers(|f| f.row_number)),
            ("rank", numbers(|f| f.rank)),
            ("dense_rank", numbers(|f| f.dense_rank)),
            ("last_time", numbers(|f| f.last_time.unwrap_or(i64::MIN))),
        ];
        let mut columns = self.partitions.key_columns(&all)?;
        for accumulator in self.calls.accumulators.iter().flatten() {
            columns.extend(accumulator.state(&all)?);
        }
        let rows = batch_of(self.partition_schema(), columns, all.len())?;
        keyed_table(PARTITIONS, groups.collect(), extra, rows)
    }

    fn rows_table(&self, max_parallelism: usize) -> Result<StateTable> {
        let mut held: Vec<(u32, i64, i64, u32)> = Vec::new();
        for group in self.partitions.all() {
            let members = self.frames[group as usize].members.iter();
            held.extend(members.map(|&(time, slot)| (group, time, 0, slot)));
        }
        for (&time, rows) in &self.waiting {
            held.extend(rows.iter().map(|&(group, slot)| (group, time, 1, slot)));
        }
        let groups = held.iter();
        let groups = groups.map(|h| self.partitions.key_group(h.0, max_parallelism));
        let extra = vec![
            ("time", held.iter().map(|h| h.1).collect()),
            ("is_waiting", held.iter().map(|h| h.2).collect()),
        ];
        let slots: Vec<u32> = held.iter().map(|h| h.3).collect();
        keyed_table(ROWS, groups.collect(), extra, self.store.rows(&slots)?)
    }

    fn distinct_tables(&self, max_parallelism: usize) -> Result<Vec<StateTable>> {
        let distinct = self.calls.distinct.iter().enumerate();
        let distinct = distinct.filter_map(|(call, d)| d.as_ref().map(|d| (call, d)));
        let tables = distinct.map(|(call, distinct)| {
            let all = distinct.values.all();
            let groups = all.iter();
            let groups = groups.map(|&n| distinct.values.key_group(n, max_parallelism));
            let counts = all.iter().map(|&n| distinct.counts[n as usize]).collect();
            let columns = distinct.values.key_columns(&all)?;
            let rows = batch_of(distinct.schema.clone(), columns, all.len())?;
            let name = format!("{DISTINCT}{call}");
            keyed_table(&name, groups.collect(), vec![("count", counts)], rows)
        });
        tables.collect()
    }

    fn restore_partitions(&mut self, batch: &RecordBatch) -> Result<()> {
        let schema = self.partition_schema();
        let ([row_numbers, ranks, dense_ranks, last_times], rows) =
            split_keyed::<4>(batch, &schema)?;
        let (keys, states) = rows.columns().split_at(self.config.partition_columns.len());
        let groups = self.partitions.assign_columns(keys, rows.num_rows())?;
        let bound = self.partitions.bound().max(self.frames.len());
        self.frames.resize_with(bound, Frame::default);
        for (row, &group) in groups.iter().enumerate() {
            let last = last_times.value(row);
            self.frames[group as usize] = Frame {
                row_number: row_numbers.value(row),
                rank: ranks.value(row),
                dense_rank: dense_ranks.value(row),
                last_time: (last != i64::MIN).then_some(last),
                ..Frame::default()
            };
        }
        let mut states: &[ArrayRef] = states;
        for accumulator in self.calls.accumulators.iter_mut().flatten() {
            let (own, rest) = states.split_at(accumulator.state_types().len());
            accumulator.resize(bound);
            accumulator.merge(&groups, own)?;
            states = rest;
        }
        Ok(())
    }

    fn restore_rows(&mut self, batch: &RecordBatch) -> Result<()> {
        let ([times, waiting], rows) = split_keyed::<2>(batch, &self.config.input_schema)?;
        let groups = self.partitions.assign(&rows)?;
        let bound = self.partitions.bound().max(self.frames.len());
        self.frames.resize_with(bound, Frame::default);
        for (row, &group) in groups.iter().enumerate() {
            let (time, slot) = (times.value(row), self.store.allocate(row));
            if waiting.value(row) == 0 {
                self.frames[group as usize].members.push_back((time, slot));
            } else {
                self.waiting.entry(time).or_default().push((group, slot));
            }
        }
        self.store.commit(&rows)
    }
}

impl Operator for OverTime {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        self.context = Some(context.clone());
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
        let distinct = distinct.map(|d| d.values.size_bytes() + d.counts.capacity() * 8);
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
        let mut tables = vec![
            self.partitions_table(max_parallelism)?,
            self.rows_table(max_parallelism)?,
        ];
        tables.extend(self.distinct_tables(max_parallelism)?);
        Ok(StateSnapshot { tables })
    }

    fn restore(&mut self, snapshot: StateSnapshot) -> Result<()> {
        for batch in snapshot.table(PARTITIONS) {
            let batch = &batch?;
            self.restore_partitions(batch)?;
        }
        for batch in snapshot.table(ROWS) {
            let batch = &batch?;
            self.restore_rows(batch)?;
        }
        for (call, distinct) in self.calls.distinct.iter_mut().enumerate() {
            let Some(distinct) = distinct else { continue };
            for batch in snapshot.table(&format!("{DISTINCT}{call}")) {
                let batch = &batch?;
                let ([counts], rows) = split_keyed::<1>(batch, &distinct.schema)?;
                let numbers = distinct.values.assign(&rows)?;
                distinct.counts.resize(distinct.values.bound(), 0);
                for (row, number) in numbers.into_iter().enumerate() {
                    distinct.counts[number as usize] = counts.value(row);
                }
            }
        }
        Ok(())
    }
}

const PARTITIONS: &str = "partitions";
const ROWS: &str = "rows";
const DISTINCT: &str = "distinct_";
