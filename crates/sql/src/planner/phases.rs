//! Aggregations in phases: before and after an exchange, and split by distinct values.

use flott_core::Result;
use flott_core::graph::{Edge, Exchange, NodeId};
use flott_core::options::{OptionDef, OptionType};
use flott_core::schema::Schema;
use flott_core::types::LogicalType;
use flott_table::aggregates::{AggregateCallConfig, Phase, find};
use flott_table::operators::group_aggregate::GroupAggregateConfig;
use flott_table::operators::split_aggregate::{
    PartialAggregateConfig, SplitAggregate, SplitRows, SpreadDistinctConfig,
};
use flott_table::operators::two_phase::TwoPhase;

use super::identity::{Fingerprint, Label};
use super::lower::Lowering;
use super::stream::{Distribution, Stream};

const PHASE_STRATEGY: OptionDef = OptionDef::new(
    "table.optimizer.agg-phase-strategy",
    OptionType::Enum(&["AUTO", "ONE_PHASE", "TWO_PHASE"]),
    "whether rows are aggregated before they are exchanged",
)
.default("AUTO");

const SPLIT_DISTINCT: OptionDef = OptionDef::new(
    "table.optimizer.distinct-agg.split.enabled",
    OptionType::Boolean,
    "whether the distinct values of one key are kept by many subtasks; not set: where keys are few",
);

const SPLIT_BUCKETS: OptionDef = OptionDef::new(
    "table.optimizer.distinct-agg.split.bucket-num",
    OptionType::Integer,
    "over how many buckets the distinct values of a key are spread",
)
.default("1024");

const DEFAULT_BUCKETS: i64 = 1024;

/// Where an aggregation gets its rows and what it gives.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub input: &'a Stream,
    /// Key columns of the input.
    pub keys: &'a [usize],
    /// The result's.
    pub schema: &'a Schema,
}

/// A node and its parallelism.
type Placed = (NodeId, Option<usize>);

