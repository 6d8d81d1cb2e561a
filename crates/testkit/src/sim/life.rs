//! One seed: the processes of a job until it has finished, and the verdict.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use flott_core::ErrorKind;
use flott_core::clock::ManualClock;
use flott_core::connector::Registry;
use flott_core::error::Error;
use flott_core::graph::JobGraph;
use flott_core::hash::mix;
use flott_core::options::Options;
use flott_engine::{
    Checkpoint, CheckpointListener, DurabilityConfig, JobOptions, JobOutcome, JobSettings, Random,
    Simulation, SimulationPlan, finished_job, simulate_job,
};
use flott_sql::parser::parse_script;
use flott_sql::session::{Session, StatementResult};
use parking_lot::Mutex;

use super::check;
use super::jobs::{JOBS, SimulatedJob};
use super::world::{Chances, SimConnector, World};

/// The name under which every job keeps its checkpoints.
const JOB: &str = "job";
/// Different inputs of a job.
const NUM_INPUTS: u64 = 4;
/// Processes after which nothing fails any more, and the job has to finish.
const NUM_FAULTY_PROCESSES: u64 = 12;
/// Turns after which an attempt counts as one that hangs.
const MAX_TURNS: u64 = 100_000;

/// What a life came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    pub job: &'static str,
    pub num_processes: u64,
    pub num_attempts: u64,
    pub num_checkpoints: u64,
    pub num_faults: u64,
    /// Of everything that happened in all attempts: the same for the same seed.
    pub trace_hash: u64,
}

/// What the statements give in batch mode, by job and input.
#[derive(Default)]
pub struct Expected {
    known: Mutex<BTreeMap<(&'static str, u64), Tables>>,
}

type Tables = BTreeMap<String, BTreeMap<String, i64>>;

impl Expected {
    fn of(&self, job: &'static SimulatedJob, input: u64) -> Result<Tables> {
        if let Some(tables) = self.known.lock().get(&(job.name, input)) {
            return Ok(tables.clone());
        }
        let world = World::new(input, 0, Chances::default());
        let graph = plan(job, &world, "batch")?;
        let handle = flott_engine::execute(graph, JobOptions::default());
        handle.and_then(|h| h.wait()).map_err(told)?;
        let tables = check::tables(&world.committed()).map_err(anyhow::Error::msg)?;
        if tables.is_empty() {
            bail!("{} gives nothing: its input is no test", job.name);
        }
        let mut known = self.known.lock();
        known.insert((job.name, input), tables.clone());
        Ok(tables)
    }
}

fn told(error: Error) -> anyhow::Error {
    anyhow::anyhow!("[{}] {error}", error.code())
}

/// The job's graph.
fn plan(job: &SimulatedJob, world: &Arc<World>, mode: &str) -> Result<JobGraph> {
    let registry = Registry {
        connectors: vec![Arc::new(SimConnector(world.clone()))],
        formats: Vec::new(),
    };
    let mut session = Session::new(registry, ManualClock::at_ms(0));
    session.set_option("execution.runtime-mode", mode);
    for statement in parse_script(&job.script()).map_err(told)? {
        let done = session.execute(&statement, 1).map_err(told)?;
        if let StatementResult::Insert(graph) = done {
            return Ok(graph);
        }
    }
    bail!("{} has no INSERT", job.name)
}

/// What a seed decides once.
struct Fate {
    job: &'static SimulatedJob,
    input: u64,
    chances: Chances,
    checkpoint_turns: u64,
    store_turns: u64,
    config: Options,
}

impl Fate {
    fn of(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut below = |n: u64| random.draw() % n;
        let job = &JOBS[below(JOBS.len() as u64) as usize];
        let input = below(NUM_INPUTS);
        // Most seeds have one or two kinds of faults, at very different rates.
        let mut chance = |most: u64| match below(3) {
            0 => 1 + below(most),
            _ => 0,
        };
        let chances = Chances {
            store_error: chance(60),
            sink_error: chance(60),
            death_in_call: chance(40),
            death_at_turn: chance(12),
            failure_at_turn: chance(12),
        };
        let pairs = [
            ("execution.checkpointing.interval", "1 s".to_string()),
            (
                "execution.checkpointing.timeout",
                ["10 min", "40 ms"][below(4) as usize / 3].to_string(),
            ),
            (
                "execution.checkpointing.tolerable-failed-checkpoints",
                below(3).to_string(),
            ),
            (
                "execution.checkpointing.num-retained",
                (1 + below(2)).to_string(),
            ),
            (
                "execution.checkpointing.data-inline-threshold",
                ["0", "20 kb"][below(2) as usize].to_string(),
            ),
            ("restart-strategy.type", "fixed-delay".to_string()),
            (
                "restart-strategy.fixed-delay.attempts",
                below(4).to_string(),
            ),
            ("restart-strategy.fixed-delay.delay", "0 ms".to_string()),
        ];
        Self {
            job,
            input,
            chances,
            checkpoint_turns: 3 + below(20),
            store_turns: [0, 0, 1, 5, 30][below(5) as usize],
            config: pairs.into_iter().map(|(k, v)| (k.to_string(), v)).collect(),
        }
    }
}

/// Runs the attempts as the seed says, and looks at each checkpoint.
struct Attempts {
    seed: u64,
    world: Arc<World>,
    clock: Arc<ManualClock>,
    checkpoint_turns: u64,
    store_turns: u64,
    num_attempts: AtomicU64,
    trace_hash: AtomicU64,
    last_id: AtomicU64,
    num_checkpoints: AtomicU64,
    violations: Mutex<Vec<String>>,
}

impl SimulationPlan for Attempts {
    fn next_attempt(&self) -> Simulation {
        let number = self.num_attempts.fetch_add(1, Ordering::SeqCst);
        let (world, clock) = (self.world.clone(), self.clock.clone());
        let moves = self.store_turns > 0;
        Simulation {
            seed: mix(self.seed, number),
            clock: self.clock.clone(),
            checkpoint_turns: self.checkpoint_turns,
            store_turns: self.store_turns,
            before_turn: Box::new(move |turn| {
                if moves {
                    clock.advance(std::time::Duration::from_millis(2));
                }
                before_turn(&world, turn)
            }),
        }
    }

