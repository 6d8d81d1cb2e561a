//! Decodes CSV into the requested columns; cells that nobody asked for are stepped over.

use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use flott_core::changelog::ChangelogBatch;
use flott_core::format::{DecodeRequest, Decoder, Rejected};
use flott_core::{Error, Result};

use super::dialect::{Cell, CellEnd, CellFault, Dialect};
use crate::column::{ColumnBuilder, flush_columns};
use crate::json::fault::shown;
use crate::json::read::{push_text, type_name};
use crate::json::requested_columns;
use crate::lines::Utf8Check;
use crate::temporal::TimestampStandard;

/// Where a cell's value goes.
#[derive(Debug, Clone)]
struct Target {
    output: usize,
    /// The way into a `ROW` cell.
    path: Vec<usize>,
}

pub(crate) struct CsvDecoder {
    dialect: Dialect,
    /// By column of the file.
    targets: Vec<Vec<Target>>,
    names: Vec<String>,
    /// How many different columns are wanted: a record with fewer cells is malformed.
    num_wanted: usize,
    columns: Vec<ColumnBuilder>,
    schema: SchemaRef,
    batch_size: usize,
    num_rows: usize,
    num_skipped: u64,
    /// Lines begun so far.
    line: u64,
    /// Bytes of blocks before the one in hand.
    offset: u64,
    /// Malformed records of blocks, where someone wants them in place of an error.
    rejected: Option<Vec<Rejected>>,
    scratch: Vec<u8>,
}

/// Why a record cannot be read.
enum RecordFault {
    Incomplete,
    Malformed(String),
    Other(Error),
}

impl CsvDecoder {
    pub fn new(request: &DecodeRequest, dialect: Dialect) -> Result<Self> {
        let (columns, schema) = requested_columns(request)?;
        let mut targets = vec![Vec::new(); request.schema.len()];
        for (output, path) in request.fields.iter().enumerate() {
            if let Some((&first, rest)) = path.0.split_first() {
                targets[first].push(Target {
                    output,
                    path: rest.to_vec(),
                });
            }
        }
        let names = request.schema.columns().iter().map(|c| c.name.clone());
        Ok(Self {
            num_wanted: targets.iter().filter(|t| !t.is_empty()).count(),
            names: names.collect(),
            targets,
            dialect,
            columns,
            schema,
            batch_size: request.batch_size.max(1),
            num_rows: 0,
            num_skipped: 0,
            line: 0,
            rejected: None,
            offset: 0,
            scratch: Vec::new(),
        })
    }

    /// Reads the record at `start`; returns where the next one begins.
    fn record(
        &mut self,
        block: &Buffer,
        text: &[u8],
        start: usize,
        is_last: bool,
        shares: bool,
    ) -> Result<usize, RecordFault> {
        let (mut at, mut place) = (start, 0);
        loop {
            let cell = self
                .dialect
                .cell(text, at, is_last)
                .map_err(|f| cell_fault(f, start))?;
            if place < self.targets.len() {
                if !self.targets[place].is_empty() {
                    self.cell(block, text, place, cell, shares)?;
                }
            } else if place > self.targets.len()
                || cell.end > cell.start
                || cell.ended_by == CellEnd::Delimiter
            {
                // One delimiter more at the end of a record is let pass.
                return Err(RecordFault::Malformed(format!(
                    "more cells than the table has columns ({})",
                    self.targets.len()
                )));
            }
            place += 1;
            at = cell.next;
            if cell.ended_by == CellEnd::Record {
                break;
            }
        }
        if place < self.num_wanted && !self.dialect.ignore_parse_errors {
            return Err(RecordFault::Malformed(format!(
                "only {place} cells for {} columns",
                self.targets.len()
            )));
        }
        if place < self.targets.len() {
            let num_rows = self.num_rows;
            for column in &mut self.columns {
                if column.len() == num_rows {
                    column.push_null();
                }
            }
        }
        self.num_rows += 1;
        Ok(at)
    }

