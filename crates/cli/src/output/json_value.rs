//! A value as the SQL Gateway writes it in JSON: numbers and booleans as themselves, times as ISO
//! text, bytes as base64, maps and rows as objects.

use arrow::array::{Array, AsArray};
use arrow::datatypes::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flott_core::text::TextOptions;
use flott_core::types::LogicalType;
use serde_json::{Map, Number, Value};

use super::plain::show;

/// The JSON of a cell of this type.
pub fn typed_value(
    array: &dyn Array,
    row: usize,
    logical: &LogicalType,
    text: &TextOptions,
) -> Value {
    if array.is_null(row) || array.data_type() == &DataType::Null {
        return Value::Null;
    }
    match logical {
        LogicalType::Null => Value::Null,
        LogicalType::Boolean => Value::Bool(array.as_boolean().value(row)),
        LogicalType::TinyInt => array.as_primitive::<Int8Type>().value(row).into(),
        LogicalType::SmallInt => array.as_primitive::<Int16Type>().value(row).into(),
        LogicalType::Int => array.as_primitive::<Int32Type>().value(row).into(),
        LogicalType::BigInt => array.as_primitive::<Int64Type>().value(row).into(),
        LogicalType::Float | LogicalType::Double | LogicalType::Decimal(..) => {
            let number = shown(array, row, logical, text);
            number
                .parse::<Number>()
                .map_or(Value::String(number), Value::Number)
        }
        LogicalType::Binary(_) | LogicalType::VarBinary(_) => {
            STANDARD.encode(array.as_binary_view().value(row)).into()
        }
        LogicalType::Timestamp(_) => shown(array, row, logical, text)
            .replacen(' ', "T", 1)
            .into(),
        LogicalType::TimestampLtz(_) => {
            let utc = TextOptions {
                time_zone: chrono_tz::UTC,
                ..*text
            };
            format!(
                "{}Z",
                shown(array, row, logical, &utc).replacen(' ', "T", 1)
            )
            .into()
        }
        LogicalType::Array(item) => {
            let items = array.as_list::<i32>().value(row);
            let value = |i| typed_value(items.as_ref(), i, &item.logical, text);
            Value::Array((0..items.len()).map(value).collect())
        }
        LogicalType::Map(key, value) => map(array, row, &key.logical, &value.logical, text),
        LogicalType::Multiset(item) => map(array, row, &item.logical, &LogicalType::Int, text),
        LogicalType::Row(fields) => {
            let columns = array.as_struct().columns();
            let pairs = fields.iter().zip(columns).map(|(field, column)| {
                let value = typed_value(column.as_ref(), row, &field.data_type.logical, text);
                (field.name.clone(), value)
            });
            Value::Object(pairs.collect())
        }
        _ => shown(array, row, logical, text).into(),
    }
}

fn shown(array: &dyn Array, row: usize, logical: &LogicalType, text: &TextOptions) -> String {
    let mut out = String::new();
    show(array, row, logical, text, &mut out);
    out
}

fn map(
    array: &dyn Array,
    row: usize,
    key: &LogicalType,
    value: &LogicalType,
    text: &TextOptions,
) -> Value {
    let entries = array.as_map().value(row);
    let (keys, values) = (entries.column(0), entries.column(1));
    let mut object = Map::new();
    for i in 0..entries.len() {
        let value = typed_value(values.as_ref(), i, value, text);
        object.insert(shown(keys.as_ref(), i, key, text), value);
    }
    Value::Object(object)
}
