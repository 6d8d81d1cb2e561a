//! Keyed state in columns.
