//! Keyed state in columns.
//!
//! | module | what it holds |
//! |---|---|
//! | [`group_table`] | keys to dense group numbers, the index of columnar state |
//! | [`storage`] | checkpoints and savepoints on disks and object stores |

pub mod group_table;
mod key_columns;
mod probe;
pub mod storage;
mod words;

pub use group_table::GroupTable;
