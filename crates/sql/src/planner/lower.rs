//! The walk over the plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use flott_core::Result;
use flott_core::graph::{Edge, JobGraph, Node, NodeId, NodeKind};
use flott_core::hash::{StableHashMap, StableHashSet};
use flott_core::operator::OperatorFactory;
use flott_core::schema::Schema;
use flott_core::source::TableSource;
use flott_core::watermark::WatermarkGroup;
use flott_table::operators::not_null::{NotNullConfig, NotNullEnforcer};
use flott_table::operators::watermark_assigner::TellingRows;

use super::PlannerContext;
use super::compile::Compiler;
use super::dead_letters::Letters;
use super::identity::{Fingerprint, Label};
use super::stream::Stream;
use crate::plan::{JoinMode, Plan};

/// A job graph in the making.
pub(super) struct Lowering<'a> {
    pub context: PlannerContext<'a>,
    graph: JobGraph,
    /// Nodes that are lowered, by the plan node's address and whether `-U` rows are needed.
    done: StableHashMap<(usize, bool), Stream>,
    /// Sources made while changelog modes were looked at, by the plan node's address.
    pub sources: StableHashMap<usize, Arc<dyn TableSource>>,
    /// Before which rows watermarks have to be sent.
    pub telling: TellingRows,
    /// The plan nodes, by address, that a temporal join takes its versions from.
    versioned: StableHashSet<usize>,
    /// Whether the node that is lowered is one of them.
    pub is_versioned: bool,
    /// The plan nodes, by address, of which a sink shows every change.
    pub with_each_change: StableHashSet<usize>,
    /// Whether the node that is lowered is one of them.
    pub sends_each_change: bool,
    /// Sources that wait for each other, by the group's name.
    pub alignment_groups: BTreeMap<String, Arc<WatermarkGroup>>,
    /// What is to be written beside the queries' rows.
    pub letters: Vec<Letters>,
}

/// Marks the nodes on the versioned sides of temporal joins.
fn mark_versioned(plan: &Arc<Plan>, is_versioned: bool, marked: &mut StableHashSet<usize>) {
    if is_versioned {
        marked.insert(Arc::as_ptr(plan) as usize);
    }
    let right = match plan.as_ref() {
        Plan::Join(join) if matches!(join.mode, JoinMode::Temporal { .. }) => Some(&join.right),
        _ => None,
    };
    for input in plan.inputs() {
        let is_right = right.is_some_and(|right| Arc::ptr_eq(right, input));
        mark_versioned(input, is_versioned || is_right, marked);
    }
}

/// What the plans of a job can tell of its watermarks.
fn telling_rows<'p>(plans: impl Iterator<Item = &'p Arc<Plan>>) -> TellingRows {
    let mut telling = TellingRows::Late;
    for plan in plans {
        if plan.asks_for_watermark() {
            return TellingRows::Every;
        }
        if plan.has_sessions() {
            telling = TellingRows::Adjacent;
        }
    }
    telling
}

