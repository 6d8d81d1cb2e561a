//! Values to Flink's text and back: what `CAST(x AS STRING)` prints and what casts from strings,
//! CSV and JSON read.
//!
//! | module | what it holds |
//! |---|---|
//! | [`format`] | values of any type to text |
//! | [`number`] | numbers and booleans, both ways |
//! | [`datetime`] | dates, times, timestamps and intervals, both ways |
//! | [`calendar`] | days to year, month and day and back |
//! | [`pattern`] | times to text and back by Java's patterns |
//! | [`zone`] | points in time to wall-clock time and back |

pub mod calendar;
pub mod datetime;
pub mod format;
pub mod number;
pub mod pattern;
mod pattern_parse;
pub mod zone;

pub use datetime::{
    parse_date, parse_time, parse_timestamp, parse_timestamp_iso, parse_timestamp_ltz,
};
pub use format::{TextOptions, format_column, format_value};
pub use number::{parse_boolean, parse_decimal, parse_double, parse_float, parse_integer};
