//! `orc`: files in columns, for reading.
//!
//! Only the wanted columns and fields are read, found by name; stripes whose statistics exclude
//! what the query asks for are left out; a piece of a file reads the stripes that begin in it.
//! Nothing that a damaged file says is trusted: lengths are held against the file, and memory grows
//! with what is decoded.

mod clock;
mod column;
mod compression;
mod reader;
mod run_length;
mod tail;
mod text;

use flott_core::format::{
    DecodeRequest, Decoder, EncodeRequest, Encoder, FileReader, FileScan, FormatFactory,
};
use flott_core::options::{OptionDef, OptionType, Options};
use flott_core::types::LogicalType;
use flott_core::{Error, Result};

use crate::conform::{check_type, only_files};
use reader::OrcReader;

const OPTIONS: &[OptionDef] = &[OptionDef::new(
    "*",
    OptionType::String,
    "settings of Java's ORC writer are accepted and change nothing",
)
.example_of("compress", "ZLIB")];

/// The format `orc`.
pub struct OrcFormat;

fn damaged(what: impl std::fmt::Display) -> Error {
    let message = format!("not an ORC file, or a damaged one: {what}");
    Error::user("MALFORMED_FILE", message)
}

/// The error for a message in protobuf's wire format that is none.
fn faulty(expected: &'static str) -> Error {
    damaged(format!("in its footer, expected {expected}"))
}

fn check(options: &Options) -> Result<()> {
    options.check("format 'orc'", &[OPTIONS])
}

impl FormatFactory for OrcFormat {
    fn identifier(&self) -> &'static str {
        "orc"
    }

    fn options(&self) -> &'static [OptionDef] {
        OPTIONS
    }

    fn doc(&self) -> &'static str {
        "ORC files, to be read"
    }

    fn example(&self) -> &'static str {
        "-- Files that Hive, Spark or Flink have written into the folder 'orders'.
CREATE TABLE orders (id BIGINT, item STRING, price DECIMAL(10, 2), ordered TIMESTAMP(3))
WITH ('connector' = 'filesystem', 'path' = 'orders', 'format' = 'orc');

SELECT item, SUM(price) AS price FROM orders GROUP BY item;"
    }

    fn create_decoder(&self, _request: &DecodeRequest) -> Result<Box<dyn Decoder>> {
        Err(only_files("orc"))
    }

    fn create_encoder(&self, _request: &EncodeRequest) -> Result<Box<dyn Encoder>> {
        let message = "format 'orc' can be read, not written; write 'parquet' instead";
        Err(Error::user("UNSUPPORTED_FORMAT", message))
    }

    fn is_splittable(&self) -> bool {
        true
    }

    fn reads_files(&self, request: &DecodeRequest) -> Result<bool> {
        check(&request.options)?;
        for column in request.schema.columns() {
            check_type(&column.data_type.logical, "orc")?;
            refuse_times(&column.data_type.logical)?;
        }
        Ok(true)
    }

    fn create_file_reader(
        &self,
        request: &DecodeRequest,
        scan: FileScan,
    ) -> Result<Box<dyn FileReader>> {
        Ok(Box::new(OrcReader::new(request, scan)?))
    }
}

/// # Errors
/// A user error for a type that ORC has not.
fn refuse_times(logical: &LogicalType) -> Result<()> {
    match logical {
        LogicalType::Time(_) => {
            let message = format!("format 'orc' cannot hold a value of type {logical}");
            Err(Error::user("UNSUPPORTED_TYPE", message))
        }
        LogicalType::Array(item) | LogicalType::Multiset(item) => refuse_times(&item.logical),
        LogicalType::Map(key, value) => {
            refuse_times(&key.logical)?;
            refuse_times(&value.logical)
        }
        LogicalType::Row(fields) => fields
            .iter()
            .try_for_each(|field| refuse_times(&field.data_type.logical)),
        _ => Ok(()),
    }
}
