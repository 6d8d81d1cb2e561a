//! Decodes lines or messages of JSON.

use std::sync::Arc;

use arrow::buffer::Buffer;
use arrow::datatypes::{Schema as ArrowSchema, SchemaRef};
use flott_core::changelog::ChangelogBatch;
use flott_core::format::{DecodeRequest, Decoder, Rejected};
use flott_core::schema::Schema;
use flott_core::source::FieldPath;
use flott_core::types::{DataType, LogicalType};
use flott_core::{Error, Result};

use super::fault::{Fault, FaultKind, Scanned};
use super::plan::ObjectPlan;
use super::read::{ReadRules, Reader};
use super::scan::Scanner;
use crate::column::{ColumnBuilder, flush_columns};
use crate::lines::Lines;

/// Decodes JSON objects, one a line or one a message, into the requested columns. A top-level
/// array stands for the objects in it.
pub(crate) struct JsonDecoder {
    plan: ObjectPlan,
    columns: Vec<ColumnBuilder>,
    schema: SchemaRef,
    rules: ReadRules,
    batch_size: usize,
    num_rows: usize,
    num_skipped: u64,
    /// Lines begun so far.
    line: u64,
    /// For each gathered row the line it stands in, where someone asked for that.
    row_lines: Option<Vec<u64>>,
    /// The same for the text of the row's record in a block, with its offset.
    row_texts: Option<Vec<(u64, Buffer)>>,
    /// Bytes of blocks before the one in hand.
    offset: u64,
    /// Malformed records of blocks, where someone wants them in place of an error.
    rejected: Option<Vec<Rejected>>,
    scratch: Vec<u8>,
}

/// The type and name of the field at `path`; names inside rows are joined by dots.
pub(crate) fn field_at(schema: &Schema, path: &FieldPath) -> Result<(String, DataType)> {
    let wrong = || Error::internal(format!("no field at {:?} of {schema}", path.0));
    let (&first, rest) = path.0.split_first().ok_or_else(wrong)?;
    let column = schema.columns().get(first).ok_or_else(wrong)?;
    let (mut name, mut data_type) = (column.name.clone(), column.data_type.clone());
    for &index in rest {
        let LogicalType::Row(fields) = &data_type.logical else {
            return Err(wrong());
        };
        let field = fields.get(index).ok_or_else(wrong)?.clone();
        name = format!("{name}.{}", field.name);
        data_type = field.data_type;
    }
    Ok((name, data_type))
}

/// Empty columns for the requested fields, and their schema.
pub(crate) fn requested_columns(
    request: &DecodeRequest,
) -> Result<(Vec<ColumnBuilder>, SchemaRef)> {
    let mut columns = Vec::with_capacity(request.fields.len());
    let mut fields = Vec::with_capacity(request.fields.len());
    for path in &request.fields {
        let (name, data_type) = field_at(&request.schema, path)?;
        columns.push(ColumnBuilder::new(&data_type.logical, request.batch_size));
        fields.push(data_type.to_field(&name));
    }
    Ok((columns, Arc::new(ArrowSchema::new(fields))))
}

impl JsonDecoder {
    /// A decoder of `request` for the format of this name.
    pub fn new(request: &DecodeRequest, rules: ReadRules, format: &str) -> Result<Self> {
        let fields: Vec<_> = request
            .schema
            .columns()
            .iter()
            .map(|c| (c.name.as_str(), &c.data_type.logical))
            .collect();
        let (columns, schema) = requested_columns(request)?;
        Ok(Self {
            plan: ObjectPlan::new(&fields, &request.fields, format)?,
            columns,
            schema,
            rules,
            batch_size: request.batch_size.max(1),
            num_rows: 0,
            num_skipped: 0,
            line: 0,
            row_lines: None,
            row_texts: None,
            offset: 0,
            rejected: None,
            scratch: Vec::new(),
        })
    }

    /// From now on the line of each row is kept.
    pub fn keep_lines(&mut self) {
        self.row_lines = Some(Vec::new());
    }

