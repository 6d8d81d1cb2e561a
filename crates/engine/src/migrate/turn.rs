//! Turning batches of a former table into those of today.

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use flott_core::operator::{RowsReader, StateNames, StateRows, StoredRows, TRAILING_COLUMNS};
use flott_core::{Error, Result};

use super::parts::{FormerParts, PartMigration};

/// Where a column of today comes from.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    /// A former column of the same part of the table, counted from the first.
    Former(usize),
    New,
}

/// How a table's batches are turned.
#[derive(Debug, Clone)]
pub(super) enum TableMigration {
    /// The last `num_former` columns are the rows.
    Rows {
        num_former: usize,
        columns: Vec<(String, DataType, Origin)>,
    },
    /// The last columns have these types now.
    Keys(Vec<DataType>),
    /// The columns behind the key group have these types now.
    Leading(Vec<DataType>),
    Aggregates {
        names: StateNames,
        keys: Vec<DataType>,
        parts: Vec<PartMigration>,
    },
}

/// Rows that are turned when they are read.
#[derive(Debug)]
pub(super) struct MigratedRows {
    rows: StateRows,
    migration: Arc<TableMigration>,
}

impl MigratedRows {
    pub fn new(rows: StateRows, migration: Arc<TableMigration>) -> Self {
        Self { rows, migration }
    }
}

impl StoredRows for MigratedRows {
    fn num_rows(&self) -> usize {
        self.rows.num_rows()
    }

    fn size_bytes(&self) -> usize {
        self.rows.size_bytes()
    }

    fn read(&self, key_groups: Option<&Range<usize>>) -> Result<RowsReader<'_>> {
        let batches = self.rows.read_groups(key_groups.cloned());
        let turned = batches.map(|batch| self.migration.turn(&batch?));
        Ok(Box::new(turned))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A column with its name.
pub(super) type Column = (String, ArrayRef);

impl TableMigration {
    pub fn turn(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let schema = batch.schema();
        let names = schema.fields().iter().map(|f| f.name().clone());
        let columns: Vec<Column> = names.zip(batch.columns().iter().cloned()).collect();
        let columns = match self {
            Self::Rows {
                num_former,
                columns: now,
            } => turn_rows(columns, *num_former, now, batch.num_rows())?,
            Self::Keys(types) => {
                let first = columns.len().saturating_sub(types.len());
                turn_keys(columns, first, types)?
            }
            Self::Leading(types) => turn_keys(columns, 1, types)?,
            Self::Aggregates { names, keys, parts } => {
                turn_aggregates(columns, names, keys, parts, batch.num_rows())?
            }
        };
        let fields = columns.iter();
        let fields = fields.map(|(name, c)| Field::new(name, c.data_type().clone(), true));
        let schema = Schema::new(fields.collect::<Vec<_>>());
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let columns = columns.into_iter().map(|(_, c)| c).collect();
        Ok(RecordBatch::try_new_with_options(
            Arc::new(schema),
            columns,
            &options,
        )?)
    }
}

fn turn_rows(
    mut columns: Vec<Column>,
    num_former: usize,
    now: &[(String, DataType, Origin)],
    num_rows: usize,
) -> Result<Vec<Column>> {
    let Some(first) = columns.len().checked_sub(num_former) else {
        return Err(Error::internal(
            "a table of state with fewer columns than its rows",
        ));
    };
    let rows = columns.split_off(first);
    for (name, data_type, origin) in now {
        let column = match origin {
            Origin::Former(at) => widened(&rows[*at].1, data_type)?,
            Origin::New => new_null_array(data_type, num_rows),
        };
        columns.push((name.clone(), column));
    }
    Ok(columns)
}

fn turn_keys(mut columns: Vec<Column>, first: usize, types: &[DataType]) -> Result<Vec<Column>> {
    for ((_, column), data_type) in columns.iter_mut().skip(first).zip(types) {
        *column = widened(column, data_type)?;
    }
    Ok(columns)
}

fn turn_aggregates(
    columns: Vec<Column>,
    names: &StateNames,
    keys: &[DataType],
    parts: &[PartMigration],
    num_rows: usize,
) -> Result<Vec<Column>> {
    let (mut turned, mut trailing, mut states) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (name, column) in columns {
        let key = name.strip_prefix(names.key);
        let key = key.and_then(|n| n.parse::<usize>().ok());
        if let Some(data_type) = key.and_then(|k| keys.get(k)) {
            turned.push((name, widened(&column, data_type)?));
        } else if TRAILING_COLUMNS.contains(&name.as_str()) {
            trailing.push((name, column));
        } else if let Some(part) = FormerParts::part_of(&name, names) {
            states
                .entry(part.to_string())
                .or_insert_with(Vec::new)
                .push(column);
        } else {
            turned.push((name, column));
        }
    }
    let former = FormerParts::new(states, names);
    for part in parts {
        turned.extend(part.turn(&former, names, num_rows)?);
    }
    turned.extend(trailing);
    Ok(turned)
}

pub(super) fn widened(column: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if column.data_type() == to {
        return Ok(column.clone());
    }
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    Ok(cast_with_options(column, to, &options)?)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray, BooleanArray, Int32Array, Int64Array, ListArray};
    use arrow::array::{StructArray, UInt16Array};
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::{Fields, Int64Type};
    use flott_core::operator::PartLayout;

