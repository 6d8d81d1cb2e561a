//! SELECT: from FROM to the projection, in the order in which SQL means it.

use std::sync::Arc;

use flott_core::types::LogicalType;
use flott_core::{Error, Result};
use sqlparser::ast::{
    self, Distinct, Ident, OrderByExpr, Select, SelectItem, SelectItemQualifiedWildcardKind,
    Spanned, WildcardAdditionalOptions,
};

use super::call::order_options;
use super::collect::{Collector, Placeholder};
use super::group::{self, GroupBy, map_over};
use super::refuse::{illegal_null, is_bare_null};
use super::scalar::{Clause, unsupported};
use super::scope::{Scope, located, unique_names};
use super::{Binder, coerce, literal, over, published, subquery};
use crate::expr::Expr;
use crate::plan::{Plan, SortKey};

/// A query's rows, and their order: the plan may have columns beyond the visible ones for it.
pub(crate) struct Body {
    pub plan: Arc<Plan>,
    pub order: Vec<SortKey>,
    pub visible: usize,
}

/// One output of a SELECT while it is bound.
struct Output {
    expr: Expr,
    name: String,
    span: sqlparser::tokenizer::Span,
}

/// The expressions of a SELECT that aggregates and window functions may stand in.
struct Parts {
    outputs: Vec<Output>,
    having: Option<Expr>,
    qualify: Option<Expr>,
    /// Beyond the outputs: what ORDER BY sorts on; positions are in outputs then these.
    sort_exprs: Vec<Expr>,
    order: Vec<SortKey>,
}

