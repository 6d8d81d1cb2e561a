//! What a SELECT's expressions need from below them: aggregates, window functions, GROUPING and
//! window properties. While an expression is bound, each stands in it as a placeholder column.

use std::sync::Arc;

use flott_core::types::DataType;
use flott_table::aggregates::{AggregateFunction, AggregateTypes};
use sqlparser::ast::{NamedWindowDefinition, WindowSpec};

use super::matching::Matching;
use crate::expr::{Expr, ExprKind};
use crate::plan::{Frame, WindowKind, WindowProperty};

/// Positions from here up are placeholders.
const CLASS: usize = 1 << 40;

/// A column that a later step puts in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placeholder {
    Aggregate(usize),
    Over(usize),
    Grouping(usize),
    Property(usize),
    /// A value of a matched row.
    Read(usize),
}

impl Placeholder {
    pub fn expr(self, data_type: DataType) -> Expr {
        let position = match self {
            Self::Aggregate(i) => CLASS + i,
            Self::Over(i) => 2 * CLASS + i,
            Self::Grouping(i) => 3 * CLASS + i,
            Self::Property(i) => 4 * CLASS + i,
            Self::Read(i) => 5 * CLASS + i,
        };
        Expr::column(position, data_type)
    }

    pub fn of(expr: &Expr) -> Option<Self> {
        let ExprKind::Column(position) = expr.kind else {
            return None;
        };
        let item = position % CLASS;
        match position / CLASS {
            1 => Some(Self::Aggregate(item)),
            2 => Some(Self::Over(item)),
            3 => Some(Self::Grouping(item)),
            4 => Some(Self::Property(item)),
            5 => Some(Self::Read(item)),
            _ => None,
        }
    }

    /// Whether there is one in the expression.
    pub fn is_in(expr: &Expr) -> bool {
        expr.any(&|e| Self::of(e).is_some())
    }
}

/// An aggregate call over the SELECT's input.
#[derive(Clone)]
pub(crate) struct AggregateItem {
    pub function: &'static AggregateFunction,
    pub types: AggregateTypes,
    pub args: Vec<Expr>,
    pub distinct: bool,
    pub filter: Option<Expr>,
}

impl AggregateItem {
    pub fn key(&self) -> String {
        let args: Vec<String> = self.args.iter().map(Expr::key).collect();
        let filter = self.filter.as_ref().map(Expr::key);
        format!(
            "{} {args:?} {} {filter:?}",
            self.function.name, self.distinct
        )
    }
}

/// One key of an order.
#[derive(Debug, Clone)]
pub(crate) struct OrderItem {
    pub expr: Expr,
    pub descending: bool,
    pub nulls_first: bool,
}

/// A window function call.
#[derive(Clone)]
pub(crate) struct OverItem {
    pub partition: Vec<Expr>,
    pub order: Vec<OrderItem>,
    pub frame: Frame,
    pub call: OverItemCall,
    pub data_type: DataType,
}

impl OverItem {
    /// Text that is equal for calls of the same window.
    pub fn window_key(&self) -> String {
        let partition: Vec<String> = self.partition.iter().map(Expr::key).collect();
        let order = self.order.iter();
        let order = order.map(|o| format!("{} {} {}", o.expr.key(), o.descending, o.nulls_first));
        let order: Vec<String> = order.collect();
        // Ranking functions know no frame.
        let frame = matches!(self.call, OverItemCall::Aggregate(_)).then_some(self.frame);
        format!("{partition:?} {order:?} {frame:?}")
    }

    /// Text that is equal for equal calls.
    fn key(&self) -> String {
        let call = match &self.call {
            OverItemCall::Aggregate(item) => item.key(),
            OverItemCall::RowNumber => "ROW_NUMBER".to_string(),
            OverItemCall::Rank => "RANK".to_string(),
            OverItemCall::DenseRank => "DENSE_RANK".to_string(),
            OverItemCall::Lag {
                arg,
                offset,
                default,
            } => {
                let default = default.as_ref().map(Expr::key);
                format!("LAG {} {offset} {default:?}", arg.key())
            }
            OverItemCall::Ntile(buckets) => format!("NTILE {buckets}"),
            OverItemCall::PercentRank => "PERCENT_RANK".to_string(),
            OverItemCall::CumeDist => "CUME_DIST".to_string(),
        };
        format!("{call} {}", self.window_key())
    }
}

#[derive(Clone)]
pub(crate) enum OverItemCall {
    Aggregate(AggregateItem),
    RowNumber,
    Rank,
    DenseRank,
    Lag {
        arg: Expr,
        offset: i64,
        default: Option<Expr>,
    },
    Ntile(i64),
    PercentRank,
    CumeDist,
}

/// A legacy group window: `GROUP BY TUMBLE(ts, INTERVAL …)`.
#[derive(Debug, Clone)]
pub(crate) struct LegacyWindow {
    pub kind: WindowKind,
    /// The time attribute.
    pub time: Expr,
    pub is_proctime: bool,
}

/// Gathers what expressions of one SELECT need.
#[derive(Default)]
pub(crate) struct Collector {
    pub aggregates: Vec<AggregateItem>,
    pub overs: Vec<OverItem>,
    pub groupings: Vec<Vec<Expr>>,
    pub properties: Vec<WindowProperty>,
    pub window: Option<LegacyWindow>,
    pub named_windows: Arc<Vec<NamedWindowDefinition>>,
    /// Whether a group may be empty: no GROUP BY, or an empty grouping set.
    pub has_empty_group: bool,
    pub has_group_by: bool,
    /// Whether the expression being bound is inside an aggregate's arguments.
    pub is_in_aggregate: bool,
    pub is_in_over: bool,
    /// Set in MATCH_RECOGNIZE.
    pub matching: Option<Matching>,
}

impl Collector {
    /// The placeholder of this call; equal calls are computed once.
    pub fn add_aggregate(&mut self, item: AggregateItem) -> Expr {
        let data_type = item.types.result.clone();
        let key = item.key();
        let position = self.aggregates.iter().position(|a| a.key() == key);
        let position = position.unwrap_or_else(|| {
            self.aggregates.push(item);
            self.aggregates.len() - 1
        });
        Placeholder::Aggregate(position).expr(data_type)
    }

    pub fn add_over(&mut self, item: OverItem) -> Expr {
        let data_type = item.data_type.clone();
        let key = item.key();
        let known = self.overs.iter().position(|o| o.key() == key);
        let known = known.unwrap_or_else(|| {
            self.overs.push(item);
            self.overs.len() - 1
        });
        Placeholder::Over(known).expr(data_type)
    }

    /// The window of `WINDOW name AS (…)`.
    pub fn named_window(&self, name: &str) -> Option<WindowSpec> {
        use sqlparser::ast::NamedWindowExpr;
        let definition = self.named_windows.iter().find(|d| d.0.value == name)?;
        match &definition.1 {
            NamedWindowExpr::WindowSpec(spec) => Some(spec.clone()),
            NamedWindowExpr::NamedWindow(other) if other.value != name => {
                self.named_window(&other.value)
            }
            NamedWindowExpr::NamedWindow(_) => None,
        }
    }
}
