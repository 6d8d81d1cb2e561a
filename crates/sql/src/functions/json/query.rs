//! `JSON_QUERY`.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringViewBuilder};
use flott_core::Result;
use flott_core::types::LogicalType;

use super::canonical::{number_text, write_canonical};
use super::path::Path;
use super::scan::{Scanner, is_scalar, unquote};
use super::{
    Outcome, clause, constant_path, empty_error, failed_error, invalid_clause, outcome, with_path,
};
use crate::functions::collection::build::ListsBuilder;
use crate::functions::kernel::{Args, Text, collect_text, columns};
use crate::functions::{BindContext, BoundFunction};

function!(
    JSON_QUERY,
    "JSON_QUERY",
    Json,
    "JSON_QUERY(json, path [RETURNING type] [{ WITHOUT | WITH [CONDITIONAL | UNCONDITIONAL] } \
     [ARRAY] WRAPPER] [{ NULL | EMPTY ARRAY | EMPTY OBJECT | ERROR } ON EMPTY] [… ON ERROR])",
    "The object or array at a path in JSON text, as JSON text or as ARRAY<STRING>.",
    [("JSON_QUERY('{\"a\": {\"b\": 1}}', '$.a')", "{\"b\":1}")],
    bind
);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrapper {
    Without,
    Conditional,
    Unconditional,
}

#[derive(Debug)]
struct Call {
    path: Option<Path>,
    wrapper: Wrapper,
    /// JSON text that stands for nothing; `None` is an error, `null` is NULL.
    on_empty: Option<&'static str>,
    on_error: Option<&'static str>,
}

/// Arguments: json, path, and with any clause also the returned type, the wrapper, what ON EMPTY
/// says and what ON ERROR says.
fn bind(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let types = ctx.expect_text(2..=6)?;
    let wrapper = match clause(ctx, 3, "WITHOUT") {
        "WITHOUT" => Wrapper::Without,
        "CONDITIONAL" => Wrapper::Conditional,
        "UNCONDITIONAL" => Wrapper::Unconditional,
        other => return Err(invalid_clause("JSON_QUERY", other)),
    };
    let returned: String = clause(ctx, 2, "STRING").split_whitespace().collect();
    let is_array = match returned.to_ascii_uppercase().as_str() {
        "ARRAY<STRING>" | "ARRAY<VARCHAR>" | "ARRAY<VARCHAR(2147483647)>" => true,
        text if text.starts_with("STRING") || text.starts_with("VARCHAR") => false,
        _ => return Err(invalid_clause("JSON_QUERY", clause(ctx, 2, ""))),
    };
    let call = Call {
        path: constant_path(ctx)?,
        wrapper,
        on_empty: instead(clause(ctx, 4, "NULL"), is_array)?,
        on_error: instead(clause(ctx, 5, "NULL"), is_array)?,
    };
    let label = format!("JSON_QUERY {call:?} {is_array}");
    if is_array {
        let array = LogicalType::Array(LogicalType::STRING.nullable().into());
        let kernel = columns(label, move |args| arrays(args, &call));
        return Ok(BoundFunction::new(types, array.nullable(), kernel));
    }
    let kernel = columns(label, move |args| texts(args, &call));
    Ok(BoundFunction::new(
        types,
        LogicalType::STRING.nullable(),
        kernel,
    ))
}

fn instead(words: &str, is_array: bool) -> Result<Option<&'static str>> {
    match words {
        "NULL" => Ok(Some("null")),
        "ERROR" => Ok(None),
        "EMPTY ARRAY" => Ok(Some("[]")),
        "EMPTY OBJECT" if !is_array => Ok(Some("{}")),
        other => Err(invalid_clause("JSON_QUERY", other)),
    }
}

/// Appends the JSON text of a row; `null` is NULL.
fn write_row(
    call: &Call,
    json: &str,
    path: &str,
    needs_array: bool,
    out: &mut String,
) -> Result<()> {
    let (found, is_lax) = with_path(call.path.as_ref(), path, |path| {
        (outcome(path, json), path.is_lax)
    })?;
    let (is_array, is_composite) = match &found {
        Outcome::Empty => return write_instead(call.on_empty, empty_error("JSON_QUERY"), out),
        Outcome::Failed => return write_failed(call, json, out),
        Outcome::Value(value) => (value.starts_with('['), !is_scalar(value)),
        Outcome::Many(_) => (true, true),
    };
    let is_wrapped = match call.wrapper {
        Wrapper::Without => false,
        Wrapper::Conditional => !is_array,
        Wrapper::Unconditional => true,
    };
    if !is_wrapped && !is_composite {
        return match is_lax {
            true => write_instead(call.on_empty, empty_error("JSON_QUERY"), out),
            false => write_failed(call, json, out),
        };
    }
    if needs_array && !is_wrapped && !is_array {
        return write_failed(call, json, out);
    }
    out.push_str(if is_wrapped { "[" } else { "" });
    match &found {
        Outcome::Value(value) => write_canonical(value, out),
        Outcome::Many(values) => {
            out.push('[');
            for (place, value) in values.iter().enumerate() {
                out.push_str(if place > 0 { "," } else { "" });
                write_canonical(value, out);
            }
            out.push(']');
        }
        Outcome::Empty | Outcome::Failed => {}
    }
    out.push_str(if is_wrapped { "]" } else { "" });
    Ok(())
}

