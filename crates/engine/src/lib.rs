//! Runs a job graph on Timely Dataflow.

pub mod invariants;
pub mod partition;
pub mod restore;
pub mod testing;
