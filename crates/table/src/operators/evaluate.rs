//! Evaluation of physical expressions, and times and wall-clock times as milliseconds.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::compute::prep_null_mask_filter;
use arrow::datatypes::{
    DataType, Int64Type, SchemaRef, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType,
};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use chrono::{DateTime, NaiveDateTime, Offset, TimeDelta, TimeZone};
use chrono_tz::Tz;
use datafusion_common::DataFusionError;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_physical_expr::expressions::Column;
use datafusion_physical_expr::utils::collect_columns;
use datafusion_physical_expr_common::physical_expr::PhysicalExpr;
use flott_core::{Error, Result};

/// The error of an expression: our own, as it went in, or an internal one.
pub(crate) fn expression_error(error: DataFusionError) -> Error {
    match error {
        DataFusionError::ArrowError(error, _) => Error::from(*error),
        DataFusionError::Context(_, error) => expression_error(*error),
        DataFusionError::External(source) => match source.downcast::<Error>() {
            Ok(error) => *error,
            Err(source) => Error::internal(source.to_string()),
        },
        other => Error::internal(other.to_string()),
    }
}

/// The values of `expr` over the rows of a batch.
pub(crate) fn evaluate(expr: &dyn PhysicalExpr, rows: &RecordBatch) -> Result<ArrayRef> {
    let value = expr.evaluate(rows).map_err(expression_error)?;
    value.into_array(rows.num_rows()).map_err(expression_error)
}

/// Where the BOOLEAN `expr` is true; NULL is not.
pub(crate) fn evaluate_predicate(
    expr: &dyn PhysicalExpr,
    rows: &RecordBatch,
) -> Result<BooleanArray> {
    let values = evaluate(expr, rows)?;
    values
        .as_boolean_opt()
        .cloned()
        .ok_or_else(|| Error::internal(format!("predicate {expr} is not BOOLEAN")))
}

/// As [`evaluate_predicate`], without NULLs.
pub(crate) fn evaluate_matches(
    expr: &dyn PhysicalExpr,
    rows: &RecordBatch,
) -> Result<BooleanArray> {
    let matches = evaluate_predicate(expr, rows)?;
    Ok(match matches.null_count() {
        0 => matches,
        _ => prep_null_mask_filter(&matches),
    })
}

/// The expression with its columns at other positions.
///
/// # Errors
/// An internal error when it cannot be rewritten.
pub(crate) fn move_columns(
    expr: &Arc<dyn PhysicalExpr>,
    position: impl Fn(usize) -> usize,
) -> Result<Arc<dyn PhysicalExpr>> {
    let moved = expr.clone().transform_up(|node| {
        let Some(column) = node.downcast_ref::<Column>() else {
            return Ok(Transformed::no(node));
        };
        let new = Column::new(column.name(), position(column.index()));
        Ok(Transformed::yes(Arc::new(new) as Arc<dyn PhysicalExpr>))
    });
    Ok(moved.map_err(expression_error)?.data)
}

/// The columns that an expression reads, ascending, and the expression over these alone.
///
/// # Errors
/// As [`move_columns`].
pub(crate) fn over_own_columns(
    expr: &Arc<dyn PhysicalExpr>,
) -> Result<(Vec<usize>, Arc<dyn PhysicalExpr>)> {
    let used = collect_columns(expr).into_iter().map(|c| c.index());
    let used: BTreeSet<usize> = used.collect();
    let used: Vec<usize> = used.into_iter().collect();
    let moved = move_columns(expr, |column| used.partition_point(|&c| c < column))?;
    Ok((used, moved))
}

/// The columns that these expressions give over the rows of a batch.
pub(crate) fn evaluate_all(
    exprs: &[Arc<dyn PhysicalExpr>],
    rows: &RecordBatch,
) -> Result<Vec<ArrayRef>> {
    exprs.iter().map(|e| evaluate(e.as_ref(), rows)).collect()
}

/// A batch that may have no columns and yet has rows.
pub(crate) fn batch_of(
    schema: SchemaRef,
    columns: Vec<ArrayRef>,
    num_rows: usize,
) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(num_rows));
    Ok(RecordBatch::try_new_with_options(
        schema, columns, &options,
    )?)
}

