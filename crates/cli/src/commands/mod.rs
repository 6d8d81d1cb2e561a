//! The commands, one file each.

pub mod bench;
pub mod control;
pub mod docs;
pub mod restore;
pub mod run;
pub mod sql;
pub mod state;
