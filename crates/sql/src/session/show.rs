//! SHOW: lists of what there is.

use std::collections::BTreeSet;

use flott_core::{Error, Result};
use regex::RegexBuilder;

use super::catalog::Object;
use super::describe::describe_columns;
use super::jobs::STATE_CONNECTOR;
use super::show_create;
use super::{Session, StatementResult};
use crate::functions;
use crate::parser::ast::{Name, Pattern, Show};

/// Names with what they are.
fn parts<'a>(
    heading: &str,
    names: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<StatementResult> {
    let row = |(name, doc): (&str, &str)| vec![Some(name.to_string()), Some(doc.to_string())];
    StatementResult::texts(&[heading, "description"], names.map(row).collect())
}

impl Session {
    pub(super) fn show(&self, show: &Show) -> Result<StatementResult> {
        match show {
            Show::Catalogs(pattern) => {
                let names = filtered(self.catalogs.catalog_names(), pattern.as_ref())?;
                StatementResult::list("catalog name", names)
            }
            Show::CurrentCatalog => {
                let name = self.catalogs.current_catalog.clone();
                StatementResult::list("current catalog name", vec![name])
            }
            Show::CurrentDatabase => {
                let name = self.catalogs.current_database.clone();
                StatementResult::list("current database name", vec![name])
            }
            Show::Databases { catalog, pattern } => {
                let current = &self.catalogs.current_catalog;
                let catalog = catalog.as_ref().map_or(current.as_str(), Name::object);
                let names = self.catalogs.database_names(catalog)?;
                StatementResult::list("database name", filtered(names, pattern.as_ref())?)
            }
            Show::Tables { database, pattern } => {
                let names = self.objects(database.as_ref(), |_| true)?;
                StatementResult::list("table name", filtered(names, pattern.as_ref())?)
            }
            Show::Views { database, pattern } => {
                let is_view = |o: &Object| matches!(o, Object::View(_));
                let names = self.objects(database.as_ref(), is_view)?;
                StatementResult::list("view name", filtered(names, pattern.as_ref())?)
            }
            Show::Columns { table, pattern } => {
                let mut rows = self.described(table)?;
                let matcher = matcher(pattern.as_ref())?;
                rows.retain(|r| matcher(&r.name));
                describe_columns(rows)
            }
            Show::Partitions { table, .. } => self.show_partitions(table),
            Show::Functions {
                user_only,
                database,
                pattern,
            } => {
                let names = self.function_names(*user_only, database.as_ref())?;
                let names = filtered(names, pattern.as_ref())?;
                StatementResult::list("function name", names)
            }
            Show::Modules { full: false } => {
                StatementResult::list("module name", vec!["core".to_string()])
            }
            Show::Modules { full: true } => show_modules(),
            Show::Connectors => {
                let connectors = self.registry().connectors.iter();
                let connectors = connectors.filter(|c| c.identifier() != STATE_CONNECTOR);
                let names = connectors.map(|c| (c.identifier(), c.doc()));
                parts("connector name", names)
            }
            Show::Formats => {
                let formats = self.registry().formats.iter();
                parts("format name", formats.map(|f| (f.identifier(), f.doc())))
            }
            Show::Jars => StatementResult::list("jars", vec![]),
            Show::Jobs => self.show_jobs(),
            Show::CreateTable(name) => self.show_create(name, "table"),
            Show::CreateView(name) => self.show_create(name, "view"),
            Show::CreateCatalog(name) => {
                let catalog = self
                    .catalogs
                    .catalog(name.object())
                    .map_err(|e| e.at(name.location))?;
                let text = show_create::catalog(name.object(), catalog);
                StatementResult::list("result", vec![text])
            }
        }
    }

    fn objects(
        &self,
        database: Option<&Name>,
        keep: impl Fn(&Object) -> bool,
    ) -> Result<Vec<String>> {
        let (catalog, database) = self.shown_database(database)?;
        self.catalogs.object_names(&catalog, &database, keep)
    }

