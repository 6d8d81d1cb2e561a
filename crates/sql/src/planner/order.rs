//! Windows without aggregation, OVER, ranks, sorts.

use flott_core::changelog::ChangelogMode;
use flott_core::types::LogicalType;
use flott_core::{Error, Result};
use flott_table::operators::batch_sort::BatchSortConfig;
use flott_table::operators::deduplicate::{DeduplicateConfig, Keep};
use flott_table::operators::limit::LimitConfig;
use flott_table::operators::materialize::MaterializeConfig;
use flott_table::operators::over::{
    OverCall as OverCallConfig, OverConfig, OverFrame, OverFunction, OverOrder,
};
use flott_table::operators::rank::{InputMode, RankConfig, RankFunction, SortLimitConfig};
use flott_table::operators::session_window_tvf::SessionWindowTvfConfig;
use flott_table::operators::sort::SortConfig;
use flott_table::operators::sort_key::SortKey as SortKeyConfig;
use flott_table::operators::window_rank::WindowRankConfig;
use flott_table::operators::window_tvf::{
    WindowTime as WindowTimeConfig, WindowTvf as WindowTvfShape, WindowTvfConfig,
};

use super::identities::{over_identity, rank_identity, sort_label, sorted, window_mark};
use super::identity::{Fingerprint, Identity, Label};
use super::lower::Lowering;
use super::stream::{Distribution, Stream};
use crate::expr::Expr;
use crate::plan::{Over, OverCall, Rank, Sort, SortKey, WindowKind, WindowTvf};

