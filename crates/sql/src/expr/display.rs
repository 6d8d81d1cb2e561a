//! Expressions as text: columns are `$0`, `$1`, …

use std::fmt;

use datafusion_common::ScalarValue;

use super::{Expr, ExprKind, SubqueryKind};

fn list(f: &mut fmt::Formatter<'_>, exprs: &[Expr], separator: &str) -> fmt::Result {
    for (i, expr) in exprs.iter().enumerate() {
        write!(f, "{}{expr}", if i == 0 { "" } else { separator })?;
    }
    Ok(())
}

fn literal(f: &mut fmt::Formatter<'_>, value: &ScalarValue) -> fmt::Result {
    match value {
        _ if value.is_null() => write!(f, "NULL"),
        ScalarValue::Utf8View(Some(text)) => write!(f, "'{}'", text.replace('\'', "''")),
        other => write!(f, "{other}"),
    }
}

fn is_symbol(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_alphanumeric() || c == '_')
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Column(index) => write!(f, "${index}"),
            ExprKind::OuterColumn { depth, index } => write!(f, "outer({depth}).${index}"),
            ExprKind::Literal(value) => literal(f, value),
            ExprKind::Call { function, args, .. }
                if args.len() == 2 && is_symbol(function.name) =>
            {
                write!(f, "({} {} {})", args[0], function.name, args[1])
            }
            ExprKind::Call { function, args, .. } => {
                write!(f, "{}(", function.name)?;
                list(f, args, ", ")?;
                write!(f, ")")
            }
            ExprKind::Cast { expr, is_try, .. } => {
                let name = if *is_try { "TRY_CAST" } else { "CAST" };
                write!(f, "{name}({expr} AS {})", self.data_type.logical)
            }
            ExprKind::And(parts) => {
                write!(f, "(")?;
                list(f, parts, " AND ")?;
                write!(f, ")")
            }
            ExprKind::Or(parts) => {
                write!(f, "(")?;
                list(f, parts, " OR ")?;
                write!(f, ")")
            }
            ExprKind::Not(expr) => write!(f, "NOT {expr}"),
            ExprKind::IsNull(expr) => write!(f, "{expr} IS NULL"),
            ExprKind::IsNotNull(expr) => write!(f, "{expr} IS NOT NULL"),
            ExprKind::Case {
                branches,
                otherwise,
            } => {
                write!(f, "CASE")?;
                for (when, then) in branches {
                    write!(f, " WHEN {when} THEN {then}")?;
                }
                write!(f, " ELSE {otherwise} END")
            }
            ExprKind::InList {
                expr,
                list: values,
                negated,
            } => {
                write!(f, "{expr} {}IN (", if *negated { "NOT " } else { "" })?;
                for (i, value) in values.iter().enumerate() {
                    write!(f, "{}", if i == 0 { "" } else { ", " })?;
                    literal(f, value)?;
                }
                write!(f, ")")
            }
            ExprKind::Field { expr, index } => write!(f, "{expr}.{index}"),
            ExprKind::Subquery(subquery) => match &subquery.kind {
                SubqueryKind::Scalar => write!(f, "(subquery)"),
                SubqueryKind::Exists { negated } => {
                    write!(f, "{}EXISTS (subquery)", if *negated { "NOT " } else { "" })
                }
                SubqueryKind::In { exprs, negated } => {
                    write!(f, "(")?;
                    list(f, exprs, ", ")?;
                    write!(f, ") {}IN (subquery)", if *negated { "NOT " } else { "" })
                }
            },
        }
    }
}
