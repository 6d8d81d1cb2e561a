//! Avro's JSON encoding (`avro.encoding = json`), to and from its binary one: a union's value is
//! null or an object with the branch's name, bytes are strings of U+0000 to U+00FF.

use flott_core::{Error, Result};
use serde_json::{Map, Value, json};

use super::read::{Cursor, Fault, Read};
use super::schema::Avro;
use super::write::{write_bytes, write_long};

/// Schemas that this module meets are derived from a table's types: not deeper than those.
fn unknown(schema: &Avro) -> Error {
    Error::internal(format!("a derived schema holds {schema:?}"))
}

fn wrong(value: &Value, wanted: &str) -> Box<Fault> {
    Box::new(Fault::Value(format!("{value}, where {wanted} is expected")))
}

/// Appends the binary encoding of `value`.
pub(super) fn to_binary(schema: &Avro, value: &Value, out: &mut Vec<u8>) -> Read<()> {
    match (encoded(schema), value) {
        (Avro::Null, Value::Null) => {}
        (Avro::Boolean, Value::Bool(value)) => out.push(u8::from(*value)),
        (Avro::Float, Value::Number(n)) => {
            let value = n.as_f64().unwrap_or(f64::NAN) as f32;
            out.extend_from_slice(&value.to_le_bytes());
        }
        (Avro::Double, Value::Number(n)) => {
            out.extend_from_slice(&n.as_f64().unwrap_or(f64::NAN).to_le_bytes());
        }
        (Avro::Float, Value::String(text)) => {
            let value: f32 = text.parse().map_err(|_| wrong(value, "a number"))?;
            out.extend_from_slice(&value.to_le_bytes());
        }
        (Avro::Double, Value::String(text)) => {
            let value: f64 = text.parse().map_err(|_| wrong(value, "a number"))?;
            out.extend_from_slice(&value.to_le_bytes());
        }
        (Avro::String, Value::String(text)) => write_bytes(text.as_bytes(), out),
        (Avro::Bytes, Value::String(text)) => {
            let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c).ok()).collect();
            write_bytes(
                &bytes.ok_or_else(|| wrong(value, "a string of bytes"))?,
                out,
            );
        }
        (Avro::Array(array), Value::Array(items)) => {
            if !items.is_empty() {
                write_long(items.len() as i64, out);
                items
                    .iter()
                    .try_for_each(|item| to_binary(array, item, out))?;
            }
            out.push(0);
        }
        (Avro::Map(map), Value::Object(entries)) => {
            if !entries.is_empty() {
                write_long(entries.len() as i64, out);
                for (key, value) in entries {
                    write_bytes(key.as_bytes(), out);
                    to_binary(map, value, out)?;
                }
            }
            out.push(0);
        }
        (Avro::Record(record), Value::Object(members)) => {
            for field in &record.fields {
                let value = members.get(&field.name).ok_or_else(|| {
                    Box::new(Fault::Value(format!(
                        "no field '{}' in {value}",
                        field.name
                    )))
                })?;
                to_binary(&field.schema, value, out)?;
            }
        }
        (Avro::Union(union), value) => {
            let (branch, value) = branch_of(union, value)?;
            write_long(branch as i64, out);
            to_binary(&union[branch], value, out)?;
        }
        (schema, Value::Number(n)) if is_integer(schema) => {
            let number = n.as_i64().ok_or_else(|| wrong(value, "a whole number"))?;
            write_long(number, out);
        }
        (schema, value) => return Err(wrong(value, &name_of(schema))),
    }
    Ok(())
}

fn branch_of<'a>(branches: &[Avro], value: &'a Value) -> Read<(usize, &'a Value)> {
    let (name, value) = match value {
        Value::Null => ("null".to_string(), value),
        Value::Object(members) if members.len() == 1 => match members.iter().next() {
            Some((name, inner)) => (name.clone(), inner),
            None => return Err(wrong(value, "a branch of a union")),
        },
        _ => return Err(wrong(value, "null or an object with a union's branch")),
    };
    let branch = branches.iter().position(|b| name_of(b) == name);
    let branch = branch.ok_or_else(|| wrong(value, "a known branch of a union"))?;
    Ok((branch, value))
}