impl<'a> Lowering<'a> {
    /// A graph for these plans together.
    pub fn new<'p>(
        context: PlannerContext<'a>,
        plans: impl Iterator<Item = &'p Arc<Plan>> + Clone,
    ) -> Self {
        let mut versioned = StableHashSet::default();
        for plan in plans.clone() {
            mark_versioned(plan, false, &mut versioned);
        }
        Self {
            context,
            graph: JobGraph::default(),
            done: StableHashMap::default(),
            sources: StableHashMap::default(),
            telling: telling_rows(plans),
            versioned,
            is_versioned: false,
            with_each_change: StableHashSet::default(),
            sends_each_change: false,
            alignment_groups: BTreeMap::new(),
            letters: Vec::new(),
        }
    }

    /// The graph with its name and configuration.
    ///
    /// # Errors
    /// A user error when a table for dead letters cannot be written.
    pub fn finish(mut self, name: &str) -> Result<JobGraph> {
        self.sink_dead_letters()?;
        self.graph.name = name.to_string();
        self.graph.config = self.context.config.clone();
        Ok(self.graph)
    }

    /// The root of a query: in batch mode only the final rows are given.
    pub fn lower_root(&mut self, plan: &Arc<Plan>, needs_update_before: bool) -> Result<Stream> {
        let stream = self.lower(plan, needs_update_before || self.context.is_batch)?;
        if self.context.is_batch {
            self.materialize(stream)
        } else {
            Ok(stream)
        }
    }

    /// Watches over the NOT NULL columns of what a sink takes.
    pub fn enforce_not_null(
        &mut self,
        stream: Stream,
        sink: &Schema,
        enforcer: NotNullEnforcer,
    ) -> Stream {
        let is_not_null = |c: &usize| !sink.column(*c).data_type.nullable;
        let columns: Vec<usize> = (0..sink.len()).filter(is_not_null).collect();
        if columns.is_empty() {
            return stream;
        }
        let name = format!("NotNull(columns={columns:?})");
        let schema = stream.schema.clone();
        let config = NotNullConfig {
            columns,
            enforcer,
            schema: schema.to_arrow(),
        };
        let edge = vec![stream.forward()];
        let label = Label::stateless(name, "not null", &stream.identity);
        let node = self.add_operator(label, config, edge, &schema, stream.parallelism);
        Stream { node, ..stream }
    }

    /// Whether the node is lowered already.
    pub fn is_lowered(&self, plan: &Arc<Plan>) -> bool {
        let address = Arc::as_ptr(plan) as usize;
        let mut keys = [true, false].into_iter();
        keys.any(|needs| self.done.contains_key(&(address, needs)))
    }

    /// Lowers a node unless that was done before. `needs_update_before` tells whether the consumer
    /// wants `-U` rows where there are updates.
    pub fn lower(&mut self, plan: &Arc<Plan>, needs_update_before: bool) -> Result<Stream> {
        let address = Arc::as_ptr(plan) as usize;
        for needs in [needs_update_before, true] {
            if let Some(stream) = self.done.get(&(address, needs)) {
                return Ok(stream.clone());
            }
        }
        let is_versioned = self.versioned.contains(&address);
        let sends_each_change = self.with_each_change.contains(&address);
        let outer = (self.is_versioned, self.sends_each_change);
        (self.is_versioned, self.sends_each_change) = (is_versioned, sends_each_change);
        let stream = self.lower_node(plan, needs_update_before)?;
        (self.is_versioned, self.sends_each_change) = outer;
        self.done
            .insert((address, needs_update_before), stream.clone());
        Ok(stream)
    }

    fn lower_node(&mut self, plan: &Arc<Plan>, needs_update_before: bool) -> Result<Stream> {
        match plan.as_ref() {
            Plan::Scan(node) => self.lower_scan(plan, node),
            Plan::Values(node) => self.lower_values(node),
            Plan::Project(node) => self.lower_project(node, needs_update_before),
            Plan::Filter(node) => self.lower_filter(node),
            Plan::Watermark(node) => self.lower_watermark(node, needs_update_before),
            Plan::WindowTvf(node) => self.lower_window_tvf(node),
            Plan::Aggregate(node) => self.lower_aggregate(node, needs_update_before),
            Plan::Join(node) => self.lower_join(node, needs_update_before),
            Plan::Over(node) => self.lower_over(node, needs_update_before),
            Plan::Rank(node) => self.lower_rank(node, needs_update_before),
            Plan::Sort(node) => self.lower_sort(node, needs_update_before),
            Plan::Union(node) => self.lower_union(node, needs_update_before),
            Plan::Unnest(node) => self.lower_unnest(node),
            Plan::Match(node) => self.lower_match(node),
        }
    }

    /// Adds an operator.
    pub fn add_operator(
        &mut self,
        label: Label,
        factory: impl OperatorFactory + 'static,
        inputs: Vec<Edge>,
        schema: &Schema,
        parallelism: Option<usize>,
    ) -> NodeId {
        let kind = NodeKind::Operator(Arc::new(factory));
        self.add_node(label, kind, inputs, schema, parallelism)
    }

    pub fn add_node(
        &mut self,
        label: Label,
        kind: NodeKind,
        inputs: Vec<Edge>,
        schema: &Schema,
        parallelism: Option<usize>,
    ) -> NodeId {
        self.graph.add(Node {
            uid: self.uid(&label),
            state: label.state,
            name: label.name,
            kind,
            inputs,
            schema: schema.clone(),
            parallelism,
            idle_timeout_ms: None,
        })
    }

    /// How long a source may be silent before it holds watermarks back no more, in ms.
    pub fn set_idle_timeout(&mut self, source: NodeId, timeout_ms: Option<i64>) {
        self.graph.nodes[source].idle_timeout_ms = timeout_ms;
    }

    /// The label's hash; of several nodes with the same one, the later add a hash of what they
    /// keep, and those that are still equal are counted.
    fn uid(&self, label: &Label) -> String {
        let is_free = |uid: &String| self.graph.nodes.iter().all(|n| n.uid != *uid);
        let base = format!("{:016x}", label.uid.0);
        if is_free(&base) {
            return base;
        }
        let kept = label.state.iter().map(|c| c.meaning);
        let kept = Fingerprint::of("state").numbers(kept).0;
        let twin = format!("{base}-{kept:016x}");
        let numbered = (1..).map(|n| format!("{twin}-{n}"));
        let mut candidates = std::iter::once(twin.clone()).chain(numbered);
        candidates.find(is_free).unwrap_or(twin)
    }

    /// Compiles expressions over a node's output.
    pub fn compiler(&self, input: &Schema) -> Compiler {
        Compiler::new(input.to_arrow())
    }
}