impl Binder<'_> {
    /// A SELECT with the ORDER BY that belongs to it.
    pub(crate) fn select(&mut self, select: &Select, order_by: &[OrderByExpr]) -> Result<Body> {
        if let Some(rewritten) = published::rewrite(select) {
            self.is_published = true;
            return self.select(&rewritten, order_by);
        }
        refuse_unsupported(select)?;
        let (plan, scope) = self.from(&select.from)?;
        let plan = super::hints::apply(plan, &crate::parser::select_hints(select)?)?;
        let plan = self.where_clause(plan, &scope, select.selection.as_ref())?;
        let group = self.group_by(&select.group_by, &scope)?;
        let mut collector = Collector {
            has_group_by: group.is_present,
            has_empty_group: group.has_empty_group(),
            window: group.window.clone(),
            named_windows: Arc::new(select.named_window.clone()),
            ..Collector::default()
        };
        let parts = self.select_parts(select, order_by, &scope, &mut collector)?;
        let (plan, parts) = self.grouped(plan, parts, &group, &mut collector, select)?;
        let (plan, mut parts) = self.windowed(plan, parts, &collector)?;
        let visible = parts.outputs.len();
        let names = parts.outputs.iter().map(|o| o.name.clone()).collect();
        let mut names = unique_names(names);
        names.extend((0..parts.sort_exprs.len()).map(|i| format!("$s{i}")));
        let null = parts.outputs.iter().find(|o| is_bare_null(&o.expr));
        if let Some(null) = null {
            return Err(located(illegal_null(), null.span));
        }
        let mut exprs: Vec<Expr> = parts.outputs.into_iter().map(|o| o.expr).collect();
        exprs.append(&mut parts.sort_exprs);
        let (plan, exprs) = subquery::inline(plan, exprs, self)?;
        let mut plan = Plan::project(plan, exprs, names);
        if matches!(select.distinct, Some(Distinct::Distinct)) {
            if plan.schema().len() > visible {
                let message = "with SELECT DISTINCT, ORDER BY may name selected columns only";
                return Err(Error::user("INVALID_ORDER_BY", message));
            }
            plan = Plan::distinct(plan);
        }
        Ok(Body {
            plan,
            order: parts.order,
            visible,
        })
    }

    fn where_clause(
        &mut self,
        plan: Arc<Plan>,
        scope: &Scope,
        selection: Option<&ast::Expr>,
    ) -> Result<Arc<Plan>> {
        let Some(selection) = selection else {
            return Ok(plan);
        };
        let bound = self.expr(selection, &mut Clause::new(scope, "WHERE"))?;
        let predicate =
            coerce::condition(bound, "WHERE").map_err(|e| located(e, selection.span()))?;
        subquery::filter(plan, predicate, self)
    }

    fn select_parts(
        &mut self,
        select: &Select,
        order_by: &[OrderByExpr],
        scope: &Scope,
        collector: &mut Collector,
    ) -> Result<Parts> {
        let mut clause = Clause {
            scope,
            name: "SELECT",
            collector: Some(collector),
        };
        let mut outputs = Vec::new();
        for item in &select.projection {
            self.select_item(item, &mut outputs, &mut clause)?;
        }
        let having = self.condition_of(select.having.as_ref(), "HAVING", &mut clause)?;
        let qualify = select.qualify.as_ref().map(|condition| {
            let mut condition = condition.clone();
            replace_aliases(&mut condition, &select.projection, scope);
            condition
        });
        let qualify = self.condition_of(qualify.as_ref(), "QUALIFY", &mut clause)?;
        let mut parts = Parts {
            outputs,
            having,
            qualify,
            sort_exprs: Vec::new(),
            order: Vec::new(),
        };
        clause.name = "ORDER BY";
        for order in order_by {
            self.order_key(order, &mut parts, &mut clause)?;
        }
        Ok(parts)
    }

    fn condition_of(
        &mut self,
        ast: Option<&ast::Expr>,
        name: &'static str,
        clause: &mut Clause<'_>,
    ) -> Result<Option<Expr>> {
        let Some(ast) = ast else {
            return Ok(None);
        };
        clause.name = name;
        let bound = self.expr(ast, clause)?;
        clause.name = "SELECT";
        coerce::condition(bound, name)
            .map(Some)
            .map_err(|e| located(e, ast.span()))
    }

    /// An ORDER BY key: an output's alias, its ordinal, or an expression.
    fn order_key(
        &mut self,
        order: &OrderByExpr,
        parts: &mut Parts,
        clause: &mut Clause<'_>,
    ) -> Result<()> {
        let (descending, nulls_first) = order_options(order);
        let column = match output_position(&order.expr, &parts.outputs)? {
            Some(position) => position,
            None => {
                let expr = self.expr(&order.expr, clause)?;
                let text = expr.key();
                let known = parts.outputs.iter().position(|o| o.expr.key() == text);
                known.unwrap_or_else(|| {
                    parts.sort_exprs.push(expr);
                    parts.outputs.len() + parts.sort_exprs.len() - 1
                })
            }
        };
        parts.order.push(SortKey {
            column,
            descending,
            nulls_first,
        });
        Ok(())
    }

    fn select_item(
        &mut self,
        item: &SelectItem,
        outputs: &mut Vec<Output>,
        clause: &mut Clause<'_>,
    ) -> Result<()> {
        let span = item.span();
        match item {
            SelectItem::UnnamedExpr(ast) => {
                let expr = self.expr(ast, clause)?;
                let name = derived_name(ast).unwrap_or_else(|| format!("EXPR${}", outputs.len()));
                outputs.push(Output { expr, name, span });
            }
            SelectItem::ExprWithAlias { expr, alias } => {
                let expr = self.expr(expr, clause)?;
                let name = alias.value.clone();
                outputs.push(Output { expr, name, span });
            }
            SelectItem::ExprWithAliases { .. } => return Err(unsupported(item)),
            SelectItem::Wildcard(options) => {
                let columns: Vec<_> = clause.scope.columns.iter().filter(|c| c.is_plain).collect();
                if columns.is_empty() {
                    let message = "SELECT * needs a FROM clause";
                    return Err(located(Error::user("NO_COLUMNS", message), span));
                }
                expand(&columns, options, span, outputs)?;
            }
            SelectItem::QualifiedWildcard(kind, options) => {
                self.qualified_wildcard(kind, options, outputs, clause)?;
            }
        }
        Ok(())
    }

    /// `table.*`, or `row.*`: a row's fields.
    fn qualified_wildcard(
        &mut self,
        kind: &SelectItemQualifiedWildcardKind,
        options: &WildcardAdditionalOptions,
        outputs: &mut Vec<Output>,
        clause: &mut Clause<'_>,
    ) -> Result<()> {
        let span = kind.span();
        let SelectItemQualifiedWildcardKind::ObjectName(name) = kind else {
            return Err(unsupported(kind));
        };
        let parts: Vec<Ident> = name
            .0
            .iter()
            .filter_map(|p| p.as_ident().cloned())
            .collect();
        let columns = clause.scope.qualified(&parts);
        if !columns.is_empty() {
            return expand(&columns, options, span, outputs);
        }
        let row = clause.scope.resolve(&parts)?;
        let Some(row) = row else {
            return Err(clause.scope.unknown(&parts));
        };
        let LogicalType::Row(fields) = row.data_type.logical.clone() else {
            return Err(clause.scope.unknown(&parts));
        };
        for (i, field) in fields.iter().enumerate() {
            outputs.push(Output {
                expr: super::scope::field_at(row.clone(), i),
                name: field.name.clone(),
                span,
            });
        }
        Ok(())
    }

    /// Puts the aggregate below the SELECT's expressions, and HAVING's filter on it.
    fn grouped(
        &mut self,
        plan: Arc<Plan>,
        mut parts: Parts,
        group: &GroupBy,
        collector: &mut Collector,
        select: &Select,
    ) -> Result<(Arc<Plan>, Parts)> {
        if !group.is_present && collector.aggregates.is_empty() && select.having.is_none() {
            return Ok((plan, parts));
        }
        let aggregated = group::aggregate(plan, group, collector)?;
        for output in &mut parts.outputs {
            output.expr = aggregated
                .rewrite(output.expr.clone())
                .map_err(|e| located(e, output.span))?;
        }
        let rewrite_all = |exprs: &mut Vec<Expr>| -> Result<()> {
            for expr in exprs {
                *expr = aggregated.rewrite(expr.clone())?;
            }
            Ok(())
        };
        rewrite_all(&mut parts.sort_exprs)?;
        parts.qualify = parts.qualify.map(|q| aggregated.rewrite(q)).transpose()?;
        for item in &mut collector.overs {
            *item = aggregated.rewrite_over(item.clone())?;
        }
        let plan = match parts.having.take() {
            None => aggregated.plan,
            Some(having) => {
                let having = aggregated.rewrite(having)?;
                if Placeholder::is_in(&having) {
                    let message = "a window function is not allowed in HAVING; use QUALIFY";
                    return Err(Error::user("MISPLACED_OVER", message));
                }
                subquery::filter(aggregated.plan, having, self)?
            }
        };
        Ok((plan, parts))
    }

    /// Puts the window functions below the SELECT's expressions, and QUALIFY's filter on them.
    fn windowed(
        &mut self,
        plan: Arc<Plan>,
        mut parts: Parts,
        collector: &Collector,
    ) -> Result<(Arc<Plan>, Parts)> {
        if collector.overs.is_empty() {
            if parts.qualify.is_some() {
                let message = "QUALIFY needs a window function; use WHERE or HAVING";
                return Err(Error::user("MISPLACED_QUALIFY", message));
            }
            return Ok((plan, parts));
        }
        let mut inlined = plan;
        let mut items = Vec::new();
        for item in &collector.overs {
            let item = map_over(item.clone(), &mut |e| {
                let (plan, mut exprs) = subquery::inline(inlined.clone(), vec![e], self)?;
                inlined = plan;
                exprs
                    .pop()
                    .ok_or_else(|| Error::internal("a lost expression"))
            })?;
            items.push(item);
        }
        let (plan, results) = over::over(inlined, &items);
        for output in &mut parts.outputs {
            over::rewrite(&mut output.expr, &results);
        }
        for expr in &mut parts.sort_exprs {
            over::rewrite(expr, &results);
        }
        let plan = match parts.qualify.take() {
            None => plan,
            Some(mut qualify) => {
                over::rewrite(&mut qualify, &results);
                subquery::filter(plan, qualify, self)?
            }
        };
        Ok((plan, parts))
    }
}

