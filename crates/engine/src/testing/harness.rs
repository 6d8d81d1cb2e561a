//! Drives one operator by a script and shows what comes out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use flott_core::changelog::{ChangelogBatch, adds};
use flott_core::clock::{Clock, ManualClock};
use flott_core::graph::Exchange;
use flott_core::key_group::DEFAULT_MAX_PARALLELISM;
use flott_core::metrics::OperatorMetrics;
use flott_core::operator::{
    Operator, OperatorContext, OperatorFactory, Output, StateRows, StateSnapshot, StateTable,
};
use flott_core::options::Options;
use flott_core::schema::Schema;
use flott_core::time::{MAX_WATERMARK, MIN_WATERMARK};
use flott_core::{Error, Result};
use flott_state::chain::OperatorChain;

use crate::partition::Partitioner;
use crate::restore::redistribute;
use crate::spill::{SpillConfig, Spilling, SpillingFactory};
use crate::testing::rows::{concat_batches, format_rows, parse_rows};

/// What an operator is to be tested with; [`Harness::open`] makes it run.
///
/// ```
/// # use std::sync::Arc;
/// # use flott_core::{Result, changelog::ChangelogBatch, operator::{Operator, Output}};
/// # use flott_core::{schema::{Column, Schema}, types::LogicalType};
/// use flott_engine::testing::Harness;
/// # struct Pass;
/// # impl Operator for Pass {
/// #     fn process(&mut self, _: usize, b: ChangelogBatch, out: &mut dyn Output) -> Result<()> { out.emit(b) }
/// # }
/// # let schema = Schema::new(vec![Column::new("name", LogicalType::STRING.nullable()), Column::new("n", LogicalType::Int.nullable())]);
/// let factory = Arc::new(|| Ok(Box::new(Pass) as Box<dyn Operator>));
/// let mut harness = Harness::new(factory).input(schema).open()?;
/// harness.process(0, "alice | 1\n-D | bob | 2")?;
/// harness.watermark(1_000)?;
/// assert_eq!(harness.drain(), ["+I | alice | 1", "-D | bob | 2", "watermark 1000"]);
/// # Ok::<(), flott_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Harness {
    factory: Arc<dyn OperatorFactory>,
    inputs: Vec<(Schema, Exchange)>,
    output: Option<Schema>,
    parallelism: usize,
    config: Options,
    start_ms: i64,
    has_keyed_state: bool,
    overflow: Option<Spilling>,
}

impl Harness {
    /// A harness for the operators that this factory makes, without inputs yet.
    pub fn new(factory: Arc<dyn OperatorFactory>) -> Self {
        Self {
            factory,
            inputs: Vec::new(),
            output: None,
            parallelism: 1,
            config: Options::default(),
            start_ms: 0,
            has_keyed_state: true,
            overflow: None,
        }
    }

    /// Adds an input whose rows go to subtask 0.
    pub fn input(self, schema: Schema) -> Self {
        self.input_by(schema, Exchange::Single)
    }

    /// Adds an input whose rows reach the subtasks through `exchange`.
    pub fn input_by(mut self, schema: Schema, exchange: Exchange) -> Self {
        self.inputs.push((schema, exchange));
        self
    }

    /// Checks that batches sent have this schema.
    pub fn output(mut self, schema: Schema) -> Self {
        self.output = Some(schema);
        self
    }

    /// The number of subtasks; 1 if not said.
    pub fn parallelism(mut self, parallelism: usize) -> Self {
        self.parallelism = parallelism;
        self
    }

    /// Sets an option of the job's configuration.
    pub fn config(mut self, key: &str, value: &str) -> Self {
        self.config.set(key, value);
        self
    }

    /// Processing time at the start, in ms; 0 if not said.
    pub fn start_ms(mut self, start_ms: i64) -> Self {
        self.start_ms = start_ms;
        self
    }

