//! Functions of arrays and maps on small values.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, ListArray, StringViewArray};
use arrow::buffer::OffsetBuffer;
use datafusion_common::ScalarValue;
use flott_core::types::{DataType, LogicalType};

use crate::functions::testing::{call, show, values};

type Constant = (ScalarValue, LogicalType);

fn list(items: ArrayRef, item: DataType) -> Constant {
    let offsets = OffsetBuffer::from_lengths([items.len()]);
    let list = ListArray::new(item.to_field("item"), offsets, items, None);
    (
        ScalarValue::List(Arc::new(list)),
        LogicalType::Array(item.into()),
    )
}

fn ints<const N: usize>(items: [Option<i32>; N]) -> Constant {
    list(
        Arc::new(Int32Array::from(items.to_vec())),
        LogicalType::Int.nullable(),
    )
}

fn texts<const N: usize>(items: [Option<&str>; N]) -> Constant {
    let items = StringViewArray::from(items.to_vec());
    list(Arc::new(items), LogicalType::STRING.nullable())
}

fn null_ints() -> Constant {
    let logical = LogicalType::Array(LogicalType::Int.nullable().into());
    (
        ScalarValue::try_from(logical.to_arrow()).expect("a NULL"),
        logical,
    )
}

fn null_int() -> Constant {
    (ScalarValue::Int32(None), LogicalType::Int)
}

fn map<const N: usize>(parts: [Constant; N]) -> Constant {
    let (value, logical) = constant("MAP", &parts);
    (value, logical)
}

/// The value of a call, as the argument of another.
fn constant(name: &str, arguments: &[Constant]) -> Constant {
    let function = crate::functions::resolve(name).expect("a function");
    let arguments: Vec<_> = arguments
        .iter()
        .map(|(value, logical)| {
            crate::functions::string::testing::literal(value.clone(), logical.clone())
        })
        .collect();
    let bound = crate::functions::string::testing::bind(function, &arguments).expect("bound");
    let value = crate::functions::string::testing::call(function, &arguments).expect("a value");
    (value, bound.return_type.logical)
}

use values::{int, string};

#[test]
fn elements_are_found() {
    let array = || ints([Some(7), None, Some(8), Some(8)]);
    assert_eq!(show("ARRAY_CONTAINS", &[array(), int(8)]), "TRUE");
    assert_eq!(show("ARRAY_CONTAINS", &[array(), int(9)]), "FALSE");
    assert_eq!(show("ARRAY_CONTAINS", &[array(), null_int()]), "TRUE");
    assert_eq!(show("ARRAY_CONTAINS", &[null_ints(), int(9)]), "NULL");
    assert_eq!(
        show("ARRAY_CONTAINS", &[array(), string("x")]),
        "INVALID_ARGUMENT_TYPES"
    );
    assert_eq!(show("ARRAY_POSITION", &[array(), int(8)]), "3");
    assert_eq!(show("ARRAY_POSITION", &[array(), int(1)]), "0");
    assert_eq!(show("ARRAY_POSITION", &[array(), null_int()]), "NULL");
}

#[test]
fn arrays_are_edited() {
    let array = || ints([Some(1), Some(2), None, Some(1)]);
    assert_eq!(
        show("ARRAY_APPEND", &[array(), int(3)]),
        "[1, 2, NULL, 1, 3]"
    );
    assert_eq!(
        show("ARRAY_PREPEND", &[array(), null_int()]),
        "[NULL, 1, 2, NULL, 1]"
    );
    assert_eq!(show("ARRAY_APPEND", &[null_ints(), int(3)]), "NULL");
    assert_eq!(show("ARRAY_REMOVE", &[array(), int(1)]), "[2, NULL]");
    assert_eq!(show("ARRAY_REMOVE", &[array(), null_int()]), "[1, 2, 1]");
    assert_eq!(show("ARRAY_REVERSE", &[array()]), "[1, NULL, 2, 1]");
    assert_eq!(
        show("ARRAY_SLICE", &[array(), int(-2), int(-1)]),
        "[NULL, 1]"
    );
    assert_eq!(show("ARRAY_SLICE", &[array(), int(0), int(2)]), "[1, 2]");
    assert_eq!(show("ARRAY_SLICE", &[array(), int(3), int(2)]), "[]");
    assert_eq!(show("ARRAY_SLICE", &[array(), int(3)]), "[NULL, 1]");
    assert_eq!(show("ARRAY_SLICE", &[array(), int(9), int(12)]), "[]");
}

#[test]
fn arrays_are_sets() {
    let (a, b) = (
        || ints([Some(2), Some(1), None, Some(2)]),
        || ints([Some(2), Some(3)]),
    );
    assert_eq!(show("ARRAY_DISTINCT", &[a()]), "[2, 1, NULL]");
    assert_eq!(show("ARRAY_UNION", &[a(), b()]), "[2, 1, NULL, 3]");
    assert_eq!(show("ARRAY_EXCEPT", &[a(), b()]), "[1, NULL]");
    assert_eq!(show("ARRAY_INTERSECT", &[a(), b()]), "[2]");
    assert_eq!(
        show("ARRAY_CONCAT", &[a(), b(), b()]),
        "[2, 1, NULL, 2, 2, 3, 2, 3]"
    );
    assert_eq!(show("ARRAY_CONCAT", &[a(), null_ints()]), "NULL");
    assert_eq!(
        show("ARRAY_UNION", &[texts([Some("a")]), texts([Some("")])]),
        "[a, ]"
    );
}

