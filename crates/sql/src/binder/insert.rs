//! INSERT: a query's columns to the columns of its sink.

use std::sync::Arc;

use datafusion_common::ScalarValue;
use flott_core::catalog::{CatalogTable, ObjectPath};
use flott_core::error::did_you_mean;
use flott_core::options::Options;
use flott_core::schema::{Column, Schema};
use flott_core::types::{DataType, LogicalType as L, MAX_LENGTH};
use flott_core::{Error, Result};

use super::{BindContext, Binder, Resolved, coerce};
use crate::expr::Expr;
use crate::parser::ast::Insert;
use crate::plan::Plan;

/// A bound INSERT.
#[derive(Debug, Clone)]
pub struct BoundInsert {
    pub path: ObjectPath,
    pub table: Arc<CatalogTable>,
    /// The table's options with hints applied, without `connector`.
    pub options: Options,
    pub overwrite: bool,
    /// Its columns are the table's sink schema.
    pub plan: Arc<Plan>,
}

/// Binds an INSERT: columns in the sink's order, static partitions and missing columns filled in,
/// implicit casts made.
///
/// # Errors
/// A user error where the columns' number or types do not fit the sink.
pub fn bind_insert(insert: &Insert, context: &BindContext<'_>) -> Result<BoundInsert> {
    let resolved = context
        .catalog
        .resolve_table(&insert.target.parts)
        .map_err(|e| e.at(insert.target.location))?;
    let Resolved::Table { path, table } = resolved else {
        let message = format!("{} is a view; insert into a table", insert.target);
        return Err(Error::user("INSERT_INTO_VIEW", message).at(insert.target.location));
    };
    let mut binder = Binder::new(context);
    let query = binder.outer_query(&insert.source.query)?;
    let sink = Sink {
        path: &path,
        schema: table.sink_schema(),
        table: &table,
        context,
        casts_any: binder.is_published,
    };
    let plan = sink.fit(query, insert)?;
    let mut options = table.options.clone();
    for (key, value) in super::syntax::options_hints(&insert.hints) {
        options.set(key, value);
    }
    options.remove("connector");
    Ok(BoundInsert {
        path: path.clone(),
        table: table.clone(),
        options,
        overwrite: insert.overwrite,
        plan,
    })
}

/// The sink of an INSERT.
struct Sink<'a> {
    path: &'a ObjectPath,
    schema: Schema,
    table: &'a CatalogTable,
    context: &'a BindContext<'a>,
    /// Whether columns are cast as if CAST were written: see `published`.
    casts_any: bool,
}

