//! Hosts a chain that takes input from other chains: keeps epochs apart, combines watermarks.

use std::collections::VecDeque;

use timely::dataflow::operators::Capability;

use flott_core::clock::Stopwatch;
use flott_core::{Error, Result};

use crate::chain::{Chain, Place};
use crate::inputs::{InputChange, InputChannels};
use crate::message::{Message, Payload};
use crate::sender::{ROWS_PER_SEND, Sender};
use crate::simulation::TraceEvent;
use crate::timers::Timer;

/// Messages received before an earlier epoch was over.
type Held = VecDeque<(u64, usize, Message)>;

/// One subtask of a chain.
pub struct OperatorHost {
    pub place: Place,
    pub chain: Chain,
    pub inputs: InputChannels,
    /// For each input: one channel from the same subtask, rather than one from each.
    pub is_forward: Vec<bool>,
    pub sender: Sender,
    pub capability: Option<Capability<u64>>,
    pub timer: Timer,
    pub epoch: u64,
    pub held: Held,
    /// Since when messages are held.
    pub held_since: Option<Stopwatch>,
}

impl OperatorHost {
    /// Takes a message of this epoch on this input.
    pub fn receive(&mut self, input: usize, epoch: u64, message: Message) -> Result<()> {
        if epoch > self.epoch {
            self.held_since.get_or_insert_with(Stopwatch::start);
            self.held.push_back((epoch, input, message));
            return Ok(());
        }
        self.handle(input, message)
    }

    fn handle(&mut self, input: usize, message: Message) -> Result<()> {
        let node = self.place.node;
        let channel = if self.is_forward[input] {
            0
        } else {
            message.sender
        };
        let change = match message.payload {
            Payload::Empty => return Ok(()),
            Payload::Batch(batch) => {
                self.place
                    .job
                    .trace(TraceEvent::Batch(node, batch.num_rows()));
                self.inputs.on_batch(input, channel);
                self.chain.process(input, batch)?;
                InputChange::Nothing
            }
            Payload::Watermark(watermark) => {
                self.place.job.trace(TraceEvent::Watermark(node, watermark));
                self.inputs.on_watermark(input, channel, watermark)
            }
            Payload::Idle => self.inputs.on_idle(input, channel),
            Payload::End => {
                self.place.job.trace(TraceEvent::End(node));
                let change = self.inputs.on_end(input, channel);
                if self.inputs.has_ended(input) {
                    self.chain.input_ended(input)?;
                }
                change
            }
        };
        match change {
            InputChange::Nothing => {}
            InputChange::Watermark(watermark) => self.chain.watermark(watermark)?,
            InputChange::Idle(watermark) => {
                if let Some(watermark) = watermark {
                    self.chain.watermark(watermark)?;
                }
                self.chain.idle();
            }
            InputChange::End => self.chain.end()?,
        }
        // What little there is waits for the rest of this turn: see `check_timers`.
        let is_much = self.chain.num_rows_to_send() >= Some(ROWS_PER_SEND);
        if let Some(capability) = &self.capability
            && (is_much || change == InputChange::End)
        {
            self.sender.flush(capability, &mut self.chain);
        }
        if change == InputChange::End {
            self.capability = None;
            self.timer.clear();
        }
        Ok(())
    }

    /// Goes on to the next epochs that `frontier`, the least epoch still to come, allows; `None`
    /// when nothing is to come.
    pub fn advance(&mut self, frontier: Option<u64>) -> Result<()> {
        while self.capability.is_some() && frontier.is_none_or(|f| f > self.epoch) {
            if frontier.is_none() && self.held.is_empty() {
                return Err(Error::internal("an input closed without an end"));
            }
            let held = self.held_since.take().map(|since| since.elapsed());
            let alignment_ns = held.map_or(0, |time| time.as_nanos() as u64);
            self.chain.prepare_snapshot()?;
            if let Some(capability) = &self.capability {
                self.sender.flush(capability, &mut self.chain);
            }
            self.chain.snapshot(self.epoch, alignment_ns)?;
            self.epoch += 1;
            if let Some(capability) = &mut self.capability {
                capability.downgrade(&self.epoch);
            }
            for (epoch, input, message) in std::mem::take(&mut self.held) {
                self.receive(input, epoch, message)?;
            }
        }
        Ok(())
    }

    /// Ends a turn: calls operators whose time has come, sends what waits to be sent, and sets the
    /// timer to the next.
    pub fn check_timers(&mut self) -> Result<()> {
        let Some(capability) = &self.capability else {
            return Ok(());
        };
        if let Some(next) = self.chain.next_timer_ms() {
            let now_ms = self.place.job.options.clock.now_ms();
            if next <= now_ms {
                self.chain.fire_timers(now_ms)?;
            }
        }
        self.sender.flush(capability, &mut self.chain);
        self.timer.set(self.chain.next_timer_ms());
        Ok(())
    }
}
