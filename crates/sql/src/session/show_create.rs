//! SHOW CREATE: statements that make an object again, in Flink's layout.

use std::fmt::Write;

use flott_core::catalog::{CatalogTable, CatalogView, ColumnKind, ObjectPath, TableColumn};
use flott_core::options::Options;
use flott_core::schema::Column;

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
        ColumnKind::Physical => write!(line, " {}", shown_type(column)),
        ColumnKind::Computed { expression } => write!(line, " AS {expression}"),
        ColumnKind::Metadata { key, is_virtual } => {
            let from = key.as_ref().map(|k| format!(" FROM {}", string(k)));
            let from = from.unwrap_or_default();
            let end = if *is_virtual { " VIRTUAL" } else { "" };
            write!(line, " {} METADATA{from}{end}", shown_type(column))
        }
    };
    if let Some(comment) = &column.comment {
        let _ = write!(line, " COMMENT {}", string(comment));
    }
    line
}

/// Flink prints STRING and BYTES as the types that they are short for.
fn shown_type(column: &TableColumn) -> String {
    let text = column.data_type.to_string();
    match text.strip_prefix("STRING") {
        Some(rest) => format!("VARCHAR(2147483647){rest}"),
        None => match text.strip_prefix("BYTES") {
            Some(rest) => format!("VARBINARY(2147483647){rest}"),
            None => text,
        },
    }
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
