//! Logic of three values: TRUE, FALSE and unknown.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::compute::kernels::boolean;
use flott_core::Result;
use flott_core::types::LogicalType;

use super::kernel::{Bool, collect, columns};
use super::{BindContext, BoundFunction, FunctionDef};

/// The functions of this group.
pub static LIST: &[&FunctionDef] = &[
    &AND,
    &OR,
    &NOT,
    &IS_TRUE,
    &IS_NOT_TRUE,
    &IS_FALSE,
    &IS_NOT_FALSE,
    &IS_UNKNOWN,
    &IS_NOT_UNKNOWN,
];

function!(
    AND,
    "AND",
    Logical,
    "a AND b",
    "Whether both are true.",
    [("TRUE AND FALSE", "FALSE")],
    |c| bind_pair(c, true)
);
function!(
    OR,
    "OR",
    Logical,
    "a OR b",
    "Whether one or both are true.",
    [("TRUE OR FALSE", "TRUE")],
    |c| bind_pair(c, false)
);
function!(
    NOT,
    "NOT",
    Logical,
    "NOT a",
    "The opposite; unknown stays unknown.",
    [("NOT TRUE", "FALSE")],
    bind_not
);
function!(
    IS_TRUE,
    "IS TRUE",
    Logical,
    "a IS TRUE",
    "Whether a condition is true.",
    [("TRUE IS TRUE", "TRUE")],
    |c| bind_test(c, Some(true), true)
);
function!(
    IS_NOT_TRUE,
    "IS NOT TRUE",
    Logical,
    "a IS NOT TRUE",
    "Whether a condition is false or unknown.",
    [("TRUE IS NOT TRUE", "FALSE")],
    |c| bind_test(c, Some(true), false)
);
function!(
    IS_FALSE,
    "IS FALSE",
    Logical,
    "a IS FALSE",
    "Whether a condition is false.",
    [("TRUE IS FALSE", "FALSE")],
    |c| bind_test(c, Some(false), true)
);
function!(
    IS_NOT_FALSE,
    "IS NOT FALSE",
    Logical,
    "a IS NOT FALSE",
    "Whether a condition is true or unknown.",
    [("TRUE IS NOT FALSE", "TRUE")],
    |c| bind_test(c, Some(false), false)
);
function!(
    IS_UNKNOWN,
    "IS UNKNOWN",
    Logical,
    "a IS UNKNOWN",
    "Whether a condition is unknown.",
    [("TRUE IS UNKNOWN", "FALSE")],
    |c| bind_test(c, None, true)
);
function!(
    IS_NOT_UNKNOWN,
    "IS NOT UNKNOWN",
    Logical,
    "a IS NOT UNKNOWN",
    "Whether a condition is true or false.",
    [("TRUE IS NOT UNKNOWN", "TRUE")],
    |c| bind_test(c, None, false)
);

fn expect_conditions(c: &BindContext<'_>, count: usize) -> Result<()> {
    c.expect_count(count..=count)?;
    c.expect_types((0..count).all(|i| c.is_type(i, |t| *t == LogicalType::Boolean)))
}

fn bind_pair(c: &BindContext<'_>, is_and: bool) -> Result<BoundFunction> {
    expect_conditions(c, 2)?;
    let kernel = columns(if is_and { "AND" } else { "OR" }, move |args| {
        let (a, b) = (args.full_array(0)?, args.full_array(1)?);
        let (a, b) = (a.as_boolean(), b.as_boolean());
        let combined = if is_and {
            boolean::and_kleene(a, b)?
        } else {
            boolean::or_kleene(a, b)?
        };
        Ok(Arc::new(combined))
    });
    let types = c.casts([LogicalType::Boolean, LogicalType::Boolean]);
    Ok(BoundFunction::new(
        types,
        c.returns(LogicalType::Boolean),
        kernel,
    ))
}

fn bind_not(c: &BindContext<'_>) -> Result<BoundFunction> {
    expect_conditions(c, 1)?;
    let kernel = columns("NOT", |args| {
        Ok(Arc::new(boolean::not(args.array(0)?.as_boolean())?))
    });
    let returned = c.returns(LogicalType::Boolean);
    Ok(BoundFunction::new(
        c.casts([LogicalType::Boolean]),
        returned,
        kernel,
    ))
}

fn bind_test(c: &BindContext<'_>, tested: Option<bool>, wanted: bool) -> Result<BoundFunction> {
    expect_conditions(c, 1)?;
    let kernel = columns(format!("is {tested:?} {wanted}"), move |args| {
        let conditions = args.column::<Bool>(0)?;
        collect::<Bool>(args.num_rows(), |row| {
            Ok(Some((conditions.get(row) == tested) == wanted))
        })
    });
    let types = c.casts([LogicalType::Boolean]);
    Ok(BoundFunction::new(
        types,
        LogicalType::Boolean.not_null(),
        kernel,
    ))
}

#[cfg(test)]
mod tests {
    use crate::functions::testing::show;
    use crate::functions::testing::values::*;
    use flott_core::types::LogicalType as T;

    #[test]
    fn unknown_is_a_value_of_its_own() {
        let truth = |v: &str| typed(v, T::Boolean);
        assert_eq!(show("AND", &[truth("false"), null()]), "FALSE");
        assert_eq!(show("OR", &[truth("false"), null()]), "NULL");
        assert_eq!(show("NOT", &[null()]), "NULL");
        assert_eq!(show("IS NOT TRUE", &[null()]), "TRUE");
        assert_eq!(show("IS UNKNOWN", &[null()]), "TRUE");
        assert_eq!(show("IS FALSE", &[truth("false")]), "TRUE");
    }
}
