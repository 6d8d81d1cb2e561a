use std::sync::Arc;
use std::sync::atomic::Ordering;

use flott_core::changelog::ChangelogBatch;
use flott_core::clock::ManualClock;
use flott_core::graph::{Exchange, JobGraph, NodeKind};
use flott_core::operator::{Operator, OperatorFactory, Output};
use flott_core::{Error, ErrorKind, Result};
use flott_engine::testing::{ScriptItem, ScriptSource};
use flott_engine::{CollectSink, JobOptions, JobOutcome, execute};

use crate::operators::*;

fn options(parallelism: usize) -> JobOptions {
    JobOptions {
        parallelism,
        invariant_checks: true,
        ..JobOptions::default()
    }
}

/// source -> hash -> `kind` named `bad` -> sink
fn graph_with(kind: NodeKind, sink: Arc<CommitSink>) -> JobGraph {
    let mut graph = Graph::default();
    let source = ScriptSource::new(schema(), splits(4, 50, 100));
    let source = graph.node("source", NodeKind::Source(Arc::new(source)), &[], None);
    let bad = graph.node("bad", kind, &[(source, Exchange::Hash(vec![0]))], None);
    let inputs = [(bad, Exchange::Forward)];
    graph.node("sink", NodeKind::Sink(sink), &inputs, None);
    graph.0
}

#[test]
fn an_error_fails_the_job_and_names_the_operator_and_subtask() -> Result<()> {
    for parallelism in [1, 4] {
        let sink = Arc::new(CommitSink::default());
        let fails = each(|_| Err(Error::user("BAD_ROW", "the row is bad")));
        let handle = execute(graph_with(fails, sink.clone()), options(parallelism))?;
        let error = handle.wait().unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::User, "BAD_ROW"));
        let message = error.message();
        assert!(message.starts_with("bad (subtask "), "{message}");
        assert!(message.ends_with(": the row is bad"), "{message}");
        assert!(sink.rows().is_empty());
        assert_eq!(sink.num_aborted.load(Ordering::SeqCst), parallelism);
    }
    Ok(())
}

#[test]
fn a_panic_fails_the_job_in_words() -> Result<()> {
    for parallelism in [1, 4] {
        let sink = Arc::new(CommitSink::default());
        let panics = each(|_| panic!("on purpose"));
        let handle = execute(graph_with(panics, sink.clone()), options(parallelism))?;
        let error = handle.wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert!(error.message().contains("bad (subtask "), "{error}");
        assert!(error.message().contains("panic: on purpose"), "{error}");
    }
    Ok(())
}

#[test]
fn a_failing_reader_is_named_too() -> Result<()> {
    let items = [
        ScriptItem::Fail(Error::external("IO", "the disk is gone")),
        ScriptItem::Panic("the disk is gone".into()),
    ];
    for item in items {
        let source = ScriptSource::new(schema(), vec![vec![ScriptItem::Batch(batch([1])), item]]);
        let graph = sum_graph(source, Arc::new(CommitSink::default()));
        let error = execute(graph, options(2))?.wait().unwrap_err();
        assert!(error.message().starts_with("source (subtask "), "{error}");
        assert!(error.message().ends_with("the disk is gone"), "{error}");
    }
    Ok(())
}

#[test]
fn a_factory_that_fails_on_one_worker_ends_the_job() -> Result<()> {
    let factory = || Err(Error::user("OPEN", "cannot be opened"));
    let kind = NodeKind::Operator(Arc::new(factory) as Arc<dyn OperatorFactory>);
    let sink = Arc::new(CommitSink::default());
    let error = execute(graph_with(kind, sink), options(3))?
        .wait()
        .unwrap_err();
    assert!(error.message().contains("bad (subtask"), "{error}");
    Ok(())
}

