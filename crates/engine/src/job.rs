//! A running job: what its workers share, and the handle that its owner holds.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::thread::Thread;

use parking_lot::{Condvar, Mutex};

use flott_core::graph::{JobGraph, NodeId, NodeKind};
use flott_core::metrics::OperatorMetrics;
use flott_core::sink::SinkWriter;
use flott_core::{Error, Result};

use crate::checkpoint::{CheckpointHistory, Checkpoints, SavepointTicket};
use crate::enumerator::JobEnumerator;
use crate::flow::FlowControl;
use crate::options::JobOptions;
use crate::plan::ChainPlan;
use crate::simulation::Trace;
use crate::spill::Spilling;

const RUNNING: u8 = 0;
const DRAINING: u8 = 1;
const STOPPED: u8 = 2;
const CANCELLED: u8 = 3;
const FAILED: u8 = 4;

/// What all workers of a job share.
pub struct JobState {
    pub graph: JobGraph,
    pub options: JobOptions,
    pub chains: Vec<ChainPlan>,
    pub flow: Arc<FlowControl>,
    pub spilling: Spilling,
    /// By node, then by subtask.
    pub metrics: Vec<Vec<Arc<OperatorMetrics>>>,
    pub enumerators: BTreeMap<NodeId, Arc<JobEnumerator>>,
    pub checkpoints: Checkpoints,
    pub trace: Option<Trace>,
    phase: AtomicU8,
    /// Somebody wants the job to be drained, also when it fails and starts again.
    drain_asked: AtomicBool,
    failure: Mutex<Option<Error>>,
    /// Counts signals to the workers: a change makes them look at their sources and timers.
    signals: AtomicU64,
    workers: Mutex<Vec<Thread>>,
    /// Writers that have finished, kept so that they can be aborted if the job fails after all.
    finished_writers: Mutex<Vec<Box<dyn SinkWriter>>>,
    /// The savepoint that the job stopped with.
    savepoint: Mutex<Option<String>>,
    result: Mutex<Option<Result<JobReport>>>,
    is_done: Condvar,
}

impl JobState {
    pub fn new(
        graph: JobGraph,
        options: JobOptions,
        chains: Vec<ChainPlan>,
        enumerators: BTreeMap<NodeId, Arc<JobEnumerator>>,
        trace: Option<Trace>,
        spilling: Spilling,
    ) -> Self {
        let mut metrics: Vec<Vec<Arc<OperatorMetrics>>> = vec![Vec::new(); graph.nodes.len()];
        let mut num_subtasks = 0;
        for chain in &chains {
            for &node in &chain.nodes {
                metrics[node].resize_with(chain.parallelism, Default::default);
                num_subtasks += chain.parallelism;
            }
        }
        let restored_id = options.restore.as_ref().map(|c| c.id);
        Self {
            flow: FlowControl::new(options.in_flight_bytes),
            spilling,
            metrics,
            enumerators,
            checkpoints: Checkpoints::new(num_subtasks, restored_id, options.last_checkpoint_id),
            trace,
            phase: AtomicU8::new(RUNNING),
            drain_asked: AtomicBool::new(false),
            failure: Mutex::new(None),
            signals: AtomicU64::new(0),
            workers: Mutex::new(Vec::new()),
            finished_writers: Mutex::new(Vec::new()),
            savepoint: Mutex::new(None),
            result: Mutex::new(None),
            is_done: Condvar::new(),
            graph,
            options,
            chains,
        }
    }

    /// The job has failed, was cancelled, or has stopped with a savepoint.
    pub fn is_stopped(&self) -> bool {
        self.phase.load(Ordering::SeqCst) >= STOPPED
    }

    /// The job stops: its savepoint is complete and committed.
    pub fn stop(&self, savepoint: String) {
        *self.savepoint.lock() = Some(savepoint);
        self.phase.fetch_max(STOPPED, Ordering::SeqCst);
        self.cancel_sinks();
        self.signal();
    }

    /// Sources are to end as if their input had ended.
    pub fn is_draining(&self) -> bool {
        self.phase.load(Ordering::SeqCst) == DRAINING
    }

    /// Fails the job; the first error counts.
    pub fn fail(&self, error: Error) {
        self.failure.lock().get_or_insert(error);
        self.phase.fetch_max(FAILED, Ordering::SeqCst);
        self.cancel_sinks();
        self.signal();
    }

