//! Top-n inside windows.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::SchemaRef;
use chrono_tz::Tz;
use flott_core::changelog::ChangelogBatch;
use flott_core::operator::{
    Operator, OperatorContext, OperatorFactory, Output, StateLayout, StateSnapshot,
};
use flott_core::{Error, Result};

use super::evaluate::{WallClock, milliseconds};
use super::rank::{RankFunction, append_ranks};
use super::rows::rows_layout;
use super::sort_key::SortKey;
use super::top_rows::{ROWS, TopRows};

/// Top-n of each window, sent when the watermark closes the window; insert-only. Window
/// deduplication is the same with `from` and `to` 1.
#[derive(Debug, Clone)]
pub struct WindowRankConfig {
    /// The other `PARTITION BY` columns; the input is exchanged by these.
    pub partition_columns: Vec<usize>,
    pub window_start_column: usize,
    pub window_end_column: usize,
    /// The time zone of the window's columns when its time is a TIMESTAMP_LTZ; `None` otherwise.
    pub time_zone: Option<Tz>,
    pub order: Vec<SortKey>,
    /// The first rank in the output, from 1.
    pub from: u64,
    /// The last rank in the output.
    pub to: u64,
    /// Whether the rank, a BIGINT, is appended to the columns.
    pub outputs_rank: bool,
    pub input_schema: SchemaRef,
    /// The input's columns, then perhaps the rank.
    pub schema: SchemaRef,
}

impl OperatorFactory for WindowRankConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        if self.from == 0 || self.to < self.from {
            let (from, to) = (self.from, self.to);
            return Err(Error::internal(format!("ranks from {from} to {to}")));
        }
        let mut columns = self.partition_columns.clone();
        columns.extend([self.window_start_column, self.window_end_column]);
        let rows = TopRows::new(
            &self.input_schema,
            &columns,
            &self.order,
            RankFunction::RowNumber,
            (self.from, self.to),
            true,
        )?
        .grouped_by(self.partition_columns.len());
        Ok(Box::new(WindowRank {
            config: self.clone(),
            wall: WallClock::new(self.time_zone),
            rows,
            open: BTreeMap::new(),
            watermark: i64::MIN,
            context: None,
        }))
    }

    fn state_layout(&self) -> Result<Option<StateLayout>> {
        Ok(Some(rows_layout(&[(ROWS, &self.input_schema)], true)))
    }
}

struct WindowRank {
    config: WindowRankConfig,
    wall: WallClock,
    rows: TopRows,
    /// The partitions of the windows that the watermark closes at this time.
    open: BTreeMap<i64, BTreeSet<u32>>,
    watermark: i64,
    context: Option<OperatorContext>,
}

impl WindowRank {
    /// The watermark that closes each row's window; `None` for a NULL window.
    fn closing_times(&self, rows: &arrow::record_batch::RecordBatch) -> Result<Vec<Option<i64>>> {
        let ends = milliseconds(rows.column(self.config.window_end_column))?;
        let ends = ends.iter();
        Ok(ends
            .map(|e| e.map(|end| self.wall.epoch(end - 1)))
            .collect())
    }

    /// Sends the windows that this watermark closes, in order of their end.
    fn close(&mut self, watermark: i64, out: &mut dyn Output) -> Result<()> {
        let (mut slots, mut ranks, mut closed) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(entry) = self.open.first_entry()
            && *entry.key() <= watermark
        {
            for group in entry.remove() {
                for row in self.rows.list(group) {
                    slots.push(row.slot);
                    ranks.push(row.rank);
                }
                closed.push(group);
            }
        }
        if !slots.is_empty() {
            let rows = self.rows.store.rows(&slots)?;
            let ranks = self.config.outputs_rank.then_some(ranks);
            let rows = append_ranks(rows, ranks, &self.config.schema)?;
            out.emit(ChangelogBatch::insert_only(rows))?;
        }
        closed.into_iter().for_each(|group| self.rows.clear(group));
        self.rows.store.sweep()
    }
}

