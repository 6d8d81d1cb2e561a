//! `parquet`: files in columns.
//!
//! Reading: only the wanted columns and fields, found by name; row groups whose statistics exclude
//! what the query asks for are left out; a piece of a file reads the row groups that begin in it.
//! Timestamps may be INT96, or INT64 of any unit. Writing: timestamps are INT64.

mod reader;
mod writer;

use flott_core::Result;
use flott_core::format::{
    DecodeRequest, Decoder, EncodeRequest, Encoder, FileReader, FileScan, FormatFactory,
};
use flott_core::options::{OptionDef, OptionType, Options};

use crate::conform::{check_type, only_files};
use crate::random_access::guarded;
use reader::ParquetReader;
use writer::ParquetEncoder;

const UTC_TIMEZONE: OptionDef = OptionDef::new(
    "utc-timezone",
    OptionType::Boolean,
    "accepted; INT96 timestamps are always read as UTC",
)
.default("false");
pub(super) const TIME_UNIT: OptionDef = OptionDef::new(
    "timestamp.time.unit",
    OptionType::Enum(&["nanos", "micros", "millis"]),
    "the unit of written timestamps; without it the coarsest that holds the column's precision",
);
const WRITE_INT64: OptionDef = OptionDef::new(
    "write.int64.timestamp",
    OptionType::Boolean,
    "accepted; timestamps are always written as INT64, never as the outdated INT96",
)
.default("true");
pub(super) const COMPRESSION: OptionDef = OptionDef::new(
    "compression",
    OptionType::Enum(&["UNCOMPRESSED", "SNAPPY", "GZIP", "ZSTD", "LZ4", "LZ4_RAW"]),
    "how pages are compressed",
)
.default("SNAPPY");
pub(super) const BLOCK_SIZE: OptionDef = OptionDef::new(
    "block.size",
    OptionType::MemorySize,
    "about how many bytes a row group takes before another begins",
)
.default("128mb");
pub(super) const PAGE_SIZE: OptionDef = OptionDef::new(
    "page.size",
    OptionType::MemorySize,
    "about how many bytes a page takes",
)
.default("1mb");
pub(super) const DICTIONARY_PAGE_SIZE: OptionDef = OptionDef::new(
    "dictionary.page.size",
    OptionType::MemorySize,
    "the most bytes of a column's dictionary",
)
.default("1mb");
pub(super) const DICTIONARY: OptionDef = OptionDef::new(
    "enable.dictionary",
    OptionType::Boolean,
    "write values that come again and again as numbers of a dictionary",
)
.default("true");
pub(super) const WRITER_VERSION: OptionDef = OptionDef::new(
    "writer.version",
    OptionType::Enum(&["PARQUET_1_0", "v1", "PARQUET_2_0", "v2"]),
    "the version of the pages",
)
.default("PARQUET_1_0");
const OTHERS: OptionDef = OptionDef::new(
    "*",
    OptionType::String,
    "other settings of Java's Parquet writer are accepted and change nothing",
);

const OPTIONS: &[OptionDef] = &[
    UTC_TIMEZONE,
    TIME_UNIT,
    WRITE_INT64,
    COMPRESSION,
    BLOCK_SIZE,
    PAGE_SIZE,
    DICTIONARY_PAGE_SIZE,
    DICTIONARY,
    WRITER_VERSION,
    OTHERS,
];

/// The format `parquet`.
pub struct ParquetFormat;

fn check(options: &Options) -> Result<()> {
    options.check("format 'parquet'", &[OPTIONS])
}

impl FormatFactory for ParquetFormat {
    fn identifier(&self) -> &'static str {
        "parquet"
    }

    fn options(&self) -> &'static [OptionDef] {
        OPTIONS
    }

    fn doc(&self) -> &'static str {
        "Parquet files"
    }

    fn create_decoder(&self, _request: &DecodeRequest) -> Result<Box<dyn Decoder>> {
        Err(only_files("parquet"))
    }

    fn create_encoder(&self, request: &EncodeRequest) -> Result<Box<dyn Encoder>> {
        check(&request.options)?;
        for column in request.schema.columns() {
            check_type(&column.data_type.logical, "parquet")?;
        }
        Ok(Box::new(ParquetEncoder::new(request)?))
    }

    fn is_splittable(&self) -> bool {
        true
    }

    fn reads_files(&self, request: &DecodeRequest) -> Result<bool> {
        check(&request.options)?;
        for column in request.schema.columns() {
            check_type(&column.data_type.logical, "parquet")?;
        }
        Ok(true)
    }

    fn create_file_reader(
        &self,
        request: &DecodeRequest,
        scan: FileScan,
    ) -> Result<Box<dyn FileReader>> {
        let reader = guarded("parquet", || ParquetReader::new(request, scan))?;
        Ok(Box::new(reader))
    }
}
