//! A table's files, planned for one query.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use flott_core::changelog::ChangelogMode;
use flott_core::connector::TableContext;
use flott_core::dead_letter;
use flott_core::format::DecodeRequest;
use flott_core::schema::{Column, Schema};
use flott_core::source::{
    FieldPath, FieldPredicate, PredicateValue, ReaderContext, ScanRequest, SourceReader,
    SplitEnumerator, TableSource,
};
use flott_core::types::{DataType, LogicalType};
use flott_core::{Error, Result};
use parking_lot::Mutex;
use regex::Regex;

use super::listing::{FileFilter, FoundFile};
use super::options::{MONITOR_INTERVAL, PATH_PATTERN};
use super::reader::{FileReader, Origin, ScanPlan};
use super::split::{FileEnumerator, FileSplit, SPLIT_BYTES};
use super::{FilesystemConnector, TableOptions};

pub(super) struct FilesystemSource {
    plan: Arc<ScanPlan>,
    schema: Schema,
    filter: FileFilter,
    split_bytes: Option<u64>,
    monitor_interval_ms: Option<i64>,
    mode: ChangelogMode,
    applied: Vec<usize>,
    /// What was found when the parallelism was asked for; the first enumerator need not list again.
    listed: Mutex<Option<Vec<FoundFile>>>,
}

/// Name and type of the field at `path` of `schema`.
fn field_at(schema: &Schema, path: &FieldPath) -> Result<(String, DataType)> {
    let wrong = || Error::internal(format!("no field at {:?} of {schema}", path.0));
    let (&first, rest) = path.0.split_first().ok_or_else(wrong)?;
    let column = schema.columns().get(first).ok_or_else(wrong)?;
    let (mut name, mut data_type) = (column.name.clone(), column.data_type.clone());
    for &index in rest {
        let LogicalType::Row(fields) = &data_type.logical else {
            return Err(wrong());
        };
        let field = fields.get(index).ok_or_else(wrong)?.clone();
        name = format!("{name}.{}", field.name);
        data_type = field.data_type;
    }
    Ok((name, data_type))
}

/// The place of each column of `keys` in `schema`.
pub(super) fn key_columns(schema: &Schema, keys: &[String]) -> Result<Vec<usize>> {
    let find = |key: &String| {
        schema.index_of(key).ok_or_else(|| {
            let message = format!("partition key '{key}' is no column of the table: {schema}");
            Error::user("UNKNOWN_COLUMN", message)
        })
    };
    keys.iter().map(find).collect()
}

/// The columns that stand in the files: all but the partition keys.
pub(super) fn file_columns(num_columns: usize, keys: &[usize]) -> Vec<usize> {
    (0..num_columns).filter(|c| !keys.contains(c)).collect()
}

fn metadata_origin(name: &str, logical: &LogicalType) -> Result<Origin> {
    Ok(match name {
        "file.path" => Origin::Path,
        "file.name" => Origin::Name,
        "file.size" => Origin::Size,
        "file.modification-time" => Origin::Modified(logical.clone()),
        _ => {
            use flott_core::connector::ConnectorFactory;
            let known = FilesystemConnector.metadata_columns();
            let hint = flott_core::error::did_you_mean(name, known.iter().map(|c| c.key));
            let message = format!("connector 'filesystem' has no metadata column '{name}'{hint}");
            return Err(Error::user("UNKNOWN_METADATA", message));
        }
    })
}

