//! Jobs that fail, and go on from what was stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use flott_core::Result;
use flott_core::changelog::ChangelogMode;
use flott_core::clock::ManualClock;
use flott_core::graph::{Exchange, JobGraph, NodeKind};
use flott_core::options::Options;
use flott_core::sink::{Committer, SinkWriter, TableSink, WriterContext};
use flott_core::source::TableSource;
use flott_engine::restart::RestartStrategy;
use flott_engine::testing::ScriptSource;
use flott_engine::{
    CheckpointStatus, DurabilityConfig, JobEvent, JobOptions, JobOutcome, JobSettings, RunningJob,
    finished_job, run_job,
};
use flott_state::storage::fault::{Fault, FaultStore, Operation};
use flott_state::storage::{CheckpointStore, StoragePlace};

use crate::operators::*;

const NUM_BATCHES: usize = 200;

fn source() -> ScriptSource {
    ScriptSource::new(schema(), splits(3, NUM_BATCHES, 20))
}

fn expected() -> Vec<String> {
    expected_sums(3, NUM_BATCHES, 20)
}

fn settings(place: StoragePlace) -> JobSettings {
    let pairs = [
        ("execution.checkpointing.interval", "1 ms"),
        ("execution.checkpointing.data-inline-threshold", "0"),
        ("restart-strategy.type", "fixed-delay"),
        ("restart-strategy.fixed-delay.attempts", "50"),
        ("restart-strategy.fixed-delay.delay", "0 ms"),
    ];
    let config: Options = pairs
        .iter()
        .map(|(k, v)| (k.to_string(), v.to_string()))
        .collect();
    JobSettings {
        job_id: Some("job".into()),
        statements: vec!["INSERT".into()],
        options: JobOptions {
            parallelism: 2,
            invariant_checks: true,
            ..JobOptions::default()
        },
        durability: DurabilityConfig::from_options(&config).unwrap(),
        config,
        place: Some(place),
    }
}

/// source -> `work` -> hash -> sum -> sink
fn graph(source: impl TableSource + 'static, work: NodeKind, sink: Arc<dyn TableSink>) -> JobGraph {
    let mut graph = Graph::default();
    let source = graph.node("source", NodeKind::Source(Arc::new(source)), &[], None);
    let work = graph.node("work", work, &[(source, Exchange::Forward)], None);
    let sums = graph.node("sum", sum(), &[(work, Exchange::Hash(vec![0]))], None);
    graph.node(
        "sink",
        NodeKind::Sink(sink),
        &[(sums, Exchange::Forward)],
        None,
    );
    graph.0
}

