//! Turns decoded envelopes into rows with row kinds.

use arrow::array::*;
use arrow::buffer::Buffer;
use arrow::compute::{interleave, take};
use arrow::datatypes::{Schema, SchemaRef};
use flott_core::changelog::{ChangelogBatch, RowKind};
use flott_core::format::{DecodeRequest, Decoder, Lookahead, Rejected};
use flott_core::{Error, Result};
use regex::Regex;

use super::Dialect;
use super::envelope::{AFTER, BEFORE, DATABASE, EnvelopeRequest, KIND, METADATA, TABLE};
use super::metadata::Metadata;
use crate::json::{JsonDecoder, requested_columns};

/// Which changes are read: those whose whole names match; `None` reads all.
#[derive(Default)]
pub(crate) struct Included {
    pub database: Option<Regex>,
    pub table: Option<Regex>,
}

/// Decodes envelopes as rows.
pub(crate) trait EnvelopeDecoder: Decoder {
    /// The lines in which the gathered envelopes stand, where they are lines.
    fn take_lines(&mut self) -> Vec<u64> {
        Vec::new()
    }

    /// From now on [`EnvelopeDecoder::take_texts`] has them.
    fn keep_texts(&mut self) {}

    /// The texts of the gathered envelopes with their offsets, where they are lines.
    fn take_texts(&mut self) -> Vec<(u64, Buffer)> {
        Vec::new()
    }
}

impl EnvelopeDecoder for JsonDecoder {
    fn take_lines(&mut self) -> Vec<u64> {
        JsonDecoder::take_lines(self)
    }

    fn keep_texts(&mut self) {
        JsonDecoder::keep_texts(self);
    }

    fn take_texts(&mut self) -> Vec<(u64, Buffer)> {
        JsonDecoder::take_texts(self)
    }
}

pub(crate) struct ChangeDecoder {
    dialect: Dialect,
    format: &'static str,
    inner: Box<dyn EnvelopeDecoder>,
    schema: SchemaRef,
    /// For each requested field: which column of the envelope's rows, and the way into it.
    fields: Vec<(usize, Vec<usize>)>,
    /// How many columns the envelope's rows have.
    num_columns: usize,
    metadata: Metadata,
    ignores_errors: bool,
    included: Included,
    /// Well-formed JSON that was no change.
    num_skipped: u64,
    /// The same of blocks, where someone wants it in place of an error.
    rejected: Option<Vec<Rejected>>,
}

/// Rows after the change come from array 0, those before it from array 1.
const FROM_AFTER: usize = 0;
const FROM_BEFORE: usize = 1;

/// The rows to produce: a kind, and where each wanted column of the row stands.
#[derive(Default)]
struct Produced {
    kinds: Vec<u8>,
    /// By wanted column.
    sources: Vec<Vec<(usize, usize)>>,
    /// The envelope in hand, and that of each row.
    envelope: u32,
    envelopes: Vec<u32>,
}

impl Produced {
    fn push(&mut self, kind: RowKind, source: impl Fn(usize) -> (usize, usize)) {
        self.kinds.push(kind as u8);
        self.envelopes.push(self.envelope);
        for (column, sources) in self.sources.iter_mut().enumerate() {
            sources.push(source(column));
        }
    }
}

/// A decoded batch of envelopes.
struct Envelopes {
    after: ArrayRef,
    before: ArrayRef,
    kinds: StringViewArray,
    databases: StringViewArray,
    tables: StringViewArray,
    metadata: Vec<ArrayRef>,
    lines: Vec<u64>,
}

