//! What MEASURES and DEFINE take from matched rows, as columns that operators read.

use std::sync::Arc;

use flott_core::schema::{Column, Schema, TimeAttribute};
use flott_core::types::DataType;
use flott_core::{Error, Result};
use flott_table::operators::match_recognize::RowPlace;

use super::{Matching, Read, Variable};
use crate::binder::collect::{Collector, Placeholder};
use crate::expr::{Expr, ExprKind};
use crate::plan::{AggregateCall, MatchColumn, MatchCondition, MatchView, Plan, time_of};

/// The projection below the pattern: each expression once.
pub(super) struct Inputs {
    pub exprs: Vec<Expr>,
    pub names: Vec<String>,
    pub table: Arc<Plan>,
}

impl Inputs {
    fn add(&mut self, expr: &Expr) -> usize {
        let key = expr.key();
        if let Some(known) = self.exprs.iter().position(|e| e.key() == key) {
            return known;
        }
        let name = match expr.as_column() {
            Some(column) => self.table.schema().column(column).name.clone(),
            None => format!("$m{}", self.exprs.len()),
        };
        self.exprs.push(expr.clone());
        self.names.push(name);
        self.exprs.len() - 1
    }

    pub fn add_column(&mut self, column: usize) -> usize {
        self.add(&self.table.column_expr(column))
    }

    /// An expression over the table as one over the projection.
    fn rewrite(&mut self, mut expr: Expr) -> Expr {
        let columns: Vec<usize> = expr.columns().into_iter().collect();
        let positions: Vec<usize> = columns.iter().map(|c| self.add_column(*c)).collect();
        let moved = |c: usize| columns.iter().position(|o| *o == c).map(|i| positions[i]);
        expr = expr.remap_columns(&|c| moved(c).unwrap_or(c));
        expr
    }
}

/// A view in the making.
pub(super) struct Views<'a> {
    pub inputs: &'a mut Inputs,
    pub collector: &'a Collector,
    pub matching: &'a Matching,
    /// The variable whose condition it is.
    pub current: Option<usize>,
}

impl Views<'_> {
    /// The expression over the view's columns, to which those that it takes are added.
    fn put(&mut self, mut expr: Expr, view: &mut MatchView) -> Result<()> {
        let mut failure = None;
        expr.transform_down(&mut |e| {
            let ExprKind::Column(_) = e.kind else {
                return false;
            };
            match self
                .column(e)
                .map(|column| position(view, column, &e.data_type))
            {
                Ok(at) => e.kind = ExprKind::Column(at),
                Err(error) => failure = Some(error),
            }
            true
        });
        view.exprs.push(expr);
        failure.map_or(Ok(()), Err)
    }

    fn column(&mut self, expr: &Expr) -> Result<MatchColumn> {
        if let Some(Placeholder::Aggregate(index)) = Placeholder::of(expr) {
            return self.aggregate(index);
        }
        Ok(match self.read_of(expr) {
            Read::Row(row, expr) => MatchColumn::Row {
                row,
                column: self.inputs.add(&expr),
            },
            Read::Time(_) => MatchColumn::Time,
        })
    }

    fn read_of(&self, expr: &Expr) -> Read {
        if let Some(Placeholder::Read(index)) = Placeholder::of(expr) {
            return self.matching.reads[index].clone();
        }
        let column = expr.as_column().unwrap_or_default();
        let Variable(variable) = self.matching.variable(column / self.matching.width);
        let column = Expr::column(column % self.matching.width, expr.data_type.clone());
        Read::Row(last(variable), column)
    }

    fn aggregate(&mut self, index: usize) -> Result<MatchColumn> {
        let item = &self.collector.aggregates[index];
        let mut variable = None;
        let mut args = Vec::new();
        for arg in &item.args {
            let (of, arg) = self
                .matching
                .of_one_variable(arg.clone(), item.function.name)?;
            if let (Some(Variable(one)), Some(Variable(other))) = (of, variable)
                && one != other
            {
                let message = format!("multiple pattern variables in {}", item.function.name);
                return Err(Error::user("SEVERAL_VARIABLES", message));
            }
            variable = variable.or(of);
            args.push(self.inputs.add(&arg));
        }
        Ok(MatchColumn::Aggregate {
            variable: variable.and_then(|Variable(v)| v),
            call: AggregateCall {
                function: item.function,
                types: item.types.clone(),
                args,
                distinct: false,
                filter: None,
            },
        })
    }

    /// The expression over the table's columns, if it reads only the row at hand.
    fn of_row(&self, expr: &Expr) -> Option<Expr> {
        let mut own = expr.clone();
        let mut is_own = true;
        own.transform_down(&mut |e| {
            if !matches!(e.kind, ExprKind::Column(_)) {
                return false;
            }
            let is_aggregate = matches!(Placeholder::of(e), Some(Placeholder::Aggregate(_)));
            match (!is_aggregate).then(|| self.read_of(e)) {
                Some(Read::Row(row, inner)) if self.is_current(row) => *e = inner,
                _ => is_own = false,
            }
            true
        });
        is_own.then_some(own)
    }

    fn is_current(&self, row: RowPlace) -> bool {
        let is_last = !row.is_from_first && row.offset == 0;
        is_last && (row.variable.is_none() || row.variable == self.current)
    }
}

