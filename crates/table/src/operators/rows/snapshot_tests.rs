use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, StringViewArray};
use arrow::datatypes::{Int64Type, SchemaRef};
use arrow::record_batch::RecordBatch;
use flott_core::hash::hash_columns;
use flott_core::key_group::{key_group_of, subtask_of};
use flott_core::operator::{StateContent, StateSnapshot};
use flott_engine::restore::redistribute;
use flott_state::chain::{OperatorChain, merge_snapshots};
use flott_state::rows::unpack;
use flott_state::storage::StoragePlace;
use flott_state::storage::stored::{FileTarget, FileWriter};
use proptest::prelude::*;

use super::{Extra, ExtraValue, PackedRestored, RestoredRows, RowStore};

const MAX: usize = 16;

fn rows(keys: &[i64]) -> RecordBatch {
    let texts = keys
        .iter()
        .map(|k| Some(format!("a text longer than a view: {k}")));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("k", Arc::new(Int64Array::from(keys.to_vec()))),
        ("t", Arc::new(texts.collect::<StringViewArray>())),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn schema() -> SchemaRef {
    rows(&[]).schema()
}

fn hashes(rows: &RecordBatch) -> Vec<u64> {
    let mut hashes = Vec::new();
    hash_columns(&rows.columns()[..1], rows.num_rows(), &mut hashes).unwrap();
    hashes
}

fn owner(key: i64, parallelism: usize) -> usize {
    let group = key_group_of(hashes(&rows(&[key]))[0], MAX);
    subtask_of(group, parallelism, MAX)
}

/// A store with a number beside each row.
struct Subtask {
    store: RowStore,
    numbers: Vec<i64>,
    /// By slot.
    keys: BTreeMap<u32, i64>,
}

impl Subtask {
    fn new() -> Self {
        let mut store = RowStore::new(schema());
        store.set_max_parallelism(MAX);
        Self {
            store,
            numbers: Vec::new(),
            keys: BTreeMap::new(),
        }
    }

    fn keep(&mut self, slot: u32, key: i64, number: i64) {
        let num_slots = self.numbers.len().max(slot as usize + 1);
        self.numbers.resize(num_slots, 0);
        self.numbers[slot as usize] = number;
        self.keys.insert(slot, key);
    }

    fn insert(&mut self, keys: &[i64]) {
        let rows = rows(keys);
        for (row, &key) in keys.iter().enumerate() {
            let slot = self.store.allocate(row);
            self.keep(slot, key, 0);
        }
        self.store.commit_keyed(&rows, &hashes(&rows)).unwrap();
    }

    fn nth(&self, n: usize) -> Option<u32> {
        let num = self.keys.len();
        self.keys.keys().copied().nth(n.checked_rem(num)?)
    }

    fn snapshot(&mut self) -> StateSnapshot {
        let numbers = &self.numbers;
        let number: [Extra<'_>; 1] = [("number", ExtraValue::Of(&|slot| numbers[slot]))];
        StateSnapshot {
            tables: vec![self.store.snapshot("rows", &number)],
        }
    }

    fn take_back(&mut self, keys: &Int64Array, numbers: &Int64Array) {
        for row in 0..keys.len() {
            let slot = self.store.allocate(row);
            self.keep(slot, keys.value(row), numbers.value(row));
        }
    }

    fn restored(state: &StateSnapshot) -> Self {
        let mut subtask = Self::new();
        let mut ids = Vec::new();
        for batch in state.packed_table("rows") {
            let batch = batch.unwrap();
            let of_batch = batch.rows.column(1).as_primitive::<Int64Type>().values();
            ids.extend(of_batch.iter().map(|&id| id as u64));
            if let Some(packed) = PackedRestored::<1>::of(&batch, &schema()).unwrap() {
                let keys = packed.columns(&[0]).unwrap();
                subtask.take_back(keys[0].as_primitive(), packed.extra[0]);
                subtask.store.commit_packed(&packed);
                continue;
            }
            let restored = RestoredRows::<1>::new(&unpack(batch).unwrap(), &schema()).unwrap();
            let keys = restored.rows.column(0).as_primitive();
            subtask.take_back(keys, &restored.extra[0]);
            subtask.store.commit_restored(&restored).unwrap();
        }
        assert!(ids.iter().all(|&id| id < subtask.store.next_id()));
        subtask.store.told();
        subtask
    }

    /// The rows' keys and numbers; the store has the same keys.
    fn content(&self) -> Vec<(i64, i64)> {
        let numbers = &self.numbers;
        let (slots, keys): (Vec<u32>, Vec<i64>) = self.keys.iter().map(|(&s, &k)| (s, k)).unzip();
        assert_eq!(self.store.rows(&slots).unwrap(), rows(&keys));
        let rows = self.keys.iter();
        let mut rows: Vec<_> = rows.map(|(&s, &k)| (k, numbers[s as usize])).collect();
        rows.sort_unstable();
        rows
    }
}

/// The rows that a snapshot holds, each with its number.
fn said(state: &StateSnapshot) -> Vec<(i64, i64)> {
    let mut said = Vec::new();
    for batch in state.table("rows") {
        let restored = RestoredRows::<1>::new(&batch.unwrap(), &schema()).unwrap();
        let keys = restored.rows.column(0).as_primitive::<Int64Type>();
        let texts = restored.rows.column(1).as_string_view();
        for row in 0..restored.rows.num_rows() {
            let key = keys.value(row);
            assert!(texts.value(row).ends_with(&format!(": {key}")));
            said.push((key, restored.extra[0].value(row)));
        }
    }
    said.sort_unstable();
    said
}

#[derive(Debug, Clone)]
enum Act {
    Insert(Vec<i64>),
    Remove(usize),
    Touch(usize),
    Snapshot,
    /// Two snapshots, the first of which cannot be stored.
    LostSnapshot,
    RestartSnapshots,
    Compact,
    /// To files and back, as a checkpoint or as a savepoint.
    Store(bool),
    Rescale(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => prop::collection::vec(0..30i64, 1..20).prop_map(Act::Insert),
        8 => any::<usize>().prop_map(Act::Remove),
        3 => any::<usize>().prop_map(Act::Touch),
        2 => Just(Act::Snapshot),
        1 => Just(Act::LostSnapshot),
        1 => Just(Act::RestartSnapshots),
        1 => Just(Act::Compact),
        2 => any::<bool>().prop_map(Act::Store),
        1 => (1..4usize).prop_map(Act::Rescale),
    ];
    prop::collection::vec(act, 0..60)
}

struct World {
    chain: OperatorChain,
    subtasks: Vec<Subtask>,
    place: StoragePlace,
    num_stored: usize,
}

impl World {
    fn snapshots(&mut self) -> Vec<StateSnapshot> {
        self.subtasks.iter_mut().map(Subtask::snapshot).collect()
    }

    fn store(&mut self, is_savepoint: bool) {
        self.num_stored += 1;
        let name = |number| format!("{}-{number}", self.num_stored);
        let mut writer = FileWriter::new(FileTarget {
            place: &self.place,
            name: &name,
            inline_bytes: 200,
            is_canonical: is_savepoint,
        });
        self.chain.mark_compaction();
        let tables = match is_savepoint {
            true => self.chain.store_whole(&mut writer).unwrap(),
            false => self.chain.store(&mut writer).unwrap(),
        };
        let parallelism = self.subtasks.len();
        self.chain = OperatorChain::load(&tables, &self.place, parallelism, MAX);
    }

    fn remove(&mut self, n: usize) {
        for subtask in &mut self.subtasks {
            if let Some(slot) = subtask.nth(n) {
                subtask.store.release(slot);
                subtask.keys.remove(&slot);
            }
            subtask.store.sweep().unwrap();
        }
    }

    fn act(&mut self, act: &Act) {
        let parallelism = self.subtasks.len();
        match act {
            Act::Insert(keys) => {
                for (index, subtask) in self.subtasks.iter_mut().enumerate() {
                    let own = keys.iter().copied();
                    let own: Vec<i64> = own.filter(|&k| owner(k, parallelism) == index).collect();
                    subtask.insert(&own);
                }
            }
            Act::Remove(n) => self.remove(*n),
            Act::Touch(n) => {
                for subtask in &mut self.subtasks {
                    if let Some(slot) = subtask.nth(*n) {
                        subtask.numbers[slot as usize] += 1;
                        subtask.store.touch(slot);
                    }
                }
            }
            Act::Snapshot => {
                let said = self.snapshots();
                self.chain.apply(&said).unwrap();
            }
            Act::LostSnapshot => {
                let lost = self.snapshots();
                self.remove(3);
                let pairs = lost.into_iter().zip(self.snapshots());
                let said = pairs.map(|(lost, next)| merge_snapshots(lost, next, MAX).unwrap());
                self.chain.apply(&said.collect::<Vec<_>>()).unwrap();
            }
            Act::RestartSnapshots => {
                let subtasks = self.subtasks.iter_mut();
                subtasks.for_each(|s| s.store.restart_snapshots());
            }
            Act::Compact => self.chain.compact().unwrap(),
            Act::Store(is_savepoint) => self.store(*is_savepoint),
            Act::Rescale(parallelism) => {
                let said = self.snapshots();
                self.chain.apply(&said).unwrap();
                let states = self.chain.snapshots();
                let restored = (0..*parallelism).map(|subtask| {
                    let state = redistribute(&states, subtask, *parallelism, MAX).unwrap();
                    Subtask::restored(&state)
                });
                self.subtasks = restored.collect();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn a_chain_says_what_the_stores_hold(acts in acts()) {
        let mut world = World {
            chain: OperatorChain::new(MAX),
            subtasks: vec![Subtask::new(), Subtask::new()],
            place: StoragePlace::in_memory(),
            num_stored: 0,
        };
        for act in &acts {
            world.act(act);
        }
        world.act(&Act::Snapshot);
        for (subtask, state) in world.subtasks.iter().zip(world.chain.snapshots()) {
            prop_assert_eq!(said(&state), subtask.content());
        }
    }
}

#[test]
fn a_snapshot_holds_the_rows_of_its_time() {
    let mut subtask = Subtask::new();
    let keys: Vec<i64> = (0..20_000).collect();
    subtask.insert(&keys);
    let first = subtask.snapshot();
    // The store goes on: pages are emptied, cleaned up and written.
    for n in (0..15_000).rev() {
        let slot = subtask.nth(n).unwrap();
        subtask.store.release(slot);
        subtask.keys.remove(&slot);
    }
    subtask.store.sweep().unwrap();
    subtask.insert(&[77_777]);
    let mut chain = OperatorChain::new(MAX);
    chain.apply(&[first]).unwrap();
    let expected: Vec<(i64, i64)> = keys.iter().map(|&k| (k, 0)).collect();
    assert!(said(&chain.snapshots()[0]) == expected);
    chain.apply(&[subtask.snapshot()]).unwrap();
    assert!(said(&chain.snapshots()[0]) == subtask.content());
}

#[test]
fn a_snapshot_is_as_big_as_the_change() {
    let mut subtask = Subtask::new();
    subtask.insert(&(0..50_000).collect::<Vec<_>>());
    let whole = subtask.snapshot().size_bytes();
    subtask.insert(&[1, 2, 3]);
    let slot = subtask.nth(100).unwrap();
    subtask.store.touch(slot);
    let gone = subtask.nth(200).unwrap();
    subtask.store.release(gone);
    subtask.keys.remove(&gone);
    subtask.store.sweep().unwrap();
    let change = subtask.snapshot();
    let StateContent::Delta {
        upserts, deletes, ..
    } = &change.tables[0].content
    else {
        panic!("a whole table");
    };
    assert_eq!((upserts.num_rows(), deletes.num_rows()), (4, 1));
    assert!(change.size_bytes() * 5_000 < whole);
    let nothing = subtask.snapshot();
    assert!(nothing.is_empty());
    subtask.store.restart_snapshots();
    let again = subtask.snapshot();
    assert!(matches!(again.tables[0].content, StateContent::Full(_)));
    assert!(said(&again) == subtask.content());
}
