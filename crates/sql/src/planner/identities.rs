//! How stateful operators are known, and what their results are: what goes into an
//! [`Identity`](super::identity::Identity) for each kind of node.

use flott_core::graph::{StateAggregate, StateColumn};
use flott_core::schema::Schema;
use flott_table::aggregates::AggregateCallConfig;

use super::identity::{Fingerprint, Identity, Label};
use super::stream::Stream;
use crate::plan::{
    Aggregate, AggregateCall, GroupWindow, Over, OverCall, Rank, Sort, SortKey, WindowKind,
    WindowTime,
};

pub(super) fn order_mark(mark: Fingerprint, keys: &[SortKey], input: &Identity) -> Fingerprint {
    let key = |k: &SortKey| {
        let flags = u64::from(k.descending) << 1 | u64::from(k.nulls_first);
        Fingerprint(input.column(k.column)).number(flags).0
    };
    mark.numbers(keys.iter().map(key))
}

pub(super) fn sort_label(name: String, kind: &str, node: &Sort, input: &Stream) -> Label {
    let mark = order_mark(Fingerprint::of(kind), &node.keys, &input.identity);
    let mark = mark.number(node.offset).numbers(node.fetch);
    let state = input.identity.state("", &input.schema);
    Label::new(name, input.identity.all(mark)).with_state(state)
}

/// The same rows, unless there is a limit.
pub(super) fn sorted(node: &Sort, input: &Identity) -> Identity {
    if node.fetch.is_none() && node.offset == 0 {
        return input.clone();
    }
    let mark = order_mark(Fingerprint::of("limited"), &node.keys, input);
    let rows = input.all(mark.number(node.offset).numbers(node.fetch));
    input.derive(rows, &[], input.all_columns())
}

pub(super) fn rank_identity(
    node: &Rank,
    input: &Stream,
    name: String,
    keys: &[usize],
) -> (Label, Identity) {
    let identity = &input.identity;
    let mark = order_mark(Fingerprint::of("rank"), &node.order, identity);
    let mark = mark.number(node.from).number(node.to);
    let window = node.window.map(|(start, end)| [start, end]);
    let mark = mark.numbers(window.iter().flatten().map(|c| identity.column(*c)));
    let uid = identity.keyed(mark, keys);
    let label = Label::new(name, uid).with_state(identity.state("", &input.schema));
    let rank = node.outputs_rank.then(|| uid.text("rank").0);
    let columns = identity.append(rank).all_columns();
    (label, identity.derive(uid, keys, columns))
}

pub(super) fn over_identity(node: &Over, input: &Stream, name: String) -> (Label, Identity) {
    let identity = &input.identity;
    let mark = order_mark(Fingerprint::of("over"), &node.order, identity);
    let mark = mark
        .number(u64::from(node.frame.is_rows))
        .numbers(node.frame.preceding.map(|n| n as u64));
    let keys = &node.partition_keys;
    let uid = identity.keyed(mark, keys);
    let call = |call: &OverCall| match call {
        OverCall::Aggregate(call) => call_mark(call, identity),
        OverCall::Lag {
            arg,
            offset,
            default,
        } => {
            let columns = [Some(*arg), *default].into_iter().flatten();
            Fingerprint::of("LAG")
                .number(*offset as u64)
                .numbers(columns.map(|c| identity.column(c)))
        }
        OverCall::Ntile { buckets } => Fingerprint::of("NTILE").number(*buckets as u64),
        OverCall::RowNumber => Fingerprint::of("ROW_NUMBER"),
        OverCall::Rank => Fingerprint::of("RANK"),
        OverCall::DenseRank => Fingerprint::of("DENSE_RANK"),
        OverCall::PercentRank => Fingerprint::of("PERCENT_RANK"),
        OverCall::CumeDist => Fingerprint::of("CUME_DIST"),
    };
    let calls: Vec<u64> = node.calls.iter().map(|c| call(c).0).collect();
    let results = calls.iter().map(|call| uid.number(*call).0);
    let columns = identity.append(results).all_columns();
    let mut state = identity.state("", &input.schema);
    let results = &node.schema.columns()[input.schema.len()..];
    for ((meaning, column), call) in calls.iter().zip(results).zip(&node.calls) {
        state.push(StateColumn {
            name: over_name(call, &input.schema),
            data_type: column.data_type.logical.to_string(),
            meaning: *meaning,
            aggregate: Some(over_aggregate(call)),
        });
    }
    let label = Label::new(name, uid).with_state(state);
    (label, identity.derive(uid, keys, columns))
}

/// `SUM(DISTINCT price)`: what a call is called where its state is looked at.
fn over_name(call: &OverCall, schema: &Schema) -> String {
    let named = |column: &usize| schema.column(*column).name.clone();
    match call {
        OverCall::Aggregate(call) => {
            let distinct = if call.distinct { "DISTINCT " } else { "" };
            let arguments = call.args.iter().map(named).collect::<Vec<_>>().join(", ");
            let arguments = if call.args.is_empty() {
                "*".into()
            } else {
                arguments
            };
            format!("{}({distinct}{arguments})", call.function.name)
        }
        OverCall::Lag { arg, offset, .. } => format!("LAG({}, {offset})", named(arg)),
        _ => format!("{}()", over_aggregate(call).function),
    }
}

