//! How much memory state takes for each byte of the rows that it keeps.

use std::process::ExitCode;

use clap::Args;
use comfy_table::{Cell, CellAlignment, Table, presets};
use serde_json::json;

use super::measure;

#[derive(Debug, Args)]
#[command(
    after_help = "Each case runs with no rows and with --rows, all of which are in its state at the \
                        end, each with a key of its own: the worst case for what a key costs. Raw \
                        bytes are 8 for a number or a time, a text's length for a text. Measured is \
                        the peak of the process's resident memory, also of moments in which tables \
                        grow."
)]
pub struct StateArgs {
    /// Rows of each input.
    #[arg(long, default_value_t = 3_000_000)]
    rows: u64,
    /// Letters of each text.
    #[arg(long, default_value_t = 20)]
    letters: u64,
    /// The cases to run; all without a name.
    cases: Vec<String>,
    /// Results as JSON lines.
    #[arg(long)]
    json: bool,
}

/// What is kept of a row, and by which query.
struct Case {
    name: &'static str,
    /// Numbers and texts that are kept for each row of an input.
    kept: (u64, u64),
    sink: &'static str,
    query: &'static str,
}

const CASES: &[Case] = &[
    Case {
        name: "aggregate",
        kept: (3, 0),
        sink: "n BIGINT, c BIGINT, s BIGINT",
        query: "SELECT n, COUNT(*), SUM(v) FROM a GROUP BY n",
    },
    Case {
        name: "aggregate-by-text",
        kept: (1, 1),
        sink: "s STRING, c BIGINT",
        query: "SELECT s, COUNT(*) FROM a GROUP BY s",
    },
    Case {
        name: "join",
        kept: (2, 2),
        sink: "n BIGINT, s STRING, t STRING",
        query: "SELECT a.n, a.s, b.s FROM a JOIN b ON a.n = b.n",
    },
    Case {
        name: "top-n",
        kept: (2, 1),
        sink: "k BIGINT, v BIGINT, s STRING, r BIGINT",
        query: "SELECT k, v, s, r FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY v) r \
                FROM (SELECT n / 10 AS k, v, s FROM a)) WHERE r <= 10",
    },
    Case {
        name: "deduplicate",
        kept: (2, 1),
        sink: "n BIGINT, s STRING, ts TIMESTAMP_LTZ(3)",
        query: "SELECT n, s, ts FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY n ORDER BY ts DESC) r \
                FROM a) WHERE r = 1",
    },
    Case {
        name: "window",
        kept: (4, 0),
        sink: "n BIGINT, c BIGINT, s BIGINT",
        query: "SELECT n, COUNT(*), SUM(v) FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), \
                INTERVAL '1' MINUTE)) GROUP BY n, window_start, window_end",
    },
];

/// What a case took.
struct Taken {
    case: &'static Case,
    rows: u64,
    raw_bytes: u64,
    bytes: u64,
}

/// Runs the command.
pub fn run(args: &StateArgs) -> ExitCode {
    let to_json = |taken: &Taken| {
        json!({
            "case": taken.case.name,
            "rows": taken.rows,
            "raw_bytes": taken.raw_bytes,
            "memory_bytes": taken.bytes,
        })
        .to_string()
    };
    super::report(measure_all(args), args.json, to_json, table)
}

fn measure_all(args: &StateArgs) -> anyhow::Result<Vec<Taken>> {
    if let Some(name) = args
        .cases
        .iter()
        .find(|n| CASES.iter().all(|c| c.name != **n))
    {
        let known: Vec<&str> = CASES.iter().map(|c| c.name).collect();
        anyhow::bail!("no case '{name}'; there are: {}", known.join(", "));
    }
    let is_wanted =
        |case: &&Case| args.cases.is_empty() || args.cases.iter().any(|n| n == case.name);
    let cases = CASES.iter().filter(is_wanted);
    cases.map(|case| measure_one(case, args)).collect()
}

fn measure_one(case: &'static Case, args: &StateArgs) -> anyhow::Result<Taken> {
    let peak = |rows: u64| -> anyhow::Result<u64> {
        let folder = measure::ScratchFolder::new()?;
        let script = script(case, rows, args.letters);
        Ok(measure::run(&script, 1, folder.path())?.peak_bytes)
    };
    let (numbers, texts) = case.kept;
    Ok(Taken {
        case,
        rows: args.rows,
        raw_bytes: args.rows * (numbers * 8 + texts * args.letters),
        bytes: peak(args.rows)?.saturating_sub(peak(1)?),
    })
}

fn script(case: &Case, rows: u64, letters: u64) -> String {
    let last = rows.max(1) - 1;
    let table = |name: &str| {
        format!(
            "CREATE TABLE {name} (v BIGINT, n BIGINT, s STRING, ts AS TO_TIMESTAMP_LTZ(n, 3),
               WATERMARK FOR ts AS ts - INTERVAL '90' DAY) WITH (
               'connector' = 'datagen', 'rows-per-second' = '1000000000000',
               'fields.s.length' = '{letters}', 'fields.n.kind' = 'sequence',
               'fields.n.start' = '0', 'fields.n.end' = '{last}'
             );\n"
        )
    };
    format!(
        "SET 'flott.memory' = '1000g';\n{}{}CREATE TABLE sink ({}) WITH ('connector' = 'blackhole');
         INSERT INTO sink {};",
        table("a"),
        table("b"),
        case.sink,
        case.query
    )
}

fn table(results: &[Taken]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    table.set_header(["state", "rows", "raw bytes of a row", "in memory", "times"]);
    for taken in results {
        let of_row = |bytes: u64| bytes as f64 / taken.rows.max(1) as f64;
        let numbers = [
            format!("{}", taken.rows),
            format!("{:.0}", of_row(taken.raw_bytes)),
            format!("{:.0}", of_row(taken.bytes)),
            format!("{:.1}", taken.bytes as f64 / taken.raw_bytes.max(1) as f64),
        ];
        let cells = numbers.map(|n| Cell::new(n).set_alignment(CellAlignment::Right));
        table.add_row(std::iter::once(Cell::new(taken.case.name)).chain(cells));
    }
    table
}
