//! Keyed rows as they come back from a snapshot.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, UInt16Array};
use arrow::datatypes::{DataType, Int64Type, SchemaRef, UInt16Type};
use arrow::record_batch::RecordBatch;
use flott_core::{Error, Result};

use flott_core::operator::StateBatch;
use flott_state::rows::read::read_columns;
use flott_state::rows::{Identity, Layout, PackedRows, identity};

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

/// Packed rows as they come back, with `N` BIGINT columns beside them: nothing is made of them but
/// the columns that are asked for.
pub(crate) struct PackedRestored<'a, const N: usize> {
    packed: PackedRows<'a>,
    layout: Layout,
    pub extra: [&'a Int64Array; N],
}

impl<'a, const N: usize> PackedRestored<'a, N> {
    /// `None` when the batch is not packed, or not rows of `schema`, so that
    /// [`RestoredRows::new`] has to see to it.
    ///
    /// # Errors
    /// A defect: packed rows of another form.
    pub fn of(batch: &'a StateBatch, schema: &SchemaRef) -> Result<Option<Self>> {
        let Some(packed) = PackedRows::of(batch)? else {
            return Ok(None);
        };
        let own = packed.schema.fields().iter().skip(packed.before.len());
        let types = own.map(|f| f.data_type());
        let fits = types.eq(schema.fields().iter().map(|f| f.data_type()));
        let extra = <[&Int64Array; N]>::try_from(packed.extra()?);
        Ok(match extra {
            Ok(extra) if fits => Some(Self {
                layout: packed.layout(),
                packed,
                extra,
            }),
            _ => None,
        })
    }

    pub fn num_rows(&self) -> usize {
        self.packed.rows.len()
    }

    /// These columns of the rows.
    ///
    /// # Errors
    /// A defect: columns that Arrow does not take.
    pub fn columns(&self, columns: &[usize]) -> Result<Vec<ArrayRef>> {
        read_columns(&self.layout, columns, self.num_rows(), |row| self.row(row))
    }

    pub(super) fn row(&self, row: usize) -> &'a [u8] {
        self.packed.rows.value(row)
    }
}
