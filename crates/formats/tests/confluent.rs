//! `avro-confluent` and `debezium-avro-confluent` with a schema registry that the test starts.

mod support;

use std::time::Duration;

use arrow::util::pretty::pretty_format_columns;
use flott_core::ErrorKind;
use flott_core::changelog::{ChangelogBatch, RowKind};
use flott_core::types::LogicalType as T;
use support::registry::TestRegistry;
use support::*;

#[test]
fn rows_go_there_and_back_and_a_schema_is_fetched_once() {
    let registry = TestRegistry::start();
    let table = schema(&[("id", T::BigInt), ("name", T::STRING)]);
    let batch = random_batch(&mut Random(3), &table, 50);
    let options = registry.options(&[("subject", "orders-value")]);
    let changes = ChangelogBatch::insert_only(batch.clone());
    let messages = write_messages("avro-confluent", &table, &options, &changes);
    assert_eq!(messages[0][..5], [0, 0, 0, 0, 100]);
    registry.known.lock().unwrap().num_failures = 1;
    let read = read_messages("avro-confluent", &request(&table, &options), &messages);
    assert_eq!(read.unwrap().unwrap().rows(), &batch);
    let requests = registry.known.lock().unwrap().requests.clone();
    assert_eq!(
        requests,
        [
            "POST /subjects/orders-value/versions HTTP/1.1",
            "GET /schemas/ids/100 HTTP/1.1",
            "GET /schemas/ids/100 HTTP/1.1",
        ]
    );
}

#[test]
fn messages_of_several_schemas_meet_in_one_table() {
    let registry = TestRegistry::start();
    let old = schema(&[("id", T::Int)]);
    let new = schema(&[("extra", T::STRING), ("id", T::BigInt), ("name", T::STRING)]);
    let table = schema(&[("name", T::STRING), ("id", T::BigInt)]);
    let options = registry.options(&[("subject", "s")]);
    let mut messages = Vec::new();
    for (seed, written) in [(1, &old), (2, &new), (3, &old)] {
        let batch = ChangelogBatch::insert_only(random_batch(&mut Random(seed), written, 2));
        messages.extend(write_messages("avro-confluent", written, &options, &batch));
    }
    let read = read_messages("avro-confluent", &request(&table, &options), &messages);
    assert_eq!(read.unwrap().unwrap().num_rows(), 6);
}

#[test]
fn what_is_wrong_is_named() {
    let registry = TestRegistry::start();
    let table = schema(&[("id", T::BigInt)]);
    let options = registry.options(&[]);
    let read = |message: &[u8]| {
        let read = read_messages(
            "avro-confluent",
            &request(&table, &options),
            &[message.to_vec()],
        );
        read.unwrap_err().message().to_string()
    };
    assert!(read(&[1, 2, 3]).contains("it begins with [01, 02, 03]"));
    assert!(read(&[0, 0, 0, 0, 7, 0]).contains("status 404 Schema not found"));
    let request = flott_core::format::EncodeRequest {
        schema: table.clone(),
        options: options.clone(),
    };
    let error = format("avro-confluent")
        .create_encoder(&request)
        .err()
        .unwrap();
    assert!(error.message().contains("'avro-confluent.subject'"));
}

#[test]
fn a_schema_that_was_looked_for_ahead_is_not_asked_for_again() {
    let registry = TestRegistry::start();
    let table = schema(&[("id", T::BigInt), ("name", T::STRING)]);
    let options = registry.options(&[("subject", "s")]);
    let rows = ChangelogBatch::insert_only(random_batch(&mut Random(3), &table, 5));
    for name in ["avro-confluent", "debezium-avro-confluent"] {
        let messages = write_messages(name, &table, &options, &rows);
        let request = request(&table, &options);
        let mut decoder = format(name).create_decoder(&request).unwrap();
        let mut lookahead = decoder.lookahead().unwrap();
        registry.known.lock().unwrap().requests.clear();
        let seen = messages.clone();
        let looks = move || seen.iter().for_each(|m| lookahead.look(m, &|| true));
        std::thread::spawn(looks).join().unwrap();
        assert_eq!(registry.num_requests(), 1);
        for message in &messages {
            decoder.decode_message(message).unwrap();
        }
        assert_eq!(decoder.flush().unwrap().unwrap().rows(), rows.rows());
        assert_eq!(registry.num_requests(), 1);
    }
}

#[test]
fn an_unknown_schema_is_asked_for_once() {
    let registry = TestRegistry::start();
    let table = schema(&[("id", T::BigInt)]);
    let request = request(&table, &registry.options(&[]));
    let mut decoder = format("avro-confluent").create_decoder(&request).unwrap();
    let mut lookahead = decoder.lookahead().unwrap();
    for message in [
        &[0, 0, 0, 0, 7, 0],
        &[0, 0, 0, 0, 8, 0],
        &[0, 0, 0, 0, 7, 2],
    ] {
        lookahead.look(message, &|| true);
        let error = decoder.decode_message(message).unwrap_err();
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::User, "SCHEMA_REGISTRY")
        );
        let text = format!("{}/schemas/ids/{}", registry.address(), message[4]);
        assert!(error.message().contains(&text), "{error}");
    }
    assert_eq!(registry.num_requests(), 2);
}

