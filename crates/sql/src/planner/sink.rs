//! Sinks.

use std::sync::Arc;

use flott_core::connector::TableContext;
use flott_core::graph::{Edge, Exchange, NodeKind};
use flott_core::hash::StableHashSet;
use flott_core::options::{OptionDef, OptionType};
use flott_core::sink::TableSink;
use flott_core::{Error, Result};
use flott_table::operators::not_null::NotNullEnforcer;
use flott_table::operators::union::DropUpdateBeforeConfig;

use super::SinkTarget;
use super::identity::{Fingerprint, Label};
use super::lower::Lowering;
use super::stream::{Distribution, Stream};
use crate::plan::Plan;

const NOT_NULL_ENFORCER: OptionDef = OptionDef::new(
    "table.exec.sink.not-null-enforcer",
    OptionType::Enum(&["ERROR", "DROP"]),
    "what becomes of a row with NULL in a NOT NULL column",
)
.default("ERROR");

pub(crate) const MINI_BATCH: OptionDef = OptionDef::new(
    "table.exec.mini-batch.enabled",
    OptionType::Boolean,
    "consolidates the changes of an aggregation also where a sink shows each of them",
)
.default("false");

/// Adds a plan's nodes by their addresses.
fn mark(plan: &Arc<Plan>, marked: &mut StableHashSet<usize>) {
    if marked.insert(Arc::as_ptr(plan) as usize) {
        plan.inputs().iter().for_each(|input| mark(input, marked));
    }
}

impl Lowering<'_> {
    /// Has aggregations send one change for each row, as Flink's do, where the sink shows changes
    /// and nobody has asked for batches of them.
    pub(super) fn keep_changes(&mut self, plan: &Arc<Plan>, sink: &dyn TableSink) -> Result<()> {
        let is_batched = self.context.config.boolean(&MINI_BATCH)?.unwrap_or(false);
        if sink.keeps_changes() && !is_batched && !self.context.is_batch {
            mark(plan, &mut self.with_each_change);
        }
        Ok(())
    }

    /// Lowers a query into a table.
    pub(super) fn lower_insert(
        &mut self,
        plan: &Arc<Plan>,
        target: &SinkTarget,
        sink: Arc<dyn TableSink>,
    ) -> Result<()> {
        let offered = match self.context.is_batch {
            true => flott_core::changelog::ChangelogMode::APPEND,
            false => self.mode_of(plan)?,
        };
        let wanted = sink
            .changelog_mode(offered)
            .map_err(|error| error.context(format!("table {}", target.path)))?;
        let stream = self.lower_root(plan, wanted.update_before)?;
        let stream = if stream.mode.update_before && !wanted.update_before {
            self.drop_update_before(stream)
        } else {
            stream
        };
        let stream = self.enforce_not_null(stream, &target.table.sink_schema(), self.enforcer());
        let parallelism = sink.parallelism().or(stream.parallelism);
        let edge = self.sink_edge(&stream, plan, sink.as_ref(), parallelism);
        let schema = stream.schema.clone();
        let about = sink.describe();
        let about = if about.is_empty() {
            about
        } else {
            format!(", {about}")
        };
        let name = format!("Sink: {}{about}", target.path.name);
        let uid = Fingerprint::of("sink").text(&target.path.to_string());
        let label = Label::new(name, uid);
        self.add_node(
            label,
            NodeKind::Sink(sink),
            vec![edge],
            &schema,
            parallelism,
        );
        Ok(())
    }

    pub(super) fn enforcer(&self) -> NotNullEnforcer {
        match self.context.config.text(&NOT_NULL_ENFORCER) {
            Some(text) if text.eq_ignore_ascii_case("DROP") => NotNullEnforcer::Drop,
            _ => NotNullEnforcer::Error,
        }
    }

    pub(super) fn create_sink(&self, target: &SinkTarget) -> Result<Arc<dyn TableSink>> {
        let identifier = target.table.options.get("connector").ok_or_else(|| {
            let message = format!(
                "table {} has no option 'connector': it cannot be written",
                target.path
            );
            Error::user("MISSING_OPTION", message)
        })?;
        let context = TableContext {
            path: &target.path,
            table: &target.table,
            options: &target.options,
            config: self.context.config,
            registry: self.context.registry,
            is_batch: self.context.is_batch,
        };
        let connector = self.context.registry.connector(identifier)?;
        connector
            .create_sink(context, target.request.clone())
            .map_err(|error| error.context(format!("table {}", target.path)))
    }

    fn drop_update_before(&mut self, stream: Stream) -> Stream {
        let edge = vec![stream.forward()];
        let name = "DropUpdateBefore".to_string();
        let (schema, parallelism) = (stream.schema.clone(), stream.parallelism);
        let label = Label::stateless(name, "drop update before", &stream.identity);
        let id = self.add_operator(label, DropUpdateBeforeConfig, edge, &schema, parallelism);
        let mode = flott_core::changelog::ChangelogMode {
            update_before: false,
            ..stream.mode
        };
        Stream {
            node: id,
            mode,
            ..stream
        }
    }

    /// Rows of one key must reach one writer in order; ordered rows reach a single one.
    fn sink_edge(
        &self,
        stream: &Stream,
        plan: &Plan,
        sink: &dyn TableSink,
        parallelism: Option<usize>,
    ) -> Edge {
        let is_ordered = matches!(plan, Plan::Sort(_));
        let partition = sink.partition_columns();
        let from = stream.node;
        let exchange = if parallelism == Some(1) && stream.parallelism != Some(1) {
            Exchange::Single
        } else if !partition.is_empty() && !is_ordered {
            Exchange::Hash(partition)
        } else if parallelism == stream.parallelism {
            Exchange::Forward
        } else if stream.mode.is_append_only() {
            Exchange::Rebalance
        } else {
            let all = || (0..stream.schema.len()).collect();
            let by_distribution = match &stream.distribution {
                Distribution::Hash(keys) => Some(keys.clone()),
                _ => None,
            };
            Exchange::Hash(
                stream
                    .upsert_key
                    .clone()
                    .or(by_distribution)
                    .unwrap_or_else(all),
            )
        };
        Edge {
            from,
            exchange,
            keys: Vec::new(),
        }
    }
}
