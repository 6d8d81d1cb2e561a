//! `avro` by its public face, against another implementation of it.

mod support;

use std::sync::Arc;

use apache_avro::types::{Record, Value};
use apache_avro::{Codec, Reader, Schema as Avro, Writer};
use arrow::compute::concat_batches;
use flott_core::changelog::ChangelogBatch;
use flott_core::source::FieldPath;
use flott_core::types::{LogicalType as T, RowField};
use proptest::prelude::*;
use support::*;

/// What Avro can hold without the legacy mapping of timestamps.
fn holds(logical: &T) -> bool {
    !matches!(logical, T::Timestamp(7..) | T::TimestampLtz(7..))
}

const STANDARD: &[(&str, &str)] = &[("timestamp_mapping.legacy", "false")];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn messages_go_there_and_back(seed: u64, json: bool) {
        let mut random = Random(seed);
        // JSON does not keep the order of a map's entries.
        let allows = |t: &T| holds(t) && !(json && matches!(t, T::Map(..)));
        let schema = random_schema(&mut random, &allows);
        let batch = random_batch(&mut random, &schema, 20);
        let encoding = if json { "json" } else { "binary" };
        let options = options(&[STANDARD[0], ("encoding", encoding)]);
        let changes = ChangelogBatch::insert_only(batch.clone());
        let messages = write_messages("avro", &schema, &options, &changes);
        let read = read_messages("avro", &request(&schema, &options), &messages).unwrap().unwrap();
        prop_assert_eq!(read.rows(), &batch);
    }

    #[test]
    fn files_go_there_and_back_in_any_pieces(seed: u64, codec in 0usize..6, pieces in 1u64..5) {
        let mut random = Random(seed);
        let schema = random_schema(&mut random, &holds);
        let batch = random_batch(&mut random, &schema, 300);
        let codec = ["null", "deflate", "snappy", "zstandard", "bzip2", "xz"][codec];
        let options = options(&[STANDARD[0], ("codec", codec)]);
        let batches = vec![batch.clone(); 8];
        let file = write_file("avro", &schema, &options, &batches);
        let mut request = request(&schema, &options);
        request.batch_size = 77;
        let size = file.len() as u64;
        let mut read = Vec::new();
        for piece in 0..pieces {
            let (start, end) = (size * piece / pieces, size * (piece + 1) / pieces);
            read.extend(read_file("avro", &request, scan(&file, start, end, None)).unwrap());
        }
        let all = concat_batches(&batch.schema(), &batches).unwrap();
        prop_assert_eq!(concat_batches(&batch.schema(), &read).unwrap(), all);
    }

    #[test]
    fn a_reader_goes_on_where_another_stopped(seed: u64, stop in 1usize..40) {
        let mut random = Random(seed);
        let schema = random_schema(&mut random, &holds);
        let batch = random_batch(&mut random, &schema, 2000);
        let options = options(STANDARD);
        let file = write_file("avro", &schema, &options, std::slice::from_ref(&batch));
        let mut request = request(&schema, &options);
        request.batch_size = 61;
        let mut reader = format("avro").create_file_reader(&request, scan(&file, 0, u64::MAX, None)).unwrap();
        let mut read = Vec::new();
        for _ in 0..stop {
            read.extend(reader.next_batch().unwrap().map(|b| b.rows().clone()));
        }
        let rest = scan(&file, 0, u64::MAX, Some(reader.position()));
        read.extend(read_file("avro", &request, rest).unwrap());
        prop_assert_eq!(concat_batches(&batch.schema(), &read).unwrap(), batch);
    }

    #[test]
    fn damaged_messages_and_files_are_refused_without_panic(seed: u64) {
        let mut random = Random(seed);
        let schema = random_schema(&mut random, &holds);
        let batch = random_batch(&mut random, &schema, 5);
        let options = options(STANDARD);
        let request = request(&schema, &options);
        let changes = ChangelogBatch::insert_only(batch.clone());
        for mut message in write_messages("avro", &schema, &options, &changes) {
            mutate(&mut random, &mut message);
            let mut decoder = format("avro").create_decoder(&request).unwrap();
            if decoder.decode_message(&message).is_err() {
                prop_assert_eq!(decoder.num_rows(), 0);
            }
            decoder.flush().unwrap();
        }
        let mut file = write_file("avro", &schema, &options, &[batch]);
        mutate(&mut random, &mut file);
        let _ = read_file("avro", &request, scan(&file, 0, u64::MAX, None));
    }
}

/// A schema as other systems write it: other types and other fields than the table's.
const FOREIGN: &str = r#"{"type": "record", "name": "Order", "namespace": "shop", "fields": [
    {"name": "skipped", "type": {"type": "array", "items": {"type": "map", "values": "double"}}},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "state", "type": {"type": "enum", "name": "State", "symbols": ["NEW", "PAID"]}},
    {"name": "next", "type": ["null", "shop.Order"]},
    {"name": "price", "type": {"type": "fixed", "name": "Money", "size": 9, "logicalType": "decimal", "precision": 20, "scale": 3}},
    {"name": "number", "type": ["long", "string", "null"]},
    {"name": "count", "type": "int"}
]}"#;

