//! Windows: the table-valued functions TUMBLE, HOP, CUMULATE and SESSION, and the legacy group
//! windows.

use std::sync::Arc;

use flott_core::schema::TimeAttribute;
use flott_core::{Error, Result};
use sqlparser::ast::{self, Function, FunctionArg, FunctionArgExpr, Ident, Spanned, TableFactor};

use super::call::{argument_asts, function_name};
use super::collect::{LegacyWindow, Placeholder};
use super::from::{Source, aliased};
use super::scalar::{Clause, unsupported};
use super::scope::{Scope, located};
use super::{Binder, literal, syntax};
use crate::expr::Expr;
use crate::plan::{Plan, WindowKind, WindowProperty};

/// The arguments of a window function by name, in Flink's order.
struct Signature {
    name: &'static str,
    /// After DATA and TIMECOL.
    intervals: &'static [&'static str],
    /// How many of them must be given.
    required: usize,
}

const SIGNATURES: &[Signature] = &[
    Signature {
        name: "TUMBLE",
        intervals: &["SIZE", "OFFSET"],
        required: 1,
    },
    Signature {
        name: "HOP",
        intervals: &["SLIDE", "SIZE", "OFFSET"],
        required: 2,
    },
    Signature {
        name: "CUMULATE",
        intervals: &["STEP", "SIZE", "OFFSET"],
        required: 2,
    },
    Signature {
        name: "SESSION",
        intervals: &["GAP"],
        required: 1,
    },
];

/// A window function's arguments, put in order.
struct Arguments<'a> {
    data: &'a ast::Expr,
    time_column: Ident,
    /// One for each of the signature's intervals.
    intervals: Vec<Option<&'a ast::Expr>>,
    /// The columns of a DESCRIPTOR of partition keys: the older form of SESSION.
    keys: Vec<Ident>,
}

