//! Function calls: scalar functions, aggregates, window functions, GROUPING, window properties.

use flott_core::types::{DataType, LogicalType};
use flott_core::{Error, Result};
use flott_table::aggregates;
use sqlparser::ast::{
    self, DuplicateTreatment, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArguments, OrderByExpr, OrderBySort, Spanned, WindowFrame, WindowFrameBound,
    WindowFrameUnits, WindowSpec, WindowType,
};

use super::collect::{AggregateItem, Collector, OrderItem, OverItem, OverItemCall, Placeholder};
use super::refuse::{check_arguments, refuse_null_arguments, refuse_nulls};
use super::scalar::{Clause, unsupported};
use super::scope::located;
use super::{Binder, coerce, literal, window};
use crate::expr::Expr;
use crate::functions;
use crate::parser;
use crate::plan::Frame;

impl Binder<'_> {
    /// A call of any kind.
    pub(crate) fn function(
        &mut self,
        function: &Function,
        clause: &mut Clause<'_>,
    ) -> Result<Expr> {
        if let Some(user) = self.user_function(function)? {
            return self.user_call(&user, function, clause);
        }
        if let Some(matched) = self.match_call(function, clause)? {
            return Ok(matched);
        }
        let name = function_name(function);
        if function.over.is_some() {
            return self.over_call(&name, function, clause);
        }
        if matches!(name.as_str(), "GROUPING" | "GROUPING_ID") {
            return self.grouping(function, clause);
        }
        if let Some(property) = window::legacy_property(&name) {
            return self.window_property(property, &name, function, clause);
        }
        if is_rank_function(&name) {
            let message = format!("{name} is a window function; write {name}(…) OVER (…)");
            return Err(Error::user("MISSING_OVER", message));
        }
        match aggregates::find(&name) {
            Some(_) if functions::find(&name).is_none() => {
                let item = self.aggregate_item(&name, function, clause)?;
                match clause.collector.as_deref_mut() {
                    Some(collector) => Ok(collector.add_aggregate(item)),
                    None => Err(misplaced_aggregate(clause.name)),
                }
            }
            _ => self.scalar_call(&name, function, clause),
        }
    }

    fn scalar_call(
        &mut self,
        name: &str,
        function: &Function,
        clause: &mut Clause<'_>,
    ) -> Result<Expr> {
        if has_distinct(function) || function.filter.is_some() {
            let message =
                format!("{name} is not an aggregate function; leave out DISTINCT and FILTER");
            return Err(Error::user("NOT_AN_AGGREGATE", message));
        }
        if matches!(name, "TIMESTAMPADD" | "TIMESTAMPDIFF") {
            return self.unit_call(name, function, clause);
        }
        let mut args = self.function_args(function, clause)?;
        refuse_null_arguments(name, &args)?;
        if name == parser::INTERVAL_BETWEEN {
            return self.interval_between(args);
        }
        if matches!(name, "JSON_OBJECT" | "JSON_ARRAY") {
            name_json_arguments(function, &mut args)?;
        }
        self.named_call(name, function, args)
    }

    /// `(a - b) DAY`: the ms from `b` to `a`, or the whole months times an interval of one.
    fn interval_between(&mut self, args: Vec<Expr>) -> Result<Expr> {
        if args.first().and_then(literal::text) == Some("MONTH") {
            let count = self.call("TIMESTAMPDIFF", args)?;
            return self.call("*", vec![literal::interval_value(1, true), count]);
        }
        let moments = args.into_iter().skip(1).map(|arg| {
            let nullable = arg.data_type.nullable;
            match arg.data_type.logical {
                LogicalType::Date => {
                    let moment = LogicalType::Timestamp(3).nullable();
                    coerce::cast(arg, &moment.with_nullable(nullable), false, self.ctx.expr)
                }
                _ => Ok(arg),
            }
        });
        let mut moments = moments.collect::<Result<Vec<_>>>()?;
        moments.reverse();
        self.call("-", moments)
    }

    /// A call whose first argument is a unit of time, written as a word: `TIMESTAMPADD(DAY, …)`.
    fn unit_call(
        &mut self,
        name: &str,
        function: &Function,
        clause: &mut Clause<'_>,
    ) -> Result<Expr> {
        let args = argument_asts(function)?
            .into_iter()
            .enumerate()
            .map(|(i, arg)| match arg {
                Some(ast::Expr::Identifier(unit)) if i == 0 => {
                    Ok(literal::string(&unit.value.to_ascii_uppercase()))
                }
                Some(ast) => self.expr(ast, clause),
                None => Err(unsupported(&"*")),
            })
            .collect::<Result<Vec<_>>>()?;
        self.named_call(name, function, args)
    }

    /// The values of a call's arguments.
    pub(crate) fn function_args(
        &mut self,
        function: &Function,
        clause: &mut Clause<'_>,
    ) -> Result<Vec<Expr>> {
        argument_asts(function)?
            .into_iter()
            .map(|arg| match arg {
                Some(ast) => self.expr(ast, clause),
                None => Err(unsupported(&"*")),
            })
            .collect()
    }

    /// An aggregate call, its arguments over the SELECT's input.
    fn aggregate_item(
        &mut self,
        name: &str,
        function: &Function,
        clause: &mut Clause<'_>,
    ) -> Result<AggregateItem> {
        let mut plain = function.clone();
        let variant = take_on_null(&mut plain).map(|mode| format!("{name}_{mode}_ON_NULL"));
        let aggregate = aggregates::find(variant.as_deref().unwrap_or(name))
            .ok_or_else(|| functions::unknown_function(name))?;
        match clause.collector.as_deref_mut() {
            None => return Err(misplaced_aggregate(clause.name)),
            Some(c) if c.is_in_aggregate => {
                let message = format!(
                    "aggregate {name} stands inside another aggregate; nest queries instead"
                );
                return Err(Error::user("NESTED_AGGREGATE", message));
            }
            Some(c) => c.is_in_aggregate = true,
        }
        let parts = self.aggregate_parts(&plain, clause);
        if let Some(collector) = clause.collector.as_deref_mut() {
            collector.is_in_aggregate = false;
        }
        let (args, filter) = parts?;
        check_arguments(name, function, &args)?;
        refuse_nulls(&args.iter().collect::<Vec<_>>())?;
        let may_be_empty = clause
            .collector
            .as_deref()
            .is_some_and(|c| c.has_empty_group && !c.is_in_over)
            || filter.is_some()
            || function.over.is_some();
        let types: Vec<DataType> = args
            .iter()
            .map(|a| {
                a.data_type
                    .with_nullable(a.data_type.nullable || may_be_empty)
            })
            .collect();
        let types = (aggregate.bind)(&types).map_err(|e| e.context(name))?;
        let args = args
            .into_iter()
            .zip(&types.arguments)
            .map(|(a, to)| coerce::cast(a, to, false, self.ctx.expr))
            .collect::<Result<Vec<_>>>()?;
        Ok(AggregateItem {
            function: aggregate,
            types,
            args,
            distinct: has_distinct(function) && !aggregate.ignores_distinct,
            filter,
        })
    }

    fn aggregate_parts(
        &mut self,
        function: &Function,
        clause: &mut Clause<'_>,
    ) -> Result<(Vec<Expr>, Option<Expr>)> {
        let mut args = Vec::new();
        let asts = argument_asts(function)?;
        let is_count_star = asts.len() == 1 && asts[0].is_none();
        if !is_count_star {
            args = self.function_args(function, clause)?;
        }
        let filter = match &function.filter {
            Some(filter) => {
                let bound = self.expr(filter, clause)?;
                Some(coerce::condition(bound, "FILTER")?)
            }
            None => None,
        };
        Ok((args, filter))
    }

    fn grouping(&mut self, function: &Function, clause: &mut Clause<'_>) -> Result<Expr> {
        let args = self.function_args(function, clause)?;
        let collector = clause
            .collector
            .as_deref_mut()
            .filter(|c| c.has_group_by)
            .ok_or_else(|| {
                Error::user(
                    "MISPLACED_GROUPING",
                    "GROUPING stands only in a query with GROUP BY",
                )
            })?;
        collector.groupings.push(args);
        let data_type = flott_core::types::LogicalType::BigInt.not_null();
        Ok(Placeholder::Grouping(collector.groupings.len() - 1).expr(data_type))
    }

    fn over_call(
        &mut self,
        name: &str,
        function: &Function,
        clause: &mut Clause<'_>,
    ) -> Result<Expr> {
        let Some(over) = &function.over else {
            return Err(unsupported(function));
        };
        if function.filter.is_some() {
            let message = "OVER must be applied to an aggregate function without FILTER; use CASE in its argument";
            return Err(Error::user("UNSUPPORTED_OVER", message));
        }
        let spec = match clause.collector.as_deref_mut() {
            Some(c) if !c.is_in_over && !c.is_in_aggregate => resolve_window(over, c)?,
            _ => {
                let message = format!("a window function is not allowed in {}", clause.name);
                return Err(Error::user("MISPLACED_OVER", message));
            }
        };
        if let Some(c) = clause.collector.as_deref_mut() {
            c.is_in_over = true;
        }
        let item = self.over_item(name, function, &spec, clause);
        match clause.collector.as_deref_mut() {
            Some(collector) => {
                collector.is_in_over = false;
                Ok(collector.add_over(item?))
            }
            None => item.map(|_| Expr::boolean(true)),
        }
    }

    fn over_item(
        &mut self,
        name: &str,
        function: &Function,
        spec: &WindowSpec,
        clause: &mut Clause<'_>,
    ) -> Result<OverItem> {
        let partition = self.exprs(&spec.partition_by, clause)?;
        let order = self.order_items(&spec.order_by, clause)?;
        let frame = match &spec.window_frame {
            Some(frame) => self.frame(frame, clause)?,
            None => Frame {
                is_rows: false,
                preceding: None,
            },
        };
        let (call, data_type) = self.over_function(name, function, clause)?;
        Ok(OverItem {
            partition,
            order,
            frame,
            call,
            data_type,
        })
    }

    fn over_function(
        &mut self,
        name: &str,
        function: &Function,
        clause: &mut Clause<'_>,
    ) -> Result<(OverItemCall, DataType)> {
        use flott_core::types::LogicalType as L;
        let big = L::BigInt.not_null();
        Ok(match name {
            "ROW_NUMBER" => (OverItemCall::RowNumber, big),
            "RANK" => (OverItemCall::Rank, big),
            "DENSE_RANK" => (OverItemCall::DenseRank, big),
            "PERCENT_RANK" => (OverItemCall::PercentRank, L::Double.not_null()),
            "CUME_DIST" => (OverItemCall::CumeDist, L::Double.not_null()),
            "NTILE" => {
                let args = self.function_args(function, clause)?;
                let buckets = args.first().and_then(literal::integer).filter(|n| *n > 0);
                let buckets = buckets.ok_or_else(|| {
                    Error::user(
                        "INVALID_ARGUMENT",
                        "NTILE takes a positive integer constant",
                    )
                })?;
                (OverItemCall::Ntile(buckets), big)
            }
            "LAG" | "LEAD" => self.lag(name, function, clause)?,
            _ => {
                if aggregates::find(name).is_none() {
                    let message =
                        format!("OVER must be applied to an aggregate function, not to {name}");
                    return Err(Error::user("UNSUPPORTED_OVER", message));
                }
                let item = self.aggregate_item(name, function, clause)?;
                let data_type = item.types.result.clone();
                (OverItemCall::Aggregate(item), data_type)
            }
        })
    }

    fn lag(
        &mut self,
        name: &str,
        function: &Function,
        clause: &mut Clause<'_>,
    ) -> Result<(OverItemCall, DataType)> {
        let mut args = self.function_args(function, clause)?.into_iter();
        let arg = args.next().ok_or_else(|| {
            Error::user(
                "WRONG_ARGUMENT_COUNT",
                format!("{name} takes 1 to 3 arguments"),
            )
        })?;
        let offset = match args.next() {
            Some(e) => literal::integer(&e).filter(|n| *n >= 0).ok_or_else(|| {
                let message =
                    format!("{name}'s offset is an integer constant that is not negative");
                Error::user("INVALID_ARGUMENT", message)
            })?,
            None => 1,
        };
        let offset = if name == "LEAD" { -offset } else { offset };
        let default = args
            .next()
            .map(|d| coerce::cast(d, &arg.data_type, false, self.ctx.expr))
            .transpose()?;
        let is_filled = default.as_ref().is_some_and(|d| !d.data_type.nullable);
        let nullable = arg.data_type.nullable || !is_filled;
        let data_type = arg.data_type.with_nullable(nullable);
        Ok((
            OverItemCall::Lag {
                arg,
                offset,
                default,
            },
            data_type,
        ))
    }

    /// ORDER BY's keys.
    pub(crate) fn order_items(
        &mut self,
        order_by: &[OrderByExpr],
        clause: &mut Clause<'_>,
    ) -> Result<Vec<OrderItem>> {
        order_by
            .iter()
            .map(|o| {
                let (descending, nulls_first) = order_options(o);
                Ok(OrderItem {
                    expr: self.expr(&o.expr, clause)?,
                    descending,
                    nulls_first,
                })
            })
            .collect()
    }

    fn frame(&mut self, frame: &WindowFrame, clause: &mut Clause<'_>) -> Result<Frame> {
        let is_rows = match frame.units {
            WindowFrameUnits::Rows => true,
            WindowFrameUnits::Range => false,
            WindowFrameUnits::Groups => return Err(unsupported(&"GROUPS")),
        };
        match &frame.end_bound {
            None | Some(WindowFrameBound::CurrentRow) => {}
            Some(_) => {
                let message = "an OVER window ends at CURRENT ROW; FOLLOWING is not supported";
                return Err(Error::user("UNSUPPORTED_FRAME", message));
            }
        }
        let preceding = match &frame.start_bound {
            WindowFrameBound::CurrentRow => Some(0),
            WindowFrameBound::Preceding(None) => None,
            WindowFrameBound::Preceding(Some(bound)) => {
                Some(self.frame_length(bound, is_rows, clause)?)
            }
            WindowFrameBound::Following(_) => {
                let message = "an OVER window cannot begin at FOLLOWING";
                return Err(Error::user("UNSUPPORTED_FRAME", message));
            }
        };
        Ok(Frame { is_rows, preceding })
    }

    fn frame_length(
        &mut self,
        bound: &ast::Expr,
        is_rows: bool,
        clause: &mut Clause<'_>,
    ) -> Result<i64> {
        let expr = self.expr(bound, clause)?;
        let length = match is_rows {
            true => literal::integer(&expr),
            false => literal::interval_ms(&expr),
        };
        length.filter(|n| *n >= 0).ok_or_else(|| {
            let wanted = match is_rows {
                true => "a number of rows",
                false => "an interval of days to seconds",
            };
            let message = format!("'{bound}' PRECEDING must be {wanted}");
            located(Error::user("UNSUPPORTED_FRAME", message), bound.span())
        })
    }
}

