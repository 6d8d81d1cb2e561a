//! The algorithm of top-n: rows of each partition in order, the first ones with their ranks.

use std::collections::BTreeMap;

use arrow::array::Array;
use arrow::record_batch::RecordBatch;
use flott_core::Result;
use flott_core::hash::hash_columns;
use flott_core::operator::{RowsReader, StateTable};

use super::rank::RankFunction;
use super::rows::{Partitions, RowStore, keyed_table, split_keyed};
use super::sort_key::{SortKey, SortKeyEncoder};
use arrow::datatypes::SchemaRef;

/// A row's place in its partition: its sort key, then its arrival.
type Place = (Box<[u8]>, i64);

#[derive(Clone, Copy)]
struct Entry {
    slot: u32,
    /// Of the whole row, to find it again when it is taken back; 0 where rows only come.
    row_hash: u64,
}

/// A row and its rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ranked {
    pub slot: u32,
    pub rank: i64,
}

/// Rows of all partitions in order. Numbers of partitions are those of [`Partitions`].
pub(crate) struct TopRows {
    schema: SchemaRef,
    encoder: SortKeyEncoder,
    pub partitions: Partitions,
    pub store: RowStore,
    entries: Vec<BTreeMap<Place, Entry>>,
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
            entries: Vec::new(),
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
        self.entries
            .resize_with(self.entries.len().max(bound), BTreeMap::new);
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

    /// Whether the row is certainly behind the last rank and will stay there.
    pub fn is_out(&self, prepared: &Prepared, row: usize) -> bool {
        if !self.is_append || self.function != RankFunction::RowNumber {
            return false;
        }
        let entries = &self.entries[prepared.groups[row] as usize];
        let is_full = entries.len() as u64 >= self.to;
        let last = entries.last_key_value();
        is_full && last.is_none_or(|((key, _), _)| **key <= *prepared.key(row))
    }

    /// Puts a row into its partition; the last one falls out if it has become one too many.
    pub fn add(&mut self, prepared: &Prepared, row: usize) {
        let arrival = self.next_arrival;
        self.next_arrival += 1;
        self.add_at(prepared, row, arrival);
        let entries = &mut self.entries[prepared.groups[row] as usize];
        if self.is_append
            && self.function == RankFunction::RowNumber
            && entries.len() as u64 > self.to
            && let Some((_, entry)) = entries.pop_last()
        {
            self.store.release(entry.slot);
        }
    }

    fn add_at(&mut self, prepared: &Prepared, row: usize, arrival: i64) {
        let entry = Entry {
            slot: self.store.allocate(row),
            row_hash: prepared.row_hash(row),
        };
        let place = (prepared.key(row).into(), arrival);
        self.entries[prepared.groups[row] as usize].insert(place, entry);
    }

    /// Takes the first row that equals this one out of its partition, if there is one.
    pub fn remove(&mut self, prepared: &Prepared, row: usize) {
        let entries = &mut self.entries[prepared.groups[row] as usize];
        let (key, hash) = (prepared.key(row), prepared.row_hash(row));
        let equal = entries.range((Box::from(key), i64::MIN)..=(Box::from(key), i64::MAX));
        let found = equal
            .filter(|(_, e)| e.row_hash == hash)
            .map(|(p, _)| p.clone())
            .next();
        if let Some(place) = found
            && let Some(entry) = entries.remove(&place)
        {
            self.store.release(entry.slot);
        }
    }

    /// The rows of a partition from the first to the last rank asked for.
    pub fn list(&self, group: u32) -> Vec<Ranked> {
        let mut listed = Vec::new();
        let (mut rank, mut last_key) = (0_u64, None);
        for (count, ((key, _), entry)) in self.entries[group as usize].iter().enumerate() {
            let is_equal = last_key == Some(key);
            rank = match self.function {
                RankFunction::RowNumber => count as u64 + 1,
                RankFunction::Rank if is_equal => rank,
                RankFunction::Rank => count as u64 + 1,
                RankFunction::DenseRank => rank + u64::from(!is_equal),
            };
            last_key = Some(key);
            if rank > self.to {
                break;
            }
            if rank >= self.from {
                listed.push(Ranked {
                    slot: entry.slot,
                    rank: rank as i64,
                });
            }
        }
        listed
    }

    pub fn is_empty(&self, group: u32) -> bool {
        self.entries[group as usize].is_empty()
    }

    /// Gives a partition and all its rows up.
    pub fn clear(&mut self, group: u32) {
        for entry in std::mem::take(&mut self.entries[group as usize]).values() {
            self.store.release(entry.slot);
        }
        self.partitions.remove(group);
    }

    /// Bytes held.
    pub fn size_bytes(&self) -> usize {
        let entries: usize = self.entries.iter().map(BTreeMap::len).sum();
        entries * 48 + self.store.size_bytes() + self.partitions.size_bytes()
    }

    pub fn snapshot(&self, max_parallelism: usize) -> Result<StateTable> {
        let (mut key_groups, mut arrivals, mut slots) = (Vec::new(), Vec::new(), Vec::new());
        for group in self.partitions.all() {
            let key_group = self.partitions.key_group(group, max_parallelism);
            for ((_, arrival), entry) in &self.entries[group as usize] {
                key_groups.push(key_group);
                arrivals.push(*arrival);
                slots.push(entry.slot);
            }
        }
        let rows = self.store.rows(&slots)?;
        keyed_table(ROWS, key_groups, vec![("arrival", arrivals)], rows)
    }

    /// Takes rows back; gives the rows restored with their partitions.
    pub fn restore(&mut self, batches: RowsReader<'_>) -> Result<Vec<(RecordBatch, Vec<u32>)>> {
        let mut restored = Vec::new();
        for batch in batches {
            let ([arrivals], rows) = split_keyed::<1>(&batch?, &self.schema)?;
            let prepared = self.prepare(&rows)?;
            for row in 0..rows.num_rows() {
                let arrival = if arrivals.is_valid(row) {
                    arrivals.value(row)
                } else {
                    0
                };
                self.next_arrival = self.next_arrival.max(arrival + 1);
                self.add_at(&prepared, row, arrival);
            }
            self.store.commit(&rows)?;
            restored.push((rows, prepared.groups));
        }
        Ok(restored)
    }
}

/// The state table of rows.
pub(crate) const ROWS: &str = "rows";
