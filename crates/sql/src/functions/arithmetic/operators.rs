//! The operators `+ - * / %` and the sign.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowNativeTypeOp, AsArray, PrimitiveArray};
use arrow::compute::kernels::arity::try_binary;
use arrow::compute::kernels::numeric::{add_wrapping, mul_wrapping, neg_wrapping, sub_wrapping};
use arrow::datatypes::*;
use arrow::error::ArrowError;
use flott_core::Result;
use flott_core::types::{DataType, LogicalType};

use super::{decimal, interval};
use crate::functions::coercion::common_number;
use crate::functions::kernel::{Args, columns};
use crate::functions::{BindContext, BoundFunction};

function!(
    PLUS,
    "+",
    Arithmetic,
    "a + b",
    "Adds numbers, intervals, or an interval to a date or time. Integers wrap around on overflow; a decimal that has too many digits is NULL.",
    [
        ("1 + 2", "3"),
        ("DATE '2024-01-31' + INTERVAL '1' MONTH", "2024-02-29")
    ],
    |c| bind_operator(c, Operator::Add)
);
function!(
    MINUS,
    "-",
    Arithmetic,
    "a - b",
    "Subtracts numbers, intervals, an interval from a date or time, or times from each other.",
    [("3 - 5", "-2")],
    |c| bind_operator(c, Operator::Subtract)
);
function!(
    TIMES,
    "*",
    Arithmetic,
    "a * b",
    "Multiplies numbers, or an interval with a number.",
    [("3 * 4", "12")],
    |c| bind_operator(c, Operator::Multiply)
);
function!(
    DIVIDE,
    "/" | "DIV",
    Arithmetic,
    "a / b",
    "Divides numbers; of integers the fraction is cut off. A division by zero is an error.",
    [("7 / 2", "3"), ("1.0 / 3", "0.333333333333")],
    |c| bind_operator(c, Operator::Divide)
);
function!(
    MODULO,
    "MOD" | "%",
    Arithmetic,
    "MOD(a, b)",
    "The remainder of a division, with the sign of the dividend.",
    [("MOD(-7, 3)", "-1")],
    |c| bind_operator(c, Operator::Modulo)
);
function!(
    NEGATE,
    "NEGATE" | "MINUS_PREFIX",
    Arithmetic,
    "- a",
    "The negative of a number or an interval.",
    [("- 3", "-3")],
    bind_negate
);

/// An operator of two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

fn bind_operator(c: &BindContext<'_>, operator: Operator) -> Result<BoundFunction> {
    if c.len() == 1 && operator == Operator::Subtract {
        return bind_negate(c);
    }
    c.expect_count(2..=2)?;
    let (left, right) = operands(c)?;
    if !left.is_numeric() || !right.is_numeric() {
        return interval::bind_operator(c, operator, &left, &right);
    }
    let has_decimal = |t: &LogicalType| matches!(t, LogicalType::Decimal(..));
    let is_exact = left.is_exact_numeric() && right.is_exact_numeric();
    if is_exact && (has_decimal(&left) || has_decimal(&right)) {
        return decimal::bind_operator(c, operator, &left, &right);
    }
    // Calcite: of two approximate numbers the first one's type.
    let common = match left.is_approximate_numeric() && right.is_approximate_numeric() {
        true => left.clone(),
        false => common_number(&left, &right),
    };
    let returned = match operator {
        // Calcite: the remainder has the divisor's type.
        Operator::Modulo if is_exact => right,
        _ => common.clone(),
    };
    bind_primitive(c, operator, common, returned)
}

/// The types of two operands; a NULL takes the other's.
fn operands(c: &BindContext<'_>) -> Result<(LogicalType, LogicalType)> {
    Ok(match (c.logical(0)?, c.logical(1)?) {
        (LogicalType::Null, LogicalType::Null) => (LogicalType::Int, LogicalType::Int),
        (LogicalType::Null, t) if t.is_numeric() || t.is_interval() => (t.clone(), t.clone()),
        (t, LogicalType::Null) if t.is_numeric() || t.is_interval() => (t.clone(), t.clone()),
        (left, right) => (left.clone(), right.clone()),
    })
}