/// The window that an OVER names or specifies.
fn resolve_window(over: &WindowType, collector: &Collector) -> Result<WindowSpec> {
    let named = |name: &ast::Ident| {
        collector.named_window(&name.value).ok_or_else(|| {
            let message = format!("window '{}' is not defined in a WINDOW clause", name.value);
            located(Error::user("UNKNOWN_WINDOW", message), name.span)
        })
    };
    match over {
        WindowType::NamedWindow(name) => named(name),
        WindowType::WindowSpec(spec) => match &spec.window_name {
            None => Ok(spec.clone()),
            Some(name) => {
                let mut base = named(name)?;
                if !spec.order_by.is_empty() {
                    base.order_by = spec.order_by.clone();
                }
                if spec.window_frame.is_some() {
                    base.window_frame = spec.window_frame.clone();
                }
                Ok(base)
            }
        },
    }
}

pub(crate) fn is_rank_function(name: &str) -> bool {
    matches!(
        name,
        "ROW_NUMBER"
            | "RANK"
            | "DENSE_RANK"
            | "PERCENT_RANK"
            | "CUME_DIST"
            | "NTILE"
            | "LAG"
            | "LEAD"
    )
}

/// Whether a key is descending, and whether its NULLs come first: by default they are lowest.
pub(crate) fn order_options(order: &OrderByExpr) -> (bool, bool) {
    let descending = matches!(order.options.sort, Some(OrderBySort::Desc));
    (descending, order.options.nulls_first.unwrap_or(!descending))
}

