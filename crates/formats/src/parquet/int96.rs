//! Writes INT96, which the library reads and does not write.
//!
//! Pages of INT96 values look like those of byte strings of 12 bytes. So the columns are written as
//! such strings, plainly and without statistics, and the footer then says what they are.

use std::sync::Arc;

use flott_core::Error;
use parquet::basic::{ConvertedType, Type as Physical};
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMetaData, FileMetaData, ParquetMetaData, ParquetMetaDataWriter, RowGroupMetaData,
};
use parquet::schema::types::{ColumnDescPtr, SchemaDescPtr, SchemaDescriptor, Type, TypePtr};

use super::timestamps::INT96_BYTES;

/// What stands behind the footer: its length and the file's magic number.
const TAIL_BYTES: usize = 8;

/// Whether a type of a written schema stands for INT96.
pub(super) fn stands_for_int96(node: &Type) -> bool {
    let Type::PrimitiveType {
        physical_type,
        type_length,
        ..
    } = node
    else {
        return false;
    };
    let info = node.get_basic_info();
    *physical_type == Physical::FIXED_LEN_BYTE_ARRAY
        && *type_length == INT96_BYTES
        && info.logical_type_ref().is_none()
        && info.converted_type() == ConvertedType::NONE
}

/// The schema with INT96 where it is meant.
fn with_int96(node: &TypePtr) -> Result<TypePtr, ParquetError> {
    let info = node.get_basic_info();
    if stands_for_int96(node) {
        let builder = Type::primitive_type_builder(node.name(), Physical::INT96);
        return Ok(Arc::new(
            builder.with_repetition(info.repetition()).build()?,
        ));
    }
    if node.is_primitive() {
        return Ok(node.clone());
    }
    let fields = node.get_fields().iter().map(with_int96);
    let mut builder = Type::group_type_builder(node.name())
        .with_converted_type(info.converted_type())
        .with_logical_type(info.logical_type_ref().cloned())
        .with_fields(fields.collect::<Result<_, _>>()?);
    // The root has none.
    if info.has_repetition() {
        builder = builder.with_repetition(info.repetition());
    }
    Ok(Arc::new(builder.build()?))
}

/// The description of a column chunk, of the type that the schema has now.
fn chunk(
    column: &ColumnChunkMetaData,
    descriptor: ColumnDescPtr,
) -> Result<ColumnChunkMetaData, ParquetError> {
    if descriptor.physical_type() == column.column_type() {
        return Ok(column.clone());
    }
    let mut builder = ColumnChunkMetaData::builder(descriptor)
        .set_encodings_mask(*column.encodings_mask())
        .set_num_values(column.num_values())
        .set_compression_codec(column.compression_codec())
        .set_total_compressed_size(column.compressed_size())
        .set_total_uncompressed_size(column.uncompressed_size())
        .set_data_page_offset(column.data_page_offset())
        .set_dictionary_page_offset(column.dictionary_page_offset())
        .set_bloom_filter_offset(column.bloom_filter_offset())
        .set_bloom_filter_length(column.bloom_filter_length())
        .set_offset_index_offset(column.offset_index_offset())
        .set_offset_index_length(column.offset_index_length());
    if let Some(statistics) = column.page_encoding_stats() {
        builder = builder.set_page_encoding_stats(statistics.clone());
    }
    builder.build()
}

fn row_group(
    group: &RowGroupMetaData,
    schema: &SchemaDescPtr,
) -> Result<RowGroupMetaData, ParquetError> {
    let columns = group.columns().iter().zip(schema.columns());
    let columns = columns.map(|(column, descriptor)| chunk(column, descriptor.clone()));
    let mut builder = RowGroupMetaData::builder(schema.clone())
        .set_num_rows(group.num_rows())
        .set_total_byte_size(group.total_byte_size())
        .set_sorting_columns(group.sorting_columns().cloned())
        .set_column_metadata(columns.collect::<Result<_, _>>()?);
    if let Some(ordinal) = group.ordinal() {
        builder = builder.set_ordinal(ordinal);
    }
    if let Some(offset) = group.file_offset() {
        builder = builder.set_file_offset(offset);
    }
    builder.build()
}

/// Writes the footer at the end of `out`, a file's tail, anew, so that byte strings of 12 bytes
/// without another meaning are INT96.
///
/// # Errors
/// An internal error when `out` does not end in the footer of `metadata`.
pub(super) fn rewrite_footer(
    metadata: &ParquetMetaData,
    out: &mut Vec<u8>,
) -> flott_core::Result<()> {
    let torn = || Error::internal("a written Parquet file has no footer");
    let tail = out.len().checked_sub(TAIL_BYTES).ok_or_else(torn)?;
    let length = out[tail..].first_chunk::<4>().ok_or_else(torn)?;
    let footer = tail.checked_sub(u32::from_le_bytes(*length) as usize);
    out.truncate(footer.ok_or_else(torn)?);
    let described = describe(metadata);
    let written =
        described.and_then(|metadata| ParquetMetaDataWriter::new(out, &metadata).finish());
    written.map_err(|error| Error::internal(format!("writing a Parquet footer: {error}")))
}

fn describe(metadata: &ParquetMetaData) -> Result<ParquetMetaData, ParquetError> {
    let file = metadata.file_metadata();
    let root = with_int96(&file.schema_descr().root_schema_ptr())?;
    let schema = Arc::new(SchemaDescriptor::new(root));
    let groups = metadata.row_groups().iter();
    let groups = groups.map(|group| row_group(group, &schema));
    let file = FileMetaData::new(
        file.version(),
        file.num_rows(),
        file.created_by().map(str::to_string),
        file.key_value_metadata().cloned(),
        schema.clone(),
        None,
    );
    // Indexes of pages stand in the file already; their places are said by the chunks.
    Ok(ParquetMetaData::new(
        file,
        groups.collect::<Result<_, _>>()?,
    ))
}