impl Lowering<'_> {
    /// The session's time zone where windows over a column of this type are aligned by it.
    pub(super) fn window_zone(&self, time: &LogicalType) -> Option<chrono_tz::Tz> {
        matches!(time, LogicalType::TimestampLtz(_)).then_some(self.context.expr.time_zone)
    }

    pub(super) fn lower_window_tvf(&mut self, node: &WindowTvf) -> Result<Stream> {
        let input = self.lower(&node.input, true)?;
        let time = match node.is_proctime {
            true => WindowTimeConfig::Proctime,
            false => WindowTimeConfig::Rowtime(node.time_column),
        };
        let time_zone = self.window_zone(&input.schema.column(node.time_column).data_type.logical);
        let schema = node.schema.to_arrow();
        let name = format!("WindowTableFunction({:?})", node.kind);
        let rows = window_mark(Fingerprint::of("tvf"), &node.kind)
            .number(input.identity.column(node.time_column));
        let bounds = |rows: Fingerprint| (0..3).map(move |i| rows.number(i).0);
        if let WindowKind::Session {
            gap_ms,
            partition_keys,
        } = &node.kind
        {
            let (edge, parallelism) = input.by_key(partition_keys);
            let config = SessionWindowTvfConfig {
                gap_ms: *gap_ms,
                partition_columns: partition_keys.clone(),
                time,
                time_zone,
                schema,
            };
            let uid = input.identity.keyed(rows, partition_keys);
            let state = input.identity.state("", &input.schema);
            let label = Label::new(name, uid).with_state(state);
            let id = self.add_operator(label, config, vec![edge], &node.schema, parallelism);
            let identity = input.identity.append(bounds(uid));
            let identity = identity.derive(uid, partition_keys, identity.all_columns());
            let place = (id, parallelism);
            let schema = node.schema.clone();
            return Ok(keyed(place, schema, input.mode, partition_keys, identity));
        }
        let config = WindowTvfConfig {
            window: tvf_shape(&node.kind),
            time,
            time_zone,
            schema,
        };
        let edge = vec![input.forward()];
        let label = Label::stateless(name, "tvf", &input.identity);
        let id = self.add_operator(label, config, edge, &node.schema, input.parallelism);
        let rows = input.identity.origin(rows);
        Ok(Stream {
            identity: input.identity.expand(rows, bounds(rows)),
            node: id,
            schema: node.schema.clone(),
            upsert_key: None,
            ..input
        })
    }

    pub(super) fn lower_over(&mut self, node: &Over, needs: bool) -> Result<Stream> {
        let input = self.lower(&node.input, true)?;
        let order = over_order(node);
        let is_updating = matches!(order, OverOrder::Keys(_));
        let compiler = self.compiler(&input.schema);
        let compile = |columns: &[usize]| {
            let expr = |c: &usize| Expr::column(*c, input.schema.column(*c).data_type.clone());
            compiler.compile_all(&columns.iter().map(expr).collect::<Vec<_>>())
        };
        let calls = node
            .calls
            .iter()
            .map(|call| over_call(call, &compile))
            .collect::<Result<Vec<_>>>()?;
        let (edge, parallelism) = input.by_key(&node.partition_keys);
        let config = OverConfig {
            partition_columns: node.partition_keys.clone(),
            order,
            frame: match (node.frame.is_rows, node.frame.preceding) {
                (true, preceding) => OverFrame::Rows {
                    preceding: preceding.map(|n| n as u64),
                },
                (false, preceding) => OverFrame::Range { preceding },
            },
            calls,
            input: input_mode(&input),
            emits_update_before: needs,
            input_schema: input.schema.to_arrow(),
            schema: node.schema.to_arrow(),
        };
        let name = format!(
            "OverAggregate(partitionBy={:?}, calls={})",
            node.partition_keys,
            node.calls.len()
        );
        let (label, identity) = over_identity(node, &input, name);
        let id = self.add_operator(label, config, vec![edge], &node.schema, parallelism);
        let mode = if is_updating {
            updating(needs)
        } else {
            ChangelogMode::APPEND
        };
        let place = (id, parallelism);
        let keys = &node.partition_keys;
        Ok(keyed(place, node.schema.clone(), mode, keys, identity))
    }

    pub(super) fn lower_rank(&mut self, node: &Rank, needs: bool) -> Result<Stream> {
        if let Some((start, end)) = node.window {
            return self.lower_window_rank(node, start, end);
        }
        let input = self.lower(&node.input, true)?;
        if let Some((keep, rowtime_column)) = self.deduplication(node, &input) {
            return self.lower_deduplicate(node, input, keep, rowtime_column, needs);
        }
        let (edge, parallelism) = input.by_key(&node.partition_keys);
        let config = RankConfig {
            function: RankFunction::RowNumber,
            partition_columns: node.partition_keys.clone(),
            order: sort_keys(&node.order),
            from: node.from,
            to: node.to,
            outputs_rank: node.outputs_rank,
            input: input_mode(&input),
            emits_update_before: needs,
            input_schema: input.schema.to_arrow(),
            schema: node.schema.to_arrow(),
        };
        let name = format!(
            "Rank(partitionBy={:?}, orderBy={}, rank {}..={})",
            node.partition_keys,
            order_text(&node.order),
            node.from,
            node.to
        );
        let (label, identity) = rank_identity(node, &input, name, &node.partition_keys);
        let id = self.add_operator(label, config, vec![edge], &node.schema, parallelism);
        let mode = updating(needs || !node.outputs_rank);
        let place = (id, parallelism);
        let keys = &node.partition_keys;
        let mut stream = keyed(place, node.schema.clone(), mode, keys, identity);
        if node.outputs_rank {
            let rank = node.schema.len() - 1;
            stream.upsert_key = Some(node.partition_keys.iter().copied().chain([rank]).collect());
        }
        Ok(stream)
    }

    fn lower_window_rank(&mut self, node: &Rank, start: usize, end: usize) -> Result<Stream> {
        let input = self.lower(&node.input, true)?;
        let is_window = |c: &usize| *c == start || *c == end;
        let others: Vec<usize> = node
            .partition_keys
            .iter()
            .copied()
            .filter(|c| !is_window(c))
            .collect();
        let (edge, parallelism) = input.by_key(&others);
        let config = WindowRankConfig {
            partition_columns: others.clone(),
            window_start_column: start,
            window_end_column: end,
            time_zone: self.attached_zone(&node.input),
            order: sort_keys(&node.order),
            from: node.from,
            to: node.to,
            outputs_rank: node.outputs_rank,
            input_schema: input.schema.to_arrow(),
            schema: node.schema.to_arrow(),
        };
        let name = format!(
            "WindowRank(partitionBy={others:?}, rank {}..={})",
            node.from, node.to
        );
        let (label, identity) = rank_identity(node, &input, name, &others);
        let id = self.add_operator(label, config, vec![edge], &node.schema, parallelism);
        let (place, mode) = ((id, parallelism), ChangelogMode::APPEND);
        Ok(keyed(place, node.schema.clone(), mode, &others, identity))
    }

    /// Whether a rank is a deduplication: the first or last row by a time attribute.
    fn deduplication(&self, node: &Rank, input: &Stream) -> Option<(Keep, Option<usize>)> {
        use flott_core::schema::TimeAttribute;
        let [key] = node.order.as_slice() else {
            return None;
        };
        if (node.from, node.to) != (1, 1) || node.outputs_rank || !input.mode.is_append_only() {
            return None;
        }
        let keep = if key.descending {
            Keep::Last
        } else {
            Keep::First
        };
        match input.schema.column(key.column).time? {
            TimeAttribute::Rowtime => Some((keep, Some(key.column))),
            TimeAttribute::Proctime => Some((keep, None)),
        }
    }

    fn lower_deduplicate(
        &mut self,
        node: &Rank,
        input: Stream,
        keep: Keep,
        rowtime_column: Option<usize>,
        needs: bool,
    ) -> Result<Stream> {
        let is_append = keep == Keep::First;
        let (edge, parallelism) = input.by_key(&node.partition_keys);
        let name = format!("Deduplicate(key={:?}, keep={keep:?})", node.partition_keys);
        let config = DeduplicateConfig {
            partition_columns: node.partition_keys.clone(),
            keep,
            rowtime_column,
            emits_update_before: needs,
            sends_every_version: self.is_versioned,
            schema: node.schema.to_arrow(),
        };
        let (label, identity) = rank_identity(node, &input, name, &node.partition_keys);
        let id = self.add_operator(label, config, vec![edge], &node.schema, parallelism);
        let mode = if is_append {
            ChangelogMode::APPEND
        } else {
            ChangelogMode {
                delete: false,
                ..updating(needs)
            }
        };
        let keys = &node.partition_keys;
        let place = (id, parallelism);
        let mut stream = keyed(place, node.schema.clone(), mode, keys, identity);
        stream.upsert_key = Some(keys.clone());
        Ok(stream)
    }

    pub(super) fn lower_sort(&mut self, node: &Sort, needs: bool) -> Result<Stream> {
        let input = self.lower(&node.input, true)?;
        let schema = input.schema.clone();
        if self.context.is_batch {
            return self.sort_whole(input, node);
        }
        if node.fetch.is_none() && node.offset > 0 {
            return Err(Error::user(
                "UNSUPPORTED_OFFSET",
                "OFFSET without LIMIT would never end on a stream; add a LIMIT",
            ));
        }
        let is_unlimited = node.fetch.is_none() && node.offset == 0;
        let edge = vec![input.single()];
        let (id, mode) = match node.keys.split_first() {
            None => self.add_limit(node, &input, edge, needs),
            Some((first, rest)) if is_unlimited => {
                let is_rowtime = schema.column(first.column).time.is_some();
                if !is_rowtime || first.descending || !input.mode.is_append_only() {
                    return Err(Error::user(
                        "UNSUPPORTED_SORT",
                        "a stream can be sorted by ascending event time only; add a LIMIT, or set 'execution.runtime-mode' = 'batch'",
                    ));
                }
                let config = SortConfig {
                    rowtime_column: first.column,
                    order: sort_keys(rest),
                    schema: schema.to_arrow(),
                };
                let name = format!("TemporalSort(orderBy={})", order_text(&node.keys));
                let label = sort_label(name, "sort", node, &input);
                (
                    self.add_operator(label, config, edge, &schema, Some(1)),
                    ChangelogMode::APPEND,
                )
            }
            Some(_) => {
                let config = SortLimitConfig {
                    order: sort_keys(&node.keys),
                    offset: node.offset,
                    limit: node.fetch,
                    input: input_mode(&input),
                    emits_update_before: needs,
                    schema: schema.to_arrow(),
                };
                let name = format!(
                    "SortLimit(orderBy={}, offset={}, fetch={:?})",
                    order_text(&node.keys),
                    node.offset,
                    node.fetch
                );
                let label = sort_label(name, "sort limit", node, &input);
                (
                    self.add_operator(label, config, edge, &schema, Some(1)),
                    updating(true),
                )
            }
        };
        let identity = sorted(node, &input.identity);
        Ok(single(id, schema, mode, identity))
    }

    fn add_limit(
        &mut self,
        node: &Sort,
        input: &Stream,
        edge: Vec<flott_core::graph::Edge>,
        needs: bool,
    ) -> (usize, ChangelogMode) {
        let config = LimitConfig {
            offset: node.offset,
            limit: node.fetch,
            input: input_mode(input),
            emits_update_before: needs,
            schema: input.schema.to_arrow(),
        };
        let name = format!("Limit(offset={}, fetch={:?})", node.offset, node.fetch);
        let is_append = input.mode.is_append_only();
        let label = sort_label(name, "limit", node, input);
        let label = match is_append {
            // Only counts.
            true => label.with_state(Vec::new()),
            false => label,
        };
        let id = self.add_operator(label, config, edge, &input.schema, Some(1));
        (
            id,
            if is_append {
                ChangelogMode::APPEND
            } else {
                ChangelogMode::RETRACT
            },
        )
    }

    /// Batch mode: the final rows of a changelog; nothing to do where rows are only added.
    pub(super) fn materialize(&mut self, input: Stream) -> Result<Stream> {
        if input.mode.is_append_only() {
            return Ok(input);
        }
        let schema = input.schema.clone();
        let keys: Vec<usize> = (0..schema.len()).collect();
        let (edge, parallelism) = input.by_key(&keys);
        let config = MaterializeConfig {
            key_columns: None,
            schema: schema.to_arrow(),
        };
        let uid = input.identity.all(Fingerprint::of("materialize"));
        let label =
            Label::new("Materialize".into(), uid).with_state(input.identity.state("", &schema));
        let id = self.add_operator(label, config, vec![edge], &schema, parallelism);
        Ok(Stream {
            node: id,
            mode: ChangelogMode::APPEND,
            distribution: match parallelism {
                Some(1) => Distribution::Single,
                _ => Distribution::Any,
            },
            parallelism,
            ..input
        })
    }

    /// Batch mode: sorts at the end of the input.
    fn sort_whole(&mut self, input: Stream, sort: &Sort) -> Result<Stream> {
        let input = self.materialize(input)?;
        let schema = input.schema.clone();
        let config = BatchSortConfig {
            order: sort_keys(&sort.keys),
            offset: sort.offset,
            limit: sort.fetch,
            schema: schema.to_arrow(),
        };
        let name = format!("Sort(orderBy={})", order_text(&sort.keys));
        let edge = vec![input.single()];
        let label = sort_label(name, "sort", sort, &input);
        let id = self.add_operator(label, config, edge, &schema, Some(1));
        let identity = sorted(sort, &input.identity);
        Ok(single(id, schema, ChangelogMode::APPEND, identity))
    }
}

