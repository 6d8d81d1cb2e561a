//! Text to statements.
//!
//! [`parse_script`] splits a script at its semicolons and parses each [`Statement`]; queries and
//! expressions stay sqlparser's trees ([`sqlparser::ast::Query`]), read with [`FlinkDialect`]. All
//! spans are places in the script, not in the statement.
//!
//! # How Flink's own forms are held in sqlparser's trees
//! | Flink | tree |
//! |---|---|
//! | `CAST(x AS t)`, `TRY_CAST` | `Expr::Cast`; read the type with [`data_type_of`] |
//! | `DATE '…'`, `TIME '…'`, `TIMESTAMP '…'`, `TIMESTAMP_LTZ '…'` | `Expr::TypedString`; [`data_type_of`] |
//! | `TABLE t`, `TABLE (query)` as an argument | call `TABLE(t)`, `TABLE((query))`: the name is an identifier; a hint is a second, string argument ([`table_argument_hints`]) |
//! | … `PARTITION BY a ORDER BY b` behind it | the call's `over`: a `WindowSpec` |
//! | `MODEL m` as an argument | call `MODEL(m)` |
//! | `DESCRIPTOR(ts)` | call `DESCRIPTOR(ts)` |
//! | `DATA => TABLE t` | `FunctionArg::Named`, operator `=>` |
//! | `FROM TABLE(f(…))` | `TableFactor::TableFunction` |
//! | `FROM f(…)` | `TableFactor::Table` with `args` |
//! | `LATERAL TABLE(f(x))` | `TableFactor::Function`, lateral, name `TABLE`, one argument: the call |
//! | `STATE OF j OPERATOR o TABLE t` | a table of the name made up in `states` |
//! | `UNNEST(x) WITH ORDINALITY` | `TableFactor::UNNEST` |
//! | `t FOR SYSTEM_TIME AS OF x` | `TableFactor::Table`, `version` |
//! | `t /*+ OPTIONS(…) */` | read with [`table_hints`]; ignore the table's `partitions` |
//! | `SELECT /*+ … */` | read with [`select_hints`] |
//! | `MAP['k', 1]`, `MULTISET[1]` | calls `MAP('k', 1)`, `MULTISET(1)` |
//! | `ARRAY[1, 2]` | `Expr::Array` |
//! | `ROW(1, 2)`; `(1, 2)` | call `ROW(1, 2)`; `Expr::Tuple` |
//! | `(a - b) DAY TO SECOND` | call of [`INTERVAL_BETWEEN`] |
//! | `x BETWEEN SYMMETRIC a AND b` | `(x BETWEEN a AND b OR x BETWEEN b AND a)` |
//! | `MATCH_RECOGNIZE (… WITHIN i DEFINE …)` | a first definition of the symbol [`WITHIN_SYMBOL`] |
//! | `(query) MATCH_RECOGNIZE (…)` | `TableFactor::Table`, name [`QUERY_CARRIER`], `args` the subquery |
//! | `FINAL LAST(x)`, `RUNNING LAST(x)` | calls `FINAL(LAST(x))`, `RUNNING(LAST(x))` |
//! | a reluctant quantifier `A+?` | the repetition `?` of a repetition |
//! | `JSON_VALUE(x, p …)` | two arguments; or, with any clause, also `RETURNING` (the type's text or NULL), `ON_EMPTY` (`'NULL'`, `'ERROR'` or `'DEFAULT'`), `EMPTY_DEFAULT`, `ON_ERROR`, `ERROR_DEFAULT` |
//! | `JSON_QUERY(x, p …)` | two arguments; or also `RETURNING`, `WRAPPER` (`'WITHOUT'`, `'CONDITIONAL'` or `'UNCONDITIONAL'`), `ON_EMPTY`, `ON_ERROR` (`'NULL'`, `'ERROR'`, `'EMPTY ARRAY'` or `'EMPTY OBJECT'`) |
//! | `JSON_EXISTS(x, p …)` | two arguments; or also `ON_ERROR` (`'TRUE'`, `'FALSE'`, `'UNKNOWN'` or `'ERROR'`) |
//! | `JSON_OBJECT(KEY k VALUE v, …)`, `JSON_OBJECTAGG` | `k, v, …` and always, last, `ON_NULL` (`'NULL'` or `'ABSENT'`) |
//! | `JSON_ARRAY(x, …)`, `JSON_ARRAYAGG` | `x, …` and always, last, `ON_NULL` |
//!
//! The arguments written in capitals are named (`=>`) and always in this order, so that they can
//! be taken by name or by position. Everything else is as sqlparser has it: `Expr::Extract`,
//! `Expr::Floor`, `Expr::Ceil`, `Expr::Position`, `Expr::Substring`, `Expr::Trim`, `Expr::Overlay`,
//! `Expr::Interval`, `Expr::Like`, `Expr::SimilarTo`, `Expr::IsJson`, `BinaryOperator::Overlaps`,
//! array and map access as `Expr::CompoundFieldAccess`.

