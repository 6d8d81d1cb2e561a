//! Conditional functions, and facts about types and the session.
//!
//! The binder turns IF, IFNULL, NULLIF and COALESCE into CASE where an argument may fail: a kernel
//! sees all arguments evaluated.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, new_null_array};
use arrow::compute::kernels::boolean;
use arrow::compute::kernels::zip::zip;
use arrow::compute::prep_null_mask_filter;
use arrow::datatypes::DataType as ArrowType;
use flott_core::Result;
use flott_core::types::{DataType, LogicalType};

use super::coercion::common_type;
use super::comparison::compare::{Comparison, compare_args};
use super::comparison::comparison_types;
use super::kernel::{Args, collect_text, columns};
use super::{BindContext, BoundFunction, FunctionDef};

/// The functions of this group.
pub static LIST: &[&FunctionDef] = &[
    &IF,
    &IFNULL,
    &NULLIF,
    &COALESCE,
    &GREATEST,
    &LEAST,
    &TYPEOF,
    &CURRENT_DATABASE,
    &CURRENT_CATALOG,
];

function!(
    IF,
    "IF",
    Conditional,
    "IF(condition, then, otherwise)",
    "The second argument where the condition is true, else the third.",
    [("IF(1 < 2, 'a', 'b')", "a")],
    bind_if
);
function!(
    IFNULL,
    "IFNULL" | "NVL",
    Conditional,
    "IFNULL(value, replacement)",
    "The value, or the replacement where it is NULL.",
    [("IFNULL('a', 'b')", "a")],
    bind_ifnull
);
function!(
    NULLIF,
    "NULLIF",
    Conditional,
    "NULLIF(a, b)",
    "NULL where the values are equal, else the first.",
    [("NULLIF(5, 5)", "NULL")],
    bind_nullif
);
function!(
    COALESCE,
    "COALESCE",
    Conditional,
    "COALESCE(a[, b]*)",
    "The first value that is not NULL.",
    [("COALESCE('a', 'b')", "a")],
    bind_coalesce
);
function!(
    GREATEST,
    "GREATEST",
    Conditional,
    "GREATEST(a[, b]*)",
    "The greatest value; NULL if one is NULL.",
    [("GREATEST(1, 3, 2)", "3")],
    |c| bind_extreme(c, Comparison::Greater)
);
function!(
    LEAST,
    "LEAST",
    Conditional,
    "LEAST(a[, b]*)",
    "The least value; NULL if one is NULL.",
    [("LEAST(1, 3, 2)", "1")],
    |c| bind_extreme(c, Comparison::Less)
);
function!(
    TYPEOF,
    "TYPEOF",
    Auxiliary,
    "TYPEOF(value)",
    "The name of a value's type.",
    [("TYPEOF(1)", "INT NOT NULL")],
    bind_typeof
);
function!(
    CURRENT_DATABASE,
    "CURRENT_DATABASE",
    Auxiliary,
    "CURRENT_DATABASE()",
    "The session's database.",
    [("CURRENT_DATABASE()", "default_database")],
    |c| bind_name(c, &c.session.current_database)
);
function!(
    CURRENT_CATALOG,
    "CURRENT_CATALOG",
    Auxiliary,
    "CURRENT_CATALOG()",
    "The session's catalog.",
    [("CURRENT_CATALOG()", "default_catalog")],
    |c| bind_name(c, &c.session.current_catalog)
);

fn common_of(c: &BindContext<'_>, arguments: &[DataType]) -> Result<DataType> {
    common_type(arguments).ok_or_else(|| c.wrong_types())
}

/// Rows of `then` where the mask is true, else rows of `otherwise`.
fn choose(mask: &BooleanArray, then: &ArrayRef, otherwise: &ArrayRef) -> Result<ArrayRef> {
    if *then.data_type() == ArrowType::Null {
        return Ok(new_null_array(&ArrowType::Null, mask.len()));
    }
    let mask = if mask.null_count() > 0 {
        prep_null_mask_filter(mask)
    } else {
        mask.clone()
    };
    Ok(zip(&mask, then, otherwise)?)
}

fn bind_if(c: &BindContext<'_>) -> Result<BoundFunction> {
    c.expect_count(3..=3)?;
    c.expect_types(c.is_type(0, |t| *t == LogicalType::Boolean))?;
    let own = c.own_types();
    let common = common_of(c, &own[1..])?;
    let kernel = columns("IF", |args| {
        choose(
            args.full_array(0)?.as_boolean(),
            &args.full_array(1)?,
            &args.full_array(2)?,
        )
    });
    let condition = LogicalType::Boolean.nullable();
    Ok(BoundFunction::new(
        vec![condition, common.clone(), common.clone()],
        common,
        kernel,
    ))
}

fn coalesce(args: &Args) -> Result<ArrayRef> {
    let last = args.len() - 1;
    let mut result = args.full_array(last)?;
    for at in (0..last).rev() {
        let values = args.full_array(at)?;
        if values.data_type() != &ArrowType::Null && values.null_count() == 0 {
            result = values;
        } else {
            result = choose(&boolean::is_not_null(&values)?, &values, &result)?;
        }
    }
    Ok(result)
}