/// `-U` where the consumer wants it.
pub(super) fn updating(update_before: bool) -> ChangelogMode {
    ChangelogMode {
        update_before,
        ..ChangelogMode::RETRACT
    }
}

pub(super) fn input_mode(input: &Stream) -> InputMode {
    if input.mode.is_append_only() {
        InputMode::Append
    } else {
        InputMode::Retract
    }
}

pub(super) fn sort_keys(keys: &[SortKey]) -> Vec<SortKeyConfig> {
    let key = |k: &SortKey| SortKeyConfig {
        column: k.column,
        is_descending: k.descending,
        nulls_first: k.nulls_first,
    };
    keys.iter().map(key).collect()
}

fn order_text(keys: &[SortKey]) -> String {
    let key = |k: &SortKey| {
        format!(
            "${} {}",
            k.column,
            if k.descending { "DESC" } else { "ASC" }
        )
    };
    format!("[{}]", keys.iter().map(key).collect::<Vec<_>>().join(", "))
}

/// The output of an operator that is exchanged by key; `place` is its node and parallelism.
pub(super) fn keyed(
    place: (usize, Option<usize>),
    schema: flott_core::schema::Schema,
    mode: ChangelogMode,
    keys: &[usize],
    identity: Identity,
) -> Stream {
    let distribution = if keys.is_empty() {
        Distribution::Single
    } else {
        Distribution::Hash(keys.to_vec())
    };
    Stream {
        node: place.0,
        schema,
        mode,
        upsert_key: None,
        distribution,
        parallelism: place.1,
        identity,
    }
}

