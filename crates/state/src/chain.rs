//! Chains of snapshots: the whole rows of a table and the changes since.
//!
//! A layer is what the subtasks of one operator said about one keyed table at one checkpoint. Key
//! groups belong to one subtask at a time, so that the layers of all subtasks are one layer, and a
//! restore with another parallelism is a choice of key groups. Reading goes from the newest layer
//! to the oldest and gives a row the first time that its key is met, which takes linear time and
//! memory for the keys of all layers but the oldest. Which layers are made one, and when, is in
//! [`compaction`].

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use flott_core::key_group::key_groups_of;
use flott_core::operator::{
    PackedReader, RowsReader, StateContent, StatePart, StateRows, StateScope, StateSnapshot,
    StateTable, StoredRows,
};
use flott_core::{Error, Result};

mod compaction;
mod merge;
mod part;

use crate::rows::unpacked;
use merge::{Merge, Stage};
pub use part::KeyGroupRows;

/// The name of a key's second column when it numbers rows: numbers from 0 to 2⁴⁸ - 1, so that one
/// word holds them and the key group. Few rows of such a table are ever said twice.
pub const ROW_ID: &str = "row_id";

/// What was said about a keyed table at one checkpoint.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    /// The key groups of which older layers say nothing any more.
    pub replaced: Vec<Range<usize>>,
    pub upserts: StateRows,
    /// Keys of removed rows; they apply before the upserts.
    pub deletes: StateRows,
}

impl Layer {
    pub(crate) fn size_bytes(&self) -> usize {
        self.upserts.size_bytes() + self.deletes.size_bytes()
    }
}

/// The layers of one keyed table of an operator.
#[derive(Debug, Clone)]
pub struct TableChain {
    num_key_groups: usize,
    /// 0 as long as there was no change.
    pub(crate) key_columns: usize,
    /// The oldest first.
    pub(crate) layers: Vec<Layer>,
}

impl TableChain {
    /// A chain of a table whose keys lie in so many key groups (the max parallelism).
    pub fn new(num_key_groups: usize) -> Self {
        Self {
            num_key_groups,
            key_columns: 0,
            layers: Vec::new(),
        }
    }

    /// Adds what the subtasks said at a checkpoint, each about its key groups.
    ///
    /// # Errors
    /// A defect: changes whose keys have another number of columns than before.
    pub fn apply(
        &mut self,
        contents: impl IntoIterator<Item = (Range<usize>, StateContent)>,
    ) -> Result<()> {
        let mut layer = Layer::default();
        for (groups, content) in contents {
            match content {
                StateContent::Full(rows) => {
                    layer.replaced.push(groups);
                    layer.upserts.append(rows);
                }
                StateContent::Delta {
                    key_columns,
                    replaced_groups,
                    upserts,
                    deletes,
                } => {
                    self.set_key_columns(key_columns)?;
                    layer.replaced.extend(replaced_groups);
                    layer.upserts.append(upserts);
                    layer.deletes.append(deletes);
                }
            }
        }
        let num_replaced: usize = layer.replaced.iter().map(Range::len).sum();
        if num_replaced >= self.num_key_groups {
            self.layers.clear();
        }
        if !(layer.replaced.is_empty() && layer.upserts.is_empty() && layer.deletes.is_empty()) {
            self.layers.push(layer);
        }
        Ok(())
    }

    fn set_key_columns(&mut self, key_columns: usize) -> Result<()> {
        if key_columns == 0 {
            return Ok(());
        }
        if self.key_columns != 0 && self.key_columns != key_columns {
            return Err(Error::internal(format!(
                "changes of a state table with keys of {key_columns} columns, {} before",
                self.key_columns
            )));
        }
        self.key_columns = key_columns;
        Ok(())
    }

    /// The oldest first.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The number of columns that identify a row; 0 when no layer has changes.
    pub fn key_columns(&self) -> usize {
        self.key_columns
    }

