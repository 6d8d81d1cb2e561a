//! What `flott state inspect` says of a snapshot.

use std::fmt::Write;

use flott_state::storage::manifest::{FileManifest, OperatorManifest, TableManifest};
use serde::Serialize;

use super::sample::Sample;
use crate::output::aligned;
use crate::snapshots::{Found, kind_of, plain_name, size_text, time_text};

/// A checkpoint or savepoint.
#[derive(Debug, Serialize)]
pub struct SnapshotReport {
    pub kind: &'static str,
    pub path: String,
    pub job: String,
    pub job_name: String,
    pub checkpoint_id: u64,
    pub attempt: u64,
    /// In ms since 1970.
    pub time_ms: i64,
    pub parallelism: usize,
    pub max_parallelism: usize,
    /// All input had been read.
    pub is_final: bool,
    /// Bytes of all its state.
    pub size_bytes: u64,
    pub operators: Vec<OperatorReport>,
    /// Not all operators are shown.
    #[serde(skip)]
    pub is_partial: bool,
}

/// An operator, source or sink.
#[derive(Debug, Serialize)]
pub struct OperatorReport {
    pub uid: String,
    pub name: String,
    pub kind: String,
    pub parallelism: usize,
    /// Subtasks that had ended.
    pub num_finished: usize,
    /// Splits being read.
    pub num_splits: usize,
    /// Commits that wait for the checkpoint's end.
    pub num_committables: usize,
    /// What the operator keeps: `name TYPE`.
    pub columns: Vec<String>,
    pub tables: Vec<TableReport>,
}

/// A table of state.
#[derive(Debug, Serialize)]
pub struct TableReport {
    pub name: String,
    pub scope: String,
    pub schema: String,
    /// At most so many where changes lie over one another: see `is_exact`.
    pub num_rows: u64,
    pub is_exact: bool,
    pub size_bytes: u64,
    pub num_files: usize,
    /// The least and the greatest with rows.
    pub key_groups: Option<(u16, u16)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sample>,
}

impl SnapshotReport {
    pub fn new(found: &Found) -> Self {
        let manifest = &found.manifest;
        Self {
            kind: kind_of(manifest),
            path: found.path.clone(),
            job: manifest.job_id.clone(),
            job_name: manifest.job_name.clone(),
            checkpoint_id: manifest.checkpoint_id,
            attempt: manifest.attempt,
            time_ms: manifest.completion_time_ms,
            parallelism: manifest.parallelism,
            max_parallelism: manifest.max_parallelism,
            is_final: manifest.is_final,
            size_bytes: manifest.state_size_bytes(),
            operators: manifest.operators.iter().map(OperatorReport::new).collect(),
            is_partial: false,
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{} {} of {} (attempt {}), {}, parallelism {} of at most {}, {}{}\n{}\n\n",
            self.kind,
            self.checkpoint_id,
            self.job,
            self.attempt,
            time_text(self.time_ms),
            self.parallelism,
            self.max_parallelism,
            size_text(self.size_bytes),
            if self.is_final { ", final" } else { "" },
            self.path,
        );
        let head = ["operator", "uid", "subtasks", "state"].map(String::from);
        let rows = self.operators.iter().map(OperatorReport::row);
        text += &aligned(std::iter::once(head.to_vec()).chain(rows).collect());
        text += &self.tables_text();
        for operator in self.operators.iter().filter(|_| self.is_partial) {
            if !operator.columns.is_empty() {
                let _ = writeln!(text, "\nkeeps: {}", operator.columns.join(", "));
            }
        }
        for (operator, table) in self.all_tables() {
            if let Some(sample) = &table.sample {
                let _ = write!(
                    text,
                    "\n{} {}\n{}",
                    operator.name,
                    table.name,
                    sample.text()
                );
            }
        }
        text
    }

    fn all_tables(&self) -> impl Iterator<Item = (&OperatorReport, &TableReport)> {
        let operators = self.operators.iter();
        operators.flat_map(|o| o.tables.iter().map(move |t| (o, t)))
    }

    fn tables_text(&self) -> String {
        let names = ["operator", "table", "scope", "rows", "size", "files"];
        let head = names.into_iter().chain(["key groups", "schema"]);
        let mut rows = vec![head.map(String::from).collect::<Vec<_>>()];
        for (operator, table) in self.all_tables() {
            let about = if table.is_exact { "" } else { "<= " };
            let groups = table
                .key_groups
                .map(|(least, most)| format!("{least}-{most}"));
            rows.push(vec![
                operator.name.clone(),
                table.name.clone(),
                table.scope.clone(),
                format!("{about}{}", table.num_rows),
                size_text(table.size_bytes),
                table.num_files.to_string(),
                groups.unwrap_or_default(),
                table.schema.clone(),
            ]);
        }
        match rows.len() {
            1 => String::new(),
            _ => format!("\n{}", aligned(rows)),
        }
    }
}

impl OperatorReport {
    fn new(operator: &OperatorManifest) -> Self {
        let subtasks = &operator.subtasks;
        let columns = operator.columns.iter();
        Self {
            uid: operator.uid.clone(),
            name: operator.name.clone(),
            kind: format!("{:?}", operator.kind).to_lowercase(),
            parallelism: subtasks.len(),
            num_finished: subtasks.iter().filter(|s| s.is_finished).count(),
            num_splits: subtasks.iter().map(|s| s.splits.len()).sum(),
            num_committables: subtasks.iter().map(|s| s.committables.len()).sum(),
            columns: columns
                .map(|c| format!("{} {}", c.name, c.data_type))
                .collect(),
            tables: operator.tables.iter().map(TableReport::new).collect(),
        }
    }

    /// Whether this is its uid or its name, with or without what it is of.
    pub fn is_called(&self, wanted: &str) -> bool {
        is_called(&self.uid, &self.name, wanted)
    }

    fn row(&self) -> Vec<String> {
        let counts = [
            (self.tables.len(), "table"),
            (self.num_splits, "split"),
            (self.num_committables, "commit"),
            (self.num_finished, "ended subtask"),
        ];
        let counts = counts.iter().filter(|(n, _)| *n > 0);
        let told: Vec<String> = counts
            .map(|(n, what)| format!("{n} {what}{}", if *n == 1 { "" } else { "s" }))
            .collect();
        vec![
            self.name.clone(),
            self.uid.clone(),
            self.parallelism.to_string(),
            told.join(", "),
        ]
    }
}

/// Whether an operator of this uid and name is called `wanted`.
pub fn is_called(uid: &str, name: &str, wanted: &str) -> bool {
    [uid, name, plain_name(name)].contains(&wanted)
}

impl TableReport {
    fn new(table: &TableManifest) -> Self {
        let layers = table.layers.iter();
        let files = layers.flat_map(|l| l.upserts.iter().chain(&l.deletes));
        let files: Vec<&FileManifest> = files.collect();
        let (num_rows, is_exact) = table.num_rows();
        let ranges = files.iter().filter_map(|f| f.key_groups);
        Self {
            name: table.name.clone(),
            scope: format!("{:?}", table.scope).to_lowercase(),
            schema: table.schema.clone(),
            num_rows,
            is_exact,
            size_bytes: files.iter().map(|f| f.size_bytes).sum(),
            num_files: files.iter().filter(|f| !f.path.is_empty()).count(),
            key_groups: ranges.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))),
            sample: None,
        }
    }
}
