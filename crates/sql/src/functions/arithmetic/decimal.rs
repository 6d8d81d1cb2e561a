//! Arithmetic on decimals: precision and scale by Calcite's rules, NULL on overflow.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array};
use arrow::compute::binary;
use arrow::datatypes::{Decimal128Type, i256};
use flott_core::text::number::{divide_half_up, power_of_ten, rescale};
use flott_core::types::{LogicalType, MAX_DECIMAL_PRECISION};
use flott_core::{Error, Result};

use super::operators::Operator;
use crate::functions::coercion::decimal_digits;
use crate::functions::kernel::{Args, collect, columns};
use crate::functions::{BindContext, BoundFunction};

/// Precision and scale.
pub type Digits = (u8, u8);

/// Brings a precision over 38 down: digits before the point are kept as far as 6 digits (or the
/// scale, if that is smaller) remain after it.
fn adjust(precision: i32, scale: i32) -> Digits {
    let max = i32::from(MAX_DECIMAL_PRECISION);
    if precision <= max {
        return (precision as u8, scale as u8);
    }
    let whole = precision - scale;
    let scale = (max - whole).max(scale.min(6));
    (MAX_DECIMAL_PRECISION, scale as u8)
}

/// The precision and scale of a result.
pub fn result_digits(operator: Operator, (p, s): Digits, (q, t): Digits) -> Digits {
    let (p, s, q, t) = (i32::from(p), i32::from(s), i32::from(q), i32::from(t));
    match operator {
        Operator::Add | Operator::Subtract => {
            let scale = s.max(t);
            adjust((p - s).max(q - t) + scale + 1, scale)
        }
        Operator::Multiply => adjust(p + q + 1, s + t),
        Operator::Divide => {
            let scale = 6.max(s + q + 1);
            adjust(p - s + t + scale, scale)
        }
        Operator::Modulo => {
            let scale = s.max(t);
            adjust((p - s).min(q - t) + scale, scale)
        }
    }
}

/// The work on unscaled values, with the exponents worked out.
#[derive(Debug, Clone, Copy)]
struct Work {
    operator: Operator,
    left_scale: u8,
    right_scale: u8,
    result: Digits,
    exact: Option<Exact>,
}

impl Work {
    fn apply(&self, a: i128, b: i128) -> Result<Option<i128>> {
        let (precision, scale) = self.result;
        let common = self.left_scale.max(self.right_scale);
        let aligned = || {
            let align = |v: i128, from: u8| v.checked_mul(power_of_ten(u32::from(common - from)));
            Some((align(a, self.left_scale)?, align(b, self.right_scale)?))
        };
        let to_result = |v: i128| rescale(v, i32::from(scale) - i32::from(common), precision);
        Ok(match self.operator {
            Operator::Add => aligned()
                .and_then(|(a, b)| a.checked_add(b))
                .and_then(to_result),
            Operator::Subtract => aligned()
                .and_then(|(a, b)| a.checked_sub(b))
                .and_then(to_result),
            Operator::Multiply => self.multiply(a, b),
            Operator::Divide | Operator::Modulo if b == 0 => {
                return Err(Error::user("DIVISION_BY_ZERO", "division by zero"));
            }
            Operator::Divide => self.divide(a, b),
            Operator::Modulo => aligned().map(|(a, b)| a % b).and_then(to_result),
        })
    }

    fn multiply(&self, a: i128, b: i128) -> Option<i128> {
        let (precision, scale) = self.result;
        let exponent = i32::from(scale) - i32::from(self.left_scale + self.right_scale);
        match a.checked_mul(b) {
            Some(product) => rescale(product, exponent, precision),
            None => {
                let product = i256::from_i128(a).checked_mul(i256::from_i128(b))?;
                let divisor = i256::from_i128(power_of_ten(exponent.unsigned_abs()));
                rescale(divide_wide(product, divisor)?, 0, precision)
            }
        }
    }

    fn divide(&self, a: i128, b: i128) -> Option<i128> {
        let (precision, scale) = self.result;
        let exponent = i32::from(scale + self.right_scale) - i32::from(self.left_scale);
        if exponent < 0 {
            let divisor = b.checked_mul(power_of_ten(exponent.unsigned_abs()))?;
            return rescale(divide_half_up(a, divisor), 0, precision);
        }
        let exponent = exponent.unsigned_abs();
        let widened = (exponent <= 38)
            .then(|| a.checked_mul(power_of_ten(exponent)))
            .flatten();
        let quotient = match widened {
            Some(dividend) => divide_half_up(dividend, b),
            None => {
                let first = i256::from_i128(power_of_ten(exponent.min(38)));
                let second = i256::from_i128(power_of_ten(exponent.saturating_sub(38)));
                let dividend = i256::from_i128(a).checked_mul(first)?.checked_mul(second)?;
                divide_wide(dividend, i256::from_i128(b))?
            }
        };
        rescale(quotient, 0, precision)
    }
}

