//! From the job graph to chains: which nodes are fused into one Timely operator.

use flott_core::graph::{Exchange, JobGraph, NodeId, NodeKind};
use flott_core::hash::hash_columns;
use flott_core::{Error, Result};

/// Nodes fused into one Timely operator, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainPlan {
    pub nodes: Vec<NodeId>,
    pub parallelism: usize,
    /// The inputs of the first node.
    pub inputs: Vec<ChainInput>,
}

/// An input of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainInput {
    /// The sending chain, by its position in the plan.
    pub chain: usize,
    /// `Forward` only where both sides have the same parallelism.
    pub exchange: Exchange,
}

/// Fuses the graph's nodes into chains, in topological order.
///
/// # Errors
/// A user error for a graph without a source or a sink, and for keys that cannot be hashed; a
/// defect for a graph that is not well formed.
pub fn plan_chains(graph: &JobGraph, parallelism: usize) -> Result<Vec<ChainPlan>> {
    let consumers = count_consumers(graph)?;
    let parallelism_of = |id: NodeId| {
        let own = graph.nodes[id].parallelism.unwrap_or(parallelism);
        own.clamp(1, parallelism)
    };
    let mut chains: Vec<ChainPlan> = Vec::new();
    let mut chain_of: Vec<usize> = Vec::with_capacity(graph.nodes.len());
    for (id, node) in graph.nodes.iter().enumerate() {
        check_node(graph, id)?;
        if let [edge] = node.inputs.as_slice() {
            let is_chained = edge.exchange == Exchange::Forward
                && consumers[edge.from] == 1
                && parallelism_of(edge.from) == parallelism_of(id);
            if is_chained {
                let chain = chain_of[edge.from];
                chains[chain].nodes.push(id);
                chain_of.push(chain);
                continue;
            }
        }
        let inputs = node.inputs.iter().map(|edge| ChainInput {
            chain: chain_of[edge.from],
            exchange: match &edge.exchange {
                Exchange::Forward if parallelism_of(edge.from) != parallelism_of(id) => {
                    Exchange::Rebalance
                }
                other => other.clone(),
            },
        });
        let inputs = inputs.collect();
        chain_of.push(chains.len());
        chains.push(ChainPlan {
            nodes: vec![id],
            parallelism: parallelism_of(id),
            inputs,
        });
    }
    Ok(chains)
}

fn count_consumers(graph: &JobGraph) -> Result<Vec<usize>> {
    let mut consumers = vec![0; graph.nodes.len()];
    for (id, node) in graph.nodes.iter().enumerate() {
        for edge in &node.inputs {
            if edge.from >= id {
                let message = format!("{} takes input from a later node", node.name);
                return Err(Error::internal(message));
            }
            consumers[edge.from] += 1;
        }
    }
    if graph.nodes.is_empty() {
        return Err(Error::user("EMPTY_JOB", "the job has no operators"));
    }
    Ok(consumers)
}

fn check_node(graph: &JobGraph, id: NodeId) -> Result<()> {
    let node = &graph.nodes[id];
    let is_source = matches!(node.kind, NodeKind::Source(_));
    if is_source != node.inputs.is_empty() {
        let message = format!("{} has {} inputs", node.name, node.inputs.len());
        return Err(Error::internal(message));
    }
    if graph.nodes[..id].iter().any(|n| n.uid == node.uid) {
        let message = format!("two operators have the uid '{}'", node.uid);
        return Err(Error::internal(message));
    }
    for edge in &node.inputs {
        if matches!(graph.nodes[edge.from].kind, NodeKind::Sink(_)) {
            let message = format!("{} takes input from a sink", node.name);
            return Err(Error::internal(message));
        }
        if let Exchange::Hash(columns) = &edge.exchange {
            check_keys(graph, edge.from, columns, &node.name)?;
        }
    }
    Ok(())
}

fn check_keys(graph: &JobGraph, from: NodeId, columns: &[usize], name: &str) -> Result<()> {
    let schema = &graph.nodes[from].schema;
    for &column in columns {
        if column >= schema.len() {
            let message = format!("{name} is keyed by column {column} of {schema}");
            return Err(Error::internal(message));
        }
        let column = schema.column(column);
        let empty = arrow::array::new_empty_array(&column.data_type.to_arrow());
        hash_columns(&[empty], 0, &mut Vec::new())
            .map_err(|e| e.context(format!("column {} as a key of {name}", column.name)))?;
    }
    Ok(())
}
