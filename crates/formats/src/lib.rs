//! Formats: bytes to columns and back. The list is [`all`].

mod column;
mod json;
mod lines;
mod number;
mod temporal;

use std::sync::Arc;

use flott_core::format::FormatFactory;

pub use json::JsonFormat;

/// Every format.
pub fn all() -> Vec<Arc<dyn FormatFactory>> {
    vec![Arc::new(JsonFormat)]
}
