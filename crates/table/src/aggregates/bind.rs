//! What binding aggregate functions shares: argument counts, type checks, errors.

use flott_core::types::{DataType, LogicalType};
use flott_core::{Error, Result};

/// The one argument.
///
/// # Errors
/// Another number of arguments.
pub(super) fn one(args: &[DataType]) -> Result<&DataType> {
    match args {
        [arg] => Ok(arg),
        _ => Err(wrong_count("one argument", args.len())),
    }
}

/// The one argument when it is a number.
///
/// # Errors
/// Another number of arguments or another type. NULL counts as INT.
pub(super) fn numeric(args: &[DataType]) -> Result<DataType> {
    let arg = one(args)?;
    match &arg.logical {
        LogicalType::Null => Ok(LogicalType::Int.nullable()),
        logical if logical.is_numeric() => Ok(arg.clone()),
        _ => Err(wrong_type("a number", arg)),
    }
}

pub(super) fn wrong_count(expected: &str, given: usize) -> Error {
    Error::user(
        "ARGUMENT_COUNT",
        format!("takes {expected}, but {given} are given"),
    )
}

pub(super) fn wrong_type(expected: &str, given: &DataType) -> Error {
    Error::user(
        "ARGUMENT_TYPE",
        format!("takes {expected}, not {given}; cast the argument"),
    )
}

/// The nullable type.
pub(super) fn nullable(data_type: &DataType) -> DataType {
    data_type.with_nullable(true)
}
