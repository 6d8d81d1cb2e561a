//! Streaming top-n.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use flott_core::changelog::{ChangelogBatch, RowKind, adds};
use flott_core::operator::{
    Operator, OperatorContext, OperatorFactory, Output, StateLayout, StateSnapshot,
};
use flott_core::{Error, Result};

use super::evaluate::batch_of;
use super::rows::rows_layout;
use super::sort_key::SortKey;
use super::top_rows::{ROWS, Ranked, TopRows};

/// The changelog that an operator which keeps rows has to be ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputMode {
    /// Only `+I`.
    Append,
    /// Every change comes with the row it takes away: `-U` or `-D` hold the whole row.
    Retract,
}

/// How rows of a partition are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RankFunction {
    /// Distinct numbers; of equal rows the one that came first has the lower.
    RowNumber,
    /// Equal rows share a number, and the next is skipped.
    Rank,
    /// Equal rows share a number, and none is skipped.
    DenseRank,
}

/// `ROW_NUMBER() OVER (PARTITION BY … ORDER BY …) BETWEEN from AND to` as a changelog.
///
/// With the rank in the output, a change of position is `-U`/`+U` of that position; without it,
/// rows come (`+I`) and go (`-D`). The changes of a batch are consolidated by partition.
#[derive(Debug, Clone)]
pub struct RankConfig {
    pub function: RankFunction,
    /// The input is exchanged by these columns.
    pub partition_columns: Vec<usize>,
    pub order: Vec<SortKey>,
    /// The first rank in the output, from 1.
    pub from: u64,
    /// The last rank in the output.
    pub to: u64,
    /// Whether the rank, a BIGINT, is appended to the columns.
    pub outputs_rank: bool,
    pub input: InputMode,
    /// Whether updates come with `-U`.
    pub emits_update_before: bool,
    pub input_schema: SchemaRef,
    /// The input's columns, then perhaps the rank.
    pub schema: SchemaRef,
}

impl OperatorFactory for RankConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        if self.from == 0 || self.to < self.from {
            let (from, to) = (self.from, self.to);
            return Err(Error::internal(format!("ranks from {from} to {to}")));
        }
        let rows = TopRows::new(
            &self.input_schema,
            &self.partition_columns,
            &self.order,
            self.function,
            (self.from, self.to),
            self.input == InputMode::Append,
        )?;
        Ok(Box::new(Rank {
            config: self.clone(),
            rows,
            touched: Touched::default(),
            context: None,
        }))
    }
    fn state_layout(&self) -> Result<Option<StateLayout>> {
        let is_append = self.input == InputMode::Append;
        Ok(Some(rows_layout(&[(ROWS, &self.input_schema)], is_append)))
    }
}

/// `ORDER BY … LIMIT … OFFSET …` as an updating top-n; runs in one subtask.
#[derive(Debug, Clone)]
pub struct SortLimitConfig {
    pub order: Vec<SortKey>,
    pub offset: u64,
    /// `None` is no end.
    pub limit: Option<u64>,
    pub input: InputMode,
    pub emits_update_before: bool,
    pub schema: SchemaRef,
}

impl OperatorFactory for SortLimitConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        if self.limit == Some(0) {
            return Ok(Box::new(Nothing));
        }
        let to = self
            .limit
            .map_or(u64::MAX, |l| l.saturating_add(self.offset));
        let rank = RankConfig {
            function: RankFunction::RowNumber,
            partition_columns: Vec::new(),
            order: self.order.clone(),
            from: self.offset.saturating_add(1),
            to,
            outputs_rank: false,
            input: self.input,
            emits_update_before: self.emits_update_before,
            input_schema: self.schema.clone(),
            schema: self.schema.clone(),
        };
        rank.create()
    }

    fn state_layout(&self) -> Result<Option<StateLayout>> {
        let is_append = self.input == InputMode::Append;
        Ok(Some(rows_layout(&[(ROWS, &self.schema)], is_append)))
    }
}

/// `LIMIT 0`.
pub(crate) struct Nothing;

impl Operator for Nothing {
    fn process(&mut self, _: usize, _: ChangelogBatch, _: &mut dyn Output) -> Result<()> {
        Ok(())
    }
}

struct Rank {
    config: RankConfig,
    rows: TopRows,
    touched: Touched,
    context: Option<OperatorContext>,
}

