//! `JSON_VALUE`.

use arrow::array::ArrayRef;
use arrow::datatypes::{Float64Type, Int32Type, Int64Type};
use flott_core::types::LogicalType;
use flott_core::{Error, Result};

use super::canonical::number_text;
use super::path::Path;
use super::scan::{is_scalar, unquote};
use super::{
    Outcome, clause, constant_path, empty_error, failed_error, invalid_clause, outcome, with_path,
};
use crate::functions::kernel::{Args, Bool, Input, Output, Text, collect, columns};
use crate::functions::string::parts::{PartsBuilder, text_array};
use crate::functions::{BindContext, BoundFunction};

function!(
    JSON_VALUE,
    "JSON_VALUE",
    Json,
    "JSON_VALUE(json, path [RETURNING type] [{ NULL | ERROR | DEFAULT value } ON EMPTY] \
     [{ NULL | ERROR | DEFAULT value } ON ERROR])",
    "The scalar at a path in JSON text, as a string or as BOOLEAN, INTEGER, BIGINT or DOUBLE.",
    [("JSON_VALUE('{\"a\": true}', '$.a')", "true")],
    bind
);

/// What stands for a value that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Instead {
    Null,
    Error,
    /// The value of this argument.
    Default(usize),
}

impl Instead {
    fn parse(words: &str, default: usize) -> Result<Self> {
        match words {
            "NULL" => Ok(Self::Null),
            "ERROR" => Ok(Self::Error),
            "DEFAULT" => Ok(Self::Default(default)),
            other => Err(invalid_clause("JSON_VALUE", other)),
        }
    }
}

#[derive(Debug)]
struct Call {
    path: Option<Path>,
    on_empty: Instead,
    on_error: Instead,
}

/// Arguments: json, path, and with any clause also the returned type, what ON EMPTY says and its
/// default, what ON ERROR says and its default.
fn bind(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    ctx.expect_count(2..=7)?;
    ctx.expect_types(ctx.is_text(0) && ctx.is_text(1))?;
    let call = Call {
        path: constant_path(ctx)?,
        on_empty: Instead::parse(clause(ctx, 3, "NULL"), 4)?,
        on_error: Instead::parse(clause(ctx, 5, "NULL"), 6)?,
    };
    let returned = returned_type(clause(ctx, 2, "STRING"))?;
    let types = (0..ctx.len()).map(|index| match index {
        4 | 6 => returned.clone(),
        _ => LogicalType::STRING,
    });
    let types = ctx.casts(types);
    let label = format!("JSON_VALUE {call:?} {returned}");
    let kernel = columns(label, kernel_of(&returned, call));
    Ok(BoundFunction::new(types, returned.nullable(), kernel))
}

fn kernel_of(
    returned: &LogicalType,
    call: Call,
) -> Box<dyn Fn(&Args) -> Result<ArrayRef> + Send + Sync> {
    match returned {
        LogicalType::Boolean => {
            Box::new(move |args| typed::<Bool>(args, &call, |value| value.parse().ok()))
        }
        LogicalType::Int => {
            Box::new(move |args| typed::<Int32Type>(args, &call, |value| value.parse().ok()))
        }
        LogicalType::BigInt => {
            Box::new(move |args| typed::<Int64Type>(args, &call, |value| value.parse().ok()))
        }
        LogicalType::Double => Box::new(move |args| {
            let starts_number = |c: char| c == '-' || c.is_ascii_digit();
            let number = |value: &str| {
                value
                    .starts_with(starts_number)
                    .then(|| value.parse().ok())?
            };
            typed::<Float64Type>(args, &call, number)
        }),
        _ => Box::new(move |args| texts(args, &call)),
    }
}

