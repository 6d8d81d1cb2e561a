//! Reads row groups: the chunks of the wanted columns at once, then batch by batch.

use std::io::Read;
use std::sync::Arc;

use arrow::array::RecordBatchOptions;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use bytes::{Buf, Bytes};
use flott_core::changelog::ChangelogBatch;
use flott_core::format::{DecodeRequest, FileInput, FileReader, FileScan};
use flott_core::text::zone::ZoneCursor;
use flott_core::{Error, Result};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, Length};

use super::UTC_TIMEZONE;
use super::predicates::{Predicate, predicates};
use super::rows::RowRanges;
use super::schema::{hinted, projection};
use super::timestamps::{map_array, to_local, zone_of_files};
use crate::conform::{WantedField, wanted_fields};
use crate::json::flag;
use crate::random_access::{InputRead, guarded, read_bytes};

pub(super) fn malformed(error: ParquetError) -> Error {
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
    open: Option<OpenGroup>,
    /// Rows of the next group that a former reader gave.
    num_skipped: u64,
    /// Rows of the piece's groups that are done with: read, or left out by their statistics.
    num_done: u64,
    /// The zone whose clock the file's timestamps are to show; `None` for UTC.
    zone: Option<ZoneCursor>,
}

/// A row group being read.
struct OpenGroup {
    reader: ParquetRecordBatchReader,
    /// What of it is still to be read.
    rows: RowRanges,
    num_rows: u64,
}

impl ParquetReader {
    pub fn new(request: &DecodeRequest, scan: FileScan) -> Result<Self> {
        let chunks = Chunks {
            input: scan.input.clone(),
            ahead: Arc::default(),
        };
        let pages = match scan.predicates.is_empty() {
            true => PageIndexPolicy::Skip,
            false => PageIndexPolicy::Optional,
        };
        let options = ArrowReaderOptions::new()
            .with_skip_arrow_metadata(true)
            .with_page_index_policy(pages);
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
            num_done: 0,
            zone: zone_of_files(flag(&request.options, &UTC_TIMEZONE)?),
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
            let num_rows = self.group(place)?.num_rows().max(0) as u64;
            let mut rows = self.wanted_rows(place, num_rows)?;
            rows.advance_to(std::mem::take(&mut self.num_skipped));
            if rows.is_empty() {
                self.num_done += num_rows;
                continue;
            }
            let chunks = Chunks {
                input: self.chunks.input.clone(),
                ahead: Arc::new(self.read_ahead(place, &rows, num_rows)?),
            };
            let builder =
                ParquetRecordBatchReaderBuilder::new_with_metadata(chunks, self.metadata.clone())
                    .with_projection(self.projection.clone())
                    .with_row_groups(vec![place])
                    .with_batch_size(self.batch_size);
            let builder = match rows.is_whole(num_rows) {
                true => builder,
                false => builder.with_row_selection(rows.selection(num_rows)),
            };
            let reader = builder.build().map_err(malformed)?;
            self.open = Some(OpenGroup {
                reader,
                rows,
                num_rows,
            });
            return Ok(true);
        }
        Ok(false)
    }

    /// The rows of a group that may hold what is asked for, by the statistics of the group and of
    /// its pages.
    fn wanted_rows(&self, place: usize, num_rows: u64) -> Result<RowRanges> {
        let group = self.group(place)?;
        if self.predicates.iter().any(|p| p.excludes(group)) {
            return Ok(RowRanges::default());
        }
        let mut rows = RowRanges::whole(num_rows);
        for predicate in &self.predicates {
            if let Some(found) = predicate.rows(self.metadata.metadata(), place, num_rows) {
                rows = rows.intersection(&found);
            }
        }
        Ok(rows)
    }

    /// The bytes of a group's wanted columns: a read each, however many pages there are, unless
    /// many of the pages are not wanted.
    fn read_ahead(
        &self,
        place: usize,
        rows: &RowRanges,
        num_rows: u64,
    ) -> Result<Vec<(u64, Bytes)>> {
        let columns = self.group(place)?.columns().iter().enumerate();
        let wanted = columns.filter(|(leaf, _)| self.projection.leaf_included(*leaf));
        let index = self.metadata.metadata().offset_index();
        let index = index.and_then(|groups| groups.get(place));
        let mut ahead = Vec::new();
        for (leaf, column) in wanted {
            // Negative numbers of a damaged file would make the library panic.
            let start = column
                .dictionary_page_offset()
                .unwrap_or(column.data_page_offset());
            let (start, length) = (
                start.min(column.data_page_offset()),
                column.compressed_size(),
            );
            let (Ok(start), Ok(length)) = (u64::try_from(start), u64::try_from(length)) else {
                return Err(malformed(ParquetError::General(
                    "a column chunk without place".into(),
                )));
            };
            let chunk = start..start.saturating_add(length);
            let pages = index.and_then(|leaves| leaves.get(leaf));
            let pages = pages.map_or(&[][..], |pages| pages.page_locations());
            for piece in rows.pieces(chunk, pages, num_rows) {
                let length = usize::try_from(piece.end - piece.start).unwrap_or(usize::MAX);
                ahead.push((piece.start, self.chunks.read(piece.start, length)?));
            }
        }
        ahead.sort_by_key(|(start, _)| *start);
        Ok(ahead)
    }

    fn conformed(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = self.wanted.iter().map(|wanted| {
            let column = wanted.of(batch)?;
            match &mut self.zone {
                None => Ok(column),
                Some(zone) => map_array(&column, &mut |array| to_local(array, zone)),
            }
        });
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
            match open.reader.next() {
                Some(batch) => {
                    let batch = batch
                        .map_err(|error| malformed(ParquetError::General(error.to_string())))?;
                    open.rows.advance(batch.num_rows() as u64);
                    return Ok(Some(ChangelogBatch::insert_only(self.conformed(&batch)?)));
                }
                None => {
                    self.num_done += open.num_rows;
                    self.open = None;
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
        let read = match &self.open {
            Some(open) => open.rows.next_row().unwrap_or(open.num_rows),
            None => self.num_skipped,
        };
        self.num_done + read
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
