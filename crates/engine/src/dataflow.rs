//! Builds one worker's Timely dataflow: a host for each chain, a channel for each input.

use std::collections::VecDeque;
use std::sync::Arc;

use timely::container::NoopBuilder;
use timely::dataflow::channels::pact::{DistributorPact, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};
use timely::scheduling::Activator;
use timely::worker::Worker;

use flott_core::Result;
use flott_core::clock::Stopwatch;
use flott_core::graph::Exchange;

use crate::exchange::ExchangeDistributor;
use crate::inputs::InputChannels;
use crate::job::JobState;
use crate::message::Message;
use crate::operator_host::OperatorHost;
use crate::partition::Partitioner;
use crate::plan::{ChainInput, ChainPlan};
use crate::prepare::PreparedChain;
use crate::sender::Sender;
use crate::source_host::SourceHost;
use crate::timers::Timers;

/// Takes all messages that wait on an input.
type Pull = Box<dyn FnMut(&mut dyn FnMut(u64, Message))>;

/// What the worker's loop needs of its dataflow.
#[derive(Default)]
pub struct WorkerDataflow {
    pub timers: Timers,
    /// The hosts of sources.
    pub sources: Vec<Activator>,
}

/// Builds the dataflow. `prepared` holds a chain's subtask, or `None` where the chain has fewer
/// subtasks than there are workers.
pub fn build(
    worker: &mut Worker,
    job: &Arc<JobState>,
    prepared: Vec<Option<PreparedChain>>,
) -> WorkerDataflow {
    let mut dataflow = WorkerDataflow::default();
    worker.dataflow::<u64, _, _>(|scope| {
        let mut streams: Vec<Stream<'_, u64, Message>> = Vec::new();
        for (plan, chain) in job.chains.iter().zip(prepared) {
            let stream = build_host(scope, job, plan, &streams, chain, &mut dataflow);
            streams.push(stream);
        }
    });
    dataflow
}

fn build_host<'scope>(
    scope: Scope<'scope, u64>,
    job: &Arc<JobState>,
    plan: &ChainPlan,
    streams: &[Stream<'scope, u64, Message>],
    prepared: Option<PreparedChain>,
    dataflow: &mut WorkerDataflow,
) -> Stream<'scope, u64, Message> {
    let name = &job.graph.nodes[plan.nodes[0]].name;
    let mut builder = OperatorBuilder::new(name.clone(), scope);
    let inputs = plan.inputs.iter();
    let pulls: Vec<Pull> = inputs
        .map(|input| connect(&mut builder, scope, job, plan, input, streams, name))
        .collect();
    let (output, stream) = builder.new_output::<Message>();
    let address = builder.operator_info().address;
    let Some(prepared) = prepared else {
        builder.build(move |capabilities| {
            drop(capabilities);
            let mut pulls = pulls;
            move |_| pulls.iter_mut().for_each(|pull| pull(&mut |_, _| {}))
        });
        return stream;
    };
    let worker = scope.worker();
    let sync_activator = worker.sync_activator_for(address.to_vec());
    // Set once: the cell is this chain's own.
    let _ = prepared.activator.set(sync_activator);
    let activator = worker.activator_for(address.clone());
    let timer = dataflow.timers.add(worker.activator_for(address.clone()));
    let sender = Sender {
        output: OutputBuilder::<u64, NoopBuilder<Message>>::from(output),
        subtask: worker.index(),
        weight: worker.peers() as i64,
        flow: job.flow.clone(),
    };
    let job = job.clone();
    match prepared.head {
        Some(head) => {
            dataflow.sources.push(worker.activator_for(address));
            builder.build(move |mut capabilities| {
                let capability = capabilities.remove(0);
                let mut host = SourceHost::new(head, prepared.chain, sender, capability, timer);
                move |_| run_source(&job, &mut host, &activator)
            });
        }
        None => {
            let senders = plan.inputs.iter().map(|input| match input.exchange {
                Exchange::Forward => 1,
                _ => job.chains[input.chain].parallelism,
            });
            let mut channels = InputChannels::new(&senders.collect::<Vec<_>>());
            channels.resume(prepared.watermark);
            let is_forward = plan.inputs.iter().map(|i| i.exchange == Exchange::Forward);
            let is_forward = is_forward.collect();
            builder.build(move |mut capabilities| {
                let mut host = OperatorHost {
                    place: prepared.place,
                    chain: prepared.chain,
                    inputs: channels,
                    is_forward,
                    sender,
                    capability: Some(capabilities.remove(0)),
                    timer,
                    epoch: 0,
                    held: VecDeque::new(),
                    held_since: None,
                };
                let mut pulls = pulls;
                move |frontiers| {
                    let open = frontiers
                        .iter()
                        .filter_map(|f| f.frontier().first().copied());
                    run_operator(&job, &mut host, &mut pulls, open.min());
                }
            });
        }
    }
    stream
}

fn connect<'scope>(
    builder: &mut OperatorBuilder<'scope, u64>,
    scope: Scope<'scope, u64>,
    job: &Arc<JobState>,
    plan: &ChainPlan,
    input: &ChainInput,
    streams: &[Stream<'scope, u64, Message>],
    name: &str,
) -> Pull {
    let stream = streams[input.chain].clone();
    if input.exchange == Exchange::Forward {
        let mut handle = builder.new_input(stream, Pipeline);
        return Box::new(move |take| {
            handle.for_each(|capability, message| {
                take(*capability.time(), std::mem::take(message));
            });
        });
    }
    let partitioner = Partitioner::new(
        input.exchange.clone(),
        plan.parallelism,
        job.options.max_parallelism,
        scope.worker().index(),
    );
    let (num_targets, job, name) = (plan.parallelism, job.clone(), name.to_owned());
    let pact =
        DistributorPact(move |_| ExchangeDistributor::new(partitioner, num_targets, job, name));
    let mut handle = builder.new_input(stream, pact);
    Box::new(move |take| {
        handle.for_each(|capability, message| {
            take(*capability.time(), std::mem::take(message));
        });
    })
}

/// An error that reaches a host has failed the job already, unless it is the host's own.
fn fail_unless_failed(job: &JobState, result: Result<()>) {
    if let Err(error) = result
        && !job.is_stopped()
    {
        job.fail(error);
    }
}

fn run_source(job: &Arc<JobState>, host: &mut SourceHost, activator: &Activator) {
    if job.is_stopped() {
        return;
    }
    let busy = Stopwatch::start();
    let result = host.run();
    let metrics = &host.head.place.metrics;
    metrics.busy_time_ns.add(busy.elapsed().as_nanos() as u64);
    match result {
        Ok(true) => activator.activate(),
        Ok(false) => {}
        Err(error) => fail_unless_failed(job, Err(error)),
    }
}

fn run_operator(
    job: &Arc<JobState>,
    host: &mut OperatorHost,
    pulls: &mut [Pull],
    frontier: Option<u64>,
) {
    if job.is_stopped() {
        return;
    }
    let busy = Stopwatch::start();
    let mut result = Ok(());
    for (input, pull) in pulls.iter_mut().enumerate() {
        pull(&mut |epoch, message| {
            if result.is_ok() {
                result = host.receive(input, epoch, message);
            }
        });
    }
    let result = result
        .and_then(|()| host.advance(frontier))
        .and_then(|()| host.check_timers());
    fail_unless_failed(job, result);
    let metrics = &host.place.metrics;
    metrics.busy_time_ns.add(busy.elapsed().as_nanos() as u64);
}
