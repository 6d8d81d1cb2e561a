//! The filesystem connector by its public face: whatever is cut, every row comes once.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{Array, AsArray, Int64Array};
use arrow::datatypes::{Int8Type, Int64Type};
use arrow::record_batch::RecordBatch;
use flott_core::catalog::{CatalogTable, ColumnKind, ObjectPath, TableColumn};
use flott_core::changelog::{ChangelogBatch, ChangelogMode};
use flott_core::clock::ManualClock;
use flott_core::connector::{ConnectorFactory, Registry, SinkRequest, TableContext};
use flott_core::metrics::OperatorMetrics;
use flott_core::options::Options;
use flott_core::sink::{TableSink, WriterContext};
use flott_core::source::*;
use flott_core::types::{DataType, LogicalType};
use flott_core::{Error, Result};

fn registry() -> Registry {
    Registry {
        connectors: flott_connectors::all(),
        formats: flott_formats::all(),
    }
}

fn table(columns: &[(&str, LogicalType)], keys: &[&str], options: &[(&str, &str)]) -> CatalogTable {
    let column = |(name, logical): &(&str, LogicalType)| TableColumn {
        name: name.to_string(),
        data_type: DataType {
            logical: logical.clone(),
            nullable: true,
        },
        kind: match name.starts_with("file.") {
            true => ColumnKind::Metadata {
                key: None,
                is_virtual: true,
            },
            false => ColumnKind::Physical,
        },
        comment: None,
    };
    let options = options.iter().map(|(k, v)| (k.to_string(), v.to_string()));
    CatalogTable {
        columns: columns.iter().map(column).collect(),
        watermark: None,
        primary_key: None,
        partition_keys: keys.iter().map(|k| k.to_string()).collect(),
        options: options.collect(),
        comment: None,
        is_temporary: false,
    }
}

fn with_context<T>(
    table: &CatalogTable,
    is_batch: bool,
    f: impl FnOnce(TableContext<'_>) -> T,
) -> T {
    let path = ObjectPath {
        catalog: "c".into(),
        database: "d".into(),
        name: "t".into(),
    };
    f(TableContext {
        path: &path,
        table,
        options: &table.options,
        config: &Options::default(),
        registry: &registry(),
        is_batch,
    })
}

fn source(table: &CatalogTable, request: ScanRequest) -> Result<Arc<dyn TableSource>> {
    with_context(table, false, |c| {
        flott_connectors::filesystem::FilesystemConnector.create_source(c, request)
    })
}

fn sink(table: &CatalogTable, request: SinkRequest, is_batch: bool) -> Result<Arc<dyn TableSink>> {
    with_context(table, is_batch, |c| {
        flott_connectors::filesystem::FilesystemConnector.create_sink(c, request)
    })
}

/// Hands out the splits of an enumerator.
struct Splits(Mutex<Box<dyn SplitEnumerator>>);

impl SplitProvider for Splits {
    fn next_split(&self, subtask: usize) -> Result<SplitPoll> {
        self.0
            .lock()
            .map_err(|_| Error::internal("poisoned"))?
            .next_split(subtask, 0)
    }
}

fn reader(
    source: &dyn TableSource,
    splits: Arc<Splits>,
    restored: Vec<Split>,
    batch_size: usize,
) -> Box<dyn SourceReader> {
    let context = ReaderContext {
        subtask: 0,
        parallelism: 1,
        clock: ManualClock::at_ms(0),
        metrics: Arc::new(OperatorMetrics::default()),
        splits,
        waker: Arc::new(|| {}),
        restored,
        batch_size,
    };
    source.create_reader(context).unwrap()
}

fn request(num_fields: usize) -> ScanRequest {
    ScanRequest {
        fields: (0..num_fields).map(FieldPath::column).collect(),
        ..ScanRequest::default()
    }
}

/// Reads everything, restoring a new reader from its snapshot after every batch.
fn read_all(source: &dyn TableSource, batch_size: usize) -> Result<Vec<RecordBatch>> {
    let enumerator = source.create_enumerator(1, None)?;
    let splits = Arc::new(Splits(Mutex::new(enumerator)));
    let mut current = reader(source, splits.clone(), Vec::new(), batch_size);
    let mut batches = Vec::new();
    loop {
        match current.poll()? {
            SourcePoll::Batch(batch) => {
                batches.push(batch.rows().clone());
                let restored = current.snapshot()?;
                current = reader(source, splits.clone(), restored, batch_size);
            }
            SourcePoll::End => return Ok(batches),
            _ => {}
        }
    }
}

fn numbers(batches: &[RecordBatch], column: usize) -> Vec<i64> {
    let values = batches.iter().flat_map(|b| {
        let array = b.column(column).as_primitive::<Int64Type>().clone();
        (0..array.len())
            .map(move |i| array.value(i))
            .collect::<Vec<_>>()
    });
    values.collect()
}

const N: &[(&str, LogicalType)] = &[("n", LogicalType::BigInt)];

#[test]
fn every_row_comes_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let text: String = (0..300_000)
        .map(|n| format!("{{\"n\":{n},\"x\":\"padding\"}}\n"))
        .collect();
    fs::create_dir(folder.path().join("sub")).unwrap();
    fs::write(folder.path().join("sub/a.json"), &text).unwrap();
    fs::write(folder.path().join("_hidden"), "no json").unwrap();
    let path = format!("file://{}", folder.path().display());
    let table = table(N, &[], &[("path", &path), ("format", "json")]);
    for batch_size in [1000, 100_000] {
        let source = source(&table, request(1)).unwrap();
        let found = numbers(&read_all(source.as_ref(), batch_size).unwrap(), 0);
        assert_eq!(found, (0..300_000).collect::<Vec<_>>());
    }
}

