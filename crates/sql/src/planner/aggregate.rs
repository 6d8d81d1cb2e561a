//! GROUP BY, with and without windows.

use std::sync::Arc;

use chrono_tz::Tz;
use datafusion_common::ScalarValue;
use flott_core::Result;
use flott_core::changelog::ChangelogMode;
use flott_core::graph::StateColumn;
use flott_core::schema::{Column, Schema};
use flott_core::types::{DataType, LogicalType};
use flott_table::aggregates::{AggregateCallConfig, Phase};
use flott_table::operators::calc::CalcConfig;
use flott_table::operators::expand::ExpandConfig;
use flott_table::operators::group_aggregate::GroupAggregateConfig;
use flott_table::operators::session_window_aggregate::SessionWindowAggregateConfig;
use flott_table::operators::window_aggregate::{
    WindowAggregateConfig, WindowProperty as WindowPropertyConfig, WindowShape,
    WindowTime as WindowTimeConfig,
};
use flott_table::operators::window_tvf::WindowTime as SessionTime;

use super::coarse::has_few_values;
use super::identities::{
    call_mark, call_name, expanded_identity, group_window_mark, state_aggregate,
};
use super::identity::{Fingerprint, Identity, Label};
use super::lower::Lowering;
use super::order::{keyed, updating};
use super::phases::Place;
use super::stream::Stream;
use crate::expr::Expr;
use crate::plan::{
    Aggregate, AggregateCall, GroupWindow, Plan, WindowKind, WindowProperty, WindowTime,
};

/// An aggregation over a plain list of keys.
struct Grouping {
    input: Stream,
    keys: Vec<usize>,
    calls: Vec<AggregateCallConfig>,
    /// Keys, calls' results, window properties.
    schema: Schema,
    /// What the calls' results are.
    marks: Vec<u64>,
    /// Whether a batch of rows has few keys.
    has_few_keys: bool,
    /// Whether the input is what a source says, which may contradict itself.
    is_unchecked: bool,
}

impl Grouping {
    /// How the aggregation is known, whatever its calls are, and what its result is. A window that
    /// the rows do not carry yet is in `mark`.
    fn identify(&self, name: String, mark: Fingerprint) -> (Label, Identity) {
        let Self {
            input, keys, marks, ..
        } = self;
        let is_retracting = !input.mode.is_append_only();
        let uid = input.identity.keyed(mark, keys);
        let kept = input.identity.state("", &input.schema);
        let mut state: Vec<StateColumn> = keys.iter().map(|c| kept[*c].clone()).collect();
        for (call, mark) in self.calls.iter().zip(marks) {
            state.push(StateColumn {
                name: call_name(call, &input.schema),
                data_type: call.types.result.logical.to_string(),
                meaning: Fingerprint(*mark).number(u64::from(is_retracting)).0,
                aggregate: Some(state_aggregate(call, is_retracting)),
            });
        }
        let results = marks.iter().map(|mark| uid.number(*mark).0);
        let rest = keys.len() + marks.len()..self.schema.len();
        let properties = rest.map(|c| uid.text(&format!("property {c}")).0);
        let columns = input.identity.columns(keys).into_iter();
        let columns = columns.chain(results).chain(properties);
        let identity = input.identity.derive(uid, keys, columns.collect());
        (Label::new(name, uid).with_state(state), identity)
    }
}

