//! Keyed state in columns.
//!
//! | module | what it holds |
//! |---|---|
//! | [`chain`] | snapshots as whole rows and changes, and what they say together |
//! | [`change_tracker`] | what has changed since the last snapshot |
//! | [`group_table`] | keys to dense group numbers, the index of columnar state |
//! | [`rows`] | whole rows in one piece, as operators keep them and as they lie in files |
//! | [`storage`] | checkpoints and savepoints on disks and object stores |

pub mod chain;
pub mod change_tracker;
pub mod group_table;
mod key_columns;
mod key_groups;
mod probe;
pub mod rows;
pub mod storage;
mod words;

pub use change_tracker::ChangeTracker;
pub use group_table::GroupTable;
pub use key_groups::rows_of_groups;
