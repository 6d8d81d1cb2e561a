//! CAST and TRY_CAST: every pair of types that Flink casts, a column at a time.

pub(crate) mod datetime;
mod nested;
pub(crate) mod number;
pub(crate) mod string;

use std::fmt;
use std::sync::Arc;

use arrow::array::ArrayRef;
use chrono_tz::Tz;
use flott_core::text::TextOptions;
use flott_core::text::format::format_array;
use flott_core::types::{DataType, LogicalType};
use flott_core::{Error, Result};

use super::coercion::is_same_representation;
use super::{ExprContext, Kernel, kernel};

/// The kernel that casts one column; `is_try` gives NULL where a CAST fails.
///
/// # Errors
/// A user error for types between which there is no cast.
pub fn bind_cast(
    from: &DataType,
    to: &DataType,
    is_try: bool,
    context: &ExprContext,
) -> Result<Arc<dyn Kernel>> {
    if !supports_cast(&from.logical, &to.logical) {
        return Err(no_such_cast(&from.logical, &to.logical));
    }
    let cast = Cast {
        from: from.logical.clone(),
        to: to.logical.clone(),
        options: CastOptions {
            is_try,
            time_zone: context.time_zone,
        },
    };
    let label = format!("{cast:?}");
    Ok(kernel::columns(label, move |args| {
        cast_array(args.array(0)?, &cast.from, &cast.to, &cast.options)
    }))
}

/// A cast's types and settings.
#[derive(Debug)]
struct Cast {
    from: LogicalType,
    to: LogicalType,
    options: CastOptions,
}

/// What casts depend on.
#[derive(Clone, Copy)]
pub struct CastOptions {
    /// NULL for what cannot be cast, instead of an error.
    pub is_try: bool,
    pub time_zone: Tz,
}

impl fmt::Debug for CastOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} try={}", self.time_zone.name(), self.is_try)
    }
}

fn no_such_cast(from: &LogicalType, to: &LogicalType) -> Error {
    let hint = match (from.is_numeric(), to.is_numeric()) {
        (true, _) if to.is_timestamp() => "; use TO_TIMESTAMP_LTZ(value, precision)",
        (_, true) if from.is_timestamp() => "; use UNIX_TIMESTAMP(CAST(value AS STRING))",
        _ => "",
    };
    Error::user(
        "UNSUPPORTED_CAST",
        format!("cannot cast {from} to {to}{hint}"),
    )
}

/// Whether Flink casts one type to the other.
pub fn supports_cast(from: &LogicalType, to: &LogicalType) -> bool {
    use LogicalType as T;
    if from == to || *from == T::Null {
        return true;
    }
    match (from, to) {
        (_, T::Char(_) | T::VarChar(_)) => true,
        (T::Char(_) | T::VarChar(_), _) => !to.is_nested() && !to.is_interval(),
        (T::Boolean, _) => to.is_numeric(),
        (_, T::Boolean) => from.is_numeric(),
        (_, T::Binary(_) | T::VarBinary(_)) => from.is_binary(),
        (_, T::IntervalYearMonth | T::IntervalDaySecond) => from.is_integer(),
        (T::IntervalYearMonth | T::IntervalDaySecond, _) => to.is_integer(),
        (T::Date, T::Time(_)) | (T::Time(_), T::Date) => false,
        (T::Array(a), T::Array(b)) | (T::Multiset(a), T::Multiset(b)) => {
            supports_cast(&a.logical, &b.logical)
        }
        (T::Map(k, v), T::Map(l, w)) => {
            supports_cast(&k.logical, &l.logical) && supports_cast(&v.logical, &w.logical)
        }
        (T::Row(a), T::Row(b)) => {
            let mut fields = a.iter().zip(b.iter());
            a.len() == b.len()
                && fields.all(|(f, g)| supports_cast(&f.data_type.logical, &g.data_type.logical))
        }
        _ => (from.is_numeric() && to.is_numeric()) || (from.is_datetime() && to.is_datetime()),
    }
}

/// Casts a column.
///
/// # Errors
/// A user error for a value that cannot be cast, unless `is_try`.
pub fn cast_array(
    array: &ArrayRef,
    from: &LogicalType,
    to: &LogicalType,
    options: &CastOptions,
) -> Result<ArrayRef> {
    use LogicalType as T;
    if *from == T::Null {
        return Ok(arrow::array::new_null_array(&to.to_arrow(), array.len()));
    }
    if is_same_representation(from, to) {
        return Ok(array.clone());
    }
    match (from, to) {
        (_, T::Char(_) | T::VarChar(_)) => {
            let text = TextOptions {
                time_zone: options.time_zone,
                is_printing: false,
            };
            string::fit_text(format_array(array, from, &text)?, to)
        }
        (T::Char(_) | T::VarChar(_), _) => string::parse_array(array, (from, to), options),
        (T::Binary(_) | T::VarBinary(_), _) => string::fit_bytes(array, to),
        (T::Array(_) | T::Map(..) | T::Multiset(_) | T::Row(_), _) => {
            nested::cast_nested(array, from, to, options)
        }
        _ if from.is_datetime() => datetime::cast_datetime(array, from, to, options.time_zone),
        _ => number::cast_number(array, from, to),
    }
}

/// A fault of the planner: arrays that do not fit their types.
fn unexpected(from: &LogicalType, to: &LogicalType) -> Error {
    Error::internal(format!("no way to cast {from} to {to}"))
}

#[cfg(test)]
mod tests;
