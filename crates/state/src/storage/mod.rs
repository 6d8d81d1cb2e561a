//! Durable storage of checkpoints and savepoints, on local folders and object stores.
//!
//! | module | what it holds |
//! |---|---|
//! | [`place`] | a folder of a local disk, of S3 or of memory |
//! | [`state_file`] | state rows as bytes: magic, version, Arrow IPC, checksum |
//! | [`stored`] | rows that lie in state files, read when they are needed |
//! | [`manifest`] | what a checkpoint consists of, as text with a checksum |
//! | [`checkpoints`] | the checkpoints of one job: attempts, manifests, retention, clean-up |
//! | `chain_files` | chains of snapshots to files and back |
//! | [`fault`] | a store that fails on purpose, for tests |
//!
//! All calls block the calling thread; the I/O itself runs on a runtime of its own (`io`).

mod chain_files;
pub mod checkpoints;
pub mod fault;
mod io;
pub mod manifest;
pub mod place;
pub mod state_file;
pub mod stored;

pub use checkpoints::{CheckpointStore, Recovery, read_savepoint};
pub use manifest::Manifest;
pub use place::StoragePlace;
