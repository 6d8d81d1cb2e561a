//! Avro schemas, parsed from JSON text that may come from anywhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use flott_core::{Error, Result};
use serde_json::{Map, Value};

/// A parsed schema.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Avro {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Array(Box<Avro>),
    Map(Box<Avro>),
    Union(Vec<Avro>),
    Record(Arc<Record>),
    Enum(Arc<Enum>),
    Fixed(Arc<Fixed>),
    /// A type with a meaning beyond its encoding.
    Logical(Box<Avro>, Logical),
    /// A named type defined before, or around it; its full name.
    Ref(Arc<str>),
}

#[derive(Debug, PartialEq)]
pub(crate) struct Record {
    pub name: Arc<str>,
    pub fields: Vec<RecordField>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct RecordField {
    pub name: String,
    pub aliases: Vec<String>,
    pub schema: Avro,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Enum {
    pub name: Arc<str>,
    pub symbols: Vec<String>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Fixed {
    pub name: Arc<str>,
    pub size: usize,
}

/// What a value means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Logical {
    Decimal {
        scale: u32,
    },
    Date,
    TimeMillis,
    TimeMicros,
    /// With or without time zone; how many of its units make a second.
    Timestamp {
        per_second: i64,
    },
}

/// Parses a schema.
///
/// # Errors
/// A user error that names what is wrong with it.
pub(crate) fn parse_schema(text: &str) -> Result<Avro> {
    let wrong = |what: String| {
        Error::user(
            "MALFORMED_SCHEMA",
            format!("the Avro schema cannot be read: {what}"),
        )
    };
    let value: Value = match text.trim_start().starts_with(['{', '[', '"']) {
        true => serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?,
        // A type's bare name, as some registries give it.
        false => Value::from(text.trim()),
    };
    Parser::default().schema(&value, "").map_err(wrong)
}

type Parsed<T> = Result<T, String>;

#[derive(Default)]
struct Parser {
    /// By full name.
    names: BTreeMap<String, Arc<str>>,
}

impl Parser {
    fn schema(&mut self, value: &Value, namespace: &str) -> Parsed<Avro> {
        match value {
            Value::String(name) => self.named(name, namespace),
            Value::Array(branches) => {
                let branches = branches.iter().map(|b| self.schema(b, namespace));
                Ok(Avro::Union(branches.collect::<Parsed<_>>()?))
            }
            Value::Object(members) => self.object(members, namespace),
            other => Err(format!("{other} is no type")),
        }
    }

    fn named(&self, name: &str, namespace: &str) -> Parsed<Avro> {
        Ok(match name {
            "null" => Avro::Null,
            "boolean" => Avro::Boolean,
            "int" => Avro::Int,
            "long" => Avro::Long,
            "float" => Avro::Float,
            "double" => Avro::Double,
            "bytes" => Avro::Bytes,
            "string" => Avro::String,
            _ => {
                let found = self.names.get(&full_name(name, namespace));
                let found = found.or_else(|| self.names.get(name));
                Avro::Ref(
                    found
                        .ok_or_else(|| format!("unknown type '{name}'"))?
                        .clone(),
                )
            }
        })
    }

    fn object(&mut self, members: &Map<String, Value>, namespace: &str) -> Parsed<Avro> {
        let kind = members.get("type").ok_or("an object without 'type'")?;
        let member = |name: &str| {
            members
                .get(name)
                .ok_or_else(|| format!("{kind} without '{name}'"))
        };
        let plain = match kind.as_str() {
            Some("record" | "error") => return self.record(members, namespace),
            Some("enum") => {
                let symbols = member("symbols")?
                    .as_array()
                    .ok_or("'symbols' that are no list")?;
                let symbols = symbols.iter().map(|s| s.as_str().map(String::from));
                let symbols = symbols
                    .collect::<Option<_>>()
                    .ok_or("a symbol that is no string")?;
                let (name, _) = self.define(members, namespace)?;
                Avro::Enum(Arc::new(Enum { name, symbols }))
            }
            Some("fixed") => {
                let size = member("size")?
                    .as_u64()
                    .ok_or("a 'size' that is no number")?;
                let size = usize::try_from(size).map_err(|_| "a 'size' that is too large")?;
                let (name, _) = self.define(members, namespace)?;
                Avro::Fixed(Arc::new(Fixed { name, size }))
            }
            Some("array") => Avro::Array(Box::new(self.schema(member("items")?, namespace)?)),
            Some("map") => Avro::Map(Box::new(self.schema(member("values")?, namespace)?)),
            // A primitive type, or a type in another pair of braces.
            _ => self.schema(kind, namespace)?,
        };
        Ok(match logical(members, &plain) {
            Some(logical) => Avro::Logical(Box::new(plain), logical),
            None => plain,
        })
    }

    fn record(&mut self, members: &Map<String, Value>, namespace: &str) -> Parsed<Avro> {
        let (name, inner) = self.define(members, namespace)?;
        let fields = members.get("fields").and_then(Value::as_array);
        let fields = fields.ok_or_else(|| format!("record '{name}' without 'fields'"))?;
        let field = |value: &Value, parser: &mut Self| -> Parsed<RecordField> {
            let text = value.get("name").and_then(Value::as_str);
            let text = text.ok_or_else(|| format!("a field of '{name}' without 'name'"))?;
            let schema = value
                .get("type")
                .ok_or_else(|| format!("field '{text}' without 'type'"))?;
            let aliases = value.get("aliases").and_then(Value::as_array);
            let aliases = aliases.into_iter().flatten().filter_map(Value::as_str);
            Ok(RecordField {
                name: text.to_string(),
                aliases: aliases.map(String::from).collect(),
                schema: parser.schema(schema, &inner)?,
            })
        };
        let fields = fields
            .iter()
            .map(|value| field(value, self))
            .collect::<Parsed<_>>()?;
        Ok(Avro::Record(Arc::new(Record { name, fields })))
    }

    /// Makes a name known; also the namespace that holds inside.
    fn define(
        &mut self,
        members: &Map<String, Value>,
        namespace: &str,
    ) -> Parsed<(Arc<str>, String)> {
        let name = members.get("name").and_then(Value::as_str);
        let name = name.ok_or("a named type without 'name'")?;
        let own = members.get("namespace").and_then(Value::as_str);
        let full = full_name(name, own.unwrap_or(namespace));
        let inner = full
            .rsplit_once('.')
            .map_or("", |(inner, _)| inner)
            .to_string();
        let shared: Arc<str> = Arc::from(full.as_str());
        if self.names.insert(full, shared.clone()).is_some() {
            return Err(format!("type '{shared}' is defined twice"));
        }
        Ok((shared, inner))
    }
}

fn full_name(name: &str, namespace: &str) -> String {
    match name.contains('.') || namespace.is_empty() {
        true => name.trim_start_matches('.').to_string(),
        false => format!("{namespace}.{name}"),
    }
}

/// The logical type, where it is known and fits; others are to be ignored.
fn logical(members: &Map<String, Value>, plain: &Avro) -> Option<Logical> {
    let timestamp = |per_second| Logical::Timestamp { per_second };
    let logical = members.get("logicalType")?.as_str()?;
    Some(match (logical, plain) {
        ("decimal", Avro::Bytes | Avro::Fixed(_)) => {
            let scale = members.get("scale").and_then(Value::as_u64).unwrap_or(0);
            Logical::Decimal {
                scale: u32::try_from(scale).ok()?,
            }
        }
        ("date", Avro::Int) => Logical::Date,
        ("time-millis", Avro::Int) => Logical::TimeMillis,
        ("time-micros", Avro::Long) => Logical::TimeMicros,
        ("timestamp-millis" | "local-timestamp-millis", Avro::Long) => timestamp(1_000),
        ("timestamp-micros" | "local-timestamp-micros", Avro::Long) => timestamp(1_000_000),
        ("timestamp-nanos" | "local-timestamp-nanos", Avro::Long) => timestamp(1_000_000_000),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_their_namespaces() {
        let text = r#"{"type": "record", "name": "A", "namespace": "x", "fields": [
            {"name": "a", "type": {"type": "fixed", "name": "y.F", "size": 3}},
            {"name": "b", "type": ["null", "A", "y.F"]},
            {"name": "c", "type": {"type": "int", "logicalType": "date"}},
            {"name": "d", "type": {"type": {"type": "string", "avro.java.string": "String"}}}
        ]}"#;
        let Avro::Record(record) = parse_schema(text).unwrap() else {
            panic!("no record");
        };
        let union = vec![Avro::Null, Avro::Ref("x.A".into()), Avro::Ref("y.F".into())];
        assert_eq!(record.fields[1].schema, Avro::Union(union));
        assert_eq!(
            record.fields[2].schema,
            Avro::Logical(Box::new(Avro::Int), Logical::Date)
        );
        assert_eq!(record.fields[3].schema, Avro::String);
        assert_eq!(parse_schema("string").unwrap(), Avro::String);
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        for text in [
            "",
            "{}",
            "[1]",
            "\"x\"",
            "{\"type\": \"record\", \"name\": \"a\"}",
            "{\"type\": \"array\"}",
            "{\"type\": \"fixed\", \"name\": \"f\", \"size\": -1}",
        ] {
            assert!(parse_schema(text).is_err(), "{text}");
        }
    }
}
