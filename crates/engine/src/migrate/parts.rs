//! Turning the partial states of calls: each finds its former self by what it means, wherever that
//! stood and whatever it shared its DISTINCT values with.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::UInt32Array;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListArray, StructArray};
use arrow::compute::take;
use arrow::datatypes::DataType;

use flott_core::operator::{PartLayout, StateNames};
use flott_core::{Error, Result};

use super::turn::{Column, widened};

/// The columns of partial states of a former table.
pub(super) struct FormerParts {
    /// By name, without the columns' numbers.
    columns: BTreeMap<String, Vec<ArrayRef>>,
    /// By call, the part's name and the number of the call's filter in it.
    calls: BTreeMap<usize, (String, usize)>,
}

impl FormerParts {
    /// The name of the part that a column of this name is of.
    pub fn part_of<'a>(column: &'a str, names: &StateNames) -> Option<&'a str> {
        let (part, number) = column.rsplit_once('_')?;
        number.parse::<usize>().ok()?;
        (!calls_of(part, names)?.is_empty()).then_some(part)
    }

    pub fn new(columns: BTreeMap<String, Vec<ArrayRef>>, names: &StateNames) -> Self {
        let mut calls = BTreeMap::new();
        for part in columns.keys() {
            for (call, filter) in calls_of(part, names).unwrap_or_default() {
                calls.insert(call, (part.clone(), filter));
            }
        }
        Self { columns, calls }
    }
}

/// The calls of a part of this name, each with the number of its filter.
fn calls_of(part: &str, names: &StateNames) -> Option<Vec<(usize, usize)>> {
    if let Some(call) = part.strip_prefix(names.call) {
        return Some(vec![(call.parse().ok()?, 0)]);
    }
    let members = part.strip_prefix(names.set)?.split('+');
    let member = |text: &str| {
        let (call, filter) = text.split_once('.')?;
        Some((call.parse().ok()?, filter.parse().ok()?))
    };
    members.map(member).collect()
}

/// How the partial states of a call, or of calls that share their values, are made.
#[derive(Debug, Clone)]
pub(super) struct PartMigration {
    part: PartLayout,
    /// By member of the part, its former number.
    former: Vec<Option<usize>>,
}

impl PartMigration {
    /// `former` has, by call, the number of its former self.
    pub fn new(part: PartLayout, former: &[Option<usize>]) -> Self {
        let calls = part.calls.iter();
        let former = calls.map(|(call, _)| former.get(*call).copied().flatten());
        Self {
            former: former.collect(),
            part,
        }
    }

    /// The part's columns; none where the operator makes them itself.
    pub fn turn(
        &self,
        former: &FormerParts,
        names: &StateNames,
        num_rows: usize,
    ) -> Result<Vec<Column>> {
        let known = self.former.iter().zip(&self.part.calls);
        let known = known.filter_map(|(call, (_, filter))| Some(((*call)?, *filter)));
        let mut places = Vec::new();
        for (call, filter) in known {
            let place = former.calls.get(&call).ok_or_else(unfit)?;
            places.push((&place.0, place.1, filter));
        }
        let states = match places.first() {
            None if self.part.is_rebuilt => return Ok(Vec::new()),
            None => {
                let none = UInt32Array::from(vec![0; num_rows]);
                let empty = self.part.empty.iter();
                let columns = empty.map(|column| Ok(take(column, &none, None)?));
                columns.collect::<Result<Vec<_>>>()?
            }
            Some(&(name, ..)) => {
                if places.iter().any(|(other, ..)| *other != name) {
                    return Err(unfit());
                }
                let columns = former.columns.get(name).ok_or_else(unfit)?;
                let filters: Vec<_> = places.iter().map(|(_, then, now)| (*then, *now)).collect();
                self.states(columns, &filters)?
            }
        };
        let name = self.name(names);
        let columns = states.into_iter().enumerate();
        Ok(columns.map(|(at, c)| (format!("{name}_{at}"), c)).collect())
    }

    fn name(&self, names: &StateNames) -> String {
        match self.part.calls.as_slice() {
            [(call, _)] => format!("{}{call}", names.call),
            several => {
                let members = several
                    .iter()
                    .map(|(call, filter)| format!("{call}.{filter}"));
                format!("{}{}", names.set, members.collect::<Vec<_>>().join("+"))
            }
        }
    }

    /// The former columns in the types of today; `filters` are the numbers of a set's filters then
    /// and now.
    fn states(&self, former: &[ArrayRef], filters: &[(usize, usize)]) -> Result<Vec<ArrayRef>> {
        if former.len() != self.part.empty.len() {
            return Err(unfit());
        }
        let pairs = former.iter().zip(&self.part.empty);
        let states = pairs.map(|(state, like)| match self.part.num_filters {
            Some(num_filters) => values(state, like.data_type(), num_filters, filters),
            None => widened(state, like.data_type()),
        });
        states.collect()
    }
}

/// Lists of values with the filters of today; for one that is new no value is there.
fn values(
    state: &ArrayRef,
    data_type: &DataType,
    num_filters: usize,
    filters: &[(usize, usize)],
) -> Result<ArrayRef> {
    let (Some(lists), DataType::List(item)) = (state.as_list_opt::<i32>(), data_type) else {
        return Err(unfit());
    };
    let (Some(items), DataType::Struct(fields)) =
        (lists.values().as_struct_opt(), item.data_type())
    else {
        return Err(unfit());
    };
    let num_arguments = fields.len().saturating_sub(num_filters);
    let column = |at: usize, data_type: &DataType| -> Result<ArrayRef> {
        let then = match at.checked_sub(num_arguments) {
            None => Some(at),
            Some(now) => {
                let known = filters.iter().find(|(_, number)| *number == now);
                known.map(|(then, _)| num_arguments + then)
            }
        };
        match then {
            Some(then) => {
                let column = items.columns().get(then).ok_or_else(unfit)?;
                widened(column, data_type)
            }
            None if data_type == &DataType::Boolean => {
                Ok(Arc::new(BooleanArray::from(vec![false; items.len()])))
            }
            None => Ok(Arc::new(Int64Array::from(vec![0; items.len()]))),
        }
    };
    let columns = fields.iter().enumerate();
    let columns = columns.map(|(at, field)| column(at, field.data_type()));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let items = StructArray::try_new(fields.clone(), columns, items.nulls().cloned())?;
    Ok(Arc::new(ListArray::try_new(
        item.clone(),
        lists.offsets().clone(),
        Arc::new(items),
        lists.nulls().cloned(),
    )?))
}

fn unfit() -> Error {
    Error::user(
        "STATE_SCHEMA",
        "the partial states of a call are kept in another way than the query wants them, as when \
         calls with DISTINCT share their values that did not before; go back to the former \
         statement, or start without this state",
    )
}
