//! Runs the records of one file in one cell of its matrix.

mod crash;
mod jobs;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use flott_connectors::script::{ScriptConnector, ScriptHub, ScriptStep};
use flott_core::changelog::ChangelogBatch;
use flott_core::clock::{ManualClock, SystemClock};
use flott_core::connector::Registry;
use flott_core::schema::Schema;
use flott_core::text::{TextOptions, parse_timestamp};

use flott_engine::spill::SpillConfig;
use flott_engine::testing::parse_rows;
use flott_engine::{CollectSink, JobOptions};
use flott_sql::parser::parse_script_tolerant;
use flott_sql::planner::PlannedQuery;
use flott_sql::session::{Session, StatementResult};

use super::matrix::{Cell, Feed};
use super::record::{Expected, Record, TestFile, Verb};
use super::rows::{self, Row};
use crash::CrashPlan;
use jobs::Job;

/// Processing time at a file's start: midnight, so that times read as times of day.
const START_MS: i64 = 0;
/// Results that wait for the runner.
const QUEUE: usize = 10_000;

/// What a file's run gave.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What differs, each with its line.
    pub failures: Vec<String>,
    /// Expected blocks and what came out instead.
    pub replacements: Vec<(Expected, String)>,
}

/// Runs a file; `data` is the folder that `${DATA}` stands for.
///
/// # Errors
/// A record that cannot be run at all.
pub fn run(file: &TestFile, cell: &Cell, data: &Path) -> Result<Outcome> {
    for plan in crash::plans(file, cell) {
        let outcome = run_once(file, cell, data, &plan)
            .with_context(|| plan.to_string())
            .map(|outcome| plan.mark(outcome))?;
        if !outcome.failures.is_empty() {
            return Ok(outcome);
        }
    }
    Ok(Outcome::default())
}

fn run_once(file: &TestFile, cell: &Cell, data: &Path, plan: &CrashPlan) -> Result<Outcome> {
    let mut runner = Runner::new(cell.clone(), data)?;
    for (number, record) in file.records.iter().enumerate() {
        runner
            .run_record(record)
            .and_then(|()| runner.crash_as_planned(plan, number))
            .with_context(|| format!("line {}", record.line))?;
    }
    Ok(std::mem::take(&mut runner.outcome))
}

struct Runner {
    cell: Cell,
    session: Session,
    hub: Arc<ScriptHub>,
    clock: Arc<ManualClock>,
    jobs: BTreeMap<String, Job>,
    num_attempts: std::cell::Cell<usize>,
    data: String,
    out: tempfile::TempDir,
    outcome: Outcome,
}

impl Runner {
    fn new(cell: Cell, data: &Path) -> Result<Self> {
        let hub = Arc::new(ScriptHub::default());
        let clock = ManualClock::at_ms(START_MS);
        let mut connectors = flott_connectors::all();
        connectors.push(Arc::new(ScriptConnector { hub: hub.clone() }));
        let registry = Registry {
            connectors,
            formats: flott_formats::all(),
        };
        let session = Session::new(registry, clock.clone());
        Ok(Self {
            cell,
            session,
            hub,
            clock,
            jobs: BTreeMap::new(),
            num_attempts: std::cell::Cell::new(0),
            data: data.display().to_string(),
            out: tempfile::tempdir()?,
            outcome: Outcome::default(),
        })
    }

