//! Keyed rows as they come back from a snapshot.

use arrow::array::{AsArray, Int64Array, UInt16Array};
use arrow::datatypes::{DataType, Int64Type, SchemaRef, UInt16Type};
use arrow::record_batch::RecordBatch;
use flott_core::{Error, Result};

use super::identity::{self, Identity};
use super::unfit;
use crate::operators::evaluate::batch_of;

/// The columns before the rows' own: the key group and the id.
pub(super) const NUM_IDENTITY: usize = 2;

/// A batch of a table that [`super::RowStore::snapshot`] has made, taken apart: the rows, and `N`
/// BIGINT columns beside them.
pub(crate) struct RestoredRows<const N: usize> {
    key_groups: UInt16Array,
    ids: Int64Array,
    pub extra: [Int64Array; N],
    pub rows: RecordBatch,
}

impl<const N: usize> RestoredRows<N> {
    /// # Errors
    /// A user error when the state has other columns than `schema`: the query has changed.
    pub fn new(batch: &RecordBatch, schema: &SchemaRef) -> Result<Self> {
        let num_before = NUM_IDENTITY + N;
        let columns = batch.columns();
        let types = columns.iter().take(num_before).map(|c| c.data_type());
        let wanted = std::iter::once(&DataType::UInt16);
        let wanted = wanted.chain(std::iter::repeat_n(&DataType::Int64, 1 + N));
        if !types.eq(wanted) || columns.len() != num_before + schema.fields().len() {
            return Err(unfit(batch, schema));
        }
        let extra = std::array::from_fn(|i| {
            let column = &columns[NUM_IDENTITY + i];
            column.as_primitive::<Int64Type>().clone()
        });
        let own = columns[num_before..].to_vec();
        let rows = batch_of(schema.clone(), own, batch.num_rows());
        Ok(Self {
            key_groups: columns[0].as_primitive::<UInt16Type>().clone(),
            ids: columns[1].as_primitive::<Int64Type>().clone(),
            extra,
            rows: rows.map_err(|e| Error::user("STATE_SCHEMA", e.message()))?,
        })
    }

    /// The row's number: rows that came earlier have lower ones.
    pub fn id(&self, row: usize) -> i64 {
        self.ids.value(row)
    }

    pub(super) fn identity(&self, row: usize) -> Identity {
        identity::of(self.key_groups.value(row), self.ids.value(row) as u64)
    }
}
