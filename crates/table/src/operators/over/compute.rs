//! The algorithm of OVER: rows enter and leave frames in steps, all partitions at once.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, UInt32Array, new_empty_array,
};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::record_batch::RecordBatch;
use flott_core::operator::{RowsReader, StateScope, StateTable};
use flott_core::{Error, Result};
use flott_state::ChangeTracker;

use super::{OverCall, OverConfig, OverFrame, OverFunction, OverOrder};
use crate::aggregates::Accumulator;
use crate::operators::evaluate::{batch_of, evaluate, evaluate_all};
use crate::operators::rows::{Partitions, RowStore, keyed_rows};

/// Rows that are taken in at a time.
const PIECE_ROWS: usize = 8_192;

/// A partition's rows that count now, and how many have been before.
#[derive(Debug, Default)]
pub(super) struct Frame {
    /// Time and slot; with an unbounded frame, as many as LAG looks back to.
    pub members: VecDeque<(i64, u32)>,
    pub row_number: i64,
    pub rank: i64,
    pub dense_rank: i64,
    pub last_time: Option<i64>,
}

impl Frame {
    fn count(&mut self, time: i64) {
        self.row_number += 1;
        if self.last_time != Some(time) {
            self.rank = self.row_number;
            self.dense_rank += 1;
        }
        self.last_time = Some(time);
    }
}

/// The calls of one OVER window with what they have accumulated by partition.
pub(super) struct Calls {
    calls: Vec<OverCall>,
    frame: OverFrame,
    pub accumulators: Vec<Option<Box<dyn Accumulator>>>,
    pub distinct: Vec<Option<Distinct>>,
    /// Whether rows enter their frame one by one rather than with their peers.
    is_by_row: bool,
    /// How far LAG looks back.
    history: usize,
}

/// Computed rows, in order of time.
pub(super) struct Computed {
    pub slots: Vec<u32>,
    /// A column for each call.
    pub columns: Vec<ArrayRef>,
    /// What has left its frame and is not needed any more.
    pub released: Vec<u32>,
}

/// Rows that enter or leave, and rows to compute, of one step.
#[derive(Default)]
struct Step {
    groups: Vec<u32>,
    slots: Vec<u32>,
    adds: Vec<bool>,
    outputs: Vec<Output>,
}

struct Output {
    group: u32,
    slot: u32,
    time: i64,
    row_number: i64,
    rank: i64,
    dense_rank: i64,
    /// The rows that LAG calls look at, in order of the calls.
    lags: Vec<Option<u32>>,
}

impl Calls {
    pub fn new(config: &OverConfig) -> Result<Self> {
        let is_bounded = !matches!(
            config.frame,
            OverFrame::Rows { preceding: None } | OverFrame::Range { preceding: None }
        );
        let accumulator = |call: &OverCall| match &call.function {
            OverFunction::Aggregate {
                function, types, ..
            } => (function.create)(types, is_bounded).map(Some),
            _ => Ok(None),
        };
        let distinct = |call: &OverCall| {
            let types = call.distinct_types();
            let types = types.map(|types| types.map(|t| t.to_arrow()).collect());
            types.map(|types| Distinct::new(config, types)).transpose()
        };
        let lag = |call: &OverCall| match call.function {
            OverFunction::Lag { offset } => offset as usize,
            _ => 0,
        };
        let is_unbounded_proctime = matches!(config.order, OverOrder::Proctime) && !is_bounded;
        Ok(Self {
            accumulators: config
                .calls
                .iter()
                .map(accumulator)
                .collect::<Result<_>>()?,
            distinct: config.calls.iter().map(distinct).collect::<Result<_>>()?,
            history: config.calls.iter().map(lag).max().unwrap_or(0),
            is_by_row: matches!(config.frame, OverFrame::Rows { .. }) || is_unbounded_proctime,
            frame: config.frame,
            calls: config.calls.clone(),
        })
    }

