//! Reads the stripes of a piece of a file, batch by batch.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatchOptions};
use arrow::buffer::Buffer;
use arrow::datatypes::{Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use flott_core::changelog::ChangelogBatch;
use flott_core::format::{DecodeRequest, FileInput, FileReader, FileScan};
use flott_core::source::{FieldPredicate, PredicateValue};
use flott_core::text::zone::ZoneCursor;
use flott_core::types::{LogicalType, arrow_time_unit};
use flott_core::{Error, Result};

use super::column::{ColumnReader, StripeColumns};
use super::compression::Stream;
use super::damaged;
use super::tail::{
    Kind, Range, StreamInfo, StreamKind, StripeFooter, StripeInfo, Tail, Type, stream_bytes,
};
use crate::conform::{WantedField, wanted_fields};
use crate::statistics::comparable;

/// Streams that are so near to each other are read at once.
const MAX_GAP_BYTES: u64 = 64 << 10;

/// Reads the stripes of a piece of a file.
pub(super) struct OrcReader {
    input: Arc<dyn FileInput>,
    tail: Tail,
    selection: Selection,
    wanted: Vec<WantedField>,
    schema: SchemaRef,
    batch_size: usize,
    /// Predicates by column of the file.
    predicates: Vec<(usize, Vec<PredicateValue>)>,
    /// The stripes of the piece that are still to be read.
    stripes: std::vec::IntoIter<usize>,
    open: Option<OpenStripe>,
    /// Rows of the next stripe that a former reader gave.
    num_skipped: u64,
    /// Rows of the piece that are done with: read, or left out by their statistics.
    num_done: u64,
}

/// What is read of the file's columns, by their numbers.
struct Selection {
    wanted: Vec<bool>,
    units: Vec<TimeUnit>,
}

struct OpenStripe {
    columns: Vec<(String, ColumnReader)>,
    num_rows: u64,
    num_read: u64,
}

impl Selection {
    fn new(types: &[Type], wanted: &[WantedField]) -> Self {
        let mut selection = Self {
            wanted: vec![false; types.len()],
            units: vec![TimeUnit::Microsecond; types.len()],
        };
        for field in wanted {
            selection.add(types, 0, &field.names, &field.data_type.logical);
        }
        selection
    }

    /// Adds what stands at `names` inside `column`.
    fn add(&mut self, types: &[Type], column: usize, names: &[String], logical: &LogicalType) {
        self.wanted[column] = true;
        let Some((name, rest)) = names.split_first() else {
            return self.add_whole(types, column, logical);
        };
        match child_named(&types[column], name) {
            Some(child) => self.add(types, child, rest, logical),
            None => self.add_counted(types, column),
        }
    }

    /// Adds what a value of this type needs of `column`.
    fn add_whole(&mut self, types: &[Type], column: usize, logical: &LogicalType) {
        self.wanted[column] = true;
        let parent = &types[column];
        match (parent.kind, logical) {
            (Kind::Struct, LogicalType::Row(fields)) => {
                for field in fields.iter() {
                    if let Some(child) = child_named(parent, &field.name) {
                        self.add_whole(types, child, &field.data_type.logical);
                    }
                }
                self.add_counted(types, column);
            }
            (Kind::List, LogicalType::Array(item)) => {
                self.add_whole(types, parent.children[0], &item.logical);
            }
            (Kind::Map, LogicalType::Map(key, value)) => {
                self.add_whole(types, parent.children[0], &key.logical);
                self.add_whole(types, parent.children[1], &value.logical);
            }
            (Kind::Map, LogicalType::Multiset(item)) => {
                self.add_whole(types, parent.children[0], &item.logical);
                self.add_whole(types, parent.children[1], &LogicalType::Int);
            }
            (_, LogicalType::Timestamp(precision) | LogicalType::TimestampLtz(precision)) => {
                self.units[column] = arrow_time_unit(*precision);
            }
            // Types that do not fit are refused once their values are there.
            _ => parent
                .children
                .iter()
                .for_each(|child| self.add_whole(types, *child, &LogicalType::Null)),
        }
    }

    /// Makes sure that something in a struct is read: what holds no bytes could claim any number of
    /// rows.
    fn add_counted(&mut self, types: &[Type], column: usize) {
        let children = &types[column].children;
        if column > 0
            && !children.iter().any(|child| self.wanted[*child])
            && let Some(first) = children.first()
        {
            self.add_whole(types, *first, &LogicalType::Null);
        }
    }
}

/// Hive once wrote columns without their names.
fn has_no_names(parent: &Type) -> bool {
    parent
        .names
        .iter()
        .enumerate()
        .all(|(place, name)| name.strip_prefix("_col").and_then(|n| n.parse().ok()) == Some(place))
}

fn child_named(parent: &Type, name: &str) -> Option<usize> {
    let place = parent.names.iter().position(|n| n == name)?;
    parent.children.get(place).copied()
}

/// Gives columns without names those of the table.
fn name_columns(types: &mut [Type], request: &DecodeRequest) {
    if let Some(root) = types.first_mut()
        && has_no_names(root)
    {
        for (name, column) in root.names.iter_mut().zip(request.schema.columns()) {
            name.clone_from(&column.name);
        }
    }
}

impl OrcReader {
    pub fn new(request: &DecodeRequest, scan: FileScan) -> Result<Self> {
        let wanted = wanted_fields(request)?;
        let mut tail = Tail::read(scan.input.as_ref())?;
        name_columns(&mut tail.types, request);
        let in_piece = tail
            .stripes
            .iter()
            .enumerate()
            .filter(|(_, stripe)| stripe.offset >= scan.start && stripe.offset < scan.end);
        let stripes: Vec<usize> = in_piece.map(|(place, _)| place).collect();
        let fields = wanted
            .iter()
            .map(|w| w.data_type.to_field(&w.names.join(".")));
        let mut reader = Self {
            selection: Selection::new(&tail.types, &wanted),
            predicates: predicates(&scan.predicates, request, &tail.types),
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            batch_size: request.batch_size.max(1),
            stripes: stripes.into_iter(),
            input: scan.input,
            open: None,
            num_skipped: 0,
            num_done: 0,
            wanted,
            tail,
        };
        reader.go_to(scan.position.unwrap_or(0));
        Ok(reader)
    }

    /// Steps over the first rows of the piece.
    fn go_to(&mut self, num_rows: u64) {
        while let Some(place) = self.stripes.as_slice().first() {
            let in_stripe = self.tail.stripes[*place].num_rows;
            if self.num_done + in_stripe > num_rows {
                self.num_skipped = num_rows - self.num_done;
                return;
            }
            self.stripes.next();
            self.num_done += in_stripe;
        }
    }

    /// Opens the next stripe that may hold wanted rows; false when there is none.
    fn open_next(&mut self) -> Result<bool> {
        while let Some(place) = self.stripes.next() {
            let stripe = &self.tail.stripes[place];
            if self
                .predicates
                .iter()
                .any(|(c, values)| excludes(stripe, *c, values))
            {
                self.num_done += stripe.num_rows;
                self.num_skipped = 0;
                continue;
            }
            self.open = Some(OpenStripe {
                columns: self.columns(stripe)?,
                num_rows: stripe.num_rows,
                num_read: 0,
            });
            return Ok(true);
        }
        Ok(false)
    }

    /// The readers of a stripe's wanted columns.
    fn columns(&self, stripe: &StripeInfo) -> Result<Vec<(String, ColumnReader)>> {
        if self.wanted.is_empty() {
            return Ok(Vec::new());
        }
        let footer = StripeFooter::read(self.input.as_ref(), &self.tail, stripe)?;
        let wanted = |info: &&StreamInfo| self.selection.wanted.get(info.column) == Some(&true);
        let streams: Vec<StreamInfo> = footer.streams.iter().filter(wanted).copied().collect();
        let pieces = self.read_streams(&streams)?;
        let zone = match footer.zone.as_deref() {
            None | Some("") => None,
            Some(name) => {
                let unknown = || damaged(format!("unknown time zone '{name}'"));
                Some(ZoneCursor::named(name).ok_or_else(unknown)?)
            }
        };
        let stream = |column: usize, kind: StreamKind| {
            let info = streams
                .iter()
                .find(|s| s.column == column && s.kind == kind);
            let Some(info) = info else {
                return Ok(None);
            };
            let bytes = stream_bytes(&pieces, info);
            let bytes = bytes.ok_or_else(|| Error::internal("a stream that was not read"))?;
            Ok(Some(Stream::new(bytes, self.tail.compression)))
        };
        let columns = StripeColumns {
            types: &self.tail.types,
            wanted: &self.selection.wanted,
            units: &self.selection.units,
            encodings: &footer.encodings,
            zone,
            stream: &stream,
        };
        columns.fields(0)
    }

    /// The bytes of streams, neighbours at once; offsets and bytes.
    fn read_streams(&self, streams: &[StreamInfo]) -> Result<Vec<(u64, Buffer)>> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for stream in streams {
            let (start, end) = (stream.offset, stream.offset + stream.length as u64);
            match ranges.last_mut() {
                Some(last) if start <= last.1 + MAX_GAP_BYTES => last.1 = end,
                _ => ranges.push((start, end)),
            }
        }
        let read = |(start, end): (u64, u64)| {
            let bytes = self.input.read_range(start, (end - start) as usize)?;
            Ok((start, bytes))
        };
        ranges.into_iter().map(read).collect()
    }

    /// The next rows of the open stripe; `None` at its end.
    fn next_rows(&mut self) -> Result<Option<RecordBatch>> {
        let Some(open) = &mut self.open else {
            return Ok(None);
        };
        let left = open.num_rows - open.num_read;
        if left == 0 {
            return Ok(None);
        }
        let num_rows = left.min(self.batch_size as u64) as usize;
        let (mut arrays, mut fields) = (Vec::new(), Vec::new());
        for (name, reader) in &mut open.columns {
            let array = reader
                .read(num_rows, None)
                .map_err(|error| error.context(format!("column '{name}'")))?;
            fields.push(Field::new(name.as_str(), array.data_type().clone(), true));
            arrays.push(array);
        }
        open.num_read += num_rows as u64;
        let options = RecordBatchOptions::new().with_row_count(Some(num_rows));
        let schema = Arc::new(Schema::new(fields));
        let batch = RecordBatch::try_new_with_options(schema, arrays, &options)?;
        Ok(Some(batch))
    }

    fn conformed(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = self.wanted.iter().map(|wanted| wanted.of(batch));
        let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let schema = self.schema.clone();
        Ok(RecordBatch::try_new_with_options(
            schema, columns, &options,
        )?)
    }
}

