//! UNNEST: a row for each element of a collection.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, StructArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Int32Type, SchemaRef};
use datafusion_physical_expr_common::physical_expr::PhysicalExpr;
use flott_core::changelog::ChangelogBatch;
use flott_core::operator::{Operator, OperatorFactory, Output};
use flott_core::{Error, Result};

use super::evaluate::{batch_of, evaluate};

/// `CROSS JOIN UNNEST(collection)`: each row once for each element, with the element's columns
/// appended.
///
/// An ARRAY of rows gives a column for each field, another ARRAY one column, a MAP a key and a
/// value column, a MULTISET each element as many times as it is in.
#[derive(Debug, Clone)]
pub struct UnnestConfig {
    /// The ARRAY, MAP or MULTISET.
    pub collection: Arc<dyn PhysicalExpr>,
    /// Whether the collection, which Arrow holds as a map, is a MULTISET.
    pub is_multiset: bool,
    /// `LEFT JOIN … ON TRUE`: a row without elements comes once, with NULLs.
    pub is_outer: bool,
    /// `WITH ORDINALITY`: appends the element's position from 1, an INT.
    pub with_ordinality: bool,
    /// Positions of the input's columns to keep; `None` is all.
    pub kept_columns: Option<Vec<usize>>,
    /// The kept columns, the element's, then the ordinality.
    pub schema: SchemaRef,
}

impl OperatorFactory for UnnestConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(Unnest(self.clone())))
    }
}

struct Unnest(UnnestConfig);

/// One entry for each output row.
#[derive(Default)]
struct Expansion {
    rows: Vec<u32>,
    /// The position in the flat elements; `None` for an outer row without elements.
    elements: Vec<Option<u32>>,
    ordinals: Vec<Option<i32>>,
}

impl Expansion {
    fn add(&mut self, row: usize, element: usize, ordinal: usize) {
        self.rows.push(row as u32);
        self.elements.push(Some(element as u32));
        self.ordinals.push(Some(ordinal as i32 + 1));
    }

    fn add_without(&mut self, row: usize) {
        self.rows.push(row as u32);
        self.elements.push(None);
        self.ordinals.push(None);
    }

    /// `times` tells how often an element comes.
    fn of(
        collection: &dyn Array,
        offsets: &[i32],
        times: impl Fn(usize) -> usize,
        is_outer: bool,
    ) -> Self {
        let mut expansion = Self::default();
        for row in 0..collection.len() {
            let before = expansion.rows.len();
            if collection.is_valid(row) {
                for element in offsets[row] as usize..offsets[row + 1] as usize {
                    for _ in 0..times(element) {
                        let ordinal = expansion.rows.len() - before;
                        expansion.add(row, element, ordinal);
                    }
                }
            }
            if is_outer && expansion.rows.len() == before {
                expansion.add_without(row);
            }
        }
        expansion
    }
}

impl Unnest {
    /// How rows multiply, and the flat columns of all elements.
    fn expand(&self, collection: &ArrayRef) -> Result<(Expansion, Vec<ArrayRef>)> {
        let is_outer = self.0.is_outer;
        match collection.data_type() {
            DataType::List(_) => {
                let list = collection.as_list::<i32>();
                let expansion = Expansion::of(list, list.value_offsets(), |_| 1, is_outer);
                Ok((expansion, element_columns(list.values())?))
            }
            DataType::Map(..) => {
                let map = collection.as_map();
                if !self.0.is_multiset {
                    let expansion = Expansion::of(map, map.value_offsets(), |_| 1, is_outer);
                    return Ok((expansion, vec![map.keys().clone(), map.values().clone()]));
                }
                let counts = map.values().as_primitive_opt::<Int32Type>();
                let counts = counts.ok_or_else(|| Error::internal("a multiset without counts"))?;
                let times = |i: usize| counts.value(i).max(0) as usize;
                let expansion = Expansion::of(map, map.value_offsets(), times, is_outer);
                Ok((expansion, element_columns(map.keys())?))
            }
            other => Err(Error::internal(format!("{other} cannot be unnested"))),
        }
    }
}

/// The fields of rows, NULL where the row is; other elements are one column.
fn element_columns(elements: &ArrayRef) -> Result<Vec<ArrayRef>> {
    let Some(rows) = elements.as_struct_opt() else {
        return Ok(vec![elements.clone()]);
    };
    let fields = (0..rows.num_columns()).map(|i| field_of(rows, i));
    fields.collect()
}

/// A field's values, NULL where the row itself is.
pub(crate) fn field_of(rows: &StructArray, field: usize) -> Result<ArrayRef> {
    let values = rows.column(field);
    if rows.null_count() == 0 {
        return Ok(values.clone());
    }
    let positions = (0..rows.len()).map(|i| rows.is_valid(i).then_some(i as u32));
    Ok(take(values, &positions.collect::<UInt32Array>(), None)?)
}

