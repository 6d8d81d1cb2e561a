//! Runs statements one after the other: jobs on the embedded engine, their rows to a writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;
use flott_core::Error;
use flott_core::clock::{Clock, SystemClock};
use flott_core::graph::JobGraph;
use flott_core::text::TextOptions;
use flott_engine::{
    CollectSink, JobHandle, JobOptions, JobOutcome, JobReport, JobSettings, RunningJob,
    finished_job, forget_job, run_job,
};

use flott_sql::parser::{FailedStatement, ParsedStatement};
use flott_sql::planner::PlannedQuery;
use flott_sql::session::{Session, StatementResult};

use crate::control::{Address, ControlServer};
use crate::durable::{Durability, describe, finished_at};
use crate::environment::available_parallelism;
use crate::jobs::StateFolder;
use crate::output::ResultWriter;
use crate::progress::Progress;

/// A statement that failed.
pub struct Failure {
    pub error: Error,
    /// Whether its job was running already.
    pub while_running: bool,
}

impl Failure {
    fn statement(error: Error) -> Self {
        Self {
            error,
            while_running: false,
        }
    }

    fn running(error: Error) -> Self {
        Self {
            error,
            while_running: true,
        }
    }

    fn output(error: &std::io::Error) -> Self {
        Self::running(Error::io("standard output", error))
    }
}

/// Batches that wait between the job and the terminal.
const RESULT_QUEUE: usize = 64;
/// How often progress is shown and cancellation looked at.
const TICK: Duration = Duration::from_millis(100);

/// A session, the place where results go, and the running job.
pub struct Executor {
    pub session: Session,
    writer: Box<dyn ResultWriter>,
    interrupt: Interrupt,
    is_cancelled: bool,
    is_stopped: bool,
    durability: Durability,
    jobs: Arc<StateFolder>,
}

impl Executor {
    /// `jobs` is what the session's statements ask about jobs.
    pub fn new(session: Session, jobs: Arc<StateFolder>, writer: Box<dyn ResultWriter>) -> Self {
        Self {
            jobs,
            session,
            writer,
            interrupt: Interrupt::install(),
            is_cancelled: false,
            is_stopped: false,
            durability: Durability::default(),
        }
    }

    /// How jobs survive their process.
    pub fn set_durability(&mut self, durability: Durability) {
        self.durability = durability;
    }

    /// Whether the last job was stopped by Ctrl-C.
    pub fn is_cancelled(&self) -> bool {
        self.is_cancelled
    }

    /// Whether the last job was stopped by `flott stop`: the script is not to go on.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Rows one column a line, for the next results.
    pub fn show_wide(&mut self, is_wide: bool) {
        self.writer.set_wide(is_wide);
    }

    /// The session goes on after Ctrl-C.
    pub fn reset_interrupt(&mut self) {
        self.interrupt.flag.store(false, Ordering::SeqCst);
        self.is_cancelled = false;
    }

    /// Tells the writer of a failed statement; `false` when it left that to standard error.
    pub fn report(&mut self, statement: usize, error: &Error) -> std::io::Result<bool> {
        self.writer.error(statement, error)
    }

    /// Runs a statement of a script to its end; gives its number too.
    pub fn execute_parsed(
        &mut self,
        statement: Result<ParsedStatement, FailedStatement>,
    ) -> (usize, Result<(), Failure>) {
        match statement {
            Ok(statement) => (statement.index, self.execute(&statement)),
            Err(failed) => (failed.index, Err(Failure::statement(failed.error))),
        }
    }

    fn execute(&mut self, statement: &ParsedStatement) -> Result<(), Failure> {
        let number = statement.index;
        self.durability.note(&statement.text);
        let parallelism = available_parallelism();
        let result = self.session.execute(statement, parallelism);
        let done = self.run(number, result.map_err(Failure::statement)?);
        self.jobs.take_notes();
        done
    }

