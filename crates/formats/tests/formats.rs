//! Formats by their public face: what Flink reads and writes, there and back, and no panic.

use arrow::buffer::Buffer;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use flott_core::Result;
use flott_core::changelog::ChangelogBatch;
use flott_core::format::{DecodeRequest, EncodeRequest, FormatFactory};
use flott_core::options::Options;
use flott_core::schema::{Column, Schema};
use flott_core::source::FieldPath;
use flott_core::types::{LogicalType, RowField};
use proptest::prelude::*;
use std::sync::Arc;

fn format(name: &str) -> Arc<dyn FormatFactory> {
    let all = flott_formats::all();
    all.into_iter().find(|f| f.identifier() == name).unwrap()
}

fn options(pairs: &[(&str, &str)]) -> Options {
    let pairs = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string()));
    pairs.collect()
}

fn schema(columns: &[(&str, LogicalType)]) -> Schema {
    let columns = columns
        .iter()
        .map(|(n, t)| Column::new(*n, t.clone().nullable()));
    columns.collect()
}

fn request(schema: &Schema, options: &Options) -> DecodeRequest {
    DecodeRequest {
        schema: schema.clone(),
        fields: (0..schema.len()).map(FieldPath::column).collect(),
        options: options.clone(),
        batch_size: 1000,
    }
}

fn decode(name: &str, request: &DecodeRequest, text: &[u8]) -> Result<Option<ChangelogBatch>> {
    let mut decoder = format(name).create_decoder(request)?;
    let block = Buffer::from(text);
    let used = decoder.decode_block(&block, true)?;
    assert!(used == text.len() || decoder.num_rows() >= request.batch_size);
    decoder.flush()
}

/// The rows as text, one a line, cells divided by `|`.
fn rows(batch: Option<ChangelogBatch>) -> String {
    let Some(batch) = batch else {
        return String::new();
    };
    let display = FormatOptions::default();
    let columns: Vec<_> = batch
        .rows()
        .columns()
        .iter()
        .map(|c| ArrayFormatter::try_new(c.as_ref(), &display).unwrap())
        .collect();
    let line = |row: usize| {
        let cells: Vec<_> = columns.iter().map(|c| c.value(row).to_string()).collect();
        let kind = match batch.kinds() {
            Some(_) => format!("{} ", batch.kind(row)),
            None => String::new(),
        };
        format!("{kind}{}\n", cells.join("|"))
    };
    (0..batch.num_rows()).map(line).collect()
}

