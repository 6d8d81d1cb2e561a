//! The manifest: what a checkpoint or savepoint consists of. It is written last, and by one put:
//! a checkpoint is complete when its manifest is there.
//!
//! A manifest is JSON behind a first line with its version, checksum and length, so that it can be
//! read by people and by other tools.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flott_core::operator::StateScope;
use flott_core::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::state_file::{checksum, corrupt};

/// The version of the format that this binary writes and reads.
pub const FORMAT_VERSION: u32 = 2;
/// The name of the manifest in a checkpoint's or savepoint's folder.
pub const MANIFEST_NAME: &str = "_manifest";
const FIRST_WORD: &str = "FLOTT-MANIFEST";

/// What a snapshot is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotKind {
    /// Owned by its job: deleted when newer ones are there.
    Checkpoint,
    /// Owned by the user; every table whole, every file in its own folder.
    Savepoint,
}

/// Everything that a job needs to start again, by reference to state files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub format_version: u32,
    pub kind: SnapshotKind,
    pub job_id: String,
    pub job_name: String,
    /// The attempt that wrote it.
    pub attempt: u64,
    pub checkpoint_id: u64,
    /// When the checkpoint began, in ms since 1970.
    pub trigger_time_ms: i64,
    /// When its manifest was written, in ms since 1970.
    pub completion_time_ms: i64,
    pub parallelism: usize,
    pub max_parallelism: usize,
    /// The hash of the operators' ids: the same for the same plan.
    pub plan_fingerprint: String,
    /// The statements that the job was made of.
    pub statements: Vec<String>,
    /// All input had been read and all operators had ended.
    pub is_final: bool,
    /// The job's `table.exec.state.ttl`, in ms; 0 is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_ttl_ms: Option<u64>,
    /// In the order of the job graph.
    pub operators: Vec<OperatorManifest>,
}

/// One operator, source or sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorManifest {
    /// The stable id by which state finds its operator again.
    pub uid: String,
    /// For people.
    pub name: String,
    pub kind: OperatorKind,
    /// What the operator keeps, in order: state of other columns does not fit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<ColumnManifest>,
    /// The state of a source's enumerator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enumerator: Option<Blob>,
    /// In order.
    pub subtasks: Vec<SubtaskManifest>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<TableManifest>,
}

/// A column of what an operator keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnManifest {
    /// For people.
    pub name: String,
    /// Flink's type as text.
    #[serde(rename = "type")]
    pub data_type: String,
    /// A hash, in hexadecimal digits, of where the values come from.
    pub meaning: String,
    /// The column is the result of a call, kept as the call's partial state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregate: Option<AggregateManifest>,
}

/// An aggregate call whose partial states are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AggregateManifest {
    /// The function's SQL name.
    pub function: String,
    /// The arguments' types as text.
    pub arguments: Vec<String>,
    #[serde(default)]
    pub is_distinct: bool,
    /// Whether rows may be taken back.
    #[serde(default)]
    pub is_retracting: bool,
}

/// What an operator does in the job graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperatorKind {
    Source,
    Operator,
    Sink,
}

/// What belongs to one subtask, except tables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubtaskManifest {
    /// It had ended: there is nothing left to do for it.
    #[serde(default)]
    pub is_finished: bool,
    /// The watermark that it had received, in ms.
    pub watermark: i64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub splits: Vec<SplitManifest>,
    /// A sink writer's own state.
    #[serde(default, skip_serializing_if = "Blob::is_empty")]
    pub writer: Blob,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub committables: Vec<Blob>,
}

/// A split with the position reached in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitManifest {
    pub id: String,
    pub bytes: Blob,
}

/// One named table of state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableManifest {
    pub name: String,
    pub scope: Scope,
    /// The columns and their Arrow types, for people; the files say it themselves.
    pub schema: String,
    /// The first so many columns identify a row, where there are changes; else 0.
    #[serde(default)]
    pub key_columns: usize,
    /// The oldest first. Of tables that are not keyed: one for each subtask.
    pub layers: Vec<LayerManifest>,
}

/// Rows, or the changes of one checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerManifest {
    /// Ranges of key groups (first, and one past the last) of which older layers say nothing any
    /// more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<(usize, usize)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upserts: Vec<FileManifest>,
    /// Keys of removed rows; they apply before the upserts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deletes: Vec<FileManifest>,
}

