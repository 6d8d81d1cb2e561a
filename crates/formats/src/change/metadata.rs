//! What an envelope says beside the rows: where a change comes from, and when it happened.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::{can_cast_types, cast};
use flott_core::connector::MetadataColumn;
use flott_core::error::did_you_mean;
use flott_core::schema::Column;
use flott_core::source::FieldPath;
use flott_core::types::{DataType, LogicalType, RowField};
use flott_core::{Error, Result};

use super::Dialect;

/// What an entry's value is in the envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    /// Milliseconds since 1970.
    Millis,
    /// A timestamp as text.
    Timestamp,
    Texts,
    Numbers,
    Properties,
}

/// A metadata column of a dialect.
struct Entry {
    key: &'static str,
    kind: Kind,
    /// The way to it in the envelope: a field, or a field inside another.
    path: &'static [&'static str],
    doc: &'static str,
}

const fn entry(
    key: &'static str,
    kind: Kind,
    path: &'static [&'static str],
    doc: &'static str,
) -> Entry {
    Entry {
        key,
        kind,
        path,
        doc,
    }
}

const INGESTED: &str = "when the change was read from the database's log";
const HAPPENED: &str = "when the change happened in the database";

const DEBEZIUM: &[Entry] = &[
    entry(
        SCHEMA_KEY,
        Kind::Text,
        &["schema"],
        "the schema that the record carries, as JSON",
    ),
    entry("ingestion-timestamp", Kind::Millis, &["ts_ms"], INGESTED),
    entry(
        "source.timestamp",
        Kind::Millis,
        &["source", "ts_ms"],
        HAPPENED,
    ),
    entry(
        "source.database",
        Kind::Text,
        &["source", "db"],
        "the change's database",
    ),
    entry(
        "source.schema",
        Kind::Text,
        &["source", "schema"],
        "the schema of the change's table",
    ),
    entry(
        "source.table",
        Kind::Text,
        &["source", "table"],
        "the change's table",
    ),
    entry(
        "source.properties",
        Kind::Properties,
        &["source"],
        "all that is said of the source",
    ),
];
const CANAL: &[Entry] = &[
    entry(
        "database",
        Kind::Text,
        &["database"],
        "the change's database",
    ),
    entry("table", Kind::Text, &["table"], "the change's table"),
    entry(
        "sql-type",
        Kind::Numbers,
        &["sqlType"],
        "the columns' types, as JDBC numbers them",
    ),
    entry(
        "pk-names",
        Kind::Texts,
        &["pkNames"],
        "the columns of the primary key",
    ),
    entry("ingestion-timestamp", Kind::Millis, &["ts"], INGESTED),
    entry("event-timestamp", Kind::Millis, &["es"], HAPPENED),
];
const MAXWELL: &[Entry] = &[
    entry(
        "database",
        Kind::Text,
        &["database"],
        "the change's database",
    ),
    entry("table", Kind::Text, &["table"], "the change's table"),
    entry(
        "primary-key-columns",
        Kind::Texts,
        &["primary_key_columns"],
        "the columns of the primary key",
    ),
    // Maxwell's own unit is the second; Flink takes the number for milliseconds.
    entry("ingestion-timestamp", Kind::Millis, &["ts"], HAPPENED),
];
const OGG: &[Entry] = &[
    entry(
        "table",
        Kind::Text,
        &["table"],
        "the change's table, with its schema",
    ),
    entry(
        "primary-keys",
        Kind::Texts,
        &["primary_keys"],
        "the columns of the primary key",
    ),
    entry(
        "ingestion-timestamp",
        Kind::Timestamp,
        &["current_ts"],
        INGESTED,
    ),
    entry("event-timestamp", Kind::Timestamp, &["op_ts"], HAPPENED),
];

/// The one that stands outside of Debezium's payload.
const SCHEMA_KEY: &str = "schema";

fn entries(dialect: Dialect) -> &'static [Entry] {
    match dialect {
        Dialect::Debezium => DEBEZIUM,
        Dialect::Canal => CANAL,
        Dialect::Maxwell => MAXWELL,
        Dialect::Ogg => OGG,
    }
}

/// The metadata columns of a dialect.
pub(super) fn columns(dialect: Dialect) -> Vec<MetadataColumn> {
    let column = |entry: &Entry| MetadataColumn {
        key: entry.key,
        sql_type: entry.kind.sql_type(),
        is_writable: false,
        doc: entry.doc,
    };
    entries(dialect).iter().map(column).collect()
}

