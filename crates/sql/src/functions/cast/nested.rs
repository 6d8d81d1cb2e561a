//! Arrays, maps and rows, element by element.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray};
use arrow::datatypes::DataType;
use flott_core::types::LogicalType;
use flott_core::{Error, Result};

use super::{CastOptions, cast_array, unexpected};

/// Casts the elements of nested values.
pub fn cast_nested(
    array: &ArrayRef,
    from: &LogicalType,
    to: &LogicalType,
    options: &CastOptions,
) -> Result<ArrayRef> {
    match (from, to) {
        (LogicalType::Array(a), LogicalType::Array(b)) => {
            let list = array.as_list::<i32>();
            let items = cast_array(list.values(), &a.logical, &b.logical, options)?;
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            Ok(Arc::new(ListArray::try_new(
                b.to_field("item"),
                offsets,
                items,
                nulls,
            )?))
        }
        (LogicalType::Row(a), LogicalType::Row(b)) => {
            let rows = array.as_struct();
            let fields = a.iter().zip(b.iter()).zip(rows.columns());
            let columns = fields
                .map(|((f, g), column)| {
                    cast_array(column, &f.data_type.logical, &g.data_type.logical, options)
                })
                .collect::<Result<Vec<_>>>()?;
            struct_of(columns, rows, &to.to_arrow())
        }
        (LogicalType::Map(k, v), LogicalType::Map(l, w)) => {
            let map = array.as_map();
            let keys = cast_array(map.keys(), &k.logical, &l.logical, options)?;
            let values = cast_array(map.values(), &v.logical, &w.logical, options)?;
            map_of(map, keys, values, to)
        }
        (LogicalType::Multiset(a), LogicalType::Multiset(b)) => {
            let map = array.as_map();
            let keys = cast_array(map.keys(), &a.logical, &b.logical, options)?;
            map_of(map, keys, map.values().clone(), to)
        }
        _ => Err(unexpected(from, to)),
    }
}

fn struct_of(columns: Vec<ArrayRef>, rows: &StructArray, to: &DataType) -> Result<ArrayRef> {
    let DataType::Struct(fields) = to else {
        return Err(Error::internal(format!("{to} is not a row")));
    };
    let nulls = rows.nulls().cloned();
    let cast = StructArray::try_new_with_length(fields.clone(), columns, nulls, rows.len())?;
    Ok(Arc::new(cast))
}

fn map_of(map: &MapArray, keys: ArrayRef, values: ArrayRef, to: &LogicalType) -> Result<ArrayRef> {
    let DataType::Map(entries_field, _) = to.to_arrow() else {
        return Err(Error::internal(format!("{to} is not a map")));
    };
    let DataType::Struct(fields) = entries_field.data_type() else {
        return Err(Error::internal("a map without entries"));
    };
    let entries = StructArray::try_new(fields.clone(), vec![keys, values], None)?;
    let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
    Ok(Arc::new(MapArray::try_new(
        entries_field.clone(),
        offsets,
        entries,
        nulls,
        false,
    )?))
}
