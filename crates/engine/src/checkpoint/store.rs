//! Writing complete cuts: state files, then the manifest. Runs beside the workers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flott_core::clock::Stopwatch;
use flott_core::graph::{JobGraph, NodeId, NodeKind, StateColumn};
use flott_core::hash::mix_bytes;
use flott_core::options::Options;
use flott_core::{Error, Result};
use flott_state::chain::OperatorChain;
use flott_state::storage::manifest::{
    AggregateManifest, ColumnManifest, FORMAT_VERSION, MANIFEST_NAME, OperatorKind,
    OperatorManifest, SnapshotKind, SplitManifest, SubtaskManifest,
};
use flott_state::storage::stored::{FileTarget, FileWriter};
use flott_state::storage::{CheckpointStore, Manifest, StoragePlace};

use super::{OperatorCheckpoint, SubtaskCheckpoint};

/// Where an attempt's checkpoints go and what their manifests say of the job.
#[derive(Debug, Clone)]
pub struct CheckpointStorage {
    /// With an attempt that has begun.
    pub store: CheckpointStore,
    pub job_name: String,
    pub statements: Vec<String>,
    /// Checkpoints that are kept.
    pub num_retained: usize,
    /// Encoded rows of at most so many bytes are kept in the manifest.
    pub inline_bytes: usize,
    /// Credentials for the places of savepoints.
    pub options: Options,
}

/// What is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoreTarget {
    Checkpoint,
    /// In a new folder below this one.
    Savepoint(String),
    /// Both, of one cut.
    SavepointAndCheckpoint(String),
}

pub(crate) struct StoreTask {
    pub storage: Arc<CheckpointStorage>,
    /// Without tables; in the order of the graph.
    pub manifest: Manifest,
    /// By the position of the operator in the manifest.
    pub chains: BTreeMap<NodeId, OperatorChain>,
    pub target: StoreTarget,
    /// The manifest is not written any more.
    pub is_cancelled: Arc<AtomicBool>,
    pub now_ms: Box<dyn Fn() -> i64 + Send>,
}

/// A checkpoint or savepoint that is there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stored {
    pub path: Option<String>,
    pub written_bytes: u64,
    pub state_bytes: u64,
}

pub(crate) struct StoreResult {
    /// With everything that could be written in files.
    pub chains: BTreeMap<NodeId, OperatorChain>,
    pub outcome: Result<Stored>,
    pub async_ns: u64,
}

impl StoreTask {
    pub fn run(mut self) -> StoreResult {
        let watch = Stopwatch::start();
        let outcome = match &self.target {
            StoreTarget::Checkpoint => self.write_checkpoint(),
            StoreTarget::Savepoint(folder) => self.write_savepoint(&folder.clone()),
            StoreTarget::SavepointAndCheckpoint(folder) => self.write_both(&folder.clone()),
        };
        StoreResult {
            outcome,
            chains: self.chains,
            async_ns: watch.elapsed().as_nanos() as u64,
        }
    }

    fn write_checkpoint(&mut self) -> Result<Stored> {
        let storage = self.storage.clone();
        let (store, id) = (&storage.store, self.manifest.checkpoint_id);
        let name = |number| store.file_name(id, number);
        let mut writer = FileWriter::new(FileTarget {
            place: store.place(),
            name: &name,
            inline_bytes: storage.inline_bytes,
            is_canonical: false,
        });
        for (&node, chain) in &mut self.chains {
            chain.mark_compaction();
            let tables = chain.store(&mut writer);
            self.manifest.operators[node].tables =
                tables.map_err(|e| e.context(&self.manifest.operators[node].name))?;
        }
        if self.is_cancelled.load(Ordering::SeqCst) {
            return Err(Error::external(
                "CHECKPOINT_CANCELLED",
                "the checkpoint was given up",
            ));
        }
        self.manifest.completion_time_ms = (self.now_ms)();
        let manifest_bytes = store.complete(&self.manifest)?;
        Ok(Stored {
            path: Some(store.place().full_name(&format!("chk-{id}"))),
            written_bytes: writer.written_bytes + manifest_bytes,
            state_bytes: self.manifest.state_size_bytes(),
        })
    }

