//! Snapshots of patterns that are being matched.
//!
//! The rows are one table, with what they are: rows that runs need, by their number among the
//! key's, or rows that wait for the watermark, by their arrival. The runs are another: the key, the
//! first row, the automaton's state, and how many rows each variable has.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use flott_core::operator::{StateSnapshot, StateTable};
use flott_core::{Error, Result};

use super::matcher::{Counts, KeptRow, Mapping, Run};
use super::operator::{MatchRecognize, Waiting};
use crate::operators::evaluate::batch_of;
use crate::operators::rows::{keyed_table, split_keyed};

const ROWS: &str = "rows";
const RUNS: &str = "runs";

/// What a run is, in its table.
const START: i64 = 0;
const PARTIAL: i64 = 1;
const COMPLETED: i64 = 2;

impl MatchRecognize {
    pub fn snapshot_tables(&mut self) -> Result<StateSnapshot> {
        let max_parallelism = self.context.as_ref().map_or(1, |c| c.max_parallelism);
        Ok(StateSnapshot {
            tables: vec![
                self.rows_table(max_parallelism)?,
                self.runs_table(max_parallelism)?,
            ],
        })
    }

    fn rows_table(&self, max_parallelism: usize) -> Result<StateTable> {
        let (mut keys, mut slots) = (Vec::new(), Vec::new());
        let (mut waits, mut numbers, mut times) = (Vec::new(), Vec::new(), Vec::new());
        let mut add = |key: u32, slot: u32, is_waiting: i64, number: i64, time: i64| {
            keys.push(self.partitions.key_group(key, max_parallelism));
            slots.push(slot);
            waits.push(is_waiting);
            numbers.push(number);
            times.push(time);
        };
        for key in self.partitions.all() {
            let runs = &self.keys[key as usize];
            for (number, row) in (runs.first_row..).zip(&runs.rows) {
                add(key, row.slot, 0, number as i64, row.time);
            }
        }
        for (&time, rows) in &self.waiting {
            for (number, row) in rows.iter().enumerate() {
                add(row.key, row.slot, 1, number as i64, time);
            }
        }
        let extra = vec![("is_waiting", waits), ("number", numbers), ("time", times)];
        keyed_table(ROWS, keys, extra, self.store.rows(&slots)?)
    }

    /// The key columns, then a count for each variable.
    fn run_schema(&self) -> SchemaRef {
        let keys = self.config.partition_columns.iter();
        let keys = keys.map(|&c| Arc::new(self.config.input_schema.field(c).clone()));
        let counts = (0..self.matcher.num_variables)
            .map(|v| Arc::new(Field::new(format!("count{v}"), DataType::Int64, true)));
        Arc::new(Schema::new(keys.chain(counts).collect::<Vec<_>>()))
    }

    fn runs_table(&self, max_parallelism: usize) -> Result<StateTable> {
        let mut keys = Vec::new();
        let mut columns: [Vec<i64>; 4] = Default::default();
        let mut counts = vec![Vec::new(); self.matcher.num_variables];
        for key in self.partitions.all() {
            let runs = &self.keys[key as usize];
            let partial = runs.partial.items().iter();
            let partial = partial.map(|r| (if r.is_start { START } else { PARTIAL }, r));
            let completed = runs.completed.items().iter().map(|r| (COMPLETED, r));
            for (kind, run) in partial.chain(completed) {
                keys.push(key);
                let start = run.mapping.start as i64;
                let values = [kind, i64::from(run.state), start, run.start_time];
                columns.iter_mut().zip(values).for_each(|(c, v)| c.push(v));
                let own = run.mapping.counts.all().iter();
                counts
                    .iter_mut()
                    .zip(own)
                    .for_each(|(c, n)| c.push(i64::from(*n)));
            }
        }
        let mut rows = self.partitions.key_columns(&keys)?;
        let counts = counts.into_iter().map(Int64Array::from);
        rows.extend(counts.map(|c| Arc::new(c) as ArrayRef));
        let rows = batch_of(self.run_schema(), rows, keys.len())?;
        let groups = keys.iter();
        let groups = groups.map(|&key| self.partitions.key_group(key, max_parallelism));
        let extra = ["kind", "state", "start", "start_time"]
            .into_iter()
            .zip(columns);
        keyed_table(RUNS, groups.collect(), extra.collect(), rows)
    }

    pub fn restore_tables(&mut self, snapshot: &StateSnapshot) -> Result<()> {
        for batch in snapshot.table(ROWS) {
            self.restore_rows(&batch?)?;
        }
        for batch in snapshot.table(RUNS) {
            self.restore_runs(&batch?)?;
        }
        self.count_runs();
        Ok(())
    }

    fn restore_rows(&mut self, batch: &RecordBatch) -> Result<()> {
        let ([waits, numbers, times], rows) = split_keyed::<3>(batch, &self.config.input_schema)?;
        let takes = self.takes_of(&rows)?;
        let keys = self.partitions.assign(&rows)?;
        self.make_room();
        for (row, &key) in keys.iter().enumerate() {
            let (slot, time) = (self.store.allocate(row), times.value(row));
            self.keys[key as usize].is_known = true;
            if waits.value(row) == 1 {
                let takes = takes[row];
                self.wait(time, Waiting { key, slot, takes });
                continue;
            }
            let runs = &mut self.keys[key as usize];
            if runs.rows.is_empty() {
                runs.first_row = numbers.value(row) as u64;
            }
            runs.rows.push_back(KeptRow { slot, time });
        }
        self.store.commit(&rows)
    }

    fn restore_runs(&mut self, batch: &RecordBatch) -> Result<()> {
        let schema = self.run_schema();
        let ([kinds, states, starts, times], rows) = split_keyed::<4>(batch, &schema)?;
        let (keys, counts) = rows.columns().split_at(self.config.partition_columns.len());
        let keys = self.partitions.assign_columns(keys, rows.num_rows())?;
        self.make_room();
        let counts: Vec<_> = counts
            .iter()
            .map(|c| c.as_primitive::<Int64Type>())
            .collect();
        for (row, &key) in keys.iter().enumerate() {
            let state = u16::try_from(states.value(row)).ok();
            let state = state.filter(|s| usize::from(*s) < self.matcher.automaton.states.len());
            let state = state.ok_or_else(|| {
                Error::user(
                    "STATE_SCHEMA",
                    "the state is of another pattern; start without it",
                )
            })?;
            let own: Vec<u32> = counts.iter().map(|c| c.value(row) as u32).collect();
            let run = Run {
                state,
                is_start: kinds.value(row) == START,
                start_time: times.value(row),
                mapping: Mapping {
                    start: starts.value(row) as u64,
                    counts: Counts::of(&own),
                },
            };
            if let (false, Some(within_ms)) = (run.is_start, self.matcher.within_ms) {
                self.expire_at(run.start_time.saturating_add(within_ms), key);
            }
            let runs = &mut self.keys[key as usize];
            runs.is_known = true;
            match kinds.value(row) {
                COMPLETED => runs.completed.push(run),
                _ => runs.partial.push(run),
            }
        }
        Ok(())
    }
}
