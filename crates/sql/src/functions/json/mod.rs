//! Functions of JSON, which is text.
//!
//! JSON text is read in place ([`scan`]) and never built into values: a path's value is found in
//! one pass, and a string without escapes is a view into the text.

pub mod canonical;
pub mod construct;
pub mod path;
pub mod predicate;
pub mod query;
pub mod quote;
pub mod scan;
pub mod value;
pub mod write;

use flott_core::{Error, Result};

use self::path::{Found, Path};
use super::{BindContext, FunctionDef};

/// The functions of this group.
pub static LIST: &[&FunctionDef] = &[
    &predicate::IS_JSON,
    &predicate::JSON_EXISTS,
    &value::JSON_VALUE,
    &query::JSON_QUERY,
    &construct::JSON_OBJECT,
    &construct::JSON_ARRAY,
    &construct::JSON_STRING,
    &construct::JSON,
    &quote::JSON_QUOTE,
    &quote::JSON_UNQUOTE,
];

/// The constant path of a call, compiled.
fn constant_path(ctx: &BindContext<'_>) -> Result<Option<Path>> {
    ctx.argument(1)?
        .literal_text()
        .map(Path::compile)
        .transpose()
}

/// Calls `work` with a row's path: the constant one, or one compiled for the row.
fn with_path<R>(constant: Option<&Path>, text: &str, work: impl FnOnce(&Path) -> R) -> Result<R> {
    match constant {
        Some(path) => Ok(work(path)),
        None => Ok(work(&Path::compile(text)?)),
    }
}

/// What a path finds, once lax and strict are told apart.
enum Outcome<'a> {
    Empty,
    Failed,
    Value(&'a str),
    Many(Vec<&'a str>),
}

fn outcome<'a>(path: &Path, json: &'a str) -> Outcome<'a> {
    match path.find(json) {
        Found::Value("null") => Outcome::Empty,
        Found::Value(value) => Outcome::Value(value),
        Found::Many(values) => Outcome::Many(values),
        Found::Invalid | Found::Missing if path.is_lax => Outcome::Empty,
        Found::Invalid | Found::Missing => Outcome::Failed,
    }
}

/// The words of an optional clause; `default` when the call has none.
fn clause<'a>(ctx: &BindContext<'a>, index: usize, default: &'a str) -> &'a str {
    let argument = ctx.arguments.get(index);
    argument.and_then(|a| a.literal_text()).unwrap_or(default)
}

fn invalid_clause(function: &str, clause: &str) -> Error {
    let message = format!("'{clause}' is no clause that {function} takes");
    Error::user("INVALID_ARGUMENT", message)
}

/// The error of ERROR ON EMPTY.
fn empty_error(function: &str) -> Error {
    let message = format!("{function} found nothing at its path, and says ERROR ON EMPTY");
    Error::user("JSON_EMPTY", message)
}

/// The error of ERROR ON ERROR.
fn failed_error(function: &str, json: &str) -> Error {
    let shown: String = json.chars().take(100).collect();
    let message = format!("{function} cannot find what its path says in '{shown}'");
    Error::user("JSON_ERROR", message)
}
