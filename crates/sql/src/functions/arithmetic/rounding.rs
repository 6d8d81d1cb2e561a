//! Magnitude, sign and rounding of numbers.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, Float32Array, Float64Array};
use arrow::datatypes::*;
use flott_core::Result;
use flott_core::text::number::{divide_half_up, power_of_ten, rescale};
use flott_core::types::LogicalType;

use super::decimal::with_digits;
use crate::functions::kernel::{Args, Column, collect, columns};
use crate::functions::temporal::rounding::bind_to_unit;
use crate::functions::{BindContext, BoundFunction};

function!(
    ABS,
    "ABS",
    Arithmetic,
    "ABS(number)",
    "The magnitude of a number.",
    [("ABS(-3)", "3")],
    |c| bind_shape(c, Shape::Abs)
);
function!(
    SIGN,
    "SIGN",
    Arithmetic,
    "SIGN(number)",
    "-1, 0 or 1 in the type of the number.",
    [("SIGN(-3)", "-1")],
    |c| bind_shape(c, Shape::Sign)
);
function!(
    FLOOR,
    "FLOOR",
    Arithmetic,
    "FLOOR(number) | FLOOR(time TO unit)",
    "The largest whole number that is not greater, or the start of the time's unit.",
    [
        ("FLOOR(-2.5)", "-3"),
        ("FLOOR(DATE '2024-03-05' TO MONTH)", "2024-03-01")
    ],
    |c| bind_whole(c, Shape::Floor)
);
function!(
    CEIL,
    "CEIL" | "CEILING",
    Arithmetic,
    "CEIL(number) | CEIL(time TO unit)",
    "The smallest whole number that is not less, or the end of the time's unit.",
    [("CEIL(-2.5)", "-2")],
    |c| bind_whole(c, Shape::Ceil)
);
function!(
    ROUND,
    "ROUND",
    Arithmetic,
    "ROUND(number[, digits])",
    "Rounds half away from zero to digits after the point; negative digits round before it.",
    [("ROUND(2.345, 2)", "2.35"), ("ROUND(1234.567, -2)", "1200")],
    |c| bind_digits(c, true)
);
function!(
    TRUNCATE,
    "TRUNCATE",
    Arithmetic,
    "TRUNCATE(number[, digits])",
    "Cuts a number off after digits behind the point.",
    [("TRUNCATE(42.345, 2)", "42.34")],
    |c| bind_digits(c, false)
);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    Abs,
    Sign,
    Floor,
    Ceil,
}

fn bind_whole(c: &BindContext<'_>, shape: Shape) -> Result<BoundFunction> {
    if c.len() == 2 {
        return bind_to_unit(c, shape == Shape::Ceil);
    }
    bind_shape(c, shape)
}

fn number_type(c: &BindContext<'_>) -> Result<LogicalType> {
    c.expect_types(c.is_numeric(0))?;
    Ok(match c.logical(0)? {
        LogicalType::Null => LogicalType::Int,
        logical => logical.clone(),
    })
}

fn bind_shape(c: &BindContext<'_>, shape: Shape) -> Result<BoundFunction> {
    c.expect_count(1..=1)?;
    let logical = number_type(c)?;
    let returned = match (&logical, shape) {
        (LogicalType::Decimal(precision, _), Shape::Floor | Shape::Ceil) => {
            LogicalType::Decimal(*precision, 0)
        }
        _ => logical.clone(),
    };
    let (kind, label) = (logical.clone(), format!("{shape:?} {logical}"));
    let kernel = columns(label, move |args| shape_array(args.array(0)?, &kind, shape));
    Ok(BoundFunction::new(
        c.casts([logical]),
        c.returns(returned),
        kernel,
    ))
}