    /// Although rows come by a hash, what is kept of them is not kept by key.
    pub fn without_keyed_state(mut self) -> Self {
        self.has_keyed_state = false;
        self
    }

    /// Whether the state is keyed: every input is exchanged by a hash.
    pub fn is_keyed(&self) -> bool {
        let mut inputs = self.inputs.iter();
        self.has_keyed_state
            && !self.inputs.is_empty()
            && inputs.all(|(_, e)| matches!(e, Exchange::Hash(c) if !c.is_empty()))
    }

    /// Hosts the operator so that state that does not fit goes to files.
    pub fn spilling(mut self, config: SpillConfig) -> Self {
        let keys = self.inputs.iter().map(|(_, exchange)| match exchange {
            Exchange::Hash(columns) => columns.clone(),
            _ => Vec::new(),
        });
        let spilling = Spilling::new(config);
        let hosted = SpillingFactory::new(self.factory.clone(), keys.collect(), spilling);
        self.factory = Arc::new(hosted);
        self
    }

    /// Gives the operator files for what does not fit into memory.
    pub fn overflowing(mut self, config: SpillConfig) -> Self {
        self.overflow = Some(Spilling::new(config));
        self
    }

    /// # Errors
    /// What the operator's factory or `open` reports.
    pub fn open(self) -> Result<OpenHarness> {
        let clock = ManualClock::at_ms(self.start_ms);
        let mut open = OpenHarness {
            watermarks: vec![MIN_WATERMARK; self.inputs.len()],
            emitted_watermark: MIN_WATERMARK,
            subtasks: Vec::new(),
            partitioners: Vec::new(),
            output: Vec::new(),
            clock,
            is_finished: false,
            chain: OperatorChain::new(DEFAULT_MAX_PARALLELISM),
            plan: self,
        };
        open.start(&[])?;
        Ok(open)
    }
}

struct Subtask {
    operator: Box<dyn Operator>,
    metrics: Arc<OperatorMetrics>,
    recorder: Recorder,
}

/// What comes out of an operator.
#[derive(Debug, Clone)]
enum Event {
    Batch(ChangelogBatch),
    Watermark(i64),
}

#[derive(Default)]
struct Recorder {
    events: Vec<Event>,
    schema: Option<Schema>,
    watermark: Option<i64>,
}

impl Output for Recorder {
    fn emit(&mut self, batch: ChangelogBatch) -> Result<()> {
        if let Some(schema) = &self.schema {
            crate::invariants::check_schema(&schema.to_arrow(), &batch)?;
        }
        if !batch.is_empty() {
            self.events.push(Event::Batch(batch));
        }
        Ok(())
    }

    fn watermark(&mut self, watermark: i64) -> Result<()> {
        let last = self.watermark.unwrap_or(MIN_WATERMARK);
        if watermark < last {
            return Err(Error::internal(format!(
                "the watermark went back from {last} to {watermark}"
            )));
        }
        self.watermark = Some(watermark);
        self.events.push(Event::Watermark(watermark));
        Ok(())
    }
}

/// An operator under test.
pub struct OpenHarness {
    plan: Harness,
    clock: Arc<ManualClock>,
    subtasks: Vec<Subtask>,
    partitioners: Vec<Partitioner>,
    /// The last watermark of each input.
    watermarks: Vec<i64>,
    emitted_watermark: i64,
    output: Vec<Event>,
    is_finished: bool,
    /// The snapshots taken so far.
    chain: OperatorChain,
}

