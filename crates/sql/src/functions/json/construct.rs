//! `JSON_OBJECT`, `JSON_ARRAY`, `JSON_STRING`, `JSON`: JSON text from values.

use std::borrow::Cow;

use arrow::array::{Array, ArrayRef};
use flott_core::types::{DataType, LogicalType};
use flott_core::{Error, Result};

use super::canonical::{write_canonical, write_object};
use super::scan::Scanner;
use super::write::write_json;
use crate::functions::kernel::{Args, Text, collect_text, columns, text_unary};
use crate::functions::{BindContext, BoundFunction};

function!(
    JSON_OBJECT,
    "JSON_OBJECT",
    Json,
    "JSON_OBJECT([[KEY] key VALUE value], ... [{ NULL | ABSENT } ON NULL])",
    "A JSON object of keys and values. Values that are NULL become null or, with ABSENT ON NULL, \
     are left out.",
    [(
        "JSON_OBJECT('b' VALUE 1, 'a' VALUE 'x')",
        "{\"a\":\"x\",\"b\":1}"
    )],
    bind_object
);

function!(
    JSON_ARRAY,
    "JSON_ARRAY",
    Json,
    "JSON_ARRAY([value], ... [{ NULL | ABSENT } ON NULL])",
    "A JSON array of values. Values that are NULL are left out or, with NULL ON NULL, become null.",
    [("JSON_ARRAY(1, 'x', TRUE)", "[1,\"x\",true]")],
    bind_array
);

function!(
    JSON_STRING,
    "JSON_STRING",
    Json,
    "JSON_STRING(value)",
    "Any value as JSON text; NULL for NULL.",
    [
        ("JSON_STRING('a')", "\"a\""),
        ("JSON_STRING(ARRAY[1, 2])", "[1,2]")
    ],
    bind_string
);

function!(
    JSON,
    "JSON",
    Json,
    "JSON(string)",
    "JSON text as a value of JSON_OBJECT and JSON_ARRAY. NULL for an empty string; text that is no \
     JSON is an error.",
    [("JSON_OBJECT('k' VALUE JSON('[1, 2]'))", "{\"k\":[1,2]}")],
    bind_json
);

/// What ON NULL says, and which arguments are JSON already.
#[derive(Debug, Clone)]
struct OnNull {
    is_absent: bool,
    /// Positions of arguments that are calls of JSON_OBJECT, JSON_ARRAY or JSON.
    json: Vec<usize>,
}

impl OnNull {
    /// From `NULL` or `ABSENT`, perhaps with `ON NULL`, perhaps followed by `JSON` and positions.
    fn parse(text: &str) -> Option<Self> {
        let (words, positions) = text.split_once(" JSON").unwrap_or((text, ""));
        let is_absent = match words.trim() {
            "NULL" | "NULL ON NULL" => false,
            "ABSENT" | "ABSENT ON NULL" => true,
            _ => return None,
        };
        let json = positions
            .split_whitespace()
            .map(|position| position.parse().ok());
        Some(Self {
            is_absent,
            json: json.collect::<Option<_>>()?,
        })
    }

    /// The clause of a call, which is its last argument, and the number of arguments before it.
    fn of(ctx: &BindContext<'_>, has_clause: bool, is_absent: bool) -> (Self, usize) {
        let last = ctx.arguments.last().filter(|_| has_clause);
        match last.and_then(|a| a.literal_text()).and_then(Self::parse) {
            Some(on_null) => (on_null, ctx.len() - 1),
            None => (
                Self {
                    is_absent,
                    json: Vec::new(),
                },
                ctx.len(),
            ),
        }
    }
}

/// Whether Flink writes a value of this argument's type as JSON.
fn is_writable(ctx: &BindContext<'_>, index: usize) -> bool {
    let is_refused =
        |t: &LogicalType| matches!(t, LogicalType::Date | LogicalType::Time(_)) || t.is_interval();
    ctx.is_type(index, |t| !is_refused(t))
}

fn bind_object(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let (on_null, count) = OnNull::of(ctx, !ctx.len().is_multiple_of(2), false);
    if !count.is_multiple_of(2) {
        return Err(ctx.wrong_count());
    }
    ctx.expect_types((0..count).step_by(2).all(|index| ctx.is_text(index)))?;
    ctx.expect_types((1..count).step_by(2).all(|index| is_writable(ctx, index)))?;
    let types = ctx.own_types();
    let value_types = types.clone();
    let label = format!("JSON_OBJECT {on_null:?} {types:?}");
    let kernel = columns(label, move |args| {
        objects(args, count, &value_types, &on_null)
    });
    Ok(BoundFunction::new(
        types,
        LogicalType::STRING.not_null(),
        kernel,
    ))
}

fn objects(args: &Args, count: usize, types: &[DataType], on_null: &OnNull) -> Result<ArrayRef> {
    let keys = (0..count)
        .step_by(2)
        .map(|index| args.column::<Text>(index));
    let keys = keys.collect::<Result<Vec<_>>>()?;
    collect_text(args.num_rows(), |row, out| {
        let mut members = Vec::with_capacity(keys.len());
        for (place, key) in keys.iter().enumerate() {
            let Some(key) = key.get(row) else {
                let message = "a key of JSON_OBJECT must not be NULL";
                return Err(Error::user("NULL_JSON_KEY", message));
            };
            let mut text = String::new();
            if write_argument(args, 2 * place + 1, row, types, on_null, &mut text)? {
                members.push((Cow::Borrowed(key), text));
            }
        }
        write_object(members, out, |text, out| out.push_str(text));
        Ok(true)
    })
}

