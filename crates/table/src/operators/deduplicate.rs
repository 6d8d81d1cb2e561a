//! The first or last row of each key.

use std::sync::Arc;

use arrow::array::{Array, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use flott_core::Result;
use flott_core::changelog::{ChangelogBatch, RowKind, adds};
use flott_core::hash::{StableHashMap, hash_columns};
use flott_core::operator::{
    Operator, OperatorContext, OperatorFactory, Output, StateLayout, StateRows, StateScope,
    StateSnapshot, StateTable,
};

use super::evaluate::{batch_of, milliseconds};
use super::first_row::{self, FirstRowByTime};
use super::rows::{
    Partitions, RestoredRows, RowStore, keyed_rows, keys_layout, rows_layout, split_keyed,
};

/// Which row of a key is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    First,
    Last,
}

/// `ROW_NUMBER() OVER (PARTITION BY … ORDER BY time) = 1` over append-only input.
///
/// In order of a rowtime, a later or equal time replaces the last row, and the first row is sent
/// when the watermark passes it, so that late rows are dropped; in order of arrival the first row
/// stays for ever. The output of first rows is insert-only.
#[derive(Debug, Clone)]
pub struct DeduplicateConfig {
    /// The input is exchanged by these columns.
    pub partition_columns: Vec<usize>,
    pub keep: Keep,
    /// The rowtime column; `None` is processing time, the order of arrival.
    pub rowtime_column: Option<usize>,
    /// Whether updates come with `-U`.
    pub emits_update_before: bool,
    /// Whether each row that was ever kept is sent, rather than what a batch changes on the whole:
    /// a temporal join asks for the versions in between too.
    pub sends_every_version: bool,
    pub schema: SchemaRef,
}

impl OperatorFactory for DeduplicateConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        let choice = match (self.rowtime_column, self.keep) {
            (None, Keep::First) => {
                return Ok(Box::new(FirstOfKey {
                    partitions: Partitions::new(&self.schema, &self.partition_columns)?,
                    columns: self.partition_columns.clone(),
                    schema: self.schema.clone(),
                    num_told: Some(0),
                    context: None,
                }));
            }
            (None, Keep::Last) => Choice::Latest,
            (Some(column), Keep::First) => {
                let first = FirstRowByTime::new(column, &self.partition_columns, &self.schema)?;
                return Ok(Box::new(first));
            }
            (Some(column), Keep::Last) => Choice::GreatestTime(column),
        };
        Ok(Box::new(RowOfKey::new(
            choice,
            &self.partition_columns,
            (self.emits_update_before, self.sends_every_version),
            &self.schema,
        )?))
    }

    fn state_layout(&self) -> Result<Option<StateLayout>> {
        let rows = |table| rows_layout(&[(table, &self.schema)], true);
        let keys = |table| keys_layout(table, &self.schema, &self.partition_columns);
        let (mut layout, keys) = match (self.rowtime_column, self.keep) {
            (None, Keep::First) => (StateLayout::default(), Some(keys(KEYS))),
            (Some(_), Keep::First) => (rows(first_row::WAITING), Some(keys(first_row::SENT))),
            (_, Keep::Last) => (rows(ROWS), None),
        };
        layout.tables.extend(keys);
        Ok(Some(layout))
    }
}

/// Makes a full regular changelog by primary key of an upsert changelog, or of one with duplicates:
/// `+I` for a new key, `-U`/`+U` for a change, `-D` with the whole row. What changes nothing is
/// left out.
#[derive(Debug, Clone)]
pub struct ChangelogNormalizeConfig {
    /// The primary key; the input is exchanged by these columns.
    pub key_columns: Vec<usize>,
    /// Whether updates come with `-U`.
    pub emits_update_before: bool,
    /// Whether each row that was ever kept is sent, rather than what a batch changes on the whole:
    /// a temporal join asks for the versions in between too.
    pub sends_every_version: bool,
    pub schema: SchemaRef,
}

impl OperatorFactory for ChangelogNormalizeConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(RowOfKey::new(
            Choice::Latest,
            &self.key_columns,
            (self.emits_update_before, self.sends_every_version),
            &self.schema,
        )?))
    }

    /// Rows are found by their key, and taken back as they are kept.
    fn state_layout(&self) -> Result<Option<StateLayout>> {
        Ok(Some(rows_layout(&[(ROWS, &self.schema)], true)))
    }
}