    use super::*;

    const NAMES: StateNames = StateNames::AGGREGATES;

    fn plain(call: usize) -> PartLayout {
        PartLayout {
            calls: vec![(call, 0)],
            num_filters: None,
            empty: vec![Arc::new(Int64Array::from(vec![0]))],
            is_rebuilt: false,
        }
    }

    fn column(name: &str, values: Vec<i64>) -> Column {
        (name.into(), Arc::new(Int64Array::from(values)))
    }

    #[test]
    fn partial_states_find_their_calls_and_new_calls_begin_empty() {
        let columns: Vec<Column> = vec![
            ("key_group".into(), Arc::new(UInt16Array::from(vec![1, 2]))),
            ("key0".into(), Arc::new(Int32Array::from(vec![7, 8]))),
            column("agg0_0", vec![10, 20]),
            column("agg1_0", vec![30, 40]),
            column("updated_ms", vec![5, 6]),
        ];
        let calls = [Some(1), None];
        let parts = [0, 1].map(|call| PartMigration::new(plain(call), &calls));
        let turned = turn_aggregates(columns, &NAMES, &[DataType::Int64], &parts, 2).unwrap();
        let names: Vec<&str> = turned.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["key_group", "key0", "agg0_0", "agg1_0", "updated_ms"]
        );
        let values = |at: usize| turned[at].1.as_primitive::<Int64Type>().values().to_vec();
        assert_eq!(
            (values(1), values(2), values(3)),
            (vec![7, 8], vec![30, 40], vec![0, 0])
        );
    }

    #[test]
    fn calls_that_are_rebuilt_are_left_out_when_they_are_new() {
        let part = |call| PartLayout {
            is_rebuilt: true,
            ..plain(call)
        };
        let parts = [0, 1].map(|call| PartMigration::new(part(call), &[None, Some(0)]));
        let columns = vec![column("agg0_0", vec![3])];
        let turned = turn_aggregates(columns, &NAMES, &[], &parts, 1).unwrap();
        assert_eq!(turned.len(), 1);
        assert_eq!(turned[0].0, "agg1_0");
    }

    /// Lists of values, each with whether it is there for some filters.
    fn set(value: ArrayRef, filters: &[Vec<bool>], offsets: Vec<i32>) -> ArrayRef {
        let mut columns = vec![value];
        for filter in filters {
            columns.push(Arc::new(BooleanArray::from(filter.clone())));
        }
        let fields = columns.iter().enumerate();
        let fields = fields.map(|(i, c)| Field::new(format!("f{i}"), c.data_type().clone(), true));
        let fields: Fields = fields.collect();
        let rows = StructArray::try_new(fields.clone(), columns, None).unwrap();
        let item = Arc::new(Field::new("item", DataType::Struct(fields), true));
        let offsets = OffsetBuffer::new(offsets.into());
        Arc::new(ListArray::try_new(item, offsets, Arc::new(rows), None).unwrap())
    }

    #[test]
    fn sets_of_values_keep_the_filters_of_the_calls_that_are_left() {
        let former = set(
            Arc::new(Int32Array::from(vec![7, 8, 9])),
            &[vec![true, false, true], vec![false, true, true]],
            vec![0, 2, 3],
        );
        let none: ArrayRef = Arc::new(Int64Array::from(Vec::<i64>::new()));
        let empty = set(none, &[vec![], vec![]], vec![0, 0]);
        // Call 1 of then, with filter 1, is call 0 of today with filter 0; call 2 shares its filter,
        // call 3 has a new one.
        let part = PartLayout {
            calls: vec![(0, 0), (2, 0), (3, 1)],
            num_filters: Some(2),
            empty: vec![empty],
            is_rebuilt: false,
        };
        let part = PartMigration::new(part, &[Some(1), None, None, None]);
        let columns = vec![("set0.0+1.1_0".to_string(), former)];
        let turned = turn_aggregates(columns, &NAMES, &[], &[part], 2).unwrap();
        assert_eq!(turned[0].0, "set0.0+2.0+3.1_0");
        let lists = turned[0].1.as_list::<i32>();
        assert_eq!(lists.value_offsets(), [0, 2, 3]);
        let items = lists.values().as_struct();
        let values = items.column(0).as_primitive::<Int64Type>();
        assert_eq!(values.values().to_vec(), [7, 8, 9]);
        let entries = |at: usize| -> Vec<bool> {
            let entries = items.column(at).as_boolean();
            (0..entries.len()).map(|row| entries.value(row)).collect()
        };
        assert_eq!(entries(1), [false, true, true]);
        assert_eq!(entries(2), [false, false, false]);
    }
}
