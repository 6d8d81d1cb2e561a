//! Avro in messages: one datum each, without its schema.

use std::sync::Arc;

use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use flott_core::changelog::ChangelogBatch;
use flott_core::format::{DecodeRequest, Decoder, Encoder};
use flott_core::schema::Schema;
use flott_core::{Error, Result};

use super::container::{ContainerWriter, fault_error};
use super::json;
use super::program::Program;
use super::read::{Cursor, Fault, Read};
use super::schema::Avro;
use super::write::RowWriter;
use crate::column::{ColumnBuilder, flush_columns};
use crate::json::requested_columns;

/// The columns of a request under construction, filled by programs.
pub(super) struct Rows {
    columns: Vec<ColumnBuilder>,
    schema: SchemaRef,
    num_rows: usize,
}

impl Rows {
    pub fn new(request: &DecodeRequest) -> Result<Self> {
        let (columns, schema) = requested_columns(request)?;
        Ok(Self {
            columns,
            schema,
            num_rows: 0,
        })
    }

    /// Reads the one datum that `data` holds.
    ///
    /// # Errors
    /// A user error when it is not of the program's schema; no row is left behind then.
    pub fn push(&mut self, program: &Program, data: &[u8]) -> Result<()> {
        let mut cursor = Cursor::new(data, None);
        let is_row = program
            .row(&mut cursor, &mut self.columns)
            .and_then(|is_row| match cursor.at == data.len() {
                true => Ok(is_row),
                false => Err(Box::new(Fault::Malformed("the end of the message"))),
            });
        match is_row {
            Ok(is_row) => {
                self.num_rows += usize::from(is_row);
                Ok(())
            }
            Err(fault) => {
                let num_rows = self.num_rows;
                self.columns.iter_mut().for_each(|c| c.truncate(num_rows));
                let place = format!("message of {} bytes, at byte {}", data.len(), cursor.at);
                Err(fault_error(*fault, &place))
            }
        }
    }

    pub fn num_rows(&self) -> usize {
        self.num_rows
    }

    pub fn flush(&mut self) -> Result<Option<ChangelogBatch>> {
        flush_columns(&mut self.columns, &self.schema, &mut self.num_rows)
    }
}

/// The error for a file that is given in blocks to a format of messages.
pub(crate) fn not_in_blocks(format: &str) -> Error {
    Error::user(
        "UNSUPPORTED_FORMAT",
        format!("format '{format}' reads messages and whole files, not a stream of bytes"),
    )
}

/// Decodes messages that are all of one schema.
pub(super) struct AvroDecoder {
    program: Program,
    rows: Rows,
    /// Of JSON encoding.
    schema: Option<Avro>,
    scratch: Vec<u8>,
}

impl AvroDecoder {
    pub fn new(request: &DecodeRequest, schema: Avro, is_json: bool) -> Result<Self> {
        Ok(Self {
            program: Program::compile(&schema, request)?,
            rows: Rows::new(request)?,
            schema: is_json.then_some(schema),
            scratch: Vec::new(),
        })
    }
}

fn json_to_binary(schema: &Avro, message: &[u8], out: &mut Vec<u8>) -> Read<()> {
    let value = serde_json::from_slice(message)
        .map_err(|error| Box::new(Fault::Value(format!("malformed JSON: {error}"))))?;
    json::to_binary(schema, &value, out)
}

impl Decoder for AvroDecoder {
    fn decode_block(&mut self, _block: &Buffer, _is_last: bool) -> Result<usize> {
        Err(not_in_blocks("avro"))
    }

    fn decode_message(&mut self, message: &[u8]) -> Result<()> {
        let Some(schema) = &self.schema else {
            return self.rows.push(&self.program, message);
        };
        self.scratch.clear();
        json_to_binary(schema, message, &mut self.scratch)
            .map_err(|fault| fault_error(*fault, "message"))?;
        self.rows.push(&self.program, &self.scratch)
    }

    fn num_rows(&self) -> usize {
        self.rows.num_rows()
    }

    fn flush(&mut self) -> Result<Option<ChangelogBatch>> {
        self.rows.flush()
    }
}

/// Encodes rows: messages one datum each, files as containers.
pub(super) struct AvroEncoder {
    schema: Schema,
    /// Of JSON encoding.
    json_schema: Option<Arc<Avro>>,
    container: ContainerWriter,
}

impl AvroEncoder {
    pub fn new(schema: Schema, json_schema: Option<Arc<Avro>>, container: ContainerWriter) -> Self {
        Self {
            schema,
            json_schema,
            container,
        }
    }
}

impl Encoder for AvroEncoder {
    fn encode_block(&mut self, batch: &ChangelogBatch, out: &mut Vec<u8>) -> Result<()> {
        let writer = RowWriter::new(&self.schema, batch.rows().columns())?;
        for row in 0..batch.num_rows() {
            self.container
                .record(out, |block| writer.write(row, block))?;
        }
        Ok(())
    }

    fn encode_messages(
        &mut self,
        batch: &ChangelogBatch,
        out: &mut Vec<u8>,
        ends: &mut Vec<usize>,
    ) -> Result<()> {
        let writer = RowWriter::new(&self.schema, batch.rows().columns())?;
        let mut binary = Vec::new();
        for row in 0..batch.num_rows() {
            match &self.json_schema {
                None => writer.write(row, out),
                Some(schema) => {
                    binary.clear();
                    writer.write(row, &mut binary);
                    let value = json::from_binary(schema, &mut Cursor::new(&binary, None))?;
                    out.extend_from_slice(value.to_string().as_bytes());
                }
            }
            ends.push(out.len());
        }
        Ok(())
    }

    fn finish_file(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.container.end_block(out)
    }
}
