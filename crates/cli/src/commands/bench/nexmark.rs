//! `flott bench nexmark`: the Nexmark benchmark, alone or against real Flink.

mod chart;
mod events;
mod flink;
mod latency;
mod machine;
pub(super) mod queries;
mod report;
mod statistics;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::json;

use super::measure::{self, ScratchFolder, Usage, Watcher};
use crate::diagnostics;
use crate::environment::available_parallelism;
use events::{EventFile, Source};
use flink::Flink;
use queries::{Dialect, Query};
use report::{QueryResult, Report, Side};

const ABOUT: &str = "\
Each run is a process of its own: processor time (user and system) and peak memory are the kernel's. \
Of several runs the one with the median processor time is shown.

--against flink runs the same statements on a Flink found by FLINK_HOME or as Python's package apache-flink, \
with a JDK found by JAVA_HOME or PATH. Both read one file of events in the same run: that of --source, or else one \
that is generated first (a million events without --events). Flink runs embedded, with object reuse, mini-batch and \
heap state; what an empty job takes, mostly the JVM's start, is measured first and taken off. `speed` is the ratio of \
events per processor second, `memory` that of peak memory; the means are geometric, over the queries that both have done.

--latency generates events at a fixed rate, with event time that passes as fast as time does, in this process. A row's \
latency is the time from when the event that completes it is due to when the sink has it. Event-time delay is not \
counted: a row of a window is completed by the event whose watermark closes the window, four seconds after its end. Rows \
that only the end of input completes do not count. The generator works in whole milliseconds, which adds up to one.

Examples:
  flott bench nexmark --queries q0,q5 --runs 1
  flott bench nexmark --write-events events.json --events 2000000
  flott bench nexmark --source file:events.json --against flink --json result.json --svg result.svg
  flott bench nexmark --queries q3,q5,q8 --latency";

#[derive(Debug, Args)]
#[command(after_long_help = ABOUT, after_help = "--help says how things are measured.")]
pub struct NexmarkArgs {
    /// The queries to run: `all`, or names such as q0,q5.
    #[arg(long, value_name = "NAMES", default_value = "all")]
    queries: String,
    /// Events of each run; without it each query has its own number, and a file is read whole.
    #[arg(long, value_name = "N")]
    events: Option<u64>,
    /// Multiply the queries' own numbers of events.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    scale: f64,
    /// Subtasks of each operator; the default is the number of processors.
    #[arg(short, long, value_name = "N")]
    parallelism: Option<usize>,
    /// Runs of each query, of which the median is shown.
    #[arg(long, value_name = "N", default_value_t = 3)]
    runs: usize,
    /// Where events come from: nexmark (the generator), or file:PATH (JSON lines, plain or gzip).
    #[arg(long, value_name = "SOURCE", default_value = "nexmark")]
    source: Source,
    /// Generate a file of --events events (a million without it) for --source, and stop.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["against", "latency"])]
    write_events: Option<PathBuf>,
    /// Run the same statements on another engine.
    #[arg(long, value_enum)]
    against: Option<Engine>,
    /// The largest heap of Flink's JVM.
    #[arg(long, value_name = "SIZE", default_value = "3g")]
    flink_heap: String,
    /// Take a checkpoint this often, in ms; none without it.
    #[arg(long, value_name = "MS")]
    checkpoint_interval: Option<u64>,
    /// End a run after so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
    /// Measure latency too, at this rate of events per second (100000 without a number): q0, q3, q5, q8.
    #[arg(long, value_name = "RATE", num_args = 0..=1, default_missing_value = "100000")]
    latency: Option<u64>,
    /// How long latency is measured for each query, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    latency_seconds: u64,
    /// Measure latency only.
    #[arg(long, requires = "latency")]
    latency_only: bool,
    /// Write the results with every run, the machine and the versions into a file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw events per processor second into a file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// What to compare with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engine {
    Flink,
}

/// Events of a file that is generated without `--events`.
const FILE_EVENTS: u64 = 1_000_000;

/// Runs the command.
pub fn run(args: &NexmarkArgs) -> ExitCode {
    let watcher = Watcher::install();
    let result = execute(args, &watcher);
    watcher.clear();
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(diagnostics::EXIT_FAILED),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(diagnostics::EXIT_FAILED)
        }
    }
}

/// Whether every query ran to its end.
fn execute(args: &NexmarkArgs, watcher: &Watcher) -> Result<bool> {
    args.check()?;
    if let Some(path) = &args.write_events {
        let file = events::generate(path, args.events.unwrap_or(FILE_EVENTS), watcher)?;
        watcher.clear();
        println!(
            "{}: {} events, {} bytes",
            path.display(),
            file.events,
            file.bytes
        );
        return Ok(true);
    }
    let selected = queries::select(&args.queries)?;
    let mut report = Report::default();
    let bench = Bench::prepare(args, watcher)?;
    report.about = bench.about();
    let measured = bench.measure(&selected, &mut report);
    watcher.clear();
    // What was measured before Ctrl-C is shown too.
    show(args, &report)?;
    measured?;
    Ok(report.is_complete())
}

