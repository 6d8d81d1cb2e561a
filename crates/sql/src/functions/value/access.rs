//! Elements of arrays and values of maps.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, UInt32Array, make_comparator, new_null_array,
};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{SortOptions, take};
use arrow::datatypes::Int64Type;
use datafusion_common::ScalarValue;
use flott_core::types::{DataType, LogicalType};
use flott_core::{Error, Result};

use crate::functions::kernel::{Args, columns, scalar_array};
use crate::functions::{BindContext, BoundFunction};

function!(
    ITEM,
    "ITEM" | "[]",
    ValueAccess,
    "array[position] | map[key]",
    "The element at a position, counted from 1, or the value of a key. What is not there is NULL; for elements that cannot be NULL it is -1, FALSE or an empty string.",
    [("ARRAY[1, 2][2]", "2"), ("MAP['a', 1]['a']", "1")],
    bind_item
);

fn bind_item(c: &BindContext<'_>) -> Result<BoundFunction> {
    c.expect_count(2..=2)?;
    match c.logical(0)?.clone() {
        LogicalType::Array(item) => bind_element(c, item.as_ref()),
        LogicalType::Map(key, value) => bind_value(c, key.as_ref(), value.as_ref()),
        _ => Err(c.wrong_types()),
    }
}

fn bind_element(c: &BindContext<'_>, item: &DataType) -> Result<BoundFunction> {
    c.expect_types(c.is_type(1, LogicalType::is_integer))?;
    if c.argument(1)?.literal_integer().is_some_and(|at| at < 1) {
        return Err(Error::user(
            "INVALID_ARRAY_POSITION",
            "the elements of an array are counted from 1",
        ));
    }
    let index = DataType {
        logical: LogicalType::BigInt,
        nullable: c.argument(1)?.data_type.nullable,
    };
    let types = vec![c.argument(0)?.data_type.clone(), index];
    bind_access(c, types, item, |args, row| {
        let list = args.array(0)?.as_list::<i32>();
        let offsets = list.value_offsets();
        let at = args.row_of(0, row);
        let position = args.column::<Int64Type>(1)?.get(row);
        let len = i64::from(offsets[at + 1] - offsets[at]);
        let position = position.filter(|p| (1..=len).contains(p));
        Ok(position.map(|p| (i64::from(offsets[at]) + p - 1) as u32))
    })
}

fn bind_value(c: &BindContext<'_>, key: &DataType, value: &DataType) -> Result<BoundFunction> {
    let types = vec![c.argument(0)?.data_type.clone(), key.with_nullable(true)];
    let returned = returned_type(c, value);
    let fallback = fallback_of(&returned);
    let kernel = columns(format!("value {returned}"), move |args| {
        let map = args.array(0)?.as_map();
        let offsets = map.value_offsets();
        let wanted = args.array(1)?;
        let order = make_comparator(map.keys(), wanted, SortOptions::default())?;
        let found = (0..args.num_rows()).map(|row| {
            let (at, wanted_at) = (args.row_of(0, row), args.row_of(1, row));
            if wanted.is_null(wanted_at) {
                return None;
            }
            (offsets[at]..offsets[at + 1])
                .find(|&entry| order(entry as usize, wanted_at).is_eq())
                .map(|entry| entry as u32)
        });
        let found: UInt32Array = found.collect();
        finish(args, map.values(), &found, fallback.as_ref())
    });
    Ok(BoundFunction::new(types, returned, kernel))
}

fn returned_type(c: &BindContext<'_>, item: &DataType) -> DataType {
    item.with_nullable(item.nullable || c.any_nullable())
}

fn bind_access(
    c: &BindContext<'_>,
    types: Vec<DataType>,
    item: &DataType,
    find: impl Fn(&Args, usize) -> Result<Option<u32>> + Send + Sync + 'static,
) -> Result<BoundFunction> {
    let returned = returned_type(c, item);
    let fallback = fallback_of(&returned);
    let kernel = columns(format!("element {returned}"), move |args| {
        let found = (0..args.num_rows())
            .map(|row| find(args, row))
            .collect::<Result<_>>()?;
        finish(
            args,
            args.array(0)?.as_list::<i32>().values(),
            &found,
            fallback.as_ref(),
        )
    });
    Ok(BoundFunction::new(types, returned, kernel))
}

/// The values found; where the container is NULL, NULL; where nothing was found, the fallback.
fn finish(
    args: &Args,
    values: &ArrayRef,
    found: &UInt32Array,
    fallback: Option<&ScalarValue>,
) -> Result<ArrayRef> {
    let container = args.array(0)?;
    let result = if values.is_empty() {
        new_null_array(values.data_type(), args.num_rows())
    } else {
        let hidden = |row: usize| container.is_null(args.row_of(0, row));
        let visible: UInt32Array = found
            .iter()
            .enumerate()
            .map(|(row, at)| at.filter(|_| !hidden(row)))
            .collect();
        take(values, &visible, None)?
    };
    let Some(fallback) = fallback.filter(|_| found.null_count() > 0) else {
        return Ok(result);
    };
    let is_found: BooleanArray = found.iter().map(|at| Some(at.is_some())).collect();
    Ok(Arc::new(zip(
        &is_found,
        &result,
        &scalar_array(fallback, args.num_rows())?,
    )?))
}

/// What stands for a missing element that cannot be NULL.
fn fallback_of(returned: &DataType) -> Option<ScalarValue> {
    if returned.nullable {
        return None;
    }
    Some(match returned.logical {
        LogicalType::Boolean => ScalarValue::Boolean(Some(false)),
        LogicalType::TinyInt => ScalarValue::Int8(Some(-1)),
        LogicalType::SmallInt => ScalarValue::Int16(Some(-1)),
        LogicalType::Int => ScalarValue::Int32(Some(-1)),
        LogicalType::BigInt => ScalarValue::Int64(Some(-1)),
        LogicalType::Float => ScalarValue::Float32(Some(-1.0)),
        LogicalType::Double => ScalarValue::Float64(Some(-1.0)),
        LogicalType::Char(_) | LogicalType::VarChar(_) => ScalarValue::Utf8View(Some("".into())),
        _ => return None,
    })
}
