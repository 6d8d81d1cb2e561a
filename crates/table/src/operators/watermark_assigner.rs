//! Watermarks from rows' times.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use datafusion_physical_expr_common::physical_expr::PhysicalExpr;
use flott_core::changelog::ChangelogBatch;
use flott_core::operator::{
    Operator, OperatorContext, OperatorFactory, Output, StateScope, StateSnapshot, StateTable,
};
use flott_core::watermark::RowWatermarks;
use flott_core::{Error, Result};

use super::evaluate::{evaluate, milliseconds};

/// `WATERMARK FOR column AS expression`: passes rows on and sends watermarks.
///
/// A watermark goes out right after any row that advances it by more than `emit_interval_ms`, and
/// what is left after that time of processing time. A batch is split only before a row that could
/// tell the difference.
#[derive(Debug, Clone)]
pub struct WatermarkAssignerConfig {
    /// The position of the rowtime column; a NULL in it is an error.
    pub time_column: usize,
    /// The watermark of a row: a timestamp, or BIGINT milliseconds; NULL is no watermark.
    pub expr: Arc<dyn PhysicalExpr>,
    /// `pipeline.auto-watermark-interval`, in ms; Flink's default is
    /// [`DEFAULT_EMIT_INTERVAL_MS`].
    pub emit_interval_ms: i64,
    /// Before which rows a watermark must be sent, which splits their batch.
    pub telling: TellingRows,
}

/// The rows for which it makes a difference whether a watermark comes before or after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TellingRows {
    /// Late ones, which leaves ascending rows together.
    Late,
    /// Those right after the watermark too: they prolong a session that ends there if they come
    /// before the watermark.
    Adjacent,
    /// All: the watermark itself is asked for.
    Every,
}

impl TellingRows {
    /// How far after the watermark a row may be that can tell, in ms.
    fn reach_ms(self) -> i64 {
        match self {
            Self::Late => 0,
            Self::Adjacent => 1,
            Self::Every => i64::MAX,
        }
    }
}

/// `pipeline.auto-watermark-interval` when it is not set.
pub const DEFAULT_EMIT_INTERVAL_MS: i64 = 200;

/// The watermarks of rows, for sources that make their own; `time` is the rowtime, and `expr` as in
/// [`WatermarkAssignerConfig::expr`].
pub fn row_watermarks(time: Arc<dyn PhysicalExpr>, expr: Arc<dyn PhysicalExpr>) -> RowWatermarks {
    Arc::new(move |batch| {
        check_times(&milliseconds(&evaluate(time.as_ref(), batch.rows())?)?)?;
        milliseconds(&evaluate(expr.as_ref(), batch.rows())?)
    })
}

fn check_times(times: &Int64Array) -> Result<()> {
    match times.null_count() {
        0 => Ok(()),
        _ => Err(Error::user(
            "NULL_ROWTIME",
            "RowTime field should not be null, please convert it to a non-null long value.",
        )),
    }
}

impl OperatorFactory for WatermarkAssignerConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(WatermarkAssigner {
            config: self.clone(),
            context: None,
            progress: Progress::default(),
            sent: 0,
            timer: None,
        }))
    }
}

/// How far event time has come. As in Flink it starts in 1970, not before all time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Progress {
    /// The highest watermark of any row.
    reached: i64,
    /// The highest that has been sent or is due.
    due: i64,
}

struct WatermarkAssigner {
    config: WatermarkAssignerConfig,
    context: Option<OperatorContext>,
    progress: Progress,
    /// The last watermark sent; behind what is due only inside a batch.
    sent: i64,
    timer: Option<i64>,
}

impl WatermarkAssigner {
    fn send_due(&mut self, out: &mut dyn Output) -> Result<()> {
        if self.progress.due > self.sent {
            self.sent = self.progress.due;
            out.watermark(self.sent)?;
        }
        Ok(())
    }

    /// The next timer stands while there is an advance that has not been sent.
    fn set_timer(&mut self) {
        let is_behind = self.progress.reached > self.progress.due;
        let interval = self.config.emit_interval_ms;
        self.timer = match (&self.context, is_behind && interval > 0) {
            (Some(context), true) => self.timer.or(Some(context.clock.now_ms() + interval)),
            _ => None,
        };
    }