fn bind_primitive(
    c: &BindContext<'_>,
    operator: Operator,
    common: LogicalType,
    returned: LogicalType,
) -> Result<BoundFunction> {
    let argument_types = c.casts([common.clone(), common.clone()]);
    let (label, kind) = (format!("{operator:?} {common} {returned}"), common.clone());
    let result = returned.clone();
    let kernel = columns(label, move |args| {
        let array = match operator {
            Operator::Add => add_wrapping(args.datum(0)?.as_ref(), args.datum(1)?.as_ref())?,
            Operator::Subtract => sub_wrapping(args.datum(0)?.as_ref(), args.datum(1)?.as_ref())?,
            Operator::Multiply => mul_wrapping(args.datum(0)?.as_ref(), args.datum(1)?.as_ref())?,
            Operator::Divide | Operator::Modulo => divide_any(args, &kind, operator)?,
        };
        narrow(array, &kind, &result)
    });
    Ok(BoundFunction::new(
        argument_types,
        c.returns(returned),
        kernel,
    ))
}

/// The remainder in the divisor's type, which may be narrower than that of the division.
fn narrow(array: ArrayRef, from: &LogicalType, to: &LogicalType) -> Result<ArrayRef> {
    if from == to {
        return Ok(array);
    }
    crate::functions::cast::number::cast_number(&array, from, to)
}

fn divide_any(args: &Args, logical: &LogicalType, operator: Operator) -> Result<ArrayRef> {
    let is_division = operator == Operator::Divide;
    match logical {
        LogicalType::TinyInt => divide::<Int8Type>(args, is_division),
        LogicalType::SmallInt => divide::<Int16Type>(args, is_division),
        LogicalType::Int => divide::<Int32Type>(args, is_division),
        LogicalType::BigInt => divide::<Int64Type>(args, is_division),
        LogicalType::Float => divide::<Float32Type>(args, is_division),
        _ => divide::<Float64Type>(args, is_division),
    }
}

fn divide<T: ArrowPrimitiveType>(args: &Args, is_division: bool) -> Result<ArrayRef>
where
    T::Native: ArrowNativeTypeOp,
{
    let apply = move |a: T::Native, b: T::Native| {
        if is_division {
            a.div_wrapping(b)
        } else {
            a.mod_wrapping(b)
        }
    };
    // A float is divided by zero as it is everywhere; only constants are refused, as in Flink.
    let is_float = T::DATA_TYPE.is_floating() && !(args.is_constant(0) && args.is_constant(1));
    if args.is_constant(1) && !args.is_constant(0) && args.array(1)?.is_valid(0) {
        let divisor = args.array(1)?.as_primitive::<T>().value(0);
        let dividends = args.array(0)?.as_primitive::<T>();
        if is_float || !divisor.is_zero() {
            return Ok(Arc::new(dividends.unary::<_, T>(|v| apply(v, divisor))));
        }
    }
    let (left, right) = (args.full_array(0)?, args.full_array(1)?);
    let (left, right) = (left.as_primitive::<T>(), right.as_primitive::<T>());
    let quotients: PrimitiveArray<T> = try_binary(left, right, |a, b| {
        if b.is_zero() && !is_float {
            Err(ArrowError::DivideByZero)
        } else {
            Ok(apply(a, b))
        }
    })?;
    Ok(Arc::new(quotients))
}

fn bind_negate(c: &BindContext<'_>) -> Result<BoundFunction> {
    c.expect_count(1..=1)?;
    c.expect_types(c.is_type(0, |t| t.is_numeric() || t.is_interval()))?;
    let logical = match c.logical(0)? {
        LogicalType::Null => LogicalType::Int,
        logical => logical.clone(),
    };
    let returned: DataType = c.returns(logical.clone());
    let label = format!("negate {logical}");
    let kernel = columns(label, move |args| match logical {
        LogicalType::IntervalYearMonth => {
            let months = args.array(0)?.as_primitive::<IntervalYearMonthType>();
            Ok(Arc::new(
                months.unary::<_, IntervalYearMonthType>(i32::wrapping_neg),
            ))
        }
        _ => Ok(neg_wrapping(args.array(0)?.as_ref())?),
    });
    Ok(BoundFunction::new(vec![returned.clone()], returned, kernel))
}