/// The first row of each key in order of arrival: only keys are kept.
struct FirstOfKey {
    partitions: Partitions,
    columns: Vec<usize>,
    schema: SchemaRef,
    /// The keys below this number have been told by snapshots; `None`: the next says everything.
    num_told: Option<u32>,
    context: Option<OperatorContext>,
}

impl FirstOfKey {
    fn key_schema(&self) -> SchemaRef {
        let fields = self.columns.iter().map(|&c| self.schema.field(c).clone());
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }
}

impl Operator for FirstOfKey {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        self.context = Some(context.clone());
        Ok(())
    }

    fn process(&mut self, _: usize, batch: ChangelogBatch, out: &mut dyn Output) -> Result<()> {
        // Numbers are given in order, so a new key is one that is higher than all before.
        let mut bound = self.partitions.bound() as u32;
        let numbers = self.partitions.assign(batch.rows())?;
        let firsts = numbers.iter().enumerate().filter(|&(_, &number)| {
            let is_new = number >= bound;
            bound = bound.max(number + 1);
            is_new
        });
        let firsts: Vec<u32> = firsts.map(|(row, _)| row as u32).collect();
        if let Some(context) = &self.context {
            context.metrics.num_keys.set(self.partitions.len() as i64);
        }
        if firsts.is_empty() {
            return Ok(());
        }
        out.emit(batch.take(&UInt32Array::from(firsts))?)
    }

    fn state_bytes(&self) -> usize {
        self.partitions.size_bytes()
    }

    fn next_event_time(&self) -> Option<i64> {
        None
    }

    fn snapshot(&mut self) -> Result<StateSnapshot> {
        let max_parallelism = self.context.as_ref().map_or(1, |c| c.max_parallelism);
        // Keys stay for ever, and their numbers rise.
        let end = self.partitions.bound() as u32;
        let numbers: Vec<u32> = (self.num_told.unwrap_or(0)..end).collect();
        let key_groups = numbers.iter();
        let key_groups = key_groups.map(|&n| self.partitions.key_group(n, max_parallelism));
        let keys = self.partitions.key_columns(&numbers)?;
        let keys = batch_of(self.key_schema(), keys, numbers.len())?;
        let rows = keyed_rows(key_groups.collect(), Vec::new(), keys)?;
        let table = match self.num_told.replace(end) {
            None => StateTable::full(KEYS, StateScope::Keyed, rows),
            Some(_) => {
                let key_columns = 1 + self.columns.len();
                StateTable::delta(KEYS, key_columns, rows, StateRows::default())
            }
        };
        Ok(StateSnapshot {
            tables: vec![table],
        })
    }

    fn restore(&mut self, snapshot: StateSnapshot) -> Result<()> {
        for batch in snapshot.table(KEYS) {
            let batch = &batch?;
            let ([], keys) = split_keyed::<0>(batch, &self.key_schema())?;
            self.partitions
                .assign_columns(keys.columns(), keys.num_rows())?;
        }
        self.num_told = Some(self.partitions.bound() as u32);
        Ok(())
    }

    fn restart_snapshots(&mut self) {
        self.num_told = None;
    }
}

const KEYS: &str = "keys";
const ROWS: &str = "rows";

/// Which of two rows of a key stays.
#[derive(Debug, Clone, Copy)]
enum Choice {
    Latest,
    /// The rowtime column; of equal times the last.
    GreatestTime(usize),
}

/// No row.
const NONE: u32 = u32::MAX;

/// The row of each key, by number of the key.
#[derive(Default)]
struct KeptRows {
    /// [`NONE`] without a row.
    slots: Vec<u32>,
    /// The rowtime in ms; empty where the latest row stays.
    times_ms: Vec<i64>,
    /// Of whole rows, to see that nothing changes; empty where the time decides.
    row_hashes: Vec<u64>,
    /// The batch in which the row was last changed, to see the first change in each.
    changed_in: Vec<u32>,
}

impl KeptRows {
    fn grow(&mut self, num_keys: usize, choice: Choice) {
        self.slots.resize(num_keys, NONE);
        self.changed_in.resize(num_keys, 0);
        match choice {
            Choice::Latest => self.row_hashes.resize(num_keys, 0),
            Choice::GreatestTime(_) => self.times_ms.resize(num_keys, i64::MIN),
        }
    }
}

