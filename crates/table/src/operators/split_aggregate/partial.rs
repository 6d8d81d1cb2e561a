//! The sets of distinct values of a split aggregation, and the changes of what is counted in them.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, UInt16Array};
use arrow::datatypes::{Int32Type, SchemaRef};
use arrow::record_batch::RecordBatch;
use flott_core::Result;
use flott_core::changelog::ChangelogBatch;
use flott_core::hash::hash_columns;
use flott_core::key_group::key_group_of;
use flott_core::operator::{
    Operator, OperatorContext, Output, StateScope, StateSnapshot, StateTable,
};
use flott_state::{ChangeTracker, GroupTable};

use super::layout::{SplitLayout, buckets, key_types, masks_of};
use super::{PartialAggregateConfig, SplitAggregate, SplitRows};
use crate::aggregates::{Accumulator, DistinctSet, Marks};
use crate::operators::aggregate_table::{additions, state_batch};
use crate::operators::evaluate::batch_of;

pub(super) struct PartialAggregate {
    split: SplitAggregate,
    layout: SplitLayout,
    takes: SplitRows,
    schema: SchemaRef,
    context: Option<OperatorContext>,
    keys: GroupTable,
    row_keys: Vec<u32>,
    /// What the batch at hand adds to the calls without DISTINCT, by key; only of whole rows.
    plain: Vec<Box<dyn Accumulator>>,
    row_counts: Vec<i64>,
    sets: Vec<CountedSet>,
    /// Of each key the last batch that touched it.
    touched_in: Vec<u64>,
    batch_number: u64,
}

/// The values of a set. Its members hold what the batch at hand adds.
struct CountedSet {
    set: DistinctSet,
    /// Rows of the batch at hand, by key.
    row_counts: Vec<i64>,
    /// By value.
    changes: ChangeTracker,
}

impl CountedSet {
    fn resize(&mut self, num_keys: usize) {
        self.set.resize(num_keys);
        self.row_counts.resize(num_keys, 0);
    }

    fn take_in(
        &mut self,
        keys: &[u32],
        arguments: &[ArrayRef],
        marks: &Marks,
        adds: Option<&BooleanArray>,
    ) -> Result<()> {
        if marks.masks.is_empty() {
            return Ok(());
        }
        self.set.update_marked(keys, arguments, marks, adds)?;
        for marked in 0..marks.masks.len() {
            let row = marks.row(marked) as usize;
            let is_added = adds.is_none_or(|a| a.value(row));
            self.row_counts[keys[row] as usize] += if is_added { 1 } else { -1 };
        }
        let values = self.set.values();
        self.changes.mark(values.numbers(), values.capacity());
        Ok(())
    }
}

impl PartialAggregate {
    pub fn new(config: &PartialAggregateConfig) -> Result<Self> {
        let split = config.split.clone();
        let layout = SplitLayout::new(&split);
        let retractable = split.input_is_retracting;
        let plain = match config.takes {
            SplitRows::Whole => layout.plain.as_slice(),
            SplitRows::Spread => &[],
        };
        let plain = plain.iter();
        let plain = plain.map(|&call| split.calls[call].plain_accumulator(retractable));
        let set = |shared| {
            Ok(CountedSet {
                set: DistinctSet::new(shared, &split.calls, retractable)?,
                row_counts: Vec::new(),
                changes: ChangeTracker::default(),
            })
        };
        Ok(Self {
            keys: GroupTable::new(&key_types(&split))?,
            row_keys: Vec::new(),
            plain: plain.collect::<Result<_>>()?,
            row_counts: Vec::new(),
            sets: layout.sets.iter().map(set).collect::<Result<_>>()?,
            touched_in: Vec::new(),
            batch_number: 0,
            takes: config.takes,
            schema: config.schema.clone(),
            context: None,
            layout,
            split,
        })
    }

    fn assign(&mut self, keys: &[ArrayRef], num_rows: usize) -> Result<()> {
        self.keys.assign(keys, num_rows, &mut self.row_keys)?;
        let num_keys = self.keys.capacity();
        self.plain.iter_mut().for_each(|a| a.resize(num_keys));
        self.row_counts.resize(num_keys, 0);
        self.sets.iter_mut().for_each(|s| s.resize(num_keys));
        Ok(())
    }