    fn run(&mut self, number: usize, result: StatementResult) -> Result<(), Failure> {
        match result {
            StatementResult::Ok { message } => self
                .writer
                .done(number, &message)
                .map_err(|e| Failure::output(&e)),
            StatementResult::Table { schema, rows } => {
                let batch = flott_core::changelog::ChangelogBatch::insert_only(rows);
                let text = self.text_options();
                let writer = &mut self.writer;
                writer
                    .begin(number, &schema, false)
                    .and_then(|()| writer.rows(&batch, &text))
                    .and_then(|()| writer.end())
                    .map_err(|e| Failure::output(&e))
            }
            StatementResult::Query(query) => self.run_query(number, query),
            StatementResult::Insert(graph) => self.run_insert(number, graph),
        }
    }

    fn text_options(&self) -> TextOptions {
        TextOptions {
            time_zone: self.session.time_zone(),
            is_printing: true,
        }
    }

    fn job_options(&self) -> Result<JobOptions, Failure> {
        let parallelism = self
            .session
            .parallelism()
            .map_err(Failure::statement)?
            .unwrap_or_else(available_parallelism);
        let max_parallelism = self.session.max_parallelism().map_err(Failure::statement)?;
        Ok(JobOptions {
            parallelism,
            max_parallelism,
            attempt_id: attempt_id(),
            ..JobOptions::default()
        })
    }

    fn run_query(&mut self, number: usize, query: PlannedQuery) -> Result<(), Failure> {
        let text = self.text_options();
        let options = self.job_options()?;
        let is_changelog = !query.mode.is_append_only();
        let schema = query.schema.clone();
        let (sink, rows) = CollectSink::new(schema.clone(), RESULT_QUEUE);
        let handle = start(query.with_sink(sink), options)?;
        self.writer
            .begin(number, &schema, is_changelog)
            .map_err(|e| Failure::output(&e))?;
        let progress = Progress::start();
        loop {
            match rows.recv_timeout(TICK) {
                Ok(batch) => {
                    let written = progress.suspend(|| self.writer.rows(&batch, &text));
                    if let Err(error) = written {
                        handle.cancel();
                        return Err(Failure::output(&error));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    if handle.is_finished() && rows.is_empty() {
                        break;
                    }
                }
            }
            progress.show(&handle);
            self.check_interrupt(&handle);
        }
        progress.clear();
        self.finish(&handle)?;
        self.writer.end().map_err(|e| Failure::output(&e))?;
        for note in self.jobs.take_notes() {
            eprintln!("{note}");
        }
        Ok(())
    }

    fn run_insert(&mut self, number: usize, graph: JobGraph) -> Result<(), Failure> {
        let options = self.job_options()?;
        let is_batch = self.session.is_batch();
        let settings = self.durability.settings(&graph, options, is_batch);
        let settings = settings.map_err(Failure::statement)?;
        let name = settings
            .job_id
            .clone()
            .unwrap_or_else(|| graph.name.clone());
        if let Some(message) = self.finished_before(&name, &settings)? {
            let written = self.writer.done(number, &message);
            return written.map_err(|e| Failure::output(&e));
        }
        let place = Place::of(&settings)?;
        let job_name = graph.name.clone();
        let job = run_job(graph, settings).map_err(Failure::statement)?;
        let control = place.and_then(|place| place.serve((&name, &job_name), &job));
        let progress = Progress::start();
        loop {
            let has_ended = job.wait_timeout(TICK);
            for event in job.take_events() {
                progress.suspend(|| eprintln!("{}", describe(&name, &event)));
            }
            if has_ended {
                break;
            }
            self.follow(&job, &progress)?;
        }
        progress.clear();
        drop(control);
        let result = job.wait();
        let mut how = String::new();
        if let Ok(report) = &result
            && report.outcome == JobOutcome::Stopped
        {
            self.is_stopped = true;
            let path = report.savepoint.as_deref().unwrap_or_default();
            how = format!("; stopped with {path}");
        }
        let report = rows_of(result)?;
        let message = format!("{name}: {} rows in, {} rows out{how}", report.0, report.1);
        self.writer
            .done(number, &message)
            .map_err(|e| Failure::output(&e))
    }

    /// What to say when the job has finished in an earlier process and is not to begin anew.
    fn finished_before(
        &self,
        name: &str,
        settings: &JobSettings,
    ) -> Result<Option<String>, Failure> {
        if self.durability.is_fresh() {
            forget_job(settings).map_err(Failure::statement)?;
            return Ok(None);
        }
        let finished = finished_job(settings).map_err(Failure::statement)?;
        Ok(finished.map(|job| {
            let when = finished_at(job.time_ms);
            format!("{name} has finished already ({when}); run with --fresh to begin anew")
        }))
    }

    fn follow(&mut self, job: &RunningJob, progress: &Progress) -> Result<(), Failure> {
        progress.show(&job.handle().map_err(Failure::running)?);
        if self.interrupt.is_set() {
            self.is_cancelled = true;
            job.cancel();
        }
        Ok(())
    }

    /// The first Ctrl-C stops the job; the second one ends the process (see [`Interrupt`]).
    fn check_interrupt(&mut self, handle: &JobHandle) {
        if self.interrupt.is_set() {
            self.is_cancelled = true;
            handle.cancel();
        }
    }

    /// Rows in and out of a job that has ended.
    fn finish(&mut self, handle: &JobHandle) -> Result<(u64, u64), Failure> {
        rows_of(handle.wait())
    }
}

/// Where a named job is controlled from.
struct Place {
    address: Address,
    savepoint_dir: Option<String>,
}

impl Place {
    /// `None` for a job without a name, or without a state folder.
    fn of(settings: &JobSettings) -> Result<Option<Self>, Failure> {
        let (Some(dir), Some(job)) = (&settings.durability.dir, &settings.job_id) else {
            return Ok(None);
        };
        let address = Address::of(dir, job, &settings.config).map_err(Failure::statement)?;
        Ok(Some(Self {
            address,
            savepoint_dir: settings.durability.savepoint_dir.clone(),
        }))
    }