/// A state file, or its bytes when there are few.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileManifest {
    /// Relative to the job's folder, in a savepoint to the savepoint's; empty when the bytes are
    /// here.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    #[serde(default, skip_serializing_if = "Blob::is_empty")]
    pub inline: Blob,
    pub num_rows: u64,
    /// Bytes of the file.
    pub size_bytes: u64,
    /// Bytes of the rows in memory, about.
    pub memory_bytes: u64,
    /// The least and the greatest key group of a keyed table's rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_groups: Option<(u16, u16)>,
    /// No older layer says anything of these rows, except of such that are gone or replaced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_new: bool,
}

/// [`StateScope`] in a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    Keyed,
    Split,
    Union,
}

impl From<StateScope> for Scope {
    fn from(scope: StateScope) -> Self {
        match scope {
            StateScope::Keyed => Self::Keyed,
            StateScope::Split => Self::Split,
            StateScope::Union => Self::Union,
        }
    }
}

impl From<Scope> for StateScope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Keyed => Self::Keyed,
            Scope::Split => Self::Split,
            Scope::Union => Self::Union,
        }
    }
}

/// Bytes; base64 in JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blob(pub Bytes);

impl Blob {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(serde::de::Error::custom)?;
        Ok(Self(bytes.into()))
    }
}

impl TableManifest {
    /// The table's rows, and whether there are exactly so many: where changes lie over one another
    /// there are fewer.
    pub fn num_rows(&self) -> (u64, bool) {
        let upserts = self.layers.iter().flat_map(|l| &l.upserts);
        let num_rows = upserts.map(|f| f.num_rows).sum();
        // Without keys, layers are subtasks.
        let is_exact = self.key_columns == 0
            || (self.layers.len() <= 1 && self.layers.iter().all(|l| l.deletes.is_empty()));
        (num_rows, is_exact)
    }
}

impl OperatorManifest {
    /// Whether there is anything that the operator would go on from.
    pub fn has_state(&self) -> bool {
        let has_own = |s: &SubtaskManifest| {
            !(s.splits.is_empty() && s.writer.is_empty() && s.committables.is_empty())
        };
        !self.tables.is_empty() || self.enumerator.is_some() || self.subtasks.iter().any(has_own)
    }
}

impl Manifest {
    /// The text that is stored.
    ///
    /// # Errors
    /// A defect: something that JSON cannot say.
    pub fn encode(&self) -> Result<Bytes> {
        let json = serde_json::to_vec_pretty(self)
            .map_err(|e| Error::internal(format!("a manifest cannot be written: {e}")))?;
        let first = format!(
            "{FIRST_WORD} {FORMAT_VERSION} {} {}\n",
            checksum_of(&FORMAT_VERSION.to_string(), &json),
            json.len()
        );
        Ok([first.into_bytes(), json].concat().into())
    }

    /// Reads what [`Manifest::encode`] wrote; `name` is what messages call it.
    ///
    /// # Errors
    /// An external error that says how the text is damaged, a user error for another version.
    pub fn decode(name: &str, bytes: &[u8]) -> Result<Self> {
        let cut = || corrupt(name, "it was cut short");
        let end = bytes.iter().position(|&b| b == b'\n').ok_or_else(cut)?;
        let first = String::from_utf8_lossy(&bytes[..end]);
        let words: Vec<&str> = first.split(' ').collect();
        let [FIRST_WORD, version, sum, length] = words.as_slice() else {
            return Err(corrupt(name, "it is not a manifest"));
        };
        let json = &bytes[end + 1..];
        if length.parse() != Ok(json.len()) {
            return Err(cut());
        }
        // That of other versions too: a version that was changed by accident is damage.
        let is_first_version = *version == "1" && *sum == format!("{:016x}", checksum(json));
        if *sum != checksum_of(version, json) && !is_first_version {
            return Err(corrupt(name, "its checksum is wrong"));
        }
        if *version != FORMAT_VERSION.to_string() {
            return Err(Error::user(
                "STATE_VERSION",
                format!(
                    "{name} has version {version} of the format, this binary reads {FORMAT_VERSION}; use the binary that wrote it"
                ),
            ));
        }
        serde_json::from_slice(json).map_err(|e| corrupt(name, &e.to_string()))
    }

