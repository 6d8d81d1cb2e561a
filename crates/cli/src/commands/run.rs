//! `flott run`: a script's statements in order, each to its end.

use std::io::BufWriter;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use flott_core::Error;
use flott_sql::parser::parse_script_tolerant;

use crate::diagnostics;
use crate::durable::{Durability, DurableArgs};
use crate::environment::JobArgs;
use crate::job::Executor;
use crate::jobs::StateFolder;
use crate::output::{OutputFormat, writer};

#[derive(Debug, Args)]
pub struct RunArgs {
    /// The script; `-` is standard input.
    file: PathBuf,
    #[command(flatten)]
    job: JobArgs,
    /// How results are printed.
    #[arg(long, value_enum, default_value = "table")]
    format: OutputFormat,
    #[command(flatten)]
    durable: DurableArgs,
    /// Go on after a statement that failed.
    #[arg(long)]
    keep_going: bool,
}

/// Runs the command.
pub fn run(args: &RunArgs) -> ExitCode {
    let name = args.file.display().to_string();
    let source = match read(args) {
        Ok(source) => source,
        Err(error) => return fail(&format!("{name}: {error}")),
    };
    let jobs = StateFolder::new(args.durable.state_dir.clone());
    let session = match args.job.session_with(&jobs) {
        Ok(session) => session,
        Err(error) => return fail(&error.to_string()),
    };
    let out = Box::new(BufWriter::new(std::io::stdout()));
    let stem = args
        .file
        .file_stem()
        .map(|s| s.to_string_lossy().into_owned());
    let durability = match Durability::new(args.durable.clone(), stem.as_deref().unwrap_or("job")) {
        Ok(durability) => durability,
        Err(error) => return fail(&error.to_string()),
    };
    let mut executor = Executor::new(session, jobs, writer(args.format, out));
    executor.set_durability(durability);
    let mut exit = ExitCode::SUCCESS;
    for statement in parse_script_tolerant(&source) {
        let (index, result) = executor.execute_parsed(statement);
        if let Err(failure) = result {
            exit = diagnostics::exit_code(&failure.error, failure.while_running);
            report(&mut executor, index, &failure.error, &name, &source);
            if executor.is_cancelled() {
                return ExitCode::from(130);
            }
            if !args.keep_going {
                return exit;
            }
        }
        if executor.is_stopped() {
            break;
        }
    }
    exit
}

fn read(args: &RunArgs) -> std::io::Result<String> {
    if args.file.as_os_str() == "-" {
        return std::io::read_to_string(std::io::stdin());
    }
    std::fs::read_to_string(&args.file)
}

fn report(executor: &mut Executor, statement: usize, error: &Error, name: &str, source: &str) {
    let is_written = executor.report(statement, error).unwrap_or(false);
    if !is_written {
        eprintln!("{}", diagnostics::render(error, name, source));
    }
}

fn fail(message: &str) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::from(diagnostics::EXIT_WRONG_STATEMENT)
}