    /// The catalog and database of a name, or the current ones.
    fn shown_database(&self, name: Option<&Name>) -> Result<(String, String)> {
        match name {
            Some(name) => self.catalogs.database_path(&name.parts),
            None => Ok((
                self.catalogs.current_catalog.clone(),
                self.catalogs.current_database.clone(),
            )),
        }
    }

    /// A catalog in memory knows no partitions: the connector finds them when it reads.
    fn show_partitions(&self, name: &Name) -> Result<StatementResult> {
        let (path, object) = self
            .catalogs
            .resolve(&name.parts)
            .map_err(|e| e.at(name.location))?;
        let is_partitioned = matches!(object, Object::Table(t) if !t.partition_keys.is_empty());
        if !is_partitioned {
            let message = format!("{path} is not a partitioned table");
            return Err(Error::user("NOT_PARTITIONED", message).at(name.location));
        }
        StatementResult::list("partition name", vec![])
    }

    fn function_names(&self, user_only: bool, database: Option<&Name>) -> Result<Vec<String>> {
        let (catalog, database) = self.shown_database(database)?;
        self.catalogs.database(&catalog, &database)?;
        let names = self.functions.names(&catalog, &database);
        let mut names: BTreeSet<String> = names.into_iter().collect();
        if !user_only {
            let is_named = |n: &str| n.starts_with(|c: char| c.is_alphabetic());
            let scalar = functions::all()
                .flat_map(|f| std::iter::once(f.name).chain(f.aliases.iter().copied()));
            let aggregates = flott_table::aggregates::LIST
                .iter()
                .flat_map(|l| l.iter())
                .map(|f| f.name);
            let all = scalar.chain(aggregates).filter(|n| is_named(n));
            names.extend(all.map(str::to_lowercase));
        }
        Ok(names.into_iter().collect())
    }

    fn show_create(&self, name: &Name, wanted: &str) -> Result<StatementResult> {
        let (path, object) = self
            .catalogs
            .resolve(&name.parts)
            .map_err(|e| e.at(name.location))?;
        if object.kind() != wanted {
            let kind = object.kind();
            let message = format!(
                "{path} is a {kind}; write SHOW CREATE {} {name}",
                kind.to_uppercase()
            );
            return Err(Error::user("WRONG_OBJECT", message).at(name.location));
        }
        let text = match object {
            Object::Table(table) => show_create::table(&path, table),
            Object::View(view) => show_create::view(&path, view, &self.view_columns(&path)?),
        };
        StatementResult::list("result", vec![text])
    }
}

fn show_modules() -> Result<StatementResult> {
    use super::result::Cells;
    let columns = vec![
        Cells::Text(vec![Some("core".to_string())]),
        Cells::Truth(vec![true]),
    ];
    StatementResult::table(&["module name", "used"], columns)
}

fn filtered(names: Vec<String>, pattern: Option<&Pattern>) -> Result<Vec<String>> {
    let matcher = matcher(pattern)?;
    Ok(names.into_iter().filter(|n| matcher(n)).collect())
}

/// `%` is any text, `_` any character, `\` takes the next one as it is.
fn matcher(pattern: Option<&Pattern>) -> Result<Box<dyn Fn(&str) -> bool>> {
    let Some(pattern) = pattern else {
        return Ok(Box::new(|_| true));
    };
    let mut regex = String::from("^");
    let mut chars = pattern.text.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' => regex.push_str(".*"),
            '_' => regex.push('.'),
            '\\' => regex.push_str(&regex::escape(&chars.next().unwrap_or('\\').to_string())),
            c => regex.push_str(&regex::escape(&c.to_string())),
        }
    }
    regex.push('$');
    let regex = RegexBuilder::new(&regex)
        .case_insensitive(pattern.ignores_case)
        .dot_matches_new_line(true)
        .build()
        .map_err(|e| Error::user("INVALID_PATTERN", format!("'{}': {e}", pattern.text)))?;
    let negated = pattern.negated;
    Ok(Box::new(move |name| regex.is_match(name) != negated))
}
