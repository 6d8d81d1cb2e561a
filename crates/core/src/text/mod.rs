//! Values to Flink's text and back: what `CAST(x AS STRING)` prints and what casts from strings,
//! CSV and JSON read.
