//! Reads row groups: the chunks of the wanted columns at once, then batch by batch.

use std::io::Read;
use std::sync::Arc;

use arrow::array::RecordBatchOptions;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use bytes::{Buf, Bytes};
use flott_core::changelog::ChangelogBatch;
use flott_core::format::{DecodeRequest, FileInput, FileReader, FileScan};
use flott_core::source::{FieldPredicate, PredicateValue};
use flott_core::{Error, Result};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::basic::Type as Physical;
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::statistics::Statistics;
use parquet::schema::types::SchemaDescriptor;

use crate::conform::{WantedField, wanted_fields};
use crate::random_access::{InputRead, guarded, read_bytes};
use crate::statistics::comparable;

fn malformed(error: ParquetError) -> Error {
    let message = match error {
        ParquetError::External(source) => match source.downcast::<Error>() {
            Ok(error) => return *error,
            Err(source) => source.to_string(),
        },
        error => error.to_string(),
    };
    Error::user(
        "MALFORMED_FILE",
        format!("not a Parquet file, or a damaged one: {message}"),
    )
}

fn external(error: Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

/// A file, with the pieces of it that have been read ahead.
#[derive(Clone)]
struct Chunks {
    input: Arc<dyn FileInput>,
    /// Offset and bytes, by offset.
    ahead: Arc<Vec<(u64, Bytes)>>,
}

impl Chunks {
    fn held(&self, start: u64) -> Option<Bytes> {
        let place = self.ahead.partition_point(|(offset, _)| *offset <= start);
        let (offset, bytes) = self.ahead.get(place.checked_sub(1)?)?;
        let from = (start - offset) as usize;
        (from < bytes.len()).then(|| bytes.slice(from..))
    }

    fn read(&self, start: u64, length: usize) -> Result<Bytes> {
        read_bytes(self.input.as_ref(), start, length)
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.input.size_bytes()
    }
}

impl ChunkReader for Chunks {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> Result<Box<dyn Read>, ParquetError> {
        let held = self.held(start).unwrap_or_default();
        let rest = InputRead::buffered(self.input.clone(), start + held.len() as u64);
        Ok(Box::new(held.reader().chain(rest)))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        match self.held(start) {
            Some(bytes) if bytes.len() >= length => Ok(bytes.slice(..length)),
            _ => self.read(start, length).map_err(external),
        }
    }
}

/// Reads the row groups of a piece of a file.
pub(super) struct ParquetReader {
    chunks: Chunks,
    metadata: ArrowReaderMetadata,
    wanted: Vec<WantedField>,
    projection: ProjectionMask,
    schema: SchemaRef,
    batch_size: usize,
    predicates: Vec<Predicate>,
    /// The row groups of the piece that are still to be read.
    groups: std::vec::IntoIter<usize>,
    open: Option<ParquetRecordBatchReader>,
    /// Rows of the open group that a former reader gave.
    num_skipped: u64,
    /// Rows of the open group, and how many of them are read.
    group_rows: u64,
    group_read: u64,
    /// Rows of the piece's groups that are done with: read, or left out by their statistics.
    num_done: u64,
}

impl ParquetReader {
    pub fn new(request: &DecodeRequest, scan: FileScan) -> Result<Self> {
        let chunks = Chunks {
            input: scan.input.clone(),
            ahead: Arc::default(),
        };
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let metadata = ArrowReaderMetadata::load(&chunks, options).map_err(malformed)?;
        let wanted = wanted_fields(request)?;
        let metadata = hinted(metadata, request)?;
        let fields = wanted
            .iter()
            .map(|w| w.data_type.to_field(&w.names.join(".")));
        let groups = metadata.metadata().row_groups().iter().enumerate();
        let in_piece = groups.filter(|(_, group)| {
            let start = group_start(group);
            start >= scan.start && start < scan.end
        });
        let mut reader = Self {
            projection: projection(metadata.parquet_schema(), &wanted),
            predicates: predicates(&scan.predicates, request, metadata.parquet_schema()),
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            batch_size: request.batch_size.max(1),
            groups: in_piece
                .map(|(place, _)| place)
                .collect::<Vec<_>>()
                .into_iter(),
            open: None,
            num_skipped: 0,
            group_rows: 0,
            group_read: 0,
            num_done: 0,
            wanted,
            metadata,
            chunks,
        };
        reader.go_to(scan.position.unwrap_or(0))?;
        Ok(reader)
    }

    /// Steps over the first rows of the piece.
    fn go_to(&mut self, num_rows: u64) -> Result<()> {
        while self.num_done < num_rows {
            let Some(group) = self.groups.as_slice().first().copied() else {
                return Ok(());
            };
            let group_rows = self.group(group)?.num_rows().max(0) as u64;
            if self.num_done + group_rows > num_rows {
                self.num_skipped = num_rows - self.num_done;
                return Ok(());
            }
            self.groups.next();
            self.num_done += group_rows;
        }
        Ok(())
    }

    fn group(&self, place: usize) -> Result<&RowGroupMetaData> {
        let groups = self.metadata.metadata().row_groups();
        groups
            .get(place)
            .ok_or_else(|| Error::internal("no such row group"))
    }

    /// Opens the next group that may hold wanted rows; false when there is none.
    fn open_next(&mut self) -> Result<bool> {
        while let Some(place) = self.groups.next() {
            let group = self.group(place)?;
            let group_rows = group.num_rows().max(0) as u64;
            let is_excluded = self.predicates.iter().any(|p| p.excludes(group));
            self.group_rows = group_rows;
            if is_excluded {
                self.num_done += self.group_rows;
                self.num_skipped = 0;
                continue;
            }
            let ahead = self.read_ahead(place)?;
            let chunks = Chunks {
                input: self.chunks.input.clone(),
                ahead: Arc::new(ahead),
            };
            let builder =
                ParquetRecordBatchReaderBuilder::new_with_metadata(chunks, self.metadata.clone());
            let reader = builder
                .with_projection(self.projection.clone())
                .with_row_groups(vec![place])
                .with_batch_size(self.batch_size)
                .with_offset(self.num_skipped as usize)
                .build()
                .map_err(malformed)?;
            self.group_read = std::mem::take(&mut self.num_skipped);
            self.open = Some(reader);
            return Ok(true);
        }
        Ok(false)
    }

    /// The bytes of a group's wanted columns: a read each, however many pages there are.
    fn read_ahead(&self, place: usize) -> Result<Vec<(u64, Bytes)>> {
        let columns = self.group(place)?.columns().iter().enumerate();
        let wanted = columns.filter(|(leaf, _)| self.projection.leaf_included(*leaf));
        let mut ahead = Vec::new();
        for (_, column) in wanted {
            // Negative numbers of a damaged file would make the library panic.
            let start = column
                .dictionary_page_offset()
                .unwrap_or(column.data_page_offset());
            let (start, length) = (
                start.min(column.data_page_offset()),
                column.compressed_size(),
            );
            let (Ok(start), Ok(length)) = (u64::try_from(start), usize::try_from(length)) else {
                return Err(malformed(ParquetError::General(
                    "a column chunk without place".into(),
                )));
            };
            ahead.push((start, self.chunks.read(start, length)?));
        }
        ahead.sort_by_key(|(start, _)| *start);
        Ok(ahead)
    }

    fn conformed(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = self.wanted.iter().map(|wanted| wanted.of(batch));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(
            self.schema.clone(),
            columns,
            &options,
        )?)
    }
}