fn encode(name: &str, schema: &Schema, options: &Options, batch: &ChangelogBatch) -> String {
    let request = EncodeRequest {
        schema: schema.clone(),
        options: options.clone(),
    };
    let mut encoder = format(name).create_encoder(&request).unwrap();
    let mut out = Vec::new();
    encoder.encode_block(batch, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn nested_schema() -> Schema {
    let row = LogicalType::Row(Arc::from([
        RowField::new("a", LogicalType::Int.nullable()),
        RowField::new(
            "b",
            LogicalType::Array(Arc::new(LogicalType::STRING.nullable())).nullable(),
        ),
    ]));
    let map = LogicalType::Map(
        Arc::new(LogicalType::STRING.nullable()),
        Arc::new(LogicalType::Double.nullable()),
    );
    schema(&[
        ("id", LogicalType::Int),
        ("ts", LogicalType::Timestamp(3)),
        ("n", row),
        ("m", map),
        ("bool", LogicalType::Boolean),
        ("bin", LogicalType::BYTES),
        ("dec", LogicalType::Decimal(10, 2)),
        ("d", LogicalType::Date),
        ("t", LogicalType::Time(0)),
        ("missing", LogicalType::STRING),
    ])
}

const NESTED: &str = r#"{"id":1,"ts":"2024-03-01 10:00:00.5","n":{"a":1,"b":["x","y"]},"m":{"k":1.5},"bool":true,"bin":"aGk=","extra":"ignored","dec":"12.345","d":"2024-03-01","t":"10:11:12"}
{"id":"2","n":{"a":null},"m":{},"bool":"false","dec":1.005}
{"id":3,"ts":null,"n":null,"m":null,"dec":1e3}
"#;

#[test]
fn json_values_are_coerced_as_flink_does() {
    let batch = decode(
        "json",
        &request(&nested_schema(), &options(&[])),
        NESTED.as_bytes(),
    );
    let expected = "1|2024-03-01T10:00:00.500|{a: 1, b: [x, y]}|{k: 1.5}|true|6869|12.35|2024-03-01|10:11:12|\n\
                    2||{a: , b: }|{}|false||1.01|||\n\
                    3||||||1000.00|||\n";
    assert_eq!(rows(batch.unwrap()), expected);
}

#[test]
fn json_is_written_as_flink_writes_it() {
    let schema = nested_schema();
    let batch = decode("json", &request(&schema, &options(&[])), NESTED.as_bytes());
    let batch = batch.unwrap().unwrap();
    let text = encode(
        "json",
        &schema,
        &options(&[("encode.ignore-null-fields", "true")]),
        &batch,
    );
    let expected = r#"{"id":1,"ts":"2024-03-01 10:00:00.5","n":{"a":1,"b":["x","y"]},"m":{"k":1.5},"bool":true,"bin":"aGk=","dec":12.35,"d":"2024-03-01","t":"10:11:12"}
{"id":2,"n":{},"m":{},"bool":false,"dec":1.01}
{"id":3,"dec":1E+3}
"#;
    assert_eq!(text, expected);
}

#[test]
fn json_faults_name_line_column_and_text() {
    let schema = schema(&[("id", LogicalType::Int), ("bool", LogicalType::Boolean)]);
    let text = b"{\"id\":1,\"bool\":true}\nnot json\n{\"id\":\"x\"}\n{\"id\":4}\n";
    let error = decode("json", &request(&schema, &options(&[])), text).unwrap_err();
    assert_eq!(
        error.message(),
        "line 2: malformed JSON at character 1, expected '{': not json"
    );
    let error = decode("json", &request(&schema, &options(&[])), &text[30..]).unwrap_err();
    assert_eq!(
        error.message(),
        "line 1: column 'id': cannot read \"x\" as INT: {\"id\":\"x\"}"
    );
    let lenient = options(&[("ignore-parse-errors", "true")]);
    let batch = decode("json", &request(&schema, &lenient), text).unwrap();
    assert_eq!(rows(batch), "1|true\n|\n4|\n");
    let strict = options(&[("fail-on-missing-field", "true")]);
    let error = decode("json", &request(&schema, &strict), b"{\"id\":4}").unwrap_err();
    assert_eq!(
        error.message(),
        "line 1: field 'bool' is missing: {\"id\":4}"
    );
}

#[test]
fn json_fields_inside_rows_are_read_alone() {
    let mut request = request(&nested_schema(), &options(&[]));
    request.fields = vec![
        FieldPath(vec![2, 1]),
        FieldPath(vec![2]),
        FieldPath(vec![0]),
    ];
    let batch = decode("json", &request, NESTED.as_bytes()).unwrap();
    assert_eq!(
        rows(batch),
        "[x, y]|{a: 1, b: [x, y]}|1\n|{a: , b: }|2\n||3\n"
    );
    request.fields = Vec::new();
    let batch = decode("json", &request, NESTED.as_bytes())
        .unwrap()
        .unwrap();
    assert_eq!(batch.num_rows(), 3);
}

#[test]
fn json_duplicate_keys_arrays_and_escapes() {
    let schema = schema(&[("a", LogicalType::STRING), ("b", LogicalType::BigInt)]);
    let text = r#"{"a":"first","b":1,"a":"the last one wins"}
[{"a":{"x": [1, "y z"]}},{"b":2.9,"\u0061":"\u00e9\n"}]

{"b":-9223372036854775808,"a":true}
"#;
    let batch = decode("json", &request(&schema, &options(&[])), text.as_bytes()).unwrap();
    let batch = batch.unwrap();
    let written = encode("json", &schema, &options(&[]), &batch);
    let expected = r#"{"a":"the last one wins","b":1}
{"a":"{\"x\":[1,\"y z\"]}","b":null}
{"a":"é\n","b":2}
{"a":"true","b":-9223372036854775808}
"#;
    assert_eq!(written, expected);
}

#[test]
fn csv_is_read_as_flink_reads_it() {
    let schema = schema(&[
        ("id", LogicalType::Int),
        ("s", LogicalType::STRING),
        ("d", LogicalType::Double),
        ("b", LogicalType::Boolean),
    ]);
    let text = b"1;\"a;b\";1.5;true\n2;\"say \"\"hi\"\"\";;false\n3;;2.25;\n4;plain;x;true\n5;short\n6;\"two\nlines\";1;true;\n7;a;1;true;b\n";
    let lenient = options(&[("field-delimiter", ";"), ("ignore-parse-errors", "true")]);
    let batch = decode("csv", &request(&schema, &lenient), text)
        .unwrap()
        .unwrap();
    let written = encode("json", &schema, &options(&[]), &batch);
    let expected = r#"{"id":1,"s":"a;b","d":1.5,"b":true}
{"id":2,"s":"say \"hi\"","d":null,"b":false}
{"id":3,"s":"","d":2.25,"b":false}
{"id":4,"s":"plain","d":null,"b":true}
{"id":5,"s":"short","d":null,"b":null}
{"id":6,"s":"two\nlines","d":1.0,"b":true}
"#;
    assert_eq!(written, expected);
    let strict = options(&[("field-delimiter", ";")]);
    let error = decode("csv", &request(&schema, &strict), text).unwrap_err();
    assert_eq!(
        error.message(),
        "line 2: column 'd': cannot read '' as DOUBLE: 2;\"say \"\"hi\"\"\";;false"
    );
}

#[test]
fn csv_is_quoted_as_flink_quotes_it() {
    let schema = schema(&[
        ("s", LogicalType::STRING),
        ("ts", LogicalType::Timestamp(3)),
    ]);
    let text = b"plain,2024-03-01 10:00:00.500\n\"with \"\"q\"\"\",\n";
    let with_null = options(&[("null-literal", "")]);
    let batch = decode("csv", &request(&schema, &with_null), text)
        .unwrap()
        .unwrap();
    let written = encode("csv", &schema, &options(&[]), &batch);
    assert_eq!(
        written,
        "plain,\"2024-03-01 10:00:00.5\"\n\"with \"\"q\"\"\",\n"
    );
}

#[test]
fn csv_nested_cells_comments_and_escapes() {
    let row = LogicalType::Row(Arc::from([
        RowField::new("x", LogicalType::Int.nullable()),
        RowField::new("y", LogicalType::STRING.nullable()),
    ]));
    let array = LogicalType::Array(Arc::new(LogicalType::Int.nullable()));
    let schema = schema(&[("r", row), ("a", array), ("s", LogicalType::STRING)]);
    let options = options(&[
        ("field-delimiter", "\\t"),
        ("allow-comments", "true"),
        ("escape-character", "\\"),
    ]);
    let text = b"# no row\n1;one\t1;2;3\ta\\\tb\n\t\t\n";
    let batch = decode("csv", &request(&schema, &options), text).unwrap();
    assert_eq!(rows(batch), "{x: 1, y: one}|[1, 2, 3]|a\tb\n|[]|\n");
}

#[test]
fn raw_takes_the_whole_line() {
    let schema = schema(&[("line", LogicalType::STRING)]);
    let batch = decode("raw", &request(&schema, &options(&[])), b"a,b\r\n\nlast").unwrap();
    let batch = batch.unwrap();
    assert_eq!(
        encode("raw", &schema, &options(&[]), &batch),
        "a,b\n\nlast\n"
    );
}

fn cells() -> impl Strategy<Value = Vec<(Option<i64>, Option<String>, Option<f64>)>> {
    let text = proptest::option::of("[ -~éß\u{1F600}\n\t]{0,20}");
    let number = proptest::option::of(any::<i64>());
    let double = proptest::option::of(proptest::num::f64::NORMAL);
    proptest::collection::vec((number, text, double), 1..50)
}

fn cell_schema() -> Schema {
    schema(&[
        ("n", LogicalType::BigInt),
        ("s", LogicalType::STRING),
        ("f", LogicalType::Double),
    ])
}

fn as_json(cells: &[(Option<i64>, Option<String>, Option<f64>)]) -> String {
    let line =
        |(n, s, f): &(_, _, _)| serde_json::json!({"s": s, "n": n, "x": [s, {"y": f}], "f": f});
    cells.iter().map(|c| line(c).to_string() + "\n").collect()
}

proptest! {
    #[test]
    fn json_agrees_with_serde_json(cells in cells()) {
        let schema = cell_schema();
        let text = as_json(&cells);
        let batch = decode("json", &request(&schema, &options(&[])), text.as_bytes()).unwrap();
        let written = encode("json", &schema, &options(&[]), &batch.unwrap());
        for (line, (n, s, f)) in written.lines().zip(&cells) {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            prop_assert_eq!(&value["n"], &serde_json::json!(n));
            prop_assert_eq!(&value["s"], &serde_json::json!(s));
            // The last digit is ours to compare: serde_json reads numbers less exactly.
            let number = line.rsplit_once(':').unwrap().1.trim_end_matches('}');
            prop_assert_eq!(number.parse::<f64>().ok(), *f);
        }
    }

    #[test]
    fn rows_go_through_csv_and_back(cells in cells()) {
        let schema = cell_schema();
        // With this literal no text of the generator is NULL.
        let options = options(&[("null-literal", "\u{2}")]);
        let text = as_json(&cells);
        let json = self::options(&[]);
        let batch = decode("json", &request(&schema, &json), text.as_bytes()).unwrap().unwrap();
        let written = encode("csv", &schema, &options, &batch);
        let again = decode("csv", &request(&schema, &options), written.as_bytes()).unwrap().unwrap();
        prop_assert_eq!(encode("json", &schema, &json, &batch), encode("json", &schema, &json, &again));
    }

    #[test]
    fn random_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200), pick in 0usize..7) {
        let name = flott_formats::all()[pick % flott_formats::all().len()].identifier();
        let columns = if name == "raw" { schema(&[("a", LogicalType::STRING)]) } else { nested_schema() };
        for lenient in ["true", "false"] {
            let options = match name {
                "raw" => options(&[]),
                _ => options(&[("ignore-parse-errors", lenient)]),
            };
            let _ = decode(name, &request(&columns, &options), &bytes);
        }
    }

    #[test]
    fn nearly_json_does_no_harm(at in 0usize..200, byte in any::<u8>(), cut in 0usize..200) {
        let mut bytes = NESTED.as_bytes().to_vec();
        bytes[at] = byte;
        let lenient = options(&[("ignore-parse-errors", "true")]);
        let batch = decode("json", &request(&nested_schema(), &lenient), &bytes[cut..]).unwrap();
        if let Some(batch) = batch {
            batch.rows().columns().iter().for_each(|c| c.to_data().validate_full().unwrap());
        }
    }

    #[test]
    fn blocks_may_be_cut_anywhere(cut in 0usize..300, pick in 0usize..2) {
        let (name, text) = [("json", NESTED), ("csv", "1,\"a\nb\",2.5\n2,c,\n3,\"x\"\"y\",1\n")][pick];
        let schema = if pick == 0 { nested_schema() } else { cell_schema() };
        let lenient = options(&[("ignore-parse-errors", "true")]);
        let request = request(&schema, &lenient);
        let whole = decode(name, &request, text.as_bytes()).unwrap();
        let mut decoder = format(name).create_decoder(&request).unwrap();
        let cut = cut.min(text.len());
        let used = decoder.decode_block(&Buffer::from(&text.as_bytes()[..cut]), false).unwrap();
        decoder.decode_block(&Buffer::from(&text.as_bytes()[used..]), true).unwrap();
        prop_assert_eq!(rows(decoder.flush().unwrap()), rows(whole));
    }
}

