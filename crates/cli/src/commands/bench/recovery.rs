//! A job that is killed and started again: the time until it prints its first new row.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, ExitCode, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use comfy_table::{Table, presets};
use flott_core::clock::Stopwatch;
use serde_json::json;

use super::measure;

#[derive(Debug, Args)]
#[command(
    after_help = "A job counts rows by key, with a checkpoint every second; it is killed (SIGKILL) \
                        and started again by the same command. Measured is the time from the start \
                        of the process until its first row is read from its standard output."
)]
pub struct RecoveryArgs {
    /// Keys of state.
    #[arg(long, default_value_t = 10_000)]
    keys: u64,
    /// How often it is killed.
    #[arg(long, default_value_t = 10)]
    kills: usize,
    /// Time from a start to the next kill, in ms.
    #[arg(long, default_value_t = 2_500)]
    pause_ms: u64,
    /// Subtasks of each operator.
    #[arg(short, long, default_value_t = 1)]
    parallelism: usize,
    /// Results as JSON lines.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &RecoveryArgs) -> ExitCode {
    let to_json =
        |(what, times): &(&str, Vec<f64>)| json!({ "start": what, "ms": times }).to_string();
    super::report(measure_kills(args), args.json, to_json, table)
}

fn measure_kills(args: &RecoveryArgs) -> Result<Vec<(&'static str, Vec<f64>)>> {
    let folder = measure::ScratchFolder::new()?;
    let script = script(args.keys);
    let (mut first, mut others) = (Vec::new(), Vec::new());
    for start in 0..=args.kills {
        let (time_ms, mut job) = start_once(&script, args.parallelism, folder.path())?;
        if start == 0 {
            first.push(time_ms);
        } else {
            others.push(time_ms);
        }
        pause(Duration::from_millis(args.pause_ms));
        job.kill()?;
        job.wait()?;
    }
    Ok(vec![("new", first), ("after a kill", others)])
}

/// Starts the job; gives the time until its first row, in ms, and the process, whose output goes on
/// being read.
fn start_once(script: &str, parallelism: usize, folder: &Path) -> Result<(f64, Child)> {
    let mut command = measure::flott_run(script, parallelism, folder)?;
    command.args(["--name", "recovery", "--state-dir"]);
    command.arg(folder.join("state"));
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let watch = Stopwatch::start();
    let mut job = command.stdout(Stdio::piped()).spawn()?;
    let output = job.stdout.take().context("a process without output")?;
    let mut output = BufReader::new(output);
    let mut line = String::new();
    output.read_line(&mut line)?;
    let time_ms = watch.elapsed().as_secs_f64() * 1e3;
    if line.is_empty() {
        bail!("the job ended without a row");
    }
    read_on(output)?;
    Ok((time_ms, job))
}

/// A process whose output nobody reads would wait.
fn read_on(mut output: BufReader<ChildStdout>) -> Result<()> {
    std::thread::Builder::new()
        .name("flott-bench-output".into())
        .spawn(move || std::io::copy(&mut output, &mut std::io::sink()))?;
    Ok(())
}

fn pause(time: Duration) {
    let (_never, wait) = channel::<()>();
    let _ = wait.recv_timeout(time);
}

fn script(keys: u64) -> String {
    format!(
        "SET 'execution.checkpointing.interval' = '1 s';
         CREATE TABLE numbers (k BIGINT, n BIGINT) WITH (
           'connector' = 'datagen', 'rows-per-second' = '10000',
           'fields.k.min' = '0', 'fields.k.max' = '{last}',
           'fields.n.kind' = 'sequence', 'fields.n.start' = '0', 'fields.n.end' = '1000000000'
         );
         CREATE TABLE counts (k BIGINT, n BIGINT, PRIMARY KEY (k) NOT ENFORCED)
         WITH ('connector' = 'print');
         INSERT INTO counts SELECT k, COUNT(*) FROM numbers GROUP BY k;",
        last = keys.max(1) - 1
    )
}

fn table(results: &[(&str, Vec<f64>)]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    table.set_header(["start", "first row after, ms"]);
    for (what, times) in results {
        let mut times = times.clone();
        times.sort_by(f64::total_cmp);
        let times: Vec<String> = times.iter().map(|t| format!("{t:.0}")).collect();
        table.add_row([what.to_string(), times.join(" ")]);
    }
    table
}
