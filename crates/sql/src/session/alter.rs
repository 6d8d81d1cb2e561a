//! ALTER TABLE, VIEW, DATABASE and CATALOG.

use std::sync::Arc;

use flott_core::catalog::{CatalogTable, ColumnKind, ObjectPath};
use flott_core::error::did_you_mean;
use flott_core::{Error, Result};

use super::catalog::Object;
use super::{Session, StatementResult, table};
use crate::parser::ast::{
    AlterCatalogAction, AlterTable, AlterTableAction, AlterView, AlterViewAction, Identifier, Name,
    OptionPair, TableElements,
};

fn invalid(message: String) -> Error {
    Error::user("INVALID_ALTER", message)
}

impl Session {
    pub(super) fn alter_table(&mut self, alter: &AlterTable) -> Result<StatementResult> {
        let path = self.catalogs.path(&alter.name.parts)?;
        let current = match self.catalogs.get(&path) {
            Some(Object::Table(table)) => table.clone(),
            Some(Object::View(_)) => {
                let message = format!("{path} is a view; use ALTER VIEW");
                return Err(invalid(message).at(alter.name.location));
            }
            None if alter.if_exists => return StatementResult::ok(""),
            None => return Err(self.catalogs.not_found(&path).at(alter.name.location)),
        };
        if let AlterTableAction::RenameTo(to) = &alter.action {
            return self.rename(&path, to);
        }
        let mut changed = current.as_ref().clone();
        self.apply(&mut changed, &alter.action)?;
        let is_temporary = self.catalogs.is_temporary(&path);
        let object = Object::Table(Arc::new(changed));
        self.catalogs.put(&path, object, is_temporary)?;
        StatementResult::ok("")
    }

    fn rename(&mut self, from: &ObjectPath, to: &Name) -> Result<StatementResult> {
        let mut path = from.clone();
        match to.parts.as_slice() {
            [name] => path.name = name.clone(),
            parts => path = self.catalogs.path(parts)?,
        }
        if (&path.catalog, &path.database) != (&from.catalog, &from.database) {
            let message = "a rename stays in its database".to_string();
            return Err(invalid(message).at(to.location));
        }
        if self.catalogs.get(&path).is_some() {
            let message = format!("{path} already exists");
            return Err(Error::user("OBJECT_EXISTS", message).at(to.location));
        }
        let is_temporary = self.catalogs.is_temporary(from);
        match self.catalogs.remove(from, is_temporary) {
            Some(object) => self.catalogs.put(&path, object, is_temporary)?,
            None => return Err(self.catalogs.not_found(from)),
        }
        StatementResult::ok("")
    }

    fn apply(&self, table: &mut CatalogTable, action: &AlterTableAction) -> Result<()> {
        match action {
            AlterTableAction::RenameTo(_) => Ok(()),
            AlterTableAction::RenameColumn { from, to } => rename_column(table, from, to),
            AlterTableAction::Set(pairs) => {
                set_options(table, pairs);
                Ok(())
            }
            AlterTableAction::Reset(keys) => reset_options(table, keys),
            AlterTableAction::Add(elements) => {
                let context = self.expr_context()?;
                table::add_elements(table, elements, &self.bind_context(&context))
            }
            AlterTableAction::Modify(elements) => self.modify(table, elements),
            AlterTableAction::DropColumns(columns) => drop_columns(table, columns),
            AlterTableAction::DropPrimaryKey => match table.primary_key.take() {
                Some(_) => Ok(()),
                None => Err(invalid("the table has no primary key".to_string())),
            },
            AlterTableAction::DropConstraint(name) => {
                let key = table.primary_key.as_ref();
                let is_key = key.is_some_and(|k| k.name.as_deref() == Some(&name.value));
                if !is_key {
                    let message = format!("the table has no constraint '{}'", name.value);
                    return Err(invalid(message).at(name.location));
                }
                table.primary_key = None;
                Ok(())
            }
            AlterTableAction::DropWatermark => match table.watermark.take() {
                Some(_) => Ok(()),
                None => Err(invalid("the table has no watermark".to_string())),
            },
        }
    }

    /// MODIFY: what is declared anew takes the place of what has its name.
    fn modify(&self, table: &mut CatalogTable, elements: &TableElements) -> Result<()> {
        let mut elements = elements.clone();
        for column in &mut elements.columns {
            let position = column_position(table, &column.name)?;
            let before = table.columns.remove(position);
            column.comment = column.comment.take().or(before.comment);
            if column.position.is_none() {
                let before = position.checked_sub(1).and_then(|i| table.columns.get(i));
                column.position = Some(match before {
                    None => crate::parser::ast::ColumnPosition::First,
                    Some(c) => crate::parser::ast::ColumnPosition::After(Identifier {
                        value: c.name.clone(),
                        location: column.name.location,
                    }),
                });
            }
        }
        if !elements.watermarks.is_empty() && table.watermark.take().is_none() {
            return Err(invalid("the table has no watermark; use ADD".to_string()));
        }
        if !elements.constraints.is_empty() && table.primary_key.take().is_none() {
            return Err(invalid("the table has no primary key; use ADD".to_string()));
        }
        let context = self.expr_context()?;
        table::add_elements(table, &elements, &self.bind_context(&context))
    }

