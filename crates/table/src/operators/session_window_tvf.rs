//! The SESSION window table-valued function, as rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, Int64Array};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use chrono_tz::Tz;
use flott_core::Result;
use flott_core::changelog::ChangelogBatch;
use flott_core::clock::Clock;
use flott_core::operator::{
    Operator, OperatorContext, OperatorFactory, Output, StateLayout, StateSnapshot,
};

use super::evaluate::WallClock;
use super::rows::{Extra, ExtraValue, Partitions, RestoredRows, RowStore, rows_layout};
use super::window_tvf::{WindowTime, append_bounds};

/// Appends the bounds of its session to every row: rows are held until the watermark (or
/// processing time) passes the end of their session. Late rows are dropped.
#[derive(Debug, Clone)]
pub struct SessionWindowTvfConfig {
    /// Sessions of a key are this far apart, in ms.
    pub gap_ms: i64,
    /// `PARTITION BY`; the input is exchanged by these columns.
    pub partition_columns: Vec<usize>,
    pub time: WindowTime,
    /// As in [`super::window_tvf::WindowTvfConfig`].
    pub time_zone: Option<Tz>,
    /// The input's columns, then `window_start`, `window_end`, `window_time`.
    pub schema: SchemaRef,
}

impl OperatorFactory for SessionWindowTvfConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        let input = self.input_schema();
        Ok(Box::new(SessionWindowTvf {
            config: self.clone(),
            wall: WallClock::new(self.time_zone),
            keys: Partitions::new(&input, &self.partition_columns)?,
            store: RowStore::new(input.clone()),
            times: Vec::new(),
            input,
            sessions: Vec::new(),
            closing: BTreeMap::new(),
            next_arrival: 0,
            watermark: i64::MIN,
            context: None,
        }))
    }

    fn state_layout(&self) -> Result<Option<StateLayout>> {
        Ok(Some(rows_layout(&[(ROWS, &self.input_schema())], true)))
    }
}

impl SessionWindowTvfConfig {
    fn input_schema(&self) -> SchemaRef {
        let num_columns = self.schema.fields().len().saturating_sub(3);
        Arc::new(Schema::new(self.schema.fields()[..num_columns].to_vec()))
    }
}

/// A session under way; bounds in wall-clock ms.
#[derive(Debug, Default, PartialEq)]
struct Session {
    start: i64,
    end: i64,
    rows: Vec<Held>,
}

/// A row of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    arrival: i64,
    slot: u32,
    time: i64,
}

/// Puts a row's own window into a key's sessions, which stand in order of time; gives the bounds of
/// the session that the row is in now. Sessions that touch become one.
fn merge(sessions: &mut Vec<Session>, mut own: Session) -> (i64, i64) {
    let first = sessions.partition_point(|s| s.end < own.start);
    let past = sessions.partition_point(|s| s.start <= own.end);
    for session in sessions.drain(first..past.max(first)) {
        own.start = own.start.min(session.start);
        own.end = own.end.max(session.end);
        own.rows.extend(session.rows);
    }
    let bounds = (own.start, own.end);
    sessions.insert(first, own);
    bounds
}

struct SessionWindowTvf {
    config: SessionWindowTvfConfig,
    wall: WallClock,
    input: SchemaRef,
    keys: Partitions,
    store: RowStore,
    /// By slot of the store.
    times: Vec<i64>,
    /// By number of the key.
    sessions: Vec<Vec<Session>>,
    /// The keys that may have a session to close at this time, in ms since 1970; a session that has
    /// grown since is found to be open still.
    closing: BTreeMap<i64, Vec<u32>>,
    next_arrival: i64,
    watermark: i64,
    context: Option<OperatorContext>,
}

impl SessionWindowTvf {
    fn clock(&self) -> Option<&Arc<dyn Clock>> {
        self.context.as_ref().map(|c| &c.clock)
    }

    fn is_proctime(&self) -> bool {
        self.config.time == WindowTime::Proctime
    }

