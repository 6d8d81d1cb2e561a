//! The algorithm of top-n: rows of each partition in order, the first ones with their ranks.

use arrow::record_batch::RecordBatch;
use flott_core::Result;
use flott_core::hash::hash_columns;
use flott_core::operator::{RowsReader, StateTable};

use super::places::{Entry, Places};
use super::rank::RankFunction;
use super::rows::{Partitions, RestoredRows, RowStore};
use super::sort_key::{SortKey, SortKeyEncoder};
use arrow::datatypes::SchemaRef;

/// A row and its rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ranked {
    pub slot: u32,
    pub rank: i64,
}

/// Up to so many rows of a partition are kept in a list.
const MAX_FEW: u64 = 32;

/// Rows of all partitions in order. Numbers of partitions are those of [`Partitions`].
pub(crate) struct TopRows {
    schema: SchemaRef,
    encoder: SortKeyEncoder,
    pub partitions: Partitions,
    pub store: RowStore,
    /// By partition.
    places: Vec<Places>,
    function: RankFunction,
    from: u64,
    to: u64,
    /// Rows only come: what is behind the last rank is not kept.
    is_append: bool,
    next_arrival: i64,
}

/// A batch with what each of its rows needs.
pub(crate) struct Prepared {
    pub groups: Vec<u32>,
    keys: Option<arrow::row::Rows>,
    row_hashes: Vec<u64>,
}

impl Prepared {
    fn key(&self, row: usize) -> &[u8] {
        self.keys.as_ref().map_or(&[], |k| k.row(row).data())
    }

    fn row_hash(&self, row: usize) -> u64 {
        self.row_hashes.get(row).copied().unwrap_or(0)
    }
}

impl TopRows {
    pub fn new(
        schema: &SchemaRef,
        partition_columns: &[usize],
        order: &[SortKey],
        function: RankFunction,
        (from, to): (u64, u64),
        is_append: bool,
    ) -> Result<Self> {
        Ok(Self {
            schema: schema.clone(),
            encoder: SortKeyEncoder::new(schema, order)?,
            partitions: Partitions::new(schema, partition_columns)?,
            store: RowStore::new(schema.clone()),
            places: Vec::new(),
            function,
            from,
            to,
            is_append,
            next_arrival: 0,
        })
    }

    /// Only the first `num` of the partition columns decide the key group.
    pub fn grouped_by(mut self, num: usize) -> Self {
        self.partitions = self.partitions.grouped_by(num);
        self
    }

    pub fn prepare(&mut self, rows: &RecordBatch) -> Result<Prepared> {
        let groups = self.partitions.assign(rows)?;
        let bound = self.partitions.bound();
        let has_few = self.keeps_no_more() && self.to <= MAX_FEW;
        let places = &mut self.places;
        places.resize_with(places.len().max(bound), || Places::new(has_few));
        let mut row_hashes = Vec::new();
        if !self.is_append {
            hash_columns(rows.columns(), rows.num_rows(), &mut row_hashes)?;
        }
        Ok(Prepared {
            groups,
            keys: self.encoder.encode(rows)?,
            row_hashes,
        })
    }

    /// Whether rows behind the last rank are not kept.
    fn keeps_no_more(&self) -> bool {
        self.is_append && self.function == RankFunction::RowNumber
    }

    /// Whether the row is certainly behind the last rank and will stay there.
    pub fn is_out(&self, prepared: &Prepared, row: usize) -> bool {
        if !self.keeps_no_more() {
            return false;
        }
        let places = &self.places[prepared.groups[row] as usize];
        let is_full = places.len() as u64 >= self.to;
        is_full && places.last_key().is_none_or(|key| key <= prepared.key(row))
    }

    /// Puts a row into its partition; the last one falls out if it has become one too many.
    pub fn add(&mut self, prepared: &Prepared, row: usize) {
        if self.is_out(prepared, row) {
            return;
        }
        let arrival = self.next_arrival;
        self.next_arrival += 1;
        let places = &mut self.places[prepared.groups[row] as usize];
        let is_full = places.len() as u64 >= self.to;
        if is_full
            && self.is_append
            && self.function == RankFunction::RowNumber
            && let Some(slot) = places.pop_last()
        {
            self.store.release(slot);
        }
        self.add_at(prepared, row, arrival);
    }

