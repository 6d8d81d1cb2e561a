//! Nexmark's query 6 as it is published.
//!
//! Flink cannot run that query (an OVER window on a changelog), so nobody has seen that its text is
//! not valid either: it names the tables inside a derived table that has no alias (`FROM (SELECT
//! A.id …)`, outside of which it writes `A.id`), filters on a window function's alias in WHERE, and
//! writes a BIGINT into a VARCHAR column. A SELECT that reaches into its only, nameless derived
//! table like this is rewritten: the inner tables' names are left out, conditions on a window
//! function's alias are a QUALIFY, and an INSERT of such a query casts to the types of its sink.
//! Everything else is refused, as in Flink.

use sqlparser::ast::{
    BinaryOperator, Expr, Ident, Select, SelectItem, SetExpr, TableFactor, TableWithJoins,
    WindowType,
};

/// The SELECT in valid SQL, if it is one of this kind.
pub(super) fn rewrite(select: &Select) -> Option<Select> {
    let [from] = select.from.as_slice() else {
        return None;
    };
    let inner = nameless_columns(from)?;
    let mut rewritten = select.clone();
    let mut windows = Vec::new();
    let mut is_changed = false;
    for item in &mut rewritten.projection {
        let SelectItem::ExprWithAlias { expr, alias } = item else {
            continue;
        };
        if let Expr::Function(function) = expr
            && let Some(WindowType::WindowSpec(spec)) = &mut function.over
        {
            let order = spec.order_by.iter_mut().map(|o| &mut o.expr);
            for key in spec.partition_by.iter_mut().chain(order) {
                is_changed |= leave_out_table(key, &inner);
            }
            windows.push((alias.value.clone(), expr.clone()));
        }
    }
    if !is_changed {
        return None;
    }
    let selection = rewritten.selection.take();
    for mut conjunct in selection.map(conjuncts).unwrap_or_default() {
        let target = match replace_alias(&mut conjunct, &windows) {
            true => &mut rewritten.qualify,
            false => &mut rewritten.selection,
        };
        *target = Some(match target.take() {
            None => conjunct,
            Some(before) => Expr::BinaryOp {
                left: Box::new(before),
                op: BinaryOperator::And,
                right: Box::new(conjunct),
            },
        });
    }
    Some(rewritten)
}

/// The columns, as `table.column`, of a derived table without an alias.
fn nameless_columns(from: &TableWithJoins) -> Option<Vec<[&Ident; 2]>> {
    let TableFactor::Derived {
        subquery,
        alias: None,
        ..
    } = &from.relation
    else {
        return None;
    };
    let SetExpr::Select(inner) = subquery.body.as_ref() else {
        return None;
    };
    let qualified = |item| match item {
        &SelectItem::UnnamedExpr(Expr::CompoundIdentifier(ref parts)) => match parts.as_slice() {
            [table, column] => Some([table, column]),
            _ => None,
        },
        _ => None,
    };
    from.joins
        .is_empty()
        .then(|| inner.projection.iter().filter_map(qualified).collect())
}

/// Turns `table.column` into `column` where the derived table has it.
fn leave_out_table(expr: &mut Expr, columns: &[[&Ident; 2]]) -> bool {
    let Expr::CompoundIdentifier(parts) = expr else {
        return false;
    };
    let [table, column] = parts.as_slice() else {
        return false;
    };
    let is_inner = columns
        .iter()
        .any(|[t, c]| t.value == table.value && c.value == column.value);
    if is_inner {
        *expr = Expr::Identifier(column.clone());
    }
    is_inner
}

fn conjuncts(expr: Expr) -> Vec<Expr> {
    match expr {
        Expr::BinaryOp {
            left,
            op: BinaryOperator::And,
            right,
        } => [conjuncts(*left), conjuncts(*right)].concat(),
        other => vec![other],
    }
}

/// Puts window functions for their aliases in a comparison; whether there was one.
fn replace_alias(condition: &mut Expr, windows: &[(String, Expr)]) -> bool {
    let Expr::BinaryOp { left, right, .. } = condition else {
        return false;
    };
    let mut is_found = false;
    for side in [left, right] {
        let Expr::Identifier(name) = side.as_ref() else {
            continue;
        };
        let window = windows.iter().find(|(alias, _)| *alias == name.value);
        if let Some((_, function)) = window {
            **side = function.clone();
            is_found = true;
        }
    }
    is_found
}