impl FileReader for OrcReader {
    fn next_batch(&mut self) -> Result<Option<ChangelogBatch>> {
        loop {
            if self.open.is_none() && !self.open_next()? {
                return Ok(None);
            }
            let Some(batch) = self.next_rows()? else {
                self.open = None;
                continue;
            };
            let num_rows = batch.num_rows() as u64;
            self.num_done += num_rows;
            let skipped = self.num_skipped.min(num_rows);
            self.num_skipped -= skipped;
            if skipped < num_rows {
                let batch = batch.slice(skipped as usize, (num_rows - skipped) as usize);
                return Ok(Some(ChangelogBatch::insert_only(self.conformed(&batch)?)));
            }
        }
    }

    fn position(&self) -> u64 {
        self.num_done + self.num_skipped
    }
}

/// The predicates on columns that the file compares as SQL does.
fn predicates(
    offered: &[FieldPredicate],
    request: &DecodeRequest,
    types: &[Type],
) -> Vec<(usize, Vec<PredicateValue>)> {
    let usable = comparable(offered, request).filter_map(|(name, values)| {
        let child = child_named(types.first()?, name)?;
        Some((child, values.to_vec()))
    });
    usable.collect()
}

/// Whether no row of the stripe can have one of the values.
fn excludes(stripe: &StripeInfo, column: usize, values: &[PredicateValue]) -> bool {
    let range = stripe.ranges.get(column).unwrap_or(&Range::Unknown);
    values.iter().all(|value| match (value, range) {
        (PredicateValue::Integer(value), Range::Integers(least, greatest)) => {
            value < least || value > greatest
        }
        (PredicateValue::Text(value), Range::Texts(least, greatest)) => {
            value.as_bytes() < least.as_slice() || value.as_bytes() > greatest.as_slice()
        }
        _ => false,
    })
}