/// Partitions that a batch has changed, in order of the first change, with what was sent of them.
#[derive(Default)]
struct Touched {
    /// Each with the end of its rows in `before`.
    groups: Vec<(u32, usize)>,
    before: Vec<Ranked>,
    /// By partition: the batch that has touched it last.
    touched_in: Vec<u32>,
    batch: u32,
}

impl Touched {
    fn begin(&mut self, num_partitions: usize) {
        self.groups.clear();
        self.before.clear();
        self.touched_in.resize(num_partitions, 0);
        self.batch = self.batch.wrapping_add(1);
        if self.batch == 0 {
            self.touched_in.fill(0);
            self.batch = 1;
        }
    }

    #[inline]
    fn touch(&mut self, group: u32, rows: &TopRows) {
        let touched_in = &mut self.touched_in[group as usize];
        if std::mem::replace(touched_in, self.batch) != self.batch {
            rows.list_into(group, &mut self.before);
            self.groups.push((group, self.before.len()));
        }
    }
}

/// Changes to send.
#[derive(Default)]
struct Changes {
    kinds: Vec<u8>,
    slots: Vec<u32>,
    ranks: Vec<i64>,
}

impl Changes {
    fn push_all(&mut self, kind: RowKind, rows: &[Ranked], is_one: impl Fn(&Ranked) -> bool) {
        let rows = rows.iter().filter(|row| is_one(row));
        rows.for_each(|row| self.push(kind, *row));
    }

    fn push(&mut self, kind: RowKind, row: Ranked) {
        self.kinds.push(kind as u8);
        self.slots.push(row.slot);
        self.ranks.push(row.rank);
    }
}

impl Rank {
    fn apply(&mut self, batch: &ChangelogBatch, touched: &mut Touched) -> Result<()> {
        let prepared = self.rows.prepare(batch.rows())?;
        touched.begin(self.rows.partitions.bound());
        for (row, &group) in prepared.groups.iter().enumerate() {
            let is_added = batch.kinds().is_none_or(|k| adds(k[row]));
            if is_added && self.rows.is_out(&prepared, row) {
                continue;
            }
            touched.touch(group, &self.rows);
            if is_added {
                self.rows.add(&prepared, row);
            } else {
                self.rows.remove(&prepared, row);
            }
        }
        self.rows.commit(batch.rows())
    }

    /// What turns the rows sent before into those of now.
    fn compare(&self, before: &[Ranked], now: &[Ranked], changes: &mut Changes) {
        let is_by_position =
            self.config.outputs_rank && self.config.function == RankFunction::RowNumber;
        if !is_by_position {
            return self.compare_as_sets(before, now, changes);
        }
        for position in 0..before.len().max(now.len()) {
            match (before.get(position), now.get(position)) {
                (Some(old), Some(new)) if old.slot != new.slot => {
                    if self.config.emits_update_before {
                        changes.push(RowKind::UpdateBefore, *old);
                    }
                    changes.push(RowKind::UpdateAfter, *new);
                }
                (Some(old), None) => changes.push(RowKind::Delete, *old),
                (None, Some(new)) => changes.push(RowKind::Insert, *new),
                _ => {}
            }
        }
    }

    fn compare_as_sets(&self, before: &[Ranked], now: &[Ranked], changes: &mut Changes) {
        let rank_of = |row: &Ranked| {
            if self.config.outputs_rank {
                row.rank
            } else {
                0
            }
        };
        let key = |row: &Ranked| (row.slot, rank_of(row));
        if before.len().max(now.len()) <= FEW_ROWS {
            let is_in = |rows: &[Ranked], row: &Ranked| rows.iter().any(|r| key(r) == key(row));
            changes.push_all(RowKind::Delete, before, |row| !is_in(now, row));
            return changes.push_all(RowKind::Insert, now, |row| !is_in(before, row));
        }
        let sorted = |rows: &[Ranked]| {
            let mut keys: Vec<_> = rows.iter().map(key).collect();
            keys.sort_unstable();
            keys
        };
        let (old, new) = (sorted(before), sorted(now));
        let is_in = |keys: &[(u32, i64)], row: &Ranked| keys.binary_search(&key(row)).is_ok();
        changes.push_all(RowKind::Delete, before, |row| !is_in(&new, row));
        changes.push_all(RowKind::Insert, now, |row| !is_in(&old, row));
    }