    fn run_record(&mut self, record: &Record) -> Result<()> {
        match &record.verb {
            Verb::Statement { error } => self.statement(record, error.as_deref()),
            Verb::Query { ordered } => self.query(record, *ordered),
            Verb::Start { job } => {
                let sql = self.substitute(&record.body);
                let started = self.start(&sql, None, self.cell.parallelism)?;
                self.jobs.insert(job.clone(), started);
                Ok(())
            }
            Verb::Feed { table } => self.feed(table, &record.body),
            Verb::Watermark { table, time } => {
                let text = if time.contains('-') {
                    time.clone()
                } else {
                    format!("1970-01-01 {time}")
                };
                let ms = parse_timestamp(&text, 3).with_context(|| format!("time '{time}'"))?;
                self.hub.push(table, ScriptStep::Watermark(ms));
                self.settle()
            }
            Verb::End { table } => {
                self.hub.push(table, ScriptStep::End);
                self.settle()
            }
            Verb::Clock { advance_ms } => {
                self.clock
                    .advance(Duration::from_millis(*advance_ms as u64));
                self.jobs.values().for_each(|job| job.handle.wake());
                self.settle()
            }
            Verb::Changes { job, ordered } => self.changes(record, job, *ordered),
            Verb::Table { job } => self.table(record, job),
            Verb::Plan { job } => self.plan(record, job),
            Verb::Metric { job, name } => self.metric(record, job, name),
            Verb::Checkpoint => self.checkpoint(),
            Verb::Crash => self.crash(),
            Verb::Restore { parallelism } => self.restore(*parallelism),
            Verb::Change { job } => self.change(record, job),
            Verb::Stop { job } => {
                let job = self
                    .jobs
                    .remove(job)
                    .with_context(|| format!("no job '{job}'"))?;
                job.handle.cancel();
                let _ = job.handle.wait();
                Ok(())
            }
        }
    }

    fn substitute(&self, sql: &str) -> String {
        sql.replace("${DATA}", &self.data)
            .replace("${OUT}", &self.out.path().display().to_string())
    }

    /// Executes one statement; what it starts runs to its end.
    fn execute(
        &mut self,
        sql: &str,
        parallelism: usize,
    ) -> Result<Option<PlannedOrTable>, flott_core::Error> {
        let mut last = None;
        for statement in parse_script_tolerant(sql) {
            last = match self
                .session
                .execute(&statement.map_err(|f| f.error)?, parallelism)?
            {
                StatementResult::Ok { .. } => None,
                StatementResult::Table { schema, rows } => Some(PlannedOrTable::Table(
                    schema,
                    ChangelogBatch::insert_only(rows),
                )),
                StatementResult::Query(query) => Some(PlannedOrTable::Query(Box::new(query))),
                StatementResult::Insert(graph) => {
                    flott_engine::execute(graph, self.bounded_options(parallelism))?.wait()?;
                    None
                }
            };
        }
        Ok(last)
    }

    /// For jobs that run to their end at once: nobody moves a clock meanwhile, and a source may be
    /// limited in rows per second.
    fn bounded_options(&self, parallelism: usize) -> JobOptions {
        JobOptions {
            clock: Arc::new(SystemClock),
            ..self.options(parallelism)
        }
    }

    fn options(&self, parallelism: usize) -> JobOptions {
        JobOptions {
            parallelism,
            clock: self.clock.clone(),
            invariant_checks: true,
            attempt_id: self.attempt_id(),
            // Nothing fits into memory, and nothing waits longer than its batch.
            spill: self.cell.disk.then(|| SpillConfig {
                memory_bytes: 0,
                max_delay_ms: 0,
                max_partitions: 4,
                folder: self.out.path().to_path_buf(),
            }),
            ..JobOptions::default()
        }
    }

    /// Of its own for each job, so that the files of two jobs never have the same name.
    fn attempt_id(&self) -> String {
        let number = self.num_attempts.get();
        self.num_attempts.set(number + 1);
        format!("attempt-{number}")
    }

    fn text_options(&self) -> TextOptions {
        TextOptions {
            time_zone: self.session.time_zone(),
            is_printing: true,
        }
    }