fn last(variable: Option<usize>) -> RowPlace {
    RowPlace {
        variable,
        is_from_first: false,
        offset: 0,
    }
}

fn position(view: &mut MatchView, column: MatchColumn, data_type: &DataType) -> usize {
    let text = format!("{column:?}");
    let known = view
        .columns
        .iter()
        .position(|(c, _)| format!("{c:?}") == text);
    known.unwrap_or_else(|| {
        view.columns.push((column, data_type.clone()));
        view.columns.len() - 1
    })
}

/// The conditions in two parts: what depends on the row alone, and the rest.
pub(super) fn conditions(
    definitions: Vec<Expr>,
    views: &mut Views<'_>,
) -> Result<Vec<MatchCondition>> {
    let conditions = definitions.into_iter().enumerate().map(|(variable, expr)| {
        views.current = Some(variable);
        let (mut of_row, mut of_run) = (Vec::new(), Vec::new());
        for part in expr.conjuncts() {
            match views.of_row(&part) {
                Some(own) => of_row.push(views.inputs.rewrite(own)),
                None => of_run.push(part),
            }
        }
        let of_run = (!of_run.is_empty()).then(|| {
            let mut view = MatchView::default();
            views.put(Expr::and(of_run), &mut view).map(|()| view)
        });
        Ok(MatchCondition {
            of_row: Expr::and(of_row),
            of_run: of_run.transpose()?,
        })
    });
    conditions.collect()
}

/// The view of the output's columns, and their schema: the keys, then the measures.
pub(super) fn outputs(
    keys: &[usize],
    measures: Vec<(String, Expr)>,
    views: &mut Views<'_>,
) -> Result<(MatchView, Schema)> {
    let mut view = MatchView::default();
    let mut columns: Vec<Column> = Vec::new();
    let all = views.matching.num_variables * views.matching.width;
    let table = views.inputs.table.clone();
    let keys = keys.iter().map(|&key| {
        let column = table.schema().column(key);
        (
            column.name.clone(),
            Expr::column(all + key, column.data_type.clone()),
        )
    });
    for (name, expr) in keys.chain(measures) {
        if columns.iter().any(|c| c.name == name) {
            let message = format!(
                "column '{name}' of MATCH_RECOGNIZE is defined twice; give the measure another name"
            );
            return Err(Error::user("DUPLICATE_COLUMN", message));
        }
        let time = output_time(&expr, views);
        columns.push(Column::new(name, expr.data_type.clone()).with_time(time));
        views.put(expr, &mut view)?;
    }
    Ok((view, columns.into_iter().collect()))
}

/// Whether a measure is a time attribute: the match's time, or that of one of its rows.
fn output_time(expr: &Expr, views: &Views<'_>) -> Option<TimeAttribute> {
    if expr.as_call("PROCTIME").is_some() {
        return Some(TimeAttribute::Proctime);
    }
    expr.as_column()?;
    if matches!(Placeholder::of(expr), Some(Placeholder::Aggregate(_))) {
        return None;
    }
    match views.read_of(expr) {
        Read::Row(_, inner) => time_of(&inner, views.inputs.table.schema()),
        Read::Time(_) => Some(TimeAttribute::Rowtime),
    }
}