fn single(
    node: usize,
    schema: flott_core::schema::Schema,
    mode: ChangelogMode,
    identity: Identity,
) -> Stream {
    keyed((node, Some(1)), schema, mode, &[], identity)
}

pub(super) fn tvf_shape(kind: &WindowKind) -> WindowTvfShape {
    match *kind {
        WindowKind::Tumble { size_ms, offset_ms } => WindowTvfShape::Tumble { size_ms, offset_ms },
        WindowKind::Hop {
            size_ms,
            slide_ms,
            offset_ms,
        } => WindowTvfShape::Hop {
            size_ms,
            slide_ms,
            offset_ms,
        },
        WindowKind::Cumulate {
            max_size_ms,
            step_ms,
            offset_ms,
        } => WindowTvfShape::Cumulate {
            max_size_ms,
            step_ms,
            offset_ms,
        },
        // Sessions have an operator of their own.
        WindowKind::Session { gap_ms, .. } => WindowTvfShape::Tumble {
            size_ms: gap_ms,
            offset_ms: 0,
        },
    }
}

fn over_order(node: &Over) -> OverOrder {
    use flott_core::schema::TimeAttribute;
    match node.order.as_slice() {
        [] => OverOrder::Proctime,
        [key] if !key.descending => match node.input.schema().column(key.column).time {
            Some(TimeAttribute::Rowtime) => OverOrder::Rowtime(key.column),
            Some(TimeAttribute::Proctime) => OverOrder::Proctime,
            None => OverOrder::Keys(sort_keys(&node.order)),
        },
        keys => OverOrder::Keys(sort_keys(keys)),
    }
}

