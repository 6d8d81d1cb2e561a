//! FROM: tables, views, joins, UNNEST, LATERAL.

use std::sync::Arc;

use flott_core::schema::{Column, TimeAttribute};
use flott_core::types::LogicalType;
use flott_core::{Error, Result};
use sqlparser::ast::{
    self, Ident, Join, JoinConstraint, JoinOperator, ObjectName, Spanned, TableAlias, TableFactor,
    TableVersion, TableWithJoins,
};

use super::matching::MatchClauses;
use super::scalar::{Clause, unsupported};
use super::scope::{Scope, ScopeColumn, located};
use super::{Binder, Resolved, coerce, subquery, syntax};
use crate::expr::Expr;
use crate::parser;
use crate::plan::{JoinKind, JoinMode, Plan};

/// A plan and the names that its columns have.
pub(crate) type Source = (Arc<Plan>, Scope);

/// How a join relates to the rows on its left.
struct JoinSpec<'a> {
    kind: JoinKind,
    constraint: JoinConstraintOf<'a>,
    /// Whether a condition must be written.
    needs_condition: bool,
}

enum JoinConstraintOf<'a> {
    On(&'a ast::Expr),
    Using(Vec<Ident>),
    Natural,
    None,
}

impl Binder<'_> {
    /// The FROM clause; without one there is one row without columns.
    pub(crate) fn from(&mut self, tables: &[TableWithJoins]) -> Result<Source> {
        let mut source: Option<Source> = None;
        for table in tables {
            let spec = JoinSpec {
                kind: JoinKind::Inner,
                constraint: JoinConstraintOf::None,
                needs_condition: false,
            };
            let mut joined = match source {
                None => self.factor(&table.relation)?,
                Some(left) => self.join(left, &table.relation, spec)?,
            };
            for join in &table.joins {
                joined = self.join_clause(joined, join)?;
            }
            source = Some(joined);
        }
        Ok(source.unwrap_or_else(|| (Plan::single_row(), Scope::default())))
    }

    fn join_clause(&mut self, left: Source, join: &Join) -> Result<Source> {
        use JoinOperator as J;
        let (kind, constraint, needs_condition) = match &join.join_operator {
            J::Join(c) | J::Inner(c) => (JoinKind::Inner, c, true),
            J::Left(c) | J::LeftOuter(c) => (JoinKind::Left, c, true),
            J::Right(c) | J::RightOuter(c) => (JoinKind::Right, c, true),
            J::FullOuter(c) => (JoinKind::Full, c, true),
            J::CrossJoin(c) => (JoinKind::Inner, c, false),
            _ => {
                let message = "this kind of join is not supported; use INNER, LEFT, RIGHT, FULL or CROSS JOIN";
                return Err(located(
                    Error::user("UNSUPPORTED_JOIN", message),
                    join.relation.span(),
                ));
            }
        };
        let constraint = match constraint {
            JoinConstraint::On(condition) => JoinConstraintOf::On(condition),
            JoinConstraint::Using(names) => JoinConstraintOf::Using(
                names
                    .iter()
                    .filter_map(|n| n.0.last().and_then(|p| p.as_ident()).cloned())
                    .collect(),
            ),
            JoinConstraint::Natural => JoinConstraintOf::Natural,
            JoinConstraint::None => JoinConstraintOf::None,
        };
        let spec = JoinSpec {
            kind,
            constraint,
            needs_condition,
        };
        self.join(left, &join.relation, spec)
    }

    fn join(&mut self, left: Source, right: &TableFactor, spec: JoinSpec<'_>) -> Result<Source> {
        match right {
            TableFactor::UNNEST {
                alias,
                array_exprs,
                with_ordinality,
                ..
            } => self.join_unnest(left, array_exprs, alias.as_ref(), *with_ordinality, spec),
            TableFactor::Derived {
                lateral: true,
                subquery,
                alias,
                ..
            } => self.join_lateral(left, subquery, alias.as_ref(), spec),
            TableFactor::Table {
                name,
                alias,
                version: Some(TableVersion::ForSystemTimeAsOf(time)),
                ..
            } => self.join_temporal(left, right, (name, alias.as_ref(), time), spec),
            _ => {
                let right_source = self.factor(right)?;
                if spec.needs_condition && matches!(spec.constraint, JoinConstraintOf::None) {
                    let message = "INNER, LEFT, RIGHT or FULL join requires a condition: NATURAL, ON or USING";
                    return Err(located(
                        Error::user("MISSING_JOIN_CONDITION", message),
                        right.span(),
                    ));
                }
                self.join_sources(left, right_source, spec, JoinMode::Regular)
            }
        }
    }

    fn join_sources(
        &mut self,
        left: Source,
        right: Source,
        spec: JoinSpec<'_>,
        mode: JoinMode,
    ) -> Result<Source> {
        let (left_plan, left_scope) = left;
        let (right_plan, right_scope) = right;
        let offset = left_plan.schema().len();
        let merged = match &spec.constraint {
            JoinConstraintOf::Using(names) => names.clone(),
            JoinConstraintOf::Natural => common_names(&left_scope, &right_scope),
            _ => vec![],
        };
        let mut condition = Vec::new();
        let pairs = merged
            .iter()
            .map(|name| using_pair(name, &left_scope, &right_scope, offset))
            .collect::<Result<Vec<_>>>()?;
        for (l, r) in &pairs {
            condition.push(self.call("=", vec![l.clone(), r.clone()])?);
        }
        let mut scope = left_scope.join(right_scope, offset);
        if let JoinConstraintOf::On(on) = spec.constraint {
            let bound = self.expr(on, &mut Clause::new(&scope, "ON"))?;
            condition.push(coerce::condition(bound, "ON").map_err(|e| located(e, on.span()))?);
        }
        let condition = Expr::and(condition);
        if condition.has_subquery() {
            if spec.kind != JoinKind::Inner {
                let message = "a subquery in the condition of an outer join is not supported";
                return Err(Error::user("UNSUPPORTED_SUBQUERY", message));
            }
            let plan = Plan::join(left_plan, right_plan, spec.kind, Expr::boolean(true), mode);
            let plan = subquery::filter(plan, condition, self)?;
            return Ok((plan, scope));
        }
        let plan = Plan::join(left_plan, right_plan, spec.kind, condition, mode);
        scope.retype(&plan);
        self.merge_columns(&mut scope, &merged, &pairs, &plan, spec.kind)?;
        Ok((plan, scope))
    }

    /// Puts the columns of USING in front, each once.
    fn merge_columns(
        &mut self,
        scope: &mut Scope,
        names: &[Ident],
        pairs: &[(Expr, Expr)],
        plan: &Plan,
        kind: JoinKind,
    ) -> Result<()> {
        let mut front = Vec::new();
        for (name, (left, right)) in names.iter().zip(pairs) {
            let typed = |e: &Expr| e.as_column().map_or(e.clone(), |i| plan.column_expr(i));
            let (left, right) = (typed(left), typed(right));
            for column in &mut scope.columns {
                column.is_plain &= column.name != name.value;
            }
            let expr = match kind {
                JoinKind::Right => right,
                JoinKind::Full => {
                    let (mut both, _) =
                        coerce::unify(vec![left.clone(), right], "USING", self.ctx.expr)?;
                    let right = both.remove(1);
                    Expr::case(vec![(left.is_not_null(), both.remove(0))], right)
                }
                _ => left,
            };
            front.push(ScopeColumn {
                qualifier: vec![],
                name: name.value.clone(),
                expr,
                time: None,
                is_plain: true,
            });
        }
        front.append(&mut scope.columns);
        scope.columns = front;
        Ok(())
    }

    /// Fails unless the join's condition is TRUE or absent; returns what to filter by for an inner
    /// one.
    fn simple_condition(&mut self, spec: &JoinSpec<'_>, scope: &Scope, what: &str) -> Result<Expr> {
        let condition = match spec.constraint {
            JoinConstraintOf::None => Expr::boolean(true),
            JoinConstraintOf::On(on) => {
                let bound = self.expr(on, &mut Clause::new(scope, "ON"))?;
                coerce::condition(bound, "ON")?
            }
            _ => return Err(unsupported(&format!("USING with {what}"))),
        };
        let is_supported = match spec.kind {
            JoinKind::Inner => true,
            JoinKind::Left => condition.is_true(),
            _ => false,
        };
        if is_supported {
            return Ok(condition);
        }
        let message = format!("{what} can be joined by CROSS JOIN, or by LEFT JOIN … ON TRUE");
        Err(Error::user("UNSUPPORTED_JOIN", message))
    }

    fn join_unnest(
        &mut self,
        left: Source,
        arrays: &[ast::Expr],
        alias: Option<&TableAlias>,
        with_ordinality: bool,
        spec: JoinSpec<'_>,
    ) -> Result<Source> {
        let (plan, scope) = left;
        let [array] = arrays else {
            return Err(unsupported(&"UNNEST of several arrays"));
        };
        let expr = self.expr(array, &mut Clause::new(&scope, "UNNEST"))?;
        let mut element = element_columns(&expr).map_err(|e| located(e, array.span()))?;
        if with_ordinality {
            element.push(Column::new("ORDINALITY", LogicalType::Int.not_null()));
        }
        let names = alias.map(|a| a.columns.as_slice()).unwrap_or_default();
        if !names.is_empty() && names.len() != element.len() {
            return Err(alias_mismatch(alias, element.len()));
        }
        for (column, name) in element.iter_mut().zip(names) {
            column.name = name.name.value.clone();
        }
        let (plan, mut exprs) = subquery::inline(plan, vec![expr], self)?;
        let expr = exprs.pop().unwrap_or_else(|| Expr::boolean(true));
        let (input, column) = match expr.as_column() {
            Some(column) => (plan, column),
            None => {
                let input = Plan::append(plan, vec![expr], "$u");
                let column = input.schema().len() - 1;
                (input, column)
            }
        };
        let offset = input.schema().len();
        let is_outer = spec.kind == JoinKind::Left;
        let unnested = Plan::unnest(input, column, is_outer, with_ordinality, element);
        let qualifier: Vec<String> = alias.iter().map(|a| a.name.value.clone()).collect();
        let added = (offset..unnested.schema().len()).map(|i| ScopeColumn {
            qualifier: qualifier.clone(),
            name: unnested.schema().column(i).name.clone(),
            expr: unnested.column_expr(i),
            time: None,
            is_plain: true,
        });
        let mut scope = scope;
        scope.columns.extend(added);
        let condition = self.simple_condition(&spec, &scope, "UNNEST")?;
        Ok((Plan::filter(unnested, condition), scope))
    }

    fn join_lateral(
        &mut self,
        left: Source,
        query: &ast::Query,
        alias: Option<&TableAlias>,
        spec: JoinSpec<'_>,
    ) -> Result<Source> {
        let (left_plan, left_scope) = left;
        self.outer.push(left_scope.clone());
        let right = self.inner_query(query);
        self.outer.pop();
        let right = right?;
        let width = right.schema().len();
        let condition_scope_offset = left_plan.schema().len();
        let right_scope = aliased(&right, alias)?;
        let mut scope = left_scope.join(right_scope, condition_scope_offset);
        let condition = self.simple_condition(&spec, &scope, "a LATERAL subquery")?;
        let plan = subquery::lateral(left_plan, right, spec.kind, width)?;
        scope.retype(&plan);
        Ok((Plan::filter(plan, condition), scope))
    }

    /// `JOIN table FOR SYSTEM_TIME AS OF left.time`.
    fn join_temporal(
        &mut self,
        left: Source,
        factor: &TableFactor,
        (name, alias, time): (&ObjectName, Option<&TableAlias>, &ast::Expr),
        spec: JoinSpec<'_>,
    ) -> Result<Source> {
        let right = self.named_table(name, alias, Some(factor))?;
        let time_expr = self.expr(time, &mut Clause::new(&left.1, "FOR SYSTEM_TIME AS OF"))?;
        if !matches!(spec.kind, JoinKind::Inner | JoinKind::Left) {
            let message = "a temporal table join is an INNER or LEFT join";
            return Err(Error::user("UNSUPPORTED_JOIN", message));
        }
        let attribute = crate::plan::time_of(&time_expr, left.0.schema());
        let mode = match (attribute, time_expr.as_column()) {
            (Some(TimeAttribute::Proctime), _) => JoinMode::Lookup,
            (Some(TimeAttribute::Rowtime), Some(left_time)) => {
                let is_rowtime = |c: &Column| c.time == Some(TimeAttribute::Rowtime);
                let right_time = right.0.schema().columns().iter().position(is_rowtime);
                let right_time = right_time.ok_or_else(|| {
                    let message = format!("table {name} has no watermark; a temporal join by event time needs one on both sides");
                    Error::user("MISSING_TIME_ATTRIBUTE", message)
                })?;
                JoinMode::Temporal {
                    left_time,
                    right_time,
                }
            }
            _ => {
                let message = format!("'{time}' must be a time attribute of the left table");
                return Err(located(
                    Error::user("NOT_A_TIME_ATTRIBUTE", message),
                    time.span(),
                ));
            }
        };
        let source = self.join_sources(left, right, spec, mode)?;
        let is_equi = match source.0.as_ref() {
            Plan::Join(join) => join.has_equality(),
            _ => true,
        };
        match is_equi {
            true => Ok(source),
            false => {
                let message =
                    "a temporal table join needs an equality on the right table's key in ON";
                Err(Error::user("MISSING_JOIN_CONDITION", message))
            }
        }
    }

    /// One table of FROM by itself.
    pub(crate) fn factor(&mut self, factor: &TableFactor) -> Result<Source> {
        match factor {
            TableFactor::Table {
                name,
                alias,
                version,
                args: None,
                ..
            } => match version {
                None => self.named_table(name, alias.as_ref(), Some(factor)),
                Some(_) => {
                    let message = format!(
                        "table {name} cannot be read as of a constant time; use FOR SYSTEM_TIME AS OF in a join"
                    );
                    Err(located(
                        Error::user("UNSUPPORTED_TIME_TRAVEL", message),
                        factor.span(),
                    ))
                }
            },
            TableFactor::Table {
                name,
                alias,
                args: Some(args),
                ..
            } if parser::is_query_carrier(name) => {
                let query = syntax::carried_query(args)?;
                let plan = self.inner_query(query)?;
                let scope = aliased(&plan, alias.as_ref())?;
                Ok((plan, scope))
            }
            TableFactor::Derived {
                subquery, alias, ..
            } => {
                let plan = self.inner_query(subquery)?;
                let scope = aliased(&plan, alias.as_ref())?;
                Ok((plan, scope))
            }
            TableFactor::NestedJoin {
                table_with_joins,
                alias,
            } => {
                let (plan, scope) = self.from(std::slice::from_ref(table_with_joins.as_ref()))?;
                match alias {
                    None => Ok((plan, scope)),
                    Some(_) => Err(unsupported(&"an alias of a join in parentheses")),
                }
            }
            TableFactor::UNNEST { .. } => {
                let spec = JoinSpec {
                    kind: JoinKind::Inner,
                    constraint: JoinConstraintOf::None,
                    needs_condition: false,
                };
                self.join((Plan::single_row(), Scope::default()), factor, spec)
            }
            TableFactor::MatchRecognize {
                table,
                partition_by,
                order_by,
                measures,
                rows_per_match,
                after_match_skip,
                pattern,
                symbols,
                alias,
            } => self.match_recognize(&MatchClauses {
                table,
                partition_by,
                order_by,
                measures,
                rows_per_match: rows_per_match.as_ref(),
                skip: after_match_skip.as_ref(),
                pattern,
                symbols,
                alias: alias.as_ref(),
            }),
            other => self.table_function(other),
        }
    }

    /// A table or view, under its name or alias.
    fn named_table(
        &mut self,
        name: &ObjectName,
        alias: Option<&TableAlias>,
        factor: Option<&TableFactor>,
    ) -> Result<Source> {
        let hints = syntax::table_hints(factor)?;
        let plan = self
            .table(name, &hints)
            .map_err(|e| located(e, name.span()))?;
        if alias.is_some() {
            let scope = aliased(&plan, alias)?;
            return Ok((plan, scope));
        }
        let parts: Vec<String> = name
            .0
            .iter()
            .filter_map(|p| p.as_ident().map(|i| i.value.clone()))
            .collect();
        // Its columns may be qualified by database and catalog, written here or not.
        let full = match self.ctx.catalog.resolve_table(&parts) {
            Ok(Resolved::Table { path, .. } | Resolved::View { path, .. }) => {
                vec![
                    path.catalog.clone(),
                    path.database.clone(),
                    path.name.clone(),
                ]
            }
            Err(_) => parts,
        };
        let scope = Scope::of_plan(&plan, &full);
        Ok((plan, scope))
    }
}

