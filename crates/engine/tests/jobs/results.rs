use std::sync::Arc;

use flott_core::Result;
use flott_core::graph::{Exchange, NodeKind};
use flott_engine::testing::{ScriptItem, ScriptSource, format_rows};
use flott_engine::{CollectSink, JobOptions, JobOutcome, execute};

use crate::operators::*;

fn options(parallelism: usize) -> JobOptions {
    JobOptions {
        parallelism,
        invariant_checks: true,
        ..JobOptions::default()
    }
}

#[test]
fn sums_are_the_same_at_every_parallelism() -> Result<()> {
    for parallelism in [1, 2, 4, 7] {
        let sink = Arc::new(CommitSink::default());
        let graph = sum_graph(
            ScriptSource::new(schema(), splits(5, 20, 300)),
            sink.clone(),
        );
        let handle = execute(graph, options(parallelism))?;
        let report = handle.wait()?;
        assert_eq!(report.outcome, JobOutcome::Finished);
        assert_eq!(
            (report.num_records_in, report.num_records_out),
            (30_000, 300)
        );
        assert_eq!(
            sink.rows(),
            expected_sums(5, 20, 300),
            "parallelism {parallelism}"
        );
        assert_eq!(handle.progress().watermark, i64::MAX);
    }
    Ok(())
}

#[test]
fn operators_may_have_fewer_subtasks_than_the_job() -> Result<()> {
    for (first, second) in [(1, 4), (4, 1), (3, 2), (2, 3)] {
        let sink = Arc::new(CommitSink::default());
        let mut graph = Graph::default();
        let source = ScriptSource::new(schema(), splits(5, 4, 50));
        let source = NodeKind::Source(Arc::new(source));
        let source = graph.node("source", source, &[], Some(first));
        let by_key = Exchange::Hash(vec![0]);
        let sums = graph.node("sum", sum(), &[(source, by_key)], Some(second));
        let inputs = [(sums, Exchange::Forward)];
        graph.node("sink", NodeKind::Sink(sink.clone()), &inputs, Some(1));
        execute(graph.0, options(4))?.wait()?;
        assert_eq!(sink.rows(), expected_sums(5, 4, 50), "{first} to {second}");
    }
    Ok(())
}

#[test]
fn every_exchange_delivers_what_it_should() -> Result<()> {
    let cases = [
        (Exchange::Rebalance, 1),
        (Exchange::Single, 1),
        (Exchange::Broadcast, 3),
        (Exchange::Hash(vec![0, 1]), 1),
    ];
    for (exchange, copies) in cases {
        let sink = Arc::new(CommitSink::default());
        let mut graph = Graph::default();
        let source = ScriptSource::new(schema(), splits(3, 4, 10));
        let source = graph.node("source", NodeKind::Source(Arc::new(source)), &[], None);
        let each = graph.node(
            "each",
            each(|_| Ok(())),
            &[(source, exchange.clone())],
            None,
        );
        let inputs = [(each, Exchange::Forward)];
        graph.node("sink", NodeKind::Sink(sink.clone()), &inputs, None);
        execute(graph.0, options(3))?.wait()?;
        assert_eq!(sink.rows().len(), 120 * copies, "{exchange:?}");
    }
    Ok(())
}

#[test]
fn several_consumers_each_get_everything_and_several_inputs_are_joined() -> Result<()> {
    for parallelism in [1, 4] {
        let (sum_sink, all_sink) = (
            Arc::new(CommitSink::default()),
            Arc::new(CommitSink::default()),
        );
        let mut graph = Graph::default();
        let source = |n| NodeKind::Source(Arc::new(ScriptSource::new(schema(), splits(n, 3, 20))));
        let first = graph.node("first", source(2), &[], None);
        let second = graph.node("second", source(3), &[], None);
        let by_key = || Exchange::Hash(vec![0]);
        let inputs = [(first, by_key()), (second, by_key())];
        let sums = graph.node("sum", sum(), &inputs, None);
        let inputs = [(first, Exchange::Forward), (sums, Exchange::Forward)];
        let union = graph.node("union", each(|_| Ok(())), &inputs, None);
        let inputs = [(sums, Exchange::Forward)];
        graph.node("sums", NodeKind::Sink(sum_sink.clone()), &inputs, None);
        let inputs = [(union, Exchange::Single)];
        graph.node("all", NodeKind::Sink(all_sink.clone()), &inputs, Some(1));
        execute(graph.0, options(parallelism))?.wait()?;
        assert_eq!(sum_sink.rows(), expected_sums(5, 3, 20));
        assert_eq!(all_sink.rows().len(), 2 * 3 * 20 + 20);
    }
    Ok(())
}

#[test]
fn a_collect_sink_gives_rows_and_then_the_end() -> Result<()> {
    let (sink, rows) = CollectSink::new(schema(), 1);
    let source = ScriptSource::new(schema(), splits(2, 10, 100));
    let mut graph = Graph::default();
    let source = graph.node("source", NodeKind::Source(Arc::new(source)), &[], None);
    let inputs = [(source, Exchange::Forward)];
    graph.node("sink", NodeKind::Sink(sink.clone()), &inputs, None);
    let handle = execute(graph.0, options(2))?;
    let num_rows: usize = rows.iter().map(|b| b.num_rows()).sum();
    assert_eq!(num_rows, 2000);
    handle.wait()?;
    Ok(())
}

#[test]
fn rows_of_a_channel_keep_their_order() -> Result<()> {
    let (sink, rows) = CollectSink::new(schema(), 1000);
    let script = (0..200).map(|i| ScriptItem::Batch(batch([i]))).collect();
    let mut graph = Graph::default();
    let source = ScriptSource::new(schema(), vec![script]);
    let source = graph.node("source", NodeKind::Source(Arc::new(source)), &[], Some(1));
    let sink = NodeKind::Sink(sink);
    graph.node("sink", sink, &[(source, Exchange::Single)], Some(1));
    execute(graph.0, options(2))?.wait()?;
    let lines: Vec<String> = rows.iter().flat_map(|b| format_rows(&b).unwrap()).collect();
    let expected: Vec<String> = (0..200).map(|i| format!("+I | {i} | {i}")).collect();
    assert_eq!(lines, expected);
    Ok(())
}