fn shape_array(array: &ArrayRef, logical: &LogicalType, shape: Shape) -> Result<ArrayRef> {
    macro_rules! integer {
        ($type:ty) => {{
            let values = array.as_primitive::<$type>();
            match shape {
                Shape::Abs => Arc::new(values.unary::<_, $type>(|v| v.wrapping_abs())),
                Shape::Sign => Arc::new(values.unary::<_, $type>(|v| v.signum())),
                Shape::Floor | Shape::Ceil => array.clone(),
            }
        }};
    }
    macro_rules! float {
        ($type:ty) => {{
            let values = array.as_primitive::<$type>();
            let sign =
                |v: <$type as ArrowPrimitiveType>::Native| if v == 0.0 { v } else { v.signum() };
            Arc::new(match shape {
                Shape::Abs => values.unary::<_, $type>(|v| v.abs()),
                Shape::Sign => values.unary::<_, $type>(sign),
                Shape::Floor => values.unary::<_, $type>(|v| v.floor()),
                Shape::Ceil => values.unary::<_, $type>(|v| v.ceil()),
            })
        }};
    }
    Ok(match logical {
        LogicalType::TinyInt => integer!(Int8Type),
        LogicalType::SmallInt => integer!(Int16Type),
        LogicalType::Int => integer!(Int32Type),
        LogicalType::BigInt => integer!(Int64Type),
        LogicalType::Float => float!(Float32Type),
        LogicalType::Double => float!(Float64Type),
        LogicalType::Decimal(precision, scale) => {
            return shape_decimal(array, (*precision, *scale), shape);
        }
        other => return Err(flott_core::Error::internal(format!("{shape:?} of {other}"))),
    })
}

fn shape_decimal(array: &ArrayRef, (precision, scale): (u8, u8), shape: Shape) -> Result<ArrayRef> {
    let power = power_of_ten(u32::from(scale));
    let values = array.as_primitive::<Decimal128Type>();
    let (values, scale) = match shape {
        Shape::Abs => (values.unary::<_, Decimal128Type>(i128::abs), scale),
        Shape::Sign => (values.unary(|v| v.signum() * power), scale),
        Shape::Floor => (values.unary(|v| v.div_euclid(power)), 0),
        Shape::Ceil => (values.unary(|v| -(-v).div_euclid(power)), 0),
    };
    with_digits(&(Arc::new(values) as ArrayRef), (precision, scale))
}

fn bind_digits(c: &BindContext<'_>, is_round: bool) -> Result<BoundFunction> {
    c.expect_count(1..=2)?;
    let logical = number_type(c)?;
    c.expect_types(c.len() == 1 || c.is_type(1, LogicalType::is_integer))?;
    let literal = match c.arguments.get(1) {
        None => Some(0),
        Some(digits) => digits.literal_integer(),
    };
    let returned = match (&logical, literal) {
        (LogicalType::Decimal(precision, scale), Some(digits)) => {
            rounded_digits(*precision, *scale, digits)
        }
        _ => logical.clone(),
    };
    let work = Rounding {
        from: logical.clone(),
        to: returned.clone(),
        is_round,
    };
    let kernel = columns(format!("{work:?}"), move |args| work.run(args));
    Ok(BoundFunction::new(
        c.casts([logical, LogicalType::Int]),
        c.returns(returned),
        kernel,
    ))
}

/// The type of a decimal rounded to digits: rounding may add one before the point.
fn rounded_digits(precision: u8, scale: u8, digits: i64) -> LogicalType {
    let whole = precision - scale;
    match digits {
        d if d >= i64::from(scale) => LogicalType::Decimal(precision, scale),
        d if d < 0 => LogicalType::Decimal((whole + 1).min(38), 0),
        d => LogicalType::Decimal((whole + 1 + d as u8).min(38), d as u8),
    }
}

#[derive(Debug)]
struct Rounding {
    from: LogicalType,
    to: LogicalType,
    is_round: bool,
}

