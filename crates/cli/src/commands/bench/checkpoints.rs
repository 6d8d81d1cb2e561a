//! `flott bench checkpoints`: what checkpoints cost, how long they hold workers up, how big they
//! are, and how long a restore takes.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use comfy_table::{Cell, CellAlignment, Table, presets};
use flott_core::clock::{Stopwatch, SystemClock};
use flott_core::graph::JobGraph;
use flott_engine::checkpoint::CheckpointStats;
use flott_engine::{
    CheckpointStatus, DurabilityConfig, JobEvent, JobHandle, JobOptions, JobSettings, RunningJob,
    run_job,
};
use flott_sql::parser::parse_script;
use flott_sql::session::{Session, StatementResult};
use serde_json::json;

use super::measure::{ScratchFolder, Watcher, process_cpu_s};
use super::nexmark::queries::{self, Dialect, Query};
use crate::environment::available_parallelism;

const ABOUT: &str = "\
Each query of Nexmark runs in this process, from the generator into blackhole, in turns without checkpoints and with \
them, and once more with them until as many events are read, to be cancelled after a checkpoint and restored. Of the \
turns the one counts that has read its events in the shortest time.

plain, with wall-clock time until the last event was read, without and with checkpoints
cost        how much longer it takes with checkpoints
cpu         the same of the processor time, user and system, of the whole process and the whole run
end         wall-clock time from the last event to the end of the job: with checkpoints it holds the final one, which a \
stream without an end never takes
pause       the longest that one checkpoint has held a worker up: the sum over its subtasks of the time in which the \
operator gives its state
written     bytes that one checkpoint has written: the median, without the final one
restored    bytes of the state that is restored
restore     from the start of the job to the first event read, with that state";

#[derive(Debug, Args)]
#[command(after_long_help = ABOUT, after_help = "--help says what is measured.")]
pub struct CheckpointArgs {
    /// The queries of Nexmark to run: `all`, or names such as q4,q20.
    #[arg(long, value_name = "NAMES", default_value = "q4,q5,q8,q20")]
    queries: String,
    /// Events of each run; without it each query has its own number, for some seconds.
    #[arg(long, value_name = "N")]
    events: Option<u64>,
    /// Turns without and with checkpoints.
    #[arg(long, value_name = "N", default_value_t = 3)]
    runs: usize,
    /// Subtasks of each operator; the default is the number of processors.
    #[arg(short, long, value_name = "N")]
    parallelism: Option<usize>,
    /// Time between checkpoints, in ms.
    #[arg(long, value_name = "MS", default_value_t = 1_000)]
    interval: u64,
    /// Where checkpoints go: a folder or s3://…; the default is a temporary folder.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Results as JSON lines.
    #[arg(long)]
    json: bool,
}

/// How often a job is looked at.
const TICK: Duration = Duration::from_millis(2);
/// The job that is restored would go on so many times as long: it is not to end before that.
const EVENTS_LEFT: u64 = 1_000;

/// Millions of events that take some seconds, so that there are several checkpoints.
const MILLION_EVENTS: &[(&str, u64)] = &[("q4", 24), ("q5", 80), ("q8", 400), ("q20", 10)];

/// What one run took.
#[derive(Debug, Clone, Copy)]
struct Times {
    /// Until the last event was read.
    read_s: f64,
    /// From there to the end.
    end_s: f64,
    /// User and system time of the process.
    cpu_s: f64,
}

impl Times {
    /// The run that has read its events in the shortest time.
    fn best(runs: &[Self]) -> Option<Self> {
        let runs = runs.iter().copied();
        runs.min_by(|a, b| a.read_s.total_cmp(&b.read_s))
    }
}

/// What one query has shown.
#[derive(Debug)]
struct Measured {
    query: &'static str,
    events: u64,
    plain: Times,
    with: Times,
    checkpoints: Seen,
    restored_bytes: u64,
    restore_s: f64,
}

/// The checkpoints of a run.
#[derive(Debug, Default)]
struct Seen {
    last_id: u64,
    pauses_ms: Vec<f64>,
    written_bytes: Vec<u64>,
    state_bytes: u64,
    async_ms: Vec<f64>,
}

impl Seen {
    /// Takes in the checkpoints that have come to their end since the last look.
    fn look(&mut self, handle: &JobHandle) {
        for stats in handle.checkpoints().last {
            if stats.id <= self.last_id || stats.status != CheckpointStatus::Completed {
                continue;
            }
            self.last_id = stats.id;
            self.pauses_ms.push(pause_ms(&stats));
            self.written_bytes.push(stats.written_bytes);
            self.async_ms.push(stats.async_ns as f64 / 1e6);
            self.state_bytes = stats.state_bytes;
        }
    }

    fn max_pause_ms(&self) -> f64 {
        self.pauses_ms.iter().copied().fold(0.0, f64::max)
    }

