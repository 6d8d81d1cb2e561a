//! Watermarks that a source makes for each of its splits, as FLIP-27 says.
//!
//! The watermark of a subtask is the least over its splits, but for idle ones, so that a split that
//! is read later than others loses no rows. Sources that have one order of their rows leave
//! watermarks to an operator behind them.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, Int64Array};

use crate::changelog::ChangelogBatch;
use crate::error::Result;
use crate::options::{OptionDef, OptionType};

/// Tables' options about watermarks, as Flink names them.
pub const WATERMARK_OPTIONS: &[OptionDef] = &[
    EMIT_STRATEGY,
    IDLE_TIMEOUT,
    ALIGNMENT_GROUP,
    ALIGNMENT_MAX_DRIFT,
    ALIGNMENT_UPDATE_INTERVAL,
];
/// `scan.watermark.emit.strategy`.
pub const EMIT_STRATEGY: OptionDef = OptionDef::new(
    "scan.watermark.emit.strategy",
    OptionType::Enum(&["on-periodic", "on-event"]),
    "whether a watermark is sent from time to time ('pipeline.auto-watermark-interval') or as soon as it rises",
)
.default("on-periodic");
/// `scan.watermark.idle-timeout`.
pub const IDLE_TIMEOUT: OptionDef = OptionDef::new(
    "scan.watermark.idle-timeout",
    OptionType::Duration,
    "a partition without rows for so long holds watermarks back no more; without it, 'table.exec.source.idle-timeout' is taken",
);
/// `scan.watermark.alignment.group`.
pub const ALIGNMENT_GROUP: OptionDef = OptionDef::new(
    "scan.watermark.alignment.group",
    OptionType::String,
    "tables of one group wait for each other when their watermarks drift apart; needs 'scan.watermark.alignment.max-drift' too",
)
.example("shop");
/// `scan.watermark.alignment.max-drift`.
pub const ALIGNMENT_MAX_DRIFT: OptionDef = OptionDef::new(
    "scan.watermark.alignment.max-drift",
    OptionType::Duration,
    "how far a partition's watermark may be before the least one of the group until it is read no further",
);
/// `scan.watermark.alignment.update-interval`.
pub const ALIGNMENT_UPDATE_INTERVAL: OptionDef = OptionDef::new(
    "scan.watermark.alignment.update-interval",
    OptionType::Duration,
    "how often the group's watermarks are compared",
)
.default("1 s");

/// The watermark of each row, in ms; NULL for none. An error for a row without a time.
pub type RowWatermarks = Arc<dyn Fn(&ChangelogBatch) -> Result<Int64Array> + Send + Sync>;

/// How a source makes watermarks.
#[derive(Clone)]
pub struct SourceWatermarks {
    /// Over the source's own columns.
    pub of_rows: RowWatermarks,
    /// How far event time may rise, or how long in ms a rise may wait, before a watermark is sent.
    pub emit_interval_ms: i64,
    pub idle_timeout_ms: Option<i64>,
    pub alignment: Option<WatermarkAlignment>,
}

/// How a source waits for others.
#[derive(Debug, Clone)]
pub struct WatermarkAlignment {
    pub group: Arc<WatermarkGroup>,
    pub max_drift_ms: i64,
    pub update_interval_ms: i64,
}

/// The watermarks of the subtasks that wait for each other; a subtask that is idle has none.
#[derive(Debug, Default)]
pub struct WatermarkGroup(Mutex<Members>);

#[derive(Debug, Default)]
struct Members {
    next: u64,
    watermarks: BTreeMap<u64, Option<i64>>,
}

impl WatermarkGroup {
    fn with<T>(&self, act: impl FnOnce(&mut Members) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The least watermark of those that are not idle.
    fn least(&self) -> Option<i64> {
        self.with(|m| m.watermarks.values().flatten().min().copied())
    }
}

/// How far a split has come.
#[derive(Debug)]
struct Progress {
    reached: i64,
    last_row_ms: i64,
    is_paused: bool,
}

/// The watermarks of one subtask's splits.
pub struct SplitWatermarks<K: Ord + Clone> {
    rule: SourceWatermarks,
    member: Option<u64>,
    splits: BTreeMap<K, Progress>,
    /// The last watermark sent; time starts in 1970, as in Flink.
    sent: i64,
    /// Since when a rise waits to be sent, in processing time.
    risen_ms: Option<i64>,
    aligned_ms: i64,
}

/// Splits that are read no further, and those that are read again.
#[derive(Debug, PartialEq, Eq)]
pub struct Alignment<K> {
    pub paused: Vec<K>,
    pub resumed: Vec<K>,
}

impl<K: Ord + Clone> SplitWatermarks<K> {
    pub fn new(rule: SourceWatermarks) -> Self {
        let join = |a: &WatermarkAlignment| {
            a.group.with(|members| {
                members.next += 1;
                members.watermarks.insert(members.next, None);
                members.next
            })
        };
        Self {
            member: rule.alignment.as_ref().map(join),
            rule,
            splits: BTreeMap::new(),
            sent: 0,
            risen_ms: None,
            aligned_ms: i64::MIN,
        }
    }