fn over_aggregate(call: &OverCall) -> StateAggregate {
    let (function, arguments, is_distinct) = match call {
        OverCall::Aggregate(call) => {
            let arguments = call.types.arguments.iter();
            let arguments = arguments.map(|t| t.logical.to_string()).collect();
            (call.function.name, arguments, call.distinct)
        }
        OverCall::Lag { .. } => ("LAG", Vec::new(), false),
        OverCall::Ntile { .. } => ("NTILE", Vec::new(), false),
        OverCall::RowNumber => ("ROW_NUMBER", Vec::new(), false),
        OverCall::Rank => ("RANK", Vec::new(), false),
        OverCall::DenseRank => ("DENSE_RANK", Vec::new(), false),
        OverCall::PercentRank => ("PERCENT_RANK", Vec::new(), false),
        OverCall::CumeDist => ("CUME_DIST", Vec::new(), false),
    };
    StateAggregate {
        function: function.to_string(),
        arguments,
        is_distinct,
        is_retracting: false,
    }
}

/// Mixes in how rows fall into windows, except for the keys of sessions.
pub(super) fn window_mark(mark: Fingerprint, kind: &WindowKind) -> Fingerprint {
    let numbers = |name: &str, numbers: &[i64]| {
        let numbers = numbers.iter().map(|n| *n as u64);
        mark.text(name).numbers(numbers)
    };
    match *kind {
        WindowKind::Tumble { size_ms, offset_ms } => numbers("TUMBLE", &[size_ms, offset_ms]),
        WindowKind::Hop {
            size_ms,
            slide_ms,
            offset_ms,
        } => numbers("HOP", &[size_ms, slide_ms, offset_ms]),
        WindowKind::Cumulate {
            max_size_ms,
            step_ms,
            offset_ms,
        } => numbers("CUMULATE", &[max_size_ms, step_ms, offset_ms]),
        WindowKind::Session { gap_ms, .. } => numbers("SESSION", &[gap_ms]),
    }
}

/// What a call computes over its input's rows.
pub(super) fn call_mark(call: &AggregateCall, input: &Identity) -> Fingerprint {
    Fingerprint::of("aggregate call")
        .text(call.function.name)
        .number(u64::from(call.distinct && !call.function.ignores_distinct))
        .numbers(input.columns(&call.args))
        .numbers(call.filter.map(|c| input.column(c)))
}

/// Of windows that the aggregation assigns by itself, or that the rows carry.
pub(super) fn group_window_mark(window: &GroupWindow, input: &Identity) -> Fingerprint {
    let mark = window_mark(Fingerprint::of("window aggregate"), &window.kind);
    match window.time {
        WindowTime::Rowtime(column) => mark.text("rowtime").number(input.column(column)),
        WindowTime::Proctime => mark.text("proctime"),
        WindowTime::Attached { start, end } => {
            mark.text("attached").numbers(input.columns(&[start, end]))
        }
    }
}

/// Of the rows that grouping sets make of each row.
pub(super) fn expanded_identity(
    node: &Aggregate,
    sets: &[Vec<usize>],
    input: &Identity,
) -> Identity {
    let keys = input.columns(&node.keys);
    let key_of = |position: &usize| keys.get(*position).copied().unwrap_or_default();
    let set = |set: &Vec<usize>| Fingerprint::of("set").numbers(set.iter().map(key_of)).0;
    let rows = Fingerprint::of("expand").numbers(sets.iter().map(set));
    let rows = input.origin(rows);
    let nullable = keys.iter().map(|key| rows.number(*key).0);
    let markers = (0..=node.grouping_calls.len()).map(|i| rows.text("marker").number(i as u64).0);
    input.expand(rows, nullable.chain(markers))
}

/// `SUM(DISTINCT price) FILTER(is_paid)`: what a call is called where its state is looked at.
pub(super) fn call_name(call: &AggregateCallConfig, schema: &Schema) -> String {
    let named = |column: &usize| schema.column(*column).name.clone();
    let arguments = match call.args.as_slice() {
        [] => "*".to_string(),
        args => args.iter().map(named).collect::<Vec<_>>().join(", "),
    };
    let distinct = if call.distinct { "DISTINCT " } else { "" };
    let filter = call
        .filter
        .map(|column| format!(" FILTER({})", named(&column)));
    format!(
        "{}({distinct}{arguments}){}",
        call.function.name,
        filter.unwrap_or_default()
    )
}

/// What it takes to make results of a call's partial states.
pub(super) fn state_aggregate(call: &AggregateCallConfig, is_retracting: bool) -> StateAggregate {
    let arguments = call.types.arguments.iter();
    StateAggregate {
        function: call.function.name.to_string(),
        arguments: arguments.map(|t| t.logical.to_string()).collect(),
        is_distinct: call.distinct,
        is_retracting,
    }
}
