//! COLLECT, ARRAY_AGG, LISTAGG and PERCENTILE: many values as one.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int32Array, MapArray, StringViewBuilder, StructArray,
    UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::take;
use arrow::datatypes::{Float64Type, Int64Type};
use flott_core::java_map::{binary_string_hash, sort_as_java_map};
use flott_core::types::{DataType, LogicalType};
use flott_core::{Error, Result};

use super::bind::{nullable, one, wrong_count, wrong_type};
use super::encoded::{Lists, entry_fields, list_array};
use super::listed::{Finish, Listed};
use super::{AggregateFunction, AggregateTypes, counted};

const ARRAY_AGG: AggregateFunction = AggregateFunction {
    name: "ARRAY_AGG",
    aliases: &[],
    doc: "ARRAY_AGG(x) is the array of all values, NULLs too, in the order in which they came.",
    bind: |args| {
        let argument = one(args)?;
        Ok(AggregateTypes {
            arguments: vec![argument.clone()],
            result: LogicalType::Array(Arc::new(argument.clone())).nullable(),
        })
    },
    create: |types, _| Listed::boxed(types, None, Finish::All(arrays)),
    is_mergeable: true,
    ignores_distinct: false,
    is_order_sensitive: true,
    is_additive: false,
};

pub(super) const FUNCTIONS: &[AggregateFunction] = &[
    ARRAY_AGG,
    AggregateFunction {
        name: "COLLECT",
        doc: "COLLECT(x) is the multiset of the values that are not NULL.",
        bind: |args| {
            let argument = one(args)?;
            Ok(AggregateTypes {
                arguments: vec![argument.clone()],
                result: LogicalType::Multiset(Arc::new(argument.clone())).not_null(),
            })
        },
        create: |types, _| counted::Counted::boxed(types, counted::Finish::Arrived(multisets)),
        is_order_sensitive: false,
        ..ARRAY_AGG
    },
    AggregateFunction {
        name: "LISTAGG",
        doc: "LISTAGG(x [, separator]) joins the values that are not NULL, by ',' if not said.",
        bind: bind_listagg,
        create: |types, _| Listed::boxed(types, Some(0), Finish::All(joined)),
        ..ARRAY_AGG
    },
    AggregateFunction {
        name: "PERCENTILE",
        doc: "PERCENTILE(x, p [, frequency]) is the exact percentile of the values at p, from 0 \
              to 1, interpolated; p may be an array.",
        bind: bind_percentile,
        create: |types, _| counted::Counted::boxed(types, counted::Finish::Ascending(percentiles)),
        is_order_sensitive: false,
        ..ARRAY_AGG
    },
];

/// Where lists are not empty.
fn filled(lists: &Lists) -> NullBuffer {
    (0..lists.len())
        .map(|l| !lists.range(l).is_empty())
        .collect()
}

fn arrays(lists: &Lists, _types: &AggregateTypes) -> Result<ArrayRef> {
    let nulls = Some(filled(lists));
    list_array(lists.columns[0].clone(), lists.offsets.clone(), nulls)
}

fn multisets(lists: &Lists, types: &AggregateTypes) -> Result<ArrayRef> {
    let map = types.result.to_arrow();
    let (entries, fields) =
        entry_fields(&map).ok_or_else(|| Error::internal("a multiset is not a map"))?;
    let mut order = Vec::with_capacity(lists.columns[0].len());
    for list in 0..lists.len() {
        let start = order.len();
        order.extend(lists.range(list));
        // As Flink's client prints it.
        sort_as_java_map(&lists.columns[0], &mut order[start..], binary_string_hash);
    }
    let order = UInt64Array::from_iter_values(order.into_iter().map(|p| p as u64));
    let values = take(&lists.columns[0], &order, None)?;
    let counts = take(&lists.columns[1], &order, None)?;
    let counts = counts.as_primitive::<Int64Type>();
    let counts = Int32Array::from_iter_values(counts.values().iter().map(|&c| c as i32));
    let columns = vec![values, Arc::new(counts) as ArrayRef];
    let items = StructArray::try_new(fields, columns, None)?;
    let offsets = OffsetBuffer::new(lists.offsets.clone().into());
    Ok(Arc::new(MapArray::try_new(
        entries, offsets, items, None, false,
    )?))
}

fn bind_listagg(args: &[DataType]) -> Result<AggregateTypes> {
    if args.is_empty() || args.len() > 2 {
        return Err(wrong_count("one or two arguments", args.len()));
    }
    let is_text = |t: &&DataType| !t.logical.is_character() && t.logical != LogicalType::Null;
    if let Some(other) = args.iter().find(is_text) {
        return Err(wrong_type("a character string", other));
    }
    let text = |t: &DataType| match t.logical {
        LogicalType::Null => LogicalType::STRING.nullable(),
        _ => t.clone(),
    };
    Ok(AggregateTypes {
        arguments: args.iter().map(text).collect(),
        result: LogicalType::STRING.nullable(),
    })
}

