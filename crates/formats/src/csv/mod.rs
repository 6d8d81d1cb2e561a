//! `csv`: delimited text, one record a line unless quotes span lines.

mod decoder;
mod dialect;
mod encoder;

use flott_core::Result;
use flott_core::format::{DecodeRequest, Decoder, EncodeRequest, Encoder, FormatFactory};
use flott_core::options::{OptionDef, Options};

use crate::records::Records;
use decoder::CsvDecoder;
use dialect::Dialect;
use encoder::CsvEncoder;
pub(crate) use encoder::write_plain_value;

/// The format `csv`.
pub struct CsvFormat;

impl FormatFactory for CsvFormat {
    fn identifier(&self) -> &'static str {
        "csv"
    }

    fn options(&self) -> &'static [OptionDef] {
        dialect::OPTIONS
    }

    fn doc(&self) -> &'static str {
        "delimited text"
    }

    fn create_decoder(&self, request: &DecodeRequest) -> Result<Box<dyn Decoder>> {
        let dialect = Dialect::new(&request.options)?;
        Ok(Box::new(CsvDecoder::new(request, dialect)?))
    }

    fn create_encoder(&self, request: &EncodeRequest) -> Result<Box<dyn Encoder>> {
        let encoder = CsvEncoder::new(Dialect::new(&request.options)?);
        Ok(Box::new(Records(encoder)))
    }

    fn is_splittable_with(&self, options: &Options) -> bool {
        // Quotes and escapes can carry a record over a line's end.
        Dialect::new(options).is_ok_and(|d| d.quote.is_none() && d.escape.is_none())
    }
}
