//! What arguments a function takes, position by position.

use flott_core::Result;
use flott_core::types::{DataType, LogicalType};

use crate::functions::BindContext;

/// What may stand at a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A character string, cast to STRING.
    Text,
    /// A byte string, cast to BYTES.
    Bytes,
    /// Any integer, cast to INT.
    Integer,
    /// Any integer, cast to BIGINT.
    BigInteger,
    /// A truth value.
    Boolean,
}

impl Kind {
    fn accepts(self, logical: &LogicalType) -> bool {
        match self {
            Kind::Text => logical.is_character(),
            Kind::Bytes => logical.is_binary(),
            Kind::Integer | Kind::BigInteger => logical.is_integer(),
            Kind::Boolean => *logical == LogicalType::Boolean,
        }
    }

    fn logical(self) -> LogicalType {
        match self {
            Kind::Text => LogicalType::STRING,
            Kind::Bytes => LogicalType::BYTES,
            Kind::Integer => LogicalType::Int,
            Kind::BigInteger => LogicalType::BigInt,
            Kind::Boolean => LogicalType::Boolean,
        }
    }
}

/// The types to cast the arguments to, when there are at least `required` of these kinds.
///
/// # Errors
/// A user error for a wrong number of arguments or a type that does not fit.
pub fn expect(ctx: &BindContext<'_>, required: usize, kinds: &[Kind]) -> Result<Vec<DataType>> {
    ctx.expect_count(required..=kinds.len())?;
    let fits = |(index, kind): (usize, &Kind)| ctx.is_type(index, |t| kind.accepts(t));
    let given = kinds.iter().take(ctx.len());
    ctx.expect_types(given.enumerate().all(fits))?;
    Ok(ctx.casts(kinds.iter().map(|kind| kind.logical())))
}

/// The type of a part of a string of this type: as long at most, never padded.
pub fn varying(logical: &LogicalType) -> LogicalType {
    match logical {
        LogicalType::Char(length) | LogicalType::VarChar(length) => LogicalType::VarChar(*length),
        _ => LogicalType::STRING,
    }
}
