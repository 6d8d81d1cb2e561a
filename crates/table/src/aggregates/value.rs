//! MIN, MAX, FIRST_VALUE, LAST_VALUE, SINGLE_VALUE: one of the values.

use arrow::array::{Array, ArrayRef, UInt32Array};
use flott_core::types::DataType;
use flott_core::{Error, Result};

use super::bind::{nullable, one, wrong_type};
use super::encoded::Lists;
use super::kept::{self, Rule};
use super::{Accumulator, AggregateFunction, AggregateTypes, counted, listed};

const MIN: AggregateFunction = AggregateFunction {
    name: "MIN",
    aliases: &[],
    doc: "MIN(x) is the least value that is not NULL.",
    bind: bind_ordered,
    create: |types, retractable| match retractable {
        true => counted::Counted::boxed(types, counted::Finish::Least),
        false => kept::create(&types.arguments[0], Rule::Least),
    },
    is_mergeable: true,
    ignores_distinct: true,
    is_order_sensitive: false,
    is_additive: false,
};

const FIRST_VALUE: AggregateFunction = AggregateFunction {
    name: "FIRST_VALUE",
    aliases: &[],
    doc: "FIRST_VALUE(x) is the value that is not NULL and came first.",
    bind: bind_any,
    create: |types, retractable| create_place(types, retractable, Rule::First),
    is_mergeable: true,
    ignores_distinct: false,
    is_order_sensitive: true,
    is_additive: false,
};

pub(super) const FUNCTIONS: &[AggregateFunction] = &[
    MIN,
    AggregateFunction {
        name: "MAX",
        doc: "MAX(x) is the greatest value that is not NULL.",
        create: |types, retractable| match retractable {
            true => counted::Counted::boxed(types, counted::Finish::Greatest),
            false => kept::create(&types.arguments[0], Rule::Greatest),
        },
        ..MIN
    },
    FIRST_VALUE,
    AggregateFunction {
        name: "LAST_VALUE",
        doc: "LAST_VALUE(x) is the value that is not NULL and came last.",
        create: |types, retractable| create_place(types, retractable, Rule::Last),
        ..FIRST_VALUE
    },
    AggregateFunction {
        name: "SINGLE_VALUE",
        doc: "SINGLE_VALUE(x) is the value of the only row; more rows are an error.",
        create: |types, _| listed::Listed::boxed(types, None, listed::Finish::All(single_value)),
        ..FIRST_VALUE
    },
];

fn bind_any(args: &[DataType]) -> Result<AggregateTypes> {
    let argument = one(args)?;
    Ok(AggregateTypes {
        arguments: vec![argument.clone()],
        result: nullable(argument),
    })
}

fn bind_ordered(args: &[DataType]) -> Result<AggregateTypes> {
    let argument = one(args)?;
    if argument.logical.is_nested() {
        return Err(wrong_type("a value that can be compared", argument));
    }
    bind_any(args)
}

fn create_place(
    types: &AggregateTypes,
    retractable: bool,
    rule: Rule,
) -> Result<Box<dyn Accumulator>> {
    if !retractable {
        return kept::create(&types.arguments[0], rule);
    }
    let finish = match rule {
        Rule::First => listed::Finish::First,
        _ => listed::Finish::Last,
    };
    listed::Listed::boxed(types, Some(0), finish)
}

fn single_value(lists: &Lists, _types: &AggregateTypes) -> Result<ArrayRef> {
    let mut indices = Vec::with_capacity(lists.len());
    for list in 0..lists.len() {
        let range = lists.range(list);
        if range.len() > 1 {
            let message = format!(
                "a subquery that has to give one row gives {}; add a LIMIT or an aggregate",
                range.len()
            );
            return Err(Error::user("SINGLE_VALUE", message));
        }
        indices.push((!range.is_empty()).then_some(range.start as u32));
    }
    let values = &lists.columns[0];
    debug_assert!(values.len() >= indices.iter().flatten().count());
    Ok(arrow::compute::take(
        values,
        &UInt32Array::from(indices),
        None,
    )?)
}
