//! Calls of functions in unit tests, without parser and binder.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringViewArray};
use datafusion_common::ScalarValue;
use datafusion_expr::ColumnarValue;
use flott_core::Result;
use flott_core::clock::ManualClock;
use flott_core::types::{DataType, LogicalType};

use crate::functions::{Argument, BindContext, BoundFunction, ExprContext, FunctionDef};

/// A session at 1970-01-01 in UTC.
pub fn session() -> ExprContext {
    ExprContext {
        time_zone: chrono_tz::Tz::UTC,
        clock: ManualClock::at_ms(0),
        query_start_ms: None,
        current_catalog: "default_catalog".into(),
        current_database: "default_database".into(),
        is_batch: false,
    }
}

/// A constant argument of this type.
pub fn literal(value: ScalarValue, logical: LogicalType) -> Argument {
    Argument {
        data_type: logical.with(value.is_null()),
        literal: Some(value),
    }
}

trait With {
    fn with(self, nullable: bool) -> DataType;
}

impl With for LogicalType {
    fn with(self, nullable: bool) -> DataType {
        DataType {
            logical: self,
            nullable,
        }
    }
}

/// A character constant, or a NULL of type STRING.
pub fn text<'a>(value: impl Into<Option<&'a str>>) -> Argument {
    let value = value.into();
    let logical = match value {
        Some(text) => LogicalType::Char(text.chars().count() as u32),
        None => LogicalType::STRING,
    };
    literal(ScalarValue::Utf8View(value.map(str::to_owned)), logical)
}

/// An INT constant.
pub fn int(value: impl Into<Option<i32>>) -> Argument {
    literal(ScalarValue::Int32(value.into()), LogicalType::Int)
}

/// A BOOLEAN constant.
pub fn boolean(value: impl Into<Option<bool>>) -> Argument {
    literal(ScalarValue::Boolean(value.into()), LogicalType::Boolean)
}

/// Binds a call of these arguments.
pub fn bind(function: &FunctionDef, arguments: &[Argument]) -> Result<BoundFunction> {
    let session = session();
    let ctx = BindContext {
        name: function.name,
        arguments,
        session: &session,
    };
    (function.bind)(&ctx)
}

/// The result of a call with constant arguments; integers and NULLs are cast as the binder would.
pub fn call(function: &FunctionDef, arguments: &[Argument]) -> Result<ScalarValue> {
    let bound = bind(function, arguments)?;
    let mut values = Vec::new();
    for (argument, cast_to) in arguments.iter().zip(&bound.argument_types) {
        let value = argument.literal.clone().expect("a constant");
        let value = value.cast_to(&cast_to.to_arrow()).expect("a cast");
        values.push(ColumnarValue::Scalar(value));
    }
    let result = bound.kernel.evaluate(&values, 1)?;
    let ColumnarValue::Scalar(result) = result else {
        return Ok(
            ScalarValue::try_from_array(&result.into_array(1).expect("rows"), 0).expect("a row"),
        );
    };
    assert_eq!(result.data_type(), bound.return_type.to_arrow());
    Ok(result)
}

/// The text that a call with constant arguments gives; `None` is NULL.
pub fn call_text(function: &FunctionDef, arguments: &[Argument]) -> Option<String> {
    match call(function, arguments).expect("a result") {
        ScalarValue::Utf8View(text) => text,
        other => panic!("{other:?} is no text"),
    }
}

/// The number that a call with constant arguments gives; `None` is NULL.
pub fn call_int(function: &FunctionDef, arguments: &[Argument]) -> Option<i32> {
    match call(function, arguments).expect("a result") {
        ScalarValue::Int32(value) => value,
        other => panic!("{other:?} is no INT"),
    }
}

/// The truth value that a call with constant arguments gives; `None` is NULL.
pub fn call_bool(function: &FunctionDef, arguments: &[Argument]) -> Option<bool> {
    match call(function, arguments).expect("a result") {
        ScalarValue::Boolean(value) => value,
        other => panic!("{other:?} is no BOOLEAN"),
    }
}

/// A call whose first argument is this column of strings and whose others are constant.
pub fn call_rows(function: &FunctionDef, rows: &[Option<&str>], others: &[Argument]) -> ArrayRef {
    let column = Argument {
        data_type: LogicalType::STRING.nullable(),
        literal: None,
    };
    let mut arguments = vec![column];
    arguments.extend_from_slice(others);
    let bound = bind(function, &arguments).expect("a bound call");
    let rows = StringViewArray::from(rows.to_vec());
    let num_rows = rows.len();
    let mut values = vec![ColumnarValue::Array(Arc::new(rows))];
    for (argument, cast_to) in others.iter().zip(&bound.argument_types[1..]) {
        let value = argument.literal.clone().expect("a constant");
        let value = value.cast_to(&cast_to.to_arrow()).expect("a cast");
        values.push(ColumnarValue::Scalar(value));
    }
    let result = bound.kernel.evaluate(&values, num_rows).expect("a result");
    let result = result.into_array(num_rows).expect("rows");
    assert_eq!(result.data_type(), &bound.return_type.to_arrow());
    result
}

/// The rows of a column of strings.
pub fn texts(array: &ArrayRef) -> Vec<Option<&str>> {
    array.as_string_view().iter().collect()
}