fn change_schema() -> Schema {
    schema(&[
        ("id", LogicalType::Int),
        ("name", LogicalType::STRING),
        ("w", LogicalType::Int),
    ])
}

const CHANGES: &str = "+I 1|a|10\n+I 2|b|20\n-U 1|a|10\n+U 1|b|15\n-D 2|b|20\n";

#[test]
fn debezium_changes_are_rows_with_kinds() {
    let text = r#"{"before":null,"after":{"id":1,"name":"a","w":10},"op":"c","source":{"db":"d"}}
{"before":null,"after":{"id":2,"name":"b","w":20},"op":"r"}
{"before":{"id":1,"name":"a","w":10},"after":{"id":1,"name":"b","w":15},"op":"u"}
{"before":{"id":2,"name":"b","w":20},"after":null,"op":"d"}
"#;
    let request = request(&change_schema(), &options(&[]));
    let batch = decode("debezium-json", &request, text.as_bytes())
        .unwrap()
        .unwrap();
    let written = encode("debezium-json", &change_schema(), &options(&[]), &batch);
    assert!(written.ends_with(
        "{\"before\":{\"id\":2,\"name\":\"b\",\"w\":20},\"after\":null,\"op\":\"d\"}\n"
    ));
    assert_eq!(rows(Some(batch)), CHANGES);
    let text = "{\"before\":null,\"after\":null,\"op\":\"d\"}\n";
    let error = decode("debezium-json", &request, text.as_bytes()).unwrap_err();
    assert!(
        error
            .message()
            .starts_with("line 1: not a debezium-json change")
    );
    assert!(error.message().contains("REPLICA IDENTITY"));
    let payload = r#"{"schema":{},"payload":{"before":null,"after":{"id":7},"op":"c"}}"#;
    let with_schema = self::request(&change_schema(), &options(&[("schema-include", "true")]));
    let batch = decode("debezium-json", &with_schema, payload.as_bytes()).unwrap();
    assert_eq!(rows(batch), "+I 7||\n");
}

