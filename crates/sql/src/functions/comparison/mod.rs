//! Functions of this group.

use super::FunctionDef;

/// The functions of this group.
pub static LIST: &[&FunctionDef] = &[];
