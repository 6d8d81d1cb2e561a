//! The elements of arrays and maps: where they stand, how they compare, how new arrays are made of
//! them.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, new_null_array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::interleave;
use arrow::datatypes::DataType as ArrowType;
use arrow::row::{RowConverter, Rows, SortField};
use flott_core::types::{DataType, LogicalType};
use flott_core::{Error, Result};

use super::build::ListsBuilder;
use crate::functions::BindContext;
use crate::functions::coercion::common_type;
use crate::functions::kernel::Args;

/// The element type of argument `index`, which must be an array; of a NULL it is NULL.
pub fn item_type(ctx: &BindContext<'_>, index: usize) -> Result<DataType> {
    match ctx.logical(index)? {
        LogicalType::Array(item) => Ok(item.as_ref().clone()),
        LogicalType::Null => Ok(LogicalType::Null.nullable()),
        _ => Err(ctx.wrong_types()),
    }
}

/// The type that holds values of all these types, or the error for wrong arguments.
pub fn common(ctx: &BindContext<'_>, types: &[DataType]) -> Result<DataType> {
    common_type(types).ok_or_else(|| ctx.wrong_types())
}

/// The arrays or maps of an argument.
pub struct Lists {
    offsets: OffsetBuffer<i32>,
    nulls: Option<NullBuffer>,
    /// The elements of all rows; of a map its entries.
    pub items: ArrayRef,
    is_constant: bool,
}

impl Lists {
    /// Argument `index`, an array or a map.
    pub fn of(args: &Args, index: usize) -> Result<Self> {
        let array = args.array(index)?;
        let (offsets, items): (_, ArrayRef) = match array.data_type() {
            ArrowType::List(_) => {
                let list = array.as_list::<i32>();
                (list.offsets().clone(), list.values().clone())
            }
            ArrowType::Map(..) => {
                let map = array.as_map();
                (map.offsets().clone(), Arc::new(map.entries().clone()))
            }
            other => return Err(Error::internal(format!("{other} is no array and no map"))),
        };
        Ok(Self {
            offsets,
            nulls: array.nulls().cloned(),
            items,
            is_constant: args.is_constant(index),
        })
    }

    /// Where the elements of a row stand among all; `None` for NULL.
    pub fn range(&self, row: usize) -> Option<Range<usize>> {
        let row = if self.is_constant { 0 } else { row };
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return None;
        }
        Some(self.offsets[row] as usize..self.offsets[row + 1] as usize)
    }
}

/// Elements in a form whose bytes are equal and ordered as the elements are.
pub struct Comparison {
    converter: RowConverter,
}

impl Comparison {
    /// Of elements of this type; NULL is lowest.
    ///
    /// # Errors
    /// A user error for elements that cannot be compared, such as maps.
    pub fn of(data_type: &ArrowType) -> Result<Self> {
        let field = SortField::new(data_type.clone());
        let converter = RowConverter::new(vec![field]).map_err(|_| {
            let message = format!("elements of type {data_type} cannot be compared");
            Error::user("INVALID_ARGUMENT_TYPES", message)
        })?;
        Ok(Self { converter })
    }

    pub fn encode(&self, items: &ArrayRef) -> Result<Rows> {
        Ok(self
            .converter
            .convert_columns(std::slice::from_ref(items))?)
    }
}

/// Makes arrays of elements picked from several sources.
pub struct Gather {
    sources: Vec<ArrayRef>,
    picks: Vec<(usize, usize)>,
    lists: ListsBuilder,
    num_open: usize,
}

impl Gather {
    /// The last source, `sources.len()`, is a NULL.
    pub fn new(mut sources: Vec<ArrayRef>, num_rows: usize) -> Self {
        let null = sources
            .first()
            .map(|first| new_null_array(first.data_type(), 1));
        sources.extend(null);
        let picks = Vec::with_capacity(num_rows);
        let lists = ListsBuilder::with_capacity(num_rows);
        Self {
            sources,
            picks,
            lists,
            num_open: 0,
        }
    }

    /// Adds an element to the row that is being made.
    pub fn pick(&mut self, source: usize, index: usize) {
        self.picks.push((source, index));
        self.num_open += 1;
    }

    pub fn pick_null(&mut self) {
        self.pick(self.sources.len() - 1, 0);
    }

    pub fn pick_all(&mut self, source: usize, range: Range<usize>) {
        self.num_open += range.len();
        self.picks.extend(range.map(|index| (source, index)));
    }

    /// Ends a row.
    pub fn end_row(&mut self) {
        self.lists.append(std::mem::take(&mut self.num_open));
    }

    /// Ends a row that is NULL.
    pub fn null_row(&mut self) {
        self.lists.append_null();
    }

    /// The picked elements, one after the other.
    fn items(&self) -> Result<ArrayRef> {
        let sources: Vec<&dyn Array> = self.sources.iter().map(|a| a.as_ref()).collect();
        match sources.as_slice() {
            [] => Err(Error::internal("elements without a source")),
            [first, ..] if self.picks.is_empty() => Ok(first.slice(0, 0)),
            _ => Ok(interleave(&sources, &self.picks)?),
        }
    }

    /// The arrays, with elements of type `item`.
    pub fn finish(self, item: &DataType) -> Result<ArrayRef> {
        let items = self.items()?;
        self.lists.finish(item, items)
    }

    /// The maps, made of picked entries.
    pub fn finish_map(self, key: &DataType, value: &DataType) -> Result<ArrayRef> {
        let entries = self.items()?;
        let entries = entries.as_struct();
        let (keys, values) = (entries.column(0).clone(), entries.column(1).clone());
        self.lists.finish_map(key, value, keys, values)
    }
}

/// One element for each row, picked from sources; `None` is NULL.
pub fn pick_rows(
    sources: &[ArrayRef],
    picks: impl Iterator<Item = Option<(usize, usize)>>,
) -> Result<ArrayRef> {
    let Some(first) = sources.first() else {
        return Err(Error::internal("elements without a source"));
    };
    let null = new_null_array(first.data_type(), 1);
    let mut all: Vec<&dyn Array> = sources.iter().map(|a| a.as_ref()).collect();
    all.push(null.as_ref());
    let null = (sources.len(), 0);
    let picks: Vec<_> = picks.map(|pick| pick.unwrap_or(null)).collect();
    Ok(interleave(&all, &picks)?)
}
