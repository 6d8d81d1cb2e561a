//! What `flott run` and `flott sql` print: one writer for each `--format`.

mod csv;
mod json;
mod json_value;
mod plain;
mod table;

use std::io::Write;

use clap::ValueEnum;
use comfy_table::{Table, presets};
use flott_core::Error;
use flott_core::changelog::ChangelogBatch;
use flott_core::schema::Schema;
use flott_core::text::TextOptions;

/// The value of `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// A table for people, with the kind of each row.
    Table,
    /// One JSON object a line; values typed as the SQL Gateway types them.
    Json,
    /// One JSON object a line; every value the text of CAST AS STRING, or null.
    PlainJson,
    /// The rows as CSV with a header; the row kind is the first column of a changelog.
    Csv,
}

/// Receives the results of a script's statements in order.
pub trait ResultWriter {
    /// A result's rows follow. `is_changelog` when they may take rows back.
    fn begin(
        &mut self,
        statement: usize,
        schema: &Schema,
        is_changelog: bool,
    ) -> std::io::Result<()>;

    fn rows(&mut self, batch: &ChangelogBatch, text: &TextOptions) -> std::io::Result<()>;

    /// The result is complete.
    fn end(&mut self) -> std::io::Result<()>;

    /// A statement without rows went well.
    fn done(&mut self, _statement: usize, _message: &str) -> std::io::Result<()> {
        Ok(())
    }

    /// Rows one column a line, where the format has such a form.
    fn set_wide(&mut self, _is_wide: bool) {}

    /// A statement failed; `false` when people read it from standard error instead.
    fn error(&mut self, _statement: usize, _error: &Error) -> std::io::Result<bool> {
        Ok(false)
    }
}

/// The writer of a format over an output.
pub fn writer(format: OutputFormat, out: Box<dyn Write>) -> Box<dyn ResultWriter> {
    match format {
        OutputFormat::Table => Box::new(table::TableWriter::new(out)),
        OutputFormat::Json => Box::new(json::JsonWriter::new(out, json::Values::Typed)),
        OutputFormat::PlainJson => Box::new(json::JsonWriter::new(out, json::Values::Text)),
        OutputFormat::Csv => Box::new(csv::CsvWriter::new(out)),
    }
}

/// Rows of text, the first one the head, with columns in line.
pub fn aligned(rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let text = table.to_string();
    let lines = text.lines().map(|line| line.trim_end().to_string() + "\n");
    lines.collect()
}
