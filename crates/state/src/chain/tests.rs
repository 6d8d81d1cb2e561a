use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringViewArray, UInt16Array};
use arrow::datatypes::{Field, Int64Type, Schema, UInt16Type};
use flott_core::hash::mix;
use flott_core::key_group::{key_group_of, subtask_of};
use proptest::prelude::*;

use super::part::READ_AHEAD_BYTES;
use super::*;

const MAX: usize = 16;

/// A table with the key group, a BIGINT and a text as its key, and a value.
type Model = BTreeMap<i64, i64>;

fn group_of(key: i64) -> u16 {
    key_group_of(mix(0, key as u64), MAX) as u16
}

fn batch(rows: &[(i64, Option<i64>)]) -> RecordBatch {
    let groups = rows.iter().map(|r| group_of(r.0));
    let texts = rows
        .iter()
        .map(|r| (r.0 % 3 != 0).then(|| format!("the text of key {}", r.0)));
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("g", Arc::new(UInt16Array::from_iter_values(groups))),
        (
            "k",
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.0))),
        ),
        ("t", Arc::new(texts.collect::<StringViewArray>())),
    ];
    if rows.iter().all(|r| r.1.is_some()) {
        let values = rows.iter().filter_map(|r| r.1);
        columns.push(("v", Arc::new(Int64Array::from_iter_values(values))));
    }
    let fields = columns.iter();
    let fields = fields.map(|(name, c)| Field::new(*name, c.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    RecordBatch::try_new(schema, columns.into_iter().map(|c| c.1).collect()).unwrap()
}

fn rows(entries: impl Iterator<Item = (i64, i64)>) -> StateRows {
    let rows: Vec<_> = entries.map(|(k, v)| (k, Some(v))).collect();
    // More than one batch, so that batches meet.
    rows.chunks(3).map(batch).collect()
}

fn keys(keys: impl Iterator<Item = i64>) -> StateRows {
    let keys: Vec<_> = keys.map(|k| (k, None)).collect();
    keys.chunks(2).map(batch).collect()
}

fn read(reader: RowsReader<'_>) -> Vec<(i64, i64)> {
    let mut rows = Vec::new();
    for batch in reader {
        let batch = batch.unwrap();
        let keys = batch.column(1).as_primitive::<Int64Type>().values();
        let values = batch.column(3).as_primitive::<Int64Type>().values();
        let groups = batch.column(0).as_primitive::<UInt16Type>().values();
        assert!(groups.iter().zip(keys).all(|(&g, &k)| g == group_of(k)));
        rows.extend(keys.iter().copied().zip(values.iter().copied()));
    }
    rows.sort_unstable();
    rows
}

/// One subtask of an operator that says what has changed.
#[derive(Default, Clone)]
struct Subtask {
    table: Model,
    before: Model,
}

impl Subtask {
    fn set(&mut self, key: i64, value: Option<i64>) {
        match value {
            Some(value) => self.table.insert(key, value),
            None => self.table.remove(&key),
        };
    }

    fn snapshot(&mut self, is_full: bool) -> StateSnapshot {
        let before = std::mem::replace(&mut self.before, self.table.clone());
        let table = &self.table;
        let entries = table.iter().map(|(&k, &v)| (k, v));
        if table.is_empty() {
            return StateSnapshot::default();
        }
        let table = if is_full {
            StateTable::full("t", StateScope::Keyed, rows(entries))
        } else {
            let upserts = entries.filter(|(k, v)| before.get(k) != Some(v));
            let deletes = before.keys().filter(|k| !table.contains_key(k)).copied();
            StateTable::delta("t", 3, rows(upserts), keys(deletes))
        };
        StateSnapshot {
            tables: vec![table],
        }
    }
}

#[derive(Debug, Clone)]
enum Act {
    Set(i64, Option<i64>),
    /// Whether each subtask gives all its rows.
    Snapshot(u8),
    /// Two snapshots, the first of which cannot be stored.
    LostSnapshot,
    Compact,
    Rescale(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        8 => (0..40i64, prop::option::of(0..5i64)).prop_map(|(k, v)| Act::Set(k, v)),
        2 => prop_oneof![Just(0), any::<u8>()].prop_map(Act::Snapshot),
        1 => Just(Act::LostSnapshot),
        1 => Just(Act::Compact),
        1 => (1..5usize).prop_map(Act::Rescale),
    ];
    prop::collection::vec(act, 0..120)
}

struct World {
    chain: OperatorChain,
    subtasks: Vec<Subtask>,
}

impl World {
    fn snapshot(&mut self, full: u8) -> Vec<StateSnapshot> {
        let subtasks = self.subtasks.iter_mut().enumerate();
        subtasks
            .map(|(i, s)| s.snapshot(full & (1 << i) != 0))
            .collect()
    }

    fn act(&mut self, act: &Act) {
        let parallelism = self.subtasks.len();
        match act {
            Act::Set(key, value) => {
                let owner = subtask_of(group_of(*key).into(), parallelism, MAX);
                self.subtasks[owner].set(*key, *value);
            }
            Act::Snapshot(full) => {
                let said = self.snapshot(*full);
                self.chain.apply(&said).unwrap();
            }
            Act::LostSnapshot => {
                let lost = self.snapshot(0);
                for subtask in &mut self.subtasks {
                    let first = subtask.table.keys().next().copied();
                    first.into_iter().for_each(|k| subtask.set(k, None));
                }
                let next = self.snapshot(0);
                let pairs = lost.into_iter().zip(next);
                let said: Vec<_> = pairs
                    .map(|(lost, next)| merge_snapshots(lost, next, MAX).unwrap())
                    .collect();
                self.chain.apply(&said).unwrap();
            }
            Act::Compact => self.chain.compact().unwrap(),
            Act::Rescale(parallelism) => {
                let said = self.snapshot(0);
                self.chain.apply(&said).unwrap();
                let all: Vec<_> = self.subtasks.iter().flat_map(|s| &s.table).collect();
                let mut fresh = vec![Subtask::default(); *parallelism];
                for (&key, &value) in all {
                    let owner = subtask_of(group_of(key).into(), *parallelism, MAX);
                    fresh[owner].set(key, Some(value));
                }
                for subtask in &mut fresh {
                    subtask.before = subtask.table.clone();
                }
                self.subtasks = fresh;
            }
        }
    }
}

proptest! {
    #[test]
    fn a_chain_says_what_the_subtasks_hold(acts in acts()) {
        let mut world = World {
            chain: OperatorChain::new(MAX),
            subtasks: vec![Subtask::default(); 2],
        };
        for act in &acts {
            world.act(act);
        }
        let said = world.snapshot(0);
        world.chain.apply(&said).unwrap();
        for (subtask, snapshot) in world.subtasks.iter().zip(world.chain.snapshots()) {
            let expected: Vec<_> = subtask.table.iter().map(|(&k, &v)| (k, v)).collect();
            prop_assert_eq!(read(snapshot.table("t")), expected);
        }
    }
}

#[test]
fn only_the_key_groups_asked_for_are_read() {
    let mut chain = TableChain::new(MAX);
    let content = |from: i64, to: i64, v: i64| StateContent::Delta {
        key_columns: 3,
        replaced_groups: Vec::new(),
        upserts: rows((from..to).map(|k| (k, v))),
        deletes: StateRows::default(),
    };
    chain.apply([(0..MAX, content(0, 50, 1))]).unwrap();
    chain.apply([(0..MAX, content(25, 30, 2))]).unwrap();
    for range in [0..MAX, 0..3, 3..MAX, 5..5] {
        let expected = (0..50i64).filter(|&k| range.contains(&group_of(k).into()));
        let expected = expected.map(|k| (k, if (25..30).contains(&k) { 2 } else { 1 }));
        assert_eq!(
            read(chain.rows(range.clone())),
            expected.collect::<Vec<_>>()
        );
    }
    assert!(!chain.clone().mark_compaction());
    chain.apply([(0..MAX, content(0, 60, 3))]).unwrap();
    assert!(chain.clone().mark_compaction());
    chain.compact().unwrap();
    assert_eq!(chain.layers().len(), 1);
    assert_eq!(read(chain.rows(0..MAX)).len(), 60);
}

#[test]
fn changes_with_other_keys_are_refused() {
    let mut chain = TableChain::new(MAX);
    let content = |key_columns| StateContent::Delta {
        key_columns,
        replaced_groups: Vec::new(),
        upserts: rows(std::iter::once((1, 1))),
        deletes: StateRows::default(),
    };
    chain.apply([(0..MAX, content(3))]).unwrap();
    assert!(chain.apply([(0..MAX, content(2))]).is_err());
}

#[test]
fn a_long_chain_merges_small_neighbours_and_leaves_the_old_layer_alone() {
    let mut chain = TableChain::new(MAX);
    let content = |keys: std::ops::Range<i64>, value: i64, gone: Vec<i64>| StateContent::Delta {
        key_columns: 3,
        replaced_groups: Vec::new(),
        upserts: rows(keys.map(|k| (k, value))),
        deletes: self::keys(gone.into_iter()),
    };
    chain
        .apply([(0..MAX, content(0..5_000, 0, vec![]))])
        .unwrap();
    let mut expected: Model = (0..5_000).map(|k| (k, 0)).collect();
    let oldest = chain.layers()[0].upserts.num_rows();
    for n in 1..150i64 {
        let (key, gone) = (n * 7 % 100, n * 11 % 100);
        let said = content(key..key + 1, n, vec![gone]);
        chain.apply([(0..MAX, said)]).unwrap();
        expected.remove(&gone);
        expected.insert(key, n);
        chain.compact().unwrap();
        assert!(chain.layers().len() <= 65);
        assert_eq!(chain.layers()[0].upserts.num_rows(), oldest);
    }
    assert!(chain.layers().len() < 100);
    let expected: Vec<(i64, i64)> = expected.into_iter().collect();
    assert_eq!(read(chain.rows(0..MAX)), expected);
}

/// Rows that claim to be many and cannot be read.
#[derive(Debug)]
struct Broken {
    panics: bool,
}

impl StoredRows for Broken {
    fn num_rows(&self) -> usize {
        1
    }

    fn size_bytes(&self) -> usize {
        READ_AHEAD_BYTES
    }

    fn read(&self, _: Option<&std::ops::Range<usize>>) -> Result<RowsReader<'_>> {
        assert!(!self.panics, "on purpose");
        Err(Error::external("STATE_CORRUPT", "damaged on purpose"))
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

#[test]
fn many_rows_are_read_ahead() {
    let mut chain = OperatorChain::new(MAX);
    let all: Vec<_> = (0..80_000).map(|k| (k, Some(k))).collect();
    let rows: StateRows = all.chunks(5_000).map(batch).collect();
    assert!(rows.size_bytes() > READ_AHEAD_BYTES);
    let table = StateTable::full("t", StateScope::Keyed, rows);
    chain
        .apply(&[StateSnapshot {
            tables: vec![table],
        }])
        .unwrap();
    let expected: Vec<(i64, i64)> = (0..80_000).map(|k| (k, k)).collect();
    assert!(read(chain.snapshots()[0].table("t")) == expected);
    // Nobody takes the rest.
    drop(chain.snapshots()[0].table("t").next());
}

#[test]
fn what_cannot_be_read_ahead_is_an_error() {
    for panics in [false, true] {
        let rows: Arc<dyn StoredRows> = Arc::new(Broken { panics });
        let rows = KeyGroupRows::new(rows, 0..MAX).rows();
        let errors: Vec<_> = rows.read().map(|b| b.unwrap_err()).collect();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert_eq!(errors[0].code() == "STATE_CORRUPT", !panics);
    }
}
