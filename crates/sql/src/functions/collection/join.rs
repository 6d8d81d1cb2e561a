//! `ARRAY_JOIN`.

use arrow::array::{Array, ArrayRef, AsArray};
use flott_core::Result;
use flott_core::types::LogicalType;

use super::elements::{Lists, item_type};
use crate::functions::kernel::{Args, Text, collect_text, columns};
use crate::functions::{BindContext, BoundFunction};

function!(
    ARRAY_JOIN,
    "ARRAY_JOIN",
    Collection,
    "ARRAY_JOIN(array, delimiter[, null_replacement])",
    "The strings of the array with the delimiter between them. Elements that are NULL are replaced, \
     or left out when there is no replacement.",
    [(
        "ARRAY_JOIN(ARRAY['a', 'b', CAST(NULL AS STRING)], ',', '*')",
        "a,b,*"
    )],
    bind
);

fn bind(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    ctx.expect_count(2..=3)?;
    let item = item_type(ctx, 0)?;
    let is_text = item.logical.is_character() || item.logical == LogicalType::Null;
    ctx.expect_types(is_text && (1..ctx.len()).all(|i| ctx.is_text(i)))?;
    let array = LogicalType::Array(LogicalType::STRING.nullable().into());
    let texts = std::iter::repeat_n(LogicalType::STRING, ctx.len() - 1);
    let types = ctx.casts(std::iter::once(array).chain(texts));
    Ok(BoundFunction::new(
        types,
        ctx.returns(LogicalType::STRING),
        columns("ARRAY_JOIN", join),
    ))
}

fn join(args: &Args) -> Result<ArrayRef> {
    let lists = Lists::of(args, 0)?;
    let items = lists.items.as_string_view();
    let delimiter = args.column::<Text>(1)?;
    let replacement = (args.len() > 2)
        .then(|| args.column::<Text>(2))
        .transpose()?;
    collect_text(args.num_rows(), |row, out| {
        let (Some(range), Some(delimiter)) = (lists.range(row), delimiter.get(row)) else {
            return Ok(false);
        };
        let replacement = replacement.as_ref().map(|r| r.get(row));
        if replacement == Some(None) {
            return Ok(false);
        }
        let texts = range.filter_map(|index| match items.is_valid(index) {
            true => Some(items.value(index)),
            false => replacement.flatten(),
        });
        for (place, text) in texts.enumerate() {
            if place > 0 {
                out.push_str(delimiter);
            }
            out.push_str(text);
        }
        Ok(true)
    })
}
