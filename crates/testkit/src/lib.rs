//! Test tools, not published: the stream-test runner.

pub mod slt;
