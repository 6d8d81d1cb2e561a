//! The job graph: a job's operators before parallelism, and how rows travel between them.

use std::sync::Arc;

use crate::operator::OperatorFactory;
use crate::options::Options;
use crate::schema::Schema;
use crate::sink::TableSink;
use crate::source::TableSource;

/// The position of a node in [`JobGraph::nodes`].
pub type NodeId = usize;

/// How rows of one node reach the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exchange {
    /// Subtask *i* to subtask *i*; the two are chained.
    Forward,
    /// By the hash of these columns' values, through key groups.
    Hash(Vec<usize>),
    /// Every row to every subtask.
    Broadcast,
    /// Round robin by batch.
    Rebalance,
    /// All rows to subtask 0.
    Single,
}

/// An input of a node.
#[derive(Debug, Clone)]
pub struct Edge {
    pub from: NodeId,
    pub exchange: Exchange,
    /// The columns by whose hash the rows are spread over the subtasks, now or since an earlier
    /// exchange, where the node's state is keyed by them; else empty.
    pub keys: Vec<usize>,
}

/// What a node does.
#[derive(Clone)]
pub enum NodeKind {
    Source(Arc<dyn TableSource>),
    Operator(Arc<dyn OperatorFactory>),
    Sink(Arc<dyn TableSink>),
}

/// A column of what an operator keeps from one checkpoint to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateColumn {
    /// For people.
    pub name: String,
    /// Flink's type as text, without nullability.
    pub data_type: String,
    /// A hash of where the values come from, whatever the column's name and position are.
    pub meaning: u64,
    /// The column is the result of a call, kept as the call's partial state.
    pub aggregate: Option<StateAggregate>,
}

/// An aggregate call whose partial states are kept: what it takes to make results of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateAggregate {
    /// The function's SQL name.
    pub function: String,
    /// The arguments' types as text, as the function takes them.
    pub arguments: Vec<String>,
    pub is_distinct: bool,
    /// Whether rows may be taken back.
    pub is_retracting: bool,
}

/// A node of the job graph. Inputs stand before the node in [`JobGraph::nodes`].
#[derive(Clone)]
pub struct Node {
    /// Stable over changes of the query elsewhere: state finds its operator again by it.
    pub uid: String,
    /// The columns kept in its state, in order: state of other columns does not fit. Empty where
    /// nothing is kept, or nothing that depends on columns.
    pub state: Vec<StateColumn>,
    /// For people: `GroupAggregate[3]`.
    pub name: String,
    pub kind: NodeKind,
    pub inputs: Vec<Edge>,
    /// The columns produced; a sink's are those it takes.
    pub schema: Schema,
    /// `None` is the job's parallelism; at most that is run.
    pub parallelism: Option<usize>,
    /// A subtask of a source that had no rows for this long, in ms, no longer holds back
    /// watermarks; `None` means never.
    pub idle_timeout_ms: Option<i64>,
}

/// A job: nodes in topological order.
#[derive(Clone, Default)]
pub struct JobGraph {
    pub name: String,
    pub nodes: Vec<Node>,
    /// The job's configuration.
    pub config: Options,
}

impl JobGraph {
    pub fn add(&mut self, node: Node) -> NodeId {
        debug_assert!(node.inputs.iter().all(|e| e.from < self.nodes.len()));
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Whether every source ends by itself.
    pub fn is_bounded(&self) -> bool {
        self.nodes.iter().all(|n| match &n.kind {
            NodeKind::Source(source) => source.is_bounded(),
            _ => true,
        })
    }
}
