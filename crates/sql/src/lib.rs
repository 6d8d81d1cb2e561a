//! Flink SQL: text to job graph.
//!
//! | module | from | to |
//! |---|---|---|
//! | [`parser`] | text | statements (syntax trees) |
//! | [`binder`] | a query's syntax tree | [`plan`] of typed [`expr`]essions |
//! | [`optimizer`] | plan | better plan |
//! | [`planner`] | plan | job graph of `flott_table` operators |
//! | [`session`] | statements | catalog changes, results, jobs |
//! | [`functions`] | – | the list of scalar functions |

pub mod binder;
pub mod expr;
pub mod functions;
pub mod optimizer;
pub mod parser;
pub mod plan;
pub mod planner;
pub mod session;
