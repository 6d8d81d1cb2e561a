//! A chain: operators fused into one, each calling the next directly, with a sink or an outbox at
//! the end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use flott_core::changelog::ChangelogBatch;
use flott_core::clock::Stopwatch;
use flott_core::graph::NodeId;
use flott_core::metrics::OperatorMetrics;
use flott_core::operator::{Operator, Output};
use flott_core::sink::SinkWriter;
use flott_core::time::{MAX_WATERMARK, MIN_WATERMARK};
use flott_core::{Error, Result};

use crate::checkpoint::{SnapshotTimes, SubtaskCheckpoint};
use crate::invariants::OutputCheck;
use crate::job::{JobState, panic_message};
use crate::message::Payload;

/// Where a subtask stands in the job.
pub struct Place {
    pub node: NodeId,
    pub subtask: usize,
    /// For messages of errors: `GroupAggregate[3] (subtask 2/4)`.
    pub label: String,
    pub metrics: Arc<OperatorMetrics>,
    pub job: Arc<JobState>,
}

impl Place {
    /// Runs code of an operator: its error or panic fails the job with the operator's name. An error
    /// that only passes through on its way up has failed the job already; the first one counts.
    pub fn guard<R>(&self, call: impl FnOnce() -> Result<R>) -> Result<R> {
        let error = match catch_unwind(AssertUnwindSafe(call)) {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(panic) => Error::internal(format!("panic: {}", panic_message(panic.as_ref()))),
        };
        if !self.job.is_stopped() {
            self.job.fail(error.clone().context(&self.label));
        }
        Err(error)
    }

    pub fn key(&self) -> (NodeId, usize) {
        (self.node, self.subtask)
    }

    /// Hands the subtask's state to the coordinator.
    pub fn deliver(&self, epoch: u64, state: SubtaskCheckpoint, times: SnapshotTimes) {
        let checkpoints = &self.job.checkpoints;
        checkpoints.deliver(&self.job, epoch, self.key(), state, times);
    }
}

/// An operator in a chain.
pub struct Link {
    pub place: Place,
    pub operator: Box<dyn Operator>,
    pub check: Option<OutputCheck>,
    pub watermark_in: i64,
    pub watermark_out: i64,
    /// It had ended before a restore: it has sent everything already.
    pub is_finished: bool,
}

impl Link {
    pub fn new(place: Place, operator: Box<dyn Operator>, check: Option<OutputCheck>) -> Self {
        Self {
            place,
            operator,
            check,
            watermark_in: MIN_WATERMARK,
            watermark_out: MIN_WATERMARK,
            is_finished: false,
        }
    }

    /// Calls the operator with an output that leads on to `rest`.
    fn call(
        &mut self,
        rest: &mut [Link],
        tail: &mut Tail,
        call: impl FnOnce(&mut dyn Operator, &mut dyn Output) -> Result<()>,
    ) -> Result<()> {
        let mut out = Downstream {
            rest,
            tail,
            metrics: &self.place.metrics,
            check: self.check.as_mut(),
            watermark: &mut self.watermark_out,
        };
        let operator = self.operator.as_mut();
        self.place.guard(|| call(operator, &mut out))
    }
}

/// What follows an operator in its chain.
struct Downstream<'a> {
    rest: &'a mut [Link],
    tail: &'a mut Tail,
    metrics: &'a OperatorMetrics,
    check: Option<&'a mut OutputCheck>,
    watermark: &'a mut i64,
}

impl Output for Downstream<'_> {
    fn emit(&mut self, batch: ChangelogBatch) -> Result<()> {
        if let Some(check) = &self.check {
            check.batch(&batch)?;
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.metrics.num_records_out.add(batch.num_rows() as u64);
        process(self.rest, self.tail, 0, batch)
    }

    fn watermark(&mut self, watermark: i64) -> Result<()> {
        if let Some(check) = &mut self.check {
            check.watermark(watermark)?;
        }
        if watermark <= *self.watermark {
            return Ok(());
        }
        *self.watermark = watermark;
        self.metrics.current_output_watermark.set(watermark);
        advance(self.rest, self.tail, watermark)
    }
}

/// The end of a chain.
pub enum Tail {
    Outbox(Outbox),
    Sink(SinkTail),
}

/// What is to be sent to other chains, in order.
#[derive(Default)]
pub struct Outbox {
    payloads: Vec<Payload>,
    num_rows: usize,
}

impl Outbox {
    fn push(&mut self, payload: Payload) {
        if let Payload::Batch(batch) = &payload {
            self.num_rows += batch.num_rows();
        }
        self.payloads.push(payload);
    }

    /// Takes everything out.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Payload> {
        self.num_rows = 0;
        self.payloads.drain(..)
    }
}

