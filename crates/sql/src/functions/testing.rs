//! Runs functions and casts on constants, without a binder.

use chrono_tz::Tz;
use datafusion_common::ScalarValue;
use datafusion_expr::ColumnarValue;
use flott_core::clock::ManualClock;
use flott_core::text::{TextOptions, format_value};
use flott_core::types::{DataType, LogicalType};
use flott_core::{Error, Result};

use super::cast::bind_cast;
use super::{Argument, BindContext, ExprContext, Kernel, resolve};

/// A session in Los Angeles at 2024-03-01 10:00:00 UTC.
pub fn session() -> ExprContext {
    ExprContext {
        time_zone: Tz::America__Los_Angeles,
        clock: ManualClock::at_ms(1_709_287_200_000),
        query_start_ms: None,
        current_catalog: "default_catalog".into(),
        current_database: "default_database".into(),
        is_batch: false,
    }
}

/// A character constant.
pub fn text(value: &str) -> ScalarValue {
    ScalarValue::Utf8View(Some(value.into()))
}

/// A column over constants: each twice, so that columns are exercised too.
fn column(value: &ScalarValue) -> Result<ColumnarValue> {
    Ok(ColumnarValue::Array(super::kernel::scalar_array(value, 2)?))
}

/// Runs a kernel on constants and again on columns of them; both must agree.
pub fn run_kernel(kernel: &dyn Kernel, arguments: &[ScalarValue]) -> Result<ScalarValue> {
    let scalars: Vec<_> = arguments
        .iter()
        .cloned()
        .map(ColumnarValue::Scalar)
        .collect();
    let result = match kernel.evaluate(&scalars, 2)? {
        ColumnarValue::Scalar(value) => value,
        ColumnarValue::Array(array) => super::kernel::scalar_at(&array, 0)?,
    };
    let columns = arguments.iter().map(column).collect::<Result<Vec<_>>>()?;
    if let ColumnarValue::Array(array) = kernel.evaluate(&columns, 2)?
        && array.len() != 2
    {
        return Err(Error::internal(format!("{} rows of 2", array.len())));
    }
    Ok(result)
}

/// The text that a person sees for a constant.
pub fn shown(value: &ScalarValue, ty: &LogicalType) -> String {
    let options = TextOptions {
        time_zone: Tz::America__Los_Angeles,
        is_printing: true,
    };
    let mut out = String::new();
    let array = value.to_array().expect("a constant has an array");
    assert_eq!(array.data_type(), &ty.to_arrow(), "the array of {ty}");
    format_value(&array, 0, ty, &options, &mut out).expect("a value of its type");
    out
}

/// Calls a function on constants, with casts to the types it binds; gives the shown result and
/// its type.
pub fn call(name: &str, arguments: &[(ScalarValue, LogicalType)]) -> Result<(String, DataType)> {
    let (value, returned) = evaluate(name, arguments)?;
    Ok((shown(&value, &returned.logical), returned))
}

/// Calls a function on constants; gives a constant with its type.
pub fn call_value(
    name: &str,
    arguments: &[(ScalarValue, LogicalType)],
) -> Result<(ScalarValue, LogicalType)> {
    evaluate(name, arguments).map(|(value, returned)| (value, returned.logical))
}

fn evaluate(
    name: &str,
    arguments: &[(ScalarValue, LogicalType)],
) -> Result<(ScalarValue, DataType)> {
    let session = session();
    let argument = |(value, logical): &(ScalarValue, LogicalType)| Argument {
        data_type: DataType {
            logical: logical.clone(),
            nullable: value.is_null(),
        },
        literal: Some(value.clone()),
    };
    let bound_arguments: Vec<_> = arguments.iter().map(argument).collect();
    let context = BindContext {
        name,
        arguments: &bound_arguments,
        session: &session,
    };
    let bound = (resolve(name)?.bind)(&context)?;
    let mut values = Vec::new();
    for ((value, argument), ty) in arguments
        .iter()
        .map(|(v, _)| v)
        .zip(&bound_arguments)
        .zip(&bound.argument_types)
    {
        let cast = bind_cast(&argument.data_type, ty, false, &session)?;
        values.push(run_kernel(cast.as_ref(), std::slice::from_ref(value))?);
    }
    let result = run_kernel(bound.kernel.as_ref(), &values)?;
    Ok((result, bound.return_type))
}

/// The shown result of a call, or the code of its error.
pub fn show(name: &str, arguments: &[(ScalarValue, LogicalType)]) -> String {
    call(name, arguments).map_or_else(|e| e.code().to_string(), |(shown, _)| shown)
}

/// Constants with their types.
pub mod values {
    use super::*;

    pub fn int(value: i32) -> (ScalarValue, LogicalType) {
        (ScalarValue::Int32(Some(value)), LogicalType::Int)
    }

    pub fn bigint(value: i64) -> (ScalarValue, LogicalType) {
        (ScalarValue::Int64(Some(value)), LogicalType::BigInt)
    }

    pub fn double(value: f64) -> (ScalarValue, LogicalType) {
        (ScalarValue::Float64(Some(value)), LogicalType::Double)
    }

    pub fn string(value: &str) -> (ScalarValue, LogicalType) {
        (text(value), LogicalType::STRING)
    }

    pub fn null() -> (ScalarValue, LogicalType) {
        (ScalarValue::Null, LogicalType::Null)
    }

    /// A decimal, a date or a timestamp from its text.
    pub fn typed(value: &str, logical: LogicalType) -> (ScalarValue, LogicalType) {
        let (from, to) = (LogicalType::STRING.not_null(), logical.clone().not_null());
        let kernel = bind_cast(&from, &to, false, &session()).expect("a cast from text");
        (
            run_kernel(kernel.as_ref(), &[text(value)]).expect("a valid text"),
            logical,
        )
    }

    pub fn decimal(value: &str, precision: u8, scale: u8) -> (ScalarValue, LogicalType) {
        typed(value, LogicalType::Decimal(precision, scale))
    }

    pub fn interval_ms(millis: i64) -> (ScalarValue, LogicalType) {
        (
            ScalarValue::DurationMillisecond(Some(millis)),
            LogicalType::IntervalDaySecond,
        )
    }

    pub fn interval_months(months: i32) -> (ScalarValue, LogicalType) {
        (
            ScalarValue::IntervalYearMonth(Some(months)),
            LogicalType::IntervalYearMonth,
        )
    }
}