    fn scan(
        &mut self,
        batch: &ChangelogBatch,
        times: &Int64Array,
        watermarks: &Int64Array,
        out: &mut dyn Output,
    ) -> Result<()> {
        let (times, mut start) = (times.values(), 0);
        let reach = self.config.telling.reach_ms();
        let Progress {
            mut reached,
            mut due,
        } = self.progress;
        for (row, &time) in times.iter().enumerate() {
            if time <= due.saturating_add(reach) && due > self.sent {
                out.emit(batch.slice(start, row - start))?;
                start = row;
                self.progress = Progress { reached, due };
                self.send_due(out)?;
            }
            if watermarks.is_valid(row) {
                reached = reached.max(watermarks.value(row));
            }
            if reached.saturating_sub(due) > self.config.emit_interval_ms {
                due = reached;
            }
        }
        self.progress = Progress { reached, due };
        if start == 0 {
            out.emit(batch.clone())?;
        } else {
            out.emit(batch.slice(start, batch.num_rows() - start))?;
        }
        self.send_due(out)
    }
}

impl Operator for WatermarkAssigner {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        self.context = Some(context.clone());
        Ok(())
    }

    fn process(&mut self, _: usize, batch: ChangelogBatch, out: &mut dyn Output) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let times = milliseconds(batch.column(self.config.time_column))?;
        check_times(&times)?;
        let watermarks = evaluate(self.config.expr.as_ref(), batch.rows())?;
        let watermarks = milliseconds(&watermarks)?;
        self.scan(&batch, &times, &watermarks, out)?;
        self.set_timer();
        Ok(())
    }

    /// Watermarks of before end here; only the end of input is passed on.
    fn watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<()> {
        if watermark == i64::MAX {
            self.progress = Progress {
                reached: i64::MAX,
                due: i64::MAX,
            };
            self.timer = None;
            return self.send_due(out);
        }
        Ok(())
    }

    fn next_timer_ms(&self) -> Option<i64> {
        // Only after a restore: what had been sent before is sent again, whether or not rows come.
        // Those downstream would wait for it.
        match self.progress.due > self.sent {
            true => Some(i64::MIN),
            false => self.timer,
        }
    }

    fn on_timer(&mut self, now_ms: i64, out: &mut dyn Output) -> Result<()> {
        if self.timer.is_some_and(|at| at <= now_ms) {
            self.timer = None;
            self.progress.due = self.progress.reached;
        }
        self.send_due(out)
    }

    fn snapshot(&mut self) -> Result<StateSnapshot> {
        let subtask = self.context.as_ref().map_or(0, |c| c.subtask);
        let names = ["reached", "due"];
        let fields = names.map(|n| Field::new(n, DataType::Int64, true));
        let mut fields = fields.to_vec();
        fields.insert(0, Field::new("subtask", DataType::UInt32, true));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt32Array::from(vec![subtask as u32])),
            Arc::new(Int64Array::from(vec![self.progress.reached])),
            Arc::new(Int64Array::from(vec![self.progress.due])),
        ];
        Ok(StateSnapshot {
            tables: vec![StateTable::full(
                PROGRESS,
                StateScope::Union,
                RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?,
            )],
        })
    }

    /// With the parallelism of before each subtask goes on where it was; with another, where the
    /// slowest was, because splits may have moved.
    fn restore(&mut self, snapshot: StateSnapshot) -> Result<()> {
        let mut all = Vec::new();
        for batch in snapshot.table(PROGRESS) {
            let batch = &batch?;
            use arrow::array::AsArray;
            use arrow::datatypes::{Int64Type, UInt32Type};
            let subtasks = batch.column(0).as_primitive::<UInt32Type>();
            let reached = batch.column(1).as_primitive::<Int64Type>();
            let due = batch.column(2).as_primitive::<Int64Type>();
            all.extend((0..batch.num_rows()).map(|i| {
                let progress = Progress {
                    reached: reached.value(i),
                    due: due.value(i),
                };
                (subtasks.value(i) as usize, progress)
            }));
        }
        let (subtask, parallelism) = match &self.context {
            Some(context) => (context.subtask, context.parallelism),
            None => (0, 1),
        };
        let own = all
            .iter()
            .find(|(s, _)| *s == subtask && all.len() == parallelism);
        let slowest = all.iter().min_by_key(|(_, p)| p.reached);
        self.progress = own.or(slowest).map_or(self.progress, |(_, p)| *p);
        self.set_timer();
        Ok(())
    }
}

