//! The loop of one worker.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use timely::worker::Worker;

use flott_core::{Error, Result};

use crate::dataflow::{WorkerDataflow, build};
use crate::job::{JobState, panic_message};
use crate::prepare::prepare;
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
    let turn = baton.map(|b| b.take(index));
    let prepared = job.chains.iter().map(|plan| {
        let runs_here = index < plan.parallelism;
        runs_here.then(|| prepare(job, plan, index)).transpose()
    });
    let prepared = match prepared.collect::<Result<Vec<_>>>() {
        Ok(prepared) => prepared,
        Err(error) => {
            turn.into_iter().for_each(Turn::keep);
            return Err(error);
        }
    };
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
