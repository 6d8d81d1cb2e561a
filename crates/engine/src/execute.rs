//! Starting a job, following it, and ending it: commit or abort.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use flott_core::clock::{Clock, ManualClock};
use flott_core::graph::{JobGraph, NodeId, NodeKind};
use flott_core::{Error, Result};

use crate::checkpoint::coordinator::{Committers, Coordinator};
use crate::enumerator::JobEnumerator;
use crate::job::{JobHandle, JobReport, JobState, panic_message};
use crate::options::JobOptions;
use crate::plan::{ChainPlan, plan_chains};
use crate::simulation::{Baton, Random, Simulation, SimulationPlan, Trace};
use crate::spill::Spilling;
use crate::worker::run_worker;

/// Turns without any event after which simulated time moves on, for each worker.
const QUIET_TURNS: u64 = 60;

/// Starts a job on threads of this process.
///
/// # Errors
/// A graph or options that cannot be run, and what sources and sinks report while they are made
/// ready. Later errors come from [`JobHandle::wait`].
pub fn execute(graph: JobGraph, options: JobOptions) -> Result<JobHandle> {
    let (state, committers) = make_ready(graph, options, None)?;
    let job = state.clone();
    spawn_job(state, move || run(&job, committers))
}

/// What a simulated run gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulatedRun {
    pub report: JobReport,
    /// The hash of everything that happened, in order: the same for the same seed.
    pub trace_hash: u64,
    pub num_events: u64,
}

/// Runs a job to its end with one worker stepping at a time, in an order that the seed decides, and
/// a clock that moves on when nothing is left to do at its present time. The job's own sources must
/// be deterministic too.
///
/// # Errors
/// As [`execute`] and [`JobHandle::wait`]; a job that waits for ever is an internal error.
pub fn execute_simulated(graph: JobGraph, options: JobOptions, seed: u64) -> Result<SimulatedRun> {
    let simulation = Simulation::new(seed, ManualClock::at_ms(0));
    let handle = start_simulated(graph, options, simulation, |_| {})?;
    let report = handle.wait()?;
    let trace = handle.state.trace.as_ref();
    Ok(SimulatedRun {
        report,
        trace_hash: trace.map_or(0, Trace::hash),
        num_events: trace.map_or(0, Trace::num_events),
    })
}

/// As [`execute`], for one attempt of a job that a plan lets run into faults.
///
/// # Errors
/// As [`execute`].
pub(crate) fn execute_planned(
    graph: JobGraph,
    options: JobOptions,
    plan: &Arc<dyn SimulationPlan>,
) -> Result<JobHandle> {
    let told = plan.clone();
    start_simulated(graph, options, plan.next_attempt(), move |trace_hash| {
        told.attempt_over(trace_hash);
    })
}

fn start_simulated(
    graph: JobGraph,
    mut options: JobOptions,
    simulation: Simulation,
    over: impl FnOnce(u64) + Send + 'static,
) -> Result<JobHandle> {
    options.clock = simulation.clock.clone();
    let (state, committers) = make_ready(graph, options, Some(Trace::default()))?;
    let job = state.clone();
    spawn_job(state, move || {
        let result = run_simulated(&job, committers, simulation);
        over(job.trace.as_ref().map_or(0, Trace::hash));
        result
    })
}

fn make_ready(
    graph: JobGraph,
    options: JobOptions,
    trace: Option<Trace>,
) -> Result<(Arc<JobState>, Committers)> {
    let is_possible = 1 <= options.parallelism && options.parallelism <= options.max_parallelism;
    if !is_possible || options.max_parallelism > 1 << 15 {
        let message = format!(
            "parallelism {} must be between 1 and the maximum parallelism {}, which is at most 32768",
            options.parallelism, options.max_parallelism
        );
        return Err(Error::user("PARALLELISM", message));
    }
    let chains = plan_chains(&graph, options.parallelism)?;
    let enumerators = create_enumerators(&graph, &chains, &options)?;
    let mut committers = Committers::new();
    for (id, node) in graph.nodes.iter().enumerate() {
        if let NodeKind::Sink(sink) = &node.kind {
            let committer = sink.create_committer().map_err(|e| e.context(&node.name))?;
            committers.extend(committer.map(|c| (id, c)));
        }
    }
    let spilling = match &options.spill {
        Some(config) => Spilling::new(config.clone()),
        None => Spilling::of_job(&graph.config)?,
    };
    let state = JobState::new(graph, options, chains, enumerators, trace, spilling);
    Ok((Arc::new(state), committers))
}