/// Fails once each time that so many batches have passed, up to `times`.
fn fails_every(num_batches: usize, times: usize) -> NodeKind {
    let (seen, failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    each(move |_| {
        let is_due = (seen.fetch_add(1, Ordering::SeqCst) + 1) % num_batches == 0;
        if is_due && failed.fetch_add(1, Ordering::SeqCst) < times {
            panic!("on purpose");
        }
        Ok(())
    })
}

fn work() -> NodeKind {
    each(|_| Ok(()))
}

fn wait_for(what: impl Fn() -> bool) {
    while !what() {
        std::thread::yield_now();
    }
}

#[test]
fn a_job_that_panics_again_and_again_gives_every_row_once() -> Result<()> {
    let sink = Arc::new(CommitSink::default());
    let graph = graph(source(), fails_every(150, 4), sink.clone());
    let job = run_job(graph, settings(StoragePlace::in_memory()))?;
    assert_eq!(job.wait()?.outcome, JobOutcome::Finished);
    assert!(job.num_restarts() > 0);
    assert_eq!(sink.rows(), expected());
    Ok(())
}

#[test]
fn without_a_strategy_the_first_failure_is_the_last() -> Result<()> {
    let sink = Arc::new(CommitSink::default());
    let mut settings = settings(StoragePlace::in_memory());
    settings.durability.restart = RestartStrategy::None;
    let job = run_job(graph(source(), fails_every(10, 9), sink.clone()), settings)?;
    let error = job.wait().unwrap_err();
    assert!(error.message().contains("on purpose"), "{error}");
    assert!(sink.rows().is_empty());
    Ok(())
}

#[test]
fn a_job_that_gives_up_says_how_often_it_tried() -> Result<()> {
    let sink = Arc::new(CommitSink::default());
    let mut settings = settings(StoragePlace::in_memory());
    settings.durability.restart = RestartStrategy::FixedDelay {
        num_attempts: 2,
        delay: Duration::ZERO,
    };
    let job = run_job(graph(source(), fails_every(1, 99), sink), settings)?;
    let error = job.wait().unwrap_err();
    assert!(error.message().contains("after 2 restarts"), "{error}");
    assert_eq!(job.num_restarts(), 2);
    Ok(())
}

/// A fault at every write, each in a run of its own.
fn fault_at_every_put(fault: Fault) -> Result<()> {
    for at in 0..14 {
        let num_puts = Arc::new(AtomicUsize::new(0));
        let count = num_puts.clone();
        let store = FaultStore::new(move |operation, _, _| {
            let is_it = operation == Operation::Put && count.fetch_add(1, Ordering::SeqCst) == at;
            if is_it { fault } else { Fault::None }
        });
        let place = StoragePlace::with_store(store, "faults");
        let sink = Arc::new(CommitSink::default());
        let job = run_job(
            graph(source(), fails_every(170, 2), sink.clone()),
            settings(place),
        );
        if at == 0 && job.is_err() {
            // The first attempt could not begin: that is told at once.
            continue;
        }
        assert_eq!(
            job?.wait()?.outcome,
            JobOutcome::Finished,
            "{fault:?} at {at}"
        );
        assert_eq!(sink.rows(), expected(), "{fault:?} at {at}");
    }
    Ok(())
}

#[test]
fn a_write_that_is_refused_loses_and_doubles_nothing() -> Result<()> {
    fault_at_every_put(Fault::Before)
}

#[test]
fn a_write_without_an_answer_loses_and_doubles_nothing() -> Result<()> {
    fault_at_every_put(Fault::After)
}

#[test]
fn a_torn_write_loses_and_doubles_nothing() -> Result<()> {
    fault_at_every_put(Fault::Torn)
}

#[test]
fn a_tolerated_failure_keeps_changes_and_output_for_the_next_checkpoint() -> Result<()> {
    let num_refused = Arc::new(AtomicUsize::new(0));
    let refused = num_refused.clone();
    let store = FaultStore::new(move |operation, path, _| {
        let is_state = operation == Operation::Put && path.contains("shared/");
        if is_state && refused.fetch_add(1, Ordering::SeqCst) < 3 {
            return Fault::Before;
        }
        Fault::None
    });
    let mut settings = settings(StoragePlace::with_store(store, "faults"));
    settings.durability.checkpoints.num_tolerable_failures = 10;
    let sink = Arc::new(CommitSink::default());
    let job = run_job(graph(source(), work(), sink.clone()), settings)?;
    job.wait()?;
    assert_eq!(job.num_restarts(), 0);
    assert_eq!(sink.rows(), expected());
    let history = job.handle()?.checkpoints();
    assert!(history.num_completed > 0, "{history:?}");
    Ok(())
}

#[test]
fn a_commit_that_fails_at_the_end_is_made_up_for() -> Result<()> {
    let sink = Arc::new(CommitSink::default());
    sink.fail_next_commits.store(1, Ordering::SeqCst);
    let mut settings = settings(StoragePlace::in_memory());
    // Only the last checkpoint commits.
    settings.durability.checkpoints.interval = Some(Duration::from_secs(3600));
    let job = run_job(graph(source(), work(), sink.clone()), settings)?;
    assert_eq!(job.wait()?.outcome, JobOutcome::Finished);
    assert_eq!(job.num_restarts(), 1);
    assert_eq!(sink.rows(), expected());
    Ok(())
}

/// A checkpoint that is being stored when the job is cancelled must not appear afterwards.
#[test]
fn a_cancelled_job_leaves_no_checkpoint_that_was_under_way() -> Result<()> {
    let store = FaultStore::new(|operation, path, _| {
        let is_state = operation == Operation::Put && path.contains("shared/");
        match is_state {
            true => Fault::Hold,
            false => Fault::None,
        }
    });
    let place = StoragePlace::with_store(store.clone(), "faults");
    let mut settings = settings(place.clone());
    settings.job_id = None;
    let sink = Arc::new(CommitSink::default());
    let job = run_job(graph(source().unbounded(), work(), sink.clone()), settings)?;
    let handle = job.handle()?;
    let is_under_way = || {
        let history = handle.checkpoints();
        history.last.back().map(|c| c.status.clone()) == Some(CheckpointStatus::InProgress)
    };
    wait_for(is_under_way);
    job.cancel();
    store.set(|_, _, _| Fault::None);
    wait_for(|| {
        store.release();
        job.wait_timeout(Duration::from_millis(1))
    });
    assert_eq!(job.wait()?.outcome, JobOutcome::Cancelled);
    let left: Vec<String> = place.list("")?.into_iter().map(|o| o.name).collect();
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

#[test]
fn between_two_checkpoints_is_the_least_pause() -> Result<()> {
    const PAUSE_MS: i64 = 5_000;
    let clock = ManualClock::at_ms(0);
    let mut settings = settings(StoragePlace::in_memory());
    settings.options.clock = clock.clone();
    settings.durability.checkpoints.interval = Some(Duration::from_secs(1));
    settings.durability.checkpoints.min_pause = Duration::from_millis(PAUSE_MS as u64);
    let sink = Arc::new(CommitSink::default());
    let job = run_job(graph(source().unbounded(), work(), sink.clone()), settings)?;
    let handle = job.handle()?;
    wait_for(|| {
        clock.advance(Duration::from_millis(10));
        job.wake();
        std::thread::yield_now();
        handle.checkpoints().num_completed >= 4
    });
    let history = handle.checkpoints().last;
    let pauses = history.iter().zip(history.iter().skip(1));
    for (one, next) in pauses {
        let pause_ms = next.trigger_time_ms - (one.trigger_time_ms + one.duration_ms);
        assert!(pause_ms >= PAUSE_MS, "{one:?}, {next:?}");
    }
    handle.drain();
    job.wait()?;
    assert_eq!(sink.rows(), expected());
    Ok(())
}

#[test]
fn a_store_that_hangs_does_not_hold_up_the_job() -> Result<()> {
    let clock = ManualClock::at_ms(0);
    let store = FaultStore::new(|_, path, _| match path.contains("_manifest") {
        true => Fault::Hold,
        false => Fault::None,
    });
    let mut settings = settings(StoragePlace::with_store(store.clone(), "faults"));
    settings.options.clock = clock.clone();
    settings.durability.checkpoints.interval = Some(Duration::from_secs(1));
    settings.durability.checkpoints.timeout = Duration::from_secs(10);
    settings.durability.checkpoints.num_tolerable_failures = 1;
    let sink = Arc::new(CommitSink::default());
    let job = run_job(graph(source().unbounded(), work(), sink.clone()), settings)?;
    let pass = |seconds| {
        clock.advance(Duration::from_secs(seconds));
        job.wake();
    };
    let handle = job.handle()?;
    wait_for(|| handle.progress().num_records_in > 0);
    pass(2);
    let status = |n: usize| {
        let history = job.handle().unwrap().checkpoints();
        history.last.get(n).map(|s| s.status.clone())
    };
    wait_for(|| status(0) == Some(CheckpointStatus::InProgress));
    // The job goes on meanwhile.
    wait_for(|| handle.progress().num_records_in == 3 * NUM_BATCHES as u64 * 20);
    pass(20);
    wait_for(|| matches!(status(0), Some(CheckpointStatus::Failed(_))));
    store.set(|_, _, _| Fault::None);
    pass(2);
    wait_for(|| {
        store.release();
        job.wake();
        handle.checkpoints().num_completed > 0
    });
    handle.drain();
    job.wait()?;
    assert_eq!(job.num_restarts(), 0);
    assert_eq!(sink.rows(), expected());
    Ok(())
}

#[test]
fn delays_follow_the_jobs_clock() -> Result<()> {
    let clock = ManualClock::at_ms(0);
    let mut settings = settings(StoragePlace::in_memory());
    settings.options.clock = clock.clone();
    settings.durability.restart = RestartStrategy::FixedDelay {
        num_attempts: 1,
        delay: Duration::from_secs(100),
    };
    let sink = Arc::new(CommitSink::default());
    let job = run_job(graph(source(), fails_every(10, 1), sink.clone()), settings)?;
    let mut events = Vec::new();
    while !events
        .iter()
        .any(|e| matches!(e, JobEvent::Restarting { .. }))
    {
        events.extend(job.take_events());
        std::thread::yield_now();
    }
    clock.advance(Duration::from_secs(99));
    job.wake();
    assert!(!job.wait_timeout(Duration::ZERO));
    assert_eq!(job.num_restarts(), 0);
    clock.advance(Duration::from_secs(2));
    job.wake();
    job.wait()?;
    assert_eq!(sink.rows(), expected());
    Ok(())
}

#[test]
fn a_second_process_takes_over_and_the_first_stops() -> Result<()> {
    let place = StoragePlace::in_memory();
    let sink = Arc::new(CommitSink::default());
    let start = || -> Result<RunningJob> {
        let graph = graph(source().unbounded(), work(), sink.clone());
        run_job(graph, settings(place.clone()))
    };
    let first = start()?;
    let completed = |job: &RunningJob| job.handle().unwrap().checkpoints().num_completed;
    wait_for(|| completed(&first) > 1);
    let second = start()?;
    assert_eq!(first.wait().unwrap_err().code(), "FENCED");
    wait_for(|| completed(&second) > 1);
    second.handle()?.drain();
    second.wait()?;
    assert_eq!(sink.rows(), expected());
    Ok(())
}

#[test]
fn a_stopped_job_goes_on_from_its_savepoint_at_another_parallelism() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_string_lossy().to_string();
    let sink = Arc::new(CommitSink::default());
    let graph = |is_bounded: bool| {
        let source = if is_bounded {
            source()
        } else {
            source().unbounded()
        };
        graph(source, work(), sink.clone())
    };
    let mut first = settings(StoragePlace::in_memory());
    first.durability.checkpoints.interval = None;
    let job = run_job(graph(false), first)?;
    wait_for(|| job.handle().unwrap().progress().num_records_in > 1000);
    let intermediate = job.trigger_savepoint(&folder)?.wait()?;
    let stopped = job.stop_with_savepoint(&folder, false)?.wait()?;
    let report = job.wait()?;
    assert_eq!(report.outcome, JobOutcome::Stopped);
    assert_eq!(report.savepoint.as_deref(), Some(stopped.as_str()));
    for path in [intermediate, stopped] {
        let mut next = settings(StoragePlace::in_memory());
        next.options.parallelism = 3;
        next.durability.recovery_path = Some(path.clone());
        let job = run_job(graph(true), next)?;
        job.wait()?;
        let started = job.take_events();
        assert!(matches!(&started[0], JobEvent::Restored { path: p } if *p == path));
        assert_eq!(sink.rows(), expected());
        sink.committed.lock().clear();
    }
    Ok(())
}

#[test]
fn a_drained_job_leaves_a_savepoint_with_its_output_committed() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let sink = Arc::new(CommitSink::default());
    let graph = graph(source().unbounded(), work(), sink.clone());
    let job = run_job(graph, settings(StoragePlace::in_memory()))?;
    wait_for(|| job.handle().unwrap().progress().num_records_in == 3 * NUM_BATCHES as u64 * 20);
    let ticket = job.stop_with_savepoint(&folder.path().to_string_lossy(), true)?;
    let path = ticket.wait()?;
    job.wait()?;
    assert!(std::path::Path::new(&path).join("_manifest").exists());
    assert_eq!(sink.rows(), expected());
    Ok(())
}

