//! Comparisons.

pub mod compare;

use flott_core::Result;
use flott_core::types::{DataType, LogicalType};

use self::compare::{Comparison, compare_args, is_null};
use super::coercion::comparison_type;
use super::kernel::columns;
use super::{BindContext, BoundFunction, FunctionDef};

/// The functions of this group.
pub static LIST: &[&FunctionDef] = &[
    &EQUALS,
    &NOT_EQUALS,
    &LESS,
    &LESS_OR_EQUAL,
    &GREATER,
    &GREATER_OR_EQUAL,
    &IS_DISTINCT_FROM,
    &IS_NOT_DISTINCT_FROM,
    &IS_NULL,
    &IS_NOT_NULL,
    &BETWEEN,
    &NOT_BETWEEN,
    &BETWEEN_SYMMETRIC,
    &NOT_BETWEEN_SYMMETRIC,
];

function!(
    EQUALS,
    "=" | "==",
    Comparison,
    "a = b",
    "Whether two values are equal; unknown if one is NULL.",
    [("1 = 1", "TRUE")],
    |c| bind_comparison(c, Comparison::Equal)
);
function!(
    NOT_EQUALS,
    "<>" | "!=",
    Comparison,
    "a <> b",
    "Whether two values differ; unknown if one is NULL.",
    [("1 <> 1", "FALSE")],
    |c| bind_comparison(c, Comparison::NotEqual)
);
function!(
    LESS,
    "<",
    Comparison,
    "a < b",
    "Whether the first value is less.",
    [("1 < 2", "TRUE")],
    |c| bind_comparison(c, Comparison::Less)
);
function!(
    LESS_OR_EQUAL,
    "<=",
    Comparison,
    "a <= b",
    "Whether the first value is less or equal.",
    [("2 <= 1", "FALSE")],
    |c| bind_comparison(c, Comparison::LessOrEqual)
);
function!(
    GREATER,
    ">",
    Comparison,
    "a > b",
    "Whether the first value is greater.",
    [("DATE '2024-03-05' > DATE '2024-03-04'", "TRUE")],
    |c| bind_comparison(c, Comparison::Greater)
);
function!(
    GREATER_OR_EQUAL,
    ">=",
    Comparison,
    "a >= b",
    "Whether the first value is greater or equal.",
    [("1 >= 1", "TRUE")],
    |c| bind_comparison(c, Comparison::GreaterOrEqual)
);
function!(
    IS_DISTINCT_FROM,
    "IS DISTINCT FROM",
    Comparison,
    "a IS DISTINCT FROM b",
    "Whether two values differ, where NULL equals NULL.",
    [("1 IS DISTINCT FROM 2", "TRUE")],
    |c| bind_comparison(c, Comparison::Distinct)
);
function!(
    IS_NOT_DISTINCT_FROM,
    "IS NOT DISTINCT FROM",
    Comparison,
    "a IS NOT DISTINCT FROM b",
    "Whether two values are equal, where NULL equals NULL.",
    [("1 IS NOT DISTINCT FROM 2", "FALSE")],
    |c| bind_comparison(c, Comparison::NotDistinct)
);
function!(
    IS_NULL,
    "IS NULL",
    Comparison,
    "a IS NULL",
    "Whether a value is NULL.",
    [("1 IS NULL", "FALSE")],
    |c| bind_null_test(c, true)
);
function!(
    IS_NOT_NULL,
    "IS NOT NULL",
    Comparison,
    "a IS NOT NULL",
    "Whether a value is not NULL.",
    [("1 IS NOT NULL", "TRUE")],
    |c| bind_null_test(c, false)
);
function!(
    BETWEEN,
    "BETWEEN",
    Comparison,
    "a BETWEEN low AND high",
    "Whether a value is at least the low and at most the high one.",
    [("2 BETWEEN 1 AND 3", "TRUE")],
    |c| bind_between(c, false, false)
);
function!(
    NOT_BETWEEN,
    "NOT BETWEEN",
    Comparison,
    "a NOT BETWEEN low AND high",
    "Whether a value is less than the low or more than the high one.",
    [("2 NOT BETWEEN 1 AND 3", "FALSE")],
    |c| bind_between(c, true, false)
);
function!(
    BETWEEN_SYMMETRIC,
    "BETWEEN SYMMETRIC",
    Comparison,
    "a BETWEEN SYMMETRIC b AND c",
    "Whether a value lies between two others, in whichever order they are.",
    [("2 BETWEEN SYMMETRIC 3 AND 1", "TRUE")],
    |c| bind_between(c, false, true)
);
function!(
    NOT_BETWEEN_SYMMETRIC,
    "NOT BETWEEN SYMMETRIC",
    Comparison,
    "a NOT BETWEEN SYMMETRIC b AND c",
    "Whether a value lies outside two others, in whichever order they are.",
    [("2 NOT BETWEEN SYMMETRIC 3 AND 1", "FALSE")],
    |c| bind_between(c, true, true)
);