#[test]
fn faults_name_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let mut text: String = (0..200_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    text.push_str("{\"n\":oops}\n");
    let file = folder.path().join("a.json");
    fs::write(&file, text).unwrap();
    let path = file.to_string_lossy().into_owned();
    let table = table(N, &[], &[("path", &path), ("format", "json")]);
    let source = source(&table, request(1)).unwrap();
    let error = read_all(source.as_ref(), 8192).unwrap_err();
    let expected = format!(
        "file '{path}': line 200001: malformed JSON at character 6, expected a value: {{\"n\":oops}}"
    );
    assert_eq!(error.message(), expected);
}

#[test]
fn a_missing_path_and_a_wrong_option_are_named() {
    let missing = table(N, &[], &[("path", "/no/such"), ("format", "json")]);
    let source_of_missing = source(&missing, request(1)).unwrap();
    let error = read_all(source_of_missing.as_ref(), 10).unwrap_err();
    assert!(
        error.message().contains("'/no/such' does not exist"),
        "{error}"
    );
    let bogus = table(N, &[], &[("path", "x"), ("format", "json"), ("bogus", "1")]);
    let error = source(&bogus, request(1)).err().unwrap();
    assert_eq!(error.code(), "UNKNOWN_OPTION");
}

fn writer_context() -> WriterContext {
    WriterContext {
        subtask: 0,
        parallelism: 1,
        attempt_id: "a1".into(),
        clock: ManualClock::at_ms(0),
        metrics: Arc::new(OperatorMetrics::default()),
        restored: Vec::new(),
    }
}

fn batch(table: &CatalogTable, rows: &[(i64, i64)]) -> ChangelogBatch {
    let column = |f: fn(&(i64, i64)) -> i64| Arc::new(rows.iter().map(f).collect::<Int64Array>());
    let schema = table.sink_schema().to_arrow();
    let columns: Vec<arrow::array::ArrayRef> = vec![column(|r| r.0), column(|r| r.1)];
    ChangelogBatch::insert_only(RecordBatch::try_new(schema, columns).unwrap())
}

