//! Common types and implicit casts.
