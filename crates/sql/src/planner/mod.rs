//! The logical plan to a job graph: physical operators, exchanges, changelog modes.
//!
//! A plan is lowered from its root down; a node that several parents share is lowered once. Every
//! lowered node is a [`stream::Stream`]: where its rows are, what row kinds they have, what
//! identifies them. Exchanges are put only where rows are not together already.

mod aggregate;
mod changelog;
mod coarse;
pub mod compile;
mod dead_letters;
mod explain;
mod identities;
mod identity;
pub mod kernel_expr;
mod lookup;
mod lower;
mod matching;
mod multi_join;
mod order;
mod phases;
mod relation;
mod scan;
mod shared;
mod sink;
mod split_watermarks;
mod stream;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use flott_core::Result;
use flott_core::catalog::{CatalogTable, ObjectPath};
use flott_core::changelog::ChangelogMode;
use flott_core::connector::{Registry, SinkRequest};
use flott_core::graph::{Edge, Exchange, JobGraph, Node, NodeId, NodeKind};
use flott_core::options::Options;
use flott_core::schema::Schema;
use flott_core::sink::TableSink;

use flott_table::operators::not_null::NotNullEnforcer;

use crate::functions::ExprContext;
use crate::plan::Plan;

pub use explain::explain_graph;
use lower::Lowering;
pub(crate) use sink::MINI_BATCH;
pub(crate) use split_watermarks::SOURCE_IDLE_TIMEOUT;

/// What the planner works with.
#[derive(Clone, Copy)]
pub struct PlannerContext<'a> {
    pub registry: &'a Registry,
    /// The session's configuration.
    pub config: &'a Options,
    pub expr: &'a ExprContext,
    /// The job's parallelism: with one subtask, nothing is aggregated in two phases.
    pub parallelism: usize,
    /// `execution.runtime-mode = batch`: only final results are given.
    pub is_batch: bool,
}

/// A query's job graph, whose output has no sink yet.
pub struct PlannedQuery {
    pub graph: JobGraph,
    pub output: NodeId,
    pub schema: Schema,
    pub mode: ChangelogMode,
    /// The parallelism of the output's node.
    pub parallelism: Option<usize>,
    /// Whether the rows are ordered: the sink must then run in one subtask.
    pub is_ordered: bool,
}

impl PlannedQuery {
    /// The job that gives the query's rows to a sink.
    pub fn with_sink(self, sink: Arc<dyn TableSink>) -> JobGraph {
        let mut graph = self.graph;
        let (exchange, parallelism) = match (self.is_ordered, self.parallelism) {
            (true, None) => (Exchange::Single, Some(1)),
            (_, parallelism) => (Exchange::Forward, parallelism),
        };
        graph.add(Node {
            uid: "collect".into(),
            state: Vec::new(),
            name: "Sink: collect".into(),
            kind: NodeKind::Sink(sink),
            inputs: vec![Edge {
                from: self.output,
                exchange,
                keys: Vec::new(),
            }],
            schema: self.schema,
            parallelism,
            idle_timeout_ms: None,
        });
        graph
    }
}

/// A table that a statement writes.
#[derive(Clone)]
pub struct SinkTarget {
    pub path: ObjectPath,
    pub table: Arc<CatalogTable>,
    /// The table's options with hints applied, without `connector`.
    pub options: Options,
    pub request: SinkRequest,
}

/// Plans a query whose rows go to a caller.
pub fn plan_query(plan: &Arc<Plan>, context: PlannerContext<'_>) -> Result<PlannedQuery> {
    let mut lowering = Lowering::new(context, std::iter::once(plan));
    let stream = lowering.lower_root(plan, true)?;
    let stream = lowering.enforce_not_null(stream, plan.schema(), NotNullEnforcer::Error);
    Ok(PlannedQuery {
        output: stream.node,
        mode: stream.mode,
        parallelism: stream.parallelism,
        is_ordered: matches!(plan.as_ref(), Plan::Sort(_)),
        schema: stream.schema,
        graph: lowering.finish("query")?,
    })
}

/// Plans the INSERTs of one job; plans that share nodes share them in the job.
pub fn plan_inserts(
    name: &str,
    inserts: &[(Arc<Plan>, SinkTarget)],
    context: PlannerContext<'_>,
) -> Result<JobGraph> {
    let mut lowering = Lowering::new(context, inserts.iter().map(|(plan, _)| plan));
    let sinks = inserts
        .iter()
        .map(|(_, target)| lowering.create_sink(target));
    let sinks: Vec<_> = sinks.collect::<Result<_>>()?;
    for ((plan, _), sink) in inserts.iter().zip(&sinks) {
        lowering.keep_changes(plan, sink.as_ref())?;
    }
    for ((plan, target), sink) in inserts.iter().zip(sinks) {
        lowering.lower_insert(plan, target, sink)?;
    }
    lowering.finish(name)
}