    /// A job that cannot be controlled runs all the same.
    fn serve(self, names: (&str, &str), job: &RunningJob) -> Option<ControlServer> {
        let started = ControlServer::start(self.address, names, job.clone(), self.savepoint_dir);
        let name = names.0;
        started
            .inspect_err(|error| {
                eprintln!("warning: {name} cannot be controlled by other processes: {error}");
            })
            .ok()
    }
}

/// Rows in and out of a job that has ended.
fn rows_of(result: flott_core::Result<JobReport>) -> Result<(u64, u64), Failure> {
    let report = result.map_err(Failure::running)?;
    if report.outcome == JobOutcome::Cancelled {
        let error = Error::user("CANCELLED", "the job was cancelled");
        return Err(Failure::running(error));
    }
    Ok((report.num_records_in, report.num_records_out))
}

/// A name that no other job has, here or in another process: jobs may write to one folder.
fn attempt_id() -> String {
    format!("{:x}-{:x}", SystemClock.now_nanos(), std::process::id())
}

fn start(graph: JobGraph, options: JobOptions) -> Result<JobHandle, Failure> {
    flott_engine::execute(graph, options).map_err(Failure::statement)
}

/// Ctrl-C: once sets a flag, twice ends the process.
struct Interrupt {
    flag: Arc<AtomicBool>,
}

impl Interrupt {
    fn install() -> Self {
        let flag = Arc::new(AtomicBool::new(false));
        // Registered in this order: the second signal finds the flag set and ends the process.
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            let _ = signal_hook::flag::register_conditional_shutdown(signal, 130, flag.clone());
            let _ = signal_hook::flag::register(signal, flag.clone());
        }
        Self { flag }
    }

    /// Whether the signal has come; it stays, so that the next one ends the process.
    fn is_set(&self) -> bool {
        self.flag.load(Ordering::SeqCst)
    }
}