impl OpenHarness {
    fn start(&mut self, snapshots: &[StateSnapshot]) -> Result<()> {
        let parallelism = self.plan.parallelism;
        self.subtasks.clear();
        for subtask in 0..parallelism {
            let metrics = Arc::new(OperatorMetrics::default());
            let context = OperatorContext {
                host: flott_core::operator::OperatorHost {
                    overflow: self.plan.overflow.as_ref().map(|s| s.overflow(&metrics)),
                    ..Default::default()
                },
                subtask,
                parallelism,
                max_parallelism: DEFAULT_MAX_PARALLELISM,
                clock: self.clock.clone(),
                metrics: metrics.clone(),
                config: Arc::new(self.plan.config.clone()),
            };
            let mut operator = self.plan.factory.create()?;
            operator.open(&context)?;
            if !snapshots.is_empty() {
                let max_parallelism = DEFAULT_MAX_PARALLELISM;
                let state = redistribute(snapshots, subtask, parallelism, max_parallelism)?;
                operator.restore(state)?;
            }
            let recorder = Recorder {
                schema: self.plan.output.clone(),
                ..Recorder::default()
            };
            self.subtasks.push(Subtask {
                operator,
                metrics,
                recorder,
            });
        }
        let partitioner = |(_, exchange): &(Schema, Exchange)| {
            Partitioner::new(exchange.clone(), parallelism, DEFAULT_MAX_PARALLELISM, 0)
        };
        self.partitioners = self.plan.inputs.iter().map(partitioner).collect();
        Ok(())
    }

    /// Sends rows as text (see [`crate::testing::rows`]) as one batch.
    ///
    /// # Errors
    /// Rows that do not fit the input's schema, and what the operator reports.
    pub fn process(&mut self, input: usize, rows: &str) -> Result<()> {
        let batch = parse_rows(&self.plan.inputs[input].0, rows)?;
        self.process_batch(input, batch)
    }

    /// # Errors
    /// What the operator reports.
    pub fn process_batch(&mut self, input: usize, batch: ChangelogBatch) -> Result<()> {
        let mut parts = Vec::new();
        self.partitioners[input].split(batch, |target, part| parts.push((target, part)))?;
        for (target, part) in parts {
            let subtask = &mut self.subtasks[target];
            let recorder = &mut subtask.recorder;
            subtask.operator.process(input, part, recorder)?;
        }
        self.collect();
        Ok(())
    }

    /// All inputs have reached this watermark, in ms.
    ///
    /// # Errors
    /// What the operator reports.
    pub fn watermark(&mut self, watermark: i64) -> Result<()> {
        self.advance_watermark(|watermarks| watermarks.fill(watermark))
    }

    /// One input has reached this watermark; the operator sees the least over its inputs.
    ///
    /// # Errors
    /// What the operator reports.
    pub fn watermark_on(&mut self, input: usize, watermark: i64) -> Result<()> {
        self.advance_watermark(|watermarks| watermarks[input] = watermark)
    }

    fn least_watermark(&self) -> i64 {
        self.watermarks
            .iter()
            .copied()
            .min()
            .unwrap_or(MIN_WATERMARK)
    }

    fn advance_watermark(&mut self, change: impl FnOnce(&mut [i64])) -> Result<()> {
        let before = self.least_watermark();
        change(&mut self.watermarks);
        let least = self.least_watermark();
        if least > before {
            for subtask in &mut self.subtasks {
                subtask.operator.watermark(least, &mut subtask.recorder)?;
            }
        }
        self.collect();
        Ok(())
    }

    /// Moves processing time on to `now_ms`, firing each timer at its own time on the way.
    ///
    /// # Errors
    /// What the operator reports.
    pub fn advance_time(&mut self, now_ms: i64) -> Result<()> {
        loop {
            let timers = self
                .subtasks
                .iter()
                .filter_map(|s| s.operator.next_timer_ms());
            let next = timers.min().filter(|&t| t <= now_ms);
            self.set_time(next.unwrap_or(now_ms));
            for subtask in &mut self.subtasks {
                let now = self.clock.now_ms();
                if subtask.operator.next_timer_ms().is_some_and(|t| t <= now) {
                    subtask.operator.on_timer(now, &mut subtask.recorder)?;
                    if subtask.operator.next_timer_ms().is_some_and(|t| t <= now) {
                        return Err(Error::internal(format!(
                            "the timer of {now} ms is still there after it was called"
                        )));
                    }
                }
            }
            self.collect();
            if next.is_none() {
                return Ok(());
            }
        }
    }