#[test]
fn partitions_are_written_committed_read_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t").to_string_lossy().into_owned();
    let columns = [("n", LogicalType::BigInt), ("k", LogicalType::BigInt)];
    let options = [
        ("path", path.as_str()),
        ("format", "csv"),
        ("sink.partition-commit.policy.kind", "success-file"),
    ];
    let table = table(&columns, &["k"], &options);
    let write = |request: SinkRequest, rows: &[(i64, i64)], attempt: &str| {
        let sink = sink(&table, request, true).unwrap();
        let mut context = writer_context();
        context.attempt_id = attempt.into();
        let mut writer = sink.create_writer(context).unwrap();
        writer.write(&batch(&table, rows)).unwrap();
        let committables = writer.prepare_commit(true).unwrap();
        let mut committer = sink.create_committer().unwrap().unwrap();
        committer.commit(committables.clone()).unwrap();
        // Once more, as after a failure.
        committer.commit(committables).unwrap();
    };
    write(SinkRequest::default(), &[(1, 7), (2, 8), (3, 7)], "a1");
    let partitions = flott_connectors::filesystem::list_partitions(&path, &table.partition_keys);
    assert_eq!(partitions.unwrap(), ["k=7", "k=8"]);
    assert!(folder.path().join("t/k=7/_SUCCESS").exists());
    let pruned = ScanRequest {
        predicates: vec![FieldPredicate {
            field: FieldPath::column(1),
            values: vec![PredicateValue::Integer(7)],
        }],
        ..request(2)
    };
    let source_7 = source(&table, pruned).unwrap();
    assert_eq!(source_7.applied_predicates(), [0]);
    let rows = read_all(source_7.as_ref(), 10).unwrap();
    assert_eq!(
        (numbers(&rows, 0), numbers(&rows, 1)),
        (vec![1, 3], vec![7, 7])
    );
    let overwrite = SinkRequest {
        overwrite: true,
        static_partition: Vec::new(),
    };
    write(overwrite, &[(9, 8)], "a2");
    let rows = read_all(source(&table, request(2)).unwrap().as_ref(), 10).unwrap();
    assert_eq!(
        (numbers(&rows, 0), numbers(&rows, 1)),
        (vec![1, 3, 9], vec![7, 7, 8])
    );
}

#[test]
fn nothing_is_visible_before_the_commit_or_after_an_abort() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_string_lossy().into_owned();
    let columns = [("n", LogicalType::BigInt), ("k", LogicalType::BigInt)];
    let table = table(&columns, &[], &[("path", &path), ("format", "json")]);
    let sink = sink(&table, SinkRequest::default(), false).unwrap();
    assert!(sink.changelog_mode(ChangelogMode::RETRACT).is_err());
    let mut writer = sink.create_writer(writer_context()).unwrap();
    writer.write(&batch(&table, &[(1, 2)])).unwrap();
    assert!(
        read_all(source(&table, request(2)).unwrap().as_ref(), 10)
            .unwrap()
            .is_empty()
    );
    writer.abort();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// A format of lines: its options, a line for a number, and lines that are none.