impl Binder<'_> {
    /// `TABLE(function(…))` and calls of table functions.
    pub(crate) fn table_function(&mut self, factor: &TableFactor) -> Result<Source> {
        let Some((function, alias)) = syntax::table_function(factor) else {
            return Err(located(unsupported(factor), factor.span()));
        };
        let name = function_name(&function);
        let Some(signature) = SIGNATURES.iter().find(|s| s.name == name) else {
            let known = SIGNATURES.iter().map(|s| s.name);
            let hint = flott_core::error::did_you_mean(&name, known);
            let message = format!("table function {name} does not exist{hint}");
            return Err(located(
                Error::user("UNKNOWN_FUNCTION", message),
                function.name.span(),
            ));
        };
        let plan = self
            .window_tvf(&function, signature)
            .map_err(|e| located(e, function.name.span()))?;
        let scope = aliased(&plan, alias)?;
        Ok((plan, scope))
    }

    fn window_tvf(&mut self, function: &Function, signature: &Signature) -> Result<Arc<Plan>> {
        let arguments = arguments(function, signature)?;
        let (input, scope, mut partition) = self.table_argument(arguments.data)?;
        for key in &arguments.keys {
            partition.push(ast::Expr::Identifier(key.clone()));
        }
        let time = scope
            .resolve(std::slice::from_ref(&arguments.time_column))?
            .ok_or_else(|| scope.unknown(std::slice::from_ref(&arguments.time_column)))?;
        let time_column = time.as_column();
        let is_time = time.data_type.logical.is_timestamp();
        let attribute = time_column.and_then(|c| input.schema().column(c).time);
        let is_batch = self.ctx.expr.is_batch;
        let time_column = time_column
            .filter(|_| is_time && (attribute.is_some() || is_batch))
            .ok_or_else(|| not_a_time_column(signature.name, &arguments.time_column, &time))?;
        let mut lengths = Vec::new();
        for (interval, name) in arguments.intervals.iter().zip(signature.intervals) {
            lengths.push(match interval {
                Some(ast) => Some(self.interval_ms(ast, signature.name, name)?),
                None => None,
            });
        }
        let partition_keys = self.partition_keys(&partition, &scope)?;
        let kind = window_kind(signature.name, &lengths, partition_keys)?;
        let is_proctime = attribute == Some(TimeAttribute::Proctime);
        Ok(Plan::window_tvf(input, kind, time_column, is_proctime))
    }

    fn partition_keys(&mut self, partition: &[ast::Expr], scope: &Scope) -> Result<Vec<usize>> {
        let exprs = self.exprs(partition, &mut Clause::new(scope, "PARTITION BY"))?;
        exprs
            .iter()
            .map(|e| {
                e.as_column().ok_or_else(|| {
                    let message = "PARTITION BY of a window takes column names";
                    Error::user("INVALID_PARTITION", message)
                })
            })
            .collect()
    }

    /// The table that a window function reads, its names, and its PARTITION BY.
    fn table_argument(&mut self, data: &ast::Expr) -> Result<(Arc<Plan>, Scope, Vec<ast::Expr>)> {
        let argument = syntax::table_argument(data)?.ok_or_else(|| {
            let message =
                format!("'{data}' is not a table; write TABLE name or a query in parentheses");
            located(Error::user("INVALID_ARGUMENT", message), data.span())
        })?;
        let plan = match &argument.source {
            syntax::TableSource::Name(name) => self
                .table(name, &argument.hints)
                .map_err(|e| located(e, name.span()))?,
            syntax::TableSource::Query(query) => self.inner_query(query)?,
        };
        let scope = Scope::of_plan(&plan, &[]);
        Ok((plan, scope, argument.partition_by))
    }

    fn interval_ms(&mut self, ast: &ast::Expr, window: &str, name: &str) -> Result<i64> {
        let scope = Scope::default();
        let expr = self.expr(ast, &mut Clause::new(&scope, "window"))?;
        literal::interval_ms(&expr).ok_or_else(|| {
            let message =
                format!("{window}'s {name} must be a constant INTERVAL of days to seconds");
            located(Error::user("INVALID_ARGUMENT", message), ast.span())
        })
    }

    /// `GROUP BY TUMBLE(ts, INTERVAL …)`.
    pub(crate) fn legacy_window(
        &mut self,
        function: &Function,
        scope: &Scope,
    ) -> Result<LegacyWindow> {
        let name = function_name(function);
        let args: Vec<&ast::Expr> = argument_asts(function)?.into_iter().flatten().collect();
        let (num_required, num_allowed) = match name.as_str() {
            "HOP" => (3, 4),
            _ => (2, 3),
        };
        if args.len() < num_required || args.len() > num_allowed {
            let message = format!(
                "group window {name} takes a time attribute and {} intervals",
                num_required - 1
            );
            return Err(Error::user("WRONG_ARGUMENT_COUNT", message));
        }
        let time = self.expr(args[0], &mut Clause::new(scope, "GROUP BY"))?;
        let is_proctime = match scope.time_of(&time) {
            Some(TimeAttribute::Proctime) => true,
            Some(TimeAttribute::Rowtime) => false,
            None if self.ctx.expr.is_batch && time.data_type.logical.is_timestamp() => false,
            None => {
                let message = format!(
                    "group window {name} needs a time attribute, but '{}' is {}",
                    args[0], time.data_type.logical
                );
                return Err(located(
                    Error::user("NOT_A_TIME_ATTRIBUTE", message),
                    args[0].span(),
                ));
            }
        };
        let mut lengths = Vec::new();
        for ast in &args[1..] {
            lengths.push(Some(self.interval_ms(ast, &name, "interval")?));
        }
        let kind = window_kind(&name, &lengths, vec![])?;
        Ok(LegacyWindow {
            kind,
            time,
            is_proctime,
        })
    }

    /// `TUMBLE_START(…)` and the like: a property of the query's group window.
    pub(crate) fn window_property(
        &mut self,
        property: WindowProperty,
        name: &str,
        function: &Function,
        clause: &mut Clause<'_>,
    ) -> Result<Expr> {
        let mut as_window = function.clone();
        let base = name.split('_').next().unwrap_or_default();
        as_window.name = ast::ObjectName::from(vec![Ident::new(base)]);
        let window = self.legacy_window(&as_window, clause.scope)?;
        let group = clause.collector.as_deref().and_then(|c| c.window.clone());
        let is_same = group
            .as_ref()
            .is_some_and(|g| g.kind == window.kind && g.time.key() == window.time.key());
        if !is_same {
            let message = format!("{name} must have the arguments of a {base} in GROUP BY");
            return Err(Error::user("INVALID_WINDOW_PROPERTY", message));
        }
        let property = match (property, window.is_proctime) {
            (WindowProperty::Rowtime, true) => WindowProperty::Proctime,
            (property, _) => property,
        };
        let column = property.column(&window.time.data_type);
        let collector = clause
            .collector
            .as_deref_mut()
            .ok_or_else(|| Error::internal("a window property without a SELECT"))?;
        let known = collector.properties.iter().position(|p| *p == property);
        let position = known.unwrap_or_else(|| {
            collector.properties.push(property);
            collector.properties.len() - 1
        });
        Ok(Placeholder::Property(position).expr(column.data_type))
    }
}

/// Whether a function in GROUP BY is a group window.
pub(crate) fn is_legacy(function: &Function) -> bool {
    matches!(
        function_name(function).as_str(),
        "TUMBLE" | "HOP" | "SESSION"
    )
}

/// The window property that a function of this name reads.
pub(crate) fn legacy_property(name: &str) -> Option<WindowProperty> {
    let (base, property) = name.split_once('_')?;
    if !matches!(base, "TUMBLE" | "HOP" | "SESSION") {
        return None;
    }
    match property {
        "START" => Some(WindowProperty::Start),
        "END" => Some(WindowProperty::End),
        "ROWTIME" => Some(WindowProperty::Rowtime),
        "PROCTIME" => Some(WindowProperty::Proctime),
        _ => None,
    }
}

