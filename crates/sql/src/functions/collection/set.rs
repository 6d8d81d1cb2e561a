//! `ARRAY_CONCAT`, `ARRAY_DISTINCT`, `ARRAY_UNION`, `ARRAY_EXCEPT`, `ARRAY_INTERSECT`.

use arrow::array::ArrayRef;
use arrow::row::Rows;
use flott_core::Result;
use flott_core::hash::StableHashSet;
use flott_core::types::{DataType, LogicalType};

use super::elements::{Comparison, Gather, Lists, common, item_type};
use crate::functions::kernel::{Args, columns};
use crate::functions::{BindContext, BoundFunction};

function!(
    ARRAY_CONCAT,
    "ARRAY_CONCAT",
    Collection,
    "ARRAY_CONCAT(array1, array2, ...)",
    "The arrays one after the other; NULL when any of them is NULL.",
    [("ARRAY_CONCAT(ARRAY[1, 2], ARRAY[2])", "[1, 2, 2]")],
    |ctx| bind(ctx, usize::MAX, SetOperation::Concat)
);

function!(
    ARRAY_DISTINCT,
    "ARRAY_DISTINCT",
    Collection,
    "ARRAY_DISTINCT(array)",
    "The array with each element once, in the order of their first places.",
    [("ARRAY_DISTINCT(ARRAY[2, 1, 2])", "[2, 1]")],
    |ctx| bind(ctx, 1, SetOperation::Union)
);

function!(
    ARRAY_UNION,
    "ARRAY_UNION",
    Collection,
    "ARRAY_UNION(array1, array2)",
    "The elements of both arrays, each once.",
    [("ARRAY_UNION(ARRAY[1, 1, 2], ARRAY[2, 3])", "[1, 2, 3]")],
    |ctx| bind(ctx, 2, SetOperation::Union)
);

function!(
    ARRAY_EXCEPT,
    "ARRAY_EXCEPT",
    Collection,
    "ARRAY_EXCEPT(array1, array2)",
    "The elements of array1 that are not in array2, each once.",
    [("ARRAY_EXCEPT(ARRAY[1, 2, 2, 3], ARRAY[3])", "[1, 2]")],
    |ctx| bind(ctx, 2, SetOperation::Except)
);

function!(
    ARRAY_INTERSECT,
    "ARRAY_INTERSECT",
    Collection,
    "ARRAY_INTERSECT(array1, array2)",
    "The elements of array1 that are in array2 too, each once.",
    [(
        "ARRAY_INTERSECT(ARRAY[1, 2, 2, 3], ARRAY[2, 3, 4])",
        "[2, 3]"
    )],
    |ctx| bind(ctx, 2, SetOperation::Intersect)
);

/// What becomes of elements of several arrays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SetOperation {
    Concat,
    Union,
    Except,
    Intersect,
}

fn bind(ctx: &BindContext<'_>, max: usize, operation: SetOperation) -> Result<BoundFunction> {
    let min = if max == usize::MAX { 1 } else { max };
    ctx.expect_count(min..=max)?;
    let items = (0..ctx.len())
        .map(|i| item_type(ctx, i))
        .collect::<Result<Vec<_>>>()?;
    let item = common(ctx, &items)?;
    let array = LogicalType::Array(item.clone().into());
    let types = ctx.casts(std::iter::repeat_n(array.clone(), ctx.len()));
    let label = format!("ARRAY {operation:?} {item}");
    let kernel = columns(label, move |args| run(args, &item, operation));
    Ok(BoundFunction::new(types, ctx.returns(array), kernel))
}

fn run(args: &Args, item: &DataType, operation: SetOperation) -> Result<ArrayRef> {
    let lists = (0..args.len())
        .map(|i| Lists::of(args, i))
        .collect::<Result<Vec<_>>>()?;
    let sources = lists.iter().map(|l| l.items.clone()).collect();
    let mut gather = Gather::new(sources, args.num_rows());
    let encoded = encode(&lists, operation)?;
    let mut seen = StableHashSet::default();
    for row in 0..args.num_rows() {
        let ranges: Option<Vec<_>> = lists.iter().map(|l| l.range(row)).collect();
        let Some(ranges) = ranges else {
            gather.null_row();
            continue;
        };
        seen.clear();
        match operation {
            SetOperation::Concat => {
                for (source, range) in ranges.into_iter().enumerate() {
                    gather.pick_all(source, range);
                }
            }
            SetOperation::Union => {
                for (source, range) in ranges.into_iter().enumerate() {
                    for index in range.filter(|i| seen.insert(encoded[source].row(*i))) {
                        gather.pick(source, index);
                    }
                }
            }
            SetOperation::Except => {
                seen.extend(ranges[1].clone().map(|index| encoded[1].row(index)));
                for index in ranges[0]
                    .clone()
                    .filter(|i| seen.insert(encoded[0].row(*i)))
                {
                    gather.pick(0, index);
                }
            }
            SetOperation::Intersect => {
                seen.extend(ranges[1].clone().map(|index| encoded[1].row(index)));
                // What is found is taken out, so that it is found once.
                for index in ranges[0]
                    .clone()
                    .filter(|i| seen.remove(&encoded[0].row(*i)))
                {
                    gather.pick(0, index);
                }
            }
        }
        gather.end_row();
    }
    gather.finish(item)
}

/// The elements in comparable form, where they are compared.
fn encode(lists: &[Lists], operation: SetOperation) -> Result<Vec<Rows>> {
    if operation == SetOperation::Concat {
        return Ok(Vec::new());
    }
    let comparison = Comparison::of(lists[0].items.data_type())?;
    lists
        .iter()
        .map(|list| comparison.encode(&list.items))
        .collect()
}
