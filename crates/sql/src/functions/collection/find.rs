//! `ARRAY_CONTAINS`, `ARRAY_POSITION`.

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::Int32Type;
use flott_core::Result;
use flott_core::types::{DataType, LogicalType};

use super::elements::{Comparison, Lists, item_type};
use crate::functions::coercion::is_implicit_cast_allowed;
use crate::functions::kernel::{Args, Bool, collect, columns};
use crate::functions::{BindContext, BoundFunction};

function!(
    ARRAY_CONTAINS,
    "ARRAY_CONTAINS",
    Collection,
    "ARRAY_CONTAINS(array, element)",
    "Whether the element, which may be NULL, is in the array; NULL for a NULL array.",
    [("ARRAY_CONTAINS(ARRAY[1, 2], 2)", "TRUE")],
    bind_contains
);

function!(
    ARRAY_POSITION,
    "ARRAY_POSITION",
    Collection,
    "ARRAY_POSITION(array, element)",
    "Where the element first stands in the array, counted from 1; 0 when it does not.",
    [("ARRAY_POSITION(ARRAY[7, 8, 8], 8)", "2")],
    bind_position
);

/// The array as it is, and the element cast to the array's element type.
pub fn haystack_and_needle(ctx: &BindContext<'_>) -> Result<Vec<DataType>> {
    ctx.expect_count(2..=2)?;
    let item = item_type(ctx, 0)?;
    let needle = &ctx.argument(1)?.data_type;
    let is_null = needle.logical == LogicalType::Null || item.logical == LogicalType::Null;
    let fits = is_null || is_implicit_cast_allowed(&needle.logical, &item.logical);
    ctx.expect_types(fits)?;
    // A string is not cut to the elements' length: it would be found where it is not.
    let logical = match item.logical {
        LogicalType::Char(_) | LogicalType::VarChar(_) => LogicalType::STRING,
        other => other,
    };
    let needle = logical.nullable().with_nullable(needle.nullable);
    Ok(vec![array_or_own(ctx, 0)?, needle])
}

/// The argument's own type; a NULL is an array of NULLs.
pub fn array_or_own(ctx: &BindContext<'_>, index: usize) -> Result<DataType> {
    let item = item_type(ctx, index)?;
    let data_type = &ctx.argument(index)?.data_type;
    Ok(LogicalType::Array(item.into())
        .nullable()
        .with_nullable(data_type.nullable))
}

fn bind_contains(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let types = haystack_and_needle(ctx)?;
    let nullable = types[0].nullable;
    let kernel = columns("ARRAY_CONTAINS", |args| {
        let found = Search::new(args)?;
        collect::<Bool>(args.num_rows(), |row| {
            Ok(found.position(row).map(|p| p > 0))
        })
    });
    let return_type = LogicalType::Boolean.nullable().with_nullable(nullable);
    Ok(BoundFunction::new(types, return_type, kernel))
}

fn bind_position(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let types = haystack_and_needle(ctx)?;
    Ok(BoundFunction::new(
        types,
        ctx.returns(LogicalType::Int),
        columns("ARRAY_POSITION", positions),
    ))
}

fn positions(args: &Args) -> Result<ArrayRef> {
    let found = Search::new(args)?;
    let needle = args.full_array(1)?;
    collect::<Int32Type>(args.num_rows(), |row| {
        Ok(found.position(row).filter(|_| needle.is_valid(row)))
    })
}

/// Arrays, and elements to be found in them.
pub struct Search {
    pub lists: Lists,
    items: arrow::row::Rows,
    needles: arrow::row::Rows,
    is_constant: bool,
}

impl Search {
    /// Argument 0 is the array, argument 1 the element.
    pub fn new(args: &Args) -> Result<Self> {
        let lists = Lists::of(args, 0)?;
        let comparison = Comparison::of(lists.items.data_type())?;
        let items = comparison.encode(&lists.items)?;
        let needles = comparison.encode(args.array(1)?)?;
        let is_constant = args.is_constant(1);
        Ok(Self {
            lists,
            items,
            needles,
            is_constant,
        })
    }

    /// Whether the element at `index` is the one that the row looks for.
    pub fn is_match(&self, row: usize, index: usize) -> bool {
        let needle = if self.is_constant { 0 } else { row };
        self.items.row(index) == self.needles.row(needle)
    }

    /// Counted from 1, 0 when it is not there; `None` for a NULL array.
    fn position(&self, row: usize) -> Option<i32> {
        let mut range = self.lists.range(row)?;
        let found = range.position(|index| self.is_match(row, index));
        Some(found.map_or(0, |place| place as i32 + 1))
    }
}
