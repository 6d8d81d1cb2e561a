//! The net rows of a changelog, for batch mode.

use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use flott_core::Result;
use flott_core::changelog::{ChangelogBatch, adds};
use flott_core::operator::{
    Operator, OperatorContext, OperatorFactory, Output, StateScope, StateSnapshot, StateTable,
};
use flott_state::ChangeTracker;

use super::batch_sort::emit_in_pieces;
use super::evaluate::batch_of;
use super::rows::{Extra, ExtraValue, Partitions, RestoredRows, RowStore, keyed_rows, unfit};

/// Folds a changelog and sends the rows that are left as `+I` when the input ends, in order of
/// arrival. The input is exchanged by the key. Rows that are removed must have come in whole, or by
/// key.
#[derive(Debug, Clone)]
pub struct MaterializeConfig {
    /// The upsert key when updates come without `-U` (the input is exchanged by it); `None` is the
    /// whole row.
    pub key_columns: Option<Vec<usize>>,
    pub schema: SchemaRef,
}

impl OperatorFactory for MaterializeConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let columns = self.key_columns.as_ref().unwrap_or(&all);
        let store = RowStore::new(self.schema.clone());
        let mut changes = ChangeTracker::default();
        changes.begin();
        Ok(Box::new(Materialize {
            config: self.clone(),
            keys: Partitions::new(&self.schema, columns)?,
            rows: Vec::new(),
            store: self.key_columns.is_some().then_some(store),
            arrivals: Vec::new(),
            changes,
            next_arrival: 0,
            context: None,
        }))
    }
}

/// What is left of a key.
#[derive(Debug, Clone, Copy, Default)]
struct Net {
    /// How often the row is there; below zero when it was taken away before it came.
    count: i64,
    /// When it came.
    arrival: i64,
    /// Where a row with a key of its own is stored.
    slot: Option<u32>,
}

struct Materialize {
    config: MaterializeConfig,
    keys: Partitions,
    /// By number of the key.
    rows: Vec<Net>,
    /// With an upsert key; else rows are keys and need no other place.
    store: Option<RowStore>,
    /// By slot of the store: when the key came.
    arrivals: Vec<i64>,
    /// Without a store, by number of the key.
    changes: ChangeTracker,
    next_arrival: i64,
    context: Option<OperatorContext>,
}

impl Materialize {
    /// Takes in changes of rows, which are not copied yet.
    fn fold(
        &mut self,
        rows: &RecordBatch,
        change: impl Fn(usize) -> i64,
        arrival: impl Fn(usize) -> Option<i64>,
    ) -> Result<()> {
        let numbers = self.keys.assign(rows)?;
        self.rows.resize(self.keys.bound(), Net::default());
        for (row, &number) in numbers.iter().enumerate() {
            let change = change(row);
            let net = &mut self.rows[number as usize];
            if net.count == 0 {
                net.arrival = arrival(row).unwrap_or(self.next_arrival);
                self.next_arrival = self.next_arrival.max(net.arrival) + 1;
            }
            match &mut self.store {
                None => net.count += change,
                Some(store) => {
                    if let Some(slot) = net.slot.take() {
                        store.release(slot);
                    }
                    net.count = i64::from(change > 0);
                    net.slot = (change > 0).then(|| store.allocate(row));
                    if let Some(slot) = net.slot {
                        let num_slots = self.arrivals.len().max(slot as usize + 1);
                        self.arrivals.resize(num_slots, 0);
                        self.arrivals[slot as usize] = net.arrival;
                    }
                }
            }
        }
        let is_tracked = self.store.is_none() && self.changes.is_on();
        if is_tracked {
            self.changes.mark(&numbers, self.keys.bound());
        }
        let mut gone = numbers;
        gone.retain(|&n| self.rows[n as usize].count == 0);
        gone.sort_unstable();
        gone.dedup();
        if is_tracked && !gone.is_empty() {
            let keys = self.keyed(&gone, false)?;
            self.changes.remove(&gone, keys, self.keys.len());
        }
        gone.into_iter().for_each(|n| self.keys.remove(n));
        Ok(())
    }

