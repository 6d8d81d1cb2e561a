//! Snapshots of stored rows: what has changed, in the pages where it lies.
//!
//! A snapshot takes no copy of rows. It holds on to the pages and to where in them its rows are;
//! columns are made of them when somebody reads, on the reader's thread.

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, UInt16Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use flott_core::Result;
use flott_core::operator::{RowsReader, StateScope, StateTable, StoredRows};
use flott_state::chain::ROW_ID;

use super::identity::{self, Identity};
use super::layout::Layout;
use super::read::read_columns;
use super::restored::NUM_IDENTITY;
use super::store::{Location, RowStore, identity_of};
use crate::operators::evaluate::batch_of;

/// Rows in a batch that is read.
const BATCH_ROWS: usize = 1 << 14;

/// A BIGINT column beside the rows.
pub(crate) type Extra<'a> = (&'static str, ExtraValue<'a>);

/// The values of a column beside the rows.
pub(crate) enum ExtraValue<'a> {
    /// The same for all rows.
    Same(i64),
    /// By slot.
    Of(&'a dyn Fn(usize) -> i64),
}

impl RowStore {
    /// What has changed since the last snapshot, as a keyed table: the key group and the id, which
    /// say which row it is, `extra` columns, and the row. Nothing may be pending or released.
    pub fn snapshot(&mut self, name: &str, extra: &[Extra<'_>]) -> StateTable {
        let is_whole = self.changes.is_whole;
        let slots = match is_whole {
            true => self.stored_slots(),
            false => self.changes.changed(),
        };
        let fields = self.state_fields(extra);
        let rows: Arc<dyn StoredRows> = Arc::new(self.share(&slots, fields.clone(), extra));
        let removed = self.changes.told();
        if is_whole {
            return StateTable::full(name, StateScope::Keyed, rows);
        }
        let removed: Arc<dyn StoredRows> = Arc::new(RemovedRows {
            schema: Arc::new(Schema::new(fields.fields()[..NUM_IDENTITY].to_vec())),
            rows: removed,
        });
        StateTable::delta(name, NUM_IDENTITY, rows, removed)
    }

    /// What belongs to a stored row, as a snapshot tells it, has changed.
    #[inline]
    pub fn touch(&mut self, slot: u32) {
        self.changes.touch(slot);
    }

    /// All rows have been restored: changes count from here.
    pub fn told(&mut self) {
        self.changes.told();
    }

    /// The next snapshot says everything.
    pub fn restart_snapshots(&mut self) {
        self.changes.restart();
    }

    fn stored_slots(&self) -> Vec<u32> {
        let slots = self.slots.iter().enumerate();
        let stored = slots.filter(|(_, location)| location.is_stored());
        stored.map(|(slot, _)| slot as u32).collect()
    }

    fn state_fields(&self, extra: &[Extra<'_>]) -> SchemaRef {
        let number = |name: &str| Arc::new(Field::new(name, DataType::Int64, true));
        let mut fields = vec![
            Arc::new(Field::new("key_group", DataType::UInt16, true)),
            number(ROW_ID),
        ];
        fields.extend(extra.iter().map(|(name, _)| number(name)));
        fields.extend(self.schema().fields().iter().cloned());
        Arc::new(Schema::new(fields))
    }

    fn share(&self, slots: &[u32], schema: SchemaRef, extra: &[Extra<'_>]) -> SharedRows {
        let locations = slots.iter().map(|&slot| self.slots[slot as usize]);
        let locations: Vec<Location> = locations.collect();
        let mut pages: Vec<Arc<[u8]>> = vec![Arc::default(); self.pages.len()];
        let mut last = usize::MAX;
        for location in &locations {
            let number = location.page as usize;
            if number != last && pages[number].is_empty() {
                pages[number] = self.pages[number].bytes.clone();
            }
            last = number;
        }
        let extra = extra.iter().map(|(_, value)| match value {
            ExtraValue::Same(value) => ExtraColumn::Same(*value),
            ExtraValue::Of(value) => {
                let values = slots.iter().map(|&slot| value(slot as usize));
                ExtraColumn::Each(values.collect())
            }
        });
        SharedRows {
            size_bytes: self.bytes_of(slots.len()),
            layout: self.layout.clone(),
            schema,
            pages,
            locations,
            extra: extra.collect(),
        }
    }
}

/// Rows in pages that are shared with their store.
struct SharedRows {
    layout: Layout,
    /// Of the state table.
    schema: SchemaRef,
    /// By number; empty where no row is.
    pages: Vec<Arc<[u8]>>,
    locations: Vec<Location>,
    extra: Vec<ExtraColumn>,
    size_bytes: usize,
}

/// A column beside the rows, as it was at the snapshot.
enum ExtraColumn {
    Same(i64),
    /// By row.
    Each(Vec<i64>),
}

impl fmt::Debug for SharedRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows in pages", self.locations.len())
    }
}

impl SharedRows {
    fn row(&self, location: Location) -> &[u8] {
        &self.pages[location.page as usize][location.at as usize..]
    }