fn order(next: Option<Value>, number: Value, branch: u32) -> Value {
    let schema = Avro::parse_str(FOREIGN).unwrap();
    let mut record = Record::new(&schema).unwrap();
    let skipped = Value::Map([("k".to_string(), Value::Double(1.5))].into());
    record.put("skipped", Value::Array(vec![skipped]));
    record.put("at", Value::TimestampMicros(1_709_287_200_123_456));
    record.put("state", Value::Enum(1, "PAID".into()));
    let next = match next {
        Some(next) => Value::Union(1, Box::new(next)),
        None => Value::Union(0, Box::new(Value::Null)),
    };
    record.put("next", next);
    let price =
        apache_avro::Decimal::from(vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfb, 0x2e]);
    record.put("price", Value::Decimal(price));
    record.put("number", Value::Union(branch, Box::new(number)));
    record.put("count", Value::Int(7));
    record.into()
}

fn foreign_file(codec: Codec, orders: Vec<Value>) -> Vec<u8> {
    let schema = Avro::parse_str(FOREIGN).unwrap();
    let mut writer = Writer::with_codec(&schema, Vec::new(), codec);
    for order in orders {
        writer.append(order).unwrap();
    }
    writer.into_inner().unwrap()
}

#[test]
fn a_writers_schema_is_resolved_to_the_tables_columns() {
    let next = T::Row(Arc::from([
        RowField::new("count", T::BigInt.nullable()),
        RowField::new("absent", T::Int.nullable()),
    ]));
    let table = schema(&[
        ("count", T::Double),
        ("at", T::Timestamp(3)),
        ("price", T::Decimal(10, 2)),
        ("absent", T::STRING),
        ("state", T::STRING),
        ("number", T::BigInt),
        ("next", next),
    ]);
    let number = Value::Long(5);
    let inner = order(None, number.clone(), 0);
    let file = foreign_file(
        Codec::Null,
        vec![order(Some(inner), Value::Null, 2), order(None, number, 0)],
    );
    let mut request = request(&table, &options(&[]));
    request.fields.push(FieldPath(vec![6, 0]));
    let read = read_file("avro", &request, scan(&file, 0, u64::MAX, None)).unwrap();
    let text = arrow::util::pretty::pretty_format_batches(&read)
        .unwrap()
        .to_string();
    let rows: Vec<&str> = text.lines().skip(3).take(2).collect();
    let cells = |row: &str| -> Vec<String> {
        row.split('|')
            .map(|c| c.trim().to_string())
            .filter(|c| !c.is_empty())
            .collect()
    };
    assert_eq!(
        cells(rows[0]),
        [
            "7.0",
            "2024-03-01T10:00:00.123",
            "-1.23",
            "PAID",
            "{count: 7, absent: }",
            "7"
        ]
    );
    assert_eq!(
        cells(rows[1]),
        ["7.0", "2024-03-01T10:00:00.123", "-1.23", "PAID", "5"]
    );
}

#[test]
fn a_branch_that_does_not_fit_its_column_is_named() {
    let table = schema(&[("number", T::BigInt)]);
    let file = foreign_file(Codec::Null, vec![order(None, Value::String("x".into()), 1)]);
    let error = read_file(
        "avro",
        &request(&table, &options(&[])),
        scan(&file, 0, u64::MAX, None),
    );
    let message = error.unwrap_err().message().to_string();
    assert_eq!(message, "record 1: Avro's string cannot be read as BIGINT");
    let table = schema(&[("count", T::STRING)]);
    let error = read_file(
        "avro",
        &request(&table, &options(&[])),
        scan(&file, 0, u64::MAX, None),
    );
    let message = error.unwrap_err().message().to_string();
    assert_eq!(
        message,
        "column 'count': Avro's int cannot be read as STRING"
    );
}

#[test]
fn another_implementation_reads_what_is_written() {
    let table = schema(&[
        ("id", T::BigInt),
        ("name", T::STRING),
        ("at", T::Timestamp(3)),
    ]);
    let batch = random_batch(&mut Random(7), &table, 100);
    let file = write_file("avro", &table, &options(&[("codec", "deflate")]), &[batch]);
    let reader = Reader::new(&file[..]).unwrap();
    let values: Vec<Value> = reader.map(|v| v.unwrap()).collect();
    assert_eq!(values.len(), 100);
    let Value::Record(fields) = &values[0] else {
        panic!("no record: {:?}", values[0]);
    };
    let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["id", "name", "at"]);
}

#[test]
fn json_encoding_is_avros() {
    let table = schema(&[
        ("id", T::BigInt),
        ("tags", T::Array(Arc::new(T::STRING.nullable()))),
    ]);
    let options = options(&[("encoding", "json")]);
    let text = br#"{"id": {"long": 5}, "tags": {"array": [{"string": "a"}, null]}}"#;
    let read = read_messages("avro", &request(&table, &options), &[text.to_vec()])
        .unwrap()
        .unwrap();
    let written = write_messages("avro", &table, &options, &read);
    let value: serde_json::Value = serde_json::from_slice(&written[0]).unwrap();
    assert_eq!(
        value,
        serde_json::from_slice::<serde_json::Value>(text).unwrap()
    );
    let wrong = read_messages(
        "avro",
        &request(&table, &options),
        &[b"{\"id\": 5}".to_vec()],
    );
    assert!(wrong.is_err());
}