    pub fn failure(&self) -> Option<Error> {
        self.failure.lock().clone()
    }

    fn cancel_sinks(&self) {
        for node in &self.graph.nodes {
            if let NodeKind::Sink(sink) = &node.kind {
                sink.cancel();
            }
        }
    }

    /// Makes every worker look at its sources and timers.
    pub fn signal(&self) {
        self.signals.fetch_add(1, Ordering::SeqCst);
        self.workers.lock().iter().for_each(Thread::unpark);
        self.checkpoints.wake();
    }

    pub fn num_signals(&self) -> u64 {
        self.signals.load(Ordering::SeqCst)
    }

    /// The calling thread is a worker from now on.
    pub fn register_worker(&self) {
        self.workers.lock().push(std::thread::current());
    }

    pub fn finish_writer(&self, writer: Box<dyn SinkWriter>) {
        self.finished_writers.lock().push(writer);
    }

    /// What finished writers have prepared is no longer theirs to remove.
    pub fn release_writers(&self) {
        self.finished_writers.lock().clear();
    }

    /// Ends the job: finished writers are aborted unless it has succeeded, and waiters wake.
    pub fn conclude(&self, result: Result<JobReport>) {
        let is_success = matches!(&result, Ok(report) if report.outcome != JobOutcome::Cancelled);
        for mut writer in self.finished_writers.lock().drain(..) {
            if !is_success {
                writer.abort();
            }
        }
        self.checkpoints.close();
        *self.result.lock() = Some(result);
        self.is_done.notify_all();
    }

    pub fn report(&self) -> JobReport {
        let sum = |is_wanted: fn(&NodeKind) -> bool, value: fn(&OperatorMetrics) -> u64| -> u64 {
            let nodes = self.graph.nodes.iter().zip(&self.metrics);
            let wanted = nodes.filter(|(node, _)| is_wanted(&node.kind));
            wanted.flat_map(|(_, m)| m).map(|m| value(m)).sum()
        };
        JobReport {
            outcome: match self.phase.load(Ordering::SeqCst) {
                CANCELLED => JobOutcome::Cancelled,
                STOPPED => JobOutcome::Stopped,
                _ => JobOutcome::Finished,
            },
            savepoint: self.savepoint.lock().clone(),
            num_records_in: sum(
                |k| matches!(k, NodeKind::Source(_)),
                |m| m.num_records_out.get(),
            ),
            num_records_out: sum(
                |k| matches!(k, NodeKind::Sink(_)),
                |m| m.num_records_in.get(),
            ),
            peak_in_flight_bytes: self.flow.peak_bytes(),
        }
    }
}

/// How a job came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobOutcome {
    /// All input was read, or the job was drained, and the output is committed.
    Finished,
    /// The job was cancelled; pending output was aborted.
    Cancelled,
    /// The job stopped with a savepoint; the output up to there is committed.
    Stopped,
}

/// What a job did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobReport {
    pub outcome: JobOutcome,
    /// The savepoint that it stopped with.
    pub savepoint: Option<String>,
    /// Rows read by all sources.
    pub num_records_in: u64,
    /// Rows written to all sinks.
    pub num_records_out: u64,
    /// The most bytes that were between operators at once.
    pub peak_in_flight_bytes: usize,
}

/// Where a running job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobProgress {
    /// Rows read by all sources.
    pub num_records_in: u64,
    /// Rows written to all sinks.
    pub num_records_out: u64,
    /// The least watermark that a sink has received, in ms; `i64::MIN` when there is none.
    pub watermark: i64,
}

/// The metrics of one node.
#[derive(Debug, Clone)]
pub struct NodeMetrics {
    pub uid: String,
    pub name: String,
    /// By subtask.
    pub subtasks: Vec<Arc<OperatorMetrics>>,
}

/// A job that runs, or has run. Dropping the handle does not stop the job.
#[derive(Clone)]
pub struct JobHandle {
    pub(crate) state: Arc<JobState>,
}

impl JobHandle {
    /// Stops the job; pending output is aborted.
    pub fn cancel(&self) {
        let phase = &self.state.phase;
        if phase.fetch_max(CANCELLED, Ordering::SeqCst) < CANCELLED {
            self.state.cancel_sinks();
        }
        self.state.signal();
    }

