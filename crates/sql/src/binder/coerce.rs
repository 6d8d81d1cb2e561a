//! Calls with their implicit casts, and the folding of constants.

use datafusion_common::ScalarValue;
use datafusion_expr::ColumnarValue;
use flott_core::types::{DataType, LogicalType};
use flott_core::{Error, Result};

use crate::expr::{Expr, ExprKind};
use crate::functions::{
    self, Argument, BindContext as CallContext, ExprContext, FunctionDef, Kernel,
};

/// A call of the function of this name, with its arguments cast to what it takes.
///
/// # Errors
/// When there is no such function, or it does not take these arguments.
pub(crate) fn call(name: &str, args: Vec<Expr>, session: &ExprContext) -> Result<Expr> {
    call_function(functions::resolve(name)?, name, args, session)
}

/// A call of this function, under the name that messages give it.
///
/// # Errors
/// When it does not take these arguments.
pub(crate) fn call_function(
    function: &'static FunctionDef,
    name: &str,
    args: Vec<Expr>,
    session: &ExprContext,
) -> Result<Expr> {
    let arguments: Vec<Argument> = args
        .iter()
        .map(|a| Argument {
            data_type: a.data_type.clone(),
            literal: a.as_literal().cloned(),
        })
        .collect();
    let bound = (function.bind)(&CallContext {
        name,
        arguments: &arguments,
        session,
    })?;
    let args = args
        .into_iter()
        .zip(&bound.argument_types)
        .map(|(arg, data_type)| cast(arg, data_type, false, session))
        .collect::<Result<Vec<_>>>()?;
    let data_type = bound.return_type.clone();
    Ok(fold(Expr {
        kind: ExprKind::Call {
            function,
            bound,
            args,
        },
        data_type,
    }))
}

/// The expression as this type, which keeps the expression's nullability where the cast cannot
/// fail; none is added where the type is the same already.
pub(crate) fn cast(expr: Expr, to: &DataType, is_try: bool, session: &ExprContext) -> Result<Expr> {
    if expr.data_type.logical == to.logical {
        return Ok(expr);
    }
    if expr.as_literal().is_some_and(ScalarValue::is_null) {
        return Expr::null(to);
    }
    let nullable = expr.data_type.nullable || is_try;
    let to = to.with_nullable(nullable);
    if is_relabel(&expr.data_type.logical, &to.logical) {
        return Ok(Expr {
            kind: expr.kind,
            data_type: to,
        });
    }
    explicit_cast(expr, &to, is_try, session)
}

/// `CAST(expr AS to)`, as a user writes it.
pub(crate) fn explicit_cast(
    expr: Expr,
    to: &DataType,
    is_try: bool,
    session: &ExprContext,
) -> Result<Expr> {
    if expr.data_type.logical == to.logical && !is_try {
        return Ok(expr);
    }
    if expr.as_literal().is_some_and(ScalarValue::is_null) {
        return Expr::null(to);
    }
    let data_type = to.with_nullable(expr.data_type.nullable || is_try);
    let kernel = functions::cast::bind_cast(&expr.data_type, &data_type, is_try, session)?;
    Ok(fold(Expr {
        kind: ExprKind::Cast {
            expr: Box::new(expr),
            is_try,
            kernel,
        },
        data_type,
    }))
}

/// Whether every value of `from` is one of `to` as it stands: text into longer text.
fn is_relabel(from: &LogicalType, to: &LogicalType) -> bool {
    match (from, to) {
        (LogicalType::Char(a) | LogicalType::VarChar(a), LogicalType::VarChar(b)) => a <= b,
        (LogicalType::Binary(a) | LogicalType::VarBinary(a), LogicalType::VarBinary(b)) => a <= b,
        _ => false,
    }
}

/// Casts expressions to their common type.
///
/// # Errors
/// When they have none.
pub(crate) fn unify(
    exprs: Vec<Expr>,
    what: &str,
    session: &ExprContext,
) -> Result<(Vec<Expr>, DataType)> {
    let types: Vec<DataType> = exprs.iter().map(|e| e.data_type.clone()).collect();
    let common = common_type(&types, what)?;
    let exprs = exprs
        .into_iter()
        .map(|e| cast(e, &common, false, session))
        .collect::<Result<Vec<_>>>()?;
    Ok((exprs, common))
}

/// The type that all of these are cast to.
pub(crate) fn common_type(types: &[DataType], what: &str) -> Result<DataType> {
    functions::coercion::common_type(types).ok_or_else(|| {
        let list = types.iter().map(|t| t.logical.to_string());
        let message = format!(
            "the types of {what} have nothing in common: {}; cast them",
            list.collect::<Vec<_>>().join(", ")
        );
        Error::user("NO_COMMON_TYPE", message)
    })
}

/// The value of a call or cast of constants; what fails is left to fail when it runs.
pub(crate) fn fold(expr: Expr) -> Expr {
    match constant(&expr) {
        Some(value) => Expr::literal(value, expr.data_type),
        None => expr,
    }
}

fn constant(expr: &Expr) -> Option<ScalarValue> {
    let (kernel, args): (&dyn Kernel, Vec<&Expr>) = match &expr.kind {
        ExprKind::Call {
            function,
            bound,
            args,
        } if function.is_deterministic => (bound.kernel.as_ref(), args.iter().collect()),
        ExprKind::Cast { expr, kernel, .. } => (kernel.as_ref(), vec![expr]),
        _ => return None,
    };
    let args = args
        .into_iter()
        .map(|a| a.as_literal().cloned().map(ColumnarValue::Scalar))
        .collect::<Option<Vec<_>>>()?;
    match kernel.evaluate(&args, 1).ok()? {
        ColumnarValue::Scalar(value) => Some(value),
        ColumnarValue::Array(array) => ScalarValue::try_from_array(&array, 0).ok(),
    }
}

/// The expression as a condition.
///
/// # Errors
/// When it is no BOOLEAN.
pub(crate) fn condition(expr: Expr, clause: &str) -> Result<Expr> {
    match expr.data_type.logical {
        LogicalType::Boolean => Ok(expr),
        LogicalType::Null => Expr::null(&LogicalType::Boolean.nullable()),
        ref other => Err(Error::user(
            "NOT_A_CONDITION",
            format!(
                "{clause} clause must be a condition, but is {other}; compare it with something"
            ),
        )),
    }
}
