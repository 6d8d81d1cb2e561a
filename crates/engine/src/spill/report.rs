//! The snapshot of a divided operator: what its partitions say, together.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use flott_core::operator::{StateContent, StateRows, StateScope, StateSnapshot, StateTable};
use flott_core::{Error, Result};

use super::files::SpillFolder;
use super::partition::Partition;

/// Tables of waiting rows: this and the input's number.
const WAITING: &str = "$waiting.";
/// An instance that has to say everything does so in files when it has more than this: not to need
/// the memory twice.
const SAID_IN_FILES_BYTES: usize = 1 << 20;

/// The input of a table of waiting rows; `None` for another table.
///
/// # Errors
/// A defect: a name without a number.
pub(super) fn waiting_input(name: &str) -> Result<Option<usize>> {
    let Some(number) = name.strip_prefix(WAITING) else {
        return Ok(None);
    };
    let number = number.parse().ok();
    let number = number.ok_or_else(|| Error::internal(format!("no table of waiting rows: {name}")));
    number.map(Some)
}

/// What all partitions say of one table.
struct Union {
    scope: StateScope,
    key_columns: usize,
    /// By partition: whether it said something.
    has_said: Vec<bool>,
    replaced: Vec<Range<usize>>,
    upserts: StateRows,
    deletes: StateRows,
}

/// What a host has said so far.
#[derive(Debug, Default)]
pub(super) struct Reported {
    /// The number of key columns in changes of each keyed table, by name; 0 if not known yet.
    key_columns: BTreeMap<String, usize>,
    num_inputs_waited: usize,
}

impl Reported {
    /// A keyed table, which is in every snapshot from now on, changed or not.
    pub fn know(&mut self, table: &str) {
        if !self.key_columns.contains_key(table) {
            self.key_columns.insert(table.to_owned(), 0);
        }
    }

    /// Some rows of this input have waited.
    pub fn know_waiting(&mut self, input: usize) {
        self.num_inputs_waited = self.num_inputs_waited.max(input + 1);
    }

    /// What has changed since the last report; everything when `is_all`. `shared` is said once, if
    /// it stands for any partition.
    ///
    /// # Errors
    /// What instances report, and a disk that is full or refuses.
    pub fn report(
        &mut self,
        partitions: &mut [Partition],
        shared: &[StateTable],
        is_all: bool,
        folder: Option<&Arc<SpillFolder>>,
    ) -> Result<StateSnapshot> {
        let count = partitions.len();
        let mut tables: BTreeMap<String, Union> = BTreeMap::new();
        let mut tells_all = Vec::with_capacity(count);
        for (at, partition) in partitions.iter_mut().enumerate() {
            let (said, is_whole) = say(partition, folder)?;
            tells_all.push(is_whole);
            for table in said.tables {
                let union = tables
                    .entry(table.name)
                    .or_insert_with(|| Union::new(table.scope, count));
                union.has_said[at] = true;
                union.add(table.content, partition);
            }
        }
        if partitions.iter().any(|p| p.shares_tables) {
            for table in shared {
                let name = table.name.clone();
                let union = tables
                    .entry(name)
                    .or_insert_with(|| Union::new(table.scope, count));
                union.upserts.append(table.rows()?.clone());
            }
        }
        for name in self.key_columns.keys() {
            if !tables.contains_key(name) {
                tables.insert(name.clone(), Union::new(StateScope::Keyed, count));
            }
        }
        let mut snapshot = StateSnapshot::default();
        for (name, mut union) in tables {
            // A table that a partition left out is empty there.
            let left_out = (0..count).filter(|&at| tells_all[at] && !union.has_said[at]);
            let left_out: Vec<_> = left_out.map(|at| partitions[at].groups.clone()).collect();
            union.replaced.extend(left_out);
            if union.scope == StateScope::Keyed {
                let known = self.key_columns.entry(name.clone()).or_default();
                *known = union.key_columns.max(*known);
            }
            snapshot.tables.push(union.table(name, is_all));
        }
        snapshot.tables.extend(self.waiting(partitions, is_all));
        for partition in partitions {
            partition.is_unreported = false;
            partition.reports_all = false;
        }
        Ok(snapshot)
    }

