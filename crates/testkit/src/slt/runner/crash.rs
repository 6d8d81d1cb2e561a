//! Crashes at every possible point of a file: the cell `crash=everywhere`.
//!
//! A file runs once for each record after which something may have changed, with a crash there;
//! once with a crash after every record; and, where no record moves the clock, once with a crash
//! after every record that goes back to the checkpoint before the record, so that it is worked off
//! twice. What is said must be the same as without.

use std::fmt;

use anyhow::Result;

use super::super::matrix::Cell;
use super::super::record::{TestFile, Verb};
use super::jobs::Job;
use super::{Outcome, Runner};

/// Where jobs crash.
pub(super) enum CrashPlan {
    Never,
    /// After the record of this number, which stands in this line.
    After(usize, usize),
    AfterEach,
    /// After each record, back to before it.
    BeforeEach,
}

impl fmt::Display for CrashPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => write!(f, "without a crash"),
            Self::After(_, line) => write!(f, "with a crash after line {line}"),
            Self::AfterEach => write!(f, "with a crash after each record"),
            Self::BeforeEach => write!(f, "with a crash after each record, back to before it"),
        }
    }
}

impl CrashPlan {
    /// Tells in each failure where the crash was.
    pub fn mark(&self, mut outcome: Outcome) -> Outcome {
        if !matches!(self, Self::Never) {
            for failure in &mut outcome.failures {
                *failure = format!("{self}: {failure}");
            }
        }
        outcome
    }
}

/// The runs that a file needs in a cell.
pub(super) fn plans(file: &TestFile, cell: &Cell) -> Vec<CrashPlan> {
    if !cell.crash {
        return vec![CrashPlan::Never];
    }
    let records = file.records.iter().enumerate();
    let moving = records.filter(|(_, r)| {
        matches!(
            r.verb,
            Verb::Start { .. }
                | Verb::Feed { .. }
                | Verb::Watermark { .. }
                | Verb::End { .. }
                | Verb::Clock { .. }
        )
    });
    let mut plans = vec![CrashPlan::AfterEach];
    plans.extend(moving.map(|(number, record)| CrashPlan::After(number, record.line)));
    let moves_clock = |v: &Verb| matches!(v, Verb::Clock { .. } | Verb::Crash);
    if !file.records.iter().any(|r| moves_clock(&r.verb)) {
        plans.push(CrashPlan::BeforeEach);
    }
    plans
}

impl Runner {
    /// After the record of this number.
    pub(super) fn crash_as_planned(&mut self, plan: &CrashPlan, number: usize) -> Result<()> {
        match plan {
            CrashPlan::Never => Ok(()),
            CrashPlan::After(at, _) if *at != number => Ok(()),
            CrashPlan::After(..) | CrashPlan::AfterEach => self.crash_here(),
            CrashPlan::BeforeEach => self.crash_back(),
        }
    }

    /// Takes a checkpoint of every job that still runs and goes on from it in a new attempt; what
    /// the jobs have said stays said.
    fn crash_here(&mut self) -> Result<()> {
        self.settle()?;
        for name in self.crashing(|job| !job.handle.is_finished()) {
            let job = self.job(&name)?;
            let last = job.listener.checkpoint.lock().clone();
            job.last = last.map(|checkpoint| (checkpoint, job.changes.len()));
            self.go_on(&name)?;
        }
        Ok(())
    }

    /// Goes on from before the last record, whose rows are then read a second time. Jobs that write
    /// tables have committed meanwhile: they go on from their last checkpoint.
    fn crash_back(&mut self) -> Result<()> {
        self.settle()?;
        let is_over = |job: &Job| match job.schema.is_empty() {
            true => job.handle.is_finished(),
            false => job.handle.is_finished() && job.handle.wait().is_err(),
        };
        for name in self.crashing(|job| !is_over(job)) {
            let job = self.job(&name)?;
            if job.schema.is_empty() {
                let last = job.listener.checkpoint.lock().clone();
                job.last = last.map(|checkpoint| (checkpoint, 0)).or(job.last.take());
            }
            let num_said = job.last.as_ref().map_or(0, |(_, num_said)| *num_said);
            job.changes.truncate(num_said);
            job.num_seen = job.num_seen.min(num_said);
            self.go_on(&name)?;
        }
        self.settle()?;
        for job in self.jobs.values_mut() {
            let last = job.listener.checkpoint.lock().clone();
            let last = last.map(|checkpoint| (checkpoint, job.changes.len()));
            job.last = last.or(job.last.take());
        }
        Ok(())
    }

    /// Ends these jobs; gives their names.
    fn crashing(&mut self, is_wanted: impl Fn(&Job) -> bool) -> Vec<String> {
        let wanted = self.jobs.iter().filter(|(_, job)| is_wanted(job));
        let names: Vec<String> = wanted.map(|(name, _)| name.clone()).collect();
        for name in &names {
            if let Some(job) = self.jobs.get(name) {
                job.handle.cancel();
                let _ = job.handle.wait();
            }
        }
        if !names.is_empty() {
            self.hub.forget_readers();
        }
        names
    }

    /// Starts a job again from its last checkpoint.
    fn go_on(&mut self, name: &str) -> Result<()> {
        let Some(old) = self.jobs.remove(name) else {
            return Ok(());
        };
        let last = old.last.as_ref().map(|(checkpoint, _)| checkpoint.clone());
        let new = self.start(&old.sql, last, self.cell.parallelism)?;
        let job = Job {
            handle: new.handle,
            receiver: new.receiver,
            listener: new.listener,
            ..old
        };
        self.jobs.insert(name.to_string(), job);
        Ok(())
    }
}