    /// The key group and the row of each of these keys, perhaps with what is left of it.
    fn keyed(&self, numbers: &[u32], has_nets: bool) -> Result<RecordBatch> {
        let max_parallelism = self.context.as_ref().map_or(1, |c| c.max_parallelism);
        let groups = numbers.iter();
        let groups = groups.map(|&n| self.keys.key_group(n, max_parallelism));
        let mut columns = self.keys.key_columns(numbers)?;
        let mut fields: Vec<_> = self.config.schema.fields().iter().cloned().collect();
        if has_nets {
            let nets = || numbers.iter().map(|&n| self.rows[n as usize]);
            columns.push(Arc::new(nets().map(|n| n.count).collect::<Int64Array>()));
            columns.push(Arc::new(nets().map(|n| n.arrival).collect::<Int64Array>()));
            let number = |name: &str| Arc::new(Field::new(name, DataType::Int64, true));
            fields.extend(["count", "arrival"].map(number));
        }
        let rows = batch_of(Arc::new(Schema::new(fields)), columns, numbers.len())?;
        keyed_rows(groups.collect(), Vec::new(), rows)
    }

    /// Of rows that are their own keys: those that have changed since the last snapshot.
    fn counted_table(&mut self) -> Result<StateTable> {
        if !self.changes.is_on() {
            let rows = self.keyed(&self.keys.all(), true)?;
            self.changes.begin();
            return Ok(StateTable::full(ROWS, StateScope::Keyed, rows));
        }
        let rows = self.keyed(&self.changes.changed(), true)?;
        let removed = self.changes.take_removed();
        self.changes.begin();
        let key_columns = 1 + self.config.schema.fields().len();
        Ok(StateTable::delta(ROWS, key_columns, rows, removed))
    }

    fn restore_counted(&mut self, batch: &RecordBatch) -> Result<()> {
        let schema = &self.config.schema;
        let num_columns = schema.fields().len();
        if batch.num_columns() != num_columns + 3 {
            return Err(unfit(batch, schema));
        }
        let (own, nets) = batch.columns()[1..].split_at(num_columns);
        let rows = batch_of(schema.clone(), own.to_vec(), batch.num_rows());
        let rows = rows.map_err(|_| unfit(batch, schema))?;
        let [counts, arrivals] = [0, 1].map(|i| nets[i].as_primitive_opt::<Int64Type>());
        let (Some(counts), Some(arrivals)) = (counts, arrivals) else {
            return Err(unfit(batch, schema));
        };
        self.fold(
            &rows,
            |row| counts.value(row),
            |row| Some(arrivals.value(row)),
        )
    }

    /// The rows of these keys.
    fn rows_of(&self, numbers: &[u32]) -> Result<RecordBatch> {
        match &self.store {
            Some(store) => {
                let slots = numbers.iter().filter_map(|&n| self.rows[n as usize].slot);
                store.rows(&slots.collect::<Vec<_>>())
            }
            None => {
                let columns = self.keys.key_columns(numbers)?;
                batch_of(self.config.schema.clone(), columns, numbers.len())
            }
        }
    }
}

