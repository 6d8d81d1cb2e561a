//! `flott bench`: whole jobs, measured from outside the engine.

mod cases;
mod checkpoints;
mod measure;
mod nexmark;
mod recovery;
mod spill;
mod state;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use comfy_table::{Cell, CellAlignment, Table, presets};

use crate::diagnostics;
use cases::{CASES, Case};
use measure::Measurement;

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Cases:\n  window   tumbling COUNT and SUM over 100,000 keys, from a generator\n  \
                        json     a JSON file through a filter to a JSON file\n\n\
                        Each run is a process of its own: its processor time and peak memory are the kernel's."
)]
pub struct BenchArgs {
    #[command(subcommand)]
    suite: Option<Suite>,
    /// The cases to run; all without a name.
    cases: Vec<String>,
    /// Subtasks of each operator.
    #[arg(short, long, default_value_t = 1)]
    parallelism: usize,
    /// Rows of each run; the default is the case's own.
    #[arg(long)]
    rows: Option<u64>,
    /// Runs of each case, of which the median is shown.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Results as JSON lines.
    #[arg(long)]
    json: bool,
}

/// Benchmarks with options of their own.
#[derive(Debug, Subcommand)]
enum Suite {
    /// The queries of the Nexmark benchmark, alone or against real Flink.
    Nexmark(Box<nexmark::NexmarkArgs>),
    /// What checkpoints cost, how long they hold workers up, and how long a restore takes.
    Checkpoints(checkpoints::CheckpointArgs),
    /// An aggregation whose state is larger than memory, against the same in memory.
    Spill(spill::SpillArgs),
    /// How much memory state takes for each byte of the rows that it keeps.
    State(state::StateArgs),
    /// How long a killed job takes until it prints its next row.
    Recovery(recovery::RecoveryArgs),
}

/// Runs the command.
pub fn run(args: &BenchArgs) -> ExitCode {
    match &args.suite {
        Some(Suite::Nexmark(args)) => return nexmark::run(args),
        Some(Suite::Checkpoints(args)) => return checkpoints::run(args),
        Some(Suite::Spill(args)) => return spill::run(args),
        Some(Suite::State(args)) => return state::run(args),
        Some(Suite::Recovery(args)) => return recovery::run(args),
        None => {}
    }
    let to_json = |(case, m): &(&Case, Measurement)| m.to_json(case.name);
    report(measure_all(args), args.json, to_json, table)
}

/// Prints results as JSON lines or as a table, or what went wrong.
fn report<T>(
    results: anyhow::Result<Vec<T>>,
    is_json: bool,
    to_json: impl Fn(&T) -> String,
    table: impl FnOnce(&[T]) -> Table,
) -> ExitCode {
    match results {
        Ok(results) if is_json => {
            results.iter().for_each(|r| println!("{}", to_json(r)));
            ExitCode::SUCCESS
        }
        Ok(results) => {
            println!("{}", table(&results));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(diagnostics::EXIT_FAILED)
        }
    }
}

fn measure_all(args: &BenchArgs) -> anyhow::Result<Vec<(&'static Case, Measurement)>> {
    let mut results = Vec::new();
    for name in &args.cases {
        if !CASES.iter().any(|c| c.name == name) {
            let known: Vec<&str> = CASES.iter().map(|c| c.name).collect();
            anyhow::bail!("no case '{name}'; there are: {}", known.join(", "));
        }
    }
    for case in CASES {
        if !args.cases.is_empty() && !args.cases.iter().any(|n| n == case.name) {
            continue;
        }
        let rows = args.rows.unwrap_or(case.rows);
        let folder = measure::ScratchFolder::new()?;
        let script = (case.script)(rows, folder.path())?;
        let mut runs = (0..args.runs.max(1))
            .map(|_| measure::run(&script, args.parallelism, folder.path()))
            .collect::<anyhow::Result<Vec<_>>>()?;
        runs.sort_by(|a, b| a.wall_s.total_cmp(&b.wall_s));
        let mut median = runs.swap_remove(runs.len() / 2);
        median.rows = rows;
        median.bytes = (case.input_bytes)(folder.path());
        results.push((case, median));
    }
    Ok(results)
}

fn table(results: &[(&Case, Measurement)]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    table.set_header([
        "case",
        "rows",
        "wall s",
        "cpu s",
        "rows/s",
        "rows per cpu second",
        "MB per cpu second",
        "peak MB",
    ]);
    for (case, m) in results {
        let numbers = [
            format!("{}", m.rows),
            format!("{:.2}", m.wall_s),
            format!("{:.2}", m.cpu_s),
            format!("{:.0}", m.rows as f64 / m.wall_s),
            format!("{:.0}", m.rows as f64 / m.cpu_s),
            m.bytes
                .map_or("-".into(), |b| format!("{:.0}", b as f64 / 1e6 / m.cpu_s)),
            format!("{:.0}", m.peak_bytes as f64 / 1e6),
        ];
        let cells = numbers.map(|n| Cell::new(n).set_alignment(CellAlignment::Right));
        table.add_row(std::iter::once(Cell::new(case.name)).chain(cells));
    }
    table
}
