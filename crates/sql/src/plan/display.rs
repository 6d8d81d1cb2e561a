//! Plans as indented text, for EXPLAIN and tests.

use std::fmt::Write;

use flott_core::schema::Schema;

use super::{
    Aggregate, Frame, GroupWindow, JoinMode, OverCall, Plan, Scan, SortKey, WindowKind, WindowTime,
};

/// The plan as indented text, one node a line, inputs below; columns are `$position` of the input.
/// A node that is shared is written once and referred to after.
pub fn explain_plan(plan: &Plan) -> String {
    let mut text = String::new();
    write_node(&mut text, plan, 0);
    text
}

fn write_node(text: &mut String, plan: &Plan, depth: usize) {
    let _ = writeln!(text, "{:width$}{}", "", describe(plan), width = depth * 2);
    for input in plan.inputs() {
        write_node(text, input, depth + 1);
    }
}

fn describe(plan: &Plan) -> String {
    match plan {
        Plan::Scan(n) => scan(n),
        Plan::Values(n) => {
            let rows = n.rows.iter().map(|r| format!("({})", join(r.iter())));
            format!("Values {}", join(rows))
        }
        Plan::Project(n) => {
            let exprs = n.exprs.iter().zip(n.schema.columns());
            format!(
                "Project {}",
                join(exprs.map(|(e, c)| format!("{e} AS {}", c.name)))
            )
        }
        Plan::Filter(n) => format!("Filter {}", n.predicate),
        Plan::Watermark(n) => format!("Watermark ${} AS {}", n.column, n.expr),
        Plan::WindowTvf(n) => format!("WindowTvf {} ON ${}", window_kind(&n.kind), n.time_column),
        Plan::Aggregate(n) => aggregate(n),
        Plan::Join(n) => {
            format!("Join {:?}{} ON {}", n.kind, join_mode(&n.mode), n.condition)
        }
        Plan::Over(n) => format!(
            "Over partition=[{}] order=[{}] {} calls=[{}]",
            columns(&n.partition_keys),
            order(&n.order),
            frame(n.frame),
            join(n.calls.iter().map(over_call))
        ),
        Plan::Rank(n) => format!(
            "Rank {}..={} partition=[{}] order=[{}]{}{}",
            n.from,
            n.to,
            columns(&n.partition_keys),
            order(&n.order),
            if n.outputs_rank { " rank" } else { "" },
            n.window
                .map(|(s, e)| format!(" window=(${s}, ${e})"))
                .unwrap_or_default()
        ),
        Plan::Sort(n) => {
            let fetch = n.fetch.map(|f| format!(" fetch={f}")).unwrap_or_default();
            let offset = if n.offset > 0 {
                format!(" offset={}", n.offset)
            } else {
                String::new()
            };
            format!("Sort [{}]{offset}{fetch}", order(&n.keys))
        }
        Plan::Union(_) => "Union".into(),
        Plan::Match(n) => n.describe(),
        Plan::Unnest(n) => format!(
            "Unnest ${}{}{}",
            n.column,
            if n.is_outer { " outer" } else { "" },
            if n.with_ordinality { " ordinality" } else { "" }
        ),
    }
}

fn join(items: impl Iterator<Item = impl ToString>) -> String {
    items.map(|i| i.to_string()).collect::<Vec<_>>().join(", ")
}

fn columns(positions: &[usize]) -> String {
    join(positions.iter().map(|p| format!("${p}")))
}

fn order(keys: &[SortKey]) -> String {
    join(keys.iter().map(|k| {
        let nulls = match k.nulls_first != k.descending {
            true => "",
            false if k.nulls_first => " NULLS FIRST",
            false => " NULLS LAST",
        };
        format!(
            "${}{}{nulls}",
            k.column,
            if k.descending { " DESC" } else { "" }
        )
    }))
}

fn scan(n: &Scan) -> String {
    let fields = n
        .fields
        .iter()
        .zip(n.schema.columns())
        .map(|(path, column)| {
            let path = path.0.iter().map(usize::to_string).collect::<Vec<_>>();
            format!("{}:{}", path.join("."), column.name)
        });
    let predicates = match n.predicates.is_empty() {
        true => String::new(),
        false => format!(" predicates={:?}", n.predicates),
    };
    let limit = n.limit.map(|l| format!(" limit={l}")).unwrap_or_default();
    let options = match n.options == n.table.options || n.options.is_empty() {
        true => String::new(),
        false => format!(" options={:?}", n.options.iter().collect::<Vec<_>>()),
    };
    format!(
        "Scan {} [{}]{predicates}{limit}{options}",
        n.path,
        join(fields)
    )
}

fn window_kind(kind: &WindowKind) -> String {
    match kind {
        WindowKind::Tumble { size_ms, offset_ms } => format!("TUMBLE({size_ms}, {offset_ms})"),
        WindowKind::Hop {
            size_ms,
            slide_ms,
            offset_ms,
        } => format!("HOP({size_ms}, {slide_ms}, {offset_ms})"),
        WindowKind::Cumulate {
            max_size_ms,
            step_ms,
            offset_ms,
        } => format!("CUMULATE({max_size_ms}, {step_ms}, {offset_ms})"),
        WindowKind::Session {
            gap_ms,
            partition_keys,
        } => format!("SESSION({gap_ms}, [{}])", columns(partition_keys)),
    }
}

fn group_window(window: &GroupWindow) -> String {
    let time = match window.time {
        WindowTime::Rowtime(column) => format!("${column}"),
        WindowTime::Proctime => "proctime".into(),
        WindowTime::Attached { start, end } => format!("attached (${start}, ${end})"),
    };
    format!(
        " window={} ON {time} {:?}",
        window_kind(&window.kind),
        window.properties
    )
}

fn aggregate(n: &Aggregate) -> String {
    let sets = n
        .grouping_sets
        .as_ref()
        .map(|sets| format!(" sets={sets:?}"))
        .unwrap_or_default();
    let grouping = match n.grouping_calls.is_empty() {
        true => String::new(),
        false => format!(" grouping={:?}", n.grouping_calls),
    };
    let window = n.window.as_ref().map(group_window).unwrap_or_default();
    let calls = n.calls.iter().map(|c| format!("{c:?}"));
    format!(
        "Aggregate keys=[{}]{sets} calls=[{}]{grouping}{window}",
        columns(&n.keys),
        join(calls)
    )
}

fn join_mode(mode: &JoinMode) -> String {
    match mode {
        JoinMode::Regular => String::new(),
        other => format!(" {other:?}"),
    }
}

fn frame(frame: Frame) -> String {
    let unit = if frame.is_rows { "ROWS" } else { "RANGE" };
    match frame.preceding {
        Some(n) => format!("{unit} {n} PRECEDING"),
        None => format!("{unit} UNBOUNDED PRECEDING"),
    }
}

fn over_call(call: &OverCall) -> String {
    match call {
        OverCall::Aggregate(call) => format!("{call:?}"),
        other => format!("{other:?}"),
    }
}

impl Plan {
    /// Text that is equal for plans that give the same columns in the same way.
    pub fn key(&self) -> String {
        let mut text = String::new();
        write_key(&mut text, self);
        text
    }
}

fn write_key(text: &mut String, plan: &Plan) {
    let _ = write!(text, "{}{{{}", describe(plan), schema(plan.schema()));
    for expr in plan.exprs() {
        let _ = write!(text, ";{}", expr.key());
    }
    for input in plan.inputs() {
        text.push('(');
        write_key(text, input);
        text.push(')');
    }
    text.push('}');
}

fn schema(schema: &Schema) -> String {
    schema.to_string()
}