    /// The rows of these key groups as the newest layers say, in no order.
    pub fn rows(&self, key_groups: Range<usize>) -> RowsReader<'_> {
        unpacked(self.packed_rows(key_groups))
    }

    /// As [`TableChain::rows`]; rows that are packed come as they are.
    pub fn packed_rows(&self, key_groups: Range<usize>) -> PackedReader<'_> {
        let mut stages = VecDeque::new();
        for (age, layer) in self.layers.iter().rev().enumerate() {
            let is_oldest = age + 1 == self.layers.len();
            let parts = layer.upserts.parts();
            let older = &self.layers[..self.layers.len() - 1 - age];
            let first_of_older = older.iter().rev().find_map(|l| l.upserts.parts().first());
            for (number, part) in parts.iter().enumerate() {
                let next = parts.get(number + 1).or(first_of_older);
                let rows = read_part(part, next, key_groups.clone());
                stages.push_back(Stage::Rows(rows, is_oldest || part.is_new()));
            }
            let keys = layer.deletes.read_groups(Some(key_groups.clone()));
            stages.push_back(Stage::Deleted(keys));
            stages.push_back(Stage::Replaced(&layer.replaced));
        }
        Box::new(Merge {
            stages,
            key_columns: self.key_columns,
            is_open: (0..self.num_key_groups)
                .map(|g| key_groups.contains(&g))
                .collect(),
            is_alone: self.layers.len() < 2,
            seen: None,
            groups: Vec::new(),
        })
    }

    /// Whether no layer says anything of rows that a layer below this chain knows.
    pub(crate) fn are_rows_new(&self) -> bool {
        self.layers.iter().all(|l| l.upserts.are_new())
    }

    /// Puts whole rows, as [`TableChain::rows`] of all key groups gave them, in the layers' place.
    pub fn replace(&mut self, rows: StateRows) {
        self.layers = vec![Layer {
            replaced: std::iter::once(0..self.num_key_groups).collect(),
            upserts: rows,
            deletes: StateRows::default(),
        }];
    }

    /// A chain of these layers alone.
    pub(crate) fn part(&self, layers: Range<usize>) -> Self {
        Self {
            num_key_groups: self.num_key_groups,
            key_columns: self.key_columns,
            layers: self.layers[layers].to_vec(),
        }
    }

    /// Makes layers one where that pays, and unpins what operators would rather have back; all in
    /// memory.
    ///
    /// # Errors
    /// Rows that cannot be read.
    pub fn compact(&mut self) -> Result<()> {
        while self.mark_compaction() {
            for layer in &mut self.layers {
                layer.upserts = copied(&layer.upserts)?;
                layer.deletes = copied(&layer.deletes)?;
            }
        }
        for layer in &mut self.layers {
            layer.upserts.unpin()?;
            layer.deletes.unpin()?;
        }
        Ok(())
    }
}

/// The rows of one part, opened when the first is asked for; those of other key groups may be left
/// out. The next part is made ready meanwhile.
fn read_part<'a>(
    part: &'a StatePart,
    next: Option<&'a StatePart>,
    key_groups: Range<usize>,
) -> PackedReader<'a> {
    let parts = std::iter::once(part);
    Box::new(parts.flat_map(move |part| {
        let rows = part.read_packed(Some(&key_groups));
        if let Some(StatePart::Stored(next)) = next {
            next.prepare(Some(&key_groups));
        }
        rows
    }))
}

/// In memory what is merged when it is read; the rest as it is.
fn copied(rows: &StateRows) -> Result<StateRows> {
    let is_merging = |part: &StatePart| match part {
        StatePart::Stored(rows) => compaction::is_merging(rows.as_ref()),
        StatePart::Batch(_) => false,
    };
    match rows.parts().iter().any(is_merging) {
        true => rows.read().collect(),
        false => Ok(rows.clone()),
    }
}

impl StoredRows for TableChain {
    fn num_rows(&self) -> usize {
        self.layers.iter().map(|l| l.upserts.num_rows()).sum()
    }

    fn size_bytes(&self) -> usize {
        self.layers.iter().map(Layer::size_bytes).sum()
    }