    /// A split has been taken over: until it has had rows, or is idle, it holds watermarks back.
    pub fn add(&mut self, split: K, now_ms: i64) {
        let progress = Progress {
            reached: i64::MIN,
            last_row_ms: now_ms,
            is_paused: false,
        };
        self.splits.insert(split, progress);
    }

    /// A split has been read to its end.
    pub fn remove(&mut self, split: &K) {
        self.splits.remove(split);
    }

    /// The watermarks of a batch's rows.
    ///
    /// # Errors
    /// A user error for a row without a time.
    pub fn of_rows(&self, batch: &ChangelogBatch) -> Result<Int64Array> {
        (self.rule.of_rows)(batch)
    }

    /// Rows of a split have been read; the highest of their watermarks.
    pub fn observe(&mut self, split: &K, watermark: Option<i64>, now_ms: i64) {
        if let Some(progress) = self.splits.get_mut(split) {
            progress.last_row_ms = now_ms;
            progress.reached = progress.reached.max(watermark.unwrap_or(i64::MIN));
        }
    }

    fn is_idle(&self, progress: &Progress, now_ms: i64) -> bool {
        let timeout_ms = self.rule.idle_timeout_ms.filter(|_| !progress.is_paused);
        timeout_ms.is_some_and(|t| now_ms >= progress.last_row_ms.saturating_add(t))
    }

    /// The least watermark of the splits that are not idle.
    fn least(&self, now_ms: i64) -> Option<i64> {
        let splits = self.splits.values();
        let active = splits.filter(|p| !self.is_idle(p, now_ms));
        active.map(|p| p.reached).min()
    }

    /// The watermark that is due to be sent.
    pub fn due(&mut self, now_ms: i64) -> Option<i64> {
        let risen = self.least(now_ms).filter(|least| *least > self.sent);
        let Some(least) = risen else {
            self.risen_ms = None;
            return None;
        };
        let since_ms = *self.risen_ms.get_or_insert(now_ms);
        let interval_ms = self.rule.emit_interval_ms;
        let is_due = least.saturating_sub(self.sent) > interval_ms
            || now_ms >= since_ms.saturating_add(interval_ms);
        is_due.then(|| {
            self.risen_ms = None;
            self.sent = least;
            least
        })
    }

    /// When [`SplitWatermarks::due`] or [`SplitWatermarks::align`] may say something new although
    /// no rows come, in processing time.
    pub fn next_check_ms(&self, now_ms: i64) -> Option<i64> {
        let sends_at = self
            .risen_ms
            .map(|since| since.saturating_add(self.rule.emit_interval_ms));
        let splits = self.splits.values();
        let idle_at = self.rule.idle_timeout_ms.and_then(|timeout_ms| {
            let active = splits.filter(|p| !p.is_paused && !self.is_idle(p, now_ms));
            let at = active.map(|p| p.last_row_ms.saturating_add(timeout_ms));
            at.min()
        });
        let aligns_at = self.rule.alignment.as_ref().map(|a| {
            let next = self.aligned_ms.saturating_add(a.update_interval_ms);
            next.max(now_ms)
        });
        [sends_at, idle_at, aligns_at].into_iter().flatten().min()
    }