fn refuse_unsupported(select: &Select) -> Result<()> {
    let refused: [(bool, &str); 6] = [
        (select.top.is_some(), "TOP"),
        (select.into.is_some(), "SELECT INTO"),
        (!select.lateral_views.is_empty(), "LATERAL VIEW"),
        (!select.connect_by.is_empty(), "CONNECT BY"),
        (!select.sort_by.is_empty(), "SORT BY"),
        (
            matches!(select.distinct, Some(Distinct::On(_))),
            "DISTINCT ON",
        ),
    ];
    match refused.iter().find(|(is_there, _)| *is_there) {
        Some((_, name)) => Err(unsupported(name)),
        None => Ok(()),
    }
}

/// The columns that `*` stands for, without those that EXCEPT or EXCLUDE name.
fn expand(
    columns: &[&super::scope::ScopeColumn],
    options: &WildcardAdditionalOptions,
    span: sqlparser::tokenizer::Span,
    outputs: &mut Vec<Output>,
) -> Result<()> {
    if options.opt_replace.is_some() || options.opt_rename.is_some() || options.opt_ilike.is_some()
    {
        return Err(unsupported(options));
    }
    let excluded = excluded_names(options);
    for name in &excluded {
        if !columns.iter().any(|c| c.name == *name) {
            let message = format!("column '{name}' that * leaves out does not exist");
            return Err(located(Error::user("UNKNOWN_COLUMN", message), span));
        }
    }
    let kept = columns.iter().filter(|c| !excluded.contains(&c.name));
    outputs.extend(kept.map(|c| Output {
        expr: c.expr.clone(),
        name: c.name.clone(),
        span,
    }));
    Ok(())
}

