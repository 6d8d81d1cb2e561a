//! Whole jobs on the engine.

mod checkpoints;
mod durable;
mod ends;
mod flow;
mod operators;
mod results;
mod simulated;
