//! `avro-confluent` and `debezium-avro-confluent` with a schema registry that the test starts.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use arrow::util::pretty::pretty_format_columns;
use flott_core::changelog::{ChangelogBatch, RowKind};
use flott_core::types::LogicalType as T;
use support::*;

/// A registry that knows schemas by number, and counts what it is asked.
#[derive(Default)]
struct Known {
    schemas: Vec<String>,
    requests: Vec<String>,
    /// So many answers are failures that pass.
    num_failures: usize,
}

struct TestRegistry {
    url: String,
    known: Arc<Mutex<Known>>,
}

impl TestRegistry {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://u:p@{}", listener.local_addr().unwrap());
        let known = Arc::new(Mutex::new(Known::default()));
        let shared = known.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let Some((head, body)) = read_request(&mut BufReader::new(&mut stream)) else {
                    continue;
                };
                let (status, answer) = answer(&mut shared.lock().unwrap(), head, &body);
                let text = format!(
                    "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
                    answer.len()
                );
                let _ = stream.write_all(text.as_bytes());
            }
        });
        Self { url, known }
    }

    fn options(&self, more: &[(&str, &str)]) -> flott_core::options::Options {
        let mut all = options(more);
        all.set("url", &self.url);
        all
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<(String, String)> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((head, String::from_utf8(body).ok()?))
}

fn answer(known: &mut Known, head: String, body: &str) -> (u16, String) {
    let request = head.lines().next().unwrap_or_default().to_string();
    known.requests.push(request.clone());
    if !head.contains("Basic dTpw") {
        return (401, "{\"message\":\"who are you\"}".into());
    }
    if known.num_failures > 0 {
        known.num_failures -= 1;
        return (503, String::new());
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    if let Some(id) = path.strip_prefix("/schemas/ids/") {
        let place = id.parse::<usize>().unwrap_or(0).wrapping_sub(100);
        return match known.schemas.get(place) {
            Some(schema) => (200, serde_json::json!({ "schema": schema }).to_string()),
            None => (
                404,
                "{\"error_code\":40403,\"message\":\"Schema not found\"}".into(),
            ),
        };
    }
    let value: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let schema = value["schema"].as_str().unwrap_or_default().to_string();
    let place = known
        .schemas
        .iter()
        .position(|s| *s == schema)
        .unwrap_or_else(|| {
            known.schemas.push(schema);
            known.schemas.len() - 1
        });
    (200, format!("{{\"id\":{}}}", 100 + place))
}

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
