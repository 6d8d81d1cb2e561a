//! Window table-valued functions whose windows are known from a row's time alone: TUMBLE, HOP and
//! CUMULATE.

use arrow::array::{Array, Int64Array, UInt32Array};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use chrono_tz::Tz;
use flott_core::changelog::ChangelogBatch;
use flott_core::clock::Clock;
use flott_core::operator::{Operator, OperatorContext, OperatorFactory, Output};
use flott_core::time::window_start;
use flott_core::{Error, Result};
use std::sync::Arc;

use super::evaluate::{WallClock, batch_of, milliseconds, timestamps};

/// Which windows a time belongs to; all lengths in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowTvf {
    Tumble {
        size_ms: i64,
        offset_ms: i64,
    },
    Hop {
        size_ms: i64,
        slide_ms: i64,
        offset_ms: i64,
    },
    Cumulate {
        max_size_ms: i64,
        step_ms: i64,
        offset_ms: i64,
    },
}

impl WindowTvf {
    /// Calls `window` with start and end of each window that holds `time_ms`, in Flink's order:
    /// the latest HOP window and the shortest CUMULATE window first.
    #[inline]
    pub fn windows_of(self, time_ms: i64, mut window: impl FnMut(i64, i64)) {
        match self {
            Self::Tumble { size_ms, offset_ms } => {
                let start = window_start(time_ms, size_ms, offset_ms);
                window(start, start + size_ms);
            }
            Self::Hop {
                size_ms,
                slide_ms,
                offset_ms,
            } => {
                let mut start = window_start(time_ms, slide_ms, offset_ms);
                while start > time_ms - size_ms {
                    window(start, start + size_ms);
                    start -= slide_ms;
                }
            }
            Self::Cumulate {
                max_size_ms,
                step_ms,
                offset_ms,
            } => {
                let start = window_start(time_ms, max_size_ms, offset_ms);
                let mut end = window_start(time_ms, step_ms, offset_ms) + step_ms;
                while end <= start + max_size_ms {
                    window(start, end);
                    end += step_ms;
                }
            }
        }
    }

    fn check(self) -> Result<()> {
        let lengths = match self {
            Self::Tumble { size_ms, .. } => [size_ms, 1],
            Self::Hop {
                size_ms, slide_ms, ..
            } => [size_ms, slide_ms],
            Self::Cumulate {
                max_size_ms,
                step_ms,
                ..
            } => [max_size_ms, step_ms],
        };
        match lengths.into_iter().find(|&l| l <= 0) {
            Some(length) => Err(Error::user(
                "WINDOW",
                format!("a window's length is {length} ms; it has to be positive"),
            )),
            None => Ok(()),
        }
    }
}

/// Where a window's time comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowTime {
    /// The rowtime column of this position, a TIMESTAMP or TIMESTAMP_LTZ.
    Rowtime(usize),
    /// The time at which the row is processed.
    Proctime,
}

impl WindowTime {
    /// The time of each row as the wall clock shows it, in ms.
    pub(crate) fn local_times(
        self,
        rows: &RecordBatch,
        processing: Option<&Arc<dyn Clock>>,
        wall: WallClock,
    ) -> Result<Int64Array> {
        let times = match self {
            Self::Rowtime(column) => milliseconds(rows.column(column))?,
            Self::Proctime => {
                let now = processing.map_or(0, |c| c.now_ms());
                Int64Array::from_value(now, rows.num_rows())
            }
        };
        if wall.is_utc() {
            return Ok(times);
        }
        Ok(times.unary(|t| wall.local(t)))
    }
}

/// Appends `window_start`, `window_end` and `window_time` to every row, once for each of the row's
/// windows. Late rows are passed on, and rows whose time is NULL left out.
#[derive(Debug, Clone)]
pub struct WindowTvfConfig {
    pub window: WindowTvf,
    pub time: WindowTime,
    /// The time zone in whose wall-clock time windows are aligned and shown: the session's when
    /// the time is a TIMESTAMP_LTZ or processing time; `None` for TIMESTAMP.
    pub time_zone: Option<Tz>,
    /// The input's columns, then the three of the window: TIMESTAMP(3), TIMESTAMP(3), and the
    /// window's time in the type that this schema has for it.
    pub schema: SchemaRef,
}

impl OperatorFactory for WindowTvfConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        self.window.check()?;
        Ok(Box::new(WindowTvfOperator {
            config: self.clone(),
            wall: WallClock::new(self.time_zone),
            clock: None,
        }))
    }
}

struct WindowTvfOperator {
    config: WindowTvfConfig,
    wall: WallClock,
    clock: Option<Arc<dyn Clock>>,
}

/// Rows' positions with the bounds of a window each.
#[derive(Debug, Default)]
pub(crate) struct WindowedRows {
    pub rows: Vec<u32>,
    pub starts: Vec<i64>,
    pub ends: Vec<i64>,
}

