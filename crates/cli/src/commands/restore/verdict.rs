//! What becomes of each operator's state when a job starts from a snapshot.

use std::fmt::Write;

use flott_core::graph::{JobGraph, Node, NodeKind, StateColumn};
use flott_engine::checkpoint::state_ttl_ms;
use flott_engine::{Checkpoint, OperatorCheckpoint, adopt_uids, check_state};
use flott_state::storage::manifest::OperatorManifest;
use serde::Serialize;

use crate::durable::duration;
use crate::output::aligned;
use crate::snapshots::{Found, kind_of, plain_name, time_text};

/// What becomes of an operator's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It goes on where it was.
    Kept,
    /// It goes on where it was, in other columns.
    Migrated,
    /// It is left behind: no operator of the script claims it.
    Dropped,
    /// The operator begins empty.
    New,
    /// The job does not start.
    Refused,
}

/// One operator.
#[derive(Debug, Serialize)]
pub struct OperatorVerdict {
    pub fate: Fate,
    pub name: String,
    pub uid: String,
    pub why: String,
}

/// One job of the script.
#[derive(Debug, Serialize)]
pub struct JobVerdict {
    pub job: String,
    /// What it would start from; `None`: it begins anew.
    pub from: Option<String>,
    /// In ms since 1970.
    pub time_ms: Option<i64>,
    pub operators: Vec<OperatorVerdict>,
    #[serde(skip)]
    head: String,
}

impl JobVerdict {
    /// The verdict on a job that is to start from this snapshot, or from none.
    pub fn new(job: &str, graph: &JobGraph, found: Option<&Found>) -> Self {
        let Some(found) = found else {
            return Self {
                job: job.to_string(),
                from: None,
                time_ms: None,
                operators: Vec::new(),
                head: format!("{job} has no checkpoint: it begins anew\n"),
            };
        };
        let manifest = &found.manifest;
        let mut graph = graph.clone();
        adopt_uids(&mut graph, manifest);
        let graph = &graph;
        let checkpoint = Checkpoint::load(manifest, &found.place);
        let mut operators: Vec<OperatorVerdict> = Vec::new();
        for node in &graph.nodes {
            let former = manifest.operators.iter().find(|o| o.uid == node.uid);
            operators.extend(match former {
                Some(former) => {
                    let checkpoint = checkpoint.operators.get(&node.uid);
                    claimed((graph, node), former, checkpoint, manifest.state_ttl_ms)
                }
                None => unknown(node),
            });
        }
        let is_claimed = |o: &OperatorManifest| graph.nodes.iter().any(|n| n.uid == o.uid);
        let left = manifest.operators.iter();
        let left = left.filter(|o| o.has_state() && !is_claimed(o));
        operators.extend(left.map(|former| {
            let columns = checkpoint.operators.get(&former.uid).map(|o| &o.columns);
            dropped(former, columns.map_or(&[], Vec::as_slice), graph, found)
        }));
        Self {
            job: job.to_string(),
            from: Some(found.path.clone()),
            time_ms: Some(manifest.completion_time_ms),
            operators,
            head: format!(
                "{job} from {} {} of {}, {}\n{}\n\n",
                kind_of(manifest),
                manifest.checkpoint_id,
                manifest.job_id,
                time_text(manifest.completion_time_ms),
                found.path
            ),
        }
    }

    /// Whether nothing is refused or dropped.
    pub fn keeps_everything(&self) -> bool {
        let mut fates = self.operators.iter().map(|o| o.fate);
        !fates.any(|fate| matches!(fate, Fate::Dropped | Fate::Refused))
    }

    fn count(&self, fate: Fate) -> usize {
        self.operators.iter().filter(|o| o.fate == fate).count()
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = self.head.clone();
        if self.from.is_none() {
            return text;
        }
        let rows = self.operators.iter().map(|o| {
            let fate = format!("{:?}", o.fate).to_lowercase();
            vec![fate, o.name.clone(), o.uid.clone(), o.why.clone()]
        });
        let head = ["state", "operator", "uid", "why"].map(String::from);
        text += &aligned(std::iter::once(head.to_vec()).chain(rows).collect());
        let _ = writeln!(
            text,
            "\n{} kept, {} migrated, {} new, {} dropped, {} refused",
            self.count(Fate::Kept),
            self.count(Fate::Migrated),
            self.count(Fate::New),
            self.count(Fate::Dropped),
            self.count(Fate::Refused)
        );
        if self.count(Fate::Refused) > 0 {
            text += "the job does not start from this state\n";
        } else if self.count(Fate::Dropped) > 0 {
            text += "the job starts only with --allow-non-restored-state\n";
        }
        text
    }
}

