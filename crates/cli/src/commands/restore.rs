//! `flott restore --check`: what a changed script would do with the state of an earlier run,
//! before anything runs.

mod verdict;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use flott_core::graph::JobGraph;
use flott_core::{Error, Result};
use flott_engine::{JobOptions, JobSettings};
use flott_sql::parser::{Statement, parse_script_tolerant};
use flott_sql::session::{Session, StatementResult};

use crate::commands::state::{ReportFormat, json_text, print};
use crate::diagnostics;
use crate::durable::{Durability, DurableArgs};
use crate::environment::{JobArgs, available_parallelism};
use crate::jobs::StateFolder;
use crate::snapshots::{Found, find, latest, open};
use verdict::JobVerdict;

#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The script that is to go on from the state. It is planned, nothing of it runs.
    #[arg(long, value_name = "FILE", required = true)]
    check: PathBuf,
    /// The savepoint or checkpoint.
    #[arg(long, value_name = "PATH", required_unless_present = "state_dir")]
    from: Option<String>,
    /// The name under which the script's jobs keep their checkpoints; the default is the script's.
    #[arg(long, value_name = "NAME", conflicts_with = "from")]
    name: Option<String>,
    /// The folder (or s3://…) of the jobs' checkpoints.
    #[arg(long, value_name = "DIR", conflicts_with = "from")]
    state_dir: Option<String>,
    #[arg(long, value_enum, default_value = "table")]
    format: ReportFormat,
    #[command(flatten)]
    job: JobArgs,
}

/// Runs the command.
pub fn run(args: &RestoreArgs) -> ExitCode {
    let file = args.check.display().to_string();
    let source = match std::fs::read_to_string(&args.check) {
        Ok(source) => source,
        Err(error) => {
            eprintln!("error: {file}: {error}");
            return ExitCode::from(diagnostics::EXIT_WRONG_STATEMENT);
        }
    };
    match check(args, &source) {
        Ok(exit) => exit,
        Err(error) => {
            eprintln!("{}", diagnostics::render(&error, &file, &source));
            // 1 says that state would be lost.
            ExitCode::from(diagnostics::EXIT_WRONG_STATEMENT)
        }
    }
}

fn check(args: &RestoreArgs, source: &str) -> Result<ExitCode> {
    let jobs = plan(args, source)?;
    if jobs.is_empty() {
        let message = "the script has no INSERT: nothing in it keeps state";
        return Err(Error::user("NO_JOBS", message));
    }
    let verdicts: Result<Vec<JobVerdict>> = jobs
        .iter()
        .map(|(graph, settings)| {
            let found = snapshot_of(args, settings)?;
            let name = settings.job_id.as_ref().unwrap_or(&graph.name);
            Ok(JobVerdict::new(name, graph, found.as_ref()))
        })
        .collect();
    let verdicts = verdicts?;
    let text = match args.format {
        ReportFormat::Table => {
            let texts: Vec<String> = verdicts.iter().map(JobVerdict::text).collect();
            texts.join("\n")
        }
        ReportFormat::Json => json_text(&verdicts)?,
    };
    print(&text)?;
    let is_kept = verdicts.iter().all(JobVerdict::keeps_everything);
    Ok(ExitCode::from(if is_kept {
        0
    } else {
        diagnostics::EXIT_FAILED
    }))
}

/// The jobs of the script, as `flott run` would start them.
fn plan(args: &RestoreArgs, source: &str) -> Result<Vec<(JobGraph, JobSettings)>> {
    let session = args
        .job
        .session_with(&StateFolder::new(args.state_dir.clone()));
    let mut session = session.map_err(|e| Error::user("INVALID_OPTION", e.to_string()))?;
    let durable = DurableArgs {
        name: args.name.clone(),
        state_dir: args.state_dir.clone(),
        ..DurableArgs::default()
    };
    let stem = args.check.file_stem().map(|s| s.to_string_lossy());
    let mut durability = Durability::new(durable, stem.as_deref().unwrap_or("job"))?;
    let mut jobs = Vec::new();
    for statement in parse_script_tolerant(source) {
        let statement = statement.map_err(|failed| failed.error)?;
        // Nothing is done to jobs that run.
        if matches!(statement.statement, Statement::StopJob(_)) {
            continue;
        }
        if let StatementResult::Insert(graph) = plan_one(&mut session, &statement)? {
            let is_batch = session.is_batch();
            let settings = durability.settings(&graph, JobOptions::default(), is_batch)?;
            jobs.push((graph, settings));
        }
    }
    Ok(jobs)
}

fn plan_one(
    session: &mut Session,
    statement: &flott_sql::parser::ParsedStatement,
) -> Result<StatementResult> {
    session.execute(statement, available_parallelism())
}

/// What the job would start from; `None`: it begins anew.
fn snapshot_of(args: &RestoreArgs, settings: &JobSettings) -> Result<Option<Found>> {
    if let Some(path) = &args.from {
        let mut found = find(path, &settings.config)?;
        if let (Some(found), true) = (found.pop(), found.is_empty()) {
            return Ok(Some(found));
        }
        let message = format!(
            "'{path}' holds several; give one checkpoint or savepoint, or --state-dir and --name"
        );
        return Err(Error::user("AMBIGUOUS_STATE", message));
    }
    match (&settings.job_id, &settings.durability.dir) {
        (Some(job), Some(dir)) => latest(&open(dir, &settings.config)?, job),
        _ => Ok(None),
    }
}