    #[inline]
    fn cell(
        &mut self,
        block: &Buffer,
        text: &[u8],
        place: usize,
        cell: Cell,
        shares: bool,
    ) -> Result<(), RecordFault> {
        let raw = &text[cell.start..cell.end];
        let mut unescaped = std::mem::take(&mut self.scratch);
        unescaped.clear();
        if cell.has_escapes {
            self.dialect.unescape(raw, cell.is_quoted, &mut unescaped);
        }
        let value = if cell.has_escapes {
            &unescaped[..]
        } else {
            raw
        };
        let mut result = Ok(());
        for target in &self.targets[place] {
            let column = &mut self.columns[target.output];
            // As in Flink, a null literal in a cell of an array is an element.
            let is_array = matches!(column, ColumnBuilder::Array(_)) && !value.is_empty();
            if self.dialect.is_null(value) && !is_array {
                column.push_null();
                continue;
            }
            if let (ColumnBuilder::Text(column), false, true, true) = (
                &mut *column,
                cell.has_escapes,
                shares,
                target.path.is_empty(),
            ) {
                column.push_shared(block, cell.start, raw.len());
                continue;
            }
            let inner = into_row(&self.dialect, value, &target.path);
            let pushed = match inner {
                Some(value) => push_cell(&self.dialect, value, column),
                None => {
                    column.push_null();
                    Ok(true)
                }
            };
            match pushed {
                Ok(true) => {}
                Ok(false) if self.dialect.ignore_parse_errors => {
                    column.truncate(column.len());
                    column.push_null();
                }
                Ok(false) => {
                    result = Err(RecordFault::Malformed(format!(
                        "column '{}': cannot read '{}' as {}",
                        self.names[place],
                        shown(value),
                        type_name(column)
                    )));
                    break;
                }
                Err(error) => {
                    result = Err(RecordFault::Other(error));
                    break;
                }
            }
        }
        self.scratch = unescaped;
        result
    }

    /// Takes back a faulty record; skips it or gives the error. Returns where the next one begins.
    #[cold]
    fn reject(&mut self, what: String, text: &[u8], start: usize, is_block: bool) -> Result<usize> {
        let num_rows = self.num_rows;
        self.columns.iter_mut().for_each(|c| c.truncate(num_rows));
        let end = memchr::memchr(b'\n', &text[start..]).map_or(text.len(), |i| start + i);
        if let (Some(rejected), true) = (&mut self.rejected, is_block) {
            let raw = text[start..end].trim_ascii_end();
            rejected.push(Rejected {
                offset: self.offset + start as u64,
                line: self.line + 1,
                raw: raw.to_vec(),
                reason: format!("{what}: {}", shown(raw)),
            });
            return Ok(text.len().min(end + 1));
        }
        if !self.dialect.ignore_parse_errors {
            let record = shown(text[start..end].trim_ascii_end());
            let message = format!("line {}: {what}: {record}", self.line + 1);
            return Err(Error::user("MALFORMED_RECORD", message));
        }
        self.num_skipped += 1;
        Ok(text.len().min(end + 1))
    }

    fn is_comment(&self, text: &[u8], at: usize) -> bool {
        self.dialect.allow_comments && text[at] == b'#'
    }

    fn decode(&mut self, block: &Buffer, is_last: bool, shares: bool) -> Result<usize> {
        let text = block.as_slice();
        let mut at = 0;
        let mut utf8 = Utf8Check::default();
        // A message is decoded whole.
        let most_rows = if shares { self.batch_size } else { usize::MAX };
        while at < text.len() && self.num_rows < most_rows {
            if self.is_comment(text, at) {
                match memchr::memchr(b'\n', &text[at..]) {
                    Some(length) => at += length + 1,
                    None if is_last => at = text.len(),
                    None => break,
                }
                self.line += 1;
                continue;
            }
            let result = self.record(block, text, at, is_last, shares);
            let next = match result {
                Ok(next) if utf8.covers(text, at, next) => next,
                Ok(_) => {
                    self.num_rows -= 1;
                    self.reject("not UTF-8".into(), text, at, shares)?
                }
                Err(RecordFault::Incomplete) => {
                    let num_rows = self.num_rows;
                    self.columns.iter_mut().for_each(|c| c.truncate(num_rows));
                    break;
                }
                Err(RecordFault::Malformed(what)) => {
                    // Where the block ends within the line, the rest of it must be seen first.
                    if !is_last && memchr::memchr(b'\n', &text[at..]).is_none() {
                        let num_rows = self.num_rows;
                        self.columns.iter_mut().for_each(|c| c.truncate(num_rows));
                        break;
                    }
                    self.reject(what, text, at, shares)?
                }
                Err(RecordFault::Other(error)) => return Err(error),
            };
            self.line += self.lines_in(&text[at..next]);
            at = next;
        }
        Ok(at)
    }

    /// How many lines a record takes; more than one only with quotes or escapes.
    #[inline]
    fn lines_in(&self, record: &[u8]) -> u64 {
        if self.dialect.quote.is_none() && self.dialect.escape.is_none() {
            return 1;
        }
        let ends = memchr::memchr_iter(b'\n', record).count() as u64;
        ends.max(1)
    }
}

