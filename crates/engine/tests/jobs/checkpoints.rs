use std::sync::Arc;

use parking_lot::Mutex;

use flott_core::Result;
use flott_engine::testing::ScriptSource;
use flott_engine::{
    Checkpoint, CheckpointConfig, CheckpointListener, JobOptions, execute, execute_simulated,
};

use crate::operators::*;

#[derive(Default)]
struct Kept(Mutex<Vec<Checkpoint>>);

impl CheckpointListener for Kept {
    fn on_checkpoint(&self, checkpoint: Checkpoint) -> Result<()> {
        self.0.lock().push(checkpoint);
        Ok(())
    }
}

fn every_ms(interval_ms: u64) -> CheckpointConfig {
    CheckpointConfig {
        interval: Some(std::time::Duration::from_millis(interval_ms)),
        ..CheckpointConfig::default()
    }
}

fn source() -> ScriptSource {
    ScriptSource::new(schema(), splits(6, 40, 50))
}

#[test]
fn every_checkpoint_restores_at_every_parallelism_to_the_same_result() -> Result<()> {
    let kept = Arc::new(Kept::default());
    let options = |parallelism| JobOptions {
        parallelism,
        invariant_checks: true,
        ..JobOptions::default()
    };
    let first = JobOptions {
        checkpoints: every_ms(1),
        checkpoint_listener: Some(kept.clone()),
        ..options(3)
    };
    let sink = Arc::new(CommitSink::default());
    execute_simulated(sum_graph(source(), sink.clone()), first, 7)?;
    assert_eq!(sink.rows(), expected_sums(6, 40, 50));
    let checkpoints = kept.0.lock().clone();
    assert!(checkpoints.len() > 3, "{}", checkpoints.len());
    for (index, checkpoint) in checkpoints.into_iter().enumerate() {
        assert_eq!(checkpoint.id, index as u64 + 1);
        for parallelism in [1, 3, 4] {
            let sink = Arc::new(CommitSink::default());
            let again = JobOptions {
                restore: Some(Arc::new(checkpoint.clone())),
                attempt_id: "attempt-1".into(),
                ..options(parallelism)
            };
            execute(sum_graph(source(), sink.clone()), again)?.wait()?;
            let place = format!("checkpoint {}, parallelism {parallelism}", checkpoint.id);
            assert_eq!(sink.rows(), expected_sums(6, 40, 50), "{place}");
        }
    }
    Ok(())
}

#[test]
fn checkpoints_on_real_threads_complete_and_keep_every_row_once() -> Result<()> {
    for parallelism in [1, 4] {
        let kept = Arc::new(Kept::default());
        let sink = Arc::new(CommitSink::default());
        let options = JobOptions {
            parallelism,
            invariant_checks: true,
            checkpoint_listener: Some(kept.clone()),
            ..JobOptions::default()
        };
        let source = source().unbounded();
        let handle = execute(sum_graph(source, sink.clone()), options)?;
        for id in 1..6 {
            while handle.trigger_checkpoint()? != Some(id) {
                std::thread::yield_now();
            }
        }
        while handle.progress().num_records_in < 6 * 40 * 50 || kept.0.lock().len() < 5 {
            std::thread::yield_now();
        }
        handle.drain();
        handle.wait()?;
        assert_eq!(sink.rows(), expected_sums(6, 40, 50));
    }
    Ok(())
}
