//! The forms in which the parser hands over what sqlparser has no tree for.

use flott_core::Result;
use sqlparser::ast::{
    self, Function, FunctionArgumentList, FunctionArguments, Ident, ObjectName, Query, TableAlias,
    TableFactor, WindowType,
};

use super::call::{argument_asts, function_name};
use crate::parser::{self, Hint};

/// Where a window function's rows come from.
pub(crate) enum TableSource<'a> {
    Name(ObjectName),
    Query(&'a Query),
}

/// `TABLE t [PARTITION BY …]` as an argument.
pub(crate) struct TableArgument<'a> {
    pub source: TableSource<'a>,
    pub partition_by: Vec<ast::Expr>,
    pub hints: Vec<(String, String)>,
}

/// The call in `TABLE(f(…))` or `LATERAL f(…)`, and its alias.
pub(crate) fn table_function(factor: &TableFactor) -> Option<(Function, Option<&TableAlias>)> {
    match factor {
        TableFactor::TableFunction {
            expr: ast::Expr::Function(function),
            alias,
        } => Some((function.clone(), alias.as_ref())),
        TableFactor::Function {
            name, args, alias, ..
        } => {
            let outer = call(name.clone(), args.clone());
            let inner = match argument_asts(&outer).ok()?.as_slice() {
                [Some(ast::Expr::Function(inner))] => Some(inner.clone()),
                _ => None,
            };
            Some((inner.unwrap_or(outer), alias.as_ref()))
        }
        TableFactor::Table {
            name,
            alias,
            args: Some(args),
            ..
        } => Some((call(name.clone(), args.args.clone()), alias.as_ref())),
        _ => None,
    }
}

fn call(name: ObjectName, args: Vec<ast::FunctionArg>) -> Function {
    Function {
        name,
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args,
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    }
}

/// A table argument: the call `TABLE(name-or-query)` that the parser makes of it, its PARTITION BY
/// in an OVER; or a query in parentheses.
pub(crate) fn table_argument(expr: &ast::Expr) -> Result<Option<TableArgument<'_>>> {
    match expr {
        ast::Expr::Subquery(query) => Ok(Some(TableArgument {
            source: TableSource::Query(query),
            partition_by: vec![],
            hints: vec![],
        })),
        ast::Expr::Nested(inner) => table_argument(inner),
        ast::Expr::Function(function) if function_name(function) == "TABLE" => {
            let source = match argument_asts(function)?.into_iter().flatten().next() {
                Some(ast::Expr::Subquery(query)) => TableSource::Query(query),
                Some(ast::Expr::Identifier(name)) => {
                    TableSource::Name(ObjectName::from(vec![name.clone()]))
                }
                Some(ast::Expr::CompoundIdentifier(parts)) => {
                    TableSource::Name(ObjectName::from(parts.clone()))
                }
                _ => return Ok(None),
            };
            let partition_by = match &function.over {
                Some(WindowType::WindowSpec(spec)) => spec.partition_by.clone(),
                _ => vec![],
            };
            Ok(Some(TableArgument {
                source,
                partition_by,
                hints: options_hints(&parser::table_argument_hints(function)?),
            }))
        }
        _ => Ok(None),
    }
}

/// The columns of `DESCRIPTOR(a, b)`.
pub(crate) fn descriptor(expr: &ast::Expr) -> Option<Vec<Ident>> {
    let ast::Expr::Function(function) = expr else {
        return None;
    };
    if function_name(function) != "DESCRIPTOR" {
        return None;
    }
    let columns = argument_asts(function).ok()?;
    let column = |arg: Option<&ast::Expr>| match arg {
        Some(ast::Expr::Identifier(name)) => Some(name.clone()),
        _ => None,
    };
    columns.into_iter().map(column).collect()
}

/// The options of `/*+ OPTIONS(…) */` after a table's name.
pub(crate) fn table_hints(factor: Option<&TableFactor>) -> Result<Vec<(String, String)>> {
    match factor {
        Some(factor) => Ok(options_hints(&parser::table_hints(factor)?)),
        None => Ok(vec![]),
    }
}

/// The options among hints.
pub(crate) fn options_hints(hints: &[Hint]) -> Vec<(String, String)> {
    let options = hints.iter().filter(|h| h.name == "OPTIONS");
    options.flat_map(|h| h.pairs.clone()).collect()
}

/// The query that stands before MATCH_RECOGNIZE (see [`parser::QUERY_CARRIER`]).
pub(crate) fn carried_query(args: &ast::TableFunctionArgs) -> Result<&ast::Query> {
    use ast::{Expr, FunctionArg, FunctionArgExpr};
    match args.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Subquery(query)))] => Ok(query),
        _ => Err(flott_core::Error::internal(
            "MATCH_RECOGNIZE without its query",
        )),
    }
}