/// A TIMESTAMP of any precision, or a BIGINT, as milliseconds (rounded down).
///
/// # Errors
/// An internal error for other types.
pub(crate) fn milliseconds(array: &dyn Array) -> Result<Int64Array> {
    let coarser = |values: &[i64], factor: i64| {
        let values: Vec<i64> = values.iter().map(|v| v.div_euclid(factor)).collect();
        Int64Array::new(values.into(), array.nulls().cloned())
    };
    Ok(match array.data_type() {
        DataType::Int64 => array.as_primitive::<Int64Type>().clone(),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            let array = array.as_primitive::<TimestampMillisecondType>();
            Int64Array::new(array.values().clone(), array.nulls().cloned())
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => coarser(
            array.as_primitive::<TimestampMicrosecondType>().values(),
            1_000,
        ),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => coarser(
            array.as_primitive::<TimestampNanosecondType>().values(),
            1_000_000,
        ),
        other => return Err(Error::internal(format!("{other} is not a time"))),
    })
}

/// Milliseconds as the timestamp type `to`.
///
/// # Errors
/// An internal error when `to` is no timestamp.
pub(crate) fn timestamps(times_ms: Vec<i64>, to: &DataType) -> Result<ArrayRef> {
    let array = Int64Array::from(times_ms);
    Ok(match to {
        DataType::Timestamp(TimeUnit::Millisecond, zone) => Arc::new(
            array
                .reinterpret_cast::<TimestampMillisecondType>()
                .with_timezone_opt(zone.clone()),
        ),
        DataType::Timestamp(..) => {
            let array = array.reinterpret_cast::<TimestampMillisecondType>();
            arrow::compute::cast(&array, to)?
        }
        other => return Err(Error::internal(format!("{other} is not a timestamp"))),
    })
}

/// Between points in time and wall-clock times, both in ms.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WallClock {
    /// `None` when there is nothing to do.
    zone: Option<Tz>,
}

impl WallClock {
    pub fn new(zone: Option<Tz>) -> Self {
        let zone = zone.filter(|&z| z != Tz::UTC);
        Self { zone }
    }

    /// Whether there is nothing to convert.
    pub fn is_utc(self) -> bool {
        self.zone.is_none()
    }

    /// What the clock on the wall shows at this point in time.
    pub fn local(self, epoch_ms: i64) -> i64 {
        let Some((zone, time)) = self.zone.zip(DateTime::from_timestamp_millis(epoch_ms)) else {
            return epoch_ms;
        };
        let offset = zone.offset_from_utc_datetime(&time.naive_utc()).fix();
        epoch_ms + i64::from(offset.local_minus_utc()) * 1_000
    }

    /// When the clock shows this: the later time where it does so twice, and the end of the gap
    /// where it never does.
    pub fn epoch(self, local_ms: i64) -> i64 {
        let Some((zone, time)) = self.zone.zip(DateTime::from_timestamp_millis(local_ms)) else {
            return local_ms;
        };
        let local = time.naive_utc();
        if let Some(found) = zone.from_local_datetime(&local).latest() {
            return found.timestamp_millis();
        }
        end_of_gap(zone, local).unwrap_or(local_ms)
    }
}

/// Gaps begin and end at whole quarters of an hour.
fn end_of_gap(zone: Tz, local: NaiveDateTime) -> Option<i64> {
    let quarter_ms = 15 * 60 * 1_000;
    let ms = local.and_utc().timestamp_millis();
    let first = ms + quarter_ms - ms.rem_euclid(quarter_ms);
    (0..100).find_map(|i| {
        let shown =
            DateTime::UNIX_EPOCH.naive_utc() + TimeDelta::milliseconds(first + i * quarter_ms);
        let found = zone.from_local_datetime(&shown).latest()?;
        Some(found.timestamp_millis())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_clock_times_survive_daylight_saving() {
        let clock = WallClock::new(Some(Tz::Europe__Berlin));
        // 2024-03-31 02:30 does not exist: 03:00 is 01:00 UTC.
        let gap = 1_711_852_200_000;
        assert_eq!(clock.epoch(gap), 1_711_846_800_000);
        // 2024-10-27 02:30 comes twice: the second is 01:30 UTC.
        let twice = 1_729_996_200_000;
        assert_eq!(clock.epoch(twice), twice - 3_600_000);
        assert_eq!(clock.local(twice - 3_600_000), twice);
    }

    #[test]
    fn times_are_rounded_down_to_milliseconds() {
        let array =
            arrow::array::TimestampMicrosecondArray::from(vec![Some(-1), None, Some(1_999)]);
        let ms = milliseconds(&array).unwrap();
        assert_eq!(ms, Int64Array::from(vec![Some(-1), None, Some(1)]));
    }
}
