//! `protobuf` by its public face, against another implementation of it.

mod support;

use std::sync::Arc;

use flott_core::changelog::ChangelogBatch;
use flott_core::options::Options;
use flott_core::schema::Schema;
use flott_core::source::FieldPath;
use flott_core::types::{LogicalType as T, RowField};
use proptest::prelude::*;
use prost_reflect::prost::Message;
use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect::prost_types::*;
use prost_reflect::{DescriptorPool, DynamicMessage, Value};
use support::*;

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
fn descriptors(syntax: &str) -> FileDescriptorSet {
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

fn table() -> Schema {
    let item = T::Row(Arc::from([
        RowField::new("price", T::Double.nullable()),
        RowField::new("name", T::STRING.nullable()),
    ]));
    let list = |item: T| T::Array(Arc::new(item.nullable()));
    let counts = T::Map(
        Arc::new(T::STRING.not_null()),
        Arc::new(T::BigInt.nullable()),
    );
    schema(&[
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

struct Setup {
    _folder: tempfile::TempDir,
    options: Options,
    pool: DescriptorPool,
}

fn setup(syntax: &str, more: &[(&str, &str)]) -> Setup {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.desc");
    let set = descriptors(syntax);
    std::fs::write(&path, set.encode_to_vec()).unwrap();
    let mut options = options(more);
    options.set("descriptor-file", path.to_string_lossy());
    options.set("message-class-name", "com.example.MyShop$Order");
    Setup {
        _folder: folder,
        options,
        pool: DescriptorPool::from_file_descriptor_set(set).unwrap(),
    }
}

fn order(setup: &Setup) -> DynamicMessage {
    let message = setup.pool.get_message_by_name("shop.Order").unwrap();
    let item_type = setup.pool.get_message_by_name("shop.Order.Item").unwrap();
    let mut item = DynamicMessage::new(item_type);
    item.set_field_by_name("name", Value::String("pen".into()));
    item.set_field_by_name("price", Value::F64(1.5));
    let mut order = DynamicMessage::new(message.clone());
    order.set_field_by_name("id", Value::I64(-5));
    order.set_field_by_name("small", Value::I32(-7));
    order.set_field_by_name("fixed", Value::I32(9));
    order.set_field_by_name("ok", Value::Bool(true));
    order.set_field_by_name("text", Value::String("é".into()));
    order.set_field_by_name("raw", Value::Bytes(vec![1, 2].into()));
    order.set_field_by_name("ratio", Value::F32(0.5));
    order.set_field_by_name("state", Value::EnumNumber(1));
    order.set_field_by_name("item", Value::Message(item.clone()));
    order.set_field_by_name(
        "items",
        Value::List(vec![Value::Message(item.clone()), Value::Message(item)]),
    );
    order.set_field_by_name("numbers", Value::List(vec![Value::I32(1), Value::I32(-1)]));
    order.set_field_by_name("words", Value::List(vec![Value::String("a".into())]));
    let entry = [(prost_reflect::MapKey::String("k".into()), Value::I64(-3))];
    order.set_field_by_name("counts", Value::Map(entry.into()));
    let mut inner = DynamicMessage::new(message);
    inner.set_field_by_name("id", Value::I64(1));
    order.set_field_by_name("unwanted", Value::Message(inner));
    order
}

fn cells(batch: &ChangelogBatch) -> String {
    let text = arrow::util::pretty::pretty_format_batches(&[batch.rows().clone()])
        .unwrap()
        .to_string();
    let row = text.lines().nth(3).unwrap_or_default();
    row.split('|').map(str::trim).collect::<Vec<_>>().join("|")
}

#[test]
fn another_implementations_messages_are_read() {
    for syntax in ["proto2", "proto3"] {
        let setup = setup(syntax, &[]);
        let bytes = order(&setup).encode_to_vec();
        let mut request = request(&table(), &setup.options);
        request.fields.push(FieldPath(vec![8, 1]));
        let read = read_messages("protobuf", &request, &[bytes])
            .unwrap()
            .unwrap();
        assert_eq!(
            cells(&read),
            "|-5|-7|9|true|é|0102|0.5|PAID|{price: 1.5, name: pen}|[{price: 1.5, name: pen}, {price: 1.5, name: pen}]|[1, -1]|[a]|{k: -3}|pen|"
        );
    }
}

#[test]
fn absent_fields_are_null_or_defaults() {
    let read = |syntax: &str, more: &[(&str, &str)]| {
        let setup = setup(syntax, more);
        let read = read_messages(
            "protobuf",
            &request(&table(), &setup.options),
            &[Vec::new()],
        );
        cells(&read.unwrap().unwrap())
    };
    assert_eq!(read("proto2", &[]), "||||||||||||||");
    assert_eq!(read("proto3", &[]), "|0|0|0|false|||0.0|NEW||||||");
    let defaults = "|0|0|0|false|||0.0|NEW|{price: 0.0, name: }|[]|[]|[]|{}|";
    assert_eq!(read("proto2", &[("read-default-values", "true")]), defaults);
}

#[test]
fn what_is_written_is_read_by_another_implementation() {
    let setup = setup("proto3", &[("write-null-string-literal", "nil")]);
    let original = order(&setup);
    let request = request(&table(), &setup.options);
    let read = read_messages("protobuf", &request, &[original.encode_to_vec()])
        .unwrap()
        .unwrap();
    let written = write_messages("protobuf", &table(), &setup.options, &read);
    let message = setup.pool.get_message_by_name("shop.Order").unwrap();
    let again = DynamicMessage::decode(message, &written[0][..]).unwrap();
    let mut expected = original;
    expected.clear_field_by_name("unwanted");
    assert_eq!(again, expected);
}

#[test]
fn wrong_columns_and_names_are_named() {
    let mut setup = setup("proto3", &[]);
    let wrong = schema(&[("idd", T::BigInt)]);
    let error = read_messages("protobuf", &request(&wrong, &setup.options), &[])
        .err()
        .unwrap();
    assert_eq!(
        error.message(),
        "message 'shop.Order' has no field 'idd'; did you mean 'id'?"
    );
    let wrong = schema(&[("id", T::STRING)]);
    let error = read_messages("protobuf", &request(&wrong, &setup.options), &[])
        .err()
        .unwrap();
    assert_eq!(
        error.message(),
        "column 'id': protobuf's int64 does not fit STRING"
    );
    setup.options.set("message-class-name", "shop.Ordr");
    let error = read_messages("protobuf", &request(&table(), &setup.options), &[])
        .err()
        .unwrap();
    assert!(
        error.message().contains("has no message 'shop.Ordr'"),
        "{error}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn damaged_messages_are_refused_without_panic(seed: u64) {
        let mut random = Random(seed);
        let setup = setup("proto3", &[]);
        let mut message = order(&setup).encode_to_vec();
        mutate(&mut random, &mut message);
        let mut decoder = format("protobuf").create_decoder(&request(&table(), &setup.options)).unwrap();
        if decoder.decode_message(&message).is_err() {
            prop_assert_eq!(decoder.num_rows(), 0);
        }
        decoder.flush().unwrap();
    }

    #[test]
    fn rows_go_there_and_back(seed: u64) {
        // Of proto2, where absent is not the same as default.
        let setup = setup("proto2", &[]);
        let wanted = [0, 1, 2, 3, 4, 5, 6, 8];
        let table = table().project(&wanted);
        let rows = random_batch(&mut Random(seed), &table, 20);
        let changes = ChangelogBatch::insert_only(rows.clone());
        let messages = write_messages("protobuf", &table, &setup.options, &changes);
        let read = read_messages("protobuf", &request(&table, &setup.options), &messages).unwrap().unwrap();
        prop_assert_eq!(read.rows(), &rows);
    }
}
