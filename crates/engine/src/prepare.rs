//! Makes the instances of one worker: operators opened and restored, readers and writers created.

use std::sync::{Arc, OnceLock};

use timely::scheduling::SyncActivator;

use flott_core::graph::{NodeId, NodeKind};
use flott_core::operator::{OperatorContext, OperatorHost};
use flott_core::sink::WriterContext;
use flott_core::source::{ReaderContext, Waker};
use flott_core::time::MIN_WATERMARK;
use flott_core::{Error, Result};

use crate::chain::{Chain, Link, Outbox, Place, SinkTail, Tail};
use crate::checkpoint::OperatorCheckpoint;
use crate::invariants::OutputCheck;
use crate::job::JobState;
use crate::migrate::check_state;
use crate::plan::ChainPlan;
use crate::restore::{deal, redistribute};
use crate::source_host::SourceHead;

/// One subtask of a chain, before it is part of a dataflow.
pub struct PreparedChain {
    pub head: Option<SourceHead>,
    pub chain: Chain,
    /// The first node's place.
    pub place: Place,
    /// The watermark that the chain had received before a restore.
    pub watermark: i64,
    /// Where the reader's waker finds the host, once there is one.
    pub activator: Arc<OnceLock<SyncActivator>>,
}

fn place(job: &Arc<JobState>, plan: &ChainPlan, node: NodeId, subtask: usize) -> Place {
    let name = &job.graph.nodes[node].name;
    Place {
        node,
        subtask,
        label: format!("{name} (subtask {}/{})", subtask + 1, plan.parallelism),
        metrics: job.metrics[node][subtask].clone(),
        job: job.clone(),
    }
}

fn restored(job: &JobState, node: NodeId) -> Option<&OperatorCheckpoint> {
    let checkpoint = job.options.restore.as_ref()?;
    checkpoint.operators.get(&job.graph.nodes[node].uid)
}

/// Whether a restored subtask had ended: itself where the parallelism is the same, else all
/// subtasks.
fn had_finished(job: &JobState, node: NodeId, subtask: usize) -> bool {
    let Some(operator) = restored(job, node) else {
        return false;
    };
    let subtasks = &operator.subtasks;
    if subtasks.len() == job.metrics[node].len() {
        return subtasks[subtask].is_finished;
    }
    !subtasks.is_empty() && subtasks.iter().all(|s| s.is_finished)
}

/// The operators of one subtask of a chain, with all of their state.
pub struct RestoredChain {
    links: Vec<Link>,
    activator: Arc<OnceLock<SyncActivator>>,
}

/// Makes the operators of the chain's subtask that runs on the worker of this index.
///
/// # Errors
/// What a factory, `open` or `restore` reports, with the operator's name.
pub fn restore(job: &Arc<JobState>, plan: &ChainPlan, subtask: usize) -> Result<RestoredChain> {
    let activator = Arc::new(OnceLock::new());
    let mut links = Vec::new();
    for &node in &plan.nodes {
        if let NodeKind::Operator(_) = &job.graph.nodes[node].kind {
            let place = place(job, plan, node, subtask);
            links.push(prepare_link(job, plan, place, &activator)?);
        }
    }
    Ok(RestoredChain { links, activator })
}

/// Adds the reader and the writer, which begin where the last commit ended.
///
/// # Errors
/// What a source or sink reports, with its name.
pub fn prepare(
    job: &Arc<JobState>,
    plan: &ChainPlan,
    subtask: usize,
    restored_chain: RestoredChain,
) -> Result<PreparedChain> {
    let RestoredChain { links, activator } = restored_chain;
    let mut head = None;
    let mut chain = Chain {
        links,
        tail: Tail::Outbox(Outbox::default()),
    };
    let mut watermarks = Vec::new();
    for &node in &plan.nodes {
        let place = place(job, plan, node, subtask);
        let watermark =
            restored(job, node).and_then(|o| o.subtasks.iter().map(|s| s.watermark).min());
        match &job.graph.nodes[node].kind {
            NodeKind::Source(_) => {
                head = Some(prepare_source(job, plan, place, activator.clone())?);
            }
            NodeKind::Operator(_) => watermarks.push(watermark.unwrap_or(MIN_WATERMARK)),
            NodeKind::Sink(_) => chain.tail = Tail::Sink(prepare_sink(job, plan, place)?),
        }
    }
    chain.resume(&watermarks)?;
    let first = *plan
        .nodes
        .first()
        .ok_or_else(|| Error::internal("an empty chain"))?;
    Ok(PreparedChain {
        head,
        chain,
        place: place(job, plan, first, subtask),
        watermark: watermarks.first().copied().unwrap_or(MIN_WATERMARK),
        activator,
    })
}

fn output_check(job: &JobState, node: NodeId) -> Option<OutputCheck> {
    let schema = &job.graph.nodes[node].schema;
    let is_wanted = job.options.invariant_checks;
    is_wanted.then(|| OutputCheck::new(schema.to_arrow()))
}

