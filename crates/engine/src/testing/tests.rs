use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, UInt16Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema as ArrowSchema, UInt16Type};

use flott_core::changelog::ChangelogBatch;
use flott_core::graph::Exchange;
use flott_core::hash::hash_columns;
use flott_core::key_group::key_group_of;
use flott_core::operator::{
    Operator, OperatorContext, Output, StateScope, StateSnapshot, StateTable,
};
use flott_core::schema::{Column, Schema};
use flott_core::types::LogicalType;
use flott_core::{Error, Result};

use super::*;

/// Sums `v` by `k`, sends the sums when the watermark reaches 1000; forgets its state on demand, to be caught.
struct Sums {
    sums: std::collections::BTreeMap<i64, i64>,
    is_forgetful: bool,
}

fn schema() -> Schema {
    Schema::new(["k", "v"].map(|n| Column::new(n, LogicalType::BigInt.nullable())))
}

impl Operator for Sums {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        assert!(context.subtask < context.parallelism);
        Ok(())
    }

    fn process(&mut self, _: usize, batch: ChangelogBatch, _: &mut dyn Output) -> Result<()> {
        let keys = batch.column(0).as_primitive::<Int64Type>();
        let values = batch.column(1).as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            *self.sums.entry(keys.value(row)).or_default() += values.value(row);
        }
        Ok(())
    }

    fn watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<()> {
        if watermark < 1000 {
            return out.watermark(watermark);
        }
        let keys: Vec<i64> = self.sums.keys().copied().collect();
        let sums: Vec<i64> = self.sums.values().copied().collect();
        out.emit(rows::integers(&[keys, sums], &schema())?)?;
        self.sums.clear();
        out.watermark(watermark)
    }

    fn snapshot(&mut self) -> Result<StateSnapshot> {
        let keys = Int64Array::from_iter_values(self.sums.keys().copied());
        let mut hashes = Vec::new();
        hash_columns(&[Arc::new(keys.clone())], keys.len(), &mut hashes)?;
        let groups = hashes.iter().map(|&h| key_group_of(h, 128) as u16);
        let columns: Vec<Arc<dyn Array>> = vec![
            Arc::new(UInt16Array::from_iter_values(groups)),
            Arc::new(keys),
            Arc::new(Int64Array::from_iter_values(self.sums.values().copied())),
        ];
        let fields = vec![
            Field::new("g", DataType::UInt16, true),
            Field::new("k", DataType::Int64, true),
            Field::new("v", DataType::Int64, true),
        ];
        let batch = RecordBatch::try_new(Arc::new(ArrowSchema::new(fields)), columns)?;
        Ok(StateSnapshot {
            tables: vec![StateTable::full("sums", StateScope::Keyed, batch)],
        })
    }

    fn restore(&mut self, snapshot: StateSnapshot) -> Result<()> {
        if self.is_forgetful {
            return Ok(());
        }
        for batch in snapshot.table("sums") {
            let batch = &batch?;
            assert_eq!(batch.column(0).as_primitive::<UInt16Type>().null_count(), 0);
            let keys = batch.column(1).as_primitive::<Int64Type>();
            let sums = batch.column(2).as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                self.sums.insert(keys.value(row), sums.value(row));
            }
        }
        Ok(())
    }
}

fn sums(is_forgetful: bool) -> Harness {
    Harness::new(Arc::new(move || {
        Ok(Box::new(Sums {
            sums: Default::default(),
            is_forgetful,
        }) as Box<dyn Operator>)
    }))
    .input_by(schema(), Exchange::Hash(vec![0]))
    .output(schema())
}

fn script() -> Vec<Step> {
    vec![
        Step::process(0, "1 | 10\n2 | 20\n3 | 30"),
        Step::Watermark(100),
        Step::Time(5),
        Step::process(0, "1 | 1\n2 | 2"),
        Step::process(0, "3 | 3\n1 | 1"),
        Step::Finish,
    ]
}

#[test]
fn the_harness_shows_rows_and_watermarks_in_order() -> Result<()> {
    let mut harness = sums(false).open()?;
    harness.process(0, "1 | 10\n2 | 20")?;
    assert!(harness.drain().is_empty());
    harness.watermark(1000)?;
    assert_eq!(
        harness.drain(),
        ["+I | 1 | 10", "+I | 2 | 20", "watermark 1000"]
    );
    harness.process(0, "2 | 5")?;
    harness.finish()?;
    assert_eq!(harness.drain(), ["+I | 2 | 5", "watermark end"]);
    Ok(())
}

#[test]
fn several_subtasks_give_one_watermark() -> Result<()> {
    let mut harness = sums(false).parallelism(3).open()?;
    harness.process(0, "1 | 10\n2 | 20\n3 | 30")?;
    harness.watermark(1000)?;
    let lines = harness.drain();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[3], "watermark 1000");
    Ok(())
}

#[test]
fn crashes_everywhere_change_nothing() {
    let table = crash_everywhere(&sums(false), &script(), &[1, 2, 5]).unwrap();
    assert_eq!(table.len(), 3);
}

#[test]
fn an_operator_that_loses_state_is_caught() {
    let error: Error = crash_everywhere(&sums(true), &script(), &[1]).unwrap_err();
    assert!(error.message().contains("after step 0"), "{error}");
}