/// A plan's columns under an alias and the names that it gives them.
pub(crate) fn aliased(plan: &Arc<Plan>, alias: Option<&TableAlias>) -> Result<Scope> {
    let Some(alias) = alias else {
        return Ok(Scope::of_plan(plan, &[]));
    };
    let mut scope = Scope::of_plan(plan, std::slice::from_ref(&alias.name.value));
    if !alias.columns.is_empty() && alias.columns.len() != scope.columns.len() {
        return Err(alias_mismatch(Some(alias), scope.columns.len()));
    }
    for (column, name) in scope.columns.iter_mut().zip(&alias.columns) {
        column.name = name.name.value.clone();
    }
    Ok(scope)
}

fn alias_mismatch(alias: Option<&TableAlias>, num_columns: usize) -> Error {
    let (name, names, span) = match alias {
        Some(a) => (a.name.value.clone(), a.columns.len(), a.name.span),
        None => (String::new(), 0, sqlparser::tokenizer::Span::empty()),
    };
    let message = format!("alias '{name}' names {names} columns, but the table has {num_columns}");
    located(Error::user("ALIAS_COLUMNS", message), span)
}

/// The columns that UNNEST gives for this ARRAY, MAP or MULTISET.
fn element_columns(array: &Expr) -> Result<Vec<Column>> {
    match &array.data_type.logical {
        LogicalType::Array(item) | LogicalType::Multiset(item) => Ok(match &item.logical {
            LogicalType::Row(fields) => fields
                .iter()
                .map(|f| {
                    let nullable = f.data_type.nullable || item.nullable;
                    Column::new(&f.name, f.data_type.with_nullable(nullable))
                })
                .collect(),
            _ => vec![Column::new("f0", item.as_ref().clone())],
        }),
        LogicalType::Map(key, value) => Ok(vec![
            Column::new("f0", key.as_ref().clone()),
            Column::new("f1", value.as_ref().clone()),
        ]),
        other => {
            let message = format!("UNNEST takes an ARRAY, MAP or MULTISET, not {other}");
            Err(Error::user("TYPE_MISMATCH", message))
        }
    }
}

/// The names that both sides have, in the left's order.
fn common_names(left: &Scope, right: &Scope) -> Vec<Ident> {
    let is_right = |name: &str| right.columns.iter().any(|c| c.is_plain && c.name == name);
    let shared = left
        .columns
        .iter()
        .filter(|c| c.is_plain && is_right(&c.name));
    shared.map(|c| Ident::new(&c.name)).collect()
}

/// The two columns that USING makes equal, over the join's columns.
fn using_pair(name: &Ident, left: &Scope, right: &Scope, offset: usize) -> Result<(Expr, Expr)> {
    let parts = std::slice::from_ref(name);
    let left_column = left.resolve(parts)?.ok_or_else(|| left.unknown(parts))?;
    let right_column = right.resolve(parts)?.ok_or_else(|| right.unknown(parts))?;
    Ok((left_column, right_column.remap_columns(&|i| i + offset)))
}
