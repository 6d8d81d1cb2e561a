//! A table's files as the target of one statement.

use std::sync::Arc;

use flott_core::changelog::{ChangelogMode, RowKind};
use flott_core::connector::{SinkRequest, TableContext};
use flott_core::format::{EncodeRequest, FormatFactory};
use flott_core::schema::Schema;
use flott_core::sink::{Committer, Rollback, SinkWriter, TableSink, WriterContext};
use flott_core::{Error, Result};

use super::TableOptions;
use super::commit::FileCommitter;
use super::compaction::{CompactionPolicy, Compactor};
use super::file_system::FileSystem;
use super::options;
use super::partition_commit::PartitionCommitPolicy;
use super::path::partition_folder;
use super::retract::retract;
use super::source::{file_columns, key_columns};
use super::writer::FileWriter;

/// When a file is closed and another one begun.
#[derive(Debug, Clone, Copy)]
pub(super) struct RollingPolicy {
    pub size_bytes: u64,
    pub rollover_ms: i64,
    pub check_ms: i64,
}

/// What a writer needs to know of its table and statement.
pub(super) struct SinkPlan {
    pub files: Arc<dyn FileSystem>,
    /// The table's folder.
    pub folder: String,
    pub format: Arc<dyn FormatFactory>,
    pub encode: EncodeRequest,
    pub partition_keys: Vec<String>,
    /// Where the partition keys stand in a row.
    pub key_columns: Vec<usize>,
    /// The columns that are written into the files.
    pub file_columns: Vec<usize>,
    pub default_name: String,
    pub rolling: RollingPolicy,
    pub partition_commit: Option<PartitionCommitPolicy>,
    pub compaction: Option<CompactionPolicy>,
    /// `INSERT OVERWRITE`.
    pub overwrites: bool,
    /// The folder that is replaced even when no row comes; `None` when the rows say which.
    pub replaced_folder: Option<String>,
}

pub(super) struct FilesystemSink {
    plan: Arc<SinkPlan>,
    table: String,
    mode: ChangelogMode,
    parallelism: Option<usize>,
    shuffles: bool,
    /// Columns by which rows are spread over the writers.
    spread_columns: Vec<usize>,
}

/// Columns by which rows are spread where an exchange is wanted for its own sake: those that are
/// quickly hashed. Changes of one row stay in the order of their partition.
fn spread_columns(schema: &Schema, keys: &[usize], mode: ChangelogMode) -> Vec<usize> {
    let is_cheap = |place: &usize| schema.column(*place).data_type.to_arrow().is_primitive();
    let cheap: Vec<usize> = (0..schema.len()).filter(is_cheap).collect();
    match mode.is_append_only() && !cheap.is_empty() {
        true => cheap,
        false => keys.to_vec(),
    }
}

impl FilesystemSink {
    pub fn new(
        context: &TableContext<'_>,
        options: TableOptions,
        request: SinkRequest,
    ) -> Result<Self> {
        if request.overwrite && !context.is_batch {
            return Err(Error::user(
                "UNSUPPORTED_OVERWRITE",
                "INSERT OVERWRITE needs a bounded job; SET 'execution.runtime-mode' = 'batch'",
            ));
        }
        let schema = context.table.sink_schema();
        let keys = &context.table.partition_keys;
        let key_columns = key_columns(&schema, keys)?;
        let file_columns = file_columns(schema.len(), &key_columns);
        let encode = EncodeRequest {
            schema: schema.project(&file_columns),
            options: options.format_options.clone(),
        };
        options.format.create_encoder(&encode)?;
        let table = context.options;
        let duration_ms = |def| -> Result<i64> {
            let duration = table.duration(def)?.unwrap_or_default();
            Ok(duration.as_millis() as i64)
        };
        let rolling = RollingPolicy {
            size_bytes: table.memory_size(&options::FILE_SIZE)?.unwrap_or(u64::MAX),
            rollover_ms: duration_ms(&options::ROLLOVER_INTERVAL)?,
            check_ms: duration_ms(&options::CHECK_INTERVAL)?.max(1),
        };
        let parallelism = table.integer(&options::PARALLELISM)?;
        if parallelism.is_some_and(|p| p < 1) {
            let message = "option 'sink.parallelism' is less than 1; it takes a positive number";
            return Err(Error::user("INVALID_OPTION", message));
        }
        let folder = options.path.trim_end_matches('/').to_string();
        Ok(Self {
            table: context.path.to_string(),
            spread_columns: spread_columns(&schema, &key_columns, options.format.encoded_mode()),
            mode: options.format.encoded_mode(),
            parallelism: parallelism.map(|p| p as usize),
            shuffles: table.boolean(&options::SHUFFLE_BY_PARTITION)? == Some(true),
            plan: Arc::new(SinkPlan {
                files: options.files,
                replaced_folder: replaced_folder(&folder, keys, &request, &options.default_name),
                folder,
                format: options.format,
                encode,
                partition_keys: keys.clone(),
                key_columns,
                file_columns,
                default_name: options.default_name,
                rolling,
                compaction: CompactionPolicy::new(table, rolling.size_bytes)?,
                partition_commit: PartitionCommitPolicy::new(table)?,
                overwrites: request.overwrite,
            }),
        })
    }
}

