//! `parquet` files as other writers make them: lists and maps of several generations, decimals and
//! numbers in every physical type.

mod support;

use std::sync::Arc;

use arrow::compute::concat_batches;
use flott_core::changelog::ChangelogBatch;
use flott_core::schema::Schema;
use flott_core::source::{FieldPath, FieldPredicate, PredicateValue};
use flott_core::types::{LogicalType as T, RowField};
use parquet::data_type::{ByteArray, ByteArrayType, FixedLenByteArray, FixedLenByteArrayType};
use parquet::data_type::{Int32Type, Int64Type};
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use support::*;

/// The values of a leaf with their definition and repetition levels.
enum Leaf {
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Bytes(Vec<&'static [u8]>),
    Fixed(Vec<&'static [u8]>),
}

type Levels = &'static [i16];

/// A file of this schema, written leaf by leaf.
fn file_of(message: &str, leaves: &[(Leaf, Levels, Levels)], version: WriterVersion) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(message).unwrap());
    let properties = WriterProperties::builder().set_writer_version(version);
    let mut out = Vec::new();
    let mut writer =
        SerializedFileWriter::new(&mut out, schema, Arc::new(properties.build())).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for (leaf, definitions, repetitions) in leaves {
        let mut column = group.next_column().unwrap().unwrap();
        let levels = (Some(*definitions), Some(*repetitions));
        let bytes = |values: &[&'static [u8]]| -> Vec<ByteArray> {
            values.iter().map(|v| ByteArray::from(v.to_vec())).collect()
        };
        let written = match leaf {
            Leaf::Int32(values) => {
                let writer = column.typed::<Int32Type>();
                writer.write_batch(values, levels.0, levels.1)
            }
            Leaf::Int64(values) => {
                let writer = column.typed::<Int64Type>();
                writer.write_batch(values, levels.0, levels.1)
            }
            Leaf::Bytes(values) => {
                let writer = column.typed::<ByteArrayType>();
                writer.write_batch(&bytes(values), levels.0, levels.1)
            }
            Leaf::Fixed(values) => {
                let values = bytes(values).into_iter().map(FixedLenByteArray::from);
                let writer = column.typed::<FixedLenByteArrayType>();
                writer.write_batch(&values.collect::<Vec<_>>(), levels.0, levels.1)
            }
        };
        written.unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
    out
}

fn lines(file: &[u8], table: &Schema) -> Vec<String> {
    let request = request(table, &options(&[]));
    let rows = read_file("parquet", &request, scan(file, 0, u64::MAX, None)).unwrap();
    let rows = concat_batches(&table.to_arrow(), &rows).unwrap();
    let rows = ChangelogBatch::insert_only(rows);
    let lines = write_messages("json", table, &options(&[]), &rows);
    let lines = lines
        .into_iter()
        .map(|line| String::from_utf8(line).unwrap());
    lines.collect()
}

fn array(item: T) -> T {
    T::Array(Arc::new(item.nullable()))
}

/// `[1, 2]`, an empty list, NULL: in lists whose items cannot be NULL.
const TWO_LEVELS: (&[i16], &[i16]) = (&[2, 2, 1, 0], &[0, 1, 0, 0]);
/// `[1, NULL]`, an empty list, NULL.
const THREE_LEVELS: (&[i16], &[i16]) = (&[3, 2, 1, 0], &[0, 1, 0, 0]);

#[test]
fn lists_of_every_generation_are_read() {
    let int_list = schema(&[("a", array(T::Int))]);
    // The item is the repeated field itself: Thrift, Avro and others of old.
    let file = file_of(
        "message m { optional group a (LIST) { repeated int32 array; } }",
        &[(Leaf::Int32(vec![1, 2]), TWO_LEVELS.0, TWO_LEVELS.1)],
        WriterVersion::PARQUET_1_0,
    );
    assert_eq!(
        lines(&file, &int_list),
        [r#"{"a":[1,2]}"#, r#"{"a":[]}"#, r#"{"a":null}"#]
    );
    // Hive and old Spark: `bag` and `array`.
    for repeated in [
        "bag { optional int32 array; }",
        "list { optional int32 element; }",
    ] {
        let message =
            format!("message m {{ optional group a (LIST) {{ repeated group {repeated} }} }}");
        let file = file_of(
            &message,
            &[(Leaf::Int32(vec![1]), THREE_LEVELS.0, THREE_LEVELS.1)],
            WriterVersion::PARQUET_2_0,
        );
        assert_eq!(
            lines(&file, &int_list),
            [r#"{"a":[1,null]}"#, r#"{"a":[]}"#, r#"{"a":null}"#]
        );
    }
    // Rows as items of two levels: a group of several fields, or one of a telling name.
    let row = |names: &[&str]| {
        let fields = names.iter().map(|n| RowField::new(*n, T::Int.nullable()));
        schema(&[("a", array(T::Row(fields.collect())))])
    };
    let file = file_of(
        "message m { optional group a (LIST) { repeated group element { required int32 x; required int32 y; } } }",
        &[
            (Leaf::Int32(vec![1, 2]), TWO_LEVELS.0, TWO_LEVELS.1),
            (Leaf::Int32(vec![3, 4]), TWO_LEVELS.0, TWO_LEVELS.1),
        ],
        WriterVersion::PARQUET_1_0,
    );
    assert_eq!(
        lines(&file, &row(&["x", "y"])),
        [
            r#"{"a":[{"x":1,"y":3},{"x":2,"y":4}]}"#,
            r#"{"a":[]}"#,
            r#"{"a":null}"#
        ]
    );
    let file = file_of(
        "message m { optional group a (LIST) { repeated group a_tuple { required int32 x; } } }",
        &[(Leaf::Int32(vec![1, 2]), TWO_LEVELS.0, TWO_LEVELS.1)],
        WriterVersion::PARQUET_1_0,
    );
    assert_eq!(lines(&file, &row(&["x"]))[0], r#"{"a":[{"x":1},{"x":2}]}"#);
    // No list around it at all.
    let file = file_of(
        "message m { repeated int32 a; }",
        &[(Leaf::Int32(vec![1, 2]), &[1, 1, 0], &[0, 1, 0])],
        WriterVersion::PARQUET_1_0,
    );
    assert_eq!(lines(&file, &int_list), [r#"{"a":[1,2]}"#, r#"{"a":[]}"#]);
}

#[test]
fn maps_of_every_generation_are_read() {
    let table = schema(&[(
        "m",
        T::Map(Arc::new(T::STRING.not_null()), Arc::new(T::Int.nullable())),
    )]);
    for (annotation, repeated) in [
        (
            "MAP",
            "key_value { required binary key (UTF8); optional int32 value; }",
        ),
        (
            "MAP",
            "key_value (MAP_KEY_VALUE) { required binary key (UTF8); optional int32 value; }",
        ),
        (
            "MAP_KEY_VALUE",
            "map { required binary key (UTF8); optional int32 value; }",
        ),
        (
            "MAP",
            "entries { required binary k (UTF8); optional int32 v; }",
        ),
    ] {
        let message = format!(
            "message m {{ optional group m ({annotation}) {{ repeated group {repeated} }} }}"
        );
        let file = file_of(
            &message,
            &[
                (Leaf::Bytes(vec![b"a", b"b"]), TWO_LEVELS.0, TWO_LEVELS.1),
                (Leaf::Int32(vec![1]), THREE_LEVELS.0, THREE_LEVELS.1),
            ],
            WriterVersion::PARQUET_1_0,
        );
        assert_eq!(
            lines(&file, &table),
            [r#"{"m":{"a":1,"b":null}}"#, r#"{"m":{}}"#, r#"{"m":null}"#],
            "{message}"
        );
    }
}

const FLAT: (&[i16], &[i16]) = (&[1, 1, 0], &[0, 0, 0]);

#[test]
fn decimals_are_read_from_every_physical_type() {
    let file = file_of(
        "message m { optional int32 a (DECIMAL(9,2)); optional int64 b (DECIMAL(18,2)); \
         optional fixed_len_byte_array(5) c (DECIMAL(11,2)); optional binary d (DECIMAL(38,2)); }",
        &[
            (Leaf::Int32(vec![125, -125]), FLAT.0, FLAT.1),
            (Leaf::Int64(vec![125, -125]), FLAT.0, FLAT.1),
            (
                Leaf::Fixed(vec![&[0, 0, 0, 0, 125], &[255, 255, 255, 255, 131]]),
                FLAT.0,
                FLAT.1,
            ),
            (Leaf::Bytes(vec![&[125], &[255, 131]]), FLAT.0, FLAT.1),
        ],
        WriterVersion::PARQUET_2_0,
    );
    let table = schema(&[
        ("a", T::Decimal(9, 2)),
        ("b", T::Decimal(20, 3)),
        ("c", T::Decimal(11, 2)),
        ("d", T::Decimal(38, 2)),
    ]);
    assert_eq!(
        lines(&file, &table),
        [
            r#"{"a":1.25,"b":1.25,"c":1.25,"d":1.25}"#,
            r#"{"a":-1.25,"b":-1.25,"c":-1.25,"d":-1.25}"#,
            r#"{"a":null,"b":null,"c":null,"d":null}"#
        ]
    );
}

#[test]
fn unsigned_numbers_and_times_of_every_unit_are_read() {
    let file = file_of(
        "message m { optional int32 a (UINT_32); optional int64 b (UINT_64); optional int32 c (UINT_8); \
         optional int32 d (TIME_MILLIS); optional int64 e (TIME_MICROS); \
         optional int64 f (TIME(NANOS,true)); optional binary g (ENUM); }",
        &[
            (Leaf::Int32(vec![-1, 7]), FLAT.0, FLAT.1),
            (Leaf::Int64(vec![9, 8]), FLAT.0, FLAT.1),
            (Leaf::Int32(vec![200, 1]), FLAT.0, FLAT.1),
            (Leaf::Int32(vec![45_296_000, 0]), FLAT.0, FLAT.1),
            (Leaf::Int64(vec![45_296_000_000, 0]), FLAT.0, FLAT.1),
            (Leaf::Int64(vec![45_296_000_000_000, 0]), FLAT.0, FLAT.1),
            (Leaf::Bytes(vec![b"RED", b"BLUE"]), FLAT.0, FLAT.1),
        ],
        WriterVersion::PARQUET_1_0,
    );
    let table = schema(&[
        ("a", T::BigInt),
        ("b", T::BigInt),
        ("c", T::SmallInt),
        ("d", T::Time(0)),
        ("e", T::Time(0)),
        ("f", T::Time(0)),
        ("g", T::STRING),
    ]);
    assert_eq!(
        lines(&file, &table)[0],
        r#"{"a":4294967295,"b":9,"c":200,"d":"12:34:56","e":"12:34:56","f":"12:34:56","g":"RED"}"#
    );
    // The statistics of unsigned numbers are not those of the numbers that are read.
    let mut scan = scan(&file, 0, u64::MAX, None);
    scan.predicates = vec![FieldPredicate {
        field: FieldPath::column(0),
        values: vec![PredicateValue::Integer(4_294_967_295)],
    }];
    let found = read_file("parquet", &request(&table, &options(&[])), scan).unwrap();
    assert_eq!(found.iter().map(|batch| batch.num_rows()).sum::<usize>(), 3);
}

#[test]
fn files_without_rows_are_read() {
    let table = schema(&[("a", array(T::Timestamp(3))), ("b", T::Int)]);
    let none = write_file("parquet", &table, &options(&[]), &[]);
    let request = request(&table, &options(&[]));
    assert!(
        read_file("parquet", &request, scan(&none, 0, u64::MAX, None))
            .unwrap()
            .is_empty()
    );
    let empty = read_file("parquet", &request, scan(&[], 0, u64::MAX, None));
    assert_eq!(empty.unwrap_err().code(), "MALFORMED_FILE");
}

/// What the options say stands in the file.
#[test]
fn the_writers_options_have_their_effect() {
    use parquet::basic::{Compression, Encoding, Type};
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let table = schema(&[("n", T::Int), ("t", T::Timestamp(6)), ("s", T::STRING)]);
    let json: Vec<Vec<u8>> = (0..5_000)
        .map(|n| format!(r#"{{"n":{n},"t":"2024-06-01 12:00:00.123456","s":"s"}}"#).into_bytes())
        .collect();
    let rows = read_messages("json", &request(&table, &options(&[])), &json);
    let rows = rows.unwrap().unwrap().rows().clone();
    let write = |pairs: &[(&str, &str)]| {
        let batches = [rows.slice(0, 2_500), rows.slice(2_500, 2_500)];
        let file = write_file("parquet", &table, &options(pairs), &batches);
        SerializedFileReader::new(bytes::Bytes::from(file)).unwrap()
    };
    let plain = write(&[]);
    let group = plain.metadata().row_group(0);
    assert_eq!(group.column(0).compression(), Compression::SNAPPY);
    assert_eq!(group.column(1).column_type(), Type::INT96);
    assert!(group.column(1).statistics().is_none());
    assert!(group.column(0).dictionary_page_offset().is_some());
    assert!(group.column(0).bloom_filter_offset().is_none());
    let version = plain.metadata().file_metadata().version();
    for (name, codec) in [
        ("gzip", "GZIP"),
        ("ZSTD", "ZSTD"),
        ("UNCOMPRESSED", "UNCOMPRESSED"),
        ("lz4_raw", "LZ4_RAW"),
    ] {
        let written = write(&[("compression", name)]);
        let found = written.metadata().row_group(0).column(0).compression();
        assert!(format!("{found:?}").starts_with(codec), "{found:?}");
    }
    let other = write(&[
        ("write.int64.timestamp", "true"),
        ("timestamp.time.unit", "millis"),
        ("enable.dictionary", "false"),
        ("enable.dictionary#s", "true"),
        ("writer.version", "PARQUET_2_0"),
        ("block.row.count.limit", "1000"),
        ("bloom.filter.enabled#n", "true"),
        ("statistics.enabled#s", "false"),
    ]);
    assert_eq!(other.metadata().num_row_groups(), 5);
    assert!(other.metadata().file_metadata().version() > version);
    let group = other.metadata().row_group(0);
    assert_eq!(group.column(1).column_type(), Type::INT64);
    let unit = group.column(1).column_descr().logical_type_ref();
    assert!(format!("{unit:?}").contains("MILLIS"), "{unit:?}");
    assert!(group.column(0).dictionary_page_offset().is_none());
    assert!(group.column(2).dictionary_page_offset().is_some());
    assert!(group.column(2).statistics().is_none());
    assert!(group.column(0).statistics().is_some());
    assert!(
        group
            .column(0)
            .encodings()
            .any(|e| e == Encoding::DELTA_BINARY_PACKED)
    );
    assert!(group.column(0).bloom_filter_offset().is_some());
    let unused = write(&[
        ("bloom.filter.expected.ndv#n", "9"),
        ("bloom.filter.fpp", "0.1"),
    ]);
    let group = unused.metadata().row_group(0);
    assert!(group.column(0).bloom_filter_offset().is_none());
    let small = write(&[("block.size", "4kb"), ("page.size", "1kb")]);
    assert!(small.metadata().num_row_groups() > 1);
    for (key, value) in [
        ("page.row.count.limit", "0"),
        ("compression", "LZO"),
        ("compression.codec.zstd.level", "99"),
        ("enable.dictionary#n", "perhaps"),
        ("crypto.factory.class", "x"),
        ("bloom.filter.fpp", "2"),
    ] {
        let mut options = options(&[(key, value)]);
        if key == "compression.codec.zstd.level" {
            options.set("compression", "ZSTD");
        }
        let request = flott_core::format::EncodeRequest {
            schema: table.clone(),
            options,
        };
        let error = format("parquet").create_encoder(&request).err().unwrap();
        assert!(error.message().contains(key), "{error}");
    }
}