    fn add_at(&mut self, prepared: &Prepared, row: usize, arrival: i64) {
        let entry = Entry {
            slot: self.store.allocate(row),
            row_hash: prepared.row_hash(row),
        };
        let places = &mut self.places[prepared.groups[row] as usize];
        places.insert(prepared.key(row), arrival, entry);
    }

    /// Takes the first row that equals this one out of its partition, if there is one.
    pub fn remove(&mut self, prepared: &Prepared, row: usize) {
        let places = &mut self.places[prepared.groups[row] as usize];
        if let Some(slot) = places.remove(prepared.key(row), prepared.row_hash(row)) {
            self.store.release(slot);
        }
    }

    /// The rows of a partition from the first to the last rank asked for.
    pub fn list(&self, group: u32) -> Vec<Ranked> {
        let mut listed = Vec::new();
        self.list_into(group, &mut listed);
        listed
    }

    /// As [`TopRows::list`], at the end of a list.
    pub fn list_into(&self, group: u32, listed: &mut Vec<Ranked>) {
        let (mut rank, mut last_key) = (0_u64, None);
        for (count, row) in self.places[group as usize].iter().enumerate() {
            rank = match self.function {
                RankFunction::RowNumber => count as u64 + 1,
                RankFunction::Rank if last_key == Some(row.key) => rank,
                RankFunction::Rank => count as u64 + 1,
                RankFunction::DenseRank => rank + u64::from(last_key != Some(row.key)),
            };
            last_key = Some(row.key);
            if rank > self.to {
                break;
            }
            if rank >= self.from {
                listed.push(Ranked {
                    slot: row.slot,
                    rank: rank as i64,
                });
            }
        }
    }

    pub fn is_empty(&self, group: u32) -> bool {
        self.places[group as usize].len() == 0
    }

    /// Gives a partition and all its rows up.
    pub fn clear(&mut self, group: u32) {
        let places = &mut self.places[group as usize];
        let has_few = matches!(places, Places::Few(_));
        for row in std::mem::replace(places, Places::new(has_few)).iter() {
            self.store.release(row.slot);
        }
        self.partitions.remove(group);
    }

    /// Bytes held.
    pub fn size_bytes(&self) -> usize {
        let places: usize = self.places.iter().map(Places::size_bytes).sum();
        let lists = self.places.capacity() * size_of::<Places>();
        places + lists + self.store.size_bytes() + self.partitions.size_bytes()
    }

    /// For state that is divided into so many key groups; before the first row.
    pub fn open(&mut self, max_parallelism: usize) {
        self.store.set_max_parallelism(max_parallelism);
    }

    /// Copies the rows of the batch that was prepared last.
    pub fn commit(&mut self, rows: &RecordBatch) -> Result<()> {
        let hashes = self.partitions.row_hashes();
        self.store.commit_keyed(rows, hashes)
    }

    /// What has changed.
    pub fn snapshot(&mut self) -> StateTable {
        self.store.snapshot(ROWS, &[])
    }

    /// Takes rows back; gives the rows restored with their partitions.
    pub fn restore(&mut self, batches: RowsReader<'_>) -> Result<Vec<(RecordBatch, Vec<u32>)>> {
        let mut all = Vec::new();
        for batch in batches {
            let restored = RestoredRows::<0>::new(&batch?, &self.schema)?;
            let prepared = self.prepare(&restored.rows)?;
            for row in 0..restored.rows.num_rows() {
                self.add_at(&prepared, row, restored.id(row));
            }
            self.store.commit_restored(&restored)?;
            all.push((restored.rows, prepared.groups));
        }
        // Rows that come from now on have come later than these.
        self.next_arrival = self.store.next_id() as i64;
        self.store.told();
        Ok(all)
    }
}

/// The state table of rows.
pub(crate) const ROWS: &str = "rows";
