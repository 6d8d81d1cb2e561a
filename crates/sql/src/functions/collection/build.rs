//! Arrays and maps from their elements.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ListArray, MapArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType as ArrowType, Field};
use flott_core::types::{DataType, LogicalType};
use flott_core::{Error, Result};

/// Where the lists of a column end in the array of their elements.
pub struct ListsBuilder {
    offsets: Vec<i32>,
    validity: Vec<bool>,
}

impl ListsBuilder {
    /// For this many rows.
    pub fn with_capacity(num_rows: usize) -> Self {
        let mut offsets = Vec::with_capacity(num_rows + 1);
        offsets.push(0);
        let validity = Vec::with_capacity(num_rows);
        Self { offsets, validity }
    }

    fn end(&self) -> i32 {
        self.offsets.last().copied().unwrap_or(0)
    }

    /// Appends a row of this many elements.
    pub fn append(&mut self, num_items: usize) {
        self.offsets
            .push(self.end().saturating_add(num_items as i32));
        self.validity.push(true);
    }

    pub fn append_null(&mut self) {
        self.offsets.push(self.end());
        self.validity.push(false);
    }

    /// The arrays over their elements, which are of type `item`.
    pub fn finish(self, item: &DataType, items: ArrayRef) -> Result<ArrayRef> {
        let (offsets, nulls) = self.into_parts();
        let list = ListArray::try_new(item.to_field("item"), offsets, items, nulls)?;
        Ok(Arc::new(list))
    }

    /// The maps over their keys and values.
    pub fn finish_map(
        self,
        key: &DataType,
        value: &DataType,
        keys: ArrayRef,
        values: ArrayRef,
    ) -> Result<ArrayRef> {
        let (offsets, nulls) = self.into_parts();
        map_array(key, value, offsets, keys, values, nulls)
    }

    fn into_parts(self) -> (OffsetBuffer<i32>, Option<NullBuffer>) {
        let nulls = NullBuffer::from(self.validity);
        let nulls = (nulls.null_count() > 0).then_some(nulls);
        (OffsetBuffer::new(self.offsets.into()), nulls)
    }
}

/// Maps of these types over their keys and values.
///
/// # Errors
/// A user error for a key that is NULL.
pub fn map_array(
    key: &DataType,
    value: &DataType,
    offsets: OffsetBuffer<i32>,
    keys: ArrayRef,
    values: ArrayRef,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    if keys.null_count() > 0 {
        let message = "a key of a map must not be NULL; filter such rows or use COALESCE";
        return Err(Error::user("NULL_MAP_KEY", message));
    }
    let logical = LogicalType::Map(Arc::new(key.clone()), Arc::new(value.clone()));
    let ArrowType::Map(entries, _) = logical.to_arrow() else {
        return Err(Error::internal("a map that is no map in Arrow"));
    };
    let structs = StructArray::try_new(struct_fields(&entries)?, vec![keys, values], None)?;
    Ok(Arc::new(MapArray::try_new(
        entries, offsets, structs, nulls, false,
    )?))
}

fn struct_fields(entries: &Field) -> Result<arrow::datatypes::Fields> {
    match entries.data_type() {
        ArrowType::Struct(fields) => Ok(fields.clone()),
        other => Err(Error::internal(format!(
            "entries of a map that are {other}"
        ))),
    }
}
