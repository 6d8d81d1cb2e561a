//! From a message's description and a table's columns to a plan of what to read and write.

use std::collections::BTreeMap;
use std::sync::Arc;

use flott_core::types::{DataType as FlinkType, LogicalType};
use flott_core::{Error, Result};
use prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use prost_reflect::{Syntax, Value};

/// The encoding of a value that is no message.
#[derive(Debug, Clone)]
pub(super) enum Scalar {
    /// A varint: `int32`, `int64`, `uint32`, `uint64`; of 32 bits or not.
    Varint {
        is_32: bool,
    },
    /// The same, zig-zag.
    Zigzag,
    Fixed32,
    Fixed64,
    Float,
    Double,
    Bool,
    String,
    Bytes,
    Enum(Arc<EnumNames>),
}

/// The symbols of an enum both ways.
#[derive(Debug, Default)]
pub(super) struct EnumNames {
    pub by_number: BTreeMap<i64, String>,
    pub by_name: BTreeMap<String, i64>,
}

#[derive(Debug)]
pub(super) enum Element {
    Scalar(Scalar),
    Message(Box<MessagePlan>),
}

#[derive(Debug)]
pub(super) enum Shape {
    One(Element),
    List { element: Element, is_packed: bool },
    Map { key: Scalar, value: Element },
}

/// What an absent field is read as.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Absent {
    Null,
    /// A number, by its bits as an integer or a double.
    Integer(i64),
    Double(f64),
    Bytes(Vec<u8>),
    /// An empty list or map, or a message of which all fields are absent.
    Empty,
}

/// A field of a message.
#[derive(Debug)]
pub(super) struct FieldPlan {
    pub number: u32,
    pub shape: Shape,
    pub absent: Absent,
    /// Whether an absent field differs from one that holds the default.
    pub has_presence: bool,
    /// The columns that take the whole field.
    pub outputs: Vec<usize>,
    /// Fields wanted from inside a message: their plan, and the columns that are NULL without it.
    pub nested: Option<(MessagePlan, Vec<usize>)>,
}

/// The wanted fields of a message.
#[derive(Debug)]
pub(super) struct MessagePlan {
    pub fields: Vec<FieldPlan>,
}

/// A table column, or a field of a row.
type Column<'a> = (&'a str, &'a FlinkType);

