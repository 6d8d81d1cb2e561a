//! Joins with bounds between the two sides' time attributes become interval joins.

use std::sync::Arc;

use datafusion_common::ScalarValue;
use flott_core::schema::{Schema, TimeAttribute};

use crate::expr::{Expr, ExprKind};
use crate::plan::{Join, JoinKind, JoinMode, Plan};

/// A time attribute plus a constant.
struct Moment {
    column: usize,
    offset_ms: i64,
    time: TimeAttribute,
}

/// Bounds of left time − right time, in ms.
#[derive(Default)]
struct Bounds {
    times: Option<(usize, usize, TimeAttribute)>,
    lower: Option<i64>,
    upper: Option<i64>,
}

/// A regular join whose condition bounds the distance of two time attributes on both sides.
pub fn recognise(node: Arc<Plan>) -> Arc<Plan> {
    let Plan::Join(join) = node.as_ref() else {
        return node;
    };
    let is_candidate = matches!(join.mode, JoinMode::Regular)
        && matches!(
            join.kind,
            JoinKind::Inner | JoinKind::Left | JoinKind::Right | JoinKind::Full
        );
    if !is_candidate {
        return node;
    }
    interval_join(join).unwrap_or(node)
}

fn interval_join(join: &Join) -> Option<Arc<Plan>> {
    let schema = join.left.schema().join(join.right.schema());
    let width = join.left.schema().len();
    let mut bounds = Bounds::default();
    let mut rest = Vec::new();
    for conjunct in join.condition.clone().conjuncts() {
        if !bounds.take(&conjunct, &schema, width) {
            rest.push(conjunct);
        }
    }
    let (left_time, right_time, time) = bounds.times?;
    let mode = JoinMode::Interval {
        left_time,
        right_time: right_time - width,
        lower_ms: bounds.lower?,
        upper_ms: bounds.upper?,
        is_proctime: time == TimeAttribute::Proctime,
    };
    Some(Plan::join(
        join.left.clone(),
        join.right.clone(),
        join.kind,
        Expr::and(rest),
        mode,
    ))
}

impl Bounds {
    /// Takes a conjunct in when it is a bound between the same two columns.
    fn take(&mut self, conjunct: &Expr, schema: &Schema, width: usize) -> bool {
        let ExprKind::Call { function, args, .. } = &conjunct.kind else {
            return false;
        };
        let [a, b] = args.as_slice() else {
            return false;
        };
        let (Some(a), Some(b)) = (moment(a, schema), moment(b, schema)) else {
            return false;
        };
        let (left, right, name) = match (a.column < width, b.column < width) {
            (true, false) => (a, b, function.name),
            (false, true) => (b, a, mirrored(function.name)),
            _ => return false,
        };
        let times = (left.column, right.column, left.time);
        if left.time != right.time || self.times.is_some_and(|t| t != times) {
            return false;
        }
        // left + l ? right + r  ⇔  left − right ? r − l
        let distance = right.offset_ms - left.offset_ms;
        let (lower, upper) = match name {
            ">=" => (Some(distance), None),
            ">" => (Some(distance + 1), None),
            "<=" => (None, Some(distance)),
            "<" => (None, Some(distance - 1)),
            "=" => (Some(distance), Some(distance)),
            _ => return false,
        };
        self.times = Some(times);
        self.lower = match (self.lower, lower) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        };
        self.upper = match (self.upper, upper) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        true
    }
}

fn mirrored(name: &str) -> &str {
    match name {
        "<" => ">",
        "<=" => ">=",
        ">" => "<",
        ">=" => "<=",
        other => other,
    }
}

fn moment(expr: &Expr, schema: &Schema) -> Option<Moment> {
    match &expr.kind {
        ExprKind::Column(column) => Some(Moment {
            column: *column,
            offset_ms: 0,
            time: schema.column(*column).time?,
        }),
        ExprKind::Cast { expr, .. } if expr.data_type.logical.is_timestamp() => {
            moment(expr, schema)
        }
        ExprKind::Call { function, args, .. } => {
            let [a, b] = args.as_slice() else {
                return None;
            };
            let (time, interval, sign) = match (function.name, interval_ms(a), interval_ms(b)) {
                ("+", None, Some(ms)) => (a, ms, 1),
                ("+", Some(ms), None) => (b, ms, 1),
                ("-", None, Some(ms)) => (a, ms, -1),
                _ => return None,
            };
            let mut found = moment(time, schema)?;
            found.offset_ms += sign * interval;
            Some(found)
        }
        _ => None,
    }
}

fn interval_ms(expr: &Expr) -> Option<i64> {
    match expr.as_literal()? {
        ScalarValue::DurationMillisecond(ms) => *ms,
        _ => None,
    }
}
