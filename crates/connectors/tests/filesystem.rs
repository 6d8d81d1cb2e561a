//! The filesystem connector by its public face: whatever is cut, every row comes once.

use std::fs;
use std::sync::{Arc, Mutex};

use arrow::array::{AsArray, Int64Array};
use arrow::datatypes::Int64Type;
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
