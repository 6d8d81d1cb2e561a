//! What row groups and pages can be left out: their least and greatest values say that nothing in
//! them is asked for.

use flott_core::format::DecodeRequest;
use flott_core::source::{FieldPredicate, PredicateValue};
use parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::statistics::Statistics;
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};

use super::rows::RowRanges;
use crate::statistics::comparable;

/// What statistics can be held against.
pub(super) struct Predicate {
    leaf: usize,
    values: Vec<PredicateValue>,
}

/// The predicates on columns that the file holds as they are compared.
pub(super) fn predicates(
    offered: &[FieldPredicate],
    request: &DecodeRequest,
    schema: &SchemaDescriptor,
) -> Vec<Predicate> {
    let usable = comparable(offered, request).filter_map(|(name, values)| {
        let leaf = schema.columns().iter().position(|leaf| {
            leaf.path().parts().len() == 1 && leaf.name() == name && is_ordered(leaf)
        })?;
        let values = values.to_vec();
        Some(Predicate { leaf, values })
    });
    usable.collect()
}

/// Whether a column's values are those of the table, and ordered as these are: unsigned numbers
/// and decimals are not.
fn is_ordered(leaf: &ColumnDescriptor) -> bool {
    if leaf.max_rep_level() > 0 {
        return false;
    }
    match (leaf.physical_type(), leaf.logical_type_ref()) {
        (Physical::INT32 | Physical::INT64, Some(LogicalType::Integer(integer))) => {
            integer.is_signed
        }
        (Physical::INT32 | Physical::INT64, None) => matches!(
            leaf.converted_type(),
            ConvertedType::NONE
                | ConvertedType::INT_8
                | ConvertedType::INT_16
                | ConvertedType::INT_32
                | ConvertedType::INT_64
        ),
        (Physical::BYTE_ARRAY, Some(LogicalType::String)) => true,
        (Physical::BYTE_ARRAY, None) => leaf.converted_type() == ConvertedType::UTF8,
        _ => false,
    }
}

/// Least and greatest value of a piece of a column.
enum Bounds<'a> {
    Integers(i64, i64),
    Texts(&'a [u8], &'a [u8]),
}

impl Bounds<'_> {
    fn of_group(statistics: &Statistics) -> Option<Bounds<'_>> {
        Some(match statistics {
            Statistics::Int32(range) => {
                Bounds::Integers((*range.min_opt()?).into(), (*range.max_opt()?).into())
            }
            Statistics::Int64(range) => Bounds::Integers(*range.min_opt()?, *range.max_opt()?),
            // Old writers have compared the bytes of texts as signed numbers.
            Statistics::ByteArray(range) if !statistics.is_min_max_deprecated() => {
                Bounds::Texts(range.min_opt()?.data(), range.max_opt()?.data())
            }
            _ => return None,
        })
    }

    fn of_page(index: &ColumnIndexMetaData, page: usize) -> Option<Bounds<'_>> {
        Some(match index {
            ColumnIndexMetaData::INT32(index) => Bounds::Integers(
                (*index.min_value(page)?).into(),
                (*index.max_value(page)?).into(),
            ),
            ColumnIndexMetaData::INT64(index) => {
                Bounds::Integers(*index.min_value(page)?, *index.max_value(page)?)
            }
            ColumnIndexMetaData::BYTE_ARRAY(index) => {
                Bounds::Texts(index.min_value(page)?, index.max_value(page)?)
            }
            _ => return None,
        })
    }

    fn exclude(&self, value: &PredicateValue) -> bool {
        match (value, self) {
            (PredicateValue::Integer(value), Self::Integers(min, max)) => {
                value < min || value > max
            }
            (PredicateValue::Text(value), Self::Texts(min, max)) => {
                value.as_bytes() < *min || value.as_bytes() > *max
            }
            _ => false,
        }
    }
}

impl Predicate {
    fn is_outside(&self, bounds: Option<Bounds<'_>>) -> bool {
        bounds.is_some_and(|bounds| self.values.iter().all(|value| bounds.exclude(value)))
    }

    /// Whether no row of the group can have one of the values.
    pub fn excludes(&self, group: &RowGroupMetaData) -> bool {
        let statistics = group.columns().get(self.leaf).and_then(|c| c.statistics());
        self.is_outside(statistics.and_then(Bounds::of_group))
    }

    /// The rows of a group whose pages may have one of the values; `None` where the file has no
    /// index of pages.
    pub fn rows(
        &self,
        metadata: &ParquetMetaData,
        group: usize,
        num_rows: u64,
    ) -> Option<RowRanges> {
        let values = metadata.column_index()?.get(group)?.get(self.leaf)?;
        let places = metadata.offset_index()?.get(group)?.get(self.leaf)?;
        let pages = places.page_locations();
        if matches!(values, ColumnIndexMetaData::NONE) || values.num_pages() != pages.len() as u64 {
            return None;
        }
        let wanted = pages.iter().enumerate().filter(|(page, _)| {
            // A page of NULLs equals nothing.
            !values.is_null_page(*page) && !self.is_outside(Bounds::of_page(values, *page))
        });
        let ranges = wanted.map(|(page, place)| {
            let end = pages.get(page + 1).map(|next| next.first_row_index as u64);
            place.first_row_index as u64..end.unwrap_or(num_rows)
        });
        RowRanges::new(ranges, num_rows)
    }
}
