//! `CARDINALITY`, `ELEMENT`.

use arrow::array::ArrayRef;
use arrow::datatypes::Int32Type;
use flott_core::types::LogicalType;
use flott_core::{Error, Result};

use super::elements::{Lists, item_type, pick_rows};
use super::find::array_or_own;
use crate::functions::kernel::{Args, collect, columns};
use crate::functions::{BindContext, BoundFunction};

function!(
    CARDINALITY,
    "CARDINALITY",
    Collection,
    "CARDINALITY(array_or_map)",
    "The number of elements of an array, or of entries of a map or multiset.",
    [
        ("CARDINALITY(ARRAY[1, 2, 3])", "3"),
        ("CARDINALITY(MAP['a', 1])", "1")
    ],
    bind_cardinality
);

function!(
    ELEMENT,
    "ELEMENT",
    Collection,
    "ELEMENT(array)",
    "The only element of an array; NULL when the array is empty. An array of more elements is an \
     error.",
    [("ELEMENT(ARRAY[7])", "7")],
    bind_element
);

fn bind_cardinality(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    ctx.expect_count(1..=1)?;
    let is_collection = |t: &LogicalType| {
        matches!(
            t,
            LogicalType::Array(_) | LogicalType::Map(..) | LogicalType::Multiset(_)
        )
    };
    ctx.expect_types(is_collection(ctx.logical(0)?))?;
    let kernel = columns("CARDINALITY", |args| {
        let lists = Lists::of(args, 0)?;
        collect::<Int32Type>(args.num_rows(), |row| {
            Ok(lists.range(row).map(|range| range.len() as i32))
        })
    });
    Ok(BoundFunction::new(
        ctx.own_types(),
        ctx.returns(LogicalType::Int),
        kernel,
    ))
}

fn bind_element(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    ctx.expect_count(1..=1)?;
    let (array, item) = (array_or_own(ctx, 0)?, item_type(ctx, 0)?);
    let return_type = item.with_nullable(true);
    Ok(BoundFunction::new(
        vec![array],
        return_type,
        columns("ELEMENT", elements),
    ))
}

fn elements(args: &Args) -> Result<ArrayRef> {
    let lists = Lists::of(args, 0)?;
    let mut picks = Vec::with_capacity(args.num_rows());
    for row in 0..args.num_rows() {
        let range = lists.range(row).unwrap_or(0..0);
        if range.len() > 1 {
            let message = format!(
                "ELEMENT takes an array of one element, not of {}",
                range.len()
            );
            return Err(Error::user("INVALID_ARGUMENT", message));
        }
        picks.push((!range.is_empty()).then_some((0, range.start)));
    }
    pick_rows(std::slice::from_ref(&lists.items), picks.into_iter())
}