fn show(args: &NexmarkArgs, report: &Report) -> Result<()> {
    if !report.results.is_empty() {
        println!("{}", report.table());
    }
    if !report.latencies.is_empty() {
        println!("{}", report.latency_table());
    }
    for trouble in report.troubles() {
        println!("{trouble}");
    }
    let write = |path: &Path, text: String| {
        std::fs::write(path, text).with_context(|| path.display().to_string())
    };
    if let Some(path) = &args.json {
        write(path, format!("{:#}\n", report.to_json()))?;
    }
    if let Some(path) = &args.svg {
        write(path, chart::svg(&report.results))?;
    }
    Ok(())
}

impl NexmarkArgs {
    fn check(&self) -> Result<()> {
        let at_least_one = [
            ("--events", self.events),
            ("--parallelism", self.parallelism.map(|p| p as u64)),
            ("--runs", Some(self.runs as u64)),
            ("--timeout", Some(self.timeout)),
            ("--latency", self.latency),
            ("--latency-seconds", Some(self.latency_seconds)),
            ("--checkpoint-interval", self.checkpoint_interval),
        ];
        for (name, value) in at_least_one {
            if value == Some(0) {
                bail!("{name} 0: write 1 or more");
            }
        }
        if !(self.scale > 0.0 && self.scale.is_finite()) {
            bail!("--scale {}: write a number over 0", self.scale);
        }
        Ok(())
    }
}

/// What all runs share.
struct Bench<'a> {
    args: &'a NexmarkArgs,
    watcher: &'a Watcher,
    folder: ScratchFolder,
    parallelism: usize,
    /// `None` is the generator.
    file: Option<EventFile>,
    /// Flink, and the wall and processor seconds of an empty job on it.
    flink: Option<(Flink, (f64, f64))>,
}

impl<'a> Bench<'a> {
    fn prepare(args: &'a NexmarkArgs, watcher: &'a Watcher) -> Result<Self> {
        let folder = ScratchFolder::new()?;
        // What can be missing is looked for before what takes time.
        let flink = args
            .against
            .map(|Engine::Flink| Flink::prepare(folder.path(), &args.flink_heap))
            .transpose()?;
        queries::write_side_input(folder.path())?;
        let file = match &args.source {
            Source::File(path) => Some(events::open(path, args.events, folder.path())?),
            Source::Generator if flink.is_some() && !args.latency_only => {
                let events = args.events.unwrap_or(FILE_EVENTS);
                watcher.note(&format!(
                    "both engines read one file of {events} generated events (see --write-events)"
                ));
                Some(events::generate(
                    &folder.path().join("events.json"),
                    events,
                    watcher,
                )?)
            }
            Source::Generator => None,
        };
        let mut bench = Self {
            args,
            watcher,
            parallelism: args.parallelism.unwrap_or_else(available_parallelism),
            folder,
            file,
            flink: None,
        };
        if let Some(flink) = flink {
            let startup = bench.flink_startup(&flink)?;
            bench.flink = Some((flink, startup));
        }
        Ok(bench)
    }

    fn measure(&self, selected: &[Query], report: &mut Report) -> Result<()> {
        if !self.args.latency_only {
            for query in selected {
                report.results.push(self.query(query)?);
            }
        }
        // In this process, and therefore last: the peak memory of a process that is started
        // counts from that of the one that starts it.
        if let Some(rate) = self.args.latency {
            for query in selected {
                report.latencies.extend(self.latency(query, rate)?);
            }
        }
        Ok(())
    }

    /// Wall and processor seconds of a job without input.
    fn flink_startup(&self, flink: &Flink) -> Result<(f64, f64)> {
        let empty = self.folder.path().join("empty.json");
        std::fs::write(&empty, "")?;
        let source = queries::file_options(&empty.display().to_string());
        let text = queries::select("q0")?[0].text;
        let mut runs = Vec::new();
        for number in 1..=self.args.runs {
            self.watcher
                .show(format!("empty job on flink, run {number}"));
            let usage = self.run_flink(flink, text, &source)?;
            if let Some(failure) = &usage.failure {
                bail!("an empty job failed on Flink: {failure}");
            }
            runs.push(usage);
        }
        let median = statistics::median_by(&runs, |r| r.cpu_s).context("no run")?;
        Ok((median.wall_s, median.cpu_s))
    }

    fn query(&self, query: &Query) -> Result<QueryResult> {
        let own = (query.events as f64 * self.args.scale).round().max(1.0) as u64;
        let (source, events) = match &self.file {
            Some(file) => {
                let path = file.path.display().to_string();
                (queries::file_options(&path), file.events)
            }
            None => {
                let events = self.args.events.unwrap_or(own);
                (queries::generator_options(events), events)
            }
        };
        let flott = Side {
            runs: self.repeat(query, "flott", || self.run_flott(query.text, &source))?,
            startup: (0.0, 0.0),
        };
        let flink = match &self.flink {
            None => None,
            Some((flink, startup)) => Some(Side {
                runs: self.repeat(query, "flink", || {
                    self.run_flink(flink, query.text, &source)
                })?,
                startup: *startup,
            }),
        };
        Ok(QueryResult {
            query: query.name,
            events,
            flott,
            flink,
        })
    }