fn joined(lists: &Lists, _types: &AggregateTypes) -> Result<ArrayRef> {
    let values = lists.columns[0].as_string_view();
    let separators = lists.columns.get(1).map(|c| c.as_string_view());
    let mut builder = StringViewBuilder::with_capacity(lists.len());
    let mut text = String::new();
    for list in 0..lists.len() {
        let range = lists.range(list);
        if range.is_empty() {
            builder.append_null();
            continue;
        }
        text.clear();
        for item in range.clone() {
            if item > range.start {
                text.push_str(separators.map_or(",", |s| s.value(item)));
            }
            text.push_str(values.value(item));
        }
        builder.append_value(&text);
    }
    Ok(Arc::new(builder.finish()))
}

fn bind_percentile(args: &[DataType]) -> Result<AggregateTypes> {
    if !(2..=3).contains(&args.len()) {
        return Err(wrong_count("two or three arguments", args.len()));
    }
    if let Some(other) = args
        .iter()
        .enumerate()
        .find(|(i, a)| *i != 1 && !a.logical.is_numeric() && a.logical != LogicalType::Null)
    {
        return Err(wrong_type("a number", other.1));
    }
    let is_array = matches!(args[1].logical, LogicalType::Array(_));
    let percentage = match is_array {
        true => LogicalType::Array(Arc::new(LogicalType::Double.nullable())),
        false => LogicalType::Double,
    };
    let mut arguments = vec![
        LogicalType::Double.nullable(),
        percentage.clone().nullable(),
    ];
    arguments.extend(args.get(2).map(|_| LogicalType::BigInt.nullable()));
    Ok(AggregateTypes {
        arguments,
        result: nullable(&percentage.nullable()),
    })
}

/// A list's values with how often each is there, ascending.
struct Weighted<'a> {
    values: &'a [f64],
    /// How many values there are up to and with each.
    totals: Vec<i64>,
}

impl Weighted<'_> {
    fn total(&self) -> i64 {
        self.totals.last().copied().unwrap_or(0)
    }

    fn at(&self, position: i64) -> f64 {
        self.values[self.totals.partition_point(|&t| t <= position)]
    }

    fn percentile(&self, percentage: f64) -> Option<f64> {
        if self.total() == 0 || !(0.0..=1.0).contains(&percentage) {
            return None;
        }
        let position = (self.total() - 1) as f64 * percentage;
        let (lower, upper) = (position.floor(), position.ceil());
        let (low, high) = (self.at(lower as i64), self.at(upper as i64));
        if lower == upper || low == high {
            return Some(low);
        }
        Some((upper - position) * low + (position - lower) * high)
    }
}

fn percentiles(lists: &Lists, types: &AggregateTypes) -> Result<ArrayRef> {
    let values = lists.columns[0].as_primitive::<Float64Type>().values();
    let frequencies =
        (lists.columns.len() == 4).then(|| lists.columns[2].as_primitive::<Int64Type>());
    let last = lists.columns.len() - 1;
    let counts = lists.columns[last].as_primitive::<Int64Type>().values();
    let weighted = |list: usize| {
        let range = lists.range(list);
        let mut total = 0;
        let totals = range.clone().map(|i| {
            let frequency =
                frequencies.map_or(1, |f| if f.is_null(i) { 0 } else { f.value(i).max(0) });
            total += counts[i] * frequency;
            total
        });
        Weighted {
            totals: totals.collect(),
            values: &values[range],
        }
    };
    if types.result.logical == LogicalType::Double {
        let percentages = lists.columns[1].as_primitive::<Float64Type>();
        let results = (0..lists.len()).map(|list| {
            let start = lists.range(list).start;
            weighted(list).percentile(if lists.range(list).is_empty() {
                f64::NAN
            } else {
                percentages.value(start)
            })
        });
        return Ok(Arc::new(results.collect::<Float64Array>()));
    }
    let percentages = lists.columns[1].as_list::<i32>();
    let (mut results, mut offsets) = (Vec::new(), vec![0]);
    for list in 0..lists.len() {
        let range = lists.range(list);
        if !range.is_empty() {
            let asked = percentages.value(range.start);
            let weighted = weighted(list);
            let asked = asked.as_primitive::<Float64Type>().values().to_vec();
            results.extend(asked.into_iter().map(|p| weighted.percentile(p)));
        }
        offsets.push(results.len() as i32);
    }
    let items = Arc::new(Float64Array::from(results));
    list_array(items, offsets, Some(filled(lists)))
}
