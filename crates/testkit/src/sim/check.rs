//! What has to hold of the stored checkpoints at any time, and of what was committed in the end.

use std::collections::{BTreeMap, BTreeSet};

use flott_core::changelog::RowKind;
use flott_state::storage::{CheckpointStore, StoragePlace};

/// The newest checkpoint that can be started from; none before the first.
///
/// # Errors
/// A manifest that can be read names a file that is not there.
pub fn store(place: &StoragePlace, job: &str) -> Result<Option<u64>, String> {
    let store = CheckpointStore::new(place, job);
    let told = |e: flott_core::Error| format!("the store cannot be read: {e}");
    let files = store.place().list("").map_err(told)?;
    let files: BTreeSet<String> = files.into_iter().map(|o| o.name).collect();
    let mut newest = None;
    for id in store.list().map_err(told)? {
        // What was torn is no checkpoint.
        let Ok(manifest) = store.read(id) else {
            continue;
        };
        for file in manifest.files() {
            if !files.contains(&file.path) {
                return Err(format!(
                    "checkpoint {id} names {}, which is not there",
                    file.path
                ));
            }
        }
        newest = Some(id);
    }
    Ok(newest)
}

/// The table that each changelog describes, by table: its rows, and how often each is there.
///
/// # Errors
/// A row that is taken back without being there.
pub fn tables(
    lines: &[(String, String)],
) -> Result<BTreeMap<String, BTreeMap<String, i64>>, String> {
    let mut tables: BTreeMap<String, BTreeMap<String, i64>> = BTreeMap::new();
    for (table, line) in lines {
        let (kind, row) = line.split_once(" | ").unwrap_or((line, ""));
        let adds = RowKind::from_symbol(kind).is_some_and(RowKind::is_addition);
        let rows = tables.entry(table.clone()).or_default();
        let count = rows.entry(row.to_string()).or_default();
        *count += if adds { 1 } else { -1 };
        if *count < 0 {
            return Err(format!("{table}: {line} takes back what is not there"));
        }
        if *count == 0 {
            rows.remove(row);
        }
    }
    tables.retain(|_, rows| !rows.is_empty());
    Ok(tables)
}