fn returned_type(text: &str) -> Result<LogicalType> {
    let word = text
        .split('(')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_uppercase();
    Ok(match word.as_str() {
        "STRING" | "VARCHAR" | "CHAR" | "CHARACTER VARYING" => LogicalType::STRING,
        "BOOLEAN" => LogicalType::Boolean,
        "INT" | "INTEGER" => LogicalType::Int,
        "BIGINT" => LogicalType::BigInt,
        "DOUBLE" | "DOUBLE PRECISION" => LogicalType::Double,
        _ => {
            let message = format!(
                "JSON_VALUE returns STRING, BOOLEAN, INTEGER, BIGINT or DOUBLE, not '{text}'; cast it"
            );
            return Err(Error::user("INVALID_ARGUMENT", message));
        }
    })
}

/// The scalar's text, or what stands for it.
fn scalar_at<'a>(
    call: &Call,
    json: &'a str,
    path: &str,
) -> Result<std::result::Result<&'a str, Instead>> {
    let (found, is_lax) = with_path(call.path.as_ref(), path, |path| {
        (outcome(path, json), path.is_lax)
    })?;
    let instead = match found {
        Outcome::Value(value) if is_scalar(value) => return Ok(Ok(value)),
        Outcome::Empty => call.on_empty,
        Outcome::Value(_) | Outcome::Many(_) if is_lax => call.on_empty,
        Outcome::Value(_) | Outcome::Many(_) | Outcome::Failed => call.on_error,
    };
    match instead {
        Instead::Error if matches!(found, Outcome::Failed) || !is_lax => {
            Err(failed_error("JSON_VALUE", json))
        }
        Instead::Error => Err(empty_error("JSON_VALUE")),
        instead => Ok(Err(instead)),
    }
}

fn texts(args: &Args, call: &Call) -> Result<ArrayRef> {
    let (json, path) = (args.column::<Text>(0)?, args.column::<Text>(1)?);
    let defaults = defaults::<Text>(args)?;
    let mut parts = PartsBuilder::new(text_array(args, 0)?, args.num_rows());
    for row in 0..args.num_rows() {
        let (Some(json), Some(path)) = (json.get(row), path.get(row)) else {
            parts.append_null();
            continue;
        };
        let source_row = if args.is_constant(0) { 0 } else { row };
        match scalar_at(call, json, path)? {
            Ok(value) if value.starts_with('"') => {
                parts.append(source_row, json, &unquote(value))?
            }
            Ok(value) if value.starts_with(['t', 'f']) => parts.append(source_row, json, value)?,
            Ok(value) => parts.append(source_row, json, &number_text(value))?,
            Err(Instead::Default(index)) => match defaults(index, row) {
                Some(default) => parts.append(source_row, json, default)?,
                None => parts.append_null(),
            },
            Err(_) => parts.append_null(),
        }
    }
    Ok(parts.finish())
}

/// The values of the arguments that ON EMPTY and ON ERROR name, by argument and row.
fn defaults<'a, I: Input>(args: &'a Args) -> Result<impl Fn(usize, usize) -> Option<I::Value<'a>>> {
    let column = |index: usize| {
        (args.len() > index)
            .then(|| args.column::<I>(index))
            .transpose()
    };
    let (on_empty, on_error) = (column(4)?, column(6)?);
    Ok(move |index, row| {
        let column = if index == 4 { &on_empty } else { &on_error };
        column.as_ref().and_then(|column| column.get(row))
    })
}

/// Values of another type than text; one that is not of the type is an error of the path.
fn typed<T>(
    args: &Args,
    call: &Call,
    read: impl Fn(&str) -> Option<<T as Output>::Value>,
) -> Result<ArrayRef>
where
    T: Output + for<'a> Input<Value<'a> = <T as Output>::Value>,
{
    let (json, path) = (args.column::<Text>(0)?, args.column::<Text>(1)?);
    let defaults = defaults::<T>(args)?;
    collect::<T>(args.num_rows(), |row| {
        let (Some(json), Some(path)) = (json.get(row), path.get(row)) else {
            return Ok(None);
        };
        let instead = match scalar_at(call, json, path)? {
            Ok(value) => match read(value) {
                Some(value) => return Ok(Some(value)),
                None => call.on_error,
            },
            Err(instead) => instead,
        };
        match instead {
            Instead::Null => Ok(None),
            Instead::Error => Err(failed_error("JSON_VALUE", json)),
            Instead::Default(index) => Ok(defaults(index, row)),
        }
    })
}