impl ParquetReader {
    fn next(&mut self) -> Result<Option<ChangelogBatch>> {
        loop {
            let Some(open) = &mut self.open else {
                match self.open_next()? {
                    true => continue,
                    false => return Ok(None),
                }
            };
            match open.next() {
                Some(batch) => {
                    let batch = batch
                        .map_err(|error| malformed(ParquetError::General(error.to_string())))?;
                    self.group_read += batch.num_rows() as u64;
                    return Ok(Some(ChangelogBatch::insert_only(self.conformed(&batch)?)));
                }
                None => {
                    self.open = None;
                    self.num_done += self.group_rows;
                    self.group_read = 0;
                }
            }
        }
    }
}

impl FileReader for ParquetReader {
    fn next_batch(&mut self) -> Result<Option<ChangelogBatch>> {
        guarded("parquet", || self.next())
    }

    fn position(&self) -> u64 {
        self.num_done + self.group_read + self.num_skipped
    }
}

/// Where a row group begins.
fn group_start(group: &RowGroupMetaData) -> u64 {
    let starts = group.columns().iter().map(|column| {
        let data = column.data_page_offset();
        data.min(column.dictionary_page_offset().unwrap_or(data))
    });
    starts
        .min()
        .and_then(|start| u64::try_from(start).ok())
        .unwrap_or(0)
}

