//! An aggregation whose state is larger than memory, against the same in memory.

use std::process::ExitCode;

use clap::Args;
use comfy_table::{Cell, CellAlignment, Table, presets};

use super::measure::{self, Measurement};

/// More than any machine has: nothing goes to files.
const ENOUGH_MEMORY: &str = "1000g";

#[derive(Debug, Args)]
#[command(
    after_help = "COUNT, SUM, MIN and MAX of rows with random keys, each key as often as \
                        any other: the worst case for state in files. A key takes about 120 bytes \
                        in memory; the in-memory run needs that much for all keys."
)]
pub struct SpillArgs {
    /// How many keys there are.
    #[arg(long, default_value_t = 8_000_000)]
    keys: u64,
    /// How many rows; the default is three for each key.
    #[arg(long)]
    rows: Option<u64>,
    /// Memory of the run whose state does not fit.
    #[arg(long, default_value = "200m")]
    memory: String,
    /// Subtasks of each operator.
    #[arg(short, long, default_value_t = 1)]
    parallelism: usize,
    /// Where the files of state go; the default is the system's folder for temporary files.
    #[arg(long, value_name = "FOLDER")]
    spill_dir: Option<String>,
    /// Leave the run in memory out.
    #[arg(long)]
    only_spilled: bool,
    /// Results as JSON lines.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &SpillArgs) -> ExitCode {
    let to_json = |(name, m): &(&str, Measurement)| m.to_json(name);
    super::report(measure_both(args), args.json, to_json, table)
}

fn measure_both(args: &SpillArgs) -> anyhow::Result<Vec<(&'static str, Measurement)>> {
    let rows = args.rows.unwrap_or(args.keys * 3);
    let mut cases = vec![("in memory", ENOUGH_MEMORY), ("in files", &args.memory)];
    if args.only_spilled {
        cases.remove(0);
    }
    let mut results = Vec::new();
    for (name, memory) in cases {
        let folder = measure::ScratchFolder::new()?;
        let spill_dir = match &args.spill_dir {
            Some(spill_dir) => spill_dir.clone(),
            None => folder.path().display().to_string(),
        };
        let script = script(args.keys, rows, &spill_dir);
        let mut command = measure::flott_run(&script, args.parallelism, folder.path())?;
        command.args(["--memory", memory]);
        let usage =
            measure::run_measured(command, folder.path(), None, &measure::Watcher::quiet())?;
        if let Some(failure) = &usage.failure {
            anyhow::bail!("the run {name} failed: {failure}");
        }
        let measurement = Measurement {
            rows,
            bytes: None,
            wall_s: usage.wall_s,
            cpu_s: usage.cpu_s,
            peak_bytes: usage.peak_bytes,
        };
        results.push((name, measurement));
    }
    Ok(results)
}

fn script(keys: u64, rows: u64, spill_dir: &str) -> String {
    format!(
        "SET 'io.tmp.dirs' = '{spill_dir}';
         CREATE TABLE numbers (k BIGINT, v BIGINT, n BIGINT) WITH (
           'connector' = 'datagen', 'rows-per-second' = '1000000000000',
           'fields.k.min' = '0', 'fields.k.max' = '{last_key}',
           'fields.n.kind' = 'sequence', 'fields.n.start' = '0', 'fields.n.end' = '{last}'
         );
         CREATE TABLE sink (k BIGINT, c BIGINT, total BIGINT, least BIGINT, greatest BIGINT,
           PRIMARY KEY (k) NOT ENFORCED)
         WITH ('connector' = 'blackhole');
         INSERT INTO sink
         SELECT k, COUNT(*), SUM(v), MIN(n), MAX(n) FROM numbers GROUP BY k;",
        last_key = keys.max(1) - 1,
        last = rows.max(1) - 1
    )
}

fn table(results: &[(&str, Measurement)]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    table.set_header([
        "state", "rows", "wall s", "cpu s", "rows/s", "speed", "peak MB",
    ]);
    let fastest = results
        .iter()
        .map(|(_, m)| m.wall_s)
        .fold(f64::MAX, f64::min);
    for (name, m) in results {
        let numbers = [
            format!("{}", m.rows),
            format!("{:.2}", m.wall_s),
            format!("{:.2}", m.cpu_s),
            format!("{:.0}", m.rows as f64 / m.wall_s),
            format!("{:.0} %", fastest / m.wall_s * 100.0),
            format!("{:.0}", m.peak_bytes as f64 / 1e6),
        ];
        let cells = numbers.map(|n| Cell::new(n).set_alignment(CellAlignment::Right));
        table.add_row(std::iter::once(Cell::new(name)).chain(cells));
    }
    table
}
