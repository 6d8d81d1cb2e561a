//! `flott state inspect`: what a checkpoint or savepoint holds.

mod report;
mod sample;

use std::io::{Write, stdout};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use flott_core::{Error, Result};

use crate::diagnostics;
use crate::snapshots::{Found, StoreArgs, find};
use report::SnapshotReport;
pub use report::is_called;
use sample::Sample;

#[derive(Debug, Args)]
pub struct StateArgs {
    #[command(subcommand)]
    command: StateCommand,
}

#[derive(Debug, Subcommand)]
enum StateCommand {
    /// Show what a checkpoint or savepoint holds.
    Inspect(InspectArgs),
}

#[derive(Debug, Args)]
struct InspectArgs {
    /// The folder of a checkpoint or savepoint, a folder of savepoints, or a state folder: the latest checkpoint of each
    /// job.
    path: String,
    /// Show so many rows of the operator's tables.
    #[arg(long, value_name = "N", requires = "operator")]
    rows: Option<usize>,
    /// Only this operator, by uid or name.
    #[arg(long, value_name = "UID|NAME")]
    operator: Option<String>,
    /// Only this table.
    #[arg(long, value_name = "NAME", requires = "operator")]
    table: Option<String>,
    #[arg(long, value_enum, default_value = "table")]
    format: ReportFormat,
    #[command(flatten)]
    store: StoreArgs,
}

/// How a report is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// Tables for people.
    Table,
    /// One JSON text.
    Json,
}

/// Runs the command.
pub fn run(args: &StateArgs) -> ExitCode {
    let StateCommand::Inspect(args) = &args.command;
    diagnostics::exit_of(inspect(args).map(|()| ExitCode::SUCCESS))
}

fn inspect(args: &InspectArgs) -> Result<()> {
    let found = find(&args.path, &args.store.options()?)?;
    let mut reports = Vec::new();
    for found in &found {
        for (id, error) in &found.skipped {
            eprintln!("warning: checkpoint {id} cannot be used: {error}");
        }
        reports.push(report_of(found, args)?);
    }
    if let Some(wanted) = &args.operator {
        reports.retain(|r| !r.operators.is_empty());
        if reports.is_empty() {
            return Err(unknown_operator(wanted, &found));
        }
    }
    let text = match args.format {
        ReportFormat::Table => {
            let texts: Vec<String> = reports.iter().map(SnapshotReport::text).collect();
            texts.join("\n")
        }
        ReportFormat::Json => json_text(&reports)?,
    };
    print(&text)
}

fn report_of(found: &Found, args: &InspectArgs) -> Result<SnapshotReport> {
    let mut report = SnapshotReport::new(found);
    if let Some(wanted) = &args.operator {
        report.operators.retain(|o| o.is_called(wanted));
        report.is_partial = true;
    }
    for operator in &mut report.operators {
        if let Some(table) = &args.table {
            let names: Vec<&str> = operator.tables.iter().map(|t| t.name.as_str()).collect();
            if !names.contains(&table.as_str()) {
                return Err(unknown_table(table, &operator.name, &names));
            }
            operator.tables.retain(|t| t.name == *table);
        }
        if let Some(limit) = args.rows {
            for table in &mut operator.tables {
                table.sample = Some(Sample::read(found, &operator.uid, &table.name, limit)?);
            }
        }
    }
    Ok(report)
}

fn unknown_operator(wanted: &str, found: &[Found]) -> Error {
    let operators = found.iter().flat_map(|f| &f.manifest.operators);
    let names: Vec<&str> = operators.map(|o| o.name.as_str()).collect();
    Error::user(
        "UNKNOWN_OPERATOR",
        format!(
            "there is no operator '{wanted}'; there are {}",
            names.join(", ")
        ),
    )
}

fn unknown_table(table: &str, operator: &str, names: &[&str]) -> Error {
    let has = match names {
        [] => "it has no tables".to_string(),
        names => format!("it has {}", names.join(", ")),
    };
    let message = format!("{operator} has no table '{table}'; {has}");
    Error::user("UNKNOWN_TABLE", message)
}

/// A report as JSON.
///
/// # Errors
/// A defect: something that JSON cannot say.
pub fn json_text(report: &impl serde::Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(report);
    let text = text.map_err(|e| Error::internal(format!("a report cannot be written: {e}")))?;
    Ok(text + "\n")
}

/// Writes to standard output.
///
/// # Errors
/// An external error when it cannot be written to.
pub fn print(text: &str) -> Result<()> {
    let mut out = stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|e| Error::io("standard output", &e))
}