impl Kind {
    fn sql_type(self) -> &'static str {
        match self {
            Self::Text => "STRING NULL",
            Self::Millis => "TIMESTAMP_LTZ(3) NULL",
            Self::Timestamp => "TIMESTAMP_LTZ(6) NULL",
            Self::Texts => "ARRAY<STRING> NULL",
            Self::Numbers => "MAP<STRING, INT> NULL",
            Self::Properties => "MAP<STRING, STRING> NULL",
        }
    }

    /// The column's own type.
    fn logical(self) -> LogicalType {
        let map = |value: LogicalType| {
            let key = LogicalType::STRING.not_null();
            LogicalType::Map(Arc::new(key), Arc::new(value.nullable()))
        };
        match self {
            Self::Text => LogicalType::STRING,
            Self::Millis => LogicalType::TimestampLtz(3),
            Self::Timestamp => LogicalType::TimestampLtz(6),
            Self::Texts => LogicalType::Array(Arc::new(LogicalType::STRING.nullable())),
            Self::Numbers => map(LogicalType::Int),
            Self::Properties => map(LogicalType::STRING),
        }
    }

    /// As what it is read from the envelope.
    fn read_as(self) -> LogicalType {
        match self {
            Self::Millis => LogicalType::BigInt,
            Self::Timestamp => LogicalType::Timestamp(6),
            other => other.logical(),
        }
    }
}

/// The metadata columns that a table wants.
#[derive(Default)]
pub(crate) struct Metadata {
    wanted: Vec<(&'static Entry, Column)>,
}

impl Metadata {
    /// # Errors
    /// A user error for an unknown key, or a type that does not fit.
    pub(super) fn new(dialect: Dialect, format: &str, wanted: &[Column]) -> Result<Self> {
        let known = entries(dialect);
        let find = |column: &Column| {
            let entry = known.iter().find(|entry| entry.key == column.name);
            let Some(entry) = entry else {
                let hint = did_you_mean(&column.name, known.iter().map(|e| e.key));
                let message = format!(
                    "format '{format}' has no metadata column '{}'{hint}",
                    column.name
                );
                return Err(Error::user("UNKNOWN_METADATA", message));
            };
            let (own, declared) = (entry.kind.logical().to_arrow(), column.data_type.to_arrow());
            if own != declared && (own.is_nested() || !can_cast_types(&own, &declared)) {
                let message = format!(
                    "metadata column '{}' is {} and cannot be read as {}",
                    column.name,
                    entry.kind.logical(),
                    column.data_type.logical
                );
                return Err(Error::user("UNSUPPORTED_TYPE", message));
            }
            Ok((entry, column.clone()))
        };
        Ok(Self {
            wanted: wanted.iter().map(find).collect::<Result<_>>()?,
        })
    }

    /// The columns as the table declares them.
    pub fn declared(&self) -> impl Iterator<Item = &Column> {
        self.wanted.iter().map(|(_, column)| column)
    }

    /// Adds what is wanted to an envelope's columns; returns the way to each, and whether it stands
    /// outside of Debezium's payload.
    pub fn add_to(&self, columns: &mut Vec<Column>) -> Vec<(FieldPath, bool)> {
        let source: Vec<RowField> = self
            .wanted
            .iter()
            .filter_map(|(entry, _)| match entry.path {
                [_, inner] => Some(RowField::new(*inner, entry.kind.read_as().nullable())),
                _ => None,
            })
            .collect();
        let place_of_source = columns.len();
        let mut num_inside = 0;
        if !source.is_empty() {
            let row = LogicalType::Row(source.into()).nullable();
            columns.push(Column::new("source", row));
        }
        let path = |(entry, _): &(&Entry, Column)| match entry.path {
            [_, _] => {
                num_inside += 1;
                let path = FieldPath(vec![place_of_source, num_inside - 1]);
                (path, false)
            }
            [name, ..] => {
                columns.push(Column::new(
                    *name,
                    DataType {
                        logical: entry.kind.read_as(),
                        nullable: true,
                    },
                ));
                let path = FieldPath::column(columns.len() - 1);
                (path, entry.key == SCHEMA_KEY)
            }
            [] => (FieldPath(Vec::new()), false),
        };
        self.wanted.iter().map(path).collect()
    }

    /// The metadata column at `place` from what was read of the envelopes.
    pub fn column(&self, place: usize, read: &ArrayRef) -> Result<ArrayRef> {
        let (entry, declared) = &self.wanted[place];
        let own = cast(read, &entry.kind.logical().to_arrow())?;
        Ok(cast(&own, &declared.data_type.to_arrow())?)
    }
}
