//! Columns compared with columns or constants.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, BooleanArray, make_comparator,
    new_null_array,
};
use arrow::compute::SortOptions;
use arrow::compute::kernels::{boolean, cmp};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use flott_core::Result;

use crate::functions::kernel::{Args, Bool, Column, collect};

/// A comparison of two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Distinct,
    NotDistinct,
}

impl Comparison {
    /// Whether values of this order compare so; `None` is the order of NaN to anything.
    fn holds(self, ordering: Option<Ordering>) -> bool {
        match self {
            Self::Equal | Self::NotDistinct => ordering == Some(Ordering::Equal),
            Self::NotEqual | Self::Distinct => ordering != Some(Ordering::Equal),
            Self::Less => ordering == Some(Ordering::Less),
            Self::LessOrEqual => ordering.is_some_and(Ordering::is_le),
            Self::Greater => ordering == Some(Ordering::Greater),
            Self::GreaterOrEqual => ordering.is_some_and(Ordering::is_ge),
        }
    }

    fn ignores_null(self) -> bool {
        matches!(self, Self::Distinct | Self::NotDistinct)
    }
}

/// Compares two arguments of one type.
pub fn compare_args(args: &Args, a: usize, b: usize, comparison: Comparison) -> Result<ArrayRef> {
    Ok(Arc::new(compare(args, a, b, comparison)?))
}

fn compare(args: &Args, a: usize, b: usize, comparison: Comparison) -> Result<BooleanArray> {
    match args.array(a)?.data_type() {
        DataType::Null if comparison.ignores_null() => {
            let equal = comparison == Comparison::NotDistinct;
            Ok(BooleanArray::from(vec![equal; args.num_rows()]))
        }
        DataType::Null => {
            let nulls = new_null_array(&DataType::Boolean, args.num_rows());
            Ok(nulls.as_boolean().clone())
        }
        DataType::Float32 => compare_floats::<Float32Type>(args, (a, b), comparison),
        DataType::Float64 => compare_floats::<Float64Type>(args, (a, b), comparison),
        data_type if data_type.is_nested() => compare_nested(args, a, b, comparison),
        _ => compare_flat(args, a, b, comparison),
    }
}

fn compare_flat(args: &Args, a: usize, b: usize, comparison: Comparison) -> Result<BooleanArray> {
    let (a, b) = (args.datum(a)?, args.datum(b)?);
    let (a, b) = (a.as_ref(), b.as_ref());
    Ok(match comparison {
        Comparison::Equal => cmp::eq(a, b)?,
        Comparison::NotEqual => cmp::neq(a, b)?,
        Comparison::Less => cmp::lt(a, b)?,
        Comparison::LessOrEqual => cmp::lt_eq(a, b)?,
        Comparison::Greater => cmp::gt(a, b)?,
        Comparison::GreaterOrEqual => cmp::gt_eq(a, b)?,
        Comparison::Distinct => cmp::distinct(a, b)?,
        Comparison::NotDistinct => cmp::not_distinct(a, b)?,
    })
}

/// Java's comparison: zeros of both signs are equal, NaN equals nothing. Two constants are the
/// exception, because the planner takes `x = x` for true before it looks at the value.
fn compare_floats<T: ArrowPrimitiveType>(
    args: &Args,
    (a, b): (usize, usize),
    comparison: Comparison,
) -> Result<BooleanArray>
where
    T::Native: ArrowNativeTypeOp,
{
    let is_constant = args.is_constant(a) && args.is_constant(b);
    let (a, b): (Column<'_, T>, Column<'_, T>) = (args.column(a)?, args.column(b)?);
    let knows_nan = is_constant || comparison.ignores_null();
    let order = |a: T::Native, b: T::Native| match a.partial_cmp(&b) {
        None if knows_nan => Some(a.compare(b)),
        ordering => ordering,
    };
    let result = collect::<Bool>(args.num_rows(), |row| {
        Ok(match (a.get(row), b.get(row)) {
            (Some(a), Some(b)) => Some(comparison.holds(order(a, b))),
            _ if !comparison.ignores_null() => None,
            (None, None) => Some(comparison == Comparison::NotDistinct),
            _ => Some(comparison == Comparison::Distinct),
        })
    })?;
    Ok(result.as_boolean().clone())
}

fn compare_nested(args: &Args, a: usize, b: usize, comparison: Comparison) -> Result<BooleanArray> {
    let (left, right) = (args.array(a)?, args.array(b)?);
    let mask = |at: usize| if args.is_constant(at) { 0 } else { usize::MAX };
    let (left_mask, right_mask) = (mask(a), mask(b));
    let order = make_comparator(left, right, SortOptions::default())?;
    let compared = (0..args.num_rows()).map(|row| {
        let (l, r) = (row & left_mask, row & right_mask);
        let is_null = left.is_null(l) || right.is_null(r);
        (comparison.ignores_null() || !is_null).then(|| comparison.holds(Some(order(l, r))))
    });
    Ok(compared.collect())
}

/// For each row, whether the value is NULL, or with `wanted` false whether it is not.
pub fn is_null(array: &ArrayRef, wanted: bool) -> Result<ArrayRef> {
    let nulls = if *array.data_type() == DataType::Null {
        BooleanArray::from(vec![true; array.len()])
    } else {
        boolean::is_null(array)?
    };
    Ok(Arc::new(if wanted { nulls } else { boolean::not(&nulls)? }))
}

/// `a BETWEEN b AND c`, over the arguments 0, 1 and 2.
pub fn between(args: &Args, negated: bool, symmetric: bool) -> Result<ArrayRef> {
    let is_within = |low, high| -> Result<BooleanArray> {
        let above = compare(args, 0, low, Comparison::GreaterOrEqual)?;
        let below = compare(args, 0, high, Comparison::LessOrEqual)?;
        Ok(boolean::and_kleene(&above, &below)?)
    };
    let mut result = is_within(1, 2)?;
    if symmetric {
        result = boolean::or_kleene(&result, &is_within(2, 1)?)?;
    }
    Ok(Arc::new(if negated {
        boolean::not(&result)?
    } else {
        result
    }))
}
