//! Values of any type as bytes that compare and order as the values do, and columns of lists of
//! them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType as ArrowType, Field, Fields};
use arrow::row::{RowConverter, Rows, SortField};
use flott_core::Result;
use flott_core::types::{DataType, LogicalType, RowField};

/// Turns rows of arguments into bytes and back.
pub(super) struct Encoder {
    converter: RowConverter,
    types: Vec<DataType>,
}

impl Encoder {
    pub fn new(types: &[DataType]) -> Result<Self> {
        let fields = types.iter().map(|t| SortField::new(t.to_arrow()));
        Ok(Self {
            converter: RowConverter::new(fields.collect())?,
            types: types.iter().map(super::bind::nullable).collect(),
        })
    }

    pub fn types(&self) -> &[DataType] {
        &self.types
    }

    pub fn encode(&self, columns: &[ArrayRef]) -> Result<Rows> {
        Ok(self.converter.convert_columns(columns)?)
    }

    pub fn decode<'a>(&self, rows: impl Iterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
        let parser = self.converter.parser();
        let rows: Vec<_> = rows.map(|bytes| parser.parse(bytes)).collect();
        Ok(self.converter.convert_rows(rows)?)
    }

    /// The decoded values of the first column; NULL for the absent.
    pub fn decode_or_null<'a>(
        &self,
        values: impl Iterator<Item = Option<&'a [u8]>>,
    ) -> Result<ArrayRef> {
        let mut indices = Vec::new();
        let mut present = Vec::new();
        for value in values {
            indices.push(value.map(|_| present.len() as u32));
            present.extend(value);
        }
        let column = self.decode(present.into_iter())?.swap_remove(0);
        let indices = arrow::array::UInt32Array::from(indices);
        Ok(arrow::compute::take(&column, &indices, None)?)
    }
}

/// A list for each group, flattened.
pub(super) struct Lists {
    /// The items' columns.
    pub columns: Vec<ArrayRef>,
    /// List `i` is the items from `offsets[i]` to `offsets[i + 1]`.
    pub offsets: Vec<i32>,
}

impl Lists {
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// The items of a list.
    pub fn range(&self, list: usize) -> std::ops::Range<usize> {
        self.offsets[list] as usize..self.offsets[list + 1] as usize
    }

    /// The column of lists of rows of all columns.
    pub fn into_state(self, types: &[DataType]) -> Result<ArrayRef> {
        let list = list_type(types);
        let LogicalType::Array(item) = &list.logical else {
            unreachable!("a list type is an array");
        };
        let ArrowType::Struct(fields) = item.to_arrow() else {
            unreachable!("an item is a row");
        };
        let rows = StructArray::try_new(fields, self.columns, None)?;
        list_array(Arc::new(rows), self.offsets, None)
    }

    /// Of a column made by [`Lists::into_state`].
    pub fn from_state(state: &ArrayRef) -> Self {
        let lists = state.as_list::<i32>();
        Self {
            columns: lists.values().as_struct().columns().to_vec(),
            offsets: lists.value_offsets().to_vec(),
        }
    }

    /// The group of each item.
    pub fn item_groups(&self, groups: &[u32]) -> Vec<u32> {
        let mut items = vec![0; self.columns[0].len()];
        for (list, &group) in groups.iter().enumerate() {
            items[self.range(list)].fill(group);
        }
        items
    }
}

/// The type of a column of lists of rows of these types.
pub(super) fn list_type(types: &[DataType]) -> DataType {
    let fields = types.iter().enumerate();
    let fields = fields.map(|(i, t)| RowField::new(format!("f{i}"), super::bind::nullable(t)));
    let item = LogicalType::Row(fields.collect()).nullable();
    LogicalType::Array(Arc::new(item)).not_null()
}

/// An ARRAY column of these items.
pub(super) fn list_array(
    items: ArrayRef,
    offsets: Vec<i32>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let field = Arc::new(Field::new("item", items.data_type().clone(), true));
    let offsets = OffsetBuffer::new(offsets.into());
    Ok(Arc::new(ListArray::try_new(field, offsets, items, nulls)?))
}

/// The fields of a map type's entries.
pub(super) fn entry_fields(map: &ArrowType) -> Option<(Arc<Field>, Fields)> {
    match map {
        ArrowType::Map(entries, _) => match entries.data_type() {
            ArrowType::Struct(fields) => Some((entries.clone(), fields.clone())),
            _ => None,
        },
        _ => None,
    }
}