    fn attempt_over(&self, trace_hash: u64) {
        let mixed = mix(self.trace_hash.load(Ordering::SeqCst), trace_hash);
        self.trace_hash.store(mixed, Ordering::SeqCst);
    }
}

fn before_turn(world: &World, turn: u64) -> flott_core::Result<()> {
    let chances = *world.chances.lock();
    if turn > MAX_TURNS {
        return Err(Error::internal(format!(
            "the attempt is not over after {MAX_TURNS} turns"
        )));
    }
    if !world.is_dead() && world.happens(chances.death_at_turn) {
        world.kill();
    }
    if world.is_dead() {
        return Err(Error::external("KILLED", "the process was killed"));
    }
    match world.happens(chances.failure_at_turn) {
        true => Err(Error::external("FAILURE", "the attempt failed on purpose").retryable()),
        false => Ok(()),
    }
}

impl CheckpointListener for Attempts {
    fn on_checkpoint(&self, checkpoint: Checkpoint) -> flott_core::Result<()> {
        let last = self.last_id.swap(checkpoint.id, Ordering::SeqCst);
        self.num_checkpoints.fetch_add(1, Ordering::SeqCst);
        let mut violations = self.violations.lock();
        if checkpoint.id <= last {
            violations.push(format!("checkpoint {} comes after {last}", checkpoint.id));
        }
        match self.world.check(|place| check::store(place, JOB)) {
            Err(violation) => violations.push(violation),
            Ok(newest) if newest < Some(checkpoint.id) => {
                violations.push(format!("checkpoint {} is not in the store", checkpoint.id));
            }
            Ok(_) => {}
        }
        Ok(())
    }
}

/// Lives the life of this seed.
///
/// # Errors
/// What went wrong that must not, with the seed's job.
pub fn live(seed: u64, expected: &Expected) -> Result<Life> {
    let fate = Fate::of(seed);
    let world = World::new(fate.input, mix(seed, 1), fate.chances);
    let attempts = Arc::new(Attempts {
        seed,
        world: world.clone(),
        clock: ManualClock::at_ms(0),
        checkpoint_turns: fate.checkpoint_turns,
        store_turns: fate.store_turns,
        num_attempts: AtomicU64::new(0),
        trace_hash: AtomicU64::new(0),
        last_id: AtomicU64::new(0),
        num_checkpoints: AtomicU64::new(0),
        violations: Mutex::default(),
    });
    let mut num_processes = 0;
    let mut last_error = None;
    loop {
        num_processes += 1;
        world.revive();
        if num_processes > NUM_FAULTY_PROCESSES {
            *world.chances.lock() = Chances::default();
        }
        if num_processes > NUM_FAULTY_PROCESSES + 3 {
            bail!(
                "{}: the job does not finish without faults: {last_error:?}",
                fate.job.name
            );
        }
        let is_over = process(&fate, &attempts, &mut last_error);
        let is_over = is_over.with_context(|| fate.job.name)?;
        let violations = attempts.violations.lock().clone();
        if let Some(violation) = violations.into_iter().chain(world.violations()).next() {
            bail!("{}, process {num_processes}: {violation}", fate.job.name);
        }
        world
            .check(|place| check::store(place, JOB))
            .map_err(|e| anyhow::anyhow!("{}, process {num_processes}: {e}", fate.job.name))?;
        if is_over {
            break;
        }
    }
    compare(&fate, &world, expected)?;
    Ok(Life {
        job: fate.job.name,
        num_processes,
        num_attempts: attempts.num_attempts.load(Ordering::SeqCst),
        num_checkpoints: attempts.num_checkpoints.load(Ordering::SeqCst),
        num_faults: world.num_faults.load(Ordering::SeqCst),
        trace_hash: attempts.trace_hash.load(Ordering::SeqCst),
    })
}

fn compare(fate: &Fate, world: &World, expected: &Expected) -> Result<()> {
    let name = fate.job.name;
    let committed = world.committed();
    let actual = check::tables(&committed).map_err(|e| anyhow::anyhow!("{name}: {e}"))?;
    let wanted = expected.of(fate.job, fate.input)?;
    if actual == wanted {
        return Ok(());
    }
    let lines = |tables: &Tables| -> Vec<String> {
        let rows = tables.iter().flat_map(|(table, rows)| {
            rows.iter()
                .map(move |(row, n)| format!("{table}: {row} ({n} times)"))
        });
        rows.collect()
    };
    let (wanted, actual) = (lines(&wanted), lines(&actual));
    let lost: Vec<_> = wanted.iter().filter(|l| !actual.contains(l)).collect();
    let more: Vec<_> = actual.iter().filter(|l| !wanted.contains(l)).collect();
    bail!(
        "{name}: committed without being expected: {more:#?}; expected and not committed: {lost:#?}"
    )
}

/// One process: starts the job and waits for its end; gives whether the job is over for good.
fn process(fate: &Fate, attempts: &Arc<Attempts>, last_error: &mut Option<Error>) -> Result<bool> {
    let world = &attempts.world;
    let graph = plan(fate.job, world, "streaming")?;
    let settings = JobSettings {
        job_id: Some(JOB.into()),
        statements: Vec::new(),
        options: JobOptions {
            parallelism: 1 + (world.draw() % 3) as usize,
            clock: attempts.clock.clone(),
            invariant_checks: true,
            checkpoint_listener: Some(attempts.clone()),
            ..JobOptions::default()
        },
        durability: DurabilityConfig::from_options(&fate.config).map_err(told)?,
        config: fate.config.clone(),
        place: Some(world.place.clone()),
    };
    let started = finished_job(&settings).and_then(|finished| match finished {
        Some(_) => Ok(None),
        None => simulate_job(graph, settings, attempts.clone()).map(Some),
    });
    let ended = match started {
        Ok(None) => return Ok(true),
        Ok(Some(job)) => job.wait(),
        Err(error) => Err(error),
    };
    match ended {
        // A process that dies on its last steps has not said so to anybody.
        Ok(report) if report.outcome == JobOutcome::Finished => Ok(!world.is_dead()),
        Ok(report) => bail!("the job ended as {:?}", report.outcome),
        Err(error) if error.kind() == ErrorKind::External => {
            *last_error = Some(error);
            Ok(false)
        }
        Err(error) => Err(told(error)),
    }
}
