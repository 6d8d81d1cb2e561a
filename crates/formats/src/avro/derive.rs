//! The Avro schema of a table, as Flink derives it from the columns' types.

use flott_core::schema::Schema;
use flott_core::types::{DataType, LogicalType};
use flott_core::{Error, Result};
use serde_json::{Value, json};

/// The name that Flink gives the record; a row inside it is named `record_field`.
pub(super) const RECORD_NAME: &str = "org.apache.flink.avro.generated.record";

/// How `TIMESTAMP` and `TIMESTAMP_LTZ` map to Avro's logical types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimestampMapping {
    /// `avro.timestamp_mapping.legacy = true`: `TIMESTAMP` is Avro's `timestamp`, which is a point
    /// in time; `TIMESTAMP_LTZ` cannot be held.
    Legacy,
    /// `TIMESTAMP` is Avro's `local-timestamp`, `TIMESTAMP_LTZ` its `timestamp`.
    Standard,
}

/// The record schema of a table's columns.
///
/// # Errors
/// A user error for a column of a type or name that Avro does not have.
pub(crate) fn record_schema(schema: &Schema, mapping: TimestampMapping) -> Result<Value> {
    let fields = schema.columns().iter().map(|c| (&*c.name, &c.data_type));
    record(fields, RECORD_NAME, mapping)
}

fn record<'a>(
    fields: impl Iterator<Item = (&'a str, &'a DataType)>,
    name: &str,
    mapping: TimestampMapping,
) -> Result<Value> {
    let mut members = Vec::new();
    for (field, data_type) in fields {
        check_name(field)?;
        let inner = nullable(data_type, &format!("{name}_{field}"), mapping)
            .map_err(|error| error.context(format!("column '{field}'")))?;
        members.push(match data_type.nullable {
            true => json!({"name": field, "type": inner, "default": null}),
            false => json!({"name": field, "type": inner}),
        });
    }
    let (namespace, name) = name.rsplit_once('.').unwrap_or(("", name));
    Ok(json!({"type": "record", "name": name, "namespace": namespace, "fields": members}))
}

fn check_name(name: &str) -> Result<()> {
    let mut letters = name.bytes();
    let first = letters
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if first && letters.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Ok(());
    }
    Err(Error::user(
        "UNSUPPORTED_NAME",
        format!("'{name}' cannot be the name of an Avro field: use letters, digits and '_' only"),
    ))
}

fn nullable(data_type: &DataType, name: &str, mapping: TimestampMapping) -> Result<Value> {
    let inner = value(&data_type.logical, name, mapping)?;
    Ok(
        match data_type.nullable && data_type.logical != LogicalType::Null {
            true => json!(["null", inner]),
            false => inner,
        },
    )
}

fn value(logical: &LogicalType, name: &str, mapping: TimestampMapping) -> Result<Value> {
    let plain = |name: &str| Ok(Value::from(name));
    match logical {
        LogicalType::Null => plain("null"),
        LogicalType::Boolean => plain("boolean"),
        LogicalType::TinyInt | LogicalType::SmallInt | LogicalType::Int => plain("int"),
        LogicalType::BigInt => plain("long"),
        LogicalType::Float => plain("float"),
        LogicalType::Double => plain("double"),
        LogicalType::Char(_) | LogicalType::VarChar(_) => plain("string"),
        LogicalType::Binary(_) | LogicalType::VarBinary(_) => plain("bytes"),
        LogicalType::Date => Ok(json!({"type": "int", "logicalType": "date"})),
        LogicalType::Time(0..=3) => Ok(json!({"type": "int", "logicalType": "time-millis"})),
        LogicalType::Decimal(precision, scale) => Ok(json!({
            "type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale
        })),
        LogicalType::Timestamp(_) | LogicalType::TimestampLtz(_) => timestamp(logical, mapping),
        LogicalType::Array(item) => {
            Ok(json!({"type": "array", "items": nullable(item, name, mapping)?}))
        }
        LogicalType::Map(key, item) if key.logical.is_character() => {
            Ok(json!({"type": "map", "values": nullable(item, name, mapping)?}))
        }
        LogicalType::Multiset(item) if item.logical.is_character() => {
            Ok(json!({"type": "map", "values": "int"}))
        }
        LogicalType::Map(..) | LogicalType::Multiset(_) => Err(Error::user(
            "UNSUPPORTED_TYPE",
            format!(
                "Avro's maps have strings as keys and cannot hold {logical}; declare the key as STRING"
            ),
        )),
        LogicalType::Row(fields) => {
            let fields = fields.iter().map(|f| (&*f.name, &f.data_type));
            record(fields, name, mapping)
        }
        _ => Err(unsupported(logical, "")),
    }
}

