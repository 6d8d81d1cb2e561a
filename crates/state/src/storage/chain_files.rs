//! Chains of snapshots to state files and back.

use std::sync::Arc;

use flott_core::Result;
use flott_core::operator::{StatePart, StateRows, StateScope};
use flott_storage::StoragePlace;

use super::manifest::{FileManifest, LayerManifest, TableManifest};
use super::stored::{FileWriter, StoredFile};
use crate::chain::{Layer, OperatorChain, OperatorTable, TableChain};

impl OperatorChain {
    /// Moves all rows that lie elsewhere into files, and says what the manifest needs to know.
    /// After an error the chain is as complete as before: what was not moved is tried again with
    /// the next checkpoint.
    ///
    /// # Errors
    /// The store's.
    pub fn store(&mut self, writer: &mut FileWriter<'_>) -> Result<Vec<TableManifest>> {
        let mut stored = self.clone();
        for table in stored.tables.values_mut() {
            match table {
                OperatorTable::Keyed(chain) => {
                    for layer in &mut chain.layers {
                        layer.upserts = writer.store(StateScope::Keyed, &layer.upserts)?;
                        layer.deletes = writer.store(StateScope::Keyed, &layer.deletes)?;
                    }
                }
                OperatorTable::Whole(scope, subtasks) => {
                    for rows in subtasks {
                        *rows = writer.store(*scope, rows)?;
                    }
                }
            }
        }
        writer.flush()?;
        *self = stored;
        Ok(self.manifests())
    }

    /// Makes the layers of tables one where that pays: the next [`OperatorChain::store`] reads and
    /// writes them whole.
    pub fn mark_compaction(&mut self) {
        for table in self.tables.values_mut() {
            if let OperatorTable::Keyed(chain) = table {
                chain.mark_compaction();
            }
        }
    }

    /// Writes every table as whole rows, each key once, for a savepoint. The chain stays as it is.
    ///
    /// # Errors
    /// The store's, and rows that cannot be read.
    pub fn store_whole(&self, writer: &mut FileWriter<'_>) -> Result<Vec<TableManifest>> {
        let mut whole = self.clone();
        for table in whole.tables.values_mut() {
            if let OperatorTable::Keyed(chain) = table {
                chain.mark_whole();
            }
        }
        whole.store(writer)
    }

    fn manifests(&self) -> Vec<TableManifest> {
        let tables = self.tables.iter().map(|(name, table)| {
            let (scope, key_columns, layers) = match table {
                OperatorTable::Keyed(chain) => (
                    StateScope::Keyed,
                    chain.key_columns,
                    chain.layers.iter().map(layer_manifest).collect(),
                ),
                OperatorTable::Whole(scope, subtasks) => {
                    let layers = subtasks.iter().map(|rows| LayerManifest {
                        upserts: files(rows).cloned().collect(),
                        ..LayerManifest::default()
                    });
                    (*scope, 0, layers.collect())
                }
            };
            TableManifest {
                name: name.clone(),
                scope: scope.into(),
                schema: schema_of(table),
                key_columns,
                layers,
            }
        });
        tables.collect()
    }

    /// Makes the chain of an operator from a manifest; nothing is read yet.
    pub fn load(
        tables: &[TableManifest],
        place: &StoragePlace,
        parallelism: usize,
        max_parallelism: usize,
    ) -> Self {
        let mut chain = Self::new(max_parallelism);
        chain.parallelism = parallelism.max(1);
        for table in tables {
            let schema: Arc<str> = table.schema.as_str().into();
            let rows = |files: &[FileManifest]| -> StateRows {
                let mut rows = StateRows::default();
                for file in files {
                    let file = StoredFile::new(place, file.clone(), schema.clone());
                    rows.push_stored(Arc::new(file));
                }
                rows
            };
            let loaded = match StateScope::from(table.scope) {
                StateScope::Keyed => {
                    let mut keyed = TableChain::new(max_parallelism);
                    keyed.key_columns = table.key_columns;
                    let layers = table.layers.iter().map(|layer| Layer {
                        replaced: layer.replaced.iter().map(|&(a, b)| a..b).collect(),
                        upserts: rows(&layer.upserts),
                        deletes: rows(&layer.deletes),
                    });
                    keyed.layers = layers.collect();
                    OperatorTable::Keyed(keyed)
                }
                scope => {
                    let subtasks = table.layers.iter().map(|layer| rows(&layer.upserts));
                    OperatorTable::Whole(scope, subtasks.collect())
                }
            };
            chain.tables.insert(table.name.clone(), loaded);
        }
        chain
    }
}

