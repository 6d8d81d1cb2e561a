//! Catalogs in memory: databases, tables and views; temporary objects hide permanent ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use flott_core::catalog::{CatalogTable, CatalogView, ObjectPath};
use flott_core::error::did_you_mean;
use flott_core::options::Options;
use flott_core::{Error, Result};

/// The catalog that every session begins in.
pub const DEFAULT_CATALOG: &str = "default_catalog";
/// The database that every catalog has.
pub const DEFAULT_DATABASE: &str = "default_database";

/// A table or a view.
#[derive(Debug, Clone)]
pub enum Object {
    Table(Arc<CatalogTable>),
    View(Arc<CatalogView>),
}

impl Object {
    /// `table` or `view`, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Table(_) => "table",
            Self::View(_) => "view",
        }
    }
}

#[derive(Debug, Clone, Default)]
pub struct Database {
    pub comment: Option<String>,
    pub options: Options,
    objects: BTreeMap<String, Object>,
}

#[derive(Debug, Clone, Default)]
pub struct Catalog {
    pub comment: Option<String>,
    pub options: Options,
    databases: BTreeMap<String, Database>,
}

/// Every catalog of a session, and where it stands.
#[derive(Debug, Clone)]
pub struct Catalogs {
    catalogs: BTreeMap<String, Catalog>,
    temporary: BTreeMap<ObjectPath, Object>,
    pub current_catalog: String,
    pub current_database: String,
}

impl Database {
    /// A database without objects.
    pub fn new(comment: Option<String>, options: Options) -> Self {
        Self {
            comment,
            options,
            objects: BTreeMap::new(),
        }
    }
}

impl Default for Catalogs {
    fn default() -> Self {
        Self {
            catalogs: BTreeMap::from([(
                DEFAULT_CATALOG.to_string(),
                Catalog::with_database(DEFAULT_DATABASE),
            )]),
            temporary: BTreeMap::new(),
            current_catalog: DEFAULT_CATALOG.to_string(),
            current_database: DEFAULT_DATABASE.to_string(),
        }
    }
}

impl Catalog {
    /// A catalog with its default database.
    pub fn with_database(name: &str) -> Self {
        let database = (name.to_string(), Database::default());
        Self {
            databases: BTreeMap::from([database]),
            ..Self::default()
        }
    }
}

impl Catalogs {
    /// The full path of a name of one to three parts.
    ///
    /// # Errors
    /// A user error for more parts.
    pub fn path(&self, parts: &[String]) -> Result<ObjectPath> {
        let (catalog, database, name) = match parts {
            [name] => (&self.current_catalog, &self.current_database, name),
            [database, name] => (&self.current_catalog, database, name),
            [catalog, database, name] => (catalog, database, name),
            _ => {
                let message = format!("'{}' is not [catalog.][database.]object", parts.join("."));
                return Err(Error::user("INVALID_NAME", message));
            }
        };
        Ok(ObjectPath {
            catalog: catalog.clone(),
            database: database.clone(),
            name: name.clone(),
        })
    }

    /// Catalog and database of a name of one or two parts.
    pub fn database_path(&self, parts: &[String]) -> Result<(String, String)> {
        match parts {
            [database] => Ok((self.current_catalog.clone(), database.clone())),
            [catalog, database] => Ok((catalog.clone(), database.clone())),
            _ => {
                let message = format!("'{}' is not [catalog.]database", parts.join("."));
                Err(Error::user("INVALID_NAME", message))
            }
        }
    }

    pub fn catalog(&self, name: &str) -> Result<&Catalog> {
        self.catalogs.get(name).ok_or_else(|| self.no_catalog(name))
    }

    pub fn catalog_mut(&mut self, name: &str) -> Result<&mut Catalog> {
        let missing = self.no_catalog(name);
        self.catalogs.get_mut(name).ok_or(missing)
    }

    fn no_catalog(&self, name: &str) -> Error {
        let hint = did_you_mean(name, self.catalogs.keys().map(String::as_str));
        let message = format!("a catalog with name '{name}' does not exist{hint}");
        Error::user("UNKNOWN_CATALOG", message)
    }

    pub fn database(&self, catalog: &str, database: &str) -> Result<&Database> {
        let databases = &self.catalog(catalog)?.databases;
        databases.get(database).ok_or_else(|| {
            let hint = did_you_mean(database, databases.keys().map(String::as_str));
            let message = format!(
                "a database with name '{database}' does not exist in catalog '{catalog}'{hint}"
            );
            Error::user("UNKNOWN_DATABASE", message)
        })
    }

    pub fn database_mut(&mut self, catalog: &str, database: &str) -> Result<&mut Database> {
        self.database(catalog, database)?;
        self.catalog_mut(catalog)?
            .databases
            .get_mut(database)
            .ok_or_else(|| Error::internal("a database vanished"))
    }

    pub fn catalog_names(&self) -> Vec<String> {
        self.catalogs.keys().cloned().collect()
    }

    pub fn database_names(&self, catalog: &str) -> Result<Vec<String>> {
        Ok(self.catalog(catalog)?.databases.keys().cloned().collect())
    }

    /// Names of objects in a database, temporary ones too, in order.
    pub fn object_names(
        &self,
        catalog: &str,
        database: &str,
        keep: impl Fn(&Object) -> bool,
    ) -> Result<Vec<String>> {
        let mut all = self.database(catalog, database)?.objects.clone();
        let here = self.temporary.iter();
        let here = here.filter(|(p, _)| p.catalog == catalog && p.database == database);
        all.extend(here.map(|(p, o)| (p.name.clone(), o.clone())));
        all.retain(|_, o| keep(o));
        Ok(all.into_keys().collect())
    }