fn write_failed(call: &Call, json: &str, out: &mut String) -> Result<()> {
    write_instead(call.on_error, failed_error("JSON_QUERY", json), out)
}

fn write_instead(instead: Option<&str>, error: flott_core::Error, out: &mut String) -> Result<()> {
    out.push_str(instead.ok_or(error)?);
    Ok(())
}

fn texts(args: &Args, call: &Call) -> Result<ArrayRef> {
    let (json, path) = (args.column::<Text>(0)?, args.column::<Text>(1)?);
    collect_text(args.num_rows(), |row, out| {
        let (Some(json), Some(path)) = (json.get(row), path.get(row)) else {
            return Ok(false);
        };
        write_row(call, json, path, false, out)?;
        Ok(out != "null")
    })
}

fn arrays(args: &Args, call: &Call) -> Result<ArrayRef> {
    let (json, path) = (args.column::<Text>(0)?, args.column::<Text>(1)?);
    let mut lists = ListsBuilder::with_capacity(args.num_rows());
    let (mut items, mut text) = (StringViewBuilder::new(), String::new());
    for row in 0..args.num_rows() {
        text.clear();
        match (json.get(row), path.get(row)) {
            (Some(json), Some(path)) => write_row(call, json, path, true, &mut text)?,
            _ => text.push_str("null"),
        }
        if text == "null" {
            lists.append_null();
            continue;
        }
        let mut num_items = 0;
        // The text was written here: nothing can fail.
        let _ = Scanner::new(&text).items(|scanner, _| {
            num_items += 1;
            append_item(scanner.value()?, &mut items);
            Ok(())
        });
        lists.append(num_items);
    }
    lists.finish(&LogicalType::STRING.nullable(), Arc::new(items.finish()))
}

fn append_item(item: &str, items: &mut StringViewBuilder) {
    match item.as_bytes() {
        b"null" => items.append_null(),
        [b'"', ..] => items.append_value(unquote(item)),
        [b'-' | b'0'..=b'9', ..] => items.append_value(number_text(item)),
        _ => items.append_value(item),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;

    use super::super::super::string::testing::{call, call_rows, call_text, text, texts as shown};
    use super::*;

    const JSON: &str =
        r#"{"o": {"b": 1, "a": [ "x" ]}, "s": "t", "l": [1, "two", null, {"k": 3}]}"#;

    fn query(path: &str, wrapper: &str) -> Option<String> {
        let args = [text(JSON), text(path), text("STRING"), text(wrapper)];
        call_text(&JSON_QUERY, &args)
    }

    #[test]
    fn composites_are_written() {
        assert_eq!(
            query("$.o", "WITHOUT").as_deref(),
            Some(r#"{"a":["x"],"b":1}"#)
        );
        assert_eq!(query("$.s", "WITHOUT"), None);
        assert_eq!(query("$.s", "CONDITIONAL").as_deref(), Some(r#"["t"]"#));
        assert_eq!(
            query("$.l", "CONDITIONAL").as_deref(),
            Some(r#"[1,"two",null,{"k":3}]"#)
        );
        assert_eq!(
            query("$.o.a", "UNCONDITIONAL").as_deref(),
            Some(r#"[["x"]]"#)
        );
        assert_eq!(
            query("$.l[0,1]", "WITHOUT").as_deref(),
            Some(r#"[1,"two"]"#)
        );
        assert_eq!(query("$.x", "WITHOUT"), None);
    }

    #[test]
    fn clauses_say_what_stands_for_nothing() {
        let query = |path: &str, empty: &str, error: &str| {
            let clauses = [text("STRING"), text("WITHOUT"), text(empty), text(error)];
            let mut args = vec![text(JSON), text(path)];
            args.extend(clauses);
            call(&JSON_QUERY, &args).map(|value| value.to_string())
        };
        assert_eq!(
            query("lax $.x", "EMPTY ARRAY", "NULL").ok().as_deref(),
            Some("[]")
        );
        assert_eq!(
            query("strict $.x", "NULL", "EMPTY OBJECT").ok().as_deref(),
            Some("{}")
        );
        assert!(query("lax $.x", "ERROR", "NULL").is_err());
        assert!(query("$.s", "NULL", "ERROR").is_err());
    }

    #[test]
    fn arrays_of_strings_are_returned() {
        let rows = [Some(JSON), None, Some("{}")];
        let found = call_rows(&JSON_QUERY, &rows, &[text("$.l"), text("ARRAY<STRING>")]);
        let found = found.as_list::<i32>();
        let first = found.value(0);
        assert_eq!(
            shown(&first),
            [Some("1"), Some("two"), None, Some(r#"{"k":3}"#)]
        );
        assert!(arrow::array::Array::is_null(found, 1) && arrow::array::Array::is_null(found, 2));
    }
}
