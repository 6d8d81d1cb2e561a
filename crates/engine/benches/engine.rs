//! Rows per second through an exchange, and through a whole small job.

use std::hint::black_box;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

use flott_core::Result;
use flott_core::changelog::{ChangelogBatch, ChangelogMode};
use flott_core::graph::{Edge, Exchange, JobGraph, Node, NodeKind};
use flott_core::operator::{Operator, OperatorFactory, Output};
use flott_core::schema::{Column, Schema};
use flott_core::sink::{Committable, SinkWriter, TableSink, WriterContext};
use flott_core::types::LogicalType;
use flott_engine::partition::Partitioner;
use flott_engine::testing::{ScriptItem, ScriptSource};
use flott_engine::{JobOptions, execute};

const ROWS: usize = 8192;

fn numbers(seed: usize) -> ArrayRef {
    let values = (0..ROWS).map(|i| ((i + seed) * 7919 % 100_003) as i64);
    Arc::new(Int64Array::from_iter_values(values))
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> Result<ChangelogBatch> {
    let rows = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )?;
    Ok(ChangelogBatch::insert_only(rows))
}

fn exchange(criterion: &mut Criterion) {
    let texts: Vec<String> = (0..ROWS)
        .map(|i| format!("customer-number-{}", i % 997))
        .collect();
    let text: ArrayRef = Arc::new(StringViewArray::from_iter_values(texts));
    let cases = [
        ("numbers", batch(vec![("k", numbers(0)), ("v", numbers(1))])),
        ("text", batch(vec![("k", text), ("v", numbers(1))])),
    ];
    let mut group = criterion.benchmark_group("exchange of 8192 rows");
    group.throughput(Throughput::Elements(ROWS as u64));
    for (name, rows) in cases {
        let rows = rows.expect("columns of one length");
        for targets in [2, 8] {
            let mut partitioner = Partitioner::new(Exchange::Hash(vec![0]), targets, 128, 0);
            group.bench_function(format!("{name}, {targets} targets"), |bencher| {
                bencher.iter(|| {
                    partitioner.split(rows.clone(), |target, part| {
                        black_box((target, part));
                    })
                });
            });
        }
    }
    group.finish();
}

struct Pass;

impl Operator for Pass {
    fn process(&mut self, _: usize, batch: ChangelogBatch, out: &mut dyn Output) -> Result<()> {
        out.emit(batch)
    }
}

struct Nothing;

impl TableSink for Nothing {
    fn changelog_mode(&self, offered: ChangelogMode) -> Result<ChangelogMode> {
        Ok(offered)
    }

    fn create_writer(&self, _: WriterContext) -> Result<Box<dyn SinkWriter>> {
        Ok(Box::new(Nothing))
    }
}

impl SinkWriter for Nothing {
    fn write(&mut self, batch: &ChangelogBatch) -> Result<()> {
        black_box(batch);
        Ok(())
    }

    fn prepare_commit(&mut self, _: bool) -> Result<Vec<Committable>> {
        Ok(Vec::new())
    }
}

fn job(num_batches: usize) -> Result<JobGraph> {
    let schema = Schema::new(["k", "v"].map(|n| Column::new(n, LogicalType::BigInt.nullable())));
    let split = |seed: usize| -> Result<Vec<ScriptItem>> {
        let rows = batch(vec![("k", numbers(seed)), ("v", numbers(seed + 1))])?;
        Ok(vec![ScriptItem::Batch(rows); num_batches / 2])
    };
    let source = ScriptSource::new(schema.clone(), vec![split(0)?, split(5)?]);
    let pass = || {
        let factory = || Ok(Box::new(Pass) as Box<dyn Operator>);
        NodeKind::Operator(Arc::new(factory) as Arc<dyn OperatorFactory>)
    };
    let kinds = [
        (NodeKind::Source(Arc::new(source)), None),
        (pass(), Some(Exchange::Forward)),
        (pass(), Some(Exchange::Hash(vec![0]))),
        (NodeKind::Sink(Arc::new(Nothing)), Some(Exchange::Forward)),
    ];
    let mut graph = JobGraph::default();
    for (index, (kind, exchange)) in kinds.into_iter().enumerate() {
        let edge = exchange.map(|exchange| Edge {
            from: index - 1,
            exchange,
            keys: Vec::new(),
        });
        graph.add(Node {
            state: Vec::new(),
            uid: index.to_string(),
            name: index.to_string(),
            kind,
            inputs: edge.into_iter().collect(),
            schema: schema.clone(),
            parallelism: None,
            idle_timeout_ms: None,
        });
    }
    Ok(graph)
}

fn whole_job(criterion: &mut Criterion) {
    const BATCHES: usize = 1000;
    let mut group = criterion.benchmark_group("source, chain, exchange, sink");
    group.sample_size(10);
    group.throughput(Throughput::Elements((BATCHES * ROWS) as u64));
    for parallelism in [1, 2] {
        let graph = job(BATCHES).expect("a job that can be built");
        group.bench_function(format!("parallelism {parallelism}"), |bencher| {
            bencher.iter(|| {
                let options = JobOptions {
                    parallelism,
                    ..JobOptions::default()
                };
                execute(graph.clone(), options).and_then(|handle| handle.wait())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, exchange, whole_job);
criterion_main!(benches);