#[test]
fn a_registry_that_does_not_answer_is_named_and_left_alone_for_a_while() {
    let registry = TestRegistry::start();
    registry.known.lock().unwrap().num_failures = 100;
    let table = schema(&[("id", T::BigInt)]);
    let request = request(&table, &registry.options(&[]));
    let mut decoder = format("avro-confluent").create_decoder(&request).unwrap();
    let message = [0, 0, 0, 0, 100, 0];
    // Nobody waits for it any more: it is not tried again.
    decoder.lookahead().unwrap().look(&message, &|| false);
    for _ in 0..3 {
        let error = decoder.decode_message(&message).unwrap_err();
        assert!(error.is_retryable() && error.code() == "SCHEMA_REGISTRY");
        assert!(error.message().contains("status 503"), "{error}");
    }
    assert_eq!(registry.num_requests(), 1);
}

#[test]
fn a_schema_is_registered_while_nobody_waits() {
    let registry = TestRegistry::start();
    let table = schema(&[("id", T::BigInt)]);
    let options = registry.options(&[("subject", "s")]);
    registry.known.lock().unwrap().num_failures = 2;
    let request = flott_core::format::EncodeRequest {
        schema: table.clone(),
        options,
    };
    let mut encoder = format("avro-confluent").create_encoder(&request).unwrap();
    assert_eq!(registry.num_requests(), 0);
    while !encoder.prepare(Duration::from_millis(1)).unwrap() {}
    assert!(encoder.prepare(Duration::ZERO).unwrap());
    let rows = ChangelogBatch::insert_only(random_batch(&mut Random(1), &table, 2));
    encoder
        .encode_messages(&rows, &mut Vec::new(), &mut Vec::new())
        .unwrap();
    assert_eq!(registry.num_requests(), 3);
}

#[test]
fn changes_are_written_and_read_as_debezium_does() {
    let registry = TestRegistry::start();
    let table = schema(&[("id", T::BigInt), ("name", T::STRING)]);
    let rows = random_batch(&mut Random(5), &table, 4);
    let kinds = [
        RowKind::Insert,
        RowKind::UpdateBefore,
        RowKind::UpdateAfter,
        RowKind::Delete,
    ];
    let kinds: Vec<u8> = kinds.iter().map(|k| *k as u8).collect();
    let batch = ChangelogBatch::new(rows.clone(), Some(kinds.into()));
    let options = registry.options(&[("subject", "s")]);
    let name = "debezium-avro-confluent";
    let messages = write_messages(name, &table, &options, &batch);
    let read = read_messages(name, &request(&table, &options), &messages);
    let read = read.unwrap().unwrap();
    assert_eq!(read.rows(), &rows);
    let kinds: Vec<&str> = (0..4).map(|row| read.kind(row).symbol()).collect();
    assert_eq!(kinds, ["+I", "-D", "+I", "-D"]);
}

#[test]
fn an_update_of_debezium_gives_both_rows() {
    let registry = TestRegistry::start();
    let schema_text = r#"{"type": "record", "name": "Envelope", "namespace": "db.orders", "fields": [
        {"name": "before", "default": null, "type": ["null", {"type": "record", "name": "Value", "fields": [
            {"name": "id", "type": "int"}, {"name": "name", "type": ["null", "string"]}]}]},
        {"name": "after", "type": ["null", "Value"]},
        {"name": "source", "type": {"type": "record", "name": "Source", "fields": [{"name": "db", "type": "string"}]}},
        {"name": "op", "type": "string"},
        {"name": "ts_ms", "type": ["null", "long"]}
    ]}"#;
    registry
        .known
        .lock()
        .unwrap()
        .schemas
        .push(schema_text.into());
    // before {1, "a"}, after {1, null}, source {"x"}, op "u", ts_ms null
    let message = [
        &[0, 0, 0, 0, 100][..],
        &[2, 2, 2, 2, b'a', 2, 2, 0, 2, b'x', 2, b'u', 0],
    ]
    .concat();
    let table = schema(&[("id", T::BigInt), ("name", T::STRING)]);
    let options = registry.options(&[]);
    let name = "debezium-avro-confluent";
    let read = read_messages(name, &request(&table, &options), &[message, Vec::new()]);
    let read = read.unwrap().unwrap();
    let kinds: Vec<&str> = (0..2).map(|row| read.kind(row).symbol()).collect();
    assert_eq!(kinds, ["-U", "+U"]);
    let text = pretty_format_columns("name", &[read.column(1).clone()])
        .unwrap()
        .to_string();
    assert!(text.contains("| a "), "{text}");
}