    /// From now on the text of each row of a block is kept too.
    pub fn keep_texts(&mut self) {
        self.row_texts = Some(Vec::new());
    }

    /// The texts of the gathered rows, and where they begin, counted from the first block's begin;
    /// empty unless they are kept.
    pub fn take_texts(&mut self) -> Vec<(u64, Buffer)> {
        self.row_texts
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// The lines of the gathered rows; empty unless they are kept.
    pub fn take_lines(&mut self) -> Vec<u64> {
        self.row_lines
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// Reads the record that stands in `text[start..]`.
    fn record(&mut self, text: &[u8], start: usize, block: Option<&Buffer>) -> Scanned<()> {
        let mut reader = Reader {
            scanner: Scanner::new(text, start),
            block,
            rules: self.rules,
            scratch: &mut self.scratch,
        };
        reader.scanner.skip_space();
        let mut num_rows = self.num_rows;
        match reader.scanner.peek() {
            None => return Ok(()),
            Some(b'[') => {
                reader.scanner.at += 1;
                reader.scanner.skip_space();
                let mut goes_on = reader.scanner.peek() != Some(b']');
                while goes_on {
                    reader.object(&mut self.plan, &mut self.columns, num_rows)?;
                    num_rows += 1;
                    goes_on = reader.scanner.goes_on(b']', "',' or ']'")?;
                }
            }
            _ => {
                reader.object(&mut self.plan, &mut self.columns, num_rows)?;
                num_rows += 1;
            }
        }
        // What follows in the line is not looked at, as in Flink.
        self.num_rows = num_rows;
        if let Some(lines) = &mut self.row_lines {
            lines.resize(num_rows, self.line);
        }
        if let (Some(texts), Some(block)) = (&mut self.row_texts, block) {
            let record = block.slice_with_length(start, text.len() - start);
            texts.resize(num_rows, (self.offset + start as u64, record));
        }
        Ok(())
    }

    /// Takes back what a faulty record left behind; skips it or gives the error.
    #[cold]
    fn reject(&mut self, fault: Fault, text: &[u8], start: usize, line: Option<u64>) -> Result<()> {
        let num_rows = self.num_rows;
        self.columns.iter_mut().for_each(|c| c.truncate(num_rows));
        let is_other = matches!(fault.kind, FaultKind::Other(_));
        if let (Some(line), Some(rejected), false) = (line, &mut self.rejected, is_other) {
            let error = fault.into_error(None, &text[start..], start);
            rejected.push(Rejected {
                offset: self.offset + start as u64,
                line,
                raw: text[start..].to_vec(),
                reason: error.message().to_string(),
            });
            return Ok(());
        }
        if self.rules.ignore_parse_errors && !is_other {
            self.num_skipped += 1;
            return Ok(());
        }
        Err(fault.into_error(line, &text[start..], start))
    }
}

impl Decoder for JsonDecoder {
    fn decode_block(&mut self, block: &Buffer, is_last: bool) -> Result<usize> {
        self.columns.iter_mut().for_each(ColumnBuilder::begin_block);
        let text = block.as_slice();
        let mut used = 0;
        let mut lines = Lines::new(text, is_last);
        while self.num_rows < self.batch_size
            && let Some(line) = lines.next()
        {
            self.line += 1;
            let record = &text[..line.end];
            let result = match line.is_utf8 {
                true => self.record(record, line.start, Some(block)),
                false => Err(Fault::malformed(line.start, "UTF-8")),
            };
            if let Err(fault) = result {
                self.reject(*fault, record, line.start, Some(self.line))?;
            }
            used = line.next;
        }
        self.offset += used as u64;
        Ok(used)
    }

    fn decode_message(&mut self, message: &[u8]) -> Result<()> {
        let result = match simdutf8::basic::from_utf8(message) {
            Ok(_) => self.record(message, 0, None),
            Err(_) => Err(Fault::malformed(0, "UTF-8")),
        };
        result.or_else(|fault| self.reject(*fault, message, 0, None))
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