    /// Ends the sources as if their input had ended: windows fire, output is committed.
    pub fn drain(&self) {
        self.state.drain_asked.store(true, Ordering::SeqCst);
        self.state.phase.fetch_max(DRAINING, Ordering::SeqCst);
        self.state.signal();
    }

    /// Whether [`JobHandle::drain`] was called, even if the job failed before it was drained.
    pub(crate) fn is_drain_asked(&self) -> bool {
        self.state.drain_asked.load(Ordering::SeqCst)
    }

    /// Processing time has moved: for clocks that do not move by themselves.
    pub fn wake(&self) {
        self.state.signal();
    }

    /// Begins a checkpoint; gives its id, or `None` while another is under way.
    ///
    /// # Errors
    /// What a split enumerator reports.
    pub fn trigger_checkpoint(&self) -> Result<Option<u64>> {
        self.state.checkpoints.trigger(&self.state, None)
    }

    /// Asks for a savepoint in a new folder below `folder`; the job goes on.
    pub fn trigger_savepoint(&self, folder: &str) -> SavepointTicket {
        self.request_savepoint(Some(folder), false, false)
    }

    /// Stops the job with a savepoint. With `drains`, the sources end first, as if their input had
    /// ended: windows fire, and the job cannot sensibly go on from the savepoint. Without, nothing
    /// is read after the savepoint's cut.
    pub fn stop_with_savepoint(&self, folder: &str, drains: bool) -> SavepointTicket {
        self.request_stop(Some(folder), drains)
    }

    /// Stops the job with a last checkpoint, and commits what is in it; the ticket gives the
    /// checkpoint's path. `drains` as for [`JobHandle::stop_with_savepoint`].
    pub fn stop_with_checkpoint(&self, drains: bool) -> SavepointTicket {
        self.request_stop(None, drains)
    }

    fn request_stop(&self, folder: Option<&str>, drains: bool) -> SavepointTicket {
        let ticket = self.request_savepoint(folder, !drains, drains);
        if drains {
            self.drain();
        }
        ticket
    }

    fn request_savepoint(
        &self,
        folder: Option<&str>,
        stops: bool,
        drains: bool,
    ) -> SavepointTicket {
        let (request, ticket) = SavepointTicket::request(folder, stops, drains);
        if !self.is_finished() {
            self.state.checkpoints.request(request);
        }
        ticket
    }

    /// The statistics of this attempt's checkpoints.
    pub fn checkpoints(&self) -> CheckpointHistory {
        self.state.checkpoints.collected().history.clone()
    }

    /// Whether [`JobHandle::wait`] would not wait.
    pub fn is_finished(&self) -> bool {
        self.state.result.lock().is_some()
    }

    /// Waits for the end of the job.
    ///
    /// # Errors
    /// The error that failed the job, with the operator and subtask where it arose.
    pub fn wait(&self) -> Result<JobReport> {
        let mut result = self.state.result.lock();
        loop {
            match &*result {
                Some(result) => return result.clone(),
                None => self.state.is_done.wait(&mut result),
            }
        }
    }

    /// Waits for the end of the job, at most this long; gives whether it has ended.
    pub fn wait_timeout(&self, timeout: std::time::Duration) -> bool {
        let mut result = self.state.result.lock();
        if result.is_none() {
            self.state.is_done.wait_for(&mut result, timeout);
        }
        result.is_some()
    }

    /// Rows read and written so far, and how far event time has come.
    pub fn progress(&self) -> JobProgress {
        let report = self.state.report();
        let nodes = self.state.graph.nodes.iter().zip(&self.state.metrics);
        let sinks = nodes.filter(|(node, _)| matches!(node.kind, NodeKind::Sink(_)));
        let watermarks = sinks.flat_map(|(_, m)| m.iter().map(|m| m.current_input_watermark.get()));
        JobProgress {
            num_records_in: report.num_records_in,
            num_records_out: report.num_records_out,
            watermark: watermarks.min().unwrap_or(i64::MIN),
        }
    }

    /// The metrics of every node; the counters go on counting.
    pub fn metrics(&self) -> Vec<NodeMetrics> {
        let nodes = self.state.graph.nodes.iter().zip(&self.state.metrics);
        let of_node = nodes.map(|(node, subtasks)| NodeMetrics {
            uid: node.uid.clone(),
            name: node.name.clone(),
            subtasks: subtasks.clone(),
        });
        of_node.collect()
    }
}

/// The text of a caught panic.
pub fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panicked without a message")
}
