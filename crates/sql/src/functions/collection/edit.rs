//! `ARRAY_APPEND`, `ARRAY_PREPEND`, `ARRAY_REMOVE`, `ARRAY_REVERSE`, `ARRAY_SLICE`.

use arrow::array::ArrayRef;
use arrow::datatypes::Int32Type;
use flott_core::Result;
use flott_core::types::{DataType, LogicalType};

use super::elements::{Gather, Lists, common, item_type};
use super::find::{Search, array_or_own, haystack_and_needle};
use crate::functions::kernel::{Args, columns};
use crate::functions::{BindContext, BoundFunction};

function!(
    ARRAY_APPEND,
    "ARRAY_APPEND",
    Collection,
    "ARRAY_APPEND(array, element)",
    "The array with the element behind its last one.",
    [("ARRAY_APPEND(ARRAY[1, 2], 3)", "[1, 2, 3]")],
    |ctx| bind_add(ctx, false)
);

function!(
    ARRAY_PREPEND,
    "ARRAY_PREPEND",
    Collection,
    "ARRAY_PREPEND(array, element)",
    "The array with the element before its first one.",
    [("ARRAY_PREPEND(ARRAY[1, 2], 3)", "[3, 1, 2]")],
    |ctx| bind_add(ctx, true)
);

function!(
    ARRAY_REMOVE,
    "ARRAY_REMOVE",
    Collection,
    "ARRAY_REMOVE(array, element)",
    "The array without all elements equal to the element, which may be NULL.",
    [("ARRAY_REMOVE(ARRAY[1, 2, 1], 1)", "[2]")],
    bind_remove
);

function!(
    ARRAY_REVERSE,
    "ARRAY_REVERSE",
    Collection,
    "ARRAY_REVERSE(array)",
    "The array from its last element to its first.",
    [("ARRAY_REVERSE(ARRAY[1, 2, 3])", "[3, 2, 1]")],
    bind_reverse
);

function!(
    ARRAY_SLICE,
    "ARRAY_SLICE",
    Collection,
    "ARRAY_SLICE(array, start[, end])",
    "The elements from position start to position end, or to the last. Positions count from 1, \
     negative ones from the end.",
    [
        ("ARRAY_SLICE(ARRAY[1, 2, 3, 4], 2, 3)", "[2, 3]"),
        ("ARRAY_SLICE(ARRAY[1, 2, 3], -2)", "[2, 3]")
    ],
    bind_slice
);

fn bind_add(ctx: &BindContext<'_>, at_start: bool) -> Result<BoundFunction> {
    ctx.expect_count(2..=2)?;
    let (item, element) = (item_type(ctx, 0)?, ctx.argument(1)?.data_type.clone());
    let item = common(ctx, &[item, element])?;
    let array = LogicalType::Array(item.clone().into());
    let nullable = ctx.argument(0)?.data_type.nullable;
    let array = array.nullable().with_nullable(nullable);
    let types = vec![array.clone(), item.clone()];
    let label = format!("{} {item}", ctx.name.to_ascii_uppercase());
    let kernel = columns(label, move |args| add(args, &item, at_start));
    Ok(BoundFunction::new(types, array, kernel))
}

fn add(args: &Args, item: &DataType, at_start: bool) -> Result<ArrayRef> {
    let lists = Lists::of(args, 0)?;
    let sources = vec![lists.items.clone(), args.array(1)?.clone()];
    let mut gather = Gather::new(sources, args.num_rows());
    for row in 0..args.num_rows() {
        let Some(range) = lists.range(row) else {
            gather.null_row();
            continue;
        };
        let element = if args.is_constant(1) { 0 } else { row };
        if at_start {
            gather.pick(1, element);
        }
        gather.pick_all(0, range);
        if !at_start {
            gather.pick(1, element);
        }
        gather.end_row();
    }
    gather.finish(item)
}

fn bind_remove(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let types = haystack_and_needle(ctx)?;
    let (return_type, item) = (types[0].clone(), item_type(ctx, 0)?);
    let kernel = columns(format!("ARRAY_REMOVE {item}"), move |args| {
        let search = Search::new(args)?;
        let mut gather = Gather::new(vec![search.lists.items.clone()], args.num_rows());
        for row in 0..args.num_rows() {
            let Some(range) = search.lists.range(row) else {
                gather.null_row();
                continue;
            };
            for index in range.filter(|index| !search.is_match(row, *index)) {
                gather.pick(0, index);
            }
            gather.end_row();
        }
        gather.finish(&item)
    });
    Ok(BoundFunction::new(types, return_type, kernel))
}

fn bind_reverse(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    ctx.expect_count(1..=1)?;
    let (array, item) = (array_or_own(ctx, 0)?, item_type(ctx, 0)?);
    let kernel = columns(format!("ARRAY_REVERSE {item}"), move |args| {
        let lists = Lists::of(args, 0)?;
        let mut gather = Gather::new(vec![lists.items.clone()], args.num_rows());
        for row in 0..args.num_rows() {
            match lists.range(row) {
                Some(range) => {
                    range.rev().for_each(|index| gather.pick(0, index));
                    gather.end_row();
                }
                None => gather.null_row(),
            }
        }
        gather.finish(&item)
    });
    Ok(BoundFunction::new(vec![array.clone()], array, kernel))
}

fn bind_slice(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    ctx.expect_count(2..=3)?;
    ctx.expect_types((1..ctx.len()).all(|i| ctx.is_type(i, LogicalType::is_integer)))?;
    let (array, item) = (array_or_own(ctx, 0)?, item_type(ctx, 0)?);
    let bounds = std::iter::repeat_n(LogicalType::Int, ctx.len() - 1);
    let types = ctx.casts(std::iter::once(array.logical.clone()).chain(bounds));
    let return_type = ctx.returns(array.logical);
    let kernel = columns(format!("ARRAY_SLICE {item}"), move |args| {
        slice(args, &item)
    });
    Ok(BoundFunction::new(types, return_type, kernel))
}

fn slice(args: &Args, item: &DataType) -> Result<ArrayRef> {
    let lists = Lists::of(args, 0)?;
    let start = args.column::<Int32Type>(1)?;
    let end = (args.len() > 2)
        .then(|| args.column::<Int32Type>(2))
        .transpose()?;
    let mut gather = Gather::new(vec![lists.items.clone()], args.num_rows());
    for row in 0..args.num_rows() {
        let end = end.as_ref().map_or(Some(i32::MAX), |end| end.get(row));
        let (Some(range), Some(start), Some(end)) = (lists.range(row), start.get(row), end) else {
            gather.null_row();
            continue;
        };
        let (from, to) = bounds(range.len() as i64, start.into(), end.into());
        if from < to {
            gather.pick_all(0, range.start + from..range.start + to);
        }
        gather.end_row();
    }
    gather.finish(item)
}

/// Positions from 1 or, negative, from the end, as a range from 0; an end of 0 means 1.
fn bounds(length: i64, start: i64, end: i64) -> (usize, usize) {
    let from_end = |position: i64| {
        if position < 0 {
            position + length + 1
        } else {
            position
        }
    };
    let start = from_end(start).max(1);
    let end = match from_end(end) {
        0 => 1,
        end => end,
    };
    let end = end.min(length).max(0);
    ((start - 1) as usize, end as usize)
}
