//! Whole jobs under simulation: deterministic, seeded, with faults.
//!
//! One seed is one life of a job. Processes start it, at this or that parallelism, until it has
//! finished; workers step one at a time in an order that the seed decides, and the seed lets the
//! process die at a turn or inside a call of the store or the sink, lets calls fail before or after
//! they have done something, tears uploads, and has state stored slowly. What was committed in the
//! end has to be what the same statements give in batch mode, where nothing fails.
//!
//! | module | what it holds |
//! |---|---|
//! | [`jobs`] | the statements, and their input |
//! | [`world`] | what stands outside the process: input, the store, a two-phase-commit sink |
//! | [`life`] | one seed, from the first process to the verdict |
//! | [`check`] | what has to hold of the store |

pub mod check;
pub mod jobs;
pub mod life;
pub mod world;