/// A sink at the end of a chain; aborted if it is dropped before it has finished.
pub struct SinkTail {
    pub place: Place,
    pub writer: Option<Box<dyn SinkWriter>>,
    pub watermark: i64,
}

impl SinkTail {
    fn call<R: Default>(
        &mut self,
        call: impl FnOnce(&mut dyn SinkWriter) -> Result<R>,
    ) -> Result<R> {
        match &mut self.writer {
            Some(writer) => self.place.guard(|| call(writer.as_mut())),
            None => Ok(R::default()),
        }
    }

    fn finish(&mut self) -> Result<()> {
        let committables = self.call(|w| w.prepare_commit(true))?;
        if let Some(writer) = self.writer.take() {
            let job = &self.place.job;
            let ended = SubtaskCheckpoint {
                committables,
                watermark: self.watermark,
                ..SubtaskCheckpoint::default()
            };
            job.checkpoints.end(self.place.key(), ended);
            job.finish_writer(writer);
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<SubtaskCheckpoint> {
        let committables = self.call(|w| w.prepare_commit(false))?;
        let writer = self.call(|w| w.snapshot())?;
        Ok(SubtaskCheckpoint {
            committables,
            writer,
            watermark: self.watermark,
            ..SubtaskCheckpoint::default()
        })
    }
}

impl Drop for SinkTail {
    fn drop(&mut self) {
        if let Some(mut writer) = self.writer.take() {
            // Nothing can be done about a writer that fails to clean up.
            let _ = catch_unwind(AssertUnwindSafe(|| writer.abort()));
        }
    }
}

impl Tail {
    fn emit(&mut self, batch: ChangelogBatch) -> Result<()> {
        match self {
            Self::Outbox(outbox) => outbox.push(Payload::Batch(batch)),
            Self::Sink(sink) => {
                let metrics = &sink.place.metrics;
                metrics.num_records_in.add(batch.num_rows() as u64);
                sink.call(|w| w.write(&batch))?;
            }
        }
        Ok(())
    }

    fn watermark(&mut self, watermark: i64) -> Result<()> {
        match self {
            Self::Outbox(outbox) => outbox.push(Payload::Watermark(watermark)),
            Self::Sink(sink) => {
                if watermark > sink.watermark {
                    sink.watermark = watermark;
                    sink.place.metrics.current_input_watermark.set(watermark);
                    sink.call(|w| w.watermark(watermark))?;
                }
            }
        }
        Ok(())
    }
}

fn process(links: &mut [Link], tail: &mut Tail, input: usize, batch: ChangelogBatch) -> Result<()> {
    match links.split_first_mut() {
        None => tail.emit(batch),
        Some((link, rest)) => {
            let metrics = &link.place.metrics;
            metrics.num_records_in.add(batch.num_rows() as u64);
            link.call(rest, tail, |operator, out| {
                operator.process(input, batch, out)
            })
        }
    }
}

fn advance(links: &mut [Link], tail: &mut Tail, watermark: i64) -> Result<()> {
    match links.split_first_mut() {
        None => tail.watermark(watermark),
        Some((link, _)) if watermark <= link.watermark_in => Ok(()),
        Some((link, rest)) => {
            link.watermark_in = watermark;
            link.place.metrics.current_input_watermark.set(watermark);
            link.call(rest, tail, |operator, out| {
                operator.watermark(watermark, out)
            })
        }
    }
}

/// Operators fused into one.
pub struct Chain {
    pub links: Vec<Link>,
    pub tail: Tail,
}

impl Chain {
    pub fn process(&mut self, input: usize, batch: ChangelogBatch) -> Result<()> {
        process(&mut self.links, &mut self.tail, input, batch)
    }

    pub fn watermark(&mut self, watermark: i64) -> Result<()> {
        advance(&mut self.links, &mut self.tail, watermark)
    }

    /// An input of the chain's first operator has ended.
    pub fn input_ended(&mut self, input: usize) -> Result<()> {
        match self.links.split_first_mut() {
            None => Ok(()),
            Some((link, rest)) => link.call(rest, &mut self.tail, |operator, out| {
                operator.input_ended(input, out)
            }),
        }
    }

    /// The chain's input is idle, and so is its output.
    pub fn idle(&mut self) {
        if let Tail::Outbox(outbox) = &mut self.tail {
            outbox.push(Payload::Idle);
        }
    }

    /// The chain's input has ended: time ends, then each operator finishes, in order.
    pub fn end(&mut self) -> Result<()> {
        for first in 0..self.links.len() {
            let links = &mut self.links[first..];
            let is_finished = links.first().is_some_and(|link| link.is_finished);
            if !is_finished {
                advance(links, &mut self.tail, MAX_WATERMARK)?;
            }
            if let Some((link, rest)) = links.split_first_mut() {
                if !is_finished {
                    link.call(rest, &mut self.tail, |operator, out| operator.finish(out))?;
                }
                if let Some(check) = &mut link.check {
                    check.end();
                }
                let ended = SubtaskCheckpoint {
                    watermark: MAX_WATERMARK,
                    ..SubtaskCheckpoint::default()
                };
                let key = link.place.key();
                link.place.job.checkpoints.end(key, ended);
            }
        }
        match &mut self.tail {
            Tail::Outbox(outbox) => outbox.push(Payload::End),
            Tail::Sink(sink) => {
                if sink.watermark < MAX_WATERMARK {
                    sink.watermark = MAX_WATERMARK;
                    sink.call(|w| w.watermark(MAX_WATERMARK))?;
                }
                sink.finish()?;
            }
        }
        Ok(())
    }

    /// Delivers again the watermarks that the operators had received before a restore.
    pub fn resume(&mut self, watermarks: &[i64]) -> Result<()> {
        for (first, &watermark) in watermarks.iter().enumerate() {
            if watermark > MIN_WATERMARK
                && first < self.links.len()
                && !self.links[first].is_finished
            {
                advance(&mut self.links[first..], &mut self.tail, watermark)?;
            }
        }
        Ok(())
    }

    /// The earliest processing time that an operator waits for, in ms.
    pub fn next_timer_ms(&self) -> Option<i64> {
        let links = self.links.iter();
        let timers = links.filter_map(|link| link.operator.next_timer_ms());
        let sink = match &self.tail {
            Tail::Sink(sink) => sink.writer.as_ref().and_then(|w| w.next_timer_ms()),
            Tail::Outbox(_) => None,
        };
        timers.chain(sink).min()
    }

    /// Calls the operators whose time has come.
    pub fn fire_timers(&mut self, now_ms: i64) -> Result<()> {
        for first in 0..self.links.len() {
            if let Some((link, rest)) = self.links[first..].split_first_mut()
                && link.operator.next_timer_ms().is_some_and(|t| t <= now_ms)
            {
                link.call(rest, &mut self.tail, |operator, out| {
                    operator.on_timer(now_ms, out)
                })?;
            }
        }
        if let Tail::Sink(sink) = &mut self.tail {
            let timer = sink.writer.as_ref().and_then(|w| w.next_timer_ms());
            if timer.is_some_and(|t| t <= now_ms) {
                sink.call(|w| w.on_timer(now_ms))?;
            }
        }
        Ok(())
    }

    /// Lets the operators send, in order, what must not stay in them over a checkpoint: what goes
    /// into the outbox belongs to the epoch that ends.
    pub fn prepare_snapshot(&mut self) -> Result<()> {
        for first in 0..self.links.len() {
            if let Some((link, rest)) = self.links[first..].split_first_mut() {
                link.call(rest, &mut self.tail, |operator, out| {
                    operator.prepare_snapshot(out)
                })?;
            }
        }
        Ok(())
    }

    /// Delivers the state of all operators for the checkpoint that closes `epoch`; `alignment_ns` is
    /// how long rows of the next epoch have waited for it.
    pub fn snapshot(&mut self, epoch: u64, alignment_ns: u64) -> Result<()> {
        let times = |watch: Stopwatch| SnapshotTimes {
            alignment_ns,
            sync_ns: watch.elapsed().as_nanos() as u64,
        };
        for link in &mut self.links {
            let watch = Stopwatch::start();
            let operator = link.operator.as_mut();
            let checkpoint = SubtaskCheckpoint {
                state: link.place.guard(|| operator.snapshot())?,
                watermark: link.watermark_in,
                ..SubtaskCheckpoint::default()
            };
            link.place.deliver(epoch, checkpoint, times(watch));
        }
        if let Tail::Sink(sink) = &mut self.tail {
            let watch = Stopwatch::start();
            let checkpoint = sink.snapshot()?;
            sink.place.deliver(epoch, checkpoint, times(watch));
        }
        Ok(())
    }

    /// What is to be sent on, if there is anything.
    pub fn outbox(&mut self) -> Option<&mut Outbox> {
        match &mut self.tail {
            Tail::Outbox(outbox) if !outbox.payloads.is_empty() => Some(outbox),
            _ => None,
        }
    }

    /// The rows that wait to be sent on; `None` when the chain ends in a sink.
    pub fn num_rows_to_send(&self) -> Option<usize> {
        match &self.tail {
            Tail::Outbox(outbox) => Some(outbox.num_rows),
            Tail::Sink(_) => None,
        }
    }
}
