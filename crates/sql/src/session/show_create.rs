//! SHOW CREATE: statements that make an object again, in Flink's layout.

use std::fmt::Write;

use flott_core::catalog::{CatalogTable, CatalogView, ColumnKind, ObjectPath, TableColumn};
use flott_core::options::Options;
use flott_core::schema::Column;
use flott_core::types::{DataType, LogicalType, RowField};

use super::catalog::Catalog;

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn string(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn column_line(column: &TableColumn) -> String {
    let mut line = quoted(&column.name);
    let _ = match &column.kind {
        ColumnKind::Physical => write!(line, " {}", written(&column.data_type)),
        ColumnKind::Computed { expression } => write!(line, " AS {expression}"),
        ColumnKind::Metadata { key, is_virtual } => {
            let from = key.as_ref().map(|k| format!(" FROM {}", string(k)));
            let from = from.unwrap_or_default();
            let end = if *is_virtual { " VIRTUAL" } else { "" };
            write!(line, " {} METADATA{from}{end}", written(&column.data_type))
        }
    };
    if let Some(comment) = &column.comment {
        let _ = write!(line, " COMMENT {}", string(comment));
    }
    line
}

/// Flink writes types out here: none of the short names.
fn written(data_type: &DataType) -> String {
    let nullability = if data_type.nullable { "" } else { " NOT NULL" };
    let logical = match &data_type.logical {
        LogicalType::VarChar(length) => format!("VARCHAR({length})"),
        LogicalType::VarBinary(length) => format!("VARBINARY({length})"),
        LogicalType::TimestampLtz(precision) => {
            format!("TIMESTAMP({precision}) WITH LOCAL TIME ZONE")
        }
        LogicalType::Array(item) => format!("ARRAY<{}>", written(item)),
        LogicalType::Multiset(item) => format!("MULTISET<{}>", written(item)),
        LogicalType::Map(key, value) => format!("MAP<{}, {}>", written(key), written(value)),
        LogicalType::Row(fields) => {
            let field = |f: &RowField| format!("{} {}", quoted(&f.name), written(&f.data_type));
            let fields: Vec<_> = fields.iter().map(field).collect();
            format!("ROW<{}>", fields.join(", "))
        }
        other => other.to_string(),
    };
    logical + nullability
}

fn options_text(options: &Options) -> String {
    let lines = options
        .iter()
        .map(|(k, v)| format!("  {} = {}", string(k), string(v)));
    let lines: Vec<_> = lines.collect();
    format!("WITH (\n{}\n)", lines.join(",\n"))
}

fn temporary(is_temporary: bool) -> &'static str {
    if is_temporary { "TEMPORARY " } else { "" }
}

/// `CREATE TABLE …`.
pub(crate) fn table(path: &ObjectPath, table: &CatalogTable) -> String {
    let mut lines: Vec<String> = table.columns.iter().map(column_line).collect();
    if let Some(watermark) = &table.watermark {
        let column = quoted(&watermark.column);
        lines.push(format!(
            "WATERMARK FOR {column} AS {}",
            watermark.expression
        ));
    }
    if let Some(key) = &table.primary_key {
        // Flink gives a key without a name one made of its columns.
        let made_up = || format!("PK_{}", key.columns.join("_"));
        let name = quoted(&key.name.clone().unwrap_or_else(made_up));
        let columns: Vec<_> = key.columns.iter().map(|c| quoted(c)).collect();
        let columns = columns.join(", ");
        lines.push(format!(
            "CONSTRAINT {name} PRIMARY KEY ({columns}) NOT ENFORCED"
        ));
    }
    let mut text = format!("CREATE {}TABLE {path}", temporary(table.is_temporary));
    if !lines.is_empty() {
        let _ = write!(text, " (\n  {}\n)", lines.join(",\n  "));
    }
    text.push('\n');
    if let Some(comment) = &table.comment {
        let _ = writeln!(text, "COMMENT {}", string(comment));
    }
    if !table.partition_keys.is_empty() {
        let keys: Vec<_> = table.partition_keys.iter().map(|k| quoted(k)).collect();
        let _ = writeln!(text, "PARTITIONED BY ({})", keys.join(", "));
    }
    if !table.options.is_empty() {
        let _ = writeln!(text, "{}", options_text(&table.options));
    }
    text
}

/// `CREATE VIEW …`; `columns` are the query's.
pub(crate) fn view(path: &ObjectPath, view: &CatalogView, columns: &[Column]) -> String {
    let names: Vec<_> = columns.iter().map(|c| quoted(&c.name)).collect();
    let mut text = format!("CREATE {}VIEW {path}", temporary(view.is_temporary));
    let _ = writeln!(text, " (\n  {}\n)", names.join(",\n  "));
    if let Some(comment) = &view.comment {
        let _ = writeln!(text, "COMMENT {}", string(comment));
    }
    let _ = writeln!(text, "AS {}", view.query);
    text
}

/// `CREATE CATALOG …`.
pub(crate) fn catalog(name: &str, catalog: &Catalog) -> String {
    let mut text = format!("CREATE CATALOG {}\n", quoted(name));
    if let Some(comment) = &catalog.comment {
        let _ = writeln!(text, "COMMENT {}", string(comment));
    }
    if !catalog.options.is_empty() {
        let _ = writeln!(text, "{}", options_text(&catalog.options));
    }
    text
}
