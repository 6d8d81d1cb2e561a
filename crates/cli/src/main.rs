//! `flott`: stream and batch processing with Flink SQL, in one binary.

mod commands;
mod control;
mod diagnostics;
mod durable;
mod environment;
mod job;
mod jobs;
mod output;
mod progress;
mod snapshots;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(
    name = "flott",
    version,
    about = "Stream and batch processing with Flink SQL, in one binary",
    after_help = "Examples:\n  flott run job.sql                       run a script\n  \
                  flott run job.sql -p 4 --format json    four subtasks, results as JSON lines\n  \
                  flott run --state-dir DIR job.sql       go on after a crash where it was
  \
                  flott sql                               an interactive session\n  \
                  flott sql -e 'SELECT 1 + 1'             one statement"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a SQL script and wait until its jobs end.
    Run(commands::run::RunArgs),
    /// Type statements and see their results; or run some with -e and -f.
    Sql(commands::sql::SqlArgs),
    /// List the jobs of a state folder.
    Jobs(commands::control::JobsArgs),
    /// Take a savepoint of a running job.
    Savepoint(commands::control::SavepointArgs),
    /// Stop a running job with a last checkpoint, or with a savepoint.
    Stop(commands::control::StopArgs),
    /// Look into checkpoints and savepoints.
    State(commands::state::StateArgs),
    /// Say which state a changed script would keep, before it runs.
    Restore(commands::restore::RestoreArgs),
    /// Measure this build on this machine.
    Bench(commands::bench::BenchArgs),
    /// Write the pages about connectors and formats.
    #[command(hide = true)]
    Docs(commands::docs::DocsArgs),
    /// What this binary is.
    Version,
    /// Print a script that completes this command's words in a shell.
    Completions {
        /// bash, zsh, fish, powershell or elvish.
        shell: clap_complete::Shell,
    },
}

/// Lets the kernel hand out memory in small pages: state grows by touching fresh memory, and
/// looking for huge pages in memory that others have cut up took more time than it saved, and up to
/// a fifth more memory. Whoever wants them sets the allocator's own `MIMALLOC_ALLOW_THP`.
fn use_small_pages() {
    #[cfg(target_os = "linux")]
    if std::env::var_os("MIMALLOC_ALLOW_THP").is_none() {
        // SAFETY: sets a flag of this process and reads no memory. Failing leaves huge pages on.
        unsafe {
            libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0);
        }
    }
}

fn main() -> ExitCode {
    use_small_pages();
    let filter = tracing_subscriber::EnvFilter::try_from_env("FLOTT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match Arguments::parse().command {
        Command::Run(args) => commands::run::run(&args),
        Command::Sql(args) => commands::sql::run(&args),
        Command::Jobs(args) => commands::control::jobs(&args),
        Command::Savepoint(args) => commands::control::savepoint(&args),
        Command::Stop(args) => commands::control::stop(&args),
        Command::State(args) => commands::state::run(&args),
        Command::Restore(args) => commands::restore::run(&args),
        Command::Bench(args) => commands::bench::run(&args),
        Command::Docs(args) => commands::docs::run(&args),
        Command::Version => {
            println!("flott {} (Flink SQL 2.3)", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Command::Completions { shell } => {
            clap_complete::generate(
                shell,
                &mut Arguments::command(),
                "flott",
                &mut std::io::stdout(),
            );
            ExitCode::SUCCESS
        }
    }
}
