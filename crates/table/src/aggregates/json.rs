//! JSON_OBJECTAGG and JSON_ARRAYAGG, each with a variant for its other treatment of NULL.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringViewBuilder};
use chrono_tz::Tz;
use flott_core::text::{TextOptions, format_value};
use flott_core::types::{DataType, LogicalType};
use flott_core::{Error, Result};

use super::bind::{one, wrong_count, wrong_type};
use super::encoded::Lists;
use super::listed::{Finish, Listed};
use super::{AggregateFunction, AggregateTypes};

const OBJECT: AggregateFunction = AggregateFunction {
    name: "JSON_OBJECTAGG",
    aliases: &["JSON_OBJECTAGG_NULL_ON_NULL"],
    doc: "JSON_OBJECTAGG(KEY k VALUE v) is the JSON object of the pairs; a NULL value is null.",
    bind: bind_object,
    create: |types, _| Listed::boxed(types, None, Finish::All(objects)),
    is_mergeable: true,
    ignores_distinct: false,
    is_order_sensitive: true,
    is_additive: false,
};

const ARRAY: AggregateFunction = AggregateFunction {
    name: "JSON_ARRAYAGG",
    aliases: &["JSON_ARRAYAGG_ABSENT_ON_NULL"],
    doc: "JSON_ARRAYAGG(x) is the JSON array of the values that are not NULL.",
    bind: |args| {
        Ok(AggregateTypes {
            arguments: vec![one(args)?.clone()],
            result: result(),
        })
    },
    create: |types, _| Listed::boxed(types, Some(0), Finish::All(arrays)),
    ..OBJECT
};

pub(super) const FUNCTIONS: &[AggregateFunction] = &[
    OBJECT,
    AggregateFunction {
        name: "JSON_OBJECTAGG_ABSENT_ON_NULL",
        aliases: &[],
        doc: "JSON_OBJECTAGG(KEY k VALUE v ABSENT ON NULL) leaves out pairs whose value is NULL.",
        create: |types, _| Listed::boxed(types, Some(1), Finish::All(objects)),
        ..OBJECT
    },
    ARRAY,
    AggregateFunction {
        name: "JSON_ARRAYAGG_NULL_ON_NULL",
        aliases: &[],
        doc: "JSON_ARRAYAGG(x NULL ON NULL) is the JSON array of all values.",
        create: |types, _| Listed::boxed(types, None, Finish::All(arrays)),
        ..ARRAY
    },
];

/// What Flink gives both.
fn result() -> DataType {
    LogicalType::VarChar(2_000).not_null()
}

fn bind_object(args: &[DataType]) -> Result<AggregateTypes> {
    match args {
        [key, _] if !key.logical.is_character() => {
            Err(wrong_type("a character string as key", key))
        }
        [_, _] => Ok(AggregateTypes {
            arguments: args.to_vec(),
            result: result(),
        }),
        _ => Err(wrong_count("a key and a value", args.len())),
    }
}

/// Objects have their keys in order.
fn objects(lists: &Lists, types: &AggregateTypes) -> Result<ArrayRef> {
    let keys = lists.columns[0].as_string_view();
    let mut builder = StringViewBuilder::with_capacity(lists.len());
    for list in 0..lists.len() {
        let mut members = BTreeMap::new();
        for item in lists.range(list) {
            if keys.is_null(item) {
                let message = "a key of JSON_OBJECTAGG is NULL; filter such rows out";
                return Err(Error::user("JSON_KEY", message));
            }
            if members.insert(keys.value(item), item).is_some() {
                let message = format!(
                    "key '{}' is already present; duplicate keys are not allowed in \
                     JSON_OBJECTAGG, make sure that keys are unique",
                    keys.value(item)
                );
                return Err(Error::user("JSON_KEY", message));
            }
        }
        let mut text = String::from("{");
        for (key, item) in members {
            separate(&mut text);
            quote(key, &mut text);
            text.push(':');
            write_value(
                &lists.columns[1],
                item,
                &types.arguments[1].logical,
                &mut text,
            )?;
        }
        text.push('}');
        builder.append_value(&text);
    }
    Ok(Arc::new(builder.finish()))
}

fn arrays(lists: &Lists, types: &AggregateTypes) -> Result<ArrayRef> {
    let mut builder = StringViewBuilder::with_capacity(lists.len());
    for list in 0..lists.len() {
        let mut text = String::from("[");
        for item in lists.range(list) {
            separate(&mut text);
            write_value(
                &lists.columns[0],
                item,
                &types.arguments[0].logical,
                &mut text,
            )?;
        }
        text.push(']');
        builder.append_value(&text);
    }
    Ok(Arc::new(builder.finish()))
}

/// A comma, except for the first.
fn separate(text: &mut String) {
    if text.len() > 1 {
        text.push(',');
    }
}

fn write_value(array: &dyn Array, row: usize, ty: &LogicalType, text: &mut String) -> Result<()> {
    if array.is_null(row) || *ty == LogicalType::Null {
        text.push_str("null");
        return Ok(());
    }
    match ty {
        LogicalType::Boolean => {
            text.push_str(if array.as_boolean().value(row) {
                "true"
            } else {
                "false"
            });
        }
        LogicalType::Array(item) => write_array(array, row, &item.logical, text)?,
        ty if ty.is_numeric() => value_text(array, row, ty, text)?,
        ty => {
            let mut value = String::new();
            value_text(array, row, ty, &mut value)?;
            quote(&value, text);
        }
    }
    Ok(())
}

fn write_array(array: &dyn Array, row: usize, item: &LogicalType, text: &mut String) -> Result<()> {
    let items = array.as_list::<i32>().value(row);
    text.push('[');
    for i in 0..items.len() {
        if i > 0 {
            text.push(',');
        }
        write_value(&items, i, item, text)?;
    }
    text.push(']');
    Ok(())
}

fn value_text(array: &dyn Array, row: usize, ty: &LogicalType, text: &mut String) -> Result<()> {
    let options = TextOptions {
        time_zone: Tz::UTC,
        is_printing: false,
    };
    format_value(array, row, ty, &options, text)
}

fn quote(value: &str, text: &mut String) {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            c if c < ' ' => text.push_str(&format!("\\u{:04X}", c as u32)),
            c => text.push(c),
        }
    }
    text.push('"');
}
