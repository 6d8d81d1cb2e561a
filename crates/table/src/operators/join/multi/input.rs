//! An input of a chain of joins: its rows by key, and what a batch changes of them.

use arrow::array::ArrayRef;
use arrow::record_batch::RecordBatch;
use flott_core::Result;
use flott_core::changelog::ChangelogBatch;
use flott_core::operator::{StateSnapshot, StateTable};
use flott_state::GroupTable;

use super::{MultiJoinConfig, MultiJoinInput};
use crate::operators::join::chains::NONE;
use crate::operators::join::changes::Changes;
use crate::operators::join::keys::{KeyColumns, SideName};
use crate::operators::join::side::{NewRow, Side, SideNeeds};
use crate::operators::join::{JoinInputs, JoinKind};
use crate::operators::rows::RowStore;

/// What the batch at hand does with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    Goes,
    Comes,
}

/// The keys of all inputs as one set of groups.
pub(super) struct Keys {
    table: GroupTable,
}

impl Keys {
    /// # Errors
    /// A type that cannot be a key.
    pub fn new(config: &MultiJoinConfig) -> Result<Self> {
        let first = &config.inputs[0];
        let types = first.key_columns.iter();
        let types = types.map(|&c| first.schema.field(c).data_type().clone());
        let table = GroupTable::new(&types.collect::<Vec<_>>())?;
        Ok(Self { table })
    }

    /// Each row's group: [`NONE`] where the key is NULL.
    fn assign(&mut self, columns: &KeyColumns, rows: &RecordBatch) -> Result<Vec<u32>> {
        let keys = columns.of(SideName::Left, rows);
        self.assign_columns(columns, &keys, rows.num_rows())
    }

    /// As [`Keys::assign`], for the key columns alone.
    fn assign_columns(
        &mut self,
        columns: &KeyColumns,
        keys: &[ArrayRef],
        num_rows: usize,
    ) -> Result<Vec<u32>> {
        let mut groups = Vec::new();
        self.table.assign(keys, num_rows, &mut groups)?;
        if let Some(nulls) = columns.unmatchable(keys) {
            for (row, group) in groups.iter_mut().enumerate() {
                if nulls.is_null(row) {
                    *group = NONE;
                }
            }
        }
        Ok(groups)
    }

    /// Forgets those of these groups, and of the ones that the last assignment has made, that no
    /// row is in.
    pub fn release(&mut self, mut groups: Vec<u32>, inputs: &[Input]) {
        groups.extend(self.table.created());
        let is_empty = |g: u32| inputs.iter().all(|i| i.side.chains.first(g) == NONE);
        groups.retain(|&g| g != NONE && is_empty(g));
        self.table.remove(&groups);
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Bytes held.
    pub fn size_bytes(&self) -> usize {
        self.table.size_bytes()
    }
}

/// One input.
pub(super) struct Input {
    key_columns: KeyColumns,
    side: Side,
    is_append: bool,
    table_name: String,
    /// Of the batch at hand, by slot; what is not named stays.
    fates: Fates,
}

/// The fates of slots, with those that do not stay listed.
#[derive(Default)]
struct Fates {
    by_slot: Vec<Fate>,
    changed: Vec<u32>,
}

impl Fates {
    fn set(&mut self, slot: u32, fate: Fate) {
        let length = self.by_slot.len().max(slot as usize + 1);
        self.by_slot.resize(length, Fate::Stays);
        self.by_slot[slot as usize] = fate;
        self.changed.push(slot);
    }

    fn clear(&mut self) {
        for slot in self.changed.drain(..) {
            self.by_slot[slot as usize] = Fate::Stays;
        }
    }
}

/// A row that comes or goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Changed {
    pub slot: u32,
    /// [`NONE`] when its key is NULL.
    pub group: u32,
    pub fate: Fate,
}

/// What the table of an input's rows is called in a snapshot.
pub(super) fn table_name(number: usize) -> String {
    format!("input{number}")
}

impl Input {
    /// # Errors
    /// An internal error for keys that are not there.
    pub fn new(number: usize, config: &MultiJoinInput) -> Result<Self> {
        let needs = SideNeeds {
            is_retracting: !config.is_append,
            counts_matches: false,
            ttl_ms: config.ttl_ms,
        };
        let schema = config.schema.clone();
        Ok(Self {
            key_columns: KeyColumns::new(&with_itself(config))?,
            side: Side::new(SideName::Left, schema, &needs),
            is_append: config.is_append,
            table_name: table_name(number),
            fates: Fates::default(),
        })
    }

    pub fn store(&self) -> &RowStore {
        &self.side.store
    }

    #[inline]
    pub fn first(&self, group: u32) -> u32 {
        match group {
            NONE => NONE,
            group => self.side.chains.first(group),
        }
    }

    #[inline]
    pub fn next(&self, slot: u32) -> u32 {
        self.side.chains.next(slot)
    }