    /// Processing time, in ms.
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    fn set_time(&self, now_ms: i64) {
        let ahead = now_ms - self.clock.now_ms();
        self.clock
            .advance(Duration::from_millis(ahead.max(0) as u64));
    }

    /// One input ends; its watermark goes to its maximum.
    ///
    /// # Errors
    /// What the operator reports.
    pub fn end_input(&mut self, input: usize) -> Result<()> {
        for subtask in &mut self.subtasks {
            subtask.operator.input_ended(input, &mut subtask.recorder)?;
        }
        self.watermark_on(input, MAX_WATERMARK)
    }

    /// All inputs end: the watermark goes to its maximum, then the operator finishes.
    ///
    /// # Errors
    /// What the operator reports.
    pub fn finish(&mut self) -> Result<()> {
        for input in 0..self.plan.inputs.len() {
            for subtask in &mut self.subtasks {
                let recorder = &mut subtask.recorder;
                subtask.operator.input_ended(input, recorder)?;
            }
        }
        self.watermark(MAX_WATERMARK)?;
        for subtask in &mut self.subtasks {
            subtask.operator.finish(&mut subtask.recorder)?;
        }
        self.is_finished = true;
        self.collect();
        Ok(())
    }

    /// Takes a snapshot and gives the whole state of each subtask: what it says has changed on top
    /// of the snapshots before.
    ///
    /// # Errors
    /// What the operator reports.
    pub fn snapshot(&mut self) -> Result<Vec<StateSnapshot>> {
        let changes = self.snapshot_changes()?;
        self.chain.apply(&changes)?;
        Ok(self.chain.snapshots())
    }

    /// What the subtasks say of their state: whole tables, or what has changed. Not kept: a later
    /// [`OpenHarness::snapshot`] lacks it.
    ///
    /// # Errors
    /// What the operator reports.
    pub fn snapshot_changes(&mut self) -> Result<Vec<StateSnapshot>> {
        for subtask in &mut self.subtasks {
            subtask.operator.prepare_snapshot(&mut subtask.recorder)?;
        }
        self.collect();
        let subtasks = self.subtasks.iter_mut();
        subtasks.map(|s| s.operator.snapshot()).collect()
    }

    /// About how many bytes the subtasks' state takes in memory.
    pub fn state_bytes(&self) -> usize {
        let subtasks = self.subtasks.iter();
        subtasks.map(|s| s.operator.state_bytes()).sum()
    }

    /// Takes a snapshot, throws the operator away and restores a new one with another parallelism.
    /// As in the engine, the watermark reached is delivered again after the restore.
    ///
    /// # Errors
    /// What the operator reports.
    pub fn crash_and_restore(&mut self, parallelism: usize) -> Result<()> {
        let snapshots = self.snapshot()?;
        self.restore(&snapshots, parallelism)
    }

    /// Throws the operator away and restores a new one from `snapshots`.
    ///
    /// # Errors
    /// What the operator reports.
    pub fn restore(&mut self, snapshots: &[StateSnapshot], parallelism: usize) -> Result<()> {
        self.plan.parallelism = parallelism;
        // Rows that are read through the chain before would be read through all chains in the end.
        let snapshots = snapshots.iter().map(in_memory);
        let snapshots: Vec<StateSnapshot> = snapshots.collect::<Result<_>>()?;
        self.chain = OperatorChain::new(DEFAULT_MAX_PARALLELISM);
        self.chain.apply(&snapshots)?;
        self.start(&snapshots)?;
        let least = self.least_watermark();
        if least > MIN_WATERMARK {
            for subtask in &mut self.subtasks {
                subtask.operator.watermark(least, &mut subtask.recorder)?;
            }
        }
        self.collect();
        Ok(())
    }