#[cfg(test)]
mod tests {
    use datafusion_common::ScalarValue;

    use super::super::super::string::testing::{call, call_rows, call_text, int, text, texts};
    use super::*;

    fn value(json: &str, path: &str) -> Option<String> {
        call_text(&JSON_VALUE, &[text(json), text(path)])
    }

    #[test]
    fn scalars_become_text() {
        assert_eq!(value(r#"{"a": {"b": "x"}}"#, "$.a.b").as_deref(), Some("x"));
        assert_eq!(value(r#"{"a": 1.50}"#, "$.a").as_deref(), Some("1.50"));
        assert_eq!(value(r#"{"a": true}"#, "lax $.a").as_deref(), Some("true"));
        assert_eq!(value(r#"{"a": "\u00e4\n"}"#, "$.a").as_deref(), Some("ä\n"));
        assert_eq!(value(r#"{"a": null}"#, "$.a"), None);
        assert_eq!(value(r#"{"a": [1]}"#, "$.a"), None);
        assert_eq!(value(r#"{"a": 1"#, "$.a"), None);
        assert_eq!(value(r#"{"a": "truth"}"#, "$.a").as_deref(), Some("truth"));
    }

    #[test]
    fn clauses_say_what_stands_for_nothing() {
        let call_with = |json: &str, path: &str, empty: &str, error: &str| {
            let clauses = [
                text("STRING"),
                text(empty),
                text("e"),
                text(error),
                text("f"),
            ];
            let mut args = vec![text(json), text(path)];
            args.extend(clauses);
            call(&JSON_VALUE, &args)
        };
        let shown = |result: Result<ScalarValue>| result.map(|value| value.to_string()).ok();
        assert_eq!(
            shown(call_with("{}", "lax $.a", "DEFAULT", "NULL")).as_deref(),
            Some("e")
        );
        assert_eq!(
            shown(call_with("{}", "strict $.a", "NULL", "DEFAULT")).as_deref(),
            Some("f")
        );
        assert_eq!(shown(call_with("{}", "lax $.a", "ERROR", "NULL")), None);
        assert_eq!(shown(call_with("{}", "$.a", "NULL", "ERROR")), None);
        assert!(call_with("{}", "$.a", "OOPS", "NULL").is_err());
    }

    #[test]
    fn types_can_be_returned() {
        let typed = |json, returned: &str| {
            let args = [
                text(json),
                text("$.a"),
                text(returned),
                text("NULL"),
                int(None),
                text("DEFAULT"),
                int(-7),
            ];
            call(&JSON_VALUE, &args)
        };
        assert_eq!(
            typed(r#"{"a": 5}"#, "INTEGER").ok(),
            Some(ScalarValue::Int32(Some(5)))
        );
        assert_eq!(
            typed(r#"{"a": "x"}"#, "INT").ok(),
            Some(ScalarValue::Int32(Some(-7)))
        );
        assert_eq!(
            typed(r#"{"a": 1e2}"#, "DOUBLE").ok(),
            Some(ScalarValue::Float64(Some(100.0)))
        );
        assert!(typed("{}", "DATE").is_err());
    }

    #[test]
    fn columns_of_json() {
        let rows = [
            Some(r#"{"n":"a string longer than twelve"}"#),
            None,
            Some("[]"),
        ];
        let found = call_rows(&JSON_VALUE, &rows, &[text("$.n")]);
        assert_eq!(
            texts(&found),
            [Some("a string longer than twelve"), None, None]
        );
    }
}
