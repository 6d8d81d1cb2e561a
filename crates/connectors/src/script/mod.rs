//! `'connector' = 'script'`: rows fed by a test, one step at a time.
//!
//! A test holds the [`ScriptHub`] and feeds tables by name; the reader, always one subtask, gives
//! out each step as it was fed. The hub keeps every step, so that a restored job reads on from its
//! position.

mod lookup;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use flott_core::changelog::{ChangelogBatch, ChangelogMode};
use flott_core::connector::{ConnectorFactory, SinkRequest, TableContext};
use flott_core::lookup::{CACHE_OPTIONS, LookupRequest, LookupSource};
use flott_core::options::{OptionDef, OptionType};
use flott_core::schema::Schema;
use flott_core::sink::TableSink;
use flott_core::source::{
    FieldPath, OneSplit, ReaderContext, ScanRequest, SourcePoll, SourceReader, Split,
    SplitEnumerator, SplitPoll, TableSource, Waker, extract_field, fields_schema,
};
use flott_core::{Error, Result};
use parking_lot::Mutex;

use lookup::ScriptLookupSource;

const CHANGELOG_MODE: OptionDef = OptionDef::new(
    "changelog-mode",
    OptionType::Enum(&["I", "I,UA,D", "I,UB,UA,D"]),
    "the row kinds that will be fed",
)
.default("I");
const LOOKUP_LATENCY: OptionDef = OptionDef::new(
    "lookup.latency",
    OptionType::Duration,
    "joins look rows up by key, among those fed so far, and have the answer so much later",
);
const OPTIONS: &[OptionDef] = &[CHANGELOG_MODE, LOOKUP_LATENCY];

/// One step of a script.
#[derive(Debug, Clone)]
pub enum ScriptStep {
    /// Rows of the table's source schema.
    Rows(ChangelogBatch),
    /// Event time, in ms.
    Watermark(i64),
    End,
}

/// The scripts of all tables of one test.
#[derive(Default)]
pub struct ScriptHub {
    tables: Mutex<BTreeMap<String, Script>>,
}

#[derive(Default)]
struct Script {
    steps: Vec<ScriptStep>,
    /// Of every job that reads the table, from its start on.
    readers: Vec<Arc<Progress>>,
}

/// How far a job has read a table.
#[derive(Default)]
struct Progress {
    /// Wakes the reader; `None` until it has begun.
    waker: Mutex<Option<Waker>>,
    /// The next step that the reader will take; [`GONE`] when it will take no more.
    position: AtomicUsize,
}

const GONE: usize = usize::MAX;

impl ScriptHub {
    /// Adds a step to the table of this name and wakes its readers.
    pub fn push(&self, table: &str, step: ScriptStep) {
        let readers = {
            let mut tables = self.tables.lock();
            let script = tables.entry(table.to_string()).or_default();
            script.steps.push(step);
            script.readers.clone()
        };
        for reader in readers {
            let waker = reader.waker.lock().clone();
            waker.iter().for_each(|wake| wake());
        }
    }

    /// Whether every reader has taken every step.
    pub fn is_drained(&self) -> bool {
        self.tables.lock().values().all(|script| {
            let end = script.steps.len();
            script
                .readers
                .iter()
                .all(|r| r.position.load(Ordering::SeqCst) >= end)
        })
    }

    /// Forgets the readers of jobs that are gone.
    pub fn forget_readers(&self) {
        self.tables
            .lock()
            .values_mut()
            .for_each(|script| script.readers.clear());
    }

    /// All rows that the table has been fed.
    fn rows(&self, table: &str) -> Vec<ChangelogBatch> {
        let tables = self.tables.lock();
        let steps = tables.get(table).map_or(&[][..], |script| &script.steps);
        let rows = steps.iter().filter_map(|step| match step {
            ScriptStep::Rows(rows) => Some(rows.clone()),
            _ => None,
        });
        rows.collect()
    }

    fn step(&self, table: &str, position: usize) -> Option<ScriptStep> {
        self.tables
            .lock()
            .get(table)
            .and_then(|script| script.steps.get(position).cloned())
    }

    fn add_reader(&self, table: &str, reader: Arc<Progress>) {
        self.tables
            .lock()
            .entry(table.to_string())
            .or_default()
            .readers
            .push(reader);
    }
}

/// The connector over one hub.
pub struct ScriptConnector {
    pub hub: Arc<ScriptHub>,
}

