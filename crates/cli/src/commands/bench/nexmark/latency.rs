//! Latency: from the moment when the event that completes a row is due to the moment when the sink
//! has the row.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use arrow::array::{Array, AsArray};
use arrow::datatypes::TimestampMillisecondType;
use flott_connectors::nexmark::Nexmark;
use flott_core::changelog::{ChangelogBatch, ChangelogMode};
use flott_core::clock::{Clock, Stopwatch, SystemClock};
use flott_core::connector::{ConnectorFactory, SinkRequest, TableContext};
use flott_core::options::OptionDef;
use flott_core::schema::Schema;
use flott_core::sink::{Committable, SinkWriter, TableSink, WriterContext};
use flott_core::source::{ReaderContext, ScanRequest, SourceReader, SplitEnumerator, TableSource};
use flott_engine::JobOptions;
use flott_sql::parser::parse_script;
use flott_sql::session::{Session, StatementResult};
use parking_lot::Mutex;

use super::queries::{self, Dialect, Query};
use super::statistics::percentile;
use crate::commands::bench::measure::Watcher;

/// The latency of a query's rows, in microseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Latency {
    pub query: &'static str,
    /// Events per second.
    pub rate: u64,
    pub events: u64,
    /// Rows that came.
    pub rows: u64,
    pub p50_us: i64,
    pub p99_us: i64,
    pub max_us: i64,
}

/// How often the end of the job and Ctrl-C are looked at.
const TICK: Duration = Duration::from_millis(100);
/// A row that is not complete before the input ends (its windows are closed by the end of input,
/// which is late for nobody) has no latency.
const NOT_COMPLETED: i64 = i64::MAX;
/// Nor has a row that one of the last events completes: a window that they close in one subtask is
/// closed by the end of input in another, at once with all that are still open.
const LAST_MS: i64 = 100;

/// Runs the query in this process for so many seconds at this rate; `None` for a query whose rows
/// do not say what completes them.
///
/// # Errors
/// When the job fails, no row comes, or on Ctrl-C.
pub fn measure(
    query: &Query,
    rate: u64,
    seconds: u64,
    parallelism: usize,
    watcher: &Watcher,
) -> Result<Option<Latency>> {
    let Some(text) = query.latency else {
        return Ok(None);
    };
    let events = rate * seconds;
    // Event time passes as fast as time does: event n has the time n / rate.
    let source = format!(
        "'connector' = 'nexmark', 'first-event.rate' = '{rate}', 'next-event.rate' = '{rate}', \
         'rate.limited' = 'true', 'events.num' = '{events}', 'base-time' = '0'"
    );
    let probe = Arc::new(Probe {
        started_us: AtomicI64::new(i64::MAX),
        end_ms: (events.saturating_sub(1) * 1000 / rate) as i64 - LAST_MS,
        latencies_us: Mutex::default(),
    });
    let script = queries::script(text, &source, "", Dialect::Flott);
    run(&script, parallelism, &probe, watcher).with_context(|| query.name)?;
    let mut sorted = std::mem::take(&mut *probe.latencies_us.lock());
    sorted.sort_unstable();
    let of = |percent| percentile(&sorted, percent).context("no row came; run for longer");
    Ok(Some(Latency {
        query: query.name,
        rate,
        events,
        rows: sorted.len() as u64,
        p50_us: of(50.0)?,
        p99_us: of(99.0)?,
        max_us: of(100.0)?,
    }))
}

fn run(script: &str, parallelism: usize, probe: &Arc<Probe>, watcher: &Watcher) -> Result<()> {
    let mut registry = crate::environment::registry();
    registry
        .connectors
        .retain(|c| c.identifier() != Nexmark.identifier());
    registry
        .connectors
        .push(Arc::new(ProbedNexmark(probe.clone())));
    let mut session = Session::new(registry, Arc::new(SystemClock));
    session.set_option("parallelism.default", &parallelism.to_string());
    // What the engine takes is to be seen, not the 200 ms that a watermark may wait by default.
    session.set_option("pipeline.auto-watermark-interval", "1 ms");
    for statement in parse_script(script)? {
        let StatementResult::Query(query) = session.execute(&statement, parallelism)? else {
            continue;
        };
        let graph = query.with_sink(Arc::new(ProbeSink(probe.clone())));
        let options = JobOptions {
            parallelism,
            ..JobOptions::default()
        };
        let handle = flott_engine::execute(graph, options)?;
        let watch = Stopwatch::start();
        while !handle.wait_timeout(TICK) {
            watcher.show(format!("latency: {:.0} s", watch.elapsed().as_secs_f64()));
            if watcher.is_interrupted() {
                handle.cancel();
                bail!("interrupted");
            }
        }
        handle.wait()?;
    }
    Ok(())
}

/// What the source and the sink of a job share.
struct Probe {
    /// When the first reader began to count time, in µs since 1970.
    started_us: AtomicI64,
    /// The time of the last event that completes rows.
    end_ms: i64,
    latencies_us: Mutex<Vec<i64>>,
}

