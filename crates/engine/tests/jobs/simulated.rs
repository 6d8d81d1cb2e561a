use std::sync::Arc;

use flott_core::{Error, Result};
use flott_engine::testing::{ScriptItem, ScriptSource};
use flott_engine::{JobOptions, execute_simulated};

use crate::operators::*;

fn options(parallelism: usize) -> JobOptions {
    JobOptions {
        parallelism,
        invariant_checks: true,
        ..JobOptions::default()
    }
}

#[test]
fn a_seed_replayed_gives_the_same_trace_and_every_seed_the_same_result() -> Result<()> {
    let mut hashes = Vec::new();
    for seed in 0..12 {
        let run = || -> Result<_> {
            let sink = Arc::new(CommitSink::default());
            let source = ScriptSource::new(schema(), splits(5, 6, 40));
            let run = execute_simulated(sum_graph(source, sink.clone()), options(4), seed)?;
            assert_eq!(sink.rows(), expected_sums(5, 6, 40), "seed {seed}");
            Ok(run)
        };
        let first = run()?;
        assert_eq!(first, run()?, "seed {seed}");
        assert!(first.num_events > 50);
        hashes.push(first.trace_hash);
    }
    hashes.sort_unstable();
    hashes.dedup();
    assert!(hashes.len() > 6, "the seeds make no difference: {hashes:?}");
    Ok(())
}

#[test]
fn simulated_time_moves_on_when_nothing_is_left_to_do() -> Result<()> {
    let script = vec![
        ScriptItem::Batch(batch(0..3)),
        ScriptItem::WaitUntil(3_600_000),
        ScriptItem::Batch(batch(0..3)),
    ];
    let sink = Arc::new(CommitSink::default());
    let source = ScriptSource::new(schema(), vec![script]);
    execute_simulated(sum_graph(source, sink.clone()), options(2), 1)?;
    assert_eq!(sink.rows(), expected_sums(1, 2, 3));
    Ok(())
}

#[test]
fn a_simulated_failure_ends_the_run() {
    let script = vec![
        ScriptItem::Batch(batch(0..3)),
        ScriptItem::Fail(Error::user("X", "x")),
    ];
    let source = ScriptSource::new(schema(), vec![script]);
    let graph = sum_graph(source, Arc::new(CommitSink::default()));
    let error = execute_simulated(graph, options(3), 5).unwrap_err();
    assert_eq!(error.code(), "X");
}
