//! What of a file's schema is read, and as what.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use flott_core::Result;
use flott_core::format::DecodeRequest;
use flott_core::types::LogicalType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::basic::Type as Physical;
use parquet::schema::types::SchemaDescriptor;

use super::reader::malformed;
use crate::conform::WantedField;

/// The columns of the file that hold wanted fields.
pub(super) fn projection(schema: &SchemaDescriptor, wanted: &[WantedField]) -> ProjectionMask {
    let leaves = schema.columns().iter().enumerate().filter(|(_, column)| {
        let parts = column.path().parts();
        wanted.iter().any(|w| parts.starts_with(&w.names))
    });
    ProjectionMask::leaves(schema, leaves.map(|(leaf, _)| leaf).collect::<Vec<_>>())
}

/// The same metadata, so that INT96 is read in the unit of the table's type: nanoseconds would
/// hold only the years from 1677 to 2262.
///
/// # Errors
/// A user error for a schema that cannot be read.
pub(super) fn hinted(
    metadata: ArrowReaderMetadata,
    request: &DecodeRequest,
) -> Result<ArrowReaderMetadata> {
    let leaves = metadata.parquet_schema().columns().iter();
    let mut leaves = leaves.map(|leaf| leaf.physical_type() == Physical::INT96);
    if !leaves.clone().any(|is_int96| is_int96) {
        return Ok(metadata);
    }
    let fields = metadata.schema().fields().iter().map(|field| {
        let column = request.schema.index_of(field.name());
        let column = column.map(|c| &request.schema.column(c).data_type.logical);
        hint(field, column, &mut leaves)
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let options = ArrowReaderOptions::new()
        .with_skip_arrow_metadata(true)
        .with_schema(schema);
    ArrowReaderMetadata::try_new(metadata.metadata().clone(), options).map_err(malformed)
}

/// The field with the units that the table wants; `leaves` says of each leaf whether it is INT96.
fn hint(
    field: &FieldRef,
    wanted: Option<&LogicalType>,
    leaves: &mut dyn Iterator<Item = bool>,
) -> FieldRef {
    let with_type = |data_type| Arc::new(Field::clone(field).with_data_type(data_type));
    match field.data_type() {
        DataType::Struct(fields) => {
            let fields = fields.iter().enumerate().map(|(place, inner)| {
                hint(
                    inner,
                    wanted.and_then(|w| inside(w, place, inner.name())),
                    leaves,
                )
            });
            with_type(DataType::Struct(fields.collect()))
        }
        DataType::List(item) => {
            let wanted = wanted.and_then(|w| match w {
                LogicalType::Array(item) => Some(&item.logical),
                _ => None,
            });
            with_type(DataType::List(hint(item, wanted, leaves)))
        }
        DataType::Map(entries, sorted) => {
            // The table's type leads into the entries: they are a key and a value.
            with_type(DataType::Map(hint(entries, wanted, leaves), *sorted))
        }
        _ => {
            let is_int96 = leaves.next().unwrap_or(false);
            match wanted.map(LogicalType::to_arrow) {
                Some(DataType::Timestamp(unit, _)) if is_int96 => {
                    with_type(DataType::Timestamp(unit, None))
                }
                _ => field.clone(),
            }
        }
    }
}

/// The type of a row's field, or of a map's key or value.
fn inside<'a>(wanted: &'a LogicalType, place: usize, name: &str) -> Option<&'a LogicalType> {
    match wanted {
        LogicalType::Row(fields) => {
            let field = fields.iter().find(|field| field.name == name);
            field.map(|field| &field.data_type.logical)
        }
        LogicalType::Map(key, _) if place == 0 => Some(&key.logical),
        LogicalType::Map(_, value) => Some(&value.logical),
        LogicalType::Multiset(item) if place == 0 => Some(&item.logical),
        _ => None,
    }
}