fn misplaced_aggregate(clause: &str) -> Error {
    Error::user(
        "MISPLACED_AGGREGATE",
        format!("aggregate expression is illegal in {clause} clause; use HAVING or a subquery"),
    )
}

/// The name in upper case; of a qualified name the last part.
pub(crate) fn function_name(function: &Function) -> String {
    let last = function.name.0.last();
    last.and_then(|p| p.as_ident())
        .map(|i| i.value.to_ascii_uppercase())
        .unwrap_or_default()
}

pub(crate) fn has_distinct(function: &Function) -> bool {
    matches!(
        &function.args,
        FunctionArguments::List(list)
            if list.duplicate_treatment == Some(DuplicateTreatment::Distinct)
    )
}

/// Appends to the last argument, the text of ON NULL, ` JSON` and the positions of the arguments that
/// are JSON already, which are not quoted again.
fn name_json_arguments(function: &Function, args: &mut [Expr]) -> Result<()> {
    let is_json = |ast: &Option<&ast::Expr>| match ast {
        Some(ast::Expr::Function(inner)) => {
            matches!(
                function_name(inner).as_str(),
                "JSON" | "JSON_OBJECT" | "JSON_ARRAY"
            )
        }
        _ => false,
    };
    let asts = argument_asts(function)?;
    let positions = asts.iter().enumerate().filter(|(_, ast)| is_json(ast));
    let positions: Vec<String> = positions.map(|(i, _)| format!(" {i}")).collect();
    if let Some(last) = args.last_mut().filter(|_| !positions.is_empty())
        && let Some(on_null) = literal::text(last)
    {
        *last = literal::string(&format!("{on_null} JSON{}", positions.concat()));
    }
    Ok(())
}