    /// The savepoint first: its folder may be wrong.
    fn write_both(&mut self, folder: &str) -> Result<Stored> {
        let savepoint = self.write_savepoint(folder)?;
        self.manifest.kind = SnapshotKind::Checkpoint;
        let checkpoint = self.write_checkpoint()?;
        Ok(Stored {
            written_bytes: savepoint.written_bytes + checkpoint.written_bytes,
            ..savepoint
        })
    }

    fn write_savepoint(&mut self, folder: &str) -> Result<Stored> {
        let storage = self.storage.clone();
        let (store, id) = (&storage.store, self.manifest.checkpoint_id);
        store.check_in_charge()?;
        let name = format!("savepoint-{}-{}-{id}", store.job_id(), store.attempt());
        let place = new_folder(&StoragePlace::open(folder, &storage.options)?, &name)?;
        let written = self.write_savepoint_in(&place);
        if written.is_err() {
            // What is left of it is nobody's: the next one has another id. Its folder may be what is
            // wrong, which the error says already.
            let left = place
                .list("")
                .map(|objects| objects.into_iter().map(|o| o.name));
            let _ = left.and_then(|names| place.delete_all(names.collect()));
        }
        written
    }

    fn write_savepoint_in(&mut self, place: &StoragePlace) -> Result<Stored> {
        let inline_bytes = self.storage.inline_bytes;
        let name = |number| format!("state/{number}.state");
        let mut writer = FileWriter::new(FileTarget {
            place,
            name: &name,
            inline_bytes,
            is_canonical: true,
        });
        for (&node, chain) in &self.chains {
            self.manifest.operators[node].tables = chain.store_whole(&mut writer)?;
        }
        self.manifest.kind = SnapshotKind::Savepoint;
        self.manifest.completion_time_ms = (self.now_ms)();
        let bytes = self.manifest.encode()?;
        let manifest_bytes = bytes.len() as u64;
        if !place.put_new(MANIFEST_NAME, bytes)? {
            let message = format!("there is a savepoint at {place} already");
            return Err(Error::external("STORAGE", message));
        }
        Ok(Stored {
            path: Some(place.to_string()),
            written_bytes: writer.written_bytes + manifest_bytes,
            state_bytes: self.manifest.state_size_bytes(),
        })
    }
}

/// A folder of this name, or with a number behind it where there is a savepoint of that name: a job
/// that has begun anew counts its attempts anew.
fn new_folder(place: &StoragePlace, name: &str) -> Result<StoragePlace> {
    let mut folder = place.child(name);
    let mut number = 1;
    while folder.stat(MANIFEST_NAME)?.is_some() {
        number += 1;
        folder = place.child(&format!("{name}-{number}"));
    }
    Ok(folder)
}

/// Deletes what is no longer needed, after a checkpoint of this attempt; the first time also what
/// earlier attempts left. What fails is tried again with the next checkpoint.
pub(crate) fn clean_up(storage: &CheckpointStorage, is_first: bool) {
    let cleaned = storage.store.retain(storage.num_retained);
    let cleaned = cleaned.and_then(|()| match is_first {
        true => storage.store.collect_garbage().map(drop),
        false => Ok(()),
    });
    if let Err(error) = cleaned {
        tracing::warn!(job = storage.store.job_id(), %error, "old checkpoints could not be deleted");
    }
}

/// A hash of the operators' ids: the same for the same plan.
pub fn plan_fingerprint(graph: &JobGraph) -> String {
    let uids = graph.nodes.iter().map(|n| n.uid.as_bytes());
    format!("{:016x}", uids.fold(0, mix_bytes))
}

