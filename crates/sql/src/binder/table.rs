//! References to tables and views.

use std::sync::Arc;

use flott_core::catalog::{CatalogTable, CatalogView, ColumnKind, ObjectPath};
use flott_core::dead_letter::DEAD_LETTER_TABLE;
use flott_core::schema::{Column, Schema};
use flott_core::source::FieldPath;
use flott_core::{Error, Result};
use sqlparser::ast::{self, ObjectName};

use super::scalar::Clause;
use super::scope::{Scope, ScopeColumn};
use super::{Binder, Resolved};
use crate::expr::Expr;
use crate::plan::{DeadLetterTable, Plan, Scan};

impl Binder<'_> {
    /// The plan of a common table expression, view or table; the same one each time.
    pub(crate) fn table(
        &mut self,
        name: &ObjectName,
        hints: &[(String, String)],
    ) -> Result<Arc<Plan>> {
        let parts: Vec<String> = name
            .0
            .iter()
            .filter_map(|p| p.as_ident().map(|i| i.value.clone()))
            .collect();
        if let [single] = parts.as_slice()
            && let Some(cte) = self.ctes.iter().rev().find(|c| c.name == *single)
        {
            return Ok(cte.plan.clone());
        }
        match self.ctx.catalog.resolve_table(&parts)? {
            Resolved::Table { path, table } => {
                let key = format!("{path} {hints:?}");
                if let Some(plan) = self.tables.get(&key) {
                    return Ok(plan.clone());
                }
                let plan = self.base_table(path, table, hints)?;
                self.tables.insert(key, plan.clone());
                Ok(plan)
            }
            Resolved::View { path, view } => {
                let key = path.to_string();
                if let Some(plan) = self.tables.get(&key) {
                    return Ok(plan.clone());
                }
                let plan = self
                    .view(&path, &view)
                    .map_err(|e| e.context(format!("view {path}")))?;
                self.tables.insert(key, plan.clone());
                Ok(plan)
            }
        }
    }

    fn view(&mut self, path: &ObjectPath, view: &CatalogView) -> Result<Arc<Plan>> {
        let key = path.to_string();
        if self.views.contains(&key) {
            return Err(Error::user("CYCLIC_VIEW", "it refers to itself"));
        }
        let query = crate::parser::parse_query(&view.query)?;
        let outer = std::mem::take(&mut self.outer);
        let ctes = std::mem::take(&mut self.ctes);
        self.views.push(key);
        let plan = self.inner_query(&query);
        self.views.pop();
        self.outer = outer;
        self.ctes = ctes;
        let plan = plan?;
        let Some(names) = &view.column_names else {
            return Ok(plan);
        };
        if names.len() != plan.schema().len() {
            let message = format!(
                "it names {} columns, but its query gives {}",
                names.len(),
                plan.schema().len()
            );
            return Err(Error::user("ALIAS_COLUMNS", message));
        }
        let exprs = (0..names.len()).map(|i| plan.column_expr(i)).collect();
        Ok(Plan::project(plan, exprs, names.clone()))
    }

    /// Scan, then computed and metadata columns in declared order, then the watermark.
    fn base_table(
        &mut self,
        path: ObjectPath,
        table: Arc<CatalogTable>,
        hints: &[(String, String)],
    ) -> Result<Arc<Plan>> {
        let mut options = table.options.clone();
        for (key, value) in hints {
            options.set(key, value);
        }
        options.remove("connector");
        let schema = table.source_schema();
        let dead_letters = match options.get(DEAD_LETTER_TABLE.key) {
            Some(name) => Some(Arc::new(self.dead_letter_table(name, &path)?)),
            None => None,
        };
        let scan = Arc::new(Plan::Scan(Scan {
            path,
            table: table.clone(),
            options,
            fields: (0..schema.len()).map(FieldPath::column).collect(),
            predicates: vec![],
            keeps: Vec::new(),
            dead_letters,
            lookup_hint: Vec::new(),
            limit: None,
            schema,
        }));
        let outer = std::mem::take(&mut self.outer);
        let plan = self.declared_columns(scan, &table);
        let plan = plan.and_then(|plan| self.declared_watermark(plan, &table));
        self.outer = outer;
        plan
    }

    /// The table of this name, in the catalog and database of the one that names it unless it
    /// says others.
    fn dead_letter_table(&self, name: &str, of: &ObjectPath) -> Result<DeadLetterTable> {
        let named = name
            .split('.')
            .map(|part| part.trim_matches('`').to_string());
        let named: Vec<String> = named.collect();
        let above = [&of.catalog, &of.database];
        let missing = 3_usize.saturating_sub(named.len());
        let above = above.into_iter().take(missing.min(2)).cloned();
        let parts: Vec<String> = above.chain(named).collect();
        let of_option =
            |e: Error| e.context(format!("table {of}: option '{}'", DEAD_LETTER_TABLE.key));
        match self.ctx.catalog.resolve_table(&parts).map_err(of_option)? {
            Resolved::Table { path, table } => {
                let mut options = table.options.clone();
                options.remove("connector");
                Ok(DeadLetterTable {
                    path,
                    table,
                    options,
                })
            }
            Resolved::View { path, .. } => {
                let message = format!("{path} is a view; name a table");
                Err(of_option(Error::user("INSERT_INTO_VIEW", message)))
            }
        }
    }

    fn declared_columns(&mut self, scan: Arc<Plan>, table: &CatalogTable) -> Result<Arc<Plan>> {
        let scope = declared_scope(&scan, table);
        let mut exprs = Vec::new();
        let mut names = Vec::new();
        for column in &table.columns {
            let expr = match &column.kind {
                ColumnKind::Computed { expression } => {
                    let ast = crate::parser::parse_expression(expression)?;
                    let expr = self
                        .expr(&ast, &mut Clause::new(&scope, "a computed column"))
                        .map_err(|e| e.context(format!("computed column '{}'", column.name)))?;
                    refuse_subquery(&expr)?;
                    expr
                }
                _ => declared_column(&scope, &column.name)?,
            };
            exprs.push(expr);
            names.push(column.name.clone());
        }
        let is_same = exprs.len() == scan.schema().len()
            && exprs
                .iter()
                .enumerate()
                .all(|(i, e)| e.as_column() == Some(i))
            && names
                .iter()
                .zip(scan.schema().columns())
                .all(|(n, c)| *n == c.name);
        Ok(match is_same {
            true => scan,
            false => Plan::project(scan, exprs, names),
        })
    }

    fn declared_watermark(&mut self, plan: Arc<Plan>, table: &CatalogTable) -> Result<Arc<Plan>> {
        let Some(watermark) = &table.watermark else {
            return Ok(plan);
        };
        let Some(column) = plan.schema().index_of(&watermark.column) else {
            let message = format!("watermark column '{}' does not exist", watermark.column);
            return Err(Error::user("UNKNOWN_COLUMN", message));
        };
        let ast = crate::parser::parse_expression(&watermark.expression)?;
        let expr = self
            .scalar_over(&ast, plan.schema())
            .map_err(|e| e.context(format!("watermark for '{}'", watermark.column)))?;
        Ok(Plan::watermark(plan, column, expr))
    }

    /// An expression over a schema's columns alone.
    pub(crate) fn scalar_over(&mut self, ast: &ast::Expr, schema: &Schema) -> Result<Expr> {
        let columns = schema.columns().iter().enumerate();
        let scope = Scope {
            columns: columns.map(|(i, c)| plain_column(i, c)).collect(),
        };
        let expr = self.expr(ast, &mut Clause::new(&scope, "a column expression"))?;
        refuse_subquery(&expr)?;
        Ok(expr)
    }
}

