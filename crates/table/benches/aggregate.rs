//! The aggregating operators alone: rows in, results to nowhere.

use std::hint::black_box;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringViewArray, TimestampMillisecondArray};
use arrow::record_batch::RecordBatch;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flott_core::Result;
use flott_core::changelog::ChangelogBatch;
use flott_core::clock::ManualClock;
use flott_core::operator::{Operator, OperatorContext, OperatorFactory, Output};
use flott_core::schema::{Column, Schema};
use flott_core::types::LogicalType;
use flott_table::aggregates::{AggregateCallConfig, Phase, find};
use flott_table::operators::group_aggregate::GroupAggregateConfig;
use flott_table::operators::window_aggregate::{
    WindowAggregateConfig, WindowProperty, WindowShape, WindowTime,
};

const BATCH: usize = 8_192;
const BATCHES: usize = 64;
const KEYS: u64 = 100_000;

struct Nowhere;

impl Output for Nowhere {
    fn emit(&mut self, batch: ChangelogBatch) -> Result<()> {
        black_box(batch.num_rows());
        Ok(())
    }

    fn watermark(&mut self, _watermark: i64) -> Result<()> {
        Ok(())
    }
}

fn schema() -> Schema {
    let column = |name: &str, ty: LogicalType| Column::new(name, ty.nullable());
    Schema::new(vec![
        column("k", LogicalType::BigInt),
        column("v", LogicalType::BigInt),
        column("ts", LogicalType::Timestamp(3)),
        column("s", LogicalType::STRING),
    ])
}

/// Rows of pseudo-random keys over two seconds of event time.
fn batches() -> Vec<ChangelogBatch> {
    let schema = schema().to_arrow();
    let mut state = 0x1234_5678_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let batch = |i: usize| {
        let keys: Vec<i64> = (0..BATCH).map(|_| (random() % KEYS) as i64).collect();
        let texts = keys.iter().map(|k| format!("key number {k}"));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(keys.clone())),
            Arc::new(Int64Array::from_iter_values(0..BATCH as i64)),
            Arc::new(TimestampMillisecondArray::from_value(
                (i * 30) as i64,
                BATCH,
            )),
            Arc::new(StringViewArray::from_iter_values(texts)),
        ];
        ChangelogBatch::insert_only(RecordBatch::try_new(schema.clone(), columns).unwrap())
    };
    (0..BATCHES).map(batch).collect()
}

fn call(name: &str, args: Vec<usize>, distinct: bool) -> AggregateCallConfig {
    let function = find(name).unwrap();
    let types: Vec<_> = args
        .iter()
        .map(|&a| schema().column(a).data_type.clone())
        .collect();
    AggregateCallConfig {
        function,
        types: (function.bind)(&types).unwrap(),
        args,
        distinct,
        filter: None,
    }
}

fn output(key: usize, calls: &[AggregateCallConfig], more: &[LogicalType]) -> Schema {
    let mut columns = vec![schema().column(key).clone()];
    let results = calls
        .iter()
        .map(|c| Column::new("a", c.types.result.clone()));
    columns.extend(results);
    let more = more.iter().map(|t| Column::new("w", t.clone().not_null()));
    columns.extend(more);
    Schema::new(columns)
}

fn group(key: usize, calls: Vec<AggregateCallConfig>) -> GroupAggregateConfig {
    GroupAggregateConfig {
        key_columns: vec![key],
        schema: output(key, &calls, &[]).to_arrow(),
        calls,
        phase: Phase::Complete,
        input_is_retracting: false,
        emits_update_before: true,
        emits_at_end: false,
        sends_each_change: false,
        forgets_emptied: false,
        final_inputs: None,
        state_ttl_ms: None,
        input_schema: schema().to_arrow(),
    }
}

fn window(key: usize, window: WindowShape) -> WindowAggregateConfig {
    let calls = vec![call("COUNT", vec![], false), call("SUM", vec![1], false)];
    WindowAggregateConfig {
        window,
        time: WindowTime::Rowtime(2),
        time_zone: None,
        key_columns: vec![key],
        schema: output(key, &calls, &[LogicalType::Timestamp(3)]).to_arrow(),
        calls,
        phase: Phase::Complete,
        input_is_retracting: false,
        properties: vec![WindowProperty::End],
        input_schema: schema().to_arrow(),
    }
}

fn open(factory: &dyn OperatorFactory) -> Box<dyn Operator> {
    let context = OperatorContext {
        host: flott_core::operator::OperatorHost::default(),
        subtask: 0,
        parallelism: 1,
        max_parallelism: 128,
        clock: ManualClock::at_ms(0),
        metrics: Arc::default(),
        config: Arc::default(),
    };
    let mut operator = factory.create().unwrap();
    operator.open(&context).unwrap();
    operator
}

fn run(operator: &mut dyn Operator, batches: &[ChangelogBatch], watermark: Option<i64>) {
    for batch in batches {
        operator.process(0, batch.clone(), &mut Nowhere).unwrap();
    }
    if let Some(watermark) = watermark {
        operator.watermark(watermark, &mut Nowhere).unwrap();
    }
}

/// The steady state: rows of keys that are known already.
fn updates(c: &mut Criterion) {
    let batches = batches();
    let mut benches = c.benchmark_group("update");
    benches.throughput(Throughput::Elements((BATCH * BATCHES) as u64));
    let tumble = WindowShape::Tumble {
        size_ms: 1_000_000,
        offset_ms: 0,
    };
    let factories: Vec<(&str, Box<dyn OperatorFactory>)> = vec![
        ("tumble_i64", Box::new(window(0, tumble))),
        ("tumble_string", Box::new(window(3, tumble))),
        (
            "group_i64",
            Box::new(group(
                0,
                vec![call("COUNT", vec![], false), call("SUM", vec![1], false)],
            )),
        ),
        (
            "count_distinct",
            Box::new(group(1, vec![call("COUNT", vec![0], true)])),
        ),
    ];
    for (name, factory) in factories {
        let mut operator = open(factory.as_ref());
        run(operator.as_mut(), &batches, None);
        benches.bench_function(name, |b| b.iter(|| run(operator.as_mut(), &batches, None)));
    }
    benches.finish();
}

/// From the first row to the fired windows.
fn windows(c: &mut Criterion) {
    let batches = batches();
    let mut benches = c.benchmark_group("fire");
    benches.throughput(Throughput::Elements((BATCH * BATCHES) as u64));
    let tumble = WindowShape::Tumble {
        size_ms: 10_000,
        offset_ms: 0,
    };
    let hop = WindowShape::Hop {
        size_ms: 1_000,
        slide_ms: 500,
        offset_ms: 0,
    };
    for (name, shape) in [("tumble", tumble), ("hop", hop)] {
        benches.bench_function(name, |b| {
            b.iter(|| run(open(&window(0, shape)).as_mut(), &batches, Some(1_000_000)));
        });
    }
    benches.finish();
}

criterion_group!(benches, updates, windows);
criterion_main!(benches);
