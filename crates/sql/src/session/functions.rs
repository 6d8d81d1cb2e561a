//! CREATE, ALTER and DROP FUNCTION, and where functions are kept.
//!
//! Names of functions are the same in any case of letters. A call without a database means, in
//! this order: a temporary system function, a built-in one, a temporary and then a permanent one
//! of the current database.

use std::collections::BTreeMap;
use std::sync::Arc;

use flott_core::catalog::ObjectPath;
use flott_core::error::did_you_mean;
use flott_core::{Error, Result};

use super::{Session, StatementResult};
use crate::binder::check_function;
use crate::functions;
use crate::functions::user::{self, SqlFunction, UserFunction};
use crate::parser::ast::{AlterFunction, CreateFunction, Drop, FunctionBody, Name};

/// The functions that users have created; names in lower case.
#[derive(Debug, Clone, Default)]
pub(crate) struct Functions {
    permanent: BTreeMap<ObjectPath, Arc<UserFunction>>,
    temporary: BTreeMap<ObjectPath, Arc<UserFunction>>,
    system: BTreeMap<String, Arc<UserFunction>>,
}

impl Functions {
    /// The temporary system function of a name.
    pub fn system(&self, name: &str) -> Option<Arc<UserFunction>> {
        self.system.get(&name.to_lowercase()).cloned()
    }

    /// The function of a database: a temporary one before a permanent one.
    pub fn of_catalog(&self, path: &ObjectPath) -> Option<Arc<UserFunction>> {
        let path = lower(path.clone());
        let found = self.temporary.get(&path);
        found.or_else(|| self.permanent.get(&path)).cloned()
    }

    /// The names that can be called from a database without naming it.
    pub fn names(&self, catalog: &str, database: &str) -> Vec<String> {
        let here = |path: &&ObjectPath| path.catalog == catalog && path.database == database;
        let of_database = self.temporary.keys().chain(self.permanent.keys());
        let of_database = of_database.filter(here).map(|p| p.name.clone());
        of_database.chain(self.system.keys().cloned()).collect()
    }
}

fn lower(mut path: ObjectPath) -> ObjectPath {
    path.name = path.name.to_lowercase();
    path
}

fn exists(name: &Name) -> Error {
    let message = format!("function {name} already exists; drop it first or write IF NOT EXISTS");
    Error::user("OBJECT_EXISTS", message).at(name.location)
}

impl Session {
    /// A permanent function's class is looked for when it is called, a temporary one's now.
    pub(super) fn create_function(&mut self, create: &CreateFunction) -> Result<StatementResult> {
        let function = self.declared_function(&create.name, &create.body)?;
        if create.is_temporary
            && let UserFunction::Class { class, language } = function.as_ref()
        {
            user::load(create.name.object(), class, language)
                .map_err(|e| e.at(create.name.location))?;
        }
        let taken =
            match self.functions_slot(&create.name, create.is_temporary, create.is_system)? {
                Slot::System(name) => {
                    let functions = &mut self.functions.system;
                    put(functions, name, function, create.replaces)
                }
                Slot::Temporary(path) => {
                    let functions = &mut self.functions.temporary;
                    put(functions, path, function, create.replaces)
                }
                Slot::Permanent(path) => {
                    let functions = &mut self.functions.permanent;
                    put(functions, path, function, create.replaces)
                }
            };
        match taken && !create.if_not_exists {
            true => Err(exists(&create.name)),
            false => StatementResult::ok(""),
        }
    }

    /// The function of a statement; an SQL function's body is bound once to see that it is right.
    fn declared_function(&self, name: &Name, body: &FunctionBody) -> Result<Arc<UserFunction>> {
        let function = match body {
            FunctionBody::Class { class, language } => UserFunction::Class {
                class: class.clone(),
                language: language.clone(),
            },
            FunctionBody::Sql {
                parameters,
                return_type,
                text,
                location,
            } => {
                let function = SqlFunction {
                    parameters: parameters.clone(),
                    return_type: return_type.clone(),
                    body: text.clone(),
                };
                let expr = self.expr_context()?;
                check_function(name.object(), &function, &self.bind_context(&expr))
                    .map_err(|e| e.at(*location))?;
                UserFunction::Sql(function)
            }
        };
        Ok(Arc::new(function))
    }

    fn functions_slot(&self, name: &Name, is_temporary: bool, is_system: bool) -> Result<Slot> {
        if is_system {
            return Ok(Slot::System(name.object().to_lowercase()));
        }
        let path = self.catalogs.path(&name.parts)?;
        if is_temporary {
            return Ok(Slot::Temporary(lower(path)));
        }
        self.catalogs
            .database(&path.catalog, &path.database)
            .map_err(|e| e.at(name.location))?;
        Ok(Slot::Permanent(lower(path)))
    }

    pub(super) fn alter_function(&mut self, alter: &AlterFunction) -> Result<StatementResult> {
        if alter.is_temporary {
            let message = "ALTER of a temporary function is not supported; drop it and create it";
            return Err(Error::user("UNSUPPORTED_ALTER", message).at(alter.name.location));
        }
        let path = lower(self.catalogs.path(&alter.name.parts)?);
        if !self.functions.permanent.contains_key(&path) {
            return match alter.if_exists {
                true => StatementResult::ok(""),
                false => Err(self.unknown(&alter.name, "")),
            };
        }
        let function = self.declared_function(&alter.name, &alter.body)?;
        self.functions.permanent.insert(path, function);
        StatementResult::ok("")
    }

    pub(super) fn drop_function(&mut self, drop: &Drop) -> Result<()> {
        let slot = self.functions_slot(&drop.name, drop.is_temporary, drop.is_system);
        let found = match slot {
            Ok(Slot::System(name)) => self.functions.system.remove(&name),
            Ok(Slot::Temporary(path)) => self.functions.temporary.remove(&path),
            Ok(Slot::Permanent(path)) => self.functions.permanent.remove(&path),
            Err(_) if drop.if_exists => None,
            Err(error) => return Err(error),
        };
        let kind = if drop.is_temporary { "temporary " } else { "" };
        match found.is_some() || drop.if_exists {
            true => Ok(()),
            false => Err(self.unknown(&drop.name, kind)),
        }
    }

    fn unknown(&self, name: &Name, kind: &str) -> Error {
        let object = name.object();
        let message = match functions::find(object) {
            Some(_) => format!("function '{name}' is built in"),
            None => {
                let (catalog, database) = (
                    &self.catalogs.current_catalog,
                    &self.catalogs.current_database,
                );
                let names = self.functions.names(catalog, database);
                let hint = did_you_mean(object, names.iter().map(String::as_str));
                format!("{kind}function '{name}' does not exist{hint}")
            }
        };
        Error::user("UNKNOWN_FUNCTION", message).at(name.location)
    }
}

/// Where a function stands.
enum Slot {
    System(String),
    Temporary(ObjectPath),
    Permanent(ObjectPath),
}

/// Puts a function where none is, or anywhere if it `replaces`; whether the place was taken.
fn put<K: Ord>(
    functions: &mut BTreeMap<K, Arc<UserFunction>>,
    key: K,
    function: Arc<UserFunction>,
    replaces: bool,
) -> bool {
    let is_taken = functions.contains_key(&key) && !replaces;
    if !is_taken {
        functions.insert(key, function);
    }
    is_taken
}
