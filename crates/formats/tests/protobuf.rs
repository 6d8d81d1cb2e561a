//! `protobuf` by its public face, against another implementation of it.

mod support;

use flott_core::changelog::ChangelogBatch;
use flott_core::options::Options;
use flott_core::source::FieldPath;
use flott_core::types::LogicalType as T;
use proptest::prelude::*;
use prost_reflect::prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, Value};
use support::shop::{descriptors, table};
use support::*;

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
