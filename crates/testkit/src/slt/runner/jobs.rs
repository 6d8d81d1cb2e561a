//! The jobs that a file has started: fed, settled, crashed and restored.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use crossbeam_channel::Receiver;
use flott_core::changelog::ChangelogBatch;
use flott_core::graph::JobGraph;
use flott_core::schema::Schema;
use flott_engine::{
    Checkpoint, CheckpointListener, CollectSink, JobHandle, JobOptions, check_state,
};
use flott_sql::parser::parse_script;
use flott_sql::session::StatementResult;
use parking_lot::{Condvar, Mutex};

use super::super::record::Record;
use super::super::rows::{self, Row};
use super::{QUEUE, Runner};

/// How long the runner waits before it looks again whether a job has ended.
const A_MOMENT: Duration = Duration::from_millis(2);
/// A job that does not settle in this long hangs.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);

/// A started job and what it has said.
pub(super) struct Job {
    pub sql: String,
    pub handle: JobHandle,
    pub receiver: Receiver<ChangelogBatch>,
    pub schema: Schema,
    pub listener: Arc<LastCheckpoint>,
    /// What the file's last `checkpoint` gave.
    pub saved: Option<Arc<Checkpoint>>,
    /// All changes since the start.
    pub changes: Vec<Row>,
    /// Up to where the file has looked.
    pub num_seen: usize,
    /// Up to where the last checkpoint's output goes.
    pub num_committed: usize,
    /// How much of `expected` stood before the last checkpoint.
    pub num_expected_committed: usize,
    /// The checkpoint after the last record and how much was said before it, where the runner lets
    /// jobs crash by itself.
    pub last: Option<(Arc<Checkpoint>, usize)>,
    /// It has begun with another statement: what that said may be taken back.
    pub is_changed: bool,
    /// What the file expected so far, for cells that do not compare changes.
    pub expected: Vec<Row>,
}

/// Keeps the last complete checkpoint.
#[derive(Default)]
pub(super) struct LastCheckpoint {
    pub checkpoint: Mutex<Option<Arc<Checkpoint>>>,
    changed: Condvar,
}

impl LastCheckpoint {
    /// Waits a moment for the checkpoint of this id; gives whether it is complete.
    fn wait_for(&self, id: u64) -> bool {
        let mut last = self.checkpoint.lock();
        let is_there = |last: &Option<Arc<Checkpoint>>| last.as_ref().is_some_and(|c| c.id >= id);
        if !is_there(&last) {
            self.changed.wait_for(&mut last, A_MOMENT);
        }
        is_there(&last)
    }
}

impl CheckpointListener for LastCheckpoint {
    fn on_checkpoint(&self, checkpoint: Checkpoint) -> flott_core::Result<()> {
        *self.checkpoint.lock() = Some(Arc::new(checkpoint));
        self.changed.notify_all();
        Ok(())
    }
}

impl Runner {
    pub(super) fn start(
        &mut self,
        sql: &str,
        restore: Option<Arc<Checkpoint>>,
        parallelism: usize,
    ) -> Result<Job> {
        let (graph, schema, receiver) = self.plan_job(sql, parallelism).map_err(with_code)?;
        let listener = Arc::new(LastCheckpoint::default());
        let options = JobOptions {
            checkpoint_listener: Some(listener.clone()),
            restore,
            ..self.options(parallelism)
        };
        let handle = flott_engine::execute(graph, options).map_err(with_code)?;
        Ok(Job {
            sql: sql.to_string(),
            handle,
            receiver,
            schema,
            listener,
            saved: None,
            changes: Vec::new(),
            num_seen: 0,
            num_committed: 0,
            num_expected_committed: 0,
            last: None,
            is_changed: false,
            expected: Vec::new(),
        })
    }

    /// A query with a sink for its rows, or an INSERT, which gives no rows.
    fn plan_job(
        &mut self,
        sql: &str,
        parallelism: usize,
    ) -> Result<(JobGraph, Schema, Receiver<ChangelogBatch>), flott_core::Error> {
        let [statement] = &parse_script(sql)?[..] else {
            return Err(flott_core::Error::user(
                "TEST_START",
                "start takes one statement",
            ));
        };
        match self.session.execute(statement, parallelism)? {
            StatementResult::Query(query) => {
                let schema = query.schema.clone();
                let (sink, receiver) = CollectSink::new(schema.clone(), QUEUE);
                Ok((query.with_sink(sink), schema, receiver))
            }
            StatementResult::Insert(graph) => {
                Ok((graph, Schema::new(Vec::new()), crossbeam_channel::never()))
            }
            _ => Err(flott_core::Error::user(
                "TEST_START",
                "start takes a query or an INSERT",
            )),
        }
    }

    /// Waits until every job has worked off what was fed: two checkpoints pass through it.
    pub(super) fn settle(&mut self) -> Result<()> {
        let watch = flott_core::clock::Stopwatch::start();
        let names: Vec<String> = self.jobs.keys().cloned().collect();
        while !self.hub.is_drained() {
            let is_any_running = self.jobs.values().any(|j| !j.handle.is_finished());
            if !is_any_running {
                break;
            }
            if watch.elapsed() > SETTLE_TIMEOUT {
                bail!("a job does not read what was fed");
            }
            std::thread::yield_now();
        }
        for name in names {
            for _ in 0..2 {
                self.pass_checkpoint(&name)?;
            }
            self.receive(&name);
        }
        Ok(())
    }

