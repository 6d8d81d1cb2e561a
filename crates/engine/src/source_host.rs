//! Hosts a source: polls its reader, runs the chain behind it, and marks the epochs.

use std::sync::Arc;

use timely::dataflow::operators::Capability;

use flott_core::Result;
use flott_core::changelog::ChangelogBatch;
use flott_core::clock::Stopwatch;
use flott_core::source::{SourcePoll, SourceReader, Waker};

use crate::chain::{Chain, Place};
use crate::checkpoint::{SnapshotTimes, SubtaskCheckpoint};
use crate::enumerator::JobEnumerator;
use crate::invariants::OutputCheck;
use crate::sender::{ROWS_PER_SEND, Sender};
use crate::simulation::TraceEvent;
use crate::timers::Timer;

/// Rows read before the worker's other operators get their turn; fewer when there is enough to be
/// sent to them.
const ROWS_PER_TURN: usize = 1 << 15;
/// Polls before the worker's other operators get their turn, however little they give.
const POLLS_PER_TURN: usize = 32;
/// In a simulation, which is to see many orders of turns.
const POLLS_PER_SIMULATED_TURN: usize = 4;

/// A reader and what belongs to it.
pub struct SourceHead {
    pub place: Place,
    pub reader: Box<dyn SourceReader>,
    pub enumerator: Arc<JobEnumerator>,
    pub check: Option<OutputCheck>,
    /// It had ended before a restore.
    pub is_finished: bool,
    /// Activates the host from any thread.
    pub waker: Waker,
}

/// What a turn ended with.
enum Turn {
    /// There may be more at once.
    More,
    /// Somebody will wake the source: its waker, a timer, or the flow control.
    Wait,
    End,
}

/// One subtask of a source with its chain.
pub struct SourceHost {
    pub head: SourceHead,
    pub chain: Chain,
    pub sender: Sender,
    pub capability: Option<Capability<u64>>,
    pub timer: Timer,
    epoch: u64,
    num_checkpoints_seen: u64,
    /// Since when the reader has had nothing, in ms.
    waiting_since_ms: Option<i64>,
    poll_again_ms: Option<i64>,
    /// The reader has nothing to read from.
    has_no_split: bool,
    is_idle: bool,
    gated_since: Option<Stopwatch>,
}

impl SourceHost {
    pub fn new(
        head: SourceHead,
        chain: Chain,
        sender: Sender,
        capability: Capability<u64>,
        timer: Timer,
    ) -> Self {
        Self {
            head,
            chain,
            sender,
            capability: Some(capability),
            timer,
            epoch: 0,
            num_checkpoints_seen: 0,
            waiting_since_ms: None,
            poll_again_ms: None,
            has_no_split: false,
            is_idle: false,
            gated_since: None,
        }
    }

    /// Does one turn; gives whether the host wants another at once.
    pub fn run(&mut self) -> Result<bool> {
        let Some(capability) = &self.capability else {
            return Ok(false);
        };
        self.sender.flush(capability, &mut self.chain);
        self.follow_checkpoints()?;
        let now_ms = self.head.place.job.options.clock.now_ms();
        self.chain.fire_timers(now_ms)?;
        let turn = self.poll(now_ms)?;
        if let Some(capability) = &self.capability {
            self.sender.flush(capability, &mut self.chain);
        }
        match turn {
            Turn::End => {
                self.capability = None;
                self.timer.clear();
                return Ok(false);
            }
            Turn::Wait => self.wait(now_ms),
            Turn::More => {}
        }
        Ok(matches!(turn, Turn::More))
    }

    fn poll(&mut self, now_ms: i64) -> Result<Turn> {
        let job = self.head.place.job.clone();
        if job.is_draining() || self.head.is_finished {
            return self.end();
        }
        if job.checkpoints.is_stopped_at(self.epoch) {
            self.waiting_since_ms = None;
            return Ok(Turn::Wait);
        }
        self.poll_again_ms = None;
        self.has_no_split = false;
        let mut num_rows = 0;
        let num_polls = match job.trace {
            Some(_) => POLLS_PER_SIMULATED_TURN,
            None => POLLS_PER_TURN,
        };
        for _ in 0..num_polls {
            if self.is_gated() {
                // It may well have something: that is not idleness.
                self.waiting_since_ms = None;
                return Ok(Turn::Wait);
            }
            let reader = self.head.reader.as_mut();
            match self.head.place.guard(|| reader.poll())? {
                SourcePoll::Batch(batch) => {
                    num_rows += batch.num_rows();
                    self.pass_on(batch)?;
                    let is_enough = self.chain.num_rows_to_send() >= Some(ROWS_PER_SEND);
                    if is_enough || num_rows >= ROWS_PER_TURN {
                        return Ok(Turn::More);
                    }
                }
                SourcePoll::Watermark(watermark) => {
                    self.is_idle = false;
                    let metrics = &self.head.place.metrics;
                    metrics.current_output_watermark.set(watermark);
                    self.chain.watermark(watermark)?;
                }
                SourcePoll::Pending => {
                    self.waiting_since_ms.get_or_insert(now_ms);
                    return Ok(Turn::Wait);
                }
                SourcePoll::PendingUntil(time_ms) => {
                    self.waiting_since_ms.get_or_insert(now_ms);
                    self.poll_again_ms = Some(time_ms);
                    return Ok(Turn::Wait);
                }
                SourcePoll::IdleUntil(time_ms) => {
                    self.has_no_split = true;
                    self.waiting_since_ms.get_or_insert(now_ms);
                    self.poll_again_ms = Some(time_ms);
                    return Ok(Turn::Wait);
                }
                SourcePoll::End => return self.end(),
            }
        }
        Ok(Turn::More)
    }

