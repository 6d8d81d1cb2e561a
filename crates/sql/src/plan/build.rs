//! Constructors of plan nodes that work out the schema.

use std::sync::Arc;

use flott_core::schema::{Column, Schema, TimeAttribute};
use flott_core::types::{DataType, LogicalType};

use super::{
    Aggregate, AggregateCall, Filter, GroupWindow, Join, JoinKind, JoinMode, Over, OverCall, Plan,
    Project, SortKey, Union, Unnest, Values, Watermark, WindowProperty, WindowTime, WindowTvf,
};
use crate::expr::{Expr, ExprKind};

impl SortKey {
    /// Flink's default order of a column: NULL is the lowest value.
    pub fn new(column: usize, descending: bool) -> Self {
        Self {
            column,
            descending,
            nulls_first: !descending,
        }
    }
}

/// The time attribute of an expression over columns of `input`.
pub fn time_of(expr: &Expr, input: &Schema) -> Option<TimeAttribute> {
    match &expr.kind {
        ExprKind::Column(index) if *index < input.len() => input.column(*index).time,
        ExprKind::Call { function, .. } if function.name == "PROCTIME" => {
            Some(TimeAttribute::Proctime)
        }
        _ => None,
    }
}

impl Plan {
    /// A projection; a plain column keeps its time attribute.
    pub fn project(input: Arc<Plan>, exprs: Vec<Expr>, names: Vec<String>) -> Arc<Plan> {
        let columns = exprs.iter().zip(names).map(|(expr, name)| {
            Column::new(name, expr.data_type.clone()).with_time(time_of(expr, input.schema()))
        });
        let schema = columns.collect();
        Arc::new(Plan::Project(Project {
            input,
            exprs,
            schema,
        }))
    }

    /// These columns of the input, in this order.
    pub fn project_columns(input: Arc<Plan>, columns: &[usize]) -> Arc<Plan> {
        let is_identity = columns.len() == input.schema().len()
            && columns.iter().enumerate().all(|(i, c)| i == *c);
        if is_identity {
            return input;
        }
        let exprs = columns.iter().map(|&c| input.column_expr(c)).collect();
        let names = columns
            .iter()
            .map(|&c| input.schema().column(c).name.clone())
            .collect();
        Self::project(input, exprs, names)
    }

    /// The input's columns, then these.
    pub fn append(input: Arc<Plan>, exprs: Vec<Expr>, name: &str) -> Arc<Plan> {
        if exprs.is_empty() {
            return input;
        }
        let names = input.schema().columns().iter().map(|c| c.name.clone());
        let added = (0..exprs.len()).map(|i| format!("{name}{i}"));
        let names = names.chain(added).collect();
        let all = (0..input.schema().len()).map(|i| input.column_expr(i));
        let all = all.chain(exprs).collect();
        Self::project(input, all, names)
    }

    /// A reference to one of this node's columns.
    pub fn column_expr(&self, index: usize) -> Expr {
        Expr::column(index, self.schema().column(index).data_type.clone())
    }

    /// A filter; none for `TRUE`.
    pub fn filter(input: Arc<Plan>, predicate: Expr) -> Arc<Plan> {
        if predicate.is_true() {
            return input;
        }
        Arc::new(Plan::Filter(Filter { input, predicate }))
    }

    /// Rows of constants.
    pub fn values(rows: Vec<Vec<Expr>>, schema: Schema) -> Arc<Plan> {
        Arc::new(Plan::Values(Values { rows, schema }))
    }

    /// One row without columns.
    pub fn single_row() -> Arc<Plan> {
        Self::values(vec![vec![]], Schema::empty())
    }

    /// Marks `column` as the rowtime attribute.
    pub fn watermark(input: Arc<Plan>, column: usize, expr: Expr) -> Arc<Plan> {
        let columns = input.schema().columns().iter().enumerate();
        let schema = columns
            .map(|(i, c)| match i == column {
                true => c.clone().with_time(Some(TimeAttribute::Rowtime)),
                false => c.clone(),
            })
            .collect();
        Arc::new(Plan::Watermark(Watermark {
            input,
            column,
            expr,
            schema,
        }))
    }

    /// A window table-valued function's node.
    pub fn window_tvf(
        input: Arc<Plan>,
        kind: super::WindowKind,
        time_column: usize,
        is_proctime: bool,
    ) -> Arc<Plan> {
        let time_type = &input.schema().column(time_column).data_type;
        let added = window_columns(&time_type.with_nullable(false), is_proctime);
        let schema = input.schema().join(&added);
        Arc::new(Plan::WindowTvf(WindowTvf {
            input,
            kind,
            time_column,
            is_proctime,
            schema,
        }))
    }