impl Operator for Materialize {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        self.context = Some(context.clone());
        if let Some(store) = &mut self.store {
            store.set_max_parallelism(context.max_parallelism);
        }
        Ok(())
    }

    fn process(&mut self, _: usize, batch: ChangelogBatch, _: &mut dyn Output) -> Result<()> {
        let kinds = batch.kinds();
        let change = |row: usize| {
            if kinds.is_none_or(|k| adds(k[row])) {
                1
            } else {
                -1
            }
        };
        self.fold(batch.rows(), change, |_| None)?;
        if let Some(store) = &mut self.store {
            store.commit_keyed(batch.rows(), self.keys.row_hashes())?;
            store.sweep()?;
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Output) -> Result<()> {
        let mut numbers = self.keys.all();
        numbers.retain(|&n| self.rows[n as usize].count > 0);
        numbers.sort_by_key(|&n| self.rows[n as usize].arrival);
        let distinct = self.rows_of(&numbers)?;
        let copies = numbers.iter().enumerate().flat_map(|(position, &n)| {
            std::iter::repeat_n(position as u32, self.rows[n as usize].count as usize)
        });
        let copies: UInt32Array = copies.collect::<Vec<_>>().into();
        let rows = take_record_batch(&distinct, &copies)?;
        emit_in_pieces(&rows, out)
    }

    fn state_bytes(&self) -> usize {
        let rows = self.rows.capacity() * size_of::<Net>();
        let store = self.store.as_ref().map_or(0, RowStore::size_bytes);
        self.keys.size_bytes() + rows + store
    }

    fn next_event_time(&self) -> Option<i64> {
        None
    }

    fn snapshot(&mut self) -> Result<StateSnapshot> {
        let arrivals = &self.arrivals;
        let arrival: [Extra<'_>; 1] = [("arrival", ExtraValue::Of(&|slot| arrivals[slot]))];
        let table = match &mut self.store {
            Some(store) => store.snapshot(ROWS, &arrival),
            None => self.counted_table()?,
        };
        Ok(StateSnapshot {
            tables: vec![table],
        })
    }

    fn restore(&mut self, snapshot: StateSnapshot) -> Result<()> {
        for batch in snapshot.table(ROWS) {
            let batch = batch?;
            if self.store.is_none() {
                self.restore_counted(&batch)?;
                continue;
            }
            let restored = RestoredRows::<1>::new(&batch, &self.config.schema)?;
            let [arrivals] = &restored.extra;
            self.fold(&restored.rows, |_| 1, |row| Some(arrivals.value(row)))?;
            if let Some(store) = &mut self.store {
                store.commit_restored(&restored)?;
            }
        }
        self.changes.begin();
        self.store.iter_mut().for_each(RowStore::told);
        Ok(())
    }

    fn restart_snapshots(&mut self) {
        self.changes.stop();
        let store = self.store.iter_mut();
        store.for_each(RowStore::restart_snapshots);
    }
}

const ROWS: &str = "rows";

#[cfg(test)]
mod tests {
    use super::*;
    use flott_core::graph::Exchange;
    use flott_core::schema::{Column, Schema};
    use flott_core::types::LogicalType;
    use flott_engine::testing::{Harness, Step, crash_everywhere, says_only_changes};

    fn harness(key_columns: Option<Vec<usize>>) -> Harness {
        let schema = Schema::new(vec![
            Column::new("id", LogicalType::Int.nullable()),
            Column::new("name", LogicalType::STRING.nullable()),
        ]);
        let config = MaterializeConfig {
            key_columns,
            schema: schema.to_arrow(),
        };
        let exchange = Exchange::Hash(config.key_columns.clone().unwrap_or(vec![0, 1]));
        Harness::new(Arc::new(config)).input_by(schema, exchange)
    }

    fn script() -> Vec<Step> {
        let rows = [
            "2 | b\n1 | a\n2 | b",
            "-U | 1 | a\n+U | 1 | c",
            "-D | 2 | b\n-D | 3 | d",
            "3 | d\n4 | NULL",
        ];
        let mut steps: Vec<_> = rows.iter().map(|r| Step::process(0, r)).collect();
        steps.push(Step::Finish);
        steps
    }

    fn run(harness: Harness) -> Vec<String> {
        let mut open = harness.open().unwrap();
        for step in script() {
            step.run(&mut open).unwrap();
        }
        let lines = open.drain().into_iter();
        lines.filter(|l| !l.starts_with("watermark")).collect()
    }

    #[test]
    fn whole_rows_are_counted() {
        let lines = run(harness(None));
        assert_eq!(lines, ["+I | 2 | b", "+I | 1 | c", "+I | 4 | NULL"]);
    }

    #[test]
    fn a_key_holds_its_last_row() {
        let lines = run(harness(Some(vec![0])));
        assert_eq!(lines, ["+I | 1 | c", "+I | 3 | d", "+I | 4 | NULL"]);
    }

    #[test]
    fn crashes_change_nothing() {
        for key in [None, Some(vec![0])] {
            let harness = harness(key);
            crash_everywhere(&harness, &script(), &[1, 2]).unwrap();
            says_only_changes(&harness, &script()).unwrap();
        }
    }
}
