//! `raw`: the whole line or message as one column.

use arrow::array::*;
use arrow::buffer::Buffer;
use arrow::datatypes::*;
use flott_core::changelog::ChangelogBatch;
use flott_core::format::{DecodeRequest, Decoder, EncodeRequest, Encoder, FormatFactory, Rejected};
use flott_core::options::{OptionDef, OptionType, Options};
use flott_core::schema::Schema;
use flott_core::types::LogicalType;
use flott_core::{Error, Result};

use crate::column::{ColumnBuilder, flush_columns};
use crate::json::fault::shown;
use crate::json::read::type_name;
use crate::json::requested_columns;
use crate::lines::Lines;
use crate::records::{Records, RowEncoder};

const CHARSET: OptionDef = OptionDef::new(
    "charset",
    OptionType::Enum(&[
        "UTF-8",
        "US-ASCII",
        "ISO-8859-1",
        "UTF-16",
        "UTF-16BE",
        "UTF-16LE",
    ]),
    "how strings are encoded",
)
.example("ISO-8859-1")
.default("UTF-8");
const ENDIANNESS: OptionDef = OptionDef::new(
    "endianness",
    OptionType::Enum(&["big-endian", "little-endian"]),
    "the order of a number's bytes",
)
.default("big-endian");

/// The format `raw`.
pub struct RawFormat;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Charset {
    Utf8,
    Ascii,
    Latin1,
    /// Big-endian unless a mark at the begin says otherwise; written with such a mark, as by Java.
    Utf16Marked,
    Utf16 {
        is_little: bool,
    },
}

#[derive(Debug, Clone, Copy)]
struct RawRules {
    charset: Charset,
    is_little: bool,
}

impl RawRules {
    fn new(options: &Options, schema: &Schema) -> Result<Self> {
        options.check("format 'raw'", &[RawFormat.options()])?;
        let [column] = schema.columns() else {
            let count = schema.len();
            return Err(Error::user(
                "INVALID_SCHEMA",
                format!("format 'raw' holds one column, the table has {count}: {schema}"),
            ));
        };
        let logical = &column.data_type.logical;
        let fits = logical.is_integer()
            || logical.is_approximate_numeric()
            || logical.is_character()
            || logical.is_binary()
            || *logical == LogicalType::Boolean;
        if !fits {
            let message = format!(
                "format 'raw' cannot hold column '{}' of type {logical}",
                column.name
            );
            return Err(Error::user("UNSUPPORTED_TYPE", message));
        }
        let charset = options.text(&CHARSET).unwrap_or_default().to_uppercase();
        Ok(Self {
            charset: match charset.as_str() {
                "US-ASCII" => Charset::Ascii,
                "ISO-8859-1" => Charset::Latin1,
                "UTF-16" => Charset::Utf16Marked,
                "UTF-16LE" => Charset::Utf16 { is_little: true },
                "UTF-16BE" => Charset::Utf16 { is_little: false },
                _ => Charset::Utf8,
            },
            is_little: options
                .text(&ENDIANNESS)
                .is_some_and(|e| e.eq_ignore_ascii_case("little-endian")),
        })
    }
}

impl FormatFactory for RawFormat {
    fn identifier(&self) -> &'static str {
        "raw"
    }

    fn options(&self) -> &'static [OptionDef] {
        &[CHARSET, ENDIANNESS]
    }

    fn doc(&self) -> &'static str {
        "the line or message itself, as one column"
    }

    fn example(&self) -> &'static str {
        "CREATE TABLE lines (line STRING)
WITH ('connector' = 'filesystem', 'path' = 'lines.txt', 'format' = 'raw');

INSERT INTO lines VALUES ('a line'), ('and another');

SELECT UPPER(line) AS line FROM lines;"
    }

    fn create_decoder(&self, request: &DecodeRequest) -> Result<Box<dyn Decoder>> {
        let rules = RawRules::new(&request.options, &request.schema)?;
        let (columns, schema) = requested_columns(request)?;
        Ok(Box::new(RawDecoder {
            rules,
            columns,
            schema,
            batch_size: request.batch_size.max(1),
            num_rows: 0,
            line: 0,
            rejected: None,
            offset: 0,
        }))
    }

    fn create_encoder(&self, request: &EncodeRequest) -> Result<Box<dyn Encoder>> {
        let rules = RawRules::new(&request.options, &request.schema)?;
        Ok(Box::new(Records(RawEncoder { rules })))
    }

    fn is_splittable(&self) -> bool {
        true
    }
}