    /// GROUP BY; the schema is keys, calls, grouping calls, window properties.
    pub fn aggregate(
        input: Arc<Plan>,
        keys: Vec<usize>,
        grouping_sets: Option<Vec<Vec<usize>>>,
        grouping_calls: Vec<Vec<usize>>,
        calls: Vec<AggregateCall>,
        window: Option<GroupWindow>,
    ) -> Arc<Plan> {
        let mut node = Aggregate {
            input,
            keys,
            grouping_sets,
            grouping_calls,
            calls,
            window,
            schema: Schema::empty(),
        };
        node.schema = node.derive_schema();
        if node.window.is_none() && node.grouping_sets.is_none() {
            // Kept until the optimizer knows whether this is a window's aggregate.
            let schema = node.schema.columns().iter().enumerate();
            let schema = schema.map(|(i, column)| match node.keys.get(i) {
                Some(&key) => {
                    let time = node.input.schema().column(key).time;
                    column.clone().with_time(time)
                }
                None => column.clone(),
            });
            node.schema = schema.collect();
        }
        Arc::new(Plan::Aggregate(node))
    }

    /// `SELECT DISTINCT`: grouped by every column.
    pub fn distinct(input: Arc<Plan>) -> Arc<Plan> {
        let keys = (0..input.schema().len()).collect();
        Self::aggregate(input, keys, None, vec![], vec![], None)
    }

    /// A join; the condition is over the left's columns then the right's.
    pub fn join(
        left: Arc<Plan>,
        right: Arc<Plan>,
        kind: JoinKind,
        condition: Expr,
        mode: JoinMode,
    ) -> Arc<Plan> {
        let schema = join_schema(&left, &right, kind, &mode);
        Arc::new(Plan::Join(Join {
            left,
            right,
            kind,
            condition,
            mode,
            schema,
        }))
    }

    /// UNION ALL of inputs of equal types; names are the first's.
    pub fn union(inputs: Vec<Arc<Plan>>) -> Arc<Plan> {
        let Some(first) = inputs.first() else {
            return Self::values(vec![], Schema::empty());
        };
        let columns = first.schema().columns().iter().enumerate().map(|(i, c)| {
            let others = || inputs.iter().map(|p| p.schema().column(i));
            let nullable = others().any(|o| o.data_type.nullable);
            let time = c.time.filter(|t| others().all(|o| o.time == Some(*t)));
            Column::new(&c.name, c.data_type.with_nullable(nullable)).with_time(time)
        });
        let schema = columns.collect();
        Arc::new(Plan::Union(Union { inputs, schema }))
    }

    /// UNNEST of a column; `element` are the columns that it gives.
    pub fn unnest(
        input: Arc<Plan>,
        column: usize,
        is_outer: bool,
        with_ordinality: bool,
        element: Vec<Column>,
    ) -> Arc<Plan> {
        let added: Schema = element
            .into_iter()
            .map(|c| {
                let nullable = is_outer || c.data_type.nullable;
                Column::new(c.name, c.data_type.with_nullable(nullable))
            })
            .collect();
        let schema = input.schema().join(&added);
        Arc::new(Plan::Unnest(Unnest {
            input,
            column,
            is_outer,
            with_ordinality,
            schema,
        }))
    }

    /// Window functions over one partitioning and order.
    pub fn over(mut node: Over) -> Arc<Plan> {
        let schema = node.input.schema();
        let added: Schema = node
            .calls
            .iter()
            .enumerate()
            .map(|(i, call)| Column::new(format!("w{i}"), call.result_type(schema)))
            .collect();
        node.schema = schema.join(&added);
        Arc::new(Plan::Over(node))
    }
}

impl Aggregate {
    /// The schema that follows from the other fields; names of keys are the input's.
    pub fn derive_schema(&self) -> Schema {
        let input = self.input.schema();
        let keys = self.keys.iter().enumerate().map(|(position, &key)| {
            let column = input.column(key);
            let is_missing = |set: &Vec<usize>| !set.contains(&position);
            let is_nulled = self
                .grouping_sets
                .as_ref()
                .is_some_and(|sets| sets.iter().any(is_missing));
            let nullable = column.data_type.nullable || is_nulled;
            let is_window = self.is_attached_window_column(key);
            Column::new(&column.name, column.data_type.with_nullable(nullable))
                .with_time(column.time.filter(|_| is_window))
        });
        let calls = self.calls.iter().enumerate().map(|(i, call)| {
            Column::new(
                format!("{}{i}", call.function.name),
                call.types.result.clone(),
            )
        });
        let grouping = (0..self.grouping_calls.len())
            .map(|i| Column::new(format!("GROUPING{i}"), LogicalType::BigInt.not_null()));
        let properties = self.window.iter().flat_map(|w| {
            w.properties
                .iter()
                .map(|p| p.column(&self.window_time_type(w)))
        });
        keys.chain(calls)
            .chain(grouping)
            .chain(properties)
            .collect()
    }

