//! A job graph as text, for EXPLAIN.

use std::fmt::Write;

use flott_core::graph::{Exchange, JobGraph, NodeId, NodeKind};

/// The graph as indented text, sinks first, inputs below, each with how rows reach it.
pub fn explain_graph(graph: &JobGraph, output: Option<NodeId>) -> String {
    let mut text = String::new();
    let sinks = graph
        .nodes
        .iter()
        .enumerate()
        .filter(|(_, n)| matches!(n.kind, NodeKind::Sink(_)));
    let roots: Vec<NodeId> = output.into_iter().chain(sinks.map(|(id, _)| id)).collect();
    let mut is_written = vec![false; graph.nodes.len()];
    for root in roots {
        write_node(&mut text, graph, root, None, 0, &mut is_written);
    }
    text
}

fn write_node(
    text: &mut String,
    graph: &JobGraph,
    id: NodeId,
    exchange: Option<&Exchange>,
    depth: usize,
    is_written: &mut [bool],
) {
    let node = &graph.nodes[id];
    let travel = match exchange {
        Some(exchange) if *exchange != Exchange::Forward => format!(" -> {}", name_of(exchange)),
        _ => String::new(),
    };
    let parallelism = node
        .parallelism
        .map(|n| format!(", parallelism={n}"))
        .unwrap_or_default();
    let seen = if is_written[id] { " (reused)" } else { "" };
    let indent = depth * 2;
    let _ = writeln!(
        text,
        "{:indent$}[{id}] {}{parallelism}{seen}{travel}",
        "", node.name
    );
    if std::mem::replace(&mut is_written[id], true) {
        return;
    }
    for edge in &node.inputs {
        write_node(
            text,
            graph,
            edge.from,
            Some(&edge.exchange),
            depth + 1,
            is_written,
        );
    }
}

fn name_of(exchange: &Exchange) -> String {
    match exchange {
        Exchange::Hash(columns) => format!("hash{columns:?}"),
        other => format!("{other:?}").to_lowercase(),
    }
}
