//! Keyed state in columns.
//!
//! | module | what it holds |
//! |---|---|
//! | [`group_table`] | keys to dense group numbers, the index of columnar state |

pub mod group_table;
mod key_columns;
mod probe;
mod words;

pub use group_table::GroupTable;