#[test]
fn arrays_are_ordered() {
    let array = || ints([Some(2), None, Some(-1), Some(5)]);
    let bool = |b| (ScalarValue::Boolean(Some(b)), LogicalType::Boolean);
    assert_eq!(show("ARRAY_SORT", &[array()]), "[NULL, -1, 2, 5]");
    assert_eq!(
        show("ARRAY_SORT", &[array(), bool(false)]),
        "[5, 2, -1, NULL]"
    );
    assert_eq!(
        show("ARRAY_SORT", &[array(), bool(false), bool(true)]),
        "[NULL, 5, 2, -1]"
    );
    assert_eq!(show("ARRAY_MAX", &[array()]), "5");
    assert_eq!(show("ARRAY_MIN", &[array()]), "-1");
    assert_eq!(show("ARRAY_MIN", &[ints([None])]), "NULL");
    assert_eq!(show("ARRAY_MAX", &[ints([])]), "NULL");
}

#[test]
fn strings_are_joined() {
    let array = || texts([Some("a"), None, Some(""), Some("ü")]);
    assert_eq!(show("ARRAY_JOIN", &[array(), string("-")]), "a--ü");
    assert_eq!(
        show("ARRAY_JOIN", &[array(), string("-"), string("*")]),
        "a-*--ü"
    );
    assert_eq!(
        show("ARRAY_JOIN", &[ints([Some(1)]), string("-")]),
        "INVALID_ARGUMENT_TYPES"
    );
}

#[test]
fn sizes_and_items() {
    assert_eq!(show("CARDINALITY", &[ints([Some(1), None])]), "2");
    assert_eq!(show("CARDINALITY", &[null_ints()]), "NULL");
    assert_eq!(show("ELEMENT", &[ints([Some(4)])]), "4");
    assert_eq!(show("ELEMENT", &[ints([])]), "NULL");
    assert_eq!(show("ELEMENT", &[ints([None, None])]), "INVALID_ARGUMENT");
    let array = || ints([Some(7), None]);
    assert_eq!(show("ITEM", &[array(), int(1)]), "7");
    assert_eq!(show("ITEM", &[array(), int(3)]), "NULL");
    assert_eq!(show("ITEM", &[array(), int(0)]), "INVALID_ARGUMENT");
}

#[test]
fn missing_items_of_not_null_elements_are_flinks() {
    let array = constant("ARRAY", &[int(1), int(2), int(3)]);
    assert_eq!(array.1.to_string(), "ARRAY<INT NOT NULL>");
    assert_eq!(show("ITEM", &[array, int(4)]), "-1");
    let map = map([string("a"), int(1)]);
    assert_eq!(show("ITEM", &[map.clone(), string("z")]), "-1");
    assert_eq!(show("ITEM", &[map.clone(), string("a")]), "1");
    assert_eq!(show("CARDINALITY", &[map]), "1");
}

#[test]
fn constructors_find_common_types() {
    let (shown, data_type) = call("ARRAY", &[int(1), values::bigint(2)]).expect("an array");
    assert_eq!(shown, "[1, 2]");
    assert_eq!(data_type.to_string(), "ARRAY<BIGINT NOT NULL> NOT NULL");
    assert_eq!(show("ARRAY", &[int(1), null_int()]), "[1, NULL]");
    assert_eq!(
        show("MAP", &[string("a"), int(1), string("b"), int(2)]),
        "{a=1, b=2}"
    );
    assert_eq!(
        show("MAP", &[string("a"), int(1), string("a"), int(2)]),
        "{a=2}"
    );
    assert_eq!(show("MAP", &[string("a")]), "INVALID_ARGUMENT_COUNT");
    let (shown, data_type) = call("ROW", &[int(1), string("x")]).expect("a row");
    assert_eq!(shown, "(1, x)");
    assert_eq!(
        data_type.to_string(),
        "ROW<`EXPR$0` INT NOT NULL, `EXPR$1` STRING NOT NULL> NOT NULL"
    );
}

#[test]
fn maps_are_taken_apart_and_put_together() {
    let ab = || map([string("a"), int(1), string("b"), int(2)]);
    assert_eq!(show("MAP_KEYS", &[ab()]), "[a, b]");
    assert_eq!(show("MAP_VALUES", &[ab()]), "[1, 2]");
    assert_eq!(show("MAP_ENTRIES", &[ab()]), "[(a, 1), (b, 2)]");
    let bc = map([string("b"), int(3), string("c"), int(4)]);
    assert_eq!(show("MAP_UNION", &[ab(), bc]), "{b=3, c=4, a=1}");
    let keys = || texts([Some("x"), Some("y")]);
    assert_eq!(
        show("MAP_FROM_ARRAYS", &[keys(), ints([Some(1), None])]),
        "{x=1, y=NULL}"
    );
    assert_eq!(
        show("MAP_FROM_ARRAYS", &[keys(), ints([Some(1)])]),
        "INVALID_ARGUMENT"
    );
    let null_key = texts([None]);
    assert_eq!(
        show("MAP_FROM_ARRAYS", &[null_key, ints([Some(1)])]),
        "NULL_MAP_KEY"
    );
}