struct RawDecoder {
    rules: RawRules,
    /// One column as often as it is requested.
    columns: Vec<ColumnBuilder>,
    schema: SchemaRef,
    batch_size: usize,
    num_rows: usize,
    line: u64,
    /// Bytes of blocks before the one in hand.
    offset: u64,
    /// Malformed lines, where someone wants them in place of an error.
    rejected: Option<Vec<Rejected>>,
}

impl RawDecoder {
    fn reject(&self, value: &[u8], column: &ColumnBuilder, line: Option<u64>) -> Error {
        let place = line.map(|l| format!("line {l}: ")).unwrap_or_default();
        let (value, wanted) = (shown(value), type_name(column));
        let message = format!("{place}cannot read '{value}' as {wanted}");
        Error::user("MALFORMED_RECORD", message)
    }
}

impl RawRules {
    /// The bytes of a number; `None` when there are not so many.
    fn number<const N: usize>(self, value: &[u8]) -> Option<[u8; N]> {
        let mut bytes: [u8; N] = value.try_into().ok()?;
        if self.is_little {
            bytes.reverse();
        }
        Some(bytes)
    }

    /// Appends a value; `None` when the bytes do not make one.
    fn push(self, value: &[u8], column: &mut ColumnBuilder) -> Option<()> {
        match column {
            ColumnBuilder::Text(column) => column.push_copied(self.text(value)?.as_bytes()),
            ColumnBuilder::Bytes(column) => column.push_copied(value),
            ColumnBuilder::Boolean(column) => column.push(self.number::<1>(value)?[0] != 0),
            ColumnBuilder::TinyInt(c) => c.push(i8::from_be_bytes(self.number(value)?)),
            ColumnBuilder::SmallInt(c) => c.push(i16::from_be_bytes(self.number(value)?)),
            ColumnBuilder::Int(c) => c.push(i32::from_be_bytes(self.number(value)?)),
            ColumnBuilder::BigInt(c) => c.push(i64::from_be_bytes(self.number(value)?)),
            ColumnBuilder::Float(c) => c.push(f32::from_be_bytes(self.number(value)?)),
            ColumnBuilder::Double(c) => c.push(f64::from_be_bytes(self.number(value)?)),
            _ => return None,
        }
        Some(())
    }

    /// The text in this charset; bytes that are no text become U+FFFD, as in Java.
    fn text(self, value: &[u8]) -> Option<String> {
        Some(match self.charset {
            Charset::Utf8 => String::from_utf8_lossy(value).into_owned(),
            Charset::Latin1 => value.iter().map(|&b| char::from(b)).collect(),
            Charset::Ascii => {
                let character = |&b: &u8| if b < 0x80 { char::from(b) } else { '\u{fffd}' };
                value.iter().map(character).collect()
            }
            Charset::Utf16 { is_little } => utf16(value, is_little),
            Charset::Utf16Marked => match value {
                [0xff, 0xfe, rest @ ..] => utf16(rest, true),
                [0xfe, 0xff, rest @ ..] => utf16(rest, false),
                _ => utf16(value, false),
            },
        })
    }
}

fn utf16(value: &[u8], is_little: bool) -> String {
    let units = value.chunks(2).map(|pair| match (pair, is_little) {
        ([a, b], true) => u16::from_le_bytes([*a, *b]),
        ([a, b], false) => u16::from_be_bytes([*a, *b]),
        _ => 0xfffd,
    });
    char::decode_utf16(units)
        .map(|c| c.unwrap_or('\u{fffd}'))
        .collect()
}

impl Decoder for RawDecoder {
    fn decode_block(&mut self, block: &Buffer, is_last: bool) -> Result<usize> {
        self.columns.iter_mut().for_each(ColumnBuilder::begin_block);
        let text = block.as_slice();
        let mut used = 0;
        let mut lines = Lines::new(text, is_last);
        'lines: while self.num_rows < self.batch_size
            && let Some(line) = lines.next()
        {
            self.line += 1;
            for index in 0..self.columns.len() {
                let column = &mut self.columns[index];
                match column {
                    ColumnBuilder::Text(column)
                        if line.is_utf8 && self.rules.charset == Charset::Utf8 =>
                    {
                        column.push_shared(block, line.start, line.end - line.start);
                    }
                    _ => {
                        let value = &text[line.start..line.end];
                        if self.rules.push(value, column).is_none() {
                            let error = self.reject(value, &self.columns[index], Some(self.line));
                            let Some(rejected) = &mut self.rejected else {
                                return Err(error);
                            };
                            rejected.push(Rejected {
                                offset: self.offset + line.start as u64,
                                line: self.line,
                                raw: value.to_vec(),
                                reason: error.message().to_string(),
                            });
                            let num_rows = self.num_rows;
                            self.columns.iter_mut().for_each(|c| c.truncate(num_rows));
                            used = line.next;
                            continue 'lines;
                        }
                    }
                }
            }
            self.num_rows += 1;
            used = line.next;
        }
        self.offset += used as u64;
        Ok(used)
    }

