//! `MAP_KEYS`, `MAP_VALUES`, `MAP_ENTRIES`, `MAP_UNION`, `MAP_FROM_ARRAYS`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StructArray};
use flott_core::types::{DataType, LogicalType, RowField};
use flott_core::{Error, Result};

use super::construct::entry;
use super::elements::{Comparison, Gather, Lists, common, item_type};
use super::find::array_or_own;
use crate::functions::kernel::{Args, columns};
use crate::functions::{BindContext, BoundFunction};

function!(
    MAP_KEYS,
    "MAP_KEYS",
    Collection,
    "MAP_KEYS(map)",
    "The keys of the map as an array.",
    [("MAP_KEYS(MAP['a', 1, 'b', 2])", "[a, b]")],
    |ctx| bind_part(ctx, 0)
);

function!(
    MAP_VALUES,
    "MAP_VALUES",
    Collection,
    "MAP_VALUES(map)",
    "The values of the map as an array.",
    [("MAP_VALUES(MAP['a', 1, 'b', 2])", "[1, 2]")],
    |ctx| bind_part(ctx, 1)
);

function!(
    MAP_ENTRIES,
    "MAP_ENTRIES",
    Collection,
    "MAP_ENTRIES(map)",
    "The entries of the map as an array of rows with the fields key and value.",
    [("MAP_ENTRIES(MAP['a', 1])", "[(a, 1)]")],
    bind_entries
);

function!(
    MAP_UNION,
    "MAP_UNION",
    Collection,
    "MAP_UNION(map1, map2, ...)",
    "The entries of all maps; of equal keys the last counts. NULL when any map is NULL.",
    [("MAP_UNION(MAP['a', 1, 'b', 2], MAP['b', 3])", "{b=3, a=1}")],
    bind_union
);

function!(
    MAP_FROM_ARRAYS,
    "MAP_FROM_ARRAYS",
    Collection,
    "MAP_FROM_ARRAYS(keys, values)",
    "The map of an array of keys to an array of as many values.",
    [(
        "MAP_FROM_ARRAYS(ARRAY['a', 'b'], ARRAY[1, 2])",
        "{a=1, b=2}"
    )],
    bind_from_arrays
);

/// The key and value types of argument `index`, which must be a map.
fn entry_types(ctx: &BindContext<'_>, index: usize) -> Result<(DataType, DataType)> {
    match ctx.logical(index)? {
        LogicalType::Map(key, value) => Ok((key.as_ref().clone(), value.as_ref().clone())),
        _ => Err(ctx.wrong_types()),
    }
}

fn bind_part(ctx: &BindContext<'_>, part: usize) -> Result<BoundFunction> {
    ctx.expect_count(1..=1)?;
    let (key, value) = entry_types(ctx, 0)?;
    let item = if part == 0 { key } else { value };
    let return_type = ctx.returns(LogicalType::Array(item.clone().into()));
    let kernel = columns(format!("MAP PART {part} {item}"), move |args| {
        let maps = args.full_array(0)?;
        let maps = maps.as_map();
        let items = maps.entries().column(part).clone();
        let (offsets, nulls) = (maps.offsets().clone(), maps.nulls().cloned());
        Ok(Arc::new(ListArray::try_new(
            item.to_field("item"),
            offsets,
            items,
            nulls,
        )?))
    });
    Ok(BoundFunction::new(ctx.own_types(), return_type, kernel))
}

fn bind_entries(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    ctx.expect_count(1..=1)?;
    let (key, value) = entry_types(ctx, 0)?;
    let fields = [RowField::new("key", key), RowField::new("value", value)];
    let row = LogicalType::Row(fields.into()).nullable();
    let return_type = ctx.returns(LogicalType::Array(row.clone().into()));
    let kernel = columns(format!("MAP_ENTRIES {row}"), move |args| {
        entries(args, &row)
    });
    Ok(BoundFunction::new(ctx.own_types(), return_type, kernel))
}

fn entries(args: &Args, row: &DataType) -> Result<ArrayRef> {
    let maps = args.full_array(0)?;
    let maps = maps.as_map();
    let item = row.to_field("item");
    let arrow::datatypes::DataType::Struct(fields) = item.data_type() else {
        return Err(Error::internal("a row that is no struct"));
    };
    let parts = vec![maps.keys().clone(), maps.values().clone()];
    let rows = Arc::new(StructArray::try_new(fields.clone(), parts, None)?);
    let (offsets, nulls) = (maps.offsets().clone(), maps.nulls().cloned());
    Ok(Arc::new(ListArray::try_new(item, offsets, rows, nulls)?))
}