    fn take_whole(&mut self, rows: &RecordBatch, adds: Option<&BooleanArray>) -> Result<()> {
        let columns = |columns: &[usize]| -> Vec<ArrayRef> {
            columns.iter().map(|&c| rows.column(c).clone()).collect()
        };
        let filter = |filter: Option<usize>| filter.map(|c| rows.column(c).as_boolean());
        self.assign(&columns(&self.split.key_columns), rows.num_rows())?;
        for (&call, accumulator) in self.layout.plain.iter().zip(&mut self.plain) {
            let call = &self.split.calls[call];
            let arguments = columns(&call.args);
            accumulator.update(&self.row_keys, &arguments, filter(call.filter), adds)?;
        }
        for (row, &key) in self.row_keys.iter().enumerate() {
            let is_added = adds.is_none_or(|a| a.value(row));
            self.row_counts[key as usize] += if is_added { 1 } else { -1 };
        }
        for (shared, set) in self.layout.sets.iter().zip(&mut self.sets) {
            let arguments = columns(&shared.args);
            let filters: Vec<_> = shared.filters.iter().map(|f| filter(*f)).collect();
            let marks = Marks::of(&arguments, &filters, rows.num_rows());
            set.take_in(&self.row_keys, &arguments, &marks, adds)?;
        }
        Ok(())
    }

    fn take_spread(&mut self, rows: &RecordBatch, adds: Option<&BooleanArray>) -> Result<()> {
        let num_keys = self.split.key_columns.len();
        self.assign(&rows.columns()[..num_keys], rows.num_rows())?;
        let packed = rows.column(num_keys + 1).as_primitive::<Int32Type>();
        let values = &rows.columns()[num_keys + 2..];
        for (number, set) in self.sets.iter_mut().enumerate() {
            let marks = Marks::marked(masks_of(number, packed.values()));
            let places = self.layout.places[number].iter();
            let arguments: Vec<_> = places.map(|&place| values[place].clone()).collect();
            set.take_in(&self.row_keys, &arguments, &marks, adds)?;
        }
        Ok(())
    }

    /// The keys of the batch at hand, each once.
    fn touched(&mut self) -> Vec<u32> {
        self.touched_in.resize(self.keys.capacity(), 0);
        self.batch_number += 1;
        let mut touched = Vec::new();
        for &key in &self.row_keys {
            let last = &mut self.touched_in[key as usize];
            if *last != self.batch_number {
                *last = self.batch_number;
                touched.push(key);
            }
        }
        touched
    }

    /// Sends what the batch at hand has changed.
    fn send(&mut self, keys: &[u32], out: &mut dyn Output) -> Result<()> {
        let mut columns = self.keys.keys(keys)?;
        for accumulator in &mut self.plain {
            columns.extend(accumulator.state(keys)?);
            accumulator.clear(keys);
        }
        for set in &mut self.sets {
            columns.extend(set.set.member_states(keys)?);
            set.set.clear_members(keys);
        }
        if self.takes == SplitRows::Whole {
            columns.push(taken(&mut self.row_counts, keys));
        }
        for set in &mut self.sets {
            columns.push(taken(&mut set.row_counts, keys));
        }
        let changes = batch_of(self.schema.clone(), columns, keys.len())?;
        out.emit(ChangelogBatch::insert_only(changes))
    }

    /// Removes values that no row has any more, and those of these keys that have no values.
    fn forget(&mut self, mut keys: Vec<u32>) -> Result<()> {
        for set in 0..self.sets.len() {
            let values = self.sets[set].set.values();
            if !values.gone().is_empty() && self.sets[set].changes.is_on() {
                let gone = values.gone().to_vec();
                let columns = self.value_keys(set, &gone)?;
                let columns = state_batch(columns, gone.len())?;
                let num_values = self.sets[set].set.values().len();
                self.sets[set].changes.remove(&gone, columns, num_values);
            }
            self.sets[set].set.values_mut().forget_gone();
        }
        let has_none = |s: &CountedSet, key| s.set.values().num_values(key) == 0;
        keys.retain(|&key| self.sets.iter().all(|s| has_none(s, key)));
        self.keys.remove(&keys);
        Ok(())
    }

    fn max_parallelism(&self) -> usize {
        self.context.as_ref().map_or(1, |c| c.max_parallelism)
    }

