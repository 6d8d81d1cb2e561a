//! Sorting by event time as it passes.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use flott_core::Result;
use flott_core::changelog::ChangelogBatch;
use flott_core::operator::{
    Operator, OperatorContext, OperatorFactory, Output, StateLayout, StateScope, StateSnapshot,
    StateTable,
};

use super::evaluate::milliseconds;
use super::rows::{RowStore, keyed_table, rows_layout, split_keyed};
use super::sort_key::{SortKey, SortKeyEncoder};

/// Streaming `ORDER BY rowtime [, more]`: rows are sent in order as the watermark passes them. Late
/// rows are dropped. Runs in one subtask.
#[derive(Debug, Clone)]
pub struct SortConfig {
    /// The rowtime column; it is ordered ascending.
    pub rowtime_column: usize,
    /// The keys after the time.
    pub order: Vec<SortKey>,
    pub schema: SchemaRef,
}

impl OperatorFactory for SortConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(TemporalSort {
            config: self.clone(),
            encoder: SortKeyEncoder::new(&self.schema, &self.order)?,
            store: RowStore::new(self.schema.clone()),
            waiting: BTreeMap::new(),
            next_arrival: 0,
            last_sent: i64::MIN,
            context: None,
        }))
    }

    fn state_layout(&self) -> Result<Option<StateLayout>> {
        Ok(Some(rows_layout(&[(WAITING, &self.schema)], true)))
    }
}

/// The time of a row, its other sort keys, then its arrival.
type Place = (i64, Box<[u8]>, i64);

struct TemporalSort {
    config: SortConfig,
    encoder: SortKeyEncoder,
    store: RowStore,
    waiting: BTreeMap<Place, u32>,
    next_arrival: i64,
    /// The time of the last row sent: what is not after it is late.
    last_sent: i64,
    context: Option<OperatorContext>,
}

impl TemporalSort {
    fn hold(&mut self, rows: &RecordBatch) -> Result<()> {
        let times = milliseconds(rows.column(self.config.rowtime_column))?;
        let keys = self.encoder.encode(rows)?;
        let mut num_late = 0;
        for row in 0..rows.num_rows() {
            if times.is_null(row) || times.value(row) <= self.last_sent {
                num_late += 1;
                continue;
            }
            let key = keys.as_ref().map_or(&[][..], |k| k.row(row).data());
            let place = (times.value(row), key.into(), self.next_arrival);
            self.next_arrival += 1;
            self.waiting.insert(place, self.store.allocate(row));
        }
        if let Some(context) = self.context.as_ref().filter(|_| num_late > 0) {
            context.metrics.num_late_records_dropped.add(num_late);
        }
        self.store.commit(rows)
    }
}

impl Operator for TemporalSort {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        self.context = Some(context.clone());
        Ok(())
    }

    fn process(&mut self, _: usize, batch: ChangelogBatch, _: &mut dyn Output) -> Result<()> {
        self.hold(batch.rows())
    }

    fn watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<()> {
        let mut slots = Vec::new();
        while let Some(entry) = self.waiting.first_entry()
            && entry.key().0 <= watermark
        {
            self.last_sent = entry.key().0;
            slots.push(entry.remove());
        }
        if !slots.is_empty() {
            let rows = self.store.rows(&slots)?;
            out.emit(ChangelogBatch::insert_only(rows))?;
            slots.into_iter().for_each(|slot| self.store.release(slot));
            self.store.sweep()?;
        }
        out.watermark(watermark)
    }

    fn snapshot(&mut self) -> Result<StateSnapshot> {
        let slots: Vec<u32> = self.waiting.values().copied().collect();
        let arrivals = self.waiting.keys().map(|k| k.2).collect();
        let rows = self.store.rows(&slots)?;
        // All rows are one key, and that key is in the first group.
        let groups = vec![0; slots.len()];
        let mut table = keyed_table(WAITING, groups, vec![("arrival", arrivals)], rows)?;
        table.scope = StateScope::Union;
        let last: ArrayRef = Arc::new(Int64Array::from(vec![self.last_sent]));
        let field = Field::new("last_sent", DataType::Int64, true);
        let last = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![last])?;
        let last = StateTable::full(LAST_SENT, StateScope::Union, last);
        Ok(StateSnapshot {
            tables: vec![table, last],
        })
    }

    fn restore(&mut self, snapshot: StateSnapshot) -> Result<()> {
        for batch in snapshot.table(WAITING) {
            let batch = &batch?;
            let ([arrivals], rows) = split_keyed::<1>(batch, &self.config.schema)?;
            let order = arrow::compute::sort_to_indices(&arrivals, None, None)?;
            self.hold(&take_record_batch(&rows, &order)?)?;
        }
        for batch in snapshot.table(LAST_SENT) {
            let batch = &batch?;
            let last = batch.column(0).as_primitive::<Int64Type>();
            self.last_sent = last.iter().flatten().fold(self.last_sent, i64::max);
        }
        Ok(())
    }
}

const WAITING: &str = "waiting";
const LAST_SENT: &str = "last_sent";

#[cfg(test)]
mod tests {
    use super::*;
    use flott_core::schema::{Column, Schema as TableSchema};
    use flott_core::types::LogicalType;
    use flott_engine::testing::{Harness, Step, crash_everywhere};

    fn schema() -> TableSchema {
        TableSchema::new(vec![
            Column::new("ts", LogicalType::Timestamp(3).nullable()),
            Column::new("n", LogicalType::Int.nullable()),
        ])
    }

    fn numbers(lines: Vec<String>) -> Vec<String> {
        let last = lines.iter().filter_map(|l| l.rsplit_once(" | "));
        last.map(|(_, n)| n.to_string()).collect()
    }

    fn by_time() -> Harness {
        let config = SortConfig {
            rowtime_column: 0,
            order: vec![SortKey::new(1, true)],
            schema: schema().to_arrow(),
        };
        Harness::new(Arc::new(config)).input(schema())
    }

    #[test]
    fn rows_come_in_order_of_time_and_late_ones_not() {
        let mut open = by_time().open().unwrap();
        open.process(
            0,
            "00:00:03 | 3\n00:00:01 | 1\n00:00:01 | 2\n00:00:01 | NULL",
        )
        .unwrap();
        open.watermark(2_000).unwrap();
        assert_eq!(numbers(open.drain()), ["2", "1", "NULL"]);
        open.process(0, "00:00:01 | 4\n00:00:02 | 5").unwrap();
        open.finish().unwrap();
        assert_eq!(numbers(open.drain()), ["5", "3"]);
    }

    #[test]
    fn crashes_change_nothing() {
        let script = [
            Step::process(0, "00:00:03 | 3\n00:00:01 | 1\n00:00:01 | 2"),
            Step::Watermark(2_000),
            Step::process(0, "00:00:01 | 4\n00:00:02 | 5"),
            Step::Finish,
        ];
        crash_everywhere(&by_time(), &script, &[1]).unwrap();
    }
}