    /// The rows that wait: what has come, and anew where some were taken away.
    fn waiting(&mut self, partitions: &mut [Partition], is_all: bool) -> Vec<StateTable> {
        let count = self.num_inputs_waited;
        let mut inputs = vec![StateRows::default(); count];
        let mut replaced = Vec::new();
        for partition in partitions {
            let is_new = is_all || partition.waiting.is_changed;
            if is_new {
                replaced.push(partition.groups.clone());
            }
            for (input, rows) in partition.waiting.tell(is_new) {
                inputs[input].append(rows);
            }
        }
        let tables = inputs.into_iter().enumerate().map(|(input, rows)| {
            let name = format!("{WAITING}{input}");
            if is_all {
                return StateTable::full(name, StateScope::Keyed, rows);
            }
            StateTable {
                name,
                scope: StateScope::Keyed,
                content: StateContent::Delta {
                    key_columns: 0,
                    replaced_groups: replaced.clone(),
                    upserts: rows,
                    deletes: StateRows::default(),
                },
            }
        });
        tables.collect()
    }
}

/// What a partition says, and whether what it leaves out is empty (rather than unchanged).
fn say(
    partition: &mut Partition,
    folder: Option<&Arc<SpillFolder>>,
) -> Result<(StateSnapshot, bool)> {
    if partition.is_loaded() && partition.reports_all {
        match folder {
            Some(folder) if partition.state_bytes() > SAID_IN_FILES_BYTES => {
                partition.store(folder)?;
            }
            _ => {
                let operator = partition.instance()?;
                operator.restart_snapshots();
                return Ok((operator.snapshot()?, true));
            }
        }
    }
    if partition.is_loaded() && partition.stored.is_none() {
        return Ok((partition.instance()?.snapshot()?, true));
    }
    let Some(stored) = &partition.stored else {
        // Never used, or at its end.
        return Ok((StateSnapshot::default(), partition.is_unreported));
    };
    if partition.is_unreported {
        return Ok((stored.snapshot.clone(), true));
    }
    // Tables that are not keyed are whole in every snapshot.
    let tables = stored.snapshot.tables.iter();
    let tables = tables.filter(|t| t.scope != StateScope::Keyed).cloned();
    let tables = tables.collect();
    Ok((StateSnapshot { tables }, false))
}

impl Union {
    fn new(scope: StateScope, count: usize) -> Self {
        Self {
            scope,
            key_columns: 0,
            has_said: vec![false; count],
            replaced: Vec::new(),
            upserts: StateRows::default(),
            deletes: StateRows::default(),
        }
    }

    fn add(&mut self, content: StateContent, partition: &Partition) {
        match content {
            StateContent::Full(rows) => {
                self.replaced.push(partition.groups.clone());
                self.upserts.append(rows);
            }
            StateContent::Delta {
                key_columns,
                replaced_groups,
                upserts,
                deletes,
            } => {
                self.key_columns = self.key_columns.max(key_columns);
                if partition.reports_all {
                    // Everything, as new.
                    self.replaced.push(partition.groups.clone());
                } else {
                    self.replaced.extend(replaced_groups);
                    self.deletes.append(deletes);
                }
                self.upserts.append(upserts);
            }
        }
    }

    fn table(self, name: String, is_all: bool) -> StateTable {
        if is_all || self.scope != StateScope::Keyed {
            return StateTable::full(name, self.scope, self.upserts);
        }
        StateTable {
            name,
            scope: self.scope,
            content: StateContent::Delta {
                key_columns: self.key_columns,
                replaced_groups: self.replaced,
                upserts: self.upserts,
                deletes: self.deletes,
            },
        }
    }
}
