//! Calls of the functions that users create.
//!
//! An SQL function's body is bound in the place of its call, each parameter standing for its
//! argument: the optimizer sees through it, and constants are folded. An argument that differs
//! from call to call, such as RAND(), would be evaluated once for each place where its parameter
//! stands, and is refused where those are several.

use std::sync::Arc;

use flott_core::{Error, Result};
use sqlparser::ast::{Function, Ident};

use super::call::{function_name, has_distinct, is_rank_function};
use super::insert::is_implicit;
use super::scalar::Clause;
use super::scope::{self, Scope};
use super::table::refuse_subquery;
use super::{BindContext, Binder, coerce, window};
use crate::expr::Expr;
use crate::functions;
use crate::functions::user::{self, SqlFunction, UserFunction};
use crate::parser;

/// What the names in a function's body stand for.
pub(super) struct Parameters {
    function: String,
    values: Vec<ParameterValue>,
}

struct ParameterValue {
    name: String,
    expr: Expr,
    num_uses: usize,
}

/// Binds an SQL function's body over NULL arguments of its parameters' types.
///
/// # Errors
/// A user error when the body is wrong or does not give the function's type.
pub(crate) fn check_function(
    name: &str,
    function: &SqlFunction,
    context: &BindContext<'_>,
) -> Result<()> {
    let mut binder = Binder::new(context);
    let types = function.parameters.iter().enumerate();
    let args = types.map(|(i, p)| Expr::column(i, p.data_type.with_nullable(true)));
    let args = args.collect();
    binder.sql_call(name, function, args).map(|_| ())
}

