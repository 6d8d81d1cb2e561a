//! Which operator of a checkpoint is which of the job, where several mean the same.
//!
//! Two aggregations of one table by the same keys differ in nothing but what they keep. Their ids
//! have the same base; the first in the job has the base alone, the next the base and more
//! (`docs/decisions/0005-operator-ids.md`). Who is first changes with the statements, so that such
//! operators are told apart by the columns that they keep, and take over the ids of the checkpoint.

use std::collections::BTreeSet;

use flott_core::graph::{JobGraph, NodeId, StateColumn};
use flott_state::storage::Manifest;
use flott_state::storage::manifest::OperatorManifest;

/// Gives the operators of a job the ids that their state has in a checkpoint.
pub fn adopt_uids(graph: &mut JobGraph, manifest: &Manifest) {
    let bases = graph.nodes.iter().map(|n| base_of(&n.uid).to_string());
    let bases: BTreeSet<String> = bases.collect();
    for base in bases {
        let nodes = graph.nodes.iter().enumerate();
        let nodes = nodes.filter(|(_, n)| base_of(&n.uid) == base);
        let nodes: Vec<NodeId> = nodes.map(|(id, _)| id).collect();
        let former = manifest.operators.iter();
        let former: Vec<_> = former.filter(|o| base_of(&o.uid) == base).collect();
        let is_plain = nodes.len() == 1 && former.len() == 1;
        if former.is_empty() || (is_plain && graph.nodes[nodes[0]].uid == former[0].uid) {
            continue;
        }
        adopt(graph, &base, nodes, former);
    }
}

fn base_of(uid: &str) -> &str {
    uid.split_once('-').map_or(uid, |(base, _)| base)
}

fn adopt(graph: &mut JobGraph, base: &str, nodes: Vec<NodeId>, former: Vec<&OperatorManifest>) {
    let mut free = former;
    let mut taken: BTreeSet<String> = free.iter().map(|o| o.uid.clone()).collect();
    type Fits = fn(&flott_core::graph::Node, &OperatorManifest) -> bool;
    // The same columns say most, then the same id; what is left over has changed its columns.
    let rules: [Fits; 4] = [
        |node, former| node.uid == former.uid && keeps(&node.state, former),
        |node, former| keeps(&node.state, former),
        |node, former| node.uid == former.uid,
        |_, _| true,
    ];
    let mut left = nodes;
    for fits in rules {
        left.retain(|&id| {
            let node = &mut graph.nodes[id];
            let Some(at) = free.iter().position(|former| fits(node, former)) else {
                return true;
            };
            node.uid.clone_from(&free.remove(at).uid);
            false
        });
    }
    // New ones must not have an id that is another's now.
    for id in left {
        let own = graph.nodes[id].uid.clone();
        let numbered = (1..).map(|n| format!("{base}-new-{n}"));
        let mut candidates = std::iter::once(own).chain(numbered);
        if let Some(uid) = candidates.find(|uid| !taken.contains(uid)) {
            taken.insert(uid.clone());
            graph.nodes[id].uid = uid;
        }
    }
}

fn keeps(state: &[StateColumn], former: &OperatorManifest) -> bool {
    let meanings = state.iter().map(|c| format!("{:016x}", c.meaning));
    meanings.eq(former.columns.iter().map(|c| c.meaning.clone()))
}

#[cfg(test)]
mod tests {
    use flott_core::graph::{Node, NodeKind};
    use flott_core::operator::Operator;
    use flott_core::schema::Schema;
    use flott_state::storage::manifest::{
        ColumnManifest, FORMAT_VERSION, OperatorKind, SnapshotKind,
    };
    use std::sync::Arc;

    use super::*;

    /// Operators as `id: meaning of the column kept`.
    fn graph(nodes: &[(&str, u64)]) -> JobGraph {
        let mut graph = JobGraph::default();
        for (uid, meaning) in nodes {
            let factory = || -> flott_core::Result<Box<dyn Operator>> {
                Err(flott_core::Error::internal("not run"))
            };
            graph.add(Node {
                uid: (*uid).to_string(),
                state: vec![StateColumn {
                    name: "c".into(),
                    data_type: "BIGINT".into(),
                    meaning: *meaning,
                    aggregate: None,
                }],
                name: "GroupAggregate".into(),
                kind: NodeKind::Operator(Arc::new(factory)),
                inputs: Vec::new(),
                schema: Schema::new(Vec::new()),
                idle_timeout_ms: None,
                parallelism: None,
            });
        }
        graph
    }

    fn manifest(operators: &[(&str, u64)]) -> Manifest {
        let operators = operators.iter().map(|(uid, meaning)| OperatorManifest {
            uid: (*uid).to_string(),
            name: String::new(),
            kind: OperatorKind::Operator,
            columns: vec![ColumnManifest {
                name: "c".into(),
                data_type: "BIGINT".into(),
                meaning: format!("{meaning:016x}"),
                aggregate: None,
            }],
            enumerator: None,
            subtasks: Vec::new(),
            tables: Vec::new(),
        });
        Manifest {
            format_version: FORMAT_VERSION,
            kind: SnapshotKind::Checkpoint,
            job_id: String::new(),
            job_name: String::new(),
            attempt: 1,
            checkpoint_id: 1,
            trigger_time_ms: 0,
            completion_time_ms: 0,
            parallelism: 1,
            max_parallelism: 128,
            plan_fingerprint: String::new(),
            statements: Vec::new(),
            state_ttl_ms: None,
            is_final: false,
            operators: operators.collect(),
        }
    }

    fn adopted(nodes: &[(&str, u64)], former: &[(&str, u64)]) -> Vec<String> {
        let mut graph = graph(nodes);
        adopt_uids(&mut graph, &manifest(former));
        graph.nodes.into_iter().map(|n| n.uid).collect()
    }

    #[test]
    fn the_second_of_two_stays_itself_when_the_first_is_removed() {
        let former = [("aa", 1), ("aa-x", 2)];
        assert_eq!(adopted(&[("aa", 2)], &former), ["aa-x"]);
        // And stays it when the first comes back, in either order.
        assert_eq!(adopted(&[("aa", 2)], &[("aa-x", 2)]), ["aa-x"]);
        let both = [("aa", 1), ("aa-x", 2)];
        assert_eq!(adopted(&both, &[("aa-x", 2)]), ["aa", "aa-x"]);
        let swapped = [("aa", 2), ("aa-y", 1)];
        assert_eq!(adopted(&swapped, &former), ["aa-x", "aa"]);
    }

    #[test]
    fn changed_columns_take_what_is_left_and_new_operators_a_new_id() {
        assert_eq!(adopted(&[("aa", 3)], &[("aa", 1)]), ["aa"]);
        let former = [("aa", 1), ("aa-x", 2)];
        let changed = [("aa", 2), ("aa-z", 3)];
        assert_eq!(adopted(&changed, &former), ["aa-x", "aa"]);
        let new_first = [("aa", 3), ("aa-x", 1)];
        assert_eq!(adopted(&new_first, &[("aa", 1)]), ["aa-new-1", "aa"]);
        assert_eq!(adopted(&[("bb", 1)], &former), ["bb"]);
    }
}