/// A key that a batch has changed: its row before.
struct Changed {
    key: u32,
    slot: u32,
    row_hash: u64,
}

/// Keeps one row of each key.
struct RowOfKey {
    choice: Choice,
    emits_update_before: bool,
    sends_every_version: bool,
    schema: SchemaRef,
    partitions: Partitions,
    store: RowStore,
    kept: KeptRows,
    batch_number: u32,
    context: Option<OperatorContext>,
}

impl RowOfKey {
    fn new(
        choice: Choice,
        key_columns: &[usize],
        (emits_update_before, sends_every_version): (bool, bool),
        schema: &SchemaRef,
    ) -> Result<Self> {
        Ok(Self {
            choice,
            emits_update_before,
            sends_every_version,
            schema: schema.clone(),
            partitions: Partitions::new(schema, key_columns)?,
            store: RowStore::new(schema.clone()),
            kept: KeptRows::default(),
            batch_number: 0,
            context: None,
        })
    }

    /// The batch in parts, in order, in each of which a key stands once.
    fn versions(&mut self, batch: &ChangelogBatch) -> Result<Vec<ChangelogBatch>> {
        let keys = self.partitions.assign(batch.rows())?;
        let mut seen = StableHashMap::default();
        let mut parts: Vec<Vec<u32>> = Vec::new();
        for (row, key) in keys.into_iter().enumerate() {
            let times: &mut usize = seen.entry(key).or_default();
            if *times == parts.len() {
                parts.push(Vec::new());
            }
            parts[*times].push(row as u32);
            *times += 1;
        }
        let take = |rows: Vec<u32>| Ok(batch.take(&UInt32Array::from(rows))?);
        parts.into_iter().map(take).collect()
    }

    fn process_batch(&mut self, batch: &ChangelogBatch, out: &mut dyn Output) -> Result<()> {
        let kinds = batch.kinds();
        let changed = self.apply(batch.rows(), |row| kinds.is_none_or(|k| adds(k[row])))?;
        self.send(batch.rows(), &changed, out)?;
        for change in changed {
            if self.kept.slots[change.key as usize] == NONE {
                self.partitions.remove(change.key);
            }
        }
        self.store.sweep()
    }

    fn begin_batch(&mut self) {
        self.kept.grow(self.partitions.bound(), self.choice);
        self.batch_number = self.batch_number.wrapping_add(1);
        if self.batch_number == 0 {
            self.kept.changed_in.fill(0);
            self.batch_number = 1;
        }
    }

    /// Applies a batch, whose rows are not copied yet; gives the changed keys with their rows of
    /// before.
    fn apply(
        &mut self,
        rows: &RecordBatch,
        is_added: impl Fn(usize) -> bool,
    ) -> Result<Vec<Changed>> {
        let keys = self.partitions.assign(rows)?;
        self.begin_batch();
        let (mut hashes, mut times) = (Vec::new(), None);
        match self.choice {
            Choice::Latest => hash_columns(rows.columns(), rows.num_rows(), &mut hashes)?,
            Choice::GreatestTime(column) => times = Some(milliseconds(rows.column(column))?),
        }
        let mut changed = Vec::new();
        for (row, &key) in keys.iter().enumerate() {
            let (at, is_added) = (key as usize, is_added(row));
            let old = self.kept.slots[at];
            if let Some(times) = &times {
                let is_null = times.is_null(row);
                let time_ms = if is_null { i64::MIN } else { times.value(row) };
                if is_added && old != NONE && time_ms < self.kept.times_ms[at] {
                    continue;
                }
                self.kept.times_ms[at] = time_ms;
            }
            let row_hash = self.kept.row_hashes.get(at).copied().unwrap_or(0);
            let changed_in = &mut self.kept.changed_in[at];
            if std::mem::replace(changed_in, self.batch_number) != self.batch_number {
                changed.push(Changed {
                    key,
                    slot: old,
                    row_hash,
                });
            }
            if old != NONE {
                self.store.release(old);
            }
            self.kept.slots[at] = match is_added {
                true => self.store.allocate(row),
                false => NONE,
            };
            if let Some(&hash) = hashes.get(row) {
                self.kept.row_hashes[at] = hash;
            }
        }
        Ok(changed)
    }