fn over_call(
    call: &OverCall,
    compile: &dyn Fn(
        &[usize],
    ) -> Result<
        Vec<std::sync::Arc<dyn datafusion_physical_expr_common::physical_expr::PhysicalExpr>>,
    >,
) -> Result<OverCallConfig> {
    let unsupported = |name: &str| {
        let message = format!("{name} is not supported over a stream");
        Err(Error::user("UNSUPPORTED_FUNCTION", message))
    };
    Ok(match call {
        OverCall::Aggregate(call) => OverCallConfig {
            function: OverFunction::Aggregate {
                function: call.function,
                types: call.types.clone(),
                is_distinct: call.distinct,
            },
            arguments: compile(&call.args)?,
        },
        OverCall::RowNumber => OverCallConfig {
            function: OverFunction::RowNumber,
            arguments: Vec::new(),
        },
        OverCall::Rank => OverCallConfig {
            function: OverFunction::Rank,
            arguments: Vec::new(),
        },
        OverCall::DenseRank => OverCallConfig {
            function: OverFunction::DenseRank,
            arguments: Vec::new(),
        },
        OverCall::Lag {
            arg,
            offset,
            default,
        } if *offset >= 0 => OverCallConfig {
            function: OverFunction::Lag {
                offset: *offset as u64,
            },
            arguments: compile(
                &[Some(*arg), *default]
                    .into_iter()
                    .flatten()
                    .collect::<Vec<_>>(),
            )?,
        },
        OverCall::Lag { .. } => return unsupported("LEAD"),
        OverCall::Ntile { .. } => return unsupported("NTILE"),
        OverCall::PercentRank => return unsupported("PERCENT_RANK"),
        OverCall::CumeDist => return unsupported("CUME_DIST"),
    })
}