    fn send(&self, changes: Changes, out: &mut dyn Output) -> Result<()> {
        if changes.slots.is_empty() {
            return Ok(());
        }
        let rows = self.rows.store.rows(&changes.slots)?;
        let ranks = self.config.outputs_rank.then_some(changes.ranks);
        let rows = append_ranks(rows, ranks, &self.config.schema)?;
        let is_insert_only = changes.kinds.iter().all(|&k| k == RowKind::Insert as u8);
        let kinds = (!is_insert_only).then(|| changes.kinds.into());
        out.emit(ChangelogBatch::new(rows, kinds))
    }

    fn report(&self) {
        if let Some(context) = &self.context {
            context
                .metrics
                .num_keys
                .set(self.rows.partitions.len() as i64);
        }
    }
}

/// Lists of up to so many rows are compared row by row.
const FEW_ROWS: usize = 16;

/// The rows in `schema`, with the column of ranks if there is one.
pub(crate) fn append_ranks(
    rows: RecordBatch,
    ranks: Option<Vec<i64>>,
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let num_rows = rows.num_rows();
    let (_, mut columns, _) = rows.into_parts();
    if let Some(ranks) = ranks {
        columns.push(Arc::new(Int64Array::from(ranks)) as ArrayRef);
    }
    batch_of(schema.clone(), columns, num_rows)
}