    fn decode_message(&mut self, message: &[u8]) -> Result<()> {
        for index in 0..self.columns.len() {
            if self.rules.push(message, &mut self.columns[index]).is_none() {
                let num_rows = self.num_rows;
                self.columns.iter_mut().for_each(|c| c.truncate(num_rows));
                return Err(self.reject(message, &self.columns[index], None));
            }
        }
        self.num_rows += 1;
        Ok(())
    }

    /// A message without content is a row: its one column is NULL.
    fn decode_null(&mut self) -> Result<()> {
        self.columns.iter_mut().for_each(ColumnBuilder::push_null);
        self.num_rows += 1;
        Ok(())
    }

    fn num_rows(&self) -> usize {
        self.num_rows
    }

    fn flush(&mut self) -> Result<Option<ChangelogBatch>> {
        flush_columns(&mut self.columns, &self.schema, &mut self.num_rows)
    }

    fn keep_rejected(&mut self) -> bool {
        self.rejected.get_or_insert_default();
        true
    }

    fn take_rejected(&mut self) -> Vec<Rejected> {
        self.rejected
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    fn set_first_line(&mut self, lines_before: u64) {
        self.line = lines_before;
    }
}

struct RawEncoder {
    rules: RawRules,
}

impl RawEncoder {
    fn write_number<const N: usize>(&self, mut bytes: [u8; N], out: &mut Vec<u8>) {
        if self.rules.is_little {
            bytes.reverse();
        }
        out.extend_from_slice(&bytes);
    }

    fn write_text(&self, text: &str, out: &mut Vec<u8>) {
        match self.rules.charset {
            Charset::Utf8 => out.extend_from_slice(text.as_bytes()),
            Charset::Latin1 => {
                out.extend(
                    text.chars()
                        .map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')),
                );
            }
            Charset::Ascii => {
                out.extend(
                    text.chars()
                        .map(|c| if c.is_ascii() { c as u8 } else { b'?' }),
                );
            }
            Charset::Utf16Marked => {
                if !text.is_empty() {
                    out.extend_from_slice(&[0xfe, 0xff]);
                }
                out.extend(text.encode_utf16().flat_map(u16::to_be_bytes));
            }
            Charset::Utf16 { is_little: true } => {
                out.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
            }
            Charset::Utf16 { is_little: false } => {
                out.extend(text.encode_utf16().flat_map(u16::to_be_bytes));
            }
        }
    }

    fn write(&self, array: &dyn Array, row: usize, out: &mut Vec<u8>) -> Result<()> {
        if array.is_null(row) {
            return Ok(());
        }
        match array.data_type() {
            DataType::Utf8View => self.write_text(array.as_string_view().value(row), out),
            DataType::BinaryView => out.extend_from_slice(array.as_binary_view().value(row)),
            DataType::Boolean => out.push(u8::from(array.as_boolean().value(row))),
            DataType::Int8 => {
                self.write_number(
                    array.as_primitive::<Int8Type>().value(row).to_be_bytes(),
                    out,
                );
            }
            DataType::Int16 => {
                self.write_number(
                    array.as_primitive::<Int16Type>().value(row).to_be_bytes(),
                    out,
                );
            }
            DataType::Int32 => {
                self.write_number(
                    array.as_primitive::<Int32Type>().value(row).to_be_bytes(),
                    out,
                );
            }
            DataType::Int64 => {
                self.write_number(
                    array.as_primitive::<Int64Type>().value(row).to_be_bytes(),
                    out,
                );
            }
            DataType::Float32 => {
                self.write_number(
                    array.as_primitive::<Float32Type>().value(row).to_be_bytes(),
                    out,
                );
            }
            DataType::Float64 => {
                self.write_number(
                    array.as_primitive::<Float64Type>().value(row).to_be_bytes(),
                    out,
                );
            }
            other => {
                let message = format!("format 'raw' cannot hold a value of type {other}");
                return Err(Error::user("UNSUPPORTED_TYPE", message));
            }
        }
        Ok(())
    }
}

impl RowEncoder for RawEncoder {
    fn rows(
        &mut self,
        batch: &ChangelogBatch,
        out: &mut Vec<u8>,
        mut after_row: impl FnMut(&mut Vec<u8>),
    ) -> Result<()> {
        let column = batch.column(0).as_ref();
        for row in 0..batch.num_rows() {
            self.write(column, row, out)?;
            after_row(out);
        }
        Ok(())
    }
}