impl ChangeDecoder {
    /// A decoder whose envelopes `inner` makes from a request for them.
    pub fn new(
        dialect: Dialect,
        format: &'static str,
        request: &DecodeRequest,
        included: Included,
        metadata: Metadata,
        ignores_errors: bool,
        inner: impl FnOnce(EnvelopeRequest) -> Result<Box<dyn EnvelopeDecoder>>,
    ) -> Result<Self> {
        let (_, schema) = requested_columns(request)?;
        let declared = metadata.declared().map(|c| c.data_type.to_field(&c.name));
        let fields: Vec<_> = schema.fields().iter().cloned().chain(declared).collect();
        let schema = SchemaRef::new(Schema::new(fields));
        let mut wanted: Vec<usize> = request.fields.iter().map(|p| p.0[0]).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let place = |column: usize| wanted.iter().position(|w| *w == column).unwrap_or_default();
        let fields = request
            .fields
            .iter()
            .map(|p| (place(p.0[0]), p.0[1..].to_vec()))
            .collect();
        let envelopes = EnvelopeRequest::new(dialect, request, &wanted, &metadata);
        let inner = inner(envelopes)?;
        Ok(Self {
            dialect,
            format,
            inner,
            schema,
            fields,
            num_columns: wanted.len(),
            metadata,
            ignores_errors,
            included,
            num_skipped: 0,
            rejected: None,
        })
    }

    /// The rows that the envelope in `row` gives.
    fn change(&self, envelopes: &Envelopes, row: usize, produced: &mut Produced) -> Result<()> {
        if !self.is_included(envelopes, row) {
            return Ok(());
        }
        let kind = match envelopes.kinds.is_valid(row) {
            true => envelopes.kinds.value(row),
            false => return Err(self.fault(envelopes, row, "no kind of change")),
        };
        match (self.dialect, kind) {
            (Dialect::Debezium, "c" | "r") | (Dialect::Ogg, "I") => {
                self.whole(envelopes, row, FROM_AFTER, RowKind::Insert, produced)
            }
            (Dialect::Debezium, "u") | (Dialect::Ogg, "U") => {
                // Both must be there before either is produced.
                self.check_present(envelopes, row, FROM_BEFORE)?;
                self.check_present(envelopes, row, FROM_AFTER)?;
                self.whole(envelopes, row, FROM_BEFORE, RowKind::UpdateBefore, produced)?;
                self.whole(envelopes, row, FROM_AFTER, RowKind::UpdateAfter, produced)
            }
            (Dialect::Debezium, "d") | (Dialect::Ogg, "D") => {
                self.whole(envelopes, row, FROM_BEFORE, RowKind::Delete, produced)
            }
            (Dialect::Maxwell, "insert") | (Dialect::Canal, "INSERT") => {
                self.all_after(envelopes, row, RowKind::Insert, produced)
            }
            (Dialect::Maxwell, "delete") | (Dialect::Canal, "DELETE") => {
                self.all_after(envelopes, row, RowKind::Delete, produced)
            }
            (Dialect::Maxwell, "update") | (Dialect::Canal, "UPDATE") => {
                self.patched(envelopes, row, produced)
            }
            // A change of the table's structure holds no rows.
            (Dialect::Canal, "CREATE") => Ok(()),
            _ => Err(self.fault(envelopes, row, &format!("unknown kind of change '{kind}'"))),
        }
    }

    fn is_included(&self, envelopes: &Envelopes, row: usize) -> bool {
        let holds = |wanted: &Option<Regex>, values: &StringViewArray| {
            let matches = |pattern: &Regex| pattern.is_match(values.value(row));
            wanted
                .as_ref()
                .is_none_or(|pattern| values.is_valid(row) && matches(pattern))
        };
        holds(&self.included.database, &envelopes.databases)
            && holds(&self.included.table, &envelopes.tables)
    }

    fn check_present(&self, envelopes: &Envelopes, row: usize, from: usize) -> Result<()> {
        let (rows, name) = match from {
            FROM_AFTER => (&envelopes.after, "after"),
            _ => (&envelopes.before, "before"),
        };
        if rows.is_valid(row) {
            return Ok(());
        }
        let what = match from {
            FROM_BEFORE => format!(
                "the \"{name}\" field of a {} is null; if it comes from PostgreSQL, set the table's REPLICA IDENTITY to FULL",
                envelopes.kinds.value(row)
            ),
            _ => format!("the \"{name}\" field is null"),
        };
        Err(self.fault(envelopes, row, &what))
    }

