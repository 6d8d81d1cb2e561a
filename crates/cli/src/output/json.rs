//! Results as one JSON object a line.

use std::io::Write;

use flott_core::Error;
use flott_core::changelog::ChangelogBatch;
use flott_core::schema::Schema;
use flott_core::text::TextOptions;
use serde_json::{Map, Value, json};

use super::ResultWriter;
use super::json_value::typed_value;
use super::plain::cell;

/// How values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// As the SQL Gateway's row format JSON.
    Typed,
    /// As text.
    Text,
}

/// `{"statement":1,"columns":[…]}`, then `{"kind":"INSERT","fields":[…]}` for each row;
/// `{"statement":2,"error":{…}}` for a statement that failed.
pub struct JsonWriter {
    out: Box<dyn Write>,
    values: Values,
    schema: Schema,
}

impl JsonWriter {
    pub fn new(out: Box<dyn Write>, values: Values) -> Self {
        Self {
            out,
            values,
            schema: Schema::empty(),
        }
    }

    fn field(
        &self,
        batch: &ChangelogBatch,
        row: usize,
        column: usize,
        text: &TextOptions,
        buffer: &mut String,
    ) -> Value {
        match self.values {
            Values::Text => match cell(batch, row, column, &self.schema, text, buffer) {
                true => Value::String(buffer.clone()),
                false => Value::Null,
            },
            Values::Typed => {
                let logical = &self.schema.column(column).data_type.logical;
                typed_value(batch.column(column).as_ref(), row, logical, text)
            }
        }
    }
}

impl ResultWriter for JsonWriter {
    fn begin(&mut self, statement: usize, schema: &Schema, _: bool) -> std::io::Result<()> {
        self.schema = schema.clone();
        let columns: Vec<Value> = schema
            .columns()
            .iter()
            .map(|c| json!({"name": c.name, "type": c.type_summary()}))
            .collect();
        writeln!(
            self.out,
            "{}",
            json!({"statement": statement, "columns": columns})
        )
    }

    fn rows(&mut self, batch: &ChangelogBatch, text: &TextOptions) -> std::io::Result<()> {
        let mut buffer = String::new();
        for row in 0..batch.num_rows() {
            let fields: Vec<Value> = (0..self.schema.len())
                .map(|column| self.field(batch, row, column, text, &mut buffer))
                .collect();
            let kind = batch.kind(row).name();
            writeln!(self.out, "{}", json!({"kind": kind, "fields": fields}))?;
        }
        self.out.flush()
    }

    fn end(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }

    fn error(&mut self, statement: usize, error: &Error) -> std::io::Result<bool> {
        let mut body = Map::new();
        body.insert("code".into(), error.code().into());
        body.insert("message".into(), error.message().into());
        if let Some(location) = error.location() {
            body.insert("line".into(), location.line.into());
            body.insert("column".into(), location.column.into());
        }
        writeln!(
            self.out,
            "{}",
            json!({"statement": statement, "error": body})
        )?;
        self.out.flush()?;
        Ok(true)
    }
}
