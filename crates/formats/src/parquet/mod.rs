//! `parquet`: files in columns.
//!
//! Reading: only the wanted columns and fields, found by name; row groups and pages whose least and
//! greatest values exclude what the query asks for are left out; a piece of a file reads the row
//! groups that begin in it. Timestamps may be INT96, or INT64 of any unit.

mod int96;
mod predicates;
mod reader;
mod rows;
mod schema;
mod settings;
mod timestamps;
mod writer;

use flott_core::Result;
use flott_core::format::{
    DecodeRequest, Decoder, EncodeRequest, Encoder, FileReader, FileScan, FormatFactory,
};
use flott_core::options::{OptionDef, Options};

use crate::conform::{check_type, only_files};
use crate::random_access::guarded;
use reader::ParquetReader;
use settings::{OPTIONS, UTC_TIMEZONE};
use writer::ParquetEncoder;

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