fn not_a_time_column(window: &str, name: &Ident, time: &Expr) -> Error {
    let message = format!(
        "window function {window} requires its time column to be a time attribute of type TIMESTAMP or TIMESTAMP_LTZ, but '{}' is {}; declare a WATERMARK for it",
        name.value, time.data_type.logical
    );
    located(Error::user("NOT_A_TIME_ATTRIBUTE", message), name.span)
}

/// Sorts the arguments of a call, given by position or by name.
fn arguments<'a>(function: &'a Function, signature: &Signature) -> Result<Arguments<'a>> {
    let ast::FunctionArguments::List(list) = &function.args else {
        return Err(wrong_arguments(signature));
    };
    let num_slots = 2 + signature.intervals.len();
    let mut slots: Vec<Option<&'a ast::Expr>> = vec![None; num_slots];
    let mut keys = Vec::new();
    let mut next = 0;
    for arg in &list.args {
        let (slot, value) = match arg {
            FunctionArg::Unnamed(value) => {
                next += 1;
                (Some(next - 1), value)
            }
            FunctionArg::Named { name, arg, .. } => (slot_of(&name.value, signature), arg),
            FunctionArg::ExprNamed {
                name: ast::Expr::Identifier(name),
                arg,
                ..
            } => (slot_of(&name.value, signature), arg),
            other => return Err(unsupported(other)),
        };
        let FunctionArgExpr::Expr(value) = value else {
            return Err(unsupported(value));
        };
        // The older SESSION: a descriptor of keys between the time column and the gap.
        if slot == Some(2)
            && signature.name == "SESSION"
            && let Some(columns) = syntax::descriptor(value)
        {
            keys = columns;
            next -= 1;
            continue;
        }
        match slot.and_then(|s| slots.get_mut(s)) {
            Some(slot) => *slot = Some(value),
            None => return Err(wrong_arguments(signature)),
        }
    }
    let time_column = slots[1].and_then(syntax::descriptor);
    let mut time_column = time_column.unwrap_or_default();
    let (Some(data), Some(name), true) = (slots[0], time_column.pop(), time_column.is_empty())
    else {
        return Err(wrong_arguments(signature));
    };
    let intervals = slots.split_off(2);
    if intervals
        .iter()
        .take(signature.required)
        .any(Option::is_none)
    {
        return Err(wrong_arguments(signature));
    }
    Ok(Arguments {
        data,
        time_column: name,
        intervals,
        keys,
    })
}

fn slot_of(name: &str, signature: &Signature) -> Option<usize> {
    let name = name.to_ascii_uppercase();
    match name.as_str() {
        "DATA" => Some(0),
        "TIMECOL" => Some(1),
        _ => signature
            .intervals
            .iter()
            .position(|i| *i == name || (*i == "SIZE" && name == "MAXSIZE"))
            .map(|i| i + 2),
    }
}

fn wrong_arguments(signature: &Signature) -> Error {
    let intervals = signature.intervals.iter().enumerate().map(|(i, name)| {
        let name = name.to_ascii_lowercase();
        match i < signature.required {
            true => format!(", {name} interval"),
            false => format!("[, {name} interval]"),
        }
    });
    let message = format!(
        "the arguments of {name} are {name}(TABLE table_name, DESCRIPTOR(timecol){})",
        intervals.collect::<String>(),
        name = signature.name,
    );
    Error::user("INVALID_ARGUMENT", message)
}

/// A window of these lengths, in the signature's order.
fn window_kind(
    name: &str,
    lengths: &[Option<i64>],
    partition_keys: Vec<usize>,
) -> Result<WindowKind> {
    let length = |i: usize| lengths.get(i).copied().flatten();
    let positive = |i: usize| {
        length(i).filter(|ms| *ms > 0).ok_or_else(|| {
            let message = format!("{name}'s intervals must be longer than 0 ms");
            Error::user("INVALID_WINDOW", message)
        })
    };
    let offset = |i: usize| length(i).unwrap_or(0);
    Ok(match name {
        "TUMBLE" => WindowKind::Tumble {
            size_ms: positive(0)?,
            offset_ms: offset(1),
        },
        "HOP" => WindowKind::Hop {
            slide_ms: positive(0)?,
            size_ms: positive(1)?,
            offset_ms: offset(2),
        },
        "CUMULATE" => {
            let (step_ms, max_size_ms) = (positive(0)?, positive(1)?);
            if max_size_ms % step_ms != 0 {
                let message = format!(
                    "CUMULATE requires maxSize to be an integral multiple of step, but got maxSize {max_size_ms} ms and step {step_ms} ms"
                );
                return Err(Error::user("INVALID_WINDOW", message));
            }
            WindowKind::Cumulate {
                max_size_ms,
                step_ms,
                offset_ms: offset(2),
            }
        }
        _ => WindowKind::Session {
            gap_ms: positive(0)?,
            partition_keys,
        },
    })
}
