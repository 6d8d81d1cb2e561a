//! Connectors: what stands behind a table's `'connector' = '…'`.

use std::sync::Arc;

use crate::catalog::{CatalogTable, ObjectPath};
use crate::error::{Error, Result, did_you_mean};
use crate::format::FormatFactory;
use crate::options::{OptionDef, Options};
use crate::sink::TableSink;
use crate::source::{ScanRequest, TableSource};

/// The lists that the binary wires together: every connector and every format.
#[derive(Clone, Default)]
pub struct Registry {
    pub connectors: Vec<Arc<dyn ConnectorFactory>>,
    pub formats: Vec<Arc<dyn FormatFactory>>,
}

impl Registry {
    /// # Errors
    /// A user error that names the nearest known connector.
    pub fn connector(&self, identifier: &str) -> Result<&Arc<dyn ConnectorFactory>> {
        self.connectors
            .iter()
            .find(|c| c.identifier() == identifier)
            .ok_or_else(|| {
                let names = || self.connectors.iter().map(|c| c.identifier());
                let hint = did_you_mean(identifier, names());
                let known = names().collect::<Vec<_>>().join(", ");
                let message =
                    format!("unknown connector '{identifier}'{hint} (there are: {known})");
                Error::user("UNKNOWN_CONNECTOR", message)
            })
    }

    /// # Errors
    /// A user error that names the nearest known format.
    pub fn format(&self, identifier: &str) -> Result<&Arc<dyn FormatFactory>> {
        self.formats
            .iter()
            .find(|f| f.identifier() == identifier)
            .ok_or_else(|| {
                let names = || self.formats.iter().map(|f| f.identifier());
                let hint = did_you_mean(identifier, names());
                let known = names().collect::<Vec<_>>().join(", ");
                let message = format!("unknown format '{identifier}'{hint} (there are: {known})");
                Error::user("UNKNOWN_FORMAT", message)
            })
    }
}

/// A table that a connector is to read or write.
#[derive(Clone, Copy)]
pub struct TableContext<'a> {
    pub path: &'a ObjectPath,
    pub table: &'a CatalogTable,
    /// The table's options without `connector`, hints applied.
    pub options: &'a Options,
    /// The session's configuration.
    pub config: &'a Options,
    pub registry: &'a Registry,
    /// `execution.runtime-mode = batch`.
    pub is_batch: bool,
}

/// A metadata column that a connector offers.
#[derive(Debug, Clone)]
pub struct MetadataColumn {
    pub key: &'static str,
    /// Flink's type as SQL text.
    pub sql_type: &'static str,
    pub is_writable: bool,
    pub doc: &'static str,
}

/// A connector in the list of connectors.
pub trait ConnectorFactory: Send + Sync {
    /// The value of `'connector'`.
    fn identifier(&self) -> &'static str;

    /// All options but `connector` and those of formats.
    fn options(&self) -> &'static [OptionDef];

    fn doc(&self) -> &'static str;

    /// A script that shows the connector at work, for its page in the documentation; it runs as it
    /// stands, in an empty folder, unless it needs another system.
    fn example(&self) -> &'static str {
        ""
    }

    fn metadata_columns(&self) -> Vec<MetadataColumn> {
        Vec::new()
    }

    /// # Errors
    /// A user error when the options are wrong or the connector cannot be read.
    fn create_source(
        &self,
        context: TableContext<'_>,
        request: ScanRequest,
    ) -> Result<Arc<dyn TableSource>>;

    /// # Errors
    /// A user error when the options are wrong or the connector cannot be written.
    fn create_sink(
        &self,
        context: TableContext<'_>,
        request: SinkRequest,
    ) -> Result<Arc<dyn TableSink>>;
}

/// How a statement writes a table.
#[derive(Debug, Clone, Default)]
pub struct SinkRequest {
    /// `INSERT OVERWRITE`.
    pub overwrite: bool,
    /// `PARTITION (k = 'v')`: the given values by partition column.
    pub static_partition: Vec<(String, String)>,
}
