//! What the planner knows of a node's output, and the exchanges that follow from it.

use flott_core::changelog::ChangelogMode;
use flott_core::graph::{Edge, Exchange, NodeId};
use flott_core::schema::Schema;

use super::identity::Identity;

/// How a node's rows are spread over its subtasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Distribution {
    Any,
    /// Rows of equal values in these columns are in one subtask, in order.
    Hash(Vec<usize>),
    /// All in subtask 0.
    Single,
}

/// The output of a node of the job graph.
#[derive(Debug, Clone)]
pub struct Stream {
    pub node: NodeId,
    pub schema: Schema,
    pub mode: ChangelogMode,
    /// Columns that identify a row of the table that the changelog describes.
    pub upsert_key: Option<Vec<usize>>,
    pub distribution: Distribution,
    /// The node's parallelism; `None` is the job's.
    pub parallelism: Option<usize>,
    pub identity: Identity,
}

impl Stream {
    /// An edge that keeps rows in their subtask.
    pub fn forward(&self) -> Edge {
        Edge {
            from: self.node,
            exchange: Exchange::Forward,
            keys: Vec::new(),
        }
    }

    /// An edge that brings equal values of these columns together, and the parallelism behind it.
    /// No columns: everything to one subtask.
    pub fn by_key(&self, columns: &[usize]) -> (Edge, Option<usize>) {
        if columns.is_empty() {
            return (self.single(), Some(1));
        }
        let is_there = match &self.distribution {
            Distribution::Single => true,
            Distribution::Hash(keys) => keys.as_slice() == columns,
            Distribution::Any => false,
        };
        let keys = columns.to_vec();
        if is_there {
            let edge = Edge {
                keys,
                ..self.forward()
            };
            return (edge, self.parallelism);
        }
        (
            Edge {
                from: self.node,
                exchange: Exchange::Hash(columns.to_vec()),
                keys,
            },
            None,
        )
    }

    /// Edges that bring equal values of two inputs' columns together, and the parallelism behind
    /// them. Rows stay where they are only if both inputs are spread in the same way.
    pub fn by_keys(
        left: (&Self, &[usize]),
        right: (&Self, &[usize]),
    ) -> (Edge, Edge, Option<usize>) {
        let sides = [left, right];
        let [(left, parallelism), (right, right_parallelism)] =
            sides.map(|(stream, columns)| stream.by_key(columns));
        let [a, b] = sides.map(|(stream, _)| stream.distribution == Distribution::Single);
        let are_alike = parallelism == right_parallelism && (a == b || parallelism == Some(1));
        if are_alike {
            return (left, right, parallelism);
        }
        let [left, right] = sides.map(|(stream, columns)| Edge {
            from: stream.node,
            exchange: Exchange::Hash(columns.to_vec()),
            keys: columns.to_vec(),
        });
        (left, right, None)
    }

    /// An edge that brings all rows to one subtask.
    pub fn single(&self) -> Edge {
        let exchange = match self.parallelism {
            Some(1) => Exchange::Forward,
            _ => Exchange::Single,
        };
        Edge {
            from: self.node,
            exchange,
            keys: Vec::new(),
        }
    }
}

impl Distribution {
    /// What is left of it after a projection that gives, for each input column, its new position.
    pub fn project(&self, position: impl Fn(usize) -> Option<usize>) -> Self {
        match self {
            Self::Hash(keys) => match keys.iter().map(|k| position(*k)).collect() {
                Some(keys) => Self::Hash(keys),
                None => Self::Any,
            },
            other => other.clone(),
        }
    }
}
