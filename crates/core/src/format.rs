//! Formats: bytes to columns and back.

use std::sync::Arc;
use std::time::Duration;

use arrow::buffer::Buffer;

use crate::changelog::{ChangelogBatch, ChangelogMode};
use crate::connector::MetadataColumn;
use crate::error::{Error, Result};
use crate::options::{OptionDef, Options};
use crate::schema::{Column, Schema};
use crate::source::{FieldPath, FieldPredicate};

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

    /// What a record says beside the table's columns, for METADATA columns. A connector whose
    /// messages have a key and a value puts `value.` before the keys.
    fn metadata_columns(&self) -> Vec<MetadataColumn> {
        Vec::new()
    }

    /// [`FormatFactory::create_decoder`] for rows that end in these metadata columns: named by their
    /// keys, of the types that the table declares.
    ///
    /// # Errors
    /// A user error for a key that the format has not, or a type that it cannot be read as.
    fn create_metadata_decoder(
        &self,
        request: &DecodeRequest,
        metadata: &[Column],
    ) -> Result<Box<dyn Decoder>> {
        match metadata.first() {
            None => self.create_decoder(request),
            Some(column) => Err(Error::user(
                "UNKNOWN_METADATA",
                format!(
                    "format '{}' has no metadata column '{}'",
                    self.identifier(),
                    column.name
                ),
            )),
        }
    }

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

    /// Whether files are read with [`FormatFactory::create_file_reader`] rather than block by
    /// block: they have a header or a footer, without which nothing can be read.
    ///
    /// # Errors
    /// A user error when the options or types of the request are wrong.
    fn reads_files(&self, _request: &DecodeRequest) -> Result<bool> {
        Ok(false)
    }

    /// A reader of a piece of a file, where [`FormatFactory::reads_files`] holds.
    ///
    /// # Errors
    /// A user error when the file is not of this format or does not fit the table.
    fn create_file_reader(
        &self,
        _request: &DecodeRequest,
        _scan: FileScan,
    ) -> Result<Box<dyn FileReader>> {
        Err(Error::internal(format!(
            "format '{}' reads files block by block",
            self.identifier()
        )))
    }
}

/// The bytes of a file, to be read at any place: on a disk or in an object store.
pub trait FileInput: Send + Sync {
    fn size_bytes(&self) -> u64;

    /// The `length` bytes that begin at `offset`.
    ///
    /// # Errors
    /// An external error when they cannot be read, also because the file ends before.
    fn read_range(&self, offset: u64, length: usize) -> Result<Buffer>;
}

/// A piece of a file to be read.
#[derive(Clone)]
pub struct FileScan {
    pub input: Arc<dyn FileInput>,
    /// Groups of records (blocks, row groups, stripes) that begin in `start..end` are read, so that
    /// pieces of a file that touch each other give every record once.
    pub start: u64,
    /// `u64::MAX` for the rest of the file.
    pub end: u64,
    /// Where to go on: the [`FileReader::position`] of a former reader of the same piece.
    pub position: Option<u64>,
    /// Rows that fail one of these may be left out; paths lead into [`DecodeRequest::schema`].
    pub predicates: Vec<FieldPredicate>,
}

/// Reads a piece of a file.
pub trait FileReader: Send {
    /// The next rows, at most about [`DecodeRequest::batch_size`]; `None` at the end of the piece.
    ///
    /// # Errors
    /// A user error when the file's content is faulty.
    fn next_batch(&mut self) -> Result<Option<ChangelogBatch>>;

    /// Where the next batch begins; what the number means is the format's own matter.
    fn position(&self) -> u64;
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

/// A record of a block that could not be read, and was passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Where it begins, counted from the first byte of the first block.
    pub offset: u64,
    /// As messages count lines.
    pub line: u64,
    pub raw: Vec<u8>,
    pub reason: String,
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

    /// A message without content. Most formats read nothing from it, as Flink's do.
    fn decode_null(&mut self) -> Result<()> {
        Ok(())
    }

    /// Rows gathered and not yet flushed.
    fn num_rows(&self) -> usize;

    /// The gathered rows; `None` when there are none.
    fn flush(&mut self) -> Result<Option<ChangelogBatch>>;

    /// Malformed records skipped so far.
    fn num_skipped(&self) -> u64 {
        0
    }

    /// From now on malformed records of blocks are passed over and kept for
    /// [`Decoder::take_rejected`]; false where the format cannot. A malformed message stays an
    /// error, after which the decoder goes on with the next one.
    fn keep_rejected(&mut self) -> bool {
        false
    }

    /// The records kept since the last call, in order. Asked for after each block, and after each
    /// flush.
    fn take_rejected(&mut self) -> Vec<Rejected> {
        Vec::new()
    }

    /// Before the first block: how many lines of the file precede it, for messages.
    fn set_first_line(&mut self, _lines_before: u64) {}

    /// What sees messages before this decoder does, on a thread that may wait; `None` where
    /// decoding needs nothing but the message.
    fn lookahead(&self) -> Option<Box<dyn Lookahead>> {
        None
    }
}

/// Gets what a decoder needs to decode a message, such as a schema from a registry. Without it the
/// decoder waits for that itself.
pub trait Lookahead: Send {
    /// Waits until what `message` needs is at hand, or is known not to be had: then decoding the
    /// message gives the error. Gives up soon when `is_wanted` says no.
    fn look(&mut self, message: &[u8], is_wanted: &dyn Fn() -> bool);
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
    /// Begins what the first row would have to wait for, such as the registration of its schema,
    /// and waits for its end, but not longer than `wait`. Gives whether rows can be encoded at
    /// once; otherwise it may be called again.
    ///
    /// # Errors
    /// What encoding the first row would fail with.
    fn prepare(&mut self, _wait: Duration) -> Result<bool> {
        Ok(true)
    }

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
