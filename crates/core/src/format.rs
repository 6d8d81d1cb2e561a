//! Formats: bytes to columns and back.

use arrow::buffer::Buffer;

use crate::changelog::{ChangelogBatch, ChangelogMode};
use crate::error::Result;
use crate::options::{OptionDef, Options};
use crate::schema::Schema;
use crate::source::FieldPath;

/// A format in the list of formats.
pub trait FormatFactory: Send + Sync {
    /// `json`, `csv` …
    fn identifier(&self) -> &'static str;

    /// Options without the prefix (`ignore-parse-errors`).
    fn options(&self) -> &'static [OptionDef];

    fn doc(&self) -> &'static str;

    /// A script that shows the format at work, for its page in the documentation; it runs as it
    /// stands, in an empty folder, unless it needs another system.
    fn example(&self) -> &'static str {
        ""
    }

    fn create_decoder(&self, request: &DecodeRequest) -> Result<Box<dyn Decoder>>;

    fn create_encoder(&self, request: &EncodeRequest) -> Result<Box<dyn Encoder>>;

    /// The kinds of rows that decoding gives.
    fn decoded_mode(&self, _options: &Options) -> ChangelogMode {
        ChangelogMode::APPEND
    }

    /// The kinds of rows that can be encoded.
    fn encoded_mode(&self) -> ChangelogMode {
        ChangelogMode::APPEND
    }

    /// Whether a file of it can be read from any record on, so that files can be cut in splits.
    fn is_splittable(&self) -> bool {
        false
    }

    /// [`FormatFactory::is_splittable`] for a file written with these options (without prefix).
    fn is_splittable_with(&self, _options: &Options) -> bool {
        self.is_splittable()
    }
}

/// What to decode.
#[derive(Debug, Clone)]
pub struct DecodeRequest {
    /// The physical columns of the record.
    pub schema: Schema,
    /// The fields to produce, in this order; everything else is skipped unread.
    pub fields: Vec<FieldPath>,
    /// The format's options, without prefix.
    pub options: Options,
    /// The most rows in a batch.
    pub batch_size: usize,
}

/// Bytes to columns. Rows gather inside until [`Decoder::flush`].
pub trait Decoder: Send {
    /// Decodes the whole records at the head of `block`, a piece of a file, and stops when
    /// [`DecodeRequest::batch_size`] rows have gathered. With `is_last` nothing follows the block,
    /// so that its last record need not be terminated. Returns how many bytes were used.
    ///
    /// # Errors
    /// Names the offending text and the line counted from the first line of the first block.
    fn decode_block(&mut self, block: &Buffer, is_last: bool) -> Result<usize>;

    /// Decodes one record that stands alone, as in a message.
    fn decode_message(&mut self, message: &[u8]) -> Result<()>;

    /// Rows gathered and not yet flushed.
    fn num_rows(&self) -> usize;

    /// The gathered rows; `None` when there are none.
    fn flush(&mut self) -> Result<Option<ChangelogBatch>>;

    /// Malformed records skipped so far.
    fn num_skipped(&self) -> u64 {
        0
    }

    /// Before the first block: how many lines of the file precede it, for messages.
    fn set_first_line(&mut self, _lines_before: u64) {}
}

/// What to encode.
#[derive(Debug, Clone)]
pub struct EncodeRequest {
    pub schema: Schema,
    /// The format's options, without prefix.
    pub options: Options,
}

/// Columns to bytes.
pub trait Encoder: Send {
    /// Appends the rows to `out` as they stand in a file: each record with its terminator.
    fn encode_block(&mut self, batch: &ChangelogBatch, out: &mut Vec<u8>) -> Result<()>;

    /// Appends each row as a message of its own; `ends` receives where each one ends in `out`.
    fn encode_messages(
        &mut self,
        batch: &ChangelogBatch,
        out: &mut Vec<u8>,
        ends: &mut Vec<usize>,
    ) -> Result<()>;

    /// What closes a file (a footer); nothing for text.
    fn finish_file(&mut self, _out: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }
}