    /// One row, taken whole.
    fn whole(
        &self,
        envelopes: &Envelopes,
        row: usize,
        from: usize,
        kind: RowKind,
        produced: &mut Produced,
    ) -> Result<()> {
        self.check_present(envelopes, row, from)?;
        produced.push(kind, |_| (from, row));
        Ok(())
    }

    /// The places in the rows after the change that belong to the record in `row`.
    fn after_range(&self, envelopes: &Envelopes, row: usize) -> Result<std::ops::Range<usize>> {
        if envelopes.after.is_null(row) {
            return Err(self.fault(envelopes, row, "the \"data\" field is null"));
        }
        Ok(range(&envelopes.after, row))
    }

    fn all_after(
        &self,
        envelopes: &Envelopes,
        row: usize,
        kind: RowKind,
        produced: &mut Produced,
    ) -> Result<()> {
        for place in self.after_range(envelopes, row)? {
            produced.push(kind, |_| (FROM_AFTER, place));
        }
        Ok(())
    }

    /// Updates of which `old` holds only the fields that have changed.
    fn patched(&self, envelopes: &Envelopes, row: usize, produced: &mut Produced) -> Result<()> {
        let after = self.after_range(envelopes, row)?;
        let old = range(&envelopes.before, row);
        let is_complete = envelopes.before.is_valid(row) && old.len() == after.len();
        if !is_complete {
            let what = "the \"old\" field has not as many rows as \"data\"";
            return Err(self.fault(envelopes, row, what));
        }
        let old_rows = rows_of(&envelopes.before);
        for (place, old) in after.zip(old) {
            produced.push(RowKind::UpdateBefore, |column| {
                let presence = old_rows.column(self.num_columns + column);
                match presence.is_valid(old) {
                    true => (FROM_BEFORE, old),
                    false => (FROM_AFTER, place),
                }
            });
            produced.push(RowKind::UpdateAfter, |_| (FROM_AFTER, place));
        }
        Ok(())
    }

    #[cold]
    fn fault(&self, envelopes: &Envelopes, row: usize, what: &str) -> Error {
        let line = match envelopes.lines.get(row) {
            Some(line) if *line > 0 => format!("line {line}: "),
            _ => String::new(),
        };
        let message = format!("{line}not a {} change: {what}", self.format);
        Error::user("MALFORMED_RECORD", message)
    }

    fn columns(&self, envelopes: &Envelopes, produced: &Produced) -> Result<Vec<ArrayRef>> {
        let (after, before) = (rows_of(&envelopes.after), rows_of(&envelopes.before));
        let mut columns = Vec::with_capacity(self.fields.len());
        for (column, path) in &self.fields {
            let mut sides = [
                after.column(*column).clone(),
                before.column(*column).clone(),
            ];
            for side in &mut sides {
                *side = path
                    .iter()
                    .try_fold(side.clone(), |a, &i| into_row(&a, i))?;
            }
            let arrays = [sides[0].as_ref(), sides[1].as_ref()];
            columns.push(interleave(&arrays, &produced.sources[*column])?);
        }
        let rows = UInt32Array::from(produced.envelopes.clone());
        for (place, read) in envelopes.metadata.iter().enumerate() {
            let of_rows = take(read, &rows, None)?;
            columns.push(self.metadata.column(place, &of_rows)?);
        }
        Ok(columns)
    }
}

