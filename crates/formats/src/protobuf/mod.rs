//! `protobuf`: messages of one protobuf message each.
//!
//! Flink finds a message's description in a Java class; here it stands in a file of descriptors,
//! which `protoc --include_imports --descriptor_set_out=FILE` makes.

mod plan;
mod read;
pub(crate) mod wire;
mod write;

use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use flott_core::changelog::ChangelogBatch;
use flott_core::format::{DecodeRequest, Decoder, EncodeRequest, Encoder, FormatFactory};
use flott_core::options::{OptionDef, OptionType, Options};
use flott_core::schema::Schema;
use flott_core::{Error, Result};
use prost_reflect::MessageDescriptor;

use crate::avro::not_in_blocks;
use crate::column::{ColumnBuilder, flush_columns};
use crate::json::{IGNORE_PARSE_ERRORS, flag, requested_columns};
use plan::{MessagePlan, find_message};
use read::MessageReader;
use write::MessageWriter;

const MESSAGE_CLASS: OptionDef = OptionDef::new(
    "message-class-name",
    OptionType::String,
    "the message: its full name, or that of the Java class made of it",
)
.example("shop.Order")
.required();
const DESCRIPTOR_FILE: OptionDef = OptionDef::new(
    "descriptor-file",
    OptionType::String,
    "the file with the message's description, made with 'protoc --include_imports --descriptor_set_out=FILE'",
)
.example("orders.desc")
.required();
const READ_DEFAULTS: OptionDef = OptionDef::new(
    "read-default-values",
    OptionType::Boolean,
    "read absent fields as their defaults rather than NULL; numbers, strings and truth values of proto3 always are",
)
.default("false");
const NULL_STRING: OptionDef = OptionDef::new(
    "write-null-string-literal",
    OptionType::String,
    "what a NULL string inside an array or a map is written as",
)
.example("null")
.default("");

const OPTIONS: &[OptionDef] = &[
    MESSAGE_CLASS,
    DESCRIPTOR_FILE,
    IGNORE_PARSE_ERRORS,
    READ_DEFAULTS,
    NULL_STRING,
];

/// The format `protobuf`.
pub struct ProtobufFormat;

fn message_of(options: &Options) -> Result<MessageDescriptor> {
    options.check("format 'protobuf'", &[OPTIONS])?;
    let file = options.text(&DESCRIPTOR_FILE).unwrap_or_default();
    find_message(file, options.text(&MESSAGE_CLASS).unwrap_or_default())
}

fn columns_of(schema: &Schema) -> Vec<(&str, &flott_core::types::DataType)> {
    let columns = schema.columns().iter();
    columns.map(|c| (c.name.as_str(), &c.data_type)).collect()
}

impl FormatFactory for ProtobufFormat {
    fn identifier(&self) -> &'static str {
        "protobuf"
    }

    fn options(&self) -> &'static [OptionDef] {
        OPTIONS
    }

    fn doc(&self) -> &'static str {
        "protobuf messages, described by a file of descriptors"
    }

    fn example(&self) -> &'static str {
        include_str!("example.sql")
    }

    fn create_decoder(&self, request: &DecodeRequest) -> Result<Box<dyn Decoder>> {
        let options = &request.options;
        let message = message_of(options)?;
        let columns = columns_of(&request.schema);
        let paths = request.fields.iter().enumerate();
        let paths: Vec<_> = paths
            .map(|(output, path)| (path.0.as_slice(), output))
            .collect();
        let reads_defaults = flag(options, &READ_DEFAULTS)?;
        // Wrong columns are refused also where nobody reads them.
        MessagePlan::whole(&message, &columns, reads_defaults)?;
        let (builders, schema) = requested_columns(request)?;
        Ok(Box::new(ProtobufDecoder {
            plan: MessagePlan::new(&message, &columns, &paths, reads_defaults)?,
            message: message.full_name().to_string(),
            reader: MessageReader::default(),
            columns: builders,
            schema,
            num_rows: 0,
            ignores_errors: flag(options, &IGNORE_PARSE_ERRORS)?,
            num_skipped: 0,
        }))
    }

    fn create_encoder(&self, request: &EncodeRequest) -> Result<Box<dyn Encoder>> {
        let message = message_of(&request.options)?;
        Ok(Box::new(ProtobufEncoder {
            plan: MessagePlan::whole(&message, &columns_of(&request.schema), false)?,
            null_string: request
                .options
                .text(&NULL_STRING)
                .unwrap_or_default()
                .to_string(),
        }))
    }
}

struct ProtobufDecoder {
    plan: MessagePlan,
    message: String,
    reader: MessageReader,
    columns: Vec<ColumnBuilder>,
    schema: SchemaRef,
    num_rows: usize,
    ignores_errors: bool,
    num_skipped: u64,
}

impl Decoder for ProtobufDecoder {
    fn decode_block(&mut self, _block: &Buffer, _is_last: bool) -> Result<usize> {
        Err(not_in_blocks("protobuf"))
    }

    fn decode_message(&mut self, message: &[u8]) -> Result<()> {
        let Err(expected) = self.reader.message(&self.plan, message, &mut self.columns) else {
            self.num_rows += 1;
            return Ok(());
        };
        let num_rows = self.num_rows;
        self.columns.iter_mut().for_each(|c| c.truncate(num_rows));
        if self.ignores_errors {
            self.num_skipped += 1;
            return Ok(());
        }
        let what = format!(
            "message of {} bytes: no protobuf message '{}', expected {expected}",
            message.len(),
            self.message
        );
        Err(Error::user("MALFORMED_RECORD", what))
    }

    fn num_rows(&self) -> usize {
        self.num_rows
    }

    fn flush(&mut self) -> Result<Option<ChangelogBatch>> {
        flush_columns(&mut self.columns, &self.schema, &mut self.num_rows)
    }

    fn num_skipped(&self) -> u64 {
        self.num_skipped
    }
}

struct ProtobufEncoder {
    plan: MessagePlan,
    null_string: String,
}

impl Encoder for ProtobufEncoder {
    fn encode_block(&mut self, _batch: &ChangelogBatch, _out: &mut Vec<u8>) -> Result<()> {
        Err(not_in_blocks("protobuf"))
    }

    fn encode_messages(
        &mut self,
        batch: &ChangelogBatch,
        out: &mut Vec<u8>,
        ends: &mut Vec<usize>,
    ) -> Result<()> {
        let writer = MessageWriter {
            plan: &self.plan,
            null_string: &self.null_string,
        };
        for row in 0..batch.num_rows() {
            writer.write(batch.rows().columns(), row, out)?;
            ends.push(out.len());
        }
        Ok(())
    }
}