#[test]
fn canal_and_maxwell_updates_are_completed() {
    let canal = r#"{"data":[{"id":"1","name":"a","w":"10"},{"id":"2","name":"b","w":"20"}],"old":null,"type":"INSERT","database":"d","table":"t"}
{"data":[{"id":"1","name":"b","w":"15"}],"old":[{"name":"a","w":"10"}],"type":"UPDATE","database":"d","table":"t"}
{"data":[{"id":"2","name":"b","w":"20"}],"old":null,"type":"DELETE","database":"d","table":"t"}
{"data":null,"old":null,"type":"CREATE","database":"d","table":"t","isDdl":true}
"#;
    let request = request(&change_schema(), &options(&[]));
    let batch = decode("canal-json", &request, canal.as_bytes()).unwrap();
    assert_eq!(rows(batch), CHANGES);
    let other = self::request(&change_schema(), &options(&[("table.include", "other")]));
    assert!(
        decode("canal-json", &other, canal.as_bytes())
            .unwrap()
            .is_none()
    );
    let maxwell = r#"{"database":"d","table":"t","type":"insert","data":{"id":1,"name":"a","w":10}}
{"type":"insert","data":{"id":2,"name":"b","w":20}}
{"type":"update","data":{"id":1,"name":"b","w":15},"old":{"name":"a","w":10}}
{"type":"delete","data":{"id":2,"name":"b","w":20}}
"#;
    let batch = decode("maxwell-json", &request, maxwell.as_bytes()).unwrap();
    assert_eq!(rows(batch), CHANGES);
    let mut one = request.clone();
    one.fields = vec![FieldPath::column(2)];
    let batch = decode("maxwell-json", &one, maxwell.as_bytes()).unwrap();
    assert_eq!(rows(batch), "+I 10\n+I 20\n-U 10\n+U 15\n-D 20\n");
}