impl Lowering<'_> {
    pub(super) fn lower_aggregate(&mut self, node: &Aggregate, needs: bool) -> Result<Stream> {
        let input = self.lower(&node.input, true)?;
        match &node.grouping_sets {
            Some(sets) => self.lower_grouping_sets(node, sets, input, needs),
            None => {
                let marks = node.calls.iter();
                let marks = marks.map(|c| call_mark(c, &input.identity).0).collect();
                let grouping = Grouping {
                    marks,
                    has_few_keys: has_few_keys(node),
                    is_unchecked: self.is_unchecked(&node.input)?,
                    input,
                    keys: node.keys.clone(),
                    calls: node.calls.iter().map(call_config).collect(),
                    schema: node.schema.clone(),
                };
                self.lower_grouping(node, grouping, needs)
            }
        }
    }

    fn lower_grouping(
        &mut self,
        node: &Aggregate,
        grouping: Grouping,
        needs: bool,
    ) -> Result<Stream> {
        match &node.window {
            None => self.lower_group_aggregate(grouping, needs),
            Some(window) => match (&window.kind, &window.time) {
                (
                    WindowKind::Session { gap_ms, .. },
                    WindowTime::Rowtime(_) | WindowTime::Proctime,
                ) => self.lower_session_aggregate(node, window, *gap_ms, grouping),
                _ => self.lower_window_aggregate(node, window, grouping),
            },
        }
    }

    /// Each row once for every set, with the keys that the set lacks as NULL; then one aggregation
    /// by the keys and the set's number.
    fn lower_grouping_sets(
        &mut self,
        node: &Aggregate,
        sets: &[Vec<usize>],
        input: Stream,
        needs: bool,
    ) -> Result<Stream> {
        let width = input.schema.len();
        let num_keys = node.keys.len();
        let mut columns = input.schema.columns().to_vec();
        for key in &node.keys {
            let column = input.schema.column(*key);
            let data_type = column.data_type.with_nullable(true);
            columns.push(Column::new(column.name.clone(), data_type));
        }
        let markers = 1 + node.grouping_calls.len();
        for marker in 0..markers {
            columns.push(Column::new(
                format!("$set{marker}"),
                LogicalType::BigInt.not_null(),
            ));
        }
        let expanded = Schema::new(columns);
        let compiler = self.compiler(&input.schema);
        let projections = sets
            .iter()
            .enumerate()
            .map(|(number, set)| compiler.compile_all(&set_exprs(node, &input, number, set)?))
            .collect::<Result<Vec<_>>>()?;
        let config = ExpandConfig {
            projections,
            schema: expanded.to_arrow(),
        };
        let name = format!("Expand({} sets)", sets.len());
        let edge = vec![input.forward()];
        let label = Label::stateless(name, "expand", &input.identity);
        let id = self.add_operator(label, config, edge, &expanded, input.parallelism);
        let marks = node.calls.iter();
        let marks = marks.map(|c| call_mark(c, &input.identity).0).collect();
        let has_few_keys = has_few_keys(node);
        let stream = Stream {
            identity: expanded_identity(node, sets, &input.identity),
            node: id,
            schema: expanded.clone(),
            distribution: super::stream::Distribution::Any,
            upsert_key: None,
            ..input
        };
        let keys: Vec<usize> = (width..width + num_keys + markers).collect();
        let results = &node.schema.columns()[num_keys..];
        let calls_and_groupings = node.calls.len() + node.grouping_calls.len();
        let schema = keys
            .iter()
            .map(|k| expanded.column(*k).clone())
            .chain(results[..node.calls.len()].iter().cloned())
            .chain(results[calls_and_groupings..].iter().cloned())
            .collect();
        let calls = node.calls.iter().map(call_config).collect();
        let grouping = Grouping {
            marks,
            has_few_keys,
            is_unchecked: self.is_unchecked(&node.input)?,
            input: stream,
            keys,
            calls,
            schema,
        };
        let stream = self.lower_grouping(node, grouping, needs)?;
        self.order_grouping_columns(node, stream, markers)
    }

    /// Keys, calls, GROUPING results, properties; without the set's number.
    fn order_grouping_columns(
        &mut self,
        node: &Aggregate,
        stream: Stream,
        markers: usize,
    ) -> Result<Stream> {
        let num_keys = node.keys.len();
        let first_call = num_keys + markers;
        let first_property = first_call + node.calls.len();
        let positions = (0..num_keys)
            .chain(first_call..first_property)
            .chain(num_keys + 1..first_call)
            .chain(first_property..stream.schema.len());
        let positions: Vec<usize> = positions.collect();
        let columns = stream.identity.columns(&positions);
        let exprs: Vec<Expr> = positions
            .into_iter()
            .map(|c| Expr::column(c, stream.schema.column(c).data_type.clone()))
            .collect();
        let config = CalcConfig {
            predicate: None,
            shared: Vec::new(),
            projection: Some(self.compiler(&stream.schema).compile_all(&exprs)?),
            schema: node.schema.to_arrow(),
        };
        let edge = vec![stream.forward()];
        let name = "Calc(grouping sets)".to_string();
        let label = Label::stateless(name, "calc", &stream.identity);
        let id = self.add_operator(label, config, edge, &node.schema, stream.parallelism);
        Ok(Stream {
            identity: stream.identity.with_columns(columns),
            node: id,
            schema: node.schema.clone(),
            upsert_key: None,
            distribution: super::stream::Distribution::Any,
            ..stream
        })
    }

    fn lower_group_aggregate(&mut self, grouping: Grouping, needs: bool) -> Result<Stream> {
        let name = format!(
            "GroupAggregate(groupBy={:?}, calls={:?})",
            grouping.keys, grouping.calls
        );
        let (label, identity) = grouping.identify(name, Fingerprint::of("aggregate"));
        let Grouping {
            input,
            keys,
            calls,
            schema,
            has_few_keys,
            is_unchecked,
            ..
        } = grouping;
        let is_retracting = !input.mode.is_append_only();
        let is_batch = self.context.is_batch;
        let sends_each_change = self.sends_each_change;
        let config = GroupAggregateConfig {
            key_columns: keys.clone(),
            phase: Phase::Complete,
            input_is_retracting: is_retracting,
            emits_update_before: needs,
            emits_at_end: is_batch,
            sends_each_change,
            forgets_emptied: is_unchecked || calls.iter().any(is_approximate),
            calls,
            final_inputs: None,
            state_ttl_ms: self.state_ttl_ms()?,
            input_schema: input.schema.to_arrow(),
            schema: schema.to_arrow(),
        };
        let place = Place {
            input: &input,
            keys: &keys,
            schema: &schema,
        };
        // Parts before an exchange see no group whole.
        let may_split = !sends_each_change && !is_unchecked;
        let split = match may_split {
            true => self.split_aggregate(place, &config, has_few_keys)?,
            false => None,
        };
        let (id, parallelism) = match split {
            Some(split) => self.add_split(label, place, split, config)?,
            None => self.add_phases(label, place, config, may_split)?,
        };
        let result_keys: Vec<usize> = (0..keys.len()).collect();
        let has_calls = schema.len() > keys.len();
        let mode = match (is_batch, has_calls || is_retracting) {
            (true, _) | (_, false) => ChangelogMode::APPEND,
            _ => ChangelogMode {
                delete: is_retracting,
                ..updating(needs)
            },
        };
        let place = (id, parallelism);
        let mut stream = keyed(place, schema, mode, &result_keys, identity);
        stream.upsert_key = Some(result_keys);
        Ok(stream)
    }

    fn lower_window_aggregate(
        &mut self,
        node: &Aggregate,
        window: &GroupWindow,
        grouping: Grouping,
    ) -> Result<Stream> {
        let name = format!(
            "WindowAggregate(groupBy={:?}, window={:?}, calls={:?})",
            grouping.keys, window.kind, grouping.calls
        );
        let mark = group_window_mark(window, &grouping.input.identity);
        let (label, identity) = grouping.identify(name, mark);
        let Grouping {
            input,
            keys,
            calls,
            schema,
            ..
        } = grouping;
        let (time, time_zone) = self.window_time(node, window);
        let is_retracting = !input.mode.is_append_only();
        let config = WindowAggregateConfig {
            window: window_shape(&window.kind),
            time,
            time_zone,
            key_columns: keys.clone(),
            calls,
            phase: Phase::Complete,
            input_is_retracting: is_retracting,
            properties: window.properties.iter().map(property_config).collect(),
            input_schema: input.schema.to_arrow(),
            schema: schema.to_arrow(),
        };
        let place = Place {
            input: &input,
            keys: &keys,
            schema: &schema,
        };
        let (id, parallelism) = self.add_phases(label, place, config, !time.is_proctime())?;
        let result_keys: Vec<usize> = (0..keys.len()).collect();
        let (place, mode) = ((id, parallelism), ChangelogMode::APPEND);
        Ok(keyed(place, schema, mode, &result_keys, identity))
    }

    fn lower_session_aggregate(
        &mut self,
        node: &Aggregate,
        window: &GroupWindow,
        gap_ms: i64,
        grouping: Grouping,
    ) -> Result<Stream> {
        let name = format!(
            "SessionWindowAggregate(groupBy={:?}, gap={gap_ms} ms)",
            grouping.keys
        );
        let mark = group_window_mark(window, &grouping.input.identity);
        let (label, identity) = grouping.identify(name, mark);
        let Grouping {
            input,
            keys,
            calls,
            schema,
            ..
        } = grouping;
        let (time, time_zone) = self.window_time(node, window);
        let config = SessionWindowAggregateConfig {
            gap_ms,
            time: match time {
                WindowTimeConfig::Rowtime(column) => SessionTime::Rowtime(column),
                _ => SessionTime::Proctime,
            },
            time_zone,
            key_columns: keys.clone(),
            calls,
            input_is_retracting: !input.mode.is_append_only(),
            properties: window.properties.iter().map(property_config).collect(),
            input_schema: input.schema.to_arrow(),
            schema: schema.to_arrow(),
        };
        let (edge, parallelism) = input.by_key(&keys);
        let id = self.add_operator(label, config, vec![edge], &schema, parallelism);
        let result_keys: Vec<usize> = (0..keys.len()).collect();
        let (place, mode) = ((id, parallelism), ChangelogMode::APPEND);
        Ok(keyed(place, schema, mode, &result_keys, identity))
    }

    /// Where the rows' windows come from, and the time zone in which they are aligned.
    fn window_time(
        &self,
        node: &Aggregate,
        window: &GroupWindow,
    ) -> (WindowTimeConfig, Option<Tz>) {
        match window.time {
            WindowTime::Rowtime(column) => {
                let data_type = &node.input.schema().column(column).data_type;
                (
                    WindowTimeConfig::Rowtime(column),
                    self.window_zone(&data_type.logical),
                )
            }
            WindowTime::Proctime => (
                WindowTimeConfig::Proctime,
                Some(self.context.expr.time_zone),
            ),
            WindowTime::Attached { start, end } => {
                let origin = window_origin(&node.input);
                let is_proctime = origin.as_ref().is_some_and(|(_, is_proctime)| *is_proctime);
                let time = WindowTimeConfig::Attached {
                    start,
                    end,
                    is_proctime,
                };
                (time, self.attached_zone(&node.input))
            }
        }
    }

    /// The time zone of the windows that a plan's rows carry.
    pub(super) fn attached_zone(&self, plan: &Arc<Plan>) -> Option<Tz> {
        let (time_type, is_proctime) = window_origin(plan)?;
        if is_proctime {
            return Some(self.context.expr.time_zone);
        }
        self.window_zone(&time_type.logical)
    }
}