#[test]
fn a_damaged_state_file_makes_the_job_start_from_the_checkpoint_before() -> Result<()> {
    let place = StoragePlace::in_memory();
    let sink = Arc::new(CommitSink::default());
    let mut first = settings(place.clone());
    first.durability.checkpoints.num_retained = 3;
    let job = run_job(graph(source().unbounded(), work(), sink.clone()), first)?;
    wait_for(|| job.handle().unwrap().checkpoints().num_completed > 4);
    job.cancel();
    job.wait()?;
    let (newest, path) = damage_newest(&place)?;
    let mut second = settings(place);
    second.durability.restart = RestartStrategy::None;
    let job = run_job(graph(source(), work(), sink.clone()), second)?;
    job.wait()?;
    assert_eq!(job.num_restarts(), 0);
    let skipped = job.take_events().into_iter().find_map(|event| match event {
        JobEvent::Skipped {
            checkpoint_id,
            error,
        } => Some((checkpoint_id, error)),
        _ => None,
    });
    let (id, error) = skipped.unwrap();
    assert_eq!(id, newest);
    assert!(error.message().contains(&path), "{error}");
    assert_eq!(sink.num_retractions.load(Ordering::SeqCst), 1);
    assert_eq!(sink.rows(), expected());
    Ok(())
}

