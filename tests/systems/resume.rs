//! A crash between the checkpoint's manifest and the commit of its transactions, in this process:
//! the job fails right where a process would die, and another one starts from the checkpoint with
//! producers of its own.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use flott_core::Error;
use flott_core::clock::SystemClock;
use flott_core::connector::Registry;
use flott_core::graph::JobGraph;
use flott_engine::{Checkpoint, CheckpointListener, JobOptions, JobOutcome, execute};
use flott_sql::parser::parse_script_tolerant;
use flott_sql::session::{Session, StatementResult};
use libtest_mimic::Failed;

use crate::exactly_once::{numbers, tables_with, values};
use crate::flott::expect;
use crate::waiting::{pause, wait_for};
use crate::{Case, Kafka};

pub const CASES: &[Case] = &[(
    "a_crash_before_the_commit_loses_nothing",
    a_crash_before_the_commit,
)];

/// Keeps the first checkpoint with transactions in it, and lets the job fail there.
#[derive(Default)]
struct DiesBeforeCommit(Mutex<Option<Checkpoint>>);

impl CheckpointListener for DiesBeforeCommit {
    fn on_checkpoint(&self, checkpoint: Checkpoint) -> flott_core::Result<()> {
        let subtasks = checkpoint.operators.values().flat_map(|o| &o.subtasks);
        let count = subtasks.map(|s| s.committables.len()).sum::<usize>();
        if count == 0 {
            return Ok(());
        }
        *self.0.lock().map_err(|e| Error::internal(e.to_string()))? = Some(checkpoint);
        Err(Error::external("TEST", "the process dies here"))
    }
}

/// The job that the last statement of a script starts.
fn graph(sql: &str) -> Result<JobGraph, Failed> {
    let registry = Registry {
        connectors: flott_connectors::all(),
        formats: flott_formats::all(),
    };
    let mut session = Session::new(registry, Arc::new(SystemClock));
    let mut graph = Err("no job".into());
    for statement in parse_script_tolerant(sql) {
        let statement = statement.map_err(|f| f.error.to_string())?;
        if let StatementResult::Insert(job) =
            session.execute(&statement, 2).map_err(|e| e.to_string())?
        {
            graph = Ok(job);
        }
    }
    graph
}

fn a_crash_before_the_commit(kafka: &Kafka) -> Result<(), Failed> {
    let connect = format!(
        "'connector' = 'kafka', 'properties.bootstrap.servers' = '{}'",
        kafka.address
    );
    crash_before_the_commit(kafka, &connect, "crash")
}

/// The same for tables with these options, over topics whose names begin with `name`.
pub fn crash_before_the_commit(kafka: &Kafka, connect: &str, name: &str) -> Result<(), Failed> {
    let (from, to) = (format!("{name}-in"), format!("{name}-out"));
    kafka.clients.create_topic(&from, 2);
    kafka.clients.create_topic(&to, 2);
    kafka.clients.produce(&from, &numbers(1_000));
    let insert = "INSERT INTO b SELECT n FROM a;";
    let endless = || {
        let tables = tables_with(connect, &from, &to, "", "");
        graph(&format!("{tables}{insert}"))
    };
    let keeper = Arc::new(DiesBeforeCommit::default());
    let options = JobOptions {
        parallelism: 2,
        checkpoint_listener: Some(keeper.clone()),
        ..JobOptions::default()
    };
    let first = execute(endless()?, options)?;
    while !first.is_finished() {
        first.trigger_checkpoint()?;
        pause(Duration::from_millis(100));
    }
    expect(first.wait().is_err(), true)?;
    // What was prepared is not visible yet, and not aborted either.
    let kept = keeper.0.lock().map_err(|e| e.to_string())?.take();
    let checkpoint = kept.ok_or("no checkpoint was kept")?;
    let options = JobOptions {
        parallelism: 2,
        restore: Some(Arc::new(checkpoint)),
        ..JobOptions::default()
    };
    let second = execute(endless()?, options)?;
    let is_complete = wait_for(Duration::from_secs(60), || {
        let _ = second.trigger_checkpoint();
        second.is_finished() || values(kafka, &to).len() >= 1_000
    });
    second.cancel();
    expect(second.wait()?.outcome, JobOutcome::Cancelled)?;
    expect(is_complete, true)?;
    expect(values(kafka, &to), (0..1_000).collect())?;
    Ok(())
}
