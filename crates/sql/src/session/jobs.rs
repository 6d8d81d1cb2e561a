//! SHOW JOBS, DESCRIBE JOB, STOP JOB, and queries over a job's state.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringViewArray, TimestampMillisecondArray};
use flott_core::catalog::{CatalogTable, ColumnKind, ObjectPath, TableColumn};
use flott_core::options::Options;
use flott_core::schema::{Column, Schema};
use flott_core::types::LogicalType;
use flott_core::{Error, Result};

use super::{Session, StatementResult, config};
use crate::binder::Resolved;
use crate::parser::ast::{SourceQuery, StopJob};
pub use crate::parser::states::StateOf;

/// The connector that reads state: `job`, `operator` and `table` are its options.
pub const STATE_CONNECTOR: &str = "$state";

/// A job that there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobInfo {
    pub id: String,
    pub name: String,
    /// `RUNNING`, `FINISHED`, `STOPPED` or `UNKNOWN`.
    pub status: &'static str,
    /// In ms since 1970, where it runs.
    pub start_time_ms: Option<i64>,
}

/// The jobs that statements can ask; `config` is the session's.
pub trait Jobs: Send + Sync {
    /// The jobs that there are, by id.
    ///
    /// # Errors
    /// A store's that cannot be read.
    fn list(&self, config: &Options) -> Result<Vec<JobInfo>>;

    /// Stops a job; gives the savepoint's path, or the last checkpoint's without one.
    ///
    /// # Errors
    /// A user error when no such job runs, the job's own refusal.
    fn stop(&self, config: &Options, stop: &StopJob) -> Result<String>;

    /// The columns of a job's state, to be read by [`STATE_CONNECTOR`].
    ///
    /// # Errors
    /// A user error when there is no such state, or when more than one is meant.
    fn state(&self, config: &Options, state: &StateOf) -> Result<Schema>;
}

impl Session {
    /// Lets statements ask these jobs. The registry needs a connector [`STATE_CONNECTOR`].
    pub fn set_jobs(&mut self, jobs: Arc<dyn Jobs>) {
        self.jobs = Some(jobs);
    }

    fn jobs(&self) -> Result<&dyn Jobs> {
        let jobs = self.jobs.as_deref();
        jobs.ok_or_else(|| Error::user("UNSUPPORTED", "this session knows of no jobs"))
    }

    pub(super) fn show_jobs(&self) -> Result<StatementResult> {
        match &self.jobs {
            Some(jobs) => job_table(&jobs.list(&self.config)?),
            None => job_table(&[]),
        }
    }

    pub(super) fn describe_job(&self, id: &str) -> Result<StatementResult> {
        let jobs = self.jobs()?.list(&self.config)?;
        match jobs.iter().find(|j| j.id == id) {
            Some(job) => job_table(std::slice::from_ref(job)),
            None => Err(unknown_job(id, &jobs)),
        }
    }

    pub(super) fn stop_job(&self, stop: &StopJob) -> Result<StatementResult> {
        if stop.with_drain && !stop.with_savepoint {
            let message =
                "WITH DRAIN needs a savepoint: write STOP JOB '…' WITH SAVEPOINT WITH DRAIN";
            return Err(Error::user("SYNTAX_ERROR", message));
        }
        let jobs = self.jobs()?;
        let known = jobs.list(&self.config)?;
        if !known.iter().any(|j| j.id == stop.id) {
            return Err(unknown_job(&stop.id, &known));
        }
        let path = jobs.stop(&self.config, stop)?;
        match stop.with_savepoint {
            true => StatementResult::list("savepoint path", vec![path]),
            false => StatementResult::ok(format!("{} has stopped: {path}", stop.id)),
        }
    }

    /// State as a table of its own.
    pub(super) fn resolve_state(&self, parts: &[String], state: &StateOf) -> Result<Resolved> {
        let schema = self.jobs()?.state(&self.config, state)?;
        let columns = schema.columns().iter().map(|column| TableColumn {
            name: column.name.clone(),
            data_type: column.data_type.clone(),
            kind: ColumnKind::Physical,
            comment: None,
        });
        let mut options = Options::default();
        options.set("connector", STATE_CONNECTOR);
        options.set("job", &state.job);
        for (key, value) in [("operator", &state.operator), ("table", &state.table)] {
            value
                .iter()
                .for_each(|value| options.set(key, value.as_str()));
        }
        let catalog = parts.first().cloned().unwrap_or_default();
        let named = [&state.operator, &state.table].map(|part| part.as_deref().unwrap_or(""));
        Ok(Resolved::Table {
            path: ObjectPath {
                catalog,
                database: state.job.clone(),
                name: named.join(" ").trim().to_string(),
            },
            table: Arc::new(CatalogTable {
                columns: columns.collect(),
                watermark: None,
                primary_key: None,
                partition_keys: Vec::new(),
                options,
                comment: None,
                is_temporary: true,
            }),
        })
    }

    /// State does not move while it is read: such a query gives final results, as in batch mode.
    pub(super) fn query_state(
        &mut self,
        source: &SourceQuery,
        parallelism: usize,
    ) -> Result<StatementResult> {
        let key = config::RUNTIME_MODE.key;
        let mode = self.config.get(key).map(str::to_string);
        self.config.set(key, "batch");
        let planned = self.query(source, parallelism);
        match mode {
            Some(mode) => self.config.set(key, mode),
            None => drop(self.config.remove(key)),
        }
        planned
    }
}

fn unknown_job(id: &str, jobs: &[JobInfo]) -> Error {
    let ids: Vec<&str> = jobs.iter().map(|j| j.id.as_str()).collect();
    let known = match ids.as_slice() {
        [] => "there are none".to_string(),
        ids => format!("there are {}", ids.join(", ")),
    };
    Error::user("UNKNOWN_JOB", format!("there is no job '{id}'; {known}"))
}

/// Jobs in Flink's columns.
fn job_table(jobs: &[JobInfo]) -> Result<StatementResult> {
    let time = LogicalType::TimestampLtz(3);
    let text = |name: &str| Column::new(name, LogicalType::STRING.nullable());
    let schema = Schema::new(vec![
        text("job id"),
        text("job name"),
        text("status"),
        Column::new("start time", time.nullable()),
    ]);
    let texts = |of: fn(&JobInfo) -> &str| -> ArrayRef {
        Arc::new(StringViewArray::from_iter_values(jobs.iter().map(of)))
    };
    let times = TimestampMillisecondArray::from_iter(jobs.iter().map(|j| j.start_time_ms));
    let columns: Vec<ArrayRef> = vec![
        texts(|j| &j.id),
        texts(|j| &j.name),
        texts(|j| j.status),
        Arc::new(times.with_timezone("UTC")),
    ];
    let rows = RecordBatch::try_new(schema.to_arrow(), columns)?;
    Ok(StatementResult::Table { schema, rows })
}
