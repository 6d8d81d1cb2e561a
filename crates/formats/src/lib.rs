//! Formats: bytes to columns and back. The list is [`all`].

mod avro;
mod change;
mod column;
mod conform;
mod csv;
mod json;
mod lines;
mod number;
mod orc;
mod parquet;
mod protobuf;
mod random_access;
mod raw;
mod records;
mod statistics;
mod temporal;
mod value;

use std::sync::Arc;

use flott_core::format::FormatFactory;

pub use avro::{AvroFormat, ConfluentFormat};
pub use change::ChangeFormat;
pub use csv::CsvFormat;
pub use json::JsonFormat;
pub use orc::OrcFormat;
pub use parquet::ParquetFormat;
pub use protobuf::ProtobufFormat;
pub use raw::RawFormat;
pub use value::{constant_column, parse_sql_timestamp_ms, timestamp_column, value_text};

/// Every format.
pub fn all() -> Vec<Arc<dyn FormatFactory>> {
    vec![
        Arc::new(JsonFormat),
        Arc::new(CsvFormat),
        Arc::new(RawFormat),
        Arc::new(AvroFormat),
        Arc::new(ConfluentFormat::AVRO),
        Arc::new(ConfluentFormat::DEBEZIUM),
        Arc::new(ParquetFormat),
        Arc::new(OrcFormat),
        Arc::new(ProtobufFormat),
        Arc::new(ChangeFormat::DEBEZIUM),
        Arc::new(ChangeFormat::CANAL),
        Arc::new(ChangeFormat::MAXWELL),
        Arc::new(ChangeFormat::OGG),
    ]
}
