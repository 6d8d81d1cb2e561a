//! Rows as CSV.

use std::io::Write;

use flott_core::changelog::ChangelogBatch;
use flott_core::schema::Schema;
use flott_core::text::TextOptions;

use super::ResultWriter;
use super::plain::cell;

/// A header, then the rows; of a changelog the row kind comes first, under `op`.
pub struct CsvWriter {
    out: Box<dyn Write>,
    schema: Schema,
    is_changelog: bool,
    num_results: usize,
}

impl CsvWriter {
    pub fn new(out: Box<dyn Write>) -> Self {
        Self {
            out,
            schema: Schema::empty(),
            is_changelog: false,
            num_results: 0,
        }
    }
}

/// Appends a field, quoted where it must be. The empty text is quoted, NULL is nothing.
fn push_field(line: &mut String, text: Option<&str>) {
    let Some(text) = text else { return };
    if !text.is_empty() && !text.contains(['"', ',', '\n', '\r']) {
        line.push_str(text);
        return;
    }
    line.push('"');
    line.push_str(&text.replace('"', "\"\""));
    line.push('"');
}

impl ResultWriter for CsvWriter {
    fn begin(&mut self, _: usize, schema: &Schema, is_changelog: bool) -> std::io::Result<()> {
        let mut line = String::new();
        if self.num_results > 0 {
            line.push('\n');
        }
        self.num_results += 1;
        line.push_str(if is_changelog { "op" } else { "" });
        for (index, column) in schema.columns().iter().enumerate() {
            if index > 0 || is_changelog {
                line.push(',');
            }
            push_field(&mut line, Some(&column.name));
        }
        (self.schema, self.is_changelog) = (schema.clone(), is_changelog);
        writeln!(self.out, "{line}")
    }

    fn rows(&mut self, batch: &ChangelogBatch, text: &TextOptions) -> std::io::Result<()> {
        let (mut line, mut value) = (String::new(), String::new());
        for row in 0..batch.num_rows() {
            line.clear();
            line.push_str(if self.is_changelog {
                batch.kind(row).symbol()
            } else {
                ""
            });
            for column in 0..self.schema.len() {
                if column > 0 || self.is_changelog {
                    line.push(',');
                }
                let is_present = cell(batch, row, column, &self.schema, text, &mut value);
                push_field(&mut line, is_present.then_some(&value));
            }
            writeln!(self.out, "{line}")?;
        }
        Ok(())
    }

    fn end(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}
