//! CREATE and DROP.

use std::sync::Arc;

use flott_core::catalog::{CatalogTable, CatalogView, ColumnKind, ObjectPath, TableColumn};
use flott_core::error::did_you_mean;
use flott_core::schema::Schema;
use flott_core::{Error, Result};

use super::catalog::{Catalog, Database, Object};
use super::{Session, StatementResult, legacy_options, like, table};
use crate::binder::bind_query;
use crate::parser;
use crate::parser::ast::{
    CreateCatalog, CreateDatabase, CreateTable, CreateView, Drop, Identifier, Insert, Name,
    ObjectKind, SourceQuery,
};

fn exists(what: &str, name: &dyn std::fmt::Display) -> Error {
    let message = format!("{what} {name} already exists; drop it first or write IF NOT EXISTS");
    Error::user("OBJECT_EXISTS", message)
}

impl Session {
    pub(super) fn create_table(
        &mut self,
        create: &CreateTable,
        parallelism: usize,
    ) -> Result<StatementResult> {
        let path = self.new_path(&create.name)?;
        let taken = match create.is_temporary {
            true => self.catalogs.is_temporary(&path),
            false => self.catalogs.get_permanent(&path).is_some(),
        };
        if taken && create.if_not_exists {
            return StatementResult::ok("");
        }
        if taken && !create.replaces {
            return Err(exists("table or view", &path).at(create.name.location));
        }
        let declared = self.declared_table(create)?;
        let before = self.catalogs.get_permanent(&path).cloned();
        let object = Object::Table(Arc::new(declared));
        self.catalogs.put(&path, object, create.is_temporary)?;
        let Some(source) = &create.query else {
            return StatementResult::ok("");
        };
        let job = self.fill(create, source, parallelism);
        if job.is_err() {
            self.catalogs.remove(&path, create.is_temporary);
            if let Some(before) = before {
                self.catalogs.put(&path, before, false)?;
            }
        }
        job
    }

    /// A path in a database that exists.
    fn new_path(&self, name: &Name) -> Result<ObjectPath> {
        let path = self.catalogs.path(&name.parts)?;
        self.catalogs
            .database(&path.catalog, &path.database)
            .map_err(|e| e.at(name.location))?;
        Ok(path)
    }

    fn declared_table(&self, create: &CreateTable) -> Result<CatalogTable> {
        let mut declared = match &create.like {
            Some(like) => {
                let source = self.like_source(&like.source)?;
                like::base(create, &source)?
            }
            None => table::empty_table(create.is_temporary),
        };
        let expr = self.expr_context()?;
        let context = self.bind_context(&expr);
        // The query's columns come before constraints and watermarks are looked at.
        if let Some(source) = &create.query {
            let bound = bind_query(&source.query, &context)?;
            let mut elements = create.elements.clone();
            let kept = std::mem::take(&mut elements.columns);
            let columns = crate::parser::ast::TableElements {
                columns: kept,
                ..Default::default()
            };
            table::add_elements(&mut declared, &columns, &context)?;
            add_query_columns(&mut declared, bound.schema());
            reorder(&mut declared, &create.elements.names)?;
            table::add_elements(&mut declared, &elements, &context)?;
        } else {
            table::add_elements(&mut declared, &create.elements, &context)?;
        }
        table::set_partition_keys(&mut declared, &create.partition_keys)?;
        for pair in &create.options {
            declared.options.set(&pair.key, &pair.value);
        }
        legacy_options::rename(&mut declared.options);
        declared.comment = create.comment.clone();
        Ok(declared)
    }

    fn like_source(&self, name: &Name) -> Result<Arc<CatalogTable>> {
        match self.catalogs.resolve(&name.parts) {
            Ok((_, Object::Table(table))) => Ok(table.clone()),
            Ok((path, Object::View(_))) => {
                let message = format!("{path} is a view; LIKE takes a table");
                Err(Error::user("WRONG_OBJECT", message).at(name.location))
            }
            Err(error) => Err(error.at(name.location)),
        }
    }