fn verdict(fate: Fate, name: &str, uid: &str, why: impl Into<String>) -> OperatorVerdict {
    OperatorVerdict {
        fate,
        name: name.to_string(),
        uid: uid.to_string(),
        why: why.into(),
    }
}

/// An operator of the script that the snapshot has, too; `former_ttl_ms` is the TTL of then.
fn claimed(
    (graph, node): (&JobGraph, &Node),
    former: &OperatorManifest,
    checkpoint: Option<&OperatorCheckpoint>,
    former_ttl_ms: Option<u64>,
) -> Option<OperatorVerdict> {
    let checkpoint = checkpoint.filter(|_| former.has_state())?;
    let mut changes = match check_state(graph, node, checkpoint) {
        Ok(fit) => fit.changes,
        Err(error) => {
            let why = format!("{}: {}", error.code(), error.message());
            return Some(verdict(Fate::Refused, &node.name, &node.uid, why));
        }
    };
    changes.extend(former_ttl_ms.and_then(|former| ttl_change(graph, node, former)));
    let counts = former.tables.iter().map(|t| t.num_rows());
    let (rows, is_exact) = counts.fold((0, true), |(n, exact), (rows, is)| (n + rows, exact && is));
    let about = if is_exact { "" } else { "at most " };
    let rows = match rows {
        0 => String::new(),
        1 => format!("{about}1 row"),
        rows => format!("{about}{rows} rows"),
    };
    if changes.is_empty() {
        return Some(verdict(Fate::Kept, &node.name, &node.uid, rows));
    }
    let why = format!("{rows}: {}", changes.join("; "));
    Some(verdict(Fate::Migrated, &node.name, &node.uid, why))
}

/// What a changed TTL does to an operator that has one.
fn ttl_change(graph: &JobGraph, node: &Node, former_ms: u64) -> Option<String> {
    let NodeKind::Operator(factory) = &node.kind else {
        return None;
    };
    let layout = factory.state_layout().ok().flatten()?;
    let now_ms = state_ttl_ms(&graph.config);
    if !layout.has_ttl || now_ms == former_ms {
        return None;
    }
    let told = |ms: u64| duration(ms as i64);
    Some(match (former_ms, now_ms) {
        (0, now) => format!("the TTL is {} now: rows age from the restore on", told(now)),
        (former, 0) => format!("the TTL of {} is gone: rows stay", told(former)),
        (former, now) => format!("the TTL is {} and was {}", told(now), told(former)),
    })
}

/// An operator of the script that the snapshot does not have; `None` where there is nothing to
/// keep.
fn unknown(node: &Node) -> Option<OperatorVerdict> {
    let why = match &node.kind {
        NodeKind::Source(_) => "not in the checkpoint: it reads from the beginning",
        NodeKind::Sink(_) => "not in the checkpoint",
        NodeKind::Operator(_) if node.state.is_empty() => return None,
        NodeKind::Operator(_) => "not in the checkpoint: it begins empty",
    };
    Some(verdict(Fate::New, &node.name, &node.uid, why))
}

/// State that no operator claims, and why not.
fn dropped(
    former: &OperatorManifest,
    columns: &[StateColumn],
    graph: &JobGraph,
    found: &Found,
) -> OperatorVerdict {
    let is_new = |n: &&Node| found.manifest.operators.iter().all(|o| o.uid != n.uid);
    let mut candidates = graph.nodes.iter().filter(is_new);
    let is_same_kind = |n: &&Node| plain_name(&n.name) == plain_name(&former.name);
    let same_columns = candidates.clone().filter(is_same_kind);
    let same_columns = same_columns.filter(|n| !columns.is_empty() && n.state == columns);
    let nearest = same_columns.into_iter().next();
    let why = match nearest.or_else(|| candidates.find(is_same_kind)) {
        Some(node) => format!(
            "{} of the script is another operator: its keys, window, condition, order or the filters below it differ",
            node.name
        ),
        None => format!("the script has no such {}", plain_name(&former.name)),
    };
    verdict(Fate::Dropped, &former.name, &former.uid, why)
}