/// The columns of the file that hold wanted fields.
fn projection(schema: &SchemaDescriptor, wanted: &[WantedField]) -> ProjectionMask {
    let leaves = schema.columns().iter().enumerate().filter(|(_, column)| {
        let parts = column.path().parts();
        wanted.iter().any(|w| parts.starts_with(&w.names))
    });
    ProjectionMask::leaves(schema, leaves.map(|(leaf, _)| leaf).collect::<Vec<_>>())
}

/// The same metadata, so that INT96 is read in the unit of the table's column: nanoseconds would
/// hold only the years from 1677 to 2262.
fn hinted(metadata: ArrowReaderMetadata, request: &DecodeRequest) -> Result<ArrowReaderMetadata> {
    let roots = metadata
        .parquet_schema()
        .root_schema()
        .get_fields()
        .to_vec();
    let mut is_hinted = false;
    let fields = metadata.schema().fields().iter().map(|field| {
        let root = roots.iter().find(|root| root.name() == field.name());
        let is_int96 =
            root.is_some_and(|r| r.is_primitive() && r.get_physical_type() == Physical::INT96);
        let column = request
            .schema
            .index_of(field.name())
            .map(|c| request.schema.column(c));
        let unit = column.map(|c| c.data_type.to_arrow());
        match unit {
            Some(DataType::Timestamp(unit, _)) if is_int96 && unit != TimeUnit::Nanosecond => {
                is_hinted = true;
                Field::new(
                    field.name(),
                    DataType::Timestamp(unit, None),
                    field.is_nullable(),
                )
                .into()
            }
            _ => field.clone(),
        }
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    if !is_hinted {
        return Ok(metadata);
    }
    let options = ArrowReaderOptions::new()
        .with_skip_arrow_metadata(true)
        .with_schema(schema);
    ArrowReaderMetadata::try_new(metadata.metadata().clone(), options).map_err(malformed)
}

/// What a row group's statistics can be held against.
struct Predicate {
    leaf: usize,
    values: Vec<PredicateValue>,
}

/// The predicates on columns that the file holds as they are compared.
fn predicates(
    offered: &[FieldPredicate],
    request: &DecodeRequest,
    schema: &SchemaDescriptor,
) -> Vec<Predicate> {
    let usable = comparable(offered, request).filter_map(|(name, values)| {
        let leaf = schema.columns().iter().position(|leaf| {
            leaf.path().parts().len() == 1 && leaf.name() == name && leaf.max_rep_level() == 0
        })?;
        let values = values.to_vec();
        Some(Predicate { leaf, values })
    });
    usable.collect()
}

impl Predicate {
    /// Whether no row of the group can have one of the values.
    fn excludes(&self, group: &RowGroupMetaData) -> bool {
        let statistics = group.columns().get(self.leaf).and_then(|c| c.statistics());
        statistics.is_some_and(|statistics| {
            self.values
                .iter()
                .all(|value| is_outside(value, statistics) == Some(true))
        })
    }
}

/// Whether the value is outside of the range; `None` when that cannot be told.
fn is_outside(value: &PredicateValue, statistics: &Statistics) -> Option<bool> {
    match (value, statistics) {
        (PredicateValue::Integer(value), Statistics::Int32(range)) => {
            let (min, max) = (i64::from(*range.min_opt()?), i64::from(*range.max_opt()?));
            Some(*value < min || *value > max)
        }
        (PredicateValue::Integer(value), Statistics::Int64(range)) => {
            Some(value < range.min_opt()? || value > range.max_opt()?)
        }
        (PredicateValue::Text(value), Statistics::ByteArray(range)) => {
            let (min, max) = (range.min_opt()?.data(), range.max_opt()?.data());
            Some(value.as_bytes() < min || value.as_bytes() > max)
        }
        _ => None,
    }
}