fn prepare_source(
    job: &Arc<JobState>,
    plan: &ChainPlan,
    place: Place,
    activator: Arc<OnceLock<SyncActivator>>,
) -> Result<SourceHead> {
    let NodeKind::Source(source) = &job.graph.nodes[place.node].kind else {
        return Err(Error::internal("not a source"));
    };
    let Some(enumerator) = job.enumerators.get(&place.node) else {
        return Err(Error::internal("a source without an enumerator"));
    };
    let waker: Waker = Arc::new(move || {
        if let Some(activator) = activator.get() {
            // The worker is gone when the job is over: nobody is left to wake.
            let _ = activator.activate();
        }
    });
    let subtasks = restored(job, place.node).map_or(&[][..], |o| &o.subtasks);
    let context = ReaderContext {
        subtask: place.subtask,
        parallelism: plan.parallelism,
        clock: job.options.clock.clone(),
        metrics: place.metrics.clone(),
        splits: enumerator.clone(),
        waker: waker.clone(),
        restored: deal(
            subtasks.iter().map(|s| s.splits.clone()),
            place.subtask,
            plan.parallelism,
        ),
        batch_size: job.options.batch_size.max(1),
    };
    let reader = place.guard(|| source.create_reader(context))?;
    Ok(SourceHead {
        reader,
        enumerator: enumerator.clone(),
        check: output_check(job, place.node),
        is_finished: had_finished(job, place.node, place.subtask),
        waker,
        place,
    })
}

/// Wakes the chain's host, counts what operators hold as under way, and has files for them.
fn host_of(
    job: &Arc<JobState>,
    place: &Place,
    activator: &Arc<OnceLock<SyncActivator>>,
) -> OperatorHost {
    let (activator, flow) = (activator.clone(), job.flow.clone());
    OperatorHost {
        waker: Some(Arc::new(move || {
            if let Some(activator) = activator.get() {
                // The worker is gone when the job is over: nobody is left to wake.
                let _ = activator.activate();
            }
        })),
        holder: Some(Arc::new(move |bytes| {
            let ticket: Arc<dyn std::any::Any + Send + Sync> = flow.ticket(bytes);
            Some(ticket)
        })),
        overflow: Some(job.spilling.overflow(&place.metrics)),
    }
}

fn prepare_link(
    job: &Arc<JobState>,
    plan: &ChainPlan,
    place: Place,
    activator: &Arc<OnceLock<SyncActivator>>,
) -> Result<Link> {
    let NodeKind::Operator(factory) = &job.graph.nodes[place.node].kind else {
        return Err(Error::internal("not an operator"));
    };
    let max_parallelism = job.options.max_parallelism;
    let node = &job.graph.nodes[place.node];
    let factory = job.spilling.host(node, factory);
    let context = OperatorContext {
        subtask: place.subtask,
        parallelism: plan.parallelism,
        max_parallelism,
        clock: job.options.clock.clone(),
        metrics: place.metrics.clone(),
        config: Arc::new(job.graph.config.clone()),
        host: host_of(job, &place, activator),
    };
    let operator = place.guard(|| {
        let mut operator = factory.create()?;
        operator.open(&context)?;
        if let Some(checkpoint) = restored(job, place.node) {
            let fit = check_state(&job.graph, &job.graph.nodes[place.node], checkpoint)?;
            let states: Vec<_> = checkpoint
                .subtasks
                .iter()
                .map(|s| s.state.clone())
                .collect();
            let state = redistribute(
                &states,
                context.subtask,
                context.parallelism,
                max_parallelism,
            )?;
            operator.restore(fit.apply(state)?)?;
            if fit.is_migrated() {
                // The chain below is of the former columns: it begins anew.
                operator.restart_snapshots();
            }
        }
        Ok(operator)
    })?;
    let check = output_check(job, place.node);
    let is_finished = had_finished(job, place.node, place.subtask);
    let mut link = Link::new(place, operator, check);
    link.is_finished = is_finished;
    Ok(link)
}

fn prepare_sink(job: &Arc<JobState>, plan: &ChainPlan, place: Place) -> Result<SinkTail> {
    let NodeKind::Sink(sink) = &job.graph.nodes[place.node].kind else {
        return Err(Error::internal("not a sink"));
    };
    let subtasks = restored(job, place.node).map_or(&[][..], |o| &o.subtasks);
    let context = WriterContext {
        subtask: place.subtask,
        parallelism: plan.parallelism,
        attempt_id: job.options.attempt_id.clone(),
        clock: job.options.clock.clone(),
        metrics: place.metrics.clone(),
        restored: deal(
            subtasks.iter().map(|s| vec![s.writer.clone()]),
            place.subtask,
            plan.parallelism,
        ),
    };
    let writer = place.guard(|| sink.create_writer(context))?;
    Ok(SinkTail {
        place,
        writer: Some(writer),
        watermark: MIN_WATERMARK,
    })
}
