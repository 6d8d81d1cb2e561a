//! The real binary, killed at random moments: its committed output is the uninterrupted run's.
//!
//! Each trial takes one job, kills its process (SIGKILL) again and again by a seeded schedule,
//! starts the same command again until it ends, and compares what it has committed: nothing is
//! lost, nothing is there twice. Others damage checkpoints or keep the job from writing them.
//!
//! - `FLOTT_CHAOS_SEED`: the seed; without it, always the same one.
//! - `FLOTT_CHAOS_KILLS`: kills for each job (`cargo xtask soak` sets more than the tests do).

mod damage;
mod input;
mod jobs;
mod process;
mod random;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flott_core::clock::Stopwatch;
use libtest_mimic::{Arguments, Failed, Trial};

use jobs::{JOBS, JobKind};
use process::{Place, Rows, difference};
use random::Random;

const DEFAULT_SEED: u64 = 4;
/// Four for each of the nine jobs: some seconds for each.
const DEFAULT_KILLS: u64 = 4;
/// The latest moment of most kills after the start of the process.
const LATEST_KILL_MS: u64 = 300;
/// A round that is over before a kill does not count; so many are enough to reach the kills.
const MAX_ROUNDS: u64 = 200;

/// What all trials share.
pub struct Chaos {
    input: PathBuf,
    seed: u64,
    num_kills: u64,
    num_killed: AtomicU64,
    num_resumed: AtomicU64,
}

fn main() {
    let arguments = Arguments::from_args();
    let input = tempfile::tempdir().expect("a temporary folder can be made");
    let chaos = Arc::new(Chaos {
        input: input.path().to_path_buf(),
        seed: number("FLOTT_CHAOS_SEED", DEFAULT_SEED),
        num_kills: number("FLOTT_CHAOS_KILLS", DEFAULT_KILLS),
        num_killed: AtomicU64::new(0),
        num_resumed: AtomicU64::new(0),
    });
    if !arguments.list {
        input::write(input.path(), chaos.seed);
    }
    let kills = JOBS.iter().map(|job| {
        let chaos = chaos.clone();
        Trial::test(format!("kill/{}", job.name), move || {
            said(&chaos, kill_again_and_again(&chaos, job))
        })
    });
    let mut trials: Vec<Trial> = kills.collect();
    trials.extend(damage::trials(&chaos));
    let conclusion = libtest_mimic::run(&arguments, trials);
    let (killed, resumed) = (&chaos.num_killed, &chaos.num_resumed);
    println!(
        "seed {}: {} kills, {} starts from a checkpoint",
        chaos.seed,
        killed.load(Ordering::Relaxed),
        resumed.load(Ordering::Relaxed)
    );
    drop(input);
    conclusion.exit();
}

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().expect("the variable is a number"),
        Err(_) => default,
    }
}

/// A failure with how to get it again.
fn said(chaos: &Chaos, result: Result<(), String>) -> Result<(), Failed> {
    result.map_err(|message| {
        let seed = chaos.seed;
        let kills = chaos.num_kills;
        format!("FLOTT_CHAOS_SEED={seed} FLOTT_CHAOS_KILLS={kills}: {message}").into()
    })
}

impl Chaos {
    pub fn input(&self) -> &Path {
        &self.input
    }

    pub fn seed(&self) -> u64 {
        self.seed
    }
}

/// What an uninterrupted run gives.
struct Expected {
    rows: Rows,
    /// How long it takes.
    whole_ms: u64,
}

impl Expected {
    /// When to kill after a start: often early, and sometimes at any moment up to the end.
    fn kill_at(&self, random: &mut Random) -> Duration {
        let latest_ms = match random.below(3) {
            0 => self.whole_ms.max(LATEST_KILL_MS),
            _ => LATEST_KILL_MS,
        };
        Duration::from_millis(random.below(latest_ms + 1))
    }
}

/// The options of a job that is killed.
pub fn options(interval_ms: u64) -> String {
    format!(
        "SET 'execution.checkpointing.interval' = '{interval_ms} ms';
SET 'execution.checkpointing.num-retained' = '{}';
SET 'execution.checkpointing.data-inline-threshold' = '1 kb';
SET 'restart-strategy.type' = 'none';",
        process::NUM_RETAINED
    )
}

fn kill_again_and_again(chaos: &Chaos, job: &'static JobKind) -> Result<(), String> {
    let mut random = Random::part(chaos.seed, job.name);
    let watch = Stopwatch::start();
    let rows = Place::new(job, chaos.input(), "").run_plainly()?;
    if rows.len() < 100 {
        return Err(format!("only {} rows to compare", rows.len()));
    }
    let whole_ms = watch.elapsed().as_millis() as u64;
    let expected = Expected { rows, whole_ms };
    let mut num_killed = 0;
    for round in 0..MAX_ROUNDS {
        let most = (chaos.num_kills - num_killed).min(2 + random.below(4));
        let parallelism = 1 + round % 2;
        let killed = kill_one(chaos, job, &expected, &mut random, parallelism, most)
            .map_err(|e| format!("round {round}, parallelism {parallelism}: {e}"))?;
        num_killed += killed;
        if num_killed == chaos.num_kills {
            return Ok(());
        }
    }
    Err(format!("only {num_killed} kills in {MAX_ROUNDS} rounds"))
}

/// One job from its start to its end, killed at most so many times; gives how often it was.
fn kill_one(
    chaos: &Chaos,
    job: &'static JobKind,
    expected: &Expected,
    random: &mut Random,
    mut parallelism: u64,
    most: u64,
) -> Result<u64, String> {
    let place = Place::new(job, chaos.input(), &options(20 + random.below(31)));
    let mut num_killed = 0;
    let ended = loop {
        let kill_at = (num_killed < most).then(|| expected.kill_at(random));
        let child = place.start(parallelism, "")?;
        if let Some(ended) = place.wait(child, kill_at)? {
            break ended;
        }
        num_killed += 1;
        chaos.num_killed.fetch_add(1, Ordering::Relaxed);
        let resumes = u64::from(place.newest_checkpoint() > 0);
        chaos.num_resumed.fetch_add(resumes, Ordering::Relaxed);
        place.check_state(false, num_killed)?;
        if random.below(4) == 0 {
            parallelism = 3 - parallelism;
        }
    };
    let context = |message: String| format!("after {num_killed} kills: {message}");
    if !ended.is_success {
        return Err(context(format!("the job failed: {}", ended.said)));
    }
    if let Some(difference) = difference(&expected.rows, &place.rows()?) {
        return Err(context(difference));
    }
    place.check_state(true, num_killed).map_err(context)?;
    Ok(num_killed)
}