    fn pass_on(&mut self, batch: ChangelogBatch) -> Result<()> {
        let place = &self.head.place;
        place
            .job
            .trace(TraceEvent::Read(place.node, batch.num_rows()));
        self.is_idle = false;
        self.waiting_since_ms = None;
        if let Some(check) = &self.head.check {
            place.guard(|| check.batch(&batch))?;
        }
        if batch.is_empty() {
            return Ok(());
        }
        let metrics = &place.metrics;
        metrics.num_records_out.add(batch.num_rows() as u64);
        self.chain.process(0, batch)
    }

    /// Whether the source has to wait for slower operators; it is woken when it may go on.
    fn is_gated(&mut self) -> bool {
        let flow = &self.head.place.job.flow;
        let waker = self.head.waker.clone();
        let is_open = flow.is_open() || flow.wait(Box::new(move || waker()));
        if !is_open {
            self.gated_since.get_or_insert_with(Stopwatch::start);
        } else if let Some(since) = self.gated_since.take() {
            let waited = since.elapsed().as_nanos() as u64;
            self.head.place.metrics.back_pressured_time_ns.add(waited);
        }
        !is_open
    }

    fn end(&mut self) -> Result<Turn> {
        let place = &self.head.place;
        // Draining leaves splits unfinished: they stay in every later checkpoint.
        let reader = self.head.reader.as_mut();
        let splits = place.guard(|| reader.snapshot())?;
        let ended = SubtaskCheckpoint {
            splits,
            ..SubtaskCheckpoint::default()
        };
        place.job.checkpoints.end(place.key(), ended);
        self.head.enumerator.reader_at(place.subtask, u64::MAX);
        if let Some(check) = &mut self.head.check {
            check.end();
        }
        self.chain.end()?;
        Ok(Turn::End)
    }

    /// Crosses into the epoch that the job aims at, delivering the state at the border.
    fn follow_checkpoints(&mut self) -> Result<()> {
        let checkpoints = &self.head.place.job.checkpoints;
        let num_complete = checkpoints.num_complete();
        let reader = self.head.reader.as_mut();
        if num_complete > self.num_checkpoints_seen {
            self.num_checkpoints_seen = num_complete;
            let id = checkpoints.id_of(num_complete - 1);
            self.head.place.guard(|| reader.checkpoint_complete(id))?;
        }
        while self.epoch < checkpoints.target_epoch() {
            let place = &self.head.place;
            let delivered = SubtaskCheckpoint {
                splits: place.guard(|| reader.snapshot())?,
                ..SubtaskCheckpoint::default()
            };
            place.deliver(self.epoch, delivered, SnapshotTimes::default());
            self.chain.prepare_snapshot()?;
            if let Some(capability) = &self.capability {
                self.sender.flush(capability, &mut self.chain);
            }
            self.chain.snapshot(self.epoch, 0)?;
            self.epoch += 1;
            if let Some(capability) = &mut self.capability {
                capability.downgrade(&self.epoch);
            }
            self.head.enumerator.reader_at(place.subtask, self.epoch);
        }
        Ok(())
    }

    /// Sets the timer to the next time something is due; tells the chain when the source is idle.
    fn wait(&mut self, now_ms: i64) {
        let place = &self.head.place;
        let timeout_ms = match self.has_no_split {
            true => Some(0),
            false => place.job.graph.nodes[place.node].idle_timeout_ms,
        };
        let idle_at = self.waiting_since_ms.zip(timeout_ms);
        let mut idle_at = idle_at.map(|(since, timeout)| since.saturating_add(timeout));
        if self.is_idle {
            idle_at = None;
        }
        if idle_at.is_some_and(|at| at <= now_ms) {
            self.is_idle = true;
            idle_at = None;
            self.chain.idle();
            if let Some(capability) = &self.capability {
                self.sender.flush(capability, &mut self.chain);
            }
        }
        let times = [self.chain.next_timer_ms(), self.poll_again_ms, idle_at];
        self.timer.set(times.into_iter().flatten().min());
    }
}