impl Operator for Unnest {
    fn process(&mut self, _: usize, batch: ChangelogBatch, out: &mut dyn Output) -> Result<()> {
        let collection = evaluate(self.0.collection.as_ref(), batch.rows())?;
        let (expansion, elements) = self.expand(&collection)?;
        if expansion.rows.is_empty() {
            return Ok(());
        }
        let num_rows = expansion.rows.len();
        let batch = match &self.0.kept_columns {
            Some(columns) => batch.project(columns)?,
            None => batch,
        };
        let (rows, kinds) = batch.take(&UInt32Array::from(expansion.rows))?.into_parts();
        let (_, mut columns, _) = rows.into_parts();
        let positions = UInt32Array::from(expansion.elements);
        for element in &elements {
            columns.push(take(element, &positions, None)?);
        }
        if self.0.with_ordinality {
            columns.push(Arc::new(Int32Array::from(expansion.ordinals)));
        }
        let rows = batch_of(self.0.schema.clone(), columns, num_rows)?;
        out.emit(ChangelogBatch::new(rows, kinds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::collect::{Collected, batch, ints, names, texts};
    use arrow::array::{ListArray, MapArray};
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::{Field, Fields};
    use datafusion_physical_expr::expressions::Column;

    fn run(config: &UnnestConfig, collection: ArrayRef) -> Vec<String> {
        let input = batch("+I -U -D", vec![("id", ints([1, 2, 3])), ("c", collection)]);
        let mut collected = Collected::default();
        let mut operator = config.create().unwrap();
        operator.process(0, input, &mut collected).unwrap();
        collected.take()
    }

    fn config(elements: &[ArrayRef]) -> UnnestConfig {
        let mut columns = vec![ints([])];
        columns.extend(elements.iter().cloned());
        UnnestConfig {
            collection: Arc::new(Column::new("c", 1)),
            is_multiset: false,
            is_outer: false,
            with_ordinality: false,
            kept_columns: Some(vec![0]),
            schema: names(&["id", "e", "f"][..columns.len()], &columns),
        }
    }

    fn list(values: ArrayRef) -> ArrayRef {
        let field = Arc::new(Field::new("item", values.data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths([2, 1, 0]);
        let nulls = Some(vec![true, true, false].into());
        Arc::new(ListArray::new(field, offsets, values, nulls))
    }

    fn map(values: ArrayRef) -> ArrayRef {
        let keys = texts(["k", "l", "m"]);
        let fields = Fields::from(vec![
            Field::new("key", keys.data_type().clone(), false),
            Field::new("value", values.data_type().clone(), true),
        ]);
        let entries = StructArray::new(fields.clone(), vec![keys, values], None);
        let field = Arc::new(Field::new("entries", DataType::Struct(fields), false));
        let offsets = OffsetBuffer::from_lengths([2, 1, 0]);
        Arc::new(MapArray::new(field, offsets, entries, None, false))
    }

    #[test]
    fn arrays_give_a_row_for_each_element() {
        let mut config = config(&[texts([]), ints([])]);
        config.with_ordinality = true;
        let lines = run(&config, list(texts(["a", "b", "c"])));
        assert_eq!(lines, ["+I 1 a 1", "+I 1 b 2", "-U 2 c 1"]);
        config.is_outer = true;
        let lines = run(&config, list(texts(["a", "b", "c"])));
        assert_eq!(lines[3], "-D 3 null null");
    }

    #[test]
    fn arrays_of_rows_give_a_column_for_each_field() {
        let fields = names(&["x", "y"], &[ints([]), texts([])]).fields().clone();
        let columns = vec![ints([1, 2, 3]), texts(["p", "q", "r"])];
        let nulls = Some(vec![true, false, true].into());
        let rows = Arc::new(StructArray::new(fields, columns, nulls));
        let lines = run(&config(&[ints([]), texts([])]), list(rows));
        assert_eq!(lines, ["+I 1 1 p", "+I 1 null null", "-U 2 3 r"]);
    }

    #[test]
    fn maps_give_keys_and_values_and_multisets_repeat() {
        let lines = run(&config(&[texts([]), ints([])]), map(ints([1, 2, 3])));
        assert_eq!(lines, ["+I 1 k 1", "+I 1 l 2", "-U 2 m 3"]);
        let mut multiset = config(&[texts([])]);
        multiset.is_multiset = true;
        let lines = run(&multiset, map(ints([2, 0, 1])));
        assert_eq!(lines, ["+I 1 k", "+I 1 k", "-U 2 m"]);
    }
}
