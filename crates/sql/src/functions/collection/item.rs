//! `a[i]`: access to an element of an array or the value of a key of a map.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::Int64Type;
use datafusion_common::ScalarValue;
use flott_core::types::{DataType, LogicalType};
use flott_core::{Error, Result};

use super::elements::{Comparison, Lists, pick_rows};
use crate::functions::coercion::is_implicit_cast_allowed;
use crate::functions::kernel::{Args, columns, scalar_array};
use crate::functions::{BindContext, BoundFunction};

function!(
    ITEM,
    "ITEM",
    ValueAccess,
    "array[index] or map[key]",
    "The element of an array at a position, counted from 1, or the value of a key of a map. What is \
     not there is NULL; where the elements are NOT NULL it is, as in Flink, -1, FALSE or an empty \
     string.",
    [("ARRAY[7, 8][2]", "8"), ("MAP['a', 1, 'b', 2]['b']", "2")],
    bind
);

fn bind(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    ctx.expect_count(2..=2)?;
    match ctx.logical(0)? {
        LogicalType::Array(item) => bind_array(ctx, item),
        LogicalType::Map(key, value) => bind_map(ctx, key, value),
        _ => Err(ctx.wrong_types()),
    }
}

fn bind_array(ctx: &BindContext<'_>, item: &DataType) -> Result<BoundFunction> {
    ctx.expect_types(ctx.is_type(1, LogicalType::is_integer))?;
    if let Some(index) = ctx
        .argument(1)?
        .literal_integer()
        .filter(|index| *index < 1)
    {
        let message = format!("positions in an array count from 1, and this one is {index}");
        return Err(Error::user("INVALID_ARGUMENT", message));
    }
    let types = ctx.casts([ctx.logical(0)?.clone(), LogicalType::BigInt]);
    let missing = missing_value(item)?;
    let kernel = columns(format!("ITEM {item}"), move |args| {
        array_items(args, missing.as_ref())
    });
    Ok(BoundFunction::new(types, item.with_nullable(true), kernel))
}

/// What Flink gives for an element that is not there in an array of elements that are NOT NULL;
/// `None` is NULL.
fn missing_value(item: &DataType) -> Result<Option<ArrayRef>> {
    if item.nullable {
        return Ok(None);
    }
    let value = match item.logical {
        LogicalType::Boolean => ScalarValue::Boolean(Some(false)),
        LogicalType::TinyInt => ScalarValue::Int8(Some(-1)),
        LogicalType::SmallInt => ScalarValue::Int16(Some(-1)),
        LogicalType::Int => ScalarValue::Int32(Some(-1)),
        LogicalType::BigInt => ScalarValue::Int64(Some(-1)),
        LogicalType::Float => ScalarValue::Float32(Some(-1.0)),
        LogicalType::Double => ScalarValue::Float64(Some(-1.0)),
        LogicalType::Date => ScalarValue::Date32(Some(-1)),
        LogicalType::Time(_) => ScalarValue::Time32Millisecond(Some(-1)),
        LogicalType::Char(_) | LogicalType::VarChar(_) => ScalarValue::Utf8View(Some("".into())),
        _ => return Ok(None),
    };
    scalar_array(&value, 1).map(Some)
}

fn array_items(args: &Args, missing: Option<&ArrayRef>) -> Result<ArrayRef> {
    let lists = Lists::of(args, 0)?;
    let index = args.column::<Int64Type>(1)?;
    pick(args, &lists.items, missing, |row| {
        let range = lists.range(row)?;
        let place = usize::try_from(index.get(row)?).ok()?.checked_sub(1)?;
        (place < range.len()).then(|| range.start + place)
    })
}

/// For each row the item at an index of `items`, or what stands for a missing one.
fn pick(
    args: &Args,
    items: &ArrayRef,
    missing: Option<&ArrayRef>,
    index: impl Fn(usize) -> Option<usize>,
) -> Result<ArrayRef> {
    let mut sources = vec![items.clone()];
    sources.extend(missing.cloned());
    let missing = missing.map(|_| (1, 0));
    let picks = (0..args.num_rows()).map(|row| match index(row) {
        Some(index) => Some((0, index)),
        None => missing,
    });
    pick_rows(&sources, picks)
}

fn bind_map(ctx: &BindContext<'_>, key: &DataType, value: &DataType) -> Result<BoundFunction> {
    let given = ctx.logical(1)?;
    let is_key = *given == LogicalType::Null || is_implicit_cast_allowed(given, &key.logical);
    ctx.expect_types(is_key)?;
    // A string is not cut to the keys' length: it would be found where it is not.
    let key = match &key.logical {
        LogicalType::Char(_) | LogicalType::VarChar(_) => LogicalType::STRING,
        other => other.clone(),
    };
    let types = ctx.casts([ctx.logical(0)?.clone(), key]);
    let missing = missing_value(value)?;
    let kernel = columns(format!("ITEM {value}"), move |args| {
        map_values(args, missing.as_ref())
    });
    Ok(BoundFunction::new(types, value.with_nullable(true), kernel))
}

fn map_values(args: &Args, missing: Option<&ArrayRef>) -> Result<ArrayRef> {
    let maps = Lists::of(args, 0)?;
    let entries = maps.items.as_struct();
    let comparison = Comparison::of(entries.column(0).data_type())?;
    let keys = comparison.encode(entries.column(0))?;
    let wanted = comparison.encode(args.array(1)?)?;
    pick(args, entries.column(1), missing, |row| {
        let wanted = wanted.row(if args.is_constant(1) { 0 } else { row });
        maps.range(row)?
            .rev()
            .find(|index| keys.row(*index) == wanted)
    })
}