/// Divides half up; `None` when the quotient does not fit 128 bits.
fn divide_wide(value: i256, divisor: i256) -> Option<i128> {
    let quotient = value.checked_div(divisor)?;
    let rest = value.checked_rem(divisor)?;
    let magnitude = |v: i256| v.checked_abs();
    let (rest_size, divisor_size) = (magnitude(rest)?, magnitude(divisor)?);
    let is_up = rest_size >= divisor_size.checked_sub(rest_size)?;
    let is_negative = (value < i256::ZERO) != (divisor < i256::ZERO);
    let step = i128::from(is_up) * if is_negative { -1 } else { 1 };
    quotient.to_i128()?.checked_add(step)
}

/// Binds an operator of exact numbers of which one is a decimal.
pub fn bind_operator(
    c: &BindContext<'_>,
    operator: Operator,
    left: &LogicalType,
    right: &LogicalType,
) -> Result<BoundFunction> {
    let (Some(left), Some(right)) = (decimal_digits(left), decimal_digits(right)) else {
        return Err(c.wrong_types());
    };
    let result = result_digits(operator, left, right);
    let work = Work {
        operator,
        left_scale: left.1,
        right_scale: right.1,
        result,
        exact: Exact::of(operator, left, right, result),
    };
    let types = [
        LogicalType::Decimal(left.0, left.1),
        LogicalType::Decimal(right.0, right.1),
    ];
    let kernel = columns(format!("{work:?}"), move |args| run(args, &work));
    let returned = c.returns(LogicalType::Decimal(result.0, result.1));
    Ok(BoundFunction::new(c.casts(types), returned, kernel))
}

/// A result that cannot overflow: the values times these, then added or multiplied.
#[derive(Debug, Clone, Copy)]
struct Exact {
    is_product: bool,
    left: i128,
    right: i128,
}

impl Exact {
    /// `None` when digits may be lost, of these decimals or of their result.
    fn of(operator: Operator, left: Digits, right: Digits, result: Digits) -> Option<Self> {
        let ((p, s), (q, t)) = (left, right);
        let common = s.max(t);
        let whole = (p.checked_sub(s)?).max(q.checked_sub(t)?);
        let align = |scale: u8| power_of_ten(u32::from(common - scale));
        let is_enough = |precision: u8| precision <= result.0;
        match operator {
            Operator::Multiply if result.1 == s + t && is_enough(p + q) => Some(Self {
                is_product: true,
                left: 1,
                right: 1,
            }),
            Operator::Add | Operator::Subtract
                if result.1 == common && is_enough(whole + common + 1) =>
            {
                let sign = if operator == Operator::Add { 1 } else { -1 };
                Some(Self {
                    is_product: false,
                    left: align(s),
                    right: sign * align(t),
                })
            }
            _ => None,
        }
    }

    fn run(self, args: &Args) -> Result<ArrayRef> {
        let (a, b) = (args.array(0)?, args.array(1)?);
        let (a, b) = (
            a.as_primitive::<Decimal128Type>(),
            b.as_primitive::<Decimal128Type>(),
        );
        let Self {
            is_product,
            left,
            right,
        } = self;
        let of = |a: i128, b: i128| match is_product {
            true => a.wrapping_mul(b),
            false => a.wrapping_mul(left).wrapping_add(b.wrapping_mul(right)),
        };
        let is_constant = |at: usize| args.is_constant(at);
        let result: Decimal128Array = match (is_constant(0), is_constant(1)) {
            (true, false) if a.is_valid(0) => {
                let a = a.value(0);
                b.unary(|b| of(a, b))
            }
            (false, true) if b.is_valid(0) => {
                let b = b.value(0);
                a.unary(|a| of(a, b))
            }
            (false, false) => binary(a, b, of)?,
            (true, true) if args.num_rows() == 1 => binary(a, b, of)?,
            _ => Decimal128Array::new_null(args.num_rows()),
        };
        Ok(Arc::new(result))
    }
}

fn run(args: &Args, work: &Work) -> Result<ArrayRef> {
    if let Some(exact) = work.exact {
        return with_digits(&exact.run(args)?, work.result);
    }
    let (a, b) = (
        args.column::<Decimal128Type>(0)?,
        args.column::<Decimal128Type>(1)?,
    );
    let values =
        collect::<Decimal128Type>(args.num_rows(), |row| match (a.get(row), b.get(row)) {
            (Some(a), Some(b)) => work.apply(a, b),
            _ => Ok(None),
        })?;
    with_digits(&values, work.result)
}

/// Gives unscaled values their precision and scale.
pub fn with_digits(values: &ArrayRef, (precision, scale): Digits) -> Result<ArrayRef> {
    let values = values.as_primitive::<Decimal128Type>().clone();
    Ok(Arc::new(
        values.with_precision_and_scale(precision, scale as i8)?,
    ))
}