/// A manifest without its tables, from the operators of a checkpoint in the order of the graph.
pub(crate) fn manifest(
    storage: &CheckpointStorage,
    graph: &JobGraph,
    operators: &[OperatorCheckpoint],
    parallelism: (usize, usize),
) -> Manifest {
    let nodes = graph.nodes.iter().zip(operators);
    let operators = nodes.map(|(node, operator)| OperatorManifest {
        uid: node.uid.clone(),
        name: node.name.clone(),
        kind: match node.kind {
            NodeKind::Source(_) => OperatorKind::Source,
            NodeKind::Operator(_) => OperatorKind::Operator,
            NodeKind::Sink(_) => OperatorKind::Sink,
        },
        columns: operator.columns.iter().map(column_manifest).collect(),
        enumerator: operator.enumerator.clone().map(Into::into),
        subtasks: operator.subtasks.iter().map(subtask_manifest).collect(),
        tables: Vec::new(),
    });
    Manifest {
        format_version: FORMAT_VERSION,
        kind: SnapshotKind::Checkpoint,
        job_id: storage.store.job_id().to_string(),
        job_name: storage.job_name.clone(),
        attempt: storage.store.attempt(),
        checkpoint_id: 0,
        trigger_time_ms: 0,
        completion_time_ms: 0,
        parallelism: parallelism.0,
        max_parallelism: parallelism.1,
        plan_fingerprint: plan_fingerprint(graph),
        statements: storage.statements.iter().map(|s| masked(s)).collect(),
        is_final: false,
        state_ttl_ms: Some(state_ttl_ms(&graph.config)),
        operators: operators.collect(),
    }
}

/// A statement whose secrets, the values of options such as 'password', are left out.
fn masked(statement: &str) -> String {
    const SENSITIVE: &[&str] = &[
        "password",
        "secret",
        "token",
        "apikey",
        "api-key",
        "auth-params",
        "service-key",
        "access-key",
        "credential",
        "jaas",
        "basic-auth",
        "private-key",
    ];
    // Odd pieces are inside quotes; a doubled quote makes an empty piece.
    let mut key = String::new();
    let pieces = statement.split('\'').enumerate().map(|(number, piece)| {
        let is_quoted = number % 2 == 1;
        if !is_quoted {
            if !piece.is_empty() && piece.trim() != "=" {
                key.clear();
            }
            return piece;
        }
        if key.is_empty() {
            key = piece.to_ascii_lowercase();
            return piece;
        }
        match SENSITIVE.iter().any(|word| key.contains(word)) {
            true => "******",
            false => piece,
        }
    });
    pieces.collect::<Vec<_>>().join("'")
}

/// A job's `table.exec.state.ttl`, in ms; 0 is none.
pub fn state_ttl_ms(config: &Options) -> u64 {
    let text = config.get("table.exec.state.ttl");
    let ttl = text.and_then(flott_core::options::parse_duration);
    ttl.map_or(0, |ttl| ttl.as_millis() as u64)
}

fn column_manifest(column: &StateColumn) -> ColumnManifest {
    let aggregate = column.aggregate.as_ref();
    ColumnManifest {
        aggregate: aggregate.map(|call| AggregateManifest {
            function: call.function.clone(),
            arguments: call.arguments.clone(),
            is_distinct: call.is_distinct,
            is_retracting: call.is_retracting,
        }),
        name: column.name.clone(),
        data_type: column.data_type.clone(),
        meaning: format!("{:016x}", column.meaning),
    }
}

fn subtask_manifest(subtask: &SubtaskCheckpoint) -> SubtaskManifest {
    let splits = subtask.splits.iter().map(|split| SplitManifest {
        id: split.id.clone(),
        bytes: split.bytes.clone().into(),
    });
    let committables = subtask.committables.iter();
    SubtaskManifest {
        is_finished: subtask.is_finished,
        watermark: subtask.watermark,
        splits: splits.collect(),
        writer: subtask.writer.clone().into(),
        committables: committables.map(|c| c.bytes.clone().into()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_savepoint_takes_no_others_folder() -> Result<()> {
        let place = StoragePlace::in_memory();
        let first = new_folder(&place, "sp")?;
        first.put(MANIFEST_NAME, vec![b'x'].into())?;
        let second = new_folder(&place, "sp")?;
        assert!(second.to_string().ends_with("/sp-2"), "{second}");
        Ok(())
    }

    #[test]
    fn secrets_do_not_stand_in_manifests() {
        let sql =
            "CREATE TABLE t (a INT) WITH ('connector' = 'jdbc', 'password' = 'x''y', 'url'='u')";
        let shown = masked(sql);
        assert!(!shown.contains('x') && !shown.contains("''y"), "{shown}");
        assert!(shown.contains("'connector' = 'jdbc'"), "{shown}");
        assert!(shown.contains("'url'='u'"), "{shown}");
        assert_eq!(masked("SELECT 'a' = 'b', 'c'"), "SELECT 'a' = 'b', 'c'");
    }
}
