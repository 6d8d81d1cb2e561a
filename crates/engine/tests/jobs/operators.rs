//! Operators, sinks and graphs that the tests build jobs of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, UInt16Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema as ArrowSchema};
use parking_lot::Mutex;

use flott_core::changelog::{ChangelogBatch, ChangelogMode};
use flott_core::graph::{Edge, Exchange, JobGraph, Node, NodeId, NodeKind};
use flott_core::hash::hash_columns;
use flott_core::key_group::key_group_of;
use flott_core::operator::{
    Operator, OperatorFactory, Output, StateScope, StateSnapshot, StateTable,
};
use flott_core::schema::{Column, Schema};
use flott_core::sink::{Committable, Committer, Rollback, SinkWriter, TableSink, WriterContext};
use flott_core::source::TableSource;
use flott_core::types::LogicalType;
use flott_core::{Error, Result};
use flott_engine::testing::rows::integers;
use flott_engine::testing::{ScriptItem, format_rows};

pub fn schema() -> Schema {
    Schema::new(["k", "v"].map(|n| Column::new(n, LogicalType::BigInt.nullable())))
}

pub fn batch(keys: impl IntoIterator<Item = i64>) -> ChangelogBatch {
    let keys: Vec<i64> = keys.into_iter().collect();
    integers(&[keys.clone(), keys], &schema()).unwrap()
}

/// Splits of batches: keys `0..num_keys`, each once in each batch.
pub fn splits(num_splits: usize, num_batches: usize, num_keys: i64) -> Vec<Vec<ScriptItem>> {
    let item = |i: usize| {
        let time = i as i64 * 10;
        [
            ScriptItem::Batch(batch(0..num_keys)),
            ScriptItem::Watermark(time),
        ]
    };
    let split = || (0..num_batches).flat_map(item).collect();
    (0..num_splits).map(|_| split()).collect()
}

/// Sums `v` by `k`; sends the sums at the end.
#[derive(Default)]
pub struct Sum {
    sums: BTreeMap<i64, i64>,
    watermark: i64,
}

impl Operator for Sum {
    fn process(&mut self, _: usize, batch: ChangelogBatch, _: &mut dyn Output) -> Result<()> {
        let keys = batch.column(0).as_primitive::<Int64Type>().values();
        let values = batch.column(1).as_primitive::<Int64Type>().values();
        for (key, value) in keys.iter().zip(values) {
            *self.sums.entry(*key).or_default() += value;
        }
        Ok(())
    }

    fn watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<()> {
        assert!(watermark > self.watermark || self.watermark == 0);
        self.watermark = watermark;
        out.watermark(watermark)
    }

    fn finish(&mut self, out: &mut dyn Output) -> Result<()> {
        assert_eq!(self.watermark, i64::MAX);
        let keys = self.sums.keys().copied().collect();
        let sums = self.sums.values().copied().collect();
        out.emit(integers(&[keys, sums], &schema())?)
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
        let rows = RecordBatch::try_new(Arc::new(ArrowSchema::new(fields)), columns)?;
        Ok(StateSnapshot {
            tables: vec![StateTable::full("sums", StateScope::Keyed, rows)],
        })
    }

    fn restore(&mut self, snapshot: StateSnapshot) -> Result<()> {
        for rows in snapshot.table("sums") {
            let rows = &rows?;
            let keys = rows.column(1).as_primitive::<Int64Type>().values();
            let sums = rows.column(2).as_primitive::<Int64Type>().values();
            self.sums
                .extend(keys.iter().copied().zip(sums.iter().copied()));
        }
        Ok(())
    }
}

/// Calls a function with each batch and passes it on.
pub struct Each<F>(pub F);

impl<F: FnMut(&ChangelogBatch) -> Result<()> + Send> Operator for Each<F> {
    fn process(&mut self, _: usize, batch: ChangelogBatch, out: &mut dyn Output) -> Result<()> {
        (self.0)(&batch)?;
        out.emit(batch)
    }
}

pub fn each<F>(f: F) -> NodeKind
where
    F: FnMut(&ChangelogBatch) -> Result<()> + Clone + Send + Sync + 'static,
{
    let factory = move || Ok(Box::new(Each(f.clone())) as Box<dyn Operator>);
    NodeKind::Operator(Arc::new(factory) as Arc<dyn OperatorFactory>)
}

pub fn sum() -> NodeKind {
    let factory = || Ok(Box::<Sum>::default() as Box<dyn Operator>);
    NodeKind::Operator(Arc::new(factory) as Arc<dyn OperatorFactory>)
}

/// Builds a graph node by node.
#[derive(Default)]
pub struct Graph(pub JobGraph);

impl Graph {
    pub fn node(
        &mut self,
        name: &str,
        kind: NodeKind,
        inputs: &[(NodeId, Exchange)],
        parallelism: Option<usize>,
    ) -> NodeId {
        let inputs = inputs.iter().map(|(from, exchange)| Edge {
            from: *from,
            exchange: exchange.clone(),
            keys: match exchange {
                Exchange::Hash(columns) => columns.clone(),
                _ => Vec::new(),
            },
        });
        self.0.add(Node {
            state: Vec::new(),
            uid: name.into(),
            name: name.into(),
            kind,
            inputs: inputs.collect(),
            schema: schema(),
            parallelism,
            idle_timeout_ms: Some(5_000),
        })
    }
}