pub mod ast;
mod canonical;
mod create;
mod definition;
mod dialect;
mod error;
mod function;
mod hints;
mod json;
mod relations;
mod rewrite;
mod show;
mod split;
mod statement;
pub(crate) mod states;
mod types;
mod words;

use flott_core::{Error, Location, Result};

pub use ast::Statement;
pub use dialect::{FlinkDialect, INTERVAL_BETWEEN};
pub use hints::{Hint, select_hints, table_argument_hints, table_hints};
pub use rewrite::{QUERY_CARRIER, WITHIN_SYMBOL, is_query_carrier};
pub use sqlparser::ast::{Expr, Query};
pub use statement::unsupported_error;
pub use types::{data_type_of, parse_data_type};

use split::Piece;

/// A statement of a script.
#[derive(Debug, Clone)]
pub struct ParsedStatement {
    /// Counted from 1; pieces without a token are not counted, wrong statements are.
    pub index: usize,
    /// As written, without the semicolon.
    pub text: String,
    /// Where it begins.
    pub location: Location,
    pub statement: Statement,
}

/// A statement of a script that could not be parsed.
#[derive(Debug, Clone)]
pub struct FailedStatement {
    pub index: usize,
    pub text: String,
    pub location: Location,
    pub error: Error,
}

/// Parses a whole script.
///
/// # Errors
/// The first wrong statement's: a user error with its place in the script.
pub fn parse_script(script: &str) -> Result<Vec<ParsedStatement>> {
    let parsed = parse_script_tolerant(script).into_iter();
    parsed.map(|r| r.map_err(|f| f.error)).collect()
}

/// Parses a script's statements one by one, so that a wrong one does not hide the others.
pub fn parse_script_tolerant(script: &str) -> Vec<Result<ParsedStatement, FailedStatement>> {
    let pieces = split::split(script).into_iter().enumerate();
    pieces
        .map(|(i, piece)| parse_piece(i + 1, &piece))
        .collect()
}

/// Whether a text ends with a whole statement: for clients that read line by line.
pub fn is_complete(script: &str) -> bool {
    split::split(script).last().is_none_or(|p| p.is_terminated)
}

fn parse_piece(index: usize, piece: &Piece<'_>) -> Result<ParsedStatement, FailedStatement> {
    match statement::parse(piece) {
        Ok(statement) => Ok(ParsedStatement {
            index,
            text: piece.text.to_string(),
            location: piece.location,
            statement,
        }),
        Err(error) => Err(FailedStatement {
            index,
            text: piece.text.to_string(),
            location: piece.location,
            error: error.at(piece.location),
        }),
    }
}

/// Parses one query that is kept as text, such as a view's. Its tree has no places: they would be
/// places in that text, not in the script.
///
/// # Errors
/// A user error when the text is no query.
pub fn parse_query(text: &str) -> Result<Box<Query>> {
    statement::parse_stored(text, |parser| parser.parse_query())
}

/// Parses one expression that is kept as text, such as a computed column's; without places, as
/// [`parse_query`].
///
/// # Errors
/// A user error when the text is no expression.
pub fn parse_expression(text: &str) -> Result<Expr> {
    statement::parse_stored(text, |parser| parser.parse_expr())
}

/// Rewrites the names of tables in a query's text: those for which `rename` gives a path are
/// replaced by it. Names of common table expressions are left alone.
///
/// # Errors
/// A user error when the text is no query.
pub fn rename_tables(text: &str, rename: impl Fn(&[String]) -> Option<String>) -> Result<String> {
    let piece = Piece {
        text,
        location: Location { line: 1, column: 1 },
        is_terminated: false,
    };
    relations::rename(&piece, rename)
}

#[cfg(test)]
mod tests;