impl MessagePlan {
    /// Reads the field at each path into the column beside it.
    ///
    /// # Errors
    /// A user error for a column that the message does not have or holds in another type.
    pub fn new(
        message: &MessageDescriptor,
        columns: &[Column<'_>],
        paths: &[(&[usize], usize)],
        reads_defaults: bool,
    ) -> Result<Self> {
        let mut fields = Vec::new();
        for (place, (name, data_type)) in columns.iter().enumerate() {
            let wanted = paths
                .iter()
                .filter(|(path, _)| path.first() == Some(&place));
            let wanted: Vec<_> = wanted.map(|(path, output)| (&path[1..], *output)).collect();
            if wanted.is_empty() {
                continue;
            }
            let field = message.get_field_by_name(name).ok_or_else(|| {
                let names = message
                    .fields()
                    .map(|f| f.name().to_string())
                    .collect::<Vec<_>>();
                let hint = flott_core::error::did_you_mean(name, names.iter().map(String::as_str));
                let message = format!(
                    "message '{}' has no field '{name}'{hint}",
                    message.full_name()
                );
                Error::user("MALFORMED_SCHEMA", message)
            })?;
            fields.push(
                FieldPlan::new(&field, data_type, &wanted, reads_defaults)
                    .map_err(|error| error.context(format!("column '{name}'")))?,
            );
        }
        Ok(Self { fields })
    }

    /// Every column, in its place.
    pub fn whole(
        message: &MessageDescriptor,
        columns: &[Column<'_>],
        reads_defaults: bool,
    ) -> Result<Self> {
        let places: Vec<usize> = (0..columns.len()).collect();
        let paths: Vec<_> = places
            .iter()
            .map(|p| (std::slice::from_ref(p), *p))
            .collect();
        Self::new(message, columns, &paths, reads_defaults)
    }
}

impl FieldPlan {
    fn new(
        field: &FieldDescriptor,
        data_type: &FlinkType,
        wanted: &[(&[usize], usize)],
        reads_defaults: bool,
    ) -> Result<Self> {
        let inner: Vec<_> = wanted
            .iter()
            .filter(|(path, _)| !path.is_empty())
            .copied()
            .collect();
        let outputs = wanted.iter().filter(|(path, _)| path.is_empty());
        let nested = match (inner.is_empty(), field.kind(), &data_type.logical) {
            (true, ..) => None,
            (false, Kind::Message(message), LogicalType::Row(fields)) => {
                let columns: Vec<_> = fields.iter().map(|f| (&*f.name, &f.data_type)).collect();
                let plan = MessagePlan::new(&message, &columns, &inner, reads_defaults)?;
                Some((plan, inner.iter().map(|(_, output)| *output).collect()))
            }
            _ => return Err(unfit(field, &data_type.logical)),
        };
        Ok(Self {
            number: field.number(),
            shape: shape(field, &data_type.logical, reads_defaults)?,
            absent: absent(field, reads_defaults),
            has_presence: field.supports_presence(),
            outputs: outputs.map(|(_, output)| *output).collect(),
            nested,
        })
    }
}

fn unfit(field: &FieldDescriptor, logical: &LogicalType) -> Error {
    let repeated = if field.is_list() { "repeated " } else { "" };
    let message = format!(
        "protobuf's {repeated}{:?} does not fit {logical}",
        field.kind()
    );
    Error::user("MALFORMED_SCHEMA", message)
}

fn shape(field: &FieldDescriptor, logical: &LogicalType, reads_defaults: bool) -> Result<Shape> {
    let of =
        |field: &FieldDescriptor, logical: &LogicalType| element(field, logical, reads_defaults);
    Ok(match (logical, field.kind()) {
        (LogicalType::Map(key, value), Kind::Message(entry)) if field.is_map() => {
            let key_field = entry.map_entry_key_field();
            let Element::Scalar(key) = of(&key_field, &key.logical)? else {
                return Err(unfit(&key_field, &key.logical));
            };
            let value = of(&entry.map_entry_value_field(), &value.logical)?;
            Shape::Map { key, value }
        }
        (LogicalType::Array(item), _) if field.is_list() => Shape::List {
            element: of(field, &item.logical)?,
            is_packed: field.is_packed(),
        },
        _ if field.is_list() || field.is_map() => return Err(unfit(field, logical)),
        _ => Shape::One(of(field, logical)?),
    })
}

fn element(
    field: &FieldDescriptor,
    logical: &LogicalType,
    reads_defaults: bool,
) -> Result<Element> {
    use LogicalType as T;
    let is_int = matches!(logical, T::Int | T::BigInt);
    let scalar = match (field.kind(), logical) {
        (Kind::Message(message), T::Row(fields)) => {
            let columns: Vec<_> = fields.iter().map(|f| (&*f.name, &f.data_type)).collect();
            let plan = MessagePlan::whole(&message, &columns, reads_defaults)?;
            return Ok(Element::Message(Box::new(plan)));
        }
        (Kind::Int32 | Kind::Uint32, _) if is_int => Scalar::Varint { is_32: true },
        (Kind::Int64 | Kind::Uint64, T::BigInt) => Scalar::Varint { is_32: false },
        (Kind::Sint32, _) if is_int => Scalar::Zigzag,
        (Kind::Sint64, T::BigInt) => Scalar::Zigzag,
        (Kind::Fixed32 | Kind::Sfixed32, _) if is_int => Scalar::Fixed32,
        (Kind::Fixed64 | Kind::Sfixed64, T::BigInt) => Scalar::Fixed64,
        (Kind::Float, T::Float | T::Double) => Scalar::Float,
        (Kind::Double, T::Double) => Scalar::Double,
        (Kind::Bool, T::Boolean) => Scalar::Bool,
        (Kind::String, _) if logical.is_character() => Scalar::String,
        (Kind::Bytes, _) if logical.is_binary() => Scalar::Bytes,
        (Kind::Enum(symbols), _) if is_int || logical.is_character() => {
            Scalar::Enum(Arc::new(enum_names(&symbols)))
        }
        _ => return Err(unfit(field, logical)),
    };
    Ok(Element::Scalar(scalar))
}

fn enum_names(symbols: &EnumDescriptor) -> EnumNames {
    let mut names = EnumNames::default();
    for value in symbols.values() {
        let number = i64::from(value.number());
        names.by_name.insert(value.name().to_string(), number);
        names
            .by_number
            .entry(number)
            .or_insert_with(|| value.name().to_string());
    }
    names
}

/// As in Flink: numbers, strings and truth values of proto3 are never NULL; everything else is,
/// unless defaults are asked for.
fn absent(field: &FieldDescriptor, reads_defaults: bool) -> Absent {
    let is_simple =
        !field.is_list() && !field.is_map() && !matches!(field.kind(), Kind::Message(_));
    let is_proto2 = field.parent_file().syntax() == Syntax::Proto2;
    match is_simple {
        false if reads_defaults => return Absent::Empty,
        true if reads_defaults || !is_proto2 => {}
        _ => return Absent::Null,
    }
    match field.default_value() {
        Value::Bool(value) => Absent::Integer(i64::from(value)),
        Value::I32(value) | Value::EnumNumber(value) => Absent::Integer(i64::from(value)),
        Value::I64(value) => Absent::Integer(value),
        Value::U32(value) => Absent::Integer(i64::from(value as i32)),
        Value::U64(value) => Absent::Integer(value as i64),
        Value::F32(value) => Absent::Double(f64::from(value)),
        Value::F64(value) => Absent::Double(value),
        Value::String(value) => Absent::Bytes(value.into_bytes()),
        Value::Bytes(value) => Absent::Bytes(value.to_vec()),
        _ => Absent::Null,
    }
}

/// The message of this name in a file of descriptors (`protoc --descriptor_set_out`): its own full
/// name, or that of the Java class made of it.
///
/// # Errors
/// A user error when the file cannot be read or has no such message.
pub(super) fn find_message(path: &str, name: &str) -> Result<MessageDescriptor> {
    let bytes = std::fs::read(path).map_err(|error| Error::io(path, &error))?;
    let pool = DescriptorPool::decode(&bytes[..]).map_err(|error| {
        let advice = "it is made with 'protoc --include_imports --descriptor_set_out=FILE'";
        let message = format!("file '{path}' is no set of protobuf descriptors: {error}; {advice}");
        Error::user("MALFORMED_SCHEMA", message)
    })?;
    if let Some(message) = pool.get_message_by_name(name) {
        return Ok(message);
    }
    let wanted = name.replace('$', ".");
    let found = pool
        .all_messages()
        .find(|m| java_names(m).contains(&wanted));
    found.ok_or_else(|| {
        let names: Vec<String> = pool
            .all_messages()
            .map(|m| m.full_name().to_string())
            .collect();
        let hint = flott_core::error::did_you_mean(name, names.iter().map(String::as_str));
        let message = format!("file '{path}' has no message '{name}'{hint}");
        Error::user("UNKNOWN_MESSAGE", message)
    })
}

/// The names of the class that Java has for a message, with and without the outer class.
fn java_names(message: &MessageDescriptor) -> [String; 2] {
    let file = message.parent_file();
    let options = file
        .file_descriptor_proto()
        .options
        .clone()
        .unwrap_or_default();
    let package = options
        .java_package
        .unwrap_or_else(|| file.package_name().to_string());
    let outer = options.java_outer_classname.unwrap_or_else(|| {
        let stem = file.name().rsplit('/').next().unwrap_or_default();
        let stem = stem.strip_suffix(".proto").unwrap_or(stem);
        let parts = stem.split(['_', '-']);
        parts
            .map(|part| part[..1.min(part.len())].to_uppercase() + &part[1.min(part.len())..])
            .collect()
    });
    let own = message.full_name();
    let inner = own
        .strip_prefix(file.package_name())
        .unwrap_or(own)
        .trim_start_matches('.');
    let in_package = |class: &str| match package.is_empty() {
        true => class.to_string(),
        false => format!("{package}.{class}"),
    };
    [in_package(inner), in_package(&format!("{outer}.{inner}"))]
}