/// The arguments cast to the type in which they are compared.
pub fn comparison_types(c: &BindContext<'_>) -> Result<(LogicalType, Vec<DataType>)> {
    let own = c.own_types();
    let common = comparison_type(&own)
        .ok_or_else(|| c.wrong_types())?
        .logical;
    let types = c.casts(std::iter::repeat_n(common.clone(), own.len()));
    Ok((common, types))
}

/// A DATE is not compared with a timestamp: one of them has to be cast.
fn expect_like_times(c: &BindContext<'_>) -> Result<()> {
    let mut types = c.arguments.iter().map(|a| &a.data_type.logical);
    let has_date = types.clone().any(|t| matches!(t, LogicalType::Date));
    c.expect_types(!has_date || !types.any(LogicalType::is_timestamp))
}

fn bind_comparison(c: &BindContext<'_>, comparison: Comparison) -> Result<BoundFunction> {
    c.expect_count(2..=2)?;
    expect_like_times(c)?;
    let (_, types) = comparison_types(c)?;
    let kernel = columns(format!("{comparison:?}"), move |args| {
        compare_args(args, 0, 1, comparison)
    });
    let returned = match comparison {
        Comparison::Distinct | Comparison::NotDistinct => LogicalType::Boolean.not_null(),
        _ => c.returns(LogicalType::Boolean),
    };
    Ok(BoundFunction::new(types, returned, kernel))
}

fn bind_null_test(c: &BindContext<'_>, wanted: bool) -> Result<BoundFunction> {
    c.expect_count(1..=1)?;
    let kernel = columns(format!("is null {wanted}"), move |args| {
        is_null(args.array(0)?, wanted)
    });
    Ok(BoundFunction::new(
        c.own_types(),
        LogicalType::Boolean.not_null(),
        kernel,
    ))
}

fn bind_between(c: &BindContext<'_>, negated: bool, symmetric: bool) -> Result<BoundFunction> {
    c.expect_count(3..=3)?;
    expect_like_times(c)?;
    let (_, types) = comparison_types(c)?;
    let label = format!("between {negated} {symmetric}");
    let kernel = columns(label, move |args| {
        compare::between(args, negated, symmetric)
    });
    Ok(BoundFunction::new(
        types,
        c.returns(LogicalType::Boolean),
        kernel,
    ))
}

#[cfg(test)]
mod tests {
    use crate::functions::testing::show;
    use crate::functions::testing::values::*;
    use flott_core::types::LogicalType as T;

    #[test]
    fn values_are_compared_in_their_common_type() {
        assert_eq!(
            show("=", &[decimal("1", 10, 4), decimal("1.0", 5, 1)]),
            "TRUE"
        );
        assert_eq!(show("<", &[int(1), double(1.5)]), "TRUE");
        assert_eq!(show("=", &[string("a"), null()]), "NULL");
        let date = || typed("2024-03-05", T::Date);
        assert_eq!(show(">", &[date(), string("2024-03-04")]), "TRUE");
        assert_eq!(
            show(
                "=",
                &[date(), typed("2024-03-05 00:00:00", T::Timestamp(3))]
            ),
            "INVALID_ARGUMENT_TYPES"
        );
        assert_eq!(show("=", &[string("1"), int(1)]), "INVALID_ARGUMENT_TYPES");
        assert_eq!(show("IS DISTINCT FROM", &[int(1), null()]), "TRUE");
        assert_eq!(show("IS NOT DISTINCT FROM", &[null(), null()]), "TRUE");
        assert_eq!(show("=", &[double(0.0), double(-0.0)]), "TRUE");
        assert_eq!(show("=", &[double(f64::NAN), double(f64::NAN)]), "TRUE");
    }

    #[test]
    fn ranges_include_their_ends() {
        assert_eq!(show("BETWEEN", &[int(3), int(1), int(3)]), "TRUE");
        assert_eq!(show("NOT BETWEEN", &[int(0), int(1), int(3)]), "TRUE");
        assert_eq!(show("BETWEEN", &[int(0), int(1), null()]), "FALSE");
        assert_eq!(show("BETWEEN SYMMETRIC", &[int(2), int(3), int(1)]), "TRUE");
    }
}