    fn read(&self, key_groups: Option<&Range<usize>>) -> Result<RowsReader<'_>> {
        Ok(self.rows(key_groups.cloned().unwrap_or(0..self.num_key_groups)))
    }

    fn read_packed(&self, key_groups: Option<&Range<usize>>) -> Result<PackedReader<'_>> {
        Ok(self.packed_rows(key_groups.cloned().unwrap_or(0..self.num_key_groups)))
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// One table of an operator.
#[derive(Debug, Clone)]
pub(crate) enum OperatorTable {
    Keyed(TableChain),
    /// By subtask.
    Whole(StateScope, Vec<StateRows>),
}

/// The chains of all tables of one operator, over all its subtasks.
#[derive(Debug, Clone)]
pub struct OperatorChain {
    max_parallelism: usize,
    pub(crate) parallelism: usize,
    pub(crate) tables: BTreeMap<String, OperatorTable>,
}

impl OperatorChain {
    pub fn new(max_parallelism: usize) -> Self {
        Self {
            max_parallelism,
            parallelism: 1,
            tables: BTreeMap::new(),
        }
    }

    /// Adds what the subtasks, all of them in order, said at a checkpoint. Their number may be
    /// another than the last time when they were restored in between.
    ///
    /// # Errors
    /// A defect: changes of a table that is not keyed, or with other keys than before.
    pub fn apply(&mut self, snapshots: &[StateSnapshot]) -> Result<()> {
        self.parallelism = snapshots.len().max(1);
        let said = snapshots.iter().flat_map(|s| &s.tables);
        let mut scopes: BTreeMap<String, StateScope> =
            said.map(|t| (t.name.clone(), t.scope)).collect();
        for (name, table) in &self.tables {
            if let OperatorTable::Keyed(_) = table {
                scopes.entry(name.clone()).or_insert(StateScope::Keyed);
            }
        }
        self.tables.retain(|name, _| scopes.contains_key(name));
        for (name, scope) in scopes {
            let parts = snapshots
                .iter()
                .map(|s| s.tables.iter().find(|t| t.name == name));
            if scope == StateScope::Keyed {
                self.apply_keyed(&name, parts.collect())?;
            } else {
                let rows = parts.map(|t| t.map_or(Ok(StateRows::default()), |t| t.rows().cloned()));
                let table = OperatorTable::Whole(scope, rows.collect::<Result<_>>()?);
                self.tables.insert(name, table);
            }
        }
        Ok(())
    }

    fn apply_keyed(&mut self, name: &str, parts: Vec<Option<&StateTable>>) -> Result<()> {
        let (parallelism, max_parallelism) = (parts.len(), self.max_parallelism);
        let contents = parts.into_iter().enumerate().map(|(subtask, table)| {
            let groups = key_groups_of(subtask, parallelism, max_parallelism);
            let content = table.map(|t| t.content.clone());
            let empty = || StateContent::Full(StateRows::default());
            (groups, content.unwrap_or_else(empty))
        });
        let mut chain = match self.tables.remove(name) {
            Some(OperatorTable::Keyed(chain)) => chain,
            _ => TableChain::new(max_parallelism),
        };
        chain.apply(contents).map_err(|e| e.context(name))?;
        if !chain.layers.is_empty() {
            let table = OperatorTable::Keyed(chain);
            self.tables.insert(name.to_string(), table);
        }
        Ok(())
    }

    /// The chains of the keyed tables.
    pub fn keyed_tables(&self) -> impl Iterator<Item = (&str, &TableChain)> {
        self.tables.iter().filter_map(|(name, table)| match table {
            OperatorTable::Keyed(chain) => Some((name.as_str(), chain)),
            OperatorTable::Whole(..) => None,
        })
    }

    /// Makes the layers of the tables one where that pays, in memory.
    ///
    /// # Errors
    /// Rows that cannot be read.
    pub fn compact(&mut self) -> Result<()> {
        for table in self.tables.values_mut() {
            if let OperatorTable::Keyed(chain) = table {
                chain.compact()?;
            }
        }
        Ok(())
    }

