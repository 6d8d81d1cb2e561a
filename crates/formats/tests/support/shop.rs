//! A description of protobuf messages for tests.

use std::sync::Arc;

use flott_core::schema::Schema;
use flott_core::types::{LogicalType as T, RowField};
use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect::prost_types::*;

fn field(
    name: &str,
    number: i32,
    kind: Type,
    label: Label,
    type_name: &str,
) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.into()),
        number: Some(number),
        r#type: Some(kind as i32),
        label: Some(label as i32),
        type_name: (!type_name.is_empty()).then(|| type_name.to_string()),
        ..Default::default()
    }
}

/// `message Order` with fields of every kind, of proto2 or proto3.
pub fn descriptors(syntax: &str) -> FileDescriptorSet {
    use Label::{Optional, Repeated};
    let entry = DescriptorProto {
        name: Some("CountsEntry".into()),
        field: vec![
            field("key", 1, Type::String, Optional, ""),
            field("value", 2, Type::Sint64, Optional, ""),
        ],
        options: Some(MessageOptions {
            map_entry: Some(true),
            ..Default::default()
        }),
        ..Default::default()
    };
    let item = DescriptorProto {
        name: Some("Item".into()),
        field: vec![
            field("name", 1, Type::String, Optional, ""),
            field("price", 2, Type::Double, Optional, ""),
        ],
        ..Default::default()
    };
    let order = DescriptorProto {
        name: Some("Order".into()),
        field: vec![
            field("id", 3, Type::Int64, Optional, ""),
            field("small", 1, Type::Sint32, Optional, ""),
            field("fixed", 2, Type::Sfixed32, Optional, ""),
            field("ok", 4, Type::Bool, Optional, ""),
            field("text", 5, Type::String, Optional, ""),
            field("raw", 6, Type::Bytes, Optional, ""),
            field("ratio", 7, Type::Float, Optional, ""),
            field("state", 8, Type::Enum, Optional, ".shop.Order.State"),
            field("item", 9, Type::Message, Optional, ".shop.Order.Item"),
            field("items", 10, Type::Message, Repeated, ".shop.Order.Item"),
            field("numbers", 11, Type::Int32, Repeated, ""),
            field("words", 12, Type::String, Repeated, ""),
            field(
                "counts",
                13,
                Type::Message,
                Repeated,
                ".shop.Order.CountsEntry",
            ),
            field("unwanted", 99, Type::Message, Optional, ".shop.Order"),
        ],
        nested_type: vec![entry, item],
        enum_type: vec![EnumDescriptorProto {
            name: Some("State".into()),
            value: [("NEW", 0), ("PAID", 1)]
                .map(|(name, number)| EnumValueDescriptorProto {
                    name: Some(name.into()),
                    number: Some(number),
                    ..Default::default()
                })
                .to_vec(),
            ..Default::default()
        }],
        ..Default::default()
    };
    FileDescriptorSet {
        file: vec![FileDescriptorProto {
            name: Some("my_shop.proto".into()),
            package: Some("shop".into()),
            message_type: vec![order],
            syntax: Some(syntax.into()),
            options: Some(FileOptions {
                java_package: Some("com.example".into()),
                ..Default::default()
            }),
            ..Default::default()
        }],
    }
}

/// The table of these messages.
pub fn table() -> Schema {
    let item = T::Row(Arc::from([
        RowField::new("price", T::Double.nullable()),
        RowField::new("name", T::STRING.nullable()),
    ]));
    let list = |item: T| T::Array(Arc::new(item.nullable()));
    let counts = T::Map(
        Arc::new(T::STRING.not_null()),
        Arc::new(T::BigInt.nullable()),
    );
    super::schema(&[
        ("id", T::BigInt),
        ("small", T::Int),
        ("fixed", T::Int),
        ("ok", T::Boolean),
        ("text", T::STRING),
        ("raw", T::BYTES),
        ("ratio", T::Float),
        ("state", T::STRING),
        ("item", item.clone()),
        ("items", list(item)),
        ("numbers", list(T::Int)),
        ("words", list(T::STRING)),
        ("counts", counts),
    ])
}