    fn statement(&mut self, record: &Record, error: Option<&str>) -> Result<()> {
        let sql = self.substitute(&record.body);
        let result = self
            .execute(&sql, self.cell.parallelism)
            .and_then(|planned| match planned {
                Some(PlannedOrTable::Query(query)) => self.collect(*query).map(|_| ()),
                _ => Ok(()),
            });
        match (result, error) {
            (Ok(()), None) => {}
            (Ok(()), Some(_)) => self.fail(record, "the statement went well".into()),
            (Err(error), None) => self.fail(record, format!("[{}] {error}", error.code())),
            (Err(error), Some(pattern)) => {
                let text = format!("[{}] {error}", error.code());
                if !regex::Regex::new(pattern)?.is_match(&text) {
                    self.fail(record, format!("'{pattern}' does not match: {text}"));
                }
            }
        }
        Ok(())
    }

    /// Runs a bounded query to its end.
    fn collect(&mut self, query: PlannedQuery) -> Result<(Schema, Vec<Row>), flott_core::Error> {
        let text = self.text_options();
        let schema = query.schema.clone();
        let (sink, receiver) = CollectSink::new(schema.clone(), QUEUE);
        let handle = flott_engine::execute(
            query.with_sink(sink),
            self.bounded_options(self.cell.parallelism),
        )?;
        let mut changes = Vec::new();
        loop {
            match receiver.recv_timeout(Duration::from_millis(5)) {
                Ok(batch) => changes.extend(rows::of_batch(&batch, &schema, &text)),
                Err(_) if handle.is_finished() && receiver.is_empty() => break,
                Err(_) => {}
            }
        }
        handle.wait()?;
        Ok((schema, changes))
    }

    fn query(&mut self, record: &Record, ordered: bool) -> Result<()> {
        let sql = self.substitute(&record.body);
        let planned = match self.execute(&sql, self.cell.parallelism) {
            Ok(planned) => planned,
            Err(error) => {
                self.fail(record, format!("[{}] {error}", error.code()));
                return Ok(());
            }
        };
        let changes = match planned {
            Some(PlannedOrTable::Table(schema, batch)) => {
                rows::of_lines(rows::of_batch(&batch, &schema, &self.text_options()))
            }
            Some(PlannedOrTable::Query(query)) => match self.collect(*query) {
                Ok((_, changes)) => changes,
                Err(error) => {
                    self.fail(record, format!("[{}] {error}", error.code()));
                    return Ok(());
                }
            },
            None => bail!("the statement gives no rows"),
        };
        let expected = record.expected.as_ref().map_or("", |e| e.text.as_str());
        let expected = rows::parse_block(expected);
        if ordered {
            self.compare(record, &expected, &changes, false);
        } else {
            let actual = match rows::fold(&changes, false) {
                Ok(table) => rows::table_rows(&table),
                Err(message) => {
                    self.fail(record, message);
                    return Ok(());
                }
            };
            self.compare(record, &rows::sorted(expected), &actual, false);
        }
        Ok(())
    }

    fn feed(&mut self, table: &str, body: &str) -> Result<()> {
        let schema = self.session.source_schema(table)?;
        let batch = parse_rows(&schema, body).map_err(|e| anyhow::anyhow!("{e}"))?;
        match self.cell.feed {
            Feed::Whole => self.hub.push(table, ScriptStep::Rows(batch)),
            Feed::Rows => (0..batch.num_rows())
                .for_each(|row| self.hub.push(table, ScriptStep::Rows(batch.slice(row, 1)))),
        }
        self.settle()
    }

    /// Fails when the job has failed.
    fn check_job(&mut self, record: &Record, name: &str) -> Result<bool> {
        let job = self.job(name)?;
        if job.handle.is_finished()
            && let Err(error) = job.handle.wait()
        {
            self.fail(
                record,
                format!("job '{name}' failed: [{}] {error}", error.code()),
            );
            return Ok(false);
        }
        Ok(true)
    }

