//! Functions of arrays and maps, their constructors and access to their elements.

pub mod build;
pub mod construct;
pub mod edit;
pub mod elements;
pub mod find;
pub mod item;
pub mod join;
pub mod map;
pub mod order;
pub mod set;
pub mod size;
#[cfg(test)]
mod tests;

use super::FunctionDef;

/// The functions of this group.
pub static LIST: &[&FunctionDef] = &[
    &construct::ARRAY,
    &construct::MAP,
    &construct::ROW,
    &item::ITEM,
    &size::CARDINALITY,
    &size::ELEMENT,
    &find::ARRAY_CONTAINS,
    &find::ARRAY_POSITION,
    &edit::ARRAY_APPEND,
    &edit::ARRAY_PREPEND,
    &edit::ARRAY_REMOVE,
    &edit::ARRAY_REVERSE,
    &edit::ARRAY_SLICE,
    &join::ARRAY_JOIN,
    &order::ARRAY_SORT,
    &order::ARRAY_MAX,
    &order::ARRAY_MIN,
    &set::ARRAY_CONCAT,
    &set::ARRAY_DISTINCT,
    &set::ARRAY_UNION,
    &set::ARRAY_EXCEPT,
    &set::ARRAY_INTERSECT,
    &map::MAP_KEYS,
    &map::MAP_VALUES,
    &map::MAP_ENTRIES,
    &map::MAP_UNION,
    &map::MAP_FROM_ARRAYS,
];