impl ConnectorFactory for ScriptConnector {
    fn identifier(&self) -> &'static str {
        "script"
    }

    fn options(&self) -> &'static [OptionDef] {
        OPTIONS
    }

    fn doc(&self) -> &'static str {
        "rows fed by a stream test; source only"
    }

    fn create_source(
        &self,
        context: TableContext<'_>,
        request: ScanRequest,
    ) -> Result<Arc<dyn TableSource>> {
        context
            .options
            .check("connector 'script'", &[OPTIONS, CACHE_OPTIONS])?;
        let mode = match context.options.text(&CHANGELOG_MODE) {
            Some("I,UA,D") => ChangelogMode::UPSERT,
            Some("I,UB,UA,D") => ChangelogMode::RETRACT,
            _ => ChangelogMode::APPEND,
        };
        Ok(Arc::new(ScriptSource {
            hub: self.hub.clone(),
            table: context.path.name.clone(),
            schema: fields_schema(&context.table.source_schema(), &request.fields)?,
            fields: request.fields,
            mode,
            progress: Arc::default(),
        }))
    }

    fn create_lookup(
        &self,
        context: TableContext<'_>,
        request: LookupRequest,
    ) -> Result<Option<Arc<dyn LookupSource>>> {
        context
            .options
            .check("connector 'script'", &[OPTIONS, CACHE_OPTIONS])?;
        let Some(latency) = context.options.duration(&LOOKUP_LATENCY)? else {
            return Ok(None);
        };
        Ok(Some(Arc::new(ScriptLookupSource {
            hub: self.hub.clone(),
            table: context.path.name.clone(),
            schema: fields_schema(&context.table.source_schema(), &request.fields)?,
            request,
            latency_ms: latency.as_millis() as i64,
        })))
    }

    fn create_sink(&self, _: TableContext<'_>, _: SinkRequest) -> Result<Arc<dyn TableSink>> {
        Err(Error::user(
            "NOT_A_SINK",
            "connector 'script' can be read, not written",
        ))
    }
}

struct ScriptSource {
    hub: Arc<ScriptHub>,
    table: String,
    schema: Schema,
    fields: Vec<FieldPath>,
    mode: ChangelogMode,
    progress: Arc<Progress>,
}

impl TableSource for ScriptSource {
    fn schema(&self) -> Schema {
        self.schema.clone()
    }

    fn changelog_mode(&self) -> ChangelogMode {
        self.mode
    }

    fn is_bounded(&self) -> bool {
        false
    }

    fn parallelism(&self) -> Option<usize> {
        Some(1)
    }

    fn create_enumerator(
        &self,
        _: usize,
        restored: Option<&[u8]>,
    ) -> Result<Box<dyn SplitEnumerator>> {
        // Known from now on, so that nobody takes the table for read before its reader begins.
        self.hub.add_reader(&self.table, self.progress.clone());
        Ok(Box::new(OneSplit::new(encode(0), restored)))
    }

    fn create_reader(&self, context: ReaderContext) -> Result<Box<dyn SourceReader>> {
        let position = match context.restored.first() {
            Some(split) => Some(decode(split)?),
            None => None,
        };
        *self.progress.waker.lock() = Some(context.waker.clone());
        Ok(Box::new(ScriptReader {
            hub: self.hub.clone(),
            table: self.table.clone(),
            schema: self.schema.to_arrow(),
            fields: self.fields.clone(),
            position,
            progress: self.progress.clone(),
            context,
        }))
    }
}

fn encode(position: usize) -> Split {
    Split {
        id: "script".into(),
        bytes: (position as u64).to_le_bytes().to_vec(),
    }
}

fn decode(split: &Split) -> Result<usize> {
    let bytes = split.bytes.as_slice().try_into();
    bytes
        .map(|b| u64::from_le_bytes(b) as usize)
        .map_err(|_| Error::internal("script split"))
}

struct ScriptReader {
    hub: Arc<ScriptHub>,
    table: String,
    schema: arrow::datatypes::SchemaRef,
    fields: Vec<FieldPath>,
    /// The next step; `None` until the split is taken.
    position: Option<usize>,
    /// Tells the hub of the position.
    progress: Arc<Progress>,
    context: ReaderContext,
}

impl ScriptReader {
    fn project(&self, batch: &ChangelogBatch) -> Result<ChangelogBatch> {
        let columns = self
            .fields
            .iter()
            .map(|path| extract_field(batch.rows().columns(), path))
            .collect::<Result<Vec<_>>>()?;
        let options =
            arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let rows = arrow::record_batch::RecordBatch::try_new_with_options(
            self.schema.clone(),
            columns,
            &options,
        )?;
        Ok(batch.with_rows(rows))
    }
}

impl SourceReader for ScriptReader {
    fn poll(&mut self) -> Result<SourcePoll> {
        let position = match self.position {
            Some(position) => position,
            None => match self.context.splits.next_split(self.context.subtask)? {
                SplitPoll::Split(split) => decode(&split)?,
                // A checkpoint is being taken.
                SplitPoll::PendingUntil(time_ms) => return Ok(SourcePoll::PendingUntil(time_ms)),
                SplitPoll::NoneUntil(time_ms) => return Ok(SourcePoll::IdleUntil(time_ms)),
                SplitPoll::End => return Ok(SourcePoll::End),
            },
        };
        self.position = Some(position);
        self.progress.position.store(position, Ordering::SeqCst);
        let Some(step) = self.hub.step(&self.table, position) else {
            return Ok(SourcePoll::Pending);
        };
        self.progress.position.store(position + 1, Ordering::SeqCst);
        if !matches!(step, ScriptStep::End) {
            self.position = Some(position + 1);
        }
        Ok(match step {
            ScriptStep::Rows(batch) => SourcePoll::Batch(self.project(&batch)?),
            ScriptStep::Watermark(ms) => SourcePoll::Watermark(ms),
            ScriptStep::End => SourcePoll::End,
        })
    }

    fn snapshot(&mut self) -> Result<Vec<Split>> {
        Ok(self.position.map(encode).into_iter().collect())
    }
}

impl Drop for ScriptReader {
    fn drop(&mut self) {
        self.progress.position.store(GONE, Ordering::SeqCst);
    }
}