    /// Computes rows that stand in order in each partition; `frames` are by number of partition.
    pub fn compute(
        &mut self,
        frames: &mut [Frame],
        ready: &[(u32, Vec<(i64, u32)>)],
        store: &RowStore,
    ) -> Result<Computed> {
        let (mut steps, mut released) = (Vec::new(), Vec::new());
        for (group, rows) in ready {
            let frame = &mut frames[*group as usize];
            self.plan(*group, frame, rows, &mut steps, &mut released);
        }
        let columns = (0..self.calls.len())
            .map(|call| self.column(call, &steps, frames.len(), store))
            .collect::<Result<Vec<_>>>()?;
        let outputs: Vec<&Output> = steps.iter().flat_map(|s| &s.outputs).collect();
        let mut order: Vec<u32> = (0..outputs.len() as u32).collect();
        order.sort_by_key(|&i| outputs[i as usize].time);
        let slots = order.iter().map(|&i| outputs[i as usize].slot).collect();
        let order = UInt32Array::from(order);
        let columns = columns.iter().map(|c| take(c, &order, None));
        Ok(Computed {
            slots,
            columns: columns.collect::<Result<_, _>>()?,
            released,
        })
    }

    /// Lets a partition's rows into its frame, peers together, and others out of it.
    fn plan(
        &self,
        group: u32,
        frame: &mut Frame,
        rows: &[(i64, u32)],
        steps: &mut Vec<Step>,
        released: &mut Vec<u32>,
    ) {
        let is_peer = |a: &(i64, u32), b: &(i64, u32)| !self.is_by_row && a.0 == b.0;
        for (index, peers) in rows.chunk_by(is_peer).enumerate() {
            if steps.len() <= index {
                steps.push(Step::default());
            }
            let step = &mut steps[index];
            for &(time, slot) in peers {
                step.groups.push(group);
                step.slots.push(slot);
                step.adds.push(true);
                frame.members.push_back((time, slot));
                frame.count(time);
                step.outputs.push(self.output(group, slot, time, frame));
            }
            self.leave(group, frame, peers[0].0, step, released);
        }
    }

    fn output(&self, group: u32, slot: u32, time: i64, frame: &Frame) -> Output {
        let lags = self.calls.iter().filter_map(|call| match call.function {
            OverFunction::Lag { offset } => {
                let last = frame.members.len() - 1;
                let position = last.checked_sub(offset as usize);
                Some(position.map(|p| frame.members[p].1))
            }
            _ => None,
        });
        Output {
            group,
            slot,
            time,
            row_number: frame.row_number,
            rank: frame.rank,
            dense_rank: frame.dense_rank,
            lags: lags.collect(),
        }
    }

    fn leave(
        &self,
        group: u32,
        frame: &mut Frame,
        time: i64,
        step: &mut Step,
        released: &mut Vec<u32>,
    ) {
        loop {
            let has_left = match (self.frame, frame.members.front()) {
                (_, None) => false,
                (OverFrame::Rows { preceding: Some(n) }, _) => frame.members.len() as u64 > n + 1,
                (
                    OverFrame::Range {
                        preceding: Some(ms),
                    },
                    Some((first, _)),
                ) => *first < time.saturating_sub(ms),
                _ => frame.members.len() > self.history,
            };
            let Some((_, slot)) = frame.members.front().copied().filter(|_| has_left) else {
                return;
            };
            frame.members.pop_front();
            released.push(slot);
            if self.is_bounded() {
                step.groups.push(group);
                step.slots.push(slot);
                step.adds.push(false);
            }
        }
    }

    /// Takes rows that are in frames, as groups and slots, into the state of a call that has seen
    /// none of them.
    pub fn take_in(
        &mut self,
        call: usize,
        (groups, slots): (&[u32], &[u32]),
        num_groups: usize,
        store: &RowStore,
    ) -> Result<()> {
        let Some(accumulator) = &mut self.accumulators[call] else {
            return Ok(());
        };
        accumulator.resize(num_groups);
        let pieces = groups.chunks(PIECE_ROWS).zip(slots.chunks(PIECE_ROWS));
        for (groups, slots) in pieces {
            let rows = store.rows(slots)?;
            let arguments = evaluate_all(&self.calls[call].arguments, &rows)?;
            let distinct = self.distinct[call].as_mut();
            let all = vec![true; slots.len()];
            let filter = distinct.map(|d| d.changes(&rows, &arguments, &all));
            accumulator.update(groups, &arguments, filter.transpose()?.as_ref(), None)?;
        }
        Ok(())
    }

    pub fn is_bounded(&self) -> bool {
        matches!(
            self.frame,
            OverFrame::Rows { preceding: Some(_) } | OverFrame::Range { preceding: Some(_) }
        )
    }

