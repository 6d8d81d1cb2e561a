//! `filesystem`: tables that are files or folders of files.
//!
//! Reading: every file of a file, folder (with what is below it) or pattern; names that begin with
//! `.` or `_` are passed over. Large files of splittable formats are read in pieces by several
//! subtasks. Partition columns are read from `key=value` folders, and predicates on them leave
//! whole folders out. Compressed text is decompressed by the extension of its name: `.gz`, `.gzip`,
//! `.deflate`, `.bz2`, `.xz`, `.zst`. Formats with a footer or header read their files themselves.
//!
//! Writing: hidden files that become visible, each by one rename, when the checkpoint that holds
//! them is complete; so every row is visible exactly once. With `auto-compaction` the small files of
//! a checkpoint become large ones before that.
//!
//! Records that cannot be read fail the job, or go to the table that `dead-letter.table` names.

mod codec;
mod commit;
mod compaction;
mod constants;
mod file_system;
mod input;
mod letters;
mod listing;
mod options;
mod partition_commit;
mod path;
mod reader;
mod records;
mod retract;
mod sink;
mod source;
mod split;
mod writer;

use std::sync::Arc;

use flott_core::connector::{ConnectorFactory, MetadataColumn, SinkRequest, TableContext};
use flott_core::format::FormatFactory;
use flott_core::options::{OptionDef, Options};
use flott_core::sink::TableSink;
use flott_core::source::{ScanRequest, TableSource};
use flott_core::{Error, Result};

pub use path::list_partitions;

/// The connector `filesystem`.
pub struct FilesystemConnector;

/// What source and sink read alike from a table's options.
struct TableOptions {
    files: Arc<dyn file_system::FileSystem>,
    path: String,
    format: Arc<dyn FormatFactory>,
    /// Without the format's prefix.
    format_options: Options,
    default_name: String,
}

impl TableOptions {
    fn new(context: &TableContext<'_>) -> Result<Self> {
        let options = context.options;
        let missing = |def: &OptionDef| {
            let message = format!(
                "connector 'filesystem' needs the option '{}' ({})",
                def.key, def.doc
            );
            Error::user("MISSING_OPTION", message)
        };
        let either = |def: &'static OptionDef, legacy: &'static OptionDef| {
            options
                .get(def.key)
                .or(options.get(legacy.key))
                .ok_or_else(|| missing(def))
        };
        let path = either(&options::PATH, &options::LEGACY_PATH)?;
        let (files, path) = file_system::file_system(path, context.config)?;
        let format = either(&options::FORMAT, &options::LEGACY_FORMAT)?;
        let format = context.registry.format(format)?.clone();
        let prefix = format!("{}.", format.identifier());
        let own: Options = options
            .iter()
            .filter(|(key, _)| !key.starts_with(&prefix))
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect();
        own.check("connector 'filesystem'", &[options::OPTIONS])?;
        Ok(Self {
            files,
            path,
            format_options: options.with_prefix_removed(&prefix),
            default_name: options
                .text(&options::DEFAULT_NAME)
                .unwrap_or_default()
                .to_string(),
            format,
        })
    }
}

impl ConnectorFactory for FilesystemConnector {
    fn identifier(&self) -> &'static str {
        "filesystem"
    }

    fn options(&self) -> &'static [OptionDef] {
        options::OPTIONS
    }

    fn doc(&self) -> &'static str {
        "files and folders of files"
    }

    fn example(&self) -> &'static str {
        include_str!("example.sql")
    }

    fn metadata_columns(&self) -> Vec<MetadataColumn> {
        let column = |key, sql_type, doc| MetadataColumn {
            key,
            sql_type,
            is_writable: false,
            doc,
        };
        vec![
            column("file.path", "STRING NOT NULL", "the file's whole path"),
            column("file.name", "STRING NOT NULL", "the file's name"),
            column("file.size", "BIGINT NOT NULL", "the file's size in bytes"),
            column(
                "file.modification-time",
                "TIMESTAMP_LTZ(3) NOT NULL",
                "when the file was last written",
            ),
        ]
    }

    fn create_source(
        &self,
        context: TableContext<'_>,
        request: ScanRequest,
    ) -> Result<Arc<dyn TableSource>> {
        let options = TableOptions::new(&context)?;
        Ok(Arc::new(source::FilesystemSource::new(
            &context, options, request,
        )?))
    }

    fn create_sink(
        &self,
        context: TableContext<'_>,
        request: SinkRequest,
    ) -> Result<Arc<dyn TableSink>> {
        let options = TableOptions::new(&context)?;
        Ok(Arc::new(sink::FilesystemSink::new(
            &context, options, request,
        )?))
    }
}
