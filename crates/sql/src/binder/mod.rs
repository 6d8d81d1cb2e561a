//! Syntax trees to plans: names to positions, Flink's types, implicit casts, errors with places.
//!
//! | module | binds |
//! |---|---|
//! | `query`, `set` | WITH, set operations, VALUES, ORDER BY, LIMIT |
//! | `select`, `group`, `over` | SELECT; what aggregates and window functions need below it |
//! | `from`, `table`, `window` | tables, views, joins, UNNEST, window functions |
//! | `matching` | MATCH_RECOGNIZE |
//! | `scalar`, `call`, `special`, `literal`, `refuse` | expressions |
//! | `function` | calls of users' functions |
//! | `published` | Nexmark's query 6 as it is published |
//! | `subquery`, `mark` | subqueries in expressions, as joins |
//! | `insert` | a query to the columns of its sink |
//! | `syntax` | the forms in which the parser hands over what sqlparser has no tree for |

mod call;
mod coerce;
mod collect;
mod from;
mod function;
mod group;
mod hints;
mod insert;
mod literal;
mod mark;
mod matching;
mod over;
mod published;
mod quantified;
mod query;
mod refuse;
mod scalar;
mod scope;
mod select;
mod set;
mod special;
mod subquery;
mod syntax;
mod table;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;

use flott_core::Result;
use flott_core::catalog::{CatalogTable, CatalogView, ObjectPath};
use flott_core::schema::Schema;
use sqlparser::ast::{self, Query};

use crate::expr::Expr;
use crate::functions::ExprContext;
use crate::functions::user::UserFunction;
use crate::plan::Plan;

pub(crate) use function::check_function;
pub use insert::{BoundInsert, bind_insert};

/// What a name in FROM or INSERT INTO stands for.
#[derive(Debug, Clone)]
pub enum Resolved {
    Table {
        path: ObjectPath,
        table: Arc<CatalogTable>,
    },
    View {
        path: ObjectPath,
        view: Arc<CatalogView>,
    },
}

/// Catalogs as the binder reads them.
pub trait CatalogReader {
    /// The table or view of a name of one to three parts, looked up from the current catalog and
    /// database.
    ///
    /// # Errors
    /// A user error that suggests a near name when there is none.
    fn resolve_table(&self, parts: &[String]) -> Result<Resolved>;

    /// The temporary system function of a name, which hides a built-in one.
    fn system_function(&self, _name: &str) -> Option<Arc<UserFunction>> {
        None
    }

    /// The function of a name of one to three parts, looked up from the current catalog and
    /// database.
    fn catalog_function(&self, _parts: &[String]) -> Option<Arc<UserFunction>> {
        None
    }
}

/// What binding may look at.
#[derive(Clone, Copy)]
pub struct BindContext<'a> {
    pub catalog: &'a dyn CatalogReader,
    pub expr: &'a ExprContext,
}

/// A bound query.
#[derive(Debug, Clone)]
pub struct Bound {
    pub plan: Arc<Plan>,
}

impl Bound {
    /// The result's columns, named as Flink names them.
    pub fn schema(&self) -> &Schema {
        self.plan.schema()
    }
}

/// Binds a query.
///
/// # Errors
/// A user error, with its place where it is known, for everything that Flink's validator refuses.
pub fn bind_query(query: &Query, context: &BindContext<'_>) -> Result<Bound> {
    let plan = Binder::new(context).outer_query(query)?;
    Ok(Bound { plan })
}

/// Binds an expression over the columns of `schema`: a computed column, a watermark.
///
/// # Errors
/// As [`bind_query`]; aggregates and subqueries are refused.
pub fn bind_scalar(expr: &ast::Expr, schema: &Schema, context: &BindContext<'_>) -> Result<Expr> {
    Binder::new(context).scalar_over(expr, schema)
}

/// A common table expression in scope.
struct Cte {
    name: String,
    plan: Arc<Plan>,
}

/// The state of binding one statement.
pub(crate) struct Binder<'a> {
    pub ctx: &'a BindContext<'a>,
    /// What enclosing queries offer, innermost last.
    outer: Vec<scope::Scope>,
    /// Later ones hide earlier ones of the same name.
    ctes: Vec<Cte>,
    /// Tables and views that were bound already, by path and hints: they are shared.
    tables: BTreeMap<String, Arc<Plan>>,
    /// The views being bound, against cycles.
    views: Vec<String>,
    /// The SQL functions whose bodies are being bound, innermost last.
    calls: Vec<function::Parameters>,
    /// Whether the statement is in the dialect of [`published`].
    is_published: bool,
}

impl<'a> Binder<'a> {
    fn new(ctx: &'a BindContext<'a>) -> Self {
        Self {
            ctx,
            outer: Vec::new(),
            ctes: Vec::new(),
            tables: BTreeMap::new(),
            views: Vec::new(),
            calls: Vec::new(),
            is_published: false,
        }
    }
}