impl Lowering<'_> {
    /// Adds an aggregation: whole behind the exchange or, where that `may_split` and pays, a local
    /// part before the exchange and a global part behind it. The state is the whole or global
    /// part's, which has the label's uid either way.
    pub(super) fn add_phases<C: TwoPhase>(
        &mut self,
        label: Label,
        place: Place<'_>,
        config: C,
        may_split: bool,
    ) -> Result<Placed> {
        if !may_split || !self.is_two_phase(place, config.calls())? {
            let (edge, parallelism) = place.input.by_key(place.keys);
            let id = self.add_operator(label, config, vec![edge], place.schema, parallelism);
            return Ok((id, parallelism));
        }
        let partial = config.partial_schema(&place.input.schema)?;
        let (edge, parallelism) = self.add_local(&label, place, config.clone(), &partial);
        let global = config.in_phase(Phase::Global, &partial);
        let label = Label {
            name: format!("Global{}", label.name),
            ..label
        };
        let id = self.add_operator(label, global, vec![edge], place.schema, parallelism);
        Ok((id, parallelism))
    }

    /// The local phase of an aggregation, and the exchange behind it.
    fn add_local<C: TwoPhase>(
        &mut self,
        label: &Label,
        place: Place<'_>,
        config: C,
        partial: &Schema,
    ) -> (Edge, Option<usize>) {
        let name = format!("Local{}", label.name);
        let uid = Fingerprint::of("local").number(label.uid.0);
        let node = self.add_operator(
            Label::new(name, uid),
            config.in_phase(Phase::Local, partial),
            vec![place.input.forward()],
            partial,
            place.input.parallelism,
        );
        by_first_columns(node, place)
    }

    /// Whether to aggregate before the exchange too: never where there is none.
    fn is_two_phase(&self, place: Place<'_>, calls: &[AggregateCallConfig]) -> Result<bool> {
        let can_merge = |c: &AggregateCallConfig| is_mergeable(c) && !c.is_distinct();
        let is_possible = is_exchanged(place) && calls.iter().all(can_merge);
        Ok(match self.phase_strategy().as_str() {
            "ONE_PHASE" => false,
            "TWO_PHASE" => is_possible,
            _ => is_possible && self.context.parallelism > 1,
        })
    }

    fn phase_strategy(&self) -> String {
        let strategy = self.context.config.text(&PHASE_STRATEGY).unwrap_or("AUTO");
        strategy.to_ascii_uppercase()
    }

    /// The parts of an aggregation whose distinct values are spread over the subtasks; `None` where
    /// they are kept by key.
    ///
    /// Where nobody has said so, that is where a batch has few keys: more would be sent for each
    /// than is saved (`docs/decisions/0007-split-distinct.md`). Nothing that decides here depends on
    /// the job's parallelism: the state of both parts is found again with any.
    pub(super) fn split_aggregate(
        &self,
        place: Place<'_>,
        config: &GroupAggregateConfig,
        has_few_keys: bool,
    ) -> Result<Option<SplitAggregate>> {
        let options = self.context.config;
        let is_wanted = options.boolean(&SPLIT_DISTINCT)?.unwrap_or(has_few_keys);
        let calls = &config.calls;
        let is_possible = is_exchanged(place)
            && config.state_ttl_ms.is_none()
            && self.phase_strategy() != "ONE_PHASE"
            && calls.iter().any(AggregateCallConfig::is_distinct)
            && calls.iter().all(can_be_split);
        if !is_wanted || !is_possible {
            return Ok(None);
        }
        let num_buckets = options.integer(&SPLIT_BUCKETS)?.unwrap_or(DEFAULT_BUCKETS);
        Ok(Some(SplitAggregate {
            key_columns: place.keys.to_vec(),
            calls: calls.clone(),
            num_buckets: num_buckets.clamp(1, i64::from(i32::MAX)) as usize,
            input_is_retracting: config.input_is_retracting,
            input: place.input.schema.clone(),
        }))
    }

    /// Adds a split aggregation.
    pub(super) fn add_split(
        &mut self,
        label: Label,
        place: Place<'_>,
        split: SplitAggregate,
        config: GroupAggregateConfig,
    ) -> Result<Placed> {
        let label = Label {
            uid: Fingerprint::of("split").number(label.uid.0),
            ..label
        };
        // Only what is spread by key and bucket can go to files part by part.
        let takes = match self.context.parallelism {
            1 if !self.has_memory_limit() => SplitRows::Whole,
            _ => SplitRows::Spread,
        };
        let (edge, parallelism) = self.add_partial(&label, place, &split, takes)?;
        let mut edges = vec![edge];
        if takes == SplitRows::Spread {
            let (edge, _) = self.add_plain_local(&label, place, &split, config.clone())?;
            edges.insert(0, edge);
        }
        let last = GroupAggregateConfig {
            calls: split.final_calls(),
            final_inputs: Some(split.final_inputs(takes)),
            ..config.in_phase(Phase::Global, &split.partial_schema(takes)?)
        };
        let label = Label {
            name: format!("Final{}", label.name),
            ..label
        };
        let id = self.add_operator(label, last, edges, place.schema, parallelism);
        Ok((id, parallelism))
    }

    /// Whether somebody has said that state is to take little memory.
    fn has_memory_limit(&self) -> bool {
        let get = |key: &str| self.context.config.get(key);
        let backend = get("state.backend.type").or(get("state.backend"));
        let backend = backend.map(str::to_ascii_lowercase).unwrap_or_default();
        let is_disk = ["disk", "rocksdb", "forst"]
            .iter()
            .any(|word| backend.contains(word));
        is_disk || get("flott.memory").is_some()
    }

    /// The part of a split aggregation that keeps the distinct values, and the exchange behind it.
    fn add_partial(
        &mut self,
        label: &Label,
        place: Place<'_>,
        split: &SplitAggregate,
        takes: SplitRows,
    ) -> Result<(Edge, Option<usize>)> {
        let input = place.input;
        let (edge, parallelism) = match takes {
            SplitRows::Whole => (input.forward(), input.parallelism),
            SplitRows::Spread => {
                let node = self.add_spread(label, place, split);
                // The bucket stands behind the keys.
                let keys: Vec<usize> = (0..=place.keys.len()).collect();
                (
                    Edge {
                        from: node,
                        exchange: Exchange::Hash(keys.clone()),
                        keys,
                    },
                    None,
                )
            }
        };
        let schema = split.partial_schema(takes)?;
        let config = PartialAggregateConfig {
            split: split.clone(),
            takes,
            schema: schema.to_arrow(),
        };
        let is_kept = |column: &usize| match column.checked_sub(place.keys.len()) {
            Some(call) => split.calls.get(call).is_some_and(|c| c.is_distinct()),
            None => true,
        };
        let kept = (0..label.state.len()).filter(is_kept);
        let state = kept.map(|column| label.state[column].clone()).collect();
        let uid = Fingerprint::of("partial").number(label.uid.0);
        let partial = Label::new(format!("Partial{}", label.name), uid).with_state(state);
        let node = self.add_operator(partial, config, vec![edge], &schema, parallelism);
        Ok(by_first_columns(node, place))
    }

    fn add_spread(&mut self, label: &Label, place: Place<'_>, split: &SplitAggregate) -> NodeId {
        let schema = split.spread_schema();
        let config = SpreadDistinctConfig {
            split: split.clone(),
            schema: schema.to_arrow(),
        };
        let name = format!("SpreadDistinct(groupBy={:?})", place.keys);
        let uid = Fingerprint::of("spread").number(label.uid.0);
        let edge = vec![place.input.forward()];
        let label = Label::new(name, uid);
        self.add_operator(label, config, edge, &schema, place.input.parallelism)
    }

    /// The local phase of the calls without DISTINCT, which also counts the rows.
    fn add_plain_local(
        &mut self,
        label: &Label,
        place: Place<'_>,
        split: &SplitAggregate,
        config: GroupAggregateConfig,
    ) -> Result<(Edge, Option<usize>)> {
        let mut calls = split.plain_calls();
        // Of rows that are only added the local phase does not send the number by itself.
        if !split.input_is_retracting {
            calls.push(count_rows()?);
        }
        let config = GroupAggregateConfig { calls, ..config };
        let partial = config.partial_schema(&place.input.schema)?;
        Ok(self.add_local(label, place, config, &partial))
    }
}

