//! Chains of snapshots to state files and back.

use std::sync::Arc;

use flott_core::Result;
use flott_core::operator::{StatePart, StateRows, StateScope, StoredRows};

use super::manifest::{FileManifest, LayerManifest, TableManifest};
use super::place::StoragePlace;
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
            if let OperatorTable::Keyed(chain) = table
                && chain.wants_compaction()
            {
                merge_when_read(chain);
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
                merge_when_read(chain);
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
                    rows.push_stored(Arc::new(StoredFile {
                        place: place.clone(),
                        file: file.clone(),
                        schema: schema.clone(),
                    }));
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

/// Puts one layer of all layers' rows in their place; they are merged when it is read.
fn merge_when_read(chain: &mut TableChain) {
    let layers: Arc<dyn StoredRows> = Arc::new(chain.clone());
    chain.replace(layers.into());
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