    /// The job of CREATE TABLE … AS.
    fn fill(
        &self,
        create: &CreateTable,
        source: &SourceQuery,
        parallelism: usize,
    ) -> Result<StatementResult> {
        let expr = self.expr_context()?;
        let bound = bind_query(&source.query, &self.bind_context(&expr))?;
        let columns = bound.schema().columns().iter().map(|c| Identifier {
            value: c.name.clone(),
            location: source.location,
        });
        let insert = Insert {
            target: create.name.clone(),
            hints: vec![],
            overwrite: false,
            partition: vec![],
            columns: Some(columns.collect()),
            source: source.clone(),
            on_conflict: None,
            text: source.text.clone(),
        };
        self.insert(&[insert], parallelism)
    }

    pub(super) fn create_view(&mut self, create: &CreateView) -> Result<StatementResult> {
        let path = self.new_path(&create.name)?;
        let taken = match create.is_temporary {
            true => self.catalogs.is_temporary(&path),
            false => self.catalogs.get_permanent(&path).is_some(),
        };
        if taken && create.if_not_exists {
            return StatementResult::ok("");
        }
        if taken && !create.replaces {
            return Err(exists("table or view", &path).at(create.name.location));
        }
        let query = self.stored_query(&create.query)?;
        let columns = create.columns.as_ref();
        let view = CatalogView {
            column_names: columns.map(|c| c.iter().map(|i| i.value.clone()).collect()),
            query,
            comment: create.comment.clone(),
            is_temporary: create.is_temporary,
        };
        self.check_view_columns(create)?;
        let object = Object::View(Arc::new(view));
        self.catalogs.put(&path, object, create.is_temporary)?;
        StatementResult::ok("")
    }

    fn check_view_columns(&self, create: &CreateView) -> Result<()> {
        let Some(columns) = &create.columns else {
            return Ok(());
        };
        let expr = self.expr_context()?;
        let bound = bind_query(&create.query.query, &self.bind_context(&expr))?;
        if bound.schema().len() == columns.len() {
            return Ok(());
        }
        let message = format!(
            "the view names {} columns, but its query gives {}",
            columns.len(),
            bound.schema().len()
        );
        Err(Error::user("ALIAS_COLUMNS", message).at(create.name.location))
    }

    /// A view's query, bound once to see that it is right, with full names of tables, so that it
    /// means the same from every database.
    pub(super) fn stored_query(&self, source: &SourceQuery) -> Result<String> {
        let expr = self.expr_context()?;
        bind_query(&source.query, &self.bind_context(&expr))?;
        parser::rename_tables(&source.text, |parts| {
            let found = self.catalogs.resolve(parts).ok();
            found.map(|(path, _)| path.to_string())
        })
    }

    pub(super) fn create_catalog(&mut self, create: &CreateCatalog) -> Result<StatementResult> {
        let name = create.name.object();
        if self.catalogs.has_catalog(name) {
            if create.if_not_exists {
                return StatementResult::ok("");
            }
            return Err(exists("catalog", &name).at(create.name.location));
        }
        let options = table::options(&create.options);
        let known = ["generic_in_memory"];
        match options.get("type") {
            Some("generic_in_memory") => {}
            Some(other) => {
                let hint = did_you_mean(other, known);
                let message =
                    format!("unknown catalog type '{other}'{hint} (there is: generic_in_memory)");
                return Err(Error::user("UNKNOWN_CATALOG_TYPE", message).at(create.name.location));
            }
            None => {
                let message = "a catalog needs the option 'type', such as 'generic_in_memory'";
                return Err(Error::user("MISSING_OPTION", message).at(create.name.location));
            }
        }
        let mut catalog = Catalog::with_default();
        catalog.comment = create.comment.clone();
        catalog.options = options;
        self.catalogs.create_catalog(name, catalog);
        StatementResult::ok("")
    }