    /// The changes to send, as row kinds and slots.
    fn changes(&self, changed: &[Changed]) -> (Vec<u8>, Vec<u32>) {
        let (mut kinds, mut slots) = (Vec::new(), Vec::new());
        let mut push = |kind: RowKind, slot: u32| {
            kinds.push(kind as u8);
            slots.push(slot);
        };
        for change in changed {
            let at = change.key as usize;
            let is_same = self.kept.row_hashes.get(at) == Some(&change.row_hash);
            match (change.slot, self.kept.slots[at]) {
                (NONE, NONE) => {}
                (NONE, new) => push(RowKind::Insert, new),
                (old, NONE) => push(RowKind::Delete, old),
                (_, _) if is_same => {}
                (old, new) => {
                    if self.emits_update_before {
                        push(RowKind::UpdateBefore, old);
                    }
                    push(RowKind::UpdateAfter, new);
                }
            }
        }
        (kinds, slots)
    }

    /// Copies the batch's rows and sends the changes.
    fn send(
        &mut self,
        rows: &RecordBatch,
        changed: &[Changed],
        out: &mut dyn Output,
    ) -> Result<()> {
        let (kinds, slots) = self.changes(changed);
        // What was in the store before is read from there; all else is at hand.
        let positions = self.store.pending_rows(&slots);
        self.store
            .commit_keyed(rows, self.partitions.row_hashes())?;
        if slots.is_empty() {
            return Ok(());
        }
        let rows = match positions {
            Some(positions) => take_record_batch(rows, &UInt32Array::from(positions))?,
            None => self.store.rows(&slots)?,
        };
        let is_insert_only = kinds.iter().all(|&k| k == RowKind::Insert as u8);
        let kinds = (!is_insert_only).then(|| kinds.into());
        out.emit(ChangelogBatch::new(rows, kinds))
    }
}