impl FilesystemSource {
    pub fn new(
        context: &TableContext<'_>,
        options: TableOptions,
        request: ScanRequest,
    ) -> Result<Self> {
        let source_schema = context.table.source_schema();
        let physical = context.table.physical_schema();
        let keys = &context.table.partition_keys;
        let key_places = key_columns(&physical, keys)?;
        let in_file = file_columns(physical.len(), &key_places);
        let mut origins = Vec::new();
        let mut decoded = Vec::new();
        let mut columns = Vec::new();
        for path in &request.fields {
            let (name, data_type) = field_at(&source_schema, path)?;
            let logical = &data_type.logical;
            let first = path.0[0];
            let origin = if let Some(key) = key_places.iter().position(|k| *k == first) {
                Origin::Partition(key, logical.clone())
            } else if let Some(place) = in_file.iter().position(|c| *c == first) {
                let mut inner = path.0.clone();
                inner[0] = place;
                decoded.push(FieldPath(inner));
                Origin::Decoded(decoded.len() - 1)
            } else {
                metadata_origin(&source_schema.column(first).name, logical)?
            };
            origins.push(origin);
            columns.push(Column::new(name, data_type));
        }
        let schema = Schema::new(columns);
        let arrow_schema: SchemaRef = schema.to_arrow();
        let decode = DecodeRequest {
            schema: physical.project(&in_file),
            fields: decoded,
            options: options.format_options.clone(),
            batch_size: 1,
        };
        let reads_files = reads_files(&options, &decode, request.dead_letters)?;
        let monitor_interval_ms = monitor_interval_ms(context)?;
        let file_predicates = file_predicates(&request.predicates, &in_file);
        let on_keys = key_predicates(&request.predicates, &key_places);
        let is_splittable = options.format.is_splittable_with(&options.format_options);
        Ok(Self {
            mode: options.format.decoded_mode(&options.format_options),
            listed: Mutex::default(),
            applied: on_keys.iter().map(|(index, _)| *index).collect(),
            filter: FileFilter {
                files: options.files.clone(),
                path: options.path.clone(),
                pattern: path_pattern(context)?,
                partition_keys: keys.clone(),
                default_name: options.default_name.clone(),
                partition_predicates: on_keys.into_iter().map(|(_, p)| p).collect(),
            },
            split_bytes: is_splittable.then_some(SPLIT_BYTES),
            monitor_interval_ms,
            plan: Arc::new(ScanPlan {
                files: options.files,
                format: options.format,
                decode,
                reads_files,
                predicates: file_predicates,
                origins,
                schema: arrow_schema,
                partition_keys: keys.clone(),
                default_name: options.default_name,
                limit: request.limit,
                dead_letters: request
                    .dead_letters
                    .then(|| context.path.to_string().replace('`', "").into()),
            }),
            schema: match request.dead_letters {
                true => dead_letter::with_column(&schema),
                false => schema,
            },
        })
    }
}

/// Whether the format reads files itself. Wrong options of it are refused before the job starts.
fn reads_files(
    options: &TableOptions,
    decode: &DecodeRequest,
    has_dead_letters: bool,
) -> Result<bool> {
    let reads_files = options.format.reads_files(decode)?;
    let keeps_rejected = match reads_files {
        true => false,
        false => options.format.create_decoder(decode)?.keep_rejected(),
    };
    match has_dead_letters && !keeps_rejected {
        true => Err(no_letters(options.format.identifier())),
        false => Ok(reads_files),
    }
}

fn monitor_interval_ms(context: &TableContext<'_>) -> Result<Option<i64>> {
    let monitor = context.options.duration(&MONITOR_INTERVAL)?;
    if monitor.is_some_and(|m| m.is_zero()) {
        let message = "option 'source.monitor-interval' is 0; it takes a duration such as '1 s'";
        return Err(Error::user("INVALID_OPTION", message));
    }
    Ok(monitor.map(|m| m.as_millis() as i64))
}

/// A record that spoils its file is no letter.
fn no_letters(format: &str) -> Error {
    let message = format!(
        "option '{}' is not possible with format '{format}' in files: a fault in one spoils all \
         that follows",
        dead_letter::DEAD_LETTER_TABLE.key
    );
    Error::user("UNSUPPORTED_OPTION", message)
}

/// Those on columns of the files, as paths into these.
fn file_predicates(predicates: &[FieldPredicate], in_file: &[usize]) -> Vec<FieldPredicate> {
    let in_files = |predicate: &FieldPredicate| {
        let mut predicate = predicate.clone();
        let first = predicate.field.0.first_mut()?;
        *first = in_file.iter().position(|c| c == first)?;
        Some(predicate)
    };
    predicates.iter().filter_map(in_files).collect()
}

/// Those on partition keys: their place among the predicates, then the key's place and values.
fn key_predicates(
    predicates: &[FieldPredicate],
    key_places: &[usize],
) -> Vec<(usize, (usize, Vec<PredicateValue>))> {
    let on_key = |(index, p): (usize, &FieldPredicate)| match p.field.0.as_slice() {
        [column] => {
            let key = key_places.iter().position(|k| k == column)?;
            Some((index, (key, p.values.clone())))
        }
        _ => None,
    };
    predicates.iter().enumerate().filter_map(on_key).collect()
}

fn path_pattern(context: &TableContext<'_>) -> Result<Option<Regex>> {
    let Some(text) = context.options.get(PATH_PATTERN.key) else {
        return Ok(None);
    };
    Regex::new(text).map(Some).map_err(|error| {
        let message = format!(
            "option '{}' is no regular expression: {error}",
            PATH_PATTERN.key
        );
        Error::user("INVALID_OPTION", message)
    })
}

impl TableSource for FilesystemSource {
    fn schema(&self) -> Schema {
        self.schema.clone()
    }

    fn changelog_mode(&self) -> ChangelogMode {
        self.mode
    }

    fn is_bounded(&self) -> bool {
        self.monitor_interval_ms.is_none()
    }

    fn applied_predicates(&self) -> Vec<usize> {
        self.applied.clone()
    }