    /// What identifies values in the state: key groups, keys, and the values themselves.
    fn value_keys(&self, set: usize, values: &[u32]) -> Result<Vec<ArrayRef>> {
        let of_set = self.sets[set].set.values();
        let keys = self.keys.keys(&of_set.groups_of(values))?;
        let arguments = of_set.columns(values)?;
        let mut spread_by = keys.clone();
        spread_by.push(buckets(&arguments, values.len(), self.split.num_buckets)?);
        let mut hashes = Vec::new();
        hash_columns(&spread_by, values.len(), &mut hashes)?;
        let max_parallelism = self.max_parallelism();
        let key_group = |&hash: &u64| key_group_of(hash, max_parallelism) as u16;
        let key_groups = UInt16Array::from_iter_values(hashes.iter().map(key_group));
        let mut columns: Vec<ArrayRef> = vec![Arc::new(key_groups)];
        columns.extend(keys);
        columns.extend(arguments);
        Ok(columns)
    }

    /// The values of a set with what each counts, or what has changed of them.
    fn values_table(&mut self, set: usize) -> Result<StateTable> {
        let says_changes = self.sets[set].changes.is_on();
        let of_set = self.sets[set].set.values();
        let values = match says_changes {
            true => self.sets[set].changes.changed(),
            false => of_set.all(),
        };
        let mut columns = self.value_keys(set, &values)?;
        let num_keys = columns.len();
        let items = self.sets[set].set.items(&values)?;
        let num_arguments = self.layout.sets[set].args.len();
        columns.extend(items.into_iter().skip(num_arguments));
        let rows = state_batch(columns, values.len())?;
        let changes = &mut self.sets[set].changes;
        let removed = changes.take_removed();
        changes.begin();
        let name = table_name(set);
        Ok(match says_changes {
            true => StateTable::delta(name, num_keys, rows, removed),
            false => StateTable::full(name, StateScope::Keyed, rows),
        })
    }

    fn restore_batch(&mut self, set: usize, batch: &RecordBatch) -> Result<()> {
        let (keys, items) = batch.columns()[1..].split_at(self.split.key_columns.len());
        self.assign(keys, batch.num_rows())?;
        let set = &mut self.sets[set].set;
        set.merge_items(&self.row_keys, items)?;
        // That has been sent.
        set.clear_members(&self.row_keys);
        Ok(())
    }

    fn size_bytes(&self) -> usize {
        let sets = self.sets.iter();
        let sets =
            sets.map(|s| s.set.size_bytes() + s.row_counts.capacity() * 8 + s.changes.size_bytes());
        let marks = self.touched_in.capacity() + self.row_counts.capacity();
        self.keys.size_bytes() + sets.sum::<usize>() + marks * 8
    }
}

/// Takes the numbers of these keys out.
fn taken(counts: &mut [i64], keys: &[u32]) -> ArrayRef {
    let counts = keys
        .iter()
        .map(|&key| std::mem::take(&mut counts[key as usize]));
    Arc::new(Int64Array::from_iter_values(counts))
}

fn table_name(set: usize) -> String {
    format!("values{set}")
}

impl Operator for PartialAggregate {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        self.context = Some(context.clone());
        Ok(())
    }

    fn process(&mut self, _: usize, batch: ChangelogBatch, out: &mut dyn Output) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let adds = additions(&batch);
        match self.takes {
            SplitRows::Whole => self.take_whole(batch.rows(), adds.as_ref())?,
            SplitRows::Spread => self.take_spread(batch.rows(), adds.as_ref())?,
        }
        let touched = self.touched();
        self.send(&touched, out)?;
        self.forget(touched)
    }

    fn snapshot(&mut self) -> Result<StateSnapshot> {
        if let Some(context) = &self.context {
            let metrics = &context.metrics;
            metrics.num_keys.set(self.keys.len() as i64);
            metrics.state_size_bytes.set(self.size_bytes() as i64);
        }
        let sets = 0..self.sets.len();
        let tables = sets.map(|set| self.values_table(set));
        Ok(StateSnapshot {
            tables: tables.collect::<Result<_>>()?,
        })
    }

    fn restore(&mut self, snapshot: StateSnapshot) -> Result<()> {
        for set in 0..self.sets.len() {
            for batch in snapshot.table(&table_name(set)) {
                self.restore_batch(set, &batch?)?;
            }
            self.sets[set].changes.begin();
        }
        Ok(())
    }

    fn restart_snapshots(&mut self) {
        self.sets.iter_mut().for_each(|s| s.changes.stop());
    }

    fn state_bytes(&self) -> usize {
        self.size_bytes()
    }

    fn next_event_time(&self) -> Option<i64> {
        None
    }
}
