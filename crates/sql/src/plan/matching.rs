//! The node of MATCH_RECOGNIZE.

use std::sync::Arc;

use flott_core::schema::Schema;
use flott_core::types::DataType;
use flott_table::operators::match_recognize::{PatternElement, RowPlace, Skip};

use super::{AggregateCall, Plan, SortKey};
use crate::expr::Expr;

/// MATCH_RECOGNIZE with one row for each match: the partition keys, then the measures.
#[derive(Debug, Clone)]
pub struct Match {
    pub input: Arc<Plan>,
    pub partition_keys: Vec<usize>,
    /// The time first.
    pub order: Vec<SortKey>,
    pub is_proctime: bool,
    pub pattern: Vec<PatternElement>,
    /// DEFINE, by position in the pattern.
    pub conditions: Vec<MatchCondition>,
    pub skip: Skip,
    pub within_ms: Option<i64>,
    /// The node's columns.
    pub measures: MatchView,
    pub schema: Schema,
}

/// When a row may be mapped to a variable: where both parts are true.
#[derive(Debug, Clone)]
pub struct MatchCondition {
    /// Over the input's columns.
    pub of_row: Expr,
    /// One expression, over the rows matched so far and the row as one of the variable.
    pub of_run: Option<MatchView>,
}

/// Expressions over columns that are taken from matched rows.
#[derive(Debug, Clone, Default)]
pub struct MatchView {
    pub columns: Vec<(MatchColumn, DataType)>,
    pub exprs: Vec<Expr>,
}

/// What a column of a [`MatchView`] is.
#[derive(Debug, Clone)]
pub enum MatchColumn {
    /// A column of the input, of one of the matched rows.
    Row { row: RowPlace, column: usize },
    /// Over the rows mapped to a variable, or to any.
    Aggregate {
        variable: Option<usize>,
        call: AggregateCall,
    },
    /// The time of the match.
    Time,
}

impl Match {
    /// All expressions: those over the input first.
    pub(super) fn exprs(&self) -> Vec<&Expr> {
        let rows = self.conditions.iter().map(|c| &c.of_row);
        let views = self.conditions.iter().flat_map(|c| &c.of_run);
        let views = views.chain([&self.measures]);
        rows.chain(views.flat_map(|v| &v.exprs)).collect()
    }

    /// As [`Match::exprs`], to change them.
    pub(super) fn exprs_mut(&mut self) -> Vec<&mut Expr> {
        let mut exprs = Vec::new();
        for condition in &mut self.conditions {
            exprs.push(&mut condition.of_row);
            exprs.extend(condition.of_run.iter_mut().flat_map(|v| &mut v.exprs));
        }
        exprs.extend(&mut self.measures.exprs);
        exprs
    }

    /// The node in words; equal for nodes that differ only in their expressions.
    pub(super) fn describe(&self) -> String {
        let pattern = self.pattern.iter().map(|e| {
            let max = e.max.map_or(String::new(), |max| max.to_string());
            let reluctant = if e.is_greedy { "" } else { "?" };
            match (e.min, e.max) {
                (1, Some(1)) => e.name.clone(),
                (min, _) => format!("{}{{{min},{max}}}{reluctant}", e.name),
            }
        });
        let pattern: Vec<String> = pattern.collect();
        let conditions = self.conditions.iter().zip(&self.pattern);
        let reads = conditions.filter_map(|(condition, element)| {
            let view = condition.of_run.as_ref()?;
            Some(format!("{}: {}", element.name, self.columns(view)))
        });
        let within = self
            .within_ms
            .map_or(String::new(), |ms| format!(" within={ms}"));
        format!(
            "Match keys={:?} order={:?} pattern=({}) skip={:?}{within} define=[{}] measures=[{}]",
            self.partition_keys,
            self.order
                .iter()
                .map(|k| (k.column, k.descending))
                .collect::<Vec<_>>(),
            pattern.join(" "),
            self.skip,
            reads.collect::<Vec<_>>().join("; "),
            self.columns(&self.measures),
        )
    }

    /// What the columns of a view are.
    fn columns(&self, view: &MatchView) -> String {
        let name = |variable: &Option<usize>| match variable {
            Some(v) => self.pattern.get(*v).map_or("?", |e| e.name.as_str()),
            None => "*",
        };
        let columns = view.columns.iter().map(|(column, _)| match column {
            MatchColumn::Row { row, column } => {
                let function = if row.is_from_first { "FIRST" } else { "LAST" };
                format!(
                    "{function}({}.${column}, {})",
                    name(&row.variable),
                    row.offset
                )
            }
            MatchColumn::Aggregate { variable, call } => format!("{}.{call:?}", name(variable)),
            MatchColumn::Time => "MATCH_ROWTIME".to_string(),
        });
        columns.collect::<Vec<_>>().join(", ")
    }
}
