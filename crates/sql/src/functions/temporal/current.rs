//! The current time. Batch queries see one instant, streams that of each batch.

use arrow::array::{Int64Array, new_null_array};
use flott_core::Result;
use flott_core::text::calendar::MILLIS_PER_DAY;
use flott_core::text::zone::ZoneCursor;
use flott_core::time::watermark_before_rows;
use flott_core::types::LogicalType;

use crate::functions::arithmetic::interval::from_values;
use crate::functions::kernel::columns;
use crate::functions::{BindContext, BoundFunction};

function!(
    CURRENT_TIMESTAMP,
    "CURRENT_TIMESTAMP" | "NOW",
    Temporal,
    "CURRENT_TIMESTAMP",
    "The current point in time.",
    [("CURRENT_TIMESTAMP IS NOT NULL", "TRUE")],
    |c| bind(c, LogicalType::TimestampLtz(3), true),
    volatile
);
function!(
    CURRENT_ROW_TIMESTAMP,
    "CURRENT_ROW_TIMESTAMP",
    Temporal,
    "CURRENT_ROW_TIMESTAMP()",
    "The current point in time, in batch queries too.",
    [("CURRENT_ROW_TIMESTAMP() IS NOT NULL", "TRUE")],
    |c| bind(c, LogicalType::TimestampLtz(3), false),
    volatile
);
function!(
    PROCTIME,
    "PROCTIME",
    Temporal,
    "PROCTIME()",
    "The processing time of a row.",
    [("PROCTIME() IS NOT NULL", "TRUE")],
    |c| bind(c, LogicalType::TimestampLtz(3), false),
    volatile
);
function!(
    LOCALTIMESTAMP,
    "LOCALTIMESTAMP",
    Temporal,
    "LOCALTIMESTAMP",
    "The current time on the wall clock of the session's zone.",
    [("LOCALTIMESTAMP IS NOT NULL", "TRUE")],
    |c| bind(c, LogicalType::Timestamp(3), true),
    volatile
);
function!(
    CURRENT_DATE,
    "CURRENT_DATE",
    Temporal,
    "CURRENT_DATE",
    "The current date in the session's zone.",
    [("CURRENT_DATE IS NOT NULL", "TRUE")],
    |c| bind(c, LogicalType::Date, true),
    volatile
);
function!(
    CURRENT_TIME,
    "CURRENT_TIME" | "LOCALTIME",
    Temporal,
    "CURRENT_TIME",
    "The current time of day in the session's zone.",
    [("CURRENT_TIME IS NOT NULL", "TRUE")],
    |c| bind(c, LogicalType::Time(0), true),
    volatile
);
function!(
    CURRENT_WATERMARK,
    "CURRENT_WATERMARK",
    Temporal,
    "CURRENT_WATERMARK(rowtime)",
    "The current watermark, or NULL before the first one.",
    [("CURRENT_WATERMARK(TIMESTAMP '2024-03-05 00:00:00')", "NULL")],
    bind_watermark,
    volatile
);

fn bind(c: &BindContext<'_>, logical: LogicalType, is_fixed: bool) -> Result<BoundFunction> {
    c.expect_count(0..=0)?;
    let clock = c.session.clock.clone();
    let fixed_ms = c.session.query_start_ms.filter(|_| is_fixed);
    let zone = ZoneCursor::new(c.session.time_zone);
    let returned = logical.clone().not_null();
    let label = format!("now {logical} {fixed_ms:?} {}", c.session.time_zone);
    let kernel = columns(label, move |_| {
        let now_ms = fixed_ms.unwrap_or_else(|| clock.now_ms());
        let local_ms = || zone.clone().to_local(now_ms, 1000);
        let value = match logical {
            LogicalType::TimestampLtz(_) => now_ms,
            LogicalType::Date => local_ms().div_euclid(MILLIS_PER_DAY),
            LogicalType::Time(_) => local_ms().rem_euclid(MILLIS_PER_DAY) / 1000 * 1000,
            _ => local_ms(),
        };
        from_values(&Int64Array::from(vec![value]), &logical)
    });
    Ok(BoundFunction::new(Vec::new(), returned, kernel))
}

fn bind_watermark(c: &BindContext<'_>) -> Result<BoundFunction> {
    c.expect_count(1..=1)?;
    c.expect_types(c.is_type(0, LogicalType::is_timestamp))?;
    let returned = c.argument(0)?.data_type.with_nullable(true);
    let (arrow_type, logical) = (returned.to_arrow(), returned.logical.clone());
    let kernel = columns(format!("watermark {returned}"), move |args| {
        let num_rows = args.num_rows();
        match watermark_before_rows() {
            Some(ms) => from_values(&Int64Array::from(vec![ms; num_rows]), &logical),
            None => Ok(new_null_array(&arrow_type, num_rows)),
        }
    });
    Ok(BoundFunction::new(c.own_types(), returned, kernel))
}
