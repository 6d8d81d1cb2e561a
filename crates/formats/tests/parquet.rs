//! `parquet` by its public face.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{AsArray, Int64Array, StringViewArray};
use arrow::buffer::Buffer;
use arrow::compute::concat_batches;
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use flott_core::format::FileInput;
use flott_core::source::{FieldPath, FieldPredicate, PredicateValue};
use flott_core::types::{LogicalType as T, RowField};
use proptest::prelude::*;
use support::*;

fn holds(_: &T) -> bool {
    true
}

/// Small row groups and pages. The zone of the machine that tests run on does not matter.
fn small_groups(compression: &str) -> flott_core::options::Options {
    options(&[
        ("compression", compression),
        ("block.size", "20000"),
        ("page.size", "2000"),
        ("utc-timezone", "true"),
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
    let utc = options(&[("utc-timezone", "true")]);
    let file = write_file("parquet", &written, &utc, &[batch]);
    let table = schema(&[
        ("at", T::Timestamp(3)),
        ("absent", T::STRING),
        (
            "r",
            row(&[("b", T::STRING), ("c", T::Int), ("a", T::BigInt)]),
        ),
        ("id", T::BigInt),
    ]);
    let mut request = request(&table, &utc);
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

/// A file in memory that counts what is read of it.
struct Counted(Memory, AtomicU64);

impl FileInput for Counted {
    fn size_bytes(&self) -> u64 {
        self.0.size_bytes()
    }

    fn read_range(&self, offset: u64, length: usize) -> flott_core::Result<Buffer> {
        self.1.fetch_add(length as u64, Ordering::Relaxed);
        self.0.read_range(offset, length)
    }
}

/// A file of one row group with many pages: numbers in order, texts in order, and a long text.
fn paged() -> (
    flott_core::schema::Schema,
    flott_core::options::Options,
    Vec<u8>,
) {
    let table = schema(&[("id", T::BigInt), ("name", T::STRING), ("pad", T::STRING)]);
    let options = options(&[
        ("page.row.count.limit", "1000"),
        ("enable.dictionary", "false"),
        ("compression", "UNCOMPRESSED"),
    ]);
    let ids: Vec<i64> = (0..40_000).collect();
    let names = ids.iter().map(|id| Some(format!("name {id:06}")));
    let pads = ids
        .iter()
        .map(|id| Some(format!("{id}-{}", "x".repeat(200))));
    let columns: Vec<arrow::array::ArrayRef> = vec![
        Arc::new(Int64Array::from(ids.clone())),
        Arc::new(names.collect::<StringViewArray>()),
        Arc::new(pads.collect::<StringViewArray>()),
    ];
    let batch = RecordBatch::try_new(table.to_arrow(), columns).unwrap();
    let file = write_file("parquet", &table, &options, &[batch]);
    (table, options, file)
}

#[test]
fn pages_without_wanted_values_are_not_read() {
    let (table, options, file) = paged();
    let read = |column: usize, values: Vec<PredicateValue>| {
        let input = Arc::new(Counted(Memory(Buffer::from(&file[..])), AtomicU64::new(0)));
        let mut scan = scan(&file, 0, u64::MAX, None);
        scan.input = input.clone();
        scan.predicates = vec![FieldPredicate {
            field: FieldPath::column(column),
            values,
        }];
        let read = read_file("parquet", &request(&table, &options), scan).unwrap();
        let all = concat_batches(&table.to_arrow(), &read).unwrap();
        for row in 0..all.num_rows() {
            let id = all.column(0).as_primitive::<Int64Type>().value(row);
            assert!(
                all.column(2)
                    .as_string_view()
                    .value(row)
                    .starts_with(&format!("{id}-"))
            );
        }
        let ids = all.column(0).as_primitive::<Int64Type>().values().to_vec();
        (ids, input.1.load(Ordering::Relaxed))
    };
    let (ids, num_bytes) = read(0, vec![PredicateValue::Integer(20_500)]);
    assert!(ids.contains(&20_500) && ids.len() <= 3_000, "{}", ids.len());
    assert!(
        num_bytes < file.len() as u64 / 4,
        "{num_bytes} of {}",
        file.len()
    );
    let wanted = ["name 000007", "name 039999"].map(|n| PredicateValue::Text(n.into()));
    let (ids, num_bytes) = read(1, wanted.to_vec());
    assert!(ids.contains(&7) && ids.contains(&39_999) && ids.len() <= 6_000);
    assert!(
        num_bytes < file.len() as u64 / 2,
        "{num_bytes} of {}",
        file.len()
    );
    assert!(read(0, vec![PredicateValue::Integer(-1)]).0.is_empty());
}

#[test]
fn a_reader_goes_on_among_pages_that_are_left_out() {
    let (table, options, file) = paged();
    let mut request = request(&table, &options);
    request.batch_size = 333;
    let predicates = vec![FieldPredicate {
        field: FieldPath::column(0),
        values: [1_500, 17_000, 17_999, 39_000]
            .map(PredicateValue::Integer)
            .to_vec(),
    }];
    let scan_at = |position| {
        let mut scan = scan(&file, 0, u64::MAX, position);
        scan.predicates = predicates.clone();
        scan
    };
    let whole = read_file("parquet", &request, scan_at(None)).unwrap();
    let mut pieces = Vec::new();
    let mut position = None;
    loop {
        let reader = format("parquet").create_file_reader(&request, scan_at(position));
        let mut reader = reader.unwrap();
        let Some(batch) = reader.next_batch().unwrap() else {
            break;
        };
        pieces.push(batch.rows().clone());
        position = Some(reader.position());
    }
    let schema = table.to_arrow();
    assert_eq!(
        concat_batches(&schema, &pieces).unwrap(),
        concat_batches(&schema, &whole).unwrap()
    );
    assert!(whole.iter().map(RecordBatch::num_rows).sum::<usize>() <= 9_000);
}

/// The table that Flink 2.3 has written into `flink_utc.parquet` and `flink_int96.parquet`.
fn written_by_flink() -> flott_core::schema::Schema {
    let array = |item: T| T::Array(Arc::new(item.nullable()));
    let map = |value: T| T::Map(Arc::new(T::STRING.not_null()), Arc::new(value.nullable()));
    let row = [
        RowField::new("a", T::Int.nullable()),
        RowField::new("t", T::Timestamp(3).nullable()),
    ];
    schema(&[
        ("id", T::Int),
        ("t0", T::Timestamp(0)),
        ("t3", T::Timestamp(3)),
        ("t6", T::Timestamp(6)),
        ("t9", T::Timestamp(9)),
        ("l3", T::TimestampLtz(3)),
        ("dt", T::Date),
        ("tm", T::Time(0)),
        ("d1", T::Decimal(5, 2)),
        ("d2", T::Decimal(15, 2)),
        ("d3", T::Decimal(30, 5)),
        ("a", array(T::Int)),
        ("m", map(T::Int)),
        ("r", T::Row(row.into())),
        ("ts", array(T::Timestamp(3))),
        ("mt", map(T::TimestampLtz(3))),
        ("b", T::BYTES),
        ("ti", T::TinyInt),
        ("si", T::SmallInt),
        ("bi", T::BigInt),
        ("f", T::Float),
        ("dd", T::Double),
        ("bo", T::Boolean),
        ("c", T::Char(3)),
        ("s", T::STRING),
    ])
}

fn lines_of(file: &[u8], table: &flott_core::schema::Schema) -> Vec<String> {
    let utc = options(&[("utc-timezone", "true")]);
    let rows = read_file(
        "parquet",
        &request(table, &utc),
        scan(file, 0, u64::MAX, None),
    )
    .unwrap();
    let rows = concat_batches(&table.to_arrow(), &rows).unwrap();
    let rows = flott_core::changelog::ChangelogBatch::insert_only(rows);
    let lines = write_messages("json", table, &options(&[]), &rows);
    let lines = lines
        .into_iter()
        .map(|line| String::from_utf8(line).unwrap());
    lines.collect()
}

#[test]
fn what_flink_has_written_is_read() {
    let file = include_bytes!("data/parquet/flink_utc.parquet");
    let lines = lines_of(file, &written_by_flink());
    assert_eq!(
        lines,
        [
            r#"{"id":1,"t0":"2024-07-01 12:34:56","t3":"2024-07-01 12:34:56.789","t6":"2024-07-01 12:34:56.789012","t9":"2024-07-01 12:34:56.789012345","l3":"2024-07-01 12:34:56.789Z","dt":"2024-07-01","tm":"12:34:56","d1":1.25,"d2":-12.5,"d3":1234567890123456789012345.12345,"a":[1,2,null],"m":{"a":1,"b":null},"r":{"a":7,"t":"2024-01-01 00:00:00"},"ts":["2024-01-01 00:00:00.123",null],"mt":{"x":"2024-01-01 00:00:00.123Z"},"b":"AQI=","ti":1,"si":2,"bi":3,"f":1.5,"dd":2.5,"bo":true,"c":"abc","s":"grün"}"#,
            r#"{"id":2,"t0":"1965-01-01 00:00:00","t3":"2024-03-10 02:30:00.5","t6":"2024-11-03 01:30:00","t9":"2024-01-31 23:59:59.999999999","l3":"2024-01-01 00:00:00Z","dt":"1965-01-01","tm":"00:00:00","d1":-1.25,"d2":12.5,"d3":-1.5,"a":[5],"m":{"c":1},"r":{"a":null,"t":"2024-07-01 00:00:00"},"ts":["2024-07-01 00:00:00.123"],"mt":{"x":"2024-07-01 00:00:00.123Z"},"b":"","ti":-1,"si":-2,"bi":-3,"f":-1.5,"dd":-2.5,"bo":false,"c":"xyz","s":""}"#,
        ]
    );
}

/// INT96 in columns and inside of nested values, of a writer whose clock stood in Los Angeles.
#[test]
fn int96_is_read_wherever_it_stands() {
    let file = include_bytes!("data/parquet/flink_int96.parquet");
    let lines = lines_of(file, &written_by_flink());
    let expected = [
        r#""t3":"2024-07-01 19:34:56.789""#,
        r#""r":{"a":7,"t":"2024-01-01 08:00:00"}"#,
        r#""ts":["2024-01-01 08:00:00.123",null]"#,
        r#""mt":{"x":"2024-01-01 08:00:00.123Z"}"#,
    ];
    assert!(
        expected.iter().all(|part| lines[0].contains(part)),
        "{}",
        lines[0]
    );
    // Centuries that nanoseconds cannot count.
    let table = schema(&[("ts", T::Array(Arc::new(T::Timestamp(3).nullable())))]);
    let json = r#"{"ts":["0001-01-01 00:00:00","9999-12-31 23:59:59.999",null]}"#;
    let utc = options(&[("utc-timezone", "true")]);
    let messages = [json.as_bytes().to_vec()];
    let rows = read_messages("json", &request(&table, &options(&[])), &messages);
    let rows = rows.unwrap().unwrap().rows().clone();
    let file = write_file("parquet", &table, &utc, &[rows]);
    assert_eq!(lines_of(&file, &table), [json]);
}