    fn batch(&self, rows: Range<usize>, key_groups: Option<&Range<usize>>) -> Result<RecordBatch> {
        let is_wanted = |row: &usize| {
            key_groups.is_none_or(|wanted| {
                let identity = identity_of(self.row(self.locations[*row]));
                wanted.contains(&usize::from(identity::key_group(identity)))
            })
        };
        let rows: Vec<usize> = rows.filter(is_wanted).collect();
        let starts = rows.iter().map(|&row| self.row(self.locations[row]));
        let starts: Vec<&[u8]> = starts.collect();
        let mut columns = identity_columns(starts.iter().map(|row| identity_of(row)));
        for column in &self.extra {
            columns.push(Arc::new(match column {
                ExtraColumn::Same(value) => Int64Array::from_value(*value, rows.len()),
                ExtraColumn::Each(values) => {
                    Int64Array::from_iter_values(rows.iter().map(|&row| values[row]))
                }
            }));
        }
        let all: Vec<usize> = (0..self.layout.columns.len()).collect();
        columns.extend(read_columns(&self.layout, &all, rows.len(), |i| starts[i])?);
        batch_of(self.schema.clone(), columns, rows.len())
    }
}

impl StoredRows for SharedRows {
    fn num_rows(&self) -> usize {
        self.locations.len()
    }

    fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    fn read(&self, key_groups: Option<&Range<usize>>) -> Result<RowsReader<'_>> {
        let key_groups = key_groups.cloned();
        let num_rows = self.locations.len();
        let batches = (0..num_rows).step_by(BATCH_ROWS).map(move |start| {
            let rows = start..num_rows.min(start + BATCH_ROWS);
            self.batch(rows, key_groups.as_ref())
        });
        Ok(Box::new(batches))
    }

    fn numbers_rows(&self) -> bool {
        true
    }

    fn pins_memory(&self) -> bool {
        true
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The identities of rows that are gone.
#[derive(Debug)]
struct RemovedRows {
    schema: SchemaRef,
    rows: Vec<Identity>,
}

impl StoredRows for RemovedRows {
    fn num_rows(&self) -> usize {
        self.rows.len()
    }

    fn size_bytes(&self) -> usize {
        self.rows.len() * (size_of::<u16>() + size_of::<i64>())
    }

    fn read(&self, _: Option<&Range<usize>>) -> Result<RowsReader<'_>> {
        let batches = self.rows.chunks(BATCH_ROWS).map(|rows| {
            let columns = identity_columns(rows.iter().copied());
            batch_of(self.schema.clone(), columns, rows.len())
        });
        Ok(Box::new(batches))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The key groups and the ids.
fn identity_columns(identities: impl Iterator<Item = Identity> + Clone) -> Vec<ArrayRef> {
    let key_groups = identities.clone().map(identity::key_group);
    let ids = identities.map(|i| identity::id(i) as i64);
    vec![
        Arc::new(UInt16Array::from_iter_values(key_groups)),
        Arc::new(Int64Array::from_iter_values(ids)),
    ]
}
