//! Deterministic simulation: one worker steps at a time, in an order that a seed decides.
//!
//! The workers are ordinary Timely workers in threads of their own, but each steps only while it
//! holds the baton. What the hosts see is folded into a trace hash: the same seed must give the same
//! hash. A [`SimulationPlan`] lets attempts of a job fail at any turn and their state be stored
//! slowly; faults of the store and of sinks are the business of whoever makes those.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex};

use flott_core::Result;
use flott_core::clock::ManualClock;
use flott_core::graph::NodeId;
use flott_core::hash::mix;

use crate::job::JobState;

/// Turns between checkpoints, unless the plan says otherwise.
const CHECKPOINT_TURNS: u64 = 12;

/// What befalls the attempts of a simulated job.
pub trait SimulationPlan: Send + Sync {
    /// How the next attempt is run.
    fn next_attempt(&self) -> Simulation;

    /// The attempt is over; the hash is of everything that has happened in it, in order.
    fn attempt_over(&self, _trace_hash: u64) {}
}

/// Called before each turn, with its number; an error fails the attempt.
pub type BeforeTurn = Box<dyn FnMut(u64) -> Result<()> + Send>;

/// How one attempt of a job is simulated.
pub struct Simulation {
    /// Decides which worker steps next.
    pub seed: u64,
    /// Moves on when nothing is left to do at its present time.
    pub clock: Arc<ManualClock>,
    /// Turns between checkpoints, for jobs that take any.
    pub checkpoint_turns: u64,
    /// Turns that it takes until a complete cut is stored.
    pub store_turns: u64,
    pub before_turn: BeforeTurn,
}

impl Simulation {
    /// Without faults.
    pub fn new(seed: u64, clock: Arc<ManualClock>) -> Self {
        Self {
            seed,
            clock,
            checkpoint_turns: CHECKPOINT_TURNS,
            store_turns: 0,
            before_turn: Box::new(|_| Ok(())),
        }
    }
}

/// What hosts note in the trace.
#[derive(Debug, Clone, Copy)]
pub enum TraceEvent {
    Read(NodeId, usize),
    Batch(NodeId, usize),
    Watermark(NodeId, i64),
    End(NodeId),
}

/// The hash of everything that has happened, in order.
#[derive(Debug, Default)]
pub struct Trace {
    hash: AtomicU64,
    num_events: AtomicU64,
}

impl Trace {
    fn add(&self, event: TraceEvent) {
        let (kind, node, value) = match event {
            TraceEvent::Read(node, rows) => (1, node, rows as u64),
            TraceEvent::Batch(node, rows) => (2, node, rows as u64),
            TraceEvent::Watermark(node, watermark) => (3, node, watermark as u64),
            TraceEvent::End(node) => (4, node, 0),
        };
        let hash = self.hash.load(Ordering::SeqCst);
        let hash = mix(mix(mix(hash, kind), node as u64), value);
        self.hash.store(hash, Ordering::SeqCst);
        self.num_events.fetch_add(1, Ordering::SeqCst);
    }

    pub fn hash(&self) -> u64 {
        self.hash.load(Ordering::SeqCst)
    }

    pub fn num_events(&self) -> u64 {
        self.num_events.load(Ordering::SeqCst)
    }
}

impl JobState {
    /// Notes an event where a simulation asks for it.
    #[inline]
    pub(crate) fn trace(&self, event: TraceEvent) {
        if let Some(trace) = &self.trace {
            trace.add(event);
        }
    }
}

/// Lets one worker at a time do something.
pub struct Baton {
    state: Mutex<BatonState>,
    changed: Condvar,
    next_timers: Vec<AtomicI64>,
}

struct BatonState {
    turn: Option<usize>,
    num_joined: usize,
    is_alive: Vec<bool>,
}

/// While it is held, no other worker does anything.
pub struct Turn<'a>(&'a Baton);

impl Turn<'_> {
    /// The worker takes no other turn: this one ends with its membership.
    pub fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What follows from the panic belongs to this turn, too.
            return;
        }
        self.0.state.lock().turn = None;
        self.0.changed.notify_all();
    }
}

/// A worker takes part in the simulation until this is dropped.
pub struct Membership<'a>(&'a Baton, usize);

impl Drop for Membership<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.is_alive[self.1] = false;
        if state.turn == Some(self.1) {
            state.turn = None;
        }
        self.0.changed.notify_all();
    }
}

impl Baton {
    pub fn new(num_workers: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(BatonState {
                turn: None,
                num_joined: 0,
                is_alive: vec![true; num_workers],
            }),
            changed: Condvar::new(),
            next_timers: (0..num_workers).map(|_| AtomicI64::new(i64::MAX)).collect(),
        })
    }

    pub fn join(&self, worker: usize) -> Membership<'_> {
        self.state.lock().num_joined += 1;
        self.changed.notify_all();
        Membership(self, worker)
    }

    /// Waits for this worker's turn.
    pub fn take(&self, worker: usize) -> Turn<'_> {
        let mut state = self.state.lock();
        while state.turn != Some(worker) {
            self.changed.wait(&mut state);
        }
        Turn(self)
    }

    pub fn set_next_timer(&self, worker: usize, time_ms: Option<i64>) {
        self.next_timers[worker].store(time_ms.unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// The nearest timer of all workers, in ms.
    pub fn next_timer_ms(&self) -> Option<i64> {
        let times = self.next_timers.iter().map(|t| t.load(Ordering::SeqCst));
        times.min().filter(|&t| t != i64::MAX)
    }

    /// Waits until every worker has begun.
    pub fn wait_for_all(&self) {
        let mut state = self.state.lock();
        while state.num_joined < state.is_alive.len() {
            self.changed.wait(&mut state);
        }
    }

    /// Gives a turn to one of the workers that still run, chosen by `random`, and waits for its
    /// end. Gives whether any worker was left.
    pub fn give(&self, random: u64) -> bool {
        let mut state = self.state.lock();
        let alive: Vec<usize> = (0..state.is_alive.len())
            .filter(|&w| state.is_alive[w])
            .collect();
        if alive.is_empty() {
            return false;
        }
        let worker = alive[(random % alive.len() as u64) as usize];
        state.turn = Some(worker);
        self.changed.notify_all();
        while state.turn.is_some() && state.is_alive[worker] {
            self.changed.wait(&mut state);
        }
        true
    }
}

/// A seeded sequence of numbers.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(mix(seed, 0x9e37_79b9))
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0, 0x2545_f491_4f6c_dd1d)
    }
}