fn excluded_names(options: &WildcardAdditionalOptions) -> Vec<String> {
    use sqlparser::ast::ExcludeSelectItem;
    let mut names = Vec::new();
    if let Some(except) = &options.opt_except {
        names.push(except.first_element.value.clone());
        names.extend(except.additional_elements.iter().map(|i| i.value.clone()));
    }
    let last = |name: &ast::ObjectName| {
        let ident = name.0.last().and_then(|p| p.as_ident());
        ident.map_or(String::new(), |i| i.value.clone())
    };
    match &options.opt_exclude {
        Some(ExcludeSelectItem::Single(name)) => names.push(last(name)),
        Some(ExcludeSelectItem::Multiple(list)) => names.extend(list.iter().map(last)),
        None => {}
    }
    names
}

/// The name that an expression has without an alias: a column's, or a field's when only names lead
/// to it.
fn derived_name(ast: &ast::Expr) -> Option<String> {
    match ast {
        ast::Expr::Identifier(name) => Some(name.value.clone()),
        ast::Expr::CompoundIdentifier(parts) => parts.last().map(|p| p.value.clone()),
        ast::Expr::Nested(inner) => derived_name(inner),
        _ => None,
    }
}

/// The output that an ORDER BY key names by alias or ordinal.
fn output_position(ast: &ast::Expr, outputs: &[Output]) -> Result<Option<usize>> {
    match ast {
        ast::Expr::Identifier(name) => {
            let mut named = (0..outputs.len()).filter(|&i| outputs[i].name == name.value);
            Ok(named.next())
        }
        ast::Expr::Value(value) => {
            ordinal(&value.value, outputs.len()).map_err(|e| located(e, value.span))
        }
        _ => Ok(None),
    }
}

/// The position that an integer in ORDER BY stands for.
pub(crate) fn ordinal(value: &ast::Value, num_outputs: usize) -> Result<Option<usize>> {
    let Ok(expr) = literal::bind(value) else {
        return Ok(None);
    };
    match literal::integer(&expr) {
        None => Ok(None),
        Some(n) if n >= 1 && n as usize <= num_outputs => Ok(Some(n as usize - 1)),
        Some(n) => {
            let message =
                format!("ORDER BY ordinal {n} is out of range; there are {num_outputs} columns");
            Err(Error::user("INVALID_ORDER_BY", message))
        }
    }
}

/// Puts what SELECT computes for the aliases in a QUALIFY that are no columns.
fn replace_aliases(expr: &mut ast::Expr, projection: &[SelectItem], scope: &Scope) {
    use ast::Expr as E;
    match expr {
        E::Identifier(name) => {
            let is_column = !matches!(scope.resolve(std::slice::from_ref(name)), Ok(None));
            let found = projection.iter().find_map(|item| match item {
                SelectItem::ExprWithAlias { expr, alias } if alias.value == name.value => {
                    Some(expr)
                }
                _ => None,
            });
            if let Some(found) = found.filter(|_| !is_column) {
                *expr = E::Nested(Box::new(found.clone()));
            }
        }
        E::BinaryOp { left, right, .. } => {
            replace_aliases(left, projection, scope);
            replace_aliases(right, projection, scope);
        }
        E::Between {
            expr, low, high, ..
        } => [expr, low, high]
            .into_iter()
            .for_each(|e| replace_aliases(e, projection, scope)),
        E::InList { expr, list, .. } => {
            replace_aliases(expr, projection, scope);
            list.iter_mut()
                .for_each(|e| replace_aliases(e, projection, scope));
        }
        E::UnaryOp { expr, .. } | E::Nested(expr) | E::IsNull(expr) | E::IsNotNull(expr) => {
            replace_aliases(expr, projection, scope);
        }
        _ => {}
    }
}