/// Flips a bit of a state file that only the newest checkpoint names; gives its id and the file.
fn damage_newest(place: &StoragePlace) -> Result<(u64, String)> {
    let store = CheckpointStore::new(place, "job");
    let ids = store.list()?;
    let newest = *ids.last().unwrap();
    let manifest = store.read(newest)?;
    let older = store.read(ids[ids.len() - 2])?;
    let older: Vec<&str> = older.files().map(|f| f.path.as_str()).collect();
    let own = manifest.files().find(|f| !older.contains(&f.path.as_str()));
    let path = own.unwrap().path.clone();
    let mut bytes = store.place().get(&path)?.unwrap().to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    store.place().put(&path, bytes.into())?;
    Ok((newest, path))
}

/// The names of what a checkpoint's writers have prepared.
fn prepared_in(place: &StoragePlace, id: u64) -> Result<Vec<String>> {
    let manifest = CheckpointStore::new(place, "job").read(id)?;
    let subtasks = manifest.operators.iter().flat_map(|o| &o.subtasks);
    let committables = subtasks.flat_map(|s| &s.committables);
    let names = committables.map(|c| {
        let text = String::from_utf8_lossy(&c.0).into_owned();
        text.lines().next().unwrap_or_default().to_string()
    });
    Ok(names.collect())
}

