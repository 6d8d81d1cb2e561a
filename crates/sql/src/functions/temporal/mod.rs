//! Dates and times.

pub mod rounding;
pub mod unit;

use super::FunctionDef;

/// The functions of this group.
pub static LIST: &[&FunctionDef] = &[];
