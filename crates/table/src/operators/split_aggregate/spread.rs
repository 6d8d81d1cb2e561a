//! Values on their way to the subtasks that keep them.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, UInt32Array, new_null_array};
use arrow::compute::{concat, take};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use flott_core::Result;
use flott_core::changelog::{ChangelogBatch, RowKind, adds};
use flott_core::operator::{Operator, Output};
use flott_state::GroupTable;

use super::layout::{SplitLayout, buckets, key_types, pack};
use super::{SplitAggregate, SpreadDistinctConfig};
use crate::aggregates::{DistinctValues, Marks, SharedSet};
use crate::operators::evaluate::batch_of;
use crate::operators::local_phase::Reduction;

/// Values that are remembered as sent; with their keys they should fit a core's own cache.
const MAX_SEEN: usize = 1 << 14;

pub(super) struct SpreadDistinct {
    split: SplitAggregate,
    layout: SplitLayout,
    schema: SchemaRef,
    seen: Seen,
    reduction: Reduction,
}

/// What has been sent lately.
struct Seen {
    keys: GroupTable,
    row_keys: Vec<u32>,
    /// By set.
    values: Vec<DistinctValues>,
}

/// Rows of a batch that are to be sent for a set.
struct Sent {
    /// Positions in the batch, ascending; `None` is every row.
    rows: Option<UInt32Array>,
    masks: Vec<u8>,
}

impl Seen {
    fn new(split: &SplitAggregate, layout: &SplitLayout) -> Result<Self> {
        let values = |set: &SharedSet| {
            let retractable = false;
            DistinctValues::new(&set.arguments, set.filters.len(), retractable)
        };
        Ok(Self {
            keys: GroupTable::new(&key_types(split))?,
            row_keys: Vec::new(),
            values: layout.sets.iter().map(values).collect::<Result<_>>()?,
        })
    }

    /// The rows whose values have not been sent lately for all filters that they pass.
    fn unsent(&mut self, set: usize, arguments: &[ArrayRef], marks: Marks) -> Result<Sent> {
        let values = &mut self.values[set];
        let changes = match &marks.rows {
            None => values.count(&self.row_keys, arguments, &marks.masks, |_, _| 1)?,
            Some(rows) => {
                let keys = rows.iter().map(|&r| self.row_keys[r as usize]);
                let keys: Vec<u32> = keys.collect();
                let arguments = take_all(arguments, &UInt32Array::from(rows.clone()))?;
                values.count(&keys, &arguments, &marks.masks, |_, _| 1)?
            }
        };
        let rows = changes.iter().map(|c| marks.row(c.row as usize));
        Ok(Sent {
            rows: Some(rows.collect::<Vec<_>>().into()),
            masks: changes.iter().map(|c| c.added).collect(),
        })
    }

    fn num_values(&self) -> usize {
        self.values.iter().map(DistinctValues::len).sum()
    }

    fn clear(&mut self) {
        self.keys.clear();
        self.values.iter_mut().for_each(DistinctValues::clear_all);
    }
}

impl SpreadDistinct {
    pub fn new(config: &SpreadDistinctConfig) -> Result<Self> {
        let split = config.split.clone();
        let layout = SplitLayout::new(&split);
        Ok(Self {
            seen: Seen::new(&split, &layout)?,
            layout,
            schema: config.schema.clone(),
            reduction: Reduction::default(),
            split,
        })
    }

    fn keys(&self, rows: &RecordBatch) -> Vec<ArrayRef> {
        let keys = self.split.key_columns.iter();
        keys.map(|&c| rows.column(c).clone()).collect()
    }

    /// What is sent for a set.
    fn columns(&self, set: usize, batch: &ChangelogBatch, sent: &Sent) -> Result<Vec<ArrayRef>> {
        let num_rows = sent.masks.len();
        let shared = &self.layout.sets[set];
        let mut columns = self.keys(batch.rows());
        let arguments = shared.args.iter();
        let mut arguments: Vec<_> = arguments.map(|&c| batch.column(c).clone()).collect();
        if let Some(rows) = &sent.rows {
            columns = take_all(&columns, rows)?;
            arguments = take_all(&arguments, rows)?;
        }
        columns.push(buckets(&arguments, num_rows, self.split.num_buckets)?);
        let packed = sent.masks.iter().map(|&mask| pack(set, mask));
        columns.push(Arc::new(Int32Array::from_iter_values(packed)));
        let places = &self.layout.places[set];
        for (column, data_type) in self.layout.value_types.iter().enumerate() {
            let argument = places.iter().position(|&place| place == column);
            columns.push(match argument {
                Some(argument) => arguments[argument].clone(),
                None => new_null_array(&data_type.to_arrow(), num_rows),
            });
        }
        Ok(columns)
    }

