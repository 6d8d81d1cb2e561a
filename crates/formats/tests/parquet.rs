//! `parquet` by its public face.

mod support;

use std::sync::Arc;

use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;
use flott_core::source::{FieldPath, FieldPredicate, PredicateValue};
use flott_core::types::{LogicalType as T, RowField};
use proptest::prelude::*;
use support::*;

fn holds(_: &T) -> bool {
    true
}

fn small_groups(compression: &str) -> flott_core::options::Options {
    options(&[
        ("compression", compression),
        ("block.size", "20000"),
        ("page.size", "2000"),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn files_go_there_and_back_in_any_pieces(seed: u64, codec in 0usize..6, pieces in 1u64..5) {
        let mut random = Random(seed);
        let schema = random_schema(&mut random, &holds);
        let batch = random_batch(&mut random, &schema, 200);
        let codec = ["UNCOMPRESSED", "snappy", "GZIP", "ZSTD", "LZ4", "LZ4_RAW"][codec];
        let options = small_groups(codec);
        let batches = vec![batch.clone(); 8];
        let file = write_file("parquet", &schema, &options, &batches);
        let mut request = request(&schema, &options);
        request.batch_size = 77;
        let size = file.len() as u64;
        let mut read = Vec::new();
        for piece in 0..pieces {
            let (start, end) = (size * piece / pieces, size * (piece + 1) / pieces);
            read.extend(read_file("parquet", &request, scan(&file, start, end, None)).unwrap());
        }
        let all = concat_batches(&batch.schema(), &batches).unwrap();
        prop_assert_eq!(concat_batches(&batch.schema(), &read).unwrap(), all);
    }

    #[test]
    fn a_reader_goes_on_where_another_stopped(seed: u64, stop in 0usize..40) {
        let mut random = Random(seed);
        let schema = random_schema(&mut random, &holds);
        let batches: Vec<RecordBatch> = (0..10).map(|_| random_batch(&mut random, &schema, 150)).collect();
        let options = small_groups("SNAPPY");
        let file = write_file("parquet", &schema, &options, &batches);
        let mut request = request(&schema, &options);
        request.batch_size = 61;
        let mut reader = format("parquet").create_file_reader(&request, scan(&file, 0, u64::MAX, None)).unwrap();
        let mut read = Vec::new();
        for _ in 0..stop {
            read.extend(reader.next_batch().unwrap().map(|b| b.rows().clone()));
        }
        let rest = scan(&file, 0, u64::MAX, Some(reader.position()));
        read.extend(read_file("parquet", &request, rest).unwrap());
        let all = concat_batches(&batches[0].schema(), &batches).unwrap();
        prop_assert_eq!(concat_batches(&all.schema(), &read).unwrap(), all);
    }

    #[test]
    fn damaged_files_are_refused_without_panic(seed: u64) {
        let mut random = Random(seed);
        let schema = random_schema(&mut random, &holds);
        let batch = random_batch(&mut random, &schema, 20);
        let options = options(&[]);
        let mut file = write_file("parquet", &schema, &options, &[batch]);
        mutate(&mut random, &mut file);
        let _ = read_file("parquet", &request(&schema, &options), scan(&file, 0, u64::MAX, None));
    }
}

fn text(batches: &[RecordBatch]) -> Vec<String> {
    let text = arrow::util::pretty::pretty_format_batches(batches)
        .unwrap()
        .to_string();
    let rows = text.lines().skip(3).filter(|line| line.starts_with('|'));
    rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>().join("|"))
        .collect()
}

#[test]
fn columns_are_found_by_name_and_brought_to_the_tables_types() {
    let row = |fields: &[(&str, T)]| {
        T::Row(
            fields
                .iter()
                .map(|(n, t)| RowField::new(*n, t.clone().nullable()))
                .collect(),
        )
    };
    let written = schema(&[
        ("id", T::Int),
        ("r", row(&[("a", T::Int), ("b", T::STRING)])),
        ("at", T::Timestamp(6)),
    ]);
    let json = br#"{"id":1,"r":{"a":5,"b":"x"},"at":"1969-12-31 23:59:59.999999"}
{"id":2,"r":null,"at":null}
"#;
    let mut decoder = format("json")
        .create_decoder(&request(&written, &options(&[])))
        .unwrap();
    decoder
        .decode_block(&arrow::buffer::Buffer::from(&json[..]), true)
        .unwrap();
    let batch = decoder.flush().unwrap().unwrap().rows().clone();
    let file = write_file("parquet", &written, &options(&[]), &[batch]);
    let table = schema(&[
        ("at", T::Timestamp(3)),
        ("absent", T::STRING),
        (
            "r",
            row(&[("b", T::STRING), ("c", T::Int), ("a", T::BigInt)]),
        ),
        ("id", T::BigInt),
    ]);
    let mut request = request(&table, &options(&[]));
    request.fields.push(FieldPath(vec![2, 2]));
    let read = read_file("parquet", &request, scan(&file, 0, u64::MAX, None)).unwrap();
    assert_eq!(
        text(&read),
        [
            "|1969-12-31T23:59:59.999||{b: x, c: , a: 5}|1|5|",
            "||||2||"
        ]
    );
    let wrong = schema(&[("id", T::Timestamp(3))]);
    let error = read_file(
        "parquet",
        &support::request(&wrong, &options(&[])),
        scan(&file, 0, u64::MAX, None),
    );
    assert_eq!(
        error.unwrap_err().message(),
        "column 'id': the file's Int32 cannot be read as TIMESTAMP(3)"
    );
}

#[test]
fn row_groups_without_wanted_values_are_left_out() {
    let table = schema(&[("id", T::BigInt)]);
    let batch = |from: i64| {
        let ids = arrow::array::Int64Array::from_iter_values(from..from + 100);
        RecordBatch::try_new(table.to_arrow(), vec![Arc::new(ids)]).unwrap()
    };
    let batches: Vec<_> = (0..10).map(|n| batch(n * 100)).collect();
    let options = options(&[("block.size", "100"), ("enable.dictionary", "false")]);
    let file = write_file("parquet", &table, &options, &batches);
    let mut scan = scan(&file, 0, u64::MAX, None);
    scan.predicates = vec![FieldPredicate {
        field: FieldPath::column(0),
        values: vec![PredicateValue::Integer(750)],
    }];
    let mut none = request(&table, &options);
    none.fields.clear();
    let read = read_file("parquet", &none, scan).unwrap();
    let num_rows: usize = read.iter().map(RecordBatch::num_rows).sum();
    assert!((1..=200).contains(&num_rows), "{num_rows}");
}