pub(super) fn refuse_subquery(expr: &Expr) -> Result<()> {
    match expr.has_subquery() {
        true => Err(Error::user(
            "UNSUPPORTED_SUBQUERY",
            "a subquery cannot stand in a computed column, a watermark or a function",
        )),
        false => Ok(()),
    }
}

fn plain_column(index: usize, column: &Column) -> ScopeColumn {
    ScopeColumn {
        qualifier: vec![],
        name: column.name.clone(),
        expr: Expr::column(index, column.data_type.clone()),
        time: column.time,
        is_plain: true,
    }
}

/// The stored and metadata columns under their declared names.
fn declared_scope(scan: &Plan, table: &CatalogTable) -> Scope {
    let physical = table
        .columns
        .iter()
        .filter(|c| c.kind == ColumnKind::Physical);
    let is_metadata = |k: &ColumnKind| matches!(k, ColumnKind::Metadata { .. });
    let metadata = table.columns.iter().filter(|c| is_metadata(&c.kind));
    let columns = physical.chain(metadata).enumerate().map(|(i, c)| {
        let mut column = plain_column(i, scan.schema().column(i));
        column.name = c.name.clone();
        column
    });
    Scope {
        columns: columns.collect(),
    }
}

fn declared_column(scope: &Scope, name: &str) -> Result<Expr> {
    let column = scope.columns.iter().find(|c| c.name == name);
    let column = column.ok_or_else(|| Error::internal(format!("lost column '{name}'")))?;
    Ok(column.expr.clone())
}
