use std::sync::Arc;

use flott_core::Result;
use flott_core::clock::ManualClock;
use flott_core::graph::{Exchange, NodeKind};
use flott_engine::testing::{ScriptItem, ScriptSource};
use flott_engine::{CollectSink, JobOptions, execute};

use crate::operators::*;

#[test]
fn a_slow_sink_keeps_memory_bounded() -> Result<()> {
    for parallelism in [1, 3] {
        // 4 splits of 500 batches of 16 kB: 32 MB through a budget of 256 kB.
        let (sink, rows) = CollectSink::new(schema(), 1);
        let mut graph = Graph::default();
        let source = ScriptSource::new(schema(), splits(4, 500, 1000));
        let source = graph.node("source", NodeKind::Source(Arc::new(source)), &[], None);
        let by_key = [(source, Exchange::Hash(vec![0]))];
        let pass = graph.node("pass", each(|_| Ok(())), &by_key, None);
        let inputs = [(pass, Exchange::Single)];
        graph.node("sink", NodeKind::Sink(sink), &inputs, Some(1));
        let options = JobOptions {
            parallelism,
            in_flight_bytes: 256 << 10,
            ..JobOptions::default()
        };
        let handle = execute(graph.0, options)?;
        let num_rows: usize = rows.iter().map(|b| b.num_rows()).sum();
        assert_eq!(num_rows, 2_000_000);
        let report = handle.wait()?;
        assert!(report.peak_in_flight_bytes < 1 << 20, "{report:?}");
    }
    Ok(())
}

#[test]
fn a_silent_source_holds_back_watermarks_only_until_it_is_idle() -> Result<()> {
    let clock = ManualClock::at_ms(0);
    let talking = vec![
        ScriptItem::Batch(batch([1])),
        ScriptItem::Watermark(100),
        ScriptItem::WaitUntil(20_000),
        ScriptItem::Watermark(200),
    ];
    // Its row shows that it has begun to wait before the clock moves.
    let silent = vec![
        ScriptItem::Batch(batch([2])),
        ScriptItem::WaitUntil(1_000_000),
    ];
    let mut graph = Graph::default();
    let source = ScriptSource::new(schema(), vec![talking, silent]).unbounded();
    let source = graph.node("source", NodeKind::Source(Arc::new(source)), &[], None);
    let (sink, _rows) = CollectSink::new(schema(), 10);
    graph.node(
        "sink",
        NodeKind::Sink(sink),
        &[(source, Exchange::Single)],
        Some(1),
    );
    let options = JobOptions {
        parallelism: 2,
        clock: clock.clone(),
        ..JobOptions::default()
    };
    let handle = execute(graph.0, options)?;
    let reaches = |watermark| {
        while handle.progress().watermark < watermark {
            std::thread::yield_now();
        }
        assert_eq!(handle.progress().watermark, watermark);
    };
    while handle.progress().num_records_out < 2 {
        std::thread::yield_now();
    }
    assert_eq!(handle.progress().watermark, i64::MIN);
    clock.advance(std::time::Duration::from_millis(5_000));
    handle.wake();
    reaches(100);
    clock.advance(std::time::Duration::from_millis(15_000));
    handle.wake();
    reaches(200);
    handle.cancel();
    handle.wait()?;
    Ok(())
}

#[test]
fn a_subtask_without_a_split_holds_nothing_back() -> Result<()> {
    let only = vec![
        ScriptItem::Batch(batch([1])),
        ScriptItem::Watermark(100),
        ScriptItem::WaitUntil(1_000_000),
    ];
    let mut graph = Graph::default();
    let source = ScriptSource::new(schema(), vec![only]).unbounded();
    let source = graph.node("source", NodeKind::Source(Arc::new(source)), &[], None);
    // Silence would be for ever.
    graph.0.nodes[source].idle_timeout_ms = None;
    let (sink, _rows) = CollectSink::new(schema(), 10);
    graph.node(
        "sink",
        NodeKind::Sink(sink),
        &[(source, Exchange::Single)],
        Some(1),
    );
    let options = JobOptions {
        parallelism: 2,
        clock: ManualClock::at_ms(0),
        ..JobOptions::default()
    };
    let handle = execute(graph.0, options)?;
    while handle.progress().watermark < 100 {
        std::thread::yield_now();
    }
    handle.cancel();
    handle.wait()?;
    Ok(())
}