    /// Adds rows, which are not copied yet, at these wall-clock times. A late row is dropped: one whose session, after all
    /// merging, the watermark has closed.
    fn hold(
        &mut self,
        rows: &RecordBatch,
        times: &Int64Array,
        arrival: impl Fn(usize) -> Option<i64>,
    ) -> Result<()> {
        let numbers = self.keys.assign(rows)?;
        let bound = self.keys.bound();
        self.sessions
            .resize_with(bound.max(self.sessions.len()), Vec::new);
        let mut num_late = 0;
        for (row, &number) in numbers.iter().enumerate() {
            if times.is_null(row) {
                continue;
            }
            let time = times.value(row);
            let own = Session {
                start: time,
                end: time + self.config.gap_ms,
                rows: Vec::new(),
            };
            let sessions = &mut self.sessions[number as usize];
            let (start, end) = merge(sessions, own);
            let closing = self.wall.epoch(end - 1);
            let position = sessions.partition_point(|s| s.start < start);
            if !matches!(self.config.time, WindowTime::Proctime) && closing <= self.watermark {
                sessions.remove(position);
                num_late += 1;
                continue;
            }
            let arrival = arrival(row).unwrap_or(self.next_arrival);
            self.next_arrival = self.next_arrival.max(arrival + 1);
            let slot = self.store.allocate(row);
            let num_slots = self.times.len().max(slot as usize + 1);
            self.times.resize(num_slots, 0);
            self.times[slot as usize] = time;
            sessions[position].rows.push(Held {
                arrival,
                slot,
                time,
            });
            let waiting = self.closing.entry(closing).or_default();
            if waiting.last() != Some(&number) {
                waiting.push(number);
            }
        }
        for number in numbers {
            if self.sessions[number as usize].is_empty() {
                self.keys.remove(number);
            }
        }
        if let Some(context) = self.context.as_ref().filter(|_| num_late > 0) {
            context.metrics.num_late_records_dropped.add(num_late);
        }
        Ok(())
    }

    /// Sends the sessions that end before this time, in order of their end.
    fn close(&mut self, time_ms: i64, out: &mut dyn Output) -> Result<()> {
        let (mut slots, mut starts, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(entry) = self.closing.first_entry()
            && *entry.key() <= time_ms
        {
            let at = *entry.key();
            for number in entry.remove() {
                let sessions = &mut self.sessions[number as usize];
                let is_closed = |s: &Session| self.wall.epoch(s.end - 1) <= at;
                let num_closed = sessions.partition_point(is_closed);
                for mut session in sessions.drain(..num_closed) {
                    session.rows.sort_unstable();
                    slots.extend(session.rows.iter().map(|r| r.slot));
                    starts.resize(slots.len(), session.start);
                    ends.resize(slots.len(), session.end);
                }
                if num_closed > 0 && sessions.is_empty() {
                    self.keys.remove(number);
                }
            }
        }
        if slots.is_empty() {
            return Ok(());
        }
        let rows = self.store.rows(&slots)?;
        let rows = append_bounds(rows, starts, ends, self.wall, &self.config.schema)?;
        out.emit(ChangelogBatch::insert_only(rows))?;
        slots.into_iter().for_each(|slot| self.store.release(slot));
        self.store.sweep()
    }
}

impl Operator for SessionWindowTvf {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        self.context = Some(context.clone());
        self.store.set_max_parallelism(context.max_parallelism);
        Ok(())
    }

    fn process(&mut self, _: usize, batch: ChangelogBatch, _: &mut dyn Output) -> Result<()> {
        let time = self.config.time;
        let times = time.local_times(batch.rows(), self.clock(), self.wall)?;
        self.hold(batch.rows(), &times, |_| None)?;
        let hashes = self.keys.row_hashes();
        self.store.commit_keyed(batch.rows(), hashes)
    }

    fn watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<()> {
        if !self.is_proctime() {
            self.watermark = watermark;
            self.close(watermark, out)?;
        }
        out.watermark(watermark)
    }

    fn next_timer_ms(&self) -> Option<i64> {
        let next = self.closing.first_key_value().map(|(&time, _)| time);
        next.filter(|_| self.is_proctime())
    }

    fn on_timer(&mut self, now_ms: i64, out: &mut dyn Output) -> Result<()> {
        self.close(now_ms, out)
    }

    fn state_bytes(&self) -> usize {
        let sessions = self.sessions.capacity() * size_of::<Vec<Session>>();
        let closing = self.closing.len() * 64;
        self.store.size_bytes() + self.keys.size_bytes() + sessions + closing
    }

    fn next_event_time(&self) -> Option<i64> {
        if self.is_proctime() {
            return None;
        }
        Some(
            self.closing
                .first_key_value()
                .map_or(i64::MAX, |(&time, _)| time),
        )
    }

