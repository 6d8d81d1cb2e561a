//! Writes batches into row groups.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::*;
use arrow::record_batch::RecordBatch;
use flott_core::changelog::ChangelogBatch;
use flott_core::format::{EncodeRequest, Encoder};
use flott_core::text::zone::ZoneCursor;
use flott_core::{Error, Result};
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;

use super::UTC_TIMEZONE;
use super::int96::rewrite_footer;
use super::settings::{WrittenTimestamps, properties};
use super::timestamps::{
    INT96_BYTES, has_timestamps, map_array, map_type, to_int96, to_unit, to_utc, zone_of_files,
};
use crate::json::flag;

pub(super) struct ParquetEncoder {
    writer: ArrowWriter<Vec<u8>>,
    schema: SchemaRef,
    timestamps: WrittenTimestamps,
    /// The zone whose clock the table's timestamps show; `None` for UTC.
    zone: Option<ZoneCursor>,
    has_int96: bool,
}

fn failed(error: ParquetError) -> Error {
    match error {
        ParquetError::External(error) => Error::external("PARQUET", error.to_string()),
        error => Error::internal(format!("writing Parquet: {error}")),
    }
}

impl ParquetEncoder {
    /// # Errors
    /// A user error for a wrong option.
    pub fn new(request: &EncodeRequest) -> Result<Self> {
        let timestamps = WrittenTimestamps::new(&request.options)?;
        let columns = request.schema.columns().iter();
        let mut has_timestamps_in = false;
        let fields: Fields = columns
            .map(|c| {
                let arrow = c.data_type.to_arrow();
                has_timestamps_in |= has_timestamps(&arrow);
                let written = map_type(&arrow, &|_| timestamps.data_type());
                Field::new(&c.name, written, c.data_type.nullable)
            })
            .collect();
        let schema = Arc::new(Schema::new(fields));
        let options = parquet::arrow::arrow_writer::ArrowWriterOptions::new()
            .with_properties(properties(&request.options, &schema)?)
            .with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(Vec::new(), schema.clone(), options);
        Ok(Self {
            writer: writer.map_err(failed)?,
            schema,
            zone: zone_of_files(flag(&request.options, &UTC_TIMEZONE)?),
            has_int96: has_timestamps_in && timestamps == WrittenTimestamps::Int96,
            timestamps,
        })
    }

    /// The column as it is written.
    fn written(&mut self, column: &ArrayRef) -> Result<ArrayRef> {
        let (timestamps, zone) = (self.timestamps, &mut self.zone);
        map_array(column, &mut |array| {
            let moved = match zone {
                None => array.clone(),
                Some(zone) => to_utc(array, zone)?,
            };
            match timestamps {
                WrittenTimestamps::Int96 => to_int96(&moved),
                WrittenTimestamps::Int64(unit) => to_unit(&moved, unit),
            }
        })
    }
}

impl WrittenTimestamps {
    /// What stands for one in the schema that is written.
    fn data_type(self) -> DataType {
        match self {
            Self::Int96 => DataType::FixedSizeBinary(INT96_BYTES),
            Self::Int64(unit) => DataType::Timestamp(unit, None),
        }
    }
}

impl Encoder for ParquetEncoder {
    fn encode_block(&mut self, batch: &ChangelogBatch, out: &mut Vec<u8>) -> Result<()> {
        let schema = self.schema.clone();
        let columns = batch.rows().columns().iter().zip(schema.fields());
        let columns = columns.map(|(column, field)| -> Result<ArrayRef> {
            if !field.is_nullable() && column.null_count() > 0 {
                let message = format!("column '{}' is NOT NULL and holds a NULL", field.name());
                return Err(Error::user("NULL_VALUE", message));
            }
            self.written(column)
                .map_err(|error| error.context(format!("column '{}'", field.name())))
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let rows = RecordBatch::try_new(schema.clone(), columns)?;
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
        let metadata = self.writer.finish().map_err(failed)?;
        out.append(self.writer.inner_mut());
        match self.has_int96 {
            true => rewrite_footer(&metadata, out),
            false => Ok(()),
        }
    }
}
