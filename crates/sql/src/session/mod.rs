//! Statements to effects: catalog changes, results, jobs to run.
//!
//! | module | what it does |
//! |---|---|
//! | [`catalog`] | databases, tables and views in memory |
//! | [`config`] | the keys that SET knows |
//! | `create`, `table`, `like`, `alter`, `functions` | CREATE, DROP and ALTER |
//! | `legacy_options` | options of tables as Flink wrote them before 1.11 |
//! | `show`, `describe`, `show_create` | looking around |
//! | [`jobs`] | jobs and their state, as far as the program that holds the session knows them |
//! | `query` | queries and INSERTs, by binder, optimizer and planner |

mod accepted;
mod alter;
pub mod catalog;
pub mod config;
mod create;
mod describe;
mod functions;
pub mod jobs;
mod legacy_options;
mod like;
mod query;
mod result;
mod show;
mod show_create;
mod table;

use std::sync::Arc;

use chrono_tz::Tz;
use flott_core::catalog::ObjectPath;
use flott_core::clock::Clock;
use flott_core::connector::Registry;
use flott_core::key_group::DEFAULT_MAX_PARALLELISM;
use flott_core::options::Options;
use flott_core::schema::{Column, Schema};
use flott_core::{Error, Result};

use crate::binder::{BindContext, CatalogReader, Resolved, bind_query};
use crate::functions::ExprContext;
use crate::functions::user::UserFunction;
use crate::parser::ast::{Name, OptionPair, Statement};
use crate::parser::{self, ParsedStatement};

use crate::parser::states::StateOf;
use catalog::{Catalogs, Object};
use functions::Functions;
use jobs::Jobs;
pub use result::StatementResult;

/// What statements run in: catalogs, configuration, functions, and the lists of connectors and
/// formats.
pub struct Session {
    registry: Arc<Registry>,
    clock: Arc<dyn Clock>,
    catalogs: Catalogs,
    config: Options,
    functions: Functions,
    jobs: Option<Arc<dyn Jobs>>,
}

impl CatalogReader for Session {
    fn resolve_table(&self, parts: &[String]) -> Result<Resolved> {
        if let Some(state) = StateOf::parse(parts) {
            return self.resolve_state(parts, &state);
        }
        let (path, object) = self.catalogs.resolve(parts)?;
        Ok(match object {
            Object::Table(table) => Resolved::Table {
                path,
                table: table.clone(),
            },
            Object::View(view) => Resolved::View {
                path,
                view: view.clone(),
            },
        })
    }

    fn system_function(&self, name: &str) -> Option<Arc<UserFunction>> {
        self.functions.system(name)
    }

    fn catalog_function(&self, parts: &[String]) -> Option<Arc<UserFunction>> {
        let path = self.catalogs.path(parts).ok()?;
        self.functions.of_catalog(&path)
    }
}

impl Session {
    /// A session with Flink's empty default catalog.
    pub fn new(registry: Registry, clock: Arc<dyn Clock>) -> Self {
        Self {
            registry: Arc::new(registry),
            clock,
            catalogs: Catalogs::default(),
            config: Options::default(),
            functions: Functions::default(),
            jobs: None,
        }
    }

    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What was set.
    pub fn config(&self) -> &Options {
        &self.config
    }

    /// Sets a configuration key without a look at its value; SET looks.
    pub fn set_option(&mut self, key: &str, value: &str) {
        self.config.set(key, value);
    }

    /// `execution.runtime-mode = batch`.
    pub fn is_batch(&self) -> bool {
        let mode = self.config.text(&config::RUNTIME_MODE);
        mode.is_some_and(|m| m.trim().eq_ignore_ascii_case("batch"))
    }

    /// `table.local-time-zone`; UTC when it is not set or is no zone.
    pub fn time_zone(&self) -> Tz {
        self.checked_time_zone().unwrap_or(Tz::UTC)
    }

    fn checked_time_zone(&self) -> Result<Tz> {
        let text = self.config.text(&config::LOCAL_TIME_ZONE).unwrap_or("UTC");
        config::time_zone(text)
    }