/// Takes the argument `ON_NULL => 'NULL'` or `'ABSENT'` of a JSON aggregate off its call.
fn take_on_null(function: &mut Function) -> Option<String> {
    let FunctionArguments::List(list) = &mut function.args else {
        return None;
    };
    let is_on_null = |arg: &FunctionArg| matches!(arg, FunctionArg::Named { name, .. } if name.value == "ON_NULL");
    let position = list.args.iter().position(is_on_null)?;
    match list.args.remove(position) {
        FunctionArg::Named {
            arg: FunctionArgExpr::Expr(ast::Expr::Value(mode)),
            ..
        } => literal::interval_text(&mode.value),
        _ => None,
    }
}

/// The arguments' syntax; `None` is `*`.
pub(crate) fn argument_asts(function: &Function) -> Result<Vec<Option<&ast::Expr>>> {
    let list = match &function.args {
        FunctionArguments::None => return Ok(vec![]),
        FunctionArguments::Subquery(_) => return Err(unsupported(function)),
        FunctionArguments::List(list) => list,
    };
    list.args.iter().map(argument_ast).collect()
}

fn argument_ast(arg: &FunctionArg) -> Result<Option<&ast::Expr>> {
    let value = match arg {
        FunctionArg::Unnamed(value)
        | FunctionArg::Named { arg: value, .. }
        | FunctionArg::ExprNamed { arg: value, .. } => value,
    };
    match value {
        FunctionArgExpr::Expr(expr) => Ok(Some(expr)),
        FunctionArgExpr::Wildcard => Ok(None),
        other => Err(unsupported(other)),
    }
}

/// The clauses after a call's arguments: `NULL ON NULL` and the like.
pub(crate) fn argument_clauses(function: &Function) -> &[FunctionArgumentClause] {
    match &function.args {
        FunctionArguments::List(list) => &list.clauses,
        _ => &[],
    }
}
