//! Names in scope: which column an identifier means.

use std::sync::Arc;

use flott_core::error::did_you_mean;
use flott_core::schema::TimeAttribute;
use flott_core::types::{DataType, LogicalType};
use flott_core::{Error, Location, Result};
use sqlparser::ast::Ident;
use sqlparser::tokenizer::Span;

use crate::expr::{Expr, ExprKind};
use crate::plan::Plan;

/// A column that a FROM clause offers.
#[derive(Debug, Clone)]
pub(crate) struct ScopeColumn {
    /// The table's alias, or its name: `[database, table]` and so on, matched from the end.
    pub qualifier: Vec<String>,
    pub name: String,
    /// Over the columns of the FROM clause's plan.
    pub expr: Expr,
    pub time: Option<TimeAttribute>,
    /// Whether the name alone finds it, and `*` lists it: not for the single sides of a column
    /// merged by USING.
    pub is_plain: bool,
}

/// The columns that a FROM clause offers, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    pub columns: Vec<ScopeColumn>,
}

/// Where a piece of syntax begins, if it is known.
pub(crate) fn location(span: Span) -> Option<Location> {
    (span.start.line > 0).then_some(Location {
        line: span.start.line,
        column: span.start.column,
    })
}

/// Adds the place of a piece of syntax to an error that has none.
pub(crate) fn located(error: Error, span: Span) -> Error {
    match location(span) {
        Some(place) => error.at(place),
        None => error,
    }
}

impl Scope {
    /// Every column of a plan under one qualifier.
    pub fn of_plan(plan: &Plan, qualifier: &[String]) -> Self {
        let columns = plan.schema().columns().iter().enumerate();
        let columns = columns.map(|(i, c)| ScopeColumn {
            qualifier: qualifier.to_vec(),
            name: c.name.clone(),
            expr: plan.column_expr(i),
            time: c.time,
            is_plain: true,
        });
        Self {
            columns: columns.collect(),
        }
    }

    /// This scope's columns, then the other's, which stand `offset` positions later.
    pub fn join(mut self, other: Scope, offset: usize) -> Self {
        let shifted = other.columns.into_iter().map(|mut c| {
            c.expr = c.expr.remap_columns(&|i| i + offset);
            c
        });
        self.columns.extend(shifted);
        self
    }

    /// Gives every column the type that the plan has now, after an outer join has made some
    /// nullable.
    pub fn retype(&mut self, plan: &Arc<Plan>) {
        for column in &mut self.columns {
            if let Some(index) = column.expr.as_column()
                && index < plan.schema().len()
            {
                column.expr = plan.column_expr(index);
                column.time = plan.schema().column(index).time;
            }
        }
    }

    /// The column or nested field that the identifiers name; `None` when the first names nothing
    /// here.
    ///
    /// # Errors
    /// When the name is ambiguous, or a field does not exist.
    pub fn resolve(&self, parts: &[Ident]) -> Result<Option<Expr>> {
        for qualifier_len in (0..parts.len()).rev() {
            let (qualifier, rest) = parts.split_at(qualifier_len);
            if let Some(column) = self.find(qualifier, &rest[0])? {
                return fields(column.expr.clone(), &rest[1..]).map(Some);
            }
        }
        Ok(None)
    }

    fn find(&self, qualifier: &[Ident], name: &Ident) -> Result<Option<&ScopeColumn>> {
        let mut found: Option<&ScopeColumn> = None;
        for column in &self.columns {
            let is_meant = column.name == name.value
                && column.is_qualified_by(qualifier)
                && (column.is_plain || !qualifier.is_empty());
            if !is_meant {
                continue;
            }
            if found.is_some() {
                let message = format!(
                    "column '{}' is ambiguous; write the table's name or alias before it",
                    name.value
                );
                return Err(located(Error::user("AMBIGUOUS_COLUMN", message), name.span));
            }
            found = Some(column);
        }
        Ok(found)
    }