fn unsupported(logical: &LogicalType, advice: &str) -> Error {
    Error::user(
        "UNSUPPORTED_TYPE",
        format!("Avro cannot hold a value of type {logical}{advice}"),
    )
}

fn timestamp(logical: &LogicalType, mapping: TimestampMapping) -> Result<Value> {
    let (precision, has_zone) = match logical {
        LogicalType::TimestampLtz(precision) => (*precision, true),
        LogicalType::Timestamp(precision) => (*precision, false),
        _ => return Err(unsupported(logical, "")),
    };
    let advice = "; set 'timestamp_mapping.legacy' of the format to 'false'";
    let prefix = match (mapping, has_zone) {
        (TimestampMapping::Legacy, true) => return Err(unsupported(logical, advice)),
        (TimestampMapping::Legacy, false) | (TimestampMapping::Standard, true) => "timestamp",
        (TimestampMapping::Standard, false) => "local-timestamp",
    };
    let unit = match (precision, mapping) {
        (0..=3, _) => "millis",
        (4..=6, TimestampMapping::Standard) => "micros",
        (4..=6, TimestampMapping::Legacy) => return Err(unsupported(logical, advice)),
        _ => return Err(unsupported(logical, "; use a precision of 6 or less")),
    };
    Ok(json!({"type": "long", "logicalType": format!("{prefix}-{unit}")}))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use flott_core::schema::Column;
    use flott_core::types::RowField;

    use super::*;

    #[test]
    fn schemas_are_flinks() {
        let row = LogicalType::Row(Arc::from([RowField::new("a", LogicalType::Int.not_null())]));
        let schema = Schema::new(vec![
            Column::new("id", LogicalType::BigInt.not_null()),
            Column::new("t", LogicalType::Timestamp(3).nullable()),
            Column::new("r", row.nullable()),
        ]);
        let derived = record_schema(&schema, TimestampMapping::Legacy).unwrap();
        let expected = json!({
            "type": "record", "name": "record", "namespace": "org.apache.flink.avro.generated",
            "fields": [
                {"name": "id", "type": "long"},
                {"name": "t", "default": null,
                 "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}]},
                {"name": "r", "default": null, "type": ["null", {
                    "type": "record", "name": "record_r",
                    "namespace": "org.apache.flink.avro.generated",
                    "fields": [{"name": "a", "type": "int"}]
                }]},
            ]
        });
        assert_eq!(derived, expected);
    }

    #[test]
    fn what_avro_cannot_hold_is_refused() {
        let of = |t: LogicalType, mapping| {
            let schema = Schema::new(vec![Column::new("c", t.nullable())]);
            record_schema(&schema, mapping).map(|_| ())
        };
        assert!(of(LogicalType::TimestampLtz(3), TimestampMapping::Legacy).is_err());
        assert!(of(LogicalType::TimestampLtz(6), TimestampMapping::Standard).is_ok());
        assert!(of(LogicalType::Timestamp(9), TimestampMapping::Standard).is_err());
        assert!(of(LogicalType::Time(6), TimestampMapping::Standard).is_err());
        assert!(of(LogicalType::IntervalYearMonth, TimestampMapping::Standard).is_err());
    }
}
