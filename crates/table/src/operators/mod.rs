//! The operators, one file or folder each. A configuration struct is the operator's factory.

mod accumulators;
pub use accumulators::results_of_states;
pub(crate) mod aggregate_table;
#[cfg(test)]
mod aggregate_tests;
pub mod batch_sort;
pub mod calc;
#[cfg(test)]
pub(crate) mod collect;
pub mod dead_letters;
pub mod deduplicate;
pub(crate) mod evaluate;
pub mod expand;
mod first_row;
pub mod group_aggregate;
pub mod join;
pub mod limit;
pub(crate) mod local_phase;
pub mod match_recognize;
pub mod materialize;
pub mod not_null;
pub mod over;
mod places;
pub mod rank;
pub(crate) mod rows;
pub mod session_window_aggregate;
pub mod session_window_tvf;
pub mod sort;
pub mod sort_key;
pub mod split_aggregate;
pub(crate) mod top_rows;
pub mod two_phase;
pub mod union;
pub mod unnest;
pub mod values;
pub mod watermark_assigner;
pub mod window_aggregate;
pub mod window_rank;
pub mod window_tvf;
