//! Durable storage of checkpoints and savepoints, on local folders and object stores
//! ([`flott_storage`]).
//!
//! | module | what it holds |
//! |---|---|
//! | [`state_file`] | state rows as bytes: magic, version, Arrow IPC, checksum |
//! | `packed_file` | state files of packed rows |
//! | [`stored`] | rows that lie in state files, read when they are needed |
//! | [`manifest`] | what a checkpoint consists of, as text with a checksum |
//! | [`checkpoints`] | the checkpoints of one job: attempts, manifests, retention, clean-up |
//! | `chain_files` | chains of snapshots to files and back |
//! | [`fault`] | a store that fails on purpose, for tests |
//!
//! All calls block the calling thread.

mod chain_files;
pub mod checkpoints;
pub mod fault;
pub mod manifest;
mod packed_file;
pub mod state_file;
pub mod stored;

pub use checkpoints::{CheckpointStore, Recovery, read_savepoint};
pub use flott_storage::{StoragePlace, place};
pub use manifest::Manifest;
