//! Functions that users create: a class name that stands for a native function, or an SQL
//! expression.

use flott_core::types::DataType;
use flott_core::{Error, Result};

use super::native::{self, NativeFunction};

/// A function of CREATE FUNCTION.
#[derive(Debug, Clone)]
pub enum UserFunction {
    /// `AS 'class' LANGUAGE …`: looked up in the list of native functions when it is called, as
    /// Flink looks for a class then.
    Class { class: String, language: String },
    /// `RETURNS type RETURN expression`.
    Sql(SqlFunction),
}

/// An expression with parameters, put in the place of each call.
#[derive(Debug, Clone)]
pub struct SqlFunction {
    pub parameters: Vec<Parameter>,
    pub return_type: DataType,
    /// The expression's text.
    pub body: String,
}

/// A parameter of an SQL function.
#[derive(Debug, Clone)]
pub struct Parameter {
    pub name: String,
    pub data_type: DataType,
}

impl UserFunction {
    /// The class, or the body of an SQL function.
    pub fn definition(&self) -> &str {
        match self {
            Self::Class { class, .. } => class,
            Self::Sql(function) => &function.body,
        }
    }

    pub fn language(&self) -> &str {
        match self {
            Self::Class { language, .. } => language,
            Self::Sql(_) => "SQL",
        }
    }
}

/// The native function of a class name.
///
/// # Errors
/// A user error that says what to do when there is none: there is no JVM to load it with.
pub fn load(name: &str, class: &str, language: &str) -> Result<&'static NativeFunction> {
    native::find(class).ok_or_else(|| {
        let known: Vec<_> = native::LIST.iter().map(|f| f.class).collect();
        let message = format!(
            "function '{name}' is the {language} class '{class}', which cannot be loaded: there is \
             no JVM; write it as CREATE FUNCTION … RETURNS type RETURN expression, or use a native \
             one ({})",
            known.join(", ")
        );
        Error::user("UNKNOWN_FUNCTION_CLASS", message)
    })
}
