//! MATCH_RECOGNIZE: expressions over the rows that are mapped to a pattern's variables.
//!
//! While MEASURES and DEFINE are bound, a column stands in an expression with its variable: the
//! position is the variable's times the table's width, plus the column's. A name without a variable
//! is of the variable that stands for all, which comes last. FIRST, LAST and aggregates become
//! placeholders. What is left bare is of the variable's last row.

mod pattern;
mod views;

use std::collections::BTreeSet;
use std::sync::Arc;

use flott_core::schema::TimeAttribute;
use flott_core::types::{DataType, LogicalType};
use flott_core::{Error, Result};
use flott_table::operators::match_recognize::{MatchConfig, PatternElement, RowPlace};
use sqlparser::ast::{
    self, AfterMatchSkip, Function, MatchRecognizePattern, Measure, RowsPerMatch, Spanned,
    SymbolDefinition, TableAlias, TableFactor,
};

use super::call::{argument_asts, function_name, has_distinct};
use super::collect::{Collector, Placeholder};
use super::from::{Source, aliased};
use super::scalar::{Clause, unsupported};
use super::scope::{Scope, ScopeColumn, located};
use super::{Binder, coerce, literal};
use crate::expr::Expr;
use crate::parser::WITHIN_SYMBOL;
use crate::plan::{Match, Plan, SortKey};

use pattern::{pattern_elements, skip};
use views::{Inputs, Views, conditions, outputs};

/// The clauses of a MATCH_RECOGNIZE.
pub(super) struct MatchClauses<'a> {
    pub table: &'a TableFactor,
    pub partition_by: &'a [ast::Expr],
    pub order_by: &'a [ast::OrderByExpr],
    pub measures: &'a [Measure],
    pub rows_per_match: Option<&'a RowsPerMatch>,
    pub skip: Option<&'a AfterMatchSkip>,
    pub pattern: &'a MatchRecognizePattern,
    pub symbols: &'a [SymbolDefinition],
    pub alias: Option<&'a TableAlias>,
}

/// What the expressions of one MATCH_RECOGNIZE take from matched rows.
#[derive(Default)]
pub(crate) struct Matching {
    /// The table's columns.
    width: usize,
    num_variables: usize,
    /// How many rows each variable has at least.
    least: Vec<u64>,
    reads: Vec<Read>,
    is_in_navigation: bool,
}

#[derive(Debug, Clone)]
enum Read {
    /// An expression over the table's columns, of one row.
    Row(RowPlace, Expr),
    Time(DataType),
}

impl Read {
    fn key(&self) -> String {
        match self {
            Self::Row(place, expr) => format!("{place:?} {}", expr.key()),
            Self::Time(data_type) => format!("time {data_type}"),
        }
    }
}

impl Matching {
    fn add(&mut self, read: Read) -> usize {
        let key = read.key();
        let known = self.reads.iter().position(|r| r.key() == key);
        known.unwrap_or_else(|| {
            self.reads.push(read);
            self.reads.len() - 1
        })
    }

    /// The variable of the one or more columns in an expression, and the expression over the
    /// table's columns.
    ///
    /// # Errors
    /// When there are columns of several variables.
    fn of_one_variable(&self, expr: Expr, what: &str) -> Result<(Option<Variable>, Expr)> {
        let variables: BTreeSet<usize> = expr.columns().iter().map(|c| c / self.width).collect();
        if variables.len() > 1 {
            let message = format!(
                "multiple pattern variables in {what}; it is computed over the rows of one variable"
            );
            return Err(Error::user("SEVERAL_VARIABLES", message));
        }
        let variable = variables.first().map(|v| self.variable(*v));
        Ok((variable, expr.remap_columns(&|c| c % self.width)))
    }

    /// Whether every match has this row.
    fn always_has(&self, place: RowPlace) -> bool {
        let least = match place.variable {
            Some(variable) => self.least.get(variable).copied().unwrap_or_default(),
            None => self.least.iter().sum(),
        };
        place.offset < least
    }