type LineFormat = (&'static str, fn(u8) -> String, &'static [&'static str]);

const LINE_FORMATS: &[LineFormat] = &[
    (
        "json",
        |n| format!("{{\"n\":{n}}}"),
        &["nonsense", "{\"n\":\"x\"}", "{\"n\":"],
    ),
    ("csv", |n| n.to_string(), &["x", "1,2,3", "999"]),
    (
        "raw",
        |n| char::from(n).to_string(),
        &["more than a byte", "ab"],
    ),
    (
        "debezium-json",
        |n| format!("{{\"before\":null,\"after\":{{\"n\":{n}}},\"op\":\"c\"}}"),
        &[
            "nonsense",
            "{\"op\":\"c\"}",
            "{\"before\":null,\"after\":{\"n\":1},\"op\":\"?\"}",
        ],
    ),
    (
        "canal-json",
        |n| format!("{{\"data\":[{{\"n\":\"{n}\"}}],\"type\":\"INSERT\"}}"),
        &[
            "nonsense",
            "{\"data\":7,\"type\":\"INSERT\"}",
            "{\"data\":[{\"n\":\"1\"}],\"type\":\"?\"}",
        ],
    ),
    (
        "maxwell-json",
        |n| format!("{{\"data\":{{\"n\":{n}}},\"type\":\"insert\"}}"),
        &["nonsense", "{\"data\":{\"n\":1},\"type\":\"?\"}"],
    ),
    (
        "ogg-json",
        |n| format!("{{\"after\":{{\"n\":{n}}},\"op_type\":\"I\"}}"),
        &["nonsense", "{\"after\":{\"n\":1},\"op_type\":\"?\"}"],
    ),
];

/// Each line that cannot be read comes once, with its bytes and its place, though the reader is
/// restored from its snapshot behind every batch; the other lines come once, too.
#[test]
fn letters_of_every_line_format_come_once_through_crashes() {
    for (format, good, bad) in LINE_FORMATS {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("in");
        let (mut text, mut expected, mut numbers) = (String::new(), Vec::new(), Vec::new());
        for n in 0..60u8 {
            if n % 7 == 3 {
                let line = bad[usize::from(n) % bad.len()];
                expected.push((
                    i64::from(n) + 1,
                    text.len() as i64,
                    line.as_bytes().to_vec(),
                ));
                text.push_str(line);
            } else {
                numbers.push(33 + n as i8);
                text.push_str(&good(33 + n));
            }
            text.push('\n');
        }
        fs::write(&file, text).unwrap();
        let path = file.to_string_lossy().into_owned();
        let columns = [("n", LogicalType::TinyInt)];
        let table = table(&columns, &[], &[("path", &path), ("format", format)]);
        let request = ScanRequest {
            dead_letters: true,
            ..request(1)
        };
        let source = source(&table, request).unwrap();
        let (mut found, mut letters) = (Vec::new(), Vec::new());
        for batch in read_all(source.as_ref(), 3).unwrap() {
            let row = batch.column(1).as_struct();
            let column = |name| row.column_by_name(name).unwrap();
            let (lines, offsets) = (column("line"), column("offset"));
            for place in 0..batch.num_rows() {
                if row.is_null(place) {
                    found.push(batch.column(0).as_primitive::<Int8Type>().value(place));
                    continue;
                }
                assert!(column("reason").as_string_view().value(place).len() > 10);
                assert_eq!(column("file").as_string_view().value(place), path);
                letters.push((
                    lines.as_primitive::<Int64Type>().value(place),
                    offsets.as_primitive::<Int64Type>().value(place),
                    column("raw").as_binary_view().value(place).to_vec(),
                ));
            }
        }
        assert_eq!(found, numbers, "{format}");
        assert_eq!(letters, expected, "{format}");
    }
}

#[test]
fn files_are_chosen_by_the_pattern_of_their_path() {
    let folder = tempfile::tempdir().unwrap();
    for (name, n) in [
        ("a/2024.json", 1),
        ("a/2025.json", 2),
        ("b/2024.json", 3),
        ("2024", 4),
    ] {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, format!("{{\"n\":{n}}}\n")).unwrap();
    }
    let path = folder.path().to_string_lossy().into_owned();
    let read = |pattern: &str| {
        let options = [
            ("path", path.as_str()),
            ("format", "json"),
            ("source.path.regex-pattern", pattern),
        ];
        let source = source(&table(N, &[], &options), request(1)).unwrap();
        numbers(&read_all(source.as_ref(), 10).unwrap(), 0)
    };
    assert_eq!(read(".*/2024\\.json"), [1, 3]);
    assert_eq!(read(&format!("{path}/a/.*")), [1, 2]);
    // All of the path, not a part of it.
    assert!(read("2024").is_empty());
}

/// NULL and the empty text of a partition key stand in the folder that the option names.
#[test]
fn a_partition_without_value_has_the_default_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_string_lossy().into_owned();
    let columns = [("n", LogicalType::BigInt), ("k", LogicalType::BigInt)];
    let options = [
        ("path", path.as_str()),
        ("format", "json"),
        ("partition.default-name", "none"),
    ];
    let table = table(&columns, &["k"], &options);
    let sink = sink(&table, SinkRequest::default(), true).unwrap();
    let mut writer = sink.create_writer(writer_context()).unwrap();
    let columns: Vec<arrow::array::ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![1, 2])),
        Arc::new(Int64Array::from(vec![Some(7), None])),
    ];
    let rows = RecordBatch::try_new(table.sink_schema().to_arrow(), columns).unwrap();
    writer.write(&ChangelogBatch::insert_only(rows)).unwrap();
    let committables = writer.prepare_commit(true).unwrap();
    let mut committer = sink.create_committer().unwrap().unwrap();
    committer.commit(committables).unwrap();
    assert!(folder.path().join("k=none").is_dir());
    let rows = read_all(source(&table, request(2)).unwrap().as_ref(), 10).unwrap();
    let keys = rows.iter().map(|b| b.column(1).null_count()).sum::<usize>();
    assert_eq!((numbers(&rows, 0), keys), (vec![1, 2], 1));
}