    fn median_written(&self) -> u64 {
        let periodic = self.written_bytes.len().saturating_sub(1).max(1);
        let mut sorted: Vec<u64> = self.written_bytes.iter().copied().take(periodic).collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or(0)
    }
}

/// How long the checkpoint held the worker up that it held up longest: a worker has one subtask of
/// each operator.
fn pause_ms(stats: &CheckpointStats) -> f64 {
    let num_workers = stats.subtasks.iter().map(|s| s.subtask + 1).max();
    let pauses = (0..num_workers.unwrap_or(0)).map(|worker| {
        let own = stats.subtasks.iter().filter(|s| s.subtask == worker);
        own.map(|s| s.sync_ns).sum::<u64>()
    });
    pauses.max().unwrap_or(0) as f64 / 1e6
}

/// Runs the command.
pub fn run(args: &CheckpointArgs) -> ExitCode {
    let watcher = Watcher::install();
    let result = measure_all(args, &watcher);
    watcher.clear();
    super::report(result, args.json, Measured::to_json, table)
}

fn measure_all(args: &CheckpointArgs, watcher: &Watcher) -> Result<Vec<Measured>> {
    let queries = queries::select(&args.queries)?;
    let measured = queries.iter().map(|query| {
        let folder = ScratchFolder::new()?;
        queries::write_side_input(folder.path())?;
        let bench = Bench {
            events: args.events.unwrap_or_else(|| default_events(query)),
            num_runs: args.runs.max(1),
            parallelism: args.parallelism.unwrap_or_else(available_parallelism),
            interval_ms: args.interval,
            dir: args
                .dir
                .clone()
                .unwrap_or_else(|| folder.path().join("state")),
            query: *query,
            folder,
        };
        bench.measure(watcher).with_context(|| query.name)
    });
    measured.collect()
}

fn default_events(query: &Query) -> u64 {
    let known = MILLION_EVENTS.iter().find(|(name, _)| *name == query.name);
    known.map_or(query.events, |(_, millions)| millions * 1_000_000)
}

/// One query, to be run several times.
struct Bench {
    query: Query,
    events: u64,
    num_runs: usize,
    parallelism: usize,
    interval_ms: u64,
    dir: PathBuf,
    folder: ScratchFolder,
}

impl Bench {
    fn measure(&self, watcher: &Watcher) -> Result<Measured> {
        let name = self.query.name;
        let (mut plain, mut with, mut checkpoints) = (Vec::new(), Vec::new(), Seen::default());
        for run in 0..self.num_runs {
            watcher.show(format!("{name}: without checkpoints"));
            plain.push(self.time(None, watcher, |_| {})?);
            watcher.show(format!("{name}: with checkpoints"));
            let mut seen = Seen::default();
            let id = format!("whole-{run}");
            with.push(self.time(Some(&id), watcher, |handle| seen.look(handle))?);
            // Files on local disks are not needed any more.
            let _ = std::fs::remove_dir_all(self.dir.join(name).join(&id));
            if Times::best(&with).is_some_and(|b| b.read_s == with[run].read_s) {
                checkpoints = seen;
            }
        }
        watcher.show(format!("{name}: restore"));
        let (restored_bytes, restore_s) = self.restore(watcher)?;
        Ok(Measured {
            query: name,
            events: self.events,
            plain: Times::best(&plain).context("no run")?,
            with: Times::best(&with).context("no run")?,
            checkpoints,
            restored_bytes,
            restore_s,
        })
    }

    /// One run to its end.
    fn time(
        &self,
        job_id: Option<&str>,
        watcher: &Watcher,
        mut look: impl FnMut(&JobHandle),
    ) -> Result<Times> {
        let (watch, cpu_s) = (Stopwatch::start(), process_cpu_s());
        let job = self.start(job_id, self.events)?;
        let (mut num_read, mut read_s) = (0, 0.0);
        self.follow(&job, watcher, |handle| {
            look(handle);
            let now_read = handle.progress().num_records_in;
            if now_read > num_read {
                (num_read, read_s) = (now_read, watch.elapsed().as_secs_f64());
            }
            false
        })?;
        job.wait()?;
        Ok(Times {
            read_s,
            end_s: watch.elapsed().as_secs_f64() - read_s,
            cpu_s: process_cpu_s() - cpu_s,
        })
    }

