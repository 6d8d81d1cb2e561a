//! Functions of real numbers: arguments and results are DOUBLE.

use arrow::datatypes::Float64Type;
use flott_core::Result;
use flott_core::types::LogicalType;

use crate::functions::kernel::{binary, collect, columns, unary};
use crate::functions::{BindContext, BoundFunction};

function!(
    POWER,
    "POWER" | "POW",
    Arithmetic,
    "POWER(base, exponent)",
    "The base raised to the power of the exponent.",
    [("POWER(2, 10)", "1024.0")],
    |c| real_binary(c, "POWER", f64::powf)
);
function!(
    SQRT,
    "SQRT",
    Arithmetic,
    "SQRT(number)",
    "The square root; NaN for a negative number.",
    [("SQRT(2)", "1.4142135623730951")],
    |c| real(c, "SQRT", f64::sqrt)
);
function!(
    EXP,
    "EXP",
    Arithmetic,
    "EXP(number)",
    "e raised to the power of the number.",
    [("EXP(1)", "2.718281828459045")],
    |c| real(c, "EXP", f64::exp)
);
function!(
    LN,
    "LN",
    Arithmetic,
    "LN(number)",
    "The natural logarithm.",
    [("LN(10)", "2.302585092994046")],
    |c| real(c, "LN", f64::ln)
);
function!(
    LOG,
    "LOG",
    Arithmetic,
    "LOG([base, ]number)",
    "The logarithm to the base, or the natural one.",
    [("LOG(2, 8)", "3.0")],
    bind_log
);
function!(
    LOG2,
    "LOG2",
    Arithmetic,
    "LOG2(number)",
    "The logarithm to base 2.",
    [("LOG2(8)", "3.0")],
    |c| real(c, "LOG2", |v| v.ln() / 2f64.ln())
);
function!(
    LOG10,
    "LOG10",
    Arithmetic,
    "LOG10(number)",
    "The logarithm to base 10.",
    [("LOG10(100)", "2.0")],
    |c| real(c, "LOG10", f64::log10)
);
function!(
    SIN,
    "SIN",
    Arithmetic,
    "SIN(radians)",
    "The sine.",
    [("SIN(1)", "0.8414709848078965")],
    |c| real(c, "SIN", f64::sin)
);
function!(
    COS,
    "COS",
    Arithmetic,
    "COS(radians)",
    "The cosine.",
    [("COS(1)", "0.5403023058681398")],
    |c| real(c, "COS", f64::cos)
);
function!(
    TAN,
    "TAN",
    Arithmetic,
    "TAN(radians)",
    "The tangent.",
    [("TAN(1)", "1.5574077246549023")],
    |c| real(c, "TAN", f64::tan)
);
function!(
    COT,
    "COT",
    Arithmetic,
    "COT(radians)",
    "The cotangent.",
    [("COT(1)", "0.6420926159343306")],
    |c| real(c, "COT", |v| 1.0 / v.tan())
);
function!(
    ASIN,
    "ASIN",
    Arithmetic,
    "ASIN(number)",
    "The arc sine, in radians.",
    [("ASIN(0)", "0.0")],
    |c| real(c, "ASIN", f64::asin)
);
function!(
    ACOS,
    "ACOS",
    Arithmetic,
    "ACOS(number)",
    "The arc cosine, in radians.",
    [("ACOS(1)", "0.0")],
    |c| real(c, "ACOS", f64::acos)
);
function!(
    ATAN,
    "ATAN",
    Arithmetic,
    "ATAN(number)",
    "The arc tangent, in radians.",
    [("ATAN(0)", "0.0")],
    |c| real(c, "ATAN", f64::atan)
);
function!(
    ATAN2,
    "ATAN2",
    Arithmetic,
    "ATAN2(y, x)",
    "The angle of the point (x, y), in radians.",
    [("ATAN2(1, 2)", "0.4636476090008061")],
    |c| real_binary(c, "ATAN2", f64::atan2)
);
function!(
    SINH,
    "SINH",
    Arithmetic,
    "SINH(number)",
    "The hyperbolic sine.",
    [("SINH(0)", "0.0")],
    |c| real(c, "SINH", f64::sinh)
);
function!(
    COSH,
    "COSH",
    Arithmetic,
    "COSH(number)",
    "The hyperbolic cosine.",
    [("COSH(0)", "1.0")],
    |c| real(c, "COSH", f64::cosh)
);
function!(
    TANH,
    "TANH",
    Arithmetic,
    "TANH(number)",
    "The hyperbolic tangent.",
    [("TANH(0)", "0.0")],
    |c| real(c, "TANH", f64::tanh)
);
function!(
    DEGREES,
    "DEGREES",
    Arithmetic,
    "DEGREES(radians)",
    "Radians as degrees.",
    [("DEGREES(PI())", "180.0")],
    |c| real(c, "DEGREES", f64::to_degrees)
);
function!(
    RADIANS,
    "RADIANS",
    Arithmetic,
    "RADIANS(degrees)",
    "Degrees as radians.",
    [("RADIANS(180)", "3.141592653589793")],
    |c| real(c, "RADIANS", f64::to_radians)
);
function!(
    PI,
    "PI",
    Arithmetic,
    "PI()",
    "The ratio of a circle's circumference to its diameter.",
    [("PI()", "3.141592653589793")],
    |c| constant(c, "PI", std::f64::consts::PI)
);
function!(
    E,
    "E",
    Arithmetic,
    "E()",
    "The base of the natural logarithm.",
    [("E()", "2.718281828459045")],
    |c| constant(c, "E", std::f64::consts::E)
);

fn expect_numbers(c: &BindContext<'_>, count: usize) -> Result<()> {
    c.expect_count(count..=count)?;
    c.expect_types((0..count).all(|i| c.is_numeric(i)))
}

fn real(c: &BindContext<'_>, label: &str, f: fn(f64) -> f64) -> Result<BoundFunction> {
    expect_numbers(c, 1)?;
    let kernel = unary::<Float64Type, Float64Type>(label, f);
    Ok(BoundFunction::new(
        c.casts([LogicalType::Double]),
        c.returns(LogicalType::Double),
        kernel,
    ))
}

fn real_binary(c: &BindContext<'_>, label: &str, f: fn(f64, f64) -> f64) -> Result<BoundFunction> {
    expect_numbers(c, 2)?;
    let kernel = binary::<Float64Type, Float64Type, Float64Type>(label, f);
    let types = c.casts([LogicalType::Double, LogicalType::Double]);
    Ok(BoundFunction::new(
        types,
        c.returns(LogicalType::Double),
        kernel,
    ))
}

fn bind_log(c: &BindContext<'_>) -> Result<BoundFunction> {
    if c.len() == 1 {
        return real(c, "LOG", f64::ln);
    }
    real_binary(c, "LOG", |base, v| v.ln() / base.ln())
}

fn constant(c: &BindContext<'_>, label: &str, value: f64) -> Result<BoundFunction> {
    c.expect_count(0..=0)?;
    let kernel = columns(label, move |args| {
        collect::<Float64Type>(args.num_rows(), |_| Ok(Some(value)))
    });
    Ok(BoundFunction::new(
        Vec::new(),
        LogicalType::Double.not_null(),
        kernel,
    ))
}
