//! Runs a job graph on Timely Dataflow, moving Arrow batches between threads.
//!
//! [`execute`] starts a job and gives a [`JobHandle`]. From the graph to the running job:
//!
//! | module | what it does |
//! |---|---|
//! | [`plan`] | fuses nodes into chains |
//! | `prepare` | makes one worker's instances: operators, readers, writers |
//! | `dataflow` | gives each chain a host in the worker's Timely dataflow |
//! | `source_host`, `operator_host` | drive a chain: epochs, watermarks, timers |
//! | `chain` | operators that call each other directly |
//! | `exchange`, [`partition`] | rows between subtasks |
//! | `inputs` | watermarks, idleness and ends over input channels |
//! | `flow` | sources wait while too many bytes are under way |
//! | `worker`, `timers` | a worker's loop, processing time |
//! | [`checkpoint`], `enumerator`, [`restore`] | consistent cuts, and starting from one |
//! | [`migrate`] | state of a query that has changed since |
//! | [`runner`], [`restart`], [`config`] | attempts: starting again after failures |
//! | [`simulation`] | one worker at a time, by a seed, with faults by a plan |
//! | [`spill`] | state larger than memory |
//! | [`testing`] | the harness for operators |
//!
//! Timely's timestamp is the checkpoint's epoch; event time is data: watermarks travel in-band.

mod adopt;
mod chain;
pub mod checkpoint;
mod collect;
pub mod config;
mod dataflow;
mod enumerator;
mod exchange;
mod execute;
mod flow;
mod inputs;
pub mod invariants;
mod job;
mod message;
pub mod migrate;
mod operator_host;
mod options;
pub mod partition;
pub mod plan;
mod prepare;
pub mod restart;
pub mod restore;
pub mod runner;
mod sender;
pub mod simulation;
mod source_host;
pub mod spill;
pub mod testing;
mod timers;
mod worker;

pub use adopt::adopt_uids;
pub use checkpoint::{
    Checkpoint, CheckpointHistory, CheckpointListener, CheckpointStats, CheckpointStatus,
    CheckpointStorage, OperatorCheckpoint, SavepointTicket, SubtaskCheckpoint,
};
pub use collect::CollectSink;
pub use config::{CheckpointConfig, DurabilityConfig, OnDamage};
pub use execute::{SimulatedRun, execute, execute_simulated};
pub use job::{JobHandle, JobOutcome, JobProgress, JobReport, NodeMetrics};
pub use migrate::{StateFit, check_state};
pub use options::JobOptions;
pub use runner::{
    JobEvent, JobSettings, RunningJob, finished_job, forget_job, run_job, simulate_job,
};
pub use simulation::{BeforeTurn, Random, Simulation, SimulationPlan};