fn create_enumerators(
    graph: &JobGraph,
    chains: &[ChainPlan],
    options: &JobOptions,
) -> Result<BTreeMap<NodeId, Arc<JobEnumerator>>> {
    let mut enumerators = BTreeMap::new();
    for chain in chains {
        let id = chain.nodes[0];
        let node = &graph.nodes[id];
        if let NodeKind::Source(source) = &node.kind {
            let restored = options.restore.as_ref();
            let restored = restored.and_then(|c| c.operators.get(&node.uid));
            let restored = restored.and_then(|o| o.enumerator.as_deref());
            let enumerator = source
                .create_enumerator(chain.parallelism, restored)
                .map_err(|e| e.context(&node.name))?;
            let clock = options.clock.clone();
            let shared = JobEnumerator::new(enumerator, chain.parallelism, clock);
            enumerators.insert(id, Arc::new(shared));
        }
    }
    Ok(enumerators)
}

fn spawn_job(
    state: Arc<JobState>,
    run: impl FnOnce() -> Result<JobReport> + Send + 'static,
) -> Result<JobHandle> {
    let handle = JobHandle {
        state: state.clone(),
    };
    let body = move || {
        let result = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
            let message = panic_message(panic.as_ref());
            let error = Error::internal(format!("the job's coordinator: panic: {message}"));
            state.fail(error.clone());
            Err(error)
        });
        state.conclude(result);
    };
    let builder = std::thread::Builder::new().name("flott-job".into());
    builder
        .spawn(body)
        .map_err(|e| Error::external("THREAD", format!("a thread cannot be started: {e}")))?;
    Ok(handle)
}

fn timely_config(parallelism: usize) -> timely::Config {
    match parallelism {
        1 => timely::Config::thread(),
        n => timely::Config::process(n),
    }
}

fn run(job: &Arc<JobState>, committers: Committers) -> Result<JobReport> {
    let mut coordinator = Coordinator::start(job, committers, false)?;
    let num_workers = job.options.parallelism;
    let on_worker = job.clone();
    let guards = timely::execute(timely_config(num_workers), move |worker| {
        run_worker(worker, &on_worker, None)
    })
    .map_err(Error::internal)?;
    while job.checkpoints.num_workers_done() < num_workers {
        job.checkpoints.wait(coordinator.idle_time());
        if !job.is_stopped() {
            follow(job, coordinator.step());
        }
    }
    for result in guards.join() {
        if let Err(message) = result {
            job.fail(Error::internal(format!("a worker: {message}")));
        }
    }
    finish(job, coordinator)
}

fn run_simulated(
    job: &Arc<JobState>,
    committers: Committers,
    mut simulation: Simulation,
) -> Result<JobReport> {
    let mut coordinator = Coordinator::start(job, committers, true)?;
    coordinator.store_turns = simulation.store_turns;
    let num_workers = job.options.parallelism;
    let baton = Baton::new(num_workers);
    let (on_worker, workers_baton) = (job.clone(), baton.clone());
    let guards = timely::execute(timely_config(num_workers), move |worker| {
        run_worker(worker, &on_worker, Some(&workers_baton))
    })
    .map_err(Error::internal)?;
    baton.wait_for_all();
    let mut random = Random::new(simulation.seed);
    let (mut turn, mut quiet_since, mut last_events) = (0u64, 0u64, 0u64);
    while baton.give(random.draw()) {
        turn += 1;
        if !job.is_stopped() {
            follow(job, (simulation.before_turn)(turn));
        }
        let is_due = turn.is_multiple_of(simulation.checkpoint_turns.max(1));
        if job.options.checkpoints.interval.is_some() && is_due {
            follow(job, job.checkpoints.trigger(job, None).map(drop));
        }
        if !job.is_stopped() {
            follow(job, coordinator.step());
        }
        let events = job.trace.as_ref().map_or(0, Trace::num_events);
        if events != last_events {
            (last_events, quiet_since) = (events, turn);
        }
        if turn - quiet_since > QUIET_TURNS * num_workers as u64 {
            quiet_since = turn;
            pass_time(job, &baton, &simulation.clock);
        }
    }
    drop(guards.join());
    finish(job, coordinator)
}

/// Moves simulated time on to the nearest timer; without one, the job would wait for ever.
fn pass_time(job: &JobState, baton: &Baton, clock: &ManualClock) {
    match baton.next_timer_ms() {
        Some(time_ms) => {
            let ahead = (time_ms - clock.now_ms()).max(0);
            clock.advance(Duration::from_millis(ahead as u64));
        }
        None if job.is_stopped() => {}
        None => job.fail(Error::internal("the simulated job waits for ever")),
    }
}

fn follow(job: &JobState, result: Result<()>) {
    if let Err(error) = result {
        job.fail(error);
    }
}

/// The workers are done: commits what they left, if the job has succeeded.
fn finish(job: &JobState, coordinator: Coordinator<'_>) -> Result<JobReport> {
    match (job.is_stopped(), job.failure()) {
        (false, _) => follow(job, coordinator.finish()),
        (true, None) => coordinator.give_up(),
        // The next attempt goes on from it, if it is complete in time.
        (true, Some(_)) => {}
    }
    match job.failure() {
        Some(error) => Err(error),
        None => Ok(job.report()),
    }
}