/// The exchange by key of a node whose first columns are the keys.
fn by_first_columns(node: NodeId, place: Place<'_>) -> (Edge, Option<usize>) {
    let partial = Stream {
        node,
        distribution: Distribution::Any,
        ..place.input.clone()
    };
    partial.by_key(&(0..place.keys.len()).collect::<Vec<_>>())
}

fn is_exchanged(place: Place<'_>) -> bool {
    let (edge, _) = place.input.by_key(place.keys);
    edge.exchange != Exchange::Forward
}

fn is_mergeable(call: &AggregateCallConfig) -> bool {
    call.function.is_mergeable && !call.function.is_order_sensitive
}

/// Whether the call's result is the same however its rows are parted: sums of approximate numbers
/// depend on the order.
fn can_be_split(call: &AggregateCallConfig) -> bool {
    let is_approximate = |t: &LogicalType| matches!(t, LogicalType::Float | LogicalType::Double);
    let mut arguments = call.types.arguments.iter();
    let is_exact = call.function.ignores_distinct
        || call.function.name == "COUNT"
        || !arguments.any(|argument| is_approximate(&argument.logical));
    let is_splittable = !call.is_distinct() || call.function.is_additive;
    is_mergeable(call) && is_exact && is_splittable
}

/// COUNT(*).
fn count_rows() -> Result<AggregateCallConfig> {
    let function = find("COUNT").ok_or_else(|| flott_core::Error::internal("no COUNT"))?;
    Ok(AggregateCallConfig {
        function,
        types: (function.bind)(&[])?,
        args: Vec::new(),
        distinct: false,
        filter: None,
    })
}