    /// About how many bytes the tables have.
    pub fn size_bytes(&self) -> usize {
        let tables = self.tables.values();
        let sizes = tables.map(|table| match table {
            OperatorTable::Keyed(chain) => chain.size_bytes(),
            OperatorTable::Whole(_, rows) => rows.iter().map(StateRows::size_bytes).sum(),
        });
        sizes.sum()
    }

    /// The whole state of each subtask that was heard last: keyed rows are read and merged when
    /// they are asked for.
    pub fn snapshots(&self) -> Vec<StateSnapshot> {
        let subtasks = 0..self.parallelism;
        let snapshots = subtasks.map(|subtask| {
            let tables = self.tables.iter().map(|(name, table)| match table {
                OperatorTable::Keyed(chain) => self.keyed_part(name, chain, subtask),
                OperatorTable::Whole(scope, rows) => {
                    StateTable::full(name, *scope, rows.get(subtask).cloned().unwrap_or_default())
                }
            });
            StateSnapshot {
                tables: tables.collect(),
            }
        });
        snapshots.collect()
    }

    fn keyed_part(&self, name: &str, chain: &TableChain, subtask: usize) -> StateTable {
        let groups = key_groups_of(subtask, self.parallelism, self.max_parallelism);
        let part = KeyGroupRows::new(Arc::new(chain.clone()), groups);
        StateTable::full(name, StateScope::Keyed, part.rows())
    }
}

/// What two snapshots of one subtask say together: for a keeper that could not store the older.
///
/// # Errors
/// Rows that cannot be read.
pub fn merge_snapshots(
    older: StateSnapshot,
    newer: StateSnapshot,
    max_parallelism: usize,
) -> Result<StateSnapshot> {
    let mut older = older.tables;
    let tables = newer.tables.into_iter().map(|table| {
        let before = older.iter().position(|t| t.name == table.name);
        match before.map(|at| older.swap_remove(at)) {
            Some(before) => merge_tables(before, table, max_parallelism),
            None => Ok(table),
        }
    });
    Ok(StateSnapshot {
        tables: tables.collect::<Result<_>>()?,
    })
}

/// `newer` on top of `older`.
fn merge_tables(
    older: StateTable,
    newer: StateTable,
    max_parallelism: usize,
) -> Result<StateTable> {
    let StateContent::Delta {
        key_columns,
        replaced_groups: newer_replaced,
        deletes,
        ..
    } = &newer.content
    else {
        return Ok(newer);
    };
    let all = 0..max_parallelism;
    let (mut key_columns, newer_deletes) = (*key_columns, deletes.clone());
    let mut replaced = newer_replaced.clone();
    let mut chain = TableChain::new(max_parallelism);
    let (content, deletes) = match older.content {
        StateContent::Full(rows) => (StateContent::Full(rows), None),
        StateContent::Delta {
            key_columns: older_key_columns,
            replaced_groups,
            upserts,
            deletes,
        } => {
            key_columns = key_columns.max(older_key_columns);
            replaced.extend(replaced_groups);
            let content = StateContent::Delta {
                key_columns: older_key_columns,
                replaced_groups: Vec::new(),
                upserts,
                deletes: StateRows::default(),
            };
            (content, Some(deletes))
        }
    };
    chain.apply([(all.clone(), content)])?;
    chain.apply([(all.clone(), newer.content)])?;
    let rows: StateRows = chain.rows(all).collect::<Result<_>>()?;
    let scope = newer.scope;
    Ok(match deletes {
        None => StateTable::full(newer.name, scope, rows),
        Some(mut deletes) => {
            // Deletes apply before upserts: those that came back may stay among them.
            deletes.append(newer_deletes);
            let content = StateContent::Delta {
                key_columns,
                replaced_groups: replaced,
                upserts: rows,
                deletes,
            };
            StateTable {
                name: newer.name,
                scope,
                content,
            }
        }
    })
}

#[cfg(test)]
mod tests;