    /// Moves what the subtasks sent into the output, in the order of the subtasks; watermarks count
    /// when all subtasks have reached them.
    fn collect(&mut self) {
        let mut watermark = i64::MAX;
        let mut watermarks = Vec::new();
        for subtask in &mut self.subtasks {
            watermark = watermark.min(subtask.recorder.watermark.unwrap_or(MIN_WATERMARK));
            for event in subtask.recorder.events.drain(..) {
                match event {
                    Event::Watermark(w) if self.plan.parallelism > 1 => watermarks.push(w),
                    Event::Watermark(w) if w <= self.emitted_watermark => {}
                    Event::Watermark(w) => {
                        self.emitted_watermark = w;
                        self.output.push(Event::Watermark(w));
                    }
                    batch => self.output.push(batch),
                }
            }
        }
        if !watermarks.is_empty() && watermark > self.emitted_watermark {
            self.emitted_watermark = watermark;
            self.output.push(Event::Watermark(watermark));
        }
    }

    /// What came out since the last look: rows as `+I | alice | 12`, watermarks as `watermark 1000`
    /// and `watermark end`.
    pub fn drain(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for event in self.output.drain(..) {
            match event {
                Event::Batch(batch) => lines.extend(shown(&batch)),
                Event::Watermark(MAX_WATERMARK) => lines.push("watermark end".into()),
                Event::Watermark(watermark) => lines.push(format!("watermark {watermark}")),
            }
        }
        lines
    }

    /// The rows that came out since the last look, without the watermarks.
    pub fn drain_rows(&mut self) -> Vec<String> {
        let mut lines = self.drain();
        lines.retain(|l| !l.starts_with("watermark "));
        lines
    }

    /// The rows that came out since the last look, sorted: where order is not promised.
    pub fn drain_sorted(&mut self) -> Vec<String> {
        let mut lines = self.drain_rows();
        lines.sort();
        lines
    }

    /// The batches that came out since the last look, as one.
    ///
    /// # Errors
    /// Batches of different schemas.
    pub fn drain_batch(&mut self) -> Result<Option<ChangelogBatch>> {
        let events = std::mem::take(&mut self.output);
        let batches: Vec<_> = events
            .into_iter()
            .filter_map(|event| match event {
                Event::Batch(batch) => Some(batch),
                Event::Watermark(_) => None,
            })
            .collect();
        concat_batches(&batches)
    }

    /// The sum of a metric over the subtasks, by Flink's name; `None` when there is none such.
    pub fn metric(&self, name: &str) -> Option<i64> {
        self.subtasks.iter().map(|s| s.metrics.get(name)).sum()
    }

    /// Whether [`OpenHarness::finish`] has been called.
    pub fn is_finished(&self) -> bool {
        self.is_finished
    }
}

/// The rows themselves, wherever they lay.
fn in_memory(snapshot: &StateSnapshot) -> Result<StateSnapshot> {
    let tables = snapshot.tables.iter().map(|table| {
        let rows: StateRows = table.rows()?.read().collect::<Result<_>>()?;
        Ok(StateTable::full(&table.name, table.scope, rows))
    });
    Ok(StateSnapshot {
        tables: tables.collect::<Result<_>>()?,
    })
}

fn shown(batch: &ChangelogBatch) -> Vec<String> {
    format_rows(batch).unwrap_or_else(|error| vec![format!("(cannot be shown: {error})")])
}

/// The table that lines of [`OpenHarness::drain`] describe: each row's text and how often it is
/// there; rows removed before they were added count negative.
pub fn fold(lines: &[String]) -> BTreeMap<String, i64> {
    let mut table = BTreeMap::new();
    for line in lines {
        let Some((kind, row)) = line.split_once(" | ") else {
            continue;
        };
        let Some(kind) = flott_core::changelog::RowKind::from_symbol(kind) else {
            continue;
        };
        let change = if adds(kind as u8) { 1 } else { -1 };
        *table.entry(row.to_owned()).or_insert(0) += change;
    }
    table.retain(|_, count| *count != 0);
    table
}