fn layer_manifest(layer: &Layer) -> LayerManifest {
    LayerManifest {
        replaced: layer.replaced.iter().map(|r| (r.start, r.end)).collect(),
        upserts: files(&layer.upserts).cloned().collect(),
        deletes: files(&layer.deletes).cloned().collect(),
    }
}

fn stored(rows: &StateRows) -> impl Iterator<Item = &StoredFile> {
    rows.parts().iter().filter_map(|part| match part {
        StatePart::Stored(rows) => rows.as_any().downcast_ref::<StoredFile>(),
        StatePart::Batch(_) => None,
    })
}

fn files(rows: &StateRows) -> impl Iterator<Item = &FileManifest> {
    stored(rows).map(|s| &s.file)
}

/// The columns of a table; nothing when it has no rows.
fn schema_of(table: &OperatorTable) -> String {
    let file = match table {
        OperatorTable::Keyed(chain) => {
            let layers = chain.layers.iter();
            layers.flat_map(|l| stored(&l.upserts)).next()
        }
        OperatorTable::Whole(_, subtasks) => subtasks.iter().flat_map(stored).next(),
    };
    file.map(|f| f.schema.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::array::{ArrayRef, AsArray, Int64Array, UInt16Array};
    use arrow::datatypes::{Int64Type, UInt16Type};
    use arrow::record_batch::RecordBatch;
    use flott_core::key_group::subtask_of;
    use flott_core::operator::{StateSnapshot, StateTable};

    use super::super::stored::FileTarget;
    use super::*;

    const MAX_PARALLELISM: usize = 8;

    fn rows(keys: &[i64], values: Option<&[i64]>) -> RecordBatch {
        let groups = keys.iter().map(|k| (*k % 8) as u16);
        let mut columns: Vec<(&str, ArrayRef)> = vec![
            ("g", Arc::new(UInt16Array::from_iter_values(groups))),
            ("k", Arc::new(Int64Array::from(keys.to_vec()))),
        ];
        if let Some(values) = values {
            columns.push(("v", Arc::new(Int64Array::from(values.to_vec()))));
        }
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn snapshots(upserts: &[(i64, i64)], deletes: &[i64]) -> Vec<StateSnapshot> {
        let of = |subtask: usize| {
            let is_own = |key: i64| subtask_of((key % 8) as usize, 2, MAX_PARALLELISM) == subtask;
            let own = upserts.iter().filter(|(k, _)| is_own(*k));
            let (keys, values): (Vec<i64>, Vec<i64>) = own.copied().unzip();
            let gone: Vec<i64> = deletes.iter().copied().filter(|k| is_own(*k)).collect();
            let table = StateTable::delta("t", 2, rows(&keys, Some(&values)), rows(&gone, None));
            let list = rows(&[subtask as i64], None);
            let list = StateTable::full("list", StateScope::Split, list);
            StateSnapshot {
                tables: vec![table, list],
            }
        };
        vec![of(0), of(1)]
    }

    fn content(chain: &OperatorChain) -> BTreeMap<i64, i64> {
        let mut content = BTreeMap::new();
        for (subtask, snapshot) in chain.snapshots().iter().enumerate() {
            for batch in snapshot.table("t") {
                let batch = batch.unwrap();
                let groups = batch.column(0).as_primitive::<UInt16Type>().values();
                let owner = |g: u16| subtask_of(usize::from(g), 2, MAX_PARALLELISM);
                assert!(groups.iter().all(|&g| owner(g) == subtask));
                let keys = batch.column(1).as_primitive::<Int64Type>().values();
                let values = batch.column(2).as_primitive::<Int64Type>().values();
                for (key, value) in keys.iter().zip(values) {
                    assert_eq!(content.insert(*key, *value), None);
                }
            }
            let list = snapshot.table("list").map(|b| b.unwrap().num_rows());
            assert_eq!(list.sum::<usize>(), 1);
        }
        content
    }

    fn store(
        chain: &mut OperatorChain,
        place: &StoragePlace,
        id: u64,
        inline: usize,
    ) -> (Vec<TableManifest>, u64) {
        let name = |number| format!("shared/1-{id}-{number}.state");
        let mut writer = FileWriter::new(FileTarget {
            place,
            name: &name,
            inline_bytes: inline,
            is_canonical: false,
        });
        let tables = chain.store(&mut writer).unwrap();
        (tables, writer.written_bytes)
    }

    #[test]
    fn changes_come_back_merged_and_cost_what_they_are() {
        for inline in [0, 1 << 20] {
            let place = StoragePlace::in_memory();
            let mut chain = OperatorChain::new(MAX_PARALLELISM);
            let all: Vec<(i64, i64)> = (0..5000).map(|k| (k, k)).collect();
            chain.apply(&snapshots(&all, &[])).unwrap();
            let (_, whole) = store(&mut chain, &place, 1, inline);
            chain
                .apply(&snapshots(&[(1, 100), (9000, 9)], &[2, 3]))
                .unwrap();
            let (tables, changes) = store(&mut chain, &place, 2, inline);
            assert!(changes * 5 < whole, "{changes} of {whole}");
            let mut expected: BTreeMap<i64, i64> = all.into_iter().collect();
            expected.extend([(1, 100), (9000, 9)]);
            expected.retain(|k, _| ![2, 3].contains(k));
            assert_eq!(content(&chain), expected);
            let mut loaded = OperatorChain::load(&tables, &place, 2, MAX_PARALLELISM);
            assert_eq!(content(&loaded), expected);
            // The chain goes on where it was loaded.
            loaded.apply(&snapshots(&[(2, 22)], &[1])).unwrap();
            let (tables, more) = store(&mut loaded, &place, 3, inline);
            assert!(more * 5 < whole, "{more} of {whole}");
            expected.insert(2, 22);
            expected.remove(&1);
            let again = OperatorChain::load(&tables, &place, 2, MAX_PARALLELISM);
            assert_eq!(content(&again), expected);
            let savepoint = StoragePlace::in_memory();
            let name = |number| format!("state/{number}.state");
            let mut writer = FileWriter::new(FileTarget {
                place: &savepoint,
                name: &name,
                inline_bytes: 0,
                is_canonical: true,
            });
            let tables = again.store_whole(&mut writer).unwrap();
            let keyed = tables.iter().find(|t| t.name == "t").unwrap();
            assert_eq!((keyed.layers.len(), keyed.layers[0].deletes.len()), (1, 0));
            assert_eq!(keyed.schema, "g: UInt16, k: Int64, v: Int64");
            let restored = OperatorChain::load(&tables, &savepoint, 2, MAX_PARALLELISM);
            assert_eq!(content(&restored), expected);
        }
    }

    #[test]
    fn many_changes_are_merged_into_one_layer() {
        let place = StoragePlace::in_memory();
        let mut chain = OperatorChain::new(MAX_PARALLELISM);
        let mut most = 0;
        for id in 1..100 {
            let key = id as i64 % 10;
            chain.apply(&snapshots(&[(key, id as i64)], &[])).unwrap();
            chain.mark_compaction();
            let (tables, _) = store(&mut chain, &place, id, 0);
            most = most.max(tables.iter().map(|t| t.layers.len()).max().unwrap_or(0));
        }
        // Small tables are mostly what a file costs anyway: the number of layers decides.
        assert!(most <= 65, "{most}");
        let content = content(&chain);
        assert_eq!(content.len(), 10);
        assert_eq!(content[&9], 99);
    }
}