impl Rounding {
    fn run(&self, args: &Args) -> Result<ArrayRef> {
        let given = (args.len() > 1)
            .then(|| args.column::<Int32Type>(1))
            .transpose()?;
        let digits = |row: usize| {
            given
                .as_ref()
                .map_or(Some(0), |d: &Column<'_, Int32Type>| d.get(row))
        };
        let array = args.full_array(0)?;
        macro_rules! integer {
            ($type:ty) => {{
                let values = array.as_primitive::<$type>();
                collect::<$type>(args.num_rows(), |row| {
                    let value = values.is_valid(row).then(|| i128::from(values.value(row)));
                    Ok(value
                        .zip(digits(row))
                        .map(|(v, d)| self.whole(v, d.min(0)) as _))
                })
            }};
        }
        match &self.from {
            LogicalType::TinyInt => integer!(Int8Type),
            LogicalType::SmallInt => integer!(Int16Type),
            LogicalType::Int => integer!(Int32Type),
            LogicalType::BigInt => integer!(Int64Type),
            LogicalType::Decimal(_, scale) => self.decimals(&array, i32::from(*scale), digits),
            LogicalType::Float => {
                let values = array.as_primitive::<Float32Type>().iter().enumerate();
                Ok(Arc::new(
                    values
                        .map(|(row, v)| Some(self.float(v?, digits(row)?)))
                        .collect::<Float32Array>(),
                ))
            }
            _ => {
                let values = array.as_primitive::<Float64Type>().iter().enumerate();
                Ok(Arc::new(
                    values
                        .map(|(row, v)| Some(self.double(v?, digits(row)?)))
                        .collect::<Float64Array>(),
                ))
            }
        }
    }

    /// Rounds a whole number to 10^-digits.
    fn whole(&self, value: i128, digits: i32) -> i128 {
        if digits >= 0 {
            return value;
        }
        if digits < -37 {
            return 0;
        }
        let power = power_of_ten(digits.unsigned_abs());
        self.divide(value, power) * power
    }

    fn divide(&self, value: i128, power: i128) -> i128 {
        if self.is_round {
            divide_half_up(value, power)
        } else {
            value / power
        }
    }

    fn decimals(
        &self,
        array: &ArrayRef,
        scale: i32,
        digits: impl Fn(usize) -> Option<i32>,
    ) -> Result<ArrayRef> {
        let LogicalType::Decimal(precision, new_scale) = self.to else {
            return Err(flott_core::Error::internal(
                "a decimal rounded to another type",
            ));
        };
        let values = array.as_primitive::<Decimal128Type>();
        let rounded = collect::<Decimal128Type>(values.len(), |row| {
            let value = values.is_valid(row).then(|| values.value(row));
            Ok(value.zip(digits(row)).and_then(|(v, d)| {
                let kept = self.whole(v, (d.min(scale) - scale).max(-38));
                rescale(kept, i32::from(new_scale) - scale, precision)
            }))
        })?;
        with_digits(&rounded, (precision, new_scale))
    }

    fn float(&self, value: f32, digits: i32) -> f32 {
        let mut text = String::new();
        flott_core::text::number::write_float(value, &mut text);
        self.shortest(&text, digits).map_or(value, |v| v as f32)
    }

    fn double(&self, value: f64, digits: i32) -> f64 {
        let mut text = String::new();
        flott_core::text::number::write_double(value, &mut text);
        self.shortest(&text, digits).unwrap_or(value)
    }

    /// Rounds what a number prints as, which is what Java's decimals of doubles do. `None` when
    /// it has no such digits: NaN, infinities and very large or small scales.
    fn shortest(&self, text: &str, digits: i32) -> Option<f64> {
        let (mantissa, exponent) = text.split_once('E').unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.')?;
        let unscaled: i128 = format!("{whole}{fraction}").parse().ok()?;
        let scale = fraction.len() as i32 - exponent.parse::<i32>().ok()?;
        if digits >= scale {
            return None;
        }
        let drop = scale - digits;
        let kept = if drop > 38 {
            0
        } else {
            self.divide(unscaled, power_of_ten(drop as u32))
        };
        format!("{kept}e{}", -digits).parse().ok()
    }
}