/// Text is decompressed by the name of its file, and a restored reader goes on inside of it.
#[test]
fn compressed_files_are_read_through_crashes() {
    let folder = tempfile::tempdir().unwrap();
    let text: String = (0..500).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut gzip, text.as_bytes()).unwrap();
    fs::write(folder.path().join("a.json.gz"), gzip.finish().unwrap()).unwrap();
    let zstd = zstd::stream::encode_all(text.as_bytes(), 3).unwrap();
    fs::write(folder.path().join("b.json.zst"), zstd).unwrap();
    let path = folder.path().to_string_lossy().into_owned();
    let table = table(N, &[], &[("path", &path), ("format", "json")]);
    let source = source(&table, request(1)).unwrap();
    let found = numbers(&read_all(source.as_ref(), 70).unwrap(), 0);
    assert_eq!(found, (0..500).chain(0..500).collect::<Vec<_>>());
}

/// A table of the partitions `k`, whose rows are marked as the options say.
fn marked_table(path: &str, options: &[(&str, &str)]) -> CatalogTable {
    let columns = [("n", LogicalType::BigInt), ("k", LogicalType::BigInt)];
    let basic = [
        ("path", path),
        ("format", "json"),
        ("sink.partition-commit.policy.kind", "success-file"),
        ("sink.partition-commit.success-file.name", "_DONE"),
    ];
    let options: Vec<_> = basic.iter().chain(options).copied().collect();
    table(&columns, &["k"], &options)
}