    /// The bytes of state and the time until the first event was read.
    fn restore(&self, watcher: &Watcher) -> Result<(u64, f64)> {
        let all = self.events * EVENTS_LEFT;
        let job = self.start(Some("cancelled"), all)?;
        let (mut seen, mut from) = (Seen::default(), None);
        self.follow(&job, watcher, |handle| {
            seen.look(handle);
            if handle.progress().num_records_in < self.events {
                return false;
            }
            // The next checkpoint but one has begun behind that place.
            seen.last_id > *from.get_or_insert(seen.last_id + 1)
        })?;
        job.cancel();
        job.wait()?;
        let watch = Stopwatch::start();
        let restored = self.start(Some("cancelled"), all)?;
        let mut restore_s = 0.0;
        self.follow(&restored, watcher, |handle| {
            restore_s = watch.elapsed().as_secs_f64();
            handle.progress().num_records_in > 0
        })?;
        let events = restored.take_events();
        let has_resumed = events.iter().any(|e| matches!(e, JobEvent::Resumed { .. }));
        if !has_resumed || restored.wait_timeout(Duration::ZERO) {
            bail!("the job has not gone on from its checkpoint: {events:?}");
        }
        restored.cancel();
        restored.wait()?;
        Ok((seen.state_bytes, restore_s))
    }

    /// Waits until the job has ended, or as much as `is_enough` says.
    fn follow(
        &self,
        job: &RunningJob,
        watcher: &Watcher,
        mut is_enough: impl FnMut(&JobHandle) -> bool,
    ) -> Result<()> {
        loop {
            let has_ended = job.wait_timeout(TICK);
            if is_enough(&job.handle()?) || has_ended {
                return Ok(());
            }
            if watcher.is_interrupted() {
                job.cancel();
                bail!("interrupted");
            }
        }
    }

    fn start(&self, job_id: Option<&str>, events: u64) -> Result<RunningJob> {
        let graph = self.graph(events)?;
        let mut config = graph.config.clone();
        if job_id.is_some() {
            let interval = format!("{} ms", self.interval_ms);
            config.set("execution.checkpointing.interval", &interval);
            let dir = self.dir.join(self.query.name);
            let dir = dir.to_string_lossy().into_owned();
            config.set("execution.checkpointing.dir", dir);
        }
        let job = run_job(
            graph,
            JobSettings {
                job_id: job_id.map(str::to_owned),
                statements: Vec::new(),
                options: JobOptions {
                    parallelism: self.parallelism,
                    ..JobOptions::default()
                },
                durability: DurabilityConfig::from_options(&config)?,
                config,
                place: None,
            },
        );
        Ok(job?)
    }

    fn graph(&self, events: u64) -> Result<JobGraph> {
        let source = queries::generator_options(events);
        let folder = self.folder.path().to_string_lossy();
        let script = queries::script(self.query.text, &source, &folder, Dialect::Flott);
        let mut session = Session::new(crate::environment::registry(), Arc::new(SystemClock));
        session.set_option("parallelism.default", &self.parallelism.to_string());
        for statement in parse_script(&script)? {
            if let StatementResult::Insert(graph) = session.execute(&statement, self.parallelism)? {
                return Ok(graph);
            }
        }
        bail!("the script has no INSERT")
    }
}

impl Measured {
    fn to_json(&self) -> String {
        let seen = &self.checkpoints;
        json!({
            "query": self.query,
            "events": self.events,
            "plain_s": self.plain.read_s,
            "plain_end_s": self.plain.end_s,
            "plain_cpu_s": self.plain.cpu_s,
            "with_checkpoints_s": self.with.read_s,
            "with_checkpoints_end_s": self.with.end_s,
            "with_checkpoints_cpu_s": self.with.cpu_s,
            "num_checkpoints": seen.pauses_ms.len(),
            "pauses_ms": seen.pauses_ms,
            "async_ms": seen.async_ms,
            "written_bytes": seen.written_bytes,
            "state_bytes": seen.state_bytes,
            "restored_bytes": self.restored_bytes,
            "restore_s": self.restore_s,
        })
        .to_string()
    }
}

fn table(results: &[Measured]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    table.set_header([
        "query",
        "events",
        "plain s",
        "with s",
        "cost %",
        "cpu %",
        "end s",
        "checkpoints",
        "pause ms",
        "written MB",
        "restored MB",
        "restore s",
    ]);
    for m in results {
        let mb = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
        let numbers = [
            format!("{}", m.events),
            format!("{:.2}", m.plain.read_s),
            format!("{:.2}", m.with.read_s),
            format!("{:.1}", (m.with.read_s / m.plain.read_s - 1.0) * 100.0),
            format!("{:.1}", (m.with.cpu_s / m.plain.cpu_s - 1.0) * 100.0),
            format!("{:.2}", m.with.end_s),
            format!("{}", m.checkpoints.pauses_ms.len()),
            format!("{:.1}", m.checkpoints.max_pause_ms()),
            mb(m.checkpoints.median_written()),
            mb(m.restored_bytes),
            format!("{:.2}", m.restore_s),
        ];
        let cells = numbers.map(|n| Cell::new(n).set_alignment(CellAlignment::Right));
        table.add_row(std::iter::once(Cell::new(m.query)).chain(cells));
    }
    table
}
