//! The commands, one file each.

pub mod bench;
pub mod docs;
pub mod run;
pub mod sql;