    fn snapshot(&mut self) -> Result<StateSnapshot> {
        let times = &self.times;
        let time: [Extra<'_>; 1] = [("time", ExtraValue::Of(&|slot| times[slot]))];
        Ok(StateSnapshot {
            tables: vec![self.store.snapshot(ROWS, &time)],
        })
    }

    fn restore(&mut self, snapshot: StateSnapshot) -> Result<()> {
        for batch in snapshot.table(ROWS) {
            let restored = RestoredRows::<1>::new(&batch?, &self.input)?;
            let [times] = &restored.extra;
            self.hold(&restored.rows, times, |row| Some(restored.id(row)))?;
            self.store.commit_restored(&restored)?;
        }
        self.next_arrival = self.store.next_id() as i64;
        self.store.told();
        Ok(())
    }

    fn restart_snapshots(&mut self) {
        self.store.restart_snapshots();
    }
}

const ROWS: &str = "rows";

#[cfg(test)]
mod tests {
    use super::*;
    use flott_core::graph::Exchange;
    use flott_core::schema::{Column, Schema as TableSchema};
    use flott_core::types::LogicalType;
    use flott_engine::testing::{Harness, Step, crash_everywhere, says_only_changes};

    fn harness(time: WindowTime) -> Harness {
        let timestamp = || LogicalType::Timestamp(3).nullable();
        let input = TableSchema::new(vec![
            Column::new("ts", timestamp()),
            Column::new("item", LogicalType::STRING.nullable()),
            Column::new("supplier", LogicalType::STRING.nullable()),
        ]);
        let bounds = ["window_start", "window_end", "window_time"];
        let bounds = bounds.map(|n| Column::new(n, timestamp()));
        let config = SessionWindowTvfConfig {
            gap_ms: 10_000,
            partition_columns: vec![2],
            time,
            time_zone: None,
            schema: input.join(&TableSchema::new(bounds.to_vec())).to_arrow(),
        };
        Harness::new(Arc::new(config)).input_by(input, Exchange::Hash(vec![2]))
    }

    /// The item, start and end in seconds of each line of rows.
    fn sessions(lines: Vec<String>) -> Vec<String> {
        let rows = lines.iter().filter(|l| l.starts_with("+I"));
        rows.map(|l| {
            let fields: Vec<_> = l.split(" | ").collect();
            let second = |f: &str| {
                f.rsplit(':')
                    .next()
                    .unwrap_or("")
                    .trim_end_matches(".000")
                    .to_string()
            };
            format!("{} {} {}", fields[2], second(fields[4]), second(fields[5]))
        })
        .collect()
    }

    #[test]
    fn rows_come_with_the_bounds_of_their_session() {
        let mut open = harness(WindowTime::Rowtime(0)).open().unwrap();
        open.process(0, "00:00:01 | C | s1\n00:00:03 | A | s1\n00:00:09 | D | s2")
            .unwrap();
        open.process(0, "00:00:16 | F | s1").unwrap();
        open.watermark(15_000).unwrap();
        assert_eq!(sessions(open.drain()), ["C 01 13", "A 01 13"]);
        open.process(0, "00:00:05 | L | s1\n00:00:12 | M | s1")
            .unwrap();
        open.finish().unwrap();
        assert_eq!(sessions(open.drain()), ["D 09 19", "F 12 26", "M 12 26"]);
    }

    #[test]
    fn processing_time_closes_sessions_by_timer() {
        let mut open = harness(WindowTime::Proctime).open().unwrap();
        open.process(0, "NULL | a | s").unwrap();
        open.advance_time(5_000).unwrap();
        open.process(0, "NULL | b | s").unwrap();
        open.advance_time(14_998).unwrap();
        assert_eq!(sessions(open.drain()), Vec::<String>::new());
        open.advance_time(14_999).unwrap();
        assert_eq!(sessions(open.drain()), ["a 00 15", "b 00 15"]);
    }

    #[test]
    fn crashes_change_nothing() {
        let script = [
            Step::process(0, "00:00:01 | C | s1\n00:00:20 | D | s2"),
            Step::process(0, "00:00:18 | E | s1\n00:00:03 | A | s1"),
            Step::Watermark(14_000),
            Step::process(0, "00:00:10 | F | s1"),
            Step::Finish,
        ];
        crash_everywhere(&harness(WindowTime::Rowtime(0)), &script, &[1, 2]).unwrap();
        says_only_changes(&harness(WindowTime::Rowtime(0)), &script).unwrap();
    }

    #[test]
    fn a_row_between_two_sessions_makes_them_one() {
        let session = |start, end| Session {
            start,
            end,
            rows: Vec::new(),
        };
        let mut sessions = vec![session(0, 10), session(20, 30), session(40, 50)];
        assert_eq!(merge(&mut sessions, session(10, 20)), (0, 30));
        assert_eq!(sessions, [session(0, 30), session(40, 50)]);
        assert_eq!(merge(&mut sessions, session(32, 38)), (32, 38));
        assert_eq!(sessions[1], session(32, 38));
    }
}
