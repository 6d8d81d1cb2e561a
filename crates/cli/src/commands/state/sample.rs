//! Rows of a table of state, as text: what operators keep has Arrow types, not SQL's.

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use flott_core::Result;
use flott_core::operator::StateTable;
use flott_engine::Checkpoint;
use serde::Serialize;

use crate::output::aligned;
use crate::snapshots::Found;

/// The first rows that are read of a table.
#[derive(Debug, Serialize)]
pub struct Sample {
    pub columns: Vec<String>,
    /// By row, then by column; `null` for NULL.
    pub rows: Vec<Vec<Option<String>>>,
}

impl Sample {
    /// Reads at most `limit` rows of a table of an operator.
    ///
    /// # Errors
    /// The store's; `STATE_MISSING` and `STATE_CORRUPT` name the file.
    pub fn read(found: &Found, uid: &str, table: &str, limit: usize) -> Result<Self> {
        let mut sample = Self {
            columns: Vec::new(),
            rows: Vec::new(),
        };
        let mut checkpoint = Checkpoint::load(&found.manifest, &found.place);
        let operator = checkpoint.operators.remove(uid).unwrap_or_default();
        for subtask in &operator.subtasks {
            let tables = subtask.state.tables.iter();
            for table in tables.filter(|t| t.name == table) {
                sample.add_table(table, limit)?;
            }
        }
        Ok(sample)
    }

    fn add_table(&mut self, table: &StateTable, limit: usize) -> Result<()> {
        for batch in table.rows()?.read() {
            if self.rows.len() >= limit && !self.columns.is_empty() {
                break;
            }
            self.add(&batch?, limit)?;
        }
        Ok(())
    }

    fn add(&mut self, batch: &RecordBatch, limit: usize) -> Result<()> {
        let schema = batch.schema();
        self.columns = schema.fields().iter().map(|f| f.name().clone()).collect();
        let options = FormatOptions::default();
        let columns = batch.columns().iter();
        let columns = columns.map(|c| ArrayFormatter::try_new(c.as_ref(), &options));
        let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
        let num_rows = batch.num_rows().min(limit - self.rows.len().min(limit));
        for row in 0..num_rows {
            let values = columns.iter().zip(batch.columns());
            let values = values.map(|(formatter, array)| {
                (!array.is_null(row)).then(|| formatter.value(row).to_string())
            });
            self.rows.push(values.collect());
        }
        Ok(())
    }

    /// For people.
    pub fn text(&self) -> String {
        let shown = |value: &Option<String>| match value {
            Some(text) => text.replace('\n', "\\n"),
            None => "<NULL>".into(),
        };
        let rows = self.rows.iter().map(|row| row.iter().map(shown).collect());
        aligned(std::iter::once(self.columns.clone()).chain(rows).collect())
    }
}
