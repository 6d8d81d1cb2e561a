//! `ELT`.

use arrow::array::{Array, ArrayRef};
use arrow::compute::interleave;
use arrow::datatypes::Int64Type;
use flott_core::Result;
use flott_core::types::LogicalType;

use super::signature::varying;
use crate::functions::kernel::{Args, columns};
use crate::functions::{BindContext, BoundFunction, FunctionDef, FunctionGroup};

pub static ELT: FunctionDef = FunctionDef {
    name: "ELT",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "ELT(index, expr1, expr2, ...)",
    doc: "The expression number index, from 1; NULL when there is none. The expressions are strings \
          or byte strings.",
    examples: &[("ELT(2, 'scala', 'java')", "java")],
    is_deterministic: true,
    bind,
};

fn bind(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    ctx.expect_count(2..=usize::MAX)?;
    ctx.expect_types(ctx.is_type(0, LogicalType::is_integer))?;
    let all = |holds: fn(&LogicalType) -> bool| (1..ctx.len()).all(|i| ctx.is_type(i, holds));
    let is_text = all(LogicalType::is_character);
    ctx.expect_types(is_text || all(LogicalType::is_binary))?;
    let logical = if is_text {
        longest(ctx)?
    } else {
        LogicalType::BYTES
    };
    let choices = std::iter::repeat_n(logical.clone(), ctx.len() - 1);
    let types = ctx.casts(std::iter::once(LogicalType::BigInt).chain(choices));
    Ok(BoundFunction::new(
        types,
        logical.nullable(),
        columns("ELT", choose),
    ))
}

/// The type that holds all of the strings.
fn longest(ctx: &BindContext<'_>) -> Result<LogicalType> {
    let mut longest = varying(ctx.logical(1)?);
    let first = ctx.logical(1)?;
    if (1..ctx.len()).all(|i| ctx.logical(i).is_ok_and(|t| t == first)) && first.is_character() {
        return Ok(first.clone());
    }
    for index in 2..ctx.len() {
        let other = varying(ctx.logical(index)?);
        if let (LogicalType::VarChar(a), LogicalType::VarChar(b)) = (&longest, &other)
            && b > a
        {
            longest = other;
        }
    }
    Ok(longest)
}

fn choose(args: &Args) -> Result<ArrayRef> {
    let index = args.column::<Int64Type>(0)?;
    let choices = (1..args.len()).map(|i| args.array(i));
    let choices = choices.collect::<Result<Vec<_>>>()?;
    let mut sources: Vec<&dyn Array> = choices.iter().map(|a| a.as_ref()).collect();
    let null = arrow::array::new_null_array(choices[0].data_type(), 1);
    sources.push(null.as_ref());
    let place = |row: usize| {
        let chosen = index.get(row).and_then(|i| usize::try_from(i).ok());
        match chosen {
            Some(chosen) if (1..=choices.len()).contains(&chosen) => {
                (chosen - 1, if args.is_constant(chosen) { 0 } else { row })
            }
            _ => (choices.len(), 0),
        }
    };
    let places: Vec<_> = (0..args.num_rows()).map(place).collect();
    Ok(interleave(&sources, &places)?)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{call_text, int, text};
    use super::*;

    #[test]
    fn one_of_several_is_chosen() {
        let call = |index| call_text(&ELT, &[int(index), text("a"), text("bcd"), text(None)]);
        assert_eq!(call(Some(2)).as_deref(), Some("bcd"));
        assert_eq!(call(Some(3)), None);
        assert_eq!(call(Some(0)), None);
        assert_eq!(call(Some(4)), None);
        assert_eq!(call(None), None);
    }
}