#[test]
fn nothing_of_a_damaged_checkpoint_is_committed() -> Result<()> {
    let place = StoragePlace::in_memory();
    let sink = Arc::new(CommitSink::default());
    let mut first = settings(place.clone());
    first.durability.checkpoints.num_retained = 3;
    first.durability.restart = RestartStrategy::None;
    let job = run_job(graph(source().unbounded(), work(), sink.clone()), first)?;
    wait_for(|| job.handle().unwrap().checkpoints().num_completed > 4);
    // The next checkpoint is stored, and the job ends before its commit.
    sink.fail_next_commits.store(usize::MAX, Ordering::SeqCst);
    assert_eq!(job.wait().unwrap_err().code(), "COMMIT");
    sink.fail_next_commits.store(0, Ordering::SeqCst);
    let (newest, _) = damage_newest(&place)?;
    let prepared = prepared_in(&place, newest)?;
    assert!(!prepared.is_empty());
    let job = run_job(graph(source(), work(), sink.clone()), settings(place))?;
    job.wait()?;
    let committed = sink.committed.lock().clone();
    assert!(prepared.iter().all(|name| !committed.contains_key(name)));
    assert_eq!(sink.rows(), expected());
    Ok(())
}

#[test]
fn going_back_is_refused_where_output_would_come_twice() -> Result<()> {
    let place = StoragePlace::in_memory();
    let sink = Arc::new(CommitSink::default());
    let mut first = settings(place.clone());
    first.durability.checkpoints.num_retained = 3;
    let job = run_job(graph(source().unbounded(), work(), sink.clone()), first)?;
    wait_for(|| job.handle().unwrap().checkpoints().num_completed > 4);
    job.cancel();
    job.wait()?;
    damage_newest(&place)?;
    let again = |option: &str| {
        let mut settings = settings(place.clone());
        let mut config = settings.config.clone();
        config.set("execution.state-recovery.damaged-checkpoint", option);
        settings.durability = DurabilityConfig::from_options(&config).unwrap();
        let job = run_job(
            graph(source(), work(), Arc::new(Stubborn(sink.clone()))),
            settings,
        )?;
        job.wait()
    };
    for option in ["RETRACT", "FAIL"] {
        let error = again(option).unwrap_err();
        assert_eq!(error.code(), "DAMAGED_CHECKPOINT", "{option}: {error}");
        assert!(error.message().contains("REPEAT"), "{error}");
    }
    again("REPEAT")?;
    assert_eq!(sink.num_retractions.load(Ordering::SeqCst), 0);
    assert_eq!(sink.rows(), expected());
    Ok(())
}