/// source -> pass (chained) -> hash -> sum -> sink
pub fn sum_graph(source: impl TableSource + 'static, sink: Arc<dyn TableSink>) -> JobGraph {
    let mut graph = Graph::default();
    let source = graph.node("source", NodeKind::Source(Arc::new(source)), &[], None);
    let pass = graph.node(
        "pass",
        each(|_| Ok(())),
        &[(source, Exchange::Forward)],
        None,
    );
    let by_key = Exchange::Hash(vec![0]);
    let sums = graph.node("sum", sum(), &[(pass, by_key)], None);
    graph.node(
        "sink",
        NodeKind::Sink(sink),
        &[(sums, Exchange::Forward)],
        None,
    );
    graph.0
}

/// Rows that became visible by a commit, and what happened to the writers.
#[derive(Default)]
pub struct CommitSink {
    pub committed: Arc<Mutex<BTreeMap<String, Vec<String>>>>,
    pub num_aborted: Arc<AtomicUsize>,
    pub num_commits: Arc<AtomicUsize>,
    /// So many of the next commits fail.
    pub fail_next_commits: Arc<AtomicUsize>,
    pub num_retractions: AtomicUsize,
}

impl CommitSink {
    /// The committed rows, sorted.
    pub fn rows(&self) -> Vec<String> {
        let mut rows: Vec<String> = self.committed.lock().values().flatten().cloned().collect();
        rows.sort();
        rows
    }
}

impl TableSink for CommitSink {
    fn changelog_mode(&self, offered: ChangelogMode) -> Result<ChangelogMode> {
        Ok(offered)
    }

    fn create_writer(&self, context: WriterContext) -> Result<Box<dyn SinkWriter>> {
        Ok(Box::new(CommitWriter {
            name: format!("{}-{}", context.attempt_id, context.subtask),
            num_files: 0,
            lines: Vec::new(),
            num_aborted: self.num_aborted.clone(),
        }))
    }

    fn create_committer(&self) -> Result<Option<Box<dyn Committer>>> {
        Ok(Some(Box::new(MapCommitter(
            self.committed.clone(),
            self.num_commits.clone(),
            self.fail_next_commits.clone(),
        ))))
    }

    /// Forgets what came after the checkpoint: later commits of its writers, and those of later
    /// attempts.
    fn retract(&self, rollback: &Rollback) -> Result<bool> {
        let writers = rollback.writers.iter().filter(|w| !w.is_empty());
        let writers: Vec<(String, usize)> = writers
            .map(|bytes| {
                let text = String::from_utf8_lossy(bytes);
                let (name, number) = text.rsplit_once(' ').unwrap();
                (name.to_string(), number.parse().unwrap())
            })
            .collect();
        self.committed.lock().retain(|name, _| {
            let (writer, number) = name.rsplit_once('-').unwrap();
            let number: usize = number.parse().unwrap();
            let is_later = writers.iter().any(|(w, n)| w == writer && number > *n);
            let attempt = writer.rsplit_once('-').unwrap().0;
            !is_later && !rollback.later_attempts.iter().any(|a| a == attempt)
        });
        self.num_retractions.fetch_add(1, Ordering::SeqCst);
        Ok(true)
    }
}

struct CommitWriter {
    name: String,
    num_files: usize,
    lines: Vec<String>,
    num_aborted: Arc<AtomicUsize>,
}

impl SinkWriter for CommitWriter {
    fn write(&mut self, batch: &ChangelogBatch) -> Result<()> {
        self.lines.extend(format_rows(batch)?);
        Ok(())
    }

    fn prepare_commit(&mut self, _: bool) -> Result<Vec<Committable>> {
        self.num_files += 1;
        let mut text = format!("{}-{}", self.name, self.num_files);
        for line in self.lines.drain(..) {
            text.push('\n');
            text.push_str(&line);
        }
        let bytes = text.into_bytes();
        Ok(vec![Committable { bytes }])
    }

    fn snapshot(&mut self) -> Result<Vec<u8>> {
        Ok(format!("{} {}", self.name, self.num_files).into_bytes())
    }

    fn abort(&mut self) {
        self.num_aborted.fetch_add(1, Ordering::SeqCst);
    }
}

struct MapCommitter(
    Arc<Mutex<BTreeMap<String, Vec<String>>>>,
    Arc<AtomicUsize>,
    Arc<AtomicUsize>,
);

impl Committer for MapCommitter {
    fn commit(&mut self, committables: Vec<Committable>) -> Result<()> {
        self.1.fetch_add(1, Ordering::SeqCst);
        let failing = self.2.load(Ordering::SeqCst);
        if failing > 0 {
            self.2.store(failing - 1, Ordering::SeqCst);
            return Err(Error::external("COMMIT", "the commit failed on purpose"));
        }
        for committable in committables {
            let text = String::from_utf8(committable.bytes)
                .map_err(|_| Error::internal("a committable is not text"))?;
            let mut lines = text.lines().map(str::to_owned);
            let name = lines.next().unwrap_or_default();
            self.0.lock().insert(name, lines.collect());
        }
        Ok(())
    }
}

/// What [`sum_graph`] gives for [`splits`].
pub fn expected_sums(num_splits: usize, num_batches: usize, num_keys: i64) -> Vec<String> {
    let times = (num_splits * num_batches) as i64;
    let mut rows: Vec<String> = (0..num_keys)
        .map(|k| format!("+I | {k} | {}", k * times))
        .collect();
    rows.sort();
    rows
}
