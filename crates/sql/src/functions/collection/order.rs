//! `ARRAY_SORT`, `ARRAY_MAX`, `ARRAY_MIN`.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef};
use flott_core::Result;
use flott_core::types::{DataType, LogicalType};

use super::elements::{Comparison, Gather, Lists, item_type, pick_rows};
use super::find::array_or_own;
use crate::functions::kernel::{Args, Bool, columns};
use crate::functions::{BindContext, BoundFunction};

function!(
    ARRAY_SORT,
    "ARRAY_SORT",
    Collection,
    "ARRAY_SORT(array[, ascending[, nulls_first]])",
    "The array in order, ascending when not said otherwise; NULLs come first in ascending and last \
     in descending order when not said otherwise.",
    [
        ("ARRAY_SORT(ARRAY[3, 1, 2])", "[1, 2, 3]"),
        ("ARRAY_SORT(ARRAY[3, 1, 2], FALSE)", "[3, 2, 1]")
    ],
    bind_sort
);

function!(
    ARRAY_MAX,
    "ARRAY_MAX",
    Collection,
    "ARRAY_MAX(array)",
    "The largest element; NULL when there is none that is not NULL.",
    [("ARRAY_MAX(ARRAY[3, 1, 2])", "3")],
    |ctx| bind_extreme(ctx, Ordering::Greater)
);

function!(
    ARRAY_MIN,
    "ARRAY_MIN",
    Collection,
    "ARRAY_MIN(array)",
    "The smallest element; NULL when there is none that is not NULL.",
    [("ARRAY_MIN(ARRAY[3, 1, 2])", "1")],
    |ctx| bind_extreme(ctx, Ordering::Less)
);

fn bind_sort(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    ctx.expect_count(1..=3)?;
    let is_bool = |i| ctx.is_type(i, |t| *t == LogicalType::Boolean);
    ctx.expect_types((1..ctx.len()).all(is_bool))?;
    let (array, item) = (array_or_own(ctx, 0)?, item_type(ctx, 0)?);
    let flags = std::iter::repeat_n(LogicalType::Boolean, ctx.len() - 1);
    let types = ctx.casts(std::iter::once(array.logical.clone()).chain(flags));
    let return_type = ctx.returns(array.logical);
    let kernel = columns(format!("ARRAY_SORT {item}"), move |args| sort(args, &item));
    Ok(BoundFunction::new(types, return_type, kernel))
}

fn sort(args: &Args, item: &DataType) -> Result<ArrayRef> {
    let lists = Lists::of(args, 0)?;
    let items = Comparison::of(lists.items.data_type())?.encode(&lists.items)?;
    let flag = |index| {
        (args.len() > index)
            .then(|| args.column::<Bool>(index))
            .transpose()
    };
    let (ascending, nulls_first) = (flag(1)?, flag(2)?);
    let mut gather = Gather::new(vec![lists.items.clone()], args.num_rows());
    let mut order: Vec<usize> = Vec::new();
    for row in 0..args.num_rows() {
        let ascending = ascending.as_ref().map_or(Some(true), |a| a.get(row));
        let nulls_first = nulls_first.as_ref().map_or(ascending, |n| n.get(row));
        let (Some(range), Some(ascending), Some(nulls_first)) =
            (lists.range(row), ascending, nulls_first)
        else {
            gather.null_row();
            continue;
        };
        order.clear();
        order.extend(range);
        order.sort_by(|&a, &b| {
            let nulls = (lists.items.is_null(a), lists.items.is_null(b));
            match nulls {
                (false, false) if ascending => items.row(a).cmp(&items.row(b)),
                (false, false) => items.row(b).cmp(&items.row(a)),
                (a, b) if nulls_first => b.cmp(&a),
                (a, b) => a.cmp(&b),
            }
        });
        order.iter().for_each(|index| gather.pick(0, *index));
        gather.end_row();
    }
    gather.finish(item)
}

fn bind_extreme(ctx: &BindContext<'_>, wanted: Ordering) -> Result<BoundFunction> {
    ctx.expect_count(1..=1)?;
    let (array, item) = (array_or_own(ctx, 0)?, item_type(ctx, 0)?);
    let kernel = columns(format!("ARRAY {wanted:?}"), move |args| {
        extreme(args, wanted)
    });
    Ok(BoundFunction::new(
        vec![array],
        item.with_nullable(true),
        kernel,
    ))
}

fn extreme(args: &Args, wanted: Ordering) -> Result<ArrayRef> {
    let lists = Lists::of(args, 0)?;
    let items = Comparison::of(lists.items.data_type())?.encode(&lists.items)?;
    let picks = (0..args.num_rows()).map(|row| {
        let valid = lists
            .range(row)?
            .filter(|index| lists.items.is_valid(*index));
        let best = valid.reduce(|best, index| {
            let is_better = items.row(index).cmp(&items.row(best)) == wanted;
            if is_better { index } else { best }
        });
        best.map(|index| (0, index))
    });
    pick_rows(std::slice::from_ref(&lists.items), picks)
}
