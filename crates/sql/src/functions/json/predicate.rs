//! `IS JSON`, `JSON_EXISTS`.

use flott_core::Result;
use flott_core::types::LogicalType;

use super::scan::{Scanner, is_scalar};
use super::{Outcome, clause, constant_path, failed_error, invalid_clause, outcome, with_path};
use crate::functions::kernel::{Bool, Text, collect, columns};
use crate::functions::{BindContext, BoundFunction};

function!(
    IS_JSON,
    "IS JSON" | "IS_JSON",
    Json,
    "string IS [NOT] JSON [VALUE | SCALAR | ARRAY | OBJECT]",
    "Whether a string is JSON, of a kind. FALSE for NULL.",
    [
        ("'{\"a\": 1}' IS JSON", "TRUE"),
        ("'[1]' IS JSON OBJECT", "FALSE")
    ],
    bind_is_json
);

function!(
    JSON_EXISTS,
    "JSON_EXISTS",
    Json,
    "JSON_EXISTS(json, path [{ TRUE | FALSE | UNKNOWN | ERROR } ON ERROR])",
    "Whether there is a value, other than null, at a path in JSON text.",
    [("JSON_EXISTS('{\"a\": true}', '$.a')", "TRUE")],
    bind_exists
);

fn bind_is_json(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let types = ctx.expect_text(1..=2)?;
    let is_kind: fn(&str) -> bool = match clause(ctx, 1, "VALUE") {
        "VALUE" => |_| true,
        "SCALAR" => is_scalar,
        "ARRAY" => |value| value.starts_with('['),
        "OBJECT" => |value| value.starts_with('{'),
        other => return Err(invalid_clause("IS JSON", other)),
    };
    let label = format!("IS JSON {}", clause(ctx, 1, "VALUE"));
    let kernel = columns(label, move |args| {
        let json = args.column::<Text>(0)?;
        collect::<Bool>(args.num_rows(), |row| {
            let value = json
                .get(row)
                .and_then(|json| Scanner::new(json).value().ok());
            Ok(Some(value.is_some_and(is_kind)))
        })
    });
    Ok(BoundFunction::new(
        types,
        LogicalType::Boolean.not_null(),
        kernel,
    ))
}

fn bind_exists(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let types = ctx.expect_text(2..=3)?;
    let on_error = clause(ctx, 2, "FALSE");
    let answer = match on_error {
        "TRUE" => Some(Some(true)),
        "FALSE" => Some(Some(false)),
        "UNKNOWN" => Some(None),
        "ERROR" => None,
        other => return Err(invalid_clause("JSON_EXISTS", other)),
    };
    let constant = constant_path(ctx)?;
    let label = format!("JSON_EXISTS {constant:?} {on_error}");
    let kernel = columns(label, move |args| {
        let (json, path) = (args.column::<Text>(0)?, args.column::<Text>(1)?);
        collect::<Bool>(args.num_rows(), |row| {
            let (Some(json), Some(path)) = (json.get(row), path.get(row)) else {
                return Ok(None);
            };
            match with_path(constant.as_ref(), path, |path| outcome(path, json))? {
                Outcome::Value(_) | Outcome::Many(_) => Ok(Some(true)),
                Outcome::Empty => Ok(Some(false)),
                Outcome::Failed => answer.ok_or_else(|| failed_error("JSON_EXISTS", json)),
            }
        })
    });
    Ok(BoundFunction::new(
        types,
        LogicalType::Boolean.nullable(),
        kernel,
    ))
}

#[cfg(test)]
mod tests {
    use super::super::super::string::testing::{call, call_bool, text};
    use super::*;

    #[test]
    fn kinds_are_told_apart() {
        let is = |json, kind: &str| call_bool(&IS_JSON, &[text(json), text(kind)]);
        assert_eq!(is("1", "SCALAR"), Some(true));
        assert_eq!(is("[1]", "ARRAY"), Some(true));
        assert_eq!(is("[1]", "SCALAR"), Some(false));
        assert_eq!(is("{}", "OBJECT"), Some(true));
        assert_eq!(call_bool(&IS_JSON, &[text("{")]), Some(false));
        assert_eq!(call_bool(&IS_JSON, &[text(None)]), Some(false));
    }

    #[test]
    fn values_exist() {
        let exists = |json, path| call_bool(&JSON_EXISTS, &[text(json), text(path)]);
        assert_eq!(exists(r#"{"a":1}"#, "$.a"), Some(true));
        assert_eq!(exists(r#"{"a":null}"#, "$.a"), Some(false));
        assert_eq!(exists(r#"{"a":1}"#, "strict $.b"), Some(false));
        let args = [text("{}"), text("strict $.b"), text("UNKNOWN")];
        assert_eq!(call_bool(&JSON_EXISTS, &args), None);
        assert!(call(&JSON_EXISTS, &[text("{}"), text("$.b"), text("ERROR")]).is_err());
        assert_eq!(call_bool(&JSON_EXISTS, &[text(None), text("$.a")]), None);
    }
}
