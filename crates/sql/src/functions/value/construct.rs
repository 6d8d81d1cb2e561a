//! ARRAY, MAP and ROW.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ListArray, MapArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::interleave;
use arrow::datatypes::DataType as ArrowType;
use flott_core::types::{DataType, LogicalType, RowField};
use flott_core::{Error, Result};

use crate::functions::coercion::common_type;
use crate::functions::kernel::{Args, columns};
use crate::functions::{BindContext, BoundFunction};

function!(
    ARRAY,
    "ARRAY",
    ValueConstruction,
    "ARRAY[value[, value]*]",
    "An array of values.",
    [("ARRAY[1, 2]", "[1, 2]")],
    bind_array
);
function!(
    MAP,
    "MAP",
    ValueConstruction,
    "MAP[key, value[, key, value]*]",
    "A map of keys to values.",
    [("MAP['a', 1]", "{a=1}")],
    bind_map
);
function!(
    ROW,
    "ROW",
    ValueConstruction,
    "ROW(value[, value]*)",
    "A row of values.",
    [("ROW(1, 'a')", "(1, a)")],
    bind_row
);

fn common(c: &BindContext<'_>, types: &[DataType]) -> Result<DataType> {
    common_type(types).ok_or_else(|| c.wrong_types())
}

/// The arguments at these positions, row after row.
fn woven(args: &Args, positions: &[usize]) -> Result<ArrayRef> {
    let arrays: Vec<ArrayRef> = positions
        .iter()
        .map(|&at| args.array(at).cloned())
        .collect::<Result<_>>()?;
    let masks: Vec<usize> = positions
        .iter()
        .map(|&at| if args.is_constant(at) { 0 } else { usize::MAX })
        .collect();
    let indices: Vec<(usize, usize)> = (0..args.num_rows())
        .flat_map(|row| {
            masks
                .iter()
                .enumerate()
                .map(move |(i, mask)| (i, row & mask))
        })
        .collect();
    let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
    Ok(interleave(&arrays, &indices)?)
}

fn bind_array(c: &BindContext<'_>) -> Result<BoundFunction> {
    c.expect_count(1..=usize::MAX)?;
    let item = common(c, &c.own_types())?;
    let types = vec![item.clone(); c.len()];
    let returned = LogicalType::Array(Arc::new(item.clone())).not_null();
    let positions: Vec<usize> = (0..c.len()).collect();
    let kernel = columns(format!("{returned} {}", c.len()), move |args| {
        let items = woven(args, &positions)?;
        let offsets = OffsetBuffer::from_repeated_length(positions.len(), args.num_rows());
        Ok(Arc::new(ListArray::try_new(
            item.to_field("item"),
            offsets,
            items,
            None,
        )?))
    });
    Ok(BoundFunction::new(types, returned, kernel))
}

fn bind_map(c: &BindContext<'_>) -> Result<BoundFunction> {
    if c.is_empty() || c.len() % 2 == 1 {
        return Err(c.wrong_count());
    }
    let own = c.own_types();
    let every_second = |from: usize| {
        own.iter()
            .skip(from)
            .step_by(2)
            .cloned()
            .collect::<Vec<_>>()
    };
    let key = common(c, &every_second(0))?;
    let value = common(c, &every_second(1))?;
    let types = (0..c.len()).map(|i| {
        if i % 2 == 0 {
            key.clone()
        } else {
            value.clone()
        }
    });
    let types: Vec<_> = types.collect();
    let returned = LogicalType::Map(Arc::new(key), Arc::new(value)).not_null();
    let (arrow_type, len) = (returned.to_arrow(), c.len());
    let kernel = columns(format!("{returned} {len}"), move |args| {
        let keys = woven(args, &(0..len).step_by(2).collect::<Vec<_>>())?;
        let values = woven(args, &(1..len).step_by(2).collect::<Vec<_>>())?;
        let offsets = OffsetBuffer::from_repeated_length(len / 2, args.num_rows());
        map_array(&arrow_type, offsets, keys, values)
    });
    Ok(BoundFunction::new(types, returned, kernel))
}

/// A map column from its parts.
///
/// # Errors
/// A user error for a NULL key.
pub fn map_array(
    arrow_type: &ArrowType,
    offsets: OffsetBuffer<i32>,
    keys: ArrayRef,
    values: ArrayRef,
) -> Result<ArrayRef> {
    if keys.null_count() > 0 {
        return Err(Error::user(
            "NULL_MAP_KEY",
            "the key of a map is NULL; keys must have a value",
        ));
    }
    let ArrowType::Map(entries_field, _) = arrow_type else {
        return Err(Error::internal(format!("{arrow_type} is not a map")));
    };
    let ArrowType::Struct(fields) = entries_field.data_type() else {
        return Err(Error::internal("a map without entries"));
    };
    let entries = StructArray::try_new(fields.clone(), vec![keys, values], None)?;
    Ok(Arc::new(MapArray::try_new(
        entries_field.clone(),
        offsets,
        entries,
        None,
        false,
    )?))
}

fn bind_row(c: &BindContext<'_>) -> Result<BoundFunction> {
    c.expect_count(1..=usize::MAX)?;
    let types = c.own_types();
    let fields = types.iter().enumerate();
    let fields = fields.map(|(i, t)| RowField::new(format!("EXPR${i}"), t.clone()));
    let returned = LogicalType::Row(fields.collect()).not_null();
    let arrow_type = returned.to_arrow();
    let kernel = columns(format!("{returned}"), move |args| {
        let ArrowType::Struct(fields) = &arrow_type else {
            return Err(Error::internal(format!("{arrow_type} is not a row")));
        };
        let values = (0..args.len())
            .map(|i| args.full_array(i))
            .collect::<Result<Vec<_>>>()?;
        let rows = StructArray::try_new_with_length(fields.clone(), values, None, args.num_rows())?;
        Ok(Arc::new(rows))
    });
    Ok(BoundFunction::new(types, returned, kernel))
}
