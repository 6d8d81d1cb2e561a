//! The connector behind `STATE OF`: reads a table of state once, in one subtask.

use std::sync::Arc;

use flott_core::changelog::ChangelogBatch;
use flott_core::connector::{ConnectorFactory, SinkRequest, TableContext};
use flott_core::operator::RowsReader;
use flott_core::options::{OptionDef, Options};
use flott_core::schema::Schema;
use flott_core::sink::TableSink;
use flott_core::source::{
    FieldPath, OneSplit, ReaderContext, ScanRequest, SourcePoll, SourceReader, Split,
    SplitEnumerator, SplitPoll, SplitProvider, TableSource, extract_field, fields_schema,
};
use flott_core::{Error, Result};
use flott_sql::session::jobs::{STATE_CONNECTOR, StateOf};

use super::StateFolder;
use super::table::StateTable;

/// How often a table is opened when a running job deletes its files meanwhile.
const MAX_TRIES: usize = 5;

/// Reads the state of the jobs of a folder.
pub struct StateConnector(pub Arc<StateFolder>);

impl ConnectorFactory for StateConnector {
    fn identifier(&self) -> &'static str {
        STATE_CONNECTOR
    }

    fn options(&self) -> &'static [OptionDef] {
        &[]
    }

    fn doc(&self) -> &'static str {
        "What `STATE OF` in a query stands for."
    }

    fn create_source(
        &self,
        context: TableContext<'_>,
        request: ScanRequest,
    ) -> Result<Arc<dyn TableSource>> {
        let get = |key: &str| context.options.get(key).map(str::to_string);
        let state = StateOf {
            job: get("job").unwrap_or_default(),
            operator: get("operator"),
            table: get("table"),
        };
        let schema = context.table.source_schema();
        Ok(Arc::new(StateSource {
            folder: self.0.clone(),
            config: context.config.clone(),
            state,
            schema: fields_schema(&schema, &request.fields)?,
            fields: request.fields,
        }))
    }

    fn create_sink(&self, _: TableContext<'_>, _: SinkRequest) -> Result<Arc<dyn TableSink>> {
        Err(Error::user(
            "UNSUPPORTED",
            "a job's state cannot be written",
        ))
    }
}

struct StateSource {
    folder: Arc<StateFolder>,
    config: Options,
    state: StateOf,
    schema: Schema,
    fields: Vec<FieldPath>,
}

impl TableSource for StateSource {
    fn schema(&self) -> Schema {
        self.schema.clone()
    }

    fn is_bounded(&self) -> bool {
        true
    }

    fn parallelism(&self) -> Option<usize> {
        Some(1)
    }

    fn create_enumerator(
        &self,
        _: usize,
        restored: Option<&[u8]>,
    ) -> Result<Box<dyn SplitEnumerator>> {
        let split = Split {
            id: "state".into(),
            bytes: Vec::new(),
        };
        Ok(Box::new(OneSplit::new(split, restored)))
    }

    fn create_reader(&self, context: ReaderContext) -> Result<Box<dyn SourceReader>> {
        Ok(Box::new(StateReader {
            folder: self.folder.clone(),
            config: self.config.clone(),
            state: self.state.clone(),
            schema: self.schema.clone(),
            fields: self.fields.clone(),
            subtask: context.subtask,
            splits: context.splits,
            rows: None,
        }))
    }
}

struct StateReader {
    folder: Arc<StateFolder>,
    config: Options,
    state: StateOf,
    schema: Schema,
    fields: Vec<FieldPath>,
    subtask: usize,
    splits: Arc<dyn SplitProvider>,
    /// The table, and what is left of its rows.
    rows: Option<(Arc<StateTable>, RowsReader<'static>)>,
}

impl StateReader {
    /// The table and its first batch, of a newer checkpoint where the job has deleted this one's
    /// files.
    fn open(&mut self) -> Result<Option<ChangelogBatch>> {
        let mut found = self.folder.snapshot(&self.config, &self.state.job)?;
        let mut num_tries = 1;
        loop {
            let table = Arc::new(StateTable::of(&found, &self.state)?);
            let mut rows = table.read();
            match rows.next() {
                Some(Err(error)) if error.code() == "STATE_MISSING" && num_tries < MAX_TRIES => {
                    num_tries += 1;
                    found = self.folder.newest(&self.config, &self.state.job)?;
                }
                Some(first) => {
                    let first = self.batch(&table, &first?)?;
                    self.rows = Some((table, rows));
                    return Ok(Some(first));
                }
                None => return Ok(None),
            }
        }
    }

    fn batch(
        &self,
        table: &StateTable,
        rows: &arrow::array::RecordBatch,
    ) -> Result<ChangelogBatch> {
        let columns = table.columns(rows)?;
        let wanted = self.fields.iter().map(|path| extract_field(&columns, path));
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let rows = arrow::array::RecordBatch::try_new_with_options(
            self.schema.to_arrow(),
            wanted.collect::<Result<_>>()?,
            &options,
        )?;
        Ok(ChangelogBatch::insert_only(rows))
    }
}

impl SourceReader for StateReader {
    fn poll(&mut self) -> Result<SourcePoll> {
        if let Some((table, mut rows)) = self.rows.take()
            && let Some(batch) = rows.next()
        {
            let batch = self.batch(&table, &batch?)?;
            self.rows = Some((table, rows));
            return Ok(SourcePoll::Batch(batch));
        }
        match self.splits.next_split(self.subtask)? {
            SplitPoll::Split(_) => match self.open()? {
                Some(batch) => Ok(SourcePoll::Batch(batch)),
                None => Ok(SourcePoll::End),
            },
            SplitPoll::PendingUntil(time_ms) => Ok(SourcePoll::PendingUntil(time_ms)),
            SplitPoll::NoneUntil(time_ms) => Ok(SourcePoll::IdleUntil(time_ms)),
            SplitPoll::End => Ok(SourcePoll::End),
        }
    }

    /// Nothing of it is for a checkpoint: what was read is not read again.
    fn snapshot(&mut self) -> Result<Vec<Split>> {
        Ok(Vec::new())
    }
}