    /// Takes a checkpoint of a job and waits until it is complete, or the job is over. Results are
    /// taken meanwhile: a full queue would hold the job back.
    fn pass_checkpoint(&mut self, name: &str) -> Result<()> {
        let watch = flott_core::clock::Stopwatch::start();
        let mut wanted = None;
        loop {
            self.receive(name);
            let job = self.job(name)?;
            if job.handle.is_finished() {
                return Ok(());
            }
            if wanted.is_none() {
                wanted = job
                    .handle
                    .trigger_checkpoint()
                    .map_err(|e| anyhow::anyhow!("{e}"))?;
            }
            let is_complete = |id| job.listener.wait_for(id);
            if wanted.is_some_and(is_complete) {
                return Ok(());
            }
            if watch.elapsed() > SETTLE_TIMEOUT {
                bail!("job '{name}' does not complete a checkpoint");
            }
            std::thread::yield_now();
        }
    }

    pub(super) fn receive(&mut self, name: &str) {
        let text = self.text_options();
        if let Some(job) = self.jobs.get_mut(name) {
            while let Ok(batch) = job.receiver.try_recv() {
                job.changes
                    .extend(rows::of_batch(&batch, &job.schema, &text));
            }
        }
    }

    pub(super) fn job(&mut self, name: &str) -> Result<&mut Job> {
        self.jobs
            .get_mut(name)
            .with_context(|| format!("no job '{name}'"))
    }

    pub(super) fn checkpoint(&mut self) -> Result<()> {
        self.settle()?;
        for job in self.jobs.values_mut() {
            job.num_committed = job.changes.len();
            job.num_expected_committed = job.expected.len();
            job.saved = job.listener.checkpoint.lock().clone();
        }
        Ok(())
    }

    /// The jobs are gone, and with them what they said since the checkpoint.
    pub(super) fn crash(&mut self) -> Result<()> {
        for job in self.jobs.values_mut() {
            job.handle.cancel();
            let _ = job.handle.wait();
            job.changes.truncate(job.num_committed);
            job.num_seen = job.num_seen.min(job.num_committed);
            job.expected.truncate(job.num_expected_committed);
        }
        self.hub.forget_readers();
        Ok(())
    }

    /// The job goes on with another statement from a checkpoint of this moment, unless its state does
    /// not fit that. What it says from now on is the new statement's. The expected block is what
    /// becomes of the state.
    pub(super) fn change(&mut self, record: &Record, name: &str) -> Result<()> {
        self.settle()?;
        let job = self.jobs.remove(name);
        let job = job.with_context(|| format!("no job '{name}'"))?;
        let checkpoint = job.listener.checkpoint.lock().clone();
        let checkpoint = checkpoint.with_context(|| format!("job '{name}' has ended"))?;
        job.handle.cancel();
        let _ = job.handle.wait();
        self.hub.forget_readers();
        let sql = self.substitute(&record.body);
        let (graph, ..) = self
            .plan_job(&sql, self.cell.parallelism)
            .map_err(with_code)?;
        let (fates, fits) = fates(&graph, &checkpoint);
        if let Some(expected) = record.expected.as_ref().map(|e| e.text.clone())
            && expected.trim_end() != fates
        {
            self.differ(record, &expected, &fates);
        }
        let sql = if fits { sql } else { job.sql.clone() };
        let parallelism = self.cell.parallelism;
        let mut changed = self.start(&sql, Some(checkpoint.clone()), parallelism)?;
        changed.last = Some((checkpoint, 0));
        changed.is_changed = true;
        self.jobs.insert(name.to_string(), changed);
        Ok(())
    }

    pub(super) fn restore(&mut self, parallelism: Option<usize>) -> Result<()> {
        let parallelism = parallelism.unwrap_or(self.cell.parallelism);
        for name in self.jobs.keys().cloned().collect::<Vec<_>>() {
            let Some(old) = self.jobs.remove(&name) else {
                continue;
            };
            let mut job = self.start(&old.sql, old.saved.clone(), parallelism)?;
            job.saved = old.saved;
            (job.changes, job.num_seen) = (old.changes, old.num_seen);
            (job.num_committed, job.expected) = (old.num_committed, old.expected);
            job.num_expected_committed = old.num_expected_committed;
            job.is_changed = old.is_changed;
            self.jobs.insert(name, job);
        }
        Ok(())
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        for job in self.jobs.values() {
            job.handle.cancel();
            let _ = job.handle.wait();
        }
    }
}

/// What becomes of the state of each operator that has changed, a line each, and whether all of it
/// can be taken over.
fn fates(graph: &JobGraph, checkpoint: &Checkpoint) -> (String, bool) {
    let (mut lines, mut fits) = (Vec::new(), true);
    for node in &graph.nodes {
        let Some(former) = checkpoint.operators.get(&node.uid) else {
            continue;
        };
        match check_state(graph, node, former) {
            Ok(fit) => lines.extend(fit.changes),
            Err(error) => {
                fits = false;
                let message = error.message();
                let why = message.split_once(": ").map_or(message, |(_, why)| why);
                lines.push(format!("[{}] {why}", error.code()));
            }
        }
    }
    (lines.join("\n"), fits)
}

/// An error with its code.
pub(super) fn with_code(error: flott_core::Error) -> anyhow::Error {
    anyhow::anyhow!("[{}] {error}", error.code())
}