impl Binder<'_> {
    /// The user's function that a call means, if it means one.
    ///
    /// # Errors
    /// When the name has a database and there is no such function in it.
    pub(super) fn user_function(&self, call: &Function) -> Result<Option<Arc<UserFunction>>> {
        let parts = call.name.0.iter().map(|p| p.as_ident());
        let parts = parts.map(|p| p.map(|i| i.value.clone()));
        let Some(parts) = parts.collect::<Option<Vec<String>>>() else {
            return Ok(None);
        };
        if let [name] = parts.as_slice() {
            if let Some(found) = self.ctx.catalog.system_function(name) {
                return Ok(Some(found));
            }
            if is_built_in(&function_name(call)) {
                return Ok(None);
            }
            return Ok(self.ctx.catalog.catalog_function(&parts));
        }
        match self.ctx.catalog.catalog_function(&parts) {
            Some(found) => Ok(Some(found)),
            None => Err(functions::unknown_function(&parts.join("."))),
        }
    }

    pub(super) fn user_call(
        &mut self,
        function: &UserFunction,
        call: &Function,
        clause: &mut Clause<'_>,
    ) -> Result<Expr> {
        let name = call.name.0.last().and_then(|p| p.as_ident());
        let name = name.map_or(String::new(), |i| i.value.clone());
        if has_distinct(call) || call.filter.is_some() || call.over.is_some() {
            let message =
                format!("{name} is not an aggregate function; leave out DISTINCT, FILTER and OVER");
            return Err(Error::user("NOT_AN_AGGREGATE", message));
        }
        match function {
            UserFunction::Class { class, language } => {
                let native = user::load(&name, class, language)?;
                let args = self.function_args(call, clause)?;
                coerce::call_function(native.function, native.function.name, args, self.ctx.expr)
            }
            UserFunction::Sql(function) => {
                let args = self.function_args(call, clause)?;
                self.sql_call(&name, function, args)
            }
        }
    }

    fn sql_call(&mut self, name: &str, function: &SqlFunction, args: Vec<Expr>) -> Result<Expr> {
        let is_open = |c: &Parameters| c.function.eq_ignore_ascii_case(name);
        if self.calls.iter().any(is_open) {
            let message = format!("function '{name}' calls itself");
            return Err(Error::user("RECURSIVE_FUNCTION", message));
        }
        let values = self.parameter_values(name, function, args)?;
        let body = parser::parse_expression(&function.body)?;
        // The body sees its parameters and nothing else.
        let outer = std::mem::take(&mut self.outer);
        self.calls.push(Parameters {
            function: name.to_string(),
            values,
        });
        let scope = Scope::default();
        let bound = self.expr(&body, &mut Clause::new(&scope, "the body of a function"));
        let parameters = self.calls.pop();
        self.outer = outer;
        let bound = bound.map_err(|e| e.context(format!("in function '{name}'")))?;
        refuse_subquery(&bound)?;
        refuse_repeated(parameters)?;
        let to = function.return_type.with_nullable(true);
        if !is_implicit(&bound.data_type.logical, &to.logical) {
            let message = format!(
                "function '{name}' returns {}, but its body is {}; cast it",
                to.logical, bound.data_type.logical
            );
            return Err(Error::user("WRONG_RETURN_TYPE", message));
        }
        coerce::cast(bound, &to, false, self.ctx.expr)
    }

    fn parameter_values(
        &self,
        name: &str,
        function: &SqlFunction,
        args: Vec<Expr>,
    ) -> Result<Vec<ParameterValue>> {
        let parameters = &function.parameters;
        if args.len() != parameters.len() {
            let shown = parameters
                .iter()
                .map(|p| format!("{} {}", p.name, p.data_type.logical));
            let shown = shown.collect::<Vec<_>>().join(", ");
            let given = args.len();
            let message =
                format!("invalid number of arguments to '{name}': {given}; write {name}({shown})");
            return Err(Error::user("INVALID_ARGUMENT_COUNT", message));
        }
        let values = args.into_iter().zip(parameters).map(|(arg, parameter)| {
            let (from, to) = (&arg.data_type.logical, &parameter.data_type.logical);
            if !is_implicit(from, to) {
                let message = format!(
                    "argument '{}' of '{name}' is {to}, and {from} is given; cast it",
                    parameter.name
                );
                return Err(Error::user("INVALID_ARGUMENT_TYPES", message));
            }
            let to = parameter.data_type.with_nullable(true);
            Ok(ParameterValue {
                name: parameter.name.clone(),
                expr: coerce::cast(arg, &to, false, self.ctx.expr)?,
                num_uses: 0,
            })
        });
        values.collect()
    }

    /// The argument, or a field of it, that a name in a function's body stands for; `None` outside
    /// of one.
    ///
    /// # Errors
    /// When the name is no parameter's.
    pub(super) fn parameter(&mut self, parts: &[Ident]) -> Result<Option<Expr>> {
        let Some(call) = self.calls.last_mut() else {
            return Ok(None);
        };
        let Some((first, fields)) = parts.split_first() else {
            return Ok(None);
        };
        let found = call.values.iter_mut().find(|v| v.name == first.value);
        match found {
            Some(value) => {
                value.num_uses += 1;
                scope::fields(value.expr.clone(), fields).map(Some)
            }
            None => Ok(None),
        }
    }
}

/// Whether Flink has a function of this name, in upper case.
fn is_built_in(name: &str) -> bool {
    functions::find(name).is_some()
        || flott_table::aggregates::find(name).is_some()
        || is_rank_function(name)
        || window::legacy_property(name).is_some()
        || matches!(name, "GROUPING" | "GROUPING_ID" | parser::INTERVAL_BETWEEN)
}

fn refuse_repeated(parameters: Option<Parameters>) -> Result<()> {
    let values = parameters.map(|p| p.values).unwrap_or_default();
    let repeated = values
        .iter()
        .find(|v| v.num_uses > 1 && !v.expr.is_deterministic());
    match repeated {
        Some(value) => {
            let message = format!(
                "parameter '{}' stands {} times in the function, and its argument differs from \
                 call to call; compute it in a subquery first",
                value.name, value.num_uses
            );
            Err(Error::user("VOLATILE_ARGUMENT", message))
        }
        None => Ok(()),
    }
}
