//! `ARRAY[…]`, `MAP[…]`, `ROW(…)`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StructArray};
use arrow::datatypes::DataType as ArrowType;
use flott_core::types::{DataType, LogicalType, RowField};
use flott_core::{Error, Result};

use super::elements::{Comparison, Gather, common};
use crate::functions::kernel::{Args, columns};
use crate::functions::{BindContext, BoundFunction};

function!(
    ARRAY,
    "ARRAY",
    ValueConstruction,
    "ARRAY[value1, value2, ...]",
    "An array of values, which are cast to their common type.",
    [("ARRAY[1, 2, 3]", "[1, 2, 3]")],
    bind_array
);

function!(
    MAP,
    "MAP",
    ValueConstruction,
    "MAP[key1, value1, key2, value2, ...]",
    "A map of keys to values, which are cast to their common types. Of equal keys the last counts.",
    [("MAP['a', 1, 'b', 2]", "{a=1, b=2}")],
    bind_map
);

function!(
    ROW,
    "ROW",
    ValueConstruction,
    "ROW(value1, value2, ...)",
    "A row of values; its fields are named EXPR$0, EXPR$1 and so on.",
    [("ROW(1, 'a')", "(1, a)")],
    bind_row
);

fn bind_array(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    ctx.expect_count(1..=usize::MAX)?;
    let item = common(ctx, &ctx.own_types())?;
    let types = vec![item.clone(); ctx.len()];
    let return_type = LogicalType::Array(item.clone().into()).not_null();
    let kernel = columns(format!("ARRAY {item}"), move |args| {
        let sources = (0..args.len()).map(|i| args.array(i).cloned());
        let mut gather = Gather::new(sources.collect::<Result<Vec<_>>>()?, args.num_rows());
        for row in 0..args.num_rows() {
            for index in 0..args.len() {
                gather.pick(index, if args.is_constant(index) { 0 } else { row });
            }
            gather.end_row();
        }
        gather.finish(&item)
    });
    Ok(BoundFunction::new(types, return_type, kernel))
}

fn bind_map(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    if ctx.is_empty() || !ctx.len().is_multiple_of(2) {
        return Err(ctx.wrong_count());
    }
    let types_from = |first: usize| {
        let types = ctx.arguments.iter().skip(first).step_by(2);
        types.map(|a| a.data_type.clone()).collect::<Vec<_>>()
    };
    let key = common(ctx, &types_from(0))?;
    let value = common(ctx, &types_from(1))?;
    let types = [key.clone(), value.clone()]
        .into_iter()
        .cycle()
        .take(ctx.len())
        .collect();
    let logical = LogicalType::Map(Arc::new(key.clone()), Arc::new(value.clone()));
    let kernel = columns(format!("MAP {key} {value}"), move |args| {
        maps(args, &key, &value)
    });
    Ok(BoundFunction::new(types, logical.not_null(), kernel))
}

fn maps(args: &Args, key: &DataType, value: &DataType) -> Result<ArrayRef> {
    let num_entries = args.len() / 2;
    let keys = (0..num_entries)
        .map(|i| args.full_array(2 * i))
        .collect::<Result<Vec<_>>>()?;
    let values = (0..num_entries).map(|i| args.full_array(2 * i + 1));
    let values = values.collect::<Result<Vec<_>>>()?;
    let comparison = Comparison::of(&key.to_arrow())?;
    let encoded = keys.iter().map(|keys| comparison.encode(keys));
    let encoded = encoded.collect::<Result<Vec<_>>>()?;
    let entries = keys
        .into_iter()
        .zip(values)
        .map(|(k, v)| entry(key, value, k, v));
    let mut gather = Gather::new(entries.collect::<Result<Vec<_>>>()?, args.num_rows());
    for row in 0..args.num_rows() {
        for (place, key) in encoded.iter().enumerate() {
            let is_last = encoded[place + 1..]
                .iter()
                .all(|other| other.row(row) != key.row(row));
            if is_last {
                gather.pick(place, row);
            }
        }
        gather.end_row();
    }
    gather.finish_map(key, value)
}

/// Keys and values side by side.
pub fn entry(
    key: &DataType,
    value: &DataType,
    keys: ArrayRef,
    values: ArrayRef,
) -> Result<ArrayRef> {
    if keys.null_count() > 0 {
        let message = "a key of a map must not be NULL; filter such rows or use COALESCE";
        return Err(Error::user("NULL_MAP_KEY", message));
    }
    let fields = vec![key.to_field("key"), value.to_field("value")];
    Ok(Arc::new(StructArray::try_new(
        fields.into(),
        vec![keys, values],
        None,
    )?))
}

fn bind_row(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let types = ctx.own_types();
    let fields = types.iter().enumerate();
    let fields = fields.map(|(i, t)| RowField::new(format!("EXPR${i}"), t.clone()));
    let return_type = LogicalType::Row(fields.collect()).not_null();
    let arrow = return_type.to_arrow();
    let kernel = columns(format!("ROW {return_type}"), move |args| rows(args, &arrow));
    Ok(BoundFunction::new(types, return_type, kernel))
}

fn rows(args: &Args, arrow: &ArrowType) -> Result<ArrayRef> {
    let ArrowType::Struct(fields) = arrow else {
        return Err(Error::internal(format!("a row that is {arrow}")));
    };
    if fields.is_empty() {
        return Ok(Arc::new(StructArray::new_empty_fields(
            args.num_rows(),
            None,
        )));
    }
    let values = (0..args.len())
        .map(|i| args.full_array(i))
        .collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(StructArray::try_new(
        fields.clone(),
        values,
        None,
    )?))
}
