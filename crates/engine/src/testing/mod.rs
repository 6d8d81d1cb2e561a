//! For tests of operators: rows as text, a harness for one operator, crashes at every step.

pub mod crash;
pub mod harness;
pub mod rows;
pub mod script;

pub use crash::{Step, crash_everywhere, says_only_changes};
pub use harness::{Harness, OpenHarness, fold};
pub use rows::{format_rows, parse_rows};
pub use script::{ScriptItem, ScriptSource};

#[cfg(test)]
mod tests;