    /// Every state file that the manifest names.
    pub fn files(&self) -> impl Iterator<Item = &FileManifest> {
        let tables = self.operators.iter().flat_map(|o| &o.tables);
        let layers = tables.flat_map(|t| &t.layers);
        let files = layers.flat_map(|l| l.upserts.iter().chain(&l.deletes));
        files.filter(|f| !f.path.is_empty())
    }

    /// Bytes of all state, in files and inline.
    pub fn state_size_bytes(&self) -> u64 {
        let tables = self.operators.iter().flat_map(|o| &o.tables);
        let layers = tables.flat_map(|t| &t.layers);
        let files = layers.flat_map(|l| l.upserts.iter().chain(&l.deletes));
        files.map(|f| f.size_bytes).sum()
    }
}

/// The checksum of a manifest's version and text.
fn checksum_of(version: &str, json: &[u8]) -> String {
    let sum = checksum(&[version.as_bytes(), b"\n", json].concat());
    format!("{sum:016x}")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn manifest(checkpoint_id: u64) -> Manifest {
        let file = FileManifest {
            path: format!("shared/{checkpoint_id}.state"),
            inline: Blob::default(),
            num_rows: 3,
            size_bytes: 100,
            memory_bytes: 200,
            key_groups: Some((0, 127)),
            is_new: false,
        };
        let layer = LayerManifest {
            replaced: vec![(0, 128)],
            upserts: vec![file],
            deletes: Vec::new(),
        };
        let table = TableManifest {
            name: "groups".into(),
            scope: Scope::Keyed,
            schema: "k: BIGINT".into(),
            key_columns: 2,
            layers: vec![layer],
        };
        let subtask = SubtaskManifest {
            watermark: i64::MIN,
            splits: vec![SplitManifest {
                id: "a".into(),
                bytes: vec![1, 2, 3].into(),
            }],
            committables: vec![vec![0, 255].into()],
            ..SubtaskManifest::default()
        };
        Manifest {
            format_version: FORMAT_VERSION,
            kind: SnapshotKind::Checkpoint,
            job_id: "shop".into(),
            job_name: "shop".into(),
            attempt: 1,
            checkpoint_id,
            trigger_time_ms: 1,
            completion_time_ms: 2,
            parallelism: 1,
            max_parallelism: 128,
            plan_fingerprint: "f".into(),
            statements: vec!["INSERT INTO a SELECT 'ü\n'".into()],
            state_ttl_ms: None,
            is_final: false,
            operators: vec![OperatorManifest {
                uid: "u".into(),
                name: "GroupAggregate".into(),
                kind: OperatorKind::Operator,
                columns: Vec::new(),
                enumerator: Some(vec![7].into()),
                subtasks: vec![subtask],
                tables: vec![table],
            }],
        }
    }

    #[test]
    fn a_manifest_comes_back() {
        let manifest = manifest(5);
        let bytes = manifest.encode().unwrap();
        assert_eq!(Manifest::decode("m", &bytes).unwrap(), manifest);
    }

    #[test]
    fn manifests_of_other_versions_are_told_from_damaged_ones() {
        let json = b"{}";
        let text = |version: &str, sum: String| {
            let text = format!("{FIRST_WORD} {version} {sum} {}\n{{}}", json.len());
            Manifest::decode("m", text.as_bytes()).unwrap_err()
        };
        let (first, later) = (format!("{:016x}", checksum(json)), checksum_of("3", json));
        assert_eq!(text("1", first).code(), "STATE_VERSION");
        assert_eq!(text("3", later.clone()).code(), "STATE_VERSION");
        assert_eq!(text("2", later).code(), "STATE_CORRUPT");
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let bytes = manifest(5).encode().unwrap();
        for length in 0..bytes.len() {
            assert!(
                Manifest::decode("m", &bytes[..length]).is_err(),
                "cut at {length}"
            );
        }
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let error = Manifest::decode("m", &damaged).unwrap_err();
            assert_eq!(error.code(), "STATE_CORRUPT", "bit {bit}");
        }
    }
}
