//! What Flink's validator refuses beyond types: a NULL whose type is not known, arguments of
//! aggregates.

use flott_core::types::LogicalType;
use flott_core::{Error, Result};
use sqlparser::ast::Function;

use super::call::argument_asts;
use crate::expr::Expr;

/// Whether an expression is NULL without a type.
pub(super) fn is_bare_null(expr: &Expr) -> bool {
    expr.data_type.logical == LogicalType::Null
}

/// The error for a NULL where its type cannot be known.
pub(super) fn illegal_null() -> Error {
    let message = "illegal use of NULL, whose type is not known here; write CAST(NULL AS type)";
    Error::user("ILLEGAL_NULL", message)
}

/// # Errors
/// [`illegal_null`] when one of the operands is NULL without a type.
pub(super) fn refuse_nulls(exprs: &[&Expr]) -> Result<()> {
    match exprs.iter().any(|e| is_bare_null(e)) {
        true => Err(illegal_null()),
        false => Ok(()),
    }
}

/// A NULL without a type is an argument only where the other arguments say its type; the parser
/// writes some of JSON functions' own.
pub(super) fn refuse_null_arguments(name: &str, args: &[Expr]) -> Result<()> {
    let is_taken =
        match name {
            "COALESCE" => !args.iter().all(is_bare_null),
            "NULLIF" => !args.first().is_some_and(is_bare_null),
            "ARRAY_CONTAINS" | "ARRAY_POSITION" | "ARRAY_APPEND" | "ARRAY_PREPEND"
            | "ARRAY_REMOVE" => !args.first().is_some_and(is_bare_null),
            "ARRAY" | "MAP" | "TYPEOF" | "JSON_ARRAY" | "JSON_VALUE" | "JSON_QUERY"
            | "JSON_EXISTS" => true,
            _ => false,
        };
    match is_taken {
        true => Ok(()),
        false => refuse_nulls(&args.iter().collect::<Vec<_>>()),
    }
}

/// What Flink's aggregates refuse beyond their arguments' types.
pub(super) fn check_arguments(name: &str, function: &Function, args: &[Expr]) -> Result<()> {
    let is_star = matches!(argument_asts(function)?.as_slice(), [None]);
    match name {
        "COUNT" if args.len() > 1 => Err(Error::user(
            "INVALID_ARGUMENT_COUNT",
            "COUNT takes one argument; count a CASE that is NULL where any of them is",
        )),
        "COUNT" if args.is_empty() && !is_star => Err(Error::user(
            "INVALID_ARGUMENT_COUNT",
            "invalid number of arguments to 'COUNT': 0; write COUNT(*) or COUNT(x)",
        )),
        "LISTAGG" if args.get(1).is_some_and(|a| a.as_literal().is_none()) => Err(Error::user(
            "INVALID_ARGUMENT",
            "the separator of LISTAGG must be a literal",
        )),
        _ => Ok(()),
    }
}
