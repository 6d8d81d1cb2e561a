//! Stream tests: files of records that say what goes in and what comes out.
//!
//! | module | what it does |
//! |---|---|
//! | [`record`] | a file's text to records |
//! | [`rows`] | `a \| 1 \| NULL` to batches and back |
//! | [`matrix`] | the settings a file runs under |
//! | [`runner`] | records to a session, an engine and a verdict |

pub mod matrix;
pub mod record;
pub mod rows;
pub mod runner;