/// The type by which a value is encoded.
fn encoded(schema: &Avro) -> &Avro {
    match schema {
        Avro::Logical(inner, _) => inner,
        other => other,
    }
}

fn is_integer(schema: &Avro) -> bool {
    matches!(name_of(schema).as_str(), "int" | "long")
}

/// The name of a branch.
fn name_of(schema: &Avro) -> String {
    match encoded(schema) {
        Avro::Null => "null".into(),
        Avro::Boolean => "boolean".into(),
        Avro::Int => "int".into(),
        Avro::Long => "long".into(),
        Avro::Float => "float".into(),
        Avro::Double => "double".into(),
        Avro::String => "string".into(),
        Avro::Bytes => "bytes".into(),
        Avro::Array(_) => "array".into(),
        Avro::Map(_) => "map".into(),
        Avro::Union(_) => "union".into(),
        Avro::Record(record) => record.name.to_string(),
        Avro::Enum(symbols) => symbols.name.to_string(),
        Avro::Fixed(fixed) => fixed.name.to_string(),
        Avro::Ref(name) => name.to_string(),
        Avro::Logical(inner, _) => name_of(inner),
    }
}

/// The value that the cursor stands at.
pub(super) fn from_binary(schema: &Avro, cursor: &mut Cursor<'_>) -> Result<Value> {
    let torn = |fault: Box<Fault>| Error::internal(format!("encoded bytes: {fault:?}"));
    Ok(match encoded(schema) {
        Avro::Null => Value::Null,
        Avro::Boolean => json!(cursor.take(1).map_err(torn)? == [1]),
        Avro::Float => {
            let bytes = cursor.take(4).map_err(torn)?;
            let value = f32::from_le_bytes(bytes.try_into().unwrap_or_default());
            number(f64::from(value), || {
                value.to_string().parse().unwrap_or(f64::from(value))
            })
        }
        Avro::Double => {
            let bytes = cursor.take(8).map_err(torn)?;
            let value = f64::from_le_bytes(bytes.try_into().unwrap_or_default());
            number(value, || value)
        }
        Avro::String => {
            let bytes = cursor.bytes().map_err(torn)?;
            Value::from(String::from_utf8_lossy(bytes))
        }
        Avro::Bytes => {
            let bytes = cursor.bytes().map_err(torn)?;
            Value::from(bytes.iter().map(|&b| char::from(b)).collect::<String>())
        }
        Avro::Array(array) => {
            let mut items = Vec::new();
            loop {
                let count = cursor.long().map_err(torn)?;
                if count == 0 {
                    break Value::Array(items);
                }
                for _ in 0..count {
                    items.push(from_binary(array, cursor)?);
                }
            }
        }
        Avro::Map(map) => {
            let mut entries = Map::new();
            loop {
                let count = cursor.long().map_err(torn)?;
                if count == 0 {
                    break Value::Object(entries);
                }
                for _ in 0..count {
                    let key = cursor.bytes().map_err(torn)?;
                    let key = String::from_utf8_lossy(key).into_owned();
                    entries.insert(key, from_binary(map, cursor)?);
                }
            }
        }
        Avro::Record(record) => {
            let mut members = Map::new();
            for field in &record.fields {
                members.insert(field.name.clone(), from_binary(&field.schema, cursor)?);
            }
            Value::Object(members)
        }
        Avro::Union(union) => {
            let branch = cursor.long().map_err(torn)? as usize;
            let inner = union.get(branch).ok_or_else(|| unknown(schema))?;
            match from_binary(inner, cursor)? {
                Value::Null => Value::Null,
                value => json!({ name_of(inner): value }),
            }
        }
        schema if is_integer(schema) => json!(cursor.long().map_err(torn)?),
        schema => return Err(unknown(schema)),
    })
}

/// JSON has no infinity and no NaN: they are strings, as Java's Avro writes them.
fn number(value: f64, shortest: impl FnOnce() -> f64) -> Value {
    match value {
        v if v.is_nan() => json!("NaN"),
        f64::INFINITY => json!("Infinity"),
        f64::NEG_INFINITY => json!("-Infinity"),
        _ => json!(shortest()),
    }
}