/// Appends an argument's value; `false` for one that is left out.
fn write_argument(
    args: &Args,
    index: usize,
    row: usize,
    types: &[DataType],
    on_null: &OnNull,
    out: &mut String,
) -> Result<bool> {
    let array = args.array(index)?;
    let row = if args.is_constant(index) { 0 } else { row };
    if array.is_null(row) && on_null.is_absent {
        return Ok(false);
    }
    if on_null.json.contains(&index) && array.is_valid(row) {
        out.push_str(crate::functions::string::parts::text_array(args, index)?.value(row));
    } else {
        write_json(array, row, &types[index].logical, out)?;
    }
    Ok(true)
}

fn bind_array(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let (on_null, count) = OnNull::of(ctx, true, true);
    ctx.expect_types((0..count).all(|index| is_writable(ctx, index)))?;
    let types = ctx.own_types();
    let value_types = types.clone();
    let label = format!("JSON_ARRAY {on_null:?} {types:?}");
    let kernel = columns(label, move |args| {
        collect_text(args.num_rows(), |row, out| {
            out.push('[');
            for index in 0..count {
                let length = out.len();
                if length > 1 {
                    out.push(',');
                }
                if !write_argument(args, index, row, &value_types, &on_null, out)? {
                    out.truncate(length);
                }
            }
            out.push(']');
            Ok(true)
        })
    });
    Ok(BoundFunction::new(
        types,
        LogicalType::STRING.not_null(),
        kernel,
    ))
}

fn bind_string(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    ctx.expect_count(1..=1)?;
    ctx.expect_types(is_writable(ctx, 0))?;
    let types = ctx.own_types();
    let logical = types[0].logical.clone();
    let kernel = columns(format!("JSON_STRING {logical}"), move |args| {
        let values = args.array(0)?;
        collect_text(args.num_rows(), |row, out| {
            let row = if args.is_constant(0) { 0 } else { row };
            write_json(values, row, &logical, out)?;
            Ok(values.is_valid(row))
        })
    });
    Ok(BoundFunction::new(
        types,
        ctx.returns(LogicalType::STRING),
        kernel,
    ))
}

fn bind_json(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let types = ctx.expect_text(1..=1)?;
    let kernel = text_unary::<Text>("JSON", |text, out| {
        if text.trim().is_empty() {
            return Ok(false);
        }
        let value = Scanner::new(text).value().map_err(|_| {
            Error::user(
                "INVALID_JSON",
                format!("JSON takes JSON text, and '{text}' is none"),
            )
        })?;
        write_canonical(value, out);
        Ok(true)
    });
    Ok(BoundFunction::new(
        types,
        LogicalType::STRING.nullable(),
        kernel,
    ))
}

#[cfg(test)]
mod tests {
    use super::super::super::string::testing::{boolean, call, call_text, int, text};
    use super::*;

    #[test]
    fn objects_are_made() {
        let args = [text("k"), int(1), text("a"), text(None), text("NULL")];
        assert_eq!(
            call_text(&JSON_OBJECT, &args).as_deref(),
            Some(r#"{"a":null,"k":1}"#)
        );
        let args = [
            text("k"),
            text("x\"y"),
            text("a"),
            text(None),
            text("ABSENT"),
        ];
        assert_eq!(
            call_text(&JSON_OBJECT, &args).as_deref(),
            Some(r#"{"k":"x\"y"}"#)
        );
        assert_eq!(call_text(&JSON_OBJECT, &[]).as_deref(), Some("{}"));
        let nested = [
            text("k"),
            text("[1]"),
            text("s"),
            text("[1]"),
            text("NULL JSON 1"),
        ];
        assert_eq!(
            call_text(&JSON_OBJECT, &nested).as_deref(),
            Some(r#"{"k":[1],"s":"[1]"}"#)
        );
        assert!(call(&JSON_OBJECT, &[text(None), int(1)]).is_err());
    }

    #[test]
    fn arrays_are_made() {
        let args = [int(1), text(None), boolean(true), text("ABSENT")];
        assert_eq!(call_text(&JSON_ARRAY, &args).as_deref(), Some("[1,true]"));
        let args = [text(None), int(1), text("NULL ON NULL")];
        assert_eq!(call_text(&JSON_ARRAY, &args).as_deref(), Some("[null,1]"));
        assert_eq!(
            call_text(&JSON_ARRAY, &[text(None), text("a"), text("ABSENT")]).as_deref(),
            Some("[\"a\"]")
        );
        assert_eq!(
            call_text(&JSON_ARRAY, &[text("{}"), text("ABSENT JSON 0")]).as_deref(),
            Some("[{}]")
        );
    }

    #[test]
    fn values_become_json() {
        assert_eq!(
            call_text(&JSON_STRING, &[text("ä\n")]).as_deref(),
            Some("\"ä\\n\"")
        );
        assert_eq!(call_text(&JSON_STRING, &[int(None)]), None);
        assert_eq!(
            call_text(&JSON, &[text(" {\"b\": 1, \"a\": 2} ")]).as_deref(),
            Some(r#"{"a":2,"b":1}"#)
        );
        assert_eq!(call_text(&JSON, &[text("")]), None);
        assert!(call(&JSON, &[text("{")]).is_err());
    }
}