    fn variable(&self, number: usize) -> Variable {
        Variable((number < self.num_variables).then_some(number))
    }
}

/// A variable of the pattern, or all of them.
#[derive(Clone, Copy)]
struct Variable(Option<usize>);

impl Binder<'_> {
    pub(super) fn match_recognize(&mut self, clauses: &MatchClauses<'_>) -> Result<Source> {
        if let Some(RowsPerMatch::AllRows(_)) = clauses.rows_per_match {
            let message = "ALL ROWS PER MATCH is not supported; write ONE ROW PER MATCH";
            return Err(Error::user("UNSUPPORTED_MATCH_RECOGNIZE", message));
        }
        let (table, scope) = self.factor(clauses.table)?;
        let pattern = pattern_elements(clauses.pattern)?;
        MatchConfig::check_pattern(&pattern).map_err(|e| located(e, clauses.pattern.span()))?;
        let mut inputs = Inputs {
            exprs: vec![],
            names: vec![],
            table,
        };
        let (within, symbols) = within_first(clauses.symbols);
        let within_ms = within.map(|w| self.within_ms(w)).transpose()?;
        let keys = self.match_keys(clauses.partition_by, &scope)?;
        let order = self.match_order(clauses.order_by, &scope)?;
        let mut collector = Collector {
            has_empty_group: true,
            matching: Some(Matching {
                width: inputs.table.schema().len().max(1),
                num_variables: pattern.len(),
                least: pattern.iter().map(|e| u64::from(e.min)).collect(),
                ..Matching::default()
            }),
            ..Collector::default()
        };
        let rows = row_scope(&scope, &pattern, &inputs.table, |e| e.min == 0);
        let measures = self.measures(clauses.measures, &rows, &mut collector)?;
        let rows = row_scope(&scope, &pattern, &inputs.table, |_| true);
        let definitions = self.definitions(symbols, &pattern, &rows, &mut collector)?;
        let matching = collector.matching.take().unwrap_or_default();

        let time = order
            .first()
            .map(|key| inputs.table.schema().column(key.column).time);
        let partition_keys = keys.iter().map(|c| inputs.add_column(*c)).collect();
        let order = order.into_iter().map(|key| SortKey {
            column: inputs.add_column(key.column),
            ..key
        });
        let order = order.collect();
        let mut views = Views {
            inputs: &mut inputs,
            collector: &collector,
            matching: &matching,
            current: None,
        };
        let conditions = conditions(definitions, &mut views)?;
        views.current = None;
        let (measures, schema) = outputs(&keys, measures, &mut views)?;
        let node = Match {
            partition_keys,
            order,
            is_proctime: time == Some(Some(TimeAttribute::Proctime)),
            skip: skip(clauses.skip, &pattern)?,
            pattern,
            conditions,
            within_ms,
            measures,
            schema,
            input: Plan::project(inputs.table, inputs.exprs, inputs.names),
        };
        let plan = Arc::new(Plan::Match(node));
        let scope = aliased(&plan, clauses.alias)?;
        Ok((plan, scope))
    }

    fn within_ms(&mut self, within: &ast::Expr) -> Result<i64> {
        let scope = Scope::default();
        let interval = self.expr(within, &mut Clause::new(&scope, "WITHIN"))?;
        literal::interval_ms(&interval).ok_or_else(|| {
            let message = "only constant intervals of days to seconds are supported as time constraints of patterns: WITHIN INTERVAL '1' HOUR";
            located(Error::user("INVALID_ARGUMENT", message), within.span())
        })
    }

    fn match_column(
        &mut self,
        ast: &ast::Expr,
        scope: &Scope,
        clause: &'static str,
    ) -> Result<usize> {
        let expr = self.expr(ast, &mut Clause::new(scope, clause))?;
        expr.as_column().ok_or_else(|| {
            let message = format!(
                "{clause} of MATCH_RECOGNIZE takes columns; compute '{ast}' in a subquery first"
            );
            located(
                Error::user("UNSUPPORTED_MATCH_RECOGNIZE", message),
                ast.span(),
            )
        })
    }

    fn match_keys(&mut self, keys: &[ast::Expr], scope: &Scope) -> Result<Vec<usize>> {
        keys.iter()
            .map(|k| self.match_column(k, scope, "PARTITION BY"))
            .collect()
    }

    fn match_order(&mut self, order: &[ast::OrderByExpr], scope: &Scope) -> Result<Vec<SortKey>> {
        let mut clause = Clause::new(scope, "ORDER BY");
        let items = self.order_items(order, &mut clause)?;
        let mut keys = Vec::new();
        for (item, ast) in items.iter().zip(order) {
            keys.push(SortKey {
                column: self.match_column(&ast.expr, scope, "ORDER BY")?,
                descending: item.descending,
                nulls_first: item.nulls_first,
            });
        }
        let wrong = |message: &str| Err(Error::user("UNSUPPORTED_MATCH_RECOGNIZE", message));
        match (items.first(), keys.first()) {
            (Some(first), _) if !first.expr.data_type.logical.is_datetime() => wrong(
                "you must specify either rowtime or proctime for ORDER BY as the first one in MATCH_RECOGNIZE",
            ),
            (_, Some(key)) if key.descending => {
                wrong("the primary sort order of MATCH_RECOGNIZE must be ascending on time")
            }
            (_, None) => {
                wrong("you must specify either rowtime or proctime for ORDER BY in MATCH_RECOGNIZE")
            }
            _ => Ok(keys),
        }
    }

    fn measures(
        &mut self,
        measures: &[Measure],
        rows: &Scope,
        collector: &mut Collector,
    ) -> Result<Vec<(String, Expr)>> {
        if measures.is_empty() {
            let message = "MATCH_RECOGNIZE needs MEASURES, which are its columns";
            return Err(Error::user("UNSUPPORTED_MATCH_RECOGNIZE", message));
        }
        let bound = measures.iter().map(|measure| {
            let expr = self.matched(&measure.expr, "MEASURES", rows, collector)?;
            Ok((measure.alias.value.clone(), expr))
        });
        bound.collect()
    }

    /// The condition of each variable, by position in the pattern.
    fn definitions(
        &mut self,
        symbols: &[SymbolDefinition],
        pattern: &[PatternElement],
        rows: &Scope,
        collector: &mut Collector,
    ) -> Result<Vec<Expr>> {
        let mut conditions = vec![Expr::boolean(true); pattern.len()];
        for (index, symbol) in symbols.iter().enumerate() {
            let name = &symbol.symbol;
            if symbols[..index]
                .iter()
                .any(|s| s.symbol.value == name.value)
            {
                let message = format!("pattern variable '{}' has already been defined", name.value);
                return Err(located(Error::user("INVALID_PATTERN", message), name.span));
            }
            // As in Flink, a definition of another variable means nothing.
            let Some(variable) = pattern.iter().position(|e| e.name == name.value) else {
                continue;
            };
            let expr = self.matched(&symbol.definition, "DEFINE", rows, collector)?;
            let condition = coerce::condition(expr, "DEFINE");
            conditions[variable] = condition.map_err(|e| located(e, symbol.definition.span()))?;
        }
        Ok(conditions)
    }

    fn matched(
        &mut self,
        ast: &ast::Expr,
        name: &'static str,
        rows: &Scope,
        collector: &mut Collector,
    ) -> Result<Expr> {
        let mut clause = Clause::new(rows, name);
        clause.collector = Some(collector);
        // Columns of enclosing queries are not seen.
        let outer = std::mem::take(&mut self.outer);
        let bound = self.expr(ast, &mut clause);
        self.outer = outer;
        let bound = bound?;
        if bound.has_subquery() || !collector.overs.is_empty() {
            let message = format!("subqueries and window functions are not supported in {name}");
            return Err(located(
                Error::user("UNSUPPORTED_MATCH_RECOGNIZE", message),
                ast.span(),
            ));
        }
        let is_plain = |a: &super::collect::AggregateItem| !a.distinct && a.filter.is_none();
        if !collector.aggregates.iter().all(is_plain) {
            let message = "DISTINCT and FILTER are not supported in aggregates of MATCH_RECOGNIZE";
            return Err(located(
                Error::user("UNSUPPORTED_MATCH_RECOGNIZE", message),
                ast.span(),
            ));
        }
        Ok(bound)
    }

    /// A call that means something in MATCH_RECOGNIZE only; `None` for other calls.
    pub(super) fn match_call(
        &mut self,
        function: &Function,
        clause: &mut Clause<'_>,
    ) -> Result<Option<Expr>> {
        let is_matching = clause
            .collector
            .as_deref()
            .is_some_and(|c| c.matching.is_some());
        if !is_matching {
            return Ok(None);
        }
        let name = function_name(function);
        if has_distinct(function) && flott_table::aggregates::find(&name).is_some() {
            let message = format!("DISTINCT is not allowed with {name} in MATCH_RECOGNIZE");
            return Err(Error::user("UNSUPPORTED_MATCH_RECOGNIZE", message));
        }
        match name.as_str() {
            "FIRST" | "LAST" | "PREV" | "NEXT" => {
                self.navigation(&name, function, clause).map(Some)
            }
            "FINAL" => match argument_asts(function)?.as_slice() {
                [Some(inner)] => self.expr(inner, clause).map(Some),
                _ => Err(unsupported(function)),
            },
            "MATCH_ROWTIME" => self.match_rowtime(function, clause).map(Some),
            "MATCH_PROCTIME" => self.call("PROCTIME", vec![]).map(Some),
            "RUNNING" | "CLASSIFIER" | "MATCH_NUMBER" => {
                let message = format!("{name} is not supported in MATCH_RECOGNIZE");
                Err(Error::user("UNSUPPORTED_MATCH_RECOGNIZE", message))
            }
            _ => Ok(None),
        }
    }

    /// `FIRST(x [, n])` and `LAST`: `x` of the n-th row, counted from 0. PREV and NEXT are known as
    /// far as they stay where they are.
    fn navigation(
        &mut self,
        name: &str,
        function: &Function,
        clause: &mut Clause<'_>,
    ) -> Result<Expr> {
        let is_physical = matches!(name, "PREV" | "NEXT");
        let args = argument_asts(function)?;
        let (Some(Some(value)), true) = (args.first(), args.len() <= 2) else {
            let message = format!("write {name}(variable.column) or {name}(variable.column, n)");
            return Err(Error::user("INVALID_ARGUMENT", message));
        };
        let offset = match args.get(1) {
            None => Some(i64::from(is_physical)),
            Some(Some(offset)) => literal::integer(&self.expr(offset, clause)?),
            Some(None) => None,
        };
        let offset = offset.and_then(|o| u64::try_from(o).ok()).ok_or_else(|| {
            let message = format!("the offset of {name} must be an integer constant from 0 on");
            Error::user("INVALID_ARGUMENT", message)
        })?;
        if is_physical && offset > 0 {
            let message = format!(
                "{name} is not supported: there are no physical offsets within a partition; use LAST, which counts rows of a variable"
            );
            return Err(Error::user("UNSUPPORTED_MATCH_RECOGNIZE", message));
        }
        let is_nested = clause.collector.as_deref_mut().and_then(|c| {
            let matching = c.matching.as_mut()?;
            Some(std::mem::replace(&mut matching.is_in_navigation, true))
        });
        let bound = self.expr(value, clause);
        let in_aggregate = clause
            .collector
            .as_deref()
            .is_some_and(|c| c.is_in_aggregate);
        let matching = clause
            .collector
            .as_deref_mut()
            .and_then(|c| c.matching.as_mut());
        let Some(matching) = matching else {
            return bound;
        };
        matching.is_in_navigation = is_nested.unwrap_or_default();
        let bound = bound?;
        if is_nested == Some(true) || Placeholder::is_in(&bound) {
            let message =
                format!("{name} cannot be nested with other functions over rows of the pattern");
            return Err(Error::user("UNSUPPORTED_MATCH_RECOGNIZE", message));
        }
        // An aggregate is over all rows of the variable.
        if in_aggregate {
            return Ok(bound);
        }
        let (variable, inner) = matching.of_one_variable(bound, name)?;
        let Some(Variable(variable)) = variable else {
            return Ok(inner);
        };
        let place = RowPlace {
            variable,
            is_from_first: name == "FIRST",
            offset,
        };
        let may_be_missing = clause.name == "DEFINE" || !matching.always_has(place);
        let nullable = inner.data_type.nullable || may_be_missing;
        let data_type = inner.data_type.with_nullable(nullable);
        let read = matching.add(Read::Row(place, inner));
        Ok(Placeholder::Read(read).expr(data_type))
    }

    /// `MATCH_ROWTIME([column])`: the match's time, of the column's type.
    fn match_rowtime(&mut self, function: &Function, clause: &mut Clause<'_>) -> Result<Expr> {
        let data_type = match argument_asts(function)?.as_slice() {
            [] => LogicalType::Timestamp(3).not_null(),
            [Some(column)] => {
                let column = self.expr(column, clause)?;
                if clause.scope.time_of(&column) != Some(TimeAttribute::Rowtime) {
                    let message = "MATCH_ROWTIME takes a rowtime attribute";
                    return Err(Error::user("NOT_A_TIME_ATTRIBUTE", message));
                }
                column.data_type
            }
            _ => {
                return Err(Error::user(
                    "INVALID_ARGUMENT",
                    "MATCH_ROWTIME takes at most one column",
                ));
            }
        };
        let matching = clause
            .collector
            .as_deref_mut()
            .and_then(|c| c.matching.as_mut());
        let matching = matching.ok_or_else(|| Error::internal("MATCH_ROWTIME without a match"))?;
        let read = matching.add(Read::Time(data_type.clone()));
        Ok(Placeholder::Read(read).expr(data_type))
    }
}