    pub fn create_catalog(&mut self, name: &str, catalog: Catalog) {
        self.catalogs.insert(name.to_string(), catalog);
    }

    pub fn has_catalog(&self, name: &str) -> bool {
        self.catalogs.contains_key(name)
    }

    /// # Errors
    /// A user error for the current catalog or one that does not exist.
    pub fn drop_catalog(&mut self, name: &str) -> Result<()> {
        self.catalog(name)?;
        if name == self.current_catalog {
            let message = format!("catalog '{name}' is in use; USE another one first");
            return Err(Error::user("CATALOG_IN_USE", message));
        }
        self.catalogs.remove(name);
        self.temporary.retain(|p, _| p.catalog != name);
        Ok(())
    }

    pub fn create_database(&mut self, catalog: &str, name: &str, database: Database) -> Result<()> {
        let databases = &mut self.catalog_mut(catalog)?.databases;
        databases.insert(name.to_string(), database);
        Ok(())
    }

    /// # Errors
    /// A user error for the current database, and without `cascade` one that has objects.
    pub fn drop_database(&mut self, catalog: &str, name: &str, cascade: bool) -> Result<()> {
        let database = self.database(catalog, name)?;
        if catalog == self.current_catalog && name == self.current_database {
            let message =
                format!("cannot drop '{name}', the current database; USE another one first");
            return Err(Error::user("DATABASE_IN_USE", message));
        }
        if !cascade && !database.objects.is_empty() {
            let message =
                format!("database '{name}' in catalog '{catalog}' is not empty; add CASCADE");
            return Err(Error::user("DATABASE_NOT_EMPTY", message));
        }
        self.catalog_mut(catalog)?.databases.remove(name);
        Ok(())
    }

    /// The object at a path: a temporary one before a permanent one.
    pub fn get(&self, path: &ObjectPath) -> Option<&Object> {
        self.temporary
            .get(path)
            .or_else(|| self.get_permanent(path))
    }

    pub fn get_permanent(&self, path: &ObjectPath) -> Option<&Object> {
        let databases = &self.catalogs.get(&path.catalog)?.databases;
        databases.get(&path.database)?.objects.get(&path.name)
    }

    pub fn is_temporary(&self, path: &ObjectPath) -> bool {
        self.temporary.contains_key(path)
    }

    /// The object of a name.
    ///
    /// # Errors
    /// A user error that suggests a near name.
    pub fn resolve(&self, parts: &[String]) -> Result<(ObjectPath, &Object)> {
        let path = self.path(parts)?;
        match self.get(&path) {
            Some(object) => Ok((path, object)),
            None => Err(self.not_found(&path)),
        }
    }

    /// The error for a path where nothing is.
    pub fn not_found(&self, path: &ObjectPath) -> Error {
        if let Err(error) = self.database(&path.catalog, &path.database) {
            return error.context(format!("table {path} does not exist"));
        }
        let names = self.object_names(&path.catalog, &path.database, |_| true);
        let names = names.unwrap_or_default();
        let hint = did_you_mean(&path.name, names.iter().map(String::as_str));
        Error::user(
            "UNKNOWN_TABLE",
            format!("object '{}' not found{hint}", path.name),
        )
    }

    /// Puts an object; what stood there is replaced.
    pub fn put(&mut self, path: &ObjectPath, object: Object, is_temporary: bool) -> Result<()> {
        if is_temporary {
            self.temporary.insert(path.clone(), object);
            return Ok(());
        }
        let database = self.database_mut(&path.catalog, &path.database)?;
        database.objects.insert(path.name.clone(), object);
        Ok(())
    }

    /// Takes an object away.
    pub fn remove(&mut self, path: &ObjectPath, is_temporary: bool) -> Option<Object> {
        if is_temporary {
            return self.temporary.remove(path);
        }
        let databases = &mut self.catalogs.get_mut(&path.catalog)?.databases;
        databases
            .get_mut(&path.database)?
            .objects
            .remove(&path.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(query: &str) -> Object {
        Object::View(Arc::new(CatalogView {
            column_names: None,
            query: query.to_string(),
            comment: None,
            is_temporary: false,
        }))
    }

    #[test]
    fn temporary_objects_hide_permanent_ones() {
        let mut catalogs = Catalogs::default();
        let path = catalogs.path(&["v".to_string()]).unwrap();
        catalogs.put(&path, view("SELECT 1"), false).unwrap();
        catalogs.put(&path, view("SELECT 2"), true).unwrap();
        let Some(Object::View(v)) = catalogs.get(&path) else {
            panic!("no view");
        };
        assert_eq!(v.query, "SELECT 2");
        catalogs.remove(&path, true);
        assert!(catalogs.get(&path).is_some());
        let names = catalogs.object_names(DEFAULT_CATALOG, DEFAULT_DATABASE, |_| true);
        assert_eq!(names.unwrap(), vec!["v"]);
    }

    #[test]
    fn a_missing_object_suggests_a_near_name() {
        let mut catalogs = Catalogs::default();
        let path = catalogs.path(&["orders".to_string()]).unwrap();
        catalogs.put(&path, view("SELECT 1"), false).unwrap();
        let error = catalogs.resolve(&["order".to_string()]).unwrap_err();
        assert_eq!(
            error.message(),
            "object 'order' not found; did you mean 'orders'?"
        );
    }
}
