//! Durable storage of checkpoints and savepoints, on local folders and object stores
//! ([`flott_storage`]).
//!
//! | module | what it holds |
//! |---|---|
//! | [`state_file`] | state rows as bytes: magic, version, Arrow IPC, checksum |
//! | [`manifest`] | what a checkpoint consists of, as text with a checksum |
//! | [`checkpoints`] | the checkpoints of one job: attempts, manifests, retention, clean-up |
//! | [`fault`] | a store that fails on purpose, for tests |
//!
//! All calls block the calling thread.

pub mod checkpoints;
pub mod fault;
pub mod manifest;
pub mod state_file;

pub use checkpoints::{CheckpointStore, Recovery, read_savepoint};
pub use manifest::Manifest;
pub use flott_storage::{StoragePlace, place};
