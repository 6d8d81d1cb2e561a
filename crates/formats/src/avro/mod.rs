//! `avro`: messages of one datum each, and object container files.
//!
//! The schema of what is written is derived from the table's columns as Flink derives it, and
//! messages are read by the same schema. A container file brings its writer's schema along. From a
//! writer's schema and the wanted columns a [`program`] is made once, which then reads the bytes
//! straight into columns and steps over the rest.

mod codec;
mod confluent;
mod container;
pub(crate) mod derive;
mod json;
mod message;
mod program;
mod read;
mod registry;
mod schema;
mod schemas;
mod write;

use std::sync::Arc;

use flott_core::Result;
use flott_core::format::{
    DecodeRequest, Decoder, EncodeRequest, Encoder, FileReader, FileScan, FormatFactory,
};
use flott_core::options::{OptionDef, OptionType, Options};

use crate::json::flag;
pub use confluent::ConfluentFormat;

use codec::{CODECS, Codec};
use container::{ContainerReader, ContainerWriter};
use derive::{TimestampMapping, record_schema};
pub(crate) use message::not_in_blocks;
use message::{AvroDecoder, AvroEncoder};
use schema::parse_schema;

const ENCODING: OptionDef = OptionDef::new(
    "encoding",
    OptionType::Enum(&["binary", "json"]),
    "how messages are written: compact, or as JSON that people can read; files are always binary",
)
.default("binary");
const CODEC: OptionDef = OptionDef::new(
    "codec",
    OptionType::Enum(CODECS),
    "how the blocks of a file are compressed",
)
.default("snappy");
pub(crate) const LEGACY_TIMESTAMPS: OptionDef = OptionDef::new(
    "timestamp_mapping.legacy",
    OptionType::Boolean,
    "write TIMESTAMP as Avro's timestamp, which other systems take for a point in time; with 'false' TIMESTAMP is local-timestamp and TIMESTAMP_LTZ is timestamp",
)
.default("true");

const OPTIONS: &[OptionDef] = &[ENCODING, CODEC, LEGACY_TIMESTAMPS];

/// The format `avro`.
pub struct AvroFormat;

pub(crate) fn mapping(options: &Options) -> Result<TimestampMapping> {
    Ok(match flag(options, &LEGACY_TIMESTAMPS)? {
        true => TimestampMapping::Legacy,
        false => TimestampMapping::Standard,
    })
}

fn is_json(options: &Options) -> bool {
    options
        .text(&ENCODING)
        .is_some_and(|e| e.eq_ignore_ascii_case("json"))
}

fn check(options: &Options) -> Result<()> {
    options.check("format 'avro'", &[OPTIONS])
}

impl FormatFactory for AvroFormat {
    fn identifier(&self) -> &'static str {
        "avro"
    }

    fn options(&self) -> &'static [OptionDef] {
        OPTIONS
    }

    fn doc(&self) -> &'static str {
        "Avro: messages of one datum, and object container files"
    }

    fn create_decoder(&self, request: &DecodeRequest) -> Result<Box<dyn Decoder>> {
        check(&request.options)?;
        let schema = record_schema(&request.schema, mapping(&request.options)?)?;
        let schema = parse_schema(&schema.to_string())?;
        let decoder = AvroDecoder::new(request, schema, is_json(&request.options))?;
        Ok(Box::new(decoder))
    }

    fn create_encoder(&self, request: &EncodeRequest) -> Result<Box<dyn Encoder>> {
        check(&request.options)?;
        let options = &request.options;
        let schema = record_schema(&request.schema, mapping(options)?)?.to_string();
        let json_schema = match is_json(options) {
            true => Some(Arc::new(parse_schema(&schema)?)),
            false => None,
        };
        let codec = options.text(&CODEC).unwrap_or_default().to_lowercase();
        let container = ContainerWriter::new(schema, Codec::from_name(&codec)?);
        let encoder = AvroEncoder::new(request.schema.clone(), json_schema, container);
        Ok(Box::new(encoder))
    }

    fn is_splittable(&self) -> bool {
        true
    }

    fn reads_files(&self, request: &DecodeRequest) -> Result<bool> {
        check(&request.options)?;
        record_schema(&request.schema, mapping(&request.options)?)?;
        Ok(true)
    }

    fn create_file_reader(
        &self,
        request: &DecodeRequest,
        scan: FileScan,
    ) -> Result<Box<dyn FileReader>> {
        Ok(Box::new(ContainerReader::new(request, scan)?))
    }
}
