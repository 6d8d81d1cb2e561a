//! `orc` by its public face: files of Flink's and Arrow's writers.

mod support;

use std::io::Read;

use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;
use flott_core::schema::Schema;
use flott_core::source::{FieldPath, FieldPredicate, PredicateValue};
use flott_core::types::{LogicalType as T, RowField};
use proptest::prelude::*;
use std::sync::Arc;
use support::*;

fn data(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/orc/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).unwrap()
}

/// The rows of a file of JSON lines.
fn json_rows(name: &str, schema: &Schema) -> RecordBatch {
    let mut text = Vec::new();
    let packed = data(name);
    flate2::read::GzDecoder::new(packed.as_slice())
        .read_to_end(&mut text)
        .unwrap();
    let mut request = request(schema, &options(&[]));
    request.batch_size = 100_000;
    let mut decoder = format("json").create_decoder(&request).unwrap();
    decoder
        .decode_block(&arrow::buffer::Buffer::from(text), true)
        .unwrap();
    decoder.flush().unwrap().unwrap().rows().clone()
}

fn row(fields: &[(&str, T)]) -> T {
    let fields = fields
        .iter()
        .map(|(n, t)| RowField::new(*n, t.clone().nullable()));
    T::Row(fields.collect())
}

fn array(item: T) -> T {
    T::Array(Arc::new(item.nullable()))
}

/// The table that tests/data/orc/flink_*.orc were written from.
fn flink_schema() -> Schema {
    let inner = row(&[("x", T::Double), ("y", array(T::STRING))]);
    let map = T::Map(
        Arc::new(T::STRING.not_null()),
        Arc::new(T::BigInt.nullable()),
    );
    schema(&[
        ("n", T::Int),
        ("seq", T::BigInt),
        ("rnd", T::BigInt),
        ("patched", T::BigInt),
        ("rep", T::SmallInt),
        ("tiny", T::TinyInt),
        ("flag", T::Boolean),
        ("f", T::Float),
        ("d", T::Double),
        ("s", T::STRING),
        ("dict", T::STRING),
        ("ch", T::Char(3)),
        ("bin", T::BYTES),
        ("dec5", T::Decimal(5, 2)),
        ("dec38", T::Decimal(38, 10)),
        ("dt", T::Date),
        ("ts3", T::Timestamp(3)),
        ("ts9", T::Timestamp(9)),
        ("arr", array(T::Int)),
        ("m", map),
        ("r", row(&[("a", T::Int), ("b", T::STRING), ("c", inner)])),
    ])
}

/// The table that tests/data/orc/arrow_zstd.orc was written from.
fn arrow_schema() -> Schema {
    let item = row(&[("k", T::Int), ("v", T::STRING)]);
    schema(&[
        ("id", T::BigInt),
        ("instant", T::TimestampLtz(6)),
        ("plain", T::Timestamp(3)),
        ("name", T::STRING),
        ("deep", array(array(item))),
        ("amount", T::Decimal(20, 3)),
    ])
}

fn stripes_schema() -> Schema {
    schema(&[("n", T::Int), ("s", T::STRING)])
}

const FLINK_FILES: [&str; 5] = [
    "flink_zlib.orc",
    "flink_none.orc",
    "flink_snappy.orc",
    "flink_lz4.orc",
    "flink_v11.orc",
];

fn read_all(schema: &Schema, file: &[u8], batch_size: usize) -> RecordBatch {
    let mut request = request(schema, &options(&[]));
    request.batch_size = batch_size;
    let batches = read_file("orc", &request, scan(file, 0, u64::MAX, None)).unwrap();
    concat_batches(&schema.to_arrow(), &batches).unwrap()
}

#[test]
fn flinks_files_are_read_as_flink_wrote_them() {
    let schema = flink_schema();
    let expected = json_rows("flink.jsonl.gz", &schema);
    for name in FLINK_FILES {
        let found = read_all(&schema, &data(name), 77);
        for (place, column) in schema.columns().iter().enumerate() {
            let (found, expected) = (found.column(place), expected.column(place));
            let differ = |row: &usize| found.slice(*row, 1) != expected.slice(*row, 1);
            let rows: Vec<usize> = (0..expected.len()).filter(differ).collect();
            // That file was written by the clocks of Los Angeles, which on one night were put
            // forward over the time of row 758: Java's writer did the same to the row.
            let skipped = name == "flink_lz4.orc" && column.name == "ts3";
            let allowed: &[usize] = if skipped { &[758] } else { &[] };
            assert_eq!(rows, allowed, "{name}, column {}", column.name);
        }
    }
}

#[test]
fn files_of_arrows_writer_are_read() {
    let schema = arrow_schema();
    let expected = json_rows("arrow.jsonl.gz", &schema);
    let found = read_all(&schema, &data("arrow_zstd.orc"), 1000);
    assert_eq!(found, expected);
}