    /// The parallelism that was set; `None` leaves it to the caller.
    ///
    /// # Errors
    /// A user error when what was set is not a number.
    pub fn parallelism(&self) -> Result<Option<usize>> {
        for option in [&config::TABLE_PARALLELISM, &config::DEFAULT_PARALLELISM] {
            match self.config.integer(option)? {
                Some(n) if n > 0 => return Ok(Some(n as usize)),
                _ => {}
            }
        }
        Ok(None)
    }

    /// The number of key groups for new state ('pipeline.max-parallelism').
    ///
    /// # Errors
    /// A user error when what was set is not a number from 1 to 32768. Flink's -1 is the default.
    pub fn max_parallelism(&self) -> Result<usize> {
        let set = self.config.integer(&config::MAX_PARALLELISM)?;
        match set.filter(|&n| n != -1) {
            None => Ok(DEFAULT_MAX_PARALLELISM),
            Some(n) if (1..=1 << 15).contains(&n) => Ok(n as usize),
            Some(n) => Err(Error::user(
                "INVALID_OPTION",
                format!("option 'pipeline.max-parallelism' is '{n}'; it takes 1 to 32768"),
            )),
        }
    }

    /// Runs one statement: catalog statements at once; a query or INSERT comes back as a planned
    /// job, for `default_parallelism` subtasks where none is set.
    ///
    /// # Errors
    /// The statement's, with its place in the script.
    pub fn execute(
        &mut self,
        statement: &ParsedStatement,
        default_parallelism: usize,
    ) -> Result<StatementResult> {
        let done = self.parallelism().and_then(|set| {
            self.dispatch(&statement.statement, set.unwrap_or(default_parallelism))
        });
        done.map_err(|e| e.at(statement.location))
    }

    fn dispatch(&mut self, statement: &Statement, parallelism: usize) -> Result<StatementResult> {
        match statement {
            Statement::Query(source) if source.reads_state => self.query_state(source, parallelism),
            Statement::Query(source) => self.query(source, parallelism),
            Statement::Insert(insert) => self.insert(std::slice::from_ref(insert), parallelism),
            Statement::StatementSet(inserts) => self.insert(inserts, parallelism),
            Statement::CreateTable(create) => self.create_table(create, parallelism),
            Statement::CreateView(create) => self.create_view(create),
            Statement::CreateCatalog(create) => self.create_catalog(create),
            Statement::CreateDatabase(create) => self.create_database(create),
            Statement::CreateFunction(create) => self.create_function(create),
            Statement::Drop(drop) => self.drop_object(drop),
            Statement::AlterTable(alter) => self.alter_table(alter),
            Statement::AlterView(alter) => self.alter_view(alter),
            Statement::AlterFunction(alter) => self.alter_function(alter),
            Statement::AlterDatabase { name, options } => self.alter_database(name, options),
            Statement::AlterCatalog { name, action } => self.alter_catalog(name, action),
            Statement::UseCatalog(name) => self.use_catalog(name),
            Statement::UseDatabase(name) => self.use_database(name),
            Statement::UseModules(modules) => use_modules(modules),
            Statement::Set(pair) => self.set(pair.as_ref()),
            Statement::Reset(key) => self.reset(key.as_deref()),
            Statement::Show(show) => self.show(show),
            Statement::Describe(describe) => self.describe(describe),
            Statement::Explain(explain) => self.explain_statement(explain, parallelism),
            Statement::StopJob(stop) => self.stop_job(stop),
            Statement::Jar { path, .. } => StatementResult::ok(format!(
                "note: '{path}' is not loaded; connectors, formats and functions are built in"
            )),
            Statement::Unsupported { what, advice } => Err(parser::unsupported_error(what, advice)),
        }
    }

    /// What expressions see of the session now.
    pub(crate) fn expr_context(&self) -> Result<ExprContext> {
        let is_batch = self.is_batch();
        Ok(ExprContext {
            time_zone: self.checked_time_zone()?,
            clock: self.clock.clone(),
            query_start_ms: is_batch.then(|| self.clock.now_ms()),
            current_catalog: self.catalogs.current_catalog.clone(),
            current_database: self.catalogs.current_database.clone(),
            is_batch,
        })
    }

    pub(crate) fn bind_context<'a>(&'a self, expr: &'a ExprContext) -> BindContext<'a> {
        BindContext {
            catalog: self,
            expr,
        }
    }