    /// A window aggregate's `window_time` stays a rowtime attribute.
    fn is_attached_window_column(&self, key: usize) -> bool {
        match self.window.as_ref().map(|w| &w.time) {
            Some(WindowTime::Attached { start, end }) => key != *start && key != *end,
            _ => false,
        }
    }

    fn window_time_type(&self, window: &GroupWindow) -> DataType {
        match window.time {
            WindowTime::Rowtime(column) => self.input.schema().column(column).data_type.clone(),
            _ => LogicalType::Timestamp(3).not_null(),
        }
    }
}

impl Join {
    /// The equalities of the condition, as positions in the left and in the right schema.
    pub fn equalities(&self) -> Vec<(usize, usize)> {
        let width = self.left.schema().len();
        let conjuncts = self.condition.clone().conjuncts();
        let pair = |e: &Expr| match e.as_call("=")? {
            [l, r] => match (l.as_column()?, r.as_column()?) {
                (l, r) if l < width && r >= width => Some((l, r - width)),
                (r, l) if l < width && r >= width => Some((l, r - width)),
                _ => None,
            },
            _ => None,
        };
        conjuncts.iter().filter_map(pair).collect()
    }

    /// Whether a part of the condition equates an expression of one side with one of the other.
    pub fn has_equality(&self) -> bool {
        let width = self.left.schema().len();
        let is_left = |e: &Expr| e.columns().iter().all(|c| *c < width);
        let is_right = |e: &Expr| e.columns().iter().all(|c| *c >= width);
        let conjuncts = self.condition.clone().conjuncts();
        conjuncts.iter().any(|e| match e.as_call("=") {
            Some([l, r]) => {
                !l.columns().is_empty()
                    && !r.columns().is_empty()
                    && ((is_left(l) && is_right(r)) || (is_right(l) && is_left(r)))
            }
            _ => false,
        })
    }
}

impl WindowProperty {
    /// The column of this property for a time attribute of this type.
    pub fn column(self, time_type: &DataType) -> Column {
        let timestamp = LogicalType::Timestamp(3).not_null();
        let attribute = match time_type.logical {
            LogicalType::TimestampLtz(_) => LogicalType::TimestampLtz(3),
            _ => LogicalType::Timestamp(3),
        };
        let attribute = attribute.nullable().with_nullable(time_type.nullable);
        match self {
            Self::Start => Column::new("window_start", timestamp),
            Self::End => Column::new("window_end", timestamp),
            Self::Rowtime => {
                Column::new("window_time", attribute).with_time(Some(TimeAttribute::Rowtime))
            }
            Self::Proctime => Column::new("window_time", LogicalType::TimestampLtz(3).not_null())
                .with_time(Some(TimeAttribute::Proctime)),
        }
    }
}

/// `window_start`, `window_end` and `window_time` over a time attribute of this type.
fn window_columns(time_type: &DataType, is_proctime: bool) -> Schema {
    let time = match is_proctime {
        true => WindowProperty::Proctime,
        false => WindowProperty::Rowtime,
    };
    [WindowProperty::Start, WindowProperty::End, time]
        .into_iter()
        .map(|p| p.column(time_type))
        .collect()
}

/// The schema of a join. Time attributes are kept until the optimizer knows which joins lose them;
/// a lookup join has the left's only.
pub fn join_schema(left: &Plan, right: &Plan, kind: JoinKind, mode: &JoinMode) -> Schema {
    let (left_nulled, right_nulled) = match kind {
        JoinKind::Inner => (false, false),
        JoinKind::Left => (false, true),
        JoinKind::Right => (true, false),
        JoinKind::Full => (true, true),
        JoinKind::Semi | JoinKind::Anti | JoinKind::NullAwareAnti => {
            return left.schema().clone();
        }
    };
    let keeps_right = !matches!(mode, JoinMode::Lookup);
    let side = |plan: &Plan, nulled: bool, keeps_time: bool| -> Schema {
        let columns = plan.schema().columns().iter().map(|c| {
            let nullable = c.data_type.nullable || nulled;
            Column::new(&c.name, c.data_type.with_nullable(nullable))
                .with_time(c.time.filter(|_| keeps_time))
        });
        columns.collect()
    };
    side(left, left_nulled, true).join(&side(right, right_nulled, keeps_right))
}

impl OverCall {
    /// The type of the call's column over these input columns.
    pub fn result_type(&self, input: &Schema) -> DataType {
        match self {
            Self::Aggregate(call) => call.types.result.clone(),
            Self::RowNumber | Self::Rank | Self::DenseRank | Self::Ntile { .. } => {
                LogicalType::BigInt.not_null()
            }
            Self::Lag { arg, default, .. } => {
                let arg = &input.column(*arg).data_type;
                let is_filled = default.is_some_and(|d| !input.column(d).data_type.nullable);
                arg.with_nullable(arg.nullable || !is_filled)
            }
            Self::PercentRank | Self::CumeDist => LogicalType::Double.not_null(),
        }
    }
}