    /// Compares with the others of the group, when it is time to.
    pub fn align(&mut self, now_ms: i64) -> Option<Alignment<K>> {
        let alignment = self.rule.alignment.clone()?;
        let is_due = now_ms >= self.aligned_ms.saturating_add(alignment.update_interval_ms);
        if !is_due {
            return None;
        }
        self.aligned_ms = now_ms;
        // One that has had no row yet cannot say where it is.
        let own = self.least(now_ms).filter(|least| *least > i64::MIN);
        let group = &alignment.group;
        group.with(|m| self.member.and_then(|id| m.watermarks.insert(id, own)));
        let limit = group.least().map_or(i64::MAX, |least| {
            least.saturating_add(alignment.max_drift_ms)
        });
        let (mut paused, mut resumed) = (Vec::new(), Vec::new());
        for (split, progress) in &mut self.splits {
            let is_ahead = progress.reached > limit;
            if is_ahead != progress.is_paused {
                progress.is_paused = is_ahead;
                // A pause is no idleness.
                progress.last_row_ms = now_ms;
                match is_ahead {
                    true => paused.push(split.clone()),
                    false => resumed.push(split.clone()),
                }
            }
        }
        Some(Alignment { paused, resumed })
    }
}

impl<K: Ord + Clone> Drop for SplitWatermarks<K> {
    fn drop(&mut self) {
        if let (Some(alignment), Some(member)) = (&self.rule.alignment, self.member) {
            alignment.group.with(|m| m.watermarks.remove(&member));
        }
    }
}

/// The highest value of an array's rows that are picked; `None` when all are NULL.
pub fn highest(watermarks: &Int64Array, rows: impl Iterator<Item = usize>) -> Option<i64> {
    let valid = rows.filter(|row| watermarks.is_valid(*row));
    valid.map(|row| watermarks.value(row)).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> SourceWatermarks {
        SourceWatermarks {
            of_rows: Arc::new(|batch| Ok(Int64Array::new_null(batch.num_rows()))),
            emit_interval_ms: 200,
            idle_timeout_ms: None,
            alignment: None,
        }
    }

    #[test]
    fn the_slowest_split_counts() {
        let mut marks = SplitWatermarks::new(rule());
        marks.add("a", 0);
        marks.add("b", 0);
        marks.observe(&"a", Some(10_000), 0);
        assert_eq!(marks.due(0), None, "b has had no row yet");
        marks.observe(&"b", Some(3_000), 0);
        assert_eq!(marks.due(0), Some(3_000));
        marks.observe(&"b", Some(3_100), 1);
        assert_eq!(marks.due(1), None);
        assert_eq!(marks.next_check_ms(1), Some(201));
        assert_eq!(marks.due(201), Some(3_100));
        marks.remove(&"b");
        assert_eq!(marks.due(202), Some(10_000));
        marks.add("c", 203);
        marks.observe(&"c", Some(5), 203);
        assert_eq!(marks.due(10_000), None, "time never goes back");
    }

    #[test]
    fn an_idle_split_holds_nothing_back() {
        let mut marks = SplitWatermarks::new(SourceWatermarks {
            idle_timeout_ms: Some(1_000),
            ..rule()
        });
        marks.add("a", 0);
        marks.add("b", 0);
        marks.observe(&"a", Some(10_000), 500);
        assert_eq!(marks.next_check_ms(500), Some(1_000));
        assert_eq!(marks.due(999), None);
        assert_eq!(marks.due(1_000), Some(10_000));
        marks.observe(&"b", Some(12_000), 1_100);
        marks.observe(&"a", Some(20_000), 1_100);
        assert_eq!(marks.due(1_100), Some(12_000));
        assert_eq!(marks.due(9_000), None, "all are idle");
    }

    #[test]
    fn those_ahead_wait_for_the_group() {
        let alignment = WatermarkAlignment {
            group: Arc::default(),
            max_drift_ms: 100,
            update_interval_ms: 10,
        };
        let rule = SourceWatermarks {
            alignment: Some(alignment),
            ..rule()
        };
        let mut fast = SplitWatermarks::new(rule.clone());
        let mut slow = SplitWatermarks::new(rule);
        fast.add("fast", 0);
        slow.add("slow", 0);
        fast.observe(&"fast", Some(1_000), 0);
        slow.observe(&"slow", Some(500), 0);
        assert!(slow.align(0).is_some_and(|a| a.paused.is_empty()));
        let waits = fast.align(0).map(|a| a.paused);
        assert_eq!(waits, Some(vec!["fast"]));
        assert_eq!(fast.align(5), None, "not yet");
        slow.observe(&"slow", Some(950), 8);
        slow.align(10);
        assert_eq!(fast.align(10).map(|a| a.resumed), Some(vec!["fast"]));
        fast.observe(&"fast", Some(2_000), 11);
        drop(slow);
        assert!(fast.align(20).is_some_and(|a| a.paused.is_empty()));
    }
}
