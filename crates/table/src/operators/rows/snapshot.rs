//! Snapshots of stored rows: what has changed, in the pages where it lies.
//!
//! A snapshot takes no copy of rows. It holds on to the pages and to where in them its rows are;
//! columns are made of them when somebody reads, on the reader's thread.

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, UInt16Array};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use flott_core::Result;
use flott_core::operator::{
    PackedReader, RowsReader, StateBatch, StateRows, StateScope, StateTable, StoredRows,
};
use flott_state::chain::ROW_ID;
use flott_state::rows::{Identity, Layout, PackedBuilder, buffer_of, identity, slot_of, unpacked};

use super::restored::NUM_IDENTITY;
use super::store::{Location, RowStore, Stretch};
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
        let schema = self.state_fields(extra);
        if self.changes.is_whole {
            let slots = self.stored_slots();
            let rows: Arc<dyn StoredRows> = Arc::new(self.share_each(&slots, schema, extra, true));
            self.told();
            return StateTable::full(name, StateScope::Keyed, rows);
        }
        let changed = self.changes.changed();
        let mut rows = StateRows::default();
        if !changed.is_empty() {
            let changed = self.share_each(&changed, schema.clone(), extra, false);
            rows.push_stored(Arc::new(changed));
        }
        let new = self.take_new();
        if !new.is_empty() {
            rows.push_stored(Arc::new(self.share_new(new, schema.clone(), extra)));
        }
        let removed: Arc<dyn StoredRows> = Arc::new(RemovedRows {
            schema: Arc::new(Schema::new(schema.fields()[..NUM_IDENTITY].to_vec())),
            rows: self.changes.told(),
        });
        StateTable::delta(name, NUM_IDENTITY, rows, removed)
    }

    /// What belongs to a stored row, as a snapshot tells it, has changed.
    #[inline]
    pub fn touch(&mut self, slot: u32) {
        if self.is_told(slot) {
            self.changes.touch(slot);
        }
    }

    /// All rows have been told, now or by a restore: changes count from here.
    pub fn told(&mut self) {
        self.changes.told();
        self.take_new();
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

    /// Rows one by one, with where they are.
    fn share_each(
        &self,
        slots: &[u32],
        schema: SchemaRef,
        extra: &[Extra<'_>],
        are_new: bool,
    ) -> SharedRows {
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
        SharedRows {
            size_bytes: self.bytes_of(slots.len()),
            num_rows: slots.len(),
            layout: self.layout.clone(),
            schema,
            extra: ExtraColumn::all(extra, || slots.iter().map(|&slot| slot as usize)),
            places: Places::Each { pages, locations },
            are_new,
        }
    }

    /// Rows as they lie.
    fn share_new(
        &self,
        stretches: Vec<Stretch>,
        schema: SchemaRef,
        extra: &[Extra<'_>],
    ) -> SharedRows {
        let num_rows = stretches.iter().map(|s| s.num_rows).sum();
        let mut slots = Vec::new();
        if extra
            .iter()
            .any(|(_, value)| matches!(value, ExtraValue::Of(_)))
        {
            slots.reserve(num_rows);
            for stretch in &stretches {
                for at in stretch.rows(&self.layout) {
                    slots.push(slot_of(&stretch.bytes[at as usize..]));
                }
            }
        }
        SharedRows {
            size_bytes: self.bytes_of(num_rows),
            num_rows,
            layout: self.layout.clone(),
            schema,
            extra: ExtraColumn::all(extra, || slots.iter().copied()),
            places: Places::Stretches(stretches),
            are_new: true,
        }
    }
}

impl Stretch {
    /// Where its rows are, in order.
    fn rows<'a>(&'a self, layout: &'a Layout) -> impl Iterator<Item = u32> + 'a {
        let mut holes = self.holes.clone();
        holes.sort_unstable();
        let mut holes = holes.into_iter().peekable();
        let mut at = self.range.start;
        let all = std::iter::from_fn(move || {
            let row = at;
            (row < self.range.end).then(|| {
                at += layout.length(&self.bytes[row as usize..]) as u32;
                row
            })
        });
        all.filter(move |row| holes.next_if_eq(row).is_none())
    }
}

/// Rows in pages that are shared with their store.
struct SharedRows {
    layout: Layout,
    /// Of the state table.
    schema: SchemaRef,
    places: Places,
    extra: Vec<ExtraColumn>,
    num_rows: usize,
    size_bytes: usize,
    are_new: bool,
}

/// Where shared rows are.
enum Places {
    Stretches(Vec<Stretch>),
    Each {
        /// By number; empty where no row is.
        pages: Vec<Arc<[u8]>>,
        locations: Vec<Location>,
    },
}

/// A column beside the rows, as it was at the snapshot.
enum ExtraColumn {
    Same(i64),
    /// By row.
    Each(Vec<i64>),
}

impl ExtraColumn {
    fn all<I: Iterator<Item = usize>>(extra: &[Extra<'_>], slots: impl Fn() -> I) -> Vec<Self> {
        let columns = extra.iter().map(|(_, value)| match value {
            ExtraValue::Same(value) => Self::Same(*value),
            ExtraValue::Of(value) => Self::Each(slots().map(value).collect()),
        });
        columns.collect()
    }

    fn array(&self, rows: Range<usize>) -> ArrayRef {
        Arc::new(match self {
            Self::Same(value) => Int64Array::from_value(*value, rows.len()),
            Self::Each(values) => Int64Array::from(values[rows].to_vec()),
        })
    }
}

impl fmt::Debug for SharedRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows in pages", self.num_rows)
    }
}

impl SharedRows {
    fn finish(
        &self,
        packed: PackedBuilder,
        rows: Range<usize>,
        buffers: Vec<Buffer>,
    ) -> Result<StateBatch> {
        let extra = self.extra.iter().map(|column| column.array(rows.clone()));
        packed.finish(&self.schema, extra.collect(), buffers)
    }

    /// The rows of a stretch, the first of which is number `first` of all.
    fn stretch(&self, stretch: &Stretch, first: usize) -> Result<StateBatch> {
        let mut packed = PackedBuilder::with_capacity(stretch.num_rows);
        for at in stretch.rows(&self.layout) {
            let row = &stretch.bytes[at as usize..];
            packed.push(&row[..self.layout.length(row)], 0, at);
        }
        let rows = first..first + stretch.num_rows;
        self.finish(packed, rows, vec![buffer_of(&stretch.bytes)])
    }

    /// Rows at these places, the first of which is number `first` of all.
    fn each(
        &self,
        pages: &[Arc<[u8]>],
        locations: &[Location],
        first: usize,
    ) -> Result<StateBatch> {
        let mut packed = PackedBuilder::with_capacity(locations.len());
        let (mut buffers, mut last) = (Vec::new(), None);
        for location in locations {
            let page = &pages[location.page as usize];
            if last != Some(location.page) {
                last = Some(location.page);
                buffers.push(buffer_of(page));
            }
            let row = &page[location.at as usize..];
            let row = &row[..self.layout.length(row)];
            packed.push(row, buffers.len() as u32 - 1, location.at);
        }
        self.finish(packed, first..first + locations.len(), buffers)
    }
}

impl StoredRows for SharedRows {
    fn num_rows(&self) -> usize {
        self.num_rows
    }

    fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    fn read(&self, key_groups: Option<&Range<usize>>) -> Result<RowsReader<'_>> {
        Ok(unpacked(self.read_packed(key_groups)?))
    }

    fn read_packed(&self, _: Option<&Range<usize>>) -> Result<PackedReader<'_>> {
        Ok(match &self.places {
            Places::Stretches(stretches) => {
                let mut next = 0;
                Box::new(stretches.iter().map(move |stretch| {
                    let first = next;
                    next += stretch.num_rows;
                    self.stretch(stretch, first)
                }))
            }
            Places::Each { pages, locations } => {
                let chunks = locations.chunks(BATCH_ROWS).enumerate();
                Box::new(
                    chunks.map(move |(chunk, locations)| {
                        self.each(pages, locations, chunk * BATCH_ROWS)
                    }),
                )
            }
        })
    }

    fn are_new(&self) -> bool {
        self.are_new
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
