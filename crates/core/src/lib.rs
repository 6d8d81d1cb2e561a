//! Vocabulary and contracts of Flott; no I/O, no runtime.
//!
//! | module | what it holds |
//! |---|---|
//! | [`types`], [`schema`] | Flink's data types, columns, schemas, and their Arrow form |
//! | [`changelog`] | row kinds, batches of rows with kinds, changelog modes |
//! | [`text`] | values to Flink's text and back |
//! | [`time`], [`clock`] | event time and windows; processing time |
//! | [`hash`], [`key_group`] | the stable key hash and the division of keyed state |
//! | [`operator`], [`graph`] | the contract of an operator, and the job graph |
//! | [`snapshot`] | an operator's state at a checkpoint |
//! | [`source`], [`lookup`], [`sink`], [`format`], [`connector`] | the contracts of connectors and formats |
//! | [`watermark`] | watermarks that sources make |
//! | [`dead_letter`] | records that a source cannot read |
//! | [`catalog`] | declared tables and views |
//! | [`options`], [`error`], [`metrics`] | options with lists, the one error, counters |

pub mod catalog;
pub mod changelog;
pub mod clock;
pub mod connector;
pub mod dead_letter;
pub mod error;
pub mod format;
pub mod graph;
pub mod hash;
pub mod java_map;
pub mod key_group;
pub mod lookup;
pub mod metrics;
pub mod operator;
pub mod options;
pub mod schema;
pub mod sink;
pub mod snapshot;
pub mod source;
pub mod text;
pub mod time;
pub mod types;
pub mod watermark;

pub use error::{Error, ErrorKind, Location, Result};
