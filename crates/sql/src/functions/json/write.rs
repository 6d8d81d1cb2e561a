//! Values of all types as JSON text.

use std::borrow::Cow;

use arrow::array::{Array, ArrayRef, AsArray};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono_tz::Tz;
use flott_core::Result;
use flott_core::text::{TextOptions, format_value};
use flott_core::types::{DataType, LogicalType};

use super::canonical::{write_object, write_string};

/// Points in time are written in UTC.
const OPTIONS: TextOptions = TextOptions {
    time_zone: Tz::UTC,
    is_printing: false,
};

/// Appends a value of type `logical` as JSON; NULL is `null`.
pub fn write_json(
    array: &dyn Array,
    row: usize,
    logical: &LogicalType,
    out: &mut String,
) -> Result<()> {
    if array.is_null(row) {
        out.push_str("null");
        return Ok(());
    }
    match logical {
        LogicalType::Char(_) | LogicalType::VarChar(_) => {
            write_string(array.as_string_view().value(row), out);
        }
        LogicalType::Boolean => {
            out.push_str(if array.as_boolean().value(row) {
                "true"
            } else {
                "false"
            });
        }
        LogicalType::Binary(_) | LogicalType::VarBinary(_) => {
            out.push('"');
            BASE64_STANDARD.encode_string(array.as_binary_view().value(row), out);
            out.push('"');
        }
        LogicalType::Timestamp(_) | LogicalType::TimestampLtz(_) => {
            let text = text_of(array, row, logical)?.replace(' ', "T");
            // No more of the fraction than there is.
            let text = match text.contains('.') {
                true => text.trim_end_matches('0').trim_end_matches('.'),
                false => &text,
            };
            let zone = matches!(logical, LogicalType::TimestampLtz(_));
            write_string(&format!("{text}{}", if zone { "Z" } else { "" }), out);
        }
        LogicalType::Array(item) => write_array(&array.as_list::<i32>().value(row), item, out)?,
        LogicalType::Map(key, value) => write_map(array, row, key, value, out)?,
        LogicalType::Multiset(item) => {
            write_map(array, row, item, &LogicalType::Int.not_null(), out)?;
        }
        LogicalType::Row(fields) => {
            let rows = array.as_struct();
            let mut members = Vec::with_capacity(fields.len());
            for (field, column) in fields.iter().zip(rows.columns()) {
                let mut text = String::new();
                write_json(column, row, &field.data_type.logical, &mut text)?;
                members.push((Cow::Borrowed(field.name.as_str()), text));
            }
            write_object(members, out, |text, out| out.push_str(text));
        }
        number if number.is_numeric() => {
            let text = text_of(array, row, logical)?;
            match text.as_str() {
                "NaN" | "Infinity" | "-Infinity" => write_string(&text, out),
                _ => out.push_str(&text),
            }
        }
        _ => write_string(&text_of(array, row, logical)?, out),
    }
    Ok(())
}

fn text_of(array: &dyn Array, row: usize, logical: &LogicalType) -> Result<String> {
    let mut text = String::new();
    format_value(array, row, logical, &OPTIONS, &mut text)?;
    Ok(text)
}

fn write_array(items: &ArrayRef, item: &DataType, out: &mut String) -> Result<()> {
    out.push('[');
    for index in 0..items.len() {
        if index > 0 {
            out.push(',');
        }
        write_json(items, index, &item.logical, out)?;
    }
    out.push(']');
    Ok(())
}

fn write_map(
    array: &dyn Array,
    row: usize,
    key: &DataType,
    value: &DataType,
    out: &mut String,
) -> Result<()> {
    let entries = array.as_map().value(row);
    let mut members = Vec::with_capacity(entries.len());
    for index in 0..entries.len() {
        let mut text = String::new();
        write_json(entries.column(1), index, &value.logical, &mut text)?;
        let key = text_of(entries.column(0), index, &key.logical)?;
        members.push((Cow::Owned(key), text));
    }
    write_object(members, out, |text, out| out.push_str(text));
    Ok(())
}
