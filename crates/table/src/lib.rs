//! Changelog operators on Arrow batches. Each operator is a folder or file under [`operators`]
//! with its configuration (the factory), its driver and its pure algorithm; aggregate functions
//! are one list in [`aggregates`].

pub mod aggregates;
pub mod operators;
