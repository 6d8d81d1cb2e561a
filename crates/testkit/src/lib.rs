//! Test tools, not published: the stream-test runner.

pub mod sim;
pub mod slt;