fn bind_union(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    ctx.expect_count(1..=usize::MAX)?;
    let types = (0..ctx.len())
        .map(|i| entry_types(ctx, i))
        .collect::<Result<Vec<_>>>()?;
    let (keys, values): (Vec<_>, Vec<_>) = types.into_iter().unzip();
    let (key, value) = (common(ctx, &keys)?, common(ctx, &values)?);
    let map = LogicalType::Map(Arc::new(key.clone()), Arc::new(value.clone()));
    let types = ctx.casts(std::iter::repeat_n(map.clone(), ctx.len()));
    let kernel = columns(format!("MAP_UNION {map}"), move |args| {
        union(args, &key, &value)
    });
    Ok(BoundFunction::new(types, ctx.returns(map), kernel))
}

fn union(args: &Args, key: &DataType, value: &DataType) -> Result<ArrayRef> {
    let maps = (0..args.len())
        .map(|i| Lists::of(args, i))
        .collect::<Result<Vec<_>>>()?;
    let comparison = Comparison::of(&key.to_arrow())?;
    let keys = maps
        .iter()
        .map(|m| comparison.encode(m.items.as_struct().column(0)));
    let keys = keys.collect::<Result<Vec<_>>>()?;
    let mut gather = Gather::new(
        maps.iter().map(|m| m.items.clone()).collect(),
        args.num_rows(),
    );
    let mut kept: Vec<(usize, usize)> = Vec::new();
    for row in 0..args.num_rows() {
        let ranges: Option<Vec<_>> = maps.iter().map(|m| m.range(row)).collect();
        let Some(ranges) = ranges else {
            gather.null_row();
            continue;
        };
        kept.clear();
        // From the last map to the first, as Flink has the entries: the first of a key counts.
        for (source, range) in ranges.into_iter().enumerate().rev() {
            for index in range {
                let key = keys[source].row(index);
                if kept.iter().all(|(s, i)| keys[*s].row(*i) != key) {
                    kept.push((source, index));
                }
            }
        }
        kept.iter()
            .for_each(|(source, index)| gather.pick(*source, *index));
        gather.end_row();
    }
    gather.finish_map(key, value)
}

fn bind_from_arrays(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    ctx.expect_count(2..=2)?;
    let (key, value) = (item_type(ctx, 0)?, item_type(ctx, 1)?);
    let types = vec![array_or_own(ctx, 0)?, array_or_own(ctx, 1)?];
    let map = LogicalType::Map(Arc::new(key.clone()), Arc::new(value.clone()));
    let label = format!("MAP_FROM_ARRAYS {map}");
    let kernel = columns(label, move |args| from_arrays(args, &key, &value));
    Ok(BoundFunction::new(types, ctx.returns(map), kernel))
}

fn from_arrays(args: &Args, key: &DataType, value: &DataType) -> Result<ArrayRef> {
    let (keys, values) = (Lists::of(args, 0)?, Lists::of(args, 1)?);
    let (mut key_picks, mut value_picks) = (Vec::new(), Vec::new());
    let mut lists = super::build::ListsBuilder::with_capacity(args.num_rows());
    for row in 0..args.num_rows() {
        let (Some(key_range), Some(value_range)) = (keys.range(row), values.range(row)) else {
            lists.append_null();
            continue;
        };
        if key_range.len() != value_range.len() {
            let (keys, values) = (key_range.len(), value_range.len());
            let message =
                format!("MAP_FROM_ARRAYS takes as many keys as values, not {keys} and {values}");
            return Err(Error::user("INVALID_ARGUMENT", message));
        }
        lists.append(key_range.len());
        key_picks.extend(key_range.map(|index| Some((0, index))));
        value_picks.extend(value_range.map(|index| Some((0, index))));
    }
    let pick = |lists: &Lists, picks: Vec<_>| {
        super::elements::pick_rows(std::slice::from_ref(&lists.items), picks.into_iter())
    };
    let entries = entry(
        key,
        value,
        pick(&keys, key_picks)?,
        pick(&values, value_picks)?,
    )?;
    let entries = entries.as_struct();
    lists.finish_map(
        key,
        value,
        entries.column(0).clone(),
        entries.column(1).clone(),
    )
}