/// The type of the time attribute by which a plan's rows got their windows, and whether it is
/// processing time.
fn window_origin(plan: &Plan) -> Option<(DataType, bool)> {
    match plan {
        Plan::WindowTvf(node) => {
            let column = node.input.schema().column(node.time_column);
            Some((column.data_type.clone(), node.is_proctime))
        }
        Plan::Aggregate(Aggregate {
            window: Some(window),
            input,
            ..
        }) => match window.time {
            WindowTime::Rowtime(column) => {
                Some((input.schema().column(column).data_type.clone(), false))
            }
            WindowTime::Proctime => Some((LogicalType::TimestampLtz(3).not_null(), true)),
            WindowTime::Attached { .. } => window_origin(input),
        },
        _ => plan
            .inputs()
            .into_iter()
            .find_map(|input| window_origin(input)),
    }
}

/// Whether the result depends on the order of the rows, by the error of its sums.
fn is_approximate(call: &AggregateCallConfig) -> bool {
    let mut arguments = call.types.arguments.iter();
    arguments.any(|a| matches!(a.logical, LogicalType::Float | LogicalType::Double))
}

fn has_few_keys(node: &Aggregate) -> bool {
    let mut keys = node.keys.iter();
    keys.all(|key| has_few_values(&node.input, *key))
}