    pub(super) fn create_database(&mut self, create: &CreateDatabase) -> Result<StatementResult> {
        let (catalog, name) = self.catalogs.database_path(&create.name.parts)?;
        let names = self
            .catalogs
            .database_names(&catalog)
            .map_err(|e| e.at(create.name.location))?;
        if names.contains(&name) {
            if create.if_not_exists {
                return StatementResult::ok("");
            }
            return Err(exists("database", &name).at(create.name.location));
        }
        let options = table::options(&create.options);
        let database = Database::new(create.comment.clone(), options);
        self.catalogs.create_database(&catalog, &name, database)?;
        StatementResult::ok("")
    }

    pub(super) fn drop_object(&mut self, drop: &Drop) -> Result<StatementResult> {
        let dropped = match drop.kind {
            ObjectKind::Table | ObjectKind::View => self.drop_table(drop),
            ObjectKind::Catalog => {
                if drop.if_exists && !self.catalogs.has_catalog(drop.name.object()) {
                    return StatementResult::ok("");
                }
                self.catalogs.drop_catalog(drop.name.object())
            }
            ObjectKind::Database => {
                let (catalog, name) = self.catalogs.database_path(&drop.name.parts)?;
                if drop.if_exists && self.catalogs.database(&catalog, &name).is_err() {
                    return StatementResult::ok("");
                }
                self.catalogs.drop_database(&catalog, &name, drop.cascade)
            }
            ObjectKind::Function => self.drop_function(drop),
        };
        dropped.map_err(|e| e.at(drop.name.location))?;
        StatementResult::ok("")
    }

    fn drop_table(&mut self, drop: &Drop) -> Result<()> {
        let path = self.catalogs.path(&drop.name.parts)?;
        let wanted = match drop.kind {
            ObjectKind::View => "view",
            _ => "table",
        };
        let is_temporary = self.catalogs.is_temporary(&path);
        let found = match drop.is_temporary {
            true => self.catalogs.get(&path).filter(|_| is_temporary),
            false => self.catalogs.get_permanent(&path),
        };
        let found = found.filter(|o| o.kind() == wanted);
        if found.is_none() && drop.if_exists {
            return Ok(());
        }
        if !drop.is_temporary && is_temporary {
            let message =
                format!("a temporary {wanted} {path} exists; drop it first: DROP TEMPORARY …");
            return Err(Error::user("TEMPORARY_OBJECT_EXISTS", message));
        }
        if found.is_none() {
            let kind = if drop.is_temporary { "temporary " } else { "" };
            let hint = match self.catalogs.get(&path) {
                Some(other) => format!(" (there is a {} of this name)", other.kind()),
                None => {
                    let names = self.table_names();
                    did_you_mean(&path.name, names.iter().map(String::as_str))
                }
            };
            let message = format!("{kind}{wanted} {path} does not exist{hint}");
            return Err(Error::user("UNKNOWN_TABLE", message));
        }
        self.catalogs.remove(&path, drop.is_temporary);
        Ok(())
    }
}

/// The query's columns that the statement does not declare itself.
fn add_query_columns(declared: &mut CatalogTable, query: &Schema) {
    for column in query.columns() {
        if declared.columns.iter().any(|c| c.name == column.name) {
            continue;
        }
        declared.columns.push(TableColumn {
            name: column.name.clone(),
            data_type: column.data_type.clone(),
            kind: ColumnKind::Physical,
            comment: None,
        });
    }
}

/// `CREATE TABLE t (b, a) AS …`: the columns in this order.
fn reorder(declared: &mut CatalogTable, names: &[Identifier]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    if names.len() != declared.columns.len() {
        let message = format!(
            "the table names {} columns, but its query gives {}",
            names.len(),
            declared.columns.len()
        );
        return Err(Error::user("ALIAS_COLUMNS", message).at(names[0].location));
    }
    let mut columns = Vec::new();
    for name in names {
        let found = declared.columns.iter().find(|c| c.name == name.value);
        let column = found.ok_or_else(|| {
            let hint = did_you_mean(
                &name.value,
                declared.columns.iter().map(|c| c.name.as_str()),
            );
            let message = format!("the query gives no column '{}'{hint}", name.value);
            Error::user("UNKNOWN_COLUMN", message).at(name.location)
        })?;
        columns.push(column.clone());
    }
    declared.columns = columns;
    Ok(())
}