    /// The columns that a table's source can produce: physical, then metadata columns.
    ///
    /// # Errors
    /// A user error when there is no such table.
    pub fn source_schema(&self, table: &str) -> Result<Schema> {
        let parts: Vec<String> = table.split('.').map(str::to_string).collect();
        match self.catalogs.resolve(&parts)? {
            (_, Object::Table(table)) => Ok(table.source_schema()),
            (path, Object::View(_)) => {
                let message = format!("{path} is a view, not a table");
                Err(Error::user("WRONG_OBJECT", message))
            }
        }
    }

    /// The names of the current database's tables and views, for completion.
    pub fn table_names(&self) -> Vec<String> {
        let (catalog, database) = (
            &self.catalogs.current_catalog,
            &self.catalogs.current_database,
        );
        let names = self.catalogs.object_names(catalog, database, |_| true);
        names.unwrap_or_default()
    }

    /// The plans of a query or INSERT as text.
    ///
    /// # Errors
    /// The statement's.
    pub fn explain(&self, sql: &str) -> Result<String> {
        let parallelism = self.parallelism()?.unwrap_or(1);
        match parser::parse_script(sql)?.first().map(|p| &p.statement) {
            Some(Statement::Explain(explain)) => self.explained(&explain.statement, parallelism),
            Some(statement) => self.explained(statement, parallelism),
            None => Err(Error::user(
                "SYNTAX_ERROR",
                "there is no statement to explain",
            )),
        }
    }

    /// The columns of a view, by binding its query.
    fn view_columns(&self, path: &ObjectPath) -> Result<Vec<Column>> {
        let sql = format!("SELECT * FROM {path}");
        let expr = self.expr_context()?;
        let query = parser::parse_query(&sql)?;
        let bound = bind_query(&query, &self.bind_context(&expr))?;
        Ok(bound.schema().columns().to_vec())
    }

    fn use_catalog(&mut self, name: &Name) -> Result<StatementResult> {
        self.catalogs
            .catalog(name.object())
            .map_err(|e| e.at(name.location))?;
        self.catalogs.current_catalog = name.object().to_string();
        let databases = self.catalogs.database_names(name.object())?;
        let default = catalog::DEFAULT_DATABASE.to_string();
        let has_default = databases.contains(&default);
        let first = databases.into_iter().next().unwrap_or_default();
        self.catalogs.current_database = if has_default { default } else { first };
        StatementResult::ok("")
    }

    fn use_database(&mut self, name: &Name) -> Result<StatementResult> {
        let (catalog, database) = self.catalogs.database_path(&name.parts)?;
        self.catalogs
            .database(&catalog, &database)
            .map_err(|e| e.at(name.location))?;
        self.catalogs.current_catalog = catalog;
        self.catalogs.current_database = database;
        StatementResult::ok("")
    }

    fn set(&mut self, pair: Option<&OptionPair>) -> Result<StatementResult> {
        let Some(pair) = pair else {
            let row = |(k, v): (&str, &str)| vec![Some(k.to_string()), Some(v.to_string())];
            return StatementResult::texts(
                &["key", "value"],
                self.config.iter().map(row).collect(),
            );
        };
        config::check(&pair.key, &pair.value).map_err(|e| e.at(pair.location))?;
        self.config.set(&pair.key, &pair.value);
        StatementResult::ok(match config::near_miss(&pair.key) {
            Some(near) => format!(
                "note: '{}' is not a known key; did you mean '{near}'?",
                pair.key
            ),
            None => config::meaning(&pair.key, &pair.value).to_string(),
        })
    }

    fn reset(&mut self, key: Option<&str>) -> Result<StatementResult> {
        match key {
            Some(key) => drop(self.config.remove(key)),
            None => self.config = Options::default(),
        }
        StatementResult::ok("")
    }
}

fn use_modules(modules: &[String]) -> Result<StatementResult> {
    match modules.iter().find(|m| *m != "core") {
        Some(module) => {
            let message = format!("there is no module '{module}'; there is one, 'core'");
            Err(Error::user("UNKNOWN_MODULE", message))
        }
        None => StatementResult::ok(""),
    }
}

#[cfg(test)]
mod tests;