#[test]
fn a_cancelled_job_aborts_its_writers_and_commits_nothing() -> Result<()> {
    for parallelism in [1, 3] {
        let sink = Arc::new(CommitSink::default());
        let source = ScriptSource::new(schema(), splits(2, 5, 10)).unbounded();
        let handle = execute(sum_graph(source, sink.clone()), options(parallelism))?;
        while handle.progress().num_records_in < 100 {
            std::thread::yield_now();
        }
        assert!(!handle.is_finished());
        handle.cancel();
        assert_eq!(handle.wait()?.outcome, JobOutcome::Cancelled);
        assert!(sink.rows().is_empty());
        assert_eq!(sink.num_aborted.load(Ordering::SeqCst), parallelism);
    }
    Ok(())
}

#[test]
fn a_drained_job_finishes_and_commits() -> Result<()> {
    let sink = Arc::new(CommitSink::default());
    let source = ScriptSource::new(schema(), splits(2, 5, 10)).unbounded();
    let handle = execute(sum_graph(source, sink.clone()), options(3))?;
    while handle.progress().num_records_in < 100 {
        std::thread::yield_now();
    }
    handle.drain();
    assert_eq!(handle.wait()?.outcome, JobOutcome::Finished);
    assert_eq!(sink.rows(), expected_sums(2, 5, 10));
    Ok(())
}

#[test]
fn a_job_whose_result_nobody_reads_can_be_cancelled() -> Result<()> {
    let (sink, rows) = CollectSink::new(schema(), 1);
    let source = ScriptSource::new(schema(), splits(4, 50, 10));
    let mut graph = Graph::default();
    let source = graph.node("source", NodeKind::Source(Arc::new(source)), &[], None);
    let inputs = [(source, Exchange::Single)];
    graph.node("sink", NodeKind::Sink(sink), &inputs, Some(1));
    let handle = execute(graph.0, options(2))?;
    rows.recv().unwrap();
    handle.cancel();
    assert_eq!(handle.wait()?.outcome, JobOutcome::Cancelled);
    Ok(())
}

/// Sends one row when processing time reaches 1000.
struct Alarm(bool);

impl Operator for Alarm {
    fn process(&mut self, _: usize, _: ChangelogBatch, _: &mut dyn Output) -> Result<()> {
        Ok(())
    }

    fn next_timer_ms(&self) -> Option<i64> {
        (!self.0).then_some(1000)
    }

    fn on_timer(&mut self, now_ms: i64, out: &mut dyn Output) -> Result<()> {
        self.0 = true;
        out.emit(batch([now_ms]))
    }
}

#[test]
fn timers_follow_the_jobs_clock() -> Result<()> {
    let clock = ManualClock::at_ms(0);
    let (sink, rows) = CollectSink::new(schema(), 10);
    let source = ScriptSource::new(schema(), splits(1, 1, 1)).unbounded();
    let factory = || Ok(Box::new(Alarm(false)) as Box<dyn Operator>);
    let alarm = NodeKind::Operator(Arc::new(factory) as Arc<dyn OperatorFactory>);
    let mut graph = Graph::default();
    let source = graph.node("source", NodeKind::Source(Arc::new(source)), &[], None);
    let alarm = graph.node("alarm", alarm, &[(source, Exchange::Single)], Some(1));
    let sink = NodeKind::Sink(sink);
    graph.node("sink", sink, &[(alarm, Exchange::Forward)], Some(1));
    let options = JobOptions {
        clock: clock.clone(),
        ..options(2)
    };
    let handle = execute(graph.0, options)?;
    while handle.progress().num_records_in < 1 {
        std::thread::yield_now();
    }
    assert!(rows.is_empty());
    clock.advance(std::time::Duration::from_millis(1500));
    handle.wake();
    let batch = rows.recv().unwrap();
    assert_eq!(
        flott_engine::testing::format_rows(&batch)?,
        ["+I | 1500 | 1500"]
    );
    handle.cancel();
    handle.wait()?;
    Ok(())
}