    /// Until the number of runs is reached or one does not end.
    fn repeat(
        &self,
        query: &Query,
        engine: &str,
        run: impl Fn() -> Result<Usage>,
    ) -> Result<Vec<Usage>> {
        let mut runs = Vec::new();
        for number in 1..=self.args.runs {
            let (name, total) = (query.name, self.args.runs);
            self.watcher
                .show(format!("{name} on {engine}, run {number} of {total}"));
            let usage = run()?;
            let is_over = usage.is_timed_out || usage.failure.is_some();
            runs.push(usage);
            if is_over {
                break;
            }
        }
        Ok(runs)
    }

    /// The script, and a folder for what it writes, which is emptied before.
    fn script(&self, text: &str, source: &str, dialect: Dialect) -> Result<String> {
        let out = self.folder.path().join("out");
        if out.exists() {
            std::fs::remove_dir_all(&out)?;
        }
        let folder = self.folder.path().display().to_string();
        Ok(queries::script(text, source, &folder, dialect))
    }

    fn run_flott(&self, text: &str, source: &str) -> Result<Usage> {
        let script = self.script(text, source, Dialect::Flott)?;
        let mut command = measure::flott_run(&script, self.parallelism, self.folder.path())?;
        if let Some(interval) = self.args.checkpoint_interval {
            let folder = self.folder.path().join("out/checkpoints");
            command
                .arg(format!("-Dexecution.checkpointing.interval={interval} ms"))
                .arg(format!(
                    "-Dexecution.checkpointing.dir=file://{}",
                    folder.display()
                ));
        }
        self.run_measured(command)
    }

    fn run_flink(&self, flink: &Flink, text: &str, source: &str) -> Result<Usage> {
        let script = self.script(text, source, Dialect::Flink)?;
        let interval = self.args.checkpoint_interval;
        let out = self.folder.path().join("out");
        std::fs::create_dir_all(&out)?;
        self.run_measured(flink.command(&script, self.parallelism, interval, &out)?)
    }

    fn run_measured(&self, command: std::process::Command) -> Result<Usage> {
        let timeout = Some(Duration::from_secs(self.args.timeout));
        measure::run_measured(command, self.folder.path(), timeout, self.watcher)
    }

    fn latency(&self, query: &Query, rate: u64) -> Result<Option<latency::Latency>> {
        let seconds = self.args.latency_seconds;
        latency::measure(query, rate, seconds, self.parallelism, self.watcher)
    }

    fn about(&self) -> serde_json::Value {
        let flink = self.flink.as_ref().map(|(flink, startup)| {
            json!({
                "version": flink.version,
                "java": flink.java_version,
                "heap": self.args.flink_heap,
                "settings": flink::SETTINGS.iter().copied().collect::<std::collections::BTreeMap<_, _>>(),
                "startup_wall_s": startup.0,
                "startup_cpu_s": startup.1,
            })
        });
        json!({
            "flott": { "version": env!("CARGO_PKG_VERSION"), "is_debug_build": cfg!(debug_assertions) },
            "flink": flink,
            "machine": machine::describe(),
            "parallelism": self.parallelism,
            "runs": self.args.runs,
            "checkpoint_interval_ms": self.args.checkpoint_interval,
            "timeout_s": self.args.timeout,
            "source": self.file.as_ref().map_or("generator", |_| "file"),
            "source_bytes": self.file.as_ref().map(|f| f.bytes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{FromArgMatches, error::ErrorKind};

    fn parse(words: &[&str]) -> Result<NexmarkArgs, clap::Error> {
        let command = NexmarkArgs::augment_args(clap::Command::new("nexmark"));
        let words = std::iter::once("nexmark").chain(words.iter().copied());
        NexmarkArgs::from_arg_matches(&command.try_get_matches_from(words)?)
    }

    #[test]
    fn latency_has_a_rate_of_its_own() {
        assert_eq!(parse(&[]).unwrap().latency, None);
        assert_eq!(parse(&["--latency"]).unwrap().latency, Some(100_000));
        assert_eq!(parse(&["--latency", "500"]).unwrap().latency, Some(500));
    }

    #[test]
    fn wrong_words_are_told() {
        let error = parse(&["--source", "kafka"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ValueValidation);
        let error = parse(&["--runs", "0"]).unwrap().check().unwrap_err();
        assert_eq!(error.to_string(), "--runs 0: write 1 or more");
        assert!(parse(&["--scale", "-1"]).is_err());
        assert!(parse(&["--scale", "0"]).unwrap().check().is_err());
    }
}