/// Metadata columns of these keys and types.
fn metadata(columns: &[(&str, LogicalType)]) -> Vec<Column> {
    schema(columns).columns().to_vec()
}

fn decode_metadata(
    name: &str,
    pairs: &[(&str, &str)],
    columns: &[Column],
    text: &str,
) -> Result<String> {
    let table = schema(&[("id", LogicalType::Int), ("s", LogicalType::STRING)]);
    let mut request = request(&table, &options(pairs));
    request.fields.truncate(1);
    let mut decoder = format(name).create_metadata_decoder(&request, columns)?;
    decoder.decode_message(text.as_bytes())?;
    decoder.flush().map(rows)
}

fn properties() -> LogicalType {
    LogicalType::Map(
        Arc::new(LogicalType::STRING.not_null()),
        Arc::new(LogicalType::STRING.nullable()),
    )
}

#[test]
fn debezium_says_where_a_change_comes_from() {
    let wanted = metadata(&[
        ("source.table", LogicalType::STRING),
        ("ingestion-timestamp", LogicalType::TimestampLtz(3)),
        ("source.properties", properties()),
        ("source.timestamp", LogicalType::TimestampLtz(6)),
        ("schema", LogicalType::STRING),
        ("source.schema", LogicalType::STRING),
    ]);
    let change = r#"{"before":{"id":1},"after":{"id":2},"op":"u","ts_ms":1589362330904,"source":{"db":"d","table":"t","ts_ms":1589362330000}}"#;
    let text = decode_metadata("debezium-json", &[], &wanted, change).unwrap();
    let of_change =
        "t|2020-05-13T09:32:10.904Z|{db: d, ts_ms: 1589362330000, table: t}|2020-05-13T09:32:10Z|";
    assert_eq!(text, format!("-U 1|{of_change}|\n+U 2|{of_change}|\n"));
    let with_schema = format!(r#"{{"schema":{{"type":"struct"}},"payload":{change}}}"#);
    let pairs = [("schema-include", "true")];
    let text = decode_metadata("debezium-json", &pairs, &wanted, &with_schema).unwrap();
    let of_change = format!(r#"{of_change}{{"type":"struct"}}"#);
    assert_eq!(text, format!("-U 1|{of_change}|\n+U 2|{of_change}|\n"));
}

#[test]
fn other_change_formats_say_where_a_change_comes_from() {
    let texts = LogicalType::Array(Arc::new(LogicalType::STRING.nullable()));
    let numbers = LogicalType::Map(
        Arc::new(LogicalType::STRING.not_null()),
        Arc::new(LogicalType::Int.nullable()),
    );
    let wanted = metadata(&[
        ("database", LogicalType::STRING),
        ("table", LogicalType::STRING),
        ("sql-type", numbers),
        ("pk-names", texts.clone()),
        ("ingestion-timestamp", LogicalType::TimestampLtz(3)),
        ("event-timestamp", LogicalType::TimestampLtz(3)),
    ]);
    let canal = r#"{"data":[{"id":"1"},{"id":"2"}],"database":"d","es":1589373515000,"pkNames":["id"],"sqlType":{"id":4},"table":"t","ts":1589373515477,"type":"INSERT"}"#;
    let of_change = "d|t|{id: 4}|[id]|2020-05-13T12:38:35.477Z|2020-05-13T12:38:35Z";
    assert_eq!(
        decode_metadata("canal-json", &[], &wanted, canal).unwrap(),
        format!("+I 1|{of_change}\n+I 2|{of_change}\n")
    );
    let wanted = metadata(&[
        ("table", LogicalType::STRING),
        ("primary-key-columns", texts.clone()),
    ]);
    let maxwell = r#"{"database":"d","table":"t","type":"insert","ts":1596684904,"data":{"id":1},"primary_key_columns":["id"]}"#;
    assert_eq!(
        decode_metadata("maxwell-json", &[], &wanted, maxwell).unwrap(),
        "+I 1|t|[id]\n"
    );
    let wanted = metadata(&[
        ("event-timestamp", LogicalType::TimestampLtz(6)),
        ("primary-keys", texts),
    ]);
    let ogg = r#"{"table":"D.T","op_type":"I","op_ts":"2020-05-13 13:39:35.766001","current_ts":"2020-05-13 13:39:35.8","primary_keys":["id"],"after":{"id":1}}"#;
    assert_eq!(
        decode_metadata("ogg-json", &[], &wanted, ogg).unwrap(),
        "+I 1|2020-05-13T13:39:35.766001Z|[id]\n"
    );
    let wanted = metadata(&[("source.tabel", LogicalType::STRING)]);
    let error = decode_metadata("debezium-json", &[], &wanted, canal).unwrap_err();
    assert_eq!(
        error.message(),
        "format 'debezium-json' has no metadata column 'source.tabel'; did you mean 'source.table'?"
    );
    let wanted = metadata(&[("sql-type", LogicalType::Int)]);
    let error = decode_metadata("canal-json", &[], &wanted, canal).unwrap_err();
    assert_eq!(error.code(), "UNSUPPORTED_TYPE");
}

#[test]
fn raw_texts_are_encoded_as_java_encodes_them() {
    let table = schema(&[("s", LogicalType::STRING)]);
    let read = |charset: &str, bytes: &[u8]| {
        let request = request(&table, &options(&[("charset", charset)]));
        let mut decoder = format("raw").create_decoder(&request).unwrap();
        decoder.decode_message(bytes).unwrap();
        rows(decoder.flush().unwrap())
    };
    assert_eq!(read("UTF-16", b"\xfe\xff\0a"), "a\n");
    assert_eq!(read("UTF-16", b"\xff\xfea\0"), "a\n");
    assert_eq!(read("UTF-16", b"\0a"), "a\n");
    assert_eq!(read("US-ASCII", b"a\xe9"), "a\u{fffd}\n");
    assert_eq!(read("ISO-8859-1", b"a\xe9"), "a\u{e9}\n");
    let json = request(&table, &options(&[]));
    let batch = decode("json", &json, "{\"s\":\"é\"}\n".as_bytes())
        .unwrap()
        .unwrap();
    let written = |charset: &str| {
        let request = EncodeRequest {
            schema: table.clone(),
            options: options(&[("charset", charset)]),
        };
        let mut encoder = format("raw").create_encoder(&request).unwrap();
        let (mut out, mut ends) = (Vec::new(), Vec::new());
        encoder
            .encode_messages(&batch, &mut out, &mut ends)
            .unwrap();
        out
    };
    assert_eq!(written("UTF-16"), b"\xfe\xff\0\xe9");
    assert_eq!(written("US-ASCII"), b"?");
    assert_eq!(written("ISO-8859-1"), b"\xe9");
}