    fn describe(&self) -> String {
        let format = self.plan.format.identifier();
        let pruned = match self.applied.len() {
            0 => String::new(),
            n => format!(", {n} predicates on partitions"),
        };
        format!("path={}, format={format}{pruned}", self.filter.path)
    }

    /// One reader for each split: a reader without one would have nothing to do but to hold
    /// watermarks back until it has said so.
    fn parallelism(&self) -> Option<usize> {
        if !self.is_bounded() {
            return None;
        }
        // What cannot be listed is reported when the job runs.
        let files = self.filter.list().ok()?;
        let splits = files
            .iter()
            .map(|f| FileSplit::cut(f, self.split_bytes).len());
        let count = splits.sum::<usize>().max(1);
        *self.listed.lock() = Some(files);
        Some(count)
    }

    fn create_enumerator(
        &self,
        _parallelism: usize,
        restored: Option<&[u8]>,
    ) -> Result<Box<dyn SplitEnumerator>> {
        let enumerator = FileEnumerator::new(
            self.filter.clone(),
            self.split_bytes,
            self.monitor_interval_ms,
            restored,
            self.listed.lock().take(),
        )?;
        Ok(Box::new(enumerator))
    }

    fn create_reader(&self, context: ReaderContext) -> Result<Box<dyn SourceReader>> {
        Ok(Box::new(FileReader::new(self.plan.clone(), context)?))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    use flott_core::catalog::{CatalogTable, ColumnKind, ObjectPath, TableColumn};
    use flott_core::clock::ManualClock;
    use flott_core::connector::Registry;
    use flott_core::metrics::OperatorMetrics;
    use flott_core::options::Options;
    use flott_core::source::{SourcePoll, SplitPoll, SplitProvider};
    use proptest::prelude::*;

    use super::*;

    struct Splits(Mutex<Box<dyn SplitEnumerator>>);

    impl SplitProvider for Splits {
        fn next_split(&self, subtask: usize) -> Result<SplitPoll> {
            self.0.lock().unwrap().next_split(subtask, 0)
        }
    }

    fn source(path: &str, split_bytes: u64) -> FilesystemSource {
        let options = [("path", path), ("format", "json")];
        let options: Options = options
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect();
        let table = CatalogTable {
            columns: vec![TableColumn {
                name: "n".into(),
                data_type: LogicalType::BigInt.nullable(),
                kind: ColumnKind::Physical,
                comment: None,
            }],
            watermark: None,
            primary_key: None,
            partition_keys: Vec::new(),
            options: options.clone(),
            comment: None,
            is_temporary: false,
        };
        let context = TableContext {
            path: &ObjectPath {
                catalog: "c".into(),
                database: "d".into(),
                name: "t".into(),
            },
            table: &table,
            options: &options,
            config: &Options::default(),
            registry: &Registry {
                connectors: Vec::new(),
                formats: flott_formats::all(),
            },
            is_batch: false,
        };
        let request = ScanRequest {
            fields: vec![FieldPath::column(0)],
            ..ScanRequest::default()
        };
        let options = TableOptions::new(&context).unwrap();
        let mut source = FilesystemSource::new(&context, options, request).unwrap();
        source.split_bytes = Some(split_bytes);
        source
    }

    fn numbers(source: &FilesystemSource) -> Vec<i64> {
        let splits = Arc::new(Splits(Mutex::new(
            source.create_enumerator(1, None).unwrap(),
        )));
        let context = |restored| ReaderContext {
            subtask: 0,
            parallelism: 1,
            clock: ManualClock::at_ms(0),
            metrics: Arc::new(OperatorMetrics::default()),
            splits: splits.clone(),
            waker: Arc::new(|| {}),
            restored,
            batch_size: 2,
        };
        let mut reader = source.create_reader(context(Vec::new())).unwrap();
        let mut found = Vec::new();
        loop {
            match reader.poll().unwrap() {
                SourcePoll::Batch(batch) => {
                    let column = batch.column(0).as_primitive::<Int64Type>();
                    found.extend(column.values().iter().copied());
                    let snapshot = reader.snapshot().unwrap();
                    reader = source.create_reader(context(snapshot)).unwrap();
                }
                SourcePoll::End => return found,
                _ => {}
            }
        }
    }

    proptest! {
        #[test]
        fn any_size_of_splits_gives_the_same_rows(split_bytes in 1u64..80, num_rows in 0i64..12) {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("a.json");
            let line = |n: i64| format!("{{\"n\":{n},\"x\":\"{}\"}}\n", "y".repeat(n as usize));
            let text: String = (0..num_rows).map(line).collect();
            std::fs::write(&file, text.trim_end()).unwrap();
            let found = numbers(&source(&file.to_string_lossy(), split_bytes));
            prop_assert_eq!(found, (0..num_rows).collect::<Vec<_>>());
        }
    }
}