fn cell_fault(fault: CellFault, start: usize) -> RecordFault {
    match fault {
        CellFault::Incomplete => RecordFault::Incomplete,
        CellFault::OpenQuote => RecordFault::Malformed("a quote is never closed".into()),
        CellFault::AfterQuote(at) => RecordFault::Malformed(format!(
            "a delimiter is expected after the closing quote, at byte {}",
            at - start + 1
        )),
    }
}

/// The elements of an `ARRAY` or `ROW` cell; none for an empty one.
fn elements<'a>(dialect: &Dialect, value: &'a [u8]) -> Vec<&'a [u8]> {
    let delimiter = &dialect.array_delimiter;
    if value.is_empty() {
        return Vec::new();
    }
    if delimiter.is_empty() {
        return vec![value];
    }
    let mut parts = Vec::new();
    let mut from = 0;
    for at in memchr::memmem::find_iter(value, delimiter) {
        parts.push(&value[from..at]);
        from = at + delimiter.len();
    }
    parts.push(&value[from..]);
    parts
}

/// The part of a `ROW` cell that `path` leads to; `None` when it is not there.
fn into_row<'a>(dialect: &Dialect, value: &'a [u8], path: &[usize]) -> Option<&'a [u8]> {
    let mut value = value;
    for &index in path {
        value = elements(dialect, value).get(index).copied()?;
        if dialect.is_null(value) {
            return None;
        }
    }
    Some(value)
}

/// Appends a cell's value; false when the column's type cannot hold it.
fn push_cell(dialect: &Dialect, value: &[u8], column: &mut ColumnBuilder) -> Result<bool> {
    match column {
        ColumnBuilder::Array(lists) => {
            for element in elements(dialect, value) {
                if !push_element(dialect, element, &mut lists.items)? {
                    return Ok(false);
                }
            }
            lists.push()?;
            Ok(true)
        }
        ColumnBuilder::Row(rows) => {
            let parts = elements(dialect, value);
            if parts.is_empty() {
                column.push_null();
                return Ok(true);
            }
            if parts.len() < rows.children.len() && !dialect.ignore_parse_errors {
                return Ok(false);
            }
            for (index, child) in rows.children.iter_mut().enumerate() {
                match parts.get(index) {
                    Some(part) => {
                        if !push_element(dialect, part, child)? {
                            return Ok(false);
                        }
                    }
                    None => child.push_null(),
                }
            }
            rows.push();
            Ok(true)
        }
        ColumnBuilder::Text(column) => {
            column.push_copied(value);
            Ok(true)
        }
        ColumnBuilder::Date(dates) => Ok(loose_date(value.trim_ascii())
            .map(|days| dates.push(days))
            .is_some()),
        ColumnBuilder::Bytes(_) => Ok(push_text(value, column, TimestampStandard::Sql)),
        _ => Ok(push_text(
            value.trim_ascii(),
            column,
            TimestampStandard::Sql,
        )),
    }
}

fn push_element(dialect: &Dialect, element: &[u8], column: &mut ColumnBuilder) -> Result<bool> {
    if dialect.is_null(element) {
        column.push_null();
        return Ok(true);
    }
    let pushed = push_cell(dialect, element, column)?;
    if !pushed && dialect.ignore_parse_errors {
        column.truncate(column.len());
        column.push_null();
        return Ok(true);
    }
    Ok(pushed)
}

/// A date whose month and day may have one digit.
fn loose_date(text: &[u8]) -> Option<i32> {
    if let Some(days) = crate::temporal::parse_date(text) {
        return Some(days);
    }
    let text = std::str::from_utf8(text).ok()?;
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || year.len() != 4 || month.len() > 2 || day.len() > 2 {
        return None;
    }
    crate::temporal::parse_date(format!("{year}-{month:0>2}-{day:0>2}").as_bytes())
}

impl Decoder for CsvDecoder {
    fn decode_block(&mut self, block: &Buffer, is_last: bool) -> Result<usize> {
        self.columns.iter_mut().for_each(ColumnBuilder::begin_block);
        let used = self.decode(block, is_last, true)?;
        self.offset += used as u64;
        Ok(used)
    }

    fn decode_message(&mut self, message: &[u8]) -> Result<()> {
        let block = Buffer::from(message);
        self.columns.iter_mut().for_each(ColumnBuilder::begin_block);
        self.decode(&block, true, false).map(|_| ())
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