fn call_config(call: &AggregateCall) -> AggregateCallConfig {
    AggregateCallConfig {
        function: call.function,
        types: call.types.clone(),
        args: call.args.clone(),
        distinct: call.distinct && !call.function.ignores_distinct,
        filter: call.filter,
    }
}

/// The columns of one grouping set: the input's, the keys with NULL for what the set lacks, the
/// set's number, and the bits of each GROUPING call.
fn set_exprs(node: &Aggregate, input: &Stream, number: usize, set: &[usize]) -> Result<Vec<Expr>> {
    let column = |c: usize| Expr::column(c, input.schema.column(c).data_type.clone());
    let big = |value: i64| {
        Expr::literal(
            ScalarValue::Int64(Some(value)),
            LogicalType::BigInt.not_null(),
        )
    };
    let mut exprs: Vec<Expr> = (0..input.schema.len()).map(column).collect();
    for (position, key) in node.keys.iter().enumerate() {
        exprs.push(match set.contains(&position) {
            true => column(*key),
            false => Expr::null(&input.schema.column(*key).data_type.with_nullable(true))?,
        });
    }
    exprs.push(big(number as i64));
    for call in &node.grouping_calls {
        let bits = call.iter().fold(0, |bits, position| {
            bits << 1 | i64::from(!set.contains(position))
        });
        exprs.push(big(bits));
    }
    Ok(exprs)
}

fn window_shape(kind: &WindowKind) -> WindowShape {
    super::order::tvf_shape(kind)
}

fn property_config(property: &WindowProperty) -> WindowPropertyConfig {
    match property {
        WindowProperty::Start => WindowPropertyConfig::Start,
        WindowProperty::End => WindowPropertyConfig::End,
        WindowProperty::Rowtime => WindowPropertyConfig::Rowtime,
        WindowProperty::Proctime => WindowPropertyConfig::Proctime,
    }
}