    pub(super) fn alter_view(&mut self, alter: &AlterView) -> Result<StatementResult> {
        let (path, object) = self
            .catalogs
            .resolve(&alter.name.parts)
            .map_err(|e| e.at(alter.name.location))?;
        let Object::View(view) = object else {
            let message = format!("{path} is a table; use ALTER TABLE");
            return Err(invalid(message).at(alter.name.location));
        };
        let mut view = view.as_ref().clone();
        match &alter.action {
            AlterViewAction::RenameTo(to) => self.rename(&path, to),
            AlterViewAction::As(query) => {
                view.query = self.stored_query(query)?;
                view.column_names = None;
                let is_temporary = view.is_temporary;
                let object = Object::View(Arc::new(view));
                self.catalogs.put(&path, object, is_temporary)?;
                StatementResult::ok("")
            }
        }
    }

    pub(super) fn alter_database(
        &mut self,
        name: &Name,
        pairs: &[OptionPair],
    ) -> Result<StatementResult> {
        let (catalog, database) = self.catalogs.database_path(&name.parts)?;
        let database = self
            .catalogs
            .database_mut(&catalog, &database)
            .map_err(|e| e.at(name.location))?;
        for pair in pairs {
            database.options.set(&pair.key, &pair.value);
        }
        StatementResult::ok("")
    }

    pub(super) fn alter_catalog(
        &mut self,
        name: &Name,
        action: &AlterCatalogAction,
    ) -> Result<StatementResult> {
        let catalog = self
            .catalogs
            .catalog_mut(name.object())
            .map_err(|e| e.at(name.location))?;
        match action {
            AlterCatalogAction::Set(pairs) => {
                pairs
                    .iter()
                    .for_each(|p| catalog.options.set(&p.key, &p.value));
            }
            AlterCatalogAction::Reset(keys) => {
                keys.iter().for_each(|k| drop(catalog.options.remove(k)));
            }
            AlterCatalogAction::Comment(comment) => catalog.comment = Some(comment.clone()),
        }
        StatementResult::ok("")
    }
}

fn set_options(table: &mut CatalogTable, pairs: &[OptionPair]) {
    for pair in pairs {
        table.options.set(&pair.key, &pair.value);
    }
}

fn reset_options(table: &mut CatalogTable, keys: &[String]) -> Result<()> {
    for key in keys {
        if key == "connector" {
            return Err(invalid(
                "the option 'connector' cannot be reset".to_string(),
            ));
        }
        table.options.remove(key);
    }
    Ok(())
}

fn column_position(table: &CatalogTable, name: &Identifier) -> Result<usize> {
    let found = table.columns.iter().position(|c| c.name == name.value);
    found.ok_or_else(|| {
        let hint = did_you_mean(&name.value, table.columns.iter().map(|c| c.name.as_str()));
        let message = format!("the table has no column '{}'{hint}", name.value);
        invalid(message).at(name.location)
    })
}

/// What else of the table depends on a column.
fn dependent(table: &CatalogTable, name: &str) -> Option<String> {
    let quoted = format!("`{}`", name.replace('`', "``"));
    let computed = table.columns.iter().find(
        |c| matches!(&c.kind, ColumnKind::Computed { expression } if expression.contains(&quoted)),
    );
    if let Some(column) = computed {
        return Some(format!("the computed column '{}'", column.name));
    }
    let watermark = table.watermark.as_ref();
    if watermark.is_some_and(|w| w.column == name || w.expression.contains(&quoted)) {
        return Some("the watermark".to_string());
    }
    let key = table.primary_key.as_ref();
    if key.is_some_and(|k| k.columns.iter().any(|c| c == name)) {
        return Some("the primary key".to_string());
    }
    let is_partition = table.partition_keys.iter().any(|k| k == name);
    is_partition.then(|| "PARTITIONED BY".to_string())
}

fn rename_column(table: &mut CatalogTable, from: &Identifier, to: &Identifier) -> Result<()> {
    let position = column_position(table, from)?;
    if table.columns.iter().any(|c| c.name == to.value) {
        let message = format!("a column named '{}' already exists in the table", to.value);
        return Err(invalid(message).at(to.location));
    }
    if let Some(user) = dependent(table, &from.value)
        && user != "the primary key"
    {
        let message = format!("column '{}' is used by {user}", from.value);
        return Err(invalid(message).at(from.location));
    }
    table.columns[position].name = to.value.clone();
    let keys = table.primary_key.iter_mut().flat_map(|k| &mut k.columns);
    keys.filter(|c| **c == from.value)
        .for_each(|c| *c = to.value.clone());
    Ok(())
}

fn drop_columns(table: &mut CatalogTable, names: &[Identifier]) -> Result<()> {
    for name in names {
        let position = column_position(table, name)?;
        let removed = table.columns.remove(position);
        if let Some(user) = dependent(table, &name.value) {
            let message = format!("column '{}' is used by {user}", removed.name);
            return Err(invalid(message).at(name.location));
        }
    }
    match table.columns.is_empty() {
        true => Err(invalid("a table keeps at least one column".to_string())),
        false => Ok(()),
    }
}