    /// The results of a call, in order of the steps.
    fn column(
        &mut self,
        call: usize,
        steps: &[Step],
        num_groups: usize,
        store: &RowStore,
    ) -> Result<ArrayRef> {
        let numbers = |number: fn(&Output) -> i64| -> ArrayRef {
            let outputs = steps.iter().flat_map(|s| &s.outputs);
            Arc::new(Int64Array::from_iter_values(outputs.map(number)))
        };
        match self.calls[call].function {
            OverFunction::RowNumber => Ok(numbers(|o| o.row_number)),
            OverFunction::Rank => Ok(numbers(|o| o.rank)),
            OverFunction::DenseRank => Ok(numbers(|o| o.dense_rank)),
            OverFunction::Lag { .. } => self.lag(call, steps, store),
            OverFunction::Aggregate { .. } => self.aggregate(call, steps, num_groups, store),
        }
    }

    fn lag(&self, call: usize, steps: &[Step], store: &RowStore) -> Result<ArrayRef> {
        let before = self.calls[..call].iter();
        let index = before.filter(|c| matches!(c.function, OverFunction::Lag { .. }));
        let index = index.count();
        let outputs = || steps.iter().flat_map(|s| &s.outputs);
        let sources: Vec<Option<u32>> = outputs().map(|o| o.lags[index]).collect();
        let found: Vec<u32> = sources.iter().copied().flatten().collect();
        let arguments = &self.calls[call].arguments;
        let values = evaluate(arguments[0].as_ref(), &store.rows(&found)?)?;
        let own: Vec<u32> = outputs().map(|o| o.slot).collect();
        let defaults = match arguments.get(1) {
            Some(default) => evaluate(default.as_ref(), &store.rows(&own)?)?,
            None => arrow::array::new_null_array(values.data_type(), own.len()),
        };
        let mut next = 0;
        let positions = sources
            .iter()
            .enumerate()
            .map(|(row, source)| match source {
                Some(_) => {
                    next += 1;
                    (0, next - 1)
                }
                None => (1, row),
            });
        let positions: Vec<(usize, usize)> = positions.collect();
        let arrays: [&dyn Array; 2] = [&values, &defaults];
        Ok(arrow::compute::interleave(&arrays, &positions)?)
    }

    fn aggregate(
        &mut self,
        call: usize,
        steps: &[Step],
        num_groups: usize,
        store: &RowStore,
    ) -> Result<ArrayRef> {
        let slots: Vec<u32> = steps.iter().flat_map(|s| s.slots.iter().copied()).collect();
        let rows = store.rows(&slots)?;
        let arguments = evaluate_all(&self.calls[call].arguments, &rows)?;
        let Some(accumulator) = &mut self.accumulators[call] else {
            return Ok(new_empty_array(&arrow::datatypes::DataType::Null));
        };
        accumulator.resize(num_groups);
        if steps.is_empty() {
            return accumulator.evaluate(&[]);
        }
        let (mut start, mut results) = (0, Vec::with_capacity(steps.len()));
        for step in steps {
            let length = step.slots.len();
            let slice = |c: &ArrayRef| c.slice(start, length);
            let arguments: Vec<ArrayRef> = arguments.iter().map(slice).collect();
            let adds = BooleanArray::from(step.adds.clone());
            let filter = match &mut self.distinct[call] {
                Some(distinct) => {
                    let rows = rows.slice(start, length);
                    Some(distinct.changes(&rows, &arguments, &step.adds)?)
                }
                None => None,
            };
            let adds = step.adds.contains(&false).then_some(&adds);
            accumulator.update(&step.groups, &arguments, filter.as_ref(), adds)?;
            let groups: Vec<u32> = step.outputs.iter().map(|o| o.group).collect();
            results.push(accumulator.evaluate(&groups)?);
            start += length;
        }
        let results: Vec<&dyn Array> = results.iter().map(AsRef::as_ref).collect();
        Ok(concat(&results)?)
    }
}

/// How often each value is in each partition's frame.
pub(super) struct Distinct {
    partition_columns: Vec<usize>,
    values: Partitions,
    counts: Vec<i64>,
    schema: arrow::datatypes::SchemaRef,
    /// By number of the value.
    tracker: ChangeTracker,
    pub max_parallelism: usize,
}