/// The whole table, or the partition when the statement gives all of its values.
fn replaced_folder(
    folder: &str,
    keys: &[String],
    request: &SinkRequest,
    default_name: &str,
) -> Option<String> {
    if !request.overwrite {
        return None;
    }
    if keys.is_empty() {
        return Some(folder.to_string());
    }
    let value_of = |key: &String| {
        let given = request.static_partition.iter().find(|(k, _)| k == key);
        given.map(|(_, value)| Some(value.clone()))
    };
    let values = keys.iter().map(value_of).collect::<Option<Vec<_>>>()?;
    Some(format!(
        "{folder}/{}",
        partition_folder(keys, &values, default_name)
    ))
}

impl TableSink for FilesystemSink {
    fn keeps_changes(&self) -> bool {
        true
    }

    fn changelog_mode(&self, offered: ChangelogMode) -> Result<ChangelogMode> {
        let refused = RowKind::ALL
            .into_iter()
            .find(|kind| offered.contains(*kind) && !self.mode.contains(*kind));
        match refused {
            None => Ok(offered),
            Some(kind) => {
                let format = self.plan.format.identifier();
                let what = match kind {
                    RowKind::Delete => "delete",
                    _ => "update",
                };
                Err(Error::user(
                    "UNSUPPORTED_CHANGELOG",
                    format!(
                        "table {} with format '{format}' cannot take {what} changes, which the query produces ({offered}); use a format that encodes changes, such as 'debezium-json'",
                        self.table
                    ),
                ))
            }
        }
    }

    fn parallelism(&self) -> Option<usize> {
        self.parallelism
    }

    fn partition_columns(&self) -> Vec<usize> {
        let policy = self.plan.partition_commit.as_ref();
        let is_marked_by_watermark = policy.is_some_and(PartitionCommitPolicy::needs_watermark);
        match self.shuffles {
            true => self.plan.key_columns.clone(),
            // A writer may mark a partition when no other one has rows for it to come. Behind an
            // exchange all writers have the watermark of all rows.
            false if is_marked_by_watermark => self.spread_columns.clone(),
            false => Vec::new(),
        }
    }

    fn describe(&self) -> String {
        let format = self.plan.format.identifier();
        format!("path={}, format={format}", self.plan.folder)
    }

    fn create_writer(&self, context: WriterContext) -> Result<Box<dyn SinkWriter>> {
        Ok(Box::new(FileWriter::new(self.plan.clone(), context)?))
    }

    fn retract(&self, rollback: &Rollback) -> Result<bool> {
        retract(&self.plan, rollback)?;
        Ok(true)
    }

    fn create_committer(&self) -> Result<Option<Box<dyn Committer>>> {
        Ok(Some(Box::new(FileCommitter {
            files: self.plan.files.clone(),
            // Files of a checkpoint that was written with compaction can always be read.
            compactor: Compactor {
                files: self.plan.files.clone(),
                policy: self.plan.compaction.unwrap_or(CompactionPolicy {
                    size_bytes: self.plan.rolling.size_bytes,
                    parallelism: 1,
                }),
                format: self.plan.format.clone(),
                encode: self.plan.encode.clone(),
            },
        })))
    }
}
