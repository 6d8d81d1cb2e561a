//! INTERSECT and EXCEPT, as aggregates and joins.
//!
//! DISTINCT forms are semi and anti joins of the distinct left side, in which NULLs are equal. ALL
//! forms count each row on both sides and repeat it by UNNEST of an array of that length.

use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, ListArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::Int32Type;
use datafusion_common::ScalarValue;
use datafusion_expr::ColumnarValue;
use flott_core::schema::Column;
use flott_core::types::LogicalType;
use flott_core::{Error, Result};

use super::{Binder, coerce};
use crate::expr::{Expr, ExprKind};
use crate::functions::{BoundFunction, FunctionDef, FunctionGroup, Kernel};
use crate::plan::{AggregateCall, JoinKind, JoinMode, Plan};

pub(crate) fn intersect(
    left: Arc<Plan>,
    right: Arc<Plan>,
    is_all: bool,
    binder: &Binder<'_>,
) -> Result<Arc<Plan>> {
    if is_all {
        return counted(left, right, true, binder);
    }
    set_join(left, right, JoinKind::Semi, binder)
}

pub(crate) fn except(
    left: Arc<Plan>,
    right: Arc<Plan>,
    is_all: bool,
    binder: &Binder<'_>,
) -> Result<Arc<Plan>> {
    if is_all {
        return counted(left, right, false, binder);
    }
    set_join(left, right, JoinKind::Anti, binder)
}

fn set_join(
    left: Arc<Plan>,
    right: Arc<Plan>,
    kind: JoinKind,
    binder: &Binder<'_>,
) -> Result<Arc<Plan>> {
    let left = Plan::distinct(left);
    let width = left.schema().len();
    let conditions = (0..width)
        .map(|i| {
            let right = right.column_expr(i).remap_columns(&|c| c + width);
            null_safe_equal(left.column_expr(i), right, binder)
        })
        .collect::<Result<Vec<_>>>()?;
    let condition = Expr::and(conditions);
    Ok(Plan::join(left, right, kind, condition, JoinMode::Regular))
}

/// `left IS NOT DISTINCT FROM right`, in the form that the planner knows as a join key:
/// `left = right OR (left IS NULL AND right IS NULL)`.
pub(crate) fn null_safe_equal(left: Expr, right: Expr, binder: &Binder<'_>) -> Result<Expr> {
    let equal = binder.call("=", vec![left.clone(), right.clone()])?;
    if !left.data_type.nullable || !right.data_type.nullable {
        return Ok(equal);
    }
    Ok(Expr::or([
        equal,
        Expr::and([left.is_null(), right.is_null()]),
    ]))
}

/// Rows with how often they stand on the left and on the right, repeated.
fn counted(
    left: Arc<Plan>,
    right: Arc<Plan>,
    is_intersect: bool,
    binder: &Binder<'_>,
) -> Result<Arc<Plan>> {
    let width = left.schema().len();
    let marked = |plan: Arc<Plan>, is_left: i32| {
        let mark = |v| Expr::literal(ScalarValue::Int32(Some(v)), LogicalType::Int.not_null());
        Plan::append(plan, vec![mark(is_left), mark(1 - is_left)], "$m")
    };
    let union = Plan::union(vec![marked(left.clone(), 1), marked(right, 0)]);
    let sum = |column: usize| {
        let argument = union.schema().column(column).data_type.clone();
        AggregateCall::of("SUM", vec![(column, argument)])
    };
    let calls = vec![sum(width)?, sum(width + 1)?];
    let counts = Plan::aggregate(union, (0..width).collect(), None, vec![], calls, None);
    let (on_left, on_right) = (counts.column_expr(width), counts.column_expr(width + 1));
    let times = match is_intersect {
        true => {
            let is_less = binder.call("<", vec![on_left.clone(), on_right.clone()])?;
            Expr::case(vec![(is_less, on_left)], on_right)
        }
        false => binder.call("-", vec![on_left, on_right])?,
    };
    let repeated = Plan::append(counts, vec![times], "$n");
    replicate(repeated, width, binder)
}

/// Repeats each row as often as its last column says, and drops the columns from `width` on.
fn replicate(plan: Arc<Plan>, width: usize, binder: &Binder<'_>) -> Result<Arc<Plan>> {
    let times = plan.column_expr(plan.schema().len() - 1);
    let times = coerce::cast(times, &LogicalType::Int.nullable(), false, binder.ctx.expr)?;
    let zero = Expr::literal(ScalarValue::Int32(Some(0)), LogicalType::Int.not_null());
    let is_some = binder.call(">", vec![times.clone(), zero])?;
    let plan = Plan::filter(plan, is_some);
    let item = LogicalType::Boolean.nullable();
    let data_type = LogicalType::Array(Arc::new(item.clone())).not_null();
    let array = Expr {
        kind: ExprKind::Call {
            function: &REPLICATE,
            bound: BoundFunction {
                argument_types: vec![times.data_type.clone()],
                return_type: data_type.clone(),
                kernel: Arc::new(Replicate),
            },
            args: vec![times],
        },
        data_type,
    };
    let plan = Plan::append(plan, vec![array], "$a");
    let column = plan.schema().len() - 1;
    let plan = Plan::unnest(plan, column, false, false, vec![Column::new("$e", item)]);
    Ok(Plan::project_columns(plan, &(0..width).collect::<Vec<_>>()))
}

/// An array of as many NULLs as its argument says; not for users.
static REPLICATE: FunctionDef = FunctionDef {
    name: "$REPLICATE",
    aliases: &[],
    group: FunctionGroup::Auxiliary,
    syntax: "$REPLICATE(times)",
    doc: "An array of as many NULLs as the argument says.",
    examples: &[],
    is_deterministic: true,
    bind: |_| Err(Error::internal("$REPLICATE is made by the binder")),
};

#[derive(Debug)]
struct Replicate;

impl Kernel for Replicate {
    fn evaluate(&self, arguments: &[ColumnarValue], num_rows: usize) -> Result<ColumnarValue> {
        let times = match arguments.first() {
            Some(ColumnarValue::Array(array)) => array.clone(),
            Some(ColumnarValue::Scalar(value)) => value
                .to_array_of_size(num_rows)
                .map_err(|e| Error::internal(e.to_string()))?,
            None => return Err(Error::internal("$REPLICATE without argument")),
        };
        let times = times
            .as_primitive_opt::<Int32Type>()
            .ok_or_else(|| Error::internal("$REPLICATE of no INT"))?;
        let lengths = times.iter().map(|t| t.unwrap_or(0).max(0) as usize);
        let offsets = OffsetBuffer::from_lengths(lengths);
        let num_items = offsets.last().map_or(0, |o| *o as usize);
        let items = BooleanArray::new_null(num_items);
        let field = LogicalType::Boolean.nullable().to_field("item");
        let list = ListArray::try_new(field, offsets, Arc::new(items), None)?;
        Ok(ColumnarValue::Array(Arc::new(list)))
    }
}