/// Takes the interval of WITHIN off the definitions, where the parser has put it.
fn within_first(symbols: &[SymbolDefinition]) -> (Option<&ast::Expr>, &[SymbolDefinition]) {
    match symbols.split_first() {
        Some((first, rest)) if first.symbol.value == WITHIN_SYMBOL => {
            (Some(&first.definition), rest)
        }
        _ => (None, symbols),
    }
}

/// The table's columns, under each variable and under none; nullable where a variable may be
/// without rows.
fn row_scope(
    table: &Scope,
    pattern: &[PatternElement],
    plan: &Plan,
    may_be_missing: impl Fn(&PatternElement) -> bool,
) -> Scope {
    let width = plan.schema().len().max(1);
    let variables = pattern
        .iter()
        .map(|e| (vec![e.name.clone()], may_be_missing(e)));
    let variables = variables.chain([(vec![], false)]);
    let columns = variables
        .enumerate()
        .flat_map(|(variable, (qualifier, is_optional))| {
            table.columns.iter().map(move |column| {
                let mut expr = column.expr.clone().remap_columns(&|c| variable * width + c);
                expr.data_type.nullable |= is_optional;
                ScopeColumn {
                    is_plain: qualifier.is_empty(),
                    qualifier: qualifier.clone(),
                    name: column.name.clone(),
                    expr,
                    time: column.time,
                }
            })
        });
    Scope {
        columns: columns.collect(),
    }
}