#[test]
fn partitions_are_marked_when_the_watermark_has_passed_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_string_lossy().into_owned();
    let options = [
        ("sink.partition-commit.trigger", "partition-time"),
        ("sink.partition-commit.delay", "1 h"),
        ("partition.time-extractor.timestamp-pattern", "$k"),
        ("partition.time-extractor.timestamp-formatter", "yyyyMMdd"),
        ("sink.partition-commit.watermark-time-zone", "Asia/Shanghai"),
    ];
    let table = marked_table(&path, &options);
    let sink = sink(&table, SinkRequest::default(), false).unwrap();
    // All writers have to have one watermark: rows come through an exchange.
    assert!(!sink.partition_columns().is_empty());
    let mut writer = sink.create_writer(writer_context()).unwrap();
    let mut committer = sink.create_committer().unwrap().unwrap();
    let rows = [(1, 20_240_301), (2, 20_240_302)];
    writer.write(&batch(&table, &rows)).unwrap();
    // Midnight there, and an hour.
    let due = 1_709_251_200_000 - 8 * 3_600_000 + 3_600_000;
    let is_marked = |day: &str| folder.path().join(format!("k=202403{day}/_DONE")).exists();
    for (watermark, expected) in [
        (due, (false, false)),
        (due + 1, (true, false)),
        (due + 86_400_001, (true, true)),
    ] {
        writer.watermark(watermark).unwrap();
        let committables = writer.prepare_commit(false).unwrap();
        committer.commit(committables).unwrap();
        assert_eq!((is_marked("01"), is_marked("02")), expected, "{watermark}");
    }
    // What waits is in the snapshot.
    writer.write(&batch(&table, &[(3, 20_240_303)])).unwrap();
    committer
        .commit(writer.prepare_commit(false).unwrap())
        .unwrap();
    assert!(!is_marked("03"));
    let mut context = writer_context();
    context.attempt_id = "a2".into();
    context.restored = vec![writer.snapshot().unwrap()];
    let mut writer = sink.create_writer(context).unwrap();
    writer.watermark(due + 2 * 86_400_000 + 1).unwrap();
    committer
        .commit(writer.prepare_commit(false).unwrap())
        .unwrap();
    assert!(is_marked("03"));
}

#[test]
fn partitions_are_marked_so_long_after_they_were_begun() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_string_lossy().into_owned();
    let table = marked_table(&path, &[("sink.partition-commit.delay", "10 s")]);
    let sink = sink(&table, SinkRequest::default(), false).unwrap();
    let clock = ManualClock::at_ms(5_000);
    let mut context = writer_context();
    context.clock = clock.clone();
    let mut writer = sink.create_writer(context).unwrap();
    let mut committer = sink.create_committer().unwrap().unwrap();
    writer.write(&batch(&table, &[(1, 7)])).unwrap();
    for (passed_ms, expected) in [(1_000, false), (8_999, false), (2, true)] {
        clock.advance(Duration::from_millis(passed_ms));
        let committables = writer.prepare_commit(false).unwrap();
        committer.commit(committables).unwrap();
        assert_eq!(
            folder.path().join("k=7/_DONE").exists(),
            expected,
            "{passed_ms}"
        );
    }
}

#[test]
fn files_are_closed_by_their_size_and_age() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_string_lossy().into_owned();
    let columns = [("n", LogicalType::BigInt), ("k", LogicalType::BigInt)];
    let options = [
        ("path", path.as_str()),
        ("format", "csv"),
        ("sink.rolling-policy.file-size", "10 b"),
        ("sink.rolling-policy.rollover-interval", "1 min"),
        ("sink.rolling-policy.check-interval", "20 s"),
    ];
    let table = table(&columns, &[], &options);
    let sink = sink(&table, SinkRequest::default(), false).unwrap();
    let clock = ManualClock::at_ms(0);
    let mut context = writer_context();
    context.clock = clock.clone();
    let mut writer = sink.create_writer(context).unwrap();
    // A batch of its own size, then a small one that grows old, then another small one.
    let large: Vec<(i64, i64)> = (0..10).map(|n| (n, n)).collect();
    writer.write(&batch(&table, &large)).unwrap();
    writer.write(&batch(&table, &[(1, 1)])).unwrap();
    let timer = writer.next_timer_ms().unwrap();
    assert!((60_000..=80_000).contains(&timer), "{timer}");
    clock.advance(Duration::from_millis(timer as u64));
    writer.on_timer(timer).unwrap();
    assert_eq!(writer.next_timer_ms(), None);
    writer.write(&batch(&table, &[(2, 2)])).unwrap();
    assert_eq!(writer.prepare_commit(false).unwrap().len(), 3);
}