    /// The time attribute of an expression over these columns.
    pub fn time_of(&self, expr: &Expr) -> Option<TimeAttribute> {
        if expr.as_call("PROCTIME").is_some() {
            return Some(TimeAttribute::Proctime);
        }
        let index = expr.as_column()?;
        let column = self
            .columns
            .iter()
            .find(|c| c.expr.as_column() == Some(index));
        column.and_then(|c| c.time)
    }

    /// The columns that `qualifier.*` lists.
    pub fn qualified(&self, qualifier: &[Ident]) -> Vec<&ScopeColumn> {
        let columns = self.columns.iter();
        columns.filter(|c| c.is_qualified_by(qualifier)).collect()
    }

    /// The error for identifiers that name nothing.
    pub fn unknown(&self, parts: &[Ident]) -> Error {
        let name = parts
            .iter()
            .map(|p| p.value.as_str())
            .collect::<Vec<_>>()
            .join(".");
        let last = parts.last().map_or("", |p| p.value.as_str());
        let qualifier = &parts[..parts.len().saturating_sub(1)];
        let is_table_known =
            qualifier.is_empty() || self.columns.iter().any(|c| c.is_qualified_by(qualifier));
        let message = if is_table_known {
            let known = self.columns.iter().filter(|c| c.is_qualified_by(qualifier));
            let hint = did_you_mean(last, known.map(|c| c.name.as_str()));
            format!("column '{name}' not found in any table{hint}")
        } else {
            let tables = self.columns.iter().filter_map(|c| c.qualifier.last());
            let first = &parts[0].value;
            let hint = did_you_mean(first, tables.map(String::as_str));
            format!("table '{first}' of column '{name}' is not in the FROM clause{hint}")
        };
        let span = parts.first().map_or(Span::empty(), |p| p.span);
        located(Error::user("UNKNOWN_COLUMN", message), span)
    }
}

impl ScopeColumn {
    fn is_qualified_by(&self, qualifier: &[Ident]) -> bool {
        qualifier.len() <= self.qualifier.len()
            && qualifier
                .iter()
                .rev()
                .zip(self.qualifier.iter().rev())
                .all(|(wanted, own)| wanted.value == *own)
    }
}

/// Follows field names into rows.
pub(crate) fn fields(mut expr: Expr, names: &[Ident]) -> Result<Expr> {
    for name in names {
        expr = field(expr, &name.value).map_err(|e| located(e, name.span))?;
    }
    Ok(expr)
}

/// The field of this name of a row.
pub(crate) fn field(row: Expr, name: &str) -> Result<Expr> {
    let LogicalType::Row(row_fields) = &row.data_type.logical else {
        let message = format!(
            "'{name}' is read as a field of a {}, which has no fields",
            row.data_type.logical
        );
        return Err(Error::user("UNKNOWN_FIELD", message));
    };
    let Some(index) = row_fields.iter().position(|f| f.name == name) else {
        let hint = did_you_mean(name, row_fields.iter().map(|f| f.name.as_str()));
        let message = format!(
            "field '{name}' not found in {}{hint}",
            row.data_type.logical
        );
        return Err(Error::user("UNKNOWN_FIELD", message));
    };
    Ok(field_at(row, index))
}

/// The field at this position of a row; the row must have it.
pub(crate) fn field_at(row: Expr, index: usize) -> Expr {
    let data_type = match &row.data_type.logical {
        LogicalType::Row(fields) => {
            let field = &fields[index].data_type;
            field.with_nullable(field.nullable || row.data_type.nullable)
        }
        _ => DataType {
            logical: LogicalType::Null,
            nullable: true,
        },
    };
    Expr {
        kind: ExprKind::Field {
            expr: Box::new(row),
            index,
        },
        data_type,
    }
}

/// Makes names unique as Flink does: `item`, `item0`, `item1`.
pub(crate) fn unique_names(names: Vec<String>) -> Vec<String> {
    let mut used = std::collections::BTreeSet::new();
    let mut unique = Vec::with_capacity(names.len());
    for name in names {
        let mut candidate = name.clone();
        let mut attempt = 0;
        while !used.insert(candidate.clone()) {
            candidate = format!("{name}{attempt}");
            attempt += 1;
        }
        unique.push(candidate);
    }
    unique
}