impl Operator for Rank {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        self.context = Some(context.clone());
        self.rows.open(context.max_parallelism);
        Ok(())
    }

    fn process(&mut self, _: usize, batch: ChangelogBatch, out: &mut dyn Output) -> Result<()> {
        let mut touched = std::mem::take(&mut self.touched);
        self.apply(&batch, &mut touched)?;
        let (mut changes, mut now, mut start) = (Changes::default(), Vec::new(), 0);
        for &(group, end) in &touched.groups {
            now.clear();
            self.rows.list_into(group, &mut now);
            self.compare(&touched.before[start..end], &now, &mut changes);
            start = end;
        }
        self.send(changes, out)?;
        for &(group, _) in &touched.groups {
            if self.rows.is_empty(group) {
                self.rows.clear(group);
            }
        }
        self.touched = touched;
        self.rows.store.sweep()?;
        self.report();
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.rows.size_bytes()
    }

    fn next_event_time(&self) -> Option<i64> {
        None
    }

    fn snapshot(&mut self) -> Result<StateSnapshot> {
        if let Some(context) = &self.context {
            let size = self.state_bytes();
            context.metrics.state_size_bytes.set(size as i64);
        }
        Ok(StateSnapshot {
            tables: vec![self.rows.snapshot()],
        })
    }

    fn restore(&mut self, snapshot: StateSnapshot) -> Result<()> {
        self.rows.restore(snapshot.table(ROWS))?;
        self.report();
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

    fn schema() -> Schema {
        Schema::new(vec![
            Column::new("item", LogicalType::STRING.nullable()),
            Column::new("supplier", LogicalType::STRING.nullable()),
            Column::new("price", LogicalType::Int.nullable()),
        ])
    }

    fn config(outputs_rank: bool, input: InputMode) -> RankConfig {
        let ranked = Column::new("rn", LogicalType::BigInt.not_null());
        let output = schema().join(&Schema::new(vec![ranked]));
        RankConfig {
            function: RankFunction::RowNumber,
            partition_columns: vec![1],
            order: vec![SortKey::new(2, true), SortKey::new(0, false)],
            from: 1,
            to: 2,
            outputs_rank,
            input,
            emits_update_before: true,
            input_schema: schema().to_arrow(),
            schema: if outputs_rank { output } else { schema() }.to_arrow(),
        }
    }

    fn harness(config: RankConfig) -> Harness {
        let exchange = Exchange::Hash(config.partition_columns.clone());
        Harness::new(Arc::new(config)).input_by(schema(), exchange)
    }

    fn run(config: RankConfig, batches: &[&str]) -> Vec<String> {
        let mut open = harness(config).open().unwrap();
        for batch in batches {
            open.process(0, batch).unwrap();
        }
        open.drain().iter().map(|l| l.replace(" | ", " ")).collect()
    }

    #[test]
    fn with_the_rank_positions_are_updated() {
        let batches = [
            "C | s1 | 4",
            "A | s1 | 2",
            "D | s2 | 5",
            "F | s1 | 6",
            "X | s1 | 1",
        ];
        assert_eq!(
            run(config(true, InputMode::Append), &batches),
            [
                "+I C s1 4 1",
                "+I A s1 2 2",
                "+I D s2 5 1",
                "-U C s1 4 1",
                "+U F s1 6 1",
                "-U A s1 2 2",
                "+U C s1 4 2",
            ]
        );
    }

    #[test]
    fn without_the_rank_rows_come_and_go() {
        let batches = [
            "C | s1 | 4",
            "A | s1 | 2",
            "F | s1 | 6",
            "G | s1 | 6\nX | s1 | NULL",
        ];
        assert_eq!(
            run(config(false, InputMode::Append), &batches),
            [
                "+I C s1 4",
                "+I A s1 2",
                "-D A s1 2",
                "+I F s1 6",
                "-D C s1 4",
                "+I G s1 6"
            ]
        );
    }

    #[test]
    fn rows_taken_back_let_others_move_up() {
        let batches = [
            "C | s1 | 4\nA | s1 | 2\nF | s1 | 6",
            "-D | F | s1 | 6",
            "-U | C | s1 | 4\n+U | C | s1 | 1",
            "-D | none | s1 | 4",
            "-D | A | s1 | 2\n-D | C | s1 | 1",
        ];
        assert_eq!(
            run(config(true, InputMode::Retract), &batches),
            [
                "+I F s1 6 1",
                "+I C s1 4 2",
                "-U F s1 6 1",
                "+U C s1 4 1",
                "-U C s1 4 2",
                "+U A s1 2 2",
                "-U C s1 4 1",
                "+U A s1 2 1",
                "-U A s1 2 2",
                "+U C s1 1 2",
                "-D A s1 2 1",
                "-D C s1 1 2",
            ]
        );
    }

    #[test]
    fn ranks_may_begin_later_and_be_shared() {
        let mut later = config(true, InputMode::Append);
        (later.from, later.to) = (2, 3);
        let batches = ["C | s1 | 4", "A | s1 | 2", "F | s1 | 6"];
        assert_eq!(
            run(later, &batches),
            ["+I A s1 2 2", "-U A s1 2 2", "+U C s1 4 2", "+I A s1 2 3"]
        );
        let mut shared = config(true, InputMode::Append);
        shared.order.truncate(1);
        shared.function = RankFunction::Rank;
        let rows = "C | s1 | 4\nA | s1 | 4\nF | s1 | 3\nG | s1 | 2";
        assert_eq!(run(shared.clone(), &[rows]), ["+I C s1 4 1", "+I A s1 4 1"]);
        shared.function = RankFunction::DenseRank;
        assert_eq!(run(shared, &[rows])[2..], ["+I F s1 3 2"]);
    }

    #[test]
    fn crashes_change_nothing() {
        let batches = [
            "C | s1 | 4\nA | s1 | 4",
            "A | s1 | 2\nD | s2 | 5",
            "F | s1 | 6\nNULL | s3 | NULL",
            "G | s2 | 7",
            "H | s2 | 5",
        ];
        let mut steps: Vec<_> = batches.iter().map(|rows| Step::process(0, rows)).collect();
        for outputs_rank in [true, false] {
            let append = harness(config(outputs_rank, InputMode::Append));
            crash_everywhere(&append, &steps, &[1, 3]).unwrap();
            says_only_changes(&append, &steps).unwrap();
        }
        steps.push(Step::process(0, "-D | F | s1 | 6\n-D | G | s2 | 7"));
        for outputs_rank in [true, false] {
            let retract = harness(config(outputs_rank, InputMode::Retract));
            crash_everywhere(&retract, &steps, &[1, 3]).unwrap();
            says_only_changes(&retract, &steps).unwrap();
        }
    }

    #[test]
    fn limit_with_offset_is_a_top_n_of_all_rows() {
        let config = SortLimitConfig {
            order: vec![SortKey::new(2, true)],
            offset: 1,
            limit: Some(1),
            input: InputMode::Append,
            emits_update_before: true,
            schema: schema().to_arrow(),
        };
        let mut open = Harness::new(Arc::new(config))
            .input(schema())
            .open()
            .unwrap();
        open.process(0, "a | s | 1\nb | s | 2").unwrap();
        open.process(0, "c | s | 3").unwrap();
        assert_eq!(
            open.drain(),
            ["+I | a | s | 1", "-D | a | s | 1", "+I | b | s | 2"]
        );
    }
}
