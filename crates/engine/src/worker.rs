//! The loop of one worker.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use timely::worker::Worker;

use flott_core::{Error, Result};

use crate::dataflow::{WorkerDataflow, build};
use crate::job::{JobState, panic_message};
use crate::prepare::{prepare, restore};
use crate::simulation::{Baton, Turn};

/// Tells the coordinator that a worker is done, however it ends.
struct DoneGuard<'a>(&'a JobState);

impl Drop for DoneGuard<'_> {
    fn drop(&mut self) {
        self.0.checkpoints.worker_done();
    }
}

/// Runs this worker's part of the job to its end. In a simulation, only while it holds the baton.
pub fn run_worker(worker: &mut Worker, job: &Arc<JobState>, baton: Option<&Baton>) {
    let _done = DoneGuard(job);
    let _turns = baton.map(|b| b.join(worker.index()));
    job.register_worker();
    let run = catch_unwind(AssertUnwindSafe(|| run_dataflow(worker, job, baton)));
    match run {
        Ok(Ok(())) => {}
        Ok(Err(error)) if job.is_stopped() => drop(error),
        Ok(Err(error)) => job.fail(error),
        Err(panic) => {
            let message = panic_message(panic.as_ref());
            job.fail(Error::internal(format!("a worker's panic: {message}")));
        }
    }
    for dataflow in worker.installed_dataflows() {
        worker.drop_dataflow(dataflow);
    }
}

fn run_dataflow(worker: &mut Worker, job: &Arc<JobState>, baton: Option<&Baton>) -> Result<()> {
    let index = worker.index();
    let mut turn = baton.map(|b| b.take(index));
    let restored = job.chains.iter().map(|plan| {
        let runs_here = index < plan.parallelism;
        runs_here.then(|| restore(job, plan, index)).transpose()
    });
    let restored = kept_on_error(restored.collect::<Result<Vec<_>>>(), &mut turn)?;
    job.checkpoints.worker_restored();
    drop(turn);
    let mut turn = wait_for_restored(job, baton, index);
    if !job.checkpoints.is_restored_committed() {
        turn.into_iter().for_each(Turn::keep);
        return Ok(());
    }
    let prepared = job.chains.iter().zip(restored).map(|(plan, restored)| {
        let prepared = restored.map(|restored| prepare(job, plan, index, restored));
        prepared.transpose()
    });
    let prepared = kept_on_error(prepared.collect::<Result<Vec<_>>>(), &mut turn)?;
    let dataflow = build(worker, job, prepared);
    drop(turn);
    let mut num_signals = 0;
    let Some(baton) = baton else {
        while worker.has_dataflows() && !job.is_stopped() {
            step(worker, job, &dataflow, &mut num_signals);
        }
        return Ok(());
    };
    loop {
        // The end, too, is seen in a turn: when, the seed decides.
        let turn = baton.take(index);
        if !worker.has_dataflows() || job.is_stopped() {
            turn.keep();
            return Ok(());
        }
        look_around(job, &dataflow, &mut num_signals);
        worker.step();
        baton.set_next_timer(index, dataflow.timers.next_ms());
    }
}

/// The result; an error ends the worker, in the turn that it came in.
fn kept_on_error<T>(result: Result<T>, turn: &mut Option<Turn<'_>>) -> Result<T> {
    if result.is_err() {
        turn.take().into_iter().for_each(Turn::keep);
    }
    result
}

/// Waits until all state of all workers has been read and what it had prepared is committed: writers
/// abort what is left over from before. Gives the worker's turn in a simulation.
fn wait_for_restored<'a>(
    job: &JobState,
    baton: Option<&'a Baton>,
    index: usize,
) -> Option<Turn<'a>> {
    let Some(baton) = baton else {
        job.checkpoints.wait_for_restored(job);
        return None;
    };
    loop {
        let turn = baton.take(index);
        if job.checkpoints.is_restored_committed() || job.is_stopped() {
            return Some(turn);
        }
    }
}

fn step(worker: &mut Worker, job: &JobState, dataflow: &WorkerDataflow, num_signals: &mut u64) {
    let wait = look_around(job, dataflow, num_signals);
    worker.step_or_park(wait);
}

/// Follows signals and timers; gives how long the worker may sleep.
fn look_around(
    job: &JobState,
    dataflow: &WorkerDataflow,
    num_signals: &mut u64,
) -> Option<std::time::Duration> {
    let signals = job.num_signals();
    if *num_signals != signals {
        *num_signals = signals;
        dataflow.sources.iter().for_each(|source| source.activate());
    }
    let clock = &job.options.clock;
    dataflow.timers.activate_due(|| clock.now_ms())
}