impl Sink<'_> {
    fn fit(&self, query: Arc<Plan>, insert: &Insert) -> Result<Arc<Plan>> {
        let partition = self.static_partition(insert)?;
        let targets = self.targets(insert, &partition)?;
        if targets.len() != query.schema().len() {
            return Err(self.mismatch("different number of columns", &query, &targets));
        }
        let mut exprs: Vec<Option<Expr>> = vec![None; self.schema.len()];
        for (position, value) in partition {
            exprs[position] = Some(value);
        }
        for (from, &to) in targets.iter().enumerate() {
            let column = self.schema.column(to);
            let expr = query.column_expr(from);
            let is_taken =
                self.casts_any || is_implicit(&expr.data_type.logical, &column.data_type.logical);
            if !is_taken {
                let cause = format!(
                    "incompatible types for sink column '{}' at position {}",
                    column.name,
                    from + 1
                );
                return Err(self.mismatch(&cause, &query, &targets));
            }
            exprs[to] = Some(self.cast(expr, &column.data_type)?);
        }
        let names: Vec<String> = self
            .schema
            .columns()
            .iter()
            .map(|c| c.name.clone())
            .collect();
        let exprs = exprs
            .into_iter()
            .zip(self.schema.columns())
            .map(|(expr, column)| match expr {
                Some(expr) => Ok(expr),
                None => self.missing(column),
            })
            .collect::<Result<Vec<_>>>()?;
        let is_same = exprs
            .iter()
            .enumerate()
            .all(|(i, e)| e.as_column() == Some(i))
            && exprs.len() == query.schema().len();
        match is_same {
            // Names of the query do not matter to the sink: they are its own.
            true if query
                .schema()
                .columns()
                .iter()
                .zip(&names)
                .all(|(c, n)| c.name == *n) =>
            {
                Ok(query)
            }
            _ => Ok(Plan::project(query, exprs, names)),
        }
    }

    fn cast(&self, expr: Expr, to: &DataType) -> Result<Expr> {
        coerce::cast(expr, to, false, self.context.expr)
    }

    fn missing(&self, column: &Column) -> Result<Expr> {
        if !column.data_type.nullable {
            let message = format!(
                "column '{}' of {} has no default value and does not allow NULLs; list it",
                column.name, self.path
            );
            return Err(Error::user("MISSING_COLUMN", message));
        }
        Expr::null(&column.data_type)
    }

    /// `PARTITION (k = 'v')` as positions in the sink and their values.
    fn static_partition(&self, insert: &Insert) -> Result<Vec<(usize, Expr)>> {
        let mut values = Vec::new();
        for item in &insert.partition {
            let name = &item.key.value;
            if !self.table.partition_keys.contains(name) {
                let keys = self.table.partition_keys.iter().map(String::as_str);
                let hint = did_you_mean(name, keys);
                let message = format!("'{name}' is not a partition key of {}{hint}", self.path);
                return Err(Error::user("UNKNOWN_PARTITION_KEY", message).at(item.key.location));
            }
            let Some(text) = &item.value else {
                continue;
            };
            let position = self.position(name, item.key.location)?;
            let literal = Expr::literal(
                ScalarValue::Utf8View(Some(text.clone())),
                L::VarChar(MAX_LENGTH).not_null(),
            );
            let to = &self.schema.column(position).data_type;
            values.push((position, self.cast(literal, to)?));
        }
        Ok(values)
    }

    /// Which sink column each of the query's columns goes to.
    fn targets(&self, insert: &Insert, partition: &[(usize, Expr)]) -> Result<Vec<usize>> {
        let is_static = |position: &usize| partition.iter().any(|(p, _)| p == position);
        let Some(columns) = &insert.columns else {
            return Ok((0..self.schema.len()).filter(|p| !is_static(p)).collect());
        };
        let mut targets = Vec::new();
        for column in columns {
            let position = self.position(&column.value, column.location)?;
            if targets.contains(&position) || is_static(&position) {
                let message = format!("column '{}' is assigned twice", column.value);
                return Err(Error::user("DUPLICATE_COLUMN", message).at(column.location));
            }
            targets.push(position);
        }
        Ok(targets)
    }

    fn position(&self, name: &str, location: flott_core::Location) -> Result<usize> {
        // The sink schema names metadata columns by their key.
        let is_stored = |c: &&flott_core::catalog::TableColumn| {
            use flott_core::catalog::ColumnKind as K;
            matches!(c.kind, K::Physical)
        };
        let is_written = |c: &&flott_core::catalog::TableColumn| {
            use flott_core::catalog::ColumnKind as K;
            matches!(
                c.kind,
                K::Metadata {
                    is_virtual: false,
                    ..
                }
            )
        };
        let columns = &self.table.columns;
        let stored = columns.iter().filter(is_stored);
        let mut ordered = stored.chain(columns.iter().filter(is_written));
        ordered.position(|c| c.name == name).ok_or_else(|| {
            let known = columns.iter().map(|c| c.name.as_str());
            let hint = did_you_mean(name, known);
            let message = format!(
                "sink {} has no column '{name}' to insert into{hint}",
                self.path
            );
            Error::user("UNKNOWN_COLUMN", message).at(location)
        })
    }

    fn mismatch(&self, cause: &str, query: &Plan, targets: &[usize]) -> Error {
        let list = |columns: Vec<&Column>| {
            let shown = columns
                .iter()
                .map(|c| format!("{}: {}", c.name, c.data_type));
            shown.collect::<Vec<_>>().join(", ")
        };
        let query = list(query.schema().columns().iter().collect());
        let sink = list(targets.iter().map(|&t| self.schema.column(t)).collect());
        let message = format!(
            "column types of query result and sink for {} do not match: {cause}; query schema: [{query}], sink schema: [{sink}]",
            self.path
        );
        Error::user("SINK_MISMATCH", message)
    }
}

/// Whether a sink takes values of `from` into a column of `to` without a written cast.
pub(super) fn is_implicit(from: &L, to: &L) -> bool {
    match (from, to) {
        (L::Null, _) => true,
        (from, to) if from == to => true,
        (from, to) if from.is_character() && to.is_character() => true,
        (from, to) if from.is_binary() && to.is_binary() => true,
        (from, L::Decimal(..) | L::Double) => from.is_numeric(),
        (L::TinyInt, L::SmallInt | L::Int | L::BigInt | L::Float) => true,
        (L::SmallInt, L::Int | L::BigInt | L::Float) => true,
        (L::Int, L::BigInt | L::Float) => true,
        (L::BigInt | L::Decimal(..), L::Float) => true,
        (L::Timestamp(_) | L::TimestampLtz(_), L::Timestamp(_) | L::TimestampLtz(_)) => true,
        (L::Timestamp(_), L::Date | L::Time(_)) => true,
        (L::Time(_), L::Time(_)) => true,
        (L::Array(a), L::Array(b)) | (L::Multiset(a), L::Multiset(b)) => {
            is_implicit(&a.logical, &b.logical)
        }
        (L::Map(k, v), L::Map(k2, v2)) => {
            is_implicit(&k.logical, &k2.logical) && is_implicit(&v.logical, &v2.logical)
        }
        (L::Row(a), L::Row(b)) => {
            let pairs = a.iter().zip(b.iter());
            a.len() == b.len()
                && pairs
                    .map(|(a, b)| (&a.data_type.logical, &b.data_type.logical))
                    .all(|(a, b)| is_implicit(a, b))
        }
        _ => false,
    }
}