const PROGRESS: &str = "progress";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::collect::{Collected, batch, context, reopen, times};
    use datafusion_physical_expr::expressions::Column;

    fn config() -> WatermarkAssignerConfig {
        WatermarkAssignerConfig {
            time_column: 0,
            expr: Arc::new(Column::new("watermark", 1)),
            emit_interval_ms: DEFAULT_EMIT_INTERVAL_MS,
            telling: TellingRows::Adjacent,
        }
    }

    fn rows<const N: usize>(values: [i64; N]) -> ChangelogBatch {
        let watermarks = values.map(|v| v - 1_000);
        batch(
            "",
            vec![("ts", times(values)), ("watermark", times(watermarks))],
        )
    }

    fn run(operator: &mut Box<dyn Operator>, input: ChangelogBatch) -> Vec<String> {
        let mut collected = Collected::default();
        operator.process(0, input, &mut collected).unwrap();
        let lines = collected.take().into_iter();
        lines
            .map(|l| l.split(' ').take(2).collect::<Vec<_>>().join(" "))
            .collect()
    }

    fn opened() -> Box<dyn Operator> {
        let mut operator = config().create().unwrap();
        operator.open(&context(0, 1)).unwrap();
        operator
    }

    #[test]
    fn a_batch_is_split_before_late_rows_only() {
        let mut operator = opened();
        let lines = run(&mut operator, rows([3_000, 5_000, 3_500, 6_000, 6_100]));
        assert_eq!(
            lines,
            [
                "+I 00:03",
                "+I 00:05",
                "~ 4000",
                "+I 00:03.500",
                "+I 00:06",
                "+I 00:06.100",
                "~ 5000"
            ]
        );
    }

    #[test]
    fn ascending_rows_stay_together_unless_they_can_tell() {
        let cases = [
            (TellingRows::Late, 1),
            (TellingRows::Adjacent, 2),
            (TellingRows::Every, 3),
        ];
        for (telling, parts) in cases {
            let config = WatermarkAssignerConfig {
                telling,
                ..config()
            };
            let mut operator = config.create().unwrap();
            operator.open(&context(0, 1)).unwrap();
            let ascending = times([3_000, 3_300, 3_301]);
            let input = batch(
                "",
                vec![("ts", ascending.clone()), ("watermark", ascending)],
            );
            let mut collected = Collected::default();
            operator.process(0, input, &mut collected).unwrap();
            assert_eq!(collected.batches.len(), parts, "{telling:?}");
        }
    }

    #[test]
    fn small_advances_wait_for_the_timer() {
        let mut operator = opened();
        run(&mut operator, rows([3_000]));
        assert_eq!(operator.next_timer_ms(), None);
        assert_eq!(run(&mut operator, rows([3_200])), ["+I 00:03.200"]);
        assert_eq!(operator.next_timer_ms(), Some(200));
        let mut collected = Collected::default();
        operator.on_timer(200, &mut collected).unwrap();
        assert_eq!(collected.take(), ["~ 2200"]);
        assert_eq!(operator.next_timer_ms(), None);
    }

    #[test]
    fn rows_one_by_one_give_the_watermarks_of_one_batch() {
        let all = [3_000, 5_000, 3_500, 6_000, 6_100, 7_000, 1_000];
        let mut whole = opened();
        let together = run(&mut whole, rows(all));
        let mut single = opened();
        let mut last = Vec::new();
        for time in all {
            last.extend(run(&mut single, rows([time])));
            reopen(&config(), &mut single);
        }
        let late = |lines: &[String]| {
            let at = lines.iter().rposition(|l| l == "+I 00:01");
            at.map(|i| lines[i - 1].clone())
        };
        assert_eq!(late(&together), late(&last));
    }

    #[test]
    fn a_null_time_is_refused() {
        let mut operator = opened();
        let nulls: ArrayRef = Arc::new(arrow::array::TimestampMillisecondArray::new_null(1));
        let input = batch("", vec![("ts", nulls.clone()), ("watermark", nulls)]);
        let error = operator.process(0, input, &mut Collected::default());
        assert_eq!(error.unwrap_err().code(), "NULL_ROWTIME");
    }

    #[test]
    fn after_a_rescale_the_slowest_subtask_counts() {
        let mut fast = opened();
        run(&mut fast, rows([9_000]));
        let mut slow = config().create().unwrap();
        slow.open(&context(1, 2)).unwrap();
        run(&mut slow, rows([5_000]));
        let mut both = fast.snapshot().unwrap();
        let more = slow.snapshot().unwrap();
        let both_rows = both.table(PROGRESS).chain(more.table(PROGRESS));
        let all: Vec<_> = both_rows.map(Result::unwrap).collect();
        both.tables = vec![StateTable::full(PROGRESS, StateScope::Union, all)];
        let mut restored = opened();
        restored.restore(both).unwrap();
        // What was due is sent again: those downstream have forgotten it.
        let mut collected = Collected::default();
        assert_eq!(restored.next_timer_ms(), Some(i64::MIN));
        restored.on_timer(0, &mut collected).unwrap();
        assert_eq!(collected.take(), ["~ 4000"]);
        let lines = run(&mut restored, rows([5_100]));
        assert_eq!(lines, ["+I 00:05.100"]);
        assert_eq!(restored.next_timer_ms(), Some(200));
    }
}
