//! Which columns can only have few values, as far as a plan tells: group keys of which a batch has
//! few.

use flott_core::types::LogicalType;

use crate::expr::{Expr, ExprKind};
use crate::plan::Plan;

/// Whether a column of a plan has few values, or few at a time: constants, flags, dates, times cut
/// to minutes or more.
pub(super) fn has_few_values(plan: &Plan, column: usize) -> bool {
    if is_small(&plan.schema().column(column).data_type.logical) {
        return true;
    }
    match plan {
        Plan::Project(project) => is_coarse(&project.exprs[column], &project.input),
        Plan::Filter(filter) => has_few_values(&filter.input, column),
        Plan::Watermark(watermark) => has_few_values(&watermark.input, column),
        _ => false,
    }
}

fn is_small(logical: &LogicalType) -> bool {
    use LogicalType::{Boolean, Date, Null, TinyInt};
    matches!(logical, Boolean | Date | Null | TinyInt)
}

fn is_coarse(expr: &Expr, input: &Plan) -> bool {
    if is_small(&expr.data_type.logical) {
        return true;
    }
    match &expr.kind {
        ExprKind::Literal(_) => true,
        ExprKind::Column(column) => has_few_values(input, *column),
        ExprKind::Cast { expr, .. } => is_coarse(expr, input),
        ExprKind::Call { function, args, .. } => {
            cuts_time(function.name, args)
                || !args.is_empty() && args.iter().all(|arg| is_coarse(arg, input))
        }
        ExprKind::Case {
            branches,
            otherwise,
        } => {
            let mut values = branches.iter().map(|(_, value)| value);
            is_coarse(otherwise, input) && values.all(|value| is_coarse(value, input))
        }
        _ => false,
    }
}

/// Whether a function leaves of a time only minutes or more, or a number below 1,000.
fn cuts_time(function: &str, args: &[Expr]) -> bool {
    let text = |arg: Option<&Expr>| {
        let text = arg.and_then(Expr::as_literal)?.try_as_str()??;
        Some(text.to_string())
    };
    let (first, second) = (text(args.first()), text(args.get(1)));
    match (function, first, second) {
        ("DATE_FORMAT", _, Some(pattern)) => !pattern.contains(['s', 'S', 'A', 'n', 'N']),
        ("EXTRACT", Some(unit), _) => {
            let is_fine = |fine: &&str| unit.eq_ignore_ascii_case(fine);
            let mut fine = ["EPOCH", "MILLISECOND", "MICROSECOND", "NANOSECOND"].iter();
            !fine.any(is_fine)
        }
        ("FLOOR" | "CEIL", _, Some(unit)) => !unit.to_ascii_uppercase().ends_with("SECOND"),
        _ => false,
    }
}