impl Operator for RowOfKey {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        self.context = Some(context.clone());
        self.store.set_max_parallelism(context.max_parallelism);
        Ok(())
    }

    fn process(&mut self, _: usize, batch: ChangelogBatch, out: &mut dyn Output) -> Result<()> {
        if self.sends_every_version {
            for part in self.versions(&batch)? {
                self.process_batch(&part, out)?;
            }
        } else {
            self.process_batch(&batch, out)?;
        }
        if let Some(context) = &self.context {
            context.metrics.num_keys.set(self.partitions.len() as i64);
        }
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.store.size_bytes() + self.partitions.size_bytes()
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
            tables: vec![self.store.snapshot(ROWS, &[])],
        })
    }

    fn restore(&mut self, snapshot: StateSnapshot) -> Result<()> {
        for batch in snapshot.table(ROWS) {
            let restored = RestoredRows::<0>::new(&batch?, &self.schema)?;
            self.apply(&restored.rows, |_| true)?;
            self.store.commit_restored(&restored)?;
            self.store.sweep()?;
        }
        self.store.told();
        Ok(())
    }

    fn restart_snapshots(&mut self) {
        self.store.restart_snapshots();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flott_core::graph::Exchange;
    use flott_core::schema::{Column, Schema as TableSchema};
    use flott_core::types::LogicalType;
    use flott_engine::testing::{Harness, Step, crash_everywhere, says_only_changes};

    fn schema() -> TableSchema {
        TableSchema::new(vec![
            Column::new("id", LogicalType::Int.nullable()),
            Column::new("name", LogicalType::STRING.nullable()),
            Column::new("ts", LogicalType::Timestamp(3).nullable()),
        ])
    }

    fn harness(keep: Keep, rowtime_column: Option<usize>) -> Harness {
        let config = DeduplicateConfig {
            partition_columns: vec![0],
            keep,
            rowtime_column,
            emits_update_before: true,
            sends_every_version: false,
            schema: schema().to_arrow(),
        };
        Harness::new(Arc::new(config)).input_by(schema(), Exchange::Hash(vec![0]))
    }

    fn run(harness: Harness, batches: &[&str]) -> Vec<String> {
        let mut open = harness.open().unwrap();
        for batch in batches {
            open.process(0, batch).unwrap();
        }
        let lines = open.drain().into_iter();
        lines
            .map(|l| l.split(" | ").take(3).collect::<Vec<_>>().join(" "))
            .collect()
    }

    const ROWS_IN: [&str; 4] = [
        "1 | b | 12:00:02\n2 | x | 12:00:01",
        "1 | a | 12:00:01",
        "1 | c | 12:00:02",
        "2 | y | 12:00:00\n3 | z | 12:00:00",
    ];

    #[test]
    fn the_last_row_by_time_yields_to_later_or_equal_ones() {
        assert_eq!(
            run(harness(Keep::Last, Some(2)), &ROWS_IN),
            ["+I 1 b", "+I 2 x", "-U 1 b", "+U 1 c", "+I 3 z"]
        );
    }

    #[test]
    fn versions_inside_a_batch_are_sent_when_asked_for() {
        let one_batch = ["1 | a | 12:00:01\n1 | b | 12:00:02\n2 | x | 12:00:00\n1 | c | 12:00:03"];
        let sent = |sends_every_version| {
            let config = DeduplicateConfig {
                partition_columns: vec![0],
                keep: Keep::Last,
                rowtime_column: Some(2),
                emits_update_before: true,
                sends_every_version,
                schema: schema().to_arrow(),
            };
            let harness = Harness::new(Arc::new(config));
            run(
                harness.input_by(schema(), Exchange::Hash(vec![0])),
                &one_batch,
            )
        };
        assert_eq!(sent(false), ["+I 1 c", "+I 2 x"]);
        assert_eq!(
            sent(true),
            ["+I 1 a", "+I 2 x", "-U 1 a", "+U 1 b", "-U 1 b", "+U 1 c"]
        );
    }

    #[test]
    fn the_first_row_by_time_waits_for_the_watermark() {
        let mut open = harness(Keep::First, Some(2)).open().unwrap();
        open.process(0, ROWS_IN[0]).unwrap();
        open.process(0, ROWS_IN[1]).unwrap();
        assert!(open.drain().is_empty());
        let noon_ms = 12 * 3_600_000;
        open.watermark(noon_ms + 1_000).unwrap();
        let drained = |lines: Vec<String>| lines.join("; ");
        let first = drained(open.drain());
        assert!(
            first.contains("+I | 1 | a") && first.contains("+I | 2 | x"),
            "{first}"
        );
        // Key 2 has had its row, and key 3's row is late.
        open.process(0, ROWS_IN[3]).unwrap();
        open.watermark(noon_ms + 9_000).unwrap();
        let rest = drained(open.drain());
        assert!(!rest.contains("+I"), "{rest}");
    }

    #[test]
    fn by_arrival_the_first_stays_and_the_last_goes_on() {
        assert_eq!(
            run(harness(Keep::First, None), &ROWS_IN),
            ["+I 1 b", "+I 2 x", "+I 3 z"]
        );
        let last = run(harness(Keep::Last, None), &ROWS_IN);
        assert_eq!(last.last().map(String::as_str), Some("+I 3 z"));
        assert_eq!(last[2..4], ["-U 1 b", "+U 1 a"]);
    }

    #[test]
    fn a_changelog_with_duplicates_becomes_regular() {
        let config = ChangelogNormalizeConfig {
            key_columns: vec![0],
            emits_update_before: true,
            sends_every_version: false,
            schema: schema().to_arrow(),
        };
        let harness = Harness::new(Arc::new(config)).input(schema());
        let lines = run(
            harness,
            &[
                "1 | a | NULL",
                "1 | a | NULL",
                "+U | 1 | b | NULL",
                "2 | x | NULL\n-D | 2 | x | NULL",
                "-D | 2 | x | NULL",
                "-D | 1 | NULL | NULL",
                "1 | b | NULL",
            ],
        );
        assert_eq!(lines, ["+I 1 a", "-U 1 a", "+U 1 b", "-D 1 b", "+I 1 b"]);
    }

    #[test]
    fn crashes_change_nothing() {
        let steps = ROWS_IN.map(|rows| Step::process(0, rows));
        for keep in [Keep::First, Keep::Last] {
            for rowtime in [None, Some(2)] {
                crash_everywhere(&harness(keep, rowtime), &steps, &[1, 2]).unwrap();
                says_only_changes(&harness(keep, rowtime), &steps).unwrap();
            }
        }
    }
}
