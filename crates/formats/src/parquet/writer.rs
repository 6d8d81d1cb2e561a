//! Writes batches into row groups.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::*;
use arrow::record_batch::RecordBatch;
use flott_core::changelog::ChangelogBatch;
use flott_core::format::{EncodeRequest, Encoder};
use flott_core::options::Options;
use flott_core::{Error, Result};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{WriterProperties, WriterVersion};

use super::{
    BLOCK_SIZE, COMPRESSION, DICTIONARY, DICTIONARY_PAGE_SIZE, PAGE_SIZE, TIME_UNIT, WRITER_VERSION,
};
use crate::json::flag;

pub(super) struct ParquetEncoder {
    writer: ArrowWriter<Vec<u8>>,
    schema: SchemaRef,
    /// Of written timestamps; `None` leaves them as they are.
    time_unit: Option<TimeUnit>,
}

fn failed(error: ParquetError) -> Error {
    match error {
        ParquetError::External(error) => Error::external("PARQUET", error.to_string()),
        error => Error::internal(format!("writing Parquet: {error}")),
    }
}

fn properties(options: &Options) -> Result<WriterProperties> {
    let size = |def| -> Result<usize> {
        let bytes = options.memory_size(def)?.unwrap_or(u64::MAX);
        Ok(usize::try_from(bytes).unwrap_or(usize::MAX).max(1))
    };
    let compression = options
        .text(&COMPRESSION)
        .unwrap_or_default()
        .to_uppercase();
    let compression = match compression.as_str() {
        "UNCOMPRESSED" => Compression::UNCOMPRESSED,
        "GZIP" => Compression::GZIP(Default::default()),
        "ZSTD" => Compression::ZSTD(ZstdLevel::default()),
        "LZ4" => Compression::LZ4,
        "LZ4_RAW" => Compression::LZ4_RAW,
        _ => Compression::SNAPPY,
    };
    let version = options.text(&WRITER_VERSION).unwrap_or_default();
    let version = match version.to_lowercase().ends_with(['1', '0']) && !version.contains('2') {
        true => WriterVersion::PARQUET_1_0,
        false => WriterVersion::PARQUET_2_0,
    };
    Ok(WriterProperties::builder()
        .set_compression(compression)
        .set_writer_version(version)
        .set_max_row_group_bytes(Some(size(&BLOCK_SIZE)?))
        .set_data_page_size_limit(size(&PAGE_SIZE)?)
        .set_dictionary_page_size_limit(size(&DICTIONARY_PAGE_SIZE)?)
        .set_dictionary_enabled(flag(options, &DICTIONARY)?)
        .set_created_by(concat!("flott version ", env!("CARGO_PKG_VERSION")).into())
        // Names inside lists and maps as the standard has them.
        .set_coerce_types(true)
        .build())
}

impl ParquetEncoder {
    pub fn new(request: &EncodeRequest) -> Result<Self> {
        let unit = request.options.get(TIME_UNIT.key).map(str::to_lowercase);
        let time_unit = unit.as_deref().map(|unit| match unit {
            "nanos" => TimeUnit::Nanosecond,
            "millis" => TimeUnit::Millisecond,
            _ => TimeUnit::Microsecond,
        });
        let columns = request.schema.columns().iter();
        let fields: Fields = columns
            .map(|c| {
                let arrow = c.data_type.to_arrow();
                Field::new(
                    &c.name,
                    written_type(&arrow, time_unit),
                    c.data_type.nullable,
                )
            })
            .collect();
        let schema = Arc::new(Schema::new(fields));
        let properties = properties(&request.options)?;
        let options = parquet::arrow::arrow_writer::ArrowWriterOptions::new()
            .with_properties(properties)
            .with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(Vec::new(), schema.clone(), options);
        Ok(Self {
            writer: writer.map_err(failed)?,
            schema,
            time_unit,
        })
    }
}

/// The type that is written for one of ours.
fn written_type(arrow: &DataType, unit: Option<TimeUnit>) -> DataType {
    let inner = |field: &FieldRef| {
        let inner = written_type(field.data_type(), unit);
        Arc::new(field.as_ref().clone().with_data_type(inner))
    };
    match arrow {
        DataType::Timestamp(own, zone) => DataType::Timestamp(unit.unwrap_or(*own), zone.clone()),
        DataType::List(item) => DataType::List(inner(item)),
        DataType::Map(entries, sorted) => DataType::Map(inner(entries), *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        other => other.clone(),
    }
}

impl Encoder for ParquetEncoder {
    fn encode_block(&mut self, batch: &ChangelogBatch, out: &mut Vec<u8>) -> Result<()> {
        let columns = batch.rows().columns().iter().zip(self.schema.fields());
        let columns = columns.map(|(column, field)| -> Result<ArrayRef> {
            if !field.is_nullable() && column.null_count() > 0 {
                let message = format!("column '{}' is NOT NULL and holds a NULL", field.name());
                return Err(Error::user("NULL_VALUE", message));
            }
            match self.time_unit {
                None => Ok(column.clone()),
                Some(_) => Ok(arrow::compute::cast(column, field.data_type())?),
            }
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let rows = RecordBatch::try_new(self.schema.clone(), columns)?;
        self.writer.write(&rows).map_err(failed)?;
        // What is complete; the rest stays with the writer.
        out.append(self.writer.inner_mut());
        Ok(())
    }

    fn encode_messages(
        &mut self,
        _batch: &ChangelogBatch,
        _out: &mut Vec<u8>,
        _ends: &mut Vec<usize>,
    ) -> Result<()> {
        Err(crate::conform::only_files("parquet"))
    }

    fn finish_file(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.writer.finish().map_err(failed)?;
        out.append(self.writer.inner_mut());
        Ok(())
    }
}