impl Distinct {
    fn new(config: &OverConfig, types: Vec<arrow::datatypes::DataType>) -> Result<Self> {
        let keys = config.partition_columns.iter();
        let keys = keys.map(|&c| config.input_schema.field(c).clone());
        let arguments = types.into_iter().map(|t| Field::new("argument", t, true));
        let schema = Arc::new(Schema::new(keys.chain(arguments).collect::<Vec<_>>()));
        let all: Vec<usize> = (0..schema.fields().len()).collect();
        let values = Partitions::new(&schema, &all)?.grouped_by(config.partition_columns.len());
        Ok(Self {
            partition_columns: config.partition_columns.clone(),
            values,
            counts: Vec::new(),
            schema,
            tracker: super::by_time::begun(),
            max_parallelism: 1,
        })
    }

    /// The key group, the value with its partition, and perhaps the count of each of these.
    fn rows_of(&self, numbers: &[u32], has_counts: bool) -> Result<RecordBatch> {
        let groups = numbers.iter();
        let groups = groups.map(|&n| self.values.key_group(n, self.max_parallelism));
        let mut columns = self.values.key_columns(numbers)?;
        let mut fields: Vec<_> = self.schema.fields().iter().cloned().collect();
        if has_counts {
            let counts = numbers.iter().map(|&n| self.counts[n as usize]);
            columns.push(Arc::new(counts.collect::<Int64Array>()));
            fields.push(Arc::new(Field::new("count", DataType::Int64, true)));
        }
        let rows = batch_of(Arc::new(Schema::new(fields)), columns, numbers.len())?;
        keyed_rows(groups.collect(), Vec::new(), rows)
    }

    /// What has changed since the last snapshot.
    pub fn snapshot(&mut self, name: &str) -> Result<StateTable> {
        if !self.tracker.is_on() {
            let rows = self.rows_of(&self.values.all(), true)?;
            self.tracker.begin();
            return Ok(StateTable::full(name, StateScope::Keyed, rows));
        }
        let rows = self.rows_of(&self.tracker.changed(), true)?;
        let removed = self.tracker.take_removed();
        self.tracker.begin();
        let key_columns = 1 + self.schema.fields().len();
        Ok(StateTable::delta(name, key_columns, rows, removed))
    }

    /// Bytes held.
    pub fn size_bytes(&self) -> usize {
        self.values.size_bytes() + self.counts.capacity() * size_of::<i64>()
    }

    /// Takes values back.
    pub fn restore(&mut self, batches: RowsReader<'_>) -> Result<()> {
        for batch in batches {
            let batch = batch?;
            let (own, count) = batch.columns()[1..].split_at(self.schema.fields().len());
            let rows = batch_of(self.schema.clone(), own.to_vec(), batch.num_rows())?;
            let numbers = self.values.assign(&rows)?;
            self.counts.resize(self.values.bound(), 0);
            let count = count
                .first()
                .and_then(|c| c.as_primitive_opt::<Int64Type>());
            let count = count.ok_or_else(|| Error::internal("distinct values without counts"))?;
            for (number, &count) in numbers.into_iter().zip(count.values()) {
                self.counts[number as usize] = count;
            }
        }
        self.tracker.begin();
        Ok(())
    }

    /// The next snapshot says everything.
    pub fn restart_snapshots(&mut self) {
        self.tracker.stop();
    }

    /// Which rows bring a value in first or take it out last.
    fn changes(
        &mut self,
        rows: &RecordBatch,
        arguments: &[ArrayRef],
        adds: &[bool],
    ) -> Result<BooleanArray> {
        let keys = self.partition_columns.iter().map(|&c| rows.column(c));
        let columns: Vec<ArrayRef> = keys.chain(arguments).cloned().collect();
        let rows = batch_of(self.schema.clone(), columns, rows.num_rows())?;
        let numbers = self.values.assign(&rows)?;
        self.counts.resize(self.values.bound(), 0);
        let changes = numbers.iter().zip(adds).map(|(&number, &is_added)| {
            let count = &mut self.counts[number as usize];
            *count += if is_added { 1 } else { -1 };
            *count == i64::from(is_added)
        });
        let changes: Vec<bool> = changes.collect();
        self.tracker.mark(&numbers, self.values.bound());
        let mut gone = numbers;
        gone.retain(|&n| self.counts[n as usize] == 0);
        gone.sort_unstable();
        gone.dedup();
        if self.tracker.is_on() && !gone.is_empty() {
            let keys = self.rows_of(&gone, false)?;
            self.tracker.remove(&gone, keys, self.values.len());
        }
        gone.into_iter().for_each(|n| self.values.remove(n));
        Ok(changes.into())
    }
}