impl Operator for WindowRank {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        self.context = Some(context.clone());
        self.rows.open(context.max_parallelism);
        Ok(())
    }

    fn process(&mut self, _: usize, batch: ChangelogBatch, _: &mut dyn Output) -> Result<()> {
        let closing = self.closing_times(batch.rows())?;
        let is_in_time = |time: &Option<i64>| time.is_some_and(|t| t > self.watermark);
        let num_late = closing.iter().filter(|t| !is_in_time(t)).count();
        let (batch, closing) = if num_late == 0 {
            (batch, closing)
        } else {
            if let Some(context) = &self.context {
                context
                    .metrics
                    .num_late_records_dropped
                    .add(num_late as u64);
            }
            let keep: Vec<bool> = closing.iter().map(is_in_time).collect();
            let kept = closing.iter().copied().filter(is_in_time).collect();
            (batch.filter(&keep.into())?, kept)
        };
        let prepared = self.rows.prepare(batch.rows())?;
        for (row, &group) in prepared.groups.iter().enumerate() {
            if !self.rows.is_out(&prepared, row) {
                self.rows.add(&prepared, row);
                if let Some(time) = closing[row] {
                    self.open.entry(time).or_default().insert(group);
                }
            }
        }
        self.rows.commit(batch.rows())?;
        self.rows.store.sweep()
    }

    fn watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<()> {
        self.watermark = watermark;
        self.close(watermark, out)?;
        out.watermark(watermark)
    }

    fn state_bytes(&self) -> usize {
        let open = self.open.values().map(|groups| 48 + groups.len() * 8);
        self.rows.size_bytes() + open.sum::<usize>()
    }

    fn next_event_time(&self) -> Option<i64> {
        Some(
            self.open
                .first_key_value()
                .map_or(i64::MAX, |(&time, _)| time),
        )
    }

    fn snapshot(&mut self) -> Result<StateSnapshot> {
        Ok(StateSnapshot {
            tables: vec![self.rows.snapshot()],
        })
    }

    fn restore(&mut self, snapshot: StateSnapshot) -> Result<()> {
        for (rows, groups) in self.rows.restore(snapshot.table(ROWS))? {
            for (time, group) in self.closing_times(&rows)?.into_iter().zip(groups) {
                self.open
                    .entry(time.unwrap_or(i64::MAX))
                    .or_default()
                    .insert(group);
            }
        }
        Ok(())
    }

    fn restart_snapshots(&mut self) {
        self.rows.store.restart_snapshots();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flott_core::graph::Exchange;
    use flott_core::schema::{Column, Schema};
    use flott_core::types::LogicalType;
    use flott_engine::testing::{Harness, Step, crash_everywhere, says_only_changes};
    use std::sync::Arc;

    fn schema() -> Schema {
        let time = || LogicalType::Timestamp(3).not_null();
        Schema::new(vec![
            Column::new("start", time()),
            Column::new("end", time()),
            Column::new("name", LogicalType::STRING.nullable()),
            Column::new("n", LogicalType::Int.nullable()),
        ])
    }

    fn harness(outputs_rank: bool) -> Harness {
        let ranked = Schema::new(vec![Column::new("rn", LogicalType::BigInt.not_null())]);
        let config = WindowRankConfig {
            partition_columns: vec![],
            window_start_column: 0,
            window_end_column: 1,
            time_zone: None,
            order: vec![SortKey::new(3, true)],
            from: 1,
            to: 2,
            outputs_rank,
            input_schema: schema().to_arrow(),
            schema: if outputs_rank {
                schema().join(&ranked)
            } else {
                schema()
            }
            .to_arrow(),
        };
        Harness::new(Arc::new(config)).input_by(schema(), Exchange::Hash(vec![]))
    }

    const FIRST: &str = "00:00:00 | 00:00:10 | a | 1\n00:00:00 | 00:00:10 | b | 3\n\
        00:00:10 | 00:00:20 | c | 9\n00:00:00 | 00:00:10 | d | 2";

    #[test]
    fn a_window_is_ranked_when_the_watermark_closes_it() {
        let mut open = harness(true).open().unwrap();
        open.process(0, FIRST).unwrap();
        open.watermark(9_998).unwrap();
        open.watermark(9_999).unwrap();
        open.process(0, "00:00:00 | 00:00:10 | late | 5").unwrap();
        open.finish().unwrap();
        let lines = open.drain().into_iter();
        let ends: Vec<_> = lines
            .map(|l| l.split(" | ").skip(3).collect::<Vec<_>>().join(" "))
            .filter(|l| !l.is_empty())
            .collect();
        assert_eq!(ends, ["b 3 1", "d 2 2", "c 9 1"]);
    }

    #[test]
    fn crashes_change_nothing() {
        let script = [
            Step::process(0, FIRST),
            Step::Watermark(9_999),
            Step::process(0, "00:00:10 | 00:00:20 | e | 9"),
            Step::process(0, "00:00:10 | 00:00:20 | f | 10"),
            Step::Finish,
        ];
        crash_everywhere(&harness(false), &script, &[1, 2]).unwrap();
        says_only_changes(&harness(false), &script).unwrap();
    }
}