    #[inline]
    pub fn fate(&self, slot: u32) -> Fate {
        let fate = self.fates.by_slot.get(slot as usize);
        fate.copied().unwrap_or(Fate::Stays)
    }

    /// Stores the rows of a batch that come, and finds those that go, which are stored until
    /// [`Input::settle`]. Rows that are not to be kept are stored until then, too.
    pub fn take_in(
        &mut self,
        keys: &mut Keys,
        rows: &RecordBatch,
        changes: &Changes,
        now_ms: i64,
    ) -> Result<Vec<Changed>> {
        let groups = keys.assign(&self.key_columns, rows)?;
        let mut changed = Vec::with_capacity(changes.removed.len() + changes.added.len());
        let (keyed, without): (Vec<u32>, Vec<u32>) = changes
            .removed
            .iter()
            .partition(|&&row| groups[row as usize] != NONE);
        let found = self.side.take_equal(rows, &keyed, &changes.hashes)?;
        let mut missing = without;
        for (&row, slot) in keyed.iter().zip(found) {
            match slot {
                Some(slot) => changed.push((slot, row, Fate::Goes)),
                // What has expired here may still be there in the output.
                None if self.side.has_ttl() => missing.push(row),
                None => {}
            }
        }
        let coming = changes.added.iter().map(|&row| (row, Fate::Comes));
        let passing = missing.into_iter().map(|row| (row, Fate::Goes));
        for (row, fate) in passing.chain(coming) {
            let group = groups[row as usize];
            self.side.insert(&NewRow {
                row,
                group,
                hash: match fate {
                    Fate::Comes => changes.hashes.get(row as usize).copied(),
                    _ => None,
                },
                num_matches: 0,
                created_ms: now_ms,
            });
            let slot = match group {
                NONE => self.side.without_key.last(0),
                group => self.side.chains.last(group),
            };
            changed.push((slot, row, fate));
        }
        let store = &mut self.side.store;
        store.commit_keyed(rows, keys.table.row_hashes())?;
        let changed = changed.into_iter().map(|(slot, row, fate)| {
            self.fates.set(slot, fate);
            let group = groups[row as usize];
            Changed { slot, group, fate }
        });
        Ok(changed.collect())
    }

    /// Gives up the rows of a batch that go, and those without a key.
    pub fn settle(&mut self, changed: &[Changed]) -> Vec<u32> {
        self.fates.clear();
        let mut groups = Vec::new();
        for row in changed {
            match (row.fate, row.group) {
                (Fate::Comes, NONE) => {
                    self.side.remove(row.slot);
                }
                (Fate::Goes, _) => groups.push(self.side.release(row.slot)),
                _ => {}
            }
        }
        groups
    }

    /// What a batch changes, after rows that come and go inside it have cancelled out.
    pub fn changes(&self, batch: &ChangelogBatch) -> Result<Changes> {
        Changes::of(batch, self.is_append)
    }

    pub fn expire(&mut self, now_ms: i64, groups: &mut Vec<u32>) {
        self.side.expire(now_ms, groups);
    }

    pub fn next_expiry_ms(&self) -> Option<i64> {
        self.side.next_expiry_ms()
    }

    pub fn sweep(&mut self) -> Result<()> {
        self.side.store.sweep()
    }

    pub fn set_max_parallelism(&mut self, max_parallelism: usize) {
        self.side.store.set_max_parallelism(max_parallelism);
    }

    /// What has changed since the last snapshot.
    pub fn snapshot(&mut self) -> StateTable {
        StateTable {
            name: self.table_name.clone(),
            ..self.side.snapshot()
        }
    }

    pub fn restart_snapshots(&mut self) {
        self.side.store.restart_snapshots();
    }

    pub fn restore(&mut self, keys: &mut Keys, from: &StateSnapshot, now_ms: i64) -> Result<()> {
        let Self {
            side, key_columns, ..
        } = self;
        let positions = key_columns.positions(SideName::Left);
        for batch in from.packed_table(&self.table_name) {
            side.restore(batch?, positions, now_ms, |columns, num_rows| {
                keys.assign_columns(key_columns, &columns, num_rows)
            })?;
        }
        side.restored();
        Ok(())
    }

    /// Bytes held.
    pub fn size_bytes(&self) -> usize {
        self.side.size_bytes() + self.fates.by_slot.capacity()
    }
}

/// The input as both sides of a join: what tells its key columns.
fn with_itself(input: &MultiJoinInput) -> JoinInputs {
    JoinInputs {
        kind: JoinKind::Inner,
        left_keys: input.key_columns.clone(),
        right_keys: input.key_columns.clone(),
        null_safe: vec![false; input.key_columns.len()],
        residual: None,
        left_schema: input.schema.clone(),
        right_schema: input.schema.clone(),
        schema: input.schema.clone(),
    }
}