#[test]
fn fields_inside_rows_and_missing_columns() {
    let full = flink_schema();
    let columns = full.columns().iter().cloned();
    let missing = schema(&[("missing", T::Int)]);
    let schema: Schema = columns.chain(missing.columns().iter().cloned()).collect();
    let mut request = request(&schema, &options(&[]));
    request.fields = vec![
        FieldPath(vec![20, 2, 1]),
        FieldPath::column(21),
        FieldPath(vec![20, 0]),
    ];
    let file = data("flink_zlib.orc");
    let batches = read_file("orc", &request, scan(&file, 0, u64::MAX, None)).unwrap();
    let found = concat_batches(&batches[0].schema(), &batches).unwrap();
    let row = |row: usize| {
        let cell = |c: usize| arrow::util::display::array_value_to_string(found.column(c), row);
        [cell(0).unwrap(), cell(1).unwrap(), cell(2).unwrap()].join("|")
    };
    assert_eq!(
        [row(0), row(1), row(999)],
        ["||", "[p, 1]||1", "[p, 999]||999"]
    );
    request.fields = Vec::new();
    let batches = read_file("orc", &request, scan(&file, 0, u64::MAX, None)).unwrap();
    assert_eq!(
        batches.iter().map(RecordBatch::num_rows).sum::<usize>(),
        1000
    );
}

#[test]
fn stripes_without_wanted_rows_are_left_out() {
    // 10,000 rows in stripes of 5120 and 4880: numbers, and texts that begin with them.
    let schema = stripes_schema();
    let request = request(&schema, &options(&[]));
    let file = data("flink_stripes.orc");
    let rows_with = |column: usize, value: PredicateValue| {
        let mut scan = scan(&file, 0, u64::MAX, None);
        scan.predicates = vec![FieldPredicate {
            field: FieldPath::column(column),
            values: vec![value],
        }];
        let batches = read_file("orc", &request, scan).unwrap();
        batches.iter().map(RecordBatch::num_rows).sum::<usize>()
    };
    assert_eq!(rows_with(0, PredicateValue::Integer(20_000)), 0);
    assert_eq!(rows_with(0, PredicateValue::Integer(700)), 5120);
    assert_eq!(rows_with(1, PredicateValue::Text("07999 0".into())), 4880);
    assert_eq!(rows_with(1, PredicateValue::Text("zzz".into())), 0);
    // Values of another type say nothing.
    assert_eq!(rows_with(0, PredicateValue::Text("x".into())), 10_000);
}

#[test]
fn types_that_do_not_fit_are_refused_by_name() {
    let schema = schema(&[("s", T::Int)]);
    let request = request(&schema, &options(&[]));
    let file = data("flink_none.orc");
    let error = read_file("orc", &request, scan(&file, 0, u64::MAX, None)).unwrap_err();
    assert!(error.message().contains("column 's'"), "{error}");
    let error = read_file("orc", &request, scan(b"no ORC file", 0, u64::MAX, None)).unwrap_err();
    assert_eq!(error.code(), "MALFORMED_FILE");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn files_are_read_in_any_pieces_and_on_from_anywhere(
        (name, schema) in prop_oneof![
            (0usize..5).prop_map(|place| (FLINK_FILES[place], flink_schema())),
            Just(("arrow_zstd.orc", arrow_schema())),
            Just(("flink_stripes.orc", stripes_schema())),
        ],
        batch_size in 1usize..400,
        pieces in 1u64..5,
        stop in 0usize..20,
    ) {
        let file = data(name);
        let mut request = request(&schema, &options(&[]));
        request.batch_size = batch_size;
        let size = file.len() as u64;
        let mut read = Vec::new();
        for piece in 0..pieces {
            let (start, end) = (size * piece / pieces, size * (piece + 1) / pieces);
            let mut reader = format("orc").create_file_reader(&request, scan(&file, start, end, None)).unwrap();
            for _ in 0..stop {
                read.extend(reader.next_batch().unwrap().map(|b| b.rows().clone()));
            }
            let rest = scan(&file, start, end, Some(reader.position()));
            read.extend(read_file("orc", &request, rest).unwrap());
        }
        let read = concat_batches(&schema.to_arrow(), &read).unwrap();
        prop_assert_eq!(read, read_all(&schema, &file, 100_000));
    }

    #[test]
    fn damaged_files_are_refused_without_panic(seed: u64, name in 0usize..5) {
        let mut random = Random(seed);
        let mut file = data(FLINK_FILES[name]);
        mutate(&mut random, &mut file);
        let request = request(&flink_schema(), &options(&[]));
        let _ = read_file("orc", &request, scan(&file, 0, u64::MAX, None));
    }
}
