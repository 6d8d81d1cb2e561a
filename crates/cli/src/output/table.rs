//! Results as a table for people.
//!
//! Widths are settled by the first rows, so that a stream's later rows can be printed as they come.

use std::io::Write;

use flott_core::changelog::ChangelogBatch;
use flott_core::schema::Schema;
use flott_core::text::TextOptions;
use unicode_width::UnicodeWidthStr;

use super::ResultWriter;
use super::plain::cell;

/// Rows by which widths are settled.
const ROWS_TO_MEASURE: usize = 1000;
/// No column is made wider than this; longer values stand out of line.
const MAX_WIDTH: usize = 60;

/// A table with a line per row: `| +I | … |`.
pub struct TableWriter {
    out: Box<dyn Write>,
    schema: Schema,
    is_changelog: bool,
    /// Rows held back until widths are settled.
    held: Vec<Vec<String>>,
    widths: Option<Vec<usize>>,
    num_rows: usize,
    /// One column a line, for rows wider than the screen.
    is_wide: bool,
}

impl TableWriter {
    pub fn new(out: Box<dyn Write>) -> Self {
        Self {
            out,
            schema: Schema::empty(),
            is_changelog: false,
            held: Vec::new(),
            widths: None,
            num_rows: 0,
            is_wide: false,
        }
    }

    /// `name: value` lines under a head with the row's number.
    fn wide_row(&mut self, cells: &[String]) -> std::io::Result<()> {
        let headers = self.headers();
        let width = headers.iter().map(|h| h.width()).max().unwrap_or(0);
        writeln!(self.out, "*** row {} ***", self.num_rows)?;
        for (header, value) in headers.iter().zip(cells) {
            let fill = " ".repeat(width - header.width());
            writeln!(self.out, "{fill}{header}: {value}")?;
        }
        Ok(())
    }

    fn headers(&self) -> Vec<String> {
        let op = self.is_changelog.then(|| "op".to_string());
        op.into_iter()
            .chain(self.schema.columns().iter().map(|c| c.name.clone()))
            .collect()
    }

    /// Settles the widths, prints the head and what was held back.
    fn settle(&mut self) -> std::io::Result<()> {
        if self.widths.is_some() {
            return Ok(());
        }
        let headers = self.headers();
        let mut widths: Vec<usize> = headers.iter().map(|h| h.width()).collect();
        for row in &self.held {
            for (width, value) in widths.iter_mut().zip(row) {
                *width = (*width).max(value.width()).min(MAX_WIDTH.max(*width));
            }
        }
        self.widths = Some(widths);
        self.rule()?;
        self.line(&headers)?;
        self.rule()?;
        for row in std::mem::take(&mut self.held) {
            self.line(&row)?;
        }
        Ok(())
    }

    fn rule(&mut self) -> std::io::Result<()> {
        let widths = self.widths.as_deref().unwrap_or_default();
        let dashes: Vec<String> = widths.iter().map(|w| "-".repeat(w + 2)).collect();
        writeln!(self.out, "+{}+", dashes.join("+"))
    }

    fn line(&mut self, cells: &[String]) -> std::io::Result<()> {
        let mut line = String::from("|");
        for (index, value) in cells.iter().enumerate() {
            let width = self.widths.as_ref().map_or(0, |w| w[index]);
            let fill = " ".repeat(width.saturating_sub(value.width()));
            let is_number = index
                .checked_sub(usize::from(self.is_changelog))
                .is_some_and(|c| self.schema.column(c).data_type.logical.is_numeric());
            match is_number {
                true => line.extend([" ", &fill, value, " |"]),
                false => line.extend([" ", value, &fill, " |"]),
            }
        }
        writeln!(self.out, "{line}")
    }
}

impl ResultWriter for TableWriter {
    fn begin(&mut self, _: usize, schema: &Schema, is_changelog: bool) -> std::io::Result<()> {
        (self.schema, self.is_changelog) = (schema.clone(), is_changelog);
        (self.widths, self.num_rows) = (None, 0);
        Ok(())
    }

    fn rows(&mut self, batch: &ChangelogBatch, text: &TextOptions) -> std::io::Result<()> {
        let mut value = String::new();
        for row in 0..batch.num_rows() {
            let op = self
                .is_changelog
                .then(|| batch.kind(row).symbol().to_string());
            let mut cells: Vec<String> = op.into_iter().collect();
            for column in 0..self.schema.len() {
                let is_present = cell(batch, row, column, &self.schema, text, &mut value);
                let shown = if is_present {
                    value.replace('\n', "\\n")
                } else {
                    "<NULL>".into()
                };
                cells.push(shown);
            }
            self.num_rows += 1;
            match self.widths {
                _ if self.is_wide => self.wide_row(&cells)?,
                None => self.held.push(cells),
                Some(_) => self.line(&cells)?,
            }
        }
        if self.held.len() >= ROWS_TO_MEASURE {
            self.settle()?;
        }
        self.out.flush()
    }

    fn end(&mut self) -> std::io::Result<()> {
        if !self.is_wide {
            self.settle()?;
            self.rule()?;
        }
        let rows = if self.num_rows == 1 { "row" } else { "rows" };
        writeln!(self.out, "{} {rows}", self.num_rows)?;
        self.out.flush()
    }

    fn set_wide(&mut self, is_wide: bool) {
        self.is_wide = is_wide;
    }

    fn done(&mut self, _: usize, message: &str) -> std::io::Result<()> {
        if message.is_empty() {
            return Ok(());
        }
        writeln!(self.out, "{message}")?;
        self.out.flush()
    }
}