/// The field `index` of a row column, NULL where the row is.
fn into_row(array: &ArrayRef, index: usize) -> Result<ArrayRef> {
    let rows = array.as_struct();
    let child = rows.column(index);
    match rows.nulls() {
        None => Ok(child.clone()),
        Some(nulls) => {
            let all = arrow::buffer::NullBuffer::union(Some(nulls), child.nulls());
            let data = child.to_data().into_builder().nulls(all).build()?;
            Ok(make_array(data))
        }
    }
}

/// The rows inside a column of rows or of lists of rows.
fn rows_of(array: &ArrayRef) -> &StructArray {
    match array.as_list_opt::<i32>() {
        Some(lists) => lists.values().as_struct(),
        None => array.as_struct(),
    }
}

/// Where the rows of `row` stand in [`rows_of`] the column.
fn range(array: &ArrayRef, row: usize) -> std::ops::Range<usize> {
    match array.as_list_opt::<i32>() {
        Some(lists) => {
            let offsets = lists.value_offsets();
            offsets[row] as usize..offsets[row + 1] as usize
        }
        None => row..row + 1,
    }
}

impl Decoder for ChangeDecoder {
    fn decode_block(&mut self, block: &Buffer, is_last: bool) -> Result<usize> {
        self.inner.decode_block(block, is_last)
    }

    fn decode_message(&mut self, message: &[u8]) -> Result<()> {
        // A tombstone follows a deletion in a compacted topic.
        match message {
            [] => Ok(()),
            _ => self.inner.decode_message(message),
        }
    }

    fn lookahead(&self) -> Option<Box<dyn Lookahead>> {
        self.inner.lookahead()
    }

    fn num_rows(&self) -> usize {
        self.inner.num_rows()
    }

    fn flush(&mut self) -> Result<Option<ChangelogBatch>> {
        let Some(batch) = self.inner.flush()? else {
            return Ok(None);
        };
        let texts = self.inner.take_texts();
        let text = |column: usize| batch.column(column).as_string_view().clone();
        let envelopes = Envelopes {
            after: batch.column(AFTER).clone(),
            before: batch.column(BEFORE).clone(),
            kinds: text(KIND),
            databases: text(DATABASE),
            tables: text(TABLE),
            metadata: batch.rows().columns()[METADATA..].to_vec(),
            lines: self.inner.take_lines(),
        };
        let mut produced = Produced {
            kinds: Vec::with_capacity(batch.num_rows()),
            sources: vec![Vec::new(); self.num_columns],
            ..Produced::default()
        };
        for row in 0..batch.num_rows() {
            produced.envelope = row as u32;
            if let Err(error) = self.change(&envelopes, row, &mut produced) {
                let text = texts.get(row);
                if let (Some(rejected), Some((offset, text))) = (&mut self.rejected, text) {
                    rejected.push(Rejected {
                        offset: *offset,
                        line: envelopes.lines.get(row).copied().unwrap_or(0),
                        raw: text.to_vec(),
                        reason: error.message().to_string(),
                    });
                    continue;
                }
                if !self.ignores_errors {
                    return Err(error);
                }
                self.num_skipped += 1;
            }
        }
        let num_rows = produced.kinds.len();
        if num_rows == 0 {
            return Ok(None);
        }
        let columns = self.columns(&envelopes, &produced)?;
        let options = RecordBatchOptions::new().with_row_count(Some(num_rows));
        let rows = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        Ok(Some(ChangelogBatch::new(rows, Some(produced.kinds.into()))))
    }

    fn num_skipped(&self) -> u64 {
        self.inner.num_skipped() + self.num_skipped
    }

    fn keep_rejected(&mut self) -> bool {
        self.rejected.get_or_insert_default();
        self.inner.keep_texts();
        self.inner.keep_rejected()
    }

    fn take_rejected(&mut self) -> Vec<Rejected> {
        let mut rejected = self.inner.take_rejected();
        if let Some(own) = &mut self.rejected {
            rejected.append(own);
        }
        rejected
    }

    fn set_first_line(&mut self, lines_before: u64) {
        self.inner.set_first_line(lines_before);
    }
}
