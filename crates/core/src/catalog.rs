//! What a catalog holds: tables and views as they were declared.

use std::fmt;

use crate::options::Options;
use crate::schema::{Column, Schema};
use crate::types::DataType;

/// `catalog.database.object`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectPath {
    pub catalog: String,
    pub database: String,
    pub name: String,
}

impl fmt::Display for ObjectPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`.`{}`.`{}`", self.catalog, self.database, self.name)
    }
}

/// A declared column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableColumn {
    pub name: String,
    pub data_type: DataType,
    pub kind: ColumnKind,
    pub comment: Option<String>,
}

/// Where a column's values come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnKind {
    /// Stored by the connector.
    Physical,
    /// `METADATA [FROM 'key'] [VIRTUAL]`: offered by the connector.
    Metadata {
        key: Option<String>,
        is_virtual: bool,
    },
    /// `AS expression`.
    Computed { expression: String },
}

/// `WATERMARK FOR column AS expression`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatermarkSpec {
    pub column: String,
    pub expression: String,
}

/// `PRIMARY KEY (columns) NOT ENFORCED`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrimaryKey {
    pub name: Option<String>,
    pub columns: Vec<String>,
}

/// A table as declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogTable {
    pub columns: Vec<TableColumn>,
    pub watermark: Option<WatermarkSpec>,
    pub primary_key: Option<PrimaryKey>,
    pub partition_keys: Vec<String>,
    pub options: Options,
    pub comment: Option<String>,
    pub is_temporary: bool,
}

impl CatalogTable {
    fn columns_where(&self, keep: impl Fn(&ColumnKind) -> bool) -> Schema {
        let kept = self.columns.iter().filter(|c| keep(&c.kind));
        kept.map(|c| Column::new(&c.name, c.data_type.clone()))
            .collect()
    }

    /// The stored columns.
    pub fn physical_schema(&self) -> Schema {
        self.columns_where(|k| matches!(k, ColumnKind::Physical))
    }

    /// What a source can produce: physical columns, then metadata columns named by their key.
    pub fn source_schema(&self) -> Schema {
        let metadata = self.columns.iter().filter_map(|c| match &c.kind {
            ColumnKind::Metadata { key, .. } => Some(Column::new(
                key.as_ref().unwrap_or(&c.name),
                c.data_type.clone(),
            )),
            _ => None,
        });
        self.physical_schema()
            .columns()
            .iter()
            .cloned()
            .chain(metadata)
            .collect()
    }

    /// What a sink takes: physical columns, then metadata columns that are not virtual, named by
    /// their key.
    pub fn sink_schema(&self) -> Schema {
        let metadata = self.columns.iter().filter_map(|c| match &c.kind {
            ColumnKind::Metadata {
                key,
                is_virtual: false,
            } => Some(Column::new(
                key.as_ref().unwrap_or(&c.name),
                c.data_type.clone(),
            )),
            _ => None,
        });
        self.physical_schema()
            .columns()
            .iter()
            .cloned()
            .chain(metadata)
            .collect()
    }
}

/// A view: a name for a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogView {
    /// The columns' names where the view renames them.
    pub column_names: Option<Vec<String>>,
    /// The query's text, with object names as they were written.
    pub query: String,
    pub comment: Option<String>,
    pub is_temporary: bool,
}