fn now_us() -> i64 {
    SystemClock.now_nanos() / 1000
}

impl Probe {
    /// The latency of a row that the event of time `completed_ms` completes.
    fn latency_us(&self, now_us: i64, completed_ms: i64) -> i64 {
        if completed_ms > self.end_ms {
            return NOT_COMPLETED;
        }
        now_us - self.started_us.load(Ordering::SeqCst) - completed_ms * 1000
    }
}

/// The generator, which notes when it starts.
struct ProbedNexmark(Arc<Probe>);

impl ConnectorFactory for ProbedNexmark {
    fn identifier(&self) -> &'static str {
        Nexmark.identifier()
    }

    fn options(&self) -> &'static [OptionDef] {
        Nexmark.options()
    }

    fn doc(&self) -> &'static str {
        Nexmark.doc()
    }

    fn create_source(
        &self,
        context: TableContext<'_>,
        request: ScanRequest,
    ) -> flott_core::Result<Arc<dyn TableSource>> {
        Ok(Arc::new(ProbedSource {
            inner: Nexmark.create_source(context, request)?,
            probe: self.0.clone(),
        }))
    }

    fn create_sink(
        &self,
        context: TableContext<'_>,
        request: SinkRequest,
    ) -> flott_core::Result<Arc<dyn TableSink>> {
        Nexmark.create_sink(context, request)
    }
}

struct ProbedSource {
    inner: Arc<dyn TableSource>,
    probe: Arc<Probe>,
}

impl TableSource for ProbedSource {
    fn schema(&self) -> Schema {
        self.inner.schema()
    }

    fn is_bounded(&self) -> bool {
        self.inner.is_bounded()
    }

    fn applied_predicates(&self) -> Vec<usize> {
        self.inner.applied_predicates()
    }

    fn create_enumerator(
        &self,
        parallelism: usize,
        restored: Option<&[u8]>,
    ) -> flott_core::Result<Box<dyn SplitEnumerator>> {
        self.inner.create_enumerator(parallelism, restored)
    }

    fn create_reader(&self, context: ReaderContext) -> flott_core::Result<Box<dyn SourceReader>> {
        // The generator counts in whole milliseconds from here on.
        let started_us = context.clock.now_ms() * 1000;
        self.probe
            .started_us
            .fetch_min(started_us, Ordering::SeqCst);
        self.inner.create_reader(context)
    }
}

/// Takes the rows' latencies; their last column is the time of the event that completes them.
struct ProbeSink(Arc<Probe>);

impl TableSink for ProbeSink {
    fn changelog_mode(&self, offered: ChangelogMode) -> flott_core::Result<ChangelogMode> {
        Ok(offered)
    }

    fn create_writer(&self, _: WriterContext) -> flott_core::Result<Box<dyn SinkWriter>> {
        Ok(Box::new(ProbeWriter {
            probe: self.0.clone(),
            latencies_us: Vec::new(),
        }))
    }
}

struct ProbeWriter {
    probe: Arc<Probe>,
    latencies_us: Vec<i64>,
}

impl SinkWriter for ProbeWriter {
    fn write(&mut self, batch: &ChangelogBatch) -> flott_core::Result<()> {
        let now_us = now_us();
        let rows = batch.rows();
        let completed = rows
            .columns()
            .last()
            .and_then(|c| c.as_primitive_opt::<TimestampMillisecondType>());
        let completed = completed.ok_or_else(|| {
            flott_core::Error::internal("the last column is not the time of an event")
        })?;
        let latencies = (0..completed.len())
            .filter(|row| completed.is_valid(*row))
            .map(|row| self.probe.latency_us(now_us, completed.value(row)));
        self.latencies_us
            .extend(latencies.filter(|l| *l != NOT_COMPLETED));
        Ok(())
    }

    fn prepare_commit(&mut self, is_final: bool) -> flott_core::Result<Vec<Committable>> {
        if is_final {
            self.probe
                .latencies_us
                .lock()
                .append(&mut self.latencies_us);
        }
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_counts_from_when_the_event_was_due() {
        let probe = Probe {
            started_us: AtomicI64::new(1_000_000),
            end_ms: 9_999,
            latencies_us: Mutex::default(),
        };
        assert_eq!(probe.latency_us(1_000_000 + 500_000 + 250, 500), 250);
        assert_eq!(probe.latency_us(2_000_000, 10_000), NOT_COMPLETED);
    }

    #[test]
    fn rows_say_what_completes_them() {
        let queries = queries::select("q0,q3,q5,q8").unwrap();
        for query in queries {
            let latency = measure(&query, 50_000, 1, 2, &Watcher::quiet());
            if ["q5", "q8"].contains(&query.name) {
                // One second of event time closes no window but at its end.
                let error = format!("{:#}", latency.unwrap_err());
                assert!(error.contains("no row came"), "{error}");
                continue;
            }
            let latency = latency.unwrap().unwrap();
            assert!(latency.rows > 0, "{latency:?}");
            assert!(latency.p50_us >= 0 && latency.max_us >= latency.p99_us);
        }
    }
}
