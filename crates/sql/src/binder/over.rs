//! Window functions: OVER items grouped by their window and put on the plan.

use std::sync::Arc;

use flott_core::schema::Schema;

use super::collect::{OverItem, OverItemCall, Placeholder};
use crate::expr::Expr;
use crate::plan::{AggregateCall, Over, OverCall, Plan, SortKey};

/// Puts the window functions on `input` and returns the columns that hold their results.
pub(crate) fn over(input: Arc<Plan>, items: &[OverItem]) -> (Arc<Plan>, Vec<Expr>) {
    let mut plan = input;
    let mut results: Vec<Option<Expr>> = vec![None; items.len()];
    for first in 0..items.len() {
        if results[first].is_some() {
            continue;
        }
        let window = items[first].window_key();
        let same: Vec<usize> = (first..items.len())
            .filter(|&i| items[i].window_key() == window)
            .collect();
        let base;
        (plan, base) = over_one(plan, items, &same);
        for (offset, &item) in same.iter().enumerate() {
            results[item] = Some(plan.column_expr(base + offset));
        }
    }
    (plan, results.into_iter().flatten().collect())
}

/// Adds the columns that a window needs to its input.
struct Extended {
    plan: Arc<Plan>,
    added: Vec<Expr>,
}

impl Extended {
    fn position(&mut self, expr: &Expr) -> usize {
        if let Some(column) = expr.as_column() {
            return column;
        }
        let text = expr.key();
        let known = self.added.iter().position(|e| e.key() == text);
        let known = known.unwrap_or_else(|| {
            self.added.push(expr.clone());
            self.added.len() - 1
        });
        self.plan.schema().len() + known
    }
}

/// One node for the calls `same`, which share their window; returns where their results begin.
fn over_one(plan: Arc<Plan>, items: &[OverItem], same: &[usize]) -> (Arc<Plan>, usize) {
    let mut input = Extended {
        plan,
        added: Vec::new(),
    };
    let window = &items[same[0]];
    let partition_keys = window.partition.iter().map(|e| input.position(e)).collect();
    let order = window
        .order
        .iter()
        .map(|o| SortKey {
            column: input.position(&o.expr),
            descending: o.descending,
            nulls_first: o.nulls_first,
        })
        .collect();
    let calls = same
        .iter()
        .map(|&i| over_call(&items[i].call, &mut input))
        .collect();
    let extended = Plan::append(input.plan, input.added, "$o");
    let base = extended.schema().len();
    let node = Over {
        input: extended,
        partition_keys,
        order,
        frame: window.frame,
        calls,
        schema: Schema::empty(),
    };
    (Plan::over(node), base)
}

fn over_call(call: &OverItemCall, input: &mut Extended) -> OverCall {
    match call {
        OverItemCall::Aggregate(item) => OverCall::Aggregate(AggregateCall {
            function: item.function,
            types: item.types.clone(),
            args: item.args.iter().map(|a| input.position(a)).collect(),
            distinct: item.distinct,
            filter: None,
        }),
        OverItemCall::RowNumber => OverCall::RowNumber,
        OverItemCall::Rank => OverCall::Rank,
        OverItemCall::DenseRank => OverCall::DenseRank,
        OverItemCall::Lag {
            arg,
            offset,
            default,
        } => OverCall::Lag {
            arg: input.position(arg),
            offset: *offset,
            default: default.as_ref().map(|d| input.position(d)),
        },
        OverItemCall::Ntile(buckets) => OverCall::Ntile { buckets: *buckets },
        OverItemCall::PercentRank => OverCall::PercentRank,
        OverItemCall::CumeDist => OverCall::CumeDist,
    }
}

/// Puts the results in place of the placeholders.
pub(crate) fn rewrite(expr: &mut Expr, results: &[Expr]) {
    expr.transform_down(&mut |e| match Placeholder::of(e) {
        Some(Placeholder::Over(i)) if i < results.len() => {
            *e = results[i].clone();
            true
        }
        _ => false,
    });
}