    fn changes(&mut self, record: &Record, name: &str, ordered: bool) -> Result<()> {
        self.settle()?;
        if !self.check_job(record, name)? {
            return Ok(());
        }
        // A crash must not show in what is said.
        let is_exact = self.cell.is_base() || self.cell.crash;
        let expected = record.expected.as_ref().map_or("", |e| e.text.as_str());
        let expected = rows::parse_block(expected);
        let job = self.job(name)?;
        job.expected.extend(expected.clone());
        let new = job.changes[job.num_seen..].to_vec();
        job.num_seen = job.changes.len();
        if is_exact {
            let order = |rows| if ordered { rows } else { rows::sorted(rows) };
            self.compare(record, &order(expected), &order(new), true);
            return Ok(());
        }
        let fold = |rows: &[Row]| rows::fold(rows, job.is_changed);
        let (wanted, actual) = (fold(&job.expected), fold(&job.changes));
        match (wanted, actual) {
            (Ok(wanted), Ok(actual)) => {
                let (wanted, actual) = (rows::table_rows(&wanted), rows::table_rows(&actual));
                self.compare(record, &wanted, &actual, false);
            }
            (_, Err(message)) => self.fail(record, message),
            (Err(message), _) => self.fail(record, format!("the expected changelog: {message}")),
        }
        Ok(())
    }

    fn table(&mut self, record: &Record, name: &str) -> Result<()> {
        self.settle()?;
        if !self.check_job(record, name)? {
            return Ok(());
        }
        let job = self.job(name)?;
        let expected = record.expected.as_ref().map_or("", |e| e.text.as_str());
        let expected = rows::sorted(rows::parse_block(expected));
        match rows::fold(&job.changes, job.is_changed) {
            Ok(table) => self.compare(record, &expected, &rows::table_rows(&table), false),
            Err(message) => self.fail(record, message),
        }
        Ok(())
    }

    fn plan(&mut self, record: &Record, sql_or_job: &str) -> Result<()> {
        if !self.cell.is_base() {
            return Ok(());
        }
        let sql = self.job(sql_or_job)?.sql.clone();
        let text = self
            .session
            .explain(&sql)
            .map_err(|e| anyhow::anyhow!("{e}"))?;
        let expected = record.expected.as_ref().map_or("", |e| e.text.as_str());
        // A blank line would end the record.
        let lines = text.lines().filter(|l| !l.trim().is_empty());
        let text = lines.collect::<Vec<_>>().join("\n");
        if text != expected.trim_end() {
            self.differ(record, expected, &text);
        }
        Ok(())
    }

    /// Of one attempt: where jobs crash, nothing is compared.
    fn metric(&mut self, record: &Record, name: &str, metric: &str) -> Result<()> {
        if self.cell.crash {
            return Ok(());
        }
        self.settle()?;
        let job = self.job(name)?;
        let value: i64 = job
            .handle
            .metrics()
            .iter()
            .flat_map(|node| &node.subtasks)
            .filter_map(|m| m.get(metric))
            .sum();
        let expected = record.expected.as_ref().map_or("", |e| e.text.trim());
        if expected != value.to_string() {
            self.differ(record, expected, &value.to_string());
        }
        Ok(())
    }

    fn compare(&mut self, record: &Record, expected: &[Row], actual: &[Row], with_kinds: bool) {
        if expected != actual {
            let expected = rows::to_block(expected, with_kinds);
            self.differ(record, &expected, &rows::to_block(actual, with_kinds));
        }
    }

    fn differ(&mut self, record: &Record, expected: &str, actual: &str) {
        if let Some(block) = &record.expected {
            self.outcome
                .replacements
                .push((block.clone(), actual.to_string()));
        }
        self.fail(record, format!("expected\n{expected}\nbut got\n{actual}"));
    }

    fn fail(&mut self, record: &Record, message: String) {
        let first = record.body.lines().next().unwrap_or_default();
        self.outcome
            .failures
            .push(format!("line {} ({first}): {message}", record.line));
    }
}

enum PlannedOrTable {
    Query(Box<PlannedQuery>),
    Table(Schema, ChangelogBatch),
}