impl WindowedRows {
    fn assign(window: WindowTvf, times: &Int64Array) -> Self {
        let mut windowed = Self::default();
        for row in 0..times.len() {
            if times.is_null(row) {
                continue;
            }
            window.windows_of(times.value(row), |start, end| {
                windowed.rows.push(row as u32);
                windowed.starts.push(start);
                windowed.ends.push(end);
            });
        }
        windowed
    }
}

/// Appends start, end and time of a window to each row; `schema` ends with those three.
pub(crate) fn append_bounds(
    rows: RecordBatch,
    starts: Vec<i64>,
    ends: Vec<i64>,
    wall: WallClock,
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let num_rows = rows.num_rows();
    let (_, mut columns, _) = rows.into_parts();
    let bound = |i: usize| schema.field(columns.len() + i).data_type().clone();
    let types = [bound(0), bound(1), bound(2)];
    let times = ends.iter().map(|&end| wall.epoch(end - 1)).collect();
    columns.push(timestamps(starts, &types[0])?);
    columns.push(timestamps(ends, &types[1])?);
    columns.push(timestamps(times, &types[2])?);
    batch_of(schema.clone(), columns, num_rows)
}

impl Operator for WindowTvfOperator {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        self.clock = Some(context.clock.clone());
        Ok(())
    }

    fn process(&mut self, _: usize, batch: ChangelogBatch, out: &mut dyn Output) -> Result<()> {
        let times = self
            .config
            .time
            .local_times(batch.rows(), self.clock.as_ref(), self.wall)?;
        let windowed = WindowedRows::assign(self.config.window, &times);
        if windowed.rows.is_empty() {
            return Ok(());
        }
        let is_one_to_one = matches!(self.config.window, WindowTvf::Tumble { .. });
        let batch = if is_one_to_one && times.null_count() == 0 {
            batch
        } else {
            batch.take(&UInt32Array::from(windowed.rows))?
        };
        let (rows, kinds) = batch.into_parts();
        let rows = append_bounds(
            rows,
            windowed.starts,
            windowed.ends,
            self.wall,
            &self.config.schema,
        )?;
        out.emit(ChangelogBatch::new(rows, kinds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::collect::{Collected, batch, ints, names, times};

    fn run(window: WindowTvf) -> Vec<String> {
        let empty = [ints([]), times([]), times([]), times([]), times([])];
        let config = WindowTvfConfig {
            window,
            time: WindowTime::Rowtime(1),
            time_zone: None,
            schema: names(&["a", "ts", "start", "end", "time"], &empty),
        };
        let input = batch(
            "",
            vec![("a", ints([1, 2])), ("ts", times([1_000, 12_000]))],
        );
        let mut collected = Collected::default();
        let mut operator = config.create().unwrap();
        operator.process(0, input, &mut collected).unwrap();
        collected.take()
    }

    #[test]
    fn tumbling_windows_take_an_offset() {
        let lines = run(WindowTvf::Tumble {
            size_ms: 10_000,
            offset_ms: 2_000,
        });
        assert_eq!(lines[1], "+I 2 00:12 00:12 00:22 00:21.999");
        assert_eq!(lines[0], "+I 1 00:01 1969-12-31T23:59:52 00:02 00:01.999");
    }

    #[test]
    fn hopping_windows_multiply_rows_the_latest_first() {
        let lines = run(WindowTvf::Hop {
            size_ms: 20_000,
            slide_ms: 10_000,
            offset_ms: 0,
        });
        assert_eq!(
            lines,
            [
                "+I 1 00:01 00:00 00:20 00:19.999",
                "+I 1 00:01 1969-12-31T23:59:50 00:10 00:09.999",
                "+I 2 00:12 00:10 00:30 00:29.999",
                "+I 2 00:12 00:00 00:20 00:19.999",
            ]
        );
    }

    #[test]
    fn cumulating_windows_share_their_start() {
        let lines = run(WindowTvf::Cumulate {
            max_size_ms: 15_000,
            step_ms: 5_000,
            offset_ms: 0,
        });
        assert_eq!(
            lines,
            [
                "+I 1 00:01 00:00 00:05 00:04.999",
                "+I 1 00:01 00:00 00:10 00:09.999",
                "+I 1 00:01 00:00 00:15 00:14.999",
                "+I 2 00:12 00:00 00:15 00:14.999",
            ]
        );
    }

    #[test]
    fn a_window_without_length_is_refused() {
        let mut config = WindowTvfConfig {
            window: WindowTvf::Tumble {
                size_ms: 0,
                offset_ms: 0,
            },
            time: WindowTime::Proctime,
            time_zone: None,
            schema: names(&[], &[]),
        };
        assert!(config.create().is_err());
        config.window = WindowTvf::Tumble {
            size_ms: 1,
            offset_ms: 0,
        };
        assert!(config.create().is_ok());
    }
}