/// A sink that cannot take back what it has committed.
struct Stubborn(Arc<CommitSink>);

impl TableSink for Stubborn {
    fn changelog_mode(&self, offered: ChangelogMode) -> Result<ChangelogMode> {
        self.0.changelog_mode(offered)
    }

    fn create_writer(&self, context: WriterContext) -> Result<Box<dyn SinkWriter>> {
        self.0.create_writer(context)
    }

    fn create_committer(&self) -> Result<Option<Box<dyn Committer>>> {
        self.0.create_committer()
    }
}

#[test]
fn a_finished_job_is_known_and_its_state_is_small() -> Result<()> {
    let place = StoragePlace::in_memory();
    let sink = Arc::new(CommitSink::default());
    let job = run_job(
        graph(source(), work(), sink.clone()),
        settings(place.clone()),
    )?;
    job.wait()?;
    let finished = finished_job(&settings(place.clone()))?.unwrap();
    let store = CheckpointStore::new(&place, "job");
    assert_eq!(store.list()?, [finished.checkpoint_id]);
    let manifest = store.read(finished.checkpoint_id)?;
    assert!(manifest.is_final);
    assert!(
        manifest
            .operators
            .iter()
            .flat_map(|o| &o.subtasks)
            .all(|s| s.is_finished)
    );
    assert_eq!(manifest.files().count(), 0);
    // Started again all the same, nothing is read and nothing comes out twice.
    let again = run_job(graph(source(), work(), sink.clone()), settings(place))?;
    assert_eq!(again.wait()?.num_records_in, 0);
    assert_eq!(sink.rows(), expected());
    Ok(())
}

#[test]
fn state_without_its_operator_is_not_dropped_silently() -> Result<()> {
    let place = StoragePlace::in_memory();
    let sink = Arc::new(CommitSink::default());
    let job = run_job(
        graph(source().unbounded(), work(), sink.clone()),
        settings(place.clone()),
    )?;
    wait_for(|| job.handle().unwrap().checkpoints().num_completed > 0);
    job.cancel();
    job.wait()?;
    let mut changed = graph(source(), work(), sink.clone());
    changed.nodes[2].uid = "another".into();
    let error = run_job(changed.clone(), settings(place.clone()))
        .map(drop)
        .unwrap_err();
    assert_eq!(error.code(), "UNCLAIMED_STATE");
    assert!(error.message().contains("sum"), "{error}");
    let mut settings = settings(place);
    settings.durability.ignores_unclaimed_state = true;
    run_job(changed, settings)?.wait()?;
    Ok(())
}

#[test]
fn a_failing_store_at_the_start_is_told_at_once() {
    let store = FaultStore::new(|operation, _, _| match operation {
        Operation::Put => Fault::Before,
        _ => Fault::None,
    });
    let sink = Arc::new(CommitSink::default());
    let place = StoragePlace::with_store(store, "s3://gone");
    let error = run_job(graph(source(), work(), sink), settings(place))
        .map(drop)
        .unwrap_err();
    assert_eq!(error.code(), "STORAGE");
    assert!(
        error.message().contains("s3://gone/job/attempts/1"),
        "{error}"
    );
}

#[test]
fn errors_of_the_graph_do_not_restart() {
    let mut graph = graph(source(), work(), Arc::new(CommitSink::default()));
    graph.nodes.truncate(0);
    let error = run_job(graph, settings(StoragePlace::in_memory()))
        .map(drop)
        .unwrap_err();
    assert_eq!(error.code(), "EMPTY_JOB");
}
