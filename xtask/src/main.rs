//! The project's own tools: `cargo xtask <command>`.

mod deps;
mod systems;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own tools")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Formatting, lints, dependency direction and layout: everything but the tests.
    Check,
    /// The direction of dependencies between crates.
    Deps,
    /// Lengths of files and functions, and words that are not used here.
    Tidy {
        /// Write today's exceptions down; they may only get fewer.
        #[arg(long)]
        update: bool,
    },
    /// Stream tests: `cargo xtask slt windows/tumble` runs a part.
    Slt {
        /// Part of a file's path under tests/slt.
        filter: Option<String>,
        /// Rewrite the expected blocks with what came out.
        #[arg(long)]
        bless: bool,
    },
    /// Gets another system that tests run against, into the user's cache folder: `kafka`.
    Systems { name: String },
    /// Write the pages about connectors and formats from their lists of options.
    Docs,
    /// The long forms of tests: property tests with new cases, simulated jobs with faults, kills
    /// of jobs between files, then 50 kills of a job between Kafka topics and 10 restarts of the
    /// broker.
    Soak {
        /// The one seed that is simulated, and the seed of the property tests and of the jobs
        /// between files; with it a failure comes again.
        #[arg(long)]
        seed: Option<u64>,
        /// Seeds that are simulated without one of them being given.
        #[arg(long, default_value_t = 50_000)]
        seeds: u64,
        /// Kills for each of the nine jobs between files.
        #[arg(long, default_value_t = 24)]
        kills: u64,
    },
    /// Damaged input for one format, or for all: `cargo xtask fuzz orc --seed 7 --rounds 500`.
    Fuzz {
        /// Part of a format's name.
        format: Option<String>,
        /// The seed of the cases; another one damages in other ways.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// So many times the cases of an ordinary test; 1000 take hours.
        #[arg(long, default_value_t = 100)]
        rounds: u64,
    },
    /// The cases computed by real Flink: `cargo xtask oracle json` runs a part.
    Oracle {
        /// Part of a case's name.
        filter: Option<String>,
    },
}

fn main() -> Result<()> {
    let root = root()?;
    match Arguments::parse().task {
        Task::Check => check(&root),
        Task::Deps => deps::check(&root),
        Task::Tidy { update } => tidy::check(&root, update),
        Task::Slt { filter, bless } => {
            let env: &[_] = if bless { &[("FLOTT_BLESS", "1")] } else { &[] };
            run_test(&root, "slt", filter.as_deref(), env)
        }
        Task::Systems { name } => systems::get(&name),
        Task::Docs => {
            let args = ["run", "--release", "--", "docs", "docs"];
            run(&root, "cargo", &args, &[])
        }
        Task::Soak { seed, seeds, kills } => soak(&root, seed, seeds, kills),
        Task::Fuzz {
            format,
            seed,
            rounds,
        } => fuzz(&root, format.as_deref(), seed, rounds),
        Task::Oracle { filter } => run_test(&root, "oracle", filter.as_deref(), &[]),
    }
}

/// Property tests with cases that no run had before; a failure prints the seed of its case.
fn new_properties(root: &Path, seed: Option<u64>) -> Result<()> {
    let now = || Ok(UNIX_EPOCH.elapsed()?.as_secs());
    let seed = seed.map_or_else(now, anyhow::Ok)?.to_string();
    println!("property tests with PROPTEST_RNG_SEED={seed}");
    let args = ["test", "--release", "--workspace", "--lib"];
    let of_formats = [
        "formats",
        "round_trip",
        "avro",
        "orc",
        "parquet",
        "protobuf",
    ];
    let targets = of_formats.iter().flat_map(|name| ["--test", name]);
    let args: Vec<&str> = args.into_iter().chain(targets).collect();
    run(root, "cargo", &args, &[("PROPTEST_RNG_SEED", &seed)])
}

fn soak(root: &Path, seed: Option<u64>, seeds: u64, kills: u64) -> Result<()> {
    new_properties(root, seed)?;
    let simulated = match seed {
        Some(seed) => ("FLOTT_SIM_SEED", seed.to_string()),
        None => ("FLOTT_SIM_SEEDS", seeds.to_string()),
    };
    let simulated = (simulated.0, simulated.1.as_str());
    run_test(root, "simulation", None, &[simulated])?;
    let (seed, kills) = (seed.unwrap_or(1).to_string(), kills.to_string());
    let schedule = [
        ("FLOTT_CHAOS_SEED", seed.as_str()),
        ("FLOTT_CHAOS_KILLS", kills.as_str()),
    ];
    run_test(root, "chaos", None, &schedule)?;
    run_test(
        root,
        "systems",
        Some("kills_and_restarts"),
        &[("FLOTT_SOAK", "1")],
    )
}

/// Runs one test target, as the README's test command builds it: other flags would choose other
/// features of the dependencies and build them again.
fn run_test(root: &Path, test: &str, filter: Option<&str>, env: &[(&str, &str)]) -> Result<()> {
    let mut args = vec!["test", "--release", "--workspace", "--test", test];
    args.extend(filter.iter().flat_map(|filter| ["--", filter]));
    run(root, "cargo", &args, env)
}

fn fuzz(root: &Path, format: Option<&str>, seed: u64, rounds: u64) -> Result<()> {
    // Tests are named as formats are, but for the dashes.
    let name = format.map(|f| f.replace('-', "_"));
    let (seed, rounds) = (seed.to_string(), rounds.to_string());
    let cases = [
        ("FLOTT_FUZZ_SEED", seed.as_str()),
        ("FLOTT_FUZZ_ROUNDS", rounds.as_str()),
    ];
    run_test(root, "fuzz", name.as_deref(), &cases)
}

fn check(root: &Path) -> Result<()> {
    run(root, "cargo", &["fmt", "--all", "--check"], &[])?;
    let lints = [
        "clippy",
        "--release",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    run(root, "cargo", &lints, &[])?;
    deps::check(root)?;
    tidy::check(root, false)
}

/// The workspace's folder: the parent of this crate's.
fn root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(here
        .parent()
        .context("xtask stands in the workspace")?
        .to_path_buf())
}

fn run(root: &Path, program: &str, args: &[&str], env: &[(&str, &str)]) -> Result<()> {
    let status = Command::new(program)
        .args(args)
        .envs(env.iter().copied())
        .current_dir(root)
        .status()
        .with_context(|| format!("cannot start {program}"))?;
    if !status.success() {
        bail!("{program} {} failed", args.join(" "));
    }
    Ok(())
}