fn bind_coalesce(c: &BindContext<'_>) -> Result<BoundFunction> {
    c.expect_count(1..=usize::MAX)?;
    let own = c.own_types();
    let nullable = own.iter().all(|t| t.nullable);
    let common = common_of(c, &own)?.with_nullable(nullable);
    let types = c.casts(std::iter::repeat_n(common.logical.clone(), own.len()));
    Ok(BoundFunction::new(
        types,
        common,
        columns("COALESCE", coalesce),
    ))
}

fn bind_ifnull(c: &BindContext<'_>) -> Result<BoundFunction> {
    c.expect_count(2..=2)?;
    bind_coalesce(c)
}

fn bind_nullif(c: &BindContext<'_>) -> Result<BoundFunction> {
    c.expect_count(2..=2)?;
    let (common, mut types) = comparison_types(c)?;
    // The result keeps the first argument's own type; it is compared in the common one.
    let own = c.argument(0)?.data_type.clone();
    let returned = own.with_nullable(true);
    let options = super::cast::CastOptions {
        is_try: true,
        time_zone: c.session.time_zone,
    };
    let label = format!("NULLIF {} {common} {options:?}", own.logical);
    types[0] = own.clone();
    let kernel = columns(label, move |args| {
        let values = args.full_array(0)?;
        let cast = super::cast::cast_array(&values, &own.logical, &common, &options)?;
        let pair = Args::of_columns(vec![cast, args.full_array(1)?], args.num_rows());
        let equal = compare_args(&pair, 0, 1, Comparison::Equal)?;
        let nulls = new_null_array(values.data_type(), args.num_rows());
        choose(equal.as_boolean(), &nulls, &values)
    });
    Ok(BoundFunction::new(types, returned, kernel))
}

fn bind_extreme(c: &BindContext<'_>, comparison: Comparison) -> Result<BoundFunction> {
    c.expect_count(1..=usize::MAX)?;
    let own = c.own_types();
    let common = common_of(c, &own)?;
    let types = vec![common.clone(); own.len()];
    let kernel = columns(format!("extreme {comparison:?}"), move |args| {
        let mut best = args.full_array(0)?;
        for at in 1..args.len() {
            let pair = Args::of_columns(vec![best.clone(), args.full_array(at)?], args.num_rows());
            let keeps = compare_args(&pair, 0, 1, comparison)?;
            let chosen = choose(keeps.as_boolean(), &best, pair.array(1)?)?;
            // A NULL on either side makes the comparison, and the result, unknown.
            best = choose(
                &boolean::is_not_null(&keeps)?,
                &chosen,
                &new_null_array(best.data_type(), args.num_rows()),
            )?;
        }
        Ok(best)
    });
    Ok(BoundFunction::new(types, common, kernel))
}

fn bind_typeof(c: &BindContext<'_>) -> Result<BoundFunction> {
    c.expect_count(1..=2)?;
    let name = c.argument(0)?.data_type.to_string();
    let kernel = columns(format!("TYPEOF {name}"), move |args| {
        collect_text(args.num_rows(), |_, out| {
            out.push_str(&name);
            Ok(true)
        })
    });
    Ok(BoundFunction::new(
        c.own_types(),
        LogicalType::STRING.not_null(),
        kernel,
    ))
}

fn bind_name(c: &BindContext<'_>, name: &str) -> Result<BoundFunction> {
    c.expect_count(0..=0)?;
    let name = name.to_string();
    let kernel = columns(format!("{} {name}", c.name), move |args| {
        let names = arrow::array::StringViewArray::from_iter_values(std::iter::repeat_n(
            &name,
            args.num_rows(),
        ));
        Ok(Arc::new(names))
    });
    Ok(BoundFunction::new(
        Vec::new(),
        LogicalType::STRING.not_null(),
        kernel,
    ))
}

#[cfg(test)]
mod tests {
    use crate::functions::testing::values::*;
    use crate::functions::testing::{call, show};
    use flott_core::types::LogicalType as T;

    #[test]
    fn the_first_value_that_fits_is_chosen() {
        let truth = typed("true", T::Boolean);
        assert_eq!(show("IF", &[truth, int(1), bigint(2)]), "1");
        assert_eq!(show("IF", &[null(), int(1), bigint(2)]), "2");
        assert_eq!(show("COALESCE", &[null(), int(1), int(2)]), "1");
        assert_eq!(show("IFNULL", &[null(), string("x")]), "x");
        assert_eq!(show("NULLIF", &[int(5), bigint(5)]), "NULL");
        assert_eq!(show("NULLIF", &[int(5), int(6)]), "5");
    }

    #[test]
    fn extremes_are_null_when_an_argument_is() {
        assert_eq!(show("GREATEST", &[int(1), int(3), int(2)]), "3");
        assert_eq!(
            show(
                "LEAST",
                &[
                    int(1),
                    (datafusion_common::ScalarValue::Int32(None), T::Int)
                ]
            ),
            "NULL"
        );
        assert_eq!(show("GREATEST", &[string("a"), string("B")]), "a");
    }

    #[test]
    fn types_and_the_session_are_named() {
        assert_eq!(show("TYPEOF", &[int(1)]), "INT NOT NULL");
        assert_eq!(
            call("CURRENT_DATABASE", &[]).expect("a name").0,
            "default_database"
        );
    }
}