    /// Sends the rows of all sets in one batch: what is behind works by the batch.
    fn send(&self, batch: &ChangelogBatch, sent: &[Sent], out: &mut dyn Output) -> Result<()> {
        let (mut parts, mut kinds, mut num_rows) = (Vec::new(), Vec::new(), 0);
        for (set, sent) in sent.iter().enumerate().filter(|(_, s)| !s.masks.is_empty()) {
            parts.push(self.columns(set, batch, sent)?);
            kinds.extend(sent_kinds(batch, sent));
            num_rows += sent.masks.len();
        }
        let columns = match parts.len() {
            0 => return Ok(()),
            1 => parts.swap_remove(0),
            _ => {
                let columns = 0..parts[0].len();
                let column = |column: usize| {
                    let parts: Vec<_> = parts.iter().map(|p| p[column].as_ref()).collect();
                    Ok(concat(&parts)?)
                };
                columns.map(column).collect::<Result<_>>()?
            }
        };
        let kinds = batch.kinds().map(|_| kinds.concat().into());
        let rows = batch_of(self.schema.clone(), columns, num_rows)?;
        out.emit(ChangelogBatch::new(rows, kinds))
    }
}

/// `+I` and `-D`; a removal is one whatever becomes of the row's key.
fn sent_kinds(batch: &ChangelogBatch, sent: &Sent) -> Option<Vec<u8>> {
    let kinds = batch.kinds()?;
    let kind = |row: usize| match adds(kinds[row]) {
        true => RowKind::Insert as u8,
        false => RowKind::Delete as u8,
    };
    Some(match &sent.rows {
        None => (0..kinds.len()).map(kind).collect(),
        Some(rows) => rows.values().iter().map(|&r| kind(r as usize)).collect(),
    })
}

fn take_all(columns: &[ArrayRef], rows: &UInt32Array) -> Result<Vec<ArrayRef>> {
    let taken = columns.iter().map(|c| Ok(take(c, rows, None)?));
    taken.collect()
}

impl Operator for SpreadDistinct {
    fn process(&mut self, _: usize, batch: ChangelogBatch, out: &mut dyn Output) -> Result<()> {
        let rows = batch.rows();
        let num_rows = rows.num_rows();
        let remembers = !self.split.input_is_retracting && !self.reduction.passes(num_rows);
        if remembers {
            let keys = self.keys(rows);
            let seen = &mut self.seen;
            seen.keys.assign(&keys, num_rows, &mut seen.row_keys)?;
        }
        let (mut num_marked, mut all_sent) = (0, Vec::with_capacity(self.layout.sets.len()));
        for (set, shared) in self.layout.sets.iter().enumerate() {
            let arguments = shared.args.iter();
            let arguments: Vec<_> = arguments.map(|&c| rows.column(c).clone()).collect();
            let filters = shared.filters.iter();
            let filters = filters.map(|f| f.map(|c| rows.column(c).as_boolean()));
            let filters: Vec<_> = filters.collect();
            let marks = Marks::of(&arguments, &filters, num_rows);
            num_marked += marks.masks.len();
            all_sent.push(match remembers {
                true => self.seen.unsent(set, &arguments, marks)?,
                false => Sent {
                    rows: marks.rows.map(Into::into),
                    masks: marks.masks,
                },
            });
        }
        self.send(&batch, &all_sent, out)?;
        if remembers {
            let num_sent = all_sent.iter().map(|s| s.masks.len()).sum();
            self.reduction.measure(num_marked, num_sent);
            if self.seen.num_values() > MAX_SEEN {
                self.seen.clear();
            }
        }
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        let values = self.seen.values.iter().map(DistinctValues::size_bytes);
        self.seen.keys.size_bytes() + values.sum::<usize>()
    }

    fn next_event_time(&self) -> Option<i64> {
        None
    }
}
